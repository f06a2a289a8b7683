//! The weights of a model as the encoder uses them: views into its file, found by name once.

use crate::error::Error;
use rq_format::{ClassifierAct, HiddenAct, MAX_RELATIVE_DISTANCE, ModelFile};
use rq_kernels::Gelu;
use rq_kernels::lanes::Lanes;
use rq_kernels::packed::PackedMatrix;

/// A matrix and its bias.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// One row an output.
    pub weight: PackedMatrix<'a>,
    /// One vector a panel.
    pub bias: &'a [Lanes],
}

/// The parameters of a layer normalization.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// The scale of each value.
    pub weight: &'a [Lanes],
    /// The shift of each value.
    pub bias: &'a [Lanes],
}

/// What is added to a token's word embedding, and how the sum is normalized.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings<'a> {
    /// One row a position.
    pub position: &'a [Lanes],
    /// One row a type; nothing for a model without types.
    pub token_type: &'a [Lanes],
    /// Of the sum.
    pub norm: Norm<'a>,
    /// From the width of the embeddings to that of the hidden states, where they differ.
    pub projection: Option<Linear<'a>>,
}

/// One encoder layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    pub(crate) qkv: Linear<'a>,
    pub(crate) attention_output: Linear<'a>,
    pub(crate) attention_norm: Norm<'a>,
    pub(crate) ffn_up: Linear<'a>,
    pub(crate) ffn_down: Linear<'a>,
    pub(crate) ffn_norm: Norm<'a>,
}

/// The embeddings and the encoder.
#[derive(Clone, Debug)]
pub(crate) struct Encoder<'a> {
    pub(crate) word_embeddings: PackedMatrix<'a>,
    pub(crate) embeddings: Embeddings<'a>,
    /// For each head, what is added to the scores by distance, filled up to whole vectors. Empty for a model without.
    pub(crate) relative_bias: &'a [Lanes],
    pub(crate) layers: Vec<Layer<'a>>,
}

/// What is computed of the hidden states.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head<'a> {
    /// Nothing.
    None,
    /// A masked language model's: dense, activation, LayerNorm, and the decoder over the vocabulary.
    MaskedLm {
        dense: Linear<'a>,
        activation: Gelu,
        norm: Norm<'a>,
        decoder: Linear<'a>,
    },
    /// A classifier's, of texts, of tokens, or of an answer's places: the product over the labels, behind another and its
    /// activation or not. BERT's pooler is such another.
    Classifier {
        dense: Option<(Linear<'a>, ClassifierAct)>,
        out: Linear<'a>,
    },
}

/// Finds tensors by name.
struct Finder<'a> {
    file: &'a ModelFile,
}

impl<'a> Finder<'a> {
    fn linear(&self, name: &str) -> Result<Linear<'a>, Error> {
        self.linear_of(&format!("{name}.weight"), &format!("{name}.bias"))
    }

    fn linear_of(&self, weight: &str, bias: &str) -> Result<Linear<'a>, Error> {
        let weight = self.file.packed(weight)?;
        Ok(Linear {
            weight,
            bias: self.file.lanes(bias, 1, weight.rows())?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm<'a>, Error> {
        Ok(Norm {
            weight: self.file.lanes(&format!("{name}.weight"), 1, width)?,
            bias: self.file.lanes(&format!("{name}.bias"), 1, width)?,
        })
    }
}

impl<'a> Encoder<'a> {
    pub(crate) fn find(file: &'a ModelFile) -> Result<Self, Error> {
        let (find, config) = (Finder { file }, file.config());
        let (hidden, width) = (config.hidden_size, config.embedding_width());
        let layers = (0..config.num_hidden_layers)
            .map(|n| {
                Ok(Layer {
                    qkv: find.linear(&format!("layers.{n}.attention.qkv"))?,
                    attention_output: find.linear(&format!("layers.{n}.attention.output"))?,
                    attention_norm: find.norm(&format!("layers.{n}.attention.norm"), hidden)?,
                    ffn_up: find.linear(&format!("layers.{n}.ffn.up"))?,
                    ffn_down: find.linear(&format!("layers.{n}.ffn.down"))?,
                    ffn_norm: find.norm(&format!("layers.{n}.ffn.norm"), hidden)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            word_embeddings: file.packed("embeddings.word")?,
            embeddings: Embeddings {
                position: file.lanes(
                    "embeddings.position",
                    config.max_position_embeddings,
                    width,
                )?,
                token_type: match config.type_vocab_size {
                    0 => &[],
                    types => file.lanes("embeddings.token_type", types, width)?,
                },
                norm: find.norm("embeddings.norm", width)?,
                projection: match config.embedding_size {
                    None => None,
                    Some(_) => Some(find.linear("embeddings.projection")?),
                },
            },
            relative_bias: match config.architecture.has_relative_bias() {
                false => &[],
                true => file.lanes(
                    "attention.relative_bias",
                    config.num_attention_heads,
                    2 * MAX_RELATIVE_DISTANCE + 1,
                )?,
            },
            layers,
        })
    }
}

impl<'a> Head<'a> {
    pub(crate) fn find(file: &'a ModelFile) -> Result<Self, Error> {
        let (find, config) = (Finder { file }, file.config());
        Ok(match config.head {
            rq_format::Head::None => Self::None,
            rq_format::Head::MaskedLm => Self::MaskedLm {
                dense: find.linear("lm_head.dense")?,
                activation: gelu(config.lm_head_act()),
                norm: find.norm("lm_head.norm", config.embedding_width())?,
                decoder: match config.tie_word_embeddings {
                    true => find.linear_of("embeddings.word", "lm_head.decoder.bias")?,
                    false => find.linear("lm_head.decoder")?,
                },
            },
            rq_format::Head::SequenceClassification
            | rq_format::Head::TokenClassification
            | rq_format::Head::QuestionAnswering => Self::Classifier {
                dense: match config.classifier_act {
                    None => None,
                    Some(act) => Some((find.linear("classifier.dense")?, act)),
                },
                out: find.linear("classifier.out")?,
            },
        })
    }
}

/// The kernels' name of an activation function.
pub(crate) fn gelu(act: HiddenAct) -> Gelu {
    match act {
        HiddenAct::Gelu => Gelu::Erf,
        HiddenAct::GeluTanh => Gelu::Tanh,
    }
}
