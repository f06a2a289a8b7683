//! rq's errors as Python's exceptions.

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, PyResult, import_exception};
use rq::ErrorKind;
use std::error::Error;

import_exception!(rq_runtime, ConversionError);
import_exception!(rq_runtime, FileError);
import_exception!(rq_runtime, ModelError);
import_exception!(rq_runtime, TaskError);
import_exception!(rq_runtime, TextError);

/// The exception of an error's kind, with the messages of its causes.
pub(crate) fn raise(error: &rq::Error) -> PyErr {
    let mut message = chain(error);
    if is_too_long(error) {
        message.push_str("; truncate=True cuts it");
    }
    match error.kind() {
        ErrorKind::Io => FileError::new_err(message),
        ErrorKind::Damaged | ErrorKind::NewerVersion => ModelError::new_err(message),
        ErrorKind::WrongHead => TaskError::new_err(message),
        ErrorKind::Text | ErrorKind::TooLong => TextError::new_err(message),
        ErrorKind::Option => PyValueError::new_err(message),
    }
}

fn is_too_long(error: &rq::Error) -> bool {
    match error {
        rq::Error::TooLong { .. } => true,
        rq::Error::InBatch { source, .. } => is_too_long(source),
        _ => false,
    }
}

/// An error's message and those of its causes, in the command's words.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes
        .map(rq_command::words_of)
        .collect::<Vec<_>>()
        .join(": ")
}

/// What a name stands for.
pub(crate) fn named<T: Copy>(what: &str, choices: &[(&str, T)], name: &str) -> PyResult<T> {
    let choice = choices.iter().find(|choice| choice.0 == name);
    choice.map(|choice| choice.1).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|choice| choice.0).collect();
        PyValueError::new_err(format!(
            "{what} is {name:?}; it can be {}",
            names.join(", ")
        ))
    })
}
