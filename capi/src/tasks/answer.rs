//! Question answering in C.

use super::{each, zip};
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{out, rq_session, rq_status, rq_string, rq_text, string, texts};
use rq::{Answer, AnswerOptions, Answerer, Task};
use std::ffi::c_char;

/// How to answer questions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_options {
    /// `sizeof(rq_answer_options)`.
    pub size: usize,
    /// How many answers, at most; 0 for 1.
    pub top_k: usize,
    /// The longest answer in tokens; 0 for 15.
    pub max_answer_len: usize,
    /// Whether the context may hold no answer, which is then an empty one: 0 for no.
    pub handle_impossible_answer: u8,
}

// SAFETY: numbers behind the size.
unsafe impl Options for rq_answer_options {
    const NAME: &'static str = "rq_answer_options";
}

impl rq_answer_options {
    fn chosen(self) -> AnswerOptions {
        let mut chosen = AnswerOptions::default();
        if self.top_k != 0 {
            chosen.top_k = self.top_k;
        }
        if self.max_answer_len != 0 {
            chosen.max_answer_len = self.max_answer_len;
        }
        chosen.handle_impossible_answer = self.handle_impossible_answer != 0;
        chosen
    }
}

/// An answer: a part of the context.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_span {
    /// The part.
    pub answer: rq_string,
    /// How certain it is.
    pub score: f32,
    /// Where it starts in the context, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The same in characters (Unicode code points).
    pub start_character: usize,
    /// The end in characters.
    pub end_character: usize,
}

/// Answers by descending score.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_list {
    /// The answers.
    pub items: *const rq_answer_span,
    /// Their number.
    pub len: usize,
}

/// What became of a question of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_result {
    /// Whether the question has an answer.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The answer: what `rq_answer` gives, byte for byte.
    pub answer: rq_answer_list,
}

/// A result for each question of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_results {
    /// The results.
    pub items: *const rq_answer_result,
    /// Their number.
    pub len: usize,
}

fn spans(answers: Vec<Answer>, keeper: &mut Keeper) -> rq_answer_list {
    let span = |answer: Answer| rq_answer_span {
        answer: keeper.string(&answer.answer),
        score: answer.score,
        start: answer.bytes.start,
        end: answer.bytes.end,
        start_character: answer.characters.start,
        end_character: answer.characters.end,
    };
    let spans = answers.into_iter().map(span).collect();
    let (items, len) = keeper.list(spans);
    rq_answer_list { items, len }
}

/// The parts of a context that answer a question. The context may be of any length: a long one is read in overlapping windows.
/// The model's head must be `RQ_HEAD_QUESTION_ANSWERING`.
///
/// @param options  NULL for the defaults.
/// @param list     Where the list goes; free it with `rq_answer_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_answer(
    session: *mut rq_session,
    question: *const c_char,
    question_len: usize,
    context: *const c_char,
    context_len: usize,
    options: *const rq_answer_options,
    list: *mut *mut rq_answer_list,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, question, context, options, list) = unsafe {
        (
            session.as_ref(),
            string(question, question_len, "question"),
            string(context, context_len, "context"),
            options::read(options),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let (input, list) = ((question?, context?), list?);
        let answers = Answerer::new(session)?.run_one(input, &options?.chosen())?;
        list.write(hand_over(|keeper| spans(answers, keeper)));
        Ok(())
    })
}

/// As `rq_answer`, for each of `count` questions, each with a context of its own. What is wrong with one of them is in its
/// result, and the others are answered.
///
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_answer_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_answer_batch(
    session: *mut rq_session,
    questions: *const rq_text,
    contexts: *const rq_text,
    count: usize,
    options: *const rq_answer_options,
    results: *mut *mut rq_answer_results,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, questions, contexts, options, results) = unsafe {
        (
            session.as_ref(),
            texts(questions, count, "questions"),
            texts(contexts, count, "contexts"),
            options::read(options),
            out(results, "results"),
        )
    };
    with_session(session, |session| {
        let (inputs, results) = (zip(questions?, contexts?), results?);
        let answers = each(&mut Answerer::new(session)?, inputs, &options?.chosen())?;
        let result = |status, message, answer, keeper: &mut Keeper| rq_answer_result {
            status,
            message,
            answer: spans(answer, keeper),
        };
        results.write(hand_over(|keeper| {
            let (items, len) = keeper.results(answers, result);
            rq_answer_results { items, len }
        }));
        Ok(())
    })
}

/// Frees a list. NULL is ignored.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_answer_list_free(list: *mut rq_answer_list) {
    // SAFETY: the caller's promise.
    unsafe { free(list) }
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_answer_results_free(results: *mut rq_answer_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
