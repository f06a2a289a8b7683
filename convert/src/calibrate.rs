//! Calibration: the model's own activations on a text, layer by layer, and the weights that GPTQ makes of them.
//!
//! Two streams of hidden states go through the layers together: that of the checkpoint in f32, and that of the quantized
//! model so far, whose products are the runtime's own (block-quantized activations, packed weights). Each weight is
//! chosen so that its product on the second stream's inputs, residual included, comes out as on the first: that also makes
//! up for what earlier layers did wrong. A bias takes what is left of the mean.
//!
//! Threads divide sequences, panels and outputs, never a sum: the file doesn't depend on them.

use crate::checkpoint::Checkpoint;
use crate::convert::packed_len;
use crate::error::ConvertError;
use crate::gptq::{CHUNK, Factor, Moments};
use crate::layout::Origin;
use crate::summary::Squares;
use half::f16;
use rayon::prelude::*;
use rq_format::{Config, ExpectedTensor, HiddenAct};
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::kernels::{self, Kernels};
use rq_kernels::lanes::{LANES, Lanes, as_floats, as_floats_mut, panels_for, to_lanes};
use rq_kernels::packed::{BlockFormat, PackedMatrix, Scales};
use rq_kernels::{BLOCK, Gelu, Panels, PanelsMut, q8};

/// Tokens whose moments are computed at a time, about.
const GROUP_TOKENS: usize = 1024;
/// Inputs that a product in f32 goes over at a time, so that a panel's weights stay in the second-level cache.
const DEPTH: usize = 1024;

/// A token whose quantized stream is off by this share of its square no longer guides a weight.
const LOST: f64 = 0.02;

/// The products of a layer, in the order of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Qkv,
    AttentionOutput,
    Up,
    Down,
}

impl Part {
    fn of(tensor: &ExpectedTensor) -> Self {
        match tensor.name.splitn(3, '.').nth(2) {
            Some("attention.qkv.weight") => Self::Qkv,
            Some("attention.output.weight") => Self::AttentionOutput,
            Some("ffn.up.weight") => Self::Up,
            _ => Self::Down,
        }
    }
}

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
            damping: 0.01,
            correction: 0.5,
        }
    }
}

/// One text on its way through the model. All lanes are panel-major.
struct Sequence {
    tokens: usize,
    /// The residual stream of the checkpoint, and of the quantized model.
    exact: Vec<Lanes>,
    quantized: Vec<Lanes>,
    /// The inputs of the next product.
    exact_inputs: Vec<Lanes>,
    quantized_inputs: Vec<ActivationBlock>,
    /// The outputs of the product on the checkpoint's inputs.
    exact_outputs: Vec<Lanes>,
}

impl Sequence {
    /// Whether a token's two streams have little to do with each other.
    fn is_lost(&self, token: usize) -> bool {
        let (mut difference, mut size) = (0.0f64, 0.0f64);
        let both = self.exact.iter().zip(&self.quantized);
        for (x, y) in both.skip(token).step_by(self.tokens) {
            for (x, y) in x.0.iter().zip(y.0) {
                difference += f64::from(x - y).powi(2);
                size += f64::from(*x).powi(2);
            }
        }
        difference > LOST * size
    }
}

/// The calibration of a model, product by product.
pub(crate) struct Calibrator<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    kernels: &'static dyn Kernels,
    sequences: Vec<Sequence>,
    tuning: Tuning,
}

/// A product, quantized.
pub(crate) struct Quantized {
    /// The packed matrix.
    pub(crate) bytes: Vec<u8>,
    /// Its bias.
    pub(crate) bias: Vec<f32>,
    /// How far the weights are from the checkpoint's.
    pub(crate) squares: Squares,
}

impl<'a> Calibrator<'a> {
    /// Embeds the texts, each some ids with the special ones around them.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        config: &'a Config,
        texts: &[Vec<u32>],
        tuning: Tuning,
    ) -> Result<Self, ConvertError> {
        let mut calibrator = Self {
            checkpoint,
            config,
            kernels: kernels::best(),
            sequences: Vec::new(),
            tuning,
        };
        let float = |name: &str| calibrator.floats(name);
        let (position, token_type) = (
            float("embeddings.position")?,
            float("embeddings.token_type")?,
        );
        let norm = [
            float("embeddings.norm.weight")?,
            float("embeddings.norm.bias")?,
        ]
        .map(|x| to_lanes(&x));
        let word = Origin::of(config, "embeddings.word");
        let width = config.hidden_size;
        let sequences = texts.par_iter().map(|ids| {
            let mut streams = [(); 2].map(|()| Vec::with_capacity(ids.len()));
            let mut row = vec![0.0; width];
            for (next, &id) in (config.position_offset..).zip(ids) {
                let id = id as usize;
                word.read_rows(checkpoint, config, id..id + 1, &mut row)?;
                let mut rounded = row.clone();
                for block in rounded.chunks_mut(BLOCK) {
                    let mut x = [0.0; BLOCK];
                    x[..block.len()].copy_from_slice(block);
                    if let Some(q) = q8::quantize(&x) {
                        block.copy_from_slice(&q8::dequantize(&q)[..block.len()]);
                    }
                }
                for (stream, values) in streams.iter_mut().zip([&row, &rounded]) {
                    let types = token_type.iter().zip(&position[next * width..]);
                    let sum: Vec<f32> = values
                        .iter()
                        .zip(types)
                        .map(|(x, (t, p))| x + t + p)
                        .collect();
                    stream.push(to_lanes(&sum));
                }
            }
            let [exact, quantized] = streams.map(|rows| calibrator.normalized(rows, &norm));
            let mut sequence = Sequence {
                tokens: ids.len(),
                exact_inputs: exact.clone(),
                quantized_inputs: Vec::new(),
                exact,
                quantized,
                exact_outputs: Vec::new(),
            };
            sequence.quantized_inputs =
                calibrator.quantize_inputs(&sequence.quantized, sequence.tokens);
            Ok(sequence)
        });
        let sequences: Result<_, ConvertError> = sequences.collect();
        calibrator.sequences = sequences?;
        Ok(calibrator)
    }

    /// Quantizes the next product, whose weight is `tensor`, and takes both streams through it.
    ///
    /// # Errors
    /// When a weight can't be read or represented, or the activations aren't finite.
    pub(crate) fn quantize(
        &mut self,
        tensor: &ExpectedTensor,
        format: BlockFormat,
    ) -> Result<Quantized, ConvertError> {
        let (weights, mut bias) = (self.weights(tensor)?, self.bias(tensor)?);
        let lanes = to_lanes(&bias);
        self.exact_outputs(&weights, tensor.columns, &lanes);
        let statistics = self.statistics(tensor, &weights, &lanes);
        let factor = Factor::new(&statistics.moments, self.tuning.damping, self.kernels);
        let factor = factor.ok_or_else(|| ConvertError::Moments {
            tensor: tensor.name.clone(),
        })?;
        let (bytes, shifts) = pack(&factor, &statistics, &weights, format, tensor, self.kernels)?;
        drop((factor, statistics));
        for (b, s) in bias.iter_mut().zip(shifts) {
            *b += s;
        }
        let squares = self.advance(tensor, format, &bytes, &bias, &weights)?;
        Ok(Quantized {
            bytes,
            bias,
            squares,
        })
    }

    /// Computes the product on the checkpoint's stream.
    fn exact_outputs(&mut self, weights: &[Lanes], columns: usize, bias: &[Lanes]) {
        let kernels = self.kernels;
        self.sequences.par_iter_mut().for_each(|s| {
            s.exact_outputs = product(kernels, &s.exact_inputs, s.tokens, weights, columns, bias);
            s.exact_inputs = Vec::new();
        });
    }

    /// The moments of the centered inputs, and their products with the error that they leave in the outputs.
    fn statistics(&self, tensor: &ExpectedTensor, weights: &[Lanes], bias: &[Lanes]) -> Statistics {
        let (part, kernels) = (Part::of(tensor), self.kernels);
        let (rows, columns) = (tensor.rows, tensor.columns);
        let (in_panels, out_panels) = (panels_for(columns), panels_for(rows));
        let tokens: usize = self.sequences.iter().map(|s| s.tokens).sum();
        let residual = matches!(part, Part::AttentionOutput | Part::Down);
        let mean: Vec<Lanes> = (0..in_panels)
            .into_par_iter()
            .map(|p| {
                let mut sum = [0.0f64; LANES];
                for s in &self.sequences {
                    for t in 0..s.tokens {
                        let x = dequantized(&s.quantized_inputs, s.tokens, t, p);
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
                            *x = dequantized(&s.quantized_inputs, s.tokens, t, p);
                        }
                    }
                    let mut error = product(kernels, &inputs, s.tokens, weights, columns, bias);
                    for (e, y) in error.iter_mut().zip(&s.exact_outputs) {
                        e.0.iter_mut().zip(y.0).for_each(|(e, y)| *e = y - *e);
                    }
                    if residual {
                        let residuals = s.exact.iter().zip(&s.quantized);
                        for (e, (x, y)) in error.iter_mut().zip(residuals) {
                            for l in 0..LANES {
                                e.0[l] += x.0[l] - y.0[l];
                            }
                        }
                    }
                    // A few tokens of small models jump between two states. They say nothing of the error of the others.
                    for t in (0..s.tokens).filter(|&t| s.is_lost(t)) {
                        error
                            .iter_mut()
                            .skip(t)
                            .step_by(s.tokens)
                            .for_each(|e| *e = Lanes::ZERO);
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

    /// Takes both streams behind the product and what follows it, up to the next one.
    fn advance(
        &mut self,
        tensor: &ExpectedTensor,
        format: BlockFormat,
        bytes: &[u8],
        bias: &[f32],
        weights: &[Lanes],
    ) -> Result<Squares, ConvertError> {
        let part = Part::of(tensor);
        let aligned: Vec<f16> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f16::from_le_bytes(*b))
            .collect();
        let bytes = bytemuck::cast_slice(&aligned);
        let Ok(matrix) = PackedMatrix::new(format, tensor.rows, tensor.columns, bytes) else {
            unreachable!("the buffer has the length of the matrix");
        };
        let (matrix, bias) = (&matrix, &to_lanes(bias));
        let norm = match part {
            Part::AttentionOutput => Some("attention.norm"),
            Part::Down => Some("ffn.norm"),
            _ => None,
        };
        let norm = match norm {
            None => None,
            Some(norm) => {
                let layer: Vec<&str> = tensor.name.splitn(3, '.').take(2).collect();
                let floats = |of: &str| self.floats(&format!("{}.{norm}.{of}", layer.join(".")));
                Some([to_lanes(&floats("weight")?), to_lanes(&floats("bias")?)])
            }
        };
        let mut sequences = std::mem::take(&mut self.sequences);
        let (this, kernels) = (&*self, self.kernels);
        sequences.par_iter_mut().for_each(|s| {
            let tokens = s.tokens;
            let acts = Activations::block_major(&s.quantized_inputs, tokens);
            let mut outputs = vec![Lanes::ZERO; matrix.panels() * tokens];
            kernels.matmul(matrix, 0..matrix.panels(), bias, &acts, &mut outputs);
            let both = [
                (std::mem::take(&mut s.exact_outputs), &mut s.exact),
                (outputs, &mut s.quantized),
            ];
            let [exact, quantized] = both.map(|(mut outputs, residual)| match part {
                Part::Qkv => this.attention(&outputs, tokens),
                Part::Up => {
                    let gelu = match this.config.hidden_act {
                        HiddenAct::Gelu => Gelu::Erf,
                        _ => Gelu::Tanh,
                    };
                    kernels.gelu(gelu, &mut outputs);
                    outputs
                }
                Part::AttentionOutput | Part::Down => {
                    let panels = panels_for(this.config.hidden_size);
                    let rows = (0..tokens).map(|t| {
                        let row = (0..panels).map(|p| {
                            let (x, y) = (residual[p * tokens + t], outputs[p * tokens + t]);
                            Lanes(std::array::from_fn(|l| x.0[l] + y.0[l]))
                        });
                        row.collect()
                    });
                    let Some(norm) = &norm else {
                        unreachable!("a norm follows");
                    };
                    *residual = this.normalized(rows.collect(), norm);
                    residual.clone()
                }
            });
            s.exact_inputs = exact;
            s.quantized_inputs = this.quantize_inputs(&quantized, tokens);
        });
        self.sequences = sequences;
        Ok(squares(matrix, weights))
    }

    /// Attention in f32, of queries, keys and values.
    fn attention(&self, qkv: &[Lanes], tokens: usize) -> Vec<Lanes> {
        let head_panels = panels_for(self.config.head_size());
        let heads = self.config.num_attention_heads;
        let all = heads * head_panels * tokens;
        let (queries, keys, values) = (&qkv[..all], &qkv[all..2 * all], &qkv[2 * all..]);
        let key_panels = panels_for(tokens);
        let scale = 1.0 / (self.config.head_size() as f32).sqrt();
        let mut context = vec![Lanes::ZERO; all];
        let mut packed = vec![Lanes::ZERO; key_panels * head_panels * LANES];
        let mut scores = vec![Lanes::ZERO; key_panels * tokens];
        let mut inverse_sums = vec![0.0; tokens];
        for head in 0..heads {
            let part = head * head_panels * tokens..(head + 1) * head_panels * tokens;
            let keys = &keys[part.clone()];
            let depth = head_panels * LANES;
            for (p, packed) in packed.chunks_exact_mut(depth).enumerate() {
                for (d, lanes) in packed.iter_mut().enumerate() {
                    for (l, x) in lanes.0.iter_mut().enumerate() {
                        let t = p * LANES + l;
                        *x = if t < tokens {
                            keys[d / LANES * tokens + t].0[d % LANES]
                        } else {
                            0.0
                        };
                    }
                }
            }
            let b = Panels {
                data: &packed,
                stride: depth,
            };
            let out = PanelsMut {
                data: &mut scores,
                stride: tokens,
            };
            let ones = vec![1.0; tokens];
            self.kernels
                .product(&queries[part.clone()], b, depth, &ones, key_panels, out);
            self.kernels
                .softmax(&mut scores, tokens, scale, &mut inverse_sums);
            let b = Panels {
                data: &values[part.clone()],
                stride: tokens,
            };
            let out = PanelsMut {
                data: &mut context[part],
                stride: tokens,
            };
            self.kernels
                .product(&scores, b, tokens, &inverse_sums, head_panels, out);
        }
        context
    }

    /// Rows, normalized, panel-major.
    fn normalized(&self, rows: Vec<Vec<Lanes>>, [gamma, beta]: &[Vec<Lanes>; 2]) -> Vec<Lanes> {
        let (width, tokens) = (self.config.hidden_size, rows.len());
        let mut out = vec![Lanes::ZERO; panels_for(width) * tokens];
        for (t, mut row) in rows.into_iter().enumerate() {
            self.kernels.layer_norm(
                &mut row,
                width,
                gamma,
                beta,
                self.config.layer_norm_eps as f32,
            );
            for (p, lanes) in row.into_iter().enumerate() {
                out[p * tokens + t] = lanes;
            }
        }
        out
    }

    /// Panel-major values as the runtime quantizes them, block-major.
    fn quantize_inputs(&self, values: &[Lanes], tokens: usize) -> Vec<ActivationBlock> {
        let mut blocks = vec![ActivationBlock::ZERO; values.len().div_ceil(2 * tokens) * tokens];
        for (panels, out) in values
            .chunks(2 * tokens)
            .zip(blocks.chunks_exact_mut(tokens))
        {
            let (low, high) = panels.split_at(tokens);
            self.kernels.quantize_panels(low, high, out);
        }
        blocks
    }

    fn bias(&self, tensor: &ExpectedTensor) -> Result<Vec<f32>, ConvertError> {
        self.floats(&tensor.name.replace(".weight", ".bias"))
    }

    /// A small tensor of the file.
    fn floats(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        let tensors = self.config.expected_tensors();
        let Some(tensor) = tensors.into_iter().find(|t| t.name == name) else {
            unreachable!("no model has a tensor {name}");
        };
        self.rows(&tensor)
    }

    fn rows(&self, tensor: &ExpectedTensor) -> Result<Vec<f32>, ConvertError> {
        let mut values = vec![0.0; tensor.rows * tensor.columns];
        Origin::of(self.config, &tensor.name).read_rows(
            self.checkpoint,
            self.config,
            0..tensor.rows,
            &mut values,
        )?;
        Ok(values)
    }

    /// A weight as the right operand of a product: for each panel of rows, a vector for each column.
    fn weights(&self, tensor: &ExpectedTensor) -> Result<Vec<Lanes>, ConvertError> {
        let (rows, columns) = (tensor.rows, tensor.columns);
        let origin = Origin::of(self.config, &tensor.name);
        let mut weights = vec![Lanes::ZERO; panels_for(rows) * columns];
        weights
            .par_chunks_exact_mut(columns)
            .enumerate()
            .try_for_each(|(p, out)| {
                let range = p * LANES..rows.min((p + 1) * LANES);
                let mut values = vec![0.0; range.len() * columns];
                origin.read_rows(self.checkpoint, self.config, range, &mut values)?;
                for (l, row) in values.chunks_exact(columns).enumerate() {
                    for (lanes, &w) in out.iter_mut().zip(row) {
                        lanes.0[l] = w;
                    }
                }
                Ok::<_, ConvertError>(())
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
    kernels: &dyn Kernels,
) -> Result<(Vec<u8>, Vec<f32>), ConvertError> {
    let (rows, columns) = (tensor.rows, tensor.columns);
    let len = packed_len(format, tensor)?;
    let (panels, blocks) = (panels_for(rows), columns.div_ceil(BLOCK));
    let mut scales = vec![[f16::ZERO; LANES]; panels * blocks];
    let mut bytes = vec![0; panels * blocks * format.code_bytes()];
    let parts = bytes
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
    let shifts = shifts.ok_or_else(|| ConvertError::Moments {
        tensor: tensor.name.clone(),
    })?;
    bytes.extend_from_slice(bytemuck::cast_slice::<Scales, u8>(&scales));
    assert_eq!(bytes.len(), len);
    Ok((bytes, shifts.concat()))
}

/// How far a packed matrix is from the weights that it was made of.
fn squares(matrix: &PackedMatrix<'_>, weights: &[Lanes]) -> Squares {
    let columns = matrix.columns();
    let rows: Vec<Squares> = (0..matrix.rows())
        .into_par_iter()
        .map(|row| {
            let mut back = vec![0.0; columns];
            matrix.dequantize_row(row, &mut back);
            let mut squares = Squares::default();
            for (w, back) in weights[row / LANES * columns..].iter().zip(back) {
                let w = w.0[row % LANES];
                squares.error += f64::from(w - back).powi(2);
                squares.weights += f64::from(w).powi(2);
            }
            squares
        })
        .collect();
    Squares {
        error: rows.iter().map(|s| s.error).sum(),
        weights: rows.iter().map(|s| s.weights).sum(),
    }
}

/// Panel `p` of token `t` of block-major activations.
fn dequantized(blocks: &[ActivationBlock], tokens: usize, t: usize, p: usize) -> Lanes {
    let block = &blocks[p / 2 * tokens + t];
    let codes = &block.codes[p % 2 * LANES..][..LANES];
    Lanes(std::array::from_fn(|l| f32::from(codes[l]) * block.scale))
}

/// Panel-major inputs times weights, panel-major, plus the bias.
fn product(
    kernels: &dyn Kernels,
    inputs: &[Lanes],
    tokens: usize,
    weights: &[Lanes],
    columns: usize,
    bias: &[Lanes],
) -> Vec<Lanes> {
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
        kernels.product(
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
    kernels: &dyn Kernels,
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
    kernels.product(left, b, tokens, &[1.0; CHUNK], panels, to);
    add(sums, &out);
}

fn add(sums: &mut [Lanes], values: &[Lanes]) {
    for (sum, &x) in as_floats_mut(sums).iter_mut().zip(as_floats(values)) {
        *sum += x;
    }
}
