//! The header and the section table: the first 224 bytes of a file.

use crate::error::{FormatError, Place};
use crate::tensor::{MAX_TENSORS, TENSOR_RECORD_LEN};
use std::fmt;
use std::ops::Range;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// The first 8 bytes of a file. As in PNG: not text, and damaged by whatever changes line ends or strips the top bit.
pub const MAGIC: [u8; 8] = *b"\x89RQM\r\n\x1a\n";
/// The version of the format that this crate writes and reads.
pub const VERSION: u32 = 2;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a record of the section table.
pub const SECTION_RECORD_LEN: usize = 32;
/// Sections and tensors start at multiples of this.
pub const ALIGNMENT: usize = 64;
/// The longest configuration, in bytes of JSON.
pub const MAX_CONFIG_LEN: u64 = 1 << 20;
/// The longest provenance, in bytes of JSON.
pub const MAX_PROVENANCE_LEN: u64 = 1 << 20;
/// The longest `tokenizer.json`, in bytes.
pub const MAX_TOKENIZER_LEN: u64 = 64 << 20;

pub(crate) const SECTIONS: usize = Section::ALL.len();
/// Where the section table ends.
pub(crate) const TABLE_END: usize = HEADER_LEN + SECTIONS * SECTION_RECORD_LEN;
/// The bytes that say how long a file is: its header and section table.
pub const START_LEN: usize = TABLE_END;
/// Where the checksum is in the header; it covers what comes before it.
const CHECKSUM_AT: usize = 56;

/// A part of a file, which has each once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Section {
    /// JSON: [`crate::Config`].
    Config = 1,
    /// JSON: [`crate::Provenance`].
    Provenance = 2,
    /// `tokenizer.json`, byte for byte.
    Tokenizer = 3,
    /// A record for each tensor.
    TensorDirectory = 4,
    /// The tensors.
    TensorData = 5,
}

impl Section {
    /// Every section, in file order.
    pub const ALL: [Self; 5] = [
        Self::Config,
        Self::Provenance,
        Self::Tokenizer,
        Self::TensorDirectory,
        Self::TensorData,
    ];

    /// The longest that this section may be.
    pub(crate) const fn max_len(self) -> u64 {
        match self {
            Self::Config => MAX_CONFIG_LEN,
            Self::Provenance => MAX_PROVENANCE_LEN,
            Self::Tokenizer => MAX_TOKENIZER_LEN,
            Self::TensorDirectory => (MAX_TENSORS * TENSOR_RECORD_LEN) as u64,
            Self::TensorData => u64::MAX,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "Config",
            Self::Provenance => "Provenance",
            Self::Tokenizer => "Tokenizer",
            Self::TensorDirectory => "TensorDirectory",
            Self::TensorData => "TensorData",
        })
    }
}

/// How long a file is in all that begins with these bytes, of which the first [`START_LEN`] are needed: for a program that
/// receives a file piece by piece, and takes memory for it once.
///
/// # Errors
/// When no file begins so.
pub fn announced_len(start: &[u8]) -> Result<u64, FormatError> {
    let header = Header::parse_start(start, None)?;
    Ok(header.section(Section::TensorData).end())
}

/// Where a section is, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SectionRecord {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) checksum: u64,
}

impl SectionRecord {
    /// Where the section ends. A record from [`Header::parse`] is within its file, and so can't overflow.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The section's bytes within the file.
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset as usize..self.end() as usize
    }
}

/// The header and section table of a file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The records, in the order of [`Section::ALL`].
    pub(crate) sections: [SectionRecord; SECTIONS],
    /// The checksum of header and table. As they hold all other checksums, it stands for the whole file.
    pub(crate) checksum: u64,
}

impl Header {
    pub(crate) fn section(&self, section: Section) -> &SectionRecord {
        &self.sections[section as usize - 1]
    }

    /// Reads and checks the header and the section table of a whole file, and the padding between the sections.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, FormatError> {
        let header = Self::parse_start(file, Some(file.len() as u64))?;
        let mut end = TABLE_END;
        for record in &header.sections {
            check_padding(file, end..record.range().start)?;
            end = record.range().end;
        }
        Ok(header)
    }

    /// Reads and checks the header and the section table that a file begins with. Without the file's length, what the header
    /// says is taken for it.
    fn parse_start(file: &[u8], file_len: Option<u64>) -> Result<Self, FormatError> {
        let start = &file[..file.len().min(MAGIC.len())];
        if !MAGIC.starts_with(start) {
            return Err(FormatError::Magic {
                found: start.to_vec(),
            });
        }
        let too_short = || FormatError::TooShort {
            found: file.len() as u64,
        };
        let (header, _) = file
            .split_first_chunk::<HEADER_LEN>()
            .ok_or_else(too_short)?;
        match u32_at(header, 8) {
            VERSION => {}
            0 => return Err(FormatError::NoSuchVersion { found: 0 }),
            found @ ..VERSION => return Err(FormatError::OlderVersion { found }),
            found => return Err(FormatError::NewerVersion { found }),
        }
        let count = u32_at(header, 12);
        if count as usize != SECTIONS {
            return Err(FormatError::SectionCount { found: count });
        }
        let expected = u64_at(header, 16);
        let file_len = file_len.unwrap_or(expected);
        if expected != file_len {
            return Err(FormatError::FileLength {
                expected,
                found: file_len,
            });
        }
        let table_offset = u64_at(header, 24);
        if table_offset != HEADER_LEN as u64 {
            return Err(FormatError::TableOffset {
                found: table_offset,
            });
        }
        let table = file.get(HEADER_LEN..TABLE_END).ok_or_else(too_short)?;
        let expected = u64_at(header, CHECKSUM_AT);
        let checksum = header_checksum(header, table);
        if checksum != expected {
            return Err(FormatError::HeaderChecksum {
                expected,
                found: checksum,
            });
        }
        if header[32..CHECKSUM_AT].iter().any(|&b| b != 0) {
            return Err(FormatError::Reserved { offset: 32 });
        }
        let sections = parse_table(table, file_len)?;
        Ok(Self { sections, checksum })
    }

    /// The header and the section table of a file with these sections.
    pub(crate) fn encode(sections: &[SectionRecord; SECTIONS]) -> ([u8; TABLE_END], u64) {
        let mut bytes = [0; TABLE_END];
        let file_len = sections[SECTIONS - 1].end();
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(SECTIONS as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&file_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&(HEADER_LEN as u64).to_le_bytes());
        let (header, table) = bytes.split_at_mut(HEADER_LEN);
        let records = table.chunks_exact_mut(SECTION_RECORD_LEN);
        for ((bytes, section), record) in records.zip(Section::ALL).zip(sections) {
            bytes[..4].copy_from_slice(&(section as u32).to_le_bytes());
            bytes[8..16].copy_from_slice(&record.offset.to_le_bytes());
            bytes[16..24].copy_from_slice(&record.length.to_le_bytes());
            bytes[24..32].copy_from_slice(&record.checksum.to_le_bytes());
        }
        let checksum = header_checksum(header, table);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }
}

fn parse_table(table: &[u8], file_len: u64) -> Result<[SectionRecord; SECTIONS], FormatError> {
    let mut sections = [SectionRecord::default(); SECTIONS];
    let mut end = TABLE_END as u64;
    let records = table.chunks_exact(SECTION_RECORD_LEN);
    for (index, ((bytes, section), record)) in records
        .zip(Section::ALL)
        .zip(sections.iter_mut())
        .enumerate()
    {
        let kind = u32_at(bytes, 0);
        if kind != section as u32 {
            return Err(FormatError::SectionKind {
                index,
                expected: section,
                found: kind,
            });
        }
        if u32_at(bytes, 4) != 0 {
            return Err(FormatError::Reserved {
                offset: (HEADER_LEN + index * SECTION_RECORD_LEN + 4) as u64,
            });
        }
        *record = SectionRecord {
            offset: u64_at(bytes, 8),
            length: u64_at(bytes, 16),
            checksum: u64_at(bytes, 24),
        };
        check_section_len(section, record.length)?;
        let place = Place::Section(section);
        end = check_extent(&place, end, record.offset, record.length, file_len)?;
        if section == Section::TensorData && record.checksum != 0 {
            return Err(FormatError::ChecksumNotZero {
                section,
                found: record.checksum,
            });
        }
    }
    if end != file_len {
        return Err(FormatError::TrailingBytes {
            place: Place::Section(Section::TensorData),
            expected: end,
            found: file_len,
        });
    }
    Ok(sections)
}

/// Checks a section's length against its limits.
pub(crate) fn check_section_len(section: Section, length: u64) -> Result<(), FormatError> {
    if length == 0 {
        return Err(FormatError::EmptySection { section });
    }
    if length > section.max_len() {
        return Err(FormatError::SectionTooLong {
            section,
            found: length,
            limit: section.max_len(),
        });
    }
    Ok(())
}

/// Checks that what starts at `offset` follows what ends at `previous_end` with nothing but padding between, and
/// lies within its container. Returns where it ends.
pub(crate) fn check_extent(
    place: &Place,
    previous_end: u64,
    offset: u64,
    length: u64,
    container_end: u64,
) -> Result<u64, FormatError> {
    let place = || place.clone();
    if !offset.is_multiple_of(ALIGNMENT as u64) {
        return Err(FormatError::Misaligned {
            place: place(),
            offset,
        });
    }
    // A previous end lies within the file, so it is far from overflow.
    let expected = previous_end.next_multiple_of(ALIGNMENT as u64);
    if offset < expected {
        return Err(FormatError::Overlap {
            place: place(),
            expected,
            offset,
        });
    }
    if offset > expected {
        return Err(FormatError::Hole {
            place: place(),
            expected,
            offset,
        });
    }
    offset
        .checked_add(length)
        .filter(|&end| end <= container_end)
        .ok_or_else(|| FormatError::OutOfBounds {
            place: place(),
            offset,
            length,
            end: container_end,
        })
}

/// Checks that the bytes of a gap are zero.
pub(crate) fn check_padding(file: &[u8], gap: Range<usize>) -> Result<(), FormatError> {
    let start = gap.start;
    let bytes = file.get(gap).unwrap_or_default();
    match bytes.iter().position(|&b| b != 0) {
        None => Ok(()),
        Some(at) => Err(FormatError::Padding {
            offset: (start + at) as u64,
        }),
    }
}

/// Checks bytes against the checksum that the file has of them.
pub(crate) fn check_checksum(place: Place, expected: u64, bytes: &[u8]) -> Result<(), FormatError> {
    let found = xxh3_64(bytes);
    if found == expected {
        Ok(())
    } else {
        Err(FormatError::Checksum {
            place,
            expected,
            found,
        })
    }
}

/// XXH3-64, seed 0, of the header up to its checksum and of the table behind it.
fn header_checksum(header: &[u8], table: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&header[..CHECKSUM_AT]);
    hash.update(table);
    hash.digest()
}

/// The little-endian u32 at an offset within a record.
pub(crate) fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| record[at + i]))
}

/// The little-endian u64 at an offset within a record.
pub(crate) fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| record[at + i]))
}
