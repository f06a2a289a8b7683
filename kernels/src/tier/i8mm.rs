//! NEON with the int8 matrix product (Armv8.6's FEAT_I8MM): 4 x 4 lanes.
//!
//! `smmla` multiplies 2 rows x 8 columns of signed bytes by the transpose of another 2 x 8, and adds the 2 x 2 dot
//! products to 32 bits, exactly. Two neighbouring groups zipped are 2 rows x 8 columns; eight codes each of two tokens
//! are the other operand. So tokens go in pairs, and an odd last one is its own partner, which costs what `sdot` would.
//! The sums keep the order of these dot products, 2 rows x 2 tokens a register, while blocks go by.

use super::arm::{Levels, START, Scales16, load_codes};
use super::token::{I8mm, Neon};
use crate::activation::ActivationBlock;
use crate::matmul::{Block, Decode, RowScales, Sums};
use crate::packed::{CodesQ4, CodesQ8, GROUPS};
use crate::simd::F32x16;
use crate::tier::Token;
use std::arch::aarch64::*;
use std::arch::asm;

impl I8mm {
    i8mm! {
        /// `sum[i][j]` and the dot product of row i of `a` with row j of `b`, which have two rows of eight bytes. The
        /// intrinsic isn't stable.
        pub(crate) fn multiply(self, sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
            let mut sum = sum;
            // SAFETY: arithmetic on registers, part of the matrix product's extension, for which this function is compiled.
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

        /// Sums of eight registers and their products with `x`. Written out, because the compiler keeps a loop's sums in memory.
        fn multiply_rows(self, sums: [int32x4_t; 8], rows: [int8x16_t; 8], x: int8x16_t) -> [int32x4_t; 8] {
            let i8mm = I8mm::here();
            [
                i8mm.multiply(sums[0], rows[0], x),
                i8mm.multiply(sums[1], rows[1], x),
                i8mm.multiply(sums[2], rows[2], x),
                i8mm.multiply(sums[3], rows[3], x),
                i8mm.multiply(sums[4], rows[4], x),
                i8mm.multiply(sums[5], rows[5], x),
                i8mm.multiply(sums[6], rows[6], x),
                i8mm.multiply(sums[7], rows[7], x),
            ]
        }
    }
}

impl Neon {
    neon! {
        /// Two rows of eight columns a register, of two groups.
        fn join(self, left: int8x16_t, right: int8x16_t) -> [int8x16_t; 2] {
            let (left, right) = (vreinterpretq_s32_s8(left), vreinterpretq_s32_s8(right));
            [vreinterpretq_s8_s32(vzip1q_s32(left, right)), vreinterpretq_s8_s32(vzip2q_s32(left, right))]
        }

        /// Two tokens of eight columns a register, of four groups each.
        fn join_tokens(self, a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
            let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
            [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
        }

        /// a, b, a, b
        fn alternate(self, a: f32, b: f32) -> float32x4_t {
            let pair = vset_lane_f32::<1>(b, vdup_n_f32(a));
            vcombine_f32(pair, pair)
        }

        fn zip_registers(self, a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
            [vzip1q_f32(a, b), vzip2q_f32(a, b)]
        }

        fn unzip_registers(self, a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
            [vuzp1q_f32(a, b), vuzp2q_f32(a, b)]
        }
    }
}

/// Pairs of groups in a block: eight columns.
const PAIRS: usize = GROUPS / 2;

/// The lanes of two vectors alternating: a0, b0, a1, b1, ...
#[inline(always)]
fn zip([a, b]: [F32x16<Neon>; 2]) -> [F32x16<Neon>; 2] {
    let neon = a.simd();
    let (a, b) = (a.registers(), b.registers());
    let zip = |q: usize| neon.zip_registers(a[q], b[q]);
    let ([c, d], [e, f], [g, h], [i, j]) = (zip(0), zip(1), zip(2), zip(3));
    [[c, d, e, f], [g, h, i, j]].map(|registers| F32x16::new(neon, registers))
}

/// The inverse of [`zip`].
#[inline(always)]
fn unzip([a, b]: [F32x16<Neon>; 2]) -> [F32x16<Neon>; 2] {
    let neon = a.simd();
    let (a, b) = (a.registers(), b.registers());
    let ([c, d], [e, f]) = (
        neon.unzip_registers(a[0], a[1]),
        neon.unzip_registers(a[2], a[3]),
    );
    let ([g, h], [i, j]) = (
        neon.unzip_registers(b[0], b[1]),
        neon.unzip_registers(b[2], b[3]),
    );
    [[c, e, g, i], [d, f, h, j]].map(|registers| F32x16::new(neon, registers))
}

/// A block: signed levels, two rows of eight columns a register; the scales, each twice; and the proof of `smmla`.
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    rows: [[int8x16_t; 8]; PAIRS],
    scales: [Scales16; 2],
    i8mm: I8mm,
}

impl Decode<CodesQ8> for I8mm {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(self, codes: &CodesQ8, scales: RowScales<Neon>) -> Decoded {
        Decoded::new(self, self.simd().levels_q8(codes), scales)
    }
}

impl Decode<CodesQ4> for I8mm {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Neon>) -> Decoded {
        Decoded::new(self, self.simd().levels_q4(codes), scales)
    }
}

impl Decoded {
    #[inline(always)]
    fn new(i8mm: I8mm, levels: Levels, scales: RowScales<Neon>) -> Self {
        let neon = i8mm.simd();
        let mut rows = [[levels[0][0]; 8]; PAIRS];
        for j in 0..PAIRS {
            for q in 0..4 {
                [rows[j][2 * q], rows[j][2 * q + 1]] =
                    neon.join(levels[2 * j][q], levels[2 * j + 1][q]);
            }
        }
        let scales = scales.scales;
        Self {
            rows,
            scales: zip([scales; 2]).map(|scales| Scales16::new(RowScales::new(scales))),
            i8mm,
        }
    }

    /// Adds the products with a pair of tokens to their sums.
    #[inline(always)]
    fn add_pair(&self, acts: [&ActivationBlock; 2], sums: [F32x16<Neon>; 2]) -> [F32x16<Neon>; 2] {
        let neon = self.i8mm.simd();
        let ([a, b, c, d], [e, f, g, h]) =
            (neon.load_start(&[START; 8]), neon.load_start(&[START; 8]));
        let mut dots = [a, b, c, d, e, f, g, h];
        for j in 0..PAIRS / 2 {
            let x = neon.join_tokens(load_codes(acts[0], j), load_codes(acts[1], j));
            for i in 0..2 {
                dots = self.i8mm.multiply_rows(dots, self.rows[2 * j + i], x[i]);
            }
        }
        let scales = F32x16::new(neon, [neon.alternate(acts[0].scale, acts[1].scale); 4]);
        let [a, b, c, d, e, f, g, h] = dots;
        let scaled = [
            self.scales[0].scaled([a, b, c, d]),
            self.scales[1].scaled([e, f, g, h]),
        ];
        [
            scaled[0].mul_add(scales, sums[0]),
            scaled[1].mul_add(scales, sums[1]),
        ]
    }
}

impl Block for Decoded {
    type Token = I8mm;
    const PANELS: usize = 1;
    const TOKENS: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const { assert!(Self::TOKENS == 2, "a pair of tokens, or one") }
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
    fn arrange<const N: usize, const P: usize>(sums: &mut [[Sums<Self>; P]; N]) {
        if N == 2 {
            for p in 0..P {
                [sums[0][p], sums[1][p]] = zip([sums[0][p], sums[1][p]]);
            }
        }
    }

    #[inline(always)]
    fn restore<const N: usize, const P: usize>(sums: &mut [[Sums<Self>; P]; N]) {
        if N == 2 {
            for p in 0..P {
                [sums[0][p], sums[1][p]] = unzip([sums[0][p], sums[1][p]]);
            }
        }
    }
}
