//! `config.json` of a Hugging Face checkpoint.

use super::architecture::{Class, class};
use super::error::CheckpointError;
use super::json;
use super::sentence::SentenceEncoder;
use rq_format::{
    Architecture, ClassifierAct, Config, ConfigFields, Head, HiddenAct, MAX_LABELS, ScoreFunction,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tokens that have a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Put before every text, if one is.
    pub bos: Option<u32>,
    /// Put behind every text, if one is.
    pub eos: Option<u32>,
    /// Stands for a missing token, if there is one.
    pub mask: Option<u32>,
    /// Stands for what the vocabulary can't spell, if it has one.
    pub unk: Option<u32>,
}

/// A `config.json` of a supported architecture.
#[derive(Clone, Debug)]
pub struct HfConfig {
    path: PathBuf,
    fields: Fields,
    class: Class,
    head: Head,
    hidden_act: HiddenAct,
    pad_token_id: u32,
    labels: Vec<String>,
    score_function: Option<ScoreFunction>,
    sentence: SentenceEncoder,
}

/// What ELECTRA's discriminator says of a token, in the order of the file's outputs.
const DISCRIMINATOR_LABELS: [&str; 2] = ["original", "replaced"];

/// The buckets of MPNet's relative bias that transformers computes with, whatever `config.json` says.
pub(super) const RELATIVE_BUCKETS: usize = 32;

/// The fields that matter, by BERT's names. What is left out has the default of transformers' `RobertaConfig`, unless
/// [`completed`] has put in another.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Fields {
    /// The default is the family's.
    vocab_size: Option<usize>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    /// ELECTRA's.
    embedding_size: Option<usize>,
    /// MPNet's.
    relative_attention_num_buckets: usize,
    layer_norm_eps: f64,
    /// Not there: 1 where positions follow it, else 0. `null` is something else.
    #[serde(deserialize_with = "present")]
    pad_token_id: Option<Option<u32>>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<TokenIds>,
    position_embedding_type: Option<String>,
    is_decoder: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
    id2label: Option<BTreeMap<String, Value>>,
    num_labels: Option<usize>,
    problem_type: Option<String>,
    function_to_apply: Option<String>,
    /// How sentence-transformers' CrossEncoder stores the same, before version 4 and since.
    sbert_ce_default_activation_function: Option<String>,
    sentence_transformers: Option<CrossEncoder>,
    tokenizer_class: Option<String>,
}

/// What sentence-transformers writes of a CrossEncoder.
#[derive(Clone, Debug, Deserialize)]
struct CrossEncoder {
    activation_fn: Option<String>,
}

/// Tells a field that is null from one that isn't there.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(value).map(Some)
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
            vocab_size: None,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            embedding_size: None,
            relative_attention_num_buckets: RELATIVE_BUCKETS,
            layer_norm_eps: 1e-12,
            pad_token_id: None,
            bos_token_id: Some(0),
            eos_token_id: Some(TokenIds::One(2)),
            position_embedding_type: None,
            is_decoder: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
            id2label: None,
            num_labels: None,
            problem_type: None,
            function_to_apply: None,
            sbert_ce_default_activation_function: None,
            sentence_transformers: None,
            tokenizer_class: None,
        }
    }
}

impl HfConfig {
    /// Reads `config.json` in `directory`, and what sentence-transformers has written beside it.
    ///
    /// # Errors
    /// When it can't be read, isn't JSON, or describes a model that isn't supported.
    pub fn read(directory: &Path) -> Result<Self, CheckpointError> {
        let path = directory.join("config.json");
        let value = json::read::<Value>(&path)?;
        // The architecture first: the fields of another one may well be of other types.
        let class = architecture(&path, &value)?;
        let architecture = class.family.architecture;
        let value = completed(&path, architecture, value)?;
        let mut fields: Fields =
            serde_json::from_value(value).map_err(|source| CheckpointError::Json {
                path: path.clone(),
                source,
            })?;

        let unsupported = |field, found: &dyn std::fmt::Display, supported| {
            Err(CheckpointError::Unsupported {
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
        let buckets = fields.relative_attention_num_buckets;
        if architecture.has_relative_bias() && buckets != RELATIVE_BUCKETS {
            return unsupported("relative_attention_num_buckets", &buckets, "32");
        }
        fields.vocab_size.get_or_insert(class.family.vocab_size);
        let follows = architecture.positions_follow_padding();
        let pad_token_id = match fields.pad_token_id {
            // transformers' MPNet has its positions start behind 1, whatever the configuration says.
            _ if architecture == Architecture::MpNet => 1,
            Some(Some(id)) => id,
            Some(None) if !follows => 0,
            Some(None) => {
                let supported = "a token's id, behind which positions start";
                return unsupported("pad_token_id", &Value::Null, supported);
            }
            None => u32::from(follows),
        };
        // sentence-transformers loads a checkpoint without the head that it was trained with before.
        let pretrained = class.head == Head::MaskedLm || class.discriminator;
        let head = match pretrained && SentenceEncoder::is_in(directory)? {
            true => Head::None,
            false => class.head,
        };
        let labels = match head.has_labels() {
            true if class.discriminator => DISCRIMINATOR_LABELS.map(str::to_owned).into(),
            true => labels(&path, &fields)?,
            false => Vec::new(),
        };
        let score_function = match head {
            Head::SequenceClassification => Some(score_function(&path, &fields, labels.len())?),
            _ => None,
        };
        let sentence = match head {
            Head::None => SentenceEncoder::read(directory)?,
            _ => SentenceEncoder::default(),
        };
        let config = Self {
            path,
            fields,
            class,
            head,
            hidden_act,
            pad_token_id,
            labels,
            score_function,
            sentence,
        };
        // Sizes that can't be are refused now, before anything is allocated by them. The special tokens are the
        // tokenizer's to say; any that are in the vocabulary will do here.
        let probe = SpecialTokens {
            bos: Some(0),
            eos: Some(0),
            mask: Some(0),
            unk: None,
        };
        config.config(&probe, true, "probe")?;
        Ok(config)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The graph of the encoder.
    pub fn architecture(&self) -> Architecture {
        self.class.family.architecture
    }

    /// Whether the head is that of ELECTRA's discriminator.
    pub(crate) fn is_discriminator(&self) -> bool {
        self.class.discriminator && self.head == Head::TokenClassification
    }

    /// What is computed of its output.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The class of its tokenizer in transformers, or the model type, which stands for one.
    pub(crate) fn tokenizer_class(&self) -> &str {
        self.fields
            .tokenizer_class
            .as_deref()
            .unwrap_or(self.class.family.model_type)
    }

    /// The names of a classifier's classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Entries of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.fields.vocab_size.unwrap_or_default()
    }

    /// The width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        self.fields.hidden_size
    }

    /// The width between the two products of a feed-forward layer.
    pub fn intermediate_size(&self) -> usize {
        self.fields.intermediate_size
    }

    /// Heads of each attention.
    pub fn num_attention_heads(&self) -> usize {
        self.fields.num_attention_heads
    }

    /// Layers of the encoder.
    pub fn num_hidden_layers(&self) -> usize {
        self.fields.num_hidden_layers
    }

    /// Rows of the position table.
    pub fn max_position_embeddings(&self) -> usize {
        self.fields.max_position_embeddings
    }

    /// Rows of the token-type table; zero for an architecture without one.
    pub fn type_vocab_size(&self) -> usize {
        self.fields.type_vocab_size
    }

    /// The width of the embeddings, where it isn't the hidden size.
    pub fn embedding_size(&self) -> Option<usize> {
        let size = self.fields.embedding_size;
        size.filter(|&size| {
            self.architecture() == Architecture::Electra && size != self.hidden_size()
        })
    }

    /// The function between the two products of a classifier, if it has two.
    fn classifier_act(&self) -> Option<ClassifierAct> {
        match (self.head, self.architecture()) {
            // Exact, whatever the layers have.
            (Head::SequenceClassification, Architecture::Electra) => Some(ClassifierAct::Gelu),
            (Head::SequenceClassification, Architecture::DistilBert) => Some(ClassifierAct::Relu),
            (Head::SequenceClassification, _) => Some(ClassifierAct::Tanh),
            _ if self.is_discriminator() => Some(self.hidden_act.into()),
            _ => None,
        }
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
    ) -> Result<Config, CheckpointError> {
        let f = &self.fields;
        let eos = match &f.eos_token_id {
            Some(TokenIds::One(id)) => Some(*id),
            Some(TokenIds::Several(ids)) => ids.first().copied(),
            None => None,
        };
        let position_offset = match self.architecture().positions_follow_padding() {
            true => self.pad_token_id as usize + 1,
            false => 0,
        };
        let max_seq_length = self
            .sentence
            .max_seq_length
            .filter(|&length| length + position_offset < f.max_position_embeddings);
        Config::new(ConfigFields {
            architecture: self.architecture(),
            head: self.head,
            vocab_size: self.vocab_size(),
            hidden_size: f.hidden_size,
            num_hidden_layers: f.num_hidden_layers,
            num_attention_heads: f.num_attention_heads,
            intermediate_size: f.intermediate_size,
            max_position_embeddings: f.max_position_embeddings,
            type_vocab_size: f.type_vocab_size,
            embedding_size: self.embedding_size(),
            layer_norm_eps: f.layer_norm_eps,
            hidden_act: self.hidden_act,
            pad_token_id: self.pad_token_id,
            bos_token_id: special.bos.or(f.bos_token_id).unwrap_or(0),
            eos_token_id: special.eos.or(eos).unwrap_or(0),
            mask_token_id: special.mask,
            unk_token_id: special.unk,
            position_offset,
            tie_word_embeddings,
            labels: self.labels.clone(),
            classifier_act: self.classifier_act(),
            score_function: self.score_function,
            pooling: self.sentence.pooling,
            max_seq_length,
            quantization: quantization.into(),
        })
        .map_err(|source| CheckpointError::Config {
            path: self.path.clone(),
            source,
        })
    }
}

/// Gives the fields of a configuration BERT's names, and those of the architecture that are left out, or that transformers
/// doesn't read, their values.
fn completed(
    path: &Path,
    architecture: Architecture,
    mut config: Value,
) -> Result<Value, CheckpointError> {
    let Value::Object(fields) = &mut config else {
        return Ok(config);
    };
    if architecture == Architecture::DistilBert {
        // transformers takes these by either name.
        for (own, other) in [
            ("dim", "hidden_size"),
            ("n_layers", "num_hidden_layers"),
            ("n_heads", "num_attention_heads"),
        ] {
            let Some(value) = fields.remove(own) else {
                continue;
            };
            if let Some(different) = fields.insert(other.into(), value.clone())
                && different != value
            {
                return Err(CheckpointError::Unsupported {
                    path: path.into(),
                    field: own,
                    found: format!("{value} and {other}, its other name, {different}"),
                    supported: "one value for both",
                });
            }
        }
        // And these by its own only.
        for (own, other) in [
            ("hidden_dim", "intermediate_size"),
            ("activation", "hidden_act"),
        ] {
            fields.remove(other);
            if let Some(value) = fields.remove(own) {
                fields.insert(other.into(), value);
            }
        }
        fields.insert("layer_norm_eps".into(), json!(1e-12));
    }
    if !architecture.has_token_types() {
        fields.insert("type_vocab_size".into(), json!(0));
    }
    let defaults = match architecture {
        Architecture::DistilBert => json!({"num_hidden_layers": 6}),
        Architecture::Electra => {
            json!({"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024,
            "embedding_size": 128})
        }
        _ => Value::Null,
    };
    for (field, default) in defaults.as_object().into_iter().flatten() {
        let value = fields.entry(field.as_str());
        value.or_insert_with(|| default.clone());
    }
    Ok(config)
}

/// The first class that is named and can be converted.
fn architecture(path: &Path, config: &Value) -> Result<Class, CheckpointError> {
    let names = |key: &str| match &config[key] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (architectures, model_type) = (names("architectures"), names("model_type"));
    let known = architectures.iter().find_map(|name| class(name));
    if let Some(class) = known
        && model_type
            .iter()
            .all(|&name| name == class.family.model_type)
    {
        return Ok(class);
    }
    let found = match (architectures.as_slice(), model_type.as_slice()) {
        ([], []) => "that it doesn't name".into(),
        (names, [model_type, ..]) if known.is_some() || names.is_empty() => {
            format!("of the model_type {model_type}")
        }
        (names, _) => names.join(", "),
    };
    Err(CheckpointError::Architecture {
        path: path.into(),
        found,
    })
}

/// The names of the classes: `id2label` by number; where it isn't there, as transformers names them.
fn labels(path: &Path, fields: &Fields) -> Result<Vec<String>, CheckpointError> {
    let Some(id2label) = &fields.id2label else {
        let count = fields.num_labels.unwrap_or(2).min(MAX_LABELS + 1);
        return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let label = |i: usize| match id2label.get(&i.to_string())? {
        Value::String(label) => Some(label.clone()),
        number @ Value::Number(_) => Some(number.to_string()),
        _ => None,
    };
    let labels: Option<Vec<String>> = (0..id2label.len()).map(label).collect();
    labels.ok_or_else(|| CheckpointError::Unsupported {
        path: path.into(),
        field: "id2label",
        found: format!(
            "{} entries that aren't all names or numbers from 0",
            id2label.len()
        ),
        supported: "a name for each class, numbered from 0 without a gap",
    })
}

/// What makes scores of logits: what the checkpoint says, else by the kind of problem, as transformers' pipeline has it.
fn score_function(
    path: &Path,
    fields: &Fields,
    labels: usize,
) -> Result<ScoreFunction, CheckpointError> {
    let unsupported = |field, found: &str, supported| {
        Err(CheckpointError::Unsupported {
            path: path.into(),
            field,
            found: format!("{found:?}"),
            supported,
        })
    };
    let new = fields.sentence_transformers.as_ref();
    let activation = new
        .and_then(|s| s.activation_fn.as_deref())
        .or(fields.sbert_ce_default_activation_function.as_deref());
    if let Some(name) = activation {
        return match name.rsplit('.').next().unwrap_or(name) {
            "Identity" => Ok(ScoreFunction::None),
            "Sigmoid" => Ok(ScoreFunction::Sigmoid),
            _ => {
                let supported = "torch's Identity and Sigmoid";
                unsupported("sentence_transformers' activation", name, supported)
            }
        };
    }
    match (fields.problem_type.as_deref(), labels) {
        (Some("regression"), _) => Ok(ScoreFunction::None),
        (Some("multi_label_classification"), _) | (_, 1) => Ok(ScoreFunction::Sigmoid),
        (None | Some("single_label_classification"), _) => {
            match fields.function_to_apply.as_deref() {
                None | Some("softmax") => Ok(ScoreFunction::Softmax),
                Some("sigmoid") => Ok(ScoreFunction::Sigmoid),
                Some("none") => Ok(ScoreFunction::None),
                Some(other) => unsupported(
                    "function_to_apply",
                    other,
                    "\"softmax\", \"sigmoid\" and \"none\"",
                ),
            }
        }
        (Some(other), _) => {
            let supported = "\"regression\", \"single_label_classification\" and \"multi_label_classification\"";
            unsupported("problem_type", other, supported)
        }
    }
}
