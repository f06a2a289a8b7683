//! The q4 block: 128 weights, rotated, as 4-bit codes with an integer scale for 16 of them and an f16 for all.
//!
//! `rotated weight = scale * (sub-scale * code)`, codes in [-8, 7], sub-scales in [1, 15]. So |sub-scale * code| <= 120: a
//! block is one of q8 after an exact multiplication of small integers. How this was chosen, and its error beside other
//! 4-bit formats, is in `docs/quantization/`. This module is the scalar definition; [`crate::packed`] rotates and
//! arranges.

use crate::BLOCK;
use crate::lanes::round;
use crate::packed::{SUB_BLOCK, SUB_BLOCKS};
use half::f16;
use std::ops::RangeInclusive;

/// The smallest code.
pub const MIN_CODE: i8 = -8;
/// The largest code.
pub const MAX_CODE: i8 = 7;
/// The largest sub-scale.
pub const MAX_SUB_SCALE: u8 = 15;

/// One quantized block before it is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockQ4 {
    /// The scale of the block; negative where the mirrored codes fit better.
    pub scale: f16,
    /// The scales of the sub-blocks, in [1, 15].
    pub sub_scales: [u8; SUB_BLOCKS],
    /// The codes, in [-8, 7].
    pub codes: [i8; BLOCK],
}

/// Where the search puts a block's largest value in size, in units of the block's scale. A negative scale has the one code more
/// on the side of the positive values.
const LARGEST: [f32; 10] = [
    92.0, 99.0, 106.0, 113.0, 120.0, -92.0, -99.0, -106.0, -113.0, -120.0,
];

/// Where it puts a sub-block's largest value, in steps of that: from the fewest to the most.
const STEPS: [f32; 2] = [6.3, 8.7];

/// The sub-scales that are tried for a sub-block whose largest value is `absmax` in size, in units of the block's scale.
#[inline(always)]
pub fn sub_scales(absmax: f32) -> RangeInclusive<u8> {
    let most = f32::from(MAX_SUB_SCALE);
    let last = (absmax / STEPS[0]).clamp(1.0, most) as u8;
    let first = (absmax / STEPS[1]).clamp(0.0, most - 1.0) as u8 + 1;
    first.min(last)..=last
}

/// The code of a value, given one over its step: rounded half to even, and held within [-8, 7].
#[inline(always)]
pub fn code(value: f32, inverse: f32) -> f32 {
    round((value * inverse).clamp(f32::from(MIN_CODE), f32::from(MAX_CODE)))
}

/// Quantizes 128 finite values with the scales that leave the least squared error among those searched.
///
/// For each candidate of the block's scale, every sub-block takes the sub-scale with the least error. The candidate with
/// the least error in all wins, the earlier one on a tie; its scale becomes the least-squares one for these codes, rounded
/// to f16, and the values take their nearest codes again. All sums are f32 in a fixed order, so that every machine
/// packs the same bytes.
///
/// Returns `None` when the scale doesn't fit f16.
pub fn quantize(values: &[f32; BLOCK]) -> Option<BlockQ4> {
    let parts = values.as_chunks::<SUB_BLOCK>().0;
    let absmax: [f32; SUB_BLOCKS] =
        std::array::from_fn(|j| parts[j].iter().fold(0.0f32, |m, x| m.max(x.abs())));
    let largest = absmax.iter().fold(0.0f32, |m, &x| m.max(x));
    let silent = BlockQ4 {
        scale: f16::ZERO,
        sub_scales: [1; SUB_BLOCKS],
        codes: [0; BLOCK],
    };
    if largest == 0.0 {
        return Some(silent);
    }
    let (mut best, mut sub_scales_of_best) = (f32::INFINITY, [1; SUB_BLOCKS]);
    let mut scale = 0.0;
    for candidate in LARGEST {
        let unit = largest / candidate;
        let mut sum = 0.0;
        let mut chosen = [1; SUB_BLOCKS];
        for j in 0..SUB_BLOCKS {
            let mut least = f32::INFINITY;
            for sub_scale in sub_scales(absmax[j] / unit.abs()) {
                let error = error(&parts[j], unit * f32::from(sub_scale));
                if error < least {
                    (least, chosen[j]) = (error, sub_scale);
                }
            }
            sum += least;
        }
        if sum < best {
            (best, sub_scales_of_best, scale) = (sum, chosen, unit);
        }
    }
    let scale = least_squares(parts, scale, sub_scales_of_best).unwrap_or(scale);
    let scale = f16::from_f32(scale);
    if !scale.is_finite() {
        return None;
    }
    if scale == f16::ZERO {
        return Some(silent); // underflow: the whole block is below 1e-5
    }
    let mut codes = [0; BLOCK];
    for (j, codes) in codes.as_chunks_mut::<SUB_BLOCK>().0.iter_mut().enumerate() {
        let inverse = 1.0 / (scale.to_f32() * f32::from(sub_scales_of_best[j]));
        *codes = parts[j].map(|x| code(x, inverse) as i8);
    }
    Some(BlockQ4 {
        scale,
        sub_scales: sub_scales_of_best,
        codes,
    })
}

/// The squared error of a sub-block with a step.
#[inline(always)]
fn error(values: &[f32; SUB_BLOCK], step: f32) -> f32 {
    let inverse = 1.0 / step;
    let squares = values.map(|x| {
        let error = x - step * code(x, inverse);
        error * error
    });
    sum(squares)
}

/// The scale with the least squared error for the codes that a block takes with these scales.
fn least_squares(
    parts: &[[f32; SUB_BLOCK]],
    scale: f32,
    sub_scales: [u8; SUB_BLOCKS],
) -> Option<f32> {
    let (mut products, mut squares) = (0.0, 0.0);
    for (values, sub_scale) in parts.iter().zip(sub_scales) {
        let sub_scale = f32::from(sub_scale);
        let inverse = 1.0 / (scale * sub_scale);
        let levels = values.map(|x| sub_scale * code(x, inverse));
        products += sum(std::array::from_fn(|i| values[i] * levels[i]));
        squares += sum(levels.map(|level| level * level));
    }
    (squares > 0.0).then(|| products / squares)
}

#[inline(always)]
fn sum(x: [f32; SUB_BLOCK]) -> f32 {
    let x: [f32; 8] = std::array::from_fn(|i| x[i] + x[i + 8]);
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

/// The values that a block stands for.
pub fn dequantize(block: &BlockQ4) -> [f32; BLOCK] {
    std::array::from_fn(|k| {
        let level = f32::from(block.codes[k]) * f32::from(block.sub_scales[k / SUB_BLOCK]);
        block.scale.to_f32() * level
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn squared_error(values: &[f32; BLOCK], block: &BlockQ4) -> f64 {
        let back = dequantize(block);
        let errors = values
            .iter()
            .zip(back)
            .map(|(x, y)| f64::from(x - y).powi(2));
        errors.sum()
    }

    /// A sum of twelve uniform numbers has nearly a normal distribution.
    fn normal(seed: &mut u64) -> f32 {
        let mut uniform = || {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..12).map(|_| uniform()).sum()
    }

    #[test]
    fn what_fits_comes_back() {
        let block = BlockQ4 {
            scale: f16::from_f32(0.25),
            sub_scales: [15, 14, 12, 11, 15, 13, 10, 9],
            codes: std::array::from_fn(|k| (k % 16) as i8 - 8),
        };
        let values = dequantize(&block);
        assert_eq!(dequantize(&quantize(&values).unwrap()), values);
    }

    #[test]
    fn zeros_underflow_and_overflow() {
        for x in [0.0, 1e-9, 1e-42] {
            let block = quantize(&[x; BLOCK]).unwrap();
            assert_eq!(dequantize(&block), [0.0; BLOCK]);
        }
        assert_eq!(quantize(&[1e9; BLOCK]), None);
        // One value that drowns the others.
        let mut values = [1e-3; BLOCK];
        values[40] = 1000.0;
        let block = quantize(&values).unwrap();
        assert!((dequantize(&block)[40] - 1000.0).abs() < 10.0);
    }

    /// The error of a nearly normal distribution, as a share of its square: 0.00545. Ten candidates leave a little more than a
    /// fine grid would.
    #[test]
    fn the_search_is_near_the_optimum() {
        let (mut seed, mut error, mut square) = (1, 0.0, 0.0);
        for _ in 0..400 {
            let values = std::array::from_fn(|_| normal(&mut seed));
            error += squared_error(&values, &quantize(&values).unwrap());
            square += values.iter().map(|x| f64::from(x * x)).sum::<f64>();
        }
        assert!(error / square < 0.0055, "{}", error / square);
    }

    proptest! {
        #[test]
        fn codes_are_legal_and_values_near(w in prop::collection::vec(-4.0f32..4.0, BLOCK)) {
            let w: [f32; BLOCK] = w.try_into().unwrap();
            let block = quantize(&w).unwrap();
            for (k, code) in block.codes.into_iter().enumerate() {
                let sub_scale = block.sub_scales[k / SUB_BLOCK];
                prop_assert!((MIN_CODE..=MAX_CODE).contains(&code));
                prop_assert!((1..=MAX_SUB_SCALE).contains(&sub_scale));
            }
            prop_assert!(squared_error(&w, &block) < 0.01 * w.iter().map(|x| f64::from(x * x)).sum::<f64>());
        }
    }
}
