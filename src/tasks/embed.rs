//! Embeddings: one vector for a text, pooled of its hidden states, with the semantics of sentence-transformers.

use crate::batch::{Batch, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::session::Session;
use crate::tasks::Task;
use rq_format::PoolingMode;
use rq_tokenizer::Encoding;
use std::borrow::BorrowMut;

/// What becomes of the hidden states of a text's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// The first token's is the text's embedding.
    Cls,
    /// Their mean, that of the special tokens included.
    Mean,
    /// In each dimension the largest.
    Max,
    /// Each token keeps its own vector.
    None,
}

impl From<PoolingMode> for Pooling {
    fn from(mode: PoolingMode) -> Self {
        match mode {
            PoolingMode::Cls => Self::Cls,
            PoolingMode::Max => Self::Max,
            PoolingMode::Mean => Self::Mean,
        }
    }
}

/// How to embed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// By default what the model's file says, which is what sentence-transformers does with the model. Where it says
    /// nothing, the mean.
    pub pooling: Option<Pooling>,
    /// Whether each vector is divided by its length. By default what the model's file says; where it says nothing, and for
    /// the vectors of tokens, they are left as they are.
    pub normalize: Option<bool>,
    /// Whether a text that is too long is cut at its end, as sentence-transformers does.
    pub truncate: bool,
}

/// The embedding of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Embedding {
    /// `dimension` floats; with [`Pooling::None`] as many for each token, row after row.
    pub embedding: Vec<f32>,
    /// The model's hidden size.
    pub dimension: usize,
    /// The text's tokens, the special ones included.
    pub ids: Vec<u32>,
}

impl Embedding {
    /// The vectors: one, or with [`Pooling::None`] each token's.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.embedding.chunks_exact(self.dimension)
    }
}

/// The cosine of the angle between two embeddings, from -1 to 1: 1 for equal ones, 0 where one has no length.
///
/// # Panics
/// When they aren't equally long.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "dimensions of the embeddings");
    // One product under one root, so that an embedding's cosine with itself is 1, and not nearly.
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    match lengths > 0.0 {
        true => (dot(a, b) / lengths).clamp(-1.0, 1.0),
        false => 0.0,
    }
}

/// The inner product, in f64 from the first dimension to the last.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.fold(0.0, |sum, (&a, &b)| sum + f64::from(a) * f64::from(b))
}

/// Makes embeddings, with a model of any head.
///
/// A file that was converted from a model of sentence-transformers says how; then the embeddings are those that
/// sentence-transformers makes, but for what quantization costs. Other models, as the embedded one, were not trained for it:
/// what they give is comparable, and not good.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{EmbedOptions, Embedder, Model, Session, SessionOptions, Task, cosine};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let texts = ["The dog barked.", "A dog was barking.", "It was a fine evening in June."];
/// let answers = Embedder::new(session).run(texts, &EmbedOptions::default())?;
/// let [dog, also_dog, evening] = [0, 1, 2].map(|i| &*answers[i].embedding);
/// assert_eq!(dog.len(), 256);
/// assert!(cosine(dog, also_dog) > cosine(dog, evening));
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedder<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> Embedder<S> {
    /// The task of the session's model.
    pub fn new(session: S) -> Self {
        Self { session }
    }

    /// The pooling that options mean for this model, and whether vectors are normalized.
    pub fn resolve(&self, options: &EmbedOptions) -> (Pooling, bool) {
        let published = self.model().config().pooling;
        let pooling = options
            .pooling
            .or(published.map(|published| published.mode.into()))
            .unwrap_or(Pooling::Mean);
        let normalize = options.normalize.unwrap_or_else(|| {
            pooling != Pooling::None && published.is_some_and(|published| published.normalize)
        });
        (pooling, normalize)
    }
}

impl<S: BorrowMut<Session>> Task for Embedder<S> {
    type Input<'t> = &'t str;
    type Options = EmbedOptions;
    type Prepared = PreparedEmbed;
    type Answer = Embedding;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare(&self, text: &str, options: &EmbedOptions) -> Result<PreparedEmbed, Error> {
        let tokenizer = self.model().tokenizer();
        let Encoding { ids, .. } = tokenizer.encode(text, options.truncate)?;
        match ids.is_empty() {
            true => Err(Error::NoTokens),
            false => Ok(PreparedEmbed { ids }),
        }
    }

    fn compute(
        &mut self,
        texts: &[PreparedEmbed],
        options: &EmbedOptions,
    ) -> Result<Vec<Embedding>, Error> {
        let dimension = self.model().config().hidden_size;
        let (pooling, normalize) = self.resolve(options);
        let session = self.session.borrow_mut();
        let mut answers = Vec::with_capacity(texts.len());
        for group in groups(texts.iter().map(|text| text.ids.len())) {
            let texts = &texts[group];
            let batch = Batch::from_iter(texts.iter().map(|text| &text.ids));
            // The others needn't go through the whole last layer.
            let rows = match pooling {
                Pooling::Cls => Rows::Only(batch.first_rows()),
                _ => Rows::All,
            };
            let hidden = session.hidden_states(&batch, rows)?;
            let mut hidden = hidden.as_slice();
            for text in texts {
                let rows = match pooling {
                    Pooling::Cls => 1,
                    _ => text.ids.len(),
                };
                let (of_text, others) = hidden.split_at(rows * dimension);
                hidden = others;
                let mut embedding = pooled(of_text, dimension, pooling);
                if normalize {
                    embedding.chunks_exact_mut(dimension).for_each(normalized);
                }
                answers.push(Embedding {
                    embedding,
                    dimension,
                    ids: text.ids.clone(),
                });
            }
        }
        Ok(answers)
    }
}

/// A text as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedEmbed {
    ids: Vec<u32>,
}

/// One vector of the hidden states of a text, of which there is at least one.
fn pooled(hidden: &[f32], dimension: usize, pooling: Pooling) -> Vec<f32> {
    match pooling {
        Pooling::Cls | Pooling::None => hidden.to_vec(),
        Pooling::Mean => {
            let mut sum = vec![0.0; dimension];
            for row in hidden.chunks_exact(dimension) {
                for (sum, &x) in sum.iter_mut().zip(row) {
                    *sum += f64::from(x);
                }
            }
            let count = (hidden.len() / dimension) as f64;
            sum.into_iter().map(|sum| (sum / count) as f32).collect()
        }
        Pooling::Max => {
            let mut largest = hidden[..dimension].to_vec();
            for row in hidden.chunks_exact(dimension) {
                for (largest, &x) in largest.iter_mut().zip(row) {
                    if x > *largest {
                        *largest = x;
                    }
                }
            }
            largest
        }
    }
}

/// Divides a vector by its length, or by 1e-12 if it has almost none, as torch does.
fn normalized(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt().max(1e-12);
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_is_over_all_tokens() {
        let hidden = [1.0, -5.0, 2.0, -1.0, 3.0, -3.0];
        assert_eq!(pooled(&hidden, 2, Pooling::Mean), [2.0, -3.0]);
        assert_eq!(pooled(&hidden, 2, Pooling::Max), [3.0, -1.0]);
        assert_eq!(pooled(&hidden, 2, Pooling::None), hidden);
    }

    #[test]
    fn what_has_no_length_stays() {
        let mut vectors = [[3.0, 4.0], [0.0, 0.0]];
        vectors.iter_mut().for_each(|vector| normalized(vector));
        assert_eq!(vectors, [[0.6, 0.8], [0.0, 0.0]]);
    }

    #[test]
    fn cosines() {
        let a = [0.1, -0.7, 1e-20];
        let opposite = a.map(|x| -2.5 * x);
        assert_eq!(cosine(&a, &a), 1.0);
        assert_eq!(cosine(&a, &opposite), -1.0);
        assert_eq!(cosine(&a, &[0.0; 3]), 0.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 1.0]), 0.0);
        assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0]), 0.96);
        assert_eq!(cosine(&[], &[]), 0.0);
    }
}
