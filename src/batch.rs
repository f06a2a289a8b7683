//! A ragged batch: the tokens of all sequences, one after the other. No padding is ever computed.

use crate::error::Error;
use std::ops::Range;

/// Tokens of several sequences that a task computes together, at most; a single sequence may have more.
const TOKENS_AT_ONCE: usize = 1024;
/// Rows of logits over a vocabulary that a task computes together, at most, where it has many short sequences or takes the rows
/// one by one.
pub(crate) const ROWS_AT_ONCE: usize = 64;

/// Divides sequences of these lengths, in their order, into groups that are computed together.
pub(crate) fn groups(lengths: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, length) in lengths.into_iter().enumerate() {
        tokens += length;
        match groups.last_mut() {
            Some(group) if tokens <= TOKENS_AT_ONCE => group.end = i + 1,
            _ => {
                groups.push(i..i + 1);
                tokens = length;
            }
        }
    }
    groups
}

/// As [`groups`], of sequences of each of which logits over the vocabulary are computed, for a row or a few. Those take memory
/// too, so that there are fewer of short sequences.
pub(crate) fn groups_with_logits(lengths: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let least = TOKENS_AT_ONCE / ROWS_AT_ONCE;
    groups(lengths.into_iter().map(|length| length.max(least)))
}

/// Sequences of token ids.
#[derive(Clone, Debug)]
pub struct Batch {
    ids: Vec<u32>,
    /// One for each token.
    token_types: Vec<u32>,
    /// Where each sequence begins, and the end of the last.
    offsets: Vec<usize>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            token_types: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl Batch {
    /// A batch of no sequences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sequence, all of token type 0. One without tokens is a sequence like another, until a session is to compute
    /// the batch, which is then [`Error::EmptySequence`].
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.token_types.resize(self.ids.len(), 0);
        self.offsets.push(self.ids.len());
    }

    /// Appends a sequence with a token type for each token: BERT's pairs of texts have two.
    ///
    /// # Errors
    /// When there aren't as many types as ids. Then the batch stays as it is.
    pub fn push_with_types(&mut self, ids: &[u32], token_types: &[u32]) -> Result<(), Error> {
        if ids.len() != token_types.len() {
            return Err(Error::TokenTypes {
                tokens: ids.len(),
                token_types: token_types.len(),
            });
        }
        self.token_types.extend_from_slice(token_types);
        self.push(ids);
        Ok(())
    }

    /// All token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The type of each token.
    pub fn token_types(&self) -> &[u32] {
        &self.token_types
    }

    /// Sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of each sequence's first token, by which a sequence is classified. That of a sequence without tokens is the next
    /// one's.
    pub fn first_rows(&self) -> &[usize] {
        &self.offsets[..self.len()]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_as_large_as_they_may_be() {
        assert!(groups([]).is_empty());
        assert_eq!(groups([1024, 1, 1023]), vec![0..1, 1..3]);
        assert_eq!(groups([5000, 1, 2, 5000]), vec![0..1, 1..3, 3..4]);
        assert_eq!(groups([300; 7]), vec![0..3, 3..6, 6..7]);
        assert_eq!(groups_with_logits([300; 7]), groups([300; 7]));
        assert_eq!(groups_with_logits([3; 100]), vec![0..64, 64..100]);
    }
}
