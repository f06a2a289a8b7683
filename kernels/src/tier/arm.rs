//! The loops of a matrix product on Arm.
//!
//! They differ from [`super::panel_product`], which goes over the tokens for every block. There the sums of a tile are
//! loaded and stored once a block, and a store takes a vector pipe on Cortex-A76 as much as a multiplication does. Here
//! several blocks are decoded before the tokens go by, and a tile's sums stay in registers for all of them: two tokens
//! and 16 rows, 8 registers of sums and 8 of dot products. The levels are read again for every two tokens; loads have
//! pipes of their own, which are idle otherwise. What each loop takes is in `docs/arm`.
//!
//! Below the loops is what the tiers' blocks share.

use super::Panel;
use super::neon::F32x16;
use crate::activation::{ActivationBlock, Activations};
use crate::lanes::Lanes;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS, Scales};
use crate::simd::Simd16;
use crate::{BLOCK, q4};
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

/// Blocks that are decoded at a time: 4.5 KiB of the first-level cache.
const DEPTH: usize = 8;

/// A block of a panel, made ready for many tokens.
pub(super) trait Block: Copy {
    /// Whether tokens go in pairs, the last of an odd number alone; or all alone.
    const PAIRS: bool;

    /// A block of zeros.
    fn zero() -> Self;

    /// For N tokens: sums[n] = fma(dot(block, token n), scale of the row * scale of the token, sums[n]).
    fn add<const N: usize>(&self, acts: [&ActivationBlock; N], sums: &mut [F32x16; N]);

    /// The sums of a tile, in the order that [`Block::add`] takes.
    #[inline(always)]
    fn arrange<const N: usize>(sums: [F32x16; N]) -> [F32x16; N] {
        sums
    }

    /// The inverse of [`Block::arrange`].
    #[inline(always)]
    fn restore<const N: usize>(sums: [F32x16; N]) -> [F32x16; N] {
        sums
    }
}

/// Implements [`super::PanelProduct`] for a module's `Product`, given how each format's blocks are decoded.
macro_rules! products {
    ($($codes:ty => $decode:expr),+ $(,)?) => {$(
        impl super::PanelProduct<$codes> for Product {
            #[inline(always)]
            fn panel_product(
                panel: super::Panel<'_, $codes>,
                bias: &crate::lanes::Lanes,
                acts: &crate::activation::Activations<'_>,
                out: &mut [crate::lanes::Lanes],
            ) {
                super::arm::panel_product(panel, $decode, bias, acts, out);
            }
        }
    )+};
}
pub(super) use products;

/// out[t] = bias + panel * activations of token t.
#[inline(always)]
pub(super) fn panel_product<C, B: Block>(
    panel: Panel<'_, C>,
    decode: impl Fn(&C, &Scales) -> B,
    bias: &Lanes,
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    out.fill(*bias);
    let mut decoded = [B::zero(); DEPTH];
    let runs = panel.codes.chunks(DEPTH).zip(panel.scales.chunks(DEPTH));
    for (run, (codes, scales)) in runs.enumerate() {
        let first = run * DEPTH;
        for ((block, codes), scales) in decoded.iter_mut().zip(codes).zip(scales) {
            *block = decode(codes, scales);
        }
        let blocks = &decoded[..codes.len()];
        let (pairs, singles) = if B::PAIRS {
            out.as_chunks_mut::<2>()
        } else {
            (&mut [][..], &mut *out)
        };
        let mut token = 0;
        for pair in pairs {
            let acts = |b| [acts.get(first + b, token), acts.get(first + b, token + 1)];
            accumulate(blocks, acts, pair);
            token += 2;
        }
        for single in singles {
            let acts = |b| [acts.get(first + b, token)];
            accumulate(blocks, acts, std::array::from_mut(single));
            token += 1;
        }
    }
}

/// Adds the products of some blocks with N tokens; `acts` gives the activations for the block of a number.
#[inline(always)]
fn accumulate<'a, B: Block, const N: usize>(
    blocks: &[B],
    acts: impl Fn(usize) -> [&'a ActivationBlock; N],
    out: &mut [Lanes; N],
) {
    let mut sums = [F32x16::splat(0.0); N];
    for n in 0..N {
        sums[n] = F32x16::load(&out[n]);
    }
    sums = B::arrange(sums);
    for (b, block) in blocks.iter().enumerate() {
        block.add(acts(b), &mut sums);
    }
    sums = B::restore(sums);
    for n in 0..N {
        sums[n].store(&mut out[n]);
    }
}

/// A block as signed levels: `[group]`, and four rows of four columns a register.
pub(super) type Levels = [[int8x16_t; 4]; GROUPS];

#[inline(always)]
pub(super) fn zero_levels() -> Levels {
    neon!([[vdupq_n_s8(0); 4]; GROUPS])
}

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
    let mut levels = zero_levels();
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
    let mut levels = zero_levels();
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

/// Where a dot product starts: 1.5 * 2^23, as f32. An integer below 2^22 in size that is added to the bits is added to the
/// number, so that the subtraction in [`add_scaled`] is the conversion, and exact. On Cortex-A76 it takes any vector pipe
/// for one cycle; `scvtf` takes always the same for two.
pub(super) const START: f32 = 12_582_912.0;
const _: () = assert!(BLOCK as i32 * 128 * 127 < 1 << 22);

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

/// fma(dots - [`START`], scales, sums)
#[inline(always)]
pub(super) fn add_scaled(sums: F32x16, dots: [int32x4_t; 4], scales: F32x16) -> F32x16 {
    let dots = F32x16(dots.map(|dots| neon!(vreinterpretq_f32_s32(dots))));
    dots.sub(F32x16::splat(START)).mul_add(scales, sums)
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

/// The scales of a block times an activation's.
#[inline(always)]
pub(super) fn scale_by(scales: F32x16, act: &ActivationBlock) -> F32x16 {
    let scale = load_scale(act);
    scales.map(|scales| neon!(vmulq_n_f32(scales, scale)))
}
