//! What the blocks of Arm's tiers share.
//!
//! A tile is one or two tokens and 16 rows: 8 registers of sums, which stay for a run of blocks, and 8 of dot products.
//! The levels are read again for every tile; loads have pipes of their own, which are idle otherwise. What each loop
//! takes is in `docs/arm`.

use super::token::Neon;
use crate::activation::{self, ActivationBlock};
use crate::lanes::{LANES, Lanes};
use crate::matmul::RowScales;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::q4;
use crate::simd::F32x16;
use std::arch::aarch64::*;
use std::arch::asm;

/// A block as signed levels: `[group]`, and four rows of four columns a register.
pub(super) type Levels = [[int8x16_t; 4]; GROUPS];

/// [`activation::START`] as a float: an exact conversion for free. On Cortex-A76 `scvtf` takes always the same vector
/// pipe, for two cycles.
pub(super) const START: f32 = f32::from_bits(activation::START as u32);

/// Four of the eight groups of an activation's codes.
#[inline(always)]
pub(super) fn load_codes(act: &ActivationBlock, half: usize) -> int8x16_t {
    let (halves, _) = act.codes.as_chunks::<16>();
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&halves[half]))
}

impl Neon {
    neon! {
        fn splat_i8(self, x: i8) -> int8x16_t { vdupq_n_s8(x) }

        /// Levels, of q8's bytes: code + 128 with the top bit flipped.
        fn levels(self, bytes: uint8x16_t) -> int8x16_t {
            vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)))
        }

        /// The entries of a table for the low halves of some bytes, and for their high halves.
        fn look_up(self, table: int8x16_t, bytes: uint8x16_t) -> [int8x16_t; 2] {
            let low = vqtbl1q_s8(table, vandq_u8(bytes, vdupq_n_u8(15)));
            [low, vqtbl1q_s8(table, vshrq_n_u8::<4>(bytes))]
        }

        /// Accumulators from memory. A copy of a register, or a zero, would take a vector pipe, and that is what the compiler
        /// makes of a constant; the pipes for loads have time to spare.
        pub(super) fn load_start(self, from: &'static [f32; 8]) -> [int32x4_t; 4] {
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
        fn load_scale(self, act: &ActivationBlock) -> f32 {
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

        /// Two registers from memory, as [`Self::load_start`].
        fn load_pair(self, from: &[f32; 8]) -> [float32x4_t; 2] {
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

        /// The bits of accumulators as a float.
        fn as_floats(self, dots: int32x4_t) -> float32x4_t { vreinterpretq_f32_s32(dots) }

        /// sums + x * scale, rounded once.
        fn add_scaled(self, sums: float32x4_t, x: float32x4_t, scale: f32) -> float32x4_t {
            vfmaq_n_f32(sums, x, scale)
        }
    }

    /// The levels of a q8 block.
    #[inline(always)]
    pub(super) fn levels_q8(self, codes: &CodesQ8) -> Levels {
        let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut levels = [[self.splat_i8(0); 4]; GROUPS];
        for j in 0..GROUPS {
            let bytes: [uint8x16_t; 4] = bytemuck::pod_read_unaligned(&groups[j]);
            for q in 0..4 {
                levels[j][q] = self.levels(bytes[q]);
            }
        }
        levels
    }

    /// The levels of a q4 block.
    #[inline(always)]
    pub(super) fn levels_q4(self, codes: &CodesQ4) -> Levels {
        let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
        let table = bytemuck::cast(q4::LEVELS);
        let mut levels = [[self.splat_i8(0); 4]; GROUPS];
        for j in 0..GROUPS / 2 {
            let bytes: [uint8x16_t; 4] = bytemuck::pod_read_unaligned(&groups[j]);
            for q in 0..4 {
                [levels[j][q], levels[j + GROUPS / 2][q]] = self.look_up(table, bytes[q]);
            }
        }
        levels
    }
}

/// The scales of a block's rows; in memory, see [`Neon::load_start`].
#[derive(Clone, Copy)]
pub(super) struct Scales16 {
    scales: F32x16<Neon>,
    start: [f32; LANES],
}

impl Scales16 {
    #[inline(always)]
    pub(super) fn new(RowScales { scales, start }: RowScales<Neon>) -> Self {
        let mut lanes = Lanes::ZERO;
        start.store(&mut lanes);
        Self {
            scales,
            start: lanes.0,
        }
    }

    /// The token that made the scales.
    #[inline(always)]
    pub(super) fn neon(&self) -> Neon {
        self.scales.simd()
    }

    /// dots * scales, rounded once.
    #[inline(always)]
    pub(super) fn scaled(&self, dots: [int32x4_t; 4]) -> F32x16<Neon> {
        let neon = self.neon();
        let (eights, _) = self.start.as_chunks::<8>();
        let ([a, b], [c, d]) = (neon.load_pair(&eights[0]), neon.load_pair(&eights[1]));
        let dots = F32x16::new(neon, dots.map(|dots| neon.as_floats(dots)));
        dots.mul_add(self.scales, F32x16::new(neon, [a, b, c, d]))
    }

    /// fma(dots * scales, scale of the activation, sums)
    #[inline(always)]
    pub(super) fn add(
        &self,
        sums: F32x16<Neon>,
        dots: [int32x4_t; 4],
        act: &ActivationBlock,
    ) -> F32x16<Neon> {
        let neon = self.neon();
        let (scaled, scale) = (self.scaled(dots), neon.load_scale(act));
        let (sums, scaled) = (sums.registers(), scaled.registers());
        let sums = std::array::from_fn(|q| neon.add_scaled(sums[q], scaled[q], scale));
        F32x16::new(neon, sums)
    }
}
