//! The virtual vector of 16 lanes, as memory.
//!
//! Every float array that a kernel touches is a slice of [`Lanes`]. Two layouts occur:
//!
//! - **row-major**, `[token][panel]`: the lanes of one token follow each other (hidden states);
//! - **panel-major**, `[panel][token]`: for each 16 columns, all tokens (what a matrix product writes).
//!
//! Columns beyond the true width are zero.

use bytemuck::{Pod, Zeroable};

/// Lanes in the virtual vector, rows in a panel.
pub const LANES: usize = 16;

/// Sixteen f32 values on a cache line of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All lanes zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}

/// How many panels `columns` values take.
pub const fn panels_for(columns: usize) -> usize {
    columns.div_ceil(LANES)
}

/// `values` as lanes, the last one filled up with zeros.
pub fn to_lanes(values: &[f32]) -> Vec<Lanes> {
    let mut lanes = vec![Lanes::ZERO; panels_for(values.len())];
    as_floats_mut(&mut lanes)[..values.len()].copy_from_slice(values);
    lanes
}

/// The lanes as one run of floats, padding included.
pub fn as_floats(lanes: &[Lanes]) -> &[f32] {
    bytemuck::cast_slice(lanes)
}

/// The lanes as one run of floats, padding included.
pub fn as_floats_mut(lanes: &mut [Lanes]) -> &mut [f32] {
    bytemuck::cast_slice_mut(lanes)
}

/// The nearest integer of a number below 2^22 in size, halves to even, without a call of the C library.
#[inline(always)]
pub(crate) fn round(x: f32) -> f32 {
    const NO_FRACTION: f32 = 1.5 * 8_388_608.0;
    (x + NO_FRACTION) - NO_FRACTION
}
