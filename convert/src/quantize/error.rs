//! Why weights can't be quantized.

use crate::checkpoint::CheckpointError;
use crate::encoding::OtherEncoding;
use rq_format::FormatError;
use std::path::PathBuf;

/// Why weights can't be quantized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A weight, or the tokenizer, can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor is larger than a file's may be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The calibration text can't be read.
    #[error("can't read the calibration text {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A weight is too large for the scale of its block.
    #[error(
        "the tensor `{tensor}` has {value} at row {row}, column {column}, which is too large for {format}"
    )]
    TooLarge {
        /// Which tensor, as the file names it.
        tensor: String,
        /// The format of the blocks.
        format: rq_kernels::packed::BlockFormat,
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The weight.
        value: f32,
    },
    /// A calibration text is in another encoding.
    #[error("can't read the calibration text {}", path.display())]
    Encoding {
        /// Which file.
        path: PathBuf,
        /// Which encoding.
        source: OtherEncoding,
    },
    /// A calibration text isn't UTF-8.
    #[error("{}: byte {at} isn't UTF-8; a calibration text is plain text", path.display())]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// The first byte that isn't, from 0.
        at: usize,
    },
    /// A calibration text is too short.
    #[error(
        "the calibration text {name} has {tokens} tokens; it takes at least {least} to say something of a model's activations"
    )]
    ShortCalibration {
        /// What the text is called.
        name: String,
        /// Its tokens.
        tokens: usize,
        /// How many are needed.
        least: usize,
    },
    /// The activations of a calibration can't be used.
    #[error(
        "the activations before `{tensor}` overflow on the calibration text; convert without calibration"
    )]
    Moments {
        /// The weight that they meet, as the file names it.
        tensor: String,
    },
}
