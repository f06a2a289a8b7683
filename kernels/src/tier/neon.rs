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
//! addition is between neighbours. Half of a panel (8 rows) goes at a time: its accumulators for four tokens are 16
//! registers, which leaves 16 for operands and products.

use super::{Block, Decode};
use crate::activation::ActivationBlock;
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP, GROUP_BYTES, GROUPS, Scales};
use crate::q4;
use crate::simd::Simd16;
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
pub(crate) struct F32x16([float32x4_t; 4]);

impl F32x16 {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
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
    fn to_i8(self) -> [i8; LANES] {
        let mut bytes = [0i8; LANES];
        neon!({
            let words = |a, b| {
                let (a, b) = (vcvtnq_s32_f32(a), vcvtnq_s32_f32(b));
                vcombine_s16(vmovn_s32(a), vmovn_s32(b))
            };
            let (low, high) = (words(self.0[0], self.0[1]), words(self.0[2], self.0[3]));
            vst1q_s8(
                bytes.as_mut_ptr(),
                vcombine_s8(vmovn_s16(low), vmovn_s16(high)),
            );
        });
        bytes
    }
}

/// A block as signed levels: `[group]`, and four rows of four columns a register.
pub(super) type Levels = [[int8x16_t; 4]; GROUPS];

/// The 64 bytes of a group.
#[inline(always)]
fn load64(bytes: &[u8; GROUP_BYTES]) -> [uint8x16_t; 4] {
    let (quarters, _) = bytes.as_chunks::<16>();
    neon!([
        vld1q_u8(quarters[0].as_ptr()),
        vld1q_u8(quarters[1].as_ptr()),
        vld1q_u8(quarters[2].as_ptr()),
        vld1q_u8(quarters[3].as_ptr()),
    ])
}

/// The levels of a q8 block: code + 128 with the top bit flipped.
#[inline(always)]
pub(super) fn levels_q8(codes: &CodesQ8) -> Levels {
    let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
    let mut levels = neon!([[vdupq_n_s8(0); 4]; GROUPS]);
    for j in 0..GROUPS {
        let bytes = load64(&groups[j]);
        for q in 0..4 {
            levels[j][q] = neon!(vreinterpretq_s8_u8(veorq_u8(bytes[q], vdupq_n_u8(0x80))));
        }
    }
    levels
}

/// The levels of a q4 block: a look-up of each nibble.
#[inline(always)]
pub(super) fn levels_q4(codes: &CodesQ4) -> Levels {
    let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
    let table = neon!(vld1q_s8(q4::LEVELS.as_ptr()));
    let mut levels = neon!([[vdupq_n_s8(0); 4]; GROUPS]);
    for j in 0..GROUPS / 2 {
        let bytes = load64(&groups[j]);
        for q in 0..4 {
            neon!({
                levels[j][q] = vqtbl1q_s8(table, vandq_u8(bytes[q], vdupq_n_u8(15)));
                levels[j + GROUPS / 2][q] = vqtbl1q_s8(table, vshrq_n_u8::<4>(bytes[q]));
            })
        }
    }
    levels
}

/// The scales as f32, which holds every f16 exactly.
#[inline(always)]
pub(super) fn load_scales(scales: &Scales) -> F32x16 {
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
    let (eights, _) = scales.as_chunks::<8>();
    neon!({
        let low = vld1q_u16(eights[0].as_ptr().cast());
        let high = vld1q_u16(eights[1].as_ptr().cast());
        F32x16([
            convert(vget_low_u16(low)),
            convert(vget_high_u16(low)),
            convert(vget_low_u16(high)),
            convert(vget_high_u16(high)),
        ])
    })
}

/// out = fma(dots, scales * scale of the activation, out)
#[inline(always)]
pub(super) fn finish(dots: [int32x4_t; 4], scales: F32x16, scale: f32, out: &mut Lanes) {
    let dots = neon!(F32x16([
        vcvtq_f32_s32(dots[0]),
        vcvtq_f32_s32(dots[1]),
        vcvtq_f32_s32(dots[2]),
        vcvtq_f32_s32(dots[3]),
    ]));
    dots.mul_add(scales.mul(F32x16::splat(scale)), F32x16::load(out))
        .store(out);
}

/// The integer product over `smlal`.
pub(crate) struct Product;

/// A q8 block, widened every two groups.
pub(crate) struct DecodedQ8 {
    levels: Levels,
    scales: F32x16,
}

/// A q4 block, widened once.
pub(crate) struct DecodedQ4 {
    levels: Levels,
    scales: F32x16,
}

/// Group `group` of an activation, four times over.
#[inline(always)]
fn broadcast(act: &ActivationBlock, group: usize) -> int8x16_t {
    neon!(vreinterpretq_s8_s32(vdupq_n_s32(super::group_word(
        &act.codes, group
    ))))
}

/// Products of the lower eight bytes: two rows.
#[inline(always)]
fn multiply_low(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    neon!(vmull_s8(vget_low_s8(a), vget_low_s8(b)))
}

/// `sum` and the products of the lower eight bytes.
#[inline(always)]
fn multiply_add_low(sum: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t {
    neon!(vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b)))
}

impl Decode<CodesQ8> for Product {
    type Block = DecodedQ8;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: &Scales) -> DecodedQ8 {
        DecodedQ8 {
            levels: levels_q8(codes),
            scales: load_scales(scales),
        }
    }
}

impl Block for DecodedQ8 {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        let mut dots = neon!([[vdupq_n_s32(0); 4]; N]);
        for half in 0..2 {
            // Two rows a register, two pairs of columns a row.
            let mut pairs = neon!([[vdupq_n_s32(0); 4]; N]);
            for j in (0..GROUPS).step_by(2) {
                for n in 0..N {
                    let (x0, x1) = (broadcast(acts[n], j), broadcast(acts[n], j + 1));
                    for q in 0..2 {
                        let (w0, w1) = (
                            self.levels[j][2 * half + q],
                            self.levels[j + 1][2 * half + q],
                        );
                        let low = multiply_add_low(multiply_low(w0, x0), w1, x1);
                        neon!({
                            let high = vmlal_high_s8(vmull_high_s8(w0, x0), w1, x1);
                            pairs[n][2 * q] = vpadalq_s16(pairs[n][2 * q], low);
                            pairs[n][2 * q + 1] = vpadalq_s16(pairs[n][2 * q + 1], high);
                        })
                    }
                }
            }
            for n in 0..N {
                for q in 0..2 {
                    dots[n][2 * half + q] = neon!(vpaddq_s32(pairs[n][2 * q], pairs[n][2 * q + 1]));
                }
            }
        }
        for n in 0..N {
            finish(dots[n], self.scales, acts[n].scale, &mut out[n]);
        }
    }
}

impl Decode<CodesQ4> for Product {
    type Block = DecodedQ4;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: &Scales) -> DecodedQ4 {
        const {
            let mut i = 0;
            while i < q4::LEVELS.len() {
                let size = (q4::LEVELS[i] as i32).abs();
                assert!(size * 127 * GROUPS as i32 <= i16::MAX as i32);
                i += 1;
            }
            assert!(GROUP == 4, "a row is one lane of 32 bits");
        }
        DecodedQ4 {
            levels: levels_q4(codes),
            scales: load_scales(scales),
        }
    }
}

impl Block for DecodedQ4 {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        let mut dots = neon!([[vdupq_n_s32(0); 4]; N]);
        for half in 0..2 {
            // Two rows a register, one column a lane.
            let mut columns = neon!([[vdupq_n_s16(0); 4]; N]);
            for j in 0..GROUPS {
                for n in 0..N {
                    let x = broadcast(acts[n], j);
                    for q in 0..2 {
                        let w = self.levels[j][2 * half + q];
                        columns[n][2 * q] = multiply_add_low(columns[n][2 * q], w, x);
                        columns[n][2 * q + 1] = neon!(vmlal_high_s8(columns[n][2 * q + 1], w, x));
                    }
                }
            }
            for n in 0..N {
                for q in 0..2 {
                    dots[n][2 * half + q] = neon!(vpaddq_s32(
                        vpaddlq_s16(columns[n][2 * q]),
                        vpaddlq_s16(columns[n][2 * q + 1])
                    ));
                }
            }
        }
        for n in 0..N {
            finish(dots[n], self.scales, acts[n].scale, &mut out[n]);
        }
    }
}
