//! Layer normalization (Ba, Kiros and Hinton, 2016) of one row.
//!
//! y = (x - mean) / sqrt(variance + eps) * gamma + beta, the variance from the deviations (two passes), as PyTorch
//! defines it.

use crate::lanes::{LANES, Lanes};
use crate::simd::Simd16;

/// Normalizes the first `width` values of `row` in place; padding stays zero, given that gamma and beta are zero there.
#[inline(always)]
pub(crate) fn layer_norm<V: Simd16>(
    row: &mut [Lanes],
    width: usize,
    gamma: &[Lanes],
    beta: &[Lanes],
    eps: f32,
) {
    let mut sum = V::splat(0.0);
    for lanes in row.iter() {
        sum = sum.add(V::load(lanes));
    }
    let mean = V::splat(sum.sum() / width as f32);
    let mut squares = V::splat(0.0);
    for lanes in &row[..width / LANES] {
        let d = V::load(lanes).sub(mean);
        squares = d.mul_add(d, squares);
    }
    if let Some(last) = row[width / LANES..].first() {
        // A deviation of zero where there is only padding.
        let mut valid = Lanes::ZERO;
        valid.0[..width % LANES].fill(1.0);
        let zero = V::splat(0.0);
        let d = V::load(&valid).select_gt(zero, V::load(last).sub(mean), zero);
        squares = d.mul_add(d, squares);
    }
    let inverse = V::splat(1.0 / (squares.sum() / width as f32 + eps).sqrt());
    for ((lanes, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        let d = V::load(lanes).sub(mean).mul(inverse);
        d.mul_add(V::load(gamma), V::load(beta)).store(lanes);
    }
}
