//! The packed weight matrix: panels of 16 rows, as the kernels read them.
//!
//! A matrix of `rows` outputs and `columns` inputs is padded with zeros to whole panels (16 rows) and whole
//! blocks (128 columns), and each block of a row is rotated ([`crate::hadamard`]). Its bytes are two planes:
//!
//! 1. **codes**, `[panel][block]`: a block of a panel is 16 rows x 128 columns, as 32 groups of 4 columns. A group
//!    is 64 codes: row 0's 4, row 1's, ... row 15's.
//!    - q8 ([`CodesQ8`], 2048 bytes): group after group, each byte `code + 128`.
//!    - q4 ([`CodesQ4`], 1088 bytes): byte i of the j-th 64 bytes holds the code + 8 of group 2 j in its low and of group
//!      2 j + 1 in its high nibble; then, in 64 bytes, the sub-scales of the sub-blocks (16 columns): byte i of the j-th 16
//!      holds that of row i and sub-block 2 j in its low and of sub-block 2 j + 1 in its high nibble.
//! 2. **scales**, `[panel][block]`: the 16 rows' f16 scales, little-endian.
//!
//! So all codes are whole cache lines. This module knows the layout and nothing of arithmetic.

use crate::hadamard::{rotate, rotate_back};
use crate::lanes::{LANES, panels_for};
use crate::{BLOCK, q4, q8};
use bytemuck::{Pod, Zeroable};
use half::f16;
use std::fmt;

/// Columns in a group: what one 32-bit lane of an int8 dot product takes.
pub const GROUP: usize = 4;
/// Groups in a block.
pub const GROUPS: usize = BLOCK / GROUP;
/// Bytes of one group over a panel.
pub const GROUP_BYTES: usize = LANES * GROUP;
/// Columns in a sub-block: those that share a sub-scale of q4.
pub const SUB_BLOCK: usize = 16;
/// Sub-blocks in a block.
pub const SUB_BLOCKS: usize = BLOCK / SUB_BLOCK;
/// A group over a panel, as q8 has it: four codes + 128 for each row.
pub type Group = [u8; GROUP_BYTES];
/// The codes of one block of one panel in q8.
pub type CodesQ8 = [Group; GROUPS];
/// The scales of one block of one panel.
pub type Scales = [f16; LANES];

/// The codes of one block of one panel in q4, with the scales of its sub-blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CodesQ4 {
    /// Code + 8: groups 2 j and 2 j + 1 in the nibbles of the j-th.
    pub groups: [Group; GROUPS / 2],
    /// For each row, sub-blocks 2 j and 2 j + 1 in the nibbles of the j-th.
    pub sub_scales: [[u8; LANES]; SUB_BLOCKS / 2],
}

/// A format of weight blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// 8-bit codes, 8.125 bits a weight.
    Q8,
    /// 4-bit codes with scales for 16 columns and for 128, 4.375 bits a weight.
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

    /// Bytes of codes, and sub-scales, in one block of a panel.
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

    /// Blocks of 128 columns.
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

    /// Writes the weights of one row to `out`, rotated back; what lies beyond the true columns is zero.
    ///
    /// # Panics
    /// When the row doesn't exist or `out` is longer than the padded row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(out.len() <= self.blocks() * BLOCK, "columns of a row");
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let mut values = self.rotated(row, block);
            rotate_back(&mut values);
            out.copy_from_slice(&values[..out.len()]);
        }
        if let Some(padding) = out.get_mut(self.columns..) {
            padding.fill(0.0);
        }
    }

    /// A block of a row as it is stored: rotated.
    ///
    /// # Panics
    /// When the row or the block doesn't exist.
    pub fn rotated(&self, row: usize, block: usize) -> [f32; BLOCK] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert!(block < self.blocks(), "block {block} of {}", self.blocks());
        let (block, lane) = (row / LANES * self.blocks() + block, row % LANES);
        let scale = self.scales[block][lane].to_f32();
        std::array::from_fn(|k| {
            let level = match self.codes {
                Codes::Q8(codes) => f32::from((*byte(&codes[block], lane, k) ^ 0x80) as i8),
                Codes::Q4(codes) => {
                    let CodesQ4 { groups, sub_scales } = &codes[block];
                    let (at, shift) = nibble(lane, k);
                    let (pair, sub_shift) = sub_nibble(k);
                    let code = (groups.as_flattened()[at] >> shift & 15) as i8 + q4::MIN_CODE;
                    let sub_scale = sub_scales[pair][lane] >> sub_shift & 15;
                    f32::from(code) * f32::from(sub_scale)
                }
            };
            scale * level
        })
    }
}

/// The code of row `lane` and column `k` in q8.
fn byte(codes: &CodesQ8, lane: usize, k: usize) -> &u8 {
    &codes[k / GROUP][lane * GROUP + k % GROUP]
}

/// The byte and the shift at which the code of row `lane` and column `k` sits in q4.
const fn nibble(lane: usize, k: usize) -> (usize, u32) {
    let (group, at) = (k / GROUP, lane * GROUP + k % GROUP);
    (group / 2 * GROUP_BYTES + at, (group % 2) as u32 * 4)
}

/// The row of bytes, and the shift, of the sub-scale of column `k`.
const fn sub_nibble(k: usize) -> (usize, u32) {
    let sub_block = k / SUB_BLOCK;
    (sub_block / 2, (sub_block % 2) as u32 * 4)
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

/// A row of weights, rotated block by block, the last one filled up with zeros.
pub fn rotate_row(weights: &[f32]) -> impl Iterator<Item = [f32; BLOCK]> {
    weights.chunks(BLOCK).map(|weights| {
        let mut values = [0.0; BLOCK];
        values[..weights.len()].copy_from_slice(weights);
        rotate(&mut values);
        values
    })
}

/// Rotates, quantizes and packs up to 16 rows of one panel.
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
    clear(format, codes);
    scales.fill([f16::ZERO; LANES]);
    for (lane, row) in weights.chunks_exact(columns).enumerate() {
        for (block, values) in rotate_row(row).enumerate() {
            let unrepresentable = || {
                let first = block * BLOCK;
                let weights = &row[first..columns.min(first + BLOCK)];
                let bad = |w: &f32| !w.is_finite();
                let k = weights.iter().position(bad);
                let k = k.unwrap_or_else(|| largest(weights));
                Unrepresentable {
                    row: lane,
                    column: first + k,
                    value: weights[k],
                }
            };
            if !values.iter().all(|w| w.is_finite()) {
                return Err(unrepresentable());
            }
            let codes = &mut codes[block * format.code_bytes()..][..format.code_bytes()];
            match format {
                BlockFormat::Q8 => {
                    let quantized = q8::quantize(&values).ok_or_else(unrepresentable)?;
                    place_q8(&quantized, lane, codes, &mut scales[block]);
                }
                BlockFormat::Q4 => {
                    let quantized = q4::quantize(&values).ok_or_else(unrepresentable)?;
                    place_q4(&quantized, lane, codes, &mut scales[block]);
                }
            }
        }
    }
    Ok(())
}

/// Makes codes those of zeros, as the rows of padding have them: q8's code 0 is the byte 128; q4's the nibble 8, with a
/// sub-scale of 1.
///
/// # Panics
/// When `codes` aren't those of whole blocks.
pub fn clear(format: BlockFormat, codes: &mut [u8]) {
    match format {
        BlockFormat::Q8 => codes.fill(0x80),
        BlockFormat::Q4 => bytemuck::cast_slice_mut(codes).fill(CodesQ4 {
            groups: [[0x88; GROUP_BYTES]; GROUPS / 2],
            sub_scales: [[0x11; LANES]; SUB_BLOCKS / 2],
        }),
    }
}

/// Puts one row's block in its place among the codes and scales of a panel's block.
///
/// # Panics
/// When the lane isn't one of 16, or `codes` not [`CodesQ8`].
pub fn place_q8(block: &q8::BlockQ8, lane: usize, codes: &mut [u8], scales: &mut Scales) {
    scales[lane] = block.scale;
    let codes: &mut CodesQ8 = bytemuck::from_bytes_mut(codes);
    for (group, block) in codes.iter_mut().zip(block.codes.as_chunks::<GROUP>().0) {
        let bytes = &mut group.as_chunks_mut::<GROUP>().0[lane];
        *bytes = block.map(|code| code as u8 ^ 0x80);
    }
}

/// Puts one row's block in its place among the codes and scales of a panel's block.
///
/// # Panics
/// When the lane isn't one of 16, or `codes` not [`CodesQ4`].
pub fn place_q4(block: &q4::BlockQ4, lane: usize, codes: &mut [u8], scales: &mut Scales) {
    scales[lane] = block.scale;
    let CodesQ4 { groups, sub_scales } = bytemuck::from_bytes_mut(codes);
    let place = |byte: &mut u8, shift: u32, value: u8| {
        *byte = *byte & !(15 << shift) | value << shift;
    };
    for (k, code) in block.codes.into_iter().enumerate() {
        let (at, shift) = nibble(lane, k);
        let byte = &mut groups.as_flattened_mut()[at];
        place(byte, shift, (code - q4::MIN_CODE) as u8);
    }
    for (j, sub_scale) in block.sub_scales.into_iter().enumerate() {
        let (pair, shift) = sub_nibble(j * SUB_BLOCK);
        place(&mut sub_scales[pair][lane], shift, sub_scale);
    }
}

fn largest(x: &[f32]) -> usize {
    (0..x.len())
        .max_by(|&a, &b| x[a].abs().total_cmp(&x[b].abs()))
        .unwrap_or(0)
}

/// Rotates, quantizes and packs a whole matrix, row-major, on this thread.
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

    #[test]
    fn rows_come_back() {
        for format in BlockFormat::ALL {
            for (rows, columns) in [(1, 1), (16, 128), (17, 129), (40, 300), (5, 64)] {
                let weights: Vec<f32> = (0..rows * columns)
                    .map(|i| (i * 61 % 255) as f32 - 127.0)
                    .collect();
                let bytes = aligned(&quantize(format, &weights, columns).unwrap());
                let m = PackedMatrix::new(format, rows, columns, bytemuck::cast_slice(&bytes));
                let m = m.unwrap();
                for (r, row) in weights.chunks(columns).enumerate() {
                    for (block, values) in rotate_row(row).enumerate() {
                        let expected = match format {
                            BlockFormat::Q8 => q8::dequantize(&q8::quantize(&values).unwrap()),
                            BlockFormat::Q4 => q4::dequantize(&q4::quantize(&values).unwrap()),
                        };
                        assert_eq!(m.rotated(r, block), expected, "{rows}x{columns} row {r}");
                    }
                    let mut out = vec![f32::NAN; columns];
                    m.dequantize_row(r, &mut out);
                    let error: f32 = row.iter().zip(&out).map(|(a, b)| (a - b).powi(2)).sum();
                    let square: f32 = row.iter().map(|a| a * a).sum();
                    let most = if format == BlockFormat::Q8 {
                        1e-3
                    } else {
                        2e-2
                    };
                    assert!(
                        error <= most * square,
                        "{format} {rows}x{columns}: {error} {square}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_bad_weight_is_named() {
        let mut weights = vec![0.5; 20 * 140];
        weights[18 * 140 + 137] = f32::NAN;
        for format in BlockFormat::ALL {
            let error = quantize(format, &weights, 140).unwrap_err();
            assert_eq!((error.row, error.column), (18, 137));
            assert!(error.value.is_nan());
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let bytes = [0u8; 2080];
        let q8 = |rows, columns, len: usize| {
            PackedMatrix::new(BlockFormat::Q8, rows, columns, &bytes[..len]).err()
        };
        assert_eq!(
            q8(0, 128, 0),
            Some(PackedError::Dimensions {
                rows: 0,
                columns: 128
            })
        );
        assert!(matches!(
            q8(16, 128, 2079),
            Some(PackedError::Length {
                expected: 2080,
                found: 2079,
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
