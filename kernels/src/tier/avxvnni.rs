//! AVX-VNNI: `vpdpbusd` on 256 bits, without AVX-512 (Alder Lake and later, Zen 5). Floats are AVX2's 2 x 8 lanes.
//!
//! As on AVX-512, q8's bytes are code + 128 as they are, q4's levels get the same 128 from their table, and the
//! accumulator starts where the activation says.

pub(crate) use super::avx2::F32x16;
use super::avx2::levels;
use super::ymm::{add_to_sums, tile};
use super::{Block, Decode, RowScales, add_tiles, tiles, unsigned_levels};
use crate::activation::ActivationBlock;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use std::arch::asm;
use std::arch::x86_64::__m256i;

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

/// The integer product over `vpdpbusd`.
pub(crate) struct Product;

/// A block: code + 128 or level + 128, two registers a group; and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<G> {
    groups: G,
    scales: RowScales<F32x16>,
}

/// The unsigned bytes of a block, a group of 64 behind the other.
pub(crate) trait Groups: Copy {
    /// All of them.
    fn bytes(&self) -> &CodesQ8;
}

/// q8's bytes are used where they are.
impl Groups for &CodesQ8 {
    #[inline(always)]
    fn bytes(&self) -> &CodesQ8 {
        self
    }
}

impl Groups for [[__m256i; 2]; GROUPS] {
    #[inline(always)]
    fn bytes(&self) -> &CodesQ8 {
        const { assert!(size_of::<Self>() == size_of::<CodesQ8>()) }
        // SAFETY: as many bytes, and every value of them is one.
        unsafe { &*(&raw const *self).cast() }
    }
}

/// The start as the token gives it.
macro_rules! start {
    ($low:literal) => {
        ""
    };
}

/// A group, which is in registers 12 and 13.
#[rustfmt::skip]
macro_rules! multiply {
    ($x:ident, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd ymm14, [{", stringify!($x), "} + \\j]\n",
            "{{vex}} vpdpbusd ymm", $low, ", ymm12, ymm14\n",
            "{{vex}} vpdpbusd ymm", $high, ", ymm13, ymm14",
        )
    };
}

impl<G: Groups> Block for Decoded<G> {
    type Sums = F32x16;
    const PANELS: usize = 1;
    // Six are what 16 registers hold: 12 dot products, a group and the activation.
    tiles!(add_tiles: 1 2 3 4 5 6);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        const { assert!(GROUPS == 8 && GROUP_BYTES == 64 && size_of::<F32x16>() == 64) }
        // SAFETY: everything in this module is inlined into functions that are compiled for AVX2, FMA, F16C and AVX-VNNI, and
        // those can be called only through the value that proves the detection (`crate::kernels::AvxVnni`). What is read
        // and written are the blocks' 512 bytes and their scales, the tokens' blocks, and the N x P sums, which are aligned.
        unsafe {
            add_to_sums!(blocks, acts, sums, N, P, {
                groups: block => block.groups.bytes(),
                start: start,
                multiply: (
                    "0, 4, 8, 12, 16, 20, 24, 28",
                    "vmovdqu ymm12, [{groups} + 16 * \\j]
                     vmovdqu ymm13, [{groups} + 16 * \\j + 32]",
                    multiply
                ),
                operands: {},
            });
        }
    }
}

impl Decode<CodesQ8> for Product {
    type Block<'a> = Decoded<&'a CodesQ8>;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> Decoded<&CodesQ8> {
        Decoded {
            groups: codes,
            scales,
        }
    }
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = Decoded<[[__m256i; 2]; GROUPS]>;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> Decoded<[[__m256i; 2]; GROUPS]> {
        Decoded {
            groups: levels(codes, &Q4_TABLE),
            scales,
        }
    }
}
