//! The virtual vector of 16 lanes, as registers.
//!
//! Float kernels are written once over [`Simd16`]; a tier implements it as 1 x 16, 2 x 8, 4 x 4 or 16 x 1 lanes.
//! Every operation is exactly defined (IEEE 754, or by comparison and selection), so all tiers give the same bits.
//! There are no estimates and no library functions here.

use crate::lanes::{LANES, Lanes};
use half::f16;

/// Sixteen f32 lanes.
///
/// A tier's vector type is used only inside functions compiled for its instruction set: see
/// [`crate::kernels`]. All methods are inlined into them.
pub(crate) trait Simd16: Copy {
    /// Registers that it takes.
    const REGISTERS: usize;
    /// All lanes `x`.
    fn splat(x: f32) -> Self;
    /// From memory.
    fn load(lanes: &Lanes) -> Self;
    /// From memory, widened; every f16 is an f32.
    fn load_f16(lanes: &[f16; LANES]) -> Self;
    /// To memory.
    fn store(self, lanes: &mut Lanes);
    /// self + b
    fn add(self, b: Self) -> Self;
    /// self - b
    fn sub(self, b: Self) -> Self;
    /// self * b
    fn mul(self, b: Self) -> Self;
    /// self / b
    fn div(self, b: Self) -> Self;
    /// self * b + c, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// self > b ? self : b, so b where either is NaN.
    fn max(self, b: Self) -> Self;
    /// self < b ? self : b, so b where either is NaN.
    fn min(self, b: Self) -> Self;
    /// The sign cleared.
    fn abs(self) -> Self;
    /// To the nearest integer, halves to even.
    fn round(self) -> Self;
    /// Near 1 / self, for a positive normal number below 2^126: [`RECIPROCAL`] less its bits, as integers. The error is
    /// at most 12 %.
    fn rough_reciprocal(self) -> Self;
    /// 2 to the power of self, for integers in [-126, 127].
    fn exp2_integer(self) -> Self;
    /// self > b ? yes : no, lane by lane; no where either is NaN.
    fn select_gt(self, b: Self, yes: Self, no: Self) -> Self;
    /// The lanes, which are within [-127, 127], rounded to the nearest integer, halves to even; then those of `high`.
    fn to_i8(self, high: Self) -> [i8; 2 * LANES];

    /// The sum of the lanes, halves folded onto each other: 16 to 8 to 4 to 2 to 1.
    fn sum(self) -> f32;

    /// The largest lane, by the same tree; NaN lanes may be passed over.
    fn largest(self) -> f32;
}

/// The bits from which those of a number are subtracted for a rough reciprocal: they halve the worst error.
pub(crate) const RECIPROCAL: i32 = 0x7ef3_11c7;

/// The one tree down which every reduction runs, from 16 lanes: what a tier's own must be equal to.
#[inline(always)]
pub(crate) fn fold<const N: usize>(mut x: [f32; N], op: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            x[i] = op(x[i], x[i + width]);
        }
        width /= 2;
    }
    x[0]
}
