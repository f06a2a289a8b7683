//! The tiers. One is a token, which proves its instruction set; the vector that the token makes; and a product for each
//! format of codes, which goes with [`crate::matmul`].
//!
//! Kernels are written once, over any [`Tier`]. `docs/kernels.md` has the table of tiers, and what to do
//! for a new one.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are indexed in step; iterators over them hide the shape"
)]

#[macro_use]
pub(crate) mod token;

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod ymm;

use crate::block::Decode;
use crate::packed::{CodesQ4, Group};

/// What a kernel can use of a tier.
pub(crate) trait Tier: Decode<[Group]> + Decode<CodesQ4> {}

impl<T: Decode<[Group]> + Decode<CodesQ4>> Tier for T {}
