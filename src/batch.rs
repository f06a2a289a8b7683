//! A ragged batch: the tokens of all sequences, one after the other. No padding is ever computed.

use std::ops::Range;

/// Sequences of token ids.
#[derive(Clone, Debug)]
pub struct Batch {
    ids: Vec<u32>,
    /// Where each sequence begins, and the end of the last.
    offsets: Vec<usize>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl Batch {
    /// A batch of no sequences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sequence. An empty one is left out.
    pub fn push(&mut self, ids: &[u32]) {
        if !ids.is_empty() {
            self.ids.extend_from_slice(ids);
            self.offsets.push(self.ids.len());
        }
    }

    /// All token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }
}

impl<T: AsRef<[u32]>> FromIterator<T> for Batch {
    fn from_iter<I: IntoIterator<Item = T>>(sequences: I) -> Self {
        let mut batch = Self::new();
        for ids in sequences {
            batch.push(ids.as_ref());
        }
        batch
    }
}
