//! The block-quantized activation: 32 values as int8 codes with one f32 scale.
//!
//! scale = absmax / 127; code = round-half-even(x * (127 / absmax)). A block whose absmax is below
//! [`SMALLEST_ABSMAX`] is zero. One scale every 32 columns keeps the outlier dimensions of a transformer's residual
//! stream from drowning the rest.

use crate::BLOCK;
use crate::lanes::Lanes;
use crate::packed::CodesQ8;
use bytemuck::Zeroable;
use std::ops::Range;

/// Below this, a block is quantized to zeros: the reciprocal of its absmax would leave the normal numbers.
pub const SMALLEST_ABSMAX: f32 = f32::from_bits((127 - 100) << 23);

/// Where the accumulator of a dot product starts, in 32 bits: as an f32, 1.5 * 2^23. An integer below 2^22 in size that is
/// added to the bits is added to the number, so the conversion to f32 costs nothing: see [`crate::matmul::RowScales`].
pub(crate) const START: i32 = f32::to_bits(1.5 * 8_388_608.0) as i32;
const _: () = assert!(BLOCK as i32 * 128 * 127 < 1 << 22);

/// A quantized block of 32 activations of one token.
#[derive(Clone, Copy, Debug, PartialEq, Zeroable)]
#[repr(C)]
pub struct ActivationBlock {
    /// Codes in [-127, 127].
    pub codes: [i8; BLOCK],
    /// The value of one step.
    pub scale: f32,
    /// [`START`] - 128 times the sum of the codes: where an accumulator starts when the weights are stored as code + 128.
    start: i32,
}

impl ActivationBlock {
    /// 32 zeros.
    pub const ZERO: Self = Self::new([0; BLOCK], 0.0);

    /// The values `codes * scale`.
    #[inline(always)]
    pub const fn new(codes: [i8; BLOCK], scale: f32) -> Self {
        // As unsigned bytes, whose sum is two instructions on x86.
        let mut sum = 0;
        let mut k = 0;
        while k < BLOCK {
            sum += (codes[k] as u8 ^ 0x80) as i32;
            k += 1;
        }
        Self {
            codes,
            scale,
            start: START - 128 * (sum - 128 * BLOCK as i32),
        }
    }

    /// Where the scale is, in bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const SCALE: usize = std::mem::offset_of!(Self, scale);
    /// Where the start is, in bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const START: usize = std::mem::offset_of!(Self, start);

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn start(&self) -> i32 {
        self.start
    }
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
    /// `[panel][block]`
    pub codes: &'a [CodesQ8],
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

    /// `[block][token]`: what the epilogue of a matrix product quantizes, 32 outputs at a time.
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

    /// Blocks of 32 columns.
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
