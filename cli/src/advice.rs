//! What to do about an error of the library, in the terms of the command line: the library says what is wrong, and knows
//! no flags.

use crate::words;
use rq::{Error, Head};
use std::io::{self, ErrorKind};

/// The mask tokens of the family.
const MASKS: [&str; 2] = ["<mask>", "[MASK]"];

/// An error with its causes and the advice that it calls for, in one line.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(words::of).collect();
    let mut message = causes.join(": ");
    let advice = error.chain().find_map(|cause| {
        let of_system = cause.downcast_ref().and_then(advice_of_system);
        of_system.or_else(|| cause.downcast_ref().and_then(advice))
    });
    if let Some(advice) = advice {
        message = format!("{message}: {advice}");
    }
    message.lines().collect::<Vec<_>>().join(" ")
}

fn advice_of_system(error: &io::Error) -> Option<String> {
    let advice = match error.kind() {
        ErrorKind::FileTooLarge => {
            "it is beyond what the shell (`ulimit -f`) or the file system allows a file"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, or write to another disk"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

fn advice(error: &Error) -> Option<String> {
    match error {
        Error::TooLong { .. } => Some("shorten it, or pass --truncate".to_owned()),
        Error::WrongHead { found, .. } => Some(format!("it is for `rq {}`", command(*found))),
        Error::NotFinite { .. } | Error::EmbeddingRange => {
            Some("`rq verify` tells whether the file is damaged".to_owned())
        }
        Error::NoMask { mask, text } => {
            let other = MASKS
                .iter()
                .find(|other| *other != mask && text.contains(**other))?;
            Some(format!("{other} is the mask of other models"))
        }
        Error::InBatch { source, .. } => advice(source),
        _ => None,
    }
}

/// The command for models with a head.
pub(crate) fn command(head: Head) -> &'static str {
    match head {
        Head::MaskedLm => "fill",
        Head::SequenceClassification => "classify",
        Head::TokenClassification => "tag",
        Head::QuestionAnswering => "answer",
        Head::None => "embed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rq::FormatError;

    #[test]
    fn advice_follows_the_cause_that_it_is_for() {
        let too_long = |number| Error::InBatch {
            number,
            count: 2,
            source: Box::new(Error::TooLong {
                tokens: 9,
                limit: 8,
            }),
        };
        let error = anyhow::Error::new(too_long(2)).context("two\nlines");
        assert_eq!(
            message(&error),
            "two lines: text 2 of 2: the text has 9 tokens, and the model takes at most 8: shorten it, or pass --truncate"
        );
        let too_large = io::Error::from(ErrorKind::FileTooLarge);
        let too_large = message(&anyhow::Error::new(too_large).context("can't write a.rq"));
        assert!(
            too_large.starts_with("can't write a.rq: file too large: it is"),
            "{too_large}"
        );
        assert!(too_large.contains("`ulimit -f`"), "{too_large}");
        let full = FormatError::NoRoom {
            path: "a.rq".into(),
            needed: 365_100_000,
            source: ErrorKind::StorageFull.into(),
        };
        let full = message(&full.into());
        assert!(
            full.starts_with("can't write a.rq, which takes 365100 kB: ")
                && full.ends_with(": make room there, or write to another disk"),
            "{full}"
        );
        let missing = io::Error::from_raw_os_error(2); // ENOENT
        let missing = message(&anyhow::Error::new(missing).context("can't read a"));
        assert_eq!(missing, "can't read a: No such file or directory");
        assert_eq!(
            message(&Error::EmptyQuestion.into()),
            "the question is empty"
        );
    }
}
