//! The q4 block: 32 weights as 4-bit codes over a non-linear codebook, with one f16 scale.
//!
//! `weight = scale * LEVELS[code]`. The levels are integers of at most 31 in size, so that an instruction set
//! without an int8 dot product can add several products in 16 bits before it widens; a table look-up turns 16
//! codes into levels, so the codebook costs no more than a linear one. How the levels were fitted, and their error
//! beside other 4-bit formats, is in `docs/q4-codebook/`. This module is the scalar definition.

use crate::BLOCK;
use half::f16;

/// The codebook. Frozen: files depend on it.
pub const LEVELS: [i8; 16] = [
    -31, -25, -20, -16, -12, -9, -6, -3, 0, 3, 6, 9, 13, 17, 22, 28,
];

/// One quantized block before it is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockQ4 {
    /// The scale of the block; negative where the mirrored codebook fits better.
    pub scale: f16,
    /// Indices into [`LEVELS`].
    pub codes: [u8; BLOCK],
}

/// Quantizes 32 finite weights with the scale that leaves the least squared error among those searched.
///
/// Returns `None` when the scale doesn't fit f16.
pub fn quantize(weights: &[f32; BLOCK]) -> Option<BlockQ4> {
    let _ = weights;
    todo!()
}

/// The weights that a block stands for.
pub fn dequantize(block: &BlockQ4) -> [f32; BLOCK] {
    block
        .codes
        .map(|c| block.scale.to_f32() * f32::from(LEVELS[usize::from(c)]))
}
