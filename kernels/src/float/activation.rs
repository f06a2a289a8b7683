//! Quantizing activations to int8 blocks of 32: see [`crate::activation`] for the definition.

use crate::activation::{ActivationBlock, SMALLEST_ABSMAX};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ8, GROUP, GROUP_BYTES};
use crate::simd::{F32x16, Simd};
use crate::tier::Tier;

/// Quantizes 32 values given as two vectors.
#[inline(always)]
fn quantize<S: Simd>(low: F32x16<S>, high: F32x16<S>) -> ActivationBlock {
    let absmax = low.abs().max(high.abs()).largest();
    if absmax < SMALLEST_ABSMAX {
        return ActivationBlock::ZERO;
    }
    let inverse = low.simd().splat(127.0 / absmax);
    let codes = low.mul(inverse).to_i8(high.mul(inverse));
    ActivationBlock::new(codes, absmax / 127.0)
}

/// Quantizes a row, two vectors a block; a missing last vector counts as zeros.
#[inline(always)]
pub(crate) fn quantize_row<T: Tier>(tier: T, row: &[Lanes], out: &mut [ActivationBlock]) {
    let simd = tier.simd();
    for (pair, out) in row.chunks(2).zip(out) {
        let high = pair.get(1).unwrap_or(&Lanes::ZERO);
        *out = quantize(simd.load(&pair[0]), simd.load(high));
    }
}

/// Quantizes two neighbouring panels of as many tokens as `out` has blocks; `high` may be empty, and counts as zeros.
#[inline(always)]
pub(crate) fn quantize_panels<T: Tier>(
    tier: T,
    low: &[Lanes],
    high: &[Lanes],
    out: &mut [ActivationBlock],
) {
    let simd = tier.simd();
    for (token, out) in out.iter_mut().enumerate() {
        let high = high.get(token).unwrap_or(&Lanes::ZERO);
        *out = quantize(simd.load(&low[token]), simd.load(high));
    }
}

/// Quantizes 32 columns of some rows to the block `block` of the `blocks` that a panel has; `high` may be empty, and
/// counts as zeros, as do the rows that the last panel lacks.
#[inline(always)]
pub(crate) fn pack_rows<T: Tier>(
    tier: T,
    low: &[Lanes],
    high: &[Lanes],
    (block, blocks): (usize, usize),
    codes: &mut [CodesQ8],
    scales: &mut [Lanes],
) {
    let simd = tier.simd();
    for (panel, rows) in low.chunks(LANES).enumerate() {
        let at = panel * blocks + block;
        let (codes, scales) = (&mut codes[at], &mut scales[at]);
        if rows.len() < LANES {
            codes.fill(0x80);
            scales.0.fill(0.0);
        }
        for (lane, row) in rows.iter().enumerate() {
            let high = high.get(panel * LANES + lane).unwrap_or(&Lanes::ZERO);
            let quantized = quantize(simd.load(row), simd.load(high));
            // 22 significant bits, so that a tier's conversions are exact.
            scales.0[lane] = f32::from_bits(quantized.scale.to_bits() & !3);
            let (words, _) = quantized.codes.as_chunks::<GROUP>();
            for (group, word) in words.iter().enumerate() {
                let bytes: &mut [u8; GROUP] = codes[group * GROUP_BYTES + lane * GROUP..]
                    .first_chunk_mut()
                    .expect("a group of the lane");
                *bytes = word.map(|code| code as u8 ^ 0x80);
            }
        }
    }
}
