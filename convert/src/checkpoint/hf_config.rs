//! `config.json` of a Hugging Face checkpoint.

use super::architecture::{Class, Family, class, family, head_of};
use super::error::CheckpointError;
use super::json;
use super::notes::Notes;
use super::sentence::SentenceEncoder;
use super::tokenizer_settings::TokenizerSettings;
use super::weights::Checkpoint;
use rq_format::{
    Architecture, ClassifierAct, Config, ConfigFields, Head, HiddenAct, MAX_LABELS, Pooling,
    ScoreFunction, SparsePooling, TruncationSide,
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
    /// Where the checkpoint is; `modules.json` may say that it's a folder of what was named.
    directory: PathBuf,
    fields: Fields,
    family: Family,
    /// Whether the head is that of ELECTRA's discriminator.
    discriminator: bool,
    head: Head,
    hidden_act: HiddenAct,
    pad_token_id: u32,
    labels: Vec<String>,
    score_function: Option<ScoreFunction>,
    sentence: SentenceEncoder,
    tokenizer: TokenizerSettings,
    notes: Notes,
}

/// What ELECTRA's discriminator says of a token, in the order of the file's outputs.
const DISCRIMINATOR_LABELS: [&str; 2] = ["original", "replaced"];

/// The buckets of MPNet's relative bias that transformers computes with, whatever `config.json` says.
pub(super) const RELATIVE_BUCKETS: usize = 32;

/// Fields of `config.json` that change nothing of what rq computes: of training, of other software, of generation.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "classifier_dropout_prob",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "directionality",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "ignore_index",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "language",
    "layer_norm_epsilon",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "model_max_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pooler_fc_size",
    "pooler_hidden_act",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "prefix",
    "qa_dropout",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "seq_classif_dropout",
    "sinusoidal_pos_embds",
    "summary_activation",
    "summary_first_dropout",
    "summary_last_dropout",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_weights_",
    "tokenizer_name",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];
/// Fields that change the model, and what they may be.
const MUST_BE_EMPTY: [&str; 3] = ["pruned_heads", "quantization_config", "adapters"];

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

/// Their names, and those that are DistilBERT's.
const FIELDS: [&str; 30] = [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
    "relative_attention_num_buckets",
    "layer_norm_eps",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "position_embedding_type",
    "is_decoder",
    "add_cross_attention",
    "tie_word_embeddings",
    "id2label",
    "num_labels",
    "problem_type",
    "function_to_apply",
    "sbert_ce_default_activation_function",
    "sentence_transformers",
    "tokenizer_class",
    "dim",
    "n_layers",
    "n_heads",
    "hidden_dim",
    "activation",
];

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

impl Fields {
    /// The activation; refuses what makes another graph of the model.
    fn hidden_act(
        &self,
        path: &Path,
        architecture: Architecture,
    ) -> Result<HiddenAct, CheckpointError> {
        let act = match self.hidden_act.as_str() {
            "gelu" | "gelu_python" => HiddenAct::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => HiddenAct::GeluTanh,
            other => {
                let supported = "\"gelu\", \"gelu_new\", \"gelu_fast\" and \"gelu_pytorch_tanh\"";
                return unsupported(path, "hidden_act", format!("{other:?}"), supported);
            }
        };
        let positions = self.position_embedding_type.as_deref();
        let buckets = self.relative_attention_num_buckets;
        if let Some(other) = positions.filter(|&positions| positions != "absolute") {
            let field = "position_embedding_type";
            unsupported(path, field, format!("{other:?}"), "\"absolute\"")
        } else if self.is_decoder {
            unsupported(path, "is_decoder", true, "false")
        } else if self.add_cross_attention {
            unsupported(path, "add_cross_attention", true, "false")
        } else if architecture.has_relative_bias() && buckets != RELATIVE_BUCKETS {
            unsupported(path, "relative_attention_num_buckets", buckets, "32")
        } else {
            Ok(act)
        }
    }

    /// The padding token, behind which positions start in some architectures.
    fn pad_token_id(
        &self,
        path: &Path,
        architecture: Architecture,
    ) -> Result<u32, CheckpointError> {
        let follows = architecture.positions_follow_padding();
        match self.pad_token_id {
            // transformers' MPNet has its positions start behind 1, whatever the configuration says.
            _ if architecture == Architecture::MpNet => Ok(1),
            Some(Some(id)) => Ok(id),
            Some(None) if !follows => Ok(0),
            Some(None) => {
                let supported = "a token's id, behind which positions start";
                unsupported(path, "pad_token_id", Value::Null, supported)
            }
            None => Ok(u32::from(follows)),
        }
    }
}

/// Refuses a model of which a part is elsewhere, or gone.
fn whole(path: &Path, config: &Value) -> Result<(), CheckpointError> {
    let empty = |field: &&str| match &config[*field] {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match MUST_BE_EMPTY.into_iter().find(|field| !empty(field)) {
        Some(field) => {
            let supported = "nothing: save the model whole, in floats";
            unsupported(path, field, &config[field], supported)
        }
        None => Ok(()),
    }
}

fn unsupported<T>(
    path: &Path,
    field: &'static str,
    found: impl ToString,
    supported: &'static str,
) -> Result<T, CheckpointError> {
    Err(CheckpointError::Unsupported {
        path: path.into(),
        field,
        found: found.to_string(),
        supported,
    })
}

impl HfConfig {
    /// Reads `config.json` in `directory`, and what sentence-transformers has written beside it.
    ///
    /// # Errors
    /// When it can't be read, isn't JSON, or describes a model that isn't supported.
    pub fn read(directory: &Path) -> Result<Self, CheckpointError> {
        Self::read_as(directory, None)
    }

    /// The same, with this head in place of the one that the files tell of.
    ///
    /// # Errors
    /// As [`HfConfig::read`].
    pub fn read_as(directory: &Path, wanted: Option<Head>) -> Result<Self, CheckpointError> {
        let sentence = SentenceEncoder::read(directory)?;
        let directory = match &*sentence.folder {
            "" => directory.to_path_buf(),
            folder => directory.join(folder),
        };
        let path = directory.join("config.json");
        let value = json::read::<Value>(&path)?;
        // The architecture first: the fields of another one may well be of other types.
        let any_head = wanted.is_some() || sentence.pooling.is_some() || sentence.sparse.is_some();
        let (family, class) = architecture(&path, &value, any_head)?;
        let (architecture, named) = (family.architecture, class.map(|class| class.head));
        let head = match (wanted, &sentence.pooling, named) {
            (Some(head), ..) => head,
            // What an encoder is made of is listed, and a head isn't.
            (None, Some(_), _) => Head::None,
            (None, None, _) if sentence.sparse.is_some() => Head::MaskedLm,
            (None, None, Some(head)) => head,
            (None, None, None) => {
                let tensors = Checkpoint::names(&directory, architecture)?;
                head_of(architecture, |name| tensors.contains(name))
            }
        };
        let mut notes = sentence.notes.clone();
        whole(&path, &value)?;
        if let Some(fields) = value.as_object() {
            notes.account("config.json", fields.keys(), |field| {
                HARMLESS.contains(&field) || FIELDS.contains(&field)
            });
        }
        if wanted.is_none()
            && head == Head::None
            && let Some(named) = named.filter(|&named| named != head)
        {
            notes.add(format!(
                "modules.json makes this a sentence encoder: the head that its architecture names ({named}) is left out"
            ));
        }
        let tokenizer = TokenizerSettings::read(&directory, &sentence.tokenizer, &mut notes)?;
        let discriminator = wanted.is_none()
            && head == Head::TokenClassification
            && class.is_some_and(|class| class.discriminator);
        let value = completed(&path, architecture, value)?;
        let mut fields: Fields =
            serde_json::from_value(value).map_err(|source| CheckpointError::Json {
                path: path.clone(),
                source,
            })?;

        let hidden_act = fields.hidden_act(&path, architecture)?;
        let pad_token_id = fields.pad_token_id(&path, architecture)?;
        fields.vocab_size.get_or_insert(family.vocab_size);
        let labels = match head.has_labels() {
            true if discriminator => DISCRIMINATOR_LABELS.map(str::to_owned).into(),
            true => labels(&path, &fields, &mut notes)?,
            false => Vec::new(),
        };
        let score_function = match head {
            Head::SequenceClassification => Some(score_function(&path, &fields, labels.len())?),
            _ => None,
        };
        let config = Self {
            path,
            directory,
            fields,
            family,
            discriminator,
            head,
            hidden_act,
            pad_token_id,
            labels,
            score_function,
            sentence,
            tokenizer,
            notes,
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

    /// The directory of the checkpoint: the one that was named, or the folder in it that `modules.json` names.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folders of a sentence encoder's dense layers, below the directory that was named.
    pub(crate) fn dense_folders(&self) -> &[String] {
        &self.sentence.dense
    }

    /// How embeddings are made, if the files say so.
    pub(crate) fn pooling(&self) -> Option<&Pooling> {
        self.sentence
            .pooling
            .as_ref()
            .filter(|_| self.head == Head::None)
    }

    /// How sparse embeddings are made, if the files say so.
    fn sparse_pooling(&self) -> Option<&SparsePooling> {
        let sparse = self.sentence.sparse.as_ref();
        sparse.filter(|_| self.head == Head::MaskedLm)
    }

    /// What `tokenizer_config.json` and the files beside it say.
    pub(crate) fn tokenizer_settings(&self) -> &TokenizerSettings {
        &self.tokenizer
    }

    /// Whether texts are put in lower case before all other steps of the tokenizer.
    pub(crate) fn lower_case_first(&self) -> bool {
        self.sentence.lower_case
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The graph of the encoder.
    pub fn architecture(&self) -> Architecture {
        self.family.architecture
    }

    /// Whether the head is that of ELECTRA's discriminator.
    pub(crate) fn is_discriminator(&self) -> bool {
        self.discriminator
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
            .unwrap_or(self.family.model_type)
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
        // As sentence-transformers has it, its own limit counts in place of the tokenizer's.
        let max_seq_length = match self.sentence.max_seq_length {
            Some(length) => Some(length),
            None => self.tokenizer.model_max_length()?,
        };
        let positions = f.max_position_embeddings.saturating_sub(position_offset);
        let max_seq_length = max_seq_length.filter(|&length| length < positions);
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
            pooling: self.pooling().cloned(),
            sparse_pooling: self.sparse_pooling().cloned(),
            max_seq_length,
            truncation_side: TruncationSide::Right,
            clean_up_spaces: false,
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

/// The model type, and the first class that is named and can be converted. A class that isn't known may be there where its head
/// doesn't matter.
fn architecture(
    path: &Path,
    config: &Value,
    any_head: bool,
) -> Result<(Family, Option<Class>), CheckpointError> {
    let names = |key: &str| match &config[key] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (architectures, model_type) = (names("architectures"), names("model_type"));
    let known = architectures.iter().find_map(|name| class(name));
    let of_type = match model_type[..] {
        [] => known.map(|class| class.family),
        [model_type, ..] => family(model_type),
    };
    match (of_type, known) {
        // RoBERTa's types have one graph; no class of it loads BERT's tensors.
        (Some(family), Some(class)) if family.architecture == class.family.architecture => {
            return Ok((family, Some(class)));
        }
        (Some(family), None) if architectures.is_empty() || any_head => {
            return Ok((family, None));
        }
        _ => {}
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

/// The names of the classes, as transformers has them: `id2label` by number, unless `num_labels` is another number than it
/// has, or it isn't there.
fn labels(path: &Path, fields: &Fields, notes: &mut Notes) -> Result<Vec<String>, CheckpointError> {
    let numbered = |count: usize| {
        let count = count.min(MAX_LABELS + 1);
        Ok((0..count).map(|i| format!("LABEL_{i}")).collect())
    };
    let id2label = match (&fields.id2label, fields.num_labels) {
        (None, count) => return numbered(count.unwrap_or(2)),
        (Some(id2label), Some(count)) if count != id2label.len() => {
            notes.add(format!(
                "config.json has num_labels {count} and {} entries of id2label: the labels are LABEL_0 and so on, as in \
                 transformers",
                id2label.len()
            ));
            return numbered(count);
        }
        (Some(id2label), _) => id2label,
    };
    let mut label = |i: usize| match id2label.get(&i.to_string())? {
        Value::String(label) => Some(label.clone()),
        number @ (Value::Number(_) | Value::Bool(_)) => Some(number.to_string()),
        Value::Null => {
            notes.add(format!(
                "config.json has null for label {i}: it is called LABEL_{i}"
            ));
            Some(format!("LABEL_{i}"))
        }
        _ => None,
    };
    let labels: Option<Vec<String>> = (0..id2label.len()).map(&mut label).collect();
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
