//! Self-attention over a ragged batch, a head at a time.
//!
//! Scores are the same quantized product as a linear layer: a head's keys are rotated, quantized and packed as panels of 16,
//! its queries are activations. Contexts are an f32 product of the softmax's numerators with the values, which are panels as
//! they are. A query's softmax, and the order of its sums, depend on its own sequence only.

use crate::encoder::relative::RelativeBias;
use crate::encoder::workspace::{HeadBlocks, QUERIES_AT_ONCE, Slot, heads_per_task};
use rq_kernels::activation::{ActivationBlock, Activations, PackedRows};
use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{Lanes, panels_for};
use rq_kernels::packed::Group;
use rq_kernels::{Panels, PanelsMut, VECTORS};
use std::ops::Range;

/// The operands of one layer's attention.
pub(crate) struct Attention<'a> {
    pub(crate) kernels: Kernels,
    /// Queries of the computed rows, panel-major.
    pub(crate) queries: &'a [Lanes],
    /// Keys, then values, of all tokens, panel-major.
    pub(crate) keys_values: &'a [Lanes],
    /// Panels of one head.
    pub(crate) head_panels: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// 1 / sqrt(head size).
    pub(crate) scale: f32,
    /// What is added to the scores by distance, if anything is.
    pub(crate) relative_bias: Option<RelativeBias<'a>>,
    pub(crate) sequences: &'a Sequences<'a>,
}

/// The sequences of a batch, and which of their rows are computed.
pub(crate) struct Sequences<'a> {
    /// For each sequence, its tokens, and its computed rows.
    pub(crate) ranges: &'a [(Range<usize>, Range<usize>)],
    /// Tokens.
    pub(crate) tokens: usize,
    /// Computed rows.
    pub(crate) rows: usize,
    /// The token of each computed row, where they are fewer.
    pub(crate) wanted: &'a [usize],
}

impl Sequences<'_> {
    /// The token of a computed row.
    fn token(&self, row: usize) -> usize {
        match self.rows == self.tokens {
            true => row,
            false => self.wanted[row],
        }
    }

    /// Tokens of the longest sequence.
    pub(crate) fn longest(ranges: &[(Range<usize>, Range<usize>)]) -> usize {
        let lengths = ranges.iter().map(|(tokens, _)| tokens.len());
        lengths.max().unwrap_or(0)
    }
}

impl Attention<'_> {
    /// How many blocks of the context one task makes.
    pub(crate) fn blocks_per_task(head_panels: usize) -> usize {
        head_panels * heads_per_task(head_panels) / VECTORS
    }

    /// Computes the task's heads, and quantizes their contexts to `out`, block-major.
    pub(crate) fn run(&self, task: usize, out: &mut [ActivationBlock], slot: &mut Slot) {
        let per_task = heads_per_task(self.head_panels);
        let first = task * per_task;
        let heads = first..(first + per_task).min(self.heads);
        let HeadBlocks { blocks, groups, .. } = HeadBlocks::new(self.head_panels);
        let Sequences {
            ranges, rows: all, ..
        } = *self.sequences;
        let longest = panels_for(Sequences::longest(ranges));

        let context_len = heads.len() * self.head_panels * all;
        let lanes_len = context_len + longest * (blocks + QUERIES_AT_ONCE);
        let (context, lanes) = slot.lanes[..lanes_len].split_at_mut(context_len);
        let (scales, scores) = lanes.split_at_mut(longest * blocks);
        let mut scratch = Scratch {
            codes: &mut slot.codes[..longest * blocks * groups],
            scales,
            queries: &mut slot.queries[..QUERIES_AT_ONCE * blocks],
            scores,
            inverse_sums: &mut slot.inverse_sums[..QUERIES_AT_ONCE],
        };
        for (head, context) in heads.zip(context.chunks_mut(self.head_panels * all)) {
            for (tokens, rows) in ranges {
                if !rows.is_empty() {
                    self.head(head, tokens, rows, &mut scratch, context);
                }
            }
        }
        for (data, out) in context.chunks(VECTORS * all).zip(out.chunks_mut(all)) {
            let stride = all;
            let panels = data.len() / stride;
            self.kernels
                .quantize_panels(Panels { data, stride }, panels, VECTORS, out);
        }
    }

    /// One head of one sequence.
    fn head(
        &self,
        head: usize,
        tokens: &Range<usize>,
        rows: &Range<usize>,
        scratch: &mut Scratch<'_>,
        context: &mut [Lanes],
    ) {
        let (all_tokens, all_rows) = (self.sequences.tokens, self.sequences.rows);
        let panels = head * self.head_panels..(head + 1) * self.head_panels;
        let all_panels = self.heads * self.head_panels;
        let of_head = HeadBlocks::new(self.head_panels);
        let HeadBlocks {
            blocks,
            groups,
            vectors,
        } = of_head;
        let key_panels = panels_for(tokens.len());
        let codes = &mut scratch.codes[..key_panels * blocks * groups];
        let scales = &mut scratch.scales[..key_panels * blocks];
        for (block, panels) in of_head.panels(&panels).enumerate() {
            let keys = Panels {
                data: &self.keys_values[panels.start * all_tokens + tokens.start..],
                stride: all_tokens,
            };
            let size = (panels.len(), tokens.len());
            self.kernels
                .pack_rows(keys, size, vectors, (block, blocks), codes, scales);
        }
        let keys = PackedRows {
            codes,
            scales,
            blocks,
        };
        let values = Panels {
            data: &self.keys_values[(all_panels + panels.start) * all_tokens + tokens.start..],
            stride: all_tokens,
        };
        for start in rows.clone().step_by(QUERIES_AT_ONCE) {
            let count = QUERIES_AT_ONCE.min(rows.end - start);
            let queries = &mut scratch.queries[..count * blocks];
            for (panels, out) in of_head.panels(&panels).zip(queries.chunks_mut(count)) {
                let queries = Panels {
                    data: &self.queries[panels.start * all_rows + start..],
                    stride: all_rows,
                };
                self.kernels
                    .quantize_panels(queries, panels.len(), vectors, out);
            }
            let queries = Activations::block_major(queries, count);
            let scores = &mut scratch.scores[..key_panels * count];
            self.kernels.matmul_int8(keys, &queries, scores);
            if let Some(bias) = self.relative_bias {
                let positions =
                    (start..start + count).map(|row| self.sequences.token(row) - tokens.start);
                bias.add(head, positions, scores);
            }
            let inverse_sums = &mut scratch.inverse_sums[..count];
            self.kernels
                .softmax(scores, tokens.len(), self.scale, inverse_sums);
            let context = PanelsMut {
                data: &mut context[start..],
                stride: all_rows,
            };
            self.kernels.matmul_f32(
                scores,
                values,
                tokens.len(),
                inverse_sums,
                self.head_panels,
                context,
            );
        }
    }
}

/// The memory of one task, carved up.
struct Scratch<'a> {
    /// The packed keys of a head.
    codes: &'a mut [Group],
    scales: &'a mut [Lanes],
    /// Some queries.
    queries: &'a mut [ActivationBlock],
    /// Their scores, panel-major, and one over the sums of their softmax.
    scores: &'a mut [Lanes],
    inverse_sums: &'a mut [f32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_whole_blocks() {
        // Heads of 16, 32, 48, 64 and 128.
        let blocks: Vec<usize> = [1, 2, 3, 4, 8].map(Attention::blocks_per_task).into();
        assert_eq!(blocks, [1, 1, 3, 1, 1]);
    }
}
