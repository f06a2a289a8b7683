//! What the blocks of Arm's tiers share.
//!
//! A tile is one or two tokens and 16 rows: 8 registers of sums, which stay for a run of blocks, and 8 of dot products.
//! The levels are read again for every tile; loads have pipes of their own, which are idle otherwise. What each loop
//! takes is in `docs/arm`.

use super::RowScales;
use super::neon::F32x16;
use crate::activation::{self, ActivationBlock};
use crate::lanes::Lanes;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::q4;
use crate::simd::Simd16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Evaluates intrinsics of NEON.
macro_rules! neon {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for NEON at least, and those
        // can be called only through a value that proves the detection (`crate::kernels::Neon`, `Dotprod`, `I8mm`).
        // Loads take their pointers from references to arrays of the full width.
        unsafe { $body }
    };
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

/// [`activation::START`] as a float: an exact conversion for free. On Cortex-A76 `scvtf` takes always the same vector
/// pipe, for two cycles.
pub(super) const START: f32 = f32::from_bits(activation::START as u32);

/// Accumulators from memory. A copy of a register, or a zero, would take a vector pipe, and that is what the compiler
/// makes of a constant; the pipes for loads have time to spare.
#[inline(always)]
pub(super) fn load_start(from: &'static [f32; 8]) -> [int32x4_t; 4] {
    let (a, b, c, d);
    // SAFETY: reads the 32 bytes of the array. Not `pure`, lest the compiler load once and copy.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}]",
            a = out(vreg) a,
            b = out(vreg) b,
            c = lateout(vreg) c,
            d = lateout(vreg) d,
            from = in(reg) from.as_ptr(),
            options(readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// The scale of an activation, for a multiplication by element. The compiler would broadcast it, on a vector pipe.
#[inline(always)]
fn load_scale(act: &ActivationBlock) -> f32 {
    let scale;
    // SAFETY: reads a float through a reference.
    unsafe {
        asm!(
            "ldr {scale:s}, [{from}]",
            scale = lateout(vreg) scale,
            from = in(reg) &raw const act.scale,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    scale
}

/// The scales of a block's rows; in memory, see [`load_start`].
#[derive(Clone, Copy)]
pub(super) struct Scales16 {
    scales: F32x16,
    start: [f32; 16],
}

impl Scales16 {
    #[inline(always)]
    pub(super) fn new(RowScales { scales, start }: RowScales<F32x16>) -> Self {
        let mut lanes = Lanes::ZERO;
        start.store(&mut lanes);
        Self {
            scales,
            start: lanes.0,
        }
    }

    /// dots * scales, rounded once.
    #[inline(always)]
    pub(super) fn scaled(&self, dots: [int32x4_t; 4]) -> F32x16 {
        let (eights, _) = self.start.as_chunks::<8>();
        let ([a, b], [c, d]) = (load_pair(&eights[0]), load_pair(&eights[1]));
        let dots = F32x16(dots.map(|dots| neon!(vreinterpretq_f32_s32(dots))));
        dots.mul_add(self.scales, F32x16([a, b, c, d]))
    }

    /// fma(dots * scales, scale of the activation, sums)
    #[inline(always)]
    pub(super) fn add(&self, sums: F32x16, dots: [int32x4_t; 4], act: &ActivationBlock) -> F32x16 {
        let (scaled, scale) = (self.scaled(dots), load_scale(act));
        F32x16(std::array::from_fn(|q| {
            neon!(vfmaq_n_f32(sums.0[q], scaled.0[q], scale))
        }))
    }
}

/// Two registers from memory, as [`load_start`].
#[inline(always)]
fn load_pair(from: &[f32; 8]) -> [float32x4_t; 2] {
    let (a, b);
    // SAFETY: reads the 32 bytes of the array.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{from}]",
            a = lateout(vreg) a,
            b = lateout(vreg) b,
            from = in(reg) from.as_ptr(),
            options(readonly, nostack, preserves_flags)
        );
    }
    [a, b]
}
