//! A checkpoint as `save_pretrained` leaves it: configuration, weights and tokenizer.

mod architecture;
mod as_transformers;
mod error;
mod hf_config;
mod json;
mod layout;
mod notes;
mod origin;
mod pickle;
mod pretrained;
mod sentence;
mod sentence_piece;
mod texts;
mod tokenizer;
mod tokenizer_json;
mod tokenizer_settings;
mod torch;
mod weights;

pub use architecture::SUPPORTED_ARCHITECTURES;
pub use error::CheckpointError;
pub use hf_config::{HfConfig, SpecialTokens};
pub(crate) use layout::{LmHeadNames, WORD_EMBEDDINGS, classifier_names_of};
pub(crate) use origin::Origin;
pub use pickle::PickleError;
pub use pretrained::Pretrained;
pub(crate) use texts::{masked, texts};
pub use tokenizer::TokenizerFile;
pub use torch::TorchError;
pub use weights::{Checkpoint, WeightsFile};
