//! AVX-512 with VNNI: 1 x 16 lanes.
//!
//! `vpdpbusd` adds four products of unsigned with signed bytes to 32 bits, exactly. q8's bytes are code + 128 as they
//! are; q4's levels get the same 128 from their table; it comes off by starting at -128 * (sum of the activation's
//! codes), which the activation carries.

use super::{Block, Decode, group_word, unsigned_levels};
use crate::activation::ActivationBlock;
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS, Scales};
use crate::simd::Simd16;
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

impl Simd16 for F32x16 {
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
    fn to_i8(self) -> [i8; LANES] {
        let mut bytes = [0i8; LANES];
        avx512!(_mm_storeu_si128(
            bytes.as_mut_ptr().cast(),
            _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(self.0))
        ));
        bytes
    }
}

/// The integer product over `vpdpbusd`.
pub(crate) struct Product;

/// A block: code + 128 or level + 128, a register a group; and the scales.
pub(crate) struct Decoded {
    groups: [__m512i; GROUPS],
    scales: F32x16,
}

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

#[inline(always)]
fn load_scales(scales: &Scales) -> F32x16 {
    avx512!(F32x16(_mm512_cvtph_ps(_mm256_loadu_si256(
        scales.as_ptr().cast()
    ))))
}

#[inline(always)]
fn load64(bytes: &[u8; GROUP_BYTES]) -> __m512i {
    avx512!(_mm512_loadu_si512(bytes.as_ptr().cast()))
}

impl Block for Decoded {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        let mut dots = avx512!([_mm512_setzero_si512(); N]);
        for n in 0..N {
            dots[n] = avx512!(_mm512_set1_epi32(acts[n].offset));
        }
        for j in 0..GROUPS {
            for n in 0..N {
                dots[n] = avx512!({
                    let x = _mm512_set1_epi32(group_word(&acts[n].codes, j));
                    _mm512_dpbusd_epi32(dots[n], self.groups[j], x)
                });
            }
        }
        for n in 0..N {
            let dot = avx512!(F32x16(_mm512_cvtepi32_ps(dots[n])));
            let scales = self.scales.mul(F32x16::splat(acts[n].scale));
            dot.mul_add(scales, F32x16::load(&out[n]))
                .store(&mut out[n]);
        }
    }
}

impl Decode<CodesQ8> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: &Scales) -> Decoded {
        let (codes, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut groups = avx512!([_mm512_setzero_si512(); GROUPS]);
        for j in 0..GROUPS {
            groups[j] = load64(&codes[j]);
        }
        Decoded {
            groups,
            scales: load_scales(scales),
        }
    }
}

impl Decode<CodesQ4> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: &Scales) -> Decoded {
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
        Decoded {
            groups,
            scales: load_scales(scales),
        }
    }
}
