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
#[cfg(target_arch = "x86_64")]
mod ymm;

use crate::matmul::Decode;
use crate::packed::{CodesQ4, Group};
use crate::simd::Simd;

/// A value that exists only where the instruction set of a tier was detected.
pub(crate) trait Token: Copy + 'static {
    /// The token of the tier whose vectors this one uses.
    type Simd: Simd;

    /// Makes vectors.
    fn simd(self) -> Self::Simd;

    /// Runs a kernel in a function of its own that is compiled for this tier.
    ///
    /// The closure, and all that it calls, must be `#[inline(always)]`: what isn't inlined here is compiled for any processor,
    /// gives the same bits, and takes ten times as long.
    fn vectorize<R>(self, kernel: impl FnOnce() -> R) -> R;
}

/// What a kernel can use of a tier.
pub(crate) trait Tier: Token + Decode<[Group]> + Decode<CodesQ4> {}

impl<T: Token + Decode<[Group]> + Decode<CodesQ4>> Tier for T {}
