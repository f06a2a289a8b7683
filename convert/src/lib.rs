//! Finds, reads, quantizes and packs RoBERTa checkpoints for `rq`. [`convert()`] does all of it in one call, as the command
//! `rq convert` does:
//!
//! ```no_run
//! use rq_convert::{ConvertOptions, Quant, convert};
//!
//! let mut options = ConvertOptions::default();
//! options.quant = Quant::Q4;
//! let summary = convert("path/to/my-roberta", "my-roberta.rq", &options)?;
//! println!("{} bytes, {:.2} bits per weight", summary.bytes, summary.bits_per_weight());
//! # Ok::<(), rq_convert::ConvertError>(())
//! ```
//!
//! Its steps:
//!
//! 1. [`Source::obtain`] turns what the user named into a local directory: one of their own, or a snapshot in the
//!    Hugging Face cache. With the feature `hub` it downloads what the cache lacks.
//! 2. [`Pretrained::open`] reads that directory: `config.json` ([`HfConfig`]), the weights ([`Checkpoint`]: safetensors,
//!    or what torch.save wrote) and the tokenizer ([`TokenizerFile`]), and checks that they belong together. Anything
//!    that `rq` can't represent is refused here, with an error of one line that says where and what to do.
//! 3. [`convert_source`] quantizes tensor by tensor, calibrated on a text ([`Calibration`]) or not, and writes the file.
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
pub use convert::{CONVERTER, Calibrate, ConvertOptions, Quant, convert, convert_source};
pub use encoding::OtherEncoding;
pub use error::ConvertError;
pub use progress::{DownloadProgress, NoProgress, Progress};
pub use quantize::{Calibration, QuantizeError};
pub use reference::{Closeness, Expected, MaskedText, Reference, mask_texts};
#[cfg(feature = "hub")]
pub use source::{Certificates, Hub, HubError, HubSettings, Proxies, Token};
pub use source::{ForeignWeights, HubCache, Source, SourceError, repositories};
pub use summary::{CalibrationSummary, KindSummary, Summary};
