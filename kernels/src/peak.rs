//! What the machine can do at most: the yardsticks for the kernels, which compute nothing that is wanted. A program that
//! doesn't call them doesn't contain them.

use crate::kernels::{Kernels, dispatch};
use crate::lanes::{Lanes, as_floats};
use crate::simd::Simd;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    feature = "relaxed-simd"
))]
use crate::tier::token::Relaxed;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::tier::token::Simd128;
#[cfg(target_arch = "x86_64")]
use crate::tier::token::{Avx2, Avx512Vnni, AvxVnni};
#[cfg(target_arch = "aarch64")]
use crate::tier::token::{Dotprod, I8mm, Neon};
use crate::tier::{Tier, token::Scalar};
use std::hint::black_box;

/// Multiplies and adds, on registers alone, as fast as this instruction set can; returns how many 8-bit multiply-adds that
/// were. A yardstick for [`Kernels::linear`].
pub fn multiply_adds(kernels: Kernels, rounds: usize) -> u64 {
    dispatch!(kernels, tier => tier.multiply_adds(rounds))
}

/// Reads memory as fast as one thread can; returns the sum of all floats, in no order to rely on.
pub fn read(kernels: Kernels, data: &[Lanes]) -> f32 {
    dispatch!(kernels, tier => read_on(tier, data))
}

/// Streams that one thread reads side by side: more than one keeps more lines under way.
const STREAMS: usize = 4;
/// How far ahead of each stream the processor is asked to fetch: 2 KiB.
const AHEAD: usize = 32;

#[inline(always)]
fn read_on<T: Tier>(tier: T, data: &[Lanes]) -> f32 {
    let simd = tier.simd();
    let length = data.len() / STREAMS;
    let (a, rest) = data.split_at(length);
    let (b, rest) = rest.split_at(length);
    let (c, rest) = rest.split_at(length);
    let (d, rest) = rest.split_at(length);
    let mut sums = [simd.splat(0.0); STREAMS];
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (sum, lanes) in sums.iter_mut().zip([a, b, c, d]) {
            prefetch(lanes);
            *sum = sum.add(simd.load(lanes));
        }
    }
    for lanes in rest {
        sums[0] = sums[0].add(simd.load(lanes));
    }
    let mut lanes = [Lanes::ZERO; STREAMS];
    for (lanes, sum) in lanes.iter_mut().zip(sums) {
        sum.store(lanes);
    }
    as_floats(&lanes).iter().sum()
}

/// Asks for what is ahead of these lanes.
#[inline(always)]
fn prefetch(lanes: &Lanes) {
    let ahead = (&raw const *lanes).wrapping_add(AHEAD);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, part of every x86-64, for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint, part of every Armv8, for any address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) ahead, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = ahead;
}

/// A tier's loop of the densest exact multiply-adds that its integer product can be made of, on registers alone, in so many
/// independent chains that latency doesn't show. Where q8 needs more instructions than q4, it is q4's.
pub(crate) trait Peak {
    /// Returns how many multiply-adds that were.
    fn multiply_adds(self, rounds: usize) -> u64;
}

/// The dot product of two arrays, as the compiler makes it.
impl Peak for Scalar {
    fn multiply_adds(self, rounds: usize) -> u64 {
        const N: usize = 1024;
        let (w, x) = ([3i8; N], [5i8; N]);
        for _ in 0..rounds {
            // Else one round would do for all.
            let (w, x) = black_box((&w, &x));
            let products = w.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x));
            black_box(products.sum::<i32>());
        }
        (rounds * N) as u64
    }
}

/// Rounds of one step in each of some chains.
#[allow(dead_code, reason = "a build may have plain Rust only")]
#[inline(always)]
fn run_chains<R: Copy, const CHAINS: usize>(rounds: usize, start: R, step: impl Fn(R) -> R) {
    let mut sums = black_box([start; CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = step(*sum);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512Vnni, AvxVnni, Peak, black_box, run_chains};
    use std::arch::x86_64::*;

    /// Two `vpmaddubsw`, added, widened by `vpmaddwd` and added: as many instructions a multiply-add as q4's product has, which
    /// widens after four. A chain's sum is also its operand, so that nothing can be computed once for all rounds.
    impl Peak for Avx2 {
        avx2! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (x, y) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi8(5)));
                let ones = black_box(_mm256_set1_epi16(1));
                run_chains::<_, 10>(rounds, _mm256_set1_epi8(7), |sum| {
                    let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(sum, x), _mm256_maddubs_epi16(sum, y));
                    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones))
                });
                (rounds * 10 * 64) as u64
            }
        }
    }

    /// `vpdpbusd` on 256 bits.
    impl Peak for AvxVnni {
        avxvnni! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (w, x) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi8(5)));
                run_chains::<_, 12>(rounds, _mm256_setzero_si256(), |sum| _mm256_dpbusd_avx_epi32(sum, w, x));
                (rounds * 12 * 32) as u64
            }
        }
    }

    /// `vpdpbusd` on 512 bits.
    impl Peak for Avx512Vnni {
        avx512vnni! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (w, x) = black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(5)));
                run_chains::<_, 12>(rounds, _mm512_setzero_si512(), |sum| _mm512_dpbusd_epi32(sum, w, x));
                (rounds * 12 * 64) as u64
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Dotprod, I8mm, Neon, Peak, black_box, run_chains};
    use std::arch::aarch64::*;
    use std::arch::asm;

    /// `smull`, `smlal` and `sadalp`: eight sums of 16 bits that take eight products each before they are widened, which is
    /// exact for factors as small as these. The product widens after two; where one pipe multiplies and the other one
    /// widens (Cortex-A72), that is no slower.
    impl Peak for Neon {
        neon! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (w, x) = (vdupq_n_s8(3), vdupq_n_s8(5));
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [vdupq_n_s32(0); 8];
                for _ in 0..rounds {
                    // SAFETY: arithmetic on registers, part of NEON, for which this function is compiled.
                    unsafe {
                        asm!(
                            "smull {i:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smull2 {j:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smull {k:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smull2 {l:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smull {m:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smull2 {n:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smull {o:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smull2 {p:v}.8h, {w:v}.16b, {x:v}.16b",
                            ".rept 7",
                            "smlal {i:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smlal2 {j:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smlal {k:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smlal2 {l:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smlal {m:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smlal2 {n:v}.8h, {w:v}.16b, {x:v}.16b",
                            "smlal {o:v}.8h, {w:v}.8b, {x:v}.8b",
                            "smlal2 {p:v}.8h, {w:v}.16b, {x:v}.16b",
                            ".endr",
                            "sadalp {a:v}.4s, {i:v}.8h",
                            "sadalp {b:v}.4s, {j:v}.8h",
                            "sadalp {c:v}.4s, {k:v}.8h",
                            "sadalp {d:v}.4s, {l:v}.8h",
                            "sadalp {e:v}.4s, {m:v}.8h",
                            "sadalp {f:v}.4s, {n:v}.8h",
                            "sadalp {g:v}.4s, {o:v}.8h",
                            "sadalp {h:v}.4s, {p:v}.8h",
                            a = inout(vreg) a, b = inout(vreg) b, c = inout(vreg) c, d = inout(vreg) d,
                            e = inout(vreg) e, f = inout(vreg) f, g = inout(vreg) g, h = inout(vreg) h,
                            i = out(vreg) _, j = out(vreg) _, k = out(vreg) _, l = out(vreg) _,
                            m = out(vreg) _, n = out(vreg) _, o = out(vreg) _, p = out(vreg) _,
                            w = in(vreg) w, x = in(vreg) x,
                            options(nomem, nostack, preserves_flags)
                        );
                    }
                }
                black_box([a, b, c, d, e, f, g, h]);
                (rounds * 8 * 64) as u64
            }
        }
    }

    /// `sdot`.
    impl Peak for Dotprod {
        dotprod! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (token, w, x) = (Dotprod::here(), vdupq_n_s8(3), vdupq_n_s8(5));
                run_chains::<_, 16>(rounds, vdupq_n_s32(0), |sum| token.dot::<0>(sum, w, x));
                (rounds * 16 * 16) as u64
            }
        }
    }

    /// `smmla`.
    impl Peak for I8mm {
        i8mm! {
            fn multiply_adds(self, rounds: usize) -> u64 {
                let (token, w, x) = (I8mm::here(), vdupq_n_s8(3), vdupq_n_s8(5));
                run_chains::<_, 16>(rounds, vdupq_n_s32(0), |sum| token.multiply(sum, w, x));
                (rounds * 16 * 32) as u64
            }
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    #[cfg(feature = "relaxed-simd")]
    use super::Relaxed;
    use super::{Peak, Simd128, black_box, run_chains};
    use std::arch::wasm32::*;

    /// `i32x4.dot_i16x8_s`.
    impl Peak for Simd128 {
        #[inline(always)]
        fn multiply_adds(self, rounds: usize) -> u64 {
            let (w, x) = black_box((i16x8_splat(3), i16x8_splat(5)));
            run_chains::<_, 12>(
                rounds,
                i32x4_splat(0),
                #[inline(always)]
                |sum| i32x4_add(sum, i32x4_dot_i16x8(w, x)),
            );
            (rounds * 12 * 8) as u64
        }
    }

    /// `i16x8.relaxed_dot_i8x16_i7x16_s`, whose products are added in 16 bits.
    #[cfg(feature = "relaxed-simd")]
    impl Peak for Relaxed {
        #[inline(always)]
        fn multiply_adds(self, rounds: usize) -> u64 {
            let (w, x) = black_box((i8x16_splat(3), i8x16_splat(5)));
            run_chains::<_, 12>(
                rounds,
                i16x8_splat(0),
                #[inline(always)]
                |sum| i16x8_add(sum, i16x8_relaxed_dot_i8x16_i7x16(x, w)),
            );
            (rounds * 12 * 16) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{multiply_adds, read};
    use crate::kernels::detected;
    use crate::lanes::{LANES, Lanes};

    #[test]
    fn they_run_and_count() {
        for kernels in detected() {
            let one = multiply_adds(kernels, 1);
            assert!(one > 0);
            assert_eq!(multiply_adds(kernels, 10), 10 * one, "{}", kernels.isa());
        }
    }

    #[test]
    fn everything_is_read() {
        for kernels in detected() {
            for count in 0..14 {
                let mut data = vec![Lanes::ZERO; count];
                for (i, lanes) in data.iter_mut().enumerate() {
                    lanes.0[i % LANES] = (1 << i) as f32;
                }
                let sum = read(kernels, &data);
                assert_eq!(sum, ((1 << count) - 1) as f32, "{}", kernels.isa());
            }
        }
    }
}
