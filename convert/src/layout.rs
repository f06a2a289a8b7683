//! Which tensors a model has in transformers, and how the file's are made of them.
//!
//! Names here have no prefix `roberta.` or `bert.`; [`Checkpoint`] finds them with it or without.

use crate::checkpoint::Checkpoint;
use crate::error::ConvertError;
use crate::hf_config::HfConfig;
use rq_format::{Architecture, Config, Head};
use std::ops::Range;

/// The table of tokens.
pub(crate) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// What transformers calls the parts of the LM head.
pub(crate) struct LmHeadNames {
    pub(crate) dense: &'static str,
    pub(crate) norm: &'static str,
    /// The LM head's own weight, where it isn't the table of tokens.
    pub(crate) decoder: &'static str,
    /// The bias that the LM head adds, under the name of the layer that adds it.
    pub(crate) bias: &'static str,
    /// The same bias under its other name, by which most checkpoints have it.
    pub(crate) other_bias: &'static str,
}

impl LmHeadNames {
    pub(crate) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Bert => Self {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions.decoder.weight",
                bias: "cls.predictions.decoder.bias",
                other_bias: "cls.predictions.bias",
            },
            _ => Self {
                dense: "lm_head.dense",
                norm: "lm_head.layer_norm",
                decoder: "lm_head.decoder.weight",
                bias: "lm_head.decoder.bias",
                other_bias: "lm_head.bias",
            },
        }
    }
}

/// What transformers calls the two products of a sequence classifier.
pub(crate) fn classifier_names(architecture: Architecture) -> [&'static str; 2] {
    match architecture {
        Architecture::Bert => ["pooler.dense", "classifier"],
        _ => ["classifier.dense", "classifier.out_proj"],
    }
}

/// What transformers calls the product of a head that looks at each token.
pub(crate) fn token_head_name(head: Head) -> &'static str {
    match head {
        Head::QuestionAnswering => "qa_outputs",
        _ => "classifier",
    }
}

/// Query, key and value: their order in the file's product.
const QKV: [&str; 3] = ["query", "key", "value"];

/// What checkpoints put before the name of a tensor.
pub(crate) fn prefix(architecture: Architecture, name: &str) -> &'static str {
    let of_encoder = ["embeddings.", "encoder.", "pooler."];
    match architecture {
        _ if !of_encoder.iter().any(|start| name.starts_with(start)) => "",
        Architecture::Bert => "bert.",
        _ => "roberta.",
    }
}

/// The name that a norm's parameter had in TensorFlow, and has in checkpoints that came from there.
pub(crate) fn old_name(name: &str) -> Option<String> {
    let renamed = |new: &str, old: &str| Some(format!("{}{old}", name.strip_suffix(new)?));
    renamed("LayerNorm.weight", "LayerNorm.gamma")
        .or_else(|| renamed("LayerNorm.bias", "LayerNorm.beta"))
}

/// Every tensor that the model needs, and its shape; but for the decoder's weight, which it may have.
pub(crate) fn required(config: &HfConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, intermediate) = (config.hidden_size(), config.intermediate_size());
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    push(WORD_EMBEDDINGS.into(), &[config.vocab_size(), hidden]);
    let positions = config.max_position_embeddings();
    push(
        "embeddings.position_embeddings.weight".into(),
        &[positions, hidden],
    );
    let types = config.type_vocab_size();
    push(
        "embeddings.token_type_embeddings.weight".into(),
        &[types, hidden],
    );
    let mut with_bias = |name: &str, shape: &[usize]| {
        push(format!("{name}.weight"), shape);
        push(format!("{name}.bias"), &shape[..1]);
    };
    with_bias("embeddings.LayerNorm", &[hidden]);
    for n in 0..config.num_hidden_layers() {
        let layer = format!("encoder.layer.{n}");
        for part in QKV {
            with_bias(&format!("{layer}.attention.self.{part}"), &[hidden, hidden]);
        }
        with_bias(
            &format!("{layer}.attention.output.dense"),
            &[hidden, hidden],
        );
        with_bias(&format!("{layer}.attention.output.LayerNorm"), &[hidden]);
        with_bias(
            &format!("{layer}.intermediate.dense"),
            &[intermediate, hidden],
        );
        with_bias(&format!("{layer}.output.dense"), &[hidden, intermediate]);
        with_bias(&format!("{layer}.output.LayerNorm"), &[hidden]);
    }
    let architecture = config.architecture();
    match config.head() {
        Head::None => {}
        Head::MaskedLm => {
            let names = LmHeadNames::of(architecture);
            with_bias(names.dense, &[hidden, hidden]);
            with_bias(names.norm, &[hidden]);
            push(names.bias.into(), &[config.vocab_size()]);
        }
        Head::SequenceClassification => {
            let [dense, out] = classifier_names(architecture);
            with_bias(dense, &[hidden, hidden]);
            with_bias(out, &[config.labels().len(), hidden]);
        }
        head => {
            let outputs = match head {
                Head::QuestionAnswering => 2,
                _ => config.labels().len(),
            };
            with_bias(token_head_name(head), &[outputs, hidden]);
        }
    }
    tensors
}

/// How a tensor of the file is made of the checkpoint's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is one of the checkpoint's.
    Same(String),
    /// Query, key and value, one below the other, the rows of each head filled up with zeros.
    Qkv([String; 3]),
    /// The same of their biases, one behind the other.
    QkvBias([String; 3]),
    /// One of the checkpoint's, the columns of each head filled up with zeros.
    HeadColumns(String),
}

impl Origin {
    /// How the file's tensor `name`, one of [`Config::expected_tensors`], is made.
    ///
    /// # Panics
    /// When no model has such a tensor.
    pub(crate) fn of(config: &Config, name: &str) -> Self {
        let Some((stem, parameter)) = name.rsplit_once('.') else {
            unreachable!("every tensor's name has a dot: {name}");
        };
        if let Some((n, part)) = stem.strip_prefix("layers.").and_then(|s| s.split_once('.')) {
            let layer = |part: &str| format!("encoder.layer.{n}.{part}.{parameter}");
            let qkv = || QKV.map(|part| layer(&format!("attention.self.{part}")));
            return match (part, parameter) {
                ("attention.qkv", "weight") => Self::Qkv(qkv()),
                ("attention.qkv", _) => Self::QkvBias(qkv()),
                ("attention.output", "weight") => {
                    Self::HeadColumns(layer("attention.output.dense"))
                }
                ("attention.output", _) => Self::Same(layer("attention.output.dense")),
                ("attention.norm", _) => Self::Same(layer("attention.output.LayerNorm")),
                ("ffn.up", _) => Self::Same(layer("intermediate.dense")),
                ("ffn.down", _) => Self::Same(layer("output.dense")),
                ("ffn.norm", _) => Self::Same(layer("output.LayerNorm")),
                _ => unreachable!("no layer has a tensor {name}"),
            };
        }
        let lm_head = LmHeadNames::of(config.architecture);
        let [dense, out] = match config.head {
            Head::SequenceClassification => classifier_names(config.architecture),
            head => ["", token_head_name(head)],
        };
        Self::Same(match (stem, parameter) {
            ("embeddings", "word") => WORD_EMBEDDINGS.into(),
            ("embeddings", _) => format!("embeddings.{parameter}_embeddings.weight"),
            ("embeddings.norm", _) => format!("embeddings.LayerNorm.{parameter}"),
            ("lm_head.dense", _) => format!("{}.{parameter}", lm_head.dense),
            ("lm_head.norm", _) => format!("{}.{parameter}", lm_head.norm),
            ("lm_head.decoder", "weight") => lm_head.decoder.into(),
            ("lm_head.decoder", _) => lm_head.bias.into(),
            ("classifier.dense", _) => format!("{dense}.{parameter}"),
            ("classifier.out", _) => format!("{out}.{parameter}"),
            _ => unreachable!("no model has a tensor {name}"),
        })
    }

    /// Reads some rows, filled up as the file has them.
    ///
    /// # Panics
    /// When the tensor doesn't have the rows, or `out` has another length than they.
    pub(crate) fn read_rows(
        &self,
        checkpoint: &Checkpoint,
        config: &Config,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), ConvertError> {
        let (head, padded) = (config.head_size(), config.padded_head_size());
        match self {
            Self::Same(name) => checkpoint.read_rows(name, rows, out),
            Self::Qkv(names) => {
                let columns = config.hidden_size;
                let part_rows = config.num_attention_heads * padded;
                for (row, out) in rows.zip(out.chunks_exact_mut(columns)) {
                    let (part, row) = (row / part_rows, row % part_rows);
                    let (h, r) = (row / padded, row % padded);
                    if r < head {
                        let from = h * head + r;
                        checkpoint.read_rows(&names[part], from..from + 1, out)?;
                    } else {
                        out.fill(0.0);
                    }
                }
                Ok(())
            }
            Self::QkvBias(names) => {
                let part_len = config.num_attention_heads * padded;
                for (name, out) in names.iter().zip(out.chunks_exact_mut(part_len)) {
                    let bias = checkpoint.tensor(name)?;
                    pad_heads(&bias, head, padded, out);
                }
                Ok(())
            }
            Self::HeadColumns(name) => {
                let (from, to) = (config.hidden_size, config.num_attention_heads * padded);
                let mut row_values = vec![0.0; from];
                for (row, out) in rows.zip(out.chunks_exact_mut(to)) {
                    checkpoint.read_rows(name, row..row + 1, &mut row_values)?;
                    pad_heads(&row_values, head, padded, out);
                }
                Ok(())
            }
        }
    }
}

/// Copies heads of `head` values to places of `padded` values.
fn pad_heads(values: &[f32], head: usize, padded: usize, out: &mut [f32]) {
    for (from, to) in values.chunks_exact(head).zip(out.chunks_exact_mut(padded)) {
        to[..head].copy_from_slice(from);
        to[head..].fill(0.0);
    }
}
