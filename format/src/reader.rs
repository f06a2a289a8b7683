//! The reader: a file's structure, checked once, and views of its content.

use crate::config::Config;
use crate::error::{FormatError, Place};
use crate::header::{Header, Section, check_checksum, check_padding};
use crate::provenance::Provenance;
use crate::storage::Storage;
use crate::tensor::{Directory, TensorInfo, check_values};
use rq_kernels::lanes::Lanes;
use rq_kernels::packed::PackedMatrix;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// A model's file, open to read.
///
/// One that exists has a sound structure: every section and tensor lies within the file, has the length of its format
/// and shape, and is aligned; the tensors are exactly those that the configuration asks for; and header,
/// configuration, provenance and tensor directory have the checksums that were written. What the tokenizer and the
/// tensors hold is checked by [`ModelFile::tokenizer`] and [`ModelFile::verify`].
pub struct ModelFile {
    storage: Storage,
    header: Header,
    config: Config,
    provenance: Provenance,
    directory: Directory,
}

impl ModelFile {
    /// Maps a file and checks its structure. Nothing is copied, and no weight is read.
    ///
    /// The file must not be changed in place while it is open: another program could so change weights under a
    /// running model, or end this one by cutting the file. Replacing it by another, as [`crate::Writer`] does, is
    /// safe.
    ///
    /// # Errors
    /// When the file can't be opened or mapped, or its structure isn't sound.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        Self::new(Storage::map(path.as_ref())?)
    }

    /// Maps a model that is a part of a file, such as an asset inside an application's package, and checks its structure.
    /// The part is used in place if it begins at a multiple of 64; else it is copied once.
    ///
    /// The file must not be changed in place while it is open, as with [`ModelFile::open`].
    ///
    /// # Errors
    /// When the part isn't within the file, the file can't be mapped, or the structure isn't sound.
    pub fn open_part(file: &File, part: Range<u64>) -> Result<Self, FormatError> {
        Self::new(Storage::map_part(file, part)?)
    }

    /// Takes the bytes of a file and checks its structure: a `Vec<u8>`, or a `&'static [u8]` from `include_bytes!`.
    ///
    /// Static bytes aligned to 64 are used in place; others are copied once.
    ///
    /// # Errors
    /// When the structure isn't sound.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, FormatError> {
        Self::new(Storage::from_bytes(bytes.into()))
    }

    fn new(storage: Storage) -> Result<Self, FormatError> {
        let header = Header::parse(&storage)?;
        let checked = |section| {
            let record = header.section(section);
            // A copy: what is checked stays as it is, whoever writes to a mapped file.
            let bytes = storage[record.range()].to_vec();
            check_checksum(Place::Section(section), record.checksum, &bytes)?;
            Ok::<_, FormatError>(bytes)
        };
        let config = Config::from_json(&checked(Section::Config)?)?;
        let provenance = Provenance::from_json(&checked(Section::Provenance)?)?;
        let directory = Directory::parse(
            &checked(Section::TensorDirectory)?,
            header.section(Section::TensorDirectory).offset,
            header.section(Section::TensorData),
        )?;
        directory.check_against(&config)?;
        Ok(Self {
            storage,
            header,
            config,
            provenance,
            directory,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the model came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The bytes of `tokenizer.json`, after checking their checksum.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn tokenizer(&self) -> Result<&[u8], FormatError> {
        let record = self.header.section(Section::Tokenizer);
        let bytes = &self.storage[record.range()];
        check_checksum(Place::Section(Section::Tokenizer), record.checksum, bytes)?;
        Ok(bytes)
    }

    /// Every tensor, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.directory.tensors
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, FormatError> {
        match self.directory.position(name) {
            Some(at) => Ok(&self.directory.tensors[at]),
            None => Err(FormatError::NoSuchTensor { name: name.into() }),
        }
    }

    /// The bytes of the tensor of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor_bytes(&self, name: &str) -> Result<&[u8], FormatError> {
        Ok(&self.storage[self.tensor(name)?.range()])
    }

    /// The tensor of that name as a packed matrix. It takes no memory, and not much time: a search by name.
    ///
    /// # Errors
    /// When there is none, or it is in f32.
    pub fn packed(&self, name: &str) -> Result<PackedMatrix<'_>, FormatError> {
        let tensor = self.tensor(name)?;
        let Some(format) = tensor.format.block() else {
            return Err(FormatError::NotPacked { name: name.into() });
        };
        // Length and alignment were checked when the file was opened.
        let bytes = &self.storage[tensor.range()];
        PackedMatrix::new(format, tensor.rows, tensor.columns, bytes)
            .map_err(|_| FormatError::NotPacked { name: name.into() })
    }

    /// The tensor of that name as floats: `rows` times the lanes that `columns` take, row after row.
    ///
    /// # Errors
    /// When there is none, it is in blocks, or it has another shape.
    pub fn lanes(&self, name: &str, rows: usize, columns: usize) -> Result<&[Lanes], FormatError> {
        let tensor = self.tensor(name)?;
        let not_floats = || FormatError::NotFloats {
            name: name.into(),
            found: tensor.format,
        };
        if tensor.format.block().is_some() {
            return Err(not_floats());
        }
        if (tensor.rows, tensor.columns) != (rows, columns) {
            return Err(FormatError::Shape {
                name: name.into(),
                expected: (rows, columns),
                found: (tensor.rows, tensor.columns),
            });
        }
        bytemuck::try_cast_slice(&self.storage[tensor.range()]).map_err(|_| not_floats())
    }

    /// Makes a mapped file resident, as [`crate::MappedFile::prefetch`]. It checks nothing, and changes no answer.
    pub fn prefetch(&self) {
        self.storage.prefetch();
    }

    /// The file's length in bytes.
    pub fn file_len(&self) -> u64 {
        self.storage.len() as u64
    }

    /// The checksum of the header and section table. It covers every other checksum, and so tells two models apart;
    /// it isn't cryptographic.
    pub fn fingerprint(&self) -> u64 {
        self.header.checksum
    }

    /// Checks one tensor, by its position in [`ModelFile::tensors`]: the padding before it, its checksum, and that
    /// its bytes are weights (finite, no code -128, zeros where a kernel relies on them). Threads can share the work.
    ///
    /// # Errors
    /// When the tensor is damaged.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn verify_tensor(&self, index: usize) -> Result<(), FormatError> {
        let tensors = &self.directory.tensors;
        let tensor = &tensors[index];
        let range = tensor.range();
        if let Some(previous) = index.checked_sub(1) {
            check_padding(&self.storage, tensors[previous].range().end..range.start)?;
        }
        let bytes = &self.storage[range];
        let place = Place::Tensor(tensor.name.clone());
        check_checksum(place, tensor.checksum, bytes)?;
        check_values(
            &tensor.name,
            tensor.format,
            tensor.rows,
            tensor.columns,
            bytes,
        )
    }

    /// Checks every byte that [`ModelFile::open`] left unchecked: the tokenizer, the tensors, and the padding.
    ///
    /// # Errors
    /// At the first damage.
    pub fn verify(&self) -> Result<VerifyReport, FormatError> {
        self.verify_with(|_| ())
    }

    /// As [`ModelFile::verify`], and reports each tensor once it is checked.
    ///
    /// # Errors
    /// At the first damage.
    pub fn verify_with(
        &self,
        mut progress: impl FnMut(VerifyProgress<'_>),
    ) -> Result<VerifyReport, FormatError> {
        self.tokenizer()?;
        let data = self.header.section(Section::TensorData);
        for (index, tensor) in self.directory.tensors.iter().enumerate() {
            self.verify_tensor(index)?;
            progress(VerifyProgress {
                tensor,
                done: tensor.offset + tensor.length - data.offset,
                total: data.length,
            });
        }
        Ok(VerifyReport {
            tensors: self.directory.tensors.len(),
            bytes: self.file_len(),
            fingerprint: self.fingerprint(),
        })
    }
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFile")
            .field("config", &self.config)
            .field("tensors", &self.directory.tensors.len())
            .field("bytes", &self.storage.len())
            .finish_non_exhaustive()
    }
}

/// How far [`ModelFile::verify_with`] has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct VerifyProgress<'a> {
    /// The tensor that was just found sound.
    pub tensor: &'a TensorInfo,
    /// Bytes of tensors checked so far, padding included.
    pub done: u64,
    /// Bytes of all tensors, padding included.
    pub total: u64,
}

/// What was found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Tensors.
    pub tensors: usize,
    /// The file's length: every byte was checked.
    pub bytes: u64,
    /// [`ModelFile::fingerprint`].
    pub fingerprint: u64,
}
