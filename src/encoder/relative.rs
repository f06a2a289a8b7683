//! The relative position bias: what attention adds to a score by how far the key is from the query.
//!
//! The file has it for each head and each distance, up to the one from which on it stays the same. A pass lays it out once for
//! its longest sequence, so that what belongs to a query and 16 keys lies side by side. All layers and sequences share that.

use rq_format::{Config, MAX_RELATIVE_DISTANCE};
use rq_kernels::lanes::{LANES, Lanes, as_floats, panels_for};

/// Vectors of a head in the file.
const VECTORS_OF_HEAD: usize = (2 * MAX_RELATIVE_DISTANCE + 1).div_ceil(LANES);

/// The bias of all heads, laid out for sequences of at most some length.
#[derive(Clone, Copy)]
pub(crate) struct RelativeBias<'a> {
    /// For each head, the bias of each distance from 1 - `longest` up, in units of the scores before their scale.
    values: &'a [f32],
    longest: usize,
}

impl<'a> RelativeBias<'a> {
    /// How many values it takes; none for a model without.
    pub(crate) fn len(config: &Config, longest: usize) -> usize {
        match config.architecture.has_relative_bias() {
            true => config.num_attention_heads * stride(longest),
            false => 0,
        }
    }

    /// Lays out the table of the file; nothing for a model without.
    pub(crate) fn lay_out(
        table: &[Lanes],
        config: &Config,
        longest: usize,
        values: &'a mut [f32],
    ) -> Option<Self> {
        // The scores' scale takes it off again.
        let scale = (config.head_size() as f32).sqrt();
        let heads = table.chunks_exact(VECTORS_OF_HEAD).map(as_floats);
        for (values, table) in values.chunks_exact_mut(stride(longest)).zip(heads) {
            for (at, value) in values.iter_mut().enumerate() {
                let distance = (at + MAX_RELATIVE_DISTANCE).saturating_sub(longest - 1);
                *value = table[distance.min(2 * MAX_RELATIVE_DISTANCE)] * scale;
            }
        }
        Self::of(config, longest, values)
    }

    /// What [`RelativeBias::lay_out`] left in `values` for the same length.
    pub(crate) fn of(config: &Config, longest: usize, values: &'a [f32]) -> Option<Self> {
        let values = &values[..Self::len(config, longest)];
        (!values.is_empty()).then_some(Self { values, longest })
    }

    /// Adds a head's bias to the scores of queries at these positions of a sequence with its keys, panel-major.
    pub(crate) fn add(
        self,
        head: usize,
        queries: impl ExactSizeIterator<Item = usize> + Clone,
        scores: &mut [Lanes],
    ) {
        let stride = stride(self.longest);
        let values = &self.values[head * stride..][..stride];
        for (panel, scores) in scores.chunks_exact_mut(queries.len()).enumerate() {
            let zero = self.longest - 1 + panel * LANES;
            for (scores, query) in scores.iter_mut().zip(queries.clone()) {
                let bias = values[zero - query..].iter();
                scores.0.iter_mut().zip(bias).for_each(|(s, b)| *s += b);
            }
        }
    }
}

/// From head to head: the distances of the last query, then the keys that fill up the first one's last panel.
fn stride(longest: usize) -> usize {
    panels_for(longest) * LANES + longest.saturating_sub(1)
}
