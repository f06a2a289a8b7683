//! The quantized matrix product: the driver that all tiers share, and what a tier gives it for each format of codes.
//!
//! A strip of one or two panels is done at a time. Runs of its blocks are decoded, and meet all tokens, in tiles of as
//! equal a number of tokens as can be. A block adds to the sums once in 128 columns, so they stay where the output is.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are indexed in step; iterators over them hide the shape"
)]

use crate::activation::{ActivationBlock, Activations, PackedRows, START};
use crate::lanes::Lanes;
use crate::packed::{BlockFormat, Codes, CodesQ4, GROUP, GROUPS, Group, PackedMatrix, Scales};
use crate::simd::{F32x16, Simd};
use crate::tier::{Tier, Token};
use bytemuck::Pod;
use std::mem::MaybeUninit;
use std::ops::Range;

/// The most blocks of a panel that are decoded at a time.
const MOST_DEPTH: usize = 4;

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

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
    for i in 0..count {
        words[i].write(word(i));
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
    fn of<C: ?Sized + 'static, T: Decode<C>>(_: T) -> Self {
        Self {
            tokens: <T::Block<'static> as Block>::TOKENS,
            panels: <T::Block<'static> as Block>::PANELS,
            depth: <T::Block<'static> as Block>::DEPTH,
            registers: T::Simd::COUNT,
        }
    }
}

/// The shape in which a tier computes a format.
pub(crate) fn tile_of<T: Tier>(tier: T, format: BlockFormat) -> Tile {
    match format {
        BlockFormat::Q8 => Tile::of::<[Group], _>(tier),
        BlockFormat::Q4 => Tile::of::<CodesQ4, _>(tier),
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

/// Some panels of weights with activations: see [`matmul`].
#[inline(always)]
pub(crate) fn linear<T: Tier>(
    tier: T,
    weights: &PackedMatrix<'_>,
    panels: Range<usize>,
    bias: &[Lanes],
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let (scales, blocks) = (weights.scales(), weights.blocks());
    match weights.codes() {
        Codes::Q8(codes) => {
            let matrix = Matrix::<[Group], _> {
                codes: codes.as_flattened(),
                scales,
                blocks,
                elements: GROUPS,
            };
            matmul(tier, matrix, panels, bias, acts, out);
        }
        Codes::Q4(codes) => {
            let matrix = Matrix::<CodesQ4, _> {
                codes,
                scales,
                blocks,
                elements: 1,
            };
            matmul(tier, matrix, panels, bias, acts, out);
        }
    }
}

/// Packed rows with activations: see [`matmul`].
#[inline(always)]
pub(crate) fn matmul_int8<T: Tier>(
    tier: T,
    rows: PackedRows<'_>,
    panels: usize,
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let matrix = Matrix::<[Group], _> {
        codes: rows.codes,
        scales: rows.scales,
        blocks: rows.blocks,
        elements: rows.codes.len() / rows.scales.len(),
    };
    matmul(tier, matrix, 0..panels, &[], acts, out);
}

/// Codes of a block of a panel.
trait BlockCodes {
    /// What they are made of.
    type Element: Pod;
    /// A block, of its elements.
    fn of(elements: &[Self::Element]) -> &Self;
}

impl BlockCodes for [Group] {
    type Element = Group;
    #[inline(always)]
    fn of(elements: &[Group]) -> &Self {
        elements
    }
}

impl BlockCodes for CodesQ4 {
    type Element = Self;
    #[inline(always)]
    fn of(elements: &[Self]) -> &Self {
        &elements[0]
    }
}

/// A packed matrix of one format, `[panel][block]`.
struct Matrix<'a, C: BlockCodes + ?Sized, S> {
    codes: &'a [C::Element],
    scales: &'a [S],
    /// Blocks of a panel.
    blocks: usize,
    /// Elements of a block's codes.
    elements: usize,
}

/// The scales of a block's 16 rows, as a matrix holds them.
trait PanelScales: Copy {
    /// As f32.
    fn load<S: Simd>(&self, simd: S) -> F32x16<S>;
}

impl PanelScales for Scales {
    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> F32x16<S> {
        simd.load_f16(self)
    }
}

impl PanelScales for Lanes {
    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> F32x16<S> {
        simd.load(self)
    }
}

/// Whether [`prefetch`] does anything; elsewhere the processor sees by itself what is read next.
const PREFETCHES: bool = cfg!(target_arch = "x86_64");

/// Asks for some bytes of one or two panels, a line at least, to come as near as the second-level cache.
///
/// In assembly, because of what the compiler makes of this loop: the additions of unrolled ones take ports from the
/// products around them, and a tenth of the time.
#[inline(always)]
fn prefetch<const P: usize>(panels: [*const u8; P], bytes: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: hints, part of every x86-64, for any address.
    unsafe {
        std::arch::asm!(
            "2:",
            "prefetcht1 [{first} + {at}]",
            "prefetcht1 [{last} + {at}]",
            "add {at}, {LINE}",
            "cmp {at}, {end}",
            "jb 2b",
            first = in(reg) panels[0].addr(),
            last = in(reg) panels[P - 1].addr(),
            at = inout(reg) bytes.start => _,
            end = in(reg) bytes.end,
            LINE = const LINE,
            options(nomem, nostack)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (panels, bytes);
}

/// What is added up at a time: the products of a run of blocks with some tiles of as many tokens each.
struct Tiles<'a, B: Block, const P: usize> {
    tier: B::Token,
    run: [&'a [B]; P],
    acts: &'a Activations<'a>,
    blocks: Range<usize>,
    /// The first token.
    token: usize,
    /// Tiles.
    count: usize,
    /// Where the sums start; later runs go on from the output.
    bias: Option<[&'a Lanes; P]>,
    /// Whether no later run follows.
    last: bool,
    /// The whole output of the panels.
    out: &'a mut [Lanes],
    next: &'a mut Next<P>,
}

/// What will be read soon.
#[derive(Clone, Copy)]
struct Next<const P: usize> {
    panels: [*const u8; P],
    /// Bytes of each panel that were asked for.
    asked: usize,
    /// Bytes of each panel.
    bytes: usize,
    /// Bytes of each panel that are asked for at a time, whole lines.
    step: usize,
}

impl<const P: usize> Next<P> {
    #[inline(always)]
    fn ask(&mut self) {
        let end = (self.asked + self.step).min(self.bytes);
        prefetch(self.panels, self.asked..end);
        self.asked = end;
    }
}

/// Some panels of a product, panel-major: out[p * tokens + t] = bias[p] + panel p * activations of token t, where p
/// counts from the first of `panels`, and the bias is that of the whole matrix, or empty.
#[inline(always)]
fn matmul<C: BlockCodes + ?Sized, S: PanelScales, T: Decode<C>>(
    tier: T,
    matrix: Matrix<'_, C, S>,
    panels: Range<usize>,
    bias: &[Lanes],
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let at_once = <T::Block<'_> as Block>::PANELS;
    let mut panel = panels.start;
    for out in out.chunks_mut(at_once * acts.tokens()) {
        if const { <T::Block<'_> as Block>::PANELS == 2 } && out.len() == 2 * acts.tokens() {
            strip::<C, S, T, 2>(tier, &matrix, panel, bias, acts, out);
        } else {
            strip::<C, S, T, 1>(tier, &matrix, panel, bias, acts, out);
        }
        panel += at_once;
    }
}

/// P panels of a product.
#[inline(always)]
fn strip<C: BlockCodes + ?Sized, S: PanelScales, T: Decode<C>, const P: usize>(
    tier: T,
    matrix: &Matrix<'_, C, S>,
    panel: usize,
    bias: &[Lanes],
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let tokens = acts.tokens();
    let bias = std::array::from_fn(|p| bias.get(panel + p).unwrap_or(&Lanes::ZERO));
    let tiles = tokens.div_ceil(<T::Block<'_> as Block>::TOKENS);
    let (fewest, larger) = (tokens / tiles, tokens % tiles);
    let &Matrix {
        codes: all_codes,
        scales: all_scales,
        blocks,
        elements,
    } = matrix;
    let most = const {
        assert!(<T::Block<'_> as Block>::DEPTH <= MOST_DEPTH);
        <T::Block<'_> as Block>::DEPTH
    };
    for first in (0..blocks).step_by(most) {
        let depth = most.min(blocks - first);
        let mut words: [[MaybeUninit<T::Words>; MOST_DEPTH]; P] =
            [const { [const { MaybeUninit::uninit() }; MOST_DEPTH] }; P];
        let mut decoded: [[MaybeUninit<T::Block<'_>>; MOST_DEPTH]; P] =
            [const { [const { MaybeUninit::uninit() }; MOST_DEPTH] }; P];
        for ((p, decoded), words) in decoded.iter_mut().enumerate().zip(&mut words) {
            let start = (panel + p) * blocks + first;
            let codes = all_codes[start * elements..][..depth * elements].chunks_exact(elements);
            let scales = &all_scales[start..][..depth];
            let blocks = decoded.iter_mut().zip(words);
            for (((block, words), codes), scales) in blocks.zip(codes).zip(scales) {
                let scales = RowScales::new(scales.load(tier.simd()));
                block.write(tier.decode(C::of(codes), scales, words));
            }
        }
        // SAFETY: `depth` is at most MOST_DEPTH, and `codes` and `scales` have as many entries, so the loop above wrote the
        // first `depth` blocks of each panel.
        let run = decoded
            .each_ref()
            .map(|decoded| unsafe { decoded[..depth].assume_init_ref() });
        // What is read next is asked for, a part with every block of every tile; at the end, what is there already.
        let (skip, from) = if first + most < blocks {
            (0, first + most)
        } else {
            (P, 0)
        };
        let mut bytes = 0;
        let next: [_; P] = std::array::from_fn(|p| {
            let start = (panel + skip + p) * blocks;
            let run = start + from..start + blocks.min(from + most);
            let Some(codes) = all_codes.get(run.start * elements..run.end * elements) else {
                return (&raw const all_codes[((panel + p) * blocks + first) * elements]).cast();
            };
            bytes = size_of_val(codes);
            if PREFETCHES {
                let scales = &all_scales[run];
                prefetch([scales.as_ptr().cast()], 0..size_of_val(scales));
            }
            codes.as_ptr().cast()
        });
        let mut next = Next {
            panels: next,
            asked: 0,
            bytes,
            step: bytes.div_ceil(tiles * depth).next_multiple_of(LINE),
        };
        // As equal as they can be.
        let mut token = 0;
        for (count, tokens) in [(larger, fewest + 1), (tiles - larger, fewest)] {
            if count > 0 {
                let tiles = Tiles {
                    tier,
                    run,
                    acts,
                    blocks: first..first + depth,
                    token,
                    count,
                    bias: (first == 0).then_some(bias),
                    last: first + depth == blocks,
                    out: &mut *out,
                    next: &mut next,
                };
                add_tiles_of(tokens, tiles);
            }
            token += count * tokens;
        }
    }
}

/// Adds the products of a run of blocks with tiles of `tokens` tokens.
#[inline(always)]
fn add_tiles_of<B: Block, const P: usize>(tokens: usize, tiles: Tiles<'_, B, P>) {
    match tokens {
        1 => add_tiles_apart::<B, 1, P>(tiles),
        2 => add_tiles_apart::<B, 2, P>(tiles),
        3 => add_tiles_apart::<B, 3, P>(tiles),
        4 => add_tiles_apart::<B, 4, P>(tiles),
        5 => add_tiles_apart::<B, 5, P>(tiles),
        6 => add_tiles_apart::<B, 6, P>(tiles),
        7 => add_tiles_apart::<B, 7, P>(tiles),
        8 => add_tiles_apart::<B, 8, P>(tiles),
        9 => add_tiles_apart::<B, 9, P>(tiles),
        10 => add_tiles_apart::<B, 10, P>(tiles),
        11 => add_tiles_apart::<B, 11, P>(tiles),
        12 => add_tiles_apart::<B, 12, P>(tiles),
        _ => unreachable!("at most TOKENS"),
    }
}

/// [`add_tiles`], as a function of its own where the tier asks for that.
#[inline(always)]
fn add_tiles_apart<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, B, P>) {
    const { assert!(B::TOKENS <= 12, "the match above has no more") };
    if const { N > B::TOKENS } {
        unreachable!("at most TOKENS");
    } else if const { B::APART } {
        tiles.tier.vectorize(
            #[inline(always)]
            move || add_tiles::<B, N, P>(tiles),
        );
    } else {
        add_tiles::<B, N, P>(tiles);
    }
}

/// Adds the products of a run of blocks with tiles of N tokens.
#[inline(always)]
fn add_tiles<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, B, P>) {
    let Tiles { acts, blocks, .. } = tiles;
    let (depth, tokens) = (blocks.len(), acts.tokens());
    let run = tiles.run.map(|run| &run[..depth]);
    // The sums of each panel.
    let mut panels = tiles.out.chunks_exact_mut(tokens);
    let mut out: [&mut [Lanes]; P] =
        std::array::from_fn(|_| panels.next().expect("an output for each panel"));
    for tile in 0..tiles.count {
        let token = tiles.token + tile * N;
        let acts = acts.tile::<N>(blocks.clone(), token);
        let mut sums = out.each_mut().map(|out| {
            let sums: &mut [Lanes; N] = out[token..].first_chunk_mut().expect("N tokens");
            sums
        });
        if let Some(bias) = tiles.bias {
            for p in 0..P {
                sums[p].fill(*bias[p]);
                run[p][0].arrange(sums[p]);
            }
        }
        let mut next = *tiles.next;
        for b in 0..depth {
            if PREFETCHES {
                next.ask();
            }
            let mut blocks = [&run[0][b]; P];
            for p in 1..P {
                blocks[p] = &run[p][b];
            }
            // SAFETY: the tile was made with `depth` blocks, and b < depth.
            let acts = unsafe { acts.get(b) };
            B::add(blocks, acts, &mut sums);
        }
        *tiles.next = next;
        if tiles.last {
            for p in 0..P {
                run[p][0].restore(sums[p]);
            }
        }
    }
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
