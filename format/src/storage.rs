//! Where a file's bytes are: mapped, part of the program, or on the heap; always aligned to 64 bytes.
//!
//! This is the crate's one module with unsafe code: the call that maps a file.

#![allow(unsafe_code, reason = "the one place that maps a file")]

use crate::error::FormatError;
use crate::header::ALIGNMENT;
use memmap2::{Mmap, MmapOptions};
use rq_kernels::lanes::Lanes;
use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::{Deref, Range};
use std::path::Path;

/// A file, mapped read-only: its bytes are read when they are used, and are no memory that the system can't take back.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file at `path`. While it is mapped, no program may write to that file in place or cut it; one that
    /// replaces it by another file, as downloads and [`crate::Writer`] do, may.
    ///
    /// # Errors
    /// When the file can't be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let error = |action| {
            move |source| FormatError::Io {
                action,
                path: path.to_path_buf(),
                source,
            }
        };
        let file = File::open(path).map_err(error("open"))?;
        let metadata = file.metadata().map_err(error("open"))?;
        if metadata.is_dir() {
            return Err(error("open")(ErrorKind::IsADirectory.into()));
        }
        if !metadata.is_file() {
            return Err(error("open")(std::io::Error::other("it isn't a file")));
        }
        let map = map(&MmapOptions::new(), &file).map_err(error("map"))?;
        Ok(Self(map))
    }

    /// Makes every page resident, and returns when it is: one call to the system for what would be an interruption for
    /// every few pages as they are first used. A system without such a call isn't asked, and an error is none: then each
    /// page becomes resident when it is used.
    pub fn prefetch(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.0.advise(memmap2::Advice::PopulateRead);
    }
}

/// Maps a file, or a part of it.
fn map(options: &MmapOptions, file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private and read-only, so only a change of the file itself could alter the bytes
    // while they are borrowed. The writer never changes a file: it replaces it by another, and leaves the mapped
    // one as it is. That no other program writes to the file in place is a condition that the documentation
    // states, at `MappedFile::open`, `ModelFile::open` and `ModelFile::open_part`; `ModelFile::from_bytes` doesn't have it.
    unsafe { options.map(file) }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file.
pub(crate) enum Storage {
    /// A file, mapped read-only.
    Mapped(MappedFile),
    /// Bytes of the program that happen to be aligned.
    Static(&'static [u8]),
    /// A copy.
    Owned {
        /// The bytes, and zeros up to the last multiple of 64.
        lanes: Vec<Lanes>,
        /// How many bytes there are.
        len: usize,
    },
}

impl Storage {
    /// Maps the file at `path`.
    pub(crate) fn map(path: &Path) -> Result<Self, FormatError> {
        MappedFile::open(path).map(Self::Mapped)
    }

    /// Maps a part of a file. A part that doesn't begin at a multiple of 64 is copied.
    pub(crate) fn map_part(file: &File, part: Range<u64>) -> Result<Self, FormatError> {
        let error = |action| {
            move |source| FormatError::Io {
                action,
                path: "the given part of a file".into(),
                source,
            }
        };
        let length = file.metadata().map_err(error("look at"))?.len();
        if part.start > part.end || part.end > length {
            return Err(FormatError::Part { part, length });
        }
        let bytes = part.end - part.start;
        if bytes == 0 {
            // Which can't be mapped, and is no model.
            return Ok(Self::Static(&[]));
        }
        let too_large = |_| error("map")(ErrorKind::FileTooLarge.into());
        let mut options = MmapOptions::new();
        options
            .offset(part.start)
            .len(usize::try_from(bytes).map_err(too_large)?);
        let map = map(&options, file).map_err(error("map"))?;
        Ok(match map.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            true => Self::Mapped(MappedFile(map)),
            false => Self::copy(&map),
        })
    }

    /// Makes a mapped file resident. Other bytes are.
    pub(crate) fn prefetch(&self) {
        if let Self::Mapped(file) = self {
            file.prefetch();
        }
    }

    /// Takes bytes; copies them once unless they are static and aligned.
    pub(crate) fn from_bytes(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) => {
                Self::Static(bytes)
            }
            bytes => Self::copy(&bytes),
        }
    }

    /// Bytes on the heap, aligned.
    fn copy(bytes: &[u8]) -> Self {
        let mut lanes = vec![Lanes::ZERO; bytes.len().div_ceil(size_of::<Lanes>())];
        bytemuck::cast_slice_mut::<_, u8>(&mut lanes)[..bytes.len()].copy_from_slice(bytes);
        Self::Owned {
            lanes,
            len: bytes.len(),
        }
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned { lanes, len } => &bytemuck::cast_slice(lanes)[..*len],
        }
    }
}
