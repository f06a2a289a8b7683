//! A part of an input, of several that are one after the other: `--shard 2/5`.

use std::ops::Range;
use std::str::FromStr;

/// One of so many parts of about the same number of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    number: u64,
    of: u64,
}

impl Shard {
    /// Whether it begins with the first line.
    pub(crate) fn is_first(self) -> bool {
        self.number == 1
    }

    /// Which of so many lines, counted from 0, belong to it. Those of all shards, in their order, are all lines.
    pub(crate) fn of_lines(self, lines: u64) -> Range<u64> {
        let end = |number: u64| {
            let end = u128::from(lines) * u128::from(number) / u128::from(self.of);
            u64::try_from(end).unwrap_or(lines)
        };
        end(self.number - 1)..end(self.number)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/');
        let numbers =
            numbers.and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => {
                Err("two whole numbers with / between them are needed, from 1/N to N/N".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_lines_in_their_order() {
        for lines in [0, 1, 2, 7, 100, u64::MAX] {
            for of in [1, 2, 3, 7, 10] {
                let mut next = 0;
                for number in 1..=of {
                    let range = Shard { number, of }.of_lines(lines);
                    assert_eq!(range.start, next);
                    assert!((range.end - range.start).saturating_sub(1) <= lines / of);
                    next = range.end;
                }
                assert_eq!(next, lines);
            }
        }
        assert_eq!("2/5".parse(), Ok(Shard { number: 2, of: 5 }));
        for wrong in ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
