//! Tasks in C: each call answers to one text.

use super::results::{Strings, free, hand_over};
use super::session::{with_session, write_floats};
use super::{Failure, out, rq_session, rq_status, rq_string};
use crate::batch::Batch;
use crate::encoder::Rows;
use crate::fill::{FillMask, FillOptions};
use crate::task::Task;
use std::ffi::c_char;

/// How to fill masks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_options {
    /// How many tokens for each mask, at most.
    pub top_k: usize,
    /// Whether a text that is too long is cut at its end.
    pub truncate: bool,
}

/// The options that are meant by NULL: five tokens for each mask, and no cut.
#[unsafe(no_mangle)]
pub extern "C" fn rq_fill_options_default() -> rq_fill_options {
    let options = FillOptions::default();
    rq_fill_options {
        top_k: options.top_k,
        truncate: options.truncate,
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
    /// How many.
    pub len: usize,
    /// Masks of the text.
    pub masks: usize,
}

/// The best tokens for each mask of a text. The model's head must be `RQ_HEAD_MASKED_LM`.
///
/// @param options  NULL for those of `rq_fill_options_default`.
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
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let text = super::text(text, text_len, "text")?;
            let place = out(list, "list")?;
            let mut chosen = FillOptions::default();
            if let Some(options) = options.as_ref() {
                (chosen.top_k, chosen.truncate) = (options.top_k, options.truncate);
            }
            let masks = FillMask::new(model)?.run_one(session, text, &chosen)?;
            let (mut strings, mut items) = (Strings::default(), Vec::new());
            for (mask, fills) in masks.iter().enumerate() {
                items.extend(fills.iter().map(|fill| rq_fill_token {
                    mask,
                    score: fill.score,
                    token: fill.token,
                    token_str: strings.keep(&fill.token_str),
                    sequence: strings.keep(&fill.sequence),
                }));
            }
            place.write(hand_over(items, strings, |items, len| rq_fill_list {
                items,
                len,
                masks: masks.len(),
            }));
            Ok(())
        })
    }
}

/// Frees a list. NULL is nothing to free.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_fill_list_free(list: *mut rq_fill_list) {
    // SAFETY: the caller's promise.
    unsafe { free::<_, rq_fill_token>(list) }
}

/// The tokens of a text, special ones included, and the last hidden states of each: `tokens` x `rq_model_hidden_size` floats,
/// token after token.
///
/// @param ids       NULL, or room for `capacity / rq_model_hidden_size` ids, where the tokens' ids go.
/// @param out       Room for `capacity` floats; NULL with a capacity of 0 asks for the length.
/// @param tokens    NULL, or where the number of tokens goes, also when `out` is too small (`RQ_BUFFER`).
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_hidden_states(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    ids: *mut u32,
    out: *mut f32,
    capacity: usize,
    tokens: *mut usize,
) -> rq_status {
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let text = super::text(text, text_len, "text")?;
            let encoding = model.tokenizer().encode(text, false)?;
            let width = model.config().hidden_size;
            let (count, needed) = (encoding.ids.len(), encoding.ids.len() * width);
            if let Some(tokens) = tokens.as_mut() {
                *tokens = count;
            }
            if needed > capacity {
                let message =
                    format!("out has room for {capacity} floats; the result has {needed}");
                return Err(Failure::new(rq_status::RQ_BUFFER, message));
            }
            let batch = Batch::from_iter([&encoding.ids]);
            let hidden = session.hidden_states(&batch, Rows::All)?;
            write_floats(&hidden, out, capacity, std::ptr::null_mut())?;
            if !ids.is_null() {
                ids.copy_from_nonoverlapping(encoding.ids.as_ptr(), count);
            }
            Ok(())
        })
    }
}
