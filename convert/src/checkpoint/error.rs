//! Why a checkpoint can't be read.

use super::architecture::SUPPORTED_ARCHITECTURES;
use super::torch::TorchError;
use rq_format::{ConfigError, FormatError};
use std::fmt;
use std::path::PathBuf;

/// Why a checkpoint can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
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
    /// A JSON file isn't one.
    #[error("{} isn't the JSON that it should be", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The architecture isn't supported.
    #[error("{}: the architecture {found} isn't supported; supported: {}", path.display(), SUPPORTED_ARCHITECTURES)]
    Architecture {
        /// The configuration's file.
        path: PathBuf,
        /// What it names.
        found: String,
    },
    /// The configuration asks for something that isn't supported.
    #[error("{}: {field} is {found}; rq supports {supported}", path.display())]
    Unsupported {
        /// The configuration's file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The values that are.
        supported: &'static str,
    },
    /// The configuration contradicts itself or exceeds a limit.
    #[error("{} describes no model that can be", path.display())]
    Config {
        /// The configuration's file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// Tensors are many times the bytes that they are made of.
    #[error(
        "with `{tensor}` in {}, the tensors have {needed} bytes, made of the {there} of the files: rq reads up to {most} times as many, since tied tensors share theirs; save the model again as safetensors", path.display()
    )]
    Sharing {
        /// The file.
        path: PathBuf,
        /// The tensor that is one too many.
        tensor: String,
        /// The bytes of the tensors up to it.
        needed: u64,
        /// The bytes of the files.
        there: u64,
        /// The limit.
        most: u64,
    },
    /// A weights file ends early, or late.
    #[error("{} has {bytes} bytes, and its header says otherwise: it is incomplete or damaged; download it again", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A weights file isn't in the safetensors format.
    #[error("{} isn't a safetensors file: {reason}; download it again", path.display())]
    NotSafetensors {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A weights file isn't one of torch's that can be read.
    #[error("can't read {}", path.display())]
    Torch {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: TorchError,
    },
    /// A file is the stand-in that Git LFS leaves.
    #[error("{} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`", path.display())]
    LfsPointer {
        /// Which file.
        path: PathBuf,
    },
    /// The index names a file that isn't there.
    #[error("{} names the shard `{shard}`, which isn't beside it; download it", index.display())]
    NoShard {
        /// The index.
        index: PathBuf,
        /// The file that it names.
        shard: String,
    },
    /// The index names a file that isn't in its directory.
    #[error("{} names the shard `{shard}`; a shard is a file in the same directory", index.display())]
    ShardName {
        /// The index.
        index: PathBuf,
        /// The name.
        shard: String,
    },
    /// The index says that a shard has a tensor, and it hasn't.
    #[error("{} says that the tensor `{tensor}` is in the shard `{shard}`, and it isn't; download both again", index.display())]
    NotInShard {
        /// The index.
        index: PathBuf,
        /// The file that it names.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// The model needs tensors that the checkpoint doesn't have.
    #[error("{} lacks {} of the model's tensors: {}", path.display(), names.len(), First(names))]
    Missing {
        /// The weights' file or index.
        path: PathBuf,
        /// The tensors, as the checkpoint would name them.
        names: Vec<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: the tensor `{tensor}` has the shape {found:?}; config.json asks for {expected:?}", path.display())]
    Shape {
        /// The weights' file.
        path: PathBuf,
        /// Which.
        tensor: String,
        /// What the configuration says.
        expected: Vec<usize>,
        /// What it has.
        found: Vec<usize>,
    },
    /// A tensor isn't in floats that can be read.
    #[error("{}: the tensor `{tensor}` is in {found}; rq reads F64, F32, F16 and BF16", path.display())]
    Dtype {
        /// The weights' file.
        path: PathBuf,
        /// Which.
        tensor: String,
        /// The safetensors name of its type.
        found: String,
    },
    /// There is no tensor of that name.
    #[error("the checkpoint has no tensor `{tensor}`")]
    NoTensor {
        /// The name asked for.
        tensor: String,
    },
    /// A weight is NaN or infinite.
    #[error("{}: the tensor `{tensor}` has {value} at row {row}, column {column}; such a model can't be converted", path.display())]
    NotFinite {
        /// The weights' file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The weight.
        value: f32,
    },
    /// The directory has no tokenizer.
    #[error("{} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt, vocab.txt or sentencepiece.bpe.model; download it, or save it there with `save_pretrained`", directory.display())]
    NoTokenizer {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory's tokenizer is one of SentencePiece, and neither XLM-RoBERTa's nor CamemBERT's.
    #[error("{} has its tokenizer in {file}, and rq reads SentencePiece of XLM-RoBERTa and CamemBERT only; save it as tokenizer.json, with `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`", directory.display())]
    SentencePiece {
        /// The directory.
        directory: PathBuf,
        /// The file found.
        file: &'static str,
    },
    /// The tokenizer can't be read.
    #[error("{} isn't a tokenizer that rq can use: {reason}", path.display())]
    Tokenizer {
        /// Which file.
        path: PathBuf,
        /// Why not, often in the words of the tokenizers library.
        reason: String,
    },
    /// The tokenizer gives ids that the model has no embedding for.
    #[error("{}: the token `{token}` has the id {id}; config.json's vocab_size is {vocab_size}", path.display())]
    Vocabulary {
        /// Which file.
        path: PathBuf,
        /// The token with the largest id.
        token: String,
        /// Its id.
        id: u32,
        /// Entries of the model's vocabulary.
        vocab_size: usize,
    },
    /// The tokenizer lacks a special token.
    #[error("{}: the {role} token `{token}` isn't in the vocabulary", path.display())]
    SpecialToken {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        role: &'static str,
        /// How it is written.
        token: String,
    },
    /// A weights file can't be mapped.
    #[error(transparent)]
    Map(#[from] FormatError),
}

/// The first few of a list, and how many more there are.
struct First<'a>(&'a [String]);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
