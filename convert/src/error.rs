//! Why a model can't be converted: each error one line that says what, where, and what to do.

use crate::checkpoint::CheckpointError;
use crate::quantize::QuantizeError;
use crate::source::SourceError;
use rq_format::FormatError;
use std::path::PathBuf;

/// Why a model can't be found, read or converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// It can't be found.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It can't be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The output would replace what it is made from.
    #[error("{} is part of the model that is to be converted; choose another output", path.display())]
    OutputIsSource {
        /// The output.
        path: PathBuf,
    },
    /// The file can't be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Whoever hears how far it is doesn't want it any more.
    #[error("the conversion was cancelled")]
    Cancelled,
    /// The threads can't be started.
    #[error("can't start {threads} threads")]
    Threads {
        /// How many.
        threads: usize,
        /// What the pool says.
        source: rayon::ThreadPoolBuildError,
    },
}
