//! The architecture and the numbers that a runtime needs of a model.
//!
//! A new architecture or head is a variant here, an arm in [`Config::new`] and an arm in
//! [`Config::expected_tensors`]; nothing else of this crate knows of it.

use crate::error::FormatError;
use crate::header::Section;
use crate::json;
use rq_kernels::lanes::LANES;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// The largest `hidden_size`.
pub const MAX_HIDDEN_SIZE: usize = 1 << 16;
/// The largest `intermediate_size`.
pub const MAX_INTERMEDIATE_SIZE: usize = 1 << 20;
/// The largest `num_hidden_layers`.
pub const MAX_LAYERS: usize = 1 << 10;
/// The largest `max_position_embeddings`.
pub const MAX_POSITIONS: usize = 1 << 20;
/// The largest `type_vocab_size`.
pub const MAX_TOKEN_TYPES: usize = 1 << 10;
/// The largest `vocab_size`.
pub const MAX_VOCAB_SIZE: usize = 1 << 24;
/// The most labels.
pub const MAX_LABELS: usize = 1 << 16;
/// The longest label, in bytes.
pub const MAX_LABEL_LEN: usize = 1 << 10;
/// The most poolings whose vectors make one embedding.
pub const MAX_POOLING_MODES: usize = 6;
/// The most layers behind the pooling.
pub const MAX_EMBEDDING_LAYERS: usize = 16;
/// The most prompts.
pub const MAX_PROMPTS: usize = 1 << 10;
/// The longest prompt, in bytes.
pub const MAX_PROMPT_LEN: usize = 1 << 16;
/// The longest `quantization`, in bytes.
const MAX_QUANTIZATION_LEN: usize = 64;

/// The graph of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Post-LayerNorm, learned positions that start behind the padding token's id, one token type. XLM-RoBERTa and
    /// CamemBERT are this too.
    Roberta,
    /// The same graph with positions that start at zero, and a token type for each text of a pair.
    Bert,
    /// BERT's without token types.
    #[serde(rename = "distilbert")]
    DistilBert,
    /// BERT's, with embeddings that may be of another width than the hidden states.
    Electra,
    /// RoBERTa's without token types. Attention adds a bias to each score, by how far the key is from the query; all
    /// layers share it.
    #[serde(rename = "mpnet")]
    MpNet,
}

impl Architecture {
    /// Whether positions start behind the padding token's id, and padding inside a text isn't counted. Otherwise they
    /// start at zero.
    pub fn positions_follow_padding(self) -> bool {
        matches!(self, Self::Roberta | Self::MpNet)
    }

    /// Whether there is a table of token types.
    pub fn has_token_types(self) -> bool {
        !matches!(self, Self::DistilBert | Self::MpNet)
    }

    /// Whether the second text of a pair has a token type of its own.
    pub fn types_pairs(self) -> bool {
        matches!(self, Self::Bert | Self::Electra)
    }

    /// Whether attention adds a bias by the distance of key and query.
    pub fn has_relative_bias(self) -> bool {
        self == Self::MpNet
    }
}

/// The distance of a key from its query, in tokens, from which on the relative bias stays the same.
pub const MAX_RELATIVE_DISTANCE: usize = 127;

/// What is computed of the encoder's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Nothing: the hidden states are the answer.
    None,
    /// For a token, a logit for each entry of the vocabulary.
    MaskedLm,
    /// For a text or a pair of texts, by its first token, a logit for each label.
    SequenceClassification,
    /// For a token, a logit for each label.
    TokenClassification,
    /// For a token, a logit that the answer starts there, and one that it ends there.
    QuestionAnswering,
}

impl Head {
    /// Whether the outputs have names.
    pub fn has_labels(self) -> bool {
        matches!(
            self,
            Self::SequenceClassification | Self::TokenClassification
        )
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::MaskedLm => "masked_lm",
            Self::SequenceClassification => "sequence_classification",
            Self::TokenClassification => "token_classification",
            Self::QuestionAnswering => "question_answering",
        })
    }
}

/// The function between the two products of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// x * (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2.
    GeluTanh,
}

/// The function between the two products of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassifierAct {
    /// tanh(x): RoBERTa's, BERT's and MPNet's.
    Tanh,
    /// max(x, 0): DistilBERT's.
    Relu,
    /// As [`HiddenAct::Gelu`]: ELECTRA's.
    Gelu,
    /// As [`HiddenAct::GeluTanh`].
    GeluTanh,
}

impl From<HiddenAct> for ClassifierAct {
    fn from(act: HiddenAct) -> Self {
        match act {
            HiddenAct::Gelu => Self::Gelu,
            HiddenAct::GeluTanh => Self::GeluTanh,
        }
    }
}

/// What makes scores of a classifier's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreFunction {
    /// The labels exclude each other.
    Softmax,
    /// Each label is there or not.
    Sigmoid,
    /// A logit is the score: regression.
    None,
}

/// The end at which a text that is too long is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationSide {
    /// The beginning stays.
    #[default]
    Right,
    /// The end stays.
    Left,
}

impl TruncationSide {
    fn is_right(&self) -> bool {
        *self == Self::Right
    }
}

/// How hidden states become one embedding of a text, as the model was trained.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pooling {
    /// What is made of a text's hidden states: the vectors of these, one behind the other.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt are pooled with those of the text.
    pub include_prompt: bool,
    /// What becomes of the pooled vector, or of each token's, step by step.
    pub layers: Vec<EmbeddingLayer>,
    /// Texts that are put before a text, by their names.
    pub prompts: BTreeMap<String, String>,
    /// The name of the one that is put there unless another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_prompt: Option<String>,
}

impl Pooling {
    /// One that makes an embedding by one mode and nothing else.
    pub fn of(mode: PoolingMode) -> Self {
        Self {
            modes: vec![mode],
            include_prompt: true,
            layers: Vec::new(),
            prompts: BTreeMap::new(),
            default_prompt: None,
        }
    }

    /// The dense layers, each with the width of what it takes, of a model with hidden states of this width.
    pub fn dense_layers(&self, hidden_size: usize) -> impl Iterator<Item = (usize, Dense)> {
        let mut width = self.modes.len() * hidden_size;
        self.layers.iter().filter_map(move |layer| match layer {
            EmbeddingLayer::Normalize => None,
            EmbeddingLayer::Dense(dense) => {
                Some((std::mem::replace(&mut width, dense.out_features), *dense))
            }
        })
    }
}

/// A step from a pooled vector to an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingLayer {
    /// A product, and a function of each value.
    Dense(Dense),
    /// The vector is divided by its length, or by 1e-12 where it has almost none.
    Normalize,
}

/// A product behind the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// The width of what it makes.
    pub out_features: usize,
    /// Whether it adds a bias.
    pub bias: bool,
    /// What becomes of each value.
    pub activation: Activation,
}

/// A function of each value of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x.
    Identity,
    /// tanh x.
    Tanh,
    /// x, or 0 where it is negative.
    Relu,
    /// x * (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// Which hidden states of a text make its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingMode {
    /// The first token's.
    Cls,
    /// The mean over all tokens.
    Mean,
    /// In each dimension the largest.
    Max,
    /// The sum over all tokens, divided by the square root of their number.
    MeanSqrtLen,
    /// The mean over all tokens, each with the weight of its position, from 1.
    WeightedMean,
    /// The last token's.
    LastToken,
    /// Each token's, which keep apart (ColBERT, Khattab and Zaharia 2020). The only mode of its pooling.
    Tokens,
}

/// How a sparse encoder makes an embedding of the logits of a masked language model: a weight for each entry of the
/// vocabulary (SPLADE, Formal et al. 2021, <https://arxiv.org/abs/2109.10086>).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparsePooling {
    /// What is made of the values of a text's tokens.
    pub mode: SparseMode,
    /// What makes a value of a logit.
    pub activation: SparseActivation,
    /// How many of the largest weights are kept, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_dims: Option<usize>,
    /// Texts that are put before a text, by their names.
    pub prompts: BTreeMap<String, String>,
    /// The name of the one that is put there unless another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_prompt: Option<String>,
}

impl Default for SparsePooling {
    /// What sentence-transformers' SparseEncoder makes of a masked language model.
    fn default() -> Self {
        Self {
            mode: SparseMode::Max,
            activation: SparseActivation::Relu,
            max_active_dims: None,
            prompts: BTreeMap::new(),
            default_prompt: None,
        }
    }
}

/// What is made of the values that a text's tokens have for an entry of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SparseMode {
    /// The largest.
    Max,
    /// Their sum.
    Sum,
}

/// What makes a value of a logit x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SparseActivation {
    /// log(1 + max(x, 0)).
    Relu,
    /// log(1 + log(1 + max(x, 0))).
    Log1pRelu,
}

/// The fields of a [`Config`], not checked yet. This is the JSON of the section, field for field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFields {
    /// The graph of the encoder.
    pub architecture: Architecture,
    /// What is computed of its output.
    pub head: Head,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// The width of the hidden states.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Heads of each attention; they divide the hidden size.
    pub num_attention_heads: usize,
    /// The width between the two products of a feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position table.
    pub max_position_embeddings: usize,
    /// Rows of the token-type table; zero for an architecture without one.
    pub type_vocab_size: usize,
    /// The width of the embeddings, where a product takes them from it to the hidden size. Otherwise they have that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// What LayerNorm adds to the variance.
    pub layer_norm_eps: f64,
    /// The activation function.
    pub hidden_act: HiddenAct,
    /// The token that pads a sequence.
    pub pad_token_id: u32,
    /// The token that begins a sequence (BERT: `[CLS]`).
    pub bos_token_id: u32,
    /// The token that ends a sequence (BERT: `[SEP]`).
    pub eos_token_id: u32,
    /// The token that stands for a missing one, if there is one. A masked language model has it.
    pub mask_token_id: Option<u32>,
    /// The token that stands for what the vocabulary can't spell, if it has one.
    pub unk_token_id: Option<u32>,
    /// The row of the position table that a sequence's first token takes. RoBERTa: `pad_token_id + 1`; BERT: 0.
    pub position_offset: usize,
    /// Whether the LM head's product uses the word embeddings.
    pub tie_word_embeddings: bool,
    /// The names of a classifier's classes, in the order of its outputs. Empty for the other heads.
    pub labels: Vec<String>,
    /// The function between the two products of a classifier. A sequence classifier has it. A token classifier that does
    /// has two products as well, otherwise one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier_act: Option<ClassifierAct>,
    /// What makes scores of the logits of a sequence classifier; only it has this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_function: Option<ScoreFunction>,
    /// How a sentence encoder makes an embedding, where its publisher says so; only without a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// How a sparse encoder makes an embedding, where its publisher says so; only of a masked language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_pooling: Option<SparsePooling>,
    /// The longest sequence in tokens that the publisher intends, if it is shorter than the positions allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seq_length: Option<usize>,
    /// Where a text with more tokens is cut, if it may be. Not there: at its end.
    #[serde(default, skip_serializing_if = "TruncationSide::is_right")]
    pub truncation_side: TruncationSide,
    /// Whether the text of tokens loses the spaces before punctuation and English contractions. Not there: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean_up_spaces: bool,
    /// The name of the recipe that quantized the weights, for people: "q8", "q4".
    pub quantization: String,
}

/// A configuration that is valid: every limit and relation that [`Config::new`] lists holds.
///
/// Its fields are those of [`ConfigFields`], to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ConfigFields", into = "ConfigFields")]
pub struct Config(ConfigFields);

/// Why a configuration isn't valid.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number is outside its limits.
    #[error("{field} is {found}; it must be from {min} to {max}")]
    Range {
        /// Which.
        field: &'static str,
        /// What it is.
        found: usize,
        /// The least that it may be.
        min: usize,
        /// The most that it may be.
        max: usize,
    },
    /// The heads don't divide the hidden size.
    #[error(
        "num_attention_heads is {num_attention_heads}; it must divide hidden_size, {hidden_size}"
    )]
    Heads {
        /// The width of the hidden states.
        hidden_size: usize,
        /// The heads.
        num_attention_heads: usize,
    },
    /// LayerNorm's epsilon isn't a normal positive f32 of at most 1.
    #[error("layer_norm_eps is {found}; it must be a normal, positive f32 of at most 1")]
    LayerNormEps {
        /// What it is.
        found: f64,
    },
    /// A special token isn't in the vocabulary.
    #[error("{field} is {found}; the vocabulary ends at {vocab_size}")]
    TokenId {
        /// Which.
        field: &'static str,
        /// What it is.
        found: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// The first position isn't the one that the architecture defines.
    #[error("position_offset is {found}; this architecture starts at {expected}")]
    PositionOffset {
        /// What the architecture defines.
        expected: usize,
        /// What it is.
        found: usize,
    },
    /// The position table has no room for the two tokens of an empty sequence.
    #[error(
        "max_position_embeddings is {max_position_embeddings}; from position_offset, {position_offset}, there must be room for 2 tokens"
    )]
    MaxTokens {
        /// Rows of the position table.
        max_position_embeddings: usize,
        /// The first one used.
        position_offset: usize,
    },
    /// The head has no labels, or needs some.
    #[error("{found} labels; the head {head} has {}", if head.has_labels() { "from 1 to 65536" } else { "none" })]
    Labels {
        /// What is computed.
        head: Head,
        /// How many labels there are.
        found: usize,
    },
    /// A label can't be shown to a person.
    #[error(
        "label {index} is {found:?}; a label has at most {MAX_LABEL_LEN} bytes and no control characters"
    )]
    Label {
        /// Which, from 0.
        index: usize,
        /// What it is.
        found: String,
    },
    /// A masked language model without a mask.
    #[error("a masked_lm has a mask_token_id")]
    NoMask,
    /// A field that the head needs, or must not have.
    #[error("{field} is {}; the head {head} has {}", if *found { "there" } else { "not there" }, if *found { "none" } else { "one" })]
    HeadField {
        /// Which.
        field: &'static str,
        /// What is computed.
        head: Head,
        /// Whether it is there.
        found: bool,
    },
    /// More tokens intended than there are positions.
    #[error("max_seq_length is {found}; it must be from 2 to {most}, as the positions allow")]
    MaxSeqLength {
        /// What it is.
        found: usize,
        /// Tokens that there are positions for.
        most: usize,
    },
    /// A part of the pooling isn't within its limits.
    #[error("pooling has {what}")]
    Pooling {
        /// What is wrong: "no modes; it must have from 1 to 6".
        what: String,
    },
    /// A part of the sparse pooling isn't within its limits.
    #[error("sparse_pooling has {what}")]
    SparsePooling {
        /// What is wrong: "max_active_dims 0; it must be from 1 to 16777216".
        what: String,
    },
    /// The recipe's name isn't 1 to 64 of `a-z 0-9 . _ + -`.
    #[error(
        "quantization is `{found}`; it must be 1 to {MAX_QUANTIZATION_LEN} of the characters a-z, 0-9, '.', '_', '+' and '-'"
    )]
    Quantization {
        /// What it is.
        found: String,
    },
}

impl Config {
    /// Checks the fields.
    ///
    /// # Errors
    /// When a size is zero or beyond its limit, the heads don't divide the hidden size, a token isn't in the
    /// vocabulary, the position table has no room for two tokens or starts elsewhere than the architecture says,
    /// epsilon isn't a normal f32, labels or other fields don't suit the head, the pooling exceeds a limit, or the recipe's name isn't one.
    pub fn new(fields: ConfigFields) -> Result<Self, ConfigError> {
        let f = &fields;
        let embedding_size = f.embedding_size.unwrap_or(f.hidden_size);
        let types = match f.architecture.has_token_types() {
            true => (1, MAX_TOKEN_TYPES),
            false => (0, 0),
        };
        for (field, found, (min, max)) in [
            ("vocab_size", f.vocab_size, (1, MAX_VOCAB_SIZE)),
            ("hidden_size", f.hidden_size, (1, MAX_HIDDEN_SIZE)),
            ("num_hidden_layers", f.num_hidden_layers, (1, MAX_LAYERS)),
            (
                "num_attention_heads",
                f.num_attention_heads,
                (1, MAX_HIDDEN_SIZE),
            ),
            (
                "intermediate_size",
                f.intermediate_size,
                (1, MAX_INTERMEDIATE_SIZE),
            ),
            (
                "max_position_embeddings",
                f.max_position_embeddings,
                (1, MAX_POSITIONS),
            ),
            ("type_vocab_size", f.type_vocab_size, types),
            ("embedding_size", embedding_size, (1, MAX_HIDDEN_SIZE)),
        ] {
            if !(min..=max).contains(&found) {
                return Err(ConfigError::Range {
                    field,
                    found,
                    min,
                    max,
                });
            }
        }
        if !f.hidden_size.is_multiple_of(f.num_attention_heads) {
            return Err(ConfigError::Heads {
                hidden_size: f.hidden_size,
                num_attention_heads: f.num_attention_heads,
            });
        }
        let eps = f.layer_norm_eps as f32;
        if !(eps.is_normal() && eps > 0.0 && f.layer_norm_eps <= 1.0) {
            return Err(ConfigError::LayerNormEps {
                found: f.layer_norm_eps,
            });
        }
        for (field, id) in [
            ("pad_token_id", Some(f.pad_token_id)),
            ("bos_token_id", Some(f.bos_token_id)),
            ("eos_token_id", Some(f.eos_token_id)),
            ("mask_token_id", f.mask_token_id),
            ("unk_token_id", f.unk_token_id),
        ] {
            if let Some(found) = id.filter(|&id| id as usize >= f.vocab_size) {
                return Err(ConfigError::TokenId {
                    field,
                    found,
                    vocab_size: f.vocab_size,
                });
            }
        }
        let expected = match f.architecture.positions_follow_padding() {
            true => f.pad_token_id as usize + 1,
            false => 0,
        };
        if f.position_offset != expected {
            return Err(ConfigError::PositionOffset {
                expected,
                found: f.position_offset,
            });
        }
        if f.max_position_embeddings.saturating_sub(f.position_offset) < 2 {
            return Err(ConfigError::MaxTokens {
                max_position_embeddings: f.max_position_embeddings,
                position_offset: f.position_offset,
            });
        }
        if let Some(found) = f.max_seq_length {
            let most = f.max_position_embeddings - f.position_offset;
            if !(2..=most).contains(&found) {
                return Err(ConfigError::MaxSeqLength { found, most });
            }
        }
        check_head(f)?;
        if let Some(pooling) = &f.pooling {
            check_pooling(pooling)?;
        }
        if let Some(pooling) = &f.sparse_pooling {
            check_sparse_pooling(pooling)?;
        }
        let legal = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'-');
        if !(1..=MAX_QUANTIZATION_LEN).contains(&f.quantization.len())
            || !f.quantization.bytes().all(legal)
        {
            return Err(ConfigError::Quantization {
                found: f.quantization.clone(),
            });
        }
        Ok(Self(fields))
    }

    /// The fields, to change and check again.
    pub fn into_fields(self) -> ConfigFields {
        self.0
    }

    /// The width of the embeddings: `embedding_size`, or the hidden size.
    pub fn embedding_width(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// The function between the two products of the LM head. RoBERTa's, ELECTRA's and MPNet's have the exact GELU,
    /// whatever the layers have.
    pub fn lm_head_act(&self) -> HiddenAct {
        match self.architecture {
            Architecture::Bert | Architecture::DistilBert => self.hidden_act,
            Architecture::Roberta | Architecture::Electra | Architecture::MpNet => HiddenAct::Gelu,
        }
    }

    /// The width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The width of one attention head in the weights: the head size, rounded up to whole vectors of 16.
    pub fn padded_head_size(&self) -> usize {
        self.head_size().next_multiple_of(LANES)
    }

    /// The longest sequence in tokens, the special ones included: `max_seq_length`, or what the positions allow.
    pub fn max_tokens(&self) -> usize {
        self.max_seq_length
            .unwrap_or(self.max_position_embeddings - self.position_offset)
    }

    /// The width of a text's embedding, or of each of its tokens' vectors: that of the hidden states, unless the pooling says otherwise.
    pub fn embedding_dimension(&self) -> usize {
        let Some(pooling) = &self.pooling else {
            return self.hidden_size;
        };
        let last = pooling.dense_layers(self.hidden_size).last();
        last.map_or(pooling.modes.len() * self.hidden_size, |(_, dense)| {
            dense.out_features
        })
    }

    /// The texts that may be put before a text, by their names, and the name of the one that is put there unless another is
    /// asked for; nothing where the publisher says nothing of embeddings.
    pub fn prompts(&self) -> Option<(&BTreeMap<String, String>, Option<&str>)> {
        let dense = self.pooling.as_ref();
        let dense = dense.map(|dense| (&dense.prompts, dense.default_prompt.as_deref()));
        let sparse = self.sparse_pooling.as_ref();
        dense.or_else(|| sparse.map(|s| (&s.prompts, s.default_prompt.as_deref())))
    }

    /// Logits that the head computes for a row; zero without a head.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::None => 0,
            Head::MaskedLm => self.vocab_size,
            Head::SequenceClassification | Head::TokenClassification => self.labels.len(),
            Head::QuestionAnswering => 2,
        }
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, FormatError> {
        let fields: ConfigFields = json::from_slice(bytes).map_err(|source| FormatError::Json {
            section: Section::Config,
            source,
        })?;
        Ok(Self::new(fields)?)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(&self.0).map_err(|source| FormatError::Json {
            section: Section::Config,
            source,
        })
    }
}

/// Checks the parts of a pooling.
fn check_pooling(pooling: &Pooling) -> Result<(), ConfigError> {
    let refuse = |what: String| Err(ConfigError::Pooling { what });
    if !(1..=MAX_POOLING_MODES).contains(&pooling.modes.len()) {
        let found = pooling.modes.len();
        return refuse(format!(
            "{found} modes; it must have from 1 to {MAX_POOLING_MODES}"
        ));
    }
    if pooling.modes.len() > 1 && pooling.modes.contains(&PoolingMode::Tokens) {
        return refuse("tokens among other modes; it must be the only one".into());
    }
    if pooling.layers.len() > MAX_EMBEDDING_LAYERS {
        let found = pooling.layers.len();
        return refuse(format!(
            "{found} layers; it may have {MAX_EMBEDDING_LAYERS}"
        ));
    }
    for layer in &pooling.layers {
        if let EmbeddingLayer::Dense(dense) = layer
            && !(1..=MAX_HIDDEN_SIZE).contains(&dense.out_features)
        {
            let found = dense.out_features;
            return refuse(format!(
                "a dense layer with out_features {found}; it must be from 1 to {MAX_HIDDEN_SIZE}"
            ));
        }
    }
    check_prompts(&pooling.prompts, pooling.default_prompt.as_ref()).or_else(refuse)
}

/// Checks the parts of a sparse pooling.
fn check_sparse_pooling(pooling: &SparsePooling) -> Result<(), ConfigError> {
    let refuse = |what: String| Err(ConfigError::SparsePooling { what });
    if let Some(found) = pooling.max_active_dims
        && !(1..=MAX_VOCAB_SIZE).contains(&found)
    {
        return refuse(format!(
            "max_active_dims {found}; it must be from 1 to {MAX_VOCAB_SIZE}"
        ));
    }
    check_prompts(&pooling.prompts, pooling.default_prompt.as_ref()).or_else(refuse)
}

/// Says what is wrong with prompts, by their names, or with the default one.
fn check_prompts(
    prompts: &BTreeMap<String, String>,
    default: Option<&String>,
) -> Result<(), String> {
    if prompts.len() > MAX_PROMPTS {
        let found = prompts.len();
        return Err(format!("{found} prompts; it may have {MAX_PROMPTS}"));
    }
    for (name, prompt) in prompts {
        if !is_shown(name) {
            let name: String = name.chars().take(MAX_LABEL_LEN).collect();
            return Err(format!(
                "a prompt called {name:?}; a name is 1 to {MAX_LABEL_LEN} bytes without control characters"
            ));
        }
        if prompt.len() > MAX_PROMPT_LEN {
            let found = prompt.len();
            return Err(format!(
                "the prompt {name:?} of {found} bytes; it may have {MAX_PROMPT_LEN}"
            ));
        }
    }
    match default {
        Some(name) if !prompts.contains_key(name) => {
            let name: String = name.chars().take(MAX_LABEL_LEN).collect();
            Err(format!(
                "the default prompt {name:?}, which isn't one of its prompts"
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a name can be shown to a person.
fn is_shown(name: &str) -> bool {
    (1..=MAX_LABEL_LEN).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Checks that there is what the head needs, and nothing else.
fn check_head(f: &ConfigFields) -> Result<(), ConfigError> {
    let head = f.head;
    let labels = f.labels.len();
    let count = if head.has_labels() {
        1..=MAX_LABELS
    } else {
        0..=0
    };
    if !count.contains(&labels) {
        return Err(ConfigError::Labels {
            head,
            found: labels,
        });
    }
    // transformers has labels that are empty.
    let shown = |label: &String| label.is_empty() || is_shown(label);
    if let Some(index) = f.labels.iter().position(|label| !shown(label)) {
        return Err(ConfigError::Label {
            index,
            found: f.labels[index].chars().take(MAX_LABEL_LEN).collect(),
        });
    }
    if head == Head::MaskedLm && f.mask_token_id.is_none() {
        return Err(ConfigError::NoMask);
    }
    for (field, found, allowed, needed) in [
        (
            "score_function",
            f.score_function.is_some(),
            head == Head::SequenceClassification,
            head == Head::SequenceClassification,
        ),
        (
            "classifier_act",
            f.classifier_act.is_some(),
            head.has_labels(),
            head == Head::SequenceClassification,
        ),
        ("pooling", f.pooling.is_some(), head == Head::None, false),
        (
            "sparse_pooling",
            f.sparse_pooling.is_some(),
            head == Head::MaskedLm,
            false,
        ),
    ] {
        if (found && !allowed) || (!found && needed) {
            return Err(ConfigError::HeadField { field, head, found });
        }
    }
    Ok(())
}

impl Deref for Config {
    type Target = ConfigFields;

    fn deref(&self) -> &ConfigFields {
        &self.0
    }
}

impl TryFrom<ConfigFields> for Config {
    type Error = ConfigError;

    fn try_from(fields: ConfigFields) -> Result<Self, ConfigError> {
        Self::new(fields)
    }
}

impl From<Config> for ConfigFields {
    fn from(config: Config) -> Self {
        config.into_fields()
    }
}
