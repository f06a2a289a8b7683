//! Self-attention over a ragged batch, in f32, a head at a time.
//!
//! Scores and contexts are products over panels: the keys of a head are transposed to panels of 16 keys, the values are
//! panels as they are. A query's softmax, and the order of its sums, depend on its own sequence only.

use crate::workspace::{Slot, take};
use rq_kernels::BLOCK;
use rq_kernels::activation::ActivationBlock;
use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{LANES, Lanes, panels_for};
use std::ops::Range;

/// Queries that go through scores, softmax and context together: their scores stay in the cache.
const QUERIES_AT_ONCE: usize = 32;

/// The operands of one layer's attention.
pub(crate) struct Attention<'a> {
    pub(crate) kernels: &'static dyn Kernels,
    /// Queries of the computed rows, panel-major.
    pub(crate) queries: &'a [Lanes],
    /// Computed rows.
    pub(crate) rows: usize,
    /// Keys, then values, of all tokens, panel-major.
    pub(crate) keys_values: &'a [Lanes],
    /// Tokens.
    pub(crate) tokens: usize,
    /// Panels of one head.
    pub(crate) head_panels: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// 1 / sqrt(head size).
    pub(crate) scale: f32,
    /// For each sequence, its tokens, and its computed rows.
    pub(crate) sequences: &'a [(Range<usize>, Range<usize>)],
}

impl Attention<'_> {
    /// How many blocks of the context one task makes: those of one head, or of two where a head is half a block.
    pub(crate) fn blocks_per_task(head_panels: usize) -> usize {
        (head_panels * LANES * (1 + head_panels % 2)) / BLOCK
    }

    /// Computes the task's heads, and quantizes their contexts to `out`, block-major.
    pub(crate) fn run(&self, task: usize, out: &mut [ActivationBlock], slot: &mut Slot) {
        let heads_per_task = 1 + self.head_panels % 2;
        let first = task * heads_per_task;
        let heads = first..(first + heads_per_task).min(self.heads);
        let dimensions = self.head_panels * LANES;
        let longest = self
            .sequences
            .iter()
            .map(|(tokens, _)| panels_for(tokens.len()))
            .max()
            .unwrap_or(0);

        let context_len = heads.len() * self.head_panels * self.rows;
        let lanes = take(
            &mut slot.lanes,
            context_len + longest * (dimensions + QUERIES_AT_ONCE),
        );
        let (context, lanes) = lanes.split_at_mut(context_len);
        let (keys, scores) = lanes.split_at_mut(longest * dimensions);
        let inverse_sums = take(&mut slot.inverse_sums, QUERIES_AT_ONCE);

        for (head, context) in heads.zip(context.chunks_mut(self.head_panels * self.rows)) {
            for (tokens, rows) in self.sequences {
                if !rows.is_empty() {
                    self.head(head, tokens, rows, keys, scores, inverse_sums, context);
                }
            }
        }
        for (panels, out) in context.chunks(2 * self.rows).zip(out.chunks_mut(self.rows)) {
            self.kernels.quantize_panels(panels, out);
        }
    }

    /// One head of one sequence.
    #[allow(
        clippy::too_many_arguments,
        reason = "the scratch memory of one task, carved up once"
    )]
    fn head(
        &self,
        head: usize,
        tokens: &Range<usize>,
        rows: &Range<usize>,
        keys: &mut [Lanes],
        scores: &mut [Lanes],
        inverse_sums: &mut [f32],
        context: &mut [Lanes],
    ) {
        let panels = head * self.head_panels..(head + 1) * self.head_panels;
        let all_panels = self.heads * self.head_panels;
        let dimensions = self.head_panels * LANES;
        let key_panels = panels_for(tokens.len());
        let keys = &mut keys[..key_panels * dimensions];
        for (d, panel) in panels.clone().enumerate() {
            let from = &self.keys_values[panel * self.tokens..][tokens.clone()];
            transpose(from, &mut keys[d * LANES..], dimensions);
        }
        for start in rows.clone().step_by(QUERIES_AT_ONCE) {
            let count = QUERIES_AT_ONCE.min(rows.end - start);
            let scores = &mut scores[..key_panels * count];
            let queries = &self.queries[panels.start * self.rows + start..];
            for (keys, scores) in keys.chunks(dimensions).zip(scores.chunks_mut(count)) {
                self.kernels.product(queries, self.rows, keys, scores);
            }
            let inverse_sums = &mut inverse_sums[..count];
            self.kernels
                .softmax(scores, tokens.len(), self.scale, inverse_sums);
            for (panel, context) in panels.clone().zip(context.chunks_mut(self.rows)) {
                let values =
                    &self.keys_values[(all_panels + panel) * self.tokens..][tokens.clone()];
                let context = &mut context[start..start + count];
                self.kernels.product(scores, count, values, context);
                for (lanes, inverse) in context.iter_mut().zip(inverse_sums.iter()) {
                    lanes.0.iter_mut().for_each(|x| *x *= inverse);
                }
            }
        }
    }
}

/// Writes 16 columns of up to 16 rows a time as 16 rows: `to[p * stride + c]` holds column c of rows 16 p .. 16 p + 16,
/// zero where there are no more rows.
fn transpose(from: &[Lanes], to: &mut [Lanes], stride: usize) {
    for (p, rows) in from.chunks(LANES).enumerate() {
        let to: &mut [Lanes; LANES] = (&mut to[p * stride..][..LANES])
            .try_into()
            .expect("16 columns");
        for (column, lanes) in to.iter_mut().enumerate() {
            *lanes = Lanes::ZERO;
            for (x, row) in lanes.0.iter_mut().zip(rows) {
                *x = row.0[column];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_keys() {
        let rows: Vec<Lanes> = (0..19)
            .map(|r| Lanes(std::array::from_fn(|c| (r * 100 + c) as f32)))
            .collect();
        let mut to = vec![Lanes([-1.0; LANES]); 64];
        transpose(&rows, &mut to, 32);
        assert_eq!(to[3].0[5], 503.0);
        assert_eq!(to[32 + 3].0[2], 1803.0);
        assert_eq!(to[32 + 3].0[3], 0.0);
        assert_eq!(to[16].0[0], -1.0);
    }

    #[test]
    fn tasks_cover_whole_blocks() {
        // Heads of 16, 32, 48 and 64.
        let blocks: Vec<usize> = (1..=4).map(Attention::blocks_per_task).collect();
        assert_eq!(blocks, [1, 1, 3, 2]);
    }
}
