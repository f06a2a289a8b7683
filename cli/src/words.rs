//! What libraries and the operating system say of an error, in the words of a person who doesn't write Rust.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What an error says, without its causes: what a JSON parser or the operating system says of a file, in plain words.
pub fn of(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>() {
        Some(error) => of_system(error),
        None => json(&without_number(&error.to_string())),
    }
}

/// What the operating system says, without its number for it.
fn of_system(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        ErrorKind::InvalidData if error.get_ref().is_none() => "it isn't UTF-8".to_owned(),
        _ => without_number(&error.to_string()),
    }
}

/// A text without the numbers that Rust puts behind what the operating system says, and the names of temporary files.
fn without_number(text: &str) -> String {
    let mut text = match text.split_once(" at path \"") {
        Some((before, path)) if path.ends_with(".tmp\"") => before.to_owned(),
        _ => text.to_owned(),
    };
    while let Some(start) = text.find(" (os error ") {
        let Some(length) = text[start..].find(')') else {
            break;
        };
        text.replace_range(start..=start + length, "");
    }
    text
}

/// How serde_json begins what it says.
const OPENINGS: [&str; 16] = [
    "EOF while parsing",
    "missing field",
    "duplicate field",
    "invalid type:",
    "invalid value:",
    "expected ",
    "trailing ",
    "key must be",
    "control character",
    "invalid escape",
    "invalid number",
    "invalid unicode",
    "lone leading",
    "unexpected end of hex",
    "number out of range",
    "recursion limit",
];

/// An error's text, in which what serde_json says at the end is in plain words, and the place is one in a line.
pub(crate) fn json(text: &str) -> String {
    let Some((before, place)) = place(text) else {
        return text.to_owned();
    };
    let begins = |opening: &&str| {
        let at = before.find(*opening)?;
        (at == 0 || before[..at].ends_with(": ")).then_some(at)
    };
    let at = OPENINGS.iter().filter_map(begins).min();
    let (context, said) = before.split_at(at.unwrap_or(before.len()));
    let said = match said {
        "" => String::new(),
        _ if said.starts_with("EOF") => "it ends within the JSON".to_owned(),
        _ => data(said).unwrap_or_else(|| syntax(said).to_owned()),
    };
    format!("{context}{said}{place}")
}

/// A text without the place at its end, and that place.
fn place(text: &str) -> Option<(&str, String)> {
    let (rest, byte) = text.rsplit_once(" column ")?;
    let (before, line) = rest.rsplit_once(" at line ")?;
    let place = match (line.parse::<u64>().ok()?, byte.parse::<u64>().ok()?) {
        (0 | 1, 0) => String::new(),
        (1, byte) => format!(", at byte {byte}"),
        (line, 0) => format!(", at line {line}"),
        (line, byte) => format!(", at line {line}, byte {byte}"),
    };
    Some((before, place))
}

fn syntax(message: &str) -> &'static str {
    match message {
        "trailing characters" => "something follows the JSON",
        "trailing comma" => "there is a comma with nothing behind it",
        "recursion limit exceeded" => "it is nested too deeply",
        "number out of range" => "a number is too large",
        _ if message.contains("surrogate") || message.contains("end of hex") => {
            "a \\u escape is half of a surrogate pair"
        }
        _ if message.contains("escape") => "a backslash is before what it can't escape",
        _ if message.contains("control character") => {
            "a control character stands in a string, where it must be escaped"
        }
        _ => "it isn't JSON",
    }
}

/// What is JSON, and something else than was needed.
fn data(message: &str) -> Option<String> {
    let field = |prefix: &str| message.strip_prefix(prefix);
    if let Some(field) = field("missing field ") {
        return Some(format!("the field {field} is missing"));
    }
    if let Some(field) = field("duplicate field ") {
        return Some(format!("the field {field} is there twice"));
    }
    let kinds = ["invalid type: ", "invalid value: "];
    let parts = kinds.iter().find_map(|kind| message.strip_prefix(kind))?;
    let (found, wanted) = parts.rsplit_once(", expected ")?;
    Some(format!(
        "there is {}, in place of {}",
        value(found),
        kind_of(wanted)
    ))
}

/// A value, as serde names it.
fn value(found: &str) -> String {
    let number = ["integer ", "floating point "]
        .iter()
        .find_map(|kind| found.strip_prefix(kind));
    match (number, found.split(' ').next()) {
        (Some(number), _) => format!("the number {}", number.trim_matches('`')),
        (None, Some("string")) => "a string".to_owned(),
        (None, Some("sequence")) => "an array".to_owned(),
        (None, Some("map")) => "an object".to_owned(),
        (None, Some("boolean")) => found.replace("boolean ", "").replace('`', ""),
        _ => found.to_owned(),
    }
}

/// What a value must be, as serde names it.
fn kind_of(wanted: &str) -> &str {
    match wanted {
        "a sequence" => "an array",
        "a map" => "an object",
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => {
            "a whole number"
        }
        _ if wanted.starts_with("struct ") => "an object",
        _ if wanted.starts_with("tuple ") || wanted.starts_with("an array") => "an array",
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct Line {
        text: String,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        list: Vec<bool>,
    }

    #[test]
    fn json_in_plain_words() {
        for (input, said) in [
            ("{", "it ends within the JSON, at byte 1"),
            ("", "it ends within the JSON"),
            (
                "{\"text\": \"d\"} e",
                "something follows the JSON, at byte 15",
            ),
            ("{\"a\": 1}", "the field `text` is missing, at byte 8"),
            (
                "{\"text\": 5}",
                "there is the number 5, in place of a string, at byte 10",
            ),
            (
                "{\"text\": null}",
                "there is null, in place of a string, at byte 13",
            ),
            (
                "{\"text\": [\"a\"]}",
                "there is an array, in place of a string, at byte 9",
            ),
            (
                "{\"text\": \"\", \"count\": \"5\"}",
                "there is a string, in place of a whole number, at byte 25",
            ),
            (
                "{\"text\": \"\", \"count\": -5}",
                "there is the number -5, in place of a whole number, at byte 24",
            ),
            (
                "{\"text\": \"\", \"list\": {}}",
                "there is an object, in place of an array, at byte 21",
            ),
            (
                "{\"text\": \"\", \"list\": [1]}",
                "there is the number 1, in place of a boolean, at byte 23",
            ),
            (
                "7",
                "there is the number 7, in place of an object, at byte 1",
            ),
            ("nul", "it ends within the JSON, at byte 3"),
            ("{a}", "it isn't JSON, at byte 2"),
            (
                "{\"text\": \"\\x\"}",
                "a backslash is before what it can't escape, at byte 12",
            ),
            (
                "{\"text\": \"\", \"text\": \"\"}",
                "the field `text` is there twice, at byte 19",
            ),
            ("{\n", "it ends within the JSON, at line 2"),
            (
                "{\n\"text\": 5}",
                "there is the number 5, in place of a string, at line 2, byte 9",
            ),
        ] {
            let error = serde_json::from_str::<Line>(input).unwrap_err();
            assert_eq!(of(&error), said, "{input}: {error}");
        }
    }

    /// What a library has put into a text of its own.
    #[test]
    fn json_within_another_error() {
        let said = "a.json isn't a tokenizer: missing field `model` at line 1 column 2";
        let expected = "a.json isn't a tokenizer: the field `model` is missing, at byte 2";
        assert_eq!(json(said), expected);
        let said = "its model isn't one of BERT's: no such thing at line 3 column 4";
        let expected = "its model isn't one of BERT's: no such thing, at line 3, byte 4";
        assert_eq!(json(said), expected);
        assert_eq!(json("a table at line 1"), "a table at line 1");
    }

    #[test]
    fn the_operating_system_has_no_numbers() {
        let error = io::Error::from_raw_os_error(2);
        assert!(error.to_string().contains("(os error 2)"));
        assert!(!of(&error).contains("os error"), "{}", of(&error));
        assert_eq!(without_number("a (os error 5): b (os error 6)"), "a: b");
        assert_eq!(
            of(&io::Error::from(ErrorKind::UnexpectedEof)),
            "it ends too early"
        );
        assert_eq!(of(&io::Error::other("unplugged")), "unplugged");
    }
}
