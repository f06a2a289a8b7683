//! WebAssembly: 4 x 4 lanes. A module has no way to ask what an engine can do: one that has instructions which the engine lacks isn't
//! taken at all. So these tiers are there where the build enables their features, and whoever loads a module chooses it.
//!
//! The instructions of `simd128` have one result everywhere. They have no fused multiply-add, and no dot product of bytes:
//!
//! - `f32x4.mul_add` is made of f64, rounded to odd ([`crate::fma`]).
//! - Both formats become 16 bits, q8's code + 128 and q4's level + 128, in two vectors: the even and the odd columns of four
//!   rows. `i32x4.dot_i16x8_s` multiplies those with the even and the odd codes of a group, and adds two products.
//!
//! Of the relaxed instructions an engine may choose the result among those that are permitted, once for all. The tier uses two:
//!
//! - `f32x4.relaxed_madd` rounds once or twice. The token exists only where a test finds that it rounds once.
//! - `i16x8.relaxed_dot_i8x16_i7x16_s` has one result only, as long as the second operand's bytes are at most 127 and nothing exceeds
//!   16 bits: q4's code + 8 is at most 15. So the sums of a sub-block stay in 16 bits and the sub-scale is multiplied last, as on AVX2.
//!   q8's bytes have eight bits; they go through the exact product.
//!
//! V8 has 15 registers on x86-64, which a tile must fit.

#[cfg(feature = "relaxed-simd")]
use super::token::Relaxed;
use super::token::{Simd128, Token};
use crate::BLOCK;
use crate::activation::{ActivationBlock, START};
use crate::block::{Block, Decode, RowScales, write_words};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, GROUPS, Group, SUB_BLOCKS};
use crate::simd::{F32x16, RECIPROCAL, RECIPROCAL_STEPS, Simd};
use half::f16;
use std::arch::wasm32::*;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;

/// The vectors of a token, given its multiply-add.
macro_rules! vectors {
    ($Token:ident, $mul_add:path $(, $($chains:tt)*)?) => {
        #[rustfmt::skip]
        impl Simd for $Token {
            type Register = v128;
            type Registers = [v128; 4];

            #[inline(always)]
            fn splat_register(self, x: f32) -> v128 { f32x4_splat(x) }
            #[inline(always)]
            fn add(self, a: v128, b: v128) -> v128 { f32x4_add(a, b) }
            #[inline(always)]
            fn sub(self, a: v128, b: v128) -> v128 { f32x4_sub(a, b) }
            #[inline(always)]
            fn mul(self, a: v128, b: v128) -> v128 { f32x4_mul(a, b) }
            #[inline(always)]
            fn div(self, a: v128, b: v128) -> v128 { f32x4_div(a, b) }
            #[inline(always)]
            fn mul_add(self, a: v128, b: v128, c: v128) -> v128 { $mul_add(a, b, c) }
            #[inline(always)]
            fn max(self, a: v128, b: v128) -> v128 { pmax(b, a) }
            #[inline(always)]
            fn min(self, a: v128, b: v128) -> v128 { pmin(b, a) }
            #[inline(always)]
            fn abs(self, x: v128) -> v128 { f32x4_abs(x) }
            #[inline(always)]
            fn max_bits(self, a: v128, b: v128) -> v128 { i32x4_max(a, b) }
            #[inline(always)]
            fn round(self, x: v128) -> v128 { f32x4_nearest(x) }
            #[inline(always)]
            fn rough_reciprocal(self, x: v128) -> v128 { i32x4_sub(i32x4_splat(RECIPROCAL), x) }
            #[inline(always)]
            fn exp2_integer(self, n: v128) -> v128 {
                // The integer n + 127 is in the last bits.
                i32x4_shl(f32x4_add(n, f32x4_splat(NO_FRACTION + 127.0)), 23)
            }
            #[inline(always)]
            fn select_gt(self, a: v128, b: v128, yes: v128, no: v128) -> v128 {
                select(f32x4_gt(a, b), yes, no)
            }

            #[inline(always)]
            fn widen_f16(self, lanes: &[f16; LANES]) -> [v128; 4] {
                let [low, high]: [v128; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(lanes));
                [
                    u32x4_extend_low_u16x8(low),
                    u32x4_extend_high_u16x8(low),
                    u32x4_extend_low_u16x8(high),
                    u32x4_extend_high_u16x8(high),
                ].map(convert_f16)
            }
            #[inline(always)]
            fn to_i8(self, low: [v128; 4], high: [v128; 4]) -> [i8; 2 * LANES] {
                bytemuck::cast([narrow(low), narrow(high)])
            }
            #[inline(always)]
            fn hadamard(self, x: [v128; 4]) -> [v128; 4] {
                let [a, b] = [f32x4_add(x[0], x[2]), f32x4_add(x[1], x[3])];
                let [c, d] = [f32x4_sub(x[0], x[2]), f32x4_sub(x[1], x[3])];
                [
                    hadamard_of_4(f32x4_add(a, b)),
                    hadamard_of_4(f32x4_sub(a, b)),
                    hadamard_of_4(f32x4_add(c, d)),
                    hadamard_of_4(f32x4_sub(c, d)),
                ]
            }
            #[inline(always)]
            fn pairs(self, codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
                let codes: [[v128; 4]; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(codes));
                bytemuck::cast(codes.map(pairs_of_4))
            }
            #[inline(always)]
            fn sum(self, x: [v128; 4]) -> f32 {
                let x = f32x4_add(f32x4_add(x[0], x[2]), f32x4_add(x[1], x[3]));
                let x = f32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
                f32x4_extract_lane::<0>(x) + f32x4_extract_lane::<1>(x)
            }
            #[inline(always)]
            fn largest(self, x: [v128; 4]) -> f32 {
                let x = self.max(self.max(x[0], x[2]), self.max(x[1], x[3]));
                let x = self.max(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
                f32x4_extract_lane::<0>(self.max(x, i32x4_shuffle::<1, 0, 3, 2>(x, x)))
            }
            #[inline(always)]
            fn largest_bits(self, x: [v128; 4]) -> f32 {
                let x = i32x4_max(i32x4_max(x[0], x[2]), i32x4_max(x[1], x[3]));
                let x = i32x4_max(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
                f32x4_extract_lane::<0>(i32x4_max(x, i32x4_shuffle::<1, 0, 3, 2>(x, x)))
            }

            $($($chains)*)?
        }
    };
}
// In f64 the sum of a product and a number is rounded, and then again to f32. That is wrong only where the first makes a number
// halfway between two f32 of one that isn't. It is looked for, once for many sums; all of them are made again exactly if one may be.
vectors! { Simd128, exact_mul_add,
    #[inline(always)]
    fn add_products<const N: usize, const P: usize>(self, a: &[Lanes; N], b: [&[Lanes]; P], sums: &mut [[F32x16<Self>; P]; N]) {
        for p in 0..P {
            let b = b[p];
            let mut outside = f32x4_splat(0.0);
            for b in b {
                outside = v128_or(outside, out_of_range(*self.load(b).registers()));
            }
            for n in 0..N {
                let before = *sums[n][p].registers();
                let outside = v128_or(outside, out_of_range(*self.load(&a[n]).registers()));
                let outside = v128_or(outside, too_large(before));
                let mut halfway = Halfway::none();
                let mut wide = before.map(promote);
                for (a, b) in a[n].0.iter().zip(b) {
                    let (a, b) = (f64x2_splat(f64::from(*a)), *self.load(b).registers());
                    for q in 0..4 {
                        let b = promote(b[q]);
                        let low = f64x2_add(f64x2_mul(a, b[0]), wide[q][0]);
                        let high = f64x2_add(f64x2_mul(a, b[1]), wide[q][1]);
                        halfway.see([low, high]);
                        wide[q] = [round_to_f32(low), round_to_f32(high)];
                    }
                }
                let after = match v128_any_true(outside) || halfway.any() {
                    true => add_products_exactly(&a[n], b, before),
                    false => wide.map(#[inline(always)] |[low, high]| demote(low, high)),
                };
                sums[n][p] = F32x16::new(self, after);
            }
        }
    }

    #[inline(always)]
    fn polynomial<const N: usize>(self, x: [v128; 4], coefficients: [f32; N]) -> [v128; 4] {
        let mut halfway = Halfway::none();
        let wide = x.map(promote);
        let mut y = [[f64x2_splat(f64::from(coefficients[0])); 2]; 4];
        for &c in &coefficients[1..] {
            let c = f64x2_splat(f64::from(c));
            for q in 0..4 {
                let low = f64x2_add(f64x2_mul(y[q][0], wide[q][0]), c);
                let high = f64x2_add(f64x2_mul(y[q][1], wide[q][1]), c);
                halfway.see([low, high]);
                y[q] = [round_to_f32(low), round_to_f32(high)];
            }
        }
        match halfway.any() {
            true => polynomial_exactly(x, coefficients),
            false => y.map(#[inline(always)] |[low, high]| demote(low, high)),
        }
    }

    #[inline(always)]
    fn reciprocal(self, x: [v128; 4]) -> [v128; 4] {
        let mut halfway = Halfway::none();
        let wide = x.map(promote);
        let mut y = x.map(#[inline(always)] |x| promote(self.rough_reciprocal(x)));
        for _ in 0..RECIPROCAL_STEPS {
            for q in 0..4 {
                let mut errors = wide[q];
                let mut sums = y[q];
                for h in 0..2 {
                    // Exact: one less a product of 48 bits that is near it.
                    errors[h] = f64x2_sub(f64x2_splat(1.0), f64x2_mul(wide[q][h], y[q][h]));
                    sums[h] = f64x2_add(f64x2_mul(round_to_f32(errors[h]), y[q][h]), y[q][h]);
                }
                halfway.see(errors);
                halfway.see(sums);
                y[q] = [round_to_f32(sums[0]), round_to_f32(sums[1])];
            }
        }
        match halfway.any() {
            true => reciprocal_exactly(x),
            false => y.map(#[inline(always)] |[low, high]| demote(low, high)),
        }
    }
}

#[inline(never)]
fn add_products_exactly(a: &Lanes, b: &[Lanes], sums: [v128; 4]) -> [v128; 4] {
    let mut sums = sums;
    for (a, b) in a.0.iter().zip(b) {
        let b: &[v128; 4] = bytemuck::cast_ref(b);
        for q in 0..4 {
            sums[q] = exact_mul_add(f32x4_splat(*a), b[q], sums[q]);
        }
    }
    sums
}

#[inline(never)]
fn polynomial_exactly<const N: usize>(x: [v128; 4], coefficients: [f32; N]) -> [v128; 4] {
    let mut y = [f32x4_splat(coefficients[0]); 4];
    for c in &coefficients[1..] {
        for q in 0..4 {
            y[q] = exact_mul_add(y[q], x[q], f32x4_splat(*c));
        }
    }
    y
}

#[inline(never)]
fn reciprocal_exactly(x: [v128; 4]) -> [v128; 4] {
    x.map(|x| {
        let mut y = i32x4_sub(i32x4_splat(RECIPROCAL), x);
        for _ in 0..RECIPROCAL_STEPS {
            let error = exact_mul_add(f32x4_neg(x), y, f32x4_splat(1.0));
            y = exact_mul_add(error, y, y);
        }
        y
    })
}
#[cfg(feature = "relaxed-simd")]
vectors!(Relaxed, f32x4_relaxed_madd);

/// Added to a number below 2^22 in size, leaves no bits for a fraction: it is rounded, and the last bits are an integer.
const NO_FRACTION: f32 = 1.5 * 8_388_608.0;

/// x < y ? y : x
#[inline(always)]
fn pmax(x: v128, y: v128) -> v128 {
    select(f32x4_lt(x, y), y, x)
}

/// y < x ? y : x
#[inline(always)]
fn pmin(x: v128, y: v128) -> v128 {
    select(f32x4_lt(y, x), y, x)
}

/// Selects by a mask. Where relaxed SIMD is enabled, in one function of a module or in all, the compiler makes
/// `f32x4.relaxed_max` of a comparison and a selection, which treats NaN and the signs of zero as the engine likes: it must not see
/// that the mask is one. The average of bytes with themselves changes nothing.
#[inline(always)]
fn select(mask: v128, yes: v128, no: v128) -> v128 {
    let mask = match cfg!(feature = "relaxed-simd") {
        true => u8x16_avgr(mask, mask),
        false => mask,
    };
    v128_bitselect(yes, no, mask)
}

/// Whether the engine's relaxed multiply-add rounds once.
#[allow(dead_code, reason = "not every build asks")]
pub(super) fn relaxed_multiply_add_is_fused() -> bool {
    #[cfg(feature = "relaxed-simd")]
    {
        use std::hint::black_box;
        // (1 + 2^-k) (1 - 2^-k) - 1, whose first product is 1 when it is rounded.
        let x = f32x4(
            0.5f32.powi(13),
            0.5f32.powi(14),
            0.5f32.powi(17),
            0.5f32.powi(20),
        );
        let (one, x) = (f32x4_splat(1.0), black_box(x));
        let (a, b) = (black_box(f32x4_add(one, x)), black_box(f32x4_sub(one, x)));
        let difference = f32x4_relaxed_madd(a, b, black_box(f32x4_splat(-1.0)));
        i32x4_all_true(f32x4_eq(difference, f32x4_neg(f32x4_mul(x, x))))
    }
    #[cfg(not(feature = "relaxed-simd"))]
    false
}

/// a * b + c, rounded once.
#[inline(always)]
fn exact_mul_add(a: v128, b: v128, c: v128) -> v128 {
    let ([a, b], [c, d], [e, f]) = (promote(a), promote(b), promote(c));
    demote(mul_add_to_odd(a, c, e), mul_add_to_odd(b, d, f))
}

/// The lower and the upper two lanes as f64.
#[inline(always)]
fn promote(x: v128) -> [v128; 2] {
    [x, i64x2_shuffle::<1, 1>(x, x)].map(
        #[inline(always)]
        |x| f64x2_promote_low_f32x4(x),
    )
}

/// A number of f64 that isn't halfway between two f32, nor beyond the normal ones, rounded to f32 (Veltkamp's splitting).
#[inline(always)]
fn round_to_f32(x: v128) -> v128 {
    let t = f64x2_mul(x, f64x2_splat(((1u32 << 29) | 1).into()));
    f64x2_sub(t, f64x2_sub(t, x))
}

/// Whether numbers of f64 were halfway between two normal f32, where a second rounding may be wrong: the least of the 29 bits that f32
/// hasn't, as signed numbers.
#[derive(Clone, Copy)]
struct Halfway(v128);

impl Halfway {
    #[inline(always)]
    fn none() -> Self {
        Self(i32x4_splat(0))
    }

    /// Two numbers more, and two.
    #[inline(always)]
    fn see(&mut self, [low, high]: [v128; 2]) {
        let last_words = i32x4_shuffle::<0, 2, 4, 6>(low, high);
        self.0 = i32x4_min(self.0, i32x4_shl(last_words, 3));
    }

    #[inline(always)]
    fn any(self) -> bool {
        v128_any_true(i32x4_eq(self.0, i32x4_splat(i32::MIN)))
    }
}

/// The sizes of factors whose products with each other, unless they are zero, are 2^-100 at least: then a sum with an f32 that is
/// subnormal is exact, a multiple of 2^-149. Sixteen of them and an f32 of this size aren't near infinity.
const SIZES: RangeInclusive<f32> =
    f32::from_bits((127 - 50) << 23)..=f32::from_bits((127 + 60) << 23);

/// Not zero where a lane isn't zero and hasn't one of the [`SIZES`].
#[inline(always)]
fn out_of_range(x: [v128; 4]) -> v128 {
    let outside = x.map(
        #[inline(always)]
        |x| {
            let size = f32x4_abs(x);
            let small = f32x4_lt(size, f32x4_splat(*SIZES.start()));
            let small = v128_and(small, f32x4_ne(x, f32x4_splat(0.0)));
            v128_or(small, v128_not(f32x4_le(size, f32x4_splat(*SIZES.end()))))
        },
    );
    v128_or(
        v128_or(outside[0], outside[1]),
        v128_or(outside[2], outside[3]),
    )
}

/// Two lanes each of f64 as f32.
#[inline(always)]
fn demote(low: v128, high: v128) -> v128 {
    // The average of bytes with themselves changes nothing; but the compiler, which would see that the upper halves aren't used and
    // convert lane by lane, doesn't look through it.
    let [low, high] = [low, high].map(
        #[inline(always)]
        |x| {
            let x = f32x4_demote_f64x2_zero(x);
            u8x16_avgr(x, x)
        },
    );
    i64x2_shuffle::<0, 2>(low, high)
}

/// a * b + c, whose product is exact, rounded to odd: see [`crate::fma`].
#[inline(always)]
fn mul_add_to_odd(a: v128, b: v128, c: v128) -> v128 {
    let product = f64x2_mul(a, b);
    let sum = f64x2_add(product, c);
    let t = f64x2_sub(sum, product);
    let error = f64x2_add(f64x2_sub(product, f64x2_sub(sum, t)), f64x2_sub(c, t));
    let (side, zero) = (f64x2_mul(error, sum), f64x2_splat(0.0));
    let (nearer, farther) = (f64x2_lt(side, zero), f64x2_gt(side, zero));
    let odd = u64x2_shr(v128_or(nearer, farther), 63);
    v128_or(i64x2_add(sum, nearer), odd)
}

/// Not zero where a lane is larger than the [`SIZES`], or no number.
#[inline(always)]
fn too_large(x: [v128; 4]) -> v128 {
    let fits = x.map(
        #[inline(always)]
        |x| f32x4_le(f32x4_abs(x), f32x4_splat(*SIZES.end())),
    );
    v128_not(v128_and(
        v128_and(fits[0], fits[1]),
        v128_and(fits[2], fits[3]),
    ))
}

/// Four f16 as f32.
#[inline(always)]
fn convert_f16(halves: v128) -> v128 {
    const BIAS: i32 = (127 - 15) << 23;
    let size = v128_and(halves, i32x4_splat(0x7fff));
    let sign = i32x4_shl(v128_xor(halves, size), 16);
    let subnormal = f32x4_mul(f32x4_convert_i32x4(size), f32x4_splat(1.0 / 16_777_216.0));
    let not_finite = i32x4_gt(size, i32x4_splat(0x7bff));
    let normal = i32x4_add(i32x4_shl(size, 13), i32x4_splat(BIAS));
    let normal = i32x4_add(normal, v128_and(not_finite, i32x4_splat(BIAS)));
    let is_normal = i32x4_gt(size, i32x4_splat(0x03ff));
    v128_or(sign, v128_bitselect(normal, subnormal, is_normal))
}

/// Sixteen lanes within [-127, 127], rounded, as bytes.
#[inline(always)]
fn narrow(x: [v128; 4]) -> v128 {
    let [a, b, c, d] = x.map(
        #[inline(always)]
        |x| {
            let bits = f32x4_add(x, f32x4_splat(NO_FRACTION));
            i32x4_sub(bits, i32x4_splat(NO_FRACTION.to_bits() as i32))
        },
    );
    i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d))
}

/// The last two stages of the Walsh-Hadamard transform, in which a register's lanes meet each other.
#[inline(always)]
fn hadamard_of_4(x: v128) -> v128 {
    let signs = f32x4(0.0, 0.0, -0.0, -0.0);
    let x = f32x4_add(i32x4_shuffle::<2, 3, 0, 1>(x, x), v128_xor(x, signs));
    let signs = f32x4(0.0, -0.0, 0.0, -0.0);
    f32x4_add(i32x4_shuffle::<1, 0, 3, 2>(x, x), v128_xor(x, signs))
}

/// [`Simd::pairs`] of four sub-blocks.
#[inline(always)]
fn pairs_of_4(codes: [v128; 4]) -> v128 {
    // The even and the odd pair of a group are the halves of a lane of 32 bits: groups are added, 4 to 2 to 1.
    let [a, b, c, d] = codes.map(
        #[inline(always)]
        |x| i16x8_extadd_pairwise_i8x16(x),
    );
    let ab = i16x8_add(i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b));
    let cd = i16x8_add(i64x2_shuffle::<0, 2>(c, d), i64x2_shuffle::<1, 3>(c, d));
    let even = i32x4_shuffle::<0, 2, 4, 6>(ab, cd);
    let odd = i32x4_shuffle::<1, 3, 5, 7>(ab, cd);
    i16x8_neg(i16x8_shl(i16x8_add(even, odd), 3))
}

/// A token of WebAssembly: its vectors are its own.
pub(crate) trait Wasm: Token<Simd = Self> + Simd<Registers = [v128; 4]> {
    /// fma(x, scale, sums). Given is whether a lane of x may be tiny: see [`is_tiny`].
    fn add_product(self, sums: [v128; 4], scale: f32, x: [v128; 4], tiny: bool) -> [v128; 4];
}

/// Whether a factor isn't zero, and so small that its product with another one may have a sum with an f32 that is subnormal and
/// not exact in f64. The product of two others is at least 2^-128; such a sum takes one below 2^-131.
#[inline(always)]
fn is_tiny(x: f32) -> bool {
    x != 0.0 && x.abs() < f32::from_bits((127 - 64) << 23)
}

impl Wasm for Simd128 {
    #[inline(always)]
    fn add_product(self, sums: [v128; 4], scale: f32, x: [v128; 4], tiny: bool) -> [v128; 4] {
        let (mut halfway, mut got) = (Halfway::none(), sums);
        let wide = f64x2_splat(f64::from(scale));
        for q in 0..4 {
            let [low, high] = promote(x[q]);
            let [low_sum, high_sum] = promote(sums[q]);
            let low = f64x2_add(f64x2_mul(low, wide), low_sum);
            let high = f64x2_add(f64x2_mul(high, wide), high_sum);
            halfway.see([low, high]);
            got[q] = demote(low, high);
        }
        match tiny || is_tiny(scale) || halfway.any() {
            true => add_product_exactly(sums, scale, x),
            false => got,
        }
    }
}

#[inline(never)]
fn add_product_exactly(sums: [v128; 4], scale: f32, x: [v128; 4]) -> [v128; 4] {
    let mut got = sums;
    for q in 0..4 {
        got[q] = exact_mul_add(x[q], f32x4_splat(scale), sums[q]);
    }
    got
}

#[cfg(feature = "relaxed-simd")]
impl Wasm for Relaxed {
    #[inline(always)]
    fn add_product(self, sums: [v128; 4], scale: f32, x: [v128; 4], _: bool) -> [v128; 4] {
        let mut got = sums;
        for q in 0..4 {
            got[q] = f32x4_relaxed_madd(x[q], f32x4_splat(scale), sums[q]);
        }
        got
    }
}

/// A group as 16 bits: its even columns and its odd ones, of each rows 0 to 3, 4 to 7, 8 to 11 and 12 to 15.
type GroupWords = [[v128; 4]; 2];

/// The even and the odd columns of unsigned bytes as 16 bits.
#[inline(always)]
fn widen(bytes: v128) -> [v128; 2] {
    [v128_and(bytes, u16x8_splat(0xff)), u16x8_shr(bytes, 8)]
}

/// The same of some registers.
#[inline(always)]
fn widen_group(bytes: [v128; 4]) -> GroupWords {
    let words = bytes.map(widen);
    [0, 1].map(
        #[inline(always)]
        |odd| [words[0][odd], words[1][odd], words[2][odd], words[3][odd]],
    )
}

/// The low halves of some bytes, and the high ones.
#[inline(always)]
fn nibbles(bytes: v128) -> [v128; 2] {
    [v128_and(bytes, u8x16_splat(15)), u8x16_shr(bytes, 4)]
}

/// The bytes of 16 rows as 16 bits, each twice.
#[inline(always)]
fn spread(rows: v128) -> [v128; 4] {
    let twice = |half| [u32x4_extend_low_u16x8(half), u32x4_extend_high_u16x8(half)];
    let [[a, b], [c, d]] = [
        twice(u16x8_extend_low_u8x16(rows)),
        twice(u16x8_extend_high_u8x16(rows)),
    ];
    [a, b, c, d].map(
        #[inline(always)]
        |rows| v128_or(rows, i32x4_shl(rows, 16)),
    )
}

/// A block in 16 bits: code + 128 or level + 128, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a, T: Wasm> {
    groups: &'a [GroupWords],
    scales: Scales16<T>,
}

impl<T: Wasm> Decode<[Group]> for T {
    type Words = [GroupWords; GROUPS];
    type Block<'a> = Decoded<'a, T>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a [Group],
        scales: RowScales<T>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a, T> {
        let groups = write_words(
            words,
            codes.len(),
            #[inline(always)]
            |group| widen_group(bytemuck::pod_read_unaligned(&codes[group])),
        );
        Decoded {
            groups,
            scales: Scales16::new(scales),
        }
    }
}

impl Decode<CodesQ4> for Simd128 {
    type Words = [GroupWords; GROUPS];
    type Block<'a> = Decoded<'a, Self>;

    #[inline(always)]
    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a, Self> {
        let mut sub_scales = [[i32x4_splat(0); 4]; SUB_BLOCKS];
        for (two, rows) in sub_scales
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(&codes.sub_scales)
        {
            let [even, odd] = nibbles(bytemuck::pod_read_unaligned(rows));
            *two = [spread(even), spread(odd)];
        }
        // A group at a time: larger pieces the compiler would copy, by a call of the engine.
        let groups = write_words(
            words,
            GROUPS,
            #[inline(always)]
            |group| {
                let bytes: [v128; 4] = bytemuck::pod_read_unaligned(&codes.groups[group / 2]);
                let sub_scales = &sub_scales[group / GROUPS_OF_SUB_BLOCK];
                let mut words = [[i32x4_splat(0); 4]; 2];
                for q in 0..4 {
                    // 128 - 8 * sub-scale, to which code + 8 times the sub-scale is added.
                    let offset = i16x8_sub(i16x8_splat(128), i16x8_shl(sub_scales[q], 3));
                    let codes =
                        v128_and(u8x16_shr(bytes[q], 4 * (group % 2) as u32), u8x16_splat(15));
                    let [even, odd] = widen(codes);
                    words[0][q] = i16x8_add(i16x8_mul(even, sub_scales[q]), offset);
                    words[1][q] = i16x8_add(i16x8_mul(odd, sub_scales[q]), offset);
                }
                words
            },
        );
        Decoded {
            groups,
            scales: Scales16::new(scales),
        }
    }
}

/// Groups of a sub-block.
const GROUPS_OF_SUB_BLOCK: usize = GROUPS / SUB_BLOCKS;

/// A group of some activations as 16 bits: its even columns, and its odd ones.
type GroupsOf<const N: usize> = [[i32; 2]; N];

/// The groups of some activations.
#[inline(always)]
fn widen_codes<const N: usize>(acts: [&ActivationBlock; N]) -> [GroupsOf<N>; GROUPS] {
    let mut groups = [[[0; 2]; N]; GROUPS];
    for n in 0..N {
        let codes: [v128; SUB_BLOCKS] =
            bytemuck::pod_read_unaligned(bytemuck::bytes_of(&acts[n].codes));
        for j in 0..SUB_BLOCKS {
            let even = i16x8_shr(i16x8_shl(codes[j], 8), 8);
            let odd = i16x8_shr(codes[j], 8);
            let first = i32x4_shuffle::<0, 4, 1, 5>(even, odd);
            let last = i32x4_shuffle::<2, 6, 3, 7>(even, odd);
            let words: [[i32; 2]; GROUPS_OF_SUB_BLOCK] = bytemuck::cast([first, last]);
            for i in 0..GROUPS_OF_SUB_BLOCK {
                groups[j * GROUPS_OF_SUB_BLOCK + i][n] = words[i];
            }
        }
    }
    groups
}

/// The scales of 16 rows.
#[derive(Clone, Copy)]
struct Scales16<T: Wasm> {
    scales: F32x16<T>,
    /// Whether one is tiny, and so may be its product with a dot product.
    tiny: bool,
}

impl<T: Wasm> Scales16<T> {
    #[inline(always)]
    fn new(RowScales { scales, .. }: RowScales<T>) -> Self {
        let mut lanes = Lanes::ZERO;
        scales.store(&mut lanes);
        let tiny = lanes.0.into_iter().any(is_tiny);
        Self { scales, tiny }
    }

    /// sums = fma(dots * scales, scale, sums). A dot product is an integer below 2^24, so its conversion is exact. Adding zero makes
    /// +0 of zero times a negative scale.
    #[inline(always)]
    fn add_dots(&self, dots: [v128; 4], scale: f32, sums: &mut Lanes) {
        let (simd, scales) = (self.scales.simd(), self.scales.registers());
        let mut scaled = dots;
        for q in 0..4 {
            let dots = f32x4_convert_i32x4(dots[q]);
            scaled[q] = f32x4_add(f32x4_mul(dots, scales[q]), f32x4_splat(0.0));
        }
        let sum = simd.load(sums);
        let sum = simd.add_product(*sum.registers(), scale, scaled, self.tiny);
        F32x16::new(simd, sum).store(sums);
    }
}

impl<T: Wasm> Block for Decoded<'_, T> {
    type Token = T;
    // Two share the widened activations.
    const PANELS: usize = 2;
    // What 15 registers hold: eight dot products, columns of two activations, of a group, and products.
    const TOKENS: usize = 2;
    const DEPTH: usize = 2;

    #[inline(always)]
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        let words = widen_codes(acts);
        for p in 0..P {
            let mut dots = [[i32x4_splat(0); 4]; N];
            for n in 0..N {
                dots[n] = [i32x4_splat(acts[n].start - START); 4];
            }
            // One group at a time: of more, the compiler would add up the products first, in more registers than there are.
            for (group, words) in blocks[p].groups.iter().zip(&words) {
                for odd in 0..2 {
                    for q in 0..4 {
                        for n in 0..N {
                            let products =
                                i32x4_dot_i16x8(group[odd][q], i32x4_splat(words[n][odd]));
                            dots[n][q] = i32x4_add(dots[n][q], products);
                        }
                    }
                }
            }
            for n in 0..N {
                blocks[p]
                    .scales
                    .add_dots(dots[n], acts[n].scale, &mut sums[p][n]);
            }
        }
    }
}

#[cfg(feature = "relaxed-simd")]
mod relaxed {
    use super::*;
    use crate::block::group_word;

    /// A sub-block of q4: codes + 8 of four groups, each four rows a register; and the rows' sub-scales, twice as 16 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct SubBlock {
        groups: [[v128; 4]; GROUPS_OF_SUB_BLOCK],
        sub_scales: [v128; 4],
    }

    /// The bytes, code + 8, of the four groups of a sub-block of q4.
    #[inline(always)]
    fn sub_block_of(codes: &CodesQ4, j: usize) -> [[v128; 4]; GROUPS_OF_SUB_BLOCK] {
        let (pairs, _) = codes.groups.as_chunks::<2>();
        let bytes: [[v128; 4]; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(&pairs[j]));
        let mut groups = [bytes[0]; GROUPS_OF_SUB_BLOCK];
        for i in 0..2 {
            for q in 0..4 {
                [groups[2 * i][q], groups[2 * i + 1][q]] = nibbles(bytes[i][q]);
            }
        }
        groups
    }

    /// A q4 block: its sub-blocks, and the scales.
    #[derive(Clone, Copy)]
    pub(crate) struct DecodedQ4<'a> {
        sub_blocks: &'a [SubBlock],
        scales: Scales16<Relaxed>,
    }

    impl Decode<CodesQ4> for Relaxed {
        type Words = [SubBlock; SUB_BLOCKS];
        type Block<'a> = DecodedQ4<'a>;

        #[inline(always)]
        fn decode<'a>(
            self,
            codes: &'a CodesQ4,
            scales: RowScales<Self>,
            words: &'a mut MaybeUninit<Self::Words>,
        ) -> DecodedQ4<'a> {
            let sub_blocks = write_words(
                words,
                SUB_BLOCKS,
                #[inline(always)]
                |j| {
                    let rows = nibbles(bytemuck::pod_read_unaligned(&codes.sub_scales[j / 2]));
                    SubBlock {
                        groups: sub_block_of(codes, j),
                        sub_scales: spread(rows[j % 2]),
                    }
                },
            );
            DecodedQ4 {
                sub_blocks,
                scales: Scales16::new(scales),
            }
        }
    }

    impl Block for DecodedQ4<'_> {
        type Token = Relaxed;
        const PANELS: usize = 1;
        // With eight rows: four dot products, four sums of 16 bits, a group of two tokens, and a product.
        const TOKENS: usize = 2;
        const DEPTH: usize = 4;

        #[inline(always)]
        fn add<const N: usize, const P: usize>(
            blocks: [&Self; P],
            acts: [&ActivationBlock; N],
            sums: &mut [&mut [Lanes; N]; P],
        ) {
            // Four pairs of products, and where their sum begins.
            const { assert!(4 * 2 * 15 * 127 + 8 * 8 * 127 <= i16::MAX as i32) }
            for p in 0..P {
                let mut all = [[i32x4_splat(0); 4]; N];
                for half in 0..2 {
                    let mut dots = [[i32x4_splat(0); 2]; N];
                    for (j, sub_block) in blocks[p].sub_blocks.iter().enumerate() {
                        let mut pairs = [[i32x4_splat(0); 2]; N];
                        for n in 0..N {
                            pairs[n] = [i32x4_splat(bytemuck::cast(acts[n].pairs[j])); 2];
                        }
                        for (i, group) in sub_block.groups.iter().enumerate() {
                            for n in 0..N {
                                let x = group_word(acts[n], j * GROUPS_OF_SUB_BLOCK + i);
                                let x = i32x4_splat(x);
                                for r in 0..2 {
                                    let codes = group[2 * half + r];
                                    let products = i16x8_relaxed_dot_i8x16_i7x16(x, codes);
                                    // Nothing saturates; but these additions the compiler leaves in their order.
                                    pairs[n][r] = i16x8_add_sat(pairs[n][r], products);
                                }
                            }
                        }
                        for r in 0..2 {
                            let sub_scales = sub_block.sub_scales[2 * half + r];
                            for n in 0..N {
                                let products = i32x4_dot_i16x8(pairs[n][r], sub_scales);
                                dots[n][r] = i32x4_add(dots[n][r], products);
                            }
                        }
                    }
                    for n in 0..N {
                        [all[n][2 * half], all[n][2 * half + 1]] = dots[n];
                    }
                }
                for n in 0..N {
                    blocks[p]
                        .scales
                        .add_dots(all[n], acts[n].scale, &mut sums[p][n]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fma::tests::{bits, operands};

    #[test]
    fn multiply_adds_round_once() {
        for [a, b, c] in operands() {
            let expected = bits(crate::fma::mul_add(a, b, c));
            let splat = f32x4_splat;
            let got = exact_mul_add(splat(a), splat(b), splat(c));
            let lanes: [f32; 4] = bytemuck::cast(got);
            assert_eq!(lanes.map(bits), [expected; 4], "{a:e} {b:e} {c:e}");
            #[cfg(feature = "relaxed-simd")]
            if relaxed_multiply_add_is_fused() {
                let got = f32x4_relaxed_madd(splat(a), splat(b), splat(c));
                let lanes: [f32; 4] = bytemuck::cast(got);
                assert_eq!(lanes.map(bits), [expected; 4], "{a:e} {b:e} {c:e}");
            }
        }
    }

    #[test]
    fn every_f16() {
        for first in (0..=u16::MAX).step_by(LANES) {
            let halves: [f16; LANES] = std::array::from_fn(|i| f16::from_bits(first + i as u16));
            let simd = Simd128::detect().expect("it is compiled").simd();
            let lanes: [f32; LANES] = bytemuck::cast(simd.widen_f16(&halves));
            assert_eq!(lanes.map(bits), halves.map(|half| bits(half.to_f32())));
        }
    }
}
