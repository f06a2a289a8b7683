//! A model: its file, mapped or in memory, and its tokenizer.

use crate::encoder::workspace::{Extent, Workspace};
use crate::error::Error;
use rq_format::{Config, ModelFile};
use rq_tokenizer::Tokenizer;
use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// A model that can be computed with. It is immutable, and can be shared by threads.
#[derive(Debug)]
pub struct Model {
    file: ModelFile,
    tokenizer: Tokenizer,
}

impl Model {
    /// Maps a file. Weights are neither copied nor read: they become resident as they are used.
    ///
    /// # Errors
    /// When the file can't be opened, its structure isn't sound, or its tokenizer can't be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::new(ModelFile::open(path)?)
    }

    /// Maps a model that is a part of a file, such as an asset inside an application's package. It is used in place if it
    /// begins at a multiple of 64; else it is copied once.
    ///
    /// # Errors
    /// When the part isn't within the file, its structure isn't sound, or its tokenizer can't be used.
    pub fn open_part(file: &File, part: Range<u64>) -> Result<Self, Error> {
        Self::new(ModelFile::open_part(file, part)?)
    }

    /// Takes the bytes of a file. Static bytes that are aligned to 64 are used in place; others are copied once.
    ///
    /// # Errors
    /// When the structure isn't sound, or the tokenizer can't be used.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, Error> {
        Self::new(ModelFile::from_bytes(bytes)?)
    }

    /// The embedded model: a small English RoBERTa with at most 128 tokens, to try things with. It is not
    /// RoBERTa-large, and its words show it.
    ///
    /// # Errors
    /// None in a sound build.
    #[cfg(feature = "demo-model")]
    pub fn demo() -> Result<Self, Error> {
        #[repr(C, align(64))]
        struct Aligned<T: ?Sized>(T);
        static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("demo-model.rq"));
        Self::from_bytes(&DEMO.0)
    }

    fn new(file: ModelFile) -> Result<Self, Error> {
        // Of a copy: what is checked to be UTF-8 must stay so while it is read, whoever writes to a mapped file.
        let json = file.tokenizer()?.to_vec();
        let tokenizer = Tokenizer::new(&json, file.config())?;
        Ok(Self { file, tokenizer })
    }

    /// Reads the weights into memory now, where the system can be asked for it, instead of a few pages at a time as the
    /// first text needs them. For a program whose first answer is to come soon, or that shouldn't wait for a disk later;
    /// it changes no answer, and the pages stay the file's: the system can take them back.
    pub fn prefetch(&self) {
        self.file.prefetch();
    }

    /// Bytes of memory that a session of this model takes, beside the model's file, to compute sequences of these lengths
    /// together on so many threads, with the logits of `logits` of their rows, as [`Session::reserve`](crate::Session::reserve)
    /// takes it.
    pub fn session_bytes(&self, lengths: &[usize], logits: usize, threads: usize) -> usize {
        let extent = Extent::within(self.config(), lengths, logits);
        Workspace::bytes(self.config(), &extent, threads.max(1))
    }

    /// The file, with its provenance and tensors.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        self.file.config()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}
