//! Finds, reads, quantizes and packs RoBERTa checkpoints for `rq`.
//!
//! 1. [`Source::find`] turns what the user named into a local directory: one of their own, or a snapshot in the
//!    Hugging Face cache. With the feature `hub`, `Hub::find` downloads the snapshot first, if it isn't there.
//! 2. [`Pretrained::open`] reads that directory: `config.json` ([`HfConfig`]), the weights ([`Checkpoint`]: safetensors,
//!    or what torch.save wrote) and the tokenizer ([`TokenizerFile`]), and checks that they belong together. Anything
//!    that `rq` can't represent is refused here, with an error of one line that says where and what to do.
//! 3. [`convert()`] quantizes tensor by tensor, calibrated on a text ([`Calibration`]) or not, and writes the file.
//!
//! [`Reference`] is the model in f32, straight from the checkpoint: the oracle that quantized models are measured
//! against.
//!
//! Without the feature `hub` this crate reads no network; it never prints anything.

#![forbid(unsafe_code)]

mod checkpoint;
mod convert;
mod encoding;
mod error;
mod progress;
mod quantize;
mod reference;
mod source;
mod summary;

pub use checkpoint::{
    Checkpoint, CheckpointError, HfConfig, PickleError, Pretrained, SUPPORTED_ARCHITECTURES,
    SpecialTokens, TokenizerFile, TorchError, WeightsFile,
};
pub use convert::{CONVERTER, ConvertOptions, Quant, convert};
pub use encoding::OtherEncoding;
pub use error::ConvertError;
pub use progress::{NoProgress, Progress};
pub use quantize::{Calibration, QuantizeError};
pub use reference::{Closeness, Expected, MaskedText, Reference, mask_texts};
#[cfg(feature = "hub")]
pub use source::{Certificates, DownloadProgress, Hub, HubError, HubSettings, Proxies, Token};
pub use source::{ForeignWeights, HubCache, Source, SourceError, repositories};
pub use summary::{CalibrationSummary, KindSummary, Summary};
