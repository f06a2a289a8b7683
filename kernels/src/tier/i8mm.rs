//! NEON with the int8 matrix product (Armv8.6's FEAT_I8MM): 4 x 4 lanes.
//!
//! `smmla` multiplies 2 rows x 8 columns of signed bytes by the transpose of another 2 x 8, and adds the 2 x 2 dot
//! products to 32 bits, exactly. Two neighbouring groups zipped are 2 rows x 8 columns; eight codes each of two tokens
//! are the other operand. So tokens go in pairs, and an odd last one is its own partner, which costs what `sdot` would.
//! The sums keep the order of these dot products, 2 rows x 2 tokens a register, while blocks go by.

use super::arm::{Levels, START, Scales16, levels_q4, levels_q8, load_start};
pub(crate) use super::neon::F32x16;
use super::{Block, Decode, RowScales, add_tiles, tiles};
use crate::activation::ActivationBlock;
use crate::packed::{CodesQ4, CodesQ8, GROUPS};
use crate::simd::Simd16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Evaluates intrinsics of this tier.
macro_rules! neon {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for NEON and its matrix product,
        // and those can be called only through the value that proves the detection (`crate::kernels::I8mm`). Loads
        // take their pointers from references to arrays of the full width.
        unsafe { $body }
    };
}

/// `sum[i][j]` and the dot product of row i of `a` with row j of `b`, which have two rows of eight bytes. The intrinsic
/// isn't stable.
#[inline(always)]
fn multiply(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers. It is inlined into functions that are compiled for the matrix product, as is
    // everything in this module.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Pairs of groups in a block: eight columns.
const PAIRS: usize = GROUPS / 2;

/// The lanes of two vectors alternating: a0, b0, a1, b1, ...
#[inline(always)]
fn zip([a, b]: [F32x16; 2]) -> [F32x16; 2] {
    let low = |q: usize| neon!(vzip1q_f32(a.0[q], b.0[q]));
    let high = |q: usize| neon!(vzip2q_f32(a.0[q], b.0[q]));
    [
        F32x16([low(0), high(0), low(1), high(1)]),
        F32x16([low(2), high(2), low(3), high(3)]),
    ]
}

/// The inverse of [`zip`].
#[inline(always)]
fn unzip([a, b]: [F32x16; 2]) -> [F32x16; 2] {
    let quarters = [
        [a.0[0], a.0[1]],
        [a.0[2], a.0[3]],
        [b.0[0], b.0[1]],
        [b.0[2], b.0[3]],
    ];
    [
        F32x16(quarters.map(|[low, high]| neon!(vuzp1q_f32(low, high)))),
        F32x16(quarters.map(|[low, high]| neon!(vuzp2q_f32(low, high)))),
    ]
}

/// The integer product over `smmla`.
pub(crate) struct Product;

impl Decode<CodesQ8> for Product {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> Decoded {
        Decoded::new(levels_q8(codes), scales)
    }
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> Decoded {
        Decoded::new(levels_q4(codes), scales)
    }
}

/// A block: signed levels, two rows of eight columns a register; and the scales, each twice.
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    rows: [[int8x16_t; 8]; PAIRS],
    scales: [Scales16; 2],
}

impl Decoded {
    #[inline(always)]
    fn new(levels: Levels, scales: RowScales<F32x16>) -> Self {
        let mut rows = neon!([[vdupq_n_s8(0); 8]; PAIRS]);
        for j in 0..PAIRS {
            for q in 0..4 {
                neon!({
                    let left = vreinterpretq_s32_s8(levels[2 * j][q]);
                    let right = vreinterpretq_s32_s8(levels[2 * j + 1][q]);
                    rows[j][2 * q] = vreinterpretq_s8_s32(vzip1q_s32(left, right));
                    rows[j][2 * q + 1] = vreinterpretq_s8_s32(vzip2q_s32(left, right));
                })
            }
        }
        let scales = scales.scales;
        Self {
            rows,
            scales: zip([scales; 2]).map(|scales| Scales16::new(RowScales::new(scales))),
        }
    }

    /// Adds the products with a pair of tokens to their sums.
    #[inline(always)]
    fn add_pair(&self, acts: [&ActivationBlock; 2], sums: [F32x16; 2]) -> [F32x16; 2] {
        let mut dots = [load_start(&[START; 8]), load_start(&[START; 8])];
        for j in 0..PAIRS / 2 {
            let x = acts.map(|act| {
                let (halves, _) = act.codes.as_chunks::<16>();
                neon!(vreinterpretq_s64_s8(vld1q_s8(halves[j].as_ptr())))
            });
            let x = neon!([
                vreinterpretq_s8_s64(vzip1q_s64(x[0], x[1])),
                vreinterpretq_s8_s64(vzip2q_s64(x[0], x[1])),
            ]);
            for i in 0..2 {
                for r in 0..8 {
                    let dot = &mut dots[r / 4][r % 4];
                    *dot = multiply(*dot, self.rows[2 * j + i][r], x[i]);
                }
            }
        }
        let scales = neon!({
            let scales = vset_lane_f32::<1>(acts[1].scale, vdup_n_f32(acts[0].scale));
            F32x16([vcombine_f32(scales, scales); 4])
        });
        [0, 1].map(|h| self.scales[h].scaled(dots[h]).mul_add(scales, sums[h]))
    }
}

impl Block for Decoded {
    type Sums = F32x16;
    const PANELS: usize = 1;
    tiles!(add_tiles: 1 2);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        const { assert!(N == 1 || N == 2) }
        for p in 0..P {
            if N == 2 {
                let pair = [sums[0][p], sums[1][p]];
                [sums[0][p], sums[1][p]] = blocks[p].add_pair([acts[0], acts[1]], pair);
            } else {
                // Its own partner.
                let pair = blocks[p].add_pair([acts[0]; 2], zip([sums[0][p]; 2]));
                [sums[0][p], _] = unzip(pair);
            }
        }
    }

    #[inline(always)]
    fn arrange<const N: usize, const P: usize>(sums: &mut [[F32x16; P]; N]) {
        if N == 2 {
            for p in 0..P {
                [sums[0][p], sums[1][p]] = zip([sums[0][p], sums[1][p]]);
            }
        }
    }

    #[inline(always)]
    fn restore<const N: usize, const P: usize>(sums: &mut [[F32x16; P]; N]) {
        if N == 2 {
            for p in 0..P {
                [sums[0][p], sums[1][p]] = unzip([sums[0][p], sums[1][p]]);
            }
        }
    }
}
