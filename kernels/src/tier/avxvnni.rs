//! AVX-VNNI: `vpdpbusd` on 256 bits, without AVX-512 (Alder Lake and later, Zen 5). Floats are AVX2's 2 x 8 lanes.
//!
//! As on AVX-512, q8's bytes are code + 128 as they are, q4's levels get the same 128 from their table, and the
//! accumulator starts at the activation's offset, -128 * (sum of its codes).

pub(crate) use super::avx2::F32x16;
use super::avx2::{finish, halves, levels, load_scales};
use super::{Block, Decode, group_word, unsigned_levels};
use crate::activation::ActivationBlock;
use crate::lanes::Lanes;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS, Scales};
use std::arch::x86_64::*;

/// Evaluates intrinsics of this tier.
macro_rules! avxvnni {
    ($body:expr) => {
        // SAFETY: everything in this module is inlined into functions that are compiled for AVX2, FMA, F16C and
        // AVX-VNNI, and those can be called only through the value that proves the detection
        // (`crate::kernels::AvxVnni`). Loads take their pointers from references to arrays of the full width.
        unsafe { $body }
    };
}

/// The q4 levels + 128, as `vpdpbusd` takes them.
const Q4_TABLE: [u8; 16] = unsigned_levels(128);

/// The integer product over `vpdpbusd`.
pub(crate) struct Product;

/// A block: code + 128 or level + 128, two registers a group; and the scales.
pub(crate) struct Decoded {
    groups: [[__m256i; 2]; GROUPS],
    scales: F32x16,
}

impl Block for Decoded {
    #[inline(always)]
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]) {
        let mut dots = avxvnni!([[_mm256_setzero_si256(); 2]; N]);
        for n in 0..N {
            let start = avxvnni!(_mm256_set1_epi32(acts[n].offset));
            dots[n] = [start, start];
        }
        for j in 0..GROUPS {
            for n in 0..N {
                let x = avxvnni!(_mm256_set1_epi32(group_word(&acts[n].codes, j)));
                for h in 0..2 {
                    dots[n][h] =
                        avxvnni!(_mm256_dpbusd_avx_epi32(dots[n][h], self.groups[j][h], x));
                }
            }
        }
        for n in 0..N {
            finish(dots[n], self.scales, acts[n].scale, &mut out[n]);
        }
    }
}

impl Decode<CodesQ8> for Product {
    type Block = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: &Scales) -> Decoded {
        let (codes, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut groups = avxvnni!([[_mm256_setzero_si256(); 2]; GROUPS]);
        for j in 0..GROUPS {
            groups[j] = halves(&codes[j]);
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
        Decoded {
            groups: levels(codes, &Q4_TABLE),
            scales: load_scales(scales),
        }
    }
}
