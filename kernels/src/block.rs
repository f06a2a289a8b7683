//! What a tier gives the quantized product for each format of codes: blocks made ready, and their products with some tokens. The
//! driver is [`crate::matmul`].

use crate::activation::{ActivationBlock, START};
use crate::lanes::Lanes;
use crate::packed::GROUP;
use crate::simd::{F32x16, Simd};
use crate::tier::token::Token;
use std::mem::MaybeUninit;

/// How a tier makes a block of a panel (some groups of codes, and 16 scales) ready for many tokens. C is `[Group]` for
/// codes of q8, of which attention's keys can have fewer than 32, or [`CodesQ4`].
pub(crate) trait Decode<C: ?Sized>: Token {
    /// What the codes become, an array; empty where they are multiplied as they are.
    type Words;
    /// The block in the form that this tier multiplies.
    type Block<'a>: Block<Token = Self>
    where
        C: 'a;

    /// Makes one block ready, in `words`.
    fn decode<'a>(
        self,
        codes: &'a C,
        scales: RowScales<Self::Simd>,
        words: &'a mut MaybeUninit<Self::Words>,
    ) -> Self::Block<'a>;
}

/// Writes the first `count` words of a block, one after the other: nothing is cleared or copied.
///
/// # Panics
/// When there are fewer.
#[inline(always)]
pub(crate) fn write_words<W, const N: usize>(
    words: &mut MaybeUninit<[W; N]>,
    count: usize,
    word: impl Fn(usize) -> W,
) -> &[W] {
    // SAFETY: an array of words that may be uninitialized has the layout of the words, and no more is claimed of it.
    let words: &mut [MaybeUninit<W>; N] = unsafe { &mut *words.as_mut_ptr().cast() };
    let words = &mut words[..count];
    for (i, slot) in words.iter_mut().enumerate() {
        slot.write(word(i));
    }
    // SAFETY: the loop wrote all of them.
    unsafe { words.assume_init_ref() }
}

/// The shape in which a tier computes one format: what tests and `docs/kernels.md` go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The most tokens of a tile.
    pub tokens: usize,
    /// Panels of a tile.
    pub panels: usize,
    /// Blocks that are decoded at a time.
    pub depth: usize,
    /// Registers of 16 sums.
    pub registers: usize,
}

impl Tile {
    pub(crate) fn of<C: ?Sized + 'static, T: Decode<C>>(_: T) -> Self {
        Self {
            tokens: <T::Block<'static> as Block>::TOKENS,
            panels: <T::Block<'static> as Block>::PANELS,
            depth: <T::Block<'static> as Block>::DEPTH,
            registers: T::Simd::COUNT,
        }
    }
}

/// A block of a panel, made ready: the part of a matrix product that differs between instruction sets. The order along K is
/// the order of blocks, on every tier.
pub(crate) trait Block: Copy {
    /// The tier that made it.
    type Token: Token;
    /// Panels of a tile, 1 or 2.
    const PANELS: usize;
    /// The most tokens of a tile.
    const TOKENS: usize;
    /// Blocks of a panel that are decoded at a time, and then meet all tokens. With the activations of a tile they should
    /// stay in the first-level cache.
    const DEPTH: usize;
    /// Whether each number of tokens gets a function of its own, lest the compiler share the registers out over all of them.
    const APART: bool = false;

    /// For N tokens and P panels:
    /// sums[p][n] = fma(dot(block of panel p, token n) * scale of the row, scale of the token, sums[p][n]).
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [&mut [Lanes; N]; P],
    );

    /// Puts the sums of a tile into the order that [`Block::add`] takes.
    #[inline(always)]
    fn arrange<const N: usize>(&self, _: &mut [Lanes; N]) {}

    /// The inverse of [`Block::arrange`].
    #[inline(always)]
    fn restore<const N: usize>(&self, _: &mut [Lanes; N]) {}
}

/// The scales of a block's 16 rows.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RowScales<S: Simd> {
    pub(crate) scales: F32x16<S>,
    /// What [`START`] makes of them, negated; exact, because START has two significant bits, and a scale 11 (as f16) or 22
    /// ([`crate::activation::PackedRows`]).
    pub(crate) start: F32x16<S>,
}

impl<S: Simd> RowScales<S> {
    #[inline(always)]
    pub(crate) fn new(scales: F32x16<S>) -> Self {
        let start = scales
            .simd()
            .splat(-f32::from_bits(START as u32))
            .mul(scales);
        Self { scales, start }
    }

    /// The registers of the scales, and of what [`START`] makes of them.
    #[inline(always)]
    pub(crate) fn registers(&self) -> (&S::Registers, &S::Registers) {
        (self.scales.registers(), self.start.registers())
    }

    /// The token that made the scales.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn simd(&self) -> S {
        self.scales.simd()
    }

    /// fma(dots * scales, scale, sums), each operation rounded once. `dots` are the bits of accumulators that began at
    /// [`START`]; zero times a negative scale is +0.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn add(&self, sums: F32x16<S>, dots: F32x16<S>, scale: f32) -> F32x16<S> {
        let scaled = dots.mul_add(self.scales, self.start);
        scaled.mul_add(sums.simd().splat(scale), sums)
    }
}

/// The four codes of a group as one little-endian word, to be broadcast.
#[inline(always)]
pub(crate) fn group_word(act: &ActivationBlock, group: usize) -> i32 {
    let (words, _) = act.codes.as_chunks::<GROUP>();
    i32::from_le_bytes(words[group].map(|code| code as u8))
}
