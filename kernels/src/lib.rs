//! Block formats, packed layouts and kernels of `rq`: everything that touches a weight or an activation.
//!
//! - [`q8`] and [`q4`] define the weight blocks, [`packed`] arranges them, [`mod@activation`] defines the other operand, and
//!   [`hadamard`] rotates both.
//! - [`kernels`](mod@kernels) gives, for each instruction set, the same operations with the same bits: the quantized matrix
//!   products, and float operations on a virtual vector of 16 [`lanes`].
//! - [`peak`] measures what the machine can do at most.
//!
//! This crate knows nothing of models or files. Why every tier gives the same bits:
//!
//! 1. integer dot products are exact (nothing saturates), so the order of their additions doesn't matter;
//! 2. float work is defined on 16 lanes, by operations that IEEE 754 defines exactly, in a fixed order;
//! 3. a reduction runs over the 16 lanes and then down one fixed tree;
//! 4. the order of accumulation along K is the order of the blocks, whatever the tile;
//! 5. threads divide outputs, never a sum.

#[cfg(target_endian = "big")]
compile_error!("rq reads its files in place, and they are little-endian");

#[macro_use]
mod table;
#[macro_use]
mod tier;

pub mod activation;
mod block;
pub mod environment;
mod float;
mod fma;
pub mod hadamard;
pub mod isa;
pub mod kernels;
pub mod lanes;
mod matmul;
pub mod packed;
pub mod peak;
pub mod q4;
pub mod q8;
mod simd;
pub mod threads;

pub use float::gelu::Gelu;
pub use float::matmul::{Panels, PanelsMut};

/// Columns in a block: of weights and of activations.
pub const BLOCK: usize = 128;
/// Vectors of a block, and panels of as many outputs.
pub const VECTORS: usize = BLOCK / lanes::LANES;
