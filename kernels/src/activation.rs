//! The block-quantized activation: 32 values as int8 codes with one f32 scale.
//!
//! scale = absmax / 127; code = round-half-even(x * (127 / absmax)). A block whose absmax is below
//! [`SMALLEST_ABSMAX`] is zero. One scale every 32 columns keeps the outlier dimensions of a transformer's residual
//! stream from drowning the rest.

use crate::BLOCK;

/// Below this, a block is quantized to zeros: the reciprocal of its absmax would leave the normal numbers.
pub const SMALLEST_ABSMAX: f32 = f32::from_bits((127 - 100) << 23);

/// A quantized block of 32 activations of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct ActivationBlock {
    /// Codes in [-127, 127].
    pub codes: [i8; BLOCK],
    /// The value of one step.
    pub scale: f32,
    /// -128 times the sum of the codes: where an accumulator starts when the weights are stored as code + 128.
    pub offset: i32,
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

    /// Block `block` of token `token`.
    ///
    /// # Panics
    /// When there is no such block.
    #[inline(always)]
    pub fn get(&self, block: usize, token: usize) -> &'a ActivationBlock {
        &self.data[block * self.block_stride + token * self.token_stride]
    }
}
