//! NEON with the int8 dot product (Armv8.2's FEAT_DotProd): 4 x 4 lanes.
//!
//! `sdot` adds four products of signed bytes to 32 bits, exactly. Its second operand can be one lane of a register, so
//! the 32 codes of an activation are two registers, lane i of the first being group i. For two tokens, a block
//! is 64 `sdot`, and for each of its 8 accumulators a subtraction, a scale and a fused multiply-add: these 88 are all
//! that the loop gives the vector pipes to do.

use super::arm::{
    self, Levels, START, add_scaled, levels_q4, levels_q8, load_scales, load_start, scale_by,
    zero_levels,
};
pub(crate) use super::neon::F32x16;
use crate::activation::ActivationBlock;
use crate::packed::{CodesQ4, CodesQ8, GROUPS, Scales};
use crate::simd::Simd16;
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

arm::products! {
    CodesQ8 => |codes, scales| Block::new(levels_q8(codes), scales),
    CodesQ4 => |codes, scales| Block::new(levels_q4(codes), scales),
}

/// A block: signed levels, and the scales.
#[derive(Clone, Copy)]
struct Block {
    levels: Levels,
    scales: F32x16,
}

impl Block {
    #[inline(always)]
    fn new(levels: Levels, scales: &Scales) -> Self {
        Self {
            levels,
            scales: load_scales(scales),
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

impl arm::Block for Block {
    const PAIRS: bool = true;

    #[inline(always)]
    fn zero() -> Self {
        Self {
            levels: zero_levels(),
            scales: F32x16::splat(0.0),
        }
    }

    #[inline(always)]
    fn add<const N: usize>(&self, acts: [&ActivationBlock; N], sums: &mut [F32x16; N]) {
        const { assert!(GROUPS == 8, "two registers of four groups") }
        let mut dots = acts.map(|_| load_start(&[START; 8]));
        let [low, high] = [0, 1].map(|half| {
            acts.map(|act| {
                let (halves, _) = act.codes.as_chunks::<16>();
                neon!(vld1q_s8(halves[half].as_ptr()))
            })
        });
        add_group::<0, N>(&mut dots, &self.levels[0], &low);
        add_group::<1, N>(&mut dots, &self.levels[1], &low);
        add_group::<2, N>(&mut dots, &self.levels[2], &low);
        add_group::<3, N>(&mut dots, &self.levels[3], &low);
        add_group::<0, N>(&mut dots, &self.levels[4], &high);
        add_group::<1, N>(&mut dots, &self.levels[5], &high);
        add_group::<2, N>(&mut dots, &self.levels[6], &high);
        add_group::<3, N>(&mut dots, &self.levels[7], &high);
        for n in 0..N {
            sums[n] = add_scaled(sums[n], dots[n], scale_by(self.scales, acts[n]));
        }
    }
}
