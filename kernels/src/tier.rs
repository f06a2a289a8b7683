//! One module an instruction set: its vector of 16 lanes, and its integer matrix product.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are indexed in step; iterators over them hide the shape"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avxvnni;
#[cfg(target_arch = "aarch64")]
pub(crate) mod dotprod;
#[cfg(target_arch = "aarch64")]
pub(crate) mod i8mm;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;

use crate::activation::{ActivationBlock, Activations, START};
use crate::lanes::{LANES, Lanes};
use crate::packed::{GROUP, GROUPS, Scales};
use crate::simd::Simd16;
use bytemuck::Pod;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Blocks of a panel that are decoded at a time, and then meet all tokens. Two panels of them are 18 KiB at most: they
/// stay in the first-level cache, and beside them the activations of a tile.
const DEPTH: usize = 16;

/// What the processor fetches at a time.
pub(crate) type CacheLine = [u8; 64];

/// A packed matrix of one format, `[panel][block]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, C, S> {
    pub(crate) codes: &'a [C],
    pub(crate) scales: &'a [S],
    /// Blocks of a panel.
    pub(crate) blocks: usize,
}

/// How a tier makes a block of a panel (512 codes and 16 scales) ready for many tokens.
pub(crate) trait Decode<C> {
    /// The block in the form that this tier multiplies.
    type Block<'a>: Block
    where
        C: 'a;

    /// Makes one block ready.
    fn decode<'a>(
        codes: &'a C,
        scales: RowScales<<Self::Block<'a> as Block>::Sums>,
    ) -> Self::Block<'a>;
}

/// The scales of a block's 16 rows, as a matrix holds them.
pub(crate) trait PanelScales: Copy {
    /// As f32.
    fn load<V: Simd16>(&self) -> V;
}

impl PanelScales for Scales {
    #[inline(always)]
    fn load<V: Simd16>(&self) -> V {
        V::load_f16(self)
    }
}

impl PanelScales for Lanes {
    #[inline(always)]
    fn load<V: Simd16>(&self) -> V {
        V::load(self)
    }
}

/// A block of a panel, made ready: the part of a matrix product that differs between instruction sets. [`matmul`] drives
/// it; the order along K is the order of blocks, on every tier.
pub(crate) trait Block: Copy {
    /// 16 sums, in registers.
    type Sums: Simd16;
    /// Panels of a tile, 1 or 2.
    const PANELS: usize;
    /// The most tokens of a tile.
    const TOKENS: usize;

    /// For N tokens and P panels:
    /// sums[n][p] = fma(dot(block of panel p, token n) * scale of the row, scale of the token, sums[n][p]).
    fn add<const N: usize, const P: usize>(
        blocks: [&Self; P],
        acts: [&ActivationBlock; N],
        sums: &mut [[Self::Sums; P]; N],
    );

    /// Calls [`add_tiles`] with the number of tokens that the tiles have: see [`tiles`].
    fn add_tiles<const P: usize>(tokens: usize, tiles: Tiles<'_, '_, Self, P>);

    /// The sums of a tile, in the order that [`Block::add`] takes.
    #[inline(always)]
    fn arrange<const N: usize, const P: usize>(_: &mut [[Self::Sums; P]; N]) {}

    /// The inverse of [`Block::arrange`].
    #[inline(always)]
    fn restore<const N: usize, const P: usize>(_: &mut [[Self::Sums; P]; N]) {}
}

/// Whether [`prefetch`] does anything; elsewhere the processor sees by itself what is read next.
const PREFETCHES: bool = cfg!(target_arch = "x86_64");

/// Asks for memory that will be read soon, to come as near as the second-level cache.
#[inline(always)]
fn prefetch(memory: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, part of every x86-64, for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(memory.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = memory;
}

/// Writes the [`Block::TOKENS`] and [`Block::add_tiles`] of an instruction set, given the numbers of tokens, from 1 to the
/// most, and the function that adds so many: [`add_tiles`], or one that calls it.
macro_rules! tiles {
    ($add_tiles:ident: $($tokens:literal)+) => {
        const TOKENS: usize = [$($tokens),+].len();

        #[inline(always)]
        fn add_tiles<const P: usize>(tokens: usize, tiles: super::Tiles<'_, '_, Self, P>) {
            match tokens {
                $($tokens => $add_tiles::<Self, $tokens, P>(tiles),)+
                _ => unreachable!("at most TOKENS"),
            }
        }
    };
}
use tiles;

/// What is added up at a time: the products of a run of blocks with some tiles of as many tokens each.
pub(crate) struct Tiles<'a, 'n, B, const P: usize> {
    run: [&'a [B]; P],
    acts: &'a Activations<'a>,
    blocks: Range<usize>,
    /// The first token.
    token: usize,
    /// Tiles.
    count: usize,
    /// Where the sums start; later runs go on from the output.
    bias: Option<[&'a Lanes; P]>,
    /// The whole output of the panels.
    out: &'a mut [Lanes],
    /// What will be read soon, and how many lines of it are asked for with every block.
    next: &'a mut [&'n [CacheLine]; P],
    lines: usize,
}

/// Some panels of a product, panel-major: out[p * tokens + t] = bias[p] + panel p * activations of token t, where p
/// counts from the first of `panels`, and the bias is that of the whole matrix, or empty.
#[inline(always)]
pub(crate) fn matmul<C: Pod, S: PanelScales, D: Decode<C>>(
    matrix: Matrix<'_, C, S>,
    panels: Range<usize>,
    bias: &[Lanes],
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let at_once = <D::Block<'_> as Block>::PANELS;
    let mut panel = panels.start;
    for out in out.chunks_mut(at_once * acts.tokens()) {
        if const { <D::Block<'_> as Block>::PANELS == 2 } && out.len() == 2 * acts.tokens() {
            strip::<C, S, D, 2>(matrix, panel, bias, acts, out);
        } else {
            strip::<C, S, D, 1>(matrix, panel, bias, acts, out);
        }
        panel += at_once;
    }
}

/// P panels of a product.
#[inline(always)]
fn strip<C: Pod, S: PanelScales, D: Decode<C>, const P: usize>(
    matrix: Matrix<'_, C, S>,
    panel: usize,
    bias: &[Lanes],
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    let (tokens, blocks) = (acts.tokens(), matrix.blocks);
    let bias = std::array::from_fn(|p| bias.get(panel + p).unwrap_or(&Lanes::ZERO));
    let tiles = tokens.div_ceil(<D::Block<'_> as Block>::TOKENS);
    let (fewest, larger) = (tokens / tiles, tokens % tiles);
    let mut decoded: [[MaybeUninit<D::Block<'_>>; DEPTH]; P] =
        [const { [const { MaybeUninit::uninit() }; DEPTH] }; P];
    for first in (0..blocks).step_by(DEPTH) {
        let depth = DEPTH.min(blocks - first);
        for (p, decoded) in decoded.iter_mut().enumerate() {
            let start = (panel + p) * blocks + first;
            let codes = &matrix.codes[start..][..depth];
            for ((block, codes), scales) in
                decoded.iter_mut().zip(codes).zip(&matrix.scales[start..])
            {
                block.write(D::decode(codes, RowScales::new(scales.load())));
            }
        }
        // SAFETY: the first `depth` blocks of each panel were just written.
        let run = decoded
            .each_ref()
            .map(|decoded| unsafe { decoded[..depth].assume_init_ref() });
        // What is read next, a part with every tile.
        let next: [_; P] = std::array::from_fn(|p| {
            let (panel, first) = if first + DEPTH < blocks {
                (panel + p, first + DEPTH)
            } else {
                (panel + P + p, 0)
            };
            let start = panel * blocks + first;
            let blocks = start..(start + DEPTH).min((panel + 1) * blocks);
            (
                matrix.codes.get(blocks.clone()).unwrap_or_default(),
                matrix.scales.get(blocks).unwrap_or_default(),
            )
        });
        for (_, scales) in next.into_iter().filter(|_| PREFETCHES) {
            for scales in scales.iter().step_by(64 / size_of::<S>()) {
                prefetch((&raw const *scales).cast());
            }
        }
        let mut next: [&[CacheLine]; P] = next.map(|(codes, _)| bytemuck::cast_slice(codes));
        let lines = next[0].len().div_ceil(tiles * depth);
        // As equal as they can be.
        let mut token = 0;
        for (count, tokens) in [(larger, fewest + 1), (tiles - larger, fewest)] {
            if count > 0 {
                let tiles = Tiles {
                    run,
                    acts,
                    blocks: first..first + depth,
                    token,
                    count,
                    bias: (first == 0).then_some(bias),
                    out: &mut *out,
                    next: &mut next,
                    lines,
                };
                D::Block::add_tiles(tokens, tiles);
            }
            token += count * tokens;
        }
    }
}

/// Adds the products of a run of blocks with tiles of N tokens.
#[inline(always)]
fn add_tiles<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, '_, B, P>) {
    let Tiles {
        acts,
        blocks,
        lines,
        ..
    } = tiles;
    let (depth, tokens) = (blocks.len(), acts.tokens());
    let run = tiles.run.map(|run| &run[..depth]);
    for tile in 0..tiles.count {
        let token = tiles.token + tile * N;
        let acts = acts.tile::<N>(blocks.clone(), token);
        let mut sums = [[B::Sums::splat(0.0); P]; N];
        for p in 0..P {
            let out: &[Lanes; N] = tiles.out[p * tokens + token..]
                .first_chunk()
                .expect("N tokens");
            for n in 0..N {
                let start = tiles.bias.map_or(&out[n], |bias| bias[p]);
                sums[n][p] = B::Sums::load(start);
            }
        }
        B::arrange(&mut sums);
        for b in 0..depth {
            if PREFETCHES {
                for next in &mut *tiles.next {
                    let lines = next.split_off(..lines.min(next.len())).unwrap_or_default();
                    for line in lines {
                        prefetch(line.as_ptr());
                    }
                }
            }
            B::add(run.map(|run| &run[b]), acts.get(b), &mut sums);
        }
        B::restore(&mut sums);
        for p in 0..P {
            let out: &mut [Lanes; N] = tiles.out[p * tokens + token..]
                .first_chunk_mut()
                .expect("N tokens");
            for n in 0..N {
                sums[n][p].store(&mut out[n]);
            }
        }
    }
}

/// The scales of a block's 16 rows.
#[derive(Clone, Copy)]
pub(crate) struct RowScales<V> {
    scales: V,
    /// What [`START`] makes of them, negated; exact, because START has two significant bits, and a scale 11 (as f16) or 22
    /// ([`crate::activation::PackedRows`]).
    start: V,
}

impl<V: Simd16> RowScales<V> {
    #[inline(always)]
    fn new(scales: V) -> Self {
        let start = V::splat(-f32::from_bits(START as u32)).mul(scales);
        Self { scales, start }
    }

    #[cfg(target_arch = "x86_64")]
    /// fma(dots * scales, scale, sums), each operation rounded once. `dots` are the bits of accumulators that began at
    /// [`START`]; zero times a negative scale is +0.
    #[inline(always)]
    fn add(&self, sums: V, dots: V, scale: f32) -> V {
        let scaled = dots.mul_add(self.scales, self.start);
        scaled.mul_add(V::splat(scale), sums)
    }
}

/// The four codes of group `group` as one little-endian word, to be broadcast.
#[inline(always)]
fn group_word(codes: &[i8; LANES * 2], group: usize) -> i32 {
    const { assert!(GROUPS * GROUP == LANES * 2) };
    let c = &codes[group * GROUP..][..GROUP];
    i32::from_le_bytes([c[0] as u8, c[1] as u8, c[2] as u8, c[3] as u8])
}

/// The q4 levels, made unsigned by adding `offset`: for instructions that multiply unsigned by signed bytes.
#[cfg(target_arch = "x86_64")]
const fn unsigned_levels(offset: i16) -> [u8; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < table.len() {
        let level = crate::q4::LEVELS[i] as i16 + offset;
        assert!(level > 0 && level < 256);
        table[i] = level as u8;
        i += 1;
    }
    table
}
