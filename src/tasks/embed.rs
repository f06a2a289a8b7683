//! Embeddings: one vector for a text, pooled of its hidden states, with the semantics of sentence-transformers.

use crate::batch::{Batch, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::model::Model;
use crate::session::Session;
use crate::tasks::Task;
use crate::tasks::input::Text;
use crate::tasks::prompt::{Prompt, after};
use rq_format::{Activation, EmbeddingLayer, PoolingMode};
use rq_kernels::lanes::{Lanes, as_floats};
use rq_tokenizer::Encoding;
use std::borrow::BorrowMut;
use std::sync::Arc;

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
    /// Their sum, divided by the square root of their number.
    MeanSqrtLen,
    /// Their mean, each with the weight of its position, from 1.
    WeightedMean,
    /// The last token's.
    LastToken,
    /// Each token keeps its own vector: a multi-vector encoder's default.
    None,
}

impl From<PoolingMode> for Pooling {
    fn from(mode: PoolingMode) -> Self {
        match mode {
            PoolingMode::Cls => Self::Cls,
            PoolingMode::Max => Self::Max,
            PoolingMode::Mean => Self::Mean,
            PoolingMode::MeanSqrtLen => Self::MeanSqrtLen,
            PoolingMode::WeightedMean => Self::WeightedMean,
            PoolingMode::LastToken => Self::LastToken,
            PoolingMode::Tokens => Self::None,
        }
    }
}

/// How to embed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// By default what the model's file says, which is what sentence-transformers does with the model. Where it says
    /// nothing, the mean; a sparse encoder needs one that is chosen.
    pub pooling: Option<Pooling>,
    /// Whether each vector is divided by its length at the end. By default what the model's file says; where it says nothing,
    /// and for the vectors of tokens of a model that isn't a multi-vector encoder, they are left as they are.
    pub normalize: Option<bool>,
    /// How many of an embedding's dimensions to keep, the first ones, as models trained for it allow (Matryoshka). What is
    /// left is normalized again if the whole was. By default all.
    pub dimension: Option<usize>,
    /// What is put before each text; by default the prompt that the model's file says, if it says one.
    pub prompt: Prompt,
    /// Whether a text that is too long is cut, as sentence-transformers does, and not refused; false by default.
    pub truncate: bool,
}

/// The embedding of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Embedding {
    /// `dimension` floats; with [`Pooling::None`], or of a multi-vector encoder, as many for each token, row after row.
    pub embedding: Vec<f32>,
    /// The width of a vector.
    pub dimension: usize,
    /// The text's tokens, the special ones included.
    pub ids: Vec<u32>,
}

impl Embedding {
    /// The vectors: one, or with [`Pooling::None`], or of a multi-vector encoder, each token's.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.embedding.chunks_exact(self.dimension)
    }
}

impl AsRef<[f32]> for Embedding {
    fn as_ref(&self) -> &[f32] {
        &self.embedding
    }
}

/// The cosine of the angle between two embeddings, from -1 to 1: 1 for equal ones, 0 where one has no length. They are
/// [`Embedding`]s, or vectors or slices of floats.
///
/// # Panics
/// When they aren't equally long.
pub fn cosine(a: impl AsRef<[f32]>, b: impl AsRef<[f32]>) -> f64 {
    let (a, b) = (a.as_ref(), b.as_ref());
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
/// let embeddings = Embedder::new(session).run(texts, &EmbedOptions::default())?;
/// let [dog, also_dog, evening] = &embeddings[..] else { unreachable!() };
/// assert_eq!(dog.dimension, 256);
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

    /// Whether options mean a vector for each token of a text: those that choose it, or of a multi-vector encoder those that
    /// choose no pooling.
    pub fn per_token(&self, options: &EmbedOptions) -> bool {
        match options.pooling {
            Some(pooling) => pooling == Pooling::None,
            None => self.is_multi_vector(),
        }
    }

    /// Whether the model's publisher means a vector for each token.
    fn is_multi_vector(&self) -> bool {
        let published = self.model().config().pooling.as_ref();
        published.is_some_and(|published| published.modes == [PoolingMode::Tokens])
    }

    /// The width of the vectors that options mean for this model.
    ///
    /// # Errors
    /// When a dense layer of the model takes vectors of another width than the pooling makes, an embedding doesn't have the
    /// dimensions that are asked for, or the model is a sparse encoder and no pooling is chosen.
    pub fn dimension(&self, options: &EmbedOptions) -> Result<usize, Error> {
        Ok(self.plan(options)?.dimension)
    }

    /// What options mean for this model.
    fn plan(&self, options: &EmbedOptions) -> Result<Plan, Error> {
        let config = self.model().config();
        if config.sparse_pooling.is_some() && options.pooling.is_none() {
            return Err(Error::SparseEncoder);
        }
        let published = config.pooling.as_ref();
        let modes: Vec<Pooling> = match (options.pooling, published) {
            (Some(mode), _) => vec![mode],
            (None, Some(published)) => published.modes.iter().map(|&mode| mode.into()).collect(),
            (None, None) => vec![Pooling::Mean],
        };
        // The published layers are for a text's vector, or for each token's.
        let per_token = modes == [Pooling::None];
        let mut layers = match published {
            Some(published) if per_token == self.is_multi_vector() => published.layers.clone(),
            _ => Vec::new(),
        };
        let normalizes = layers.last() == Some(&EmbeddingLayer::Normalize);
        let normalize = options.normalize.unwrap_or(normalizes);
        if normalizes {
            layers.pop();
        }
        let mut dimension = modes.len() * config.hidden_size;
        if let Some(published) = published.filter(|_| !layers.is_empty()) {
            let mut dense = published.dense_layers(config.hidden_size).peekable();
            // A mode in the place of several may not suit the layer behind it.
            if let Some(&(expected, _)) = dense.peek()
                && expected != dimension
            {
                return Err(Error::DenseWidth {
                    expected,
                    found: dimension,
                });
            }
            dimension = dense
                .last()
                .map_or(dimension, |(_, dense)| dense.out_features);
        }
        if let Some(wanted) = options.dimension {
            if !(1..=dimension).contains(&wanted) {
                return Err(Error::Dimension {
                    found: wanted,
                    most: dimension,
                });
            }
            dimension = wanted;
        }
        Ok(Plan {
            modes,
            layers,
            normalize,
            dimension,
        })
    }

    /// How many tokens of a text that begins with this prompt are the prompt's, as sentence-transformers counts them: those of
    /// the prompt alone, with the special ones around it, but for one that closes it.
    fn prompt_tokens(&self, prompt: &str) -> Result<usize, Error> {
        let tokenizer = self.model().tokenizer();
        let Encoding { ids, .. } = tokenizer.encode(prompt, true)?;
        let closed = ids
            .last()
            .is_some_and(|id| tokenizer.special_ids().contains(id));
        Ok(ids.len() - usize::from(closed))
    }
}

/// What options mean for a model.
struct Plan {
    modes: Vec<Pooling>,
    /// But for a normalization at the end.
    layers: Vec<EmbeddingLayer>,
    normalize: bool,
    /// Of what is answered.
    dimension: usize,
}

/// The weights of a dense layer.
struct DenseWeights<'a> {
    activation: Activation,
    /// Row after row.
    weight: &'a [Lanes],
    bias: Option<&'a [Lanes]>,
    rows: usize,
}

impl DenseWeights<'_> {
    /// The layer's output. A row of the weight is filled up with zeros, for which the input has nothing.
    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.weight.len() / self.rows);
        rows.enumerate()
            .map(|(row, weights)| {
                let bias = self.bias.map_or(0.0, |bias| as_floats(bias)[row]);
                let sum = dot(as_floats(weights), input) + f64::from(bias);
                match sum.is_finite() {
                    true => activated(sum, self.activation) as f32,
                    // Some functions have a limit there.
                    false => f32::NAN,
                }
            })
            .collect()
    }
}

/// A function of a value, in software, so that it is the same everywhere.
fn activated(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Tanh => libm::tanh(x),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x * 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
    }
}

impl<S: BorrowMut<Session>> Task for Embedder<S> {
    type Input<'t> = Text<'t>;
    type Options = EmbedOptions;
    type Prepared = PreparedEmbed;
    type Answer = Embedding;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &EmbedOptions,
    ) -> Result<PreparedEmbed, Error> {
        let text = text.into();
        let tokenizer = self.model().tokenizer();
        let prompt = options.prompt.text(self.model().config())?;
        let published = self.model().config().pooling.as_ref();
        let text = after(prompt, &text);
        let Encoding { ids, .. } = tokenizer.encode(&text, options.truncate)?;
        if ids.is_empty() {
            return Err(Error::NoTokens);
        }
        let excluded = published.is_some_and(|published| !published.include_prompt);
        let skipped = match excluded && !prompt.is_empty() {
            true => self.prompt_tokens(prompt)?,
            false => 0,
        };
        match skipped < ids.len() {
            true => Ok(PreparedEmbed { ids, skipped }),
            false => Err(Error::OnlyPrompt {
                limit: tokenizer.max_tokens(),
            }),
        }
    }

    fn compute(
        &mut self,
        texts: &[PreparedEmbed],
        options: &EmbedOptions,
    ) -> Result<Vec<Embedding>, Error> {
        let hidden_size = self.model().config().hidden_size;
        let Plan {
            modes,
            layers,
            normalize,
            dimension,
        } = self.plan(options)?;
        let only_cls = modes == [Pooling::Cls];
        let model = Arc::clone(self.session.borrow().model());
        let dense = dense_weights(&model)?;
        let session = self.session.borrow_mut();
        let mut answers = Vec::with_capacity(texts.len());
        for group in groups(texts.iter().map(|text| text.ids.len())) {
            let texts = &texts[group];
            let batch = Batch::from_iter(texts.iter().map(|text| &text.ids));
            // The others needn't go through the whole last layer.
            let firsts = batch.first_rows().iter().zip(texts);
            let firsts: Vec<usize> = firsts.map(|(row, text)| row + text.skipped).collect();
            let rows = match only_cls {
                true => Rows::Only(&firsts),
                false => Rows::All,
            };
            let hidden = session.hidden_states(&batch, rows)?;
            let mut hidden = hidden.as_slice();
            for text in texts {
                let rows = if only_cls { 1 } else { text.ids.len() };
                let (of_text, others) = hidden.split_at(rows * hidden_size);
                hidden = others;
                let skipped = if only_cls { 0 } else { text.skipped };
                let mut embedding = Vec::new();
                for &mode in &modes {
                    embedding.extend(pooled(of_text, hidden_size, skipped, mode));
                }
                finite(&embedding)?;
                // One vector, or each token's.
                let mut whole = modes.len() * hidden_size;
                let mut dense = dense.iter();
                for layer in &layers {
                    match layer {
                        EmbeddingLayer::Normalize => {
                            embedding.chunks_exact_mut(whole).for_each(normalized);
                        }
                        EmbeddingLayer::Dense(_) => {
                            let weights = dense.next().expect("weights of each layer");
                            let vectors = embedding.chunks_exact(whole);
                            embedding = vectors.flat_map(|row| weights.apply(row)).collect();
                            finite(&embedding)?;
                            whole = weights.rows;
                        }
                    }
                }
                if dimension < whole {
                    let rows = embedding.chunks_exact(whole);
                    embedding = rows.flat_map(|row| &row[..dimension]).copied().collect();
                }
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

/// Refuses an embedding with NaN or infinity, before something divides by it.
fn finite(embedding: &[f32]) -> Result<(), Error> {
    match embedding.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(Error::EmbeddingRange),
    }
}

/// The weights of a model's dense layers, in their order.
fn dense_weights(model: &Model) -> Result<Vec<DenseWeights<'_>>, Error> {
    let (file, config) = (model.file(), model.config());
    let layers = config.pooling.iter();
    let layers = layers.flat_map(|pooling| pooling.dense_layers(config.hidden_size));
    let weights = layers.enumerate().map(|(n, (in_features, dense))| {
        let rows = dense.out_features;
        let bias = match dense.bias {
            true => Some(file.lanes(&format!("dense.{n}.bias"), 1, rows)?),
            false => None,
        };
        Ok(DenseWeights {
            activation: dense.activation,
            weight: file.lanes(&format!("dense.{n}.weight"), rows, in_features)?,
            bias,
            rows,
        })
    });
    weights.collect()
}

/// A text as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedEmbed {
    ids: Vec<u32>,
    /// The first tokens, which aren't pooled.
    skipped: usize,
}

/// One vector of the hidden states of a text, of which there are more than are skipped.
fn pooled(hidden: &[f32], dimension: usize, skipped: usize, pooling: Pooling) -> Vec<f32> {
    let rows = || hidden.chunks_exact(dimension).skip(skipped);
    let weighted = |weight: fn(usize) -> f64, divisor: fn(f64) -> f64| {
        let (mut sum, mut weights) = (vec![0.0; dimension], 0.0);
        for (position, row) in (skipped + 1..).zip(rows()) {
            let weight = weight(position);
            weights += weight;
            for (sum, &x) in sum.iter_mut().zip(row) {
                *sum += weight * f64::from(x);
            }
        }
        let divisor = divisor(weights);
        sum.into_iter().map(|sum| (sum / divisor) as f32).collect()
    };
    match pooling {
        Pooling::None => hidden.to_vec(),
        Pooling::Cls => hidden[skipped * dimension..][..dimension].to_vec(),
        Pooling::LastToken => hidden[hidden.len() - dimension..].to_vec(),
        Pooling::Mean => weighted(|_| 1.0, |count| count),
        Pooling::MeanSqrtLen => weighted(|_| 1.0, f64::sqrt),
        Pooling::WeightedMean => weighted(|position| position as f64, |weights| weights),
        Pooling::Max => {
            let mut largest = hidden[skipped * dimension..][..dimension].to_vec();
            for row in rows() {
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
    use rq_kernels::lanes::LANES;

    #[test]
    fn pooling_is_over_all_tokens() {
        let hidden = [1.0, -5.0, 2.0, -1.0, 3.0, -3.0];
        let pooled = |skipped, pooling| pooled(&hidden, 2, skipped, pooling);
        assert_eq!(pooled(0, Pooling::Mean), [2.0, -3.0]);
        assert_eq!(pooled(0, Pooling::Max), [3.0, -1.0]);
        assert_eq!(pooled(0, Pooling::None), hidden);
        assert_eq!(pooled(0, Pooling::WeightedMean), [14.0 / 6.0, -16.0 / 6.0]);
        assert_eq!(pooled(0, Pooling::LastToken), [3.0, -3.0]);
        let root = 3.0_f64.sqrt();
        let sums = [6.0, -9.0].map(|sum| (sum / root) as f32);
        assert_eq!(pooled(0, Pooling::MeanSqrtLen), sums);
        // A prompt that isn't pooled; positions count it.
        assert_eq!(pooled(1, Pooling::Cls), [2.0, -1.0]);
        assert_eq!(pooled(1, Pooling::Mean), [2.5, -2.0]);
        assert_eq!(pooled(1, Pooling::Max), [3.0, -1.0]);
        assert_eq!(pooled(1, Pooling::WeightedMean), [13.0 / 5.0, -11.0 / 5.0]);
    }

    #[test]
    fn no_activation_function_makes_a_number_of_what_is_none() {
        for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let weight = [Lanes([weight; LANES])];
            let layer = |activation| DenseWeights {
                activation,
                weight: &weight,
                bias: None,
                rows: 1,
            };
            for activation in [
                Activation::Identity,
                Activation::Tanh,
                Activation::Relu,
                Activation::Gelu,
                Activation::Sigmoid,
            ] {
                assert!(finite(&layer(activation).apply(&[1.0])).is_err());
            }
        }
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
        assert_eq!(cosine(a, a), 1.0);
        assert_eq!(cosine(a, opposite), -1.0);
        assert_eq!(cosine(a, [0.0; 3]), 0.0);
        assert_eq!(cosine([1.0, 0.0], vec![0.0, 1.0]), 0.0);
        assert_eq!(cosine(&[3.0, 4.0][..], vec![4.0, 3.0]), 0.96);
        assert_eq!(cosine([], []), 0.0);
    }
}
