//! The exponential function.
//!
//! x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite's two-part ln 2), then 2^n * (1 + r + r^2 p(r)), where p is a
//! minimax polynomial of degree 4 for the relative error. Arguments are clamped to [-87, 88], where results are
//! normal numbers; so exp(-1000) is 1.6e-38 and not 0.
//!
//! Measured over every f32 in [-87, 88]: relative error at most 1.2e-7 (2 units in the last place).

use crate::simd::{F32x16, Simd};

const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
const P: [f32; 5] = [
    0.001_381_453_8,
    0.008_368_745,
    0.041_668_39,
    0.166_665_21,
    0.499_999_94,
];

/// e to the power of each lane.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: F32x16<S>) -> F32x16<S> {
    let splat = |value| x.simd().splat(value);
    // In this order, NaN stays.
    let x = splat(88.0).min(splat(-87.0).max(x));
    let n = x.mul(splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(splat(-LN2_HIGH), x);
    let r = n.mul_add(splat(-LN2_LOW), r);
    let tail = r.polynomial(P).mul(r.mul(r)).add(r);
    tail.add(splat(1.0)).mul(n.exp2_integer())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Lanes;
    use crate::tier::token::Scalar;

    /// The largest relative error over every `step`-th f32 in [-87, 88].
    fn worst(step: usize) -> f64 {
        let range = |from: f32, to: f32| {
            (from.to_bits()..=to.to_bits())
                .step_by(step)
                .map(f32::from_bits)
        };
        let mut worst = 0.0f64;
        for x in range(0.0, 88.0).chain(range(-0.0, -87.0)) {
            let mut y = Lanes::ZERO;
            exp(Scalar::here().splat(x)).store(&mut y);
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(y.0[7]) - exact) / exact).abs());
        }
        worst
    }

    #[test]
    fn relative_error_sampled() {
        let worst = worst(20_011);
        assert!(worst < 1.2e-7, "{worst}");
    }

    #[test]
    #[ignore = "every f32: half an hour"]
    fn relative_error_exhaustive() {
        let worst = worst(1);
        assert!(worst < 1.2e-7, "{worst}");
    }
}
