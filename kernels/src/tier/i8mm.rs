//! NEON with the int8 matrix product (Armv8.6's FEAT_I8MM): 4 x 4 lanes.
//!
//! `smmla` multiplies 2 rows x 8 columns of signed bytes by the transpose of another 2 x 8, and adds the 2 x 2 dot
//! products to 32 bits, exactly. Two neighbouring groups zipped are 2 rows x 8 columns; eight codes each of two tokens
//! are the other operand. So tokens go in pairs, and an odd last one is its own partner, which costs what `sdot` would.
//! A tile of four tokens is 16 accumulators, 2 rows x 2 tokens each.

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

/// The integer product over `smmla`.
pub(crate) struct Product;

/// A block: signed levels, two rows of eight columns a register; and the scales.
pub(crate) struct Decoded {
    rows: [[int8x16_t; 8]; PAIRS],
    scales: F32x16,
}

impl Decoded {
    #[inline(always)]
    fn new(levels: Levels, scales: &Scales) -> Self {
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
        Self {
            rows,
            scales: load_scales(scales),
        }
    }

    /// The dot products of P pairs of tokens: `[pair][two rows]`, a register holding row 0 with both tokens, then row 1.
    #[inline(always)]
    fn dots<const P: usize>(&self, acts: [[&ActivationBlock; 2]; P]) -> [[int32x4_t; 8]; P] {
        let mut dots = neon!([[vdupq_n_s32(0); 8]; P]);
        for j in 0..PAIRS {
            for p in 0..P {
                let x = acts[p].map(|act| {
                    let (eights, _) = act.codes.as_chunks::<8>();
                    neon!(vld1_s8(eights[j].as_ptr()))
                });
                let x = neon!(vcombine_s8(x[0], x[1]));
                for r in 0..8 {
                    dots[p][r] = multiply(dots[p][r], self.rows[j][r], x);
                }
            }
        }
        dots
    }

    #[inline(always)]
    fn accumulate_pairs<const P: usize>(
        &self,
        acts: [[&ActivationBlock; 2]; P],
        out: &mut [Lanes],
    ) {
        let dots = self.dots(acts);
        for (n, out) in out.iter_mut().enumerate() {
            let (p, token) = (n / 2, n % 2);
            let mut rows = neon!([vdupq_n_s32(0); 4]);
            for q in 0..4 {
                let (low, high) = (dots[p][2 * q], dots[p][2 * q + 1]);
                rows[q] = neon!(if token == 0 {
                    vuzp1q_s32(low, high)
                } else {
                    vuzp2q_s32(low, high)
                });
            }
            finish(rows, self.scales, acts[p][token].scale, out);
        }
    }
}

impl Decode<CodesQ8> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: &Scales) -> Decoded {
        Decoded::new(levels_q8(codes), scales)
    }
}

impl Decode<CodesQ4> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: &Scales) -> Decoded {
        Decoded::new(levels_q4(codes), scales)
    }
}

impl Block for Decoded {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        const { assert!(N >= 1 && N <= 4) }
        // An odd last token is its own partner.
        let at = |n: usize| acts[n.min(N - 1)];
        if N > 2 {
            self.accumulate_pairs([[at(0), at(1)], [at(2), at(3)]], out);
        } else {
            self.accumulate_pairs([[at(0), at(1)]], out);
        }
    }
}
