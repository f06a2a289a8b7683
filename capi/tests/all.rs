//! The tests of the C interface, in one program.

#[path = "../../tests/common/mod.rs"]
mod common;

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

mod batches;
mod calls;
mod header;
mod readme;
