//! AVX-VNNI: `vpdpbusd` on 256 bits, without AVX-512 (Alder Lake and later, Zen 5). Floats are AVX2's 2 x 8 lanes.
//!
//! As on AVX-512, q8's bytes are code + 128 as they are, q4's levels get the same 128 from their table, and the
//! accumulator starts where the activation says.

use super::avx2::Levels;
use super::token::{Avx2, AvxVnni};
use super::ymm::{add_to_sums, tile};
use crate::activation::ActivationBlock;
use crate::matmul::{Block, Decode, RowScales, Sums, unsigned_levels};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::tier::Token;
use std::arch::asm;

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

/// A block: where the assembly finds code + 128 or level + 128, the scales, and the proof of `vpdpbusd`.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<G> {
    groups: G,
    scales: RowScales<Avx2>,
    _vnni: AvxVnni,
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

impl Groups for Levels {
    #[inline(always)]
    fn bytes(&self) -> &CodesQ8 {
        bytemuck::cast_ref(self)
    }
}

impl Decode<CodesQ8> for AvxVnni {
    type Block<'a> = Decoded<&'a CodesQ8>;

    #[inline(always)]
    fn decode<'a>(self, groups: &'a CodesQ8, scales: RowScales<Avx2>) -> Self::Block<'a> {
        Decoded {
            groups,
            scales,
            _vnni: self,
        }
    }
}

impl Decode<CodesQ4> for AvxVnni {
    type Block<'a> = Decoded<Levels>;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Avx2>) -> Decoded<Levels> {
        Decoded {
            groups: self.simd().levels(codes, &Q4_TABLE),
            scales,
            _vnni: self,
        }
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
    type Token = AvxVnni;
    const PANELS: usize = 1;
    // What 16 registers hold: 12 dot products, a group and the activation.
    const TOKENS: usize = 6;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const { assert!(GROUPS == 8 && GROUP_BYTES == 64 && size_of::<Sums<Self>>() == 64) }
        // SAFETY: each block holds AVX-VNNI's token, and the assembly has no instruction beyond its row. It reads the 512 bytes
        // and the scales of a block, of which the scales are aligned, and an activation block a token; it reads and writes the
        // N x P sums, which are aligned too.
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
