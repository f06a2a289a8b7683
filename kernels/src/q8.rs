//! The q8 block: 32 weights as 8-bit codes with one f16 scale.
//!
//! `weight = scale * code`, codes in [-127, 127]. Never -128: two products of a code with an activation must
//! fit 16 bits on AVX2. This module is the scalar definition; [`crate::packed`] arranges the codes.

use crate::BLOCK;
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

/// Quantizes 32 finite weights.
///
/// The scale is absmax / 127, rounded to f16; codes are rounded half to even against the rounded scale. Returns
/// `None` when the scale doesn't fit f16, that is, when a weight is larger than 127 * 65504.
pub fn quantize(weights: &[f32; BLOCK]) -> Option<BlockQ8> {
    let absmax = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = f16::from_f32(absmax / f32::from(MAX_CODE));
    if !scale.is_finite() {
        return None;
    }
    let d = scale.to_f32();
    let mut codes = [0i8; BLOCK];
    if d > 0.0 {
        let limit = f32::from(MAX_CODE);
        for (code, w) in codes.iter_mut().zip(weights) {
            *code = (w / d).round_ties_even().clamp(-limit, limit) as i8;
        }
    }
    Some(BlockQ8 { scale, codes })
}

/// The weights that a block stands for.
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
        fn error_is_half_a_step_and_codes_are_legal(w in prop::array::uniform32(-4.0f32..4.0)) {
            let block = quantize(&w).unwrap();
            let d = block.scale.to_f32();
            for ((w, back), code) in w.iter().zip(dequantize(&block)).zip(block.codes) {
                prop_assert!(code >= -127);
                // Half a step, and the clamp at absmax where the scale was rounded down (f16 has 11 bits).
                prop_assert!((w - back).abs() <= 0.5 * d + w.abs() / 2048.0 + 1e-7);
            }
        }
    }
}
