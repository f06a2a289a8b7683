//! NEON as Armv8.0 has it: 4 x 4 lanes.
//!
//! There is no int8 dot product here; `smull` and `smlal` multiply signed bytes and add to 16 bits, and `sadalp` adds
//! neighbours to 32. Nothing may overflow:
//!
//! - q8: a product is at most 127 * 127, and two make 32,258: the 16 bits are widened every two groups. (The code -128,
//!   which no valid file holds, fits as well: 2 * 128 * 127 = 32,512.)
//! - q4: a level is at most 31, a product 31 * 127, and eight make 31,496: the 16 bits hold the whole block, one
//!   product from each group, and are widened once.
//!
//! A lane of 16 bits holds one column of a row, so two lanes of 32 bits hold a row's pairs of columns, and the last
//! addition is between neighbours. A panel's accumulators are 8 registers a token. Cortex-A72 multiplies on one of its
//! two vector pipes only, 8 products a cycle; `sadalp` has the other, so that q8 and q4 differ little but in memory.

use super::arm::{Levels, START, Scales16, load_codes};
use super::token::Neon;
use crate::activation::ActivationBlock;
use crate::lanes::LANES;
use crate::matmul::{Block, Decode, RowScales, Sums};
use crate::packed::{CodesQ4, CodesQ8, GROUP, GROUPS};
use crate::q4;
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

        /// Group `J` of an activation, four times over.
        fn broadcast<const J: i32>(self, act: &ActivationBlock) -> int8x16_t {
            let half = vreinterpretq_s32_s8(load_codes(act, J as usize / 4));
            vreinterpretq_s8_s32(match J % 4 {
                0 => vdupq_laneq_s32::<0>(half),
                1 => vdupq_laneq_s32::<1>(half),
                2 => vdupq_laneq_s32::<2>(half),
                _ => vdupq_laneq_s32::<3>(half),
            })
        }

        /// The products of 16 bytes: the lower eight, the upper eight. Not by intrinsics, because the compiler would move the
        /// upper halves down first.
        fn multiply(self, w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
            let (low, high);
            // SAFETY: arithmetic on registers, part of NEON, for which this function is compiled.
            unsafe {
                asm!(
                    "smull {low:v}.8h, {w:v}.8b, {x:v}.8b",
                    "smull2 {high:v}.8h, {w:v}.16b, {x:v}.16b",
                    low = out(vreg) low,
                    high = lateout(vreg) high,
                    w = in(vreg) w,
                    x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            [low, high]
        }

        /// `sums` and the products of 16 bytes.
        fn multiply_add(self, sums: [int16x8_t; 2], w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
            let [mut low, mut high] = sums;
            // SAFETY: arithmetic on registers, part of NEON, for which this function is compiled.
            unsafe {
                asm!(
                    "smlal {low:v}.8h, {w:v}.8b, {x:v}.8b",
                    "smlal2 {high:v}.8h, {w:v}.16b, {x:v}.16b",
                    low = inout(vreg) low,
                    high = inout(vreg) high,
                    w = in(vreg) w,
                    x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            [low, high]
        }

        /// Pairs and the products of two groups of a register's rows, whose levels are `w`.
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

        /// Pairs and the neighbouring columns of a register's rows.
        fn widen(self, pairs: [int32x4_t; 2], columns: [int16x8_t; 2]) -> [int32x4_t; 2] {
            [vpadalq_s16(pairs[0], columns[0]), vpadalq_s16(pairs[1], columns[1])]
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

/// A q8 block, widened every two groups.
#[derive(Clone, Copy)]
pub(crate) struct BlockQ8 {
    levels: Levels,
    scales: Scales16,
}

/// A q4 block, widened once.
#[derive(Clone, Copy)]
pub(crate) struct BlockQ4 {
    levels: Levels,
    scales: Scales16,
}

impl Decode<CodesQ8> for Neon {
    type Block<'a> = BlockQ8;

    #[inline(always)]
    fn decode(self, codes: &CodesQ8, scales: RowScales<Neon>) -> BlockQ8 {
        BlockQ8 {
            levels: self.levels_q8(codes),
            scales: Scales16::new(scales),
        }
    }
}

impl Decode<CodesQ4> for Neon {
    type Block<'a> = BlockQ4;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Neon>) -> BlockQ4 {
        BlockQ4 {
            levels: self.levels_q4(codes),
            scales: Scales16::new(scales),
        }
    }
}

impl BlockQ8 {
    /// Adds the products of groups `J` and `K`, which follows.
    #[inline(always)]
    fn add_groups<const J: i32, const K: i32>(
        &self,
        pairs: &mut [Pairs; 2],
        act: &ActivationBlock,
    ) {
        let neon = self.scales.neon();
        let x = [neon.broadcast::<J>(act), neon.broadcast::<K>(act)];
        for q in 0..4 {
            let (half, r) = (q / 2, q % 2 * 2);
            let w = [self.levels[J as usize][q], self.levels[K as usize][q]];
            let sums = [pairs[half][r], pairs[half][r + 1]];
            [pairs[half][r], pairs[half][r + 1]] = neon.add_groups(sums, w, x);
        }
    }
}

impl Block for BlockQ8 {
    type Token = Neon;
    const PANELS: usize = 1;
    // The pairs of columns of two tokens, with their sums and the operands, are more than 32 registers.
    const TOKENS: usize = 1;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const { assert!(GROUPS == 8) }
        for n in 0..N {
            for p in 0..P {
                let (act, block) = (acts[n], blocks[p]);
                let neon = block.scales.neon();
                let mut pairs = neon.start_pairs();
                block.add_groups::<0, 1>(&mut pairs, act);
                block.add_groups::<2, 3>(&mut pairs, act);
                block.add_groups::<4, 5>(&mut pairs, act);
                block.add_groups::<6, 7>(&mut pairs, act);
                let dots = neon.add_pairs(pairs[0], pairs[1]);
                sums[n][p] = block.scales.add(sums[n][p], dots, act);
            }
        }
    }
}

impl BlockQ4 {
    /// The products of the first group: two rows a register, one column a lane.
    #[inline(always)]
    fn first_group(&self, act: &ActivationBlock) -> [[int16x8_t; 2]; 4] {
        let neon = self.scales.neon();
        let x = neon.broadcast::<0>(act);
        self.levels[0].map(|w| neon.multiply(w, x))
    }

    /// Adds the products of group `J`.
    #[inline(always)]
    fn add_group<const J: i32, const N: usize>(
        &self,
        columns: &mut [[[int16x8_t; 2]; 4]; N],
        acts: &[&ActivationBlock; N],
    ) {
        let neon = self.scales.neon();
        let x = acts.map(|act| neon.broadcast::<J>(act));
        for q in 0..4 {
            for n in 0..N {
                columns[n][q] = neon.multiply_add(columns[n][q], self.levels[J as usize][q], x[n]);
            }
        }
    }
}

impl Block for BlockQ4 {
    type Token = Neon;
    const PANELS: usize = 1;
    const TOKENS: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const {
            let mut i = 0;
            while i < q4::LEVELS.len() {
                let size = (q4::LEVELS[i] as i32).abs();
                assert!(size * 127 * GROUPS as i32 <= i16::MAX as i32);
                i += 1;
            }
            assert!(GROUP == 4, "a row is one lane of 32 bits");
            assert!(GROUPS == 8);
        }
        for p in 0..P {
            let block = blocks[p];
            let neon = block.scales.neon();
            let mut columns = acts.map(|act| block.first_group(act));
            block.add_group::<1, N>(&mut columns, &acts);
            block.add_group::<2, N>(&mut columns, &acts);
            block.add_group::<3, N>(&mut columns, &acts);
            block.add_group::<4, N>(&mut columns, &acts);
            block.add_group::<5, N>(&mut columns, &acts);
            block.add_group::<6, N>(&mut columns, &acts);
            block.add_group::<7, N>(&mut columns, &acts);
            for n in 0..N {
                let mut pairs = neon.start_pairs();
                for q in 0..4 {
                    let (half, r) = (q / 2, q % 2 * 2);
                    let sums = [pairs[half][r], pairs[half][r + 1]];
                    [pairs[half][r], pairs[half][r + 1]] = neon.widen(sums, columns[n][q]);
                }
                let dots = neon.add_pairs(pairs[0], pairs[1]);
                sums[n][p] = block.scales.add(sums[n][p], dots, acts[n]);
            }
        }
    }
}
