//! What the fuzzing targets share: small models, files that are changed and then sealed again, and everything that can be
//! asked of a model.

pub mod checkpoint;
#[allow(dead_code, reason = "the converter's tests use the rest")]
#[path = "../../convert/tests/common/mod.rs"]
mod common;
pub mod exercise;
pub mod file;
pub mod input;
pub mod tokenizers;
