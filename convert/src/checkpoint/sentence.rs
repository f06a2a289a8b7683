//! What sentence-transformers writes beside a checkpoint: how hidden states become an embedding.

use super::error::CheckpointError;
use super::json;
use crate::source::files::{MODULES, TRANSFORMER_SETTINGS};
use rq_format::{Pooling, PoolingMode};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// How a sentence encoder makes embeddings, as far as its publisher says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentenceEncoder {
    pub(crate) pooling: Option<Pooling>,
    pub(crate) max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Settings of the module that runs the checkpoint.
#[derive(Deserialize)]
struct Transformer {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

impl SentenceEncoder {
    /// Whether the checkpoint in `directory` is published as a sentence encoder: its modules begin with its hidden states.
    pub(crate) fn is_in(directory: &Path) -> Result<bool, CheckpointError> {
        let path = directory.join(MODULES);
        if !path.is_file() {
            return Ok(false);
        }
        let modules: Vec<Module> = json::read(&path)?;
        let first = modules.first();
        Ok(first.is_some_and(|module| module.kind.rsplit('.').next() == Some("Transformer")))
    }

    /// Reads `modules.json` and what it names. Without it there is nothing to read.
    pub(crate) fn read(directory: &Path) -> Result<Self, CheckpointError> {
        let path = directory.join(MODULES);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let modules: Vec<Module> = json::read(&path)?;
        let unsupported = |found: String, supported| CheckpointError::Unsupported {
            path: path.clone(),
            field: "a module",
            found,
            supported,
        };
        let mut encoder = Self::default();
        let mut lower_case = false;
        for (i, module) in modules.iter().enumerate() {
            // "sentence_transformers.models.Pooling", and since version 5 with more before it.
            let kind = module.kind.rsplit('.').next().unwrap_or_default();
            match (i, kind) {
                (0, "Transformer") if module.path.is_empty() => {
                    let settings = directory.join(TRANSFORMER_SETTINGS);
                    if settings.is_file() {
                        let settings: Transformer = json::read(&settings)?;
                        encoder.max_seq_length = settings.max_seq_length;
                        lower_case = settings.do_lower_case.unwrap_or(false);
                    }
                }
                (1, "Pooling") => {
                    let is_name = module.path.chars().all(|c| c.is_alphanumeric() || c == '_');
                    if !is_name || module.path.is_empty() {
                        let supported = "a directory's name, as \"1_Pooling\"";
                        return Err(unsupported(format!("at {:?}", module.path), supported));
                    }
                    let settings = directory.join(&module.path).join("config.json");
                    encoder.pooling = Some(Pooling {
                        mode: mode(&settings)?,
                        normalize: false,
                        lower_case,
                    });
                }
                (2, "Normalize") => {
                    if let Some(pooling) = &mut encoder.pooling {
                        pooling.normalize = true;
                    }
                }
                // Such a one leaves the embedding as it is.
                (_, "Dropout") => {}
                _ => {
                    let supported = "Transformer, then Pooling, then Normalize or nothing";
                    return Err(unsupported(format!("{kind} in place {i}"), supported));
                }
            }
        }
        Ok(encoder)
    }
}

/// The one mode that the settings of a pooling module choose.
fn mode(path: &Path) -> Result<PoolingMode, CheckpointError> {
    let settings: Value = json::read(path)?;
    let chosen: Vec<String> = match settings["pooling_mode"].as_str() {
        Some(mode) => vec![mode.to_owned()],
        None => {
            let fields = settings.as_object().into_iter().flatten();
            let modes = fields.filter_map(|(key, value)| {
                let name = key.strip_prefix("pooling_mode_")?;
                (value == &Value::Bool(true)).then(|| name.to_owned())
            });
            modes.collect()
        }
    };
    match chosen.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cls_token" | "cls"] => Ok(PoolingMode::Cls),
        ["mean_tokens" | "mean"] => Ok(PoolingMode::Mean),
        ["max_tokens" | "max"] => Ok(PoolingMode::Max),
        _ => Err(CheckpointError::Unsupported {
            path: path.into(),
            field: "the pooling mode",
            found: match chosen.is_empty() {
                true => "none".into(),
                false => chosen.join(" and "),
            },
            supported: "one of cls_token, mean_tokens and max_tokens",
        }),
    }
}
