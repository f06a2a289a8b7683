//! Which tensors a RoBERTa masked language model has in transformers, and how the file's are made of them.
//!
//! Names here have no prefix `roberta.`; [`Checkpoint`] finds them with it or without.

use crate::checkpoint::Checkpoint;
use crate::error::ConvertError;
use crate::hf_config::HfConfig;
use rq_format::Config;
use std::ops::Range;

/// The table of tokens.
pub(crate) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
/// The LM head's own weight, where it isn't the table of tokens.
pub(crate) const DECODER: &str = "lm_head.decoder.weight";
/// The bias that the LM head adds, under the name of the layer that adds it.
pub(crate) const DECODER_BIAS: &str = "lm_head.decoder.bias";
/// The same bias under its other name, by which most checkpoints have it.
pub(crate) const LM_HEAD_BIAS: &str = "lm_head.bias";

/// Query, key and value: their order in the file's product.
const QKV: [&str; 3] = ["query", "key", "value"];

/// What checkpoints put before the name of a tensor.
pub(crate) fn prefix(name: &str) -> &'static str {
    if name.starts_with("lm_head.") {
        ""
    } else {
        "roberta."
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
    with_bias("lm_head.dense", &[hidden, hidden]);
    with_bias("lm_head.layer_norm", &[hidden]);
    push(DECODER_BIAS.into(), &[config.vocab_size()]);
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
    pub(crate) fn of(name: &str) -> Self {
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
        Self::Same(match (stem, parameter) {
            ("embeddings", "word") => WORD_EMBEDDINGS.into(),
            ("embeddings", _) => format!("embeddings.{parameter}_embeddings.weight"),
            ("embeddings.norm", _) => format!("embeddings.LayerNorm.{parameter}"),
            ("lm_head.norm", _) => format!("lm_head.layer_norm.{parameter}"),
            _ => name.into(),
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
