//! The quantized matrix product: the driver that all tiers share, over the blocks of [`crate::block`].
//!
//! A strip of one or two panels is done at a time. Runs of its blocks are decoded, and meet all tokens, in tiles of as
//! equal a number of tokens as can be. A block adds to the sums once in 128 columns, so they stay where the output is.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are indexed in step; iterators over them hide the shape"
)]

use crate::activation::{Activations, PackedRows};
use crate::block::{Block, Decode, RowScales, Tile};
use crate::lanes::Lanes;
use crate::packed::{BlockFormat, Codes, CodesQ4, GROUPS, Group, PackedMatrix, Scales};
use crate::simd::{F32x16, Simd};
use crate::tier::Tier;
use crate::tier::token::Token;
use bytemuck::Pod;
use std::mem::MaybeUninit;
use std::ops::Range;

/// The most blocks of a panel that are decoded at a time.
const MOST_DEPTH: usize = 4;

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

/// The shape in which a tier computes a format.
pub(crate) fn tile_of<T: Tier>(tier: T, format: BlockFormat) -> Tile {
    match format {
        BlockFormat::Q8 => Tile::of::<[Group], _>(tier),
        BlockFormat::Q4 => Tile::of::<CodesQ4, _>(tier),
    }
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
