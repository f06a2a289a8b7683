//! Numbers and texts as a person reads them.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns of a bar for 1: one for 5 %.
pub(crate) const BAR: usize = 20;
/// Columns of a shortened text.
const SHORT: usize = 60;
/// What stands for the rest of a text that is cut.
const REST: &str = "...";

/// A bar for a number from 0 to 1, in eighths of a column. It is the same length for the same number in every command.
pub(crate) fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part.clamp(0.0, 1.0) * (8 * BAR) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A probability in percent, eight characters wide.
pub(crate) fn percent(probability: f32) -> String {
    match probability * 100.0 {
        ..0.01 => " <0.01 %".to_owned(),
        percent => format!("{percent:6.2} %"),
    }
}

/// A share of many things, in percent.
pub(crate) fn share(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

/// A size in bytes, in decimal units, as file managers show it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        ..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A whole number with a comma between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8(groups.join(&b',')).expect("digits and commas")
}

/// How many there are of something, whose plural ends with an s.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A number with three significant figures, or with all digits before the point.
pub(crate) fn figures(x: f64) -> String {
    match x {
        ..1.0 => format!("{x:.3}"),
        ..10.0 => format!("{x:.2}"),
        ..100.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

/// Whether a terminal would obey a character, or show nothing of it and so hide what a text is: control characters, separators
/// of lines, marks of direction, spaces without width. Joiners aren't among them, which are parts of emoji and of words.
pub(crate) fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A text in one line, with its invisible characters as JSON escapes them.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown += "\\n",
            '\r' => shown += "\\r",
            '\t' => shown += "\\t",
            c if invisible(c) => shown += &format!("\\u{:04x}", u32::from(c)),
            c => shown.push(c),
        }
    }
    shown
}

/// The beginning of a text, visible.
pub(crate) fn shortened(text: &str) -> String {
    cut(&visible(text), SHORT + REST.len())
}

/// A text in at most so many columns. One that has more ends with dots; no character is divided.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let end = end_of(text.graphemes(true), columns.saturating_sub(REST.len()));
    text[..end].to_owned() + REST
}

/// Bytes of the characters that fit so many columns.
pub(crate) fn end_of<'t>(characters: impl Iterator<Item = &'t str>, columns: usize) -> usize {
    let mut width = 0;
    let fitting = characters.take_while(|character| {
        width += character.width();
        width <= columns
    });
    fitting.map(str::len).sum()
}

/// The first of some labels, and how many more there are.
pub(crate) fn listed(labels: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = labels.iter().take(SHOWN).map(|label| visible(label));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match labels.len() - labels.len().min(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Cells of a column, filled with spaces to the width of the widest. Characters may take two columns of a terminal, or none.
pub(crate) fn column(cells: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut cells: Vec<String> = cells.into_iter().collect();
    let width = cells.iter().map(|cell| cell.width()).max().unwrap_or(0);
    for cell in &mut cells {
        *cell += &" ".repeat(width - cell.width());
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let shown = [1.0, 0.1234, 0.00011, 0.00004, 0.0].map(percent);
        let expected = ["100.00 %", " 12.34 %", "  0.01 %", " <0.01 %", " <0.01 %"];
        assert_eq!(shown, expected);
        assert_eq!(
            [0.0, 0.3333, 1.0].map(share),
            ["0.0 %", "33.3 %", "100.0 %"]
        );
        let sizes = [0, 999_949, 1_000_000, 381_700_000].map(size);
        assert_eq!(sizes, ["0.0 kB", "999.9 kB", "1.0 MB", "381.7 MB"]);
        let numbers = [0, 999, 1000, 10_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "10,000", "1,234,567"]);
        let counts = [0, 1, 2].map(|number| count(number, "thread"));
        assert_eq!(counts, ["0 threads", "1 thread", "2 threads"]);
        let shown = [0.0123, 0.5, 1.234, 12.34, 123.4, 1234.5].map(figures);
        assert_eq!(shown, ["0.012", "0.500", "1.23", "12.3", "123", "1234"]);
    }

    #[test]
    fn bars() {
        assert_eq!(
            [0.0, 0.003, 0.00626, 0.1433, 0.5].map(bar),
            ["", "", "▏", "██▉", &"█".repeat(10)]
        );
        assert_eq!([1.0, 1.2].map(bar), ["█".repeat(20), "█".repeat(20)]);
        assert_eq!([f64::NAN, -1.0].map(bar), ["", ""]);
    }

    #[test]
    fn texts() {
        assert_eq!(visible("a\tb\u{1b}[1m é"), "a\\tb\\u001b[1m é");
        assert_eq!(visible(r#"'"\ \' \n"#), r#"'"\ \' \n"#);
        assert_eq!(visible("\u{200b}"), "\\u200b");
        assert_eq!(visible("👩\u{200d}👧 \u{202e}"), "👩\u{200d}👧 \\u202e");
        assert_eq!(shortened(&"é".repeat(63)), "é".repeat(63));
        assert_eq!(shortened(&"é".repeat(64)), "é".repeat(60) + "...");
        // Wide characters, marks and emoji of several code points are whole or not there.
        assert_eq!(cut("猫猫猫猫", 8), "猫猫猫猫");
        assert_eq!(cut("猫猫猫猫", 7), "猫猫...");
        assert_eq!(cut("e\u{301}abcd", 5), "e\u{301}abcd");
        assert_eq!(cut("e\u{301}abcde", 5), "e\u{301}a...");
        let family = "👩\u{200d}👧";
        assert_eq!(
            cut(&format!("{family}{family}ab"), 5),
            format!("{family}...")
        );
    }

    #[test]
    fn columns_have_the_width_of_the_widest_cell() {
        let cells = ["猫", "cat", "e\u{301}"].map(str::to_owned);
        assert_eq!(column(cells), ["猫 ", "cat", "e\u{301}  "]);
        assert!(column([]).is_empty());
    }
}
