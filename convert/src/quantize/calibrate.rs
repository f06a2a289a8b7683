//! Calibration: GPTQ's weights for the model's own activations on a text, product by product.
//!
//! Two streams of hidden states go through the layers together: the checkpoint's in f32, and that of the quantized model so
//! far, which the runtime's own encoder computes ([`Steps`]). Each weight is chosen so that its product on the second
//! stream's inputs, residual included, comes out as on the first, which also makes up for the errors of earlier layers. The
//! bias takes what is left of the mean.
//!
//! Threads divide sequences, panels and outputs, never a sum: the file doesn't depend on them.

use super::error::QuantizeError;
use super::gptq::{CHUNK, Factor, Moments};
use super::pack::{Packed, Squares};
use crate::checkpoint::{Checkpoint, Origin};
use crate::progress::{Progress, work};
use crate::reference::attention;
use rayon::prelude::*;
use rq::steps::{Embeddings, Linear, Norm, Product, State, Steps};
use rq_format::{Config, ExpectedTensor, MAX_RELATIVE_DISTANCE};
use rq_kernels::hadamard::rotate;
use rq_kernels::kernels::{self, Kernels};
use rq_kernels::lanes::{LANES, Lanes, as_floats, as_floats_mut, panels_for, to_lanes};
use rq_kernels::packed::{BlockFormat, PackedMatrix, rotate_row};
use rq_kernels::{BLOCK, Panels, PanelsMut, VECTORS};

/// Tokens whose moments are computed at a time, about.
const GROUP_TOKENS: usize = 1024;
/// Inputs that a product in f32 goes over at a time, so that a panel's weights stay in the second-level cache.
const DEPTH: usize = 1024;

/// A token whose quantized stream is off by this share of its square no longer guides a weight.
const LOST: f64 = 0.02;

/// How to calibrate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Added to the moments' diagonal, in units of its mean.
    pub(crate) damping: f64,
    /// How much of the error that the inputs already carry a weight makes up for, from 0 to 1.
    pub(crate) correction: f32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            damping: 0.06,
            correction: 0.5,
        }
    }
}

/// One text on its way through the model.
struct Sequence {
    tokens: usize,
    quantized: State,
    /// The checkpoint's residual stream, row after row.
    exact: Vec<Lanes>,
    /// The checkpoint's inputs of the next product, panel-major; its residual stream if there are none.
    exact_inputs: Option<Vec<Lanes>>,
    /// What the product makes of them.
    exact_outputs: Vec<Lanes>,
}

impl Sequence {
    /// The residual streams of each token: the checkpoint's, and the quantized model's.
    fn residuals(&self) -> impl Iterator<Item = (&[Lanes], &[Lanes])> {
        let panels = self.exact.len() / self.tokens;
        let exact = self.exact.chunks_exact(panels);
        exact.zip(self.quantized.hidden().chunks_exact(panels))
    }
}

/// Whether a token's two streams have little to do with each other.
fn is_lost((exact, quantized): (&[Lanes], &[Lanes])) -> bool {
    let (mut difference, mut size) = (0.0f64, 0.0f64);
    for (x, y) in exact.iter().zip(quantized) {
        for (x, y) in x.0.iter().zip(y.0) {
            difference += f64::from(x - y).powi(2);
            size += f64::from(*x).powi(2);
        }
    }
    difference > LOST * size
}

/// The calibration of a model, product by product.
pub(crate) struct Calibrator<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    kernels: Kernels,
    steps: Steps<'a>,
    sequences: Vec<Sequence>,
    /// As the file has it; nothing for a model without.
    relative_bias: Vec<f32>,
    tuning: Tuning,
}

/// A product, quantized.
pub(crate) struct Quantized {
    /// The packed matrix.
    pub(crate) weight: Packed,
    /// Its bias.
    pub(crate) bias: Vec<f32>,
    /// How far the weights are from the checkpoint's.
    pub(crate) squares: Squares,
}

impl<'a> Calibrator<'a> {
    /// Embeds the texts, each some ids with the special ones around them. `words` is the model's table of tokens, and
    /// `projection` what takes them to the hidden size, in a model that has it.
    ///
    /// # Errors
    /// When a weight can't be read.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        config: &'a Config,
        texts: &[Vec<u32>],
        words: &PackedMatrix<'_>,
        projection: Option<&PackedMatrix<'_>>,
        tuning: Tuning,
    ) -> Result<Self, QuantizeError> {
        let kernels = kernels::best();
        // As the file has it; nothing for a model without.
        let relative_bias = match config.architecture.has_relative_bias() {
            true => {
                let tensor = tensor(config, "attention.relative_bias");
                Origin::read(checkpoint, config, &tensor)?
            }
            false => Vec::new(),
        };
        let heads = relative_bias.chunks_exact(2 * MAX_RELATIVE_DISTANCE + 1);
        let mut calibrator = Self {
            checkpoint,
            config,
            kernels,
            steps: Steps::new(config, kernels, heads.flat_map(to_lanes).collect()),
            sequences: Vec::new(),
            relative_bias,
            tuning,
        };
        let width = config.embedding_width();
        let lanes = |name: &str| calibrator.lanes(name, width);
        let (position, token_type) = (
            lanes("embeddings.position")?,
            match config.type_vocab_size {
                0 => Vec::new(),
                _ => lanes("embeddings.token_type")?,
            },
        );
        let norm = calibrator.norm("embeddings.norm", width)?;
        let (exact_projection, projection_bias) = match projection {
            None => (Vec::new(), Vec::new()),
            Some(_) => (
                calibrator.weights(&tensor(config, "embeddings.projection.weight"))?,
                to_lanes(&calibrator.floats("embeddings.projection.bias")?),
            ),
        };
        let embeddings = Embeddings {
            position: &position,
            token_type: &token_type,
            norm: as_norm(&norm),
            projection: projection.map(|&weight| Linear {
                weight,
                bias: &projection_bias,
            }),
        };
        let exact_embeddings = Embeddings {
            projection: None,
            ..embeddings
        };
        let steps = &calibrator.steps;
        let origin = Origin::of(config, "embeddings.word");
        let sequences = texts.par_iter().map(|ids| {
            let mut exact = vec![0.0; ids.len() * width];
            for (&id, row) in ids.iter().zip(exact.chunks_exact_mut(width)) {
                let id = id as usize;
                origin.read_rows(checkpoint, config, id..id + 1, row)?;
            }
            let exact = steps.embed(&exact_embeddings, ids, |token, row| {
                row[..width].copy_from_slice(&exact[token * width..][..width]);
            });
            let mut exact = exact.into_hidden();
            if projection.is_some() {
                let tokens = ids.len();
                let inputs = rotated(&transposed(&exact, panels_for(width)), tokens);
                let outputs = product(
                    kernels,
                    &inputs,
                    tokens,
                    &exact_projection,
                    &projection_bias,
                );
                exact = transposed(&outputs, tokens);
            }
            Ok(Sequence {
                tokens: ids.len(),
                quantized: steps.embed(&embeddings, ids, |token, row| {
                    words.dequantize_row(ids[token] as usize, row);
                }),
                exact,
                exact_inputs: None,
                exact_outputs: Vec::new(),
            })
        });
        let sequences: Result<_, QuantizeError> = sequences.collect();
        calibrator.sequences = sequences?;
        Ok(calibrator)
    }

    /// Quantizes the next product, whose weight is `tensor`, and takes both streams through it. Tells of each step of its work.
    ///
    /// # Errors
    /// When a weight can't be read or represented, or the activations aren't finite.
    pub(crate) fn quantize(
        &mut self,
        tensor: &ExpectedTensor,
        format: BlockFormat,
        progress: &dyn Progress,
    ) -> Result<Quantized, QuantizeError> {
        let tokens = self.sequences.iter().map(|s| s.tokens).sum();
        let mut steps = work::calibrated(tensor, format.into(), tokens).into_iter();
        let mut step_done = || progress.advance(&tensor.name, steps.next().unwrap_or_default());
        let weights = self.weights(tensor)?;
        let mut bias = self.floats(&tensor.name.replace(".weight", ".bias"))?;
        let lanes = to_lanes(&bias);
        self.exact_outputs(&weights, tensor.columns, &lanes);
        let statistics = self.statistics(tensor, &weights, &lanes);
        step_done();
        let factor = Factor::new(&statistics.moments, self.tuning.damping, self.kernels);
        let factor = factor.ok_or_else(|| QuantizeError::Moments {
            tensor: tensor.name.clone(),
        })?;
        step_done();
        let (weight, shifts) = pack(&factor, &statistics, &weights, format, tensor, self.kernels)?;
        drop((factor, statistics));
        step_done();
        for (b, s) in bias.iter_mut().zip(shifts) {
            *b += s;
        }
        let linear = Linear {
            weight: weight.matrix(),
            bias: &to_lanes(&bias),
        };
        self.advance(tensor, &linear)?;
        let squares = squares(&linear.weight, &weights);
        step_done();
        Ok(Quantized {
            weight,
            bias,
            squares,
        })
    }

    /// Computes the product on the checkpoint's stream.
    fn exact_outputs(&mut self, weights: &[Lanes], columns: usize, bias: &[Lanes]) {
        let kernels = self.kernels;
        self.sequences.par_iter_mut().for_each(|s| {
            let inputs = s.exact_inputs.take();
            let inputs = inputs.unwrap_or_else(|| transposed(&s.exact, panels_for(columns)));
            let inputs = rotated(&inputs, s.tokens);
            s.exact_outputs = product(kernels, &inputs, s.tokens, weights, bias);
        });
    }

    /// The moments of the centered inputs, and their products with the error that they leave in the outputs.
    fn statistics(&self, tensor: &ExpectedTensor, weights: &[Lanes], bias: &[Lanes]) -> Statistics {
        let kernels = self.kernels;
        let columns = tensor.columns.next_multiple_of(BLOCK);
        let (in_panels, out_panels) = (columns / LANES, panels_for(tensor.rows));
        let tokens: usize = self.sequences.iter().map(|s| s.tokens).sum();
        let residual = norm_behind(tensor).is_some();
        let mean: Vec<Lanes> = (0..in_panels)
            .into_par_iter()
            .map(|p| {
                let mut sum = [0.0f64; LANES];
                for s in &self.sequences {
                    for t in 0..s.tokens {
                        let x = s.quantized.input(t, p);
                        sum.iter_mut()
                            .zip(x.0)
                            .for_each(|(sum, x)| *sum += f64::from(x));
                    }
                }
                Lanes(sum.map(|sum| (sum / tokens as f64) as f32))
            })
            .collect();
        let chunks = in_panels.div_ceil(PANELS_OF_CHUNK);
        let mut moments = vec![vec![Lanes::ZERO; in_panels * CHUNK]; chunks];
        let mut errors = vec![vec![Lanes::ZERO; out_panels * CHUNK]; chunks];
        let mut error_sums = vec![[0.0f64; LANES]; out_panels];

        let mut rest = &self.sequences[..];
        while !rest.is_empty() {
            let (mut count, mut tokens) = (0, 0);
            while count < rest.len() && (count == 0 || tokens + rest[count].tokens <= GROUP_TOKENS)
            {
                tokens += rest[count].tokens;
                count += 1;
            }
            let (group, others) = rest.split_at(count);
            rest = others;
            // The inputs, panel-major, and the errors of the outputs.
            let pieces: Vec<Piece> = group
                .par_iter()
                .map(|s| {
                    let mut inputs = vec![Lanes::ZERO; in_panels * s.tokens];
                    for (p, inputs) in inputs.chunks_exact_mut(s.tokens).enumerate() {
                        for (t, x) in inputs.iter_mut().enumerate() {
                            *x = s.quantized.input(t, p);
                        }
                    }
                    let mut error = product(kernels, &inputs, s.tokens, weights, bias);
                    for (e, y) in error.iter_mut().zip(&s.exact_outputs) {
                        e.0.iter_mut().zip(y.0).for_each(|(e, y)| *e = y - *e);
                    }
                    for (t, streams) in s.residuals().enumerate() {
                        let errors = error[t..].iter_mut().step_by(s.tokens);
                        // A few tokens of small models jump between two states. They say nothing of the error of the others.
                        if is_lost(streams) {
                            errors.for_each(|e| *e = Lanes::ZERO);
                        } else if residual {
                            for (e, (x, y)) in errors.zip(streams.0.iter().zip(streams.1)) {
                                for l in 0..LANES {
                                    e.0[l] += x.0[l] - y.0[l];
                                }
                            }
                        }
                    }
                    for (p, inputs) in inputs.chunks_exact_mut(s.tokens).enumerate() {
                        for x in inputs {
                            x.0.iter_mut().zip(mean[p].0).for_each(|(x, m)| *x -= m);
                        }
                    }
                    (inputs, error)
                })
                .collect();
            let joined = |panels: usize, piece: fn(&Piece) -> &Vec<Lanes>| {
                let mut joined = Vec::with_capacity(panels * tokens);
                for p in 0..panels {
                    for (s, pieces) in group.iter().zip(&pieces) {
                        joined.extend_from_slice(&piece(pieces)[p * s.tokens..][..s.tokens]);
                    }
                }
                joined
            };
            let inputs = joined(in_panels, |p| &p.0);
            let error = joined(out_panels, |p| &p.1);
            error_sums
                .par_iter_mut()
                .zip(error.par_chunks_exact(tokens))
                .for_each(|(sum, error)| {
                    for e in error {
                        sum.iter_mut()
                            .zip(e.0)
                            .for_each(|(sum, e)| *sum += f64::from(e));
                    }
                });
            moments
                .par_iter_mut()
                .zip(&mut errors)
                .enumerate()
                .for_each(|(c, (moments, errors))| {
                    // Some inputs, transposed: the left operand.
                    let mut left = vec![Lanes::ZERO; tokens.div_ceil(LANES) * CHUNK];
                    for i in 0..CHUNK {
                        let input = c * CHUNK + i;
                        if input / LANES >= in_panels {
                            break;
                        }
                        let values = &inputs[input / LANES * tokens..][..tokens];
                        for (t, x) in values.iter().enumerate() {
                            left[t / LANES * CHUNK + i].0[t % LANES] = x.0[input % LANES];
                        }
                    }
                    let first = c * PANELS_OF_CHUNK;
                    add_product(
                        kernels,
                        &left,
                        &inputs[first * tokens..],
                        tokens,
                        &mut moments[first * CHUNK..],
                    );
                    add_product(kernels, &left, &error, tokens, errors);
                });
        }
        let mut values = vec![0.0; columns * columns];
        for i in 0..columns {
            for j in i..columns {
                let x = moments[i / CHUNK][j / LANES * CHUNK + i % CHUNK].0[j % LANES];
                values[i * columns + j] = x;
                values[j * columns + i] = x;
            }
        }
        Statistics {
            moments: Moments::new(columns, values),
            errors: errors
                .into_iter()
                .map(|mut e| {
                    e.iter_mut()
                        .for_each(|e| e.0.iter_mut().for_each(|e| *e *= self.tuning.correction));
                    e
                })
                .collect(),
            mean: as_floats(&mean)[..columns].to_vec(),
            mean_error: error_sums
                .concat()
                .iter()
                .map(|e| e / tokens as f64)
                .collect(),
        }
    }

    /// Takes both streams through the product and what follows it, up to the next one.
    fn advance(
        &mut self,
        tensor: &ExpectedTensor,
        linear: &Linear<'_>,
    ) -> Result<(), QuantizeError> {
        let norm = norm_behind(tensor)
            .map(|norm| self.norm(&norm, self.config.hidden_size))
            .transpose()?;
        let product = match norm.as_ref().map(as_norm) {
            Some(norm) if tensor.name.ends_with("attention.output.weight") => {
                Product::AttentionOutput(norm)
            }
            Some(norm) => Product::Down(norm),
            None if tensor.name.ends_with("attention.qkv.weight") => Product::Qkv,
            None => Product::Up,
        };
        let (steps, config, bias) = (&self.steps, self.config, &self.relative_bias);
        self.sequences.par_iter_mut().for_each(|s| {
            steps.advance(&mut s.quantized, product, linear);
            let mut outputs = std::mem::take(&mut s.exact_outputs);
            s.exact_inputs = match product {
                Product::Qkv => Some(contexts(config, &outputs, s.tokens, bias)),
                Product::Up => {
                    steps.activate(&mut outputs);
                    Some(outputs)
                }
                Product::AttentionOutput(norm) | Product::Down(norm) => {
                    steps.residual_norm(&mut s.exact, &outputs, &norm);
                    None
                }
            };
        });
        Ok(())
    }

    /// The values of a small tensor of the file.
    fn floats(&self, name: &str) -> Result<Vec<f32>, QuantizeError> {
        let tensor = tensor(self.config, name);
        Ok(Origin::read(self.checkpoint, self.config, &tensor)?)
    }

    /// The same as vectors, each row of `width` values filled up.
    fn lanes(&self, name: &str, width: usize) -> Result<Vec<Lanes>, QuantizeError> {
        let rows = self.floats(name)?;
        Ok(rows.chunks_exact(width).flat_map(to_lanes).collect())
    }

    fn norm(&self, name: &str, width: usize) -> Result<[Vec<Lanes>; 2], QuantizeError> {
        Ok([
            self.lanes(&format!("{name}.weight"), width)?,
            self.lanes(&format!("{name}.bias"), width)?,
        ])
    }

    /// A weight, rotated, as the right operand of a product: for each panel of rows, a vector for each column.
    fn weights(&self, tensor: &ExpectedTensor) -> Result<Vec<Lanes>, QuantizeError> {
        let (rows, columns) = (tensor.rows, tensor.columns);
        let padded = columns.next_multiple_of(BLOCK);
        let origin = Origin::of(self.config, &tensor.name);
        let mut weights = vec![Lanes::ZERO; panels_for(rows) * padded];
        weights
            .par_chunks_exact_mut(padded)
            .enumerate()
            .try_for_each(|(p, out)| {
                let range = p * LANES..rows.min((p + 1) * LANES);
                let mut values = vec![0.0; range.len() * columns];
                origin.read_rows(self.checkpoint, self.config, range, &mut values)?;
                for (l, row) in values.chunks_exact(columns).enumerate() {
                    for (lanes, w) in out.iter_mut().zip(rotate_row(row).flatten()) {
                        lanes.0[l] = w;
                    }
                }
                Ok::<_, QuantizeError>(())
            })?;
        Ok(weights)
    }
}

/// The inputs of a sequence, and the errors of its outputs.
type Piece = (Vec<Lanes>, Vec<Lanes>);

const PANELS_OF_CHUNK: usize = CHUNK / LANES;

/// What is known of a product's inputs and outputs.
struct Statistics {
    moments: Moments,
    /// For each chunk of inputs, `[panel of outputs][input]`.
    errors: Vec<Vec<Lanes>>,
    /// Of the inputs.
    mean: Vec<f32>,
    /// Of the error that the outputs would have with the checkpoint's weights.
    mean_error: Vec<f64>,
}

/// Quantizes and packs all panels; returns what is to be added to the bias, too.
fn pack(
    factor: &Factor,
    statistics: &Statistics,
    weights: &[Lanes],
    format: BlockFormat,
    tensor: &ExpectedTensor,
    kernels: Kernels,
) -> Result<(Packed, Vec<f32>), QuantizeError> {
    let blocks = tensor.columns.div_ceil(BLOCK);
    let columns = blocks * BLOCK;
    let mut packed = Packed::zeros(format, tensor)?;
    let (codes, scales) = packed.planes_mut();
    let parts = codes
        .par_chunks_exact_mut(blocks * format.code_bytes())
        .zip(scales.par_chunks_exact_mut(blocks));
    let shifts: Option<Vec<[f32; LANES]>> = parts
        .zip(weights.par_chunks_exact(columns))
        .enumerate()
        .map(|(p, ((codes, scales), weights))| {
            let inherited: Vec<Lanes> = (0..columns)
                .map(|k| statistics.errors[k / CHUNK][p * CHUNK + k % CHUNK])
                .collect();
            let errors =
                factor.quantize_panel(format, weights, Some(&inherited), codes, scales, kernels)?;
            let mut shift: [f64; LANES] =
                std::array::from_fn(|l| statistics.mean_error[p * LANES + l]);
            for (e, &m) in errors.iter().zip(&statistics.mean) {
                for (s, e) in shift.iter_mut().zip(e.0) {
                    *s += f64::from(e) * f64::from(m);
                }
            }
            Some(shift.map(|s| s as f32))
        })
        .collect();
    let shifts = shifts.ok_or_else(|| QuantizeError::Moments {
        tensor: tensor.name.clone(),
    })?;
    Ok((packed, shifts.concat()))
}

/// How far a packed matrix is from the rotated weights that it was made of.
fn squares(matrix: &PackedMatrix<'_>, weights: &[Lanes]) -> Squares {
    let columns = matrix.blocks() * BLOCK;
    let rows: Vec<Squares> = (0..matrix.rows())
        .into_par_iter()
        .map(|row| {
            let blocks = (0..matrix.blocks()).flat_map(|block| matrix.rotated(row, block));
            let back: Vec<f32> = blocks.collect();
            let weights = weights[row / LANES * columns..].iter();
            Squares::of(weights.map(|w| w.0[row % LANES]), &back)
        })
        .collect();
    rows.into_iter().sum()
}

/// The name of the LayerNorm behind a product and the residual stream, if they follow it.
fn norm_behind(tensor: &ExpectedTensor) -> Option<String> {
    let of =
        |product: &str, norm: &str| Some(format!("{}{norm}", tensor.name.strip_suffix(product)?));
    of("attention.output.weight", "attention.norm").or_else(|| of("ffn.down.weight", "ffn.norm"))
}

/// A tensor of the file.
fn tensor(config: &Config, name: &str) -> ExpectedTensor {
    let tensors = config.expected_tensors();
    let Some(tensor) = tensors.into_iter().find(|t| t.name == name) else {
        unreachable!("no model has a tensor {name}");
    };
    tensor
}

fn as_norm([weight, bias]: &[Vec<Lanes>; 2]) -> Norm<'_> {
    Norm { weight, bias }
}

/// What attention makes of exact queries, keys and values, panel-major.
fn contexts(config: &Config, qkv: &[Lanes], tokens: usize, relative_bias: &[f32]) -> Vec<Lanes> {
    let mut parts = qkv.chunks_exact(qkv.len() / 3);
    let [q, k, v] = [(); 3].map(|()| transposed(parts.next().unwrap_or_default(), tokens));
    let (heads, size) = (config.num_attention_heads, config.head_size());
    let rows = [&q, &k, &v].map(|rows| as_floats(rows));
    let width = rows[0].len() / tokens;
    let contexts = attention(rows, (heads, width), size, relative_bias);
    transposed(&to_lanes(&contexts), width / LANES)
}

/// Rows of `width` vectors, column after column: from panel-major to row-major, or back.
fn transposed(rows: &[Lanes], width: usize) -> Vec<Lanes> {
    let columns = (0..width).flat_map(|c| rows[c..].iter().step_by(width));
    columns.copied().collect()
}

/// Panel-major inputs as a product with rotated weights takes them: H D x / 128, each block filled up with zeros.
fn rotated(inputs: &[Lanes], tokens: usize) -> Vec<Lanes> {
    let mut out = inputs.to_vec();
    out.resize(
        (inputs.len() / tokens).next_multiple_of(VECTORS) * tokens,
        Lanes::ZERO,
    );
    for block in out.chunks_exact_mut(VECTORS * tokens) {
        for token in 0..tokens {
            let mut values = [0.0; BLOCK];
            let panels = values.as_chunks_mut::<LANES>().0.iter_mut();
            for (values, panel) in panels.zip(block.chunks_exact(tokens)) {
                *values = panel[token].0;
            }
            rotate(&mut values);
            let panels = values.as_chunks::<LANES>().0.iter();
            for (values, panel) in panels.zip(block.chunks_exact_mut(tokens)) {
                panel[token] = Lanes(values.map(|x| x * (1.0 / BLOCK as f32)));
            }
        }
    }
    out
}

/// Panel-major inputs times weights, panel-major, plus the bias.
fn product(
    kernels: Kernels,
    inputs: &[Lanes],
    tokens: usize,
    weights: &[Lanes],
    bias: &[Lanes],
) -> Vec<Lanes> {
    let columns = inputs.len() / tokens * LANES;
    let panels = weights.len() / columns;
    let mut out = vec![Lanes::ZERO; panels * tokens];
    for (out, bias) in out.chunks_exact_mut(tokens).zip(bias) {
        out.fill(*bias);
    }
    let ones = vec![1.0; tokens];
    let mut partial = vec![Lanes::ZERO; out.len()];
    for first in (0..columns).step_by(DEPTH) {
        let depth = DEPTH.min(columns - first);
        let b = Panels {
            data: &weights[first..],
            stride: columns,
        };
        let to = PanelsMut {
            data: &mut partial,
            stride: tokens,
        };
        kernels.matmul_f32(
            &inputs[first / LANES * tokens..],
            b,
            depth,
            &ones,
            panels,
            to,
        );
        add(&mut out, &partial);
    }
    out
}

/// Adds the products of a transposed chunk with panels of as many tokens each.
fn add_product(
    kernels: Kernels,
    left: &[Lanes],
    right: &[Lanes],
    tokens: usize,
    sums: &mut [Lanes],
) {
    let panels = right.len() / tokens;
    let mut out = vec![Lanes::ZERO; panels * CHUNK];
    let b = Panels {
        data: right,
        stride: tokens,
    };
    let to = PanelsMut {
        data: &mut out,
        stride: CHUNK,
    };
    kernels.matmul_f32(left, b, tokens, &[1.0; CHUNK], panels, to);
    add(sums, &out);
}

fn add(sums: &mut [Lanes], values: &[Lanes]) {
    for (sum, &x) in as_floats_mut(sums).iter_mut().zip(as_floats(values)) {
        *sum += x;
    }
}
