//! The f32 matrix product over panels: what attention makes of its values.
//!
//! out[p][i] = scale[i] * sum over k of a[i, k] * b[p][k], where `a` is panel-major (`a[(k / 16) * rows + i]`, lane k % 16)
//! and each b[p][k] is one vector of 16 lanes. Each output is one chain of fused multiply-adds in the order of k, whatever
//! the tile.

use crate::block::Tile;
use crate::lanes::{LANES, Lanes};
use crate::simd::Simd;
use crate::tier::Tier;

/// Rows that share the loads of `b`.
const TILE: usize = 6;

/// Panels of a tile: where a vector is one register, there are registers for four.
const fn panels_at_once<S: Simd>() -> usize {
    if S::COUNT == 1 { 4 } else { 1 }
}

/// The shape in which a tier computes this product; its tokens are rows.
pub(crate) fn tile_of<T: Tier>(_: T) -> Tile {
    Tile {
        tokens: TILE,
        panels: panels_at_once::<T::Simd>(),
        depth: 1,
        registers: T::Simd::COUNT,
    }
}

/// Some panels, `stride` vectors apart.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// From the first vector of the first panel on.
    pub data: &'a [Lanes],
    /// Vectors from one panel to the next.
    pub stride: usize,
}

/// As [`Panels`], to be written.
#[derive(Debug)]
pub struct PanelsMut<'a> {
    /// From the first vector of the first panel on.
    pub data: &'a mut [Lanes],
    /// Vectors from one panel to the next.
    pub stride: usize,
}

/// `columns` is the length of the sums, `panels` how many of `b` and `out` there are, and `scale` has one for each row.
#[inline(always)]
pub(crate) fn matmul_f32<T: Tier>(
    tier: T,
    a: &[Lanes],
    b: Panels<'_>,
    columns: usize,
    scale: &[f32],
    panels: usize,
    out: PanelsMut<'_>,
) {
    let mut panel = 0;
    while panel < panels {
        let from = &b.data[panel * b.stride..];
        let to = &mut out.data[panel * out.stride..];
        if panels_at_once::<T::Simd>() == 4 && panels - panel >= 4 {
            let b = [0, 1, 2, 3].map(|p| &from[p * b.stride..][..columns]);
            strip::<_, 4>(tier.simd(), a, b, scale, to, out.stride);
            panel += 4;
        } else {
            strip::<_, 1>(tier.simd(), a, [&from[..columns]], scale, to, out.stride);
            panel += 1;
        }
    }
}

#[inline(always)]
fn strip<S: Simd, const P: usize>(
    simd: S,
    a: &[Lanes],
    b: [&[Lanes]; P],
    scale: &[f32],
    out: &mut [Lanes],
    stride: usize,
) {
    let rows = scale.len();
    let mut row = 0;
    while row + TILE <= rows {
        tile::<S, TILE, P>(simd, a, b, row, scale, out, stride);
        row += TILE;
    }
    while row < rows {
        tile::<S, 1, P>(simd, a, b, row, scale, out, stride);
        row += 1;
    }
}

#[inline(always)]
fn tile<S: Simd, const N: usize, const P: usize>(
    simd: S,
    a: &[Lanes],
    b: [&[Lanes]; P],
    row: usize,
    scale: &[f32],
    out: &mut [Lanes],
    stride: usize,
) {
    let mut sums = [[simd.splat(0.0); P]; N];
    for (panel, first) in (0..b[0].len()).step_by(LANES).enumerate() {
        let a: &[Lanes; N] = a[panel * scale.len() + row..]
            .first_chunk()
            .expect("N rows");
        let count = LANES.min(b[0].len() - first);
        let b = b.map(|b| &b[first..first + count]);
        simd.add_products(a, b, &mut sums);
    }
    let scale: &[f32; N] = scale[row..].first_chunk().expect("N rows");
    for p in 0..P {
        let out: &mut [Lanes; N] = out[p * stride + row..].first_chunk_mut().expect("N rows");
        for n in 0..N {
            let scaled = sums[n][p].mul(simd.splat(scale[n]));
            scaled.store(&mut out[n]);
        }
    }
}
