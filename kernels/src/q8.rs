//! The q8 block: 128 weights, rotated, as 8-bit codes with one f16 scale.
//!
//! `rotated weight = scale * code`, codes in [-127, 127]. Never -128, so that the byte code + 128 is never 0, and two
//! products of a code with an activation fit 16 bits. This module is the scalar definition; [`crate::packed`] rotates
//! and arranges.

use crate::BLOCK;
use crate::lanes::round;
use half::f16;

/// The largest code.
pub const MAX_CODE: i8 = 127;

/// One quantized block before it is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockQ8 {
    /// The scale of the block.
    pub scale: f16,
    /// The codes, in [-127, 127].
    pub codes: [i8; BLOCK],
}

/// The scale of a block whose largest value is `absmax` in size: absmax / 127, rounded to f16.
pub fn scale(absmax: f32) -> f16 {
    f16::from_f32(absmax / f32::from(MAX_CODE))
}

/// The code of a value, given one over the scale: rounded half to even, and held within [-127, 127].
#[inline(always)]
pub fn code(value: f32, inverse: f32) -> f32 {
    let limit = f32::from(MAX_CODE);
    round((value * inverse).clamp(-limit, limit))
}

/// One over a scale, or 0 where that is 0.
pub fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Quantizes 128 finite values.
///
/// Returns `None` when the scale doesn't fit f16, that is, when a value is larger than 127 * 65504.
pub fn quantize(values: &[f32; BLOCK]) -> Option<BlockQ8> {
    let absmax = values.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = scale(absmax);
    if !scale.is_finite() {
        return None;
    }
    let inverse = inverse(scale.to_f32());
    let codes = values.map(|value| code(value, inverse) as i8);
    Some(BlockQ8 { scale, codes })
}

/// The values that a block stands for.
pub fn dequantize(block: &BlockQ8) -> [f32; BLOCK] {
    block.codes.map(|c| block.scale.to_f32() * f32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_and_underflow_become_zero() {
        for x in [0.0, 1e-12] {
            let block = quantize(&[x; BLOCK]).unwrap();
            assert_eq!(block.codes, [0; BLOCK]);
            assert_eq!(dequantize(&block), [0.0; BLOCK]);
        }
    }

    #[test]
    fn too_large_is_refused() {
        let mut w = [0.0; BLOCK];
        w[3] = 1e7;
        assert_eq!(quantize(&w), None);
    }

    proptest! {
        #[test]
        fn error_is_half_a_step_and_codes_are_legal(w in prop::collection::vec(-4.0f32..4.0, BLOCK)) {
            let w: [f32; BLOCK] = w.try_into().unwrap();
            let block = quantize(&w).unwrap();
            let d = block.scale.to_f32();
            for ((w, back), code) in w.iter().zip(dequantize(&block)).zip(block.codes) {
                prop_assert!(code >= -127);
                // Half a step, and the clamp at absmax where the scale was rounded down (f16 has 11 bits).
                prop_assert!((w - back).abs() <= 0.5 * d + w.abs() / 2048.0 + 1e-6);
            }
        }
    }
}
