//! Classification of texts and pairs of texts, with the semantics of transformers' text-classification pipeline.
//! Classification by labels that the model doesn't know is in `zero_shot`.

use crate::batch::{Batch, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::session::Session;
use crate::tasks::input::Texts;
use crate::tasks::scores::{sigmoid, softmax};
use crate::tasks::{Task, need_head, not_zero};
use rq_format::{Config, Head, ScoreFunction};
use rq_tokenizer::Encoding;
use std::borrow::BorrowMut;
use std::sync::Arc;

/// How to classify.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClassifyOptions {
    /// How many labels, the best ones, from 1; all by default.
    pub top_k: Option<usize>,
    /// What makes scores of the logits; by default what the model was trained for: softmax where one label is right,
    /// sigmoid where each may be (or there is but one), nothing for regression.
    pub function: Option<ScoreFunction>,
    /// Whether a text that is too long is cut at its end, of a pair the longer one, and not refused; false by default.
    pub truncate: bool,
}

/// A label, and how well it suits a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LabelScore {
    /// Its name.
    pub label: String,
    /// Which it is, in the order of the model's labels, or of those that were given.
    pub index: usize,
    /// A probability, or for regression the value.
    pub score: f32,
}

/// Scores of labels by descending score, at most so many; of equal ones, the lowest index first.
pub(crate) fn best_labels(
    labels: &[String],
    scores: &[f32],
    most: Option<usize>,
) -> Vec<LabelScore> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(most.unwrap_or(usize::MAX));
    let with_score = |index: usize| LabelScore {
        label: labels[index].clone(),
        index,
        score: scores[index],
    };
    order.into_iter().map(with_score).collect()
}

/// Classification with a model that has the head for it.
///
/// ```no_run
/// use rq::{Classifier, ClassifyOptions, Model, Session, SessionOptions, Task};
///
/// let session = Session::new(Model::open("topics.rq")?, &SessionOptions::default())?;
/// let mut classifier = Classifier::new(session)?;
/// let texts = ["The team won the match.", "Add butter to the soup."];
/// for labels in classifier.run(texts, &ClassifyOptions::default())? {
///     // By descending score.
///     println!("{:.3} {}", labels[0].score, labels[0].label);
/// }
/// # Ok::<(), rq::Error>(())
/// ```
///
/// A pair of texts is a tuple. A model with one label that was trained on pairs ranks passages for a query:
///
/// ```no_run
/// # use rq::{Classifier, ClassifyOptions, Model, Session, SessionOptions, Task};
/// # let session = Session::new(Model::open("relevance.rq")?, &SessionOptions::default())?;
/// let query = "price of apples";
/// let passages = ["It rained.", "The cost of apples depends on the season."];
/// let pairs = passages.map(|passage| (query, passage));
/// let options = ClassifyOptions::default();
/// let scores = Classifier::new(session)?.run(pairs, &options)?;
/// let mut ranked: Vec<_> = passages.iter().zip(scores).collect();
/// ranked.sort_by(|a, b| b.1[0].score.total_cmp(&a.1[0].score));
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> Classifier<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a classifier of texts.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head(
            "classification",
            Head::SequenceClassification,
            session.borrow(),
        )?;
        Ok(Self { session })
    }

    /// The labels, in the order of the model's outputs.
    pub fn labels(&self) -> &[String] {
        &self.model().config().labels
    }
}

/// The labels of a text, by its logits.
fn answer(config: &Config, logits: &[f32], options: &ClassifyOptions) -> Vec<LabelScore> {
    let scores = match options.function.or(config.score_function) {
        Some(ScoreFunction::Sigmoid) => logits.iter().copied().map(sigmoid).collect(),
        Some(ScoreFunction::None) => logits.to_vec(),
        Some(ScoreFunction::Softmax) | None => softmax(logits),
    };
    best_labels(&config.labels, &scores, options.top_k)
}

/// A text or a pair of texts, as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedClassify(pub(crate) Encoding);

impl PreparedClassify {
    pub(crate) fn new(encoding: Encoding) -> Result<Self, Error> {
        match encoding.ids.is_empty() {
            true => Err(Error::NothingToClassify),
            false => Ok(Self(encoding)),
        }
    }
}

/// The answer: labels by descending score; of equal ones, the lowest index first.
impl<S: BorrowMut<Session>> Task for Classifier<S> {
    type Input<'t> = Texts<'t>;
    type Options = ClassifyOptions;
    type Prepared = PreparedClassify;
    type Answer = Vec<LabelScore>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        texts: impl Into<Texts<'t>>,
        options: &ClassifyOptions,
    ) -> Result<PreparedClassify, Error> {
        let tokenizer = self.model().tokenizer();
        let Texts { text, pair } = texts.into();
        PreparedClassify::new(match pair {
            None => tokenizer.encode(&text, options.truncate)?,
            Some(pair) => tokenizer.encode_pair(&text, &pair, options.truncate)?,
        })
    }

    fn compute(
        &mut self,
        texts: &[PreparedClassify],
        options: &ClassifyOptions,
    ) -> Result<Vec<Vec<LabelScore>>, Error> {
        not_zero("top_k", options.top_k.unwrap_or(usize::MAX))?;
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let mut answers = Vec::with_capacity(texts.len());
        logits_of(session, texts.iter(), |logits| {
            answers.push(answer(model.config(), logits, options));
        })?;
        Ok(answers)
    }
}

/// The logits of each text, one after the other to `f`.
pub(crate) fn logits_of<'t>(
    session: &mut Session,
    texts: impl Iterator<Item = &'t PreparedClassify>,
    mut f: impl FnMut(&[f32]),
) -> Result<(), Error> {
    let outputs = session.model().config().outputs();
    let texts: Vec<&Encoding> = texts.map(|PreparedClassify(encoding)| encoding).collect();
    for group in groups(texts.iter().map(|text| text.ids.len())) {
        let mut batch = Batch::new();
        for text in &texts[group] {
            batch.push_with_types(&text.ids, &text.token_types)?;
        }
        let logits = session.logits(&batch, Rows::Only(batch.first_rows()))?;
        logits.chunks_exact(outputs).for_each(&mut f);
    }
    Ok(())
}

#[cfg(test)]
mod against_transformers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_ties_by_index() {
        let labels = ["a", "b", "c", "d"].map(str::to_owned);
        let best = |most| -> Vec<(String, usize)> {
            let best = best_labels(&labels, &[0.2, 0.3, 0.2, 0.3], most);
            best.into_iter().map(|l| (l.label, l.index)).collect()
        };
        let expected: Vec<(String, usize)> = [(1), (3), (0), (2)]
            .map(|i| (labels[i].clone(), i))
            .to_vec();
        assert_eq!(best(None), expected);
        assert_eq!(best(Some(9)), expected);
        assert_eq!(best(Some(3)), expected[..3]);
        assert_eq!(best(Some(0)), []);
    }
}
