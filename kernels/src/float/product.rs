//! The f32 matrix product over panels: attention's scores and contexts.
//!
//! out[i] = sum over k of a[i, k] * b[k], where `a` is panel-major (`a[(k / 16) * stride + i]`, lane k % 16) and each
//! b[k] is one vector of 16 lanes. Each output is one chain of fused multiply-adds in the order of k, whatever the tile.

use crate::lanes::{LANES, Lanes};
use crate::simd::Simd16;

/// Rows that share the loads of `b`.
const TILE: usize = 4;

#[inline(always)]
pub(crate) fn product<V: Simd16>(a: &[Lanes], stride: usize, b: &[Lanes], out: &mut [Lanes]) {
    let mut row = 0;
    let mut tiles = out.chunks_exact_mut(TILE);
    for out in &mut tiles {
        let mut acc = [V::splat(0.0); TILE];
        for (panel, b) in b.chunks(LANES).enumerate() {
            let a: &[Lanes; TILE] = a[panel * stride + row..][..TILE]
                .try_into()
                .expect("TILE rows");
            for (k, b) in b.iter().enumerate() {
                let b = V::load(b);
                for i in 0..TILE {
                    acc[i] = V::splat(a[i].0[k]).mul_add(b, acc[i]);
                }
            }
        }
        for (acc, out) in acc.into_iter().zip(out) {
            acc.store(out);
        }
        row += TILE;
    }
    for out in tiles.into_remainder() {
        let mut acc = V::splat(0.0);
        for (panel, b) in b.chunks(LANES).enumerate() {
            let a = &a[panel * stride + row];
            for (k, b) in b.iter().enumerate() {
                acc = V::splat(a.0[k]).mul_add(V::load(b), acc);
            }
        }
        acc.store(out);
        row += 1;
    }
}
