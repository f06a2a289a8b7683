//! The weights of a model as the encoder uses them: views into its file, found by name once.

use crate::error::Error;
use rq_format::{Architecture, Config, ModelFile};
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
    /// One row a type.
    pub token_type: &'a [Lanes],
    /// Of the sum.
    pub norm: Norm<'a>,
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
    /// A sequence classifier's: dense, tanh, and the product over the labels. BERT's pooler is the dense part.
    Sequence { dense: Linear<'a>, out: Linear<'a> },
    /// That of tags or of answers' places: a product.
    Tokens { out: Linear<'a> },
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
        let hidden = config.hidden_size;
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
                    hidden,
                )?,
                token_type: file.lanes("embeddings.token_type", config.type_vocab_size, hidden)?,
                norm: find.norm("embeddings.norm", hidden)?,
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
                // RoBERTa's has the exact form, whatever the layers have.
                activation: match config.architecture {
                    Architecture::Bert => gelu(config),
                    Architecture::Roberta => Gelu::Erf,
                },
                norm: find.norm("lm_head.norm", config.hidden_size)?,
                decoder: match config.tie_word_embeddings {
                    true => find.linear_of("embeddings.word", "lm_head.decoder.bias")?,
                    false => find.linear("lm_head.decoder")?,
                },
            },
            rq_format::Head::SequenceClassification => Self::Sequence {
                dense: find.linear("classifier.dense")?,
                out: find.linear("classifier.out")?,
            },
            rq_format::Head::TokenClassification | rq_format::Head::QuestionAnswering => {
                Self::Tokens {
                    out: find.linear("classifier.out")?,
                }
            }
        })
    }
}

/// The activation function of a configuration.
pub(crate) fn gelu(config: &Config) -> Gelu {
    match config.hidden_act {
        rq_format::HiddenAct::Gelu => Gelu::Erf,
        rq_format::HiddenAct::GeluTanh => Gelu::Tanh,
    }
}
