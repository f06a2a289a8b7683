//! Classification by labels that the model doesn't know, with the semantics of transformers' zero-shot-classification
//! pipeline (Yin et al. 2019, "Benchmarking Zero-shot Text Classification"): a model of entailment says how well a text
//! entails a sentence about each label.

use crate::error::{Error, shortened};
use crate::session::Session;
use crate::tasks::classify::{LabelScore, PreparedClassify, best_labels, logits_of};
use crate::tasks::input::Text;
use crate::tasks::scores::softmax;
use crate::tasks::{Task, need_head};
use rq_format::Head;
use rq_tokenizer::TokenizerError;
use std::borrow::BorrowMut;
use std::sync::Arc;

/// Where the label stands in a template.
const PLACE: &str = "{}";

/// How to classify by labels of one's own.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ZeroShotOptions {
    /// Whether any number of labels may be right, so that each has a probability of its own; else one is, and the
    /// probabilities of all sum up to 1. False by default.
    pub multi_label: bool,
    /// Whether a text that is too long is cut at its end, and not refused; false by default. A label's sentence never is.
    pub truncate: bool,
}

/// Classification by labels of one's own, with a model that was trained on entailment (natural language inference).
///
/// ```no_run
/// use rq::{Model, Session, SessionOptions, Task, ZeroShot, ZeroShotOptions};
///
/// let model = Model::open("roberta-large-mnli.rq")?;
/// let session = Session::new(model, &SessionOptions::default())?;
/// let mut topics = ZeroShot::new(session, &["sports", "cooking"], "This text is about {}.")?;
/// let text = "The team won the match.";
/// let labels = topics.run_one(text, &ZeroShotOptions::default())?;
/// assert_eq!(labels[0].label, "sports");
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct ZeroShot<S = Session> {
    session: S,
    labels: Vec<String>,
    /// A sentence about each label.
    hypotheses: Vec<String>,
    entailment: usize,
    contradiction: usize,
}

impl ZeroShot {
    /// The template of transformers.
    pub const TEMPLATE: &'static str = "This example is {}.";
}

impl<S: BorrowMut<Session>> ZeroShot<S> {
    /// The task of the session's model with labels of one's own, each of which is put in place of the `{}` of the template.
    ///
    /// The model's label that begins with "entail", in upper or lower case, is the one that counts; where there is none,
    /// the last. With `multi_label` its opposite is the first label, or the last where entailment is the first.
    ///
    /// # Errors
    /// When the model isn't a classifier of at least two labels, there is no label or an empty one, or the template has no
    /// place for it.
    pub fn new<L: AsRef<str>>(session: S, labels: &[L], template: &str) -> Result<Self, Error> {
        need_head(
            "zero-shot classification",
            Head::SequenceClassification,
            session.borrow(),
        )?;
        let of_model = &session.borrow().model().config().labels;
        let count = of_model.len();
        if count < 2 {
            return Err(Error::NoEntailment);
        }
        let labels: Vec<String> = labels.iter().map(|label| label.as_ref().into()).collect();
        if labels.is_empty() || labels.iter().any(|label| label.trim().is_empty()) {
            return Err(Error::NoLabels);
        }
        if !template.contains(PLACE) {
            let template = template.to_owned();
            return Err(Error::Template { template });
        }
        let entailment = entailment(of_model).unwrap_or(count - 1);
        Ok(Self {
            session,
            hypotheses: labels.iter().map(|l| template.replace(PLACE, l)).collect(),
            labels,
            entailment,
            contradiction: contradiction(entailment, count),
        })
    }

    /// The model's label that stands for entailment.
    pub fn entailment(&self) -> &str {
        &self.model().config().labels[self.entailment]
    }

    /// The same task, with the label of the model that stands for entailment, in upper or lower case; `None` if it has no such
    /// label.
    pub fn with_entailment(mut self, label: &str) -> Option<Self> {
        let labels = &self.model().config().labels;
        let label = label.to_lowercase();
        let entailment = labels.iter().position(|l| l.to_lowercase() == label)?;
        self.contradiction = contradiction(entailment, labels.len());
        self.entailment = entailment;
        Some(self)
    }

    /// Whether that label's name says that it does.
    pub fn entailment_is_named(&self) -> bool {
        entailment(&self.model().config().labels).is_some()
    }

    /// What the logits of a text with the sentence about each label say.
    pub(crate) fn answer<'l>(
        &self,
        logits: impl Iterator<Item = &'l [f32]>,
        options: &ZeroShotOptions,
    ) -> Vec<LabelScore> {
        let pairs: Vec<[f32; 2]> = logits
            .map(|logits| [logits[self.contradiction], logits[self.entailment]])
            .collect();
        let scores: Vec<f32> = match options.multi_label || pairs.len() == 1 {
            true => pairs.iter().map(|pair| softmax(pair)[1]).collect(),
            false => {
                let entailments: Vec<f32> = pairs.iter().map(|pair| pair[1]).collect();
                softmax(&entailments)
            }
        };
        best_labels(&self.labels, &scores, None)
    }
}

/// The opposite of entailment among so many labels.
fn contradiction(entailment: usize, count: usize) -> usize {
    match entailment {
        0 => count - 1,
        _ => 0,
    }
}

/// The first label that is named after entailment.
fn entailment(labels: &[String]) -> Option<usize> {
    let mut labels = labels.iter();
    labels.position(|label| label.to_lowercase().starts_with("entail"))
}

/// A text with a sentence about each label, as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedZeroShot(pub(crate) Vec<PreparedClassify>);

/// The answer: the labels by descending score; of equal ones, the first given first.
impl<S: BorrowMut<Session>> Task for ZeroShot<S> {
    type Input<'t> = Text<'t>;
    type Options = ZeroShotOptions;
    type Prepared = PreparedZeroShot;
    type Answer = Vec<LabelScore>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &ZeroShotOptions,
    ) -> Result<PreparedZeroShot, Error> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::NothingToClassify);
        }
        let tokenizer = self.model().tokenizer();
        let texts = self.hypotheses.iter().map(|hypothesis| {
            let encoded = tokenizer.encode_pair_cutting_first(&text, hypothesis, options.truncate);
            PreparedClassify::new(encoded.map_err(|error| match error {
                TokenizerError::SecondTooLong { limit } => Error::HypothesisTooLong {
                    hypothesis: shortened(hypothesis),
                    limit,
                },
                error => error.into(),
            })?)
        });
        Ok(PreparedZeroShot(texts.collect::<Result<_, _>>()?))
    }

    fn compute(
        &mut self,
        texts: &[PreparedZeroShot],
        options: &ZeroShotOptions,
    ) -> Result<Vec<Vec<LabelScore>>, Error> {
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let count = self.labels.len();
        if texts.iter().any(|text| text.0.len() != count) {
            return Err(Error::OtherLabels);
        }
        let outputs = model.config().outputs();
        let mut all = Vec::with_capacity(texts.len() * count * outputs);
        logits_of(session, texts.iter().flat_map(|text| &text.0), |logits| {
            all.extend_from_slice(logits);
        })?;
        let answers = all.chunks_exact(count * outputs);
        Ok(answers
            .map(|logits| self.answer(logits.chunks_exact(outputs), options))
            .collect())
    }
}
