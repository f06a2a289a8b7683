//! Plain Rust: the oracle that every other tier is compared with, bit for bit.

use super::token::Scalar;
use crate::activation::{ActivationBlock, START};
use crate::block::{Block, Decode, RowScales, group_word, write_words};
use crate::fma::mul_add;
use crate::hadamard::transform;
use crate::lanes::{LANES, Lanes};
use crate::packed::{CodesQ4, GROUP, GROUPS, Group, SUB_BLOCK};
use crate::q4;
use crate::simd::{RECIPROCAL, Simd, fold};
use half::f16;
use std::mem::MaybeUninit;

/// The 16 lanes, as one register.
type Array = [f32; LANES];

fn zip(a: Array, b: Array, f: impl Fn(f32, f32) -> f32) -> Array {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn larger_bits(a: f32, b: f32) -> f32 {
    f32::from_bits(a.to_bits().max(b.to_bits()))
}

/// Whether a > b. Not for the compiler to see where it would make WebAssembly's relaxed maxima of it, which treat NaN otherwise.
#[inline(always)]
fn is_greater(a: f32, b: f32) -> bool {
    let greater = a > b;
    match cfg!(all(target_family = "wasm", feature = "relaxed-simd")) {
        true => std::hint::black_box(greater),
        false => greater,
    }
}

impl Simd for Scalar {
    type Register = Array;
    type Registers = [Array; 1];
    // A register holds one float.
    const COUNT: usize = LANES;

    fn splat_register(self, x: f32) -> Array {
        [x; LANES]
    }
    fn add(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a / b)
    }
    fn mul_add(self, a: Array, b: Array, c: Array) -> Array {
        std::array::from_fn(|i| mul_add(a[i], b[i], c[i]))
    }
    fn max(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if is_greater(a, b) { a } else { b })
    }
    fn min(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if is_greater(b, a) { a } else { b })
    }
    fn abs(self, x: Array) -> Array {
        x.map(f32::abs)
    }
    fn max_bits(self, a: Array, b: Array) -> Array {
        zip(a, b, larger_bits)
    }
    fn round(self, x: Array) -> Array {
        x.map(f32::round_ties_even)
    }
    fn rough_reciprocal(self, x: Array) -> Array {
        x.map(|x| f32::from_bits(RECIPROCAL.wrapping_sub(x.to_bits() as i32) as u32))
    }
    fn exp2_integer(self, n: Array) -> Array {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    fn select_gt(self, a: Array, b: Array, yes: Array, no: Array) -> Array {
        std::array::from_fn(|i| match is_greater(a[i], b[i]) {
            true => yes[i],
            false => no[i],
        })
    }

    fn widen_f16(self, lanes: &[f16; LANES]) -> [Array; 1] {
        [lanes.map(f16::to_f32)]
    }
    // Apart: its 32 calls of the C library, on processors without an instruction for them, crowd what is around them.
    #[inline(never)]
    fn to_i8(self, [low]: [Array; 1], [high]: [Array; 1]) -> [i8; 2 * LANES] {
        std::array::from_fn(|i| {
            let x = low.get(i).unwrap_or_else(|| &high[i - LANES]);
            x.round_ties_even() as i8
        })
    }
    fn hadamard(self, [x]: [Array; 1]) -> [Array; 1] {
        let mut x = x;
        transform(&mut x);
        [x]
    }
    fn sum(self, [x]: [Array; 1]) -> f32 {
        fold(x, |a, b| a + b)
    }
    fn largest(self, [x]: [Array; 1]) -> f32 {
        fold(x, |a, b| if is_greater(a, b) { a } else { b })
    }
    fn largest_bits(self, [x]: [Array; 1]) -> f32 {
        fold(x, larger_bits)
    }
}

/// Levels by row and column.
type Levels = [[i8; GROUP]; LANES];

/// The levels of each group, and the scales.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    groups: &'a [Levels],
    scales: RowScales<Scalar>,
}

impl Decode<[Group]> for Scalar {
    type Words = [Levels; GROUPS];
    type Block<'a> = Decoded<'a>;

    fn decode<'a>(
        self,
        codes: &'a [Group],
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        let groups = write_words(words, codes.len(), |group| {
            let (rows, _) = codes[group].as_chunks::<GROUP>();
            std::array::from_fn(|row| rows[row].map(|byte| (byte ^ 0x80) as i8))
        });
        Decoded { groups, scales }
    }
}

impl Decode<CodesQ4> for Scalar {
    type Words = [Levels; GROUPS];
    type Block<'a> = Decoded<'a>;

    fn decode<'a>(
        self,
        codes: &'a CodesQ4,
        scales: RowScales<Self>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Decoded<'a> {
        let nibble = |byte: u8, odd: usize| (byte >> (4 * odd) & 15) as i8;
        let groups = write_words(words, GROUPS, |group| {
            let (rows, _) = codes.groups[group / 2].as_chunks::<GROUP>();
            let sub_block = group * GROUP / SUB_BLOCK;
            let sub_scales = codes.sub_scales[sub_block / 2];
            std::array::from_fn(|row| {
                let sub_scale = nibble(sub_scales[row], sub_block % 2);
                rows[row].map(|byte| (nibble(byte, group % 2) + q4::MIN_CODE) * sub_scale)
            })
        });
        Decoded { groups, scales }
    }
}

impl Block for Decoded<'_> {
    type Token = Scalar;
    const PANELS: usize = 1;
    const TOKENS: usize = 1;
    const DEPTH: usize = 4;

    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    ) {
        for (block, sums) in blocks.into_iter().zip(sums) {
            for (act, sums) in acts.into_iter().zip(&mut **sums) {
                let mut dots = [0i32; LANES];
                for (group, rows) in block.groups.iter().enumerate() {
                    let x = group_word(act, group).to_le_bytes();
                    for (dot, levels) in dots.iter_mut().zip(rows) {
                        for k in 0..GROUP {
                            *dot += i32::from(levels[k]) * i32::from(x[k] as i8);
                        }
                    }
                }
                let ([scales], [starts]) = block.scales.registers();
                for (row, sum) in sums.0.iter_mut().enumerate() {
                    let dot = f32::from_bits((START + dots[row]) as u32);
                    let scaled = mul_add(dot, scales[row], starts[row]);
                    *sum = mul_add(scaled, act.scale, *sum);
                }
            }
        }
    }
}
