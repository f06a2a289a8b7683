//! Scores of texts in C.

use super::each;
use crate::enumeration::enumeration;
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{Failure, out, rq_session, rq_status, rq_string, rq_text, string, texts};
use rq::{Score, ScoreMethod, ScoreOptions, Scorer, Task, TokenScore};
use std::ffi::c_char;

/// What is masked to score a token.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_score_method {
    /// The token alone (Salazar et al. 2020).
    RQ_SCORE_ORIGINAL = 0,
    /// Also the later tokens of its word (Kauf and Ivanova 2023).
    RQ_SCORE_WITHIN_WORD_L2R = 1,
}

enumeration!(rq_score_method, "method", ScoreMethod {
    RQ_SCORE_ORIGINAL = [ScoreMethod::Original],
    RQ_SCORE_WITHIN_WORD_L2R = [ScoreMethod::WithinWordL2r],
});

/// How to score.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_score_options {
    /// `sizeof(rq_score_options)`.
    pub size: usize,
    /// An `rq_score_method`.
    pub method: i32,
    /// Whether to cut a text that is too long at its end: 0 refuses it.
    pub truncate: u8,
}

// SAFETY: numbers behind the size.
unsafe impl Options for rq_score_options {
    const NAME: &'static str = "rq_score_options";
}

impl rq_score_options {
    fn chosen(self) -> Result<ScoreOptions, Failure> {
        let mut chosen = ScoreOptions::default();
        chosen.method = rq_score_method::parse(self.method)?;
        chosen.truncate = self.truncate != 0;
        Ok(chosen)
    }
}

/// How probable the model finds a token.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_token_score {
    /// The token's id.
    pub token: u32,
    /// The token's text, with the space before it if it has one.
    pub token_str: rq_string,
    /// The natural logarithm of its probability over the whole vocabulary.
    pub log_probability: f64,
}

/// How probable the model finds a text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_score_list {
    /// All tokens but those that are put around a text.
    pub items: *const rq_token_score,
    /// Their number.
    pub len: usize,
    /// The pseudo-log-likelihood in nats: the sum over the tokens.
    pub total: f64,
    /// `exp(-total / len)`; NaN for a text without tokens.
    pub pseudo_perplexity: f64,
}

/// What became of a text of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_score_result {
    /// Whether the text has a score.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The score: what `rq_score` gives, byte for byte.
    pub answer: rq_score_list,
}

/// A result for each text of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_score_results {
    /// The results.
    pub items: *const rq_score_result,
    /// Their number.
    pub len: usize,
}

fn scores(score: Score, keeper: &mut Keeper) -> rq_score_list {
    let pseudo_perplexity = score.pseudo_perplexity().unwrap_or(f64::NAN);
    let token = |token: TokenScore| rq_token_score {
        token: token.token,
        token_str: keeper.string(&token.token_str),
        log_probability: token.log_probability,
    };
    let tokens = score.tokens.into_iter().map(token).collect();
    let (items, len) = keeper.list(tokens);
    rq_score_list {
        items,
        len,
        total: score.total,
        pseudo_perplexity,
    }
}

/// How probable a text is, by its pseudo-log-likelihood: the probability of each token where it is masked. A text of n tokens takes
/// n passes over it. The model's head must be `RQ_HEAD_MASKED_LM`.
///
/// @param options  NULL for the defaults.
/// @param list     Where the score and those of the tokens go; free them with `rq_score_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_score(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    options: *const rq_score_options,
    list: *mut *mut rq_score_list,
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
        let score = Scorer::new(session)?.run_one(text, &options?.chosen()?)?;
        list.write(hand_over(|keeper| scores(score, keeper)));
        Ok(())
    })
}

/// As `rq_score`, for each of `count` texts. What is wrong with a text is in its result, and the others are scored.
///
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_score_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_score_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    count: usize,
    options: *const rq_score_options,
    results: *mut *mut rq_score_results,
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
        let answers = each(&mut Scorer::new(session)?, texts, &options?.chosen()?)?;
        let result = |status, message, answer, keeper: &mut Keeper| rq_score_result {
            status,
            message,
            answer: scores(answer, keeper),
        };
        results.write(hand_over(|keeper| {
            let (items, len) = keeper.results(answers, result);
            rq_score_results { items, len }
        }));
        Ok(())
    })
}

/// Frees a score. NULL is ignored.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_score_list_free(list: *mut rq_score_list) {
    // SAFETY: the caller's promise.
    unsafe { free(list) }
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_score_results_free(results: *mut rq_score_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
