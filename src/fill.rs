//! Fill-mask: the most probable tokens for each mask of a text, with the semantics of transformers' pipeline.

use crate::batch::{Batch, groups};
use crate::error::{Error, need_head, shortened};
use crate::model::Model;
use crate::session::Session;
use crate::task::Task;
use crate::tokenizer::{Encoding, Tokenizer};
use rq_format::Head;
use std::fmt;

/// What to answer for each mask.
#[derive(Clone, Debug)]
pub struct FillOptions {
    /// How many tokens, at most.
    pub top_k: usize,
    /// Only these tokens; their scores are still those of a softmax over the whole vocabulary.
    pub targets: Option<Targets>,
    /// Whether a text that is too long is cut at its end.
    pub truncate: bool,
}

impl Default for FillOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            targets: None,
            truncate: false,
        }
    }
}

/// One answer for one mask.
#[derive(Clone, Debug, PartialEq)]
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
}

/// Fill-mask with a masked language model.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{FillMask, FillOptions, Model, Session, SessionOptions, Task};
///
/// let model = Model::demo()?;
/// let mut session = Session::new(&model, &SessionOptions::default())?;
/// let fill_mask = FillMask::new(&model)?;
/// let texts = ["She opened the <mask>.", "He shut the <mask> behind him."];
/// for masks in fill_mask.run(&mut session, texts, &FillOptions::default())? {
///     // A list for each mask of the text, by descending score.
///     println!("{:.3} {}", masks[0][0].score, masks[0][0].sequence);
/// }
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FillMask<'m> {
    model: &'m Model,
}

impl<'m> FillMask<'m> {
    /// The task of this model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(model: &'m Model) -> Result<Self, Error> {
        need_head("fill-mask", Head::MaskedLm, model.config().head)?;
        Ok(Self { model })
    }
}

/// The answer: for each mask of the text a list by descending score. Several masks are scored in one pass, with all of them
/// in place.
impl Task for FillMask<'_> {
    type Input<'t> = &'t str;
    type Options = FillOptions;
    type Prepared = MaskedText;
    type Answer = Vec<Vec<Fill>>;

    fn model(&self) -> &Model {
        self.model
    }

    fn prepare(&self, text: &str, options: &FillOptions) -> Result<MaskedText, Error> {
        MaskedText::new(self.model.tokenizer(), text, options.truncate)
    }

    fn compute(
        &self,
        session: &mut Session<'_>,
        texts: &[MaskedText],
        options: &FillOptions,
    ) -> Result<Vec<Vec<Vec<Fill>>>, Error> {
        session.check_model(self.model)?;
        let tokenizer = self.model.tokenizer();
        let vocab_size = self.model.config().vocab_size;
        match options.targets.as_ref().map(|targets| targets.0.last()) {
            None if options.top_k > vocab_size => {
                return Err(Error::TopK {
                    top_k: options.top_k,
                    vocab_size,
                });
            }
            // Ids ascend. Those of another model's tokenizer may not be this one's.
            Some(Some(&token)) if token as usize >= vocab_size => {
                return Err(Error::TokenRange { token, vocab_size });
            }
            _ => {}
        }

        let mut answers = Vec::with_capacity(texts.len());
        for group in groups(texts.iter().map(|text| text.ids.len())) {
            let group = &texts[group];
            let batch: Batch = group.iter().map(|text| &text.ids).collect();
            let masks: Vec<usize> = batch
                .sequences()
                .zip(group)
                .flat_map(|(rows, text)| text.masks.iter().map(move |mask| rows.start + mask))
                .collect();
            let mut best = Vec::with_capacity(masks.len());
            session.probabilities(&batch, &masks, |probabilities| {
                best.push(most_probable(probabilities, options));
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

/// The best tokens with their probabilities, descending; of equal ones, the lowest id first.
fn most_probable(probabilities: &[f32], options: &FillOptions) -> Vec<(u32, f32)> {
    let with_score = |id: u32| (id, probabilities[id as usize]);
    let mut all: Vec<(u32, f32)> = match &options.targets {
        Some(targets) => targets.0.iter().copied().map(with_score).collect(),
        None => (0..probabilities.len() as u32).map(with_score).collect(),
    };
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let k = options.top_k.min(all.len());
    if k > 0 && k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
    }
    all.truncate(k);
    all.sort_unstable_by(order);
    all
}

/// A text with one or more masks, as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct MaskedText {
    ids: Vec<u32>,
    masks: Vec<usize>,
}

impl MaskedText {
    fn new(tokenizer: &Tokenizer, text: &str, truncate: bool) -> Result<Self, Error> {
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
                let shown: Vec<u32> = ids
                    .iter()
                    .copied()
                    .filter(|&id| id != tokenizer.pad_token_id())
                    .collect();
                Ok(Fill {
                    score,
                    token,
                    token_str: tokenizer.decode(&[token], false)?,
                    sequence: tokenizer.decode(&shown, one_mask)?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_ties_by_id() {
        let p = [0.1, 0.3, 0.2, 0.3, 0.1];
        let top = |top_k| {
            most_probable(
                &p,
                &FillOptions {
                    top_k,
                    ..FillOptions::default()
                },
            )
        };
        assert_eq!(top(3), [(1, 0.3), (3, 0.3), (2, 0.2)]);
        assert_eq!(top(0), []);
        assert_eq!(top(5).len(), 5);
        let targets = Some(Targets(vec![0, 2]));
        assert_eq!(
            most_probable(
                &p,
                &FillOptions {
                    top_k: 5,
                    targets,
                    truncate: false
                }
            ),
            [(2, 0.2), (0, 0.1)]
        );
    }
}
