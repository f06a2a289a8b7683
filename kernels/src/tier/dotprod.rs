//! NEON with the int8 dot product (Armv8.2's FEAT_DotProd): 4 x 4 lanes.
//!
//! `sdot` adds four products of signed bytes to 32 bits, exactly. Its second operand can be one lane of a register, so
//! the 32 codes of an activation are two registers, lane i of the first being group i. For two tokens, a block
//! is 64 `sdot`, and for each of its 8 accumulators a subtraction, a scale and a fused multiply-add: these 88 are all
//! that the loop gives the vector pipes to do.

use super::arm::{Levels, START, Scales16, load_codes};
use super::token::{Dotprod, Neon};
use crate::activation::ActivationBlock;
use crate::matmul::{Block, Decode, RowScales, Sums};
use crate::packed::{CodesQ4, CodesQ8, GROUPS};
use crate::tier::Token;
use std::arch::aarch64::*;
use std::arch::asm;

impl Dotprod {
    dotprod! {
        /// `sum` and, in each lane, the dot product of four bytes of `a` with the four bytes of lane `LANE` of `b`. The
        /// intrinsic isn't stable.
        pub(crate) fn dot<const LANE: usize>(self, sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
            let mut sum = sum;
            // SAFETY: arithmetic on registers, part of the dot product's extension, for which this function is compiled.
            unsafe {
                asm!(
                    "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
                    sum = inout(vreg) sum,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }
    }
}

/// A block: signed levels, the scales, and the proof of `sdot`.
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    levels: Levels,
    scales: Scales16,
    dotprod: Dotprod,
}

impl Decode<CodesQ8> for Dotprod {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(self, codes: &CodesQ8, scales: RowScales<Neon>) -> Decoded {
        Decoded {
            levels: self.simd().levels_q8(codes),
            scales: Scales16::new(scales),
            dotprod: self,
        }
    }
}

impl Decode<CodesQ4> for Dotprod {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Neon>) -> Decoded {
        Decoded {
            levels: self.simd().levels_q4(codes),
            scales: Scales16::new(scales),
            dotprod: self,
        }
    }
}

impl Decoded {
    /// Adds the products of one group, which is lane `LANE` of the activations.
    #[inline(always)]
    fn add_group<const LANE: usize, const N: usize>(
        &self,
        dots: &mut [[int32x4_t; 4]; N],
        group: usize,
        x: &[int8x16_t; N],
    ) {
        for n in 0..N {
            for q in 0..4 {
                dots[n][q] = self
                    .dotprod
                    .dot::<LANE>(dots[n][q], self.levels[group][q], x[n]);
            }
        }
    }
}

impl Block for Decoded {
    type Token = Dotprod;
    const PANELS: usize = 1;
    const TOKENS: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const { assert!(GROUPS == 8, "two registers of four groups") }
        let neon = blocks[0].scales.neon();
        let [low, high] = [0, 1].map(|half| acts.map(|act| load_codes(act, half)));
        for p in 0..P {
            let block = blocks[p];
            let mut dots = acts.map(|_| neon.load_start(&[START; 8]));
            block.add_group::<0, N>(&mut dots, 0, &low);
            block.add_group::<1, N>(&mut dots, 1, &low);
            block.add_group::<2, N>(&mut dots, 2, &low);
            block.add_group::<3, N>(&mut dots, 3, &low);
            block.add_group::<0, N>(&mut dots, 4, &high);
            block.add_group::<1, N>(&mut dots, 5, &high);
            block.add_group::<2, N>(&mut dots, 6, &high);
            block.add_group::<3, N>(&mut dots, 7, &high);
            for n in 0..N {
                sums[n][p] = block.scales.add(sums[n][p], dots[n], acts[n]);
            }
        }
    }
}
