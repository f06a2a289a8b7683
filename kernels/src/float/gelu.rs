//! The Gaussian error linear unit, in its exact and its tanh form (Hendrycks and Gimpel, 2016).
//!
//! erf(z) = z P(z^2) / Q(z^2) for |z| <= 3.92, beyond which erf is 1 in f32: a rational minimax approximation of our
//! own fit (relative error 1.9e-8 before rounding). Measured: |erf error| <= 3.6e-7, so that |GELU error| <=
//! 1.8e-7 |x| + rounding; the tanh form <= 1.5e-7 |x| + rounding.

use super::exp::exp;
use crate::lanes::Lanes;
use crate::simd::{F32x16, Simd};
use crate::tier::Tier;

/// Which form of the activation a model was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// x/2 (1 + erf(x / sqrt 2)): `gelu` in Hugging Face configurations.
    Erf,
    /// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): `gelu_new`, `gelu_pytorch_tanh`.
    Tanh,
}

const ERF_LIMIT: f32 = 3.92;
#[allow(
    clippy::approx_constant,
    reason = "a fitted coefficient: one unit in the last place below 2 / sqrt(pi)"
)]
const P: [f32; 6] = [
    2.050_142_7e-6,
    2.848_807_8e-4,
    3.765_444_7e-3,
    5.274_819e-2,
    1.904_021_8e-1,
    1.128_379_1,
];
const Q: [f32; 6] = [
    3.809_219_6e-5,
    1.162_497_6e-3,
    1.496_886_6e-2,
    1.141_073_7e-1,
    5.020_723e-1,
    1.0,
];

#[inline(always)]
fn erf<S: Simd>(z: F32x16<S>) -> F32x16<S> {
    let splat = |value| z.simd().splat(value);
    let z = z.max(splat(-ERF_LIMIT)).min(splat(ERF_LIMIT));
    let u = z.mul(z);
    let y = z.mul(u.polynomial(P)).mul(u.polynomial(Q).reciprocal());
    y.max(splat(-1.0)).min(splat(1.0))
}

#[inline(always)]
fn tanh<S: Simd>(y: F32x16<S>) -> F32x16<S> {
    let splat = |value| y.simd().splat(value);
    let y = y.max(splat(-10.0)).min(splat(10.0));
    let e = exp(y.add(y));
    splat(1.0).sub(splat(2.0).div(e.add(splat(1.0))))
}

/// The activation function, in place.
#[inline(always)]
pub(crate) fn gelu<T: Tier>(tier: T, kind: Gelu, values: &mut [Lanes]) {
    let simd = tier.simd();
    let splat = |value| simd.splat(value);
    match kind {
        Gelu::Erf => {
            for lanes in values {
                let x = simd.load(lanes);
                let h = x.mul(splat(0.5));
                h.mul_add(erf(x.mul(splat(std::f32::consts::FRAC_1_SQRT_2))), h)
                    .store(lanes);
            }
        }
        Gelu::Tanh => {
            // sqrt(2 / pi)
            let c = splat(0.797_884_6);
            for lanes in values {
                let x = simd.load(lanes);
                let h = x.mul(splat(0.5));
                let inner = x.mul(x).mul_add(splat(0.044_715), splat(1.0)).mul(x);
                h.mul_add(tanh(inner.mul(c)), h).store(lanes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::token::Scalar;

    /// erf by its Taylor series in f64: our yardstick, good to 1e-13 for |z| <= 4.
    fn erf64(z: f64) -> f64 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn ours(kind: Gelu, x: f32) -> f64 {
        let mut lanes = [Lanes([x; 16])];
        gelu(Scalar::here(), kind, &mut lanes);
        f64::from(lanes[0].0[3])
    }

    #[test]
    fn error_bounds() {
        let (mut worst_erf, mut worst_tanh) = (0.0f64, 0.0f64);
        for i in -80_000..=80_000 {
            let x = i as f32 * 1e-4;
            let d = f64::from(x);
            let z = d / 2.0f64.sqrt();
            let erf = if z.abs() > 4.0 { z.signum() } else { erf64(z) };
            worst_erf = worst_erf
                .max((ours(Gelu::Erf, x) - 0.5 * d * (1.0 + erf)).abs() / (d.abs() + 1e-3));
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d.powi(3));
            let tanh = 0.5 * d * (1.0 + inner.tanh());
            worst_tanh = worst_tanh.max((ours(Gelu::Tanh, x) - tanh).abs() / (d.abs() + 1e-3));
        }
        assert!(worst_erf < 2.6e-7, "erf form: {worst_erf}");
        assert!(worst_tanh < 2.6e-7, "tanh form: {worst_tanh}");
    }

    #[test]
    fn far_out() {
        for kind in [Gelu::Erf, Gelu::Tanh] {
            assert_eq!(ours(kind, 100.0), 100.0);
            assert_eq!(ours(kind, -100.0), 0.0);
            assert_eq!(ours(kind, 0.0), 0.0);
        }
    }
}
