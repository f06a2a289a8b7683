//! What the blocks of Arm's tiers share.
//!
//! Both formats are decoded to the same signed bytes, which stay in the first-level cache for all tokens, and go through
//! one loop. The registers belong to dot products, of which a tile has as many as fit; the bytes are read again for every
//! tile, because loads have pipes of their own, which are idle otherwise. What each loop takes is in `docs/arm`.

use super::token::Neon;
use super::token::Token;
use crate::activation::{self, ActivationBlock};
use crate::block::{Block, Decode, RowScales, write_words};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, GROUP, GROUPS, Group, SUB_BLOCK, SUB_BLOCKS};
use crate::q4;
use crate::simd::{F32x16, Simd};
use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::{MaybeUninit, offset_of};

/// Groups of a sub-block, whose columns of an activation are one register.
pub(super) const STEP: usize = SUB_BLOCK / GROUP;

/// Two groups of a panel, each four rows of four columns a register; or as a tier arranges them.
pub(crate) type GroupPair = [[int8x16_t; 4]; 2];

/// A sub-block: two pairs of groups.
pub(crate) type Step = [GroupPair; STEP / 2];

/// Memory for the signed bytes of a block.
pub(crate) type Steps = [Step; SUB_BLOCKS];

/// A tier of Arm: both formats become its signed bytes in the same way.
pub(crate) trait Arm: Token<Simd = Neon> {
    /// A block with its signed bytes.
    type Decoded<'a>: Block<Token = Self>;

    /// A pair of groups as this tier multiplies it.
    #[inline(always)]
    fn arrange(self, pair: GroupPair) -> GroupPair {
        pair
    }

    /// A block of these sub-blocks.
    fn block<'a>(self, steps: &'a [Step], scales: RowScales<Neon>) -> Self::Decoded<'a>;
}

impl<T: Arm> Decode<[Group]> for T {
    type Words = Steps;
    type Block<'a> = T::Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a [Group],
        scales: RowScales<Neon>,
        words: &'a mut MaybeUninit<Steps>,
    ) -> T::Decoded<'a> {
        let (neon, (steps, _)) = (self.simd(), codes.as_chunks::<STEP>());
        let steps = write_words(
            words,
            steps.len(),
            #[inline(always)]
            |j| {
                let bytes: [[[uint8x16_t; 4]; 2]; 2] =
                    bytemuck::pod_read_unaligned(steps[j].as_flattened());
                let [first, second] =
                    bytes.map(|pair| pair.map(|bytes| bytes.map(|bytes| neon.levels(bytes))));
                [self.arrange(first), self.arrange(second)]
            },
        );
        self.block(steps, scales)
    }
}

impl<T: Arm> Decode<CodesQ4> for T {
    type Words = Steps;
    type Block<'a> = T::Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Neon>,
        words: &'a mut MaybeUninit<Steps>,
    ) -> T::Decoded<'a> {
        const { assert!(SUB_BLOCKS == GROUPS / STEP && STEP == 4) }
        let (neon, (steps, _)) = (self.simd(), codes.groups.as_chunks::<2>());
        let steps = write_words(
            words,
            SUB_BLOCKS,
            #[inline(always)]
            |j| {
                let rows = bytemuck::pod_read_unaligned(&codes.sub_scales[j / 2]);
                let sub_scales = neon.spread(neon.nibbles(rows)[j % 2]);
                let pair = |at: usize| {
                    let bytes: [uint8x16_t; 4] = bytemuck::pod_read_unaligned(&steps[j][at]);
                    let mut pair = [sub_scales; 2];
                    for q in 0..4 {
                        [pair[0][q], pair[1][q]] = neon
                            .nibbles(bytes[q])
                            .map(|codes| neon.scale_codes(codes, sub_scales[q]));
                    }
                    self.arrange(pair)
                };
                [pair(0), pair(1)]
            },
        );
        self.block(steps, scales)
    }
}

/// [`activation::START`] as a float: an exact conversion for free. On Cortex-A76 `scvtf` takes always the same vector
/// pipe, for two cycles.
pub(super) const START: f32 = f32::from_bits(activation::START as u32);

/// The codes of an activation that go with step `step` of the levels.
#[inline(always)]
pub(super) fn codes_of(act: &ActivationBlock, step: usize) -> &[i8; SUB_BLOCK] {
    let (steps, _) = act.codes.as_chunks();
    &steps[step]
}

/// Codes in a register.
#[inline(always)]
pub(super) fn load_codes(codes: &[i8; SUB_BLOCK]) -> int8x16_t {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(codes))
}

impl Neon {
    neon! {
        /// Levels, of q8's bytes: code + 128 with the top bit flipped.
        fn levels(self, bytes: uint8x16_t) -> int8x16_t {
            vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)))
        }

        /// The low halves of some bytes, and the high ones.
        fn nibbles(self, bytes: uint8x16_t) -> [int8x16_t; 2] {
            [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)].map(|x| vreinterpretq_s8_u8(x))
        }

        /// The bytes of 16 rows, each four times over.
        fn spread(self, rows: int8x16_t) -> [int8x16_t; 4] {
            let first = vcombine_u8(vcreate_u8(0x0101_0101_0000_0000), vcreate_u8(0x0303_0303_0202_0202));
            [0, 4, 8, 12].map(|row| vqtbl1q_s8(rows, vaddq_u8(first, vdupq_n_u8(row))))
        }

        /// Levels, of q4's codes + 8 and the sub-scales of their rows. They are at most 15 * 8 in size.
        fn scale_codes(self, codes: int8x16_t, sub_scales: int8x16_t) -> int8x16_t {
            vmulq_s8(vaddq_s8(codes, vdupq_n_s8(q4::MIN_CODE)), sub_scales)
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

        /// Accumulators by copying, where loads are what a block waits for. The compiler would copy twice, also for a block
        /// without groups.
        pub(super) fn copy_start(self) -> [int32x4_t; 4] {
            let (a, b, c, d);
            // SAFETY: copies a register. Not `pure`, lest the compiler copy the copies.
            unsafe {
                asm!(
                    "mov {a:v}.16b, {from:v}.16b",
                    "mov {b:v}.16b, {from:v}.16b",
                    "mov {c:v}.16b, {from:v}.16b",
                    "mov {d:v}.16b, {from:v}.16b",
                    a = out(vreg) a,
                    b = out(vreg) b,
                    c = out(vreg) c,
                    d = lateout(vreg) d,
                    from = in(vreg) vdupq_n_s32(activation::START),
                    options(nomem, nostack, preserves_flags)
                );
            }
            [a, b, c, d]
        }

        /// The scale of an activation, for a multiplication by element. The compiler would broadcast it, on a vector pipe; and
        /// work out its address anew, though it has that of the codes.
        fn load_scale(self, act: &ActivationBlock) -> f32 {
            let scale;
            // SAFETY: reads a float through a reference.
            unsafe {
                asm!(
                    "ldr {scale:s}, [{act}, {offset}]",
                    scale = lateout(vreg) scale,
                    act = in(reg) &raw const *act,
                    offset = const offset_of!(ActivationBlock, scale),
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

    /// In registers: for several tokens, whose sums the compiler believes to overlap the scales.
    #[inline(always)]
    pub(super) fn load(&self) -> Loaded<'_> {
        Loaded {
            scales: self.scales,
            start: &self.start,
        }
    }
}

/// [`Scales16`], with the scales in registers.
#[derive(Clone, Copy)]
pub(super) struct Loaded<'a> {
    scales: F32x16<Neon>,
    start: &'a [f32; LANES],
}

impl Loaded<'_> {
    /// dots * scales, rounded once.
    #[inline(always)]
    pub(super) fn scaled(self, dots: [int32x4_t; 4]) -> F32x16<Neon> {
        let neon = self.scales.simd();
        let (eights, _) = self.start.as_chunks::<8>();
        let ([a, b], [c, d]) = (neon.load_pair(&eights[0]), neon.load_pair(&eights[1]));
        let dots = F32x16::new(neon, dots.map(|dots| neon.as_floats(dots)));
        dots.mul_add(self.scales, F32x16::new(neon, [a, b, c, d]))
    }

    /// sums = fma(dots * scales, scale of the activation, sums)
    #[inline(always)]
    pub(super) fn add(self, dots: [int32x4_t; 4], act: &ActivationBlock, sums: &mut Lanes) {
        let neon = self.scales.simd();
        let (scaled, scale) = (self.scaled(dots), neon.load_scale(act));
        let (before, scaled) = (neon.load(sums), scaled.registers());
        let before = before.registers();
        let after = std::array::from_fn(|q| neon.add_scaled(before[q], scaled[q], scale));
        F32x16::new(neon, after).store(sums);
    }
}
