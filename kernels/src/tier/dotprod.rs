//! NEON with the int8 dot product (Armv8.2's FEAT_DotProd): 4 x 4 lanes.
//!
//! `sdot` adds four products of signed bytes to 32 bits, exactly. Its second operand can be one lane of a register, so
//! the 32 codes of an activation are two registers, lane i of the first being group i. For two tokens, a block
//! is 64 `sdot`, and for each of its 8 accumulators a subtraction, a scale and a fused multiply-add: these 88 are all
//! that the loop gives the vector pipes to do.

use super::arm::{Levels, START, Scales16, levels_q4, levels_q8, load_start};
pub(crate) use super::neon::F32x16;
use super::{Block, Decode, RowScales, add_tiles, tiles};
use crate::activation::ActivationBlock;
use crate::packed::{CodesQ4, CodesQ8, GROUPS};
use std::arch::aarch64::*;
use std::arch::asm;

/// Evaluates intrinsics of this tier.
macro_rules! neon {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for NEON and its dot product,
        // and those can be called only through the value that proves the detection (`crate::kernels::Dotprod`).
        // Loads take their pointers from references to arrays of the full width.
        unsafe { $body }
    };
}

/// `sum` and, in each lane, the dot product of four bytes of `a` with the four bytes of lane `LANE` of `b`. The
/// intrinsic isn't stable.
#[inline(always)]
fn dot<const LANE: usize>(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers. It is inlined into functions that are compiled for the dot product, as is
    // everything in this module.
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

/// The integer product over `sdot`.
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

/// A block: signed levels, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    levels: Levels,
    scales: Scales16,
}

impl Decoded {
    #[inline(always)]
    fn new(levels: Levels, scales: RowScales<F32x16>) -> Self {
        Self {
            levels,
            scales: Scales16::new(scales),
        }
    }
}

/// Adds the products of one group, which is lane `LANE` of the activations.
#[inline(always)]
fn add_group<const LANE: usize, const N: usize>(
    dots: &mut [[int32x4_t; 4]; N],
    levels: &[int8x16_t; 4],
    x: &[int8x16_t; N],
) {
    for n in 0..N {
        for q in 0..4 {
            dots[n][q] = dot::<LANE>(dots[n][q], levels[q], x[n]);
        }
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
        const { assert!(GROUPS == 8, "two registers of four groups") }
        let [low, high] = [0, 1].map(|half| {
            acts.map(|act| {
                let (halves, _) = act.codes.as_chunks::<16>();
                neon!(vld1q_s8(halves[half].as_ptr()))
            })
        });
        for p in 0..P {
            let levels = &blocks[p].levels;
            let mut dots = acts.map(|_| load_start(&[START; 8]));
            add_group::<0, N>(&mut dots, &levels[0], &low);
            add_group::<1, N>(&mut dots, &levels[1], &low);
            add_group::<2, N>(&mut dots, &levels[2], &low);
            add_group::<3, N>(&mut dots, &levels[3], &low);
            add_group::<0, N>(&mut dots, &levels[4], &high);
            add_group::<1, N>(&mut dots, &levels[5], &high);
            add_group::<2, N>(&mut dots, &levels[6], &high);
            add_group::<3, N>(&mut dots, &levels[7], &high);
            for n in 0..N {
                sums[n][p] = blocks[p].scales.add(sums[n][p], dots[n], acts[n]);
            }
        }
    }
}
