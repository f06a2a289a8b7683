//! Every way in which a file can be wrong: one variant an invariant.

use crate::config::ConfigError;
use crate::expected::TensorKind;
use crate::header::{HEADER_LEN, SECTIONS, Section, TABLE_END, VERSION};
use crate::provenance::ProvenanceError;
use crate::tensor::{MAX_DIMENSION, MAX_NAME_LEN, TENSOR_RECORD_LEN, TensorFormat};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Where in a file an error lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A section.
    Section(Section),
    /// A tensor, by its name.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(section) => write!(f, "the section {section}"),
            Self::Tensor(name) => write!(f, "the tensor `{name}`"),
        }
    }
}

/// Why a file can't be read or written.
///
/// Offsets and lengths are in bytes; offsets count from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// The disk has no room for a file.
    #[error("can't write {}, which takes {} kB", path.display(), needed.div_ceil(1000))]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Its length when it is whole.
        needed: u64,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// What is at an output's place isn't a file, and can't be replaced by one.
    #[error("{} is {what}, and nothing is put in its place; name a file", path.display())]
    NotAFile {
        /// The place.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },

    /// A part that isn't within its file.
    #[error("bytes {} to {} of a file of {length}", part.start, part.end)]
    Part {
        /// The part.
        part: Range<u64>,
        /// The file's length.
        length: u64,
    },

    /// The file doesn't begin with [`crate::MAGIC`].
    #[error("not an rq model: the file begins with the bytes {found:02x?}")]
    Magic {
        /// Its first bytes, at most 8.
        found: Vec<u8>,
    },
    /// The file ends before the section table does.
    #[error(
        "the file has {found} bytes; its header ({HEADER_LEN} bytes) and section table end at {TABLE_END}"
    )]
    TooShort {
        /// The file's length.
        found: u64,
    },
    /// The file was made by a later version of this crate.
    #[error("made by a newer rq: version {found} of the format; this one reads version {VERSION}")]
    NewerVersion {
        /// The file's version.
        found: u32,
    },
    /// The file was made by an earlier version of this crate, before its first release.
    #[error(
        "made by an earlier rq: version {found} of the format, which this one no longer reads; convert the model again"
    )]
    OlderVersion {
        /// The file's version.
        found: u32,
    },
    /// The file claims a version that never was.
    #[error("version {found} of the format doesn't exist; the first is 1")]
    NoSuchVersion {
        /// The file's version.
        found: u32,
    },
    /// A file has exactly five sections.
    #[error("the header counts {found} sections; version {VERSION} has {SECTIONS}")]
    SectionCount {
        /// The header's count.
        found: u32,
    },
    /// The section table follows the header.
    #[error("the section table is at offset {found}; it follows the header, at {HEADER_LEN}")]
    TableOffset {
        /// The header's offset.
        found: u64,
    },
    /// The file isn't as long as it says: it was cut, or something was appended.
    #[error("the header says that the file has {expected} bytes; it has {found}")]
    FileLength {
        /// The header's length.
        expected: u64,
        /// The file's length.
        found: u64,
    },
    /// The header or the section table is damaged.
    #[error(
        "the header and the section table are damaged: their checksum is {found:016x}, not {expected:016x}"
    )]
    HeaderChecksum {
        /// The checksum in the header.
        expected: u64,
        /// That of the bytes.
        found: u64,
    },
    /// A reserved field isn't zero.
    #[error("the reserved bytes at offset {offset} aren't zero")]
    Reserved {
        /// Where the field begins.
        offset: u64,
    },
    /// The section table has a kind that doesn't belong there.
    #[error(
        "record {index} of the section table is of kind {found}; version {VERSION} has {expected} ({}) there",
        *expected as u32
    )]
    SectionKind {
        /// Which record, from 0.
        index: usize,
        /// The kind that belongs there.
        expected: Section,
        /// The kind found.
        found: u32,
    },

    /// A section or tensor doesn't start at a multiple of 64.
    #[error("{place} starts at offset {offset}, not at a multiple of 64")]
    Misaligned {
        /// What.
        place: Place,
        /// Where it starts.
        offset: u64,
    },
    /// A section or tensor starts before the one before it ends.
    #[error("{place} starts at offset {offset} and overlaps what ends before {expected}")]
    Overlap {
        /// What.
        place: Place,
        /// Where it should start.
        expected: u64,
        /// Where it starts.
        offset: u64,
    },
    /// Between a section or tensor and the one before it lies more than padding.
    #[error(
        "{place} starts at offset {offset}, not at {expected}: the bytes between belong to nothing"
    )]
    Hole {
        /// What.
        place: Place,
        /// Where it should start.
        expected: u64,
        /// Where it starts.
        offset: u64,
    },
    /// A section or tensor ends after that which contains it.
    #[error("{place} has {length} bytes from offset {offset}; its container ends at {end}")]
    OutOfBounds {
        /// What.
        place: Place,
        /// Where it starts.
        offset: u64,
        /// Its length.
        length: u64,
        /// The end of the file, or of the tensor data.
        end: u64,
    },
    /// Bytes follow the last section, or the last tensor.
    #[error("{place} ends at offset {found}; its content ends at {expected}")]
    TrailingBytes {
        /// The last section.
        place: Place,
        /// Where its content ends.
        expected: u64,
        /// Where the file, or the section, ends.
        found: u64,
    },
    /// A byte of padding isn't zero.
    #[error("the padding at offset {offset} isn't zero")]
    Padding {
        /// Which byte.
        offset: u64,
    },
    /// A section that must say something is empty.
    #[error("the section {section} is empty")]
    EmptySection {
        /// Which.
        section: Section,
    },
    /// A section is longer than any reader would accept.
    #[error("the section {section} has {found} bytes; the limit is {limit}")]
    SectionTooLong {
        /// Which.
        section: Section,
        /// Its length.
        found: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// Content isn't what was written.
    #[error("{place} is damaged: its checksum is {found:016x}, not {expected:016x}")]
    Checksum {
        /// What.
        place: Place,
        /// The checksum in the file.
        expected: u64,
        /// That of the bytes.
        found: u64,
    },
    /// A section's checksum field isn't zero although its tensors carry the checksums.
    #[error(
        "the section {section} has the checksum {found:016x}; version {VERSION} has zero there"
    )]
    ChecksumNotZero {
        /// Which.
        section: Section,
        /// What is there.
        found: u64,
    },

    /// A section's JSON is malformed.
    #[error("the section {section} isn't the JSON that it should be")]
    Json {
        /// Which.
        section: Section,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The configuration contradicts itself or exceeds a limit.
    #[error("the configuration isn't valid")]
    Config(#[from] ConfigError),
    /// The provenance isn't well-formed.
    #[error("the provenance isn't valid")]
    Provenance(#[from] ProvenanceError),

    /// The tensor directory isn't whole records.
    #[error("the tensor directory has {found} bytes, not a multiple of {TENSOR_RECORD_LEN}")]
    DirectoryLength {
        /// Its length.
        found: u64,
    },
    /// A tensor's name isn't 1 to 71 letters, digits, dots, hyphens and underscores, then NULs.
    #[error(
        "tensor {index} is named \"{}\"; a name is 1 to {MAX_NAME_LEN} ASCII letters, digits, '.', '-' and '_', then NULs",
        found.escape_ascii()
    )]
    TensorName {
        /// Which record, from 0.
        index: usize,
        /// The bytes of the name.
        found: Vec<u8>,
    },
    /// Two tensors have one name.
    #[error("two tensors are named `{name}`")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A tensor's format isn't one of this version's.
    #[error(
        "the tensor `{name}` has the format {found}; version {VERSION} has 0 (f32), 1 (q8) and 2 (q4)"
    )]
    UnknownTensorFormat {
        /// Which.
        name: String,
        /// The number found.
        found: u32,
    },
    /// A tensor has a dimension of zero or beyond the limit.
    #[error(
        "the tensor `{name}` is {rows} x {columns}; each dimension is from 1 to {MAX_DIMENSION}"
    )]
    Dimensions {
        /// Which.
        name: String,
        /// Its rows.
        rows: u64,
        /// Its columns.
        columns: u64,
    },
    /// A tensor's bytes exceed what this machine can address.
    #[error("the tensor `{name}` ({rows} x {columns}) is larger than this machine can address")]
    TooLarge {
        /// Which.
        name: String,
        /// Its rows.
        rows: u64,
        /// Its columns.
        columns: u64,
    },
    /// A tensor's length isn't that of its format and shape.
    #[error(
        "the tensor `{name}` ({format}, {rows} x {columns}) takes {expected} bytes, not {found}"
    )]
    TensorLength {
        /// Which.
        name: String,
        /// Its format.
        format: TensorFormat,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// The bytes that it takes.
        expected: u64,
        /// The bytes that it has.
        found: u64,
    },
    /// A tensor holds something that isn't a weight: NaN, an infinity, the q8 code -128, a q4 sub-scale of 0, or padding that
    /// isn't zero.
    #[error("the tensor `{name}` has {found} at byte {offset} of its content")]
    Value {
        /// Which.
        name: String,
        /// Where, from the tensor's first byte.
        offset: usize,
        /// What.
        found: &'static str,
    },

    /// The model needs a tensor that the file doesn't have.
    #[error("the tensor `{name}` is missing")]
    MissingTensor {
        /// Which.
        name: String,
    },
    /// The file has a tensor that the model doesn't need.
    #[error("the tensor `{name}` belongs to no model of this configuration")]
    UnexpectedTensor {
        /// Which.
        name: String,
    },
    /// A tensor has another shape than the model needs.
    #[error(
        "the tensor `{name}` is {} x {}, not {} x {}",
        found.0, found.1, expected.0, expected.1
    )]
    Shape {
        /// Which.
        name: String,
        /// Rows and columns that it should have.
        expected: (usize, usize),
        /// Rows and columns that it has.
        found: (usize, usize),
    },
    /// A tensor has a format that its place in the model doesn't allow.
    #[error("the tensor `{name}` is in {found}; {kind}")]
    FormatNotAllowed {
        /// Which.
        name: String,
        /// What it is in the model.
        kind: TensorKind,
        /// Its format.
        found: TensorFormat,
    },

    /// There is no tensor of that name.
    #[error("there is no tensor `{name}`")]
    NoSuchTensor {
        /// The name asked for.
        name: String,
    },
    /// Packed blocks were asked of a tensor of floats.
    #[error("the tensor `{name}` is in f32, not in blocks")]
    NotPacked {
        /// Which.
        name: String,
    },
    /// Floats were asked of a tensor of packed blocks.
    #[error("the tensor `{name}` is in {found}, not in f32")]
    NotFloats {
        /// Which.
        name: String,
        /// Its format.
        found: TensorFormat,
    },

    /// A tensor was given to the writer a second time.
    #[error("the tensor `{name}` was written twice")]
    WrittenTwice {
        /// Which.
        name: String,
    },
    /// The writer was to finish before it had every tensor.
    #[error("{count} tensors were never written, the first is `{name}`")]
    NotWritten {
        /// The first one.
        name: String,
        /// How many.
        count: usize,
    },
}
