//! The block-quantized activation: 128 columns as int8 codes with one f32 scale.
//!
//! A block is rotated by [`crate::hadamard`] first. With y = H D x and m the largest |y|: code = round-half-even(y * (127 / m)),
//! scale = m / 127 / 128, so that the codes times the scale are H D x / 128: the weights are stored as H D w. A block whose m
//! is below [`SMALLEST_ABSMAX`] is zero. A block with NaN or infinity in y has the scale NaN, and so has each product with it.

use crate::BLOCK;
use crate::lanes::Lanes;
use crate::packed::{GROUP, Group, SUB_BLOCK, SUB_BLOCKS};
use bytemuck::Zeroable;
use std::ops::Range;

/// Below this, a block is quantized to zeros: the reciprocal of its absmax would leave the normal numbers.
pub const SMALLEST_ABSMAX: f32 = f32::from_bits((127 - 100) << 23);

/// Where the accumulator of a dot product starts, in 32 bits: as an f32, 1.5 * 2^23. An integer below 2^22 in size that is
/// added to the bits is added to the number, so the conversion to f32 costs nothing: see [`crate::block::RowScales`].
pub(crate) const START: i32 = f32::to_bits(1.5 * 8_388_608.0) as i32;
const _: () = assert!(BLOCK as i32 * 128 * 127 < 1 << 22);

/// A quantized block of activations of one token.
#[derive(Clone, Copy, Debug, PartialEq, Zeroable)]
#[repr(C, align(8))]
pub struct ActivationBlock {
    /// Codes in [-127, 127].
    pub codes: [i8; BLOCK],
    /// For each sub-block, -8 times the sums of its even and odd pairs of codes: what the products with q4's codes + 8 have
    /// too much.
    pub(crate) pairs: [[i16; 2]; SUB_BLOCKS],
    /// The value of one step.
    pub scale: f32,
    /// [`START`] - 128 times the sum of the codes: where an accumulator starts when the weights are stored as code + 128.
    pub(crate) start: i32,
}

impl ActivationBlock {
    /// 128 zeros.
    pub const ZERO: Self = Self {
        codes: [0; BLOCK],
        pairs: [[0; 2]; SUB_BLOCKS],
        scale: 0.0,
        start: START,
    };

    /// The values `codes * scale`.
    #[inline(always)]
    pub fn new(codes: [i8; BLOCK], scale: f32) -> Self {
        Self::with_pairs(codes, pairs(&codes), scale)
    }

    /// As [`ActivationBlock::new`], given [`pairs`].
    #[inline(always)]
    pub(crate) fn with_pairs(
        codes: [i8; BLOCK],
        pairs: [[i16; 2]; SUB_BLOCKS],
        scale: f32,
    ) -> Self {
        let sums = pairs.as_flattened().iter().map(|&sum| i32::from(sum));
        Self {
            codes,
            pairs,
            scale,
            start: START + 16 * sums.sum::<i32>(),
        }
    }
}

/// For each sub-block, -8 times the sums of its even and odd pairs of codes.
#[inline(always)]
pub(crate) fn pairs(codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
    let mut pairs = [[0; 2]; SUB_BLOCKS];
    for (pair, codes) in pairs.iter_mut().zip(codes.as_chunks::<SUB_BLOCK>().0) {
        for group in codes.as_chunks::<GROUP>().0 {
            pair[0] -= 8 * (i16::from(group[0]) + i16::from(group[1]));
            pair[1] -= 8 * (i16::from(group[2]) + i16::from(group[3]));
        }
    }
    pairs
}

impl Default for ActivationBlock {
    fn default() -> Self {
        Self::ZERO
    }
}

/// Activations as the other operand of a product: rows that are quantized and packed on the fly, as q8 panels whose scales
/// are f32 of 22 significant bits (attention's keys).
#[derive(Clone, Copy, Debug)]
pub struct PackedRows<'a> {
    /// `[panel][block][group]`
    pub codes: &'a [Group],
    /// `[panel][block]`
    pub scales: &'a [Lanes],
    /// Blocks of a panel.
    pub blocks: usize,
}

/// A matrix of quantized activations in one of two orders.
///
/// `blocks[b * block_stride + t * token_stride]` is block `b` of token `t`.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    data: &'a [ActivationBlock],
    tokens: usize,
    blocks: usize,
    block_stride: usize,
    token_stride: usize,
}

impl<'a> Activations<'a> {
    /// `[token][block]`: what is quantized row by row.
    ///
    /// # Panics
    /// When `data` doesn't hold whole rows of `blocks`.
    pub fn row_major(data: &'a [ActivationBlock], blocks: usize) -> Self {
        let tokens = data.len() / blocks;
        assert_eq!(tokens * blocks, data.len(), "whole rows of {blocks} blocks");
        Self {
            data,
            tokens,
            blocks,
            block_stride: 1,
            token_stride: blocks,
        }
    }

    /// `[block][token]`: what the epilogue of a matrix product quantizes, a block of outputs at a time.
    ///
    /// # Panics
    /// When `data` doesn't hold whole columns of `tokens`.
    pub fn block_major(data: &'a [ActivationBlock], tokens: usize) -> Self {
        let blocks = data.len() / tokens;
        assert_eq!(
            tokens * blocks,
            data.len(),
            "whole columns of {tokens} tokens"
        );
        Self {
            data,
            tokens,
            blocks,
            block_stride: tokens,
            token_stride: 1,
        }
    }

    /// Rows.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Blocks of 128 columns.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Some blocks of N tokens, from `token` on.
    ///
    /// # Panics
    /// When there are no such blocks or tokens.
    #[inline(always)]
    pub(crate) fn tile<const N: usize>(
        &self,
        blocks: Range<usize>,
        token: usize,
    ) -> ActivationTile<'a, N> {
        assert!(blocks.end <= self.blocks && token + N <= self.tokens);
        let data = &self.data[blocks.start * self.block_stride + token * self.token_stride..];
        let last = blocks.len().saturating_sub(1) * self.block_stride + (N - 1) * self.token_stride;
        assert!(last < data.len());
        ActivationTile {
            data,
            blocks: blocks.len(),
            block_stride: self.block_stride,
            token_stride: self.token_stride,
        }
    }
}

/// Some blocks of N tokens, all of which are there.
#[derive(Clone, Copy)]
pub(crate) struct ActivationTile<'a, const N: usize> {
    data: &'a [ActivationBlock],
    blocks: usize,
    block_stride: usize,
    token_stride: usize,
}

impl<'a, const N: usize> ActivationTile<'a, N> {
    /// Block `block`, counted from the tile's first, of each token.
    ///
    /// # Safety
    /// The tile must have such a block. (A check here makes the compiler move sums between registers in every block.)
    #[inline(always)]
    pub(crate) unsafe fn get(&self, block: usize) -> [&'a ActivationBlock; N] {
        debug_assert!(block < self.blocks);
        let start = block * self.block_stride;
        let mut blocks = [&self.data[0]; N];
        for (n, block) in blocks.iter_mut().enumerate() {
            // SAFETY: n < N, and block < self.blocks by this function's own condition, so the index is at most that of the last
            // token's last block, which `Activations::tile`, the only one to make a tile, found within the data.
            *block = unsafe { self.data.get_unchecked(start + n * self.token_stride) };
        }
        blocks
    }
}
