//! Tensors: their formats, their records in the directory, and what their bytes may hold.

use crate::config::Config;
use crate::error::{FormatError, Place};
use crate::header::{SectionRecord, check_extent, u32_at, u64_at};
use rq_kernels::lanes::{LANES, Lanes, panels_for};
use rq_kernels::packed::{BlockFormat, CodesQ4, Scales};
use std::collections::HashSet;
use std::fmt;
use std::mem::offset_of;
use std::ops::Range;

/// Bytes of a record of the tensor directory.
pub const TENSOR_RECORD_LEN: usize = 128;
/// The most tensors in a file.
pub const MAX_TENSORS: usize = 1 << 16;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME_LEN: usize = NAME_FIELD_LEN - 1;
/// The largest dimension of a tensor.
pub const MAX_DIMENSION: u64 = 1 << 31;

/// Bytes of a record's name, at least one NUL included.
const NAME_FIELD_LEN: usize = 72;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum TensorFormat {
    /// f32, row after row, each filled up with zeros to a multiple of 16 columns.
    F32 = 0,
    /// Packed panels of q8 blocks.
    Q8 = 1,
    /// Packed panels of q4 blocks.
    Q4 = 2,
}

impl TensorFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::Q8, Self::Q4];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q8 => BlockFormat::Q8.name(),
            Self::Q4 => BlockFormat::Q4.name(),
        }
    }

    /// The format of the blocks, unless these are floats.
    pub const fn block(self) -> Option<BlockFormat> {
        match self {
            Self::F32 => None,
            Self::Q8 => Some(BlockFormat::Q8),
            Self::Q4 => Some(BlockFormat::Q4),
        }
    }

    /// The bytes that `rows` x `columns` take, or `None` on overflow.
    pub fn byte_len(self, rows: usize, columns: usize) -> Option<usize> {
        match self.block() {
            None => panels_for(columns)
                .checked_mul(size_of::<Lanes>())?
                .checked_mul(rows),
            Some(format) => format.packed_len(rows, columns),
        }
    }
}

impl From<BlockFormat> for TensorFormat {
    fn from(format: BlockFormat) -> Self {
        match format {
            BlockFormat::Q8 => Self::Q8,
            BlockFormat::Q4 => Self::Q4,
        }
    }
}

impl fmt::Display for TensorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub format: TensorFormat,
    /// Rows, without padding.
    pub rows: usize,
    /// Columns, without padding.
    pub columns: usize,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub format: TensorFormat,
    /// Rows, without padding.
    pub rows: usize,
    /// Columns, without padding.
    pub columns: usize,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// The XXH3-64 of its bytes.
    pub checksum: u64,
}

impl TensorInfo {
    /// The tensor's bytes within the file. A tensor from [`parse_directory`] is within its file.
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.length) as usize
    }

    /// The record of this tensor.
    pub(crate) fn encode(&self) -> [u8; TENSOR_RECORD_LEN] {
        let mut record = [0; TENSOR_RECORD_LEN];
        record[..self.name.len()].copy_from_slice(self.name.as_bytes());
        record[72..76].copy_from_slice(&(self.format as u32).to_le_bytes());
        record[80..88].copy_from_slice(&(self.rows as u64).to_le_bytes());
        record[88..96].copy_from_slice(&(self.columns as u64).to_le_bytes());
        record[96..104].copy_from_slice(&self.offset.to_le_bytes());
        record[104..112].copy_from_slice(&self.length.to_le_bytes());
        record[112..120].copy_from_slice(&self.checksum.to_le_bytes());
        record
    }

    /// Reads record `index`; `at` is where it starts in the file.
    fn parse(index: usize, record: &[u8], at: u64) -> Result<Self, FormatError> {
        let name = parse_name(index, &record[..NAME_FIELD_LEN])?;
        for reserved in [76..80, 120..128] {
            if record[reserved.clone()].iter().any(|&b| b != 0) {
                let offset = at + reserved.start as u64;
                return Err(FormatError::Reserved { offset });
            }
        }
        let number = u32_at(record, 72);
        let Some(format) = TensorFormat::ALL
            .into_iter()
            .find(|&format| format as u32 == number)
        else {
            return Err(FormatError::UnknownTensorFormat {
                name,
                found: number,
            });
        };
        let (rows, columns) = (u64_at(record, 80), u64_at(record, 88));
        let legal = 1..=MAX_DIMENSION;
        if !legal.contains(&rows) || !legal.contains(&columns) {
            return Err(FormatError::Dimensions {
                name,
                rows,
                columns,
            });
        }
        // Both fit: 2^31 is a usize wherever this compiles.
        let info = Self {
            name,
            format,
            rows: rows as usize,
            columns: columns as usize,
            offset: u64_at(record, 96),
            length: u64_at(record, 104),
            checksum: u64_at(record, 112),
        };
        check_length(&info.name, format, info.rows, info.columns, info.length)?;
        Ok(info)
    }
}

fn parse_name(index: usize, field: &[u8]) -> Result<String, FormatError> {
    let len = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let (name, padding) = field.split_at(len);
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty()
        || padding.is_empty()
        || !name.iter().all(legal)
        || padding.iter().any(|&b| b != 0)
    {
        return Err(FormatError::TensorName {
            index,
            found: field.trim_ascii_end().to_vec(),
        });
    }
    Ok(name.iter().copied().map(char::from).collect())
}

/// Checks a byte count against a format and a shape.
pub(crate) fn check_length(
    name: &str,
    format: TensorFormat,
    rows: usize,
    columns: usize,
    found: u64,
) -> Result<(), FormatError> {
    let Some(expected) = format.byte_len(rows, columns) else {
        return Err(FormatError::TooLarge {
            name: name.into(),
            rows: rows as u64,
            columns: columns as u64,
        });
    };
    if expected as u64 != found {
        return Err(FormatError::TensorLength {
            name: name.into(),
            format,
            rows,
            columns,
            expected: expected as u64,
            found,
        });
    }
    Ok(())
}

/// The tensors of a file, checked, and an index by name.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl Directory {
    /// Reads and checks the directory; `bytes` is its section, `at` where that starts, `data` the tensors' section.
    pub(crate) fn parse(bytes: &[u8], at: u64, data: &SectionRecord) -> Result<Self, FormatError> {
        if !bytes.len().is_multiple_of(TENSOR_RECORD_LEN) {
            return Err(FormatError::DirectoryLength {
                found: bytes.len() as u64,
            });
        }
        let mut tensors = Vec::with_capacity(bytes.len() / TENSOR_RECORD_LEN);
        let mut end = data.offset;
        for (index, record) in bytes.chunks_exact(TENSOR_RECORD_LEN).enumerate() {
            let at = at + (index * TENSOR_RECORD_LEN) as u64;
            let tensor = TensorInfo::parse(index, record, at)?;
            let place = Place::Tensor(tensor.name.clone());
            end = check_extent(&place, end, tensor.offset, tensor.length, data.end())?;
            tensors.push(tensor);
        }
        if end != data.end() {
            return Err(FormatError::TrailingBytes {
                place: Place::Section(crate::header::Section::TensorData),
                expected: end,
                found: data.end(),
            });
        }
        Self::new(tensors)
    }

    /// Indexes tensors by name.
    pub(crate) fn new(tensors: Vec<TensorInfo>) -> Result<Self, FormatError> {
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        by_name.sort_unstable_by_key(|&i| &tensors[i as usize].name);
        let name = |i: u32| &tensors[i as usize].name;
        if let Some(pair) = by_name.windows(2).find(|p| name(p[0]) == name(p[1])) {
            return Err(FormatError::DuplicateTensor {
                name: name(pair[0]).clone(),
            });
        }
        Ok(Self { tensors, by_name })
    }

    /// Where the tensor of that name is in the directory.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name
            .binary_search_by_key(&name, |&i| &self.tensors[i as usize].name)
            .ok()
            .map(|at| self.by_name[at] as usize)
    }

    /// Checks that these are exactly the tensors of a model of this configuration.
    pub(crate) fn check_against(&self, config: &Config) -> Result<(), FormatError> {
        let expected = config.expected_tensors();
        for tensor in &expected {
            let Some(at) = self.position(&tensor.name) else {
                return Err(FormatError::MissingTensor {
                    name: tensor.name.clone(),
                });
            };
            let found = &self.tensors[at];
            tensor.check(found.format, found.rows, found.columns)?;
        }
        if self.tensors.len() > expected.len() {
            let known: HashSet<&str> = expected.iter().map(|t| t.name.as_str()).collect();
            if let Some(extra) = self
                .tensors
                .iter()
                .find(|t| !known.contains(t.name.as_str()))
            {
                return Err(FormatError::UnexpectedTensor {
                    name: extra.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Checks what a tensor's bytes hold: floats and scales are finite, no q8 code is -128, no q4 sub-scale is 0, and padding
/// is zero where a kernel relies on it (the columns of floats, the rows of panels).
///
/// `bytes` has the length of `format` and shape.
pub(crate) fn check_values(
    name: &str,
    format: TensorFormat,
    rows: usize,
    columns: usize,
    bytes: &[u8],
) -> Result<(), FormatError> {
    let fail = |offset, found| {
        Err(FormatError::Value {
            name: name.into(),
            offset,
            found,
        })
    };
    let Some(block) = format.block() else {
        let row_len = panels_for(columns) * LANES;
        for (r, row) in bytes.chunks_exact(4 * row_len).enumerate() {
            for (c, x) in row.as_chunks::<4>().0.iter().enumerate() {
                let x = f32::from_le_bytes(*x);
                let offset = 4 * (r * row_len + c);
                if !x.is_finite() {
                    return fail(offset, "a float that isn't finite");
                }
                if c >= columns && x.to_bits() != 0 {
                    return fail(offset, "padding that isn't zero");
                }
            }
        }
        return Ok(());
    };
    let blocks = bytes.len() / (block.code_bytes() + size_of::<Scales>());
    let (codes, scales) = bytes.split_at(blocks * block.code_bytes());
    match block {
        // `contains` searches bytes many at a time, `position` one by one.
        BlockFormat::Q8 if codes.contains(&0) => {
            let offset = codes.iter().position(|&b| b == 0).unwrap_or_default();
            return fail(offset, "the code -128");
        }
        BlockFormat::Q8 => {}
        BlockFormat::Q4 => {
            for (i, block) in codes.chunks_exact(block.code_bytes()).enumerate() {
                let sub_scales = &block[offset_of!(CodesQ4, sub_scales)..];
                if let Some(at) = sub_scales.iter().position(|&b| b & 15 == 0 || b >> 4 == 0) {
                    let offset = i * block.len() + offset_of!(CodesQ4, sub_scales) + at;
                    return fail(offset, "a sub-scale of 0");
                }
            }
        }
    }
    let blocks_per_panel = blocks / panels_for(rows);
    for (i, scale) in scales.as_chunks::<2>().0.iter().enumerate() {
        let magnitude = u16::from_le_bytes(*scale) & 0x7fff;
        let offset = codes.len() + 2 * i;
        if magnitude >= 0x7c00 {
            return fail(offset, "a scale that isn't finite");
        }
        let row = i / LANES / blocks_per_panel * LANES + i % LANES;
        if row >= rows && magnitude != 0 {
            return fail(offset, "the scale of a row of padding, which isn't zero");
        }
    }
    Ok(())
}
