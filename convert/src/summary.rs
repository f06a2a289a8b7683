//! What a conversion made.

use crate::quantize::Squares;
use rq_format::{ExpectedTensor, TensorFormat, TensorKind};
use std::path::PathBuf;
use std::time::Duration;

/// What a conversion made, for people.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file.
    pub output: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What [`rq_format::ModelFile::fingerprint`] says of it.
    pub fingerprint: u64,
    /// The length of the weights that it was made from.
    pub source_bytes: u64,
    /// The tensors by kind, in the order of the file.
    pub kinds: Vec<KindSummary>,
    /// The checkpoint's tensors that the model doesn't need, by their names there.
    pub ignored: Vec<String>,
    /// What the publisher's files say that isn't applied, or not as it is written: one remark a line.
    pub notes: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// What calibrated the weights.
    pub calibration: CalibrationSummary,
}

/// What calibrated the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CalibrationSummary {
    /// Nothing: it wasn't asked for, or the recipe has no use for it.
    #[default]
    None,
    /// A text.
    Text {
        /// What it is called.
        name: String,
        /// The tokens of it that were used.
        tokens: usize,
    },
    /// Nothing: to the model's tokenizer, the text is mostly unknown.
    Unknown {
        /// What the text is called.
        name: String,
    },
}

/// The tensors of one kind and format.
#[derive(Clone, Debug)]
pub struct KindSummary {
    /// What they are: "embeddings", "attention", "feed-forward", "head" or "norms, biases, positions".
    pub kind: &'static str,
    /// How they are stored.
    pub format: TensorFormat,
    /// How many they are.
    pub tensors: usize,
    /// Their weights, without padding.
    pub weights: u64,
    /// Their bytes in the file.
    pub bytes: u64,
    /// The root of the summed squared error of quantization over that of the summed squared weights; zero for floats.
    pub relative_error: f64,
    /// Summed squares: of the error, and of the weights.
    squares: Squares,
}

impl Summary {
    /// Bits a weight over all that is stored in blocks.
    pub fn bits_per_weight(&self) -> f64 {
        let blocks = || self.kinds.iter().filter(|k| k.format.block().is_some());
        let bytes: u64 = blocks().map(|k| k.bytes).sum();
        let weights: u64 = blocks().map(|k| k.weights).sum();
        8.0 * bytes as f64 / weights as f64
    }

    /// Counts a tensor.
    pub(crate) fn add(
        &mut self,
        tensor: &ExpectedTensor,
        format: TensorFormat,
        bytes: u64,
        squares: Squares,
    ) {
        let kind = kind_of(tensor);
        let at = self
            .kinds
            .iter()
            .position(|k| k.kind == kind && k.format == format);
        let at = at.unwrap_or_else(|| {
            self.kinds.push(KindSummary {
                kind,
                format,
                tensors: 0,
                weights: 0,
                bytes: 0,
                relative_error: 0.0,
                squares: Squares::default(),
            });
            self.kinds.len() - 1
        });
        let entry = &mut self.kinds[at];
        entry.tensors += 1;
        entry.weights += (tensor.rows * tensor.columns) as u64;
        entry.bytes += bytes;
        entry.squares.error += squares.error;
        entry.squares.weights += squares.weights;
        if entry.squares.weights > 0.0 {
            entry.relative_error = (entry.squares.error / entry.squares.weights).sqrt();
        }
    }
}

fn kind_of(tensor: &ExpectedTensor) -> &'static str {
    match tensor.kind {
        TensorKind::Float => "norms, biases, positions",
        TensorKind::Embedding => "embeddings",
        TensorKind::Linear if tensor.name.contains(".attention.") => "attention",
        TensorKind::Linear if tensor.name.contains(".ffn.") => "feed-forward",
        TensorKind::Linear if tensor.name.starts_with("embeddings.") => "embeddings",
        TensorKind::Linear => "head",
    }
}
