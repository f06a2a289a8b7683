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

use super::arm::{Levels, START, Scales16, levels_q4, levels_q8, load_start};
use super::{Block, Decode, RowScales, add_tiles, tiles};
use crate::activation::ActivationBlock;
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP, GROUPS};
use crate::q4;
use crate::simd::{RECIPROCAL, Simd16, fold};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Evaluates intrinsics of this tier.
macro_rules! neon {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for NEON at least, and those
        // can be called only through a value that proves the detection (`crate::kernels::Neon`, `Dotprod`, `I8mm`).
        // Loads and stores take their pointers from references to arrays of the full width.
        unsafe { $body }
    };
}

/// Sixteen floats in four registers.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(super) [float32x4_t; 4]);

impl F32x16 {
    #[inline(always)]
    pub(super) fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        Self([f(self.0[0]), f(self.0[1]), f(self.0[2]), f(self.0[3])])
    }

    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self([
            f(self.0[0], b.0[0]),
            f(self.0[1], b.0[1]),
            f(self.0[2], b.0[2]),
            f(self.0[3], b.0[3]),
        ])
    }
}

macro_rules! lanewise {
    ($($name:ident => $intrinsic:ident),+ $(,)?) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            self.zip(b, |a, b| neon!($intrinsic(a, b)))
        }
    )+};
}

impl Simd16 for F32x16 {
    const REGISTERS: usize = 4;

    lanewise! {
        add => vaddq_f32,
        sub => vsubq_f32,
        mul => vmulq_f32,
        div => vdivq_f32,
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([neon!(vdupq_n_f32(x)); 4])
    }

    #[inline(always)]
    fn load(lanes: &Lanes) -> Self {
        let (quarters, _) = lanes.0.as_chunks::<4>();
        neon!(Self([
            vld1q_f32(quarters[0].as_ptr()),
            vld1q_f32(quarters[1].as_ptr()),
            vld1q_f32(quarters[2].as_ptr()),
            vld1q_f32(quarters[3].as_ptr()),
        ]))
    }

    #[inline(always)]
    fn store(self, lanes: &mut Lanes) {
        let (quarters, _) = lanes.0.as_chunks_mut::<4>();
        for q in 0..4 {
            neon!(vst1q_f32(quarters[q].as_mut_ptr(), self.0[q]));
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        neon!(Self([
            vfmaq_f32(c.0[0], self.0[0], b.0[0]),
            vfmaq_f32(c.0[1], self.0[1], b.0[1]),
            vfmaq_f32(c.0[2], self.0[2], b.0[2]),
            vfmaq_f32(c.0[3], self.0[3], b.0[3]),
        ]))
    }

    // `fmax` and `fmin` treat NaN and the signs of zero otherwise.
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| neon!(vbslq_f32(vcgtq_f32(a, b), a, b)))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| neon!(vbslq_f32(vcltq_f32(a, b), a, b)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.map(|x| neon!(vabsq_f32(x)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        self.map(|x| neon!(vrndnq_f32(x)))
    }

    #[inline(always)]
    fn rough_reciprocal(self) -> Self {
        self.map(|x| {
            neon!(vreinterpretq_f32_s32(vsubq_s32(
                vdupq_n_s32(RECIPROCAL),
                vreinterpretq_s32_f32(x)
            )))
        })
    }

    #[inline(always)]
    fn exp2_integer(self) -> Self {
        self.map(|n| {
            neon!({
                let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            })
        })
    }

    #[inline(always)]
    fn select_gt(self, b: Self, yes: Self, no: Self) -> Self {
        #[inline(always)]
        fn quarter(
            a: float32x4_t,
            b: float32x4_t,
            yes: float32x4_t,
            no: float32x4_t,
        ) -> float32x4_t {
            neon!(vbslq_f32(vcgtq_f32(a, b), yes, no))
        }
        Self([
            quarter(self.0[0], b.0[0], yes.0[0], no.0[0]),
            quarter(self.0[1], b.0[1], yes.0[1], no.0[1]),
            quarter(self.0[2], b.0[2], yes.0[2], no.0[2]),
            quarter(self.0[3], b.0[3], yes.0[3], no.0[3]),
        ])
    }

    #[inline(always)]
    fn load_f16(lanes: &[f16; LANES]) -> Self {
        /// `fcvtl`, whose intrinsic isn't stable; the instruction is as old as Armv8.
        #[inline(always)]
        fn convert(halves: uint16x4_t) -> float32x4_t {
            let floats: float32x4_t;
            // SAFETY: a conversion between registers, part of NEON on every Armv8.
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
        let (eights, _) = lanes.as_chunks::<8>();
        neon!({
            let low = vld1q_u16(eights[0].as_ptr().cast());
            let high = vld1q_u16(eights[1].as_ptr().cast());
            Self([
                convert(vget_low_u16(low)),
                convert(vget_high_u16(low)),
                convert(vget_low_u16(high)),
                convert(vget_high_u16(high)),
            ])
        })
    }

    #[inline(always)]
    fn to_i8(self, high: Self) -> [i8; 2 * LANES] {
        let mut bytes = [0i8; 2 * LANES];
        let (halves, _) = bytes.as_chunks_mut::<LANES>();
        for (x, half) in [self, high].into_iter().zip(halves) {
            neon!({
                let words = |a, b| {
                    let (a, b) = (vcvtnq_s32_f32(a), vcvtnq_s32_f32(b));
                    vcombine_s16(vmovn_s32(a), vmovn_s32(b))
                };
                let (low, high) = (words(x.0[0], x.0[1]), words(x.0[2], x.0[3]));
                let packed = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
                vst1q_s8(half.as_mut_ptr(), packed);
            });
        }
        bytes
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        neon!({
            let x = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        })
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let [a, b, c, d] = self.0;
        let larger = |a, b| neon!(vbslq_f32(vcgtq_f32(a, b), a, b));
        let mut x = [0.0; 4];
        neon!(vst1q_f32(
            x.as_mut_ptr(),
            larger(larger(a, c), larger(b, d))
        ));
        fold(x, |a, b| if a > b { a } else { b })
    }
}

/// The integer product over `smlal`.
pub(crate) struct Product;

impl Decode<CodesQ8> for Product {
    type Block<'a> = BlockQ8;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> BlockQ8 {
        BlockQ8 {
            levels: levels_q8(codes),
            scales: Scales16::new(scales),
        }
    }
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = BlockQ4;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> BlockQ4 {
        BlockQ4 {
            levels: levels_q4(codes),
            scales: Scales16::new(scales),
        }
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

/// Group `J` of an activation, four times over.
#[inline(always)]
fn broadcast<const J: i32>(act: &ActivationBlock) -> int8x16_t {
    let (halves, _) = act.codes.as_chunks::<16>();
    neon!({
        let half = vreinterpretq_s32_s8(vld1q_s8(halves[J as usize / 4].as_ptr()));
        vreinterpretq_s8_s32(match J % 4 {
            0 => vdupq_laneq_s32::<0>(half),
            1 => vdupq_laneq_s32::<1>(half),
            2 => vdupq_laneq_s32::<2>(half),
            _ => vdupq_laneq_s32::<3>(half),
        })
    })
}

/// The products of 16 bytes: the lower eight, the upper eight. Not by intrinsics, because the compiler would move the
/// upper halves down first.
#[inline(always)]
fn multiply(w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    let (low, high);
    // SAFETY: arithmetic on registers, part of NEON on every Armv8.
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
#[inline(always)]
fn multiply_add([mut low, mut high]: [int16x8_t; 2], w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: arithmetic on registers, part of NEON on every Armv8.
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

/// Eight rows, two a register, and two pairs of columns a row.
type Pairs = [int32x4_t; 4];

/// Where pairs start: each row's sum at [`START`].
#[inline(always)]
fn start_pairs() -> Pairs {
    load_start(&[START, 0.0, START, 0.0, START, 0.0, START, 0.0])
}

/// The dot products: the sums of neighbours.
#[inline(always)]
fn add_pairs([low, high]: [Pairs; 2]) -> [int32x4_t; 4] {
    neon!([
        vpaddq_s32(low[0], low[1]),
        vpaddq_s32(low[2], low[3]),
        vpaddq_s32(high[0], high[1]),
        vpaddq_s32(high[2], high[3]),
    ])
}

/// Adds neighbouring columns of two registers' rows, `q` of four, to the rows' pairs.
#[inline(always)]
fn widen(pairs: &mut [Pairs; 2], q: usize, [low, high]: [int16x8_t; 2]) {
    let (half, r) = (q / 2, q % 2 * 2);
    neon!({
        pairs[half][r] = vpadalq_s16(pairs[half][r], low);
        pairs[half][r + 1] = vpadalq_s16(pairs[half][r + 1], high);
    })
}

impl BlockQ8 {
    /// Adds the products of groups `j` and `j + 1`.
    #[inline(always)]
    fn add_groups(&self, pairs: &mut [Pairs; 2], x: [int8x16_t; 2], j: usize) {
        for q in 0..4 {
            let (half, r) = (q / 2, q % 2 * 2);
            let (w0, w1) = (self.levels[j][q], self.levels[j + 1][q]);
            let (mut low, mut high) = (pairs[half][r], pairs[half][r + 1]);
            // SAFETY: arithmetic on registers, part of NEON on every Armv8. In one piece, because the compiler would
            // multiply for all q before it adds, which takes more registers than there are.
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
                    w0 = in(vreg) w0,
                    w1 = in(vreg) w1,
                    x0 = in(vreg) x[0],
                    x1 = in(vreg) x[1],
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            (pairs[half][r], pairs[half][r + 1]) = (low, high);
        }
    }
}

impl Block for BlockQ8 {
    type Sums = F32x16;
    const PANELS: usize = 1;
    // The pairs of columns of two tokens, with their sums and the operands, are more than 32 registers.
    tiles!(add_tiles: 1);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        const { assert!(GROUPS == 8) }
        for n in 0..N {
            for p in 0..P {
                let (act, block) = (acts[n], blocks[p]);
                let mut pairs = [start_pairs(), start_pairs()];
                block.add_groups(&mut pairs, [broadcast::<0>(act), broadcast::<1>(act)], 0);
                block.add_groups(&mut pairs, [broadcast::<2>(act), broadcast::<3>(act)], 2);
                block.add_groups(&mut pairs, [broadcast::<4>(act), broadcast::<5>(act)], 4);
                block.add_groups(&mut pairs, [broadcast::<6>(act), broadcast::<7>(act)], 6);
                sums[n][p] = block.scales.add(sums[n][p], add_pairs(pairs), act);
            }
        }
    }
}

impl BlockQ4 {
    /// The products of the first group: two rows a register, one column a lane.
    #[inline(always)]
    fn first_group(&self, act: &ActivationBlock) -> [[int16x8_t; 2]; 4] {
        let x = broadcast::<0>(act);
        self.levels[0].map(|w| multiply(w, x))
    }

    /// Adds the products of group `J`.
    #[inline(always)]
    fn add_group<const J: i32, const N: usize>(
        &self,
        columns: &mut [[[int16x8_t; 2]; 4]; N],
        acts: &[&ActivationBlock; N],
    ) {
        let x = acts.map(broadcast::<J>);
        for q in 0..4 {
            for n in 0..N {
                columns[n][q] = multiply_add(columns[n][q], self.levels[J as usize][q], x[n]);
            }
        }
    }
}

impl Block for BlockQ4 {
    type Sums = F32x16;
    const PANELS: usize = 1;
    tiles!(add_tiles: 1 2);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
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
            let mut columns = acts.map(|act| block.first_group(act));
            block.add_group::<1, N>(&mut columns, &acts);
            block.add_group::<2, N>(&mut columns, &acts);
            block.add_group::<3, N>(&mut columns, &acts);
            block.add_group::<4, N>(&mut columns, &acts);
            block.add_group::<5, N>(&mut columns, &acts);
            block.add_group::<6, N>(&mut columns, &acts);
            block.add_group::<7, N>(&mut columns, &acts);
            for n in 0..N {
                let mut pairs = [start_pairs(), start_pairs()];
                for q in 0..4 {
                    widen(&mut pairs, q, columns[n][q]);
                }
                sums[n][p] = block.scales.add(sums[n][p], add_pairs(pairs), acts[n]);
            }
        }
    }
}
