//! Which tensors a model of a configuration has: names, shapes and what they may be stored as.

use crate::config::{Config, Head, MAX_RELATIVE_DISTANCE};
use crate::error::FormatError;
use crate::tensor::{TensorFormat, TensorSpec};
use std::fmt;

/// What a tensor is in the model, which decides the formats that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorKind {
    /// A table of which rows are looked up, and which may be the LM head's weight as well: blocks.
    Embedding,
    /// The weight of a product, a row an output: blocks.
    Linear,
    /// Biases, LayerNorm, small tables: floats.
    Float,
}

impl TensorKind {
    /// Whether a tensor of this kind may be stored in `format`.
    pub fn allows(self, format: TensorFormat) -> bool {
        match self {
            Self::Embedding | Self::Linear => format.block().is_some(),
            Self::Float => format == TensorFormat::F32,
        }
    }
}

impl fmt::Display for TensorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedding => "embeddings are in q8 or q4",
            Self::Linear => "weights of products are in q8 or q4",
            Self::Float => "biases, LayerNorm parameters and small tables are in f32",
        })
    }
}

/// A tensor that a model must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its name.
    pub name: String,
    /// Rows: outputs, or entries of a table.
    pub rows: usize,
    /// Columns: inputs, or the width of an entry.
    pub columns: usize,
    /// What it is.
    pub kind: TensorKind,
}

impl ExpectedTensor {
    /// This tensor stored in `format`, for [`crate::Writer::create`].
    pub fn spec(&self, format: TensorFormat) -> TensorSpec {
        TensorSpec {
            name: self.name.clone(),
            format,
            rows: self.rows,
            columns: self.columns,
        }
    }

    /// Checks a shape and a format against this.
    pub(crate) fn check(
        &self,
        format: TensorFormat,
        rows: usize,
        columns: usize,
    ) -> Result<(), FormatError> {
        if (rows, columns) != (self.rows, self.columns) {
            return Err(FormatError::Shape {
                name: self.name.clone(),
                expected: (self.rows, self.columns),
                found: (rows, columns),
            });
        }
        if !self.kind.allows(format) {
            return Err(FormatError::FormatNotAllowed {
                name: self.name.clone(),
                kind: self.kind,
                found: format,
            });
        }
        Ok(())
    }
}

impl Config {
    /// Every tensor that a model of this configuration has, in the order of its use. FORMAT.md has the same table.
    pub fn expected_tensors(&self) -> Vec<ExpectedTensor> {
        let mut list = List(Vec::new());
        let hidden = self.hidden_size;
        // One graph: the architectures differ in what is looked up and added.
        let width = self.embedding_width();
        list.push(
            "embeddings.word",
            self.vocab_size,
            width,
            TensorKind::Embedding,
        );
        list.float("embeddings.position", self.max_position_embeddings, width);
        if self.type_vocab_size > 0 {
            list.float("embeddings.token_type", self.type_vocab_size, width);
        }
        list.norm("embeddings.norm", width);
        if self.embedding_size.is_some() {
            list.linear("embeddings.projection", hidden, width);
        }
        if self.architecture.has_relative_bias() {
            let distances = 2 * MAX_RELATIVE_DISTANCE + 1;
            list.float(
                "attention.relative_bias",
                self.num_attention_heads,
                distances,
            );
        }
        let heads = self.num_attention_heads * self.padded_head_size();
        for n in 0..self.num_hidden_layers {
            let layer = format!("layers.{n}");
            list.linear(&format!("{layer}.attention.qkv"), 3 * heads, hidden);
            list.linear(&format!("{layer}.attention.output"), hidden, heads);
            list.norm(&format!("{layer}.attention.norm"), hidden);
            list.linear(&format!("{layer}.ffn.up"), self.intermediate_size, hidden);
            list.linear(&format!("{layer}.ffn.down"), hidden, self.intermediate_size);
            list.norm(&format!("{layer}.ffn.norm"), hidden);
        }
        match self.head {
            Head::None => {}
            Head::MaskedLm => {
                list.linear("lm_head.dense", width, hidden);
                list.norm("lm_head.norm", width);
                if self.tie_word_embeddings {
                    list.float("lm_head.decoder.bias", 1, self.vocab_size);
                } else {
                    list.linear("lm_head.decoder", self.vocab_size, width);
                }
            }
            Head::SequenceClassification | Head::TokenClassification | Head::QuestionAnswering => {
                if self.classifier_act.is_some() {
                    list.linear("classifier.dense", hidden, hidden);
                }
                list.linear("classifier.out", self.outputs(), hidden);
            }
        }
        let pooling = self.pooling.as_ref();
        let dense = pooling.into_iter().flat_map(|p| p.dense_layers(hidden));
        for (n, (in_features, dense)) in dense.enumerate() {
            let name = format!("dense.{n}");
            list.float(&format!("{name}.weight"), dense.out_features, in_features);
            if dense.bias {
                list.float(&format!("{name}.bias"), 1, dense.out_features);
            }
        }
        list.0
    }
}

struct List(Vec<ExpectedTensor>);

impl List {
    fn push(&mut self, name: &str, rows: usize, columns: usize, kind: TensorKind) {
        self.0.push(ExpectedTensor {
            name: name.into(),
            rows,
            columns,
            kind,
        });
    }

    fn float(&mut self, name: &str, rows: usize, columns: usize) {
        self.push(name, rows, columns, TensorKind::Float);
    }

    /// The weight and the bias of a product.
    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.push(
            &format!("{name}.weight"),
            outputs,
            inputs,
            TensorKind::Linear,
        );
        self.float(&format!("{name}.bias"), 1, outputs);
    }

    /// The weight and the bias of a LayerNorm.
    fn norm(&mut self, name: &str, width: usize) {
        self.float(&format!("{name}.weight"), 1, width);
        self.float(&format!("{name}.bias"), 1, width);
    }
}
