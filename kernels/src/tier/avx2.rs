//! AVX2 with FMA and F16C: 2 x 8 lanes.
//!
//! There is no int8 dot product here; `vpmaddubsw` multiplies unsigned by signed bytes and adds two products in 16
//! bits, with saturation. Nothing may saturate:
//!
//! - q8: |code| times the activation with the code's sign: at most 2 * 127 * 127 = 32,258. Each pair is widened.
//! - q4: (level + 32), at most 63, times the activation: two products are at most 16,002, so two pairs are added
//!   before they are widened. The 32 comes off by starting at -32 * (sum of the activation's codes).

use super::ymm::{add_to_sums, tile};
use super::{Block, Decode, RowScales, add_tiles, group_word, tiles, unsigned_levels};
use crate::activation::{ActivationBlock, START};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::simd::{RECIPROCAL, Simd16};
use half::f16;
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

/// Evaluates intrinsics of this tier.
macro_rules! avx2 {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for AVX2, FMA and F16C, and
        // those can be called only through the value that proves the detection (`crate::kernels::Avx2`). Loads and
        // stores take their pointers from references to arrays of the full width; assembly says beside it what it takes.
        unsafe { $body }
    };
}

/// Sixteen floats in two registers.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct F32x16(__m256, __m256);

macro_rules! lanewise {
    ($($name:ident => $intrinsic:ident),+ $(,)?) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            avx2!(Self($intrinsic(self.0, b.0), $intrinsic(self.1, b.1)))
        }
    )+};
}

impl Simd16 for F32x16 {
    const REGISTERS: usize = 2;

    lanewise! {
        add => _mm256_add_ps,
        sub => _mm256_sub_ps,
        mul => _mm256_mul_ps,
        div => _mm256_div_ps,
        max => _mm256_max_ps,
        min => _mm256_min_ps,
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        avx2!(Self(_mm256_set1_ps(x), _mm256_set1_ps(x)))
    }

    #[inline(always)]
    fn load(lanes: &Lanes) -> Self {
        let p = lanes.0.as_ptr();
        avx2!(Self(_mm256_load_ps(p), _mm256_load_ps(p.add(8))))
    }

    #[inline(always)]
    fn store(self, lanes: &mut Lanes) {
        let p = lanes.0.as_mut_ptr();
        avx2!({
            _mm256_store_ps(p, self.0);
            _mm256_store_ps(p.add(8), self.1);
        })
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        avx2!(Self(
            _mm256_fmadd_ps(self.0, b.0, c.0),
            _mm256_fmadd_ps(self.1, b.1, c.1)
        ))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        avx2!({
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_andnot_ps(sign, self.0),
                _mm256_andnot_ps(sign, self.1),
            )
        })
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        avx2!(Self(
            _mm256_round_ps::<NEAREST>(self.0),
            _mm256_round_ps::<NEAREST>(self.1)
        ))
    }

    #[inline(always)]
    fn rough_reciprocal(self) -> Self {
        let half = |x| {
            avx2!(_mm256_castsi256_ps(_mm256_sub_epi32(
                _mm256_set1_epi32(RECIPROCAL),
                _mm256_castps_si256(x)
            )))
        };
        Self(half(self.0), half(self.1))
    }

    #[inline(always)]
    fn exp2_integer(self) -> Self {
        #[inline(always)]
        fn half(n: __m256) -> __m256 {
            avx2!({
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            })
        }
        Self(half(self.0), half(self.1))
    }

    #[inline(always)]
    fn select_gt(self, b: Self, yes: Self, no: Self) -> Self {
        #[inline(always)]
        fn half(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
            avx2!(_mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)))
        }
        Self(
            half(self.0, b.0, yes.0, no.0),
            half(self.1, b.1, yes.1, no.1),
        )
    }

    #[inline(always)]
    fn load_f16(lanes: &[f16; LANES]) -> Self {
        let (halves, _) = lanes.as_chunks::<8>();
        avx2!(Self(
            _mm256_cvtph_ps(_mm_loadu_si128(halves[0].as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(halves[1].as_ptr().cast()))
        ))
    }

    #[inline(always)]
    fn to_i8(self, high: Self) -> [i8; 2 * LANES] {
        let mut bytes = [0i8; 2 * LANES];
        avx2!({
            let words =
                |x: Self| _mm256_packs_epi32(_mm256_cvtps_epi32(x.0), _mm256_cvtps_epi32(x.1));
            let packed = _mm256_packs_epi16(words(self), words(high));
            // The packs worked within 128-bit halves.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let packed = _mm256_permutevar8x32_epi32(packed, order);
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed);
        });
        bytes
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum_of_8(avx2!(_mm256_add_ps(self.0, self.1)))
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        largest_of_8(avx2!(_mm256_max_ps(self.0, self.1)))
    }
}

/// The integer product over `vpmaddubsw`.
pub(crate) struct Product;

/// A q8 block: codes and their absolute values, two registers a group; and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ8 {
    codes: [[__m256i; 2]; GROUPS],
    absolute: [[__m256i; 2]; GROUPS],
    scales: RowScales<F32x16>,
}

/// A q4 block: level + 32, two registers a group; and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ4 {
    levels: [[__m256i; 2]; GROUPS],
    scales: RowScales<F32x16>,
}

/// The q4 levels + 32: a quarter of what the activation's start takes off. Below 64, four products of one with an
/// activation fit 16 bits.
const Q4_TABLE: [u8; 16] = {
    let table = unsigned_levels(32);
    assert!(table[15] < 64);
    table
};

#[inline(always)]
fn load32(bytes: &[u8; 32]) -> __m256i {
    avx2!(_mm256_loadu_si256(bytes.as_ptr().cast()))
}

#[inline(always)]
fn halves(bytes: &[u8; GROUP_BYTES]) -> [__m256i; 2] {
    let (halves, _) = bytes.as_chunks::<32>();
    [load32(&halves[0]), load32(&halves[1])]
}

/// The last eight lanes of the tree of additions.
#[inline(always)]
pub(super) fn sum_of_8(x: __m256) -> f32 {
    avx2!({
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    })
}

/// The last eight lanes of the tree of comparisons.
#[inline(always)]
pub(super) fn largest_of_8(x: __m256) -> f32 {
    avx2!({
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    })
}

/// The same bits.
#[inline(always)]
fn as_floats(dots: [__m256i; 2]) -> F32x16 {
    let [low, high] = dots.map(|half| avx2!(_mm256_castsi256_ps(half)));
    F32x16(low, high)
}

impl Decode<CodesQ8> for Product {
    type Block<'a> = DecodedQ8;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> DecodedQ8 {
        let mut signed = avx2!([[_mm256_setzero_si256(); 2]; GROUPS]);
        let mut absolute = signed;
        let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
        for j in 0..GROUPS {
            let halves = halves(&groups[j]);
            for h in 0..2 {
                avx2!({
                    let code = _mm256_xor_si256(halves[h], _mm256_set1_epi8(-128));
                    signed[j][h] = code;
                    absolute[j][h] = _mm256_abs_epi8(code);
                })
            }
        }
        DecodedQ8 {
            codes: signed,
            absolute,
            scales,
        }
    }
}

impl Block for DecodedQ8 {
    type Sums = F32x16;
    const PANELS: usize = 1;
    tiles!(add_tiles: 1 2 3 4);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        let ones = avx2!(_mm256_set1_epi16(1));
        let mut dots = avx2!([[[_mm256_set1_epi32(START); 2]; P]; N]);
        for j in 0..GROUPS {
            for n in 0..N {
                let x = avx2!(_mm256_set1_epi32(group_word(&acts[n].codes, j)));
                for p in 0..P {
                    for h in 0..2 {
                        dots[n][p][h] = avx2!({
                            let signed = _mm256_sign_epi8(x, blocks[p].codes[j][h]);
                            let pairs = _mm256_maddubs_epi16(blocks[p].absolute[j][h], signed);
                            _mm256_add_epi32(dots[n][p][h], _mm256_madd_epi16(pairs, ones))
                        });
                    }
                }
            }
        }
        for n in 0..N {
            for p in 0..P {
                sums[n][p] = blocks[p]
                    .scales
                    .add(sums[n][p], as_floats(dots[n][p]), acts[n].scale);
            }
        }
    }
}

/// The q4 levels of a block, by a table of 16 bytes.
#[inline(always)]
pub(super) fn levels(codes: &CodesQ4, table: &[u8; 16]) -> [[__m256i; 2]; GROUPS] {
    let (table, mask) = avx2!({
        let table = _mm_loadu_si128(table.as_ptr().cast());
        (_mm256_broadcastsi128_si256(table), _mm256_set1_epi8(15))
    });
    let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
    let mut levels = avx2!([[_mm256_setzero_si256(); 2]; GROUPS]);
    for j in 0..GROUPS / 2 {
        let halves = halves(&groups[j]);
        for h in 0..2 {
            avx2!({
                let low = _mm256_and_si256(halves[h], mask);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(halves[h]), mask);
                levels[j][h] = _mm256_shuffle_epi8(table, low);
                levels[j + GROUPS / 2][h] = _mm256_shuffle_epi8(table, high);
            })
        }
    }
    levels
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = DecodedQ4;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> DecodedQ4 {
        DecodedQ4 {
            levels: levels(codes, &Q4_TABLE),
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
    type Sums = F32x16;
    const PANELS: usize = 1;
    // Four are what 16 registers hold: eight dot products, two groups, and their products with a token.
    tiles!(add_tiles: 1 2 3 4);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        const { assert!(START % 4 == 0) }
        const { assert!(GROUPS == 8 && GROUP_BYTES == 64 && size_of::<F32x16>() == 64) }
        // What is read and written are the blocks' 512 levels and their scales, the tokens' blocks, the constants, and the
        // N x P sums, which are aligned.
        avx2!(add_to_sums!(blocks, acts, sums, N, P, {
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
        }));
    }
}
