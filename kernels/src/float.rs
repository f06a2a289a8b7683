//! Float operations over the virtual vector of 16 lanes, written once for all tiers.
//!
//! Polynomials are evaluated by Horner's rule with fused multiply-adds, in the order of their text. The errors that
//! each function states are measured by the tests beside it.

pub(crate) mod activation;
pub(crate) mod exp;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod product;
pub(crate) mod softmax;

use crate::simd::Simd16;

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<V: Simd16, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut y = V::splat(coefficients[0]);
    for &c in &coefficients[1..] {
        y = y.mul_add(x, V::splat(c));
    }
    y
}
