//! How the file's tensors are made of the checkpoint's.

use super::error::CheckpointError;
use super::layout::{
    DISCRIMINATOR_OUT, LmHeadNames, QKV, RELATIVE_BIAS, WORD_EMBEDDINGS, classifier_names_of,
    relative_bucket,
};
use super::weights::Checkpoint;
use rq_format::{Config, ExpectedTensor, MAX_RELATIVE_DISTANCE};
use std::ops::Range;

/// How one of the file's tensors is made of the checkpoint's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A copy.
    Same(String),
    /// Query, key and value stacked, the rows of each head padded with zeros.
    Qkv([String; 3]),
    /// Their biases, concatenated and padded alike.
    QkvBias([String; 3]),
    /// A copy, the columns of each head padded with zeros.
    HeadColumns(String),
    /// For each head, the value of each distance's bucket.
    RelativeBias(&'static str),
    /// A copy behind as many zeros.
    BehindZeros(String),
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
        if stem.starts_with("dense.") {
            return Self::Same(name.into());
        }
        let lm_head = LmHeadNames::of(config.architecture);
        let (dense, out) = classifier_names_of(config);
        let dense = dense.unwrap_or_default();
        if stem == "classifier.out" && out == DISCRIMINATOR_OUT {
            return Self::BehindZeros(format!("{out}.{parameter}"));
        }
        if (stem, parameter) == ("attention", "relative_bias") {
            return Self::RelativeBias(RELATIVE_BIAS);
        }
        Self::Same(match (stem, parameter) {
            ("embeddings", "word") => WORD_EMBEDDINGS.into(),
            ("embeddings", _) => format!("embeddings.{parameter}_embeddings.weight"),
            ("embeddings.projection", _) => format!("embeddings_project.{parameter}"),
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

    /// Reads all of one of the file's tensors.
    ///
    /// # Panics
    /// When no model has such a tensor.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        tensor: &ExpectedTensor,
    ) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; tensor.rows * tensor.columns];
        let origin = Self::of(config, &tensor.name);
        origin.read_rows(checkpoint, config, 0..tensor.rows, &mut values)?;
        Ok(values)
    }

    /// Reads some rows, padded as in the file.
    ///
    /// # Panics
    /// When the tensor lacks the rows, or `out` doesn't have their length.
    pub(crate) fn read_rows(
        &self,
        checkpoint: &Checkpoint,
        config: &Config,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
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
            Self::RelativeBias(name) => {
                let (buckets, heads) = (checkpoint.tensor(name)?, config.num_attention_heads);
                let most = MAX_RELATIVE_DISTANCE as isize;
                for (head, out) in rows.zip(out.chunks_exact_mut(2 * MAX_RELATIVE_DISTANCE + 1)) {
                    for (distance, out) in (-most..=most).zip(out) {
                        *out = buckets[relative_bucket(distance) * heads + head];
                    }
                }
                Ok(())
            }
            Self::BehindZeros(name) => {
                let values = checkpoint.tensor(name)?;
                let zeros = vec![0.0; values.len()];
                let columns = out.len() / rows.len().max(1);
                let all = [zeros, values].concat();
                out.copy_from_slice(&all[rows.start * columns..rows.end * columns]);
                Ok(())
            }
        }
    }
}

/// Copies heads of `head` values, padding each to `padded`.
fn pad_heads(values: &[f32], head: usize, padded: usize, out: &mut [f32]) {
    for (from, to) in values.chunks_exact(head).zip(out.chunks_exact_mut(padded)) {
        to[..head].copy_from_slice(from);
        to[head..].fill(0.0);
    }
}
