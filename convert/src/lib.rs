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

mod calibrate;
mod calibration;
mod checkpoint;
mod closeness;
mod convert;
mod error;
mod gptq;
mod hf_config;
#[cfg(feature = "hub")]
mod hub;
mod json;
mod layout;
mod pickle;
mod pretrained;
mod reference;
mod sentence;
mod sentence_piece;
mod source;
mod summary;
mod tokenizer;
mod torch;

pub use calibration::Calibration;
pub use checkpoint::{Checkpoint, WeightsFile};
pub use closeness::{Closeness, Expected, MaskedText, mask_texts};
pub use convert::{CONVERTER, ConvertOptions, NoProgress, Progress, Quant, convert};
pub use error::ConvertError;
pub use hf_config::{HfConfig, SUPPORTED_ARCHITECTURES};
#[cfg(feature = "hub")]
pub use hub::{DownloadProgress, Hub, HubError, HubSettings, Token};
pub use pickle::PickleError;
pub use pretrained::Pretrained;
pub use reference::Reference;
pub use source::{HubCache, Source, repositories};
pub use summary::{CalibrationSummary, KindSummary, Summary};
pub use tokenizer::{SpecialTokens, TokenizerFile};
pub use torch::TorchError;
