//! NEON with the int8 dot product (Armv8.2's FEAT_DotProd): 4 x 4 lanes.
//!
//! `sdot` adds four products of signed bytes to 32 bits, exactly. Its second operand can be one lane of a register, so
//! 16 codes of an activation are a register, lane i of which is a group. A tile of four tokens has 16 accumulators; a step
//! of 16 columns is 64 `sdot`, and nothing else for the vector pipes.

use super::arm::{Arm, START, STEP, Scales16, Step, codes_of, load_codes};
use super::token::{Dotprod, Neon};
use crate::activation::ActivationBlock;
use crate::block::{Block, RowScales};
use crate::lanes::Lanes;
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
pub(crate) struct Decoded<'a> {
    steps: &'a [Step],
    scales: Scales16,
    dotprod: Dotprod,
}

impl Arm for Dotprod {
    type Decoded<'a> = Decoded<'a>;

    #[inline(always)]
    fn block<'a>(self, steps: &'a [Step], scales: RowScales<Neon>) -> Decoded<'a> {
        Decoded {
            steps,
            scales: Scales16::new(scales),
            dotprod: self,
        }
    }
}

impl Dotprod {
    /// Adds the products of one group, which is lane `LANE` of the activations.
    #[inline(always)]
    fn add_group<const LANE: usize, const N: usize>(
        self,
        dots: &mut [[int32x4_t; 4]; N],
        levels: &[int8x16_t; 4],
        x: &[int8x16_t; N],
    ) {
        for q in 0..4 {
            for n in 0..N {
                dots[n][q] = self.dot::<LANE>(dots[n][q], levels[q], x[n]);
            }
        }
    }
}

impl Block for Decoded<'_> {
    type Token = Dotprod;
    const PANELS: usize = 1;
    // What 32 registers hold: 16 of dot products, four of activations, and levels.
    const TOKENS: usize = 4;
    const DEPTH: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        const { assert!(STEP == 4, "the lanes of a register") }
        for p in 0..P {
            let (block, dotprod) = (blocks[p], blocks[p].dotprod);
            let neon = block.scales.neon();
            // Between two blocks there is as much to load as to add, and with many tokens more than the processor looks ahead.
            let mut dots = acts.map(|_| match N {
                1 | 2 => neon.load_start(&[START; 8]),
                _ => neon.copy_start(),
            });
            for (i, [[a, b], [c, d]]) in block.steps.iter().enumerate() {
                let x = acts.map(|act| load_codes(codes_of(act, i)));
                dotprod.add_group::<0, N>(&mut dots, a, &x);
                dotprod.add_group::<1, N>(&mut dots, b, &x);
                dotprod.add_group::<2, N>(&mut dots, c, &x);
                dotprod.add_group::<3, N>(&mut dots, d, &x);
            }
            let scales = block.scales.load();
            for n in 0..N {
                scales.add(dots[n], acts[n], &mut sums[p][n]);
            }
        }
    }
}
