//! The packed weight matrix: panels of 16 rows, as the kernels read them.
//!
//! A matrix of `rows` outputs and `columns` inputs is padded with zeros to whole panels (16 rows) and whole
//! blocks (32 columns). Its bytes are two planes:
//!
//! 1. **codes**, `[panel][block]`: a block of a panel is 16 rows x 32 columns, as 8 groups of 4 columns. A group
//!    is 64 bytes: row 0's 4 codes, row 1's, ... row 15's.
//!    - q8 (512 bytes): group after group, each byte `code + 128`.
//!    - q4 (256 bytes): four times 64 bytes; byte i of the j-th holds the code of group j in its low and of group
//!      j + 4 in its high nibble.
//! 2. **scales**, `[panel][block]`: the 16 rows' f16 scales, little-endian.
//!
//! This module knows the layout and nothing of arithmetic.

use crate::lanes::{LANES, panels_for};
use crate::{BLOCK, q4, q8};
use half::f16;
use std::fmt;

/// Columns in a group: what one 32-bit lane of an int8 dot product takes.
pub const GROUP: usize = 4;
/// Groups in a block.
pub const GROUPS: usize = BLOCK / GROUP;
/// Bytes of one group over a panel.
pub const GROUP_BYTES: usize = LANES * GROUP;
/// The codes of one block of one panel in q8.
pub type CodesQ8 = [u8; GROUPS * GROUP_BYTES];
/// The codes of one block of one panel in q4.
pub type CodesQ4 = [u8; GROUPS * GROUP_BYTES / 2];
/// The scales of one block of one panel.
pub type Scales = [f16; LANES];

/// A format of weight blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// 8-bit codes, 8.5 bits a weight.
    Q8,
    /// 4-bit codes over a non-linear codebook, 4.5 bits a weight.
    Q4,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Q8, Self::Q4];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Bytes of codes in one block of a panel.
    pub const fn code_bytes(self) -> usize {
        match self {
            Self::Q8 => size_of::<CodesQ8>(),
            Self::Q4 => size_of::<CodesQ4>(),
        }
    }

    /// Bytes of a packed matrix, or `None` on overflow.
    pub fn packed_len(self, rows: usize, columns: usize) -> Option<usize> {
        let blocks = panels_for(rows).checked_mul(columns.div_ceil(BLOCK))?;
        blocks.checked_mul(self.code_bytes() + size_of::<Scales>())
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes aren't a packed matrix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackedError {
    /// The dimensions are zero or overflow.
    #[error("a matrix of {rows} x {columns} can't be packed")]
    Dimensions {
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
    },
    /// The bytes don't have the length that the dimensions ask for.
    #[error("a {format} matrix of {rows} x {columns} takes {expected} bytes, not {found}")]
    Length {
        /// The format of the blocks.
        format: BlockFormat,
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
        /// Bytes that the dimensions ask for.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The scales would not be aligned to 2 bytes.
    #[error("the bytes of a packed matrix must be aligned to 2 bytes")]
    Alignment,
}

/// The two planes of codes.
#[derive(Clone, Copy, Debug)]
pub enum Codes<'a> {
    /// q8 blocks.
    Q8(&'a [CodesQ8]),
    /// q4 blocks.
    Q4(&'a [CodesQ4]),
}

/// A weight matrix in packed form, borrowed from wherever its bytes are (usually the mapped file).
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a> {
    rows: usize,
    columns: usize,
    codes: Codes<'a>,
    scales: &'a [Scales],
}

impl<'a> PackedMatrix<'a> {
    /// Views `bytes` as a packed matrix of `rows` x `columns`.
    ///
    /// # Errors
    /// When the dimensions are zero or overflow, or the bytes have another length or are misaligned.
    pub fn new(
        format: BlockFormat,
        rows: usize,
        columns: usize,
        bytes: &'a [u8],
    ) -> Result<Self, PackedError> {
        let expected = format
            .packed_len(rows, columns)
            .filter(|&len| len > 0)
            .ok_or(PackedError::Dimensions { rows, columns })?;
        if bytes.len() != expected {
            return Err(PackedError::Length {
                format,
                rows,
                columns,
                expected,
                found: bytes.len(),
            });
        }
        let blocks = panels_for(rows) * columns.div_ceil(BLOCK);
        let (codes, scales) = bytes.split_at(blocks * format.code_bytes());
        let scales = bytemuck::try_cast_slice(scales).map_err(|_| PackedError::Alignment)?;
        let codes = match format {
            BlockFormat::Q8 => Codes::Q8(bytemuck::cast_slice(codes)),
            BlockFormat::Q4 => Codes::Q4(bytemuck::cast_slice(codes)),
        };
        Ok(Self {
            rows,
            columns,
            codes,
            scales,
        })
    }

    /// Outputs, without padding.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs, without padding.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of 16 rows.
    pub fn panels(&self) -> usize {
        panels_for(self.rows)
    }

    /// Blocks of 32 columns.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// The format of the blocks.
    pub fn format(&self) -> BlockFormat {
        match self.codes {
            Codes::Q8(_) => BlockFormat::Q8,
            Codes::Q4(_) => BlockFormat::Q4,
        }
    }

    /// The plane of codes, `[panel][block]`.
    pub fn codes(&self) -> Codes<'a> {
        self.codes
    }

    /// The plane of scales, `[panel][block]`.
    pub fn scales(&self) -> &'a [Scales] {
        self.scales
    }

    /// Writes the weights of one row to `out`; what lies beyond the true columns is zero.
    ///
    /// # Panics
    /// When the row doesn't exist or `out` is longer than the padded row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let (panel, lane) = (row / LANES, row % LANES);
        for (block, out) in (panel * self.blocks()..).zip(out.chunks_mut(BLOCK)) {
            let scale = self.scales[block][lane].to_f32();
            for (k, w) in out.iter_mut().enumerate() {
                let level = match self.codes {
                    Codes::Q8(codes) => (codes[block][offset_q8(lane, k)] ^ 0x80) as i8,
                    Codes::Q4(codes) => {
                        let (byte, shift) = offset_q4(lane, k);
                        q4::LEVELS[usize::from(codes[block][byte] >> shift & 15)]
                    }
                };
                *w = scale * f32::from(level);
            }
        }
    }
}

/// Where row `lane` and column `k` of a block sit among its q8 codes.
const fn offset_q8(lane: usize, k: usize) -> usize {
    k / GROUP * GROUP_BYTES + lane * GROUP + k % GROUP
}

/// The byte and the shift at which row `lane` and column `k` of a block sit among its q4 codes.
const fn offset_q4(lane: usize, k: usize) -> (usize, u32) {
    let half = BLOCK / 2;
    (offset_q8(lane, k % half), if k < half { 0 } else { 4 })
}

/// A weight that a format can't represent.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("row {row}, column {column}: {value} can't be quantized")]
pub struct Unrepresentable {
    /// The output.
    pub row: usize,
    /// The input.
    pub column: usize,
    /// The weight: NaN, infinite, or too large for an f16 scale.
    pub value: f32,
}

/// Quantizes and packs up to 16 rows of one panel.
///
/// `weights` holds the rows one after the other, `columns` values each; missing rows and columns become zeros.
/// `codes` and `scales` receive the panel's part of the two planes: `blocks * format.code_bytes()` bytes and
/// `blocks` entries.
///
/// # Errors
/// When a weight isn't finite or too large; `row` in the error counts from the panel's first.
///
/// # Panics
/// When a slice doesn't have the length that the others imply.
pub fn quantize_panel(
    format: BlockFormat,
    weights: &[f32],
    columns: usize,
    codes: &mut [u8],
    scales: &mut [Scales],
) -> Result<(), Unrepresentable> {
    let blocks = columns.div_ceil(BLOCK);
    assert!(
        weights.len() <= LANES * columns && weights.len().is_multiple_of(columns),
        "a panel has at most 16 rows"
    );
    assert_eq!(codes.len(), blocks * format.code_bytes());
    assert_eq!(scales.len(), blocks);
    // The padding: code 0 in q8 is the byte 128; in q4 a scale of zero silences whatever the code says.
    codes.fill(if format == BlockFormat::Q8 { 0x80 } else { 0 });
    scales.fill([f16::ZERO; LANES]);
    for (lane, row) in weights.chunks_exact(columns).enumerate() {
        for (block, weights) in row.chunks(BLOCK).enumerate() {
            let mut x = [0.0; BLOCK];
            x[..weights.len()].copy_from_slice(weights);
            let unrepresentable = || {
                let bad = |w: &f32| !w.is_finite();
                let k = x.iter().position(bad).unwrap_or_else(|| largest(&x));
                Unrepresentable {
                    row: lane,
                    column: block * BLOCK + k,
                    value: x[k],
                }
            };
            if !x.iter().all(|w| w.is_finite()) {
                return Err(unrepresentable());
            }
            let codes = &mut codes[block * format.code_bytes()..(block + 1) * format.code_bytes()];
            match format {
                BlockFormat::Q8 => {
                    let quantized = q8::quantize(&x).ok_or_else(unrepresentable)?;
                    place_q8(&quantized, lane, codes, &mut scales[block]);
                }
                BlockFormat::Q4 => {
                    let quantized = q4::quantize(&x).ok_or_else(unrepresentable)?;
                    place_q4(&quantized, lane, codes, &mut scales[block]);
                }
            }
        }
    }
    Ok(())
}

/// Puts one row's block in its place among the codes and scales of a panel's block.
///
/// # Panics
/// When the lane isn't one of 16, or `codes` shorter than [`CodesQ8`].
pub fn place_q8(block: &q8::BlockQ8, lane: usize, codes: &mut [u8], scales: &mut Scales) {
    scales[lane] = block.scale;
    for (k, code) in block.codes.into_iter().enumerate() {
        codes[offset_q8(lane, k)] = code as u8 ^ 0x80;
    }
}

/// Puts one row's block in its place among the codes, zero so far, and scales of a panel's block.
///
/// # Panics
/// When the lane isn't one of 16, or `codes` shorter than [`CodesQ4`].
pub fn place_q4(block: &q4::BlockQ4, lane: usize, codes: &mut [u8], scales: &mut Scales) {
    scales[lane] = block.scale;
    for (k, code) in block.codes.into_iter().enumerate() {
        let (byte, shift) = offset_q4(lane, k);
        codes[byte] |= code << shift;
    }
}

fn largest(x: &[f32; BLOCK]) -> usize {
    (0..BLOCK)
        .max_by(|&a, &b| x[a].abs().total_cmp(&x[b].abs()))
        .unwrap_or(0)
}

/// Quantizes and packs a whole matrix, row-major, on this thread.
///
/// # Errors
/// When a weight isn't finite or too large.
///
/// # Panics
/// When `weights` isn't a whole number of rows, or empty.
pub fn quantize(
    format: BlockFormat,
    weights: &[f32],
    columns: usize,
) -> Result<Vec<u8>, Unrepresentable> {
    let rows = weights.len() / columns;
    assert!(
        rows > 0 && rows * columns == weights.len(),
        "whole rows of {columns} columns"
    );
    let (panels, blocks) = (panels_for(rows), columns.div_ceil(BLOCK));
    let mut codes = vec![0; panels * blocks * format.code_bytes()];
    let mut scales = vec![[f16::ZERO; LANES]; panels * blocks];
    let parts = codes
        .chunks_mut(blocks * format.code_bytes())
        .zip(scales.chunks_mut(blocks));
    for (panel, (weights, (codes, scales))) in
        weights.chunks(LANES * columns).zip(parts).enumerate()
    {
        quantize_panel(format, weights, columns, codes, scales).map_err(|e| Unrepresentable {
            row: panel * LANES + e.row,
            ..e
        })?;
    }
    codes.extend_from_slice(bytemuck::cast_slice(&scales));
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights that every format holds exactly: multiples of a codebook level by a power of two.
    fn exact(rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns)
            .map(|i| {
                let level = q4::LEVELS[i * 7 % 16];
                f32::from(level) * [0.5, 0.25][i / 32 % 2]
            })
            .collect()
    }

    #[test]
    fn q4_rows_come_back() {
        for (rows, columns) in [(1, 1), (16, 32), (17, 33), (40, 96), (5, 64)] {
            let weights = exact(rows, columns);
            let bytes = quantize(BlockFormat::Q4, &weights, columns).unwrap();
            let aligned = aligned(&bytes);
            let m = PackedMatrix::new(
                BlockFormat::Q4,
                rows,
                columns,
                bytemuck::cast_slice(&aligned),
            )
            .unwrap();
            for (r, row) in weights.chunks(columns).enumerate() {
                let mut out = vec![f32::NAN; columns.next_multiple_of(BLOCK)];
                m.dequantize_row(r, &mut out);
                assert!(out[columns..].iter().all(|&w| w == 0.0));
                for block in 0..columns.div_ceil(BLOCK) {
                    let range = block * BLOCK..((block + 1) * BLOCK).min(columns);
                    let mut x = [0.0; BLOCK];
                    x[..range.len()].copy_from_slice(&row[range.clone()]);
                    let expected = q4::dequantize(&q4::quantize(&x).unwrap());
                    assert_eq!(
                        out[range.clone()],
                        expected[..range.len()],
                        "{rows}x{columns} row {r}"
                    );
                }
            }
        }
    }

    #[test]
    fn q8_rows_come_back() {
        for (rows, columns) in [(1, 1), (16, 32), (17, 33), (40, 96)] {
            let weights: Vec<f32> = (0..rows * columns)
                .map(|i| (i % 255) as f32 - 127.0)
                .collect();
            let bytes = aligned(&quantize(BlockFormat::Q8, &weights, columns).unwrap());
            let m = PackedMatrix::new(BlockFormat::Q8, rows, columns, bytemuck::cast_slice(&bytes))
                .unwrap();
            for (r, row) in weights.chunks(columns).enumerate() {
                let mut out = vec![f32::NAN; columns];
                m.dequantize_row(r, &mut out);
                for (a, b) in row.iter().zip(&out) {
                    assert!((a - b).abs() <= 0.6, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn a_bad_weight_is_named() {
        let mut weights = vec![0.5; 20 * 40];
        weights[18 * 40 + 37] = f32::NAN;
        for format in BlockFormat::ALL {
            let error = quantize(format, &weights, 40).unwrap_err();
            assert_eq!((error.row, error.column), (18, 37));
            assert!(error.value.is_nan());
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let bytes = [0u8; 544];
        let q8 = |rows, columns, len: usize| {
            PackedMatrix::new(BlockFormat::Q8, rows, columns, &bytes[..len]).err()
        };
        assert_eq!(
            q8(0, 32, 0),
            Some(PackedError::Dimensions {
                rows: 0,
                columns: 32
            })
        );
        assert!(matches!(
            q8(16, 32, 543),
            Some(PackedError::Length {
                expected: 544,
                found: 543,
                ..
            })
        ));
        assert!(matches!(
            q8(usize::MAX, usize::MAX, 0),
            Some(PackedError::Dimensions { .. })
        ));
    }

    fn aligned(bytes: &[u8]) -> Vec<u16> {
        bytes
            .chunks(2)
            .map(|b| u16::from_ne_bytes([b[0], b[1]]))
            .collect()
    }
}
