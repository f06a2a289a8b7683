//! The encoder: embeddings, then post-LayerNorm layers of attention and feed-forward.
//!
//! Hidden states are row-major, what a product writes is panel-major; both exist in f32 only as long as they must. The
//! wide intermediate of a feed-forward layer never does: it is quantized a block at a time, by the task that made it.

mod attention;
mod head;
mod relative;
pub mod steps;
pub(crate) mod weights;
pub(crate) mod workspace;

use crate::batch::Batch;
use crate::encoder::attention::{Attention, Sequences};
use crate::encoder::head::take_row;
use crate::encoder::relative::RelativeBias;
use crate::encoder::weights::{Embeddings, Encoder, Layer, Linear, Norm, gelu};
use crate::encoder::workspace::{Slot, Workspace};
use crate::profile::{Part, Timers};
use rq_format::Config;
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{Lanes, as_floats_mut, panels_for};
use rq_kernels::threads::Threads;
use rq_kernels::{BLOCK, Gelu, Panels, VECTORS};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panels of a product that one task computes.
const PANELS_PER_TASK: usize = 2;
/// Rows that one task normalizes.
const ROWS_PER_TASK: usize = 4;

/// Which rows of a batch are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// All of them.
    All,
    /// These, in ascending order. Others don't go through the last layer's queries and feed-forward.
    Only(&'a [usize]),
}

impl Rows<'_> {
    /// How many there are.
    pub(crate) fn count(&self, batch: &Batch) -> usize {
        match self {
            Self::All => batch.ids().len(),
            Self::Only(rows) => rows.len(),
        }
    }
}

/// What computes.
#[derive(Clone, Copy)]
pub(crate) struct Compute<'a> {
    pub(crate) kernels: Kernels,
    pub(crate) threads: &'a Threads,
    /// Of a pass that is profiled.
    pub(crate) timers: Option<&'a Timers>,
    /// Where a number that isn't finite is noted.
    pub(crate) faults: &'a Faults,
    /// What computes: 0 for the embeddings, then the layers from 1, then the head.
    pub(crate) stage: usize,
}

/// The first place of a pass where a number isn't finite, by stage and row. What comes behind it isn't finite either, up to the
/// end: quantization, softmax and LayerNorm make NaN of what isn't.
#[derive(Debug)]
pub(crate) struct Faults(AtomicU64);

impl Faults {
    /// None.
    pub(crate) fn none() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Notes values of a row of a stage if one of them isn't finite.
    pub(crate) fn check(&self, stage: usize, row: usize, values: &[Lanes]) {
        if !is_finite(values) {
            let place = (stage as u64) << 32 | row as u64;
            self.0.fetch_min(place, Ordering::Relaxed);
        }
    }

    /// The first stage, and in it the first row.
    pub(crate) fn first(&self) -> Option<(usize, usize)> {
        match self.0.load(Ordering::Relaxed) {
            u64::MAX => None,
            place => Some(((place >> 32) as usize, place as u32 as usize)),
        }
    }
}

/// Whether all values are numbers.
fn is_finite(values: &[Lanes]) -> bool {
    // Zero times what isn't finite is NaN, and stays so in a sum.
    let mut sums = Lanes::ZERO;
    for lanes in values {
        for (sum, x) in sums.0.iter_mut().zip(lanes.0) {
            *sum += x * 0.0;
        }
    }
    sums.0.iter().all(|sum| sum.is_finite())
}

impl Compute<'_> {
    /// Does a part of the work; takes its time if the pass is profiled.
    #[inline]
    pub(crate) fn part<R>(&self, part: Part, work: impl FnOnce() -> R) -> R {
        match self.timers {
            None => work(),
            Some(timers) => timers.time(part, work),
        }
    }

    /// Some panels of a matrix times all activations, panel-major.
    pub(crate) fn linear(
        &self,
        linear: &Linear<'_>,
        panels: Range<usize>,
        acts: &Activations<'_>,
        out: &mut [Lanes],
    ) {
        let tokens = acts.tokens();
        self.threads
            .chunks(out, PANELS_PER_TASK * tokens, |task, out| {
                let first = panels.start + task * PANELS_PER_TASK;
                let panels = first..(first + PANELS_PER_TASK).min(panels.end);
                self.products(linear, panels, acts, out);
            });
    }

    /// The work of one task: as many of the panels as `out` has room for.
    fn products(
        &self,
        linear: &Linear<'_>,
        panels: Range<usize>,
        acts: &Activations<'_>,
        out: &mut [Lanes],
    ) {
        self.part(Part::Products, || {
            self.kernels
                .linear(&linear.weight, panels, linear.bias, acts, out);
        });
    }

    /// The contexts of some rows of all tokens, quantized, block-major. `qkv` holds the queries of the rows, then the keys and
    /// the values of the tokens.
    fn attention(
        &self,
        config: &Config,
        qkv: &[Lanes],
        sequences: &Sequences<'_>,
        relative_bias: Option<RelativeBias<'_>>,
        slots: &[Mutex<Slot>],
        out: &mut [ActivationBlock],
    ) {
        let rows = sequences.rows;
        let head_panels = panels_for(config.head_size());
        let (queries, keys_values) = qkv.split_at(attention_panels(config) * rows);
        let attention = Attention {
            kernels: self.kernels,
            queries,
            keys_values,
            head_panels,
            heads: config.num_attention_heads,
            scale: 1.0 / (config.head_size() as f32).sqrt(),
            relative_bias,
            sequences,
        };
        let blocks = Attention::blocks_per_task(head_panels);
        self.threads.chunks(out, blocks * rows, |task, out| {
            let mut slot = slots[self.threads.index()]
                .lock()
                .unwrap_or_else(|e| e.into_inner());
            self.part(Part::Attention, || attention.run(task, out, &mut slot));
        });
    }

    /// A matrix times all activations, its activation function, and the result quantized, block-major.
    fn linear_gelu(
        &self,
        linear: &Linear<'_>,
        gelu: Gelu,
        acts: &Activations<'_>,
        out: &mut [ActivationBlock],
        slots: &[Mutex<Slot>],
    ) {
        let tokens = acts.tokens();
        let panels = linear.weight.panels();
        self.threads.chunks(out, tokens, |block, out| {
            let mut slot = slots[self.threads.index()]
                .lock()
                .unwrap_or_else(|e| e.into_inner());
            let first = block * VECTORS;
            let range = first..panels.min(first + VECTORS);
            let count = range.len();
            let tile = &mut slot.lanes[..count * tokens];
            self.products(linear, range, acts, tile);
            self.part(Part::ElementWise, || self.kernels.gelu(gelu, tile));
            self.part(Part::Quantization, || {
                let values = Panels {
                    data: tile,
                    stride: tokens,
                };
                self.kernels.quantize_panels(values, count, VECTORS, out);
            });
        });
    }

    /// hidden = LayerNorm(hidden + sublayer), and its quantized form.
    fn residual_norm(
        &self,
        sublayer: &[Lanes],
        norm: &Norm<'_>,
        config: &Config,
        hidden: &mut [Lanes],
        acts: &mut [ActivationBlock],
    ) {
        let width = config.hidden_size;
        let rows = hidden.len() / panels_for(width);
        self.rows(width, rows, hidden, acts, |row, lanes| {
            add(lanes, sublayer[row..].iter().step_by(rows));
            self.norm(norm, config, width, row, lanes);
        });
    }

    /// LayerNorm of a row of `width` values.
    fn norm(
        &self,
        norm: &Norm<'_>,
        config: &Config,
        width: usize,
        row: usize,
        values: &mut [Lanes],
    ) {
        let eps = config.layer_norm_eps as f32;
        self.kernels
            .layer_norm(values, width, norm.weight, norm.bias, eps);
        self.faults.check(self.stage, row, values);
    }

    /// Calls `f` with each of the first `rows` rows of `width` values, and quantizes what it leaves there.
    fn rows(
        &self,
        width: usize,
        rows: usize,
        hidden: &mut [Lanes],
        acts: &mut [ActivationBlock],
        f: impl Fn(usize, &mut [Lanes]) + Sync + Send,
    ) {
        let (panels, blocks) = (panels_for(width), width.div_ceil(BLOCK));
        let (hidden, acts) = (
            (&mut hidden[..rows * panels], panels * ROWS_PER_TASK),
            (&mut acts[..rows * blocks], blocks * ROWS_PER_TASK),
        );
        self.threads.chunks2(hidden, acts, |task, hidden, acts| {
            let rows = hidden.chunks_mut(panels).zip(acts.chunks_mut(blocks));
            for (row, (hidden, acts)) in (task * ROWS_PER_TASK..).zip(rows) {
                self.part(Part::ElementWise, || f(row, hidden));
                self.part(Part::Quantization, || {
                    self.kernels.quantize_row(hidden, acts);
                });
            }
        });
    }

    /// Computes the hidden states of the wanted rows into `workspace.hidden`, and their quantized form into
    /// `workspace.acts`; returns how many rows there are.
    pub(crate) fn encode(
        &self,
        weights: &Encoder<'_>,
        config: &Config,
        batch: &Batch,
        rows: Rows<'_>,
        workspace: &mut Workspace,
    ) -> usize {
        let tokens = batch.ids().len();
        match rows {
            Rows::All => workspace.rows.extend(0..tokens),
            Rows::Only(rows) => workspace.rows.extend_from_slice(rows),
        }
        let count = workspace.rows.len();
        if count == 0 {
            return 0;
        }
        let Workspace {
            hidden,
            acts,
            output,
            positions,
            rows,
            relative_bias,
            sequences: [everywhere, last],
            ..
        } = workspace;
        Self::positions(config, batch, positions);
        self.embed(
            &weights.embeddings,
            config,
            batch.token_types(),
            positions,
            |row, out| {
                let id = batch.ids()[row] as usize;
                weights.word_embeddings.dequantize_row(id, out);
            },
            (hidden, acts, output),
        );
        for tokens in batch.sequences() {
            let place = |row| rows.partition_point(|&r| r < row);
            last.push((tokens.clone(), place(tokens.start)..place(tokens.end)));
            everywhere.push((tokens.clone(), tokens));
        }
        let longest = Sequences::longest(everywhere);
        RelativeBias::lay_out(weights.relative_bias, config, longest, relative_bias);
        let (last, layers) = weights
            .layers
            .split_last()
            .expect("a valid configuration has layers");
        let at = |stage| Self { stage, ..*self };
        for (stage, layer) in (1..).zip(layers) {
            at(stage).layer(layer, config, tokens, tokens, workspace);
        }
        at(weights.layers.len()).layer(last, config, tokens, count, workspace);
        count
    }

    /// The position of each token of a batch.
    fn positions(config: &Config, batch: &Batch, positions: &mut Vec<usize>) {
        let padded = config.architecture.positions_follow_padding();
        for sequence in batch.sequences() {
            let mut next = config.position_offset;
            for &id in &batch.ids()[sequence] {
                // RoBERTa's padding token in a text takes the position before the first, and isn't counted.
                let pad = padded && id == config.pad_token_id;
                positions.push(if pad {
                    config.position_offset - 1
                } else {
                    next
                });
                next += usize::from(!pad);
            }
        }
    }

    /// The sum of the embeddings, normalized, and taken to the width of the hidden states; `word` gives that of a row's word.
    fn embed(
        &self,
        embeddings: &Embeddings<'_>,
        config: &Config,
        token_types: &[u32],
        positions: &[usize],
        word: impl Fn(usize, &mut [f32]) + Sync + Send,
        (hidden, acts, output): (&mut [Lanes], &mut [ActivationBlock], &mut [Lanes]),
    ) {
        let (tokens, width) = (positions.len(), config.embedding_width());
        let panels = panels_for(width);
        self.rows(width, tokens, hidden, acts, |row, lanes| {
            word(row, as_floats_mut(lanes));
            let position = &embeddings.position[positions[row] * panels..][..panels];
            if !embeddings.token_type.is_empty() {
                let at = token_types[row] as usize * panels;
                add(lanes, &embeddings.token_type[at..][..panels]);
            }
            add(lanes, position);
            self.norm(&embeddings.norm, config, width, row, lanes);
        });
        if let Some(projection) = &embeddings.projection {
            let (panels, blocks) = (panels_for(config.hidden_size), width.div_ceil(BLOCK));
            let output = &mut output[..panels * tokens];
            let inputs = Activations::row_major(&acts[..tokens * blocks], blocks);
            self.linear(projection, 0..panels, &inputs, output);
            let output = &*output;
            self.rows(config.hidden_size, tokens, hidden, acts, |row, lanes| {
                take_row(output, row, tokens, lanes);
            });
        }
    }

    /// One layer, in place. `rows` of `tokens` are computed: all of them, or those of `workspace.rows`.
    fn layer(
        &self,
        layer: &Layer<'_>,
        config: &Config,
        tokens: usize,
        rows: usize,
        workspace: &mut Workspace,
    ) {
        let (panels, blocks) = (
            panels_for(config.hidden_size),
            config.hidden_size.div_ceil(BLOCK),
        );
        let attention_panels = attention_panels(config);
        let Workspace {
            hidden,
            acts,
            qkv,
            inner,
            output,
            slots,
            rows: wanted,
            sequences: [everywhere, last],
            relative_bias,
            ..
        } = workspace;
        let ranges = if rows == tokens { &*everywhere } else { last };

        // Queries of the wanted rows, keys and values of all tokens; one product where they are the same.
        let qkv = &mut qkv[..attention_panels * (rows + 2 * tokens)];
        let all = &acts[..tokens * blocks];
        let (queries_end, qkv_end) = (attention_panels, 3 * attention_panels);
        if rows == tokens {
            self.linear(
                &layer.qkv,
                0..qkv_end,
                &Activations::row_major(all, blocks),
                qkv,
            );
        } else {
            let (_, keys_values) = qkv.split_at_mut(attention_panels * rows);
            self.linear(
                &layer.qkv,
                queries_end..qkv_end,
                &Activations::row_major(all, blocks),
                keys_values,
            );
            keep_rows(hidden, panels, wanted);
            keep_rows(acts, blocks, wanted);
            let (queries, _) = qkv.split_at_mut(attention_panels * rows);
            let acts = Activations::row_major(&acts[..rows * blocks], blocks);
            self.linear(&layer.qkv, 0..queries_end, &acts, queries);
        }
        let hidden = &mut hidden[..rows * panels];
        let acts = &mut acts[..rows * blocks];

        let context = &mut inner[..attention_panels.div_ceil(VECTORS) * rows];
        let sequences = Sequences {
            ranges,
            tokens,
            rows,
            wanted,
        };
        let longest = Sequences::longest(everywhere);
        let bias = RelativeBias::of(config, longest, relative_bias);
        self.attention(config, qkv, &sequences, bias, slots, context);

        let output = &mut output[..panels * rows];
        let context = Activations::block_major(context, rows);
        self.linear(&layer.attention_output, 0..panels, &context, output);
        self.residual_norm(output, &layer.attention_norm, config, hidden, acts);

        let middle = &mut inner[..config.intermediate_size.div_ceil(BLOCK) * rows];
        let acts_view = Activations::row_major(acts, blocks);
        self.linear_gelu(
            &layer.ffn_up,
            gelu(config.hidden_act),
            &acts_view,
            middle,
            slots,
        );
        let middle = Activations::block_major(middle, rows);
        self.linear(&layer.ffn_down, 0..panels, &middle, output);
        self.residual_norm(output, &layer.ffn_norm, config, hidden, acts);
    }
}

fn add<'a>(lanes: &mut [Lanes], more: impl IntoIterator<Item = &'a Lanes>) {
    for (x, y) in lanes.iter_mut().zip(more) {
        for (x, y) in x.0.iter_mut().zip(y.0) {
            *x += y;
        }
    }
}

/// Panels of all heads' queries, and of their keys, and of their values.
fn attention_panels(config: &Config) -> usize {
    config.num_attention_heads * panels_for(config.head_size())
}

/// Moves the wanted rows, in ascending order, to the front.
fn keep_rows<T: Copy>(data: &mut [T], width: usize, rows: &[usize]) {
    for (to, &from) in rows.iter().enumerate() {
        data.copy_within(from * width..(from + 1) * width, to * width);
    }
}
