//! AVX-512 with VNNI: 1 x 16 lanes.
//!
//! `vpdpbusd` adds four products of unsigned with signed bytes to 32 bits, exactly. q8's bytes are code + 128 as they
//! are; q4's levels get the same 128 when they are decoded; it comes off by where the activation lets accumulators start.

use super::token::{Avx2, Avx512Vnni};
use crate::BLOCK;
use crate::activation::ActivationBlock;
use crate::block::{Block, Decode, RowScales, group_word, write_words};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, Group, SUB_BLOCKS};
use crate::simd::{F32x16, RECIPROCAL, Simd};
use half::f16;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

impl Simd for Avx512Vnni {
    type Register = __m512;
    type Registers = [__m512; 1];

    avx512vnni! {
        fn splat_register(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(self, a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(self, a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(self, a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(self, a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn max(self, a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(self, a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn abs(self, x: __m512) -> __m512 { _mm512_abs_ps(x) }
        fn max_bits(self, a: __m512, b: __m512) -> __m512 {
            _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)))
        }
        fn round(self, x: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
        }
        fn rough_reciprocal(self, x: __m512) -> __m512 {
            let bits = _mm512_castps_si512(x);
            _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(RECIPROCAL), bits))
        }
        fn exp2_integer(self, n: __m512) -> __m512 {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
        fn select_gt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes)
        }

        fn widen_f16(self, lanes: &[f16; LANES]) -> [__m512; 1] {
            [_mm512_cvtph_ps(bytemuck::pod_read_unaligned(bytemuck::bytes_of(lanes)))]
        }
        fn to_i8(self, low: [__m512; 1], high: [__m512; 1]) -> [i8; 2 * LANES] {
            let words = _mm512_packs_epi32(_mm512_cvtps_epi32(low[0]), _mm512_cvtps_epi32(high[0]));
            let packed = _mm512_packs_epi16(words, words);
            // The packs work within 128-bit quarters: four bytes of each half, twice.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            bytemuck::cast(_mm512_castsi512_si256(_mm512_permutexvar_epi32(order, packed)))
        }
        fn hadamard(self, x: [__m512; 1]) -> [__m512; 1] {
            // 1 in the lower and -1 in the upper of two lanes, so that x * sign + swapped is one rounded addition.
            let signs = |upper: u16| {
                _mm512_mask_blend_ps(upper, _mm512_set1_ps(1.0), _mm512_set1_ps(-1.0))
            };
            let swapped = _mm512_shuffle_f32x4::<0b01_00_11_10>(x[0], x[0]);
            let x = _mm512_fmadd_ps(x[0], signs(0xff00), swapped);
            let swapped = _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x);
            let x = _mm512_fmadd_ps(x, signs(0xf0f0), swapped);
            let swapped = _mm512_permute_ps::<0b01_00_11_10>(x);
            let x = _mm512_fmadd_ps(x, signs(0xcccc), swapped);
            let swapped = _mm512_permute_ps::<0b10_11_00_01>(x);
            [_mm512_fmadd_ps(x, signs(0xaaaa), swapped)]
        }
        fn pairs(self, codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
            Avx2::here().pairs(codes)
        }
        fn sum(self, x: [__m512; 1]) -> f32 {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x[0])));
            Avx2::here().sum_of_8(_mm256_add_ps(_mm512_castps512_ps256(x[0]), high))
        }
        fn largest(self, x: [__m512; 1]) -> f32 {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x[0])));
            Avx2::here().largest_of_8(_mm256_max_ps(_mm512_castps512_ps256(x[0]), high))
        }
        fn largest_bits(self, x: [__m512; 1]) -> f32 {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x[0])));
            let avx2 = Avx2::here();
            avx2.largest_bits_of_8(avx2.max_bits(_mm512_castps512_ps256(x[0]), high))
        }
    }
}

impl Avx512Vnni {
    avx512vnni! {
        fn splat_i32(self, x: i32) -> __m512i { _mm512_set1_epi32(x) }

        fn load_group(self, group: &Group) -> __m512i { bytemuck::pod_read_unaligned(group) }

        /// The low and the high halves of some bytes.
        fn nibbles(self, bytes: __m512i) -> [__m512i; 2] {
            let mask = _mm512_set1_epi8(15);
            [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
        }

        /// The sub-scales of the even or the odd of two sub-blocks, for each row twice as 16 bits.
        fn sub_scales(self, rows: &[u8; LANES], odd: usize) -> __m512i {
            let rows = _mm512_cvtepu8_epi32(bytemuck::pod_read_unaligned(rows));
            let rows = _mm512_srl_epi32(rows, _mm_cvtsi32_si128(4 * odd as i32));
            let rows = _mm512_and_si512(rows, _mm512_set1_epi32(15));
            _mm512_or_si512(rows, _mm512_slli_epi32::<16>(rows))
        }

        /// 128 - 8 sub-scales, for each byte of a row.
        fn offset(self, sub_scales: __m512i) -> __m512i {
            let both = _mm512_or_si512(sub_scales, _mm512_slli_epi16::<8>(sub_scales));
            _mm512_sub_epi8(_mm512_set1_epi8(-128), _mm512_slli_epi16::<3>(both))
        }

        /// Level + 128 of bytes code + 8. A product is at most 15 * 15, so the two of 16 bits don't meet.
        fn level_bytes(self, codes: __m512i, sub_scales: __m512i, offset: __m512i) -> __m512i {
            _mm512_add_epi8(_mm512_mullo_epi16(codes, sub_scales), offset)
        }

        /// dots + levels * x, four products a lane; the levels are unsigned.
        fn add_products(self, dots: __m512i, levels: __m512i, x: __m512i) -> __m512i {
            _mm512_dpbusd_epi32(dots, levels, x)
        }

        /// The bits of accumulators as floats.
        fn as_floats(self, dots: __m512i) -> [__m512; 1] { [_mm512_castsi512_ps(dots)] }
    }
}

/// A block: code + 128 or level + 128, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    groups: &'a [Group],
    scales: RowScales<Avx512Vnni>,
}

/// q8's bytes are used where they are.
impl Decode<[Group]> for Avx512Vnni {
    type Words = [Group; 0];
    type Block<'a> = Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        groups: &'a [Group],
        scales: RowScales<Self>,
        _: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        Decoded { groups, scales }
    }
}

/// A sub-block of q4 as bytes: four groups.
type SubBlock = [__m512i; 4];

impl Decode<CodesQ4> for Avx512Vnni {
    type Words = [SubBlock; SUB_BLOCKS];
    type Block<'a> = Decoded<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        let (pairs, _) = codes.groups.as_chunks::<2>();
        let sub_blocks = write_words(
            words,
            SUB_BLOCKS,
            #[inline(always)]
            |j| {
                let sub_scales = self.sub_scales(&codes.sub_scales[j / 2], j % 2);
                let offset = self.offset(sub_scales);
                let [a, b] = self.nibbles(bytemuck::pod_read_unaligned(&pairs[j][0]));
                let [c, d] = self.nibbles(bytemuck::pod_read_unaligned(&pairs[j][1]));
                [
                    self.level_bytes(a, sub_scales, offset),
                    self.level_bytes(b, sub_scales, offset),
                    self.level_bytes(c, sub_scales, offset),
                    self.level_bytes(d, sub_scales, offset),
                ]
            },
        );
        Decoded {
            groups: bytemuck::cast_slice(sub_blocks),
            scales,
        }
    }
}

impl Block for Decoded<'_> {
    type Token = Avx512Vnni;
    const PANELS: usize = 2;
    // What 32 registers hold: 24 dot products, two groups and the activation.
    const TOKENS: usize = 12;
    const DEPTH: usize = 4;
    const APART: bool = true;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        let avx512 = blocks[0].scales.simd();
        let mut dots = [[avx512.splat_i32(0); P]; N];
        for n in 0..N {
            dots[n] = [avx512.splat_i32(acts[n].start); P];
        }
        let count = blocks[0].groups.len();
        let mut panels = [blocks[0].groups; P];
        for p in 1..P {
            panels[p] = &blocks[p].groups[..count];
        }
        for j in 0..count {
            let mut groups = [avx512.load_group(&panels[0][j]); P];
            for p in 1..P {
                groups[p] = avx512.load_group(&panels[p][j]);
            }
            for n in 0..N {
                let x = avx512.splat_i32(group_word(acts[n], j));
                for p in 0..P {
                    dots[n][p] = avx512.add_products(dots[n][p], groups[p], x);
                }
            }
        }
        for n in 0..N {
            for p in 0..P {
                let dots = F32x16::new(avx512, avx512.as_floats(dots[n][p]));
                let sum = avx512.load(&sums[p][n]);
                let sum = blocks[p].scales.add(sum, dots, acts[n].scale);
                sum.store(&mut sums[p][n]);
            }
        }
    }
}
