//! Float operations over the virtual vector of 16 lanes, written once for all tiers.
//!
//! Polynomials are evaluated by Horner's rule with fused multiply-adds, in the order of their text. The errors that
//! each function states are measured by the tests beside it.

pub(crate) mod activation;
pub(crate) mod exp;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod matmul;
pub(crate) mod softmax;

use crate::simd::{F32x16, Simd};

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(x: F32x16<S>, coefficients: [f32; N]) -> F32x16<S> {
    let mut y = x.simd().splat(coefficients[0]);
    for &c in &coefficients[1..] {
        y = y.mul_add(x, x.simd().splat(c));
    }
    y
}
