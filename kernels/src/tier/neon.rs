//! NEON as Armv8.0 has it: 4 x 4 lanes.
//!
//! There is no int8 dot product here; `smull` and `smlal` multiply signed bytes and add to 16 bits, and `sadalp` adds
//! neighbours to 32. Nothing may overflow: a product is at most 127 * 127, two make 32,258, and the 16 bits are widened
//! every two groups. (The code -128, which no valid file holds, fits as well: 2 * 128 * 127 = 32,512.)
//!
//! A lane of 16 bits holds one column of a row, so two lanes of 32 bits hold a row's pairs of columns, and the last
//! addition is between neighbours. A panel's accumulators are 8 registers a token. Cortex-A72 multiplies on one of its
//! two vector pipes only, 8 products a cycle; `sadalp` has the other, so widening costs next to nothing.

use super::arm::{Arm, GroupPair, START, STEP, Scales16, Step, codes_of, load_codes};
use super::token::Neon;
use crate::BLOCK;
use crate::activation::ActivationBlock;
use crate::block::{Block, RowScales};
use crate::lanes::{LANES, Lanes};
use crate::packed::{GROUP, SUB_BLOCKS};
use crate::simd::{RECIPROCAL, Simd, fold};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

impl Simd for Neon {
    type Register = float32x4_t;
    type Registers = [float32x4_t; 4];

    neon! {
        fn splat_register(self, x: f32) -> float32x4_t { vdupq_n_f32(x) }
        fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vsubq_f32(a, b) }
        fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
        fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vdivq_f32(a, b) }
        fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
        // `fmax` and `fmin` treat NaN and the signs of zero otherwise.
        fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcgtq_f32(a, b), a, b) }
        fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcltq_f32(a, b), a, b) }
        fn abs(self, x: float32x4_t) -> float32x4_t { vabsq_f32(x) }
        fn max_bits(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b)))
        }
        fn round(self, x: float32x4_t) -> float32x4_t { vrndnq_f32(x) }
        fn rough_reciprocal(self, x: float32x4_t) -> float32x4_t {
            vreinterpretq_f32_s32(vsubq_s32(vdupq_n_s32(RECIPROCAL), vreinterpretq_s32_f32(x)))
        }
        fn exp2_integer(self, n: float32x4_t) -> float32x4_t {
            let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
        fn select_gt(self, a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
            vbslq_f32(vcgtq_f32(a, b), yes, no)
        }

        fn widen_f16(self, lanes: &[f16; LANES]) -> [float32x4_t; 4] {
            let [low, high]: [uint16x8_t; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(lanes));
            let neon = Neon::here();
            [
                neon.convert_f16(vget_low_u16(low)),
                neon.convert_f16(vget_high_u16(low)),
                neon.convert_f16(vget_low_u16(high)),
                neon.convert_f16(vget_high_u16(high)),
            ]
        }
        fn to_i8(self, low: [float32x4_t; 4], high: [float32x4_t; 4]) -> [i8; 2 * LANES] {
            let neon = Neon::here();
            bytemuck::cast([neon.narrow(low), neon.narrow(high)])
        }
        fn hadamard(self, x: [float32x4_t; 4]) -> [float32x4_t; 4] {
            let neon = Neon::here();
            let [a, b] = [vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3])];
            let [c, d] = [vsubq_f32(x[0], x[2]), vsubq_f32(x[1], x[3])];
            [vaddq_f32(a, b), vsubq_f32(a, b), vaddq_f32(c, d), vsubq_f32(c, d)].map(|x| neon.hadamard_of_4(x))
        }
        fn pairs(self, codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
            let neon = Neon::here();
            let codes: [[int8x16_t; 4]; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(codes));
            bytemuck::cast(codes.map(|codes| neon.pairs_of_4(codes)))
        }
        fn sum(self, x: [float32x4_t; 4]) -> f32 {
            let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
        fn largest(self, x: [float32x4_t; 4]) -> f32 {
            let neon = Neon::here();
            let largest = neon.max(neon.max(x[0], x[2]), neon.max(x[1], x[3]));
            fold(bytemuck::cast::<_, [f32; 4]>(largest), |a, b| if a > b { a } else { b })
        }
        fn largest_bits(self, x: [float32x4_t; 4]) -> f32 {
            let neon = Neon::here();
            let x = neon.max_bits(neon.max_bits(x[0], x[2]), neon.max_bits(x[1], x[3]));
            f32::from_bits(vmaxvq_u32(vreinterpretq_u32_f32(x)))
        }
    }
}

/// Eight rows, two a register, and two pairs of columns a row.
type Pairs = [int32x4_t; 4];

impl Neon {
    neon! {
        /// `fcvtl`, whose intrinsic isn't stable.
        fn convert_f16(self, halves: uint16x4_t) -> float32x4_t {
            let floats: float32x4_t;
            // SAFETY: a conversion between registers, part of NEON, for which this function is compiled.
            unsafe {
                asm!(
                    "fcvtl {floats:v}.4s, {halves:v}.4h",
                    floats = lateout(vreg) floats,
                    halves = in(vreg) halves,
                    options(pure, nomem, nostack)
                );
            }
            floats
        }

        /// The lanes of a vector, rounded.
        fn narrow(self, x: [float32x4_t; 4]) -> int8x16_t {
            let [a, b] = [vcvtnq_s32_f32(x[0]), vcvtnq_s32_f32(x[1])];
            let [c, d] = [vcvtnq_s32_f32(x[2]), vcvtnq_s32_f32(x[3])];
            let low = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
            let high = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
            vcombine_s8(vmovn_s16(low), vmovn_s16(high))
        }

        /// The last two stages of the Walsh-Hadamard transform, in which a register's lanes meet each other. A product with 1 or
        /// -1 is exact, so a fused multiply-add rounds as the addition does.
        fn hadamard_of_4(self, x: float32x4_t) -> float32x4_t {
            let (plus, minus) = (vdup_n_f32(1.0), vdup_n_f32(-1.0));
            let x = vfmaq_f32(vextq_f32::<2>(x, x), x, vcombine_f32(plus, minus));
            let signs = vset_lane_f32::<1>(-1.0, plus);
            vfmaq_f32(vrev64q_f32(x), x, vcombine_f32(signs, signs))
        }

        /// [`Simd::pairs`] of four sub-blocks.
        fn pairs_of_4(self, codes: [int8x16_t; 4]) -> int16x8_t {
            // The even and the odd pair of a group are the halves of a lane of 32 bits: groups are added, 4 to 2 to 1.
            let [a, b, c, d] = codes.map(|codes| vreinterpretq_s64_s16(vpaddlq_s8(codes)));
            let fold = |a, b| vaddq_s16(
                vreinterpretq_s16_s64(vzip1q_s64(a, b)),
                vreinterpretq_s16_s64(vzip2q_s64(a, b)),
            );
            let (ab, cd) = (vreinterpretq_s32_s16(fold(a, b)), vreinterpretq_s32_s16(fold(c, d)));
            let (even, odd) = (vuzp1q_s32(ab, cd), vuzp2q_s32(ab, cd));
            vmulq_n_s16(vaddq_s16(vreinterpretq_s16_s32(even), vreinterpretq_s16_s32(odd)), -8)
        }

        /// The groups of a step of an activation, each four times over.
        fn broadcast(self, codes: int8x16_t) -> [int8x16_t; 4] {
            let groups = vreinterpretq_s32_s8(codes);
            [
                vdupq_laneq_s32::<0>(groups),
                vdupq_laneq_s32::<1>(groups),
                vdupq_laneq_s32::<2>(groups),
                vdupq_laneq_s32::<3>(groups),
            ].map(|group| vreinterpretq_s8_s32(group))
        }

        /// Pairs and the products of two groups of a register's rows, whose levels are `w`. Not by
        /// intrinsics, because the compiler would move the upper halves down first.
        fn add_groups(self, pairs: [int32x4_t; 2], w: [int8x16_t; 2], x: [int8x16_t; 2]) -> [int32x4_t; 2] {
            let [mut low, mut high] = pairs;
            // SAFETY: arithmetic on registers, part of NEON, for which this function is compiled. In one piece, because the
            // compiler would multiply for all registers before it adds, which takes more registers than there are.
            unsafe {
                asm!(
                    "smull {a:v}.8h, {w0:v}.8b, {x0:v}.8b",
                    "smull2 {b:v}.8h, {w0:v}.16b, {x0:v}.16b",
                    "smlal {a:v}.8h, {w1:v}.8b, {x1:v}.8b",
                    "smlal2 {b:v}.8h, {w1:v}.16b, {x1:v}.16b",
                    "sadalp {low:v}.4s, {a:v}.8h",
                    "sadalp {high:v}.4s, {b:v}.8h",
                    a = out(vreg) _,
                    b = out(vreg) _,
                    low = inout(vreg) low,
                    high = inout(vreg) high,
                    w0 = in(vreg) w[0],
                    w1 = in(vreg) w[1],
                    x0 = in(vreg) x[0],
                    x1 = in(vreg) x[1],
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            [low, high]
        }

        /// The dot products: the sums of neighbours.
        fn add_pairs(self, low: Pairs, high: Pairs) -> [int32x4_t; 4] {
            [
                vpaddq_s32(low[0], low[1]),
                vpaddq_s32(low[2], low[3]),
                vpaddq_s32(high[0], high[1]),
                vpaddq_s32(high[2], high[3]),
            ]
        }
    }

    /// Where pairs start: each row's sum at [`START`].
    #[inline(always)]
    fn start_pairs(self) -> [Pairs; 2] {
        const STARTS: [f32; 8] = [START, 0.0, START, 0.0, START, 0.0, START, 0.0];
        [self.load_start(&STARTS), self.load_start(&STARTS)]
    }
}

/// A block: signed levels, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    steps: &'a [Step],
    scales: Scales16,
}

impl Arm for Neon {
    type Decoded<'a> = Decoded<'a>;

    #[inline(always)]
    fn block<'a>(self, steps: &'a [Step], scales: RowScales<Neon>) -> Decoded<'a> {
        Decoded {
            steps,
            scales: Scales16::new(scales),
        }
    }
}

impl Neon {
    /// Adds the products of two groups.
    #[inline(always)]
    fn add_pair<const N: usize>(
        self,
        sums: &mut [[Pairs; 2]; N],
        [left, right]: &GroupPair,
        x: [[int8x16_t; 2]; N],
    ) {
        for q in 0..4 {
            let (half, r) = (q / 2, q % 2 * 2);
            for n in 0..N {
                let pairs = &mut sums[n][half];
                [pairs[r], pairs[r + 1]] =
                    self.add_groups([pairs[r], pairs[r + 1]], [left[q], right[q]], x[n]);
            }
        }
    }
}

impl Block for Decoded<'_> {
    type Token = Neon;
    const PANELS: usize = 1;
    const TOKENS: usize = 1;
    const DEPTH: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        const {
            assert!(GROUP == 4, "a row is one lane of 32 bits");
            assert!(STEP == 4, "the lanes of a register");
        }
        for p in 0..P {
            let block = blocks[p];
            let neon = block.scales.neon();
            let mut pairs = acts.map(|_| neon.start_pairs());
            for (i, [first, second]) in block.steps.iter().enumerate() {
                let x = acts.map(|act| neon.broadcast(load_codes(codes_of(act, i))));
                neon.add_pair(&mut pairs, first, x.map(|[a, b, _, _]| [a, b]));
                neon.add_pair(&mut pairs, second, x.map(|[_, _, c, d]| [c, d]));
            }
            let scales = block.scales.load();
            for n in 0..N {
                let dots = neon.add_pairs(pairs[n][0], pairs[n][1]);
                scales.add(dots, acts[n], &mut sums[p][n]);
            }
        }
    }
}
