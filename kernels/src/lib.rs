//! Block formats, packed layouts and kernels of `rq`.
//!
//! This crate knows nothing of models or files.

#[cfg(target_endian = "big")]
compile_error!("rq reads its files in place, and they are little-endian");

pub mod activation;
pub mod isa;
pub mod lanes;
pub mod packed;
pub mod q4;
pub mod q8;

/// Values in a block along K: of weights and of activations.
pub const BLOCK: usize = 32;
