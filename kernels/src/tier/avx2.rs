//! AVX2 with FMA and F16C: 2 x 8 lanes.
//!
//! There is no int8 dot product here; `vpmaddubsw` multiplies unsigned by signed bytes and adds two products in 16
//! bits, with saturation. Nothing may saturate:
//!
//! - q8: |code| times the activation with the code's sign: at most 2 * 127 * 127 = 32,258. Each pair is widened.
//! - q4: (level + 32), at most 63, times the activation: two products are at most 16,002, so two pairs are added
//!   before they are widened. The 32 comes off by starting at -32 * (sum of the activation's codes).

use super::token::Avx2;
use super::ymm::{add_to_sums, tile};
use crate::activation::{ActivationBlock, START};
use crate::lanes::LANES;
use crate::matmul::{Block, Decode, RowScales, Sums, group_word, unsigned_levels};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::simd::{F32x16, RECIPROCAL, Simd};
use half::f16;
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

impl Simd for Avx2 {
    type Register = __m256;
    type Registers = [__m256; 2];

    avx2! {
        fn splat_register(self, x: f32) -> __m256 { _mm256_set1_ps(x) }
        fn add(self, a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn sub(self, a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn mul(self, a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn div(self, a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn max(self, a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn min(self, a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
        fn abs(self, x: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) }
        fn round(self, x: __m256) -> __m256 {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
        }
        fn rough_reciprocal(self, x: __m256) -> __m256 {
            let bits = _mm256_castps_si256(x);
            _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(RECIPROCAL), bits))
        }
        fn exp2_integer(self, n: __m256) -> __m256 {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
        fn select_gt(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
            _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b))
        }

        fn widen_f16(self, lanes: &[f16; LANES]) -> [__m256; 2] {
            let [low, high]: [__m128i; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(lanes));
            [_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)]
        }
        fn to_i8(self, low: [__m256; 2], high: [__m256; 2]) -> [i8; 2 * LANES] {
            let low = _mm256_packs_epi32(_mm256_cvtps_epi32(low[0]), _mm256_cvtps_epi32(low[1]));
            let high = _mm256_packs_epi32(_mm256_cvtps_epi32(high[0]), _mm256_cvtps_epi32(high[1]));
            // The packs work within 128-bit halves.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            bytemuck::cast(_mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order))
        }
        fn sum(self, x: [__m256; 2]) -> f32 {
            Avx2::here().sum_of_8(_mm256_add_ps(x[0], x[1]))
        }
        fn largest(self, x: [__m256; 2]) -> f32 {
            Avx2::here().largest_of_8(_mm256_max_ps(x[0], x[1]))
        }
    }
}

impl Avx2 {
    avx2! {
        /// The last eight lanes of the tree of additions.
        pub(super) fn sum_of_8(self, x: __m256) -> f32 {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }

        /// The last eight lanes of the tree of comparisons.
        pub(super) fn largest_of_8(self, x: __m256) -> f32 {
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }

        fn splat_i32(self, x: i32) -> __m256i { _mm256_set1_epi32(x) }

        /// A table of 16 bytes, in both halves.
        fn load_table(self, table: &[u8; 16]) -> __m256i {
            _mm256_broadcastsi128_si256(bytemuck::pod_read_unaligned(table))
        }

        /// Codes, of q8's bytes.
        fn codes(self, bytes: __m256i) -> __m256i { _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)) }

        fn absolute(self, codes: __m256i) -> __m256i { _mm256_abs_epi8(codes) }

        /// The entries of a table for the low halves of some bytes, and for their high halves.
        fn look_up(self, table: __m256i, bytes: __m256i) -> [__m256i; 2] {
            let mask = _mm256_set1_epi8(15);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
            [_mm256_shuffle_epi8(table, _mm256_and_si256(bytes, mask)), _mm256_shuffle_epi8(table, high)]
        }

        /// dots + codes * x, four products a lane. `absolute` are the sizes of the codes.
        fn add_products(self, dots: __m256i, codes: __m256i, absolute: __m256i, x: __m256i) -> __m256i {
            let pairs = _mm256_maddubs_epi16(absolute, _mm256_sign_epi8(x, codes));
            _mm256_add_epi32(dots, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }

        /// The bits of accumulators as floats.
        fn as_floats(self, dots: [__m256i; 2]) -> [__m256; 2] {
            [_mm256_castsi256_ps(dots[0]), _mm256_castsi256_ps(dots[1])]
        }
    }

    /// The q4 levels of a block, by a table of 16 bytes.
    #[inline(always)]
    pub(super) fn levels(self, codes: &CodesQ4, table: &[u8; 16]) -> Levels {
        let table = self.load_table(table);
        let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut levels = [[self.splat_i32(0); 2]; GROUPS];
        for j in 0..GROUPS / 2 {
            let halves: [__m256i; 2] = bytemuck::pod_read_unaligned(&groups[j]);
            for h in 0..2 {
                [levels[j][h], levels[j + GROUPS / 2][h]] = self.look_up(table, halves[h]);
            }
        }
        levels
    }
}

/// 512 bytes, two registers a group.
pub(super) type Levels = [[__m256i; 2]; GROUPS];

/// A q8 block: codes, their sizes, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ8 {
    codes: Levels,
    absolute: Levels,
    scales: RowScales<Avx2>,
}

impl Decode<CodesQ8> for Avx2 {
    type Block<'a> = DecodedQ8;

    #[inline(always)]
    fn decode(self, bytes: &CodesQ8, scales: RowScales<Self>) -> DecodedQ8 {
        let mut codes = [[self.splat_i32(0); 2]; GROUPS];
        let mut absolute = codes;
        let (groups, _) = bytes.as_chunks::<GROUP_BYTES>();
        for j in 0..GROUPS {
            let halves: [__m256i; 2] = bytemuck::pod_read_unaligned(&groups[j]);
            for h in 0..2 {
                codes[j][h] = self.codes(halves[h]);
                absolute[j][h] = self.absolute(codes[j][h]);
            }
        }
        DecodedQ8 {
            codes,
            absolute,
            scales,
        }
    }
}

impl Block for DecodedQ8 {
    type Token = Avx2;
    const PANELS: usize = 1;
    const TOKENS: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        let avx2 = blocks[0].scales.simd();
        let mut dots = [[[avx2.splat_i32(START); 2]; P]; N];
        for j in 0..GROUPS {
            for n in 0..N {
                let x = avx2.splat_i32(group_word(&acts[n].codes, j));
                for p in 0..P {
                    for h in 0..2 {
                        let (codes, absolute) = (blocks[p].codes[j][h], blocks[p].absolute[j][h]);
                        dots[n][p][h] = avx2.add_products(dots[n][p][h], codes, absolute, x);
                    }
                }
            }
        }
        for n in 0..N {
            for p in 0..P {
                let dots = F32x16::new(avx2, avx2.as_floats(dots[n][p]));
                sums[n][p] = blocks[p].scales.add(sums[n][p], dots, acts[n].scale);
            }
        }
    }
}

/// The q4 levels + 32: a quarter of what the activation's start takes off. Below 64, four products of one with an
/// activation fit 16 bits.
const Q4_TABLE: [u8; 16] = {
    let table = unsigned_levels(32);
    assert!(table[15] < 64);
    table
};

/// A q4 block: level + 32, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ4 {
    levels: Levels,
    scales: RowScales<Avx2>,
}

impl Decode<CodesQ4> for Avx2 {
    type Block<'a> = DecodedQ4;

    #[inline(always)]
    fn decode(self, codes: &CodesQ4, scales: RowScales<Self>) -> DecodedQ4 {
        DecodedQ4 {
            levels: self.levels(codes, &Q4_TABLE),
            scales,
        }
    }
}

/// What the assembly of [`DecodedQ4`] takes from memory.
#[repr(C, align(32))]
struct Constants {
    /// An activation starts at START - 128 * sum; a level carries 32 too much, a quarter of the 128.
    start: [i32; 8],
    ones: [i16; 16],
}

static CONSTANTS: Constants = Constants {
    start: [START - START / 4; 8],
    ones: [1; 16],
};

/// A quarter of the token's start, and three of [`START`].
#[rustfmt::skip]
macro_rules! start {
    ($low:literal) => {
        concat!(
            "vpsrad ymm", $low, ", ymm", $low, ", 2\n",
            "vpaddd ymm", $low, ", ymm", $low, ", [{constants}]",
        )
    };
}

/// Two groups, which are in registers 8 to 11. Two products of each are added in 16 bits before they are widened.
#[rustfmt::skip]
macro_rules! multiply {
    ($x:ident, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd ymm12, [{", stringify!($x), "} + \\j]\n",
            "vpbroadcastd ymm13, [{", stringify!($x), "} + \\j + 4]\n",
            "vpmaddubsw ymm14, ymm8, ymm12\n",
            "vpmaddubsw ymm15, ymm10, ymm13\n",
            "vpmaddubsw ymm12, ymm9, ymm12\n",
            "vpmaddubsw ymm13, ymm11, ymm13\n",
            "vpaddw ymm14, ymm14, ymm15\n",
            "vpaddw ymm12, ymm12, ymm13\n",
            "vpmaddwd ymm14, ymm14, [{constants} + {ones}]\n",
            "vpmaddwd ymm12, ymm12, [{constants} + {ones}]\n",
            "vpaddd ymm", $low, ", ymm", $low, ", ymm14\n",
            "vpaddd ymm", $high, ", ymm", $high, ", ymm12",
        )
    };
}

impl Block for DecodedQ4 {
    type Token = Avx2;
    const PANELS: usize = 1;
    // What 16 registers hold: eight dot products, two groups, and their products with a token.
    const TOKENS: usize = 4;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Sums<Self>; P]; N],
    ) {
        const { assert!(START % 4 == 0) }
        const { assert!(GROUPS == 8 && GROUP_BYTES == 64 && size_of::<Sums<Self>>() == 64) }
        // SAFETY: each block holds AVX2's token, in its scales, and the assembly has no instruction beyond its row. It reads
        // the 512 levels and the scales of a block, which are aligned, an activation block a token, and the constants; it
        // reads and writes the N x P sums, which are aligned too.
        unsafe {
            add_to_sums!(blocks, acts, sums, N, P, {
                groups: block => block.levels.as_ptr(),
                start: start,
                multiply: (
                    "0, 8, 16, 24",
                    "vmovdqa ymm8, [{groups} + 16 * \\j]
                     vmovdqa ymm9, [{groups} + 16 * \\j + 32]
                     vmovdqa ymm10, [{groups} + 16 * \\j + 64]
                     vmovdqa ymm11, [{groups} + 16 * \\j + 96]",
                    multiply
                ),
                operands: {
                    constants = in(reg) &raw const CONSTANTS,
                    ones = const offset_of!(Constants, ones),
                },
            });
        }
    }
}
