//! Fill-mask: the most probable tokens for each mask of a text, with the semantics of transformers' pipeline.

use crate::batch::{Batch, groups_with_logits};
use crate::error::{Error, shortened};
use crate::session::Session;
use crate::tasks::input::Text;
use crate::tasks::{Task, need_head, not_zero};
use rq_format::Head;
use rq_tokenizer::{Encoding, Tokenizer};
use std::borrow::BorrowMut;
use std::fmt;
use std::sync::Arc;

/// What to answer for each mask.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FillOptions {
    /// How many tokens, at most; 5 by default. From 1 to as many as the vocabulary has.
    pub top_k: usize,
    /// Only these tokens; their scores are still those of a softmax over the whole vocabulary. By default all.
    pub targets: Option<Targets>,
    /// Not the [special tokens](Tokenizer::special_ids); false by default. The scores of the others stay those of a softmax over
    /// the whole vocabulary.
    pub exclude_special: bool,
    /// Whether a text that is too long is cut at its end, and not refused; false by default.
    pub truncate: bool,
}

impl Default for FillOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            targets: None,
            exclude_special: false,
            truncate: false,
        }
    }
}

/// One answer for one mask.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fill {
    /// The token's probability.
    pub score: f32,
    /// The token's id.
    pub token: u32,
    /// The token's text, with the space before it if it has one.
    pub token_str: String,
    /// The text with this token in the mask's place; with the special tokens if it has other masks.
    pub sequence: String,
}

/// The tokens that may be answered: ids in ascending order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(Vec<u32>);

/// A target that isn't a token of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetWarning {
    /// The target.
    pub target: String,
    /// The vocabulary entry that takes its place: its first token. `None` where there is nothing to take.
    pub replacement: Option<String>,
}

impl fmt::Display for TargetWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "The specified target token `{}` does not exist in the model vocabulary. ",
            self.target
        )?;
        match &self.replacement {
            Some(token) => write!(f, "Replacing with `{token}`."),
            None => f.write_str("We cannot replace it with anything meaningful, ignoring it"),
        }
    }
}

impl Targets {
    /// Looks targets up as transformers does: first as entries of the vocabulary, written as the vocabulary writes them
    /// ("Ġgarden"), then by the first token of their text, with a warning.
    ///
    /// # Errors
    /// When no target is left.
    pub fn resolve<S: AsRef<str>>(
        tokenizer: &Tokenizer,
        targets: &[S],
    ) -> Result<(Self, Vec<TargetWarning>), Error> {
        let (mut ids, mut warnings) = (Vec::new(), Vec::new());
        for target in targets.iter().map(AsRef::as_ref) {
            if let Some(id) = tokenizer.token_to_id(target) {
                ids.push(id);
                continue;
            }
            let first = tokenizer.ids(target, false)?.first().copied();
            ids.extend(first);
            let replacement = first.and_then(|id| tokenizer.id_to_token(id));
            warnings.push(TargetWarning {
                target: target.to_owned(),
                replacement,
            });
        }
        ids.sort_unstable();
        ids.dedup();
        match ids.is_empty() {
            true => Err(Error::NoTargets),
            false => Ok((Self(ids), warnings)),
        }
    }

    /// Refuses tokens of another model's tokenizer, which may not be this one's.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<(), Error> {
        match self.0.last() {
            // Ids ascend.
            Some(&token) if token as usize >= vocab_size => {
                Err(Error::TokenRange { token, vocab_size })
            }
            _ => Ok(()),
        }
    }
}

/// Fill-mask with a masked language model.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{FillMask, FillOptions, Model, Session, SessionOptions, Task};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let mut fill_mask = FillMask::new(session)?;
/// let texts = ["She opened the <mask>.", "He shut the <mask> behind him."];
/// for masks in fill_mask.run(texts, &FillOptions::default())? {
///     // A list for each mask of the text, by descending score.
///     println!("{:.3} {}", masks[0][0].score, masks[0][0].sequence);
/// }
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct FillMask<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> FillMask<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("fill-mask", Head::MaskedLm, session.borrow())?;
        Ok(Self { session })
    }
}

/// The answer: for each mask of the text a list by descending score. Several masks are scored in one pass, with all of them
/// in place; [`JointFill`](crate::JointFill) fills them together.
impl<S: BorrowMut<Session>> Task for FillMask<S> {
    type Input<'t> = Text<'t>;
    type Options = FillOptions;
    type Prepared = PreparedFill;
    type Answer = Vec<Vec<Fill>>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &FillOptions,
    ) -> Result<PreparedFill, Error> {
        PreparedFill::new(self.model().tokenizer(), &text.into(), options.truncate)
    }

    fn compute(
        &mut self,
        texts: &[PreparedFill],
        options: &FillOptions,
    ) -> Result<Vec<Vec<Vec<Fill>>>, Error> {
        not_zero("top_k", options.top_k)?;
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer();
        let vocab_size = model.config().vocab_size;
        match &options.targets {
            None if options.top_k > vocab_size => {
                return Err(Error::TopK {
                    top_k: options.top_k,
                    vocab_size,
                });
            }
            None => {}
            Some(targets) => targets.check(vocab_size)?,
        }
        let targets = options.targets.as_ref();
        let choice = Choice::new(tokenizer, targets, options.exclude_special);

        let mut answers = Vec::with_capacity(texts.len());
        for group in groups_with_logits(texts.iter().map(|text| text.ids.len())) {
            let group = &texts[group];
            let batch: Batch = group.iter().map(|text| &text.ids).collect();
            let masks: Vec<usize> = batch
                .sequences()
                .zip(group)
                .flat_map(|(rows, text)| text.masks.iter().map(move |mask| rows.start + mask))
                .collect();
            let mut best = Vec::with_capacity(masks.len());
            session.probabilities(&batch, &masks, |probabilities| {
                best.push(choice.best(probabilities, options.top_k));
            })?;
            let mut best = best.into_iter();
            for text in group {
                let masks = text.masks.iter().zip(&mut best);
                let fills = masks.map(|(&mask, best)| text.fills(tokenizer, mask, best));
                answers.push(fills.collect::<Result<_, _>>()?);
            }
        }
        Ok(answers)
    }
}

/// Which tokens may be answered.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// Only these.
    pub(crate) targets: Option<&'a Targets>,
    /// Not these.
    pub(crate) excluded: &'a [u32],
}

impl<'a> Choice<'a> {
    pub(crate) fn new(
        tokenizer: &'a Tokenizer,
        targets: Option<&'a Targets>,
        exclude_special: bool,
    ) -> Self {
        let special = tokenizer.special_ids();
        let excluded = if exclude_special { special } else { &[] };
        Self { targets, excluded }
    }

    /// The tokens of the greatest values, with these, descending; of equal ones, the lowest id first.
    pub(crate) fn best(&self, values: &[f32], count: usize) -> Vec<(u32, f32)> {
        let with_value = |id: u32| (id, values[id as usize]);
        let mut all: Vec<(u32, f32)> = match self.targets {
            Some(targets) => targets.0.iter().copied().map(with_value).collect(),
            None => (0..values.len() as u32).map(with_value).collect(),
        };
        if !self.excluded.is_empty() {
            all.retain(|(id, _)| !self.excluded.contains(id));
        }
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let k = count.min(all.len());
        if k > 0 && k < all.len() {
            all.select_nth_unstable_by(k - 1, order);
        }
        all.truncate(k);
        all.sort_unstable_by(order);
        all
    }
}

/// A text with one or more masks, as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedFill {
    pub(crate) ids: Vec<u32>,
    /// Where the masks are, ascending; at least one.
    pub(crate) masks: Vec<usize>,
}

impl PreparedFill {
    pub(crate) fn new(tokenizer: &Tokenizer, text: &str, truncate: bool) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::EmptyText);
        }
        let Encoding {
            ids,
            truncated_from,
            ..
        } = tokenizer.encode(text, truncate)?;
        let is_mask =
            |(i, &id): (usize, &u32)| (Some(id) == tokenizer.mask_token_id()).then_some(i);
        let masks: Vec<usize> = ids.iter().enumerate().filter_map(is_mask).collect();
        if !masks.is_empty() {
            return Ok(Self { ids, masks });
        }
        let mask = tokenizer.mask_token().unwrap_or_default().to_owned();
        match truncated_from {
            Some(tokens) if text.contains(&mask) => Err(Error::MaskTruncated {
                mask,
                tokens,
                limit: tokenizer.max_tokens(),
            }),
            _ => Err(Error::NoMask {
                mask,
                text: shortened(text),
            }),
        }
    }

    fn fills(
        &self,
        tokenizer: &Tokenizer,
        mask: usize,
        best: Vec<(u32, f32)>,
    ) -> Result<Vec<Fill>, Error> {
        let one_mask = self.masks.len() == 1;
        let mut ids = self.ids.clone();
        best.into_iter()
            .map(|(token, score)| {
                ids[mask] = token;
                Ok(Fill {
                    score,
                    token,
                    token_str: tokenizer.decode(&[token], false)?,
                    sequence: sequence(tokenizer, &ids, one_mask)?,
                })
            })
            .collect()
    }
}

/// The text of filled tokens, as the pipeline shows it: without padding, and without special tokens if no mask is left.
pub(crate) fn sequence(tokenizer: &Tokenizer, ids: &[u32], whole: bool) -> Result<String, Error> {
    let pad = tokenizer.pad_token_id();
    let shown: Vec<u32> = ids.iter().copied().filter(|&id| id != pad).collect();
    Ok(tokenizer.decode(&shown, whole)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_ties_by_id() {
        let p = [0.1, 0.3, 0.2, 0.3, 0.1];
        let mut choice = Choice {
            targets: None,
            excluded: &[],
        };
        assert_eq!(choice.best(&p, 3), [(1, 0.3), (3, 0.3), (2, 0.2)]);
        assert_eq!(choice.best(&p, 0), []);
        assert_eq!(choice.best(&p, 9).len(), 5);
        choice.excluded = &[0, 3];
        assert_eq!(choice.best(&p, 9), [(1, 0.3), (2, 0.2), (4, 0.1)]);
        let targets = Targets(vec![0, 2]);
        choice.targets = Some(&targets);
        assert_eq!(choice.best(&p, 5), [(2, 0.2)]);
        choice.excluded = &[];
        assert_eq!(choice.best(&p, 5), [(2, 0.2), (0, 0.1)]);
    }
}
