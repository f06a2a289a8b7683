//! A checkpoint as a whole: configuration, weights and tokenizer that belong together.

use super::error::CheckpointError;
use super::hf_config::HfConfig;
use super::tokenizer::TokenizerFile;
use super::weights::Checkpoint;
use crate::source::Source;
use rq_format::{Config, ConfigFields, Head};

/// A model as `save_pretrained` leaves it, checked.
#[derive(Debug)]
pub struct Pretrained {
    /// The configuration, as the file will have it.
    pub config: Config,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The tokenizer.
    pub tokenizer: TokenizerFile,
    /// What the publisher's files say that isn't applied, or not as it is written: one remark a line.
    pub notes: Vec<String>,
}

impl Pretrained {
    /// Opens the model in `source`; `quantization` is what the configuration will call its recipe.
    ///
    /// # Errors
    /// When a part is missing, damaged, not supported, or contradicts another.
    pub fn open(source: &Source, quantization: &str) -> Result<Self, CheckpointError> {
        Self::open_as(source, quantization, None)
    }

    /// The same, with this head in place of the one that the files tell of.
    ///
    /// # Errors
    /// As [`Pretrained::open`].
    pub fn open_as(
        source: &Source,
        quantization: &str,
        head: Option<Head>,
    ) -> Result<Self, CheckpointError> {
        let hf_config = HfConfig::read_as(source.directory(), head)?;
        let checkpoint = Checkpoint::open(source, &hf_config)?;
        let tokenizer = TokenizerFile::read(hf_config.directory(), &hf_config)?;
        let config = hf_config.config(tokenizer.special(), checkpoint.tied(), quantization)?;
        let fields = ConfigFields {
            truncation_side: tokenizer.truncation_side(),
            clean_up_spaces: tokenizer.clean_up_spaces(),
            ..config.into_fields()
        };
        let config = Config::new(fields).map_err(|source| CheckpointError::Config {
            path: hf_config.path().into(),
            source,
        })?;
        let mut notes = hf_config.notes().clone();
        notes.extend(tokenizer.notes());
        if !source.unsettled().is_empty() {
            notes.add(format!(
                "not in the cache, and not known to be missing on the hub: {}; if the publisher has them, answers may differ",
                source.unsettled().join(", ")
            ));
        }
        Ok(Self {
            config,
            checkpoint,
            tokenizer,
            notes: notes.into_lines(),
        })
    }
}
