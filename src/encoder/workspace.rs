//! All scratch memory of a session: sized by the model and the batch, kept, and reused.

use crate::encoder::relative::RelativeBias;
use bytemuck::Zeroable;
use rq_format::Config;
use rq_kernels::activation::ActivationBlock;
use rq_kernels::lanes::{LANES, Lanes, panels_for};
use rq_kernels::packed::{GROUP, Group};
use rq_kernels::{BLOCK, VECTORS};
use std::ops::Range;
use std::sync::Mutex;

/// Queries that go through scores, softmax and context together: their scores stay in the cache. A multiple of the contexts'
/// tiles.
pub(crate) const QUERIES_AT_ONCE: usize = 48;

/// Heads of a task: so many that their contexts are whole blocks.
pub(crate) fn heads_per_task(head_panels: usize) -> usize {
    VECTORS >> head_panels.trailing_zeros().min(VECTORS.trailing_zeros())
}

/// How the queries and the keys of a head are cut into blocks: into one of its own size, or of 128 columns where that is less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadBlocks {
    /// Blocks.
    pub(crate) blocks: usize,
    /// Vectors of a block.
    pub(crate) vectors: usize,
    /// Groups of a block.
    pub(crate) groups: usize,
}

impl HeadBlocks {
    pub(crate) fn new(head_panels: usize) -> Self {
        let vectors = head_panels.min(VECTORS);
        Self {
            blocks: head_panels.div_ceil(vectors),
            vectors,
            groups: vectors * LANES / GROUP,
        }
    }

    /// The panels of each block.
    pub(crate) fn panels(self, head: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = head.end;
        let starts = head.clone().step_by(self.vectors);
        starts.map(move |start| start..end.min(start + self.vectors))
    }
}

/// What a pass computes, as far as its memory depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Tokens of all sequences.
    pub(crate) tokens: usize,
    /// Tokens of the longest sequence.
    pub(crate) longest: usize,
    /// Sequences.
    pub(crate) sequences: usize,
    /// Rows for which there are logits.
    pub(crate) logits: usize,
}

impl Extent {
    pub(crate) fn new(lengths: impl Iterator<Item = usize>, logits: usize) -> Self {
        let mut extent = Self {
            tokens: 0,
            longest: 0,
            sequences: 0,
            logits,
        };
        for length in lengths {
            extent.tokens += length;
            extent.longest = extent.longest.max(length);
            extent.sequences += 1;
        }
        extent
    }

    /// The same of what a model can compute at most: no sequence is longer than it takes, and there are no more rows of logits
    /// than tokens.
    pub(crate) fn within(config: &Config, lengths: &[usize], logits: usize) -> Self {
        let limit = config.max_tokens();
        let mut extent = Self::new(lengths.iter().map(|&length| length.min(limit)), 0);
        extent.logits = logits.min(extent.tokens);
        extent
    }
}

/// The buffers that a forward pass goes through. Between passes they hold nothing of meaning, and only grow.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Hidden states, row-major.
    pub(crate) hidden: Vec<Lanes>,
    /// The quantized hidden states, row-major.
    pub(crate) acts: Vec<ActivationBlock>,
    /// Queries, keys and values, panel-major.
    pub(crate) qkv: Vec<Lanes>,
    /// What attention or the activation function gave, quantized, block-major.
    pub(crate) inner: Vec<ActivationBlock>,
    /// What a sublayer, or the head's decoder, gave, panel-major.
    pub(crate) output: Vec<Lanes>,
    /// What attention adds to its scores by distance.
    pub(crate) relative_bias: Vec<f32>,
    /// The position of each token.
    pub(crate) positions: Vec<usize>,
    /// The rows that are computed through the last layer.
    pub(crate) rows: Vec<usize>,
    /// For each sequence, its tokens, and its computed rows: in all layers, and in the last.
    pub(crate) sequences: [Vec<(Range<usize>, Range<usize>)>; 2],
    /// One for each thread.
    pub(crate) slots: Vec<Mutex<Slot>>,
}

/// What one task needs for itself.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Carved up by each user.
    pub(crate) lanes: Vec<Lanes>,
    /// The packed keys of a head.
    pub(crate) codes: Vec<Group>,
    /// Some quantized queries.
    pub(crate) queries: Vec<ActivationBlock>,
    /// One over the softmax sums of some queries.
    pub(crate) inverse_sums: Vec<f32>,
}

/// The lengths of the buffers.
struct Lengths {
    hidden: usize,
    acts: usize,
    qkv: usize,
    inner: usize,
    output: usize,
    relative_bias: usize,
    lanes: usize,
    codes: usize,
    queries: usize,
}

impl Lengths {
    fn new(config: &Config, extent: &Extent) -> Self {
        let tokens = extent.tokens;
        // The embeddings, and an LM head between its products, may be of another width than the hidden states.
        let hidden = config.hidden_size.max(config.embedding_width());
        let head_panels = panels_for(config.head_size());
        let attention_panels = config.num_attention_heads * head_panels;
        let HeadBlocks { blocks, groups, .. } = HeadBlocks::new(head_panels);
        let key_blocks = panels_for(extent.longest) * blocks;
        let context = heads_per_task(head_panels) * head_panels * tokens;
        let scores = panels_for(extent.longest) * QUERIES_AT_ONCE;
        let inner_blocks = config.intermediate_size.div_ceil(BLOCK);
        Self {
            hidden: tokens * panels_for(hidden),
            acts: tokens * hidden.div_ceil(BLOCK),
            qkv: 3 * attention_panels * tokens,
            inner: inner_blocks.max(attention_panels.div_ceil(VECTORS)) * tokens,
            output: (panels_for(hidden) * tokens).max(panels_for(config.outputs()) * extent.logits),
            relative_bias: RelativeBias::len(config, extent.longest),
            // Attention's context, keys' scales and scores; or a block of a feed-forward layer.
            lanes: (context + key_blocks + scores).max(VECTORS * tokens),
            codes: key_blocks * groups,
            queries: QUERIES_AT_ONCE * blocks,
        }
    }
}

impl Slot {
    /// Room for a pass.
    pub(crate) fn of(config: &Config, extent: &Extent) -> Self {
        let mut slot = Self::default();
        slot.reserve(&Lengths::new(config, extent));
        slot
    }

    fn reserve(&mut self, lengths: &Lengths) {
        grow(&mut self.lanes, lengths.lanes);
        grow(&mut self.codes, lengths.codes);
        grow(&mut self.queries, lengths.queries);
        grow(&mut self.inverse_sums, QUERIES_AT_ONCE);
    }
}

impl Workspace {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            slots: (0..threads).map(|_| Mutex::default()).collect(),
            ..Self::default()
        }
    }

    /// Makes room for a pass. The only place where a session's memory grows.
    pub(crate) fn reserve(&mut self, config: &Config, extent: &Extent) {
        let lengths = Lengths::new(config, extent);
        grow(&mut self.hidden, lengths.hidden);
        grow(&mut self.acts, lengths.acts);
        grow(&mut self.qkv, lengths.qkv);
        grow(&mut self.inner, lengths.inner);
        grow(&mut self.output, lengths.output);
        grow(&mut self.relative_bias, lengths.relative_bias);
        for list in [&mut self.positions, &mut self.rows] {
            list.clear();
            list.reserve_exact(extent.tokens);
        }
        for list in &mut self.sequences {
            list.clear();
            list.reserve_exact(extent.sequences);
        }
        for slot in &mut self.slots {
            let slot = slot.get_mut().unwrap_or_else(|e| e.into_inner());
            slot.reserve(&lengths);
        }
    }

    /// Bytes that a pass takes on so many threads.
    pub(crate) fn bytes(config: &Config, extent: &Extent, threads: usize) -> usize {
        let lengths = Lengths::new(config, extent);
        let slot = lengths.lanes * size_of::<Lanes>()
            + lengths.codes * size_of::<Group>()
            + lengths.queries * size_of::<ActivationBlock>()
            + QUERIES_AT_ONCE * size_of::<f32>();
        (lengths.hidden + lengths.qkv + lengths.output) * size_of::<Lanes>()
            + (lengths.acts + lengths.inner) * size_of::<ActivationBlock>()
            + lengths.relative_bias * size_of::<f32>()
            + 2 * extent.tokens * size_of::<usize>()
            + 2 * extent.sequences * size_of::<(Range<usize>, Range<usize>)>()
            + threads * slot
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> usize {
        let slots = self.slots.iter().map(|slot| {
            let slot = slot.lock().unwrap_or_else(|e| e.into_inner());
            bytes(&slot.lanes)
                + bytes(&slot.codes)
                + bytes(&slot.queries)
                + bytes(&slot.inverse_sums)
        });
        slots.sum::<usize>()
            + bytes(&self.hidden)
            + bytes(&self.acts)
            + bytes(&self.qkv)
            + bytes(&self.inner)
            + bytes(&self.output)
            + bytes(&self.relative_bias)
            + bytes(&self.positions)
            + bytes(&self.rows)
            + self.sequences.iter().map(bytes).sum::<usize>()
    }
}

fn bytes<T>(buffer: &Vec<T>) -> usize {
    buffer.capacity() * size_of::<T>()
}

fn grow<T: Zeroable + Clone>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.reserve_exact(len - buffer.len());
        buffer.resize(len, T::zeroed());
    }
}
