//! Where the characters of a text are: tokenizers count characters (code points), and Rust's slices bytes.

use std::ops::Range;

/// The characters of a text, and their bytes.
pub struct Characters {
    /// The byte at which each begins, and the text's end.
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

    /// What of a range is in the text; where it ends before it starts, nothing. A tokenizer that drops characters may count
    /// wrong behind them.
    pub fn within(&self, start: usize, end: usize) -> Range<usize> {
        let last = self.starts.len() - 1;
        let start = start.min(last);
        start..end.clamp(start, last)
    }

    /// The bytes of what of a range is in the text.
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
