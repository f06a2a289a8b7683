//! Rotating and quantizing activations: see [`crate::activation`] for the definition.

use super::matmul::Panels;
use crate::activation::{ActivationBlock, SMALLEST_ABSMAX};
use crate::hadamard;
use crate::lanes::{LANES, Lanes};
use crate::packed::{GROUP, Group};
use crate::simd::{F32x16, Simd};
use crate::tier::Tier;
use crate::{BLOCK, VECTORS};

/// Rotates and quantizes a block of which `vectors` hold values; returns the codes and the largest rotated value's size, or
/// nothing for zeros. A block with a value that isn't finite, or whose rotation overflows, has no codes and the size NaN.
#[inline(always)]
fn quantize<S: Simd>(
    simd: S,
    mut x: [F32x16<S>; VECTORS],
    vectors: usize,
) -> Option<([i8; BLOCK], f32)> {
    if vectors == VECTORS {
        for (x, signs) in x.iter_mut().zip(&hadamard::SIGN_LANES) {
            *x = x.mul(simd.load(signs));
        }
        hadamard::transform_vectors(&mut x, VECTORS);
    } else {
        hadamard::transform_vectors(&mut x[..vectors], hadamard::width(vectors));
    }
    let mut absmax = x[0].abs();
    for x in &x[1..] {
        absmax = absmax.max_bits(x.abs());
    }
    let absmax = absmax.largest_bits();
    if absmax < SMALLEST_ABSMAX {
        return None;
    }
    if !absmax.is_finite() {
        return Some(([0; BLOCK], f32::NAN));
    }
    let inverse = simd.splat(127.0 / absmax);
    let codes: [[i8; 2 * LANES]; VECTORS / 2] =
        std::array::from_fn(|i| x[2 * i].mul(inverse).to_i8(x[2 * i + 1].mul(inverse)));
    Some((bytemuck::cast(codes), absmax))
}

/// An activation.
#[inline(always)]
fn activation<S: Simd>(simd: S, x: [F32x16<S>; VECTORS], vectors: usize) -> ActivationBlock {
    match quantize(simd, x, vectors) {
        None => ActivationBlock::ZERO,
        Some((codes, absmax)) => {
            let scale = absmax / 127.0 * hadamard::inverse(vectors);
            ActivationBlock::with_pairs(codes, simd.pairs(&codes), scale)
        }
    }
}

/// Some vectors, filled up with zeros.
#[inline(always)]
fn filled<'a, S: Simd>(
    simd: S,
    mut vectors: impl Iterator<Item = &'a Lanes>,
) -> [F32x16<S>; VECTORS] {
    let mut x = [simd.splat(0.0); VECTORS];
    for x in &mut x {
        match vectors.next() {
            Some(lanes) => *x = simd.load(lanes),
            None => break,
        }
    }
    x
}

/// Quantizes a row, eight vectors a block; those that the last block lacks count as zeros.
#[inline(always)]
pub(crate) fn quantize_row<T: Tier>(tier: T, row: &[Lanes], out: &mut [ActivationBlock]) {
    let simd = tier.simd();
    for (vectors, out) in row.chunks(VECTORS).zip(out) {
        let x = match vectors.as_array::<VECTORS>() {
            Some(vectors) => vectors.each_ref().map(|lanes| simd.load(lanes)),
            None => filled(simd, vectors.iter()),
        };
        *out = activation(simd, x, VECTORS);
    }
}

/// Quantizes `panels` panels of as many tokens as `out` has blocks, to blocks of `vectors` vectors; those that are missing
/// count as zeros.
#[inline(always)]
pub(crate) fn quantize_panels<T: Tier>(
    tier: T,
    values: Panels<'_>,
    panels: usize,
    vectors: usize,
    out: &mut [ActivationBlock],
) {
    let simd = tier.simd();
    for (token, out) in out.iter_mut().enumerate() {
        let x = block_of(simd, values, panels, token);
        *out = activation(simd, x, vectors);
    }
}

/// The vectors of a token in some panels.
#[inline(always)]
fn block_of<S: Simd>(
    simd: S,
    values: Panels<'_>,
    panels: usize,
    token: usize,
) -> [F32x16<S>; VECTORS] {
    let of_token = values.data[token..].iter().step_by(values.stride);
    filled(simd, of_token.take(panels))
}

/// Quantizes `panels` panels of `rows` rows to the block `block` of the `blocks` that a panel of packed rows has, each of
/// `vectors` vectors; those that are missing count as zeros, as do the rows that the last panel lacks.
#[inline(always)]
pub(crate) fn pack_rows<T: Tier>(
    tier: T,
    values: Panels<'_>,
    (panels, rows): (usize, usize),
    vectors: usize,
    (block, blocks): (usize, usize),
    (codes, scales): (&mut [Group], &mut [Lanes]),
) {
    let simd = tier.simd();
    let groups = vectors * LANES / GROUP;
    for (panel, first) in (0..rows).step_by(LANES).enumerate() {
        let at = panel * blocks + block;
        let (codes, scales) = (&mut codes[at * groups..][..groups], &mut scales[at]);
        let rows = LANES.min(rows - first);
        if rows < LANES {
            codes.as_flattened_mut().fill(0x80);
            scales.0.fill(0.0);
        }
        for lane in 0..rows {
            let x = block_of(simd, values, panels, first + lane);
            let (row, absmax) = quantize(simd, x, vectors).unwrap_or(([0; BLOCK], 0.0));
            // 22 significant bits, so that a tier's conversions are exact.
            scales.0[lane] = f32::from_bits((absmax / 127.0).to_bits() & !3);
            let (words, _) = row.as_chunks::<GROUP>();
            for (group, word) in codes.iter_mut().zip(words) {
                let bytes = &mut group.as_chunks_mut::<GROUP>().0[lane];
                *bytes = word.map(|code| code as u8 ^ 0x80);
            }
        }
    }
}
