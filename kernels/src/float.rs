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
