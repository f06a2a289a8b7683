//! The kernels of each instruction set behind one interface, and the choice between them.
//!
//! A tier is a value that can be had only where its instruction set was detected; one row of `tier!` gives its name,
//! the features that are enabled, the same features to be detected, and its vector and product. Every tier gives the
//! same bits.

use crate::activation::{ActivationBlock, Activations, PackedRows};
use crate::float;
use crate::float::gelu::Gelu;
use crate::float::product::{Panels, PanelsMut};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, panels_for};
use crate::packed::{Codes, CodesQ8, PackedMatrix};
use crate::peak;
use crate::tier::{self, Matrix, matmul};
use std::ops::Range;

/// What the encoder computes with, on one instruction set.
pub trait Kernels: Send + Sync {
    /// The instruction set of these kernels.
    fn isa(&self) -> Isa;

    /// Some panels of a matrix product, panel-major: `out[p * tokens + t]` = bias + rows of the panel times the
    /// activations of token t, where p counts from the first of `panels`. `bias` is that of the whole matrix.
    ///
    /// # Panics
    /// When the panels don't exist, or `bias`, `acts` or `out` don't have the sizes that the matrix implies.
    fn matmul(
        &self,
        weights: &PackedMatrix<'_>,
        panels: Range<usize>,
        bias: &[Lanes],
        acts: &Activations<'_>,
        out: &mut [Lanes],
    );

    /// Quantizes one row of lanes to blocks of 32.
    ///
    /// # Panics
    /// When `out` doesn't have a block for every two vectors.
    fn quantize_row(&self, row: &[Lanes], out: &mut [ActivationBlock]);

    /// Quantizes two panels of `out.len()` tokens; `high` may be empty, and counts as zeros.
    ///
    /// # Panics
    /// When a panel doesn't have `out.len()` vectors.
    fn quantize_panels(&self, low: &[Lanes], high: &[Lanes], out: &mut [ActivationBlock]);

    /// Quantizes 32 columns of some rows, which are two panels, to block number `block.0` of the `block.1` that each panel
    /// of [`PackedRows`] has. `high` may be empty, and counts as zeros; so do rows that the last panel lacks.
    ///
    /// # Panics
    /// When there is no such block, or `codes` or `scales` don't have the panels for the rows.
    fn pack_rows(
        &self,
        low: &[Lanes],
        high: &[Lanes],
        block: (usize, usize),
        codes: &mut [CodesQ8],
        scales: &mut [Lanes],
    );

    /// The products of packed rows with activations, panel-major: `[panel][token]`.
    ///
    /// # Panics
    /// When `acts` or `out` don't have the sizes that the rows imply.
    fn product_of_rows(&self, rows: PackedRows<'_>, acts: &Activations<'_>, out: &mut [Lanes]);

    /// The activation function, in place.
    fn gelu(&self, kind: Gelu, values: &mut [Lanes]);

    /// Layer normalization of one row with `width` values, in place.
    ///
    /// # Panics
    /// When `row`, `gamma` and `beta` don't have the lanes for `width` values.
    fn layer_norm(
        &self,
        row: &mut [Lanes],
        width: usize,
        gamma: &[Lanes],
        beta: &[Lanes],
        eps: f32,
    );

    /// The numerators of the softmax of `inverse_sums.len()` rows in panels, with one over their sums.
    ///
    /// # Panics
    /// When `columns` is zero, or `scores` doesn't hold the panels for it.
    fn softmax(&self, scores: &mut [Lanes], columns: usize, scale: f32, inverse_sums: &mut [f32]);

    /// `out[p][i] = scale[i] * sum over k of a[i, k] * b[p][k]`, for `panels` panels and k below `columns`; `a` is
    /// panel-major, with a vector for each row in a panel, and `scale` has one value for each row.
    ///
    /// # Panics
    /// When `a`, `b` or `out` are too short.
    fn product(
        &self,
        a: &[Lanes],
        b: Panels<'_>,
        columns: usize,
        scale: &[f32],
        panels: usize,
        out: PanelsMut<'_>,
    );

    /// Multiplies and adds, on registers alone, as fast as this instruction set can; returns how many 8-bit
    /// multiply-adds that were. A yardstick for [`Kernels::matmul`].
    fn multiply_adds(&self, rounds: usize) -> u64;

    /// Reads memory as fast as one thread can; returns about the sum of it. A yardstick too.
    fn read(&self, data: &[Lanes]) -> f32;
}

/// Makes [`Kernels`] of a vector and a product, compiled for the features of one row.
macro_rules! tier {
    (
        $(#[$doc:meta])*
        $name:ident, $isa:expr, $module:ident, features: [$($feature:tt),*]
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        struct $name(());

        impl $name {
            const TIER: Tier = Tier {
                isa: $isa,
                kernels: &$name(()),
                features: || vec![$(($feature, is_detected!($feature))),*],
            };
        }

        #[allow(unused_unsafe, reason = "a row without features has no gap to cross")]
        impl Kernels for $name {
            fn isa(&self) -> Isa {
                $isa
            }

            fn matmul(
                &self,
                weights: &PackedMatrix<'_>,
                panels: Range<usize>,
                bias: &[Lanes],
                acts: &Activations<'_>,
                out: &mut [Lanes],
            ) {
                $(#[target_feature(enable = $feature)])*
                fn run(
                    weights: &PackedMatrix<'_>,
                    panels: Range<usize>,
                    bias: &[Lanes],
                    acts: &Activations<'_>,
                    out: &mut [Lanes],
                ) {
                    use tier::$module::Product;
                    let (scales, blocks) = (weights.scales(), weights.blocks());
                    match weights.codes() {
                        Codes::Q8(codes) => {
                            let matrix = Matrix { codes, scales, blocks };
                            matmul::<_, _, Product>(matrix, panels, bias, acts, out);
                        }
                        Codes::Q4(codes) => {
                            let matrix = Matrix { codes, scales, blocks };
                            matmul::<_, _, Product>(matrix, panels, bias, acts, out);
                        }
                    }
                }
                assert!(panels.end <= weights.panels(), "panels {panels:?} of {}", weights.panels());
                assert_eq!(weights.panels(), bias.len(), "vectors of the bias");
                assert_eq!(weights.blocks(), acts.blocks(), "inputs of the matrix and of the activations");
                assert_eq!(panels.len() * acts.tokens(), out.len(), "panels and tokens of the output");
                if out.is_empty() {
                    return;
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(weights, panels, bias, acts, out) }
            }

            fn quantize_row(&self, row: &[Lanes], out: &mut [ActivationBlock]) {
                $(#[target_feature(enable = $feature)])*
                fn run(row: &[Lanes], out: &mut [ActivationBlock]) {
                    float::activation::quantize_row::<tier::$module::F32x16>(row, out);
                }
                assert_eq!(row.len().div_ceil(2), out.len(), "a block for every two vectors");
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(row, out) }
            }

            fn quantize_panels(&self, low: &[Lanes], high: &[Lanes], out: &mut [ActivationBlock]) {
                $(#[target_feature(enable = $feature)])*
                fn run(low: &[Lanes], high: &[Lanes], out: &mut [ActivationBlock]) {
                    float::activation::quantize_panels::<tier::$module::F32x16>(low, high, out);
                }
                assert_eq!(low.len(), out.len(), "a vector for every token");
                assert!(high.is_empty() || high.len() == out.len(), "a vector for every token");
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(low, high, out) }
            }

            fn pack_rows(
                &self,
                low: &[Lanes],
                high: &[Lanes],
                block: (usize, usize),
                codes: &mut [CodesQ8],
                scales: &mut [Lanes],
            ) {
                $(#[target_feature(enable = $feature)])*
                fn run(
                    low: &[Lanes],
                    high: &[Lanes],
                    block: (usize, usize),
                    codes: &mut [CodesQ8],
                    scales: &mut [Lanes],
                ) {
                    float::activation::pack::<tier::$module::F32x16>(low, high, block, codes, scales);
                }
                let blocks = panels_for(low.len()) * block.1;
                assert!(block.0 < block.1, "block {} of {}", block.0, block.1);
                assert!([codes.len(), scales.len()] == [blocks; 2], "{blocks} blocks for {} rows", low.len());
                assert!(high.is_empty() || high.len() == low.len(), "a vector for every row");
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(low, high, block, codes, scales) }
            }

            fn product_of_rows(&self, rows: PackedRows<'_>, acts: &Activations<'_>, out: &mut [Lanes]) {
                $(#[target_feature(enable = $feature)])*
                fn run(rows: PackedRows<'_>, panels: usize, acts: &Activations<'_>, out: &mut [Lanes]) {
                    let PackedRows { codes, scales, blocks } = rows;
                    let matrix = Matrix { codes, scales, blocks };
                    matmul::<_, _, tier::$module::Product>(matrix, 0..panels, &[], acts, out);
                }
                assert!(rows.blocks > 0, "blocks in a panel");
                let panels = rows.codes.len() / rows.blocks;
                assert_eq!(rows.codes.len(), panels * rows.blocks, "whole panels");
                assert_eq!(rows.codes.len(), rows.scales.len(), "scales of the blocks");
                assert_eq!(rows.blocks, acts.blocks(), "columns of the rows and of the activations");
                assert_eq!(panels * acts.tokens(), out.len(), "panels and tokens of the output");
                if out.is_empty() {
                    return;
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(rows, panels, acts, out) }
            }

            fn gelu(&self, kind: Gelu, values: &mut [Lanes]) {
                $(#[target_feature(enable = $feature)])*
                fn run(kind: Gelu, values: &mut [Lanes]) {
                    float::gelu::gelu::<tier::$module::F32x16>(kind, values);
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(kind, values) }
            }

            fn layer_norm(&self, row: &mut [Lanes], width: usize, gamma: &[Lanes], beta: &[Lanes], eps: f32) {
                $(#[target_feature(enable = $feature)])*
                fn run(row: &mut [Lanes], width: usize, gamma: &[Lanes], beta: &[Lanes], eps: f32) {
                    float::layer_norm::layer_norm::<tier::$module::F32x16>(row, width, gamma, beta, eps);
                }
                let panels = width.div_ceil(LANES);
                assert!([row.len(), gamma.len(), beta.len()] == [panels; 3], "{panels} vectors for {width} values");
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(row, width, gamma, beta, eps) }
            }

            fn softmax(&self, scores: &mut [Lanes], columns: usize, scale: f32, inverse_sums: &mut [f32]) {
                $(#[target_feature(enable = $feature)])*
                fn run(scores: &mut [Lanes], columns: usize, scale: f32, inverse_sums: &mut [f32]) {
                    float::softmax::softmax::<tier::$module::F32x16>(scores, columns, scale, inverse_sums);
                }
                assert!(columns > 0, "a softmax over nothing");
                assert_eq!(scores.len(), columns.div_ceil(LANES) * inverse_sums.len(), "vectors for {columns} columns");
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(scores, columns, scale, inverse_sums) }
            }

            fn product(
                &self,
                a: &[Lanes],
                b: Panels<'_>,
                columns: usize,
                scale: &[f32],
                panels: usize,
                out: PanelsMut<'_>,
            ) {
                $(#[target_feature(enable = $feature)])*
                fn run(
                    a: &[Lanes],
                    b: Panels<'_>,
                    columns: usize,
                    scale: &[f32],
                    panels: usize,
                    out: PanelsMut<'_>,
                ) {
                    float::product::product::<tier::$module::F32x16>(a, b, columns, scale, panels, out);
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(a, b, columns, scale, panels, out) }
            }

            fn multiply_adds(&self, rounds: usize) -> u64 {
                $(#[target_feature(enable = $feature)])*
                fn run(rounds: usize) -> u64 {
                    peak::$module(rounds)
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(rounds) }
            }

            fn read(&self, data: &[Lanes]) -> f32 {
                $(#[target_feature(enable = $feature)])*
                fn run(data: &[Lanes]) -> f32 {
                    peak::read::<tier::$module::F32x16>(data)
                }
                // SAFETY: `self` proves that the features were detected.
                unsafe { run(data) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! is_detected {
    ($feature:tt) => {
        std::arch::is_x86_feature_detected!($feature)
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! is_detected {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}

tier! {
    /// Plain Rust.
    Scalar, Isa::Scalar, scalar, features: []
}

#[cfg(target_arch = "x86_64")]
tier! {
    /// Proves AVX2, FMA and F16C.
    Avx2, Isa::Avx2, avx2, features: ["avx2", "fma", "f16c"]
}

#[cfg(target_arch = "x86_64")]
tier! {
    /// Proves AVX2, FMA, F16C and AVX-VNNI.
    AvxVnni, Isa::AvxVnni, avxvnni, features: ["avx2", "fma", "f16c", "avxvnni"]
}

#[cfg(target_arch = "x86_64")]
tier! {
    /// Proves AVX-512 F, BW, VL and VNNI.
    Avx512Vnni, Isa::Avx512Vnni, avx512vnni,
    features: ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni"]
}

#[cfg(target_arch = "aarch64")]
tier! {
    /// Proves NEON.
    Neon, Isa::Neon, neon, features: ["neon"]
}

#[cfg(target_arch = "aarch64")]
tier! {
    /// Proves NEON and its int8 dot product.
    Dotprod, Isa::Dotprod, dotprod, features: ["neon", "dotprod"]
}

#[cfg(target_arch = "aarch64")]
tier! {
    /// Proves NEON, its int8 dot product and its int8 matrix product.
    I8mm, Isa::I8mm, i8mm, features: ["neon", "dotprod", "i8mm"]
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

/// The kernels of one instruction set, compiled in.
struct Tier {
    isa: Isa,
    /// Not to be handed out before every feature was detected.
    kernels: &'static dyn Kernels,
    features: fn() -> Vec<(&'static str, bool)>,
}

/// What is compiled in.
const TIERS: &[Tier] = &[
    Scalar::TIER,
    #[cfg(target_arch = "x86_64")]
    Avx2::TIER,
    #[cfg(target_arch = "x86_64")]
    AvxVnni::TIER,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni::TIER,
    #[cfg(target_arch = "aarch64")]
    Neon::TIER,
    #[cfg(target_arch = "aarch64")]
    Dotprod::TIER,
    #[cfg(target_arch = "aarch64")]
    I8mm::TIER,
];

fn tier(isa: Isa) -> Result<&'static Tier, UnavailableIsa> {
    let tier = TIERS.iter().find(|tier| tier.isa == isa);
    tier.ok_or(UnavailableIsa::NotCompiled(isa))
}

/// The features of the processor that the kernels of `isa` need, and whether this machine has them.
///
/// # Errors
/// When the kernels aren't in this build.
pub fn features(isa: Isa) -> Result<Vec<(&'static str, bool)>, UnavailableIsa> {
    Ok((tier(isa)?.features)())
}

/// The kernels of `isa`.
///
/// # Errors
/// When they aren't in this build, or the machine can't run them.
pub fn kernels(isa: Isa) -> Result<&'static dyn Kernels, UnavailableIsa> {
    let tier = tier(isa)?;
    if (tier.features)().into_iter().all(|(_, detected)| detected) {
        Ok(tier.kernels)
    } else {
        Err(UnavailableIsa::NotDetected(isa))
    }
}

/// The kernels that this machine can run, the most capable last.
pub fn detected() -> impl Iterator<Item = &'static dyn Kernels> {
    Isa::ALL.into_iter().filter_map(|isa| kernels(isa).ok())
}

/// The most capable kernels that this machine can run.
pub fn best() -> &'static dyn Kernels {
    detected()
        .last()
        .expect("the scalar kernels run everywhere")
}
