//! Quantizing activations to int8 blocks of 32: see [`crate::activation`] for the definition.

use crate::activation::{ActivationBlock, SMALLEST_ABSMAX};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ8, GROUP, GROUP_BYTES};
use crate::simd::Simd16;

/// Quantizes 32 values given as two vectors.
#[inline(always)]
fn quantize<V: Simd16>(low: V, high: V) -> ActivationBlock {
    let absmax = low.abs().max(high.abs()).largest();
    if absmax < SMALLEST_ABSMAX {
        return ActivationBlock::ZERO;
    }
    let inverse = V::splat(127.0 / absmax);
    let codes = low.mul(inverse).to_i8(high.mul(inverse));
    ActivationBlock::new(codes, absmax / 127.0)
}

/// Quantizes a row, two vectors a block; a missing last vector counts as zeros.
#[inline(always)]
pub(crate) fn quantize_row<V: Simd16>(row: &[Lanes], out: &mut [ActivationBlock]) {
    for (pair, out) in row.chunks(2).zip(out) {
        let high = pair.get(1).unwrap_or(&Lanes::ZERO);
        *out = quantize(V::load(&pair[0]), V::load(high));
    }
}

/// Quantizes two neighbouring panels of as many tokens as `out` has blocks; `high` may be empty, and counts as zeros.
#[inline(always)]
pub(crate) fn quantize_panels<V: Simd16>(
    low: &[Lanes],
    high: &[Lanes],
    out: &mut [ActivationBlock],
) {
    for (token, out) in out.iter_mut().enumerate() {
        let high = high.get(token).unwrap_or(&Lanes::ZERO);
        *out = quantize(V::load(&low[token]), V::load(high));
    }
}

/// Quantizes 32 columns of some rows to the blocks `block` of a packed matrix that has `blocks` in a panel; `high` may be
/// empty, and counts as zeros, as do the rows that the last panel lacks.
#[inline(always)]
pub(crate) fn pack<V: Simd16>(
    low: &[Lanes],
    high: &[Lanes],
    (block, blocks): (usize, usize),
    codes: &mut [CodesQ8],
    scales: &mut [Lanes],
) {
    for (panel, rows) in low.chunks(LANES).enumerate() {
        let at = panel * blocks + block;
        let (codes, scales) = (&mut codes[at], &mut scales[at]);
        if rows.len() < LANES {
            codes.fill(0x80);
            scales.0.fill(0.0);
        }
        for (lane, row) in rows.iter().enumerate() {
            let high = high.get(panel * LANES + lane).unwrap_or(&Lanes::ZERO);
            let quantized = quantize(V::load(row), V::load(high));
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
