//! Files that `torch.save` writes, such as `pytorch_model.bin`. Since 1.6: a zip, nothing compressed, with a pickle that describes
//! the tensors ([`pickle`]) and one entry for each storage. Every entry is below one directory:
//!
//! ```text
//! pytorch_model/data.pkl     the state dictionary
//! pytorch_model/byteorder    "little"; not in older files
//! pytorch_model/data/0       the bytes of the storage "0"
//! ```
//!
//! Before 1.6, and since then on request, it wrote pickles one behind the other, and then each storage behind its length:
//!
//! ```text
//! pickle     a number that says what the file is
//! pickle     1001, the version of the format
//! pickle     the machine: `{"little_endian": True, ...}`
//! pickle     the state dictionary
//! pickle     the names of the storages, in the order in which they follow
//! storages   for each, the number of its elements in 8 bytes, and its bytes
//! ```
//!
//! The writer: <https://github.com/pytorch/pytorch/blob/v2.8.0/torch/serialization.py>, `_save` and `_legacy_save`.

use super::pickle::{self, PickleError, View};
use rawzip::{CompressionMethod, ZipArchive, ZipSliceArchive};
use rayon::prelude::*;
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a file from before 1.6 begins with: a pickle of a number, and one of 1001.
const LEGACY_MAGIC: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
/// What a zip begins with that has an entry.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// The most entries: a model has one for each tensor, and a few.
const MAX_ENTRIES: u64 = 1 << 15;

/// Why a file of torch's isn't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// It is neither a zip nor in the format from before 1.6.
    #[error(
        "it isn't what torch.save writes: neither a zip nor torch's format before 1.6; download it again"
    )]
    NotTorch,
    /// The zip's directory is damaged or missing.
    #[error("the zip is incomplete or damaged ({reason}); download it again")]
    Zip {
        /// What the parser says.
        reason: String,
    },
    /// Something follows the zip, or the last storage.
    #[error("{bytes} bytes follow its end; download it again")]
    Trailing {
        /// How many.
        bytes: u64,
    },
    /// An entry of the zip isn't as torch writes it.
    #[error("the entry `{entry}` of the zip {problem}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The zip has too many entries.
    #[error("the zip has {found} entries, and rq reads up to {MAX_ENTRIES}")]
    TooManyEntries {
        /// How many.
        found: u64,
    },
    /// The zip has no pickle.
    #[error("the zip has no data.pkl, so it isn't what torch.save writes")]
    NoPickle,
    /// The content of an entry has another checksum than the zip's directory says.
    #[error(
        "the entry `{entry}` of the zip has the CRC-32 {found:08x} instead of {expected:08x}; download it again"
    )]
    Checksum {
        /// Its name.
        entry: String,
        /// What the directory says.
        expected: u32,
        /// What the content has.
        found: u32,
    },
    /// It was written on a machine with the other order of bytes.
    #[error("its bytes are in the order `{found}`; rq reads `little`")]
    ByteOrder {
        /// What the file says.
        found: String,
    },
    /// The pickle isn't one of weights.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// A tensor's storage isn't there.
    #[error("the tensor `{tensor}` is in the storage `{storage}`, which the file doesn't have")]
    NoStorage {
        /// Which tensor.
        tensor: String,
        /// The storage.
        storage: String,
    },
    /// A storage hasn't the length that the pickle says.
    #[error(
        "the tensor `{tensor}` is in the storage `{storage}` of {found} bytes, which should have {expected} elements of {element} bytes"
    )]
    StorageLength {
        /// Which tensor.
        tensor: String,
        /// The storage.
        storage: String,
        /// What the pickle says.
        expected: usize,
        /// The bytes of an element.
        element: usize,
        /// What the file has.
        found: usize,
    },
    /// In the format from before 1.6, a storage's name is there twice.
    #[error("it has the storage `{storage}` twice")]
    StorageTwice {
        /// Its name.
        storage: String,
    },
    /// In the format from before 1.6, the file ends within a storage, or a storage's length can't be.
    #[error("it ends within the storage `{storage}`; download it again")]
    StorageTruncated {
        /// Its name.
        storage: String,
    },
    /// A tensor isn't within its storage.
    #[error(
        "the tensor `{tensor}`, of shape {shape:?}, strides {strides:?} and offset {offset}, isn't within its storage of {storage_len} elements"
    )]
    OutOfStorage {
        /// Which tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides.
        strides: Vec<usize>,
        /// Its first element.
        offset: usize,
        /// The elements of the storage.
        storage_len: usize,
    },
}

/// A tensor, and where it is in the file. All of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TorchTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Elements from one to the next in each dimension; none if they follow each other as the shape says.
    pub(crate) strides: Option<Vec<usize>>,
    /// From the first element to the last.
    pub(crate) range: Range<usize>,
}

/// Finds the tensors of a file. Their storages' checksums are compared, which reads them once, in parallel; nothing
/// is copied.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, TorchTensor>, TorchError> {
    if let Some(rest) = bytes.strip_prefix(LEGACY_MAGIC) {
        return read_legacy(rest, LEGACY_MAGIC.len());
    }
    if !bytes.starts_with(ZIP_MAGIC) {
        return Err(TorchError::NotTorch);
    }
    let zip = Zip::read(bytes)?;
    let (root, pickle) = zip.pickle()?;
    if let Some(order) = zip.entries.get(&format!("{root}byteorder")) {
        let order = &bytes[order.range.clone()];
        if order != b"little" {
            let shown = &order[..order.len().min(16)];
            let found = shown.escape_ascii().to_string();
            return Err(TorchError::ByteOrder { found });
        }
    }
    zip.check(&format!("{root}data.pkl"), pickle)?;
    let views = pickle::read(&bytes[pickle.range.clone()])?;

    let mut tensors = BTreeMap::new();
    let mut used = BTreeMap::new();
    for (name, view) in views {
        let storage = format!("{root}data/{}", view.storage);
        let Some(entry) = zip.entries.get(&storage) else {
            return Err(TorchError::NoStorage {
                tensor: name,
                storage: view.storage,
            });
        };
        let tensor = place(&name, view, &entry.range)?;
        used.insert(storage, entry);
        tensors.insert(name, tensor);
    }
    used.par_iter()
        .try_for_each(|(name, entry)| zip.check(name, entry))?;
    Ok(tensors)
}

/// Finds the tensors of a file from before 1.6: what follows its first `start` bytes.
fn read_legacy(bytes: &[u8], start: usize) -> Result<BTreeMap<String, TorchTensor>, TorchError> {
    let legacy = pickle::read_legacy(bytes)?;
    if !legacy.little_endian {
        let found = "big".into();
        return Err(TorchError::ByteOrder { found });
    }
    let (mut ranges, mut at) = (BTreeMap::new(), legacy.len);
    for (storage, dtype) in legacy.storages {
        let range = storage_at(bytes, at, dtype);
        let Some(range) = range else {
            return Err(TorchError::StorageTruncated { storage });
        };
        at = range.end;
        let range = start + range.start..start + range.end;
        if ranges.insert(storage.clone(), range).is_some() {
            return Err(TorchError::StorageTwice { storage });
        }
    }
    if at < bytes.len() {
        let bytes = (bytes.len() - at) as u64;
        return Err(TorchError::Trailing { bytes });
    }
    let place = |(name, view): (String, View)| match ranges.get(&view.storage) {
        Some(range) => Ok((name.clone(), place(&name, view, range)?)),
        None => Err(TorchError::NoStorage {
            tensor: name,
            storage: view.storage,
        }),
    };
    legacy.tensors.into_iter().map(place).collect()
}

/// The content of a storage whose length is at `at`; nothing if the file ends before it does.
fn storage_at(bytes: &[u8], at: usize, dtype: Dtype) -> Option<Range<usize>> {
    let len = bytes.get(at..)?.first_chunk().copied()?;
    let len = usize::try_from(u64::from_le_bytes(len)).ok()?;
    let start = at + size_of::<u64>();
    let end = len.checked_mul(dtype.bitsize() / 8)?.checked_add(start)?;
    (end <= bytes.len()).then_some(start..end)
}

/// Checks a view against its storage, which is at `range` in the file.
fn place(name: &str, view: View, range: &Range<usize>) -> Result<TorchTensor, TorchError> {
    let element = view.dtype.bitsize() / 8;
    if view.storage_len.checked_mul(element) != Some(range.len()) {
        return Err(TorchError::StorageLength {
            tensor: name.into(),
            storage: view.storage,
            expected: view.storage_len,
            element,
            found: range.len(),
        });
    }
    // From the first element to behind the last; nothing of a tensor without elements.
    let extent = match view.shape.contains(&0) {
        true => Some(0),
        false => (view.shape.iter().zip(&view.strides))
            .try_fold(1_usize, |extent, (&n, &stride)| {
                extent.checked_add((n - 1).checked_mul(stride)?)
            }),
    };
    let elements = (view.shape.iter()).try_fold(1_usize, |product, &n| product.checked_mul(n));
    let end = extent
        .zip(elements)
        .and_then(|(extent, _)| view.offset.checked_add(extent))
        .filter(|&end| end <= view.storage_len);
    let Some(end) = end else {
        return Err(TorchError::OutOfStorage {
            tensor: name.into(),
            shape: view.shape,
            strides: view.strides,
            offset: view.offset,
            storage_len: view.storage_len,
        });
    };
    // No product overflows: it is at most the storage's length, which is that of an entry.
    Ok(TorchTensor {
        dtype: view.dtype,
        strides: (!is_contiguous(&view.shape, &view.strides)).then_some(view.strides),
        shape: view.shape,
        range: range.start + view.offset * element..range.start + end * element,
    })
}

/// Whether elements follow each other in the order of their indices. The stride of a dimension of one element means
/// nothing.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    (shape.iter().zip(strides).rev()).all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}

/// The entries of a zip, each in one piece, none over another.
struct Zip<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<String, ZipEntry>,
}

struct ZipEntry {
    range: Range<usize>,
    crc: u32,
}

impl<'a> Zip<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, TorchError> {
        let damaged = |error: rawzip::Error| TorchError::Zip {
            reason: error.to_string(),
        };
        let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
        let trailing = (bytes.len() as u64).saturating_sub(archive.end_offset());
        if trailing > 0 {
            return Err(TorchError::Trailing { bytes: trailing });
        }
        if archive.entries_hint() > MAX_ENTRIES {
            return Err(TorchError::TooManyEntries {
                found: archive.entries_hint(),
            });
        }
        let mut entries = BTreeMap::new();
        let mut extents = Vec::new();
        for record in archive.entries() {
            let record = record.map_err(damaged)?;
            let path = record.file_path();
            let name = String::from_utf8_lossy(path.as_bytes());
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            let problem = |problem| TorchError::Entry {
                entry: name.clone(),
                problem,
            };
            if path.as_bytes() != name.as_bytes() {
                return Err(problem("has a name that isn't text"));
            }
            if record.compression_method() != CompressionMethod::STORE
                || record.compressed_size_hint() != record.uncompressed_size_hint()
            {
                return Err(problem("is compressed; torch.save compresses nothing"));
            }
            if record.flags().is_encrypted() {
                return Err(problem("is encrypted"));
            }
            let entry = archive.get_entry(record.wayfinder());
            let entry = entry.map_err(|_| problem("isn't where the zip's directory says"))?;
            if entry.local_header().file_path().as_bytes() != name.as_bytes() {
                return Err(problem("has another name where it is"));
            }
            let (start, end) = entry.compressed_data_range();
            if end > archive.directory_offset() {
                return Err(problem("reaches into the zip's directory"));
            }
            extents.push((record.local_header_offset()..end, name.clone()));
            let entry = ZipEntry {
                range: start as usize..end as usize,
                crc: record.crc32(),
            };
            if entries.insert(name.clone(), entry).is_some() {
                return Err(problem("is there twice"));
            }
        }
        count_is_right(&archive, entries.len())?;
        extents.sort_by_key(|(extent, _)| extent.start);
        for pair in extents.windows(2) {
            let ((before, _), (after, name)) = (&pair[0], &pair[1]);
            if before.end > after.start {
                return Err(TorchError::Entry {
                    entry: name.clone(),
                    problem: "begins within another",
                });
            }
        }
        Ok(Self { bytes, entries })
    }

    /// The one directory, with its slash, and the pickle in it.
    fn pickle(&self) -> Result<(&str, &ZipEntry), TorchError> {
        let mut pickles = self.entries.iter().filter_map(|(name, entry)| {
            let root = name.strip_suffix("data.pkl")?;
            (root.find('/') == root.len().checked_sub(1) && root.len() > 1).then_some((root, entry))
        });
        match (pickles.next(), pickles.next()) {
            (Some(pickle), None) => Ok(pickle),
            (Some(_), Some((root, _))) => Err(TorchError::Entry {
                entry: format!("{root}data.pkl"),
                problem: "is a second pickle",
            }),
            (None, _) => Err(TorchError::NoPickle),
        }
    }

    /// Compares an entry's checksum. Zero is what torch writes when it is told to compute none.
    fn check(&self, name: &str, entry: &ZipEntry) -> Result<(), TorchError> {
        if entry.crc == 0 {
            return Ok(());
        }
        let found = rawzip::crc32(&self.bytes[entry.range.clone()]);
        if found != entry.crc {
            return Err(TorchError::Checksum {
                entry: name.into(),
                expected: entry.crc,
                found,
            });
        }
        Ok(())
    }
}

/// Checks that the directory has as many entries as its end says.
fn count_is_right(archive: &ZipSliceArchive<&[u8]>, found: usize) -> Result<(), TorchError> {
    if archive.entries_hint() != found as u64 {
        return Err(TorchError::Zip {
            reason: format!("{found} entries of {}", archive.entries_hint()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &[u8] = include_bytes!("../../tests/data/pytorch_model.bin");
    const LEGACY: &[u8] = include_bytes!("../../tests/data/pytorch_model_legacy.bin");

    /// Reads a file; every tensor that it gives must be there.
    fn read_within(bytes: &[u8]) {
        for tensor in read(bytes).into_iter().flatten().map(|(_, tensor)| tensor) {
            assert!(tensor.range.start <= tensor.range.end && tensor.range.end <= bytes.len());
            if tensor.strides.is_none() {
                let elements: usize = tensor.shape.iter().product();
                assert_eq!(tensor.range.len(), elements * tensor.dtype.bitsize() / 8);
            }
        }
    }

    #[test]
    fn any_length_but_the_whole_is_refused() {
        for file in [FILE, LEGACY] {
            assert!(read(file).is_ok());
            for length in 0..file.len() {
                assert!(read(&file[..length]).is_err(), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_within(&bytes);
            read_within(&[ZIP_MAGIC, &bytes].concat());
            read_within(&[ZIP_MAGIC, &bytes, &FILE[FILE.len() - 300..]].concat());
            read_within(&[LEGACY_MAGIC, &bytes].concat());
        }

        #[test]
        fn no_change_makes_it_panic(
            // From the end, where the zip's directory is, and anywhere.
            changes in prop::collection::vec((prop_oneof![1..22_usize, 1..4000_usize, 1..FILE.len()], any::<u8>()), 1..4),
        ) {
            let mut bytes = FILE.to_vec();
            for &(from_end, byte) in &changes {
                let at = bytes.len() - from_end;
                bytes[at] = byte;
            }
            read_within(&bytes);
            // The pickles are at the beginning.
            let mut bytes = LEGACY.to_vec();
            for (at, byte) in changes {
                bytes[at % LEGACY.len()] = byte;
            }
            read_within(&bytes);
        }
    }
}
