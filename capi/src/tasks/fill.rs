//! Fill-mask in C.

use super::each;
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{out, rq_session, rq_status, rq_string, rq_text, string, texts};
use rq::{Fill, FillMask, FillOptions, Task};
use std::ffi::c_char;

/// How to fill masks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_options {
    /// `sizeof(rq_fill_options)`.
    pub size: usize,
    /// How many tokens for each mask, at most; 0 for 5.
    pub top_k: usize,
    /// Whether to cut a text that is too long at its end: 0 refuses it.
    pub truncate: u8,
}

// SAFETY: numbers behind the size.
unsafe impl Options for rq_fill_options {
    const NAME: &'static str = "rq_fill_options";
}

impl rq_fill_options {
    fn chosen(self) -> FillOptions {
        let mut chosen = FillOptions::default();
        if self.top_k != 0 {
            chosen.top_k = self.top_k;
        }
        chosen.truncate = self.truncate != 0;
        chosen
    }
}

/// A token for a mask.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_token {
    /// Which mask of the text, from 0.
    pub mask: usize,
    /// The token's probability, from 0 to 1.
    pub score: f32,
    /// The token's id.
    pub token: u32,
    /// The token's text, with the space before it if it has one.
    pub token_str: rq_string,
    /// The text with this token in the mask's place; with the special tokens if it has other masks.
    pub sequence: rq_string,
}

/// The best tokens, mask after mask, each by descending score.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_list {
    /// The tokens.
    pub items: *const rq_fill_token,
    /// Their number.
    pub len: usize,
    /// Masks of the text.
    pub masks: usize,
}

/// What became of a text of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_result {
    /// Whether the text has an answer.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The answer: what `rq_fill` gives, byte for byte.
    pub answer: rq_fill_list,
}

/// A result for each text of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_results {
    /// The results.
    pub items: *const rq_fill_result,
    /// Their number.
    pub len: usize,
}

fn fills(masks: Vec<Vec<Fill>>, keeper: &mut Keeper) -> rq_fill_list {
    let count = masks.len();
    let numbered = masks.iter().enumerate();
    let fills = numbered.flat_map(|(mask, fills)| fills.iter().map(move |fill| (mask, fill)));
    let token = |(mask, fill): (usize, &Fill)| rq_fill_token {
        mask,
        score: fill.score,
        token: fill.token,
        token_str: keeper.string(&fill.token_str),
        sequence: keeper.string(&fill.sequence),
    };
    let tokens = fills.map(token).collect();
    let (items, len) = keeper.list(tokens);
    rq_fill_list {
        items,
        len,
        masks: count,
    }
}

/// The best tokens for each mask of a text. The model's head must be `RQ_HEAD_MASKED_LM`.
///
/// @param options  NULL for the defaults.
/// @param list     Where the list goes; free it with `rq_fill_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_fill(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    options: *const rq_fill_options,
    list: *mut *mut rq_fill_list,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, text, options, list) = unsafe {
        (
            session.as_ref(),
            string(text, text_len, "text"),
            options::read(options),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let (text, list) = (text?, list?);
        let answer = FillMask::new(session)?.run_one(text, &options?.chosen())?;
        list.write(hand_over(|keeper| fills(answer, keeper)));
        Ok(())
    })
}

/// As `rq_fill`, for each of `count` texts. What is wrong with a text is in its result, and the others are answered.
///
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_fill_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_fill_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    count: usize,
    options: *const rq_fill_options,
    results: *mut *mut rq_fill_results,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, texts, options, results) = unsafe {
        (
            session.as_ref(),
            self::texts(texts, count, "texts"),
            options::read(options),
            out(results, "results"),
        )
    };
    with_session(session, |session| {
        let (texts, results) = (texts?, results?);
        let answers = each(&mut FillMask::new(session)?, texts, &options?.chosen())?;
        let result = |status, message, answer, keeper: &mut Keeper| rq_fill_result {
            status,
            message,
            answer: fills(answer, keeper),
        };
        results.write(hand_over(|keeper| {
            let (items, len) = keeper.results(answers, result);
            rq_fill_results { items, len }
        }));
        Ok(())
    })
}

/// Frees a list. NULL is ignored.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_fill_list_free(list: *mut rq_fill_list) {
    // SAFETY: the caller's promise.
    unsafe { free(list) }
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_fill_results_free(results: *mut rq_fill_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
