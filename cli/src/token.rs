//! How a token is shown to a person: its text, or the bytes of a part of a character.

use crate::human::visible;
use rq::Tokenizer;

/// A token of a model in one line, without the space that it begins with.
///
/// In a byte-level vocabulary a token may be a part of a character, which decodes to nothing that can be read: its bytes are shown
/// as Python writes them.
pub(crate) fn shown(tokenizer: &Tokenizer, id: u32, text: &str) -> String {
    let bytes = text.contains(char::REPLACEMENT_CHARACTER).then(|| {
        let entry = tokenizer.id_to_token(id)?;
        bytes(&entry).filter(|bytes| std::str::from_utf8(bytes).is_err())
    });
    match bytes.flatten() {
        Some(bytes) => escaped(bytes.strip_prefix(b" ").unwrap_or(&bytes)),
        None => word(text),
    }
}

/// A token's text in one line, without the space that it begins with.
pub(crate) fn word(text: &str) -> String {
    match text.strip_prefix(' ') {
        Some("") => "␣".to_owned(),
        word => visible(word.unwrap_or(text)),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks().map(|chunk| {
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        visible(chunk.valid()) + &invalid.collect::<String>()
    });
    chunks.collect()
}

/// The bytes of an entry of a byte-level vocabulary, or of Unigram's entries for single bytes.
fn bytes(entry: &str) -> Option<Vec<u8>> {
    if let Some(hex) = entry.strip_prefix("<0x").and_then(|e| e.strip_suffix('>')) {
        return Some(vec![u8::from_str_radix(hex, 16).ok()?]);
    }
    entry.chars().map(byte).collect()
}

/// The byte that a character of a byte-level vocabulary stands for: a printable one of Latin-1 for itself, and those from U+0100 on
/// for the others in their order.
fn byte(character: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(character) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(printable),
        code => (0..=0xff)
            .filter(|byte| !printable(byte))
            .nth(code as usize - 0x100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes() {
        assert_eq!(
            [" door", " ", "\n", "'s"].map(word),
            ["door", "␣", "\\n", "'s"]
        );
        // The emoji U+1F600 as GPT-2's vocabulary writes it, and the first three of its four bytes.
        assert_eq!(bytes("ðŁĺĢ").unwrap(), "😀".as_bytes());
        assert_eq!(escaped(&bytes("ðŁĺ").unwrap()), r"\xf0\x9f\x98");
        assert_eq!(escaped(&bytes("aÃ").unwrap()), r"a\xc3");
        assert_eq!(bytes("<0xE3>").unwrap(), [0xe3]);
        assert_eq!(bytes("Ġthe").unwrap(), b" the");
        assert_eq!(bytes("▁the"), None);
        // Each byte has a character of its own.
        let mut all: Vec<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte)
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
    }
}
