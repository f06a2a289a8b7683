//! NEON with the int8 dot product (Armv8.2's FEAT_DotProd): 4 x 4 lanes.
//!
//! `sdot` adds four products of signed bytes to 32 bits, exactly. Its second operand can be one lane of a register, so
//! the 32 codes of an activation are two registers, lane i of the first being group i. A tile of four tokens is 16
//! accumulators; weights take four registers at a time, activations eight.

pub(crate) use super::neon::F32x16;
use super::neon::{Levels, finish, levels_q4, levels_q8, load_scales};
use super::{Block, Decode};
use crate::activation::ActivationBlock;
use crate::lanes::Lanes;
use crate::packed::{CodesQ4, CodesQ8, GROUPS, Scales};
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

/// A block: signed levels, and the scales.
pub(crate) struct Decoded {
    levels: Levels,
    scales: F32x16,
}

impl Decode<CodesQ8> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: &Scales) -> Decoded {
        Decoded {
            levels: levels_q8(codes),
            scales: load_scales(scales),
        }
    }
}

impl Decode<CodesQ4> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: &Scales) -> Decoded {
        Decoded {
            levels: levels_q4(codes),
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

impl Block for Decoded {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        const { assert!(GROUPS == 8, "two registers of four groups") }
        let mut dots = neon!([[vdupq_n_s32(0); 4]; N]);
        for half in 0..2 {
            let mut x = neon!([vdupq_n_s8(0); N]);
            for n in 0..N {
                let (halves, _) = acts[n].codes.as_chunks::<16>();
                x[n] = neon!(vld1q_s8(halves[half].as_ptr()));
            }
            add_group::<0, N>(&mut dots, &self.levels[4 * half], &x);
            add_group::<1, N>(&mut dots, &self.levels[4 * half + 1], &x);
            add_group::<2, N>(&mut dots, &self.levels[4 * half + 2], &x);
            add_group::<3, N>(&mut dots, &self.levels[4 * half + 3], &x);
        }
        for n in 0..N {
            finish(dots[n], self.scales, acts[n].scale, &mut out[n]);
        }
    }
}
