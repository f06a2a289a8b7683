//! The fused multiply-add of two f32, rounded once.
//!
//! Where it is no instruction of every processor, `f32::mul_add` calls a library's, and not all of those round once: MinGW's don't, nor
//! does libm's of subnormal results. There, f64 is the way: the product of two f32 is exact in it, but the sum may not be, and rounding
//! it to f32 then rounds twice. Rounded *to odd* (Boldo and Melquiond, 2008), the sum in f64 remembers on which side of it the exact
//! one lies: of the two f64 next to an inexact sum, the one whose last bit is 1 is taken. It is never halfway between two f32, also
//! not between two subnormal ones, so the second rounding is that of the exact sum.

/// a * b + c, rounded once.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    let is_an_instruction = cfg!(any(
        target_arch = "aarch64",
        all(target_arch = "x86_64", target_feature = "fma"),
        all(target_arch = "riscv64", target_feature = "f"),
    ));
    match is_an_instruction {
        true => a.mul_add(b, c),
        false => emulated(a, b, c),
    }
}

/// [`mul_add`] by f64.
#[inline(always)]
fn emulated(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lacks, exactly (Knuth's TwoSum). NaN where the sum isn't finite.
    let t = sum - product;
    let error = (product - (sum - t)) + (c - t);
    // Neither overflows nor underflows. Negative where the exact sum is nearer to zero.
    let side = error * sum;
    let bits = sum.to_bits();
    let bits = match side {
        _ if side < 0.0 => (bits - 1) | 1,
        _ if side > 0.0 => bits | 1,
        _ => bits,
    };
    f64::from_bits(bits) as f32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::emulated;

    /// Operands at which an addition in f64 that is then rounded to f32 goes wrong, and other awkward ones.
    pub(crate) fn operands() -> Vec<[f32; 3]> {
        let power = |exponent: i32| 2f32.powi(exponent);
        let ulp = power(-23);
        let mut all = vec![
            // Just above and just below halfway, among normal numbers.
            [1.0 + ulp, 1.0 + ulp, power(25)],
            [1.0 + power(-12), power(-12), 1.0 + ulp],
            [power(-24), 1.0 + power(-20), 1.0],
            [power(-24), 1.0, 1.0],
            [-power(-24), 1.0 + power(-20), 1.0],
            [
                (1.0 + power(-20)) * power(-12),
                (1.0 - power(-20)) * power(-12),
                1.0,
            ],
            [
                (1.0 + power(-20)) * power(-12),
                (1.0 - power(-20)) * power(-12),
                1.0 + ulp,
            ],
            // The same among subnormal ones, where the unit is 2^-149.
            [
                3.0 * power(-75),
                (power(23) + 1.0) * power(-98),
                power(-127),
            ],
            [
                (1.0 + power(-20)) * power(-75),
                (1.0 - power(-20)) * power(-75),
                power(-127),
            ],
            [
                (1.0 + power(-20)) * power(-75),
                (1.0 - power(-20)) * power(-75),
                power(-127) + power(-149),
            ],
            [
                (1.0 + power(-20)) * power(-75),
                (1.0 + power(-20)) * power(-75),
                power(-127),
            ],
            [power(-75), power(-75), 0.0],
            [power(-75) * (1.0 + ulp), power(-75), 0.0],
            // Signs of zero, what overflows, what isn't finite.
            [0.0, -1.0, 0.0],
            [0.0, -1.0, -0.0],
            [1.0, -1.0, 1.0],
            [f32::MAX, 1.0, power(102)],
            [f32::MAX, 1.0, power(103)],
            [f32::MAX, f32::MAX, f32::MIN],
            [f32::INFINITY, 1.0, 1.0],
            [f32::INFINITY, 1.0, f32::NEG_INFINITY],
            [1.0, 1.0, f32::NEG_INFINITY],
            [0.0, f32::INFINITY, 1.0],
            [f32::NAN, 1.0, 1.0],
        ];
        // Products and addends at all distances from each other; few bits make sums that are halfway.
        let mut state = 1u64;
        let mut random = |bits: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as u32 >> (24 - bits)
        };
        for exponent in -149..40 {
            for _ in 0..200 {
                let mantissa = |random: &mut dyn FnMut(u32) -> u32| {
                    let zeros = random(4).min(12) * 2;
                    let sign = if random(1) == 0 { 1.0 } else { -1.0 };
                    sign * (1.0 + ((random(23) >> zeros) << zeros) as f32 * ulp)
                };
                let distance = random(6) as i32 - 8;
                let half = exponent / 2;
                all.push([
                    mantissa(&mut random) * power(half),
                    mantissa(&mut random) * power(exponent - half),
                    mantissa(&mut random) * power((exponent + distance).clamp(-140, 100)),
                ]);
            }
        }
        all
    }

    /// The bits; one for everything that is no number.
    pub(crate) fn bits(x: f32) -> u32 {
        if x.is_nan() {
            f32::NAN.to_bits()
        } else {
            x.to_bits()
        }
    }

    /// Where there is an instruction, or the library is known to be right.
    #[cfg(not(any(target_family = "wasm", windows)))]
    #[test]
    fn it_is_that_of_the_processor() {
        for [a, b, c] in operands() {
            assert_eq!(
                bits(emulated(a, b, c)),
                bits(a.mul_add(b, c)),
                "{a:e} {b:e} {c:e}"
            );
        }
    }

    /// Halfway but for the 41st bit of the product: by 128-bit integers, in units of 2^-196.
    #[test]
    fn a_subnormal_sum_is_rounded_once() {
        let (a, b) = (3.0f32 * 2f32.powi(-75), 8_388_609.0 * 2f32.powi(-98));
        let c = 2f32.powi(-127);
        let exact = ((3i128 * 8_388_609) << 23) + (1i128 << 69);
        let units = (exact + (1 << 46)) >> 47;
        assert!(exact - (units << 47) != (1 << 46), "halfway");
        assert_eq!(emulated(a, b, c).to_bits(), units as u32);
    }
}
