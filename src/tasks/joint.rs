//! Fill-mask with several tokens that know of each other: several masks filled together, or one mask by a target of several
//! tokens.
//!
//! Both go by the chain rule from left to right. The first mask's token has its probability while all others are masks, the
//! second its own with the first in place, and so on; the product is the score. A masked language model isn't trained to agree
//! with itself in another order, so from left to right is a part of the definition.

use crate::batch::{Batch, groups_with_logits};
use crate::error::Error;
use crate::session::Session;
use crate::tasks::fill::{Choice, PreparedFill, TargetWarning, Targets, sequence};
use crate::tasks::input::Text;
use crate::tasks::score::{log_probability, log_sum_exp};
use crate::tasks::{Task, need_head, not_zero};
use rq_format::Head;
use rq_tokenizer::Tokenizer;
use std::borrow::BorrowMut;
use std::collections::HashMap;
use std::sync::Arc;

/// Tokens in the places of several masks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Filling {
    /// The product of the tokens' probabilities.
    pub score: f64,
    /// Its natural logarithm: the sum of theirs.
    pub log_probability: f64,
    /// The tokens, from left to right.
    pub tokens: Vec<FillingToken>,
    /// The text with the tokens in place; with the special tokens if it has other masks.
    pub sequence: String,
}

/// A token of a [`Filling`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FillingToken {
    /// The token's id.
    pub token: u32,
    /// The token's text, with the space before it if it has one.
    pub token_str: String,
    /// The natural logarithm of its probability over the whole vocabulary, where the tokens before it are in place and those
    /// after it are masks.
    pub log_probability: f64,
}

impl Filling {
    /// `whole`: whether no other mask is left.
    fn new(
        tokenizer: &Tokenizer,
        ids: &[u32],
        tokens: &[(u32, f64)],
        whole: bool,
    ) -> Result<Self, Error> {
        let token = |&(token, log_probability): &(u32, f64)| {
            Ok(FillingToken {
                token,
                token_str: tokenizer.decode(&[token], false)?,
                log_probability,
            })
        };
        let log_probability = total(tokens);
        Ok(Self {
            score: libm::exp(log_probability),
            log_probability,
            tokens: tokens.iter().map(token).collect::<Result<_, Error>>()?,
            sequence: sequence(tokenizer, ids, whole)?,
        })
    }
}

fn total(tokens: &[(u32, f64)]) -> f64 {
    tokens.iter().fold(0.0, |sum, (_, x)| sum + x)
}

/// How to fill the masks of a text together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JointOptions {
    /// How many fillings, at most, from 1; 5 by default.
    pub top_k: usize,
    /// Fillings that are kept from mask to mask, from 1; 16 by default, and never fewer than `top_k`. More find better ones where a
    /// likely beginning has no likely end, and take more time: each is a pass for each mask but the first.
    pub beam: usize,
    /// Only these tokens; their probabilities are still those of a softmax over the whole vocabulary. By default all.
    pub targets: Option<Targets>,
    /// Not the [special tokens](Tokenizer::special_ids), as for one mask; false by default.
    pub exclude_special: bool,
    /// Whether a text that is too long is cut at its end, and not refused; false by default.
    pub truncate: bool,
}

impl Default for JointOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            beam: 16,
            targets: None,
            exclude_special: false,
            truncate: false,
        }
    }
}

/// Fills all masks of a text together: the combinations of tokens that are most probable by the chain rule, as far as a beam
/// search finds them.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{JointFill, JointOptions, Model, Session, SessionOptions, Task};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let text = "He <mask> not know what to <mask>.";
/// let fillings = JointFill::new(session)?.run_one(text, &JointOptions::default())?;
/// assert_eq!(fillings[0].sequence, "He did not know what to do.");
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct JointFill<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> JointFill<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("fill-mask", Head::MaskedLm, session.borrow())?;
        Ok(Self { session })
    }
}

/// The first masks of a text, filled.
struct Hypothesis {
    text: usize,
    ids: Vec<u32>,
    tokens: Vec<(u32, f64)>,
    total: f64,
}

/// A hypothesis with one token more, not made yet.
struct Extension {
    of: usize,
    token: u32,
    log_probability: f64,
    total: f64,
}

impl Hypothesis {
    fn with(&self, mask: usize, extension: &Extension) -> Self {
        let (mut ids, mut tokens) = (self.ids.clone(), self.tokens.clone());
        ids[mask] = extension.token;
        tokens.push((extension.token, extension.log_probability));
        Self {
            text: self.text,
            ids,
            tokens,
            total: extension.total,
        }
    }
}

/// The answer: fillings by descending score.
impl<S: BorrowMut<Session>> Task for JointFill<S> {
    type Input<'t> = Text<'t>;
    type Options = JointOptions;
    type Prepared = PreparedFill;
    type Answer = Vec<Filling>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &JointOptions,
    ) -> Result<PreparedFill, Error> {
        PreparedFill::new(self.model().tokenizer(), &text.into(), options.truncate)
    }

    fn compute(
        &mut self,
        texts: &[PreparedFill],
        options: &JointOptions,
    ) -> Result<Vec<Vec<Filling>>, Error> {
        not_zero("top_k", options.top_k)?;
        not_zero("beam", options.beam)?;
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer();
        if let Some(targets) = &options.targets {
            targets.check(model.config().vocab_size)?;
        }
        let choice = Choice::new(tokenizer, options.targets.as_ref(), options.exclude_special);
        let width = options.beam.max(options.top_k);
        let begin = |(number, text): (usize, &PreparedFill)| Hypothesis {
            text: number,
            ids: text.ids.clone(),
            tokens: Vec::new(),
            total: 0.0,
        };
        let mut open: Vec<Hypothesis> = texts.iter().enumerate().map(begin).collect();
        let mut answers: Vec<Vec<Filling>> = texts.iter().map(|_| Vec::new()).collect();
        for step in 0.. {
            let (filled, rest): (Vec<_>, Vec<_>) = open
                .into_iter()
                .partition(|hypothesis| texts[hypothesis.text].masks.len() == step);
            for h in filled {
                // By descending score.
                let answers = &mut answers[h.text];
                if answers.len() < options.top_k {
                    answers.push(Filling::new(tokenizer, &h.ids, &h.tokens, true)?);
                }
            }
            if rest.is_empty() {
                break;
            }
            let mask = |hypothesis: &Hypothesis| texts[hypothesis.text].masks[step];
            let mut best: Vec<Vec<Extension>> = texts.iter().map(|_| Vec::new()).collect();
            for group in groups_with_logits(rest.iter().map(|h| h.ids.len())) {
                let batch: Batch = rest[group.clone()].iter().map(|h| &h.ids).collect();
                let sequences = batch.sequences().zip(&rest[group.clone()]);
                let rows: Vec<usize> = sequences.map(|(rows, h)| rows.start + mask(h)).collect();
                let mut numbers = group;
                session.each_logits(&batch, &rows, |logits| {
                    let of = numbers.next().expect("a hypothesis for each row");
                    let sum = log_sum_exp(logits);
                    let extensions = choice.best(logits, width).into_iter().map(|(token, _)| {
                        let log_probability = log_probability(logits, token as usize, sum);
                        Extension {
                            of,
                            token,
                            log_probability,
                            total: rest[of].total + log_probability,
                        }
                    });
                    let best = &mut best[rest[of].text];
                    best.extend(extensions);
                    // The sort is stable: of equals, those of the better beginning are first.
                    best.sort_by(|a, b| b.total.total_cmp(&a.total));
                    best.truncate(width);
                })?;
            }
            let next = best.iter().flatten();
            open = next
                .map(|extension| rest[extension.of].with(mask(&rest[extension.of]), extension))
                .collect();
        }
        Ok(answers)
    }
}

/// Targets of one or more tokens each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeTargets(Vec<(String, Vec<u32>)>);

impl WholeTargets {
    /// Looks targets up: first as entries of the vocabulary, written as the vocabulary writes them ("Ġgarden"), then as texts,
    /// with the space before them if they have one. There is a warning of those that have no token.
    ///
    /// # Errors
    /// When no target is left.
    pub fn resolve<S: AsRef<str>>(
        tokenizer: &Tokenizer,
        targets: &[S],
    ) -> Result<(Self, Vec<TargetWarning>), Error> {
        let (mut resolved, mut warnings) = (Vec::new(), Vec::new());
        for target in targets.iter().map(|target| target.as_ref().to_owned()) {
            let ids = match tokenizer.token_to_id(&target) {
                Some(id) => vec![id],
                None => tokenizer.ids(&target, false)?,
            };
            match ids.is_empty() {
                true => warnings.push(TargetWarning {
                    target,
                    replacement: None,
                }),
                false => resolved.push((target, ids)),
            }
        }
        match resolved.is_empty() {
            true => Err(Error::NoTargets),
            false => Ok((Self(resolved), warnings)),
        }
    }
}

/// How to compare targets of several tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetOptions {
    /// How many of the targets to answer for each mask, at most, from 1; 5 by default.
    pub top_k: usize,
    /// The targets. There must be one, and by default there is none.
    pub targets: WholeTargets,
    /// Whether a text that is too long is cut at its end, and not refused; false by default.
    pub truncate: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            targets: WholeTargets::default(),
            truncate: false,
        }
    }
}

/// A target in a mask's place.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TargetFilling {
    /// The target, as it was given.
    pub target: String,
    /// Its tokens in the text.
    pub filling: Filling,
}

/// Compares targets of several tokens for each mask of a text: a mask is replaced by as many as the target has tokens, and
/// these are filled by the chain rule. Other masks stay.
///
/// The score of a target of n tokens is its probability among all of n tokens. It says nothing of how many tokens there should
/// be: targets of more tokens have lower ones.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{Model, Session, SessionOptions, TargetFill, TargetOptions, Task, WholeTargets};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let targets = [" railway station", " crème brûlée"];
/// let (targets, _) = WholeTargets::resolve(session.model().tokenizer(), &targets)?;
/// let mut options = TargetOptions::default();
/// options.targets = targets;
/// let text = "They went to the <mask> in the morning.";
/// let masks = TargetFill::new(session)?.run_one(text, &options)?;
/// assert_eq!(masks[0][0].target, " railway station");
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct TargetFill<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> TargetFill<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("fill-mask", Head::MaskedLm, session.borrow())?;
        Ok(Self { session })
    }
}

/// The tokens of a text with `count` masks in the place of one.
fn widened(
    tokenizer: &Tokenizer,
    text: &PreparedFill,
    mask: usize,
    count: usize,
    truncate: bool,
) -> Result<Vec<u32>, Error> {
    let mut ids = text.ids.clone();
    let token = ids[mask];
    ids.splice(mask..=mask, std::iter::repeat_n(token, count));
    let (tokens, limit) = (ids.len(), tokenizer.max_tokens());
    if tokens <= limit {
        return Ok(ids);
    }
    if !truncate {
        return Err(Error::TooLong { tokens, limit });
    }
    let kept = tokenizer.kept(tokens);
    if mask < kept.start || mask + count > kept.end {
        return Err(Error::MaskTruncated {
            mask: tokenizer.mask_token().unwrap_or_default().to_owned(),
            tokens,
            limit,
        });
    }
    tokenizer.cut(&mut ids);
    Ok(ids)
}

/// A pass: a mask of a text in the place of which are the first tokens of a target and then masks.
#[derive(PartialEq, Eq, Hash)]
struct Pass<'a> {
    text: usize,
    mask: usize,
    count: usize,
    begun: &'a [u32],
}

/// The answer: for each mask of the text a list of targets by descending score; of equal ones, in the order in which they were
/// given.
impl<S: BorrowMut<Session>> Task for TargetFill<S> {
    type Input<'t> = Text<'t>;
    type Options = TargetOptions;
    type Prepared = PreparedFill;
    type Answer = Vec<Vec<TargetFilling>>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &TargetOptions,
    ) -> Result<PreparedFill, Error> {
        let tokenizer = self.model().tokenizer();
        let text = PreparedFill::new(tokenizer, &text.into(), options.truncate)?;
        let lengths = options.targets.0.iter().map(|(_, ids)| ids.len());
        let longest = lengths.max().ok_or(Error::NoTargets)?;
        for &mask in &text.masks {
            widened(tokenizer, &text, mask, longest, options.truncate)?;
        }
        Ok(text)
    }

    fn compute(
        &mut self,
        texts: &[PreparedFill],
        options: &TargetOptions,
    ) -> Result<Vec<Vec<Vec<TargetFilling>>>, Error> {
        not_zero("top_k", options.top_k)?;
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer();
        let targets = &options.targets.0;
        let vocab_size = model.config().vocab_size;
        let mut ids = targets.iter().flat_map(|(_, ids)| ids);
        if let Some(&token) = ids.find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenRange { token, vocab_size });
        }

        // Targets that begin alike have passes in common: all of one token have a single one.
        let mut numbers: HashMap<Pass<'_>, usize> = HashMap::new();
        let mut passes: Vec<(Vec<u32>, usize, Vec<u32>)> = Vec::new();
        // For each text, mask, target and token, the pass and the place among what is wanted of it.
        let mut wanted = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            for &mask in &text.masks {
                for (_, ids) in targets {
                    for (k, &token) in ids.iter().enumerate() {
                        let pass = Pass {
                            text: number,
                            mask,
                            count: ids.len(),
                            begun: &ids[..k],
                        };
                        let next = passes.len();
                        let pass = *numbers.entry(pass).or_insert(next);
                        if pass == next {
                            let mut row =
                                widened(tokenizer, text, mask, ids.len(), options.truncate)?;
                            row[mask..mask + k].copy_from_slice(&ids[..k]);
                            passes.push((row, mask + k, Vec::new()));
                        }
                        wanted.push((pass, passes[pass].2.len()));
                        passes[pass].2.push(token);
                    }
                }
            }
        }

        let mut logs: Vec<Vec<f64>> = Vec::with_capacity(passes.len());
        for group in groups_with_logits(passes.iter().map(|(ids, ..)| ids.len())) {
            let group = &passes[group];
            let batch: Batch = group.iter().map(|(ids, ..)| ids).collect();
            let sequences = batch.sequences().zip(group);
            let rows: Vec<usize> = sequences
                .map(|(rows, (_, at, _))| rows.start + at)
                .collect();
            let mut tokens = group.iter().map(|(.., tokens)| tokens);
            session.each_logits(&batch, &rows, |logits| {
                let sum = log_sum_exp(logits);
                let tokens = tokens.next().expect("tokens for each row").iter();
                let log = |&token: &u32| log_probability(logits, token as usize, sum);
                logs.push(tokens.map(log).collect());
            })?;
        }

        let mut wanted = wanted.into_iter().map(|(pass, place)| logs[pass][place]);
        let mut answers = Vec::with_capacity(texts.len());
        for text in texts {
            let mut masks = Vec::with_capacity(text.masks.len());
            for &mask in &text.masks {
                let scored = targets.iter().map(|(target, ids)| {
                    let tokens: Vec<(u32, f64)> = ids.iter().copied().zip(&mut wanted).collect();
                    (target, tokens)
                });
                let mut scored: Vec<(&String, Vec<(u32, f64)>)> = scored.collect();
                scored.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)));
                scored.truncate(options.top_k);
                let filled = scored.into_iter().map(|(target, tokens)| {
                    let mut ids = widened(tokenizer, text, mask, tokens.len(), options.truncate)?;
                    for (id, (token, _)) in ids[mask..].iter_mut().zip(&tokens) {
                        *id = *token;
                    }
                    Ok(TargetFilling {
                        target: target.clone(),
                        filling: Filling::new(tokenizer, &ids, &tokens, text.masks.len() == 1)?,
                    })
                });
                masks.push(filled.collect::<Result<_, Error>>()?);
            }
            answers.push(masks);
        }
        Ok(answers)
    }
}
