//! Sparse embeddings: for a text, weights of the vocabulary's entries, as SPLADE makes them of a masked language model's logits
//! (Formal et al. 2021, "SPLADE v2", <https://arxiv.org/abs/2109.10086>), with the semantics of sentence-transformers'
//! SparseEncoder.
//!
//! A text has logits of each of its tokens over the whole vocabulary. Those of some tokens at a time are computed and taken into
//! one running maximum, or sum, so that memory doesn't grow with tokens times vocabulary.

use crate::batch::{Batch, ROWS_AT_ONCE, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::session::Session;
use crate::tasks::input::Text;
use crate::tasks::prompt::{Prompt, after};
use crate::tasks::{Task, need_head};
use rq_format::{Head, SparseActivation, SparseMode, SparsePooling};
use rq_kernels::lanes::{Lanes, panels_for};
use rq_tokenizer::Encoding;
use std::borrow::BorrowMut;
use std::ops::Range;
use std::sync::Arc;

/// How to make sparse embeddings. What makes a weight of a text's logits is the model's: its file says it, or else it is the
/// largest of log(1 + max(logit, 0)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SparseOptions {
    /// How many weights of a text to keep, the largest. By default as many as the model's file says; where it says nothing, all.
    pub max_active_dims: Option<usize>,
    /// What is put before each text; by default the prompt that the model's file says, if it says one.
    pub prompt: Prompt,
    /// Whether a text that is too long is cut, as sentence-transformers does, and not refused; false by default.
    pub truncate: bool,
}

/// The sparse embedding of a text: a row of a matrix with a column for each entry of the vocabulary.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SparseEmbedding {
    /// The ids of the vocabulary's entries whose weight isn't zero, ascending.
    pub indices: Vec<u32>,
    /// Their weights, all above zero.
    pub values: Vec<f32>,
}

impl SparseEmbedding {
    /// The inner product with another one, by which sparse embeddings are compared, in f64 from the first entry to the last.
    pub fn dot(&self, other: &Self) -> f64 {
        let mut others = other.entries().peekable();
        let mut sum = 0.0;
        for (index, value) in self.entries() {
            while others.next_if(|&(other, _)| other < index).is_some() {}
            if let Some((_, other)) = others.next_if(|&(other, _)| other == index) {
                sum += f64::from(value) * f64::from(other);
            }
        }
        sum
    }

    /// The ids and their weights, ids ascending.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (u32, f32)> {
        self.indices
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// The ids and their weights by descending weight, and equal ones by ascending id.
    pub fn descending(&self) -> Vec<(u32, f32)> {
        let mut entries: Vec<(u32, f32)> = self.entries().collect();
        // Stable.
        entries.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        entries
    }

    /// Keeps the largest weights; of equal ones, those of the lower ids.
    fn keep(&mut self, most: usize) {
        if most >= self.indices.len() {
            return;
        }
        let mut entries = self.descending();
        entries.truncate(most);
        entries.sort_unstable_by_key(|&(index, _)| index);
        (self.indices, self.values) = entries.into_iter().unzip();
    }
}

/// Makes sparse embeddings with a masked language model: one for each text, whose entries are those of the vocabulary that the
/// model finds in the text or fit for it.
///
/// A file that was converted from a sparse encoder of sentence-transformers says how; then the embeddings are those that
/// sentence-transformers makes, but for what quantization costs. Other models, as the embedded one, were not trained for it, and
/// give a text far more entries.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{Model, Session, SessionOptions, SparseEmbedder, SparseOptions, Task};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let mut embedder = SparseEmbedder::new(session)?;
/// let texts = ["The dog barked.", "A dog was barking.", "It was a fine evening in June."];
/// let [dog, also_dog, evening] = &embedder.run(texts, &SparseOptions::default())?[..] else { unreachable!() };
/// assert!(dog.dot(also_dog) > dog.dot(evening));
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct SparseEmbedder<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> SparseEmbedder<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("a sparse embedding", Head::MaskedLm, session.borrow())?;
        Ok(Self { session })
    }

    /// The dimensions of an embedding: the entries of the vocabulary.
    pub fn dimension(&self) -> usize {
        self.model().config().vocab_size
    }
}

impl<S: BorrowMut<Session>> Task for SparseEmbedder<S> {
    type Input<'t> = Text<'t>;
    type Options = SparseOptions;
    type Prepared = PreparedSparse;
    type Answer = SparseEmbedding;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &SparseOptions,
    ) -> Result<PreparedSparse, Error> {
        let text = text.into();
        let prompt = options.prompt.text(self.model().config())?;
        let tokenizer = self.model().tokenizer();
        let Encoding { ids, .. } = tokenizer.encode(&after(prompt, &text), options.truncate)?;
        match ids.is_empty() {
            true => Err(Error::NoTokens),
            false => Ok(PreparedSparse { ids }),
        }
    }

    fn compute(
        &mut self,
        texts: &[PreparedSparse],
        options: &SparseOptions,
    ) -> Result<Vec<SparseEmbedding>, Error> {
        if options.max_active_dims == Some(0) {
            return Err(Error::NoActiveDims);
        }
        let model = Arc::clone(self.session.borrow().model());
        let config = model.config();
        let default = SparsePooling::default();
        let pooling = config.sparse_pooling.as_ref().unwrap_or(&default);
        let most = options.max_active_dims.or(pooling.max_active_dims);
        let session = self.session.borrow_mut();
        let mut weights = Weights::new(pooling, config.vocab_size);
        let mut answers = Vec::with_capacity(texts.len());
        for group in groups(texts.iter().map(|text| text.ids.len())) {
            let batch = Batch::from_iter(texts[group].iter().map(|text| &text.ids));
            let mut sequences = batch.sequences().peekable();
            session.each_tile(&batch, Rows::All, ROWS_AT_ONCE, |_, rows, logits| {
                // The texts of which the tile has rows; the last one may go on in the next tile.
                while let Some(sequence) = sequences.peek() {
                    let of_text = sequence.start.max(rows.start)..sequence.end.min(rows.end);
                    if of_text.is_empty() {
                        break;
                    }
                    let in_tile = of_text.start - rows.start..of_text.end - rows.start;
                    weights.add(logits, rows.len(), in_tile);
                    if sequence.end > rows.end {
                        break;
                    }
                    sequences.next();
                    let mut embedding = weights.take();
                    if let Some(most) = most {
                        embedding.keep(most);
                    }
                    answers.push(embedding);
                }
            })?;
        }
        Ok(answers)
    }
}

/// A text as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedSparse {
    ids: Vec<u32>,
}

/// The weights of a text, which its tokens add to.
struct Weights {
    mode: SparseMode,
    activation: SparseActivation,
    /// Of the logits that are above zero the largest, or of the values the sum.
    so_far: Vec<Lanes>,
    vocab_size: usize,
}

impl Weights {
    fn new(pooling: &SparsePooling, vocab_size: usize) -> Self {
        Self {
            mode: pooling.mode,
            activation: pooling.activation,
            so_far: vec![Lanes::ZERO; panels_for(vocab_size)],
            vocab_size,
        }
    }

    /// Adds some of the `rows` of logits, which are panel-major.
    fn add(&mut self, logits: &[Lanes], rows: usize, wanted: Range<usize>) {
        for (so_far, panel) in self.so_far.iter_mut().zip(logits.chunks_exact(rows)) {
            for row in &panel[wanted.clone()] {
                for (so_far, &x) in so_far.0.iter_mut().zip(&row.0) {
                    match self.mode {
                        // The functions ascend: that of the largest logit is the largest.
                        SparseMode::Max if x > *so_far => *so_far = x,
                        SparseMode::Sum if x > 0.0 => *so_far += value(x, self.activation),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The weights that aren't zero; the next text begins anew.
    fn take(&mut self) -> SparseEmbedding {
        let mut embedding = SparseEmbedding::default();
        let entries = self.so_far.iter().flat_map(|lanes| lanes.0);
        for (index, so_far) in (0..).zip(entries).take(self.vocab_size) {
            let weight = match self.mode {
                SparseMode::Max if so_far > 0.0 => value(so_far, self.activation),
                _ => so_far,
            };
            if weight > 0.0 {
                embedding.indices.push(index);
                embedding.values.push(weight);
            }
        }
        self.so_far.fill(Lanes::ZERO);
        embedding
    }
}

/// What becomes of a logit above zero, in software, so that it is the same everywhere.
fn value(logit: f32, activation: SparseActivation) -> f32 {
    let value = libm::log1p(f64::from(logit));
    let value = match activation {
        SparseActivation::Relu => value,
        SparseActivation::Log1pRelu => libm::log1p(value),
    };
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::oracle;
    use rq_kernels::lanes::LANES;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        checkpoint: String,
        files: BTreeMap<String, serde_json::Value>,
        max_active_dims: Option<usize>,
        texts: Vec<String>,
        embeddings: Vec<Entries>,
        sums: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Entries {
        indices: Vec<u32>,
        values: Vec<f32>,
    }

    /// Logits in f32, as a product leaves them.
    fn panels(logits: &[f32], width: usize) -> Vec<Lanes> {
        let rows = logits.len() / width;
        let mut panels = vec![Lanes::ZERO; panels_for(width) * rows];
        for (row, logits) in logits.chunks_exact(width).enumerate() {
            for (column, &x) in logits.iter().enumerate() {
                panels[column / LANES * rows + row].0[column % LANES] = x;
            }
        }
        panels
    }

    /// What makes weights of logits, over the f32 reference: the goldens are of fp32.
    #[test]
    fn in_f32_the_weights_are_those_of_sentence_transformers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/sparse.json");
        let goldens: Vec<Golden> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(goldens.len(), 6);
        for golden in goldens {
            let (session, reference) = oracle::open_with(&golden.checkpoint, &golden.files);
            let config = session.model().config().clone();
            assert_eq!(config.sparse_pooling.is_some(), !golden.files.is_empty());
            let pooling = config.sparse_pooling.clone().unwrap_or_default();
            let embedder = SparseEmbedder::new(session).unwrap();
            let options = SparseOptions {
                truncate: true,
                ..SparseOptions::default()
            };
            let mut weights = Weights::new(&pooling, config.vocab_size);
            for (i, text) in golden.texts.iter().enumerate() {
                let what = format!("{}, {text:?}", golden.name);
                let ids = embedder.prepare(text, &options).unwrap().ids;
                let logits = reference.logits(&reference.forward(&ids));
                // In two parts, as a text has that goes on in the next tile.
                let panels = panels(&logits, config.vocab_size);
                weights.add(&panels, ids.len(), 0..1);
                weights.add(&panels, ids.len(), 1..ids.len());
                let mut found = weights.take();
                if pooling.max_active_dims.is_none() {
                    let sum: f64 = found.values.iter().map(|&x| f64::from(x)).sum();
                    assert!((sum / golden.sums[i] - 1.0).abs() < 1e-5, "{what}: {sum}");
                }
                if let Some(most) = golden.max_active_dims.or(pooling.max_active_dims) {
                    found.keep(most);
                }
                let expected = &golden.embeddings[i];
                assert_eq!(found.indices, expected.indices, "{what}");
                for (found, expected) in found.values.iter().zip(&expected.values) {
                    let allowed = 1e-5 * expected.max(1.0);
                    assert!(
                        (found - expected).abs() < allowed,
                        "{what}: {found} {expected}"
                    );
                }
            }
        }
    }

    fn embedding(entries: &[(u32, f32)]) -> SparseEmbedding {
        let (indices, values) = entries.iter().copied().unzip();
        SparseEmbedding { indices, values }
    }

    #[test]
    fn products_are_over_common_entries() {
        let a = embedding(&[(1, 2.0), (4, 0.5), (9, 3.0)]);
        let b = embedding(&[(0, 7.0), (4, 2.0), (8, 1.0), (9, 1.0), (12, 5.0)]);
        assert_eq!((a.dot(&b), b.dot(&a)), (4.0, 4.0));
        assert_eq!(a.dot(&a), 13.25);
        assert_eq!(a.dot(&embedding(&[])), 0.0);
    }

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let mut weights = embedding(&[(1, 0.5), (2, 2.0), (5, 0.5), (7, 0.5), (8, 3.0)]);
        weights.keep(5);
        assert_eq!(weights.indices.len(), 5);
        weights.keep(3);
        assert_eq!(weights, embedding(&[(1, 0.5), (2, 2.0), (8, 3.0)]));
        assert_eq!(weights.descending(), [(8, 3.0), (2, 2.0), (1, 0.5)]);
    }
}
