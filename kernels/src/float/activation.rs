//! Quantizing activations to int8 blocks of 32: see [`crate::activation`] for the definition.

use crate::activation::{ActivationBlock, SMALLEST_ABSMAX};
use crate::lanes::{LANES, Lanes};
use crate::simd::Simd16;

/// Quantizes 32 values given as two vectors.
#[inline(always)]
fn quantize<V: Simd16>(low: V, high: V) -> ActivationBlock {
    let absmax = low.abs().max(high.abs()).largest();
    if absmax < SMALLEST_ABSMAX {
        return ActivationBlock::default();
    }
    let inverse = V::splat(127.0 / absmax);
    let mut block = ActivationBlock {
        scale: absmax / 127.0,
        ..ActivationBlock::default()
    };
    let (first, second) = block.codes.split_at_mut(LANES);
    first.copy_from_slice(&low.mul(inverse).round().to_i8());
    second.copy_from_slice(&high.mul(inverse).round().to_i8());
    let sum: i32 = block.codes.iter().map(|&c| i32::from(c)).sum();
    block.offset = -128 * sum;
    block
}

/// Quantizes a row, two vectors a block; a missing last vector counts as zeros.
#[inline(always)]
pub(crate) fn quantize_row<V: Simd16>(row: &[Lanes], out: &mut [ActivationBlock]) {
    for (pair, out) in row.chunks(2).zip(out) {
        let high = pair.get(1).unwrap_or(&Lanes::ZERO);
        *out = quantize(V::load(&pair[0]), V::load(high));
    }
}

/// Quantizes two neighbouring panels of as many tokens as `out` has blocks; a missing second panel counts as zeros.
#[inline(always)]
pub(crate) fn quantize_panels<V: Simd16>(panels: &[Lanes], out: &mut [ActivationBlock]) {
    let (low, high) = panels.split_at(out.len());
    for (token, out) in out.iter_mut().enumerate() {
        let high = high.get(token).unwrap_or(&Lanes::ZERO);
        *out = quantize(V::load(&low[token]), V::load(high));
    }
}
