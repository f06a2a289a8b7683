//! The Walsh-Hadamard transform, by which the columns of a block are rotated before they are quantized.
//!
//! H has entries of 1 and -1, and H H = n. So (H x)(H w) = n x w: a product doesn't change when both of its operands are
//! rotated and it is divided by n, a power of two. A value that sticks out is spread over its block, which then looks like
//! a normal distribution, whatever it was.
//!
//! Plain H would add up a block whose values have one sign, or alternate, into one large value. So a block of 128 columns is
//! multiplied by [`SIGNS`] first, of which no run is like a row of H: with D for these, the rotation is H D.
//!
//! The order of the additions is part of the format: distances n / 2, n / 4, ... 1, and at each the sum of two values and
//! their difference, the lower less the upper.

use crate::lanes::{LANES, Lanes};
use crate::simd::{F32x16, Simd};
use crate::{BLOCK, VECTORS};

/// The sign of each column of a block: -1 where an odd number of the pairs of bits 0 and 1, 2 and 3, 4 and 5 of its number are
/// both set. H has no row that agrees or disagrees with it in more than 72 of 128 columns.
pub const SIGNS: [f32; BLOCK] = {
    let mut signs = [1.0; BLOCK];
    let mut k = 0;
    while k < BLOCK {
        if (k & k >> 1 & 0b01_0101).count_ones() % 2 == 1 {
            signs[k] = -1.0;
        }
        k += 1;
    }
    signs
};

/// [`SIGNS`] as vectors.
pub(crate) static SIGN_LANES: [Lanes; VECTORS] = {
    let mut lanes = [Lanes::ZERO; VECTORS];
    let mut k = 0;
    while k < BLOCK {
        lanes[k / LANES].0[k % LANES] = SIGNS[k];
        k += 1;
    }
    lanes
};

/// Rotates a block: H D `values`.
pub fn rotate(values: &mut [f32; BLOCK]) {
    for (value, sign) in values.iter_mut().zip(SIGNS) {
        *value *= sign;
    }
    transform(values);
}

/// Rotates a block back: D H `values` / 128.
pub fn rotate_back(values: &mut [f32; BLOCK]) {
    transform(values);
    for (value, sign) in values.iter_mut().zip(SIGNS) {
        *value *= sign * (1.0 / BLOCK as f32);
    }
}

/// Replaces `values` by H `values`.
///
/// # Panics
/// When their number isn't a power of two.
pub fn transform(values: &mut [f32]) {
    assert!(values.len().is_power_of_two(), "{} values", values.len());
    let mut distance = values.len() / 2;
    while distance > 0 {
        for pair in values.chunks_exact_mut(2 * distance) {
            let (lower, upper) = pair.split_at_mut(distance);
            for (a, b) in lower.iter_mut().zip(upper) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance /= 2;
    }
}

/// [`transform`] of `values` in runs of `width` vectors, a power of two.
#[inline(always)]
pub(crate) fn transform_vectors<S: Simd>(values: &mut [F32x16<S>], width: usize) {
    let mut distance = width / 2;
    while distance > 0 {
        for pair in values.chunks_exact_mut(2 * distance) {
            let (lower, upper) = pair.split_at_mut(distance);
            for (a, b) in lower.iter_mut().zip(upper) {
                (*a, *b) = (a.add(*b), a.sub(*b));
            }
        }
        distance /= 2;
    }
    for x in values {
        *x = x.hadamard();
    }
}

/// The vectors that are rotated together where a block has so many: all of them if that is a power of two.
pub(crate) const fn width(vectors: usize) -> usize {
    1 << vectors.trailing_zeros()
}

/// One over the values that are rotated together where a block has so many vectors.
pub(crate) const fn inverse(vectors: usize) -> f32 {
    1.0 / (width(vectors) * LANES) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_own_inverse_but_for_the_number_of_values() {
        let values: Vec<f32> = (0..128).map(|i| ((i * 37 % 64) - 20) as f32).collect();
        let mut twice = values.clone();
        transform(&mut twice);
        let sum: f32 = values.iter().sum();
        assert_eq!(twice[0], sum);
        transform(&mut twice);
        assert_eq!(twice, values.iter().map(|x| 128.0 * x).collect::<Vec<_>>());
    }

    #[test]
    fn no_row_is_like_the_signs() {
        let mut sums = SIGNS;
        transform(&mut sums);
        // Agreements less disagreements: 72 - 56.
        assert!(sums.into_iter().all(|sum| sum.abs() <= 16.0));
        let mut values: [f32; BLOCK] = std::array::from_fn(|k| k as f32);
        rotate(&mut values);
        rotate_back(&mut values);
        assert_eq!(values, std::array::from_fn(|k| k as f32));
    }

    #[test]
    fn entries_are_the_parities_of_shared_bits() {
        for i in 0..16 {
            let mut column = [0.0; 16];
            column[i] = 1.0;
            transform(&mut column);
            for (j, x) in column.into_iter().enumerate() {
                let sign = if (i & j).count_ones() % 2 == 0 {
                    1.0
                } else {
                    -1.0
                };
                assert_eq!(x, sign);
            }
        }
    }
}
