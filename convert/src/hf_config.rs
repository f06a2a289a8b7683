//! `config.json` of a Hugging Face checkpoint.

use crate::error::ConvertError;
use crate::json;
use crate::tokenizer::SpecialTokens;
use rq_format::{Architecture, Config, ConfigFields, Head, HiddenAct};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The architectures that can be converted, as `config.json` names them.
pub const SUPPORTED_ARCHITECTURES: [&str; 1] = ["RobertaForMaskedLM"];

/// A `config.json` of a supported architecture.
#[derive(Clone, Debug)]
pub struct HfConfig {
    path: PathBuf,
    fields: Fields,
    hidden_act: HiddenAct,
    pad_token_id: u32,
}

/// The fields that matter. What is left out has the default of transformers' `RobertaConfig`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    pad_token_id: Option<u32>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<TokenIds>,
    position_embedding_type: Option<String>,
    is_decoder: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
}

/// Generating models may list several tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Several(Vec<u32>),
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            vocab_size: 50265,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(1),
            bos_token_id: Some(0),
            eos_token_id: Some(TokenIds::One(2)),
            position_embedding_type: None,
            is_decoder: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

impl HfConfig {
    /// Reads `config.json` in `directory`.
    ///
    /// # Errors
    /// When it can't be read, isn't JSON, or describes a model that isn't supported.
    pub fn read(directory: &Path) -> Result<Self, ConvertError> {
        let path = directory.join("config.json");
        let value = json::read::<Value>(&path)?;
        // The architecture first: the fields of another one may well be of other types.
        check_architecture(&path, &value)?;
        let fields: Fields =
            serde_json::from_value(value).map_err(|source| ConvertError::Json {
                path: path.clone(),
                source,
            })?;

        let unsupported = |field, found: &dyn std::fmt::Display, supported| {
            Err(ConvertError::Unsupported {
                path: path.clone(),
                field,
                found: found.to_string(),
                supported,
            })
        };
        let hidden_act = match fields.hidden_act.as_str() {
            "gelu" | "gelu_python" => HiddenAct::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => HiddenAct::GeluTanh,
            other => {
                let supported = "\"gelu\", \"gelu_new\", \"gelu_fast\" and \"gelu_pytorch_tanh\"";
                return unsupported("hidden_act", &format_args!("{other:?}"), supported);
            }
        };
        if let Some(other) = fields.position_embedding_type.as_deref()
            && other != "absolute"
        {
            return unsupported(
                "position_embedding_type",
                &format_args!("{other:?}"),
                "\"absolute\"",
            );
        }
        if fields.is_decoder {
            return unsupported("is_decoder", &true, "false");
        }
        if fields.add_cross_attention {
            return unsupported("add_cross_attention", &true, "false");
        }
        let Some(pad_token_id) = fields.pad_token_id else {
            let supported = "a token's id, behind which positions start";
            return unsupported("pad_token_id", &Value::Null, supported);
        };
        let config = Self {
            path,
            fields,
            hidden_act,
            pad_token_id,
        };
        // Sizes that can't be are refused now, before anything is allocated by them. The special tokens are the
        // tokenizer's to say; any that are in the vocabulary will do here.
        let probe = SpecialTokens {
            bos: Some(0),
            eos: Some(0),
            mask: 0,
            unk: None,
        };
        config.config(&probe, true, "probe")?;
        Ok(config)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Entries of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.fields.vocab_size
    }

    /// The width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        self.fields.hidden_size
    }

    /// The width between the two products of a feed-forward layer.
    pub fn intermediate_size(&self) -> usize {
        self.fields.intermediate_size
    }

    /// Layers of the encoder.
    pub fn num_hidden_layers(&self) -> usize {
        self.fields.num_hidden_layers
    }

    /// Rows of the position table.
    pub fn max_position_embeddings(&self) -> usize {
        self.fields.max_position_embeddings
    }

    /// Rows of the token-type table.
    pub fn type_vocab_size(&self) -> usize {
        self.fields.type_vocab_size
    }

    /// Whether the LM head should use the word embeddings; the checkpoint may know better.
    pub fn tie_word_embeddings(&self) -> bool {
        self.fields.tie_word_embeddings
    }

    /// The configuration for the file.
    ///
    /// Positions start behind this file's `pad_token_id`, as in transformers. The tokens that begin and end a
    /// sequence, the mask and the unknown token are the tokenizer's: transformers reads no ids of theirs from here,
    /// and in some published models they contradict the tokenizer.
    ///
    /// # Errors
    /// When a size exceeds its limit or contradicts another.
    pub fn config(
        &self,
        special: &SpecialTokens,
        tie_word_embeddings: bool,
        quantization: &str,
    ) -> Result<Config, ConvertError> {
        let f = &self.fields;
        let eos = match &f.eos_token_id {
            Some(TokenIds::One(id)) => Some(*id),
            Some(TokenIds::Several(ids)) => ids.first().copied(),
            None => None,
        };
        Config::new(ConfigFields {
            architecture: Architecture::Roberta,
            head: Head::MaskedLm,
            vocab_size: f.vocab_size,
            hidden_size: f.hidden_size,
            num_hidden_layers: f.num_hidden_layers,
            num_attention_heads: f.num_attention_heads,
            intermediate_size: f.intermediate_size,
            max_position_embeddings: f.max_position_embeddings,
            type_vocab_size: f.type_vocab_size,
            layer_norm_eps: f.layer_norm_eps,
            hidden_act: self.hidden_act,
            pad_token_id: self.pad_token_id,
            bos_token_id: special.bos.or(f.bos_token_id).unwrap_or(0),
            eos_token_id: special.eos.or(eos).unwrap_or(0),
            mask_token_id: special.mask,
            unk_token_id: special.unk,
            position_offset: self.pad_token_id as usize + 1,
            tie_word_embeddings,
            labels: Vec::new(),
            quantization: quantization.into(),
        })
        .map_err(|source| ConvertError::Config {
            path: self.path.clone(),
            source,
        })
    }
}

fn check_architecture(path: &Path, config: &Value) -> Result<(), ConvertError> {
    let names = |key: &str| match &config[key] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (architectures, model_type) = (names("architectures"), names("model_type"));
    let known = architectures
        .iter()
        .any(|name| SUPPORTED_ARCHITECTURES.contains(name));
    let roberta = model_type.iter().all(|&name| name == "roberta");
    if known && roberta {
        return Ok(());
    }
    let found = match (architectures.as_slice(), model_type.as_slice()) {
        ([], []) => "that it doesn't name".into(),
        (names, [model_type, ..]) if known || names.is_empty() => {
            format!("of the model_type {model_type}")
        }
        (names, _) => names.join(", "),
    };
    Err(ConvertError::Architecture {
        path: path.into(),
        found,
    })
}
