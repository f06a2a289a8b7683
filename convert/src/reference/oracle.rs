//! The model in f32, as transformers computes it: the oracle that quantized models are measured against.
//!
//! Plain Rust, straight from the checkpoint: it shares no code with the kernels and knows no packed layout. It agrees
//! with transformers in fp32 to what the order of additions leaves (`tests/parity.rs` states how much).

use crate::checkpoint::{
    Checkpoint, CheckpointError, LmHeadNames, Origin, WORD_EMBEDDINGS, classifier_names_of,
};
use rayon::prelude::*;
use rq_format::{ClassifierAct, Config, Head, HiddenAct, MAX_RELATIVE_DISTANCE};

/// Partial sums of a dot product.
const LANES: usize = 8;
/// Tokens that share a reading of a weight.
const TOKENS: usize = 4;

/// A model in f32, on the heap.
#[derive(Debug)]
pub struct Reference {
    config: Config,
    word: Vec<f32>,
    position: Vec<f32>,
    /// Nothing for a model without token types.
    token_type: Vec<f32>,
    norm: Norm,
    projection: Option<Linear>,
    /// For each head, a value for each distance, as the file has it; nothing for a model without.
    relative_bias: Vec<f32>,
    layers: Vec<Layer>,
    head: HeadWeights,
}

#[derive(Debug)]
enum HeadWeights {
    None,
    MaskedLm {
        dense: Linear,
        norm: Norm,
        /// `None` where the decoder is the word embeddings.
        decoder: Option<Vec<f32>>,
        bias: Vec<f32>,
    },
    Classifier {
        dense: Option<(Linear, ClassifierAct)>,
        out: Linear,
    },
}

#[derive(Debug)]
struct Layer {
    qkv: [Linear; 3],
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    ffn_norm: Norm,
}

/// A product's weight, a row an output, and its bias.
#[derive(Debug)]
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// LayerNorm's parameters.
#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Reference {
    /// Reads the weights; they take four bytes each.
    ///
    /// # Errors
    /// When a tensor isn't there, or a weight is NaN or infinite.
    pub fn load(checkpoint: &Checkpoint, config: &Config) -> Result<Self, CheckpointError> {
        let tensor = |name: &str| checkpoint.tensor(name);
        let linear = |name: &str| -> Result<_, CheckpointError> {
            Ok(Linear {
                weight: tensor(&format!("{name}.weight"))?,
                bias: tensor(&format!("{name}.bias"))?,
            })
        };
        let norm = |name: &str| -> Result<_, CheckpointError> {
            Ok(Norm {
                weight: tensor(&format!("{name}.weight"))?,
                bias: tensor(&format!("{name}.bias"))?,
            })
        };
        // What a checkpoint has in another form is taken as the file will have it; nothing if it won't.
        let tensors = config.expected_tensors();
        let of_file = |name: &str| match tensors.iter().find(|tensor| tensor.name == name) {
            Some(tensor) => Origin::read(checkpoint, config, tensor),
            None => Ok(Vec::new()),
        };
        let layer = |n| -> Result<_, CheckpointError> {
            let part = |part: &str| linear(&format!("encoder.layer.{n}.{part}"));
            let part_norm = |part: &str| norm(&format!("encoder.layer.{n}.{part}"));
            Ok(Layer {
                qkv: [
                    part("attention.self.query")?,
                    part("attention.self.key")?,
                    part("attention.self.value")?,
                ],
                attention_output: part("attention.output.dense")?,
                attention_norm: part_norm("attention.output.LayerNorm")?,
                up: part("intermediate.dense")?,
                down: part("output.dense")?,
                ffn_norm: part_norm("output.LayerNorm")?,
            })
        };
        let head = match config.head {
            Head::None => HeadWeights::None,
            Head::MaskedLm => {
                let names = LmHeadNames::of(config.architecture);
                HeadWeights::MaskedLm {
                    dense: linear(names.dense)?,
                    norm: norm(names.norm)?,
                    decoder: match config.tie_word_embeddings {
                        true => None,
                        false => Some(tensor(names.decoder)?),
                    },
                    bias: tensor(names.bias)?,
                }
            }
            _ => HeadWeights::Classifier {
                dense: match (classifier_names_of(config).0, config.classifier_act) {
                    (Some(name), Some(act)) => Some((linear(name)?, act)),
                    _ => None,
                },
                out: Linear {
                    weight: of_file("classifier.out.weight")?,
                    bias: of_file("classifier.out.bias")?,
                },
            },
        };
        Ok(Self {
            config: config.clone(),
            word: tensor(WORD_EMBEDDINGS)?,
            position: tensor("embeddings.position_embeddings.weight")?,
            token_type: of_file("embeddings.token_type")?,
            norm: norm("embeddings.LayerNorm")?,
            projection: match config.embedding_size {
                None => None,
                Some(_) => Some(linear("embeddings_project")?),
            },
            relative_bias: of_file("attention.relative_bias")?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            head,
        })
    }

    /// The hidden states behind the last layer: for each token, `hidden_size` values.
    ///
    /// Every token is attended to, padding inside the text included, as in transformers without an attention mask.
    ///
    /// # Panics
    /// When an id isn't in the vocabulary, or there are more tokens than positions.
    pub fn forward(&self, ids: &[u32]) -> Vec<f32> {
        self.forward_pair(ids, &vec![0; ids.len()])
    }

    /// The same with a token type for each token, which only BERT and ELECTRA have more than one of.
    ///
    /// # Panics
    /// When an id isn't in the vocabulary, a type not in its table, or there are more tokens than positions.
    pub fn forward_pair(&self, ids: &[u32], token_types: &[u32]) -> Vec<f32> {
        let mut x = self.embed(ids, token_types);
        for layer in &self.layers {
            let [q, k, v] = layer.qkv.each_ref().map(|linear| linear.apply(&x));
            let heads = self.config.num_attention_heads;
            let mut y = layer.attention_output.apply(&attention(
                [&q, &k, &v],
                (heads, self.config.hidden_size),
                self.config.head_size(),
                &self.relative_bias,
            ));
            add(&mut y, &x);
            self.layer_norm(&layer.attention_norm, &mut y);
            let mut up = layer.up.apply(&y);
            up.par_iter_mut()
                .for_each(|x| *x = activate(self.config.hidden_act, *x));
            let mut down = layer.down.apply(&up);
            add(&mut down, &y);
            self.layer_norm(&layer.ffn_norm, &mut down);
            x = down;
        }
        x
    }

    /// The logits of tokens of which these are the hidden states: for each, [`Config::outputs`] values.
    ///
    /// # Panics
    /// When `hidden` isn't whole rows of `hidden_size`.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        match &self.head {
            HeadWeights::None => Vec::new(),
            HeadWeights::MaskedLm {
                dense,
                norm,
                decoder,
                bias,
            } => {
                let mut x = dense.apply(hidden);
                let function = self.config.lm_head_act();
                x.par_iter_mut().for_each(|x| *x = activate(function, *x));
                self.layer_norm(norm, &mut x);
                product(decoder.as_ref().unwrap_or(&self.word), bias, &x)
            }
            HeadWeights::Classifier { dense: None, out } => out.apply(hidden),
            HeadWeights::Classifier {
                dense: Some((dense, act)),
                out,
            } => {
                let mut x = dense.apply(hidden);
                x.iter_mut().for_each(|x| {
                    *x = match act {
                        ClassifierAct::Tanh => x.tanh(),
                        ClassifierAct::Relu => x.max(0.0),
                        ClassifierAct::Gelu => activate(HiddenAct::Gelu, *x),
                        ClassifierAct::GeluTanh => activate(HiddenAct::GeluTanh, *x),
                    }
                });
                out.apply(&x)
            }
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn embed(&self, ids: &[u32], token_types: &[u32]) -> Vec<f32> {
        let width = self.config.embedding_width();
        let follows = self.config.architecture.positions_follow_padding();
        let pad = self.config.pad_token_id;
        let mut next = self.config.position_offset;
        let mut x = Vec::with_capacity(ids.len() * width);
        for (&id, &token_type) in ids.iter().zip(token_types) {
            // RoBERTa's positions count the tokens that aren't padding; padding itself is at its own position.
            let position = match follows {
                true if id == pad => pad as usize,
                _ => {
                    next += 1;
                    next - 1
                }
            };
            let row = |table: &[f32], row: usize| table[row * width..][..width].to_vec();
            let mut sum = row(&self.word, id as usize);
            if !self.token_type.is_empty() {
                add(&mut sum, &row(&self.token_type, token_type as usize));
            }
            add(&mut sum, &row(&self.position, position));
            x.extend(sum);
        }
        self.layer_norm(&self.norm, &mut x);
        match &self.projection {
            None => x,
            Some(projection) => projection.apply(&x),
        }
    }

    fn layer_norm(&self, norm: &Norm, x: &mut [f32]) {
        let eps = self.config.layer_norm_eps;
        x.par_chunks_exact_mut(norm.weight.len()).for_each(|row| {
            let n = row.len() as f64;
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = row
                .iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / n;
            let scale = 1.0 / (variance + eps).sqrt();
            for (x, (w, b)) in row.iter_mut().zip(norm.weight.iter().zip(&norm.bias)) {
                *x = ((f64::from(*x) - mean) * scale) as f32 * w + b;
            }
        });
    }
}

impl Linear {
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        product(&self.weight, &self.bias, x)
    }
}

/// softmax(q k^T / sqrt(`head_size`) + bias) v, for each head. Each token has a row of queries, of keys and of values; a head
/// may be filled up with zeros beyond its size. `relative_bias` has a row a head, of a value for each distance from a query to a
/// key; it is empty where there is no bias.
pub(crate) fn attention(
    [q, k, v]: [&[f32]; 3],
    (heads, width): (usize, usize),
    head_size: usize,
    relative_bias: &[f32],
) -> Vec<f32> {
    let head = width / heads;
    let scale = 1.0 / (head_size as f32).sqrt();
    let mut out = vec![0.0; q.len()];
    let tokens = out
        .par_chunks_exact_mut(width)
        .zip(q.par_chunks_exact(width));
    let bias_of = |head: usize, query: usize, key: usize| {
        let mut tables = relative_bias.chunks_exact(2 * MAX_RELATIVE_DISTANCE + 1);
        let Some(table) = tables.nth(head) else {
            return 0.0;
        };
        let distance = (key + MAX_RELATIVE_DISTANCE).saturating_sub(query);
        table[distance.min(2 * MAX_RELATIVE_DISTANCE)]
    };
    tokens.enumerate().for_each(|(token, (out, q))| {
        for h in (0..width).step_by(head) {
            let part = h..h + head;
            let keys = k.chunks_exact(width).map(|k| &k[part.clone()]);
            let query = &q[part.clone()];
            let scores = keys.enumerate();
            let mut scores: Vec<f32> = scores
                .map(|(key, k)| scale * dot(query, k) + bias_of(h / head, token, key))
                .collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // In software, so that a calibrated file is the same whatever the platform.
            scores.iter_mut().for_each(|s| *s = libm::expf(*s - max));
            let sum: f32 = scores.iter().sum();
            let out = &mut out[part.clone()];
            for (score, v) in scores.iter().zip(v.chunks_exact(width)) {
                let p = score / sum;
                out.iter_mut()
                    .zip(&v[part.clone()])
                    .for_each(|(o, v)| *o += p * v);
            }
        }
    });
    out
}

/// x times the transpose of `weight`, plus `bias`: for each row of `x`, a value for each row of `weight`.
fn product(weight: &[f32], bias: &[f32], x: &[f32]) -> Vec<f32> {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    assert!(x.len().is_multiple_of(inputs), "whole rows of {inputs}");
    let tokens = x.len() / inputs;
    // Outputs first, so that each weight is read once for all tokens.
    let mut by_output = vec![0.0; outputs * tokens];
    let rows = by_output.par_chunks_exact_mut(tokens.max(1));
    rows.zip(weight.par_chunks_exact(inputs))
        .for_each(|(out, w)| {
            for (out, x) in out.chunks_mut(TOKENS).zip(x.chunks(TOKENS * inputs)) {
                match <&mut [f32; TOKENS]>::try_from(&mut *out) {
                    Ok(out) => *out = dots(w, x),
                    Err(_) => {
                        let few = out.iter_mut().zip(x.chunks_exact(inputs));
                        few.for_each(|(out, x)| *out = dot(w, x));
                    }
                }
            }
        });
    let mut out = vec![0.0; outputs * tokens];
    out.par_chunks_exact_mut(outputs)
        .enumerate()
        .for_each(|(t, row)| {
            for (o, out) in row.iter_mut().enumerate() {
                *out = by_output[o * tokens + t] + bias[o];
            }
        });
    out
}

/// The dot products of `w` with [`TOKENS`] rows of `x`, each as [`dot`] gives it.
fn dots(w: &[f32], x: &[f32]) -> [f32; TOKENS] {
    let mut rows = x.chunks_exact(w.len());
    let rows: [&[f32]; TOKENS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    let rows = rows.map(|row| row.as_chunks::<LANES>());
    let (w, w_rest) = w.as_chunks::<LANES>();
    let mut sums = [[0.0f32; LANES]; TOKENS];
    for (i, w) in w.iter().enumerate() {
        for (sums, (x, _)) in sums.iter_mut().zip(&rows) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += w[lane] * x[i][lane];
            }
        }
    }
    std::array::from_fn(|t| reduce(&sums[t], w_rest, rows[t].1))
}

fn dot(w: &[f32], x: &[f32]) -> f32 {
    let ((w, w_rest), (x, x_rest)) = (w.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (w, x) in w.iter().zip(x) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += w[lane] * x[lane];
        }
    }
    reduce(&sums, w_rest, x_rest)
}

fn reduce(sums: &[f32; LANES], w: &[f32], x: &[f32]) -> f32 {
    let rest: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
    sums.iter().sum::<f32>() + rest
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// One value of the activation function, in f64 inside.
fn activate(function: HiddenAct, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match function {
        HiddenAct::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        HiddenAct::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        } // A function that this crate doesn't know yet can't come from a checkpoint that it has read.
    };
    y as f32
}
