//! Classification by labels of the caller's, in C.

use super::classify::{label_results, labels};
use super::each;
use crate::options::{self, Options};
use crate::results::hand_over;
use crate::session::with_session;
use crate::{
    Failure, c_string, out, rq_label_list, rq_label_results, rq_session, rq_status, rq_text,
    string, texts,
};
use rq::{Session, Task, ZeroShot, ZeroShotOptions};
use std::ffi::c_char;

/// How to classify by labels of one's own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_zero_shot_options {
    /// `sizeof(rq_zero_shot_options)`.
    pub size: usize,
    /// A sentence about a label, which is put in place of its `{}`: UTF-8 that ends with a zero, or NULL for "This example is
    /// {}.".
    pub hypothesis_template: *const c_char,
    /// Whether any number of labels may be right, so that each has a probability of its own; 0 where one is, and the
    /// probabilities of all sum up to 1.
    pub multi_label: u8,
    /// Whether to cut a text that is too long at its end: 0 refuses it. A label's sentence is never cut.
    pub truncate: u8,
}

// SAFETY: a pointer and numbers behind the size.
unsafe impl Options for rq_zero_shot_options {
    const NAME: &'static str = "rq_zero_shot_options";
}

/// What a call chooses: the labels, the template and the other options.
struct Chosen<'a> {
    labels: Vec<&'a str>,
    template: &'a str,
    options: ZeroShotOptions,
}

impl<'a> Chosen<'a> {
    /// # Safety
    /// As [`texts`] and [`options::read`], and the template ends with a zero.
    unsafe fn read(
        labels: *const rq_text,
        count: usize,
        options: *const rq_zero_shot_options,
    ) -> Result<Self, Failure> {
        // SAFETY: the caller's promises.
        let (labels, options, template) = unsafe {
            let options = options::read(options)?;
            let template = c_string(options.hypothesis_template, "hypothesis_template")?;
            (texts(labels, count, "labels")?, options, template)
        };
        let mut chosen = ZeroShotOptions::default();
        chosen.multi_label = options.multi_label != 0;
        chosen.truncate = options.truncate != 0;
        Ok(Self {
            labels: labels.into_iter().collect::<Result<_, _>>()?,
            template: template.unwrap_or(ZeroShot::TEMPLATE),
            options: chosen,
        })
    }

    fn task<'s>(&self, session: &'s mut Session) -> Result<ZeroShot<&'s mut Session>, Failure> {
        Ok(ZeroShot::new(session, &self.labels, self.template)?)
    }
}

/// The caller's labels of a text, by a model that was trained on entailment (natural language inference): its head must be
/// `RQ_HEAD_SEQUENCE_CLASSIFICATION`, with a label that begins with "entail", or else its last one stands for that.
///
/// @param labels   `label_count` labels, of which there must be one.
/// @param options  NULL for the defaults.
/// @param list     Where the list of all labels goes; free it with `rq_label_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_zero_shot(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    labels: *const rq_text,
    label_count: usize,
    options: *const rq_zero_shot_options,
    list: *mut *mut rq_label_list,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, text, chosen, list) = unsafe {
        (
            session.as_ref(),
            string(text, text_len, "text"),
            Chosen::read(labels, label_count, options),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let (text, chosen, list) = (text?, chosen?, list?);
        let answer = chosen.task(session)?.run_one(text, &chosen.options)?;
        list.write(hand_over(|keeper| self::labels(answer, keeper)));
        Ok(())
    })
}

/// As `rq_zero_shot`, for each of `count` texts. What is wrong with a text is in its result, and the others are classified.
///
/// @param labels   `label_count` labels, of which there must be one.
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_label_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_zero_shot_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    count: usize,
    labels: *const rq_text,
    label_count: usize,
    options: *const rq_zero_shot_options,
    results: *mut *mut rq_label_results,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, texts, chosen, results) = unsafe {
        (
            session.as_ref(),
            self::texts(texts, count, "texts"),
            Chosen::read(labels, label_count, options),
            out(results, "results"),
        )
    };
    with_session(session, |session| {
        let (texts, chosen, results) = (texts?, chosen?, results?);
        let answers = each(&mut chosen.task(session)?, texts, &chosen.options)?;
        results.write(hand_over(|keeper| label_results(answers, keeper)));
        Ok(())
    })
}
