//! Matrices in blocks, and what rounding did to their weights.

use super::error::QuantizeError;
use crate::checkpoint::{Checkpoint, Origin};
use half::f16;
use rayon::prelude::*;
use rq_format::{Config, ExpectedTensor, FormatError};
use rq_kernels::BLOCK;
use rq_kernels::lanes::LANES;
use rq_kernels::packed::{BlockFormat, PackedMatrix, Scales, quantize_panel};
use std::iter::Sum;

/// A packed matrix that owns its bytes: a plane of codes, then a plane of scales.
pub(crate) struct Packed {
    format: BlockFormat,
    rows: usize,
    columns: usize,
    /// As f16, to be aligned as the scales are.
    data: Vec<f16>,
}

impl Packed {
    /// A matrix of zeros.
    ///
    /// # Errors
    /// When it is larger than memory could be.
    pub(crate) fn zeros(
        format: BlockFormat,
        tensor: &ExpectedTensor,
    ) -> Result<Self, QuantizeError> {
        let (rows, columns) = (tensor.rows, tensor.columns);
        let len = format.packed_len(rows, columns);
        let len = len.ok_or_else(|| FormatError::TooLarge {
            name: tensor.name.clone(),
            rows: rows as u64,
            columns: columns as u64,
        })?;
        Ok(Self::of_len(format, rows, columns, len))
    }

    /// A panel of zeros.
    fn panel(format: BlockFormat, columns: usize) -> Self {
        let len = columns.div_ceil(BLOCK) * (format.code_bytes() + size_of::<Scales>());
        Self::of_len(format, LANES, columns, len)
    }

    fn of_len(format: BlockFormat, rows: usize, columns: usize, len: usize) -> Self {
        let data = vec![f16::ZERO; len / size_of::<f16>()];
        Self {
            format,
            rows,
            columns,
            data,
        }
    }

    /// The planes, each panel after panel, block after block.
    pub(crate) fn planes_mut(&mut self) -> (&mut [u8], &mut [Scales]) {
        let blocks = self.rows.div_ceil(LANES) * self.columns.div_ceil(BLOCK);
        let code_bytes = blocks * self.format.code_bytes();
        let (codes, scales) = self.data.split_at_mut(code_bytes / size_of::<f16>());
        (
            bytemuck::cast_slice_mut(codes),
            bytemuck::cast_slice_mut(scales),
        )
    }

    /// What the file holds.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.data)
    }

    pub(crate) fn matrix(&self) -> PackedMatrix<'_> {
        let matrix = PackedMatrix::new(self.format, self.rows, self.columns, self.bytes());
        let Ok(matrix) = matrix else {
            unreachable!("the buffer has the length of the matrix");
        };
        matrix
    }
}

/// Summed squares of an error, and of the weights that it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Squares {
    pub(crate) error: f64,
    pub(crate) weights: f64,
}

impl Squares {
    /// Those of some weights and of what became of them.
    pub(crate) fn of(weights: impl Iterator<Item = f32>, rounded: &[f32]) -> Self {
        let mut squares = Self::default();
        for (w, rounded) in weights.zip(rounded) {
            squares.error += f64::from(w - rounded).powi(2);
            squares.weights += f64::from(w).powi(2);
        }
        squares
    }
}

impl Sum for Squares {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            error: a.error + b.error,
            weights: a.weights + b.weights,
        })
    }
}

/// Rounds each block of a tensor by itself, panels in parallel.
///
/// # Errors
/// When a weight can't be read or represented.
pub(crate) fn quantize(
    checkpoint: &Checkpoint,
    config: &Config,
    tensor: &ExpectedTensor,
    format: BlockFormat,
) -> Result<(Packed, Squares), QuantizeError> {
    let (rows, columns) = (tensor.rows, tensor.columns);
    let origin = Origin::of(config, &tensor.name);
    let mut packed = Packed::zeros(format, tensor)?;
    let (codes, scales) = packed.planes_mut();
    let blocks = columns.div_ceil(BLOCK);
    let panels = codes
        .par_chunks_mut(blocks * format.code_bytes())
        .zip(scales.par_chunks_mut(blocks));
    let scratch = || {
        let panel = Packed::panel(format, columns);
        (panel, Vec::new(), vec![0.0; columns])
    };
    let squares: Vec<Squares> = panels
        .enumerate()
        .map_init(
            scratch,
            |(panel, values, rounded), (number, (codes, scales))| {
                let first = number * LANES;
                let range = first..rows.min(first + LANES);
                values.resize(range.len() * columns, 0.0);
                origin.read_rows(checkpoint, config, range, values)?;
                let (panel_codes, panel_scales) = panel.planes_mut();
                quantize_panel(format, values, columns, panel_codes, panel_scales).map_err(
                    |e| QuantizeError::TooLarge {
                        tensor: tensor.name.clone(),
                        format,
                        row: first + e.row,
                        column: e.column,
                        value: e.value,
                    },
                )?;
                codes.copy_from_slice(panel_codes);
                scales.copy_from_slice(panel_scales);
                let matrix = panel.matrix();
                let of_row = |(row, values): (usize, &[f32])| {
                    matrix.dequantize_row(row, rounded);
                    Squares::of(values.iter().copied(), rounded)
                };
                Ok(values.chunks_exact(columns).enumerate().map(of_row).sum())
            },
        )
        .collect::<Result<_, QuantizeError>>()?;
    Ok((packed, squares.into_iter().sum()))
}
