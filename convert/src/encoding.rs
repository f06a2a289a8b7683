//! Texts that aren't UTF-8, as other programs write them.

/// The encoding of a text that isn't UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is {0}, and not UTF-8; convert it with `iconv -f {0} -t UTF-8`, or, where PowerShell wrote it, write it with `| Out-File -Encoding utf8 FILE`"
)]
pub struct OtherEncoding(&'static str);

/// How much of a text says what it is, in bytes.
const LOOKED_AT: usize = 4096;

impl OtherEncoding {
    /// What these first bytes of a text are in, if they begin with the byte order mark of UTF-16 or UTF-32, or most of their
    /// characters have a byte below U+0020 in the same half, as no text in UTF-8 has.
    pub fn of(text: &[u8]) -> Option<Self> {
        let utf16 = |high: usize| {
            let (pairs, _) = text[..text.len().min(LOOKED_AT)].as_chunks::<2>();
            let count = |is: &dyn Fn(&[u8; 2]) -> bool| pairs.iter().filter(|p| is(p)).count();
            // Latin, Greek, Cyrillic, Hebrew, Arabic, Thai and others; spaces and ends of lines are Latin.
            count(&|pair| pair[high] == 0) > count(&|pair| pair[1 - high] == 0)
                && count(&|pair| pair[high] < b' ') > pairs.len().max(2) / 2
        };
        let name = match text {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
            _ if utf16(1) => "UTF-16LE",
            _ if utf16(0) => "UTF-16BE",
            _ => return None,
        };
        Some(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = text.encode_utf16();
        let bytes = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        units.flat_map(bytes).collect()
    }

    #[test]
    fn utf16_and_utf32_are_told_from_utf8() {
        let name = |text: &[u8]| OtherEncoding::of(text).map(|encoding| encoding.0);
        for text in [
            "The <mask> sat down.\r\n",
            "\r\nThe first line is empty.",
            "ab",
            "Ādaži",
            "Привет, мир\n",
            "שלום עולם",
            "“quotes” — and a dash",
            "{\"text\": \"a\"}",
        ] {
            let marked = format!("\u{feff}{text}");
            for (big, unmarked) in [(false, "UTF-16LE"), (true, "UTF-16BE")] {
                assert_eq!(name(&utf16(text, big)), Some(unmarked), "{text:?}");
                assert_eq!(name(&utf16(&marked, big)), Some("UTF-16"), "{text:?}");
            }
            assert_eq!(name(text.as_bytes()), None, "{text:?}");
            assert_eq!(name(marked.as_bytes()), None, "{text:?}");
        }
        let utf32 =
            |unit: fn(u32) -> [u8; 4]| "\u{feff}a".chars().flat_map(move |c| unit(c.into()));
        assert_eq!(
            name(&utf32(u32::to_le_bytes).collect::<Vec<_>>()),
            Some("UTF-32")
        );
        assert_eq!(
            name(&utf32(u32::to_be_bytes).collect::<Vec<_>>()),
            Some("UTF-32")
        );
        assert_eq!(name(&utf16("\u{feff}日本語", false)), Some("UTF-16"));
        // A NUL is a character of UTF-8 like others.
        for text in [
            "",
            "a",
            "\0",
            "a\0",
            "ab\0cd\0",
            "a\0bc\0d\n",
            "\t\t\t\n\n",
            "日本語",
        ] {
            assert_eq!(name(text.as_bytes()), None, "{text:?}");
        }
    }
}
