//! The native part of the Python package `rq_runtime`, whose modules wrap it: see `python/rq_runtime/_native.pyi`.
//!
//! It computes without the interpreter's lock, and asks Python between batches whether someone pressed Ctrl-C.

#![deny(unsafe_code)]

mod arrow;
mod convert;
mod error;
mod model;
mod session;

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs the command `rq` with these arguments, of which the first is its name. Returns its exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| rq_command::main(arguments))
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::arrow::{Embeddings, texts};
    #[pymodule_export]
    use crate::command;
    #[pymodule_export]
    use crate::convert::convert;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::session::Session;
}
