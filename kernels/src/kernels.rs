//! The kernels of one instruction set behind one type, and the choice between instruction sets.
//!
//! There are three matrix products:
//!
//! | | one operand | the other | for |
//! |---|---|---|---|
//! | [`Kernels::linear`] | weights of the model, packed and quantized | quantized activations | linear layers |
//! | [`Kernels::matmul_int8`] | rows that [`Kernels::pack_rows`] packed and quantized | quantized activations | attention scores |
//! | [`Kernels::matmul_f32`] | f32 rows | f32 panels | attention's context, calibration |

use crate::VECTORS;
use crate::activation::{ActivationBlock, Activations, PackedRows};
pub use crate::block::Tile;
use crate::float::gelu::Gelu;
use crate::float::matmul::{Panels, PanelsMut};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, panels_for};
use crate::packed::{BlockFormat, GROUP, GROUPS, Group, PackedMatrix, SUB_BLOCK};
use crate::tier::token;
use crate::{float, matmul};
use std::ops::Range;

/// What the encoder computes with, on one instruction set that this machine has. Every one gives the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Kernels(pub(crate) Detected);

macro_rules! detected {
    ($($(#[$doc:meta])* $Tier:ident, $name:ident, $arch:meta, $Simd:ident, [$($feature:tt),*];)*) => {
        /// The token of a tier.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Detected {
            $(#[cfg($arch)] $Tier(token::$Tier),)*
        }

        impl Detected {
            fn new(isa: Isa) -> Option<Self> {
                match isa {
                    $(#[cfg($arch)] Isa::$Tier => token::$Tier::detect().map(Self::$Tier),)*
                    #[allow(unreachable_patterns, reason = "where every instruction set is compiled")]
                    _ => None,
                }
            }

            /// The features of the row, and whether they were detected.
            fn features(isa: Isa) -> Option<Vec<(&'static str, bool)>> {
                match isa {
                    $(#[cfg($arch)] Isa::$Tier => Some(token::$Tier::features()),)*
                    #[allow(unreachable_patterns, reason = "where every instruction set is compiled")]
                    _ => None,
                }
            }

            fn isa(self) -> Isa {
                match self {
                    $(#[cfg($arch)] Self::$Tier(_) => Isa::$Tier,)*
                }
            }
        }
    };
}
for_each_tier!(detected);

/// Evaluates an expression with the token of some [`Kernels`], in a function that is compiled for its tier:
///
/// > dispatch!(kernels, tier => gelu(tier, kind, values))
macro_rules! dispatch {
    ($kernels:expr, $token:ident => $run:expr) => {
        for_each_tier!(dispatch @ $kernels, $token, $run;)
    };
    (
        @ $kernels:expr, $token:ident, $run:expr;
        $($(#[$doc:meta])* $Tier:ident, $name:ident, $arch:meta, $Simd:ident, [$($feature:tt),*];)*
    ) => {
        match $kernels.0 {
            $(
                #[cfg($arch)]
                $crate::kernels::Detected::$Tier($token) => {
                    $crate::tier::token::Token::vectorize($token, #[inline(always)] move || $run)
                }
            )*
        }
    };
}
pub(crate) use dispatch;

impl Kernels {
    /// The instruction set of these kernels.
    pub fn isa(self) -> Isa {
        self.0.isa()
    }

    /// The shape in which [`Kernels::linear`] computes a format.
    pub fn tile(self, format: BlockFormat) -> Tile {
        dispatch!(self, tier => matmul::tile_of(tier, format))
    }

    /// The shape in which [`Kernels::matmul_f32`] computes; its tokens are rows.
    pub fn tile_f32(self) -> Tile {
        dispatch!(self, tier => float::matmul::tile_of(tier))
    }

    /// Some panels of a linear layer, panel-major: `out[p * tokens + t]` = bias + rows of the panel times the
    /// activations of token t, where p counts from the first of `panels`. `bias` is that of the whole matrix.
    ///
    /// # Panics
    /// When the panels don't exist, or `bias`, `acts` or `out` don't have the sizes that the matrix implies.
    pub fn linear(
        self,
        weights: &PackedMatrix<'_>,
        panels: Range<usize>,
        bias: &[Lanes],
        acts: &Activations<'_>,
        out: &mut [Lanes],
    ) {
        let exist = weights.panels();
        assert!(panels.end <= exist, "panels {panels:?} of {exist}");
        assert_eq!(exist, bias.len(), "vectors of the bias");
        assert_eq!(weights.blocks(), acts.blocks(), "blocks of a token");
        let vectors = panels.len() * acts.tokens();
        assert_eq!(vectors, out.len(), "panels and tokens of the output");
        if !out.is_empty() {
            dispatch!(self, tier => matmul::linear(tier, weights, panels, bias, acts, out));
        }
    }

    /// The products of packed rows with activations, panel-major: `[panel][token]`.
    ///
    /// # Panics
    /// When `acts` or `out` don't have the sizes that the rows imply, or the blocks not 4, 8, ... 32 groups.
    pub fn matmul_int8(self, rows: PackedRows<'_>, acts: &Activations<'_>, out: &mut [Lanes]) {
        assert!(rows.blocks > 0, "blocks in a panel");
        let panels = rows.scales.len() / rows.blocks;
        assert_eq!(rows.scales.len(), panels * rows.blocks, "whole panels");
        let groups = rows.codes.len() / rows.scales.len().max(1);
        let whole = groups * rows.scales.len() == rows.codes.len();
        let steps = groups.is_multiple_of(SUB_BLOCK / GROUP) && (1..=GROUPS).contains(&groups);
        assert!(whole && steps, "groups of the blocks");
        assert_eq!(rows.blocks, acts.blocks(), "blocks of a token");
        let vectors = panels * acts.tokens();
        assert_eq!(vectors, out.len(), "panels and tokens of the output");
        if !out.is_empty() {
            dispatch!(self, tier => matmul::matmul_int8(tier, rows, panels, acts, out));
        }
    }

    /// `out[p][i] = scale[i] * sum over k of a[i, k] * b[p][k]`, for `panels` panels and k below `columns`; `a` is
    /// panel-major, with a vector for each row in a panel, and `scale` has one value for each row.
    ///
    /// # Panics
    /// When `a`, `b` or `out` are too short.
    pub fn matmul_f32(
        self,
        a: &[Lanes],
        b: Panels<'_>,
        columns: usize,
        scale: &[f32],
        panels: usize,
        out: PanelsMut<'_>,
    ) {
        dispatch!(self, tier => float::matmul::matmul_f32(tier, a, b, columns, scale, panels, out));
    }

    /// Rotates one row of lanes and quantizes it to blocks of 128 columns.
    ///
    /// # Panics
    /// When `out` doesn't have a block for every eight vectors, or part of them.
    pub fn quantize_row(self, row: &[Lanes], out: &mut [ActivationBlock]) {
        let blocks = row.len().div_ceil(VECTORS);
        assert_eq!(blocks, out.len(), "a block for every eight vectors");
        dispatch!(self, tier => float::activation::quantize_row(tier, row, out));
    }

    /// Rotates and quantizes `panels` panels of `out.len()` tokens to a block for each token. A block has `vectors` vectors,
    /// which are eight for the input of a linear layer, and for a query those of its head; missing panels count as zeros.
    ///
    /// # Panics
    /// When a panel doesn't have `out.len()` vectors, or there are more panels than vectors, or more than eight of these.
    pub fn quantize_panels(
        self,
        values: Panels<'_>,
        panels: usize,
        vectors: usize,
        out: &mut [ActivationBlock],
    ) {
        check_panels(values, panels, vectors, out.len());
        dispatch!(self, tier => float::activation::quantize_panels(tier, values, panels, vectors, out));
    }

    /// Rotates and quantizes `panels` panels of `rows` rows, as [`Kernels::quantize_panels`] does, to block number `block.0` of
    /// the `block.1` that each panel of [`PackedRows`] has. Rows that the last panel lacks count as zeros.
    ///
    /// # Panics
    /// When there is no such block, or `codes` or `scales` don't have the panels for the rows.
    pub fn pack_rows(
        self,
        values: Panels<'_>,
        (panels, rows): (usize, usize),
        vectors: usize,
        (block, blocks): (usize, usize),
        codes: &mut [Group],
        scales: &mut [Lanes],
    ) {
        check_panels(values, panels, vectors, rows);
        let all = panels_for(rows) * blocks;
        assert!(block < blocks, "block {block} of {blocks}");
        let groups = all * vectors * LANES / GROUP;
        assert_eq!(
            (codes.len(), scales.len()),
            (groups, all),
            "blocks of the rows"
        );
        let (sizes, at, out) = ((panels, rows), (block, blocks), (codes, scales));
        dispatch!(self, tier => float::activation::pack_rows(tier, values, sizes, vectors, at, out));
    }

    /// The activation function, in place.
    pub fn gelu(self, kind: Gelu, values: &mut [Lanes]) {
        dispatch!(self, tier => float::gelu::gelu(tier, kind, values));
    }

    /// Layer normalization of one row with `width` values, in place.
    ///
    /// # Panics
    /// When `row`, `gamma` and `beta` don't have the lanes for `width` values.
    pub fn layer_norm(
        self,
        row: &mut [Lanes],
        width: usize,
        gamma: &[Lanes],
        beta: &[Lanes],
        eps: f32,
    ) {
        let panels = panels_for(width);
        let lengths = [row.len(), gamma.len(), beta.len()];
        assert_eq!(lengths, [panels; 3], "vectors for {width} values");
        dispatch!(self, tier => float::layer_norm::layer_norm(tier, row, width, gamma, beta, eps));
    }

    /// The numerators of the softmax of `inverse_sums.len()` rows in panels, with one over their sums.
    ///
    /// # Panics
    /// When `columns` is zero, or `scores` doesn't hold the panels for it.
    pub fn softmax(
        self,
        scores: &mut [Lanes],
        columns: usize,
        scale: f32,
        inverse_sums: &mut [f32],
    ) {
        assert!(columns > 0, "a softmax over nothing");
        let vectors = columns.div_ceil(LANES) * inverse_sums.len();
        assert_eq!(scores.len(), vectors, "vectors for {columns} columns");
        dispatch!(self, tier => float::softmax::softmax(tier, scores, columns, scale, inverse_sums));
    }
}

fn check_panels(values: Panels<'_>, panels: usize, vectors: usize, tokens: usize) {
    assert!((1..=VECTORS).contains(&vectors), "{vectors} vectors");
    assert!((1..=vectors).contains(&panels), "{panels} panels");
    let last = (panels - 1) * values.stride + tokens;
    assert!(last <= values.data.len(), "a vector for every token");
}

/// An instruction set that was asked for and can't be used.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnavailableIsa {
    /// This build has no kernels for it.
    #[error("this build has no kernels for {0}: it is for another processor architecture")]
    NotCompiled(Isa),
    /// The processor, or the operating system, doesn't have it.
    #[error("this machine doesn't have {0}; it has {has}", has = detected_names())]
    NotDetected(Isa),
}

fn detected_names() -> String {
    detected()
        .map(|kernels| kernels.isa().name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The features of the processor that the kernels of `isa` need, and whether this machine has them.
///
/// # Errors
/// When the kernels aren't in this build.
pub fn features(isa: Isa) -> Result<Vec<(&'static str, bool)>, UnavailableIsa> {
    Detected::features(isa).ok_or(UnavailableIsa::NotCompiled(isa))
}

/// The kernels of `isa`.
///
/// # Errors
/// When they aren't in this build, or the machine can't run them.
pub fn kernels(isa: Isa) -> Result<Kernels, UnavailableIsa> {
    features(isa)?;
    let detected = Detected::new(isa).ok_or(UnavailableIsa::NotDetected(isa))?;
    Ok(Kernels(detected))
}

/// The kernels that this machine can run, the most capable last.
pub fn detected() -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter_map(|isa| kernels(isa).ok())
}

/// The most capable kernels that this machine can run.
pub fn best() -> Kernels {
    detected()
        .last()
        .expect("the scalar kernels run everywhere")
}
