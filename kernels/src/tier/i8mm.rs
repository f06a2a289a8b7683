//! NEON with the int8 matrix product (Armv8.6's FEAT_I8MM): 4 x 4 lanes.
//!
//! `smmla` multiplies 2 rows x 8 columns of signed bytes by the transpose of another 2 x 8, and adds the 2 x 2 dot
//! products to 32 bits, exactly. Two neighbouring groups zipped are 2 rows x 8 columns; eight codes each of two tokens
//! are the other operand. So tokens go in pairs, and an odd last one is its own partner, which costs what `sdot` would.
//! The sums keep the order of these dot products, 2 rows x 2 tokens a register, while blocks go by.

use super::arm::{Arm, GroupPair, START, Scales16, Step, codes_of};
use super::token::Token;
use super::token::{I8mm, Neon};
use crate::activation::ActivationBlock;
use crate::block::{Block, RowScales};
use crate::lanes::Lanes;
use crate::packed::SUB_BLOCK;
use crate::simd::{F32x16, Simd};
use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

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
    }
}

impl Neon {
    neon! {
        /// Two rows of eight columns a register, of two groups.
        fn join(self, left: int8x16_t, right: int8x16_t) -> [int8x16_t; 2] {
            let (left, right) = (vreinterpretq_s32_s8(left), vreinterpretq_s32_s8(right));
            [vreinterpretq_s8_s32(vzip1q_s32(left, right)), vreinterpretq_s8_s32(vzip2q_s32(left, right))]
        }

        /// Two tokens of eight columns a register, of 16 columns. By way of memory, because zips would take the pipes that
        /// multiply, one for eight products.
        fn join_tokens(self, a: &[i8; SUB_BLOCK], b: &[i8; SUB_BLOCK]) -> [int8x16_t; 2] {
            let mut joined = MaybeUninit::<[u64; 4]>::uninit();
            let (left, right);
            // SAFETY: reads the codes of both tokens, 16 bytes each, and writes and reads the 32 bytes of `joined`.
            unsafe {
                asm!(
                    "ldp {a0}, {a1}, [{a}]",
                    "ldp {b0}, {b1}, [{b}]",
                    "stp {a0}, {b0}, [{joined}]",
                    "stp {a1}, {b1}, [{joined}, 16]",
                    "ldp {left:q}, {right:q}, [{joined}]",
                    a = in(reg) a.as_ptr(),
                    b = in(reg) b.as_ptr(),
                    joined = in(reg) joined.as_mut_ptr(),
                    a0 = out(reg) _,
                    a1 = out(reg) _,
                    b0 = out(reg) _,
                    b1 = out(reg) _,
                    left = lateout(vreg) left,
                    right = lateout(vreg) right,
                    options(nostack, preserves_flags)
                );
            }
            [left, right]
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
pub(crate) struct Decoded<'a> {
    steps: &'a [Step],
    scales: [Scales16; 2],
    i8mm: I8mm,
}

impl Arm for I8mm {
    type Decoded<'a> = Decoded<'a>;

    /// Two rows of eight columns a register.
    #[inline(always)]
    fn arrange(self, [left, right]: GroupPair) -> GroupPair {
        let join = |q: usize| self.simd().join(left[q], right[q]);
        let ([a, b], [c, d], [e, f], [g, h]) = (join(0), join(1), join(2), join(3));
        [[a, b, c, d], [e, f, g, h]]
    }

    #[inline(always)]
    fn block<'a>(self, steps: &'a [Step], scales: RowScales<Neon>) -> Decoded<'a> {
        // Each scale twice.
        let scales = zip([scales.scales; 2]);
        Decoded {
            steps,
            scales: scales.map(|scales| Scales16::new(RowScales::new(scales))),
            i8mm: self,
        }
    }
}

impl Decoded<'_> {
    /// fma(dots * scales of the rows, scales of the tokens, sums), all in the order of the dot products.
    #[inline(always)]
    fn add_pair(
        &self,
        [low, high]: [[int32x4_t; 4]; 2],
        acts: [&ActivationBlock; 2],
        sums: [F32x16<Neon>; 2],
    ) -> [F32x16<Neon>; 2] {
        let neon = self.i8mm.simd();
        let scales = F32x16::new(neon, [neon.alternate(acts[0].scale, acts[1].scale); 4]);
        let of_rows = &self.scales;
        [
            of_rows[0].load().scaled(low).mul_add(scales, sums[0]),
            of_rows[1].load().scaled(high).mul_add(scales, sums[1]),
        ]
    }

    /// The dot products with C pairs of tokens.
    #[inline(always)]
    fn dots<const C: usize>(&self, acts: [[&ActivationBlock; 2]; C]) -> [[[int32x4_t; 4]; 2]; C] {
        let (i8mm, neon) = (self.i8mm, self.i8mm.simd());
        let mut dots = acts.map(|_| [neon.load_start(&[START; 8]), neon.load_start(&[START; 8])]);
        for (i, [first, second]) in self.steps.iter().enumerate() {
            let x = acts.map(|[a, b]| neon.join_tokens(codes_of(a, i), codes_of(b, i)));
            i8mm.add_pair(&mut dots, first, x.map(|[x, _]| x));
            i8mm.add_pair(&mut dots, second, x.map(|[_, x]| x));
        }
        dots
    }

    /// [`Block::add`] of N tokens, which are C pairs, an odd last one being its own partner.
    #[inline(always)]
    fn add_pairs<const N: usize, const C: usize>(
        &self,
        acts: [&ActivationBlock; N],
        sums: &mut [Lanes; N],
    ) {
        let neon = self.i8mm.simd();
        let pairs: [[&ActivationBlock; 2]; C] =
            std::array::from_fn(|c| [acts[(2 * c).min(N - 1)], acts[(2 * c + 1).min(N - 1)]]);
        let dots = self.dots(pairs);
        for c in 0..C {
            if 2 * c + 1 < N {
                let before = [neon.load(&sums[2 * c]), neon.load(&sums[2 * c + 1])];
                let [low, high] = self.add_pair(dots[c], pairs[c], before);
                low.store(&mut sums[2 * c]);
                high.store(&mut sums[2 * c + 1]);
            } else if 2 * c < N {
                let before = zip([neon.load(&sums[2 * c]); 2]);
                let [sum, _] = unzip(self.add_pair(dots[c], pairs[c], before));
                sum.store(&mut sums[2 * c]);
            }
        }
    }
}

impl I8mm {
    /// Adds the products of two groups.
    #[inline(always)]
    fn add_pair<const C: usize>(
        self,
        dots: &mut [[[int32x4_t; 4]; 2]; C],
        levels: &GroupPair,
        x: [int8x16_t; C],
    ) {
        for half in 0..2 {
            for q in 0..4 {
                for c in 0..C {
                    dots[c][half][q] = self.multiply(dots[c][half][q], levels[half][q], x[c]);
                }
            }
        }
    }
}

impl Block for Decoded<'_> {
    type Token = I8mm;
    const PANELS: usize = 1;
    // What 32 registers hold: 16 of dot products, two of activations, and levels. Two tokens are as fast where two pipes multiply
    // (Neoverse N2), and wait for loads of levels where four do (Neoverse V1).
    const TOKENS: usize = 4;
    const DEPTH: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        for p in 0..P {
            match N {
                1 | 2 => blocks[p].add_pairs::<N, 1>(acts, sums[p]),
                _ => blocks[p].add_pairs::<N, 2>(acts, sums[p]),
            }
        }
    }

    #[inline(always)]
    fn arrange<const N: usize>(&self, sums: &mut [Lanes; N]) {
        let neon = self.i8mm.simd();
        for [a, b] in sums.as_chunks_mut::<2>().0 {
            let [low, high] = zip([neon.load(a), neon.load(b)]);
            low.store(a);
            high.store(b);
        }
    }

    #[inline(always)]
    fn restore<const N: usize>(&self, sums: &mut [Lanes; N]) {
        let neon = self.i8mm.simd();
        for [a, b] in sums.as_chunks_mut::<2>().0 {
            let [low, high] = unzip([neon.load(a), neon.load(b)]);
            low.store(a);
            high.store(b);
        }
    }
}
