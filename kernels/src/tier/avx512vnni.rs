//! AVX-512 with VNNI: 1 x 16 lanes.
//!
//! `vpdpbusd` adds four products of unsigned with signed bytes to 32 bits, exactly. q8's bytes are code + 128 as they
//! are; q4's levels get the same 128 from their table; it comes off by where the activation lets accumulators start.

use super::{Block, Decode, RowScales, Tiles, add_tiles, group_word, tiles, unsigned_levels};
use crate::activation::ActivationBlock;
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
use crate::simd::{RECIPROCAL, Simd16};
use half::f16;
use std::arch::x86_64::*;

/// Evaluates intrinsics of this tier.
macro_rules! avx512 {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for AVX-512 F, BW, VL and
        // VNNI, and those can be called only through the value that proves the detection
        // (`crate::kernels::Avx512Vnni`). Loads and stores take their pointers from references to arrays of the full
        // width.
        unsafe { $body }
    };
}

/// Sixteen floats in a register.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

macro_rules! lanewise {
    ($($name:ident => $intrinsic:ident),+ $(,)?) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            avx512!(Self($intrinsic(self.0, b.0)))
        }
    )+};
}

impl F32x16 {
    #[inline(always)]
    fn halves(self) -> [__m256; 2] {
        avx512!([
            _mm512_castps512_ps256(self.0),
            _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0))),
        ])
    }
}

impl Simd16 for F32x16 {
    const REGISTERS: usize = 1;

    lanewise! {
        add => _mm512_add_ps,
        sub => _mm512_sub_ps,
        mul => _mm512_mul_ps,
        div => _mm512_div_ps,
        max => _mm512_max_ps,
        min => _mm512_min_ps,
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        avx512!(Self(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    fn load(lanes: &Lanes) -> Self {
        avx512!(Self(_mm512_load_ps(lanes.0.as_ptr())))
    }

    #[inline(always)]
    fn store(self, lanes: &mut Lanes) {
        avx512!(_mm512_store_ps(lanes.0.as_mut_ptr(), self.0))
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        avx512!(Self(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        avx512!(Self(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        avx512!(Self(_mm512_roundscale_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn rough_reciprocal(self) -> Self {
        avx512!(Self(_mm512_castsi512_ps(_mm512_sub_epi32(
            _mm512_set1_epi32(RECIPROCAL),
            _mm512_castps_si512(self.0)
        ))))
    }

    #[inline(always)]
    fn exp2_integer(self) -> Self {
        avx512!({
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)))
        })
    }

    #[inline(always)]
    fn select_gt(self, b: Self, yes: Self, no: Self) -> Self {
        avx512!(Self(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, b.0),
            no.0,
            yes.0
        )))
    }

    #[inline(always)]
    fn load_f16(lanes: &[f16; LANES]) -> Self {
        avx512!(Self(_mm512_cvtph_ps(_mm256_loadu_si256(
            lanes.as_ptr().cast()
        ))))
    }

    #[inline(always)]
    fn to_i8(self, high: Self) -> [i8; 2 * LANES] {
        let mut bytes = [0i8; 2 * LANES];
        avx512!({
            let words = _mm512_packs_epi32(_mm512_cvtps_epi32(self.0), _mm512_cvtps_epi32(high.0));
            let packed = _mm512_packs_epi16(words, words);
            // The packs worked within 128-bit quarters: four bytes of each half, twice.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            let packed = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, packed));
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed);
        });
        bytes
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [low, high] = self.halves();
        super::avx2::sum_of_8(avx512!(_mm256_add_ps(low, high)))
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let [low, high] = self.halves();
        super::avx2::largest_of_8(avx512!(_mm256_max_ps(low, high)))
    }
}

/// The integer product over `vpdpbusd`.
pub(crate) struct Product;

/// A block: code + 128 or level + 128, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<G> {
    groups: G,
    scales: RowScales<F32x16>,
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
        load64(&groups[group])
    }
}

impl Groups for [__m512i; GROUPS] {
    #[inline(always)]
    fn get(&self, group: usize) -> __m512i {
        self[group]
    }
}

/// [`add_tiles`], as a function of its own, lest the compiler share the registers out over all of them.
#[inline(always)]
fn add_tiles_in_registers<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, B, P>) {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline(never)]
    fn separate<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, B, P>) {
        add_tiles::<B, N, P>(tiles);
    }
    avx512!(separate::<B, N, P>(tiles))
}

impl<G: Groups> Block for Decoded<G> {
    type Sums = F32x16;
    const PANELS: usize = 2;
    // Seven are what 32 registers hold: 14 sums, 14 dot products, two groups and the activation.
    tiles!(add_tiles_in_registers: 1 2 3 4 5 6 7);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        let mut dots = avx512!([[_mm512_setzero_si512(); P]; N]);
        for n in 0..N {
            dots[n] = avx512!([_mm512_set1_epi32(acts[n].start()); P]);
        }
        for j in 0..GROUPS {
            let mut groups = [blocks[0].groups.get(j); P];
            for p in 1..P {
                groups[p] = blocks[p].groups.get(j);
            }
            for n in 0..N {
                let x = avx512!(_mm512_set1_epi32(group_word(&acts[n].codes, j)));
                for p in 0..P {
                    dots[n][p] = avx512!(_mm512_dpbusd_epi32(dots[n][p], groups[p], x));
                }
            }
        }
        for n in 0..N {
            for p in 0..P {
                let dot = avx512!(F32x16(_mm512_castsi512_ps(dots[n][p])));
                sums[n][p] = blocks[p].scales.add(sums[n][p], dot, acts[n].scale);
            }
        }
    }
}

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

#[inline(always)]
fn load64(bytes: &[u8; GROUP_BYTES]) -> __m512i {
    avx512!(_mm512_loadu_si512(bytes.as_ptr().cast()))
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
    type Block<'a> = Decoded<[__m512i; GROUPS]>;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> Decoded<[__m512i; GROUPS]> {
        let (table, mask) = avx512!({
            let table = _mm_loadu_si128(Q4_TABLE.as_ptr().cast());
            (_mm512_broadcast_i32x4(table), _mm512_set1_epi8(15))
        });
        let (codes, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut groups = avx512!([_mm512_setzero_si512(); GROUPS]);
        for j in 0..GROUPS / 2 {
            let x = load64(&codes[j]);
            avx512!({
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask);
                groups[j] = _mm512_shuffle_epi8(table, _mm512_and_si512(x, mask));
                groups[j + GROUPS / 2] = _mm512_shuffle_epi8(table, high);
            })
        }
        Decoded { groups, scales }
    }
}
