//! Tagging in C.

use super::each;
use crate::enumeration::enumeration;
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{Failure, out, rq_session, rq_status, rq_string, rq_text, string, texts};
use rq::{Aggregation, Entity, TagOptions, Tagger, Task};
use std::ffi::c_char;

/// How tagged tokens become entities.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_aggregation {
    /// Neighbours with the same label are one entity.
    RQ_AGGREGATION_SIMPLE = 0,
    /// The same, with each word taking the label of its first token.
    RQ_AGGREGATION_FIRST = 1,
    /// The same, with each word taking the label that is best on the mean of its tokens.
    RQ_AGGREGATION_AVERAGE = 2,
    /// The same, with each word taking the label of its most certain token.
    RQ_AGGREGATION_MAX = 3,
    /// Each token is an entity.
    RQ_AGGREGATION_NONE = 4,
}

enumeration!(rq_aggregation, "aggregation", Aggregation {
    RQ_AGGREGATION_SIMPLE = [Aggregation::Simple],
    RQ_AGGREGATION_FIRST = [Aggregation::First],
    RQ_AGGREGATION_AVERAGE = [Aggregation::Average],
    RQ_AGGREGATION_MAX = [Aggregation::Max],
    RQ_AGGREGATION_NONE = [Aggregation::None],
});

/// How to tag.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_tag_options {
    /// `sizeof(rq_tag_options)`.
    pub size: usize,
    /// An `rq_aggregation`.
    pub aggregation: i32,
}

// SAFETY: a number behind the size.
unsafe impl Options for rq_tag_options {
    const NAME: &'static str = "rq_tag_options";
}

impl rq_tag_options {
    fn chosen(self) -> Result<TagOptions, Failure> {
        let mut chosen = TagOptions::default();
        chosen.aggregation = rq_aggregation::parse(self.aggregation)?;
        Ok(chosen)
    }
}

/// A tagged part of a text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_entity {
    /// What it is.
    pub label: rq_string,
    /// How certain that is, from 0 to 1.
    pub score: f32,
    /// The part, as the tokenizer writes its tokens.
    pub word: rq_string,
    /// Where it starts in the text, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The same in characters (Unicode code points).
    pub start_character: usize,
    /// The end in characters.
    pub end_character: usize,
}

/// Entities in the order of the text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_entity_list {
    /// The entities.
    pub items: *const rq_entity,
    /// Their number.
    pub len: usize,
}

/// What became of a text of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_entity_result {
    /// Whether the text has an answer.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The answer: what `rq_tag` gives, byte for byte.
    pub answer: rq_entity_list,
}

/// A result for each text of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_entity_results {
    /// The results.
    pub items: *const rq_entity_result,
    /// Their number.
    pub len: usize,
}

fn entities(answer: Vec<Entity>, keeper: &mut Keeper) -> rq_entity_list {
    let entity = |entity: Entity| rq_entity {
        label: keeper.string(&entity.label),
        score: entity.score,
        word: keeper.string(&entity.word),
        start: entity.bytes.start,
        end: entity.bytes.end,
        start_character: entity.characters.start,
        end_character: entity.characters.end,
    };
    let entities = answer.into_iter().map(entity).collect();
    let (items, len) = keeper.list(entities);
    rq_entity_list { items, len }
}

/// The tagged parts of a text of any length: a long one is read in overlapping windows. The model's head must be
/// `RQ_HEAD_TOKEN_CLASSIFICATION`.
///
/// @param options  NULL for the defaults.
/// @param list     Where the list goes; free it with `rq_entity_list_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_tag(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    options: *const rq_tag_options,
    list: *mut *mut rq_entity_list,
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
        let answer = Tagger::new(session)?.run_one(text, &options?.chosen()?)?;
        list.write(hand_over(|keeper| entities(answer, keeper)));
        Ok(())
    })
}

/// As `rq_tag`, for each of `count` texts. What is wrong with a text is in its result, and the others are tagged.
///
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_entity_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_tag_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    count: usize,
    options: *const rq_tag_options,
    results: *mut *mut rq_entity_results,
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
        let answers = each(&mut Tagger::new(session)?, texts, &options?.chosen()?)?;
        let result = |status, message, answer, keeper: &mut Keeper| rq_entity_result {
            status,
            message,
            answer: entities(answer, keeper),
        };
        results.write(hand_over(|keeper| {
            let (items, len) = keeper.results(answers, result);
            rq_entity_results { items, len }
        }));
        Ok(())
    })
}

/// Frees a list. NULL is ignored.
///
/// # Safety
/// `list` is NULL or a list that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_entity_list_free(list: *mut rq_entity_list) {
    // SAFETY: the caller's promise.
    unsafe { free(list) }
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_entity_results_free(results: *mut rq_entity_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
