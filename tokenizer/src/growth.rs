//! How long a text may become on its way to tokens.
//!
//! Each step alone makes its worst text several times as long, and [`crate::limits::MAX_GROWTH`] bounds the product: but no
//! text is the worst of every step, and the product of steps that are in use, of XLM-RoBERTa's table of characters and its mark
//! of spaces, is several times what they make of any. So the steps are run with an eye on the text, too.

use crate::error::TokenizerError;
use crate::limits::{ANY_TEXT_LEN, MAX_TEXT_GROWTH};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

/// How many bytes a text may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Of the text itself.
    text: usize,
    most: usize,
}

impl Limit {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.len();
        let most = MAX_TEXT_GROWTH.saturating_mul(text).max(ANY_TEXT_LEN);
        Self { text, most }
    }

    fn exceeded(self) -> TokenizerError {
        let Self { text, most } = self;
        TokenizerError::Grown { text, most }
    }

    /// Divides a text, step by step.
    pub(crate) fn pre_tokenize(
        self,
        step: &PreTokenizerWrapper,
        parts: &mut PreTokenizedString,
    ) -> Result<(), TokenizerError> {
        if let PreTokenizerWrapper::Sequence(steps) = step {
            let mut steps = steps.as_ref().iter();
            return steps.try_for_each(|step| self.pre_tokenize(step, parts));
        }
        step.pre_tokenize(parts)?;
        let parts = parts.get_splits(OffsetReferential::Original, OffsetType::None);
        let len: usize = parts.iter().map(|(part, ..)| part.len()).sum();
        match len <= self.most {
            true => Ok(()),
            false => Err(self.exceeded()),
        }
    }
}

/// A normalizer that stops where it makes a text too long.
pub(crate) struct Normalizing<'a> {
    normalizer: Option<&'a NormalizerWrapper>,
    limit: Limit,
    /// The bytes of the parts so far.
    len: AtomicUsize,
    exceeded: AtomicBool,
}

impl<'a> Normalizing<'a> {
    pub(crate) fn new(normalizer: Option<&'a NormalizerWrapper>, limit: Limit) -> Self {
        Self {
            normalizer,
            limit,
            len: AtomicUsize::new(0),
            exceeded: AtomicBool::new(false),
        }
    }

    /// Whether all went well. The crate takes no notice of a normalizer's errors.
    pub(crate) fn finish(self) -> Result<(), TokenizerError> {
        match self.exceeded.into_inner() {
            false => Ok(()),
            true => Err(self.limit.exceeded()),
        }
    }

    fn run(&self, step: &NormalizerWrapper, text: &mut NormalizedString) -> tokenizers::Result<()> {
        if let NormalizerWrapper::Sequence(steps) = step {
            let mut steps = steps.as_ref().iter();
            return steps.try_for_each(|step| self.run(step, text));
        }
        step.normalize(text)?;
        if self.len.load(Relaxed).saturating_add(text.len()) > self.limit.most {
            self.exceeded.store(true, Relaxed);
            text.clear();
        }
        Ok(())
    }
}

impl Normalizer for Normalizing<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        if self.exceeded.load(Relaxed) {
            text.clear();
            return Ok(());
        }
        let done = self.normalizer.map_or(Ok(()), |step| self.run(step, text));
        self.len.fetch_add(text.len(), Relaxed);
        done
    }
}
