//! A checkpoint as a whole: configuration, weights and tokenizer that belong together.

use super::error::CheckpointError;
use super::hf_config::HfConfig;
use super::tokenizer::TokenizerFile;
use super::weights::Checkpoint;
use crate::source::Source;
use rq_format::Config;

/// A model as `save_pretrained` leaves it, checked.
#[derive(Debug)]
pub struct Pretrained {
    /// The configuration, as the file will have it.
    pub config: Config,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The tokenizer.
    pub tokenizer: TokenizerFile,
}

impl Pretrained {
    /// Opens the model in `source`; `quantization` is what the configuration will call its recipe.
    ///
    /// # Errors
    /// When a part is missing, damaged, not supported, or contradicts another.
    pub fn open(source: &Source, quantization: &str) -> Result<Self, CheckpointError> {
        let hf_config = HfConfig::read(source.directory())?;
        let checkpoint = Checkpoint::open(source, &hf_config)?;
        let tokenizer = TokenizerFile::read(source.directory(), &hf_config)?;
        let config = hf_config.config(tokenizer.special(), checkpoint.tied(), quantization)?;
        Ok(Self {
            config,
            checkpoint,
            tokenizer,
        })
    }
}
