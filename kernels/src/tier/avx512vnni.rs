//! AVX-512 with VNNI: 1 x 16 lanes.
//!
//! `vpdpbusd` adds four products of unsigned with signed bytes to 32 bits, exactly. q8's bytes are code + 128 as they
//! are; q4's levels get the same 128 from their table; it comes off by where the activation lets accumulators start.

use super::token::{Avx2, Avx512Vnni};
use crate::activation::ActivationBlock;
use crate::lanes::LANES;
use crate::matmul::{Block, Decode, RowScales, Sums, group_word, unsigned_levels};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::simd::{F32x16, RECIPROCAL, Simd};
use half::f16;
use std::arch::x86_64::*;

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
        fn sum(self, x: [__m512; 1]) -> f32 {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x[0])));
            Avx2::here().sum_of_8(_mm256_add_ps(_mm512_castps512_ps256(x[0]), high))
        }
        fn largest(self, x: [__m512; 1]) -> f32 {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x[0])));
            Avx2::here().largest_of_8(_mm256_max_ps(_mm512_castps512_ps256(x[0]), high))
        }
    }
}

impl Avx512Vnni {
    avx512vnni! {
        fn splat_i32(self, x: i32) -> __m512i { _mm512_set1_epi32(x) }

        /// A table of 16 bytes, four times over.
        fn load_table(self, table: &[u8; 16]) -> __m512i {
            _mm512_broadcast_i32x4(bytemuck::pod_read_unaligned(table))
        }

        /// The entries of a table for the low halves of some bytes, and for their high halves.
        fn look_up(self, table: __m512i, bytes: __m512i) -> [__m512i; 2] {
            let mask = _mm512_set1_epi8(15);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            [_mm512_shuffle_epi8(table, _mm512_and_si512(bytes, mask)), _mm512_shuffle_epi8(table, high)]
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
pub(crate) struct Decoded<G> {
    groups: G,
    scales: RowScales<Avx512Vnni>,
}

/// The unsigned bytes of a block, a register a group.
pub(crate) trait Groups: Copy {
    /// Those of one group.
    fn get(&self, group: usize) -> __m512i;
}

/// q8's bytes are used where they are.
impl Groups for &CodesQ8 {
    #[inline(always)]
    fn get(&self, group: usize) -> __m512i {
        let (groups, _) = self.as_chunks::<GROUP_BYTES>();
        bytemuck::pod_read_unaligned(&groups[group])
    }
}

impl Groups for [__m512i; GROUPS] {
    #[inline(always)]
    fn get(&self, group: usize) -> __m512i {
        self[group]
    }
}

impl Decode<CodesQ8> for Avx512Vnni {
    type Block<'a> = Decoded<&'a CodesQ8>;

    #[inline(always)]
    fn decode<'a>(self, groups: &'a CodesQ8, scales: RowScales<Self>) -> Self::Block<'a> {
        Decoded { groups, scales }
    }
}

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

impl Decode<CodesQ4> for Avx512Vnni {
    type Block<'a> = Decoded<[__m512i; GROUPS]>;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Self>) -> Decoded<[__m512i; GROUPS]> {
        let table = self.load_table(&Q4_TABLE);
        let (codes, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut groups = [self.splat_i32(0); GROUPS];
        for j in 0..GROUPS / 2 {
            [groups[j], groups[j + GROUPS / 2]] =
                self.look_up(table, bytemuck::pod_read_unaligned(&codes[j]));
        }
        Decoded { groups, scales }
    }
}

impl<G: Groups> Block for Decoded<G> {
    type Token = Avx512Vnni;
    const PANELS: usize = 2;
    // What 32 registers hold: 14 sums, 14 dot products, two groups and the activation.
    const TOKENS: usize = 7;
    const APART: bool = true;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        let avx512 = blocks[0].scales.simd();
        let mut dots = [[avx512.splat_i32(0); P]; N];
        for n in 0..N {
            dots[n] = [avx512.splat_i32(acts[n].start()); P];
        }
        for j in 0..GROUPS {
            let mut groups = [blocks[0].groups.get(j); P];
            for p in 1..P {
                groups[p] = blocks[p].groups.get(j);
            }
            for n in 0..N {
                let x = avx512.splat_i32(group_word(&acts[n].codes, j));
                for p in 0..P {
                    dots[n][p] = avx512.add_products(dots[n][p], groups[p], x);
                }
            }
        }
        for n in 0..N {
            for p in 0..P {
                let dots = F32x16::new(avx512, avx512.as_floats(dots[n][p]));
                sums[n][p] = blocks[p].scales.add(sums[n][p], dots, acts[n].scale);
            }
        }
    }
}
