//! AVX-VNNI: `vpdpbusd` on 256 bits, without AVX-512 (Alder Lake and later, Zen 5). Floats are AVX2's 2 x 8 lanes.
//!
//! As on AVX-512, q8's bytes are code + 128 as they are, q4's levels get the same 128 when they are decoded, and the
//! accumulator starts where the activation says.

use super::token::Token;
use super::token::{Avx2, AvxVnni};
use super::ymm::{start, tile, tile_of};
use crate::activation::ActivationBlock;
use crate::block::{Block, Decode, RowScales, write_words};
use crate::lanes::Lanes;
use crate::packed::{CodesQ4, Group, SUB_BLOCKS};
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::{MaybeUninit, offset_of};

/// A block: code + 128 or level + 128, the scales, and the proof of `vpdpbusd`.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    groups: &'a [Group],
    scales: RowScales<Avx2>,
    _vnni: AvxVnni,
}

/// q8's bytes are used where they are.
impl Decode<[Group]> for AvxVnni {
    type Words = [Group; 0];
    type Block<'a> = Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        groups: &'a [Group],
        scales: RowScales<Avx2>,
        _: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        Decoded {
            groups,
            scales,
            _vnni: self,
        }
    }
}

impl Avx2 {
    avx2! {
        /// Level + 128 of bytes code + 8, given the sub-scales of their rows. A product is at most 15 * 15, so the two of
        /// 16 bits don't meet.
        fn level_bytes(self, codes: __m256i, sub_scales: __m256i) -> __m256i {
            let products = _mm256_mullo_epi16(codes, sub_scales);
            let both = _mm256_or_si256(sub_scales, _mm256_slli_epi16::<8>(sub_scales));
            let offset = _mm256_sub_epi8(_mm256_set1_epi8(-128), _mm256_slli_epi16::<3>(both));
            _mm256_add_epi8(products, offset)
        }
    }
}

/// A sub-block of q4 as bytes: four groups, each rows 0 to 7 and 8 to 15.
type SubBlock = [[__m256i; 2]; 4];

impl Decode<CodesQ4> for AvxVnni {
    type Words = [SubBlock; SUB_BLOCKS];
    type Block<'a> = Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Avx2>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        let (avx2, (pairs, _)) = (self.simd(), codes.groups.as_chunks::<2>());
        let sub_blocks = write_words(
            words,
            SUB_BLOCKS,
            #[inline(always)]
            |j| {
                let pairs: [[__m256i; 2]; 2] =
                    bytemuck::pod_read_unaligned(bytemuck::bytes_of(&pairs[j]));
                let sub_scales = avx2.sub_scales(&codes.sub_scales[j / 2], j % 2);
                let mut groups = [pairs[0]; 4];
                for i in 0..2 {
                    for h in 0..2 {
                        let [even, odd] = avx2.nibbles(pairs[i][h]);
                        groups[2 * i][h] = avx2.level_bytes(even, sub_scales[h]);
                        groups[2 * i + 1][h] = avx2.level_bytes(odd, sub_scales[h]);
                    }
                }
                groups
            },
        );
        Decoded {
            groups: bytemuck::cast_slice(sub_blocks),
            scales,
            _vnni: self,
        }
    }
}

/// Four groups, each in registers 12 and 13.
#[rustfmt::skip]
macro_rules! step {
    ($($x:ident ($low:literal $high:literal)),+) => {
        concat!(
            ".irp j, 0, 4, 8, 12\n",
            "vmovdqu ymm12, [{weights} + 16 * \\j]\n",
            "vmovdqu ymm13, [{weights} + 16 * \\j + 32]\n",
            $(
                "vpbroadcastd ymm14, [{", stringify!($x), "} + {i} + \\j]\n",
                "{{vex}} vpdpbusd ymm", $low, ", ymm12, ymm14\n",
                "{{vex}} vpdpbusd ymm", $high, ", ymm13, ymm14\n",
            )+
            ".endr\n",
            "add {weights}, 256\n",
            "add {i}, 16",
        )
    };
}

impl Block for Decoded<'_> {
    type Token = AvxVnni;
    const PANELS: usize = 1;
    // What 16 registers hold: 12 dot products, a group and the activation.
    const TOKENS: usize = 6;
    const DEPTH: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        for (block, sums) in blocks.into_iter().zip(sums) {
            let groups = block.groups;
            // SAFETY: the block holds AVX-VNNI's token, and the assembly has no instruction beyond its row. It reads the groups,
            // a multiple of 4 from 4 to 32; the scales, which are aligned; and as many columns of N activations. It reads
            // and writes the N sums, which are aligned.
            unsafe {
                tile_of!(N, {
                    weights: groups.as_ptr(),
                    steps: 4 * groups.len(),
                    start: start,
                    step: step,
                    scale: offset_of!(ActivationBlock, scale),
                    operands: {
                        start = const offset_of!(ActivationBlock, start),
                    },
                }, &block.scales, acts, sums.as_mut_ptr());
            }
        }
    }
}
