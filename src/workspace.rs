//! All scratch memory of a session: sized by the model and the batch, kept, and reused.

use bytemuck::Zeroable;
use rq_kernels::activation::ActivationBlock;
use rq_kernels::lanes::Lanes;
use rq_kernels::packed::CodesQ8;
use std::sync::Mutex;

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
    /// The position of each token.
    pub(crate) positions: Vec<usize>,
    /// The rows that are computed through the last layer.
    pub(crate) rows: Vec<usize>,
    /// One for each thread.
    pub(crate) slots: Vec<Mutex<Slot>>,
}

/// What one task needs for itself.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Carved up by each user.
    pub(crate) lanes: Vec<Lanes>,
    /// The packed keys of a head.
    pub(crate) codes: Vec<CodesQ8>,
    /// Some quantized queries.
    pub(crate) queries: Vec<ActivationBlock>,
    /// One over the softmax sums of some queries.
    pub(crate) inverse_sums: Vec<f32>,
}

impl Workspace {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            slots: (0..threads).map(|_| Mutex::default()).collect(),
            ..Self::default()
        }
    }
}

/// The first `len` entries of a buffer, which grows when it must.
pub(crate) fn take<T: Zeroable + Copy>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zeroed());
    }
    &mut buffer[..len]
}
