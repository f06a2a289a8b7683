//! Plain Rust: the oracle that every other tier is compared with, bit for bit.

use super::{Block, Decode, RowScales, add_tiles, group_word, tiles};
use crate::activation::{ActivationBlock, START};
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, CodesQ8, GROUP, GROUP_BYTES, GROUPS};
use crate::q4;
use crate::simd::{RECIPROCAL, Simd16, fold};
use half::f16;

/// Sixteen floats in an array.
#[derive(Clone, Copy)]
pub(crate) struct F32x16([f32; LANES]);

impl F32x16 {
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Simd16 for F32x16 {
    const REGISTERS: usize = 16;

    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    fn load(lanes: &Lanes) -> Self {
        Self(lanes.0)
    }
    fn store(self, lanes: &mut Lanes) {
        lanes.0 = self.0;
    }
    fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| a / b)
    }
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| if a < b { a } else { b })
    }
    fn abs(self) -> Self {
        self.map(f32::abs)
    }
    fn round(self) -> Self {
        self.map(f32::round_ties_even)
    }
    fn rough_reciprocal(self) -> Self {
        self.map(|x| f32::from_bits(RECIPROCAL.wrapping_sub(x.to_bits() as i32) as u32))
    }
    fn exp2_integer(self) -> Self {
        self.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    fn select_gt(self, b: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > b.0[i] {
                yes.0[i]
            } else {
                no.0[i]
            }
        }))
    }
    fn to_i8(self, high: Self) -> [i8; 2 * LANES] {
        std::array::from_fn(|i| {
            self.0
                .get(i)
                .unwrap_or_else(|| &high.0[i - LANES])
                .round_ties_even() as i8
        })
    }
    fn load_f16(lanes: &[f16; LANES]) -> Self {
        Self(lanes.map(f16::to_f32))
    }
    fn sum(self) -> f32 {
        fold(self.0, |a, b| a + b)
    }
    fn largest(self) -> f32 {
        fold(self.0, |a, b| if a > b { a } else { b })
    }
}

/// The integer product, one multiplication at a time.
pub(crate) struct Product;

/// Levels by `[group][row][column]`, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded {
    levels: [[[i8; GROUP]; LANES]; GROUPS],
    scales: RowScales<F32x16>,
}

impl Decode<CodesQ8> for Product {
    type Block<'a> = Decoded;

    fn decode(codes: &CodesQ8, scales: RowScales<F32x16>) -> Decoded {
        let level = |byte: usize| (codes[byte] ^ 0x80) as i8;
        decode(level, scales)
    }
}

impl Decode<CodesQ4> for Product {
    type Block<'a> = Decoded;

    fn decode(codes: &CodesQ4, scales: RowScales<F32x16>) -> Decoded {
        let level = |byte: usize| {
            let shift = if byte < codes.len() { 0 } else { 4 };
            q4::LEVELS[usize::from(codes[byte % codes.len()] >> shift & 15)]
        };
        decode(level, scales)
    }
}

fn decode(level: impl Fn(usize) -> i8, scales: RowScales<F32x16>) -> Decoded {
    let levels = std::array::from_fn(|group| {
        std::array::from_fn(|row| {
            std::array::from_fn(|k| level(group * GROUP_BYTES + row * GROUP + k))
        })
    });
    Decoded { levels, scales }
}

impl Block for Decoded {
    type Sums = F32x16;
    const PANELS: usize = 1;
    tiles!(add_tiles: 1);

    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[F32x16; P]; N],
    ) {
        for (act, sums) in acts.into_iter().zip(sums) {
            for (block, sums) in blocks.into_iter().zip(sums) {
                let mut dots = [0i32; LANES];
                for (group, rows) in block.levels.iter().enumerate() {
                    let x = group_word(&act.codes, group).to_le_bytes();
                    for (dot, levels) in dots.iter_mut().zip(rows) {
                        for k in 0..GROUP {
                            *dot += i32::from(levels[k]) * i32::from(x[k] as i8);
                        }
                    }
                }
                for (row, sum) in sums.0.iter_mut().enumerate() {
                    let dot = f32::from_bits((START + dots[row]) as u32);
                    let scaled = dot.mul_add(block.scales.scales.0[row], block.scales.start.0[row]);
                    *sum = scaled.mul_add(act.scale, *sum);
                }
            }
        }
    }
}
