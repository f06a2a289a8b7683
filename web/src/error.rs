//! Errors as the page gets them: a code for programs, and a message for people.

use rq::ErrorKind;
use serde::Serialize;
use std::error::Error;

/// Why a request has no answer.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// What is at fault: `model`, `task`, `text`, `option`, `checksum` or `system`.
    pub code: &'static str,
    /// What is wrong, where, and what to do about it.
    pub message: String,
}

impl Refusal {
    /// An option, or what stands in its place.
    pub(crate) fn option(message: String) -> Self {
        Self {
            code: "option",
            message,
        }
    }
}

impl From<rq::Error> for Refusal {
    fn from(error: rq::Error) -> Self {
        let mut message = chain(&error);
        if is_too_long(&error) {
            message.push_str("; the option truncate: true cuts it");
        }
        let code = match error.kind() {
            ErrorKind::Io => "system",
            ErrorKind::Damaged | ErrorKind::NewerVersion => "model",
            ErrorKind::WrongHead => "task",
            ErrorKind::Text | ErrorKind::TooLong => "text",
            ErrorKind::Option => "option",
        };
        Self { code, message }
    }
}

impl From<rq::FormatError> for Refusal {
    fn from(error: rq::FormatError) -> Self {
        rq::Error::from(error).into()
    }
}

fn is_too_long(error: &rq::Error) -> bool {
    match error {
        rq::Error::TooLong { .. } => true,
        rq::Error::InBatch { source, .. } => is_too_long(source),
        _ => false,
    }
}

/// An error's message and those of its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}
