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

use crate::activation::{ActivationBlock, Activations};
use crate::lanes::{LANES, Lanes};
use crate::packed::{GROUP, GROUPS, Scales};

/// Tokens whose accumulators are kept close while a panel goes by: 4 KiB of the first-level cache.
const TOKENS_AT_ONCE: usize = 64;

/// One panel of a packed matrix, block after block.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a, C> {
    pub(crate) codes: &'a [C],
    pub(crate) scales: &'a [Scales],
}

/// The matrix product of a tier, one panel at a time.
pub(crate) trait PanelProduct<C> {
    /// out[t] = bias + panel * activations of token t, for every t.
    fn panel_product(panel: Panel<'_, C>, bias: &Lanes, acts: &Activations<'_>, out: &mut [Lanes]);
}

impl<C, D: Decode<C>> PanelProduct<C> for D {
    #[inline(always)]
    fn panel_product(panel: Panel<'_, C>, bias: &Lanes, acts: &Activations<'_>, out: &mut [Lanes]) {
        panel_product::<C, D>(panel, bias, acts, out);
    }
}

/// The part of a matrix product that differs between instruction sets: how a block of a panel (512 codes and 16 scales)
/// is made ready for any number of tokens. [`panel_product`] drives it; Arm's tiers have loops of their own. The order
/// along K is the order of blocks, on every tier.
pub(crate) trait Decode<C> {
    /// The block in the form that this tier multiplies.
    type Block: Block;

    /// Makes one block ready.
    fn decode(codes: &C, scales: &Scales) -> Self::Block;
}

/// A block of a panel, made ready for many tokens.
pub(crate) trait Block {
    /// For N tokens: out[n] = fma(dot(block, token n), scale of the row * scale of the token, out[n]).
    fn accumulate<const N: usize>(&self, acts: [&ActivationBlock; N], out: &mut [Lanes; N]);
}

/// out[t] = bias + panel * activations of token t.
#[inline(always)]
fn panel_product<C, D: Decode<C>>(
    panel: Panel<'_, C>,
    bias: &Lanes,
    acts: &Activations<'_>,
    out: &mut [Lanes],
) {
    out.fill(*bias);
    for (chunk, out) in out.chunks_mut(TOKENS_AT_ONCE).enumerate() {
        let first = chunk * TOKENS_AT_ONCE;
        for (block, (codes, scales)) in panel.codes.iter().zip(panel.scales).enumerate() {
            let decoded = D::decode(codes, scales);
            let (tiles, rest) = out.as_chunks_mut::<4>();
            let mut token = first;
            for tile in tiles {
                let acts = [
                    acts.get(block, token),
                    acts.get(block, token + 1),
                    acts.get(block, token + 2),
                    acts.get(block, token + 3),
                ];
                decoded.accumulate(acts, tile);
                token += 4;
            }
            match rest {
                [a, b, c] => {
                    let acts = [
                        acts.get(block, token),
                        acts.get(block, token + 1),
                        acts.get(block, token + 2),
                    ];
                    let mut tile = [*a, *b, *c];
                    decoded.accumulate(acts, &mut tile);
                    [*a, *b, *c] = tile;
                }
                [a, b] => {
                    let acts = [acts.get(block, token), acts.get(block, token + 1)];
                    let mut tile = [*a, *b];
                    decoded.accumulate(acts, &mut tile);
                    [*a, *b] = tile;
                }
                [a] => decoded.accumulate([acts.get(block, token)], std::array::from_mut(a)),
                _ => {}
            }
        }
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
