//! AVX-VNNI: `vpdpbusd` on 256 bits, without AVX-512 (Alder Lake and later, Zen 5). Floats are AVX2's 2 x 8 lanes.
//!
//! As on AVX-512, q8's bytes are code + 128 as they are, q4's levels get the same 128 from their table, and the
//! accumulator starts where the activation says.

pub(crate) use super::avx2::F32x16;
use super::avx2::{as_floats, halves, levels};
use super::{Block, Decode, RowScales, add_tiles, group_word, tiles, unsigned_levels};
use crate::activation::ActivationBlock;
use crate::packed::{CodesQ4, CodesQ8, GROUP_BYTES, GROUPS};
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
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    groups: [[__m256i; 2]; GROUPS],
    scales: RowScales<F32x16>,
}

impl Block for Decoded {
    type Sums = F32x16;
    const PANELS: usize = 1;
    tiles!(add_tiles: 1 2 3 4);

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        let mut dots = avxvnni!(acts.map(|act| [[_mm256_set1_epi32(act.start()); 2]; P]));
        for j in 0..GROUPS {
            for n in 0..N {
                let x = avxvnni!(_mm256_set1_epi32(group_word(&acts[n].codes, j)));
                for p in 0..P {
                    for h in 0..2 {
                        let group = blocks[p].groups[j][h];
                        dots[n][p][h] = avxvnni!(_mm256_dpbusd_avx_epi32(dots[n][p][h], group, x));
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

impl Decode<CodesQ8> for Product {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> Decoded {
        let (codes, _) = codes.as_chunks::<GROUP_BYTES>();
        let mut groups = avxvnni!([[_mm256_setzero_si256(); 2]; GROUPS]);
        for j in 0..GROUPS {
            groups[j] = halves(&codes[j]);
        }
        Decoded { groups, scales }
    }
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = Decoded;

    #[inline(always)]
    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> Decoded {
        Decoded {
            groups: levels(codes, &Q4_TABLE),
            scales,
        }
    }
}
