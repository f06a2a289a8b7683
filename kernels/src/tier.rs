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
#[cfg(target_arch = "x86_64")]
mod ymm;

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

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

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
    fn add_tiles<const P: usize>(tokens: usize, tiles: Tiles<'_, Self, P>);

    /// The sums of a tile, in the order that [`Block::add`] takes.
    #[inline(always)]
    fn arrange<const N: usize, const P: usize>(_: &mut [[Self::Sums; P]; N]) {}

    /// The inverse of [`Block::arrange`].
    #[inline(always)]
    fn restore<const N: usize, const P: usize>(_: &mut [[Self::Sums; P]; N]) {}
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

/// Writes the [`Block::TOKENS`] and [`Block::add_tiles`] of an instruction set, given the numbers of tokens, from 1 to the
/// most, and the function that adds so many: [`add_tiles`], or one that calls it.
macro_rules! tiles {
    ($add_tiles:ident: $($tokens:literal)+) => {
        const TOKENS: usize = [$($tokens),+].len();

        #[inline(always)]
        fn add_tiles<const P: usize>(tokens: usize, tiles: super::Tiles<'_, Self, P>) {
            match tokens {
                $($tokens => $add_tiles::<Self, $tokens, P>(tiles),)+
                _ => unreachable!("at most TOKENS"),
            }
        }
    };
}
use tiles;

/// What is added up at a time: the products of a run of blocks with some tiles of as many tokens each.
pub(crate) struct Tiles<'a, B, const P: usize> {
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
        // What is read next is asked for, a part with every block of every tile; at the end, what is there already.
        let (skip, from) = if first + DEPTH < blocks {
            (0, first + DEPTH)
        } else {
            (P, 0)
        };
        let mut bytes = 0;
        let next: [_; P] = std::array::from_fn(|p| {
            let start = (panel + skip + p) * blocks;
            let run = start + from..start + blocks.min(from + DEPTH);
            let Some(codes) = matrix.codes.get(run.clone()) else {
                return (&raw const matrix.codes[(panel + p) * blocks + first]).cast();
            };
            bytes = size_of_val(codes);
            if PREFETCHES {
                let scales = &matrix.scales[run];
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
                    run,
                    acts,
                    blocks: first..first + depth,
                    token,
                    count,
                    bias: (first == 0).then_some(bias),
                    out: &mut *out,
                    next: &mut next,
                };
                D::Block::add_tiles(tokens, tiles);
            }
            token += count * tokens;
        }
    }
}

/// Adds the products of a run of blocks with tiles of N tokens.
#[inline(always)]
fn add_tiles<B: Block, const N: usize, const P: usize>(tiles: Tiles<'_, B, P>) {
    let Tiles { acts, blocks, .. } = tiles;
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
        let mut next = *tiles.next;
        for b in 0..depth {
            if PREFETCHES {
                next.ask();
            }
            let mut blocks = [&run[0][b]; P];
            for p in 1..P {
                blocks[p] = &run[p][b];
            }
            B::add(blocks, acts.get(b), &mut sums);
        }
        *tiles.next = next;
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
