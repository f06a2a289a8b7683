//! AVX2 with FMA and F16C: 2 x 8 lanes.
//!
//! There is no int8 dot product here. Nothing may saturate, so:
//!
//! - q8, code + 128, is widened to 16 bits: `vpmaddwd` multiplies pairs of columns and adds them up in 32. On Zen 3 the sign that
//!   `vpmaddubsw` needs, one operand being unsigned, costs more than the second multiplication.
//! - q4 stays as it is, without its sub-scales: code + 8 is at most 15, so `vpmaddubsw`'s pairs of products, at most 3,810,
//!   can be added for the four groups of a sub-block in 16 bits. The 8 comes off by where that sum starts
//!   ([`ActivationBlock`]'s pairs), and the `vpmaddwd` that widens multiplies by the sub-scale.

use super::token::Avx2;
use super::ymm::{start, tile, tile_of};
use crate::BLOCK;
use crate::activation::{ActivationBlock, START};
use crate::block::{Block, Decode, RowScales, write_words};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, GROUPS, Group, SUB_BLOCK, SUB_BLOCKS};
use crate::simd::{RECIPROCAL, Simd};
use half::f16;
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::{MaybeUninit, offset_of};

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
        fn max_bits(self, a: __m256, b: __m256) -> __m256 {
            _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))
        }
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
        fn hadamard(self, x: [__m256; 2]) -> [__m256; 2] {
            let avx2 = Avx2::here();
            [_mm256_add_ps(x[0], x[1]), _mm256_sub_ps(x[0], x[1])].map(|x| avx2.hadamard_of_8(x))
        }
        fn pairs(self, codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
            let bytes: [__m256i; 4] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(codes));
            // A half of a register is a sub-block, whose four groups are added.
            let [a, b, c, d] = bytes.map(|bytes| _mm256_maddubs_epi16(_mm256_set1_epi8(8), bytes));
            let ab = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
            let cd = _mm256_add_epi16(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
            let (ab, cd) = (_mm256_castsi256_ps(ab), _mm256_castsi256_ps(cd));
            let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(ab, cd));
            let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(ab, cd));
            let sums = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_add_epi16(even, odd));
            // a0 b0 c0 d0 a1 b1 c1 d1
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            bytemuck::cast(_mm256_permutevar8x32_epi32(sums, order))
        }
        fn sum(self, x: [__m256; 2]) -> f32 {
            Avx2::here().sum_of_8(_mm256_add_ps(x[0], x[1]))
        }
        fn largest(self, x: [__m256; 2]) -> f32 {
            Avx2::here().largest_of_8(_mm256_max_ps(x[0], x[1]))
        }
        fn largest_bits(self, x: [__m256; 2]) -> f32 {
            let avx2 = Avx2::here();
            avx2.largest_bits_of_8(avx2.max_bits(x[0], x[1]))
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

        /// The last eight lanes of the tree of comparisons as bits.
        pub(super) fn largest_bits_of_8(self, x: __m256) -> f32 {
            let x = _mm256_castps_si256(x);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
            _mm_cvtss_f32(_mm_castsi128_ps(x))
        }

        /// The last three stages of the Walsh-Hadamard transform, in which a register's lanes meet each other.
        pub(super) fn hadamard_of_8(self, x: __m256) -> __m256 {
            let (plus, minus) = (1.0, -1.0);
            let swapped = _mm256_permute2f128_ps::<1>(x, x);
            let signs = _mm256_setr_ps(plus, plus, plus, plus, minus, minus, minus, minus);
            let x = _mm256_fmadd_ps(x, signs, swapped);
            let swapped = _mm256_permute_ps::<0b01_00_11_10>(x);
            let signs = _mm256_setr_ps(plus, plus, minus, minus, plus, plus, minus, minus);
            let x = _mm256_fmadd_ps(x, signs, swapped);
            let swapped = _mm256_permute_ps::<0b10_11_00_01>(x);
            let signs = _mm256_setr_ps(plus, minus, plus, minus, plus, minus, plus, minus);
            _mm256_fmadd_ps(x, signs, swapped)
        }

        /// The bytes of a group as 16 bits: its first two columns, the other two.
        fn widen(self, bytes: __m256i) -> [__m256i; 2] {
            let first = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1,
            ));
            let last = _mm256_add_epi8(first, _mm256_set1_epi16(2));
            [_mm256_shuffle_epi8(bytes, first), _mm256_shuffle_epi8(bytes, last)]
        }

        /// Sixteen codes as 16 bits.
        fn widen_codes(self, codes: __m128i) -> __m256i {
            _mm256_cvtepi8_epi16(codes)
        }

        /// The low and the high halves of some bytes.
        pub(super) fn nibbles(self, bytes: __m256i) -> [__m256i; 2] {
            let mask = _mm256_set1_epi8(15);
            [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
        }

        /// The sub-scales of the even or the odd of two sub-blocks, for each row twice as 16 bits: rows 0 to 7, 8 to 15.
        pub(super) fn sub_scales(self, rows: &[u8; LANES], odd: usize) -> [__m256i; 2] {
            let rows = _mm256_broadcastsi128_si256(bytemuck::pod_read_unaligned(rows));
            let rows = _mm256_srl_epi16(rows, _mm_cvtsi32_si128(4 * odd as i32));
            let rows = _mm256_and_si256(rows, _mm256_set1_epi8(15));
            let low = _mm256_setr_epi8(
                0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1,
                4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1,
            );
            let high = _mm256_or_si256(low, _mm256_set1_epi8(8));
            [_mm256_shuffle_epi8(rows, low), _mm256_shuffle_epi8(rows, high)]
        }

        fn zero(self) -> __m256i { _mm256_setzero_si256() }
    }
}

/// A group of q8 as 16 bits: its first two columns and the other two, and of each rows 0 to 7 and 8 to 15.
type GroupWords = [[__m256i; 2]; 2];

/// A q8 block: its groups, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ8<'a> {
    groups: &'a [GroupWords],
    scales: RowScales<Avx2>,
}

impl Decode<[Group]> for Avx2 {
    type Words = [GroupWords; GROUPS];
    type Block<'a> = DecodedQ8<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a [Group],
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> DecodedQ8<'a> {
        let groups = write_words(
            words,
            codes.len(),
            #[inline(always)]
            |group| {
                let [low, high]: [__m256i; 2] = bytemuck::pod_read_unaligned(&codes[group]);
                let ([first, last], [first_high, last_high]) = (self.widen(low), self.widen(high));
                [[first, first_high], [last, last_high]]
            },
        );
        DecodedQ8 { groups, scales }
    }
}

/// An activation with its codes as 16 bits.
#[derive(Clone, Copy)]
#[repr(C)]
struct Words {
    codes: [__m256i; BLOCK / 16],
    scale: f32,
    start: i32,
}

impl Words {
    #[inline(always)]
    fn new(avx2: Avx2, act: &ActivationBlock) -> Self {
        let codes: [__m128i; BLOCK / 16] =
            bytemuck::pod_read_unaligned(bytemuck::bytes_of(&act.codes));
        let mut words = [avx2.zero(); BLOCK / 16];
        for i in 0..codes.len() {
            words[i] = avx2.widen_codes(codes[i]);
        }
        Self {
            codes: words,
            scale: act.scale,
            start: act.start,
        }
    }
}

/// Four groups. Registers 12 and 13 hold a group's first two columns, then the other two.
#[rustfmt::skip]
macro_rules! step_q8 {
    ($($x:ident ($low:literal $high:literal)),+) => {
        concat!(
            ".irp j, 0, 1, 2, 3\n",
            step_q8!(@columns "0" $($x $low $high)+),
            step_q8!(@columns "1" $($x $low $high)+),
            ".endr\n",
            "add {weights}, 512\n",
            "add {i}, 32",
        )
    };
    (@columns $odd:literal $($x:ident $low:literal $high:literal)+) => {
        concat!(
            "vmovdqa ymm12, [{weights} + 128 * \\j + 64 * ", $odd, "]\n",
            "vmovdqa ymm13, [{weights} + 128 * \\j + 64 * ", $odd, " + 32]\n",
            $(
                "vpbroadcastd ymm14, [{", stringify!($x), "} + {i} + 8 * \\j + 4 * ", $odd, "]\n",
                "vpmaddwd ymm15, ymm12, ymm14\n",
                "vpmaddwd ymm14, ymm13, ymm14\n",
                "vpaddd ymm", $low, ", ymm", $low, ", ymm15\n",
                "vpaddd ymm", $high, ", ymm", $high, ", ymm14\n",
            )+
        )
    };
}

impl Block for DecodedQ8<'_> {
    type Token = Avx2;
    // Two share the widened activations.
    const PANELS: usize = 2;
    // What 16 registers hold: 12 dot products, two columns of a group, and their products with a token.
    const TOKENS: usize = 6;
    const DEPTH: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        let avx2 = blocks[0].scales.simd();
        let mut words = [Words::new(avx2, acts[0]); N];
        for n in 1..N {
            words[n] = Words::new(avx2, acts[n]);
        }
        for (block, sums) in blocks.into_iter().zip(sums) {
            // SAFETY: the block holds AVX2's token, in its scales, and the assembly has no instruction beyond its row. It reads
            // the groups, a multiple of 4 from 4 to 32, and the scales, which are aligned; and as many columns of N activations.
            // It reads and writes the N sums, which are aligned.
            unsafe {
                tile_of!(N, {
                    weights: block.groups.as_ptr(),
                    steps: 8 * block.groups.len(),
                    start: start,
                    step: step_q8,
                    scale: offset_of!(Words, scale),
                    operands: {
                        start = const offset_of!(Words, start),
                    },
                }, &block.scales, words.each_ref(), sums.as_mut_ptr());
            }
        }
    }
}

/// A sub-block of q4: codes + 8 of four groups, each rows 0 to 7 and 8 to 15; and the rows' sub-scales, twice as 16 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct SubBlock {
    groups: [[__m256i; 2]; 4],
    sub_scales: [__m256i; 2],
}

/// A q4 block: its sub-blocks, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct DecodedQ4<'a> {
    sub_blocks: &'a [SubBlock],
    scales: RowScales<Avx2>,
}

impl Decode<CodesQ4> for Avx2 {
    type Words = [SubBlock; SUB_BLOCKS];
    type Block<'a> = DecodedQ4<'a>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> DecodedQ4<'a> {
        let (pairs, _) = codes.groups.as_chunks::<2>();
        let sub_blocks = write_words(
            words,
            SUB_BLOCKS,
            #[inline(always)]
            |j| {
                let [[a, b], [c, d]]: [[__m256i; 2]; 2] =
                    bytemuck::pod_read_unaligned(bytemuck::bytes_of(&pairs[j]));
                let ([e, f], [g, h]) = (self.nibbles(a), self.nibbles(b));
                let ([i, k], [l, m]) = (self.nibbles(c), self.nibbles(d));
                SubBlock {
                    groups: [[e, g], [f, h], [i, l], [k, m]],
                    sub_scales: self.sub_scales(&codes.sub_scales[j / 2], j % 2),
                }
            },
        );
        DecodedQ4 { sub_blocks, scales }
    }
}

/// Where the assembly finds [`START`].
static START_OF_DOTS: i32 = START;

/// Sets a token's dot products to [`START`].
#[rustfmt::skip]
macro_rules! start_q4 {
    ($x:ident $low:literal $high:literal $($more:literal)*) => {
        concat!(
            "vpbroadcastd ymm", $low, ", [{start}]\n",
            "vmovdqa ymm", $high, ", ymm", $low,
        )
    };
}

/// A sub-block. The first two registers of a token are its dot products, the others sums of 16 bits, which begin at its pairs
/// and end multiplied by the sub-scales.
#[rustfmt::skip]
macro_rules! step_q4 {
    ($($x:ident ($low:literal $high:literal $a:literal $b:literal)),+) => {
        concat!(
            $(
                "vpbroadcastd ymm", $a, ", [{", stringify!($x), "} + {i} + {pairs}]\n",
                "vmovdqa ymm", $b, ", ymm", $a, "\n",
            )+
            ".irp j, 0, 1, 2, 3\n",
            "vmovdqa ymm12, [{weights} + 64 * \\j]\n",
            "vmovdqa ymm13, [{weights} + 64 * \\j + 32]\n",
            $(
                "vpbroadcastd ymm14, [{", stringify!($x), "} + 4 * {i} + 4 * \\j]\n",
                "vpmaddubsw ymm15, ymm12, ymm14\n",
                "vpmaddubsw ymm14, ymm13, ymm14\n",
                "vpaddw ymm", $a, ", ymm", $a, ", ymm15\n",
                "vpaddw ymm", $b, ", ymm", $b, ", ymm14\n",
            )+
            ".endr\n",
            "vmovdqa ymm12, [{weights} + 256]\n",
            "vmovdqa ymm13, [{weights} + 288]\n",
            $(
                "vpmaddwd ymm", $a, ", ymm", $a, ", ymm12\n",
                "vpmaddwd ymm", $b, ", ymm", $b, ", ymm13\n",
                "vpaddd ymm", $low, ", ymm", $low, ", ymm", $a, "\n",
                "vpaddd ymm", $high, ", ymm", $high, ", ymm", $b, "\n",
            )+
            "add {weights}, 320\n",
            "add {i}, 4",
        )
    };
}

impl Block for DecodedQ4<'_> {
    type Token = Avx2;
    // From 256 tokens up, a tile's activations come from the second-level cache: two panels fetch them once.
    const PANELS: usize = 2;
    // What 16 registers hold: six dot products, six sums of 16 bits, a group, and its products with a token.
    const TOKENS: usize = 3;
    const DEPTH: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        const {
            assert!(size_of::<SubBlock>() == 320 && SUB_BLOCK == 16);
            // Four pairs of products, and where their sum begins.
            assert!(4 * 2 * 15 * 127 + 8 * 8 * 127 <= i16::MAX as i32);
        }
        macro_rules! tile_of_3 {
            ($($arguments:tt)*) => {
                match N {
                    1 => tile!($($arguments)*, 0 a (0 1 6 7)),
                    2 => tile!($($arguments)*, 0 a (0 1 6 7), 1 b (2 3 8 9)),
                    3 => tile!($($arguments)*, 0 a (0 1 6 7), 1 b (2 3 8 9), 2 c (4 5 10 11)),
                    _ => unreachable!("at most TOKENS"),
                }
            };
        }
        for (block, sums) in blocks.into_iter().zip(sums) {
            // SAFETY: the block holds AVX2's token, in its scales, and the assembly has no instruction beyond its row. It reads
            // the sub-blocks and the scales, which are aligned; N activations; and the start. It reads and writes the N
            // sums, which are aligned.
            unsafe {
                tile_of_3!({
                    weights: block.sub_blocks.as_ptr(),
                    steps: 4 * SUB_BLOCKS,
                    start: start_q4,
                    step: step_q4,
                    scale: offset_of!(ActivationBlock, scale),
                    operands: {
                        start = in(reg) &raw const START_OF_DOTS,
                        pairs = const offset_of!(ActivationBlock, pairs),
                    },
                }, &block.scales, acts, sums.as_mut_ptr());
            }
        }
    }
}
