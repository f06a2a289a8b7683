//! The softmax of rows that lie in panels: `scores[panel * rows + row]`.

use super::exp::exp;
use crate::lanes::{LANES, Lanes};
use crate::simd::Simd;
use crate::tier::Tier;

/// Replaces the scores of each row by exp(scale * (score - largest)), and writes one over their sum to `inverse_sums`.
///
/// Each row has `columns` scores; what lies beyond becomes zero. The division is left to the caller, who has fewer
/// values to divide once the row has met the values matrix.
#[inline(always)]
pub(crate) fn softmax<T: Tier>(
    tier: T,
    scores: &mut [Lanes],
    columns: usize,
    scale: f32,
    inverse_sums: &mut [f32],
) {
    let simd = tier.simd();
    let rows = inverse_sums.len();
    let tail = columns % LANES;
    let mut valid = Lanes::ZERO;
    valid.0[..tail].fill(1.0);
    let (zero, scale) = (simd.splat(0.0), simd.splat(scale));
    let lowest = simd.splat(f32::NEG_INFINITY);
    let (whole, last) = scores.split_at_mut(columns / LANES * rows);
    for (row, inverse_sum) in inverse_sums.iter_mut().enumerate() {
        let mut largest = lowest;
        for lanes in whole.iter().skip(row).step_by(rows) {
            largest = largest.max(simd.load(lanes));
        }
        if tail > 0 {
            let x = simd.load(&last[row]);
            let x = simd.load(&valid).select_gt(zero, x, lowest);
            largest = largest.max(x);
        }
        let largest = simd.splat(largest.largest());
        let mut sum = zero;
        for lanes in whole.iter_mut().skip(row).step_by(rows) {
            let e = exp(simd.load(lanes).sub(largest).mul(scale));
            sum = sum.add(e);
            e.store(lanes);
        }
        if tail > 0 {
            let e = exp(simd.load(&last[row]).sub(largest).mul(scale));
            let e = simd.load(&valid).select_gt(zero, e, zero);
            sum = sum.add(e);
            e.store(&mut last[row]);
        }
        *inverse_sum = 1.0 / sum.sum();
    }
}
