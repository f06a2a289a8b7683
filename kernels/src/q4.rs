//! The q4 block: 32 weights as 4-bit codes over a non-linear codebook, with one f16 scale.
//!
//! `weight = scale * LEVELS[code]`. The levels are integers of at most 31 in size, so that an instruction set
//! without an int8 dot product can add several products in 16 bits before it widens; a table look-up turns 16
//! codes into levels, so the codebook costs no more than a linear one. How the levels were fitted, and their error
//! beside other 4-bit formats, is in `docs/q4-codebook/`. This module is the scalar definition.

use crate::BLOCK;
use half::f16;

/// The codebook. Frozen: files depend on it.
pub const LEVELS: [i8; 16] = [
    -31, -23, -18, -14, -11, -8, -5, -2, 0, 2, 5, 8, 11, 15, 19, 25,
];

/// Where the scale search puts the weight of largest magnitude, in units of the levels: near one end of the codebook
/// or the other. Picked greedily from a grid of 202, all of which leave 0.06 % less error.
pub const CANDIDATES: [f32; 24] = [
    -34.5, -33.5, -32.5, -31.5, -31.0, -30.5, -30.0, -29.5, -28.5, -25.5, -24.5, -23.5, -22.5,
    -21.5, -19.5, 18.5, 19.5, 20.5, 23.0, 24.0, 25.0, 25.5, 26.5, 27.5,
];

/// The nearest level by a table: midpoints of integers are multiples of 1/2, so the code of q is
/// `CODE[floor(2 q) + CODE_ZERO]`. A tie goes to the upper level.
const CODE: [u8; 2 * CODE_ZERO] = {
    let mut table = [0; 2 * CODE_ZERO];
    let mut cell = 0;
    while cell < table.len() {
        // The middle of the cell, times 4; the midpoint of two levels, times 4.
        let q = 2 * (cell as i32 - CODE_ZERO as i32) + 1;
        let mut code = 0;
        while code < 15 && q > 2 * (LEVELS[code] as i32 + LEVELS[code + 1] as i32) {
            code += 1;
        }
        table[cell] = code as u8;
        cell += 1;
    }
    table
};
/// The cell of q = 0. Candidates reach to |q| = 34.5.
const CODE_ZERO: usize = 72;

/// The level itself, by the same cells.
const LEVEL: [f32; 2 * CODE_ZERO] = {
    let mut table = [0.0; 2 * CODE_ZERO];
    let mut cell = 0;
    while cell < table.len() {
        table[cell] = LEVELS[CODE[cell] as usize] as f32;
        cell += 1;
    }
    table
};

/// One quantized block before it is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockQ4 {
    /// The scale of the block; negative where the mirrored codebook fits better.
    pub scale: f16,
    /// Indices into [`LEVELS`].
    pub codes: [u8; BLOCK],
}

/// Quantizes 32 finite weights with the scale that leaves the least squared error among those searched.
///
/// For each candidate, every weight takes its nearest level l, and the best scale for these levels is the least-squares
/// one, sum(w l) / sum(l l), which explains sum(w l)^2 / sum(l l) of the block's energy. The candidate that explains the
/// most wins, the earlier one on a tie; its scale is rounded to f16, and the weights take their nearest levels again.
/// All sums are f32 in a fixed order, so that every machine packs the same bytes.
///
/// Returns `None` when the scale doesn't fit f16.
pub fn quantize(weights: &[f32; BLOCK]) -> Option<BlockQ4> {
    let largest = weights
        .iter()
        .fold(0.0f32, |m, &w| if w.abs() > m.abs() { w } else { m });
    let silent = BlockQ4 {
        scale: f16::ZERO,
        codes: [0; BLOCK],
    };
    if largest == 0.0 {
        return Some(silent);
    }
    let y = weights.map(|w| w / largest);
    let (mut best, mut best_scale) = (-1.0, 0.0);
    for candidate in CANDIDATES {
        let (mut products, mut squares) = ([0.0f32; 8], [0.0f32; 8]);
        for chunk in y.as_chunks::<8>().0 {
            for i in 0..8 {
                let level = LEVEL[cell(chunk[i] * candidate)];
                products[i] += chunk[i] * level;
                squares[i] += level * level;
            }
        }
        let (product, square) = (sum(products), sum(squares));
        let explained = product * product / square;
        if explained > best {
            (best, best_scale) = (explained, product / square);
        }
    }
    let scale = f16::from_f32(best_scale * largest);
    if !scale.is_finite() {
        return None;
    }
    if scale == f16::ZERO {
        return Some(silent); // underflow: the whole block is below 1e-6
    }
    let d = scale.to_f32();
    let codes = weights.map(|w| CODE[cell(w / d)]);
    Some(BlockQ4 { scale, codes })
}

/// The code of the level nearest to `q`, the upper one on a tie.
#[inline(always)]
pub fn nearest(q: f32) -> u8 {
    CODE[cell(q)]
}

/// The table cell of q, clamped to the table.
#[inline(always)]
fn cell(q: f32) -> usize {
    // `as` truncates towards zero, which is floor for what is positive, and saturates below.
    ((2.0 * q + CODE_ZERO as f32) as usize).min(2 * CODE_ZERO - 1)
}

fn sum(x: [f32; 8]) -> f32 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

/// The weights that a block stands for.
pub fn dequantize(block: &BlockQ4) -> [f32; BLOCK] {
    block
        .codes
        .map(|c| block.scale.to_f32() * f32::from(LEVELS[usize::from(c)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(w: &[f32; BLOCK], block: &BlockQ4) -> f64 {
        let pairs = w.iter().zip(dequantize(block));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    #[test]
    fn the_table_gives_the_nearest_level() {
        for i in -3400..=3400 {
            let q = i as f32 * 0.01;
            let level = f32::from(LEVELS[usize::from(CODE[cell(q)])]);
            let nearest = LEVELS
                .iter()
                .map(|&l| (f32::from(l) - q).abs())
                .fold(f32::MAX, f32::min);
            assert!((level - q).abs() <= nearest + 1e-4, "{q}: {level}");
        }
    }

    #[test]
    fn multiples_of_the_codebook_come_back() {
        for scale in [0.5, -0.25] {
            let w: [f32; BLOCK] = std::array::from_fn(|i| scale * f32::from(LEVELS[i % 16]));
            assert_eq!(dequantize(&quantize(&w).unwrap()), w);
        }
    }

    #[test]
    fn zeros_underflow_and_overflow() {
        for x in [0.0, 1e-9, 1e-42] {
            assert_eq!(dequantize(&quantize(&[x; BLOCK]).unwrap()), [0.0; BLOCK]);
        }
        assert_eq!(quantize(&[1e9; BLOCK]), None);
    }

    proptest! {
        /// No scale of a fine grid is much better than the one found.
        #[test]
        fn the_search_is_near_the_optimum(w in prop::array::uniform32(-1.0f32..1.0)) {
            let found = error(&w, &quantize(&w).unwrap());
            let absmax = w.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let mut best = f64::MAX;
            for i in 0..400 {
                for sign in [1.0, -1.0] {
                    let scale = f16::from_f32(sign * absmax / (18.0 + i as f32 * 0.05));
                    let codes = w.map(|w| CODE[cell(w / scale.to_f32())]);
                    best = best.min(error(&w, &BlockQ4 { scale, codes }));
                }
            }
            prop_assert!(found <= 1.35 * best + 1e-9, "{found} against {best}");
        }
    }
}
