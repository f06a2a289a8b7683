//! Classification in C.

use super::{each, zip};
use crate::enumeration::enumeration;
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{
    Failure, optional_string, out, rq_session, rq_status, rq_string, rq_text, string, texts,
};
use rq::{Classifier, ClassifyOptions, LabelScore, ScoreFunction, Task, Texts};
use std::ffi::c_char;

/// How a classifier's logits become scores.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_function {
    /// As the model's configuration says.
    RQ_FUNCTION_MODEL = 0,
    /// Softmax: probabilities of labels that exclude each other.
    RQ_FUNCTION_SOFTMAX = 1,
    /// Sigmoid: for each label, the probability that it applies.
    RQ_FUNCTION_SIGMOID = 2,
    /// The logits.
    RQ_FUNCTION_NONE = 3,
}

enumeration!(rq_function, "function", Option<ScoreFunction> {
    RQ_FUNCTION_MODEL = [None],
    RQ_FUNCTION_SOFTMAX = [Some(ScoreFunction::Softmax)],
    RQ_FUNCTION_SIGMOID = [Some(ScoreFunction::Sigmoid)],
    RQ_FUNCTION_NONE = [Some(ScoreFunction::None)],
});

/// How to classify.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_classify_options {
    /// `sizeof(rq_classify_options)`.
    pub size: usize,
    /// How many labels, at most; 0 for all.
    pub top_k: usize,
    /// An `rq_function`.
    pub function: i32,
    /// Whether to cut texts that are too long at their end: 0 refuses them.
    pub truncate: u8,
}

// SAFETY: numbers behind the size.
unsafe impl Options for rq_classify_options {
    const NAME: &'static str = "rq_classify_options";
}

impl rq_classify_options {
    fn chosen(self) -> Result<ClassifyOptions, Failure> {
        let mut chosen = ClassifyOptions::default();
        chosen.top_k = (self.top_k > 0).then_some(self.top_k);
        chosen.function = rq_function::parse(self.function)?;
        chosen.truncate = self.truncate != 0;
        Ok(chosen)
    }
}

/// A label of a text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_label {
    /// Its name.
    pub label: rq_string,
    /// Its number, as in `rq_model_label`, or in the labels that were given.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// Labels by descending score.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_label_list {
    /// The labels.
    pub items: *const rq_label,
    /// Their number.
    pub len: usize,
}

/// What became of a text of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_label_result {
    /// Whether the text has an answer.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The answer: what a call for this text alone gives, byte for byte.
    pub answer: rq_label_list,
}

/// A result for each text of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_label_results {
    /// The results.
    pub items: *const rq_label_result,
    /// Their number.
    pub len: usize,
}

pub(super) fn labels(answer: Vec<LabelScore>, keeper: &mut Keeper) -> rq_label_list {
    let label = |label: LabelScore| rq_label {
        label: keeper.string(&label.label),
        index: label.index,
        score: label.score,
    };
    let labels = answer.into_iter().map(label).collect();
    let (items, len) = keeper.list(labels);
    rq_label_list { items, len }
}

pub(super) fn label_results(
    answers: Vec<Result<Vec<LabelScore>, Failure>>,
    keeper: &mut Keeper,
) -> rq_label_results {
    let result = |status, message, answer, keeper: &mut Keeper| rq_label_result {
        status,
        message,
        answer: labels(answer, keeper),
    };
    let (items, len) = keeper.results(answers, result);
    rq_label_results { items, len }
}

/// The labels of a text, or of a pair of texts. The model's head must be `RQ_HEAD_SEQUENCE_CLASSIFICATION`.
///
/// @param pair     The second text of a pair, or NULL for a single text.
/// @param options  NULL for the defaults.
/// @param list     Where the list goes; free it with `rq_label_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_classify(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    pair: *const c_char,
    pair_len: usize,
    options: *const rq_classify_options,
    list: *mut *mut rq_label_list,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, text, pair, options, list) = unsafe {
        (
            session.as_ref(),
            string(text, text_len, "text"),
            optional_string(pair, pair_len, "pair"),
            options::read(options),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let texts = Texts {
            text: text?.into(),
            pair: pair?.map(Into::into),
        };
        let list = list?;
        let answer = Classifier::new(session)?.run_one(texts, &options?.chosen()?)?;
        list.write(hand_over(|keeper| labels(answer, keeper)));
        Ok(())
    })
}

/// As `rq_classify`, for each of `count` texts or pairs. What is wrong with a text is in its result, and the others are
/// classified.
///
/// @param pairs    The second text of each pair, or NULL for single texts.
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_label_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_classify_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    pairs: *const rq_text,
    count: usize,
    options: *const rq_classify_options,
    results: *mut *mut rq_label_results,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, firsts, seconds, options, results) = unsafe {
        let seconds = match pairs.is_null() {
            true => Ok(None),
            false => self::texts(pairs, count, "pairs").map(Some),
        };
        (
            session.as_ref(),
            self::texts(texts, count, "texts"),
            seconds,
            options::read(options),
            out(results, "results"),
        )
    };
    with_session(session, |session| {
        let (firsts, results) = (firsts?, results?);
        let inputs: Vec<Result<Texts<'_>, Failure>> = match seconds? {
            None => firsts.into_iter().map(|t| t.map(Into::into)).collect(),
            Some(seconds) => {
                let pairs = zip(firsts, seconds).into_iter();
                pairs.map(|pair| pair.map(Into::into)).collect()
            }
        };
        let options = options?.chosen()?;
        let answers = each(&mut Classifier::new(session)?, inputs, &options)?;
        results.write(hand_over(|keeper| label_results(answers, keeper)));
        Ok(())
    })
}

/// Frees a list. NULL is ignored.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_label_list_free(list: *mut rq_label_list) {
    // SAFETY: the caller's promise.
    unsafe { free(list) }
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_label_results_free(results: *mut rq_label_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
