//! Layer normalization (Ba, Kiros and Hinton, 2016) of one row.
//!
//! y = (x - mean) / sqrt(variance + eps) * gamma + beta, the variance from the deviations (two passes), as PyTorch
//! defines it. Where the variance isn't finite, because a value isn't or it overflows, every value becomes NaN.

use crate::lanes::{LANES, Lanes};
use crate::simd::Simd;
use crate::tier::Tier;

/// Normalizes the first `width` values of `row` in place; padding stays zero, given that gamma and beta are zero there.
#[inline(always)]
pub(crate) fn layer_norm<T: Tier>(
    tier: T,
    row: &mut [Lanes],
    width: usize,
    gamma: &[Lanes],
    beta: &[Lanes],
    eps: f32,
) {
    let simd = tier.simd();
    let zero = simd.splat(0.0);
    let mut sum = zero;
    for lanes in row.iter() {
        sum = sum.add(simd.load(lanes));
    }
    let mean = simd.splat(sum.sum() / width as f32);
    let mut squares = zero;
    for lanes in &row[..width / LANES] {
        let d = simd.load(lanes).sub(mean);
        squares = d.mul_add(d, squares);
    }
    if let Some(last) = row[width / LANES..].first() {
        // A deviation of zero where there is only padding.
        let mut valid = Lanes::ZERO;
        valid.0[..width % LANES].fill(1.0);
        let d = simd.load(last).sub(mean);
        let d = simd.load(&valid).select_gt(zero, d, zero);
        squares = d.mul_add(d, squares);
    }
    let deviation = (squares.sum() / width as f32 + eps).sqrt();
    let inverse = simd.splat(match deviation.is_finite() {
        true => 1.0 / deviation,
        false => f32::NAN,
    });
    for ((lanes, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        let d = simd.load(lanes).sub(mean).mul(inverse);
        d.mul_add(simd.load(gamma), simd.load(beta)).store(lanes);
    }
}
