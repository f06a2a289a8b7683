//! From characters to bytes: tokenizers count characters (code points), Rust's strings bytes.

use std::ops::Range;

/// Where each character of a text is, in bytes.
#[derive(Debug)]
pub struct Characters {
    /// The byte at which each begins, then the length of the text.
    starts: Vec<usize>,
}

impl Characters {
    /// Finds the characters of a text.
    pub fn new(text: &str) -> Self {
        let starts = text.char_indices().map(|(byte, _)| byte);
        Self {
            starts: starts.chain([text.len()]).collect(),
        }
    }

    /// The part of a range of characters that is in the text; empty where the range ends before it starts. A tokenizer that
    /// drops characters may give offsets that are wrong behind them.
    pub fn within(&self, start: usize, end: usize) -> Range<usize> {
        let last = self.starts.len() - 1;
        let start = start.min(last);
        start..end.clamp(start, last)
    }

    /// The bytes of that part.
    pub fn bytes(&self, start: usize, end: usize) -> Range<usize> {
        let Range { start, end } = self.within(start, end);
        self.starts[start]..self.starts[end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_and_bytes() {
        let characters = Characters::new("aé🦀");
        assert_eq!(characters.bytes(0, 1), 0..1);
        assert_eq!(characters.bytes(1, 3), 1..7);
        assert_eq!(
            (characters.within(2, 9), characters.bytes(2, 9)),
            (2..3, 3..7)
        );
        assert_eq!(characters.bytes(2, 1), 3..3);
        assert_eq!(characters.bytes(9, 9), 7..7);
        assert_eq!(Characters::new("").bytes(0, 1), 0..0);
    }
}
