//! Tasks in C: each call answers to one text.

use super::results::{Strings, free, hand_over};
use super::session::with_session;
use super::{Failure, out, rq_session, rq_status, rq_string};
use rq::Batch;
use rq::Rows;
use rq::{Aggregation, Entity, TagOptions, Tagger};
use rq::{Answer, AnswerOptions, Answerer, Question};
use rq::{Classifier, ClassifyOptions, LabelScore};
use rq::{EmbedOptions, Embedder, Pooling};
use rq::{Fill, FillMask, FillOptions};
use rq::{Task, Texts};
use rq_format::ScoreFunction;
use std::ffi::c_char;

/// How to fill masks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_options {
    /// How many tokens for each mask, at most.
    pub top_k: usize,
    /// Whether a text that is too long is cut at its end: 0 for no.
    pub truncate: u8,
}

/// The options that are meant by NULL: five tokens for each mask, and no cut.
#[unsafe(no_mangle)]
pub extern "C" fn rq_fill_options_default() -> rq_fill_options {
    let options = FillOptions::default();
    rq_fill_options {
        top_k: options.top_k,
        truncate: options.truncate.into(),
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
                (chosen.top_k, chosen.truncate) = (options.top_k, options.truncate != 0);
            }
            let masks = FillMask::new(model)?.run_one(session, text, &chosen)?;
            let numbered = masks.iter().enumerate();
            let fills =
                numbered.flat_map(|(mask, fills)| fills.iter().map(move |fill| (mask, fill)));
            let item = |(mask, fill): (_, &Fill), strings: &mut Strings| rq_fill_token {
                mask,
                score: fill.score,
                token: fill.token,
                token_str: strings.keep(&fill.token_str),
                sequence: strings.keep(&fill.sequence),
            };
            let masks = masks.len();
            let head = |items, len| rq_fill_list { items, len, masks };
            place.write(hand_over(fills, item, head));
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

/// Which hidden states make an embedding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_pooling {
    /// As the model's publisher says; the mean where nothing is said.
    RQ_POOLING_MODEL = 0,
    /// The first token's.
    RQ_POOLING_CLS = 1,
    /// The mean over all tokens.
    RQ_POOLING_MEAN = 2,
    /// In each dimension the largest.
    RQ_POOLING_MAX = 3,
}

/// How to embed. Enumerations are numbers here, so that any number is checked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_embed_options {
    /// An `rq_pooling`.
    pub pooling: i32,
    /// Whether the embedding is scaled to the length 1: 1 yes, 0 no, -1 as the model's publisher says.
    pub normalize: i32,
    /// Whether a text that is too long is cut at its end: 0 for no.
    pub truncate: u8,
}

/// The options that are meant by NULL: all as the model's publisher says, and no cut.
#[unsafe(no_mangle)]
pub extern "C" fn rq_embed_options_default() -> rq_embed_options {
    rq_embed_options {
        pooling: rq_pooling::RQ_POOLING_MODEL as i32,
        normalize: -1,
        truncate: 0,
    }
}

/// The embedding of a text: `rq_model_hidden_size` floats. Any model has one.
///
/// @param options   NULL for those of `rq_embed_options_default`.
/// @param out       Room for `capacity` floats; NULL with a capacity of 0 asks for the length.
/// @param len       NULL, or where the number of floats goes, also when `out` is too small (`RQ_BUFFER`).
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_embed(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    options: *const rq_embed_options,
    out: *mut f32,
    capacity: usize,
    len: *mut usize,
) -> rq_status {
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let text = super::text(text, text_len, "text")?;
            let mut chosen = EmbedOptions::default();
            if let Some(options) = options.as_ref() {
                chosen.pooling = match options.pooling {
                    0 => None,
                    1 => Some(Pooling::Cls),
                    2 => Some(Pooling::Mean),
                    3 => Some(Pooling::Max),
                    other => return Err(Failure::option("pooling", other)),
                };
                chosen.normalize = match options.normalize {
                    -1 => None,
                    0 => Some(false),
                    1 => Some(true),
                    other => return Err(Failure::option("normalize", other)),
                };
                chosen.truncate = options.truncate != 0;
            }
            let width = model.config().hidden_size;
            if capacity < width {
                return too_small(width, capacity, len);
            }
            let embedding = Embedder::new(model).run_one(session, text, &chosen)?;
            write_floats(&embedding.embedding, out, len)
        })
    }
}

/// What makes scores of a classifier's logits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_function {
    /// As the model's configuration says.
    RQ_FUNCTION_MODEL = 0,
    /// Probabilities of labels that exclude each other.
    RQ_FUNCTION_SOFTMAX = 1,
    /// For each label the probability that it is there.
    RQ_FUNCTION_SIGMOID = 2,
    /// The logits.
    RQ_FUNCTION_NONE = 3,
}

/// How to classify.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_classify_options {
    /// How many labels, at most; 0 for all.
    pub top_k: usize,
    /// An `rq_function`.
    pub function: i32,
    /// Whether texts that are too long are cut at their end: 0 for no.
    pub truncate: u8,
}

/// The options that are meant by NULL: all labels, the model's function, and no cut.
#[unsafe(no_mangle)]
pub extern "C" fn rq_classify_options_default() -> rq_classify_options {
    rq_classify_options {
        top_k: 0,
        function: rq_function::RQ_FUNCTION_MODEL as i32,
        truncate: 0,
    }
}

/// A label of a text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_label {
    /// Its name.
    pub label: rq_string,
    /// Its number, as in `rq_model_label`.
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
    /// How many.
    pub len: usize,
}

/// The labels of a text, or of a pair of texts. The model's head must be `RQ_HEAD_SEQUENCE_CLASSIFICATION`.
///
/// @param pair     The second text of a pair, or NULL for a single text.
/// @param options  NULL for those of `rq_classify_options_default`.
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
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let texts = Texts {
                text: super::text(text, text_len, "text")?,
                pair: match pair.is_null() && pair_len == 0 {
                    true => None,
                    false => Some(super::text(pair, pair_len, "pair")?),
                },
            };
            let place = out(list, "list")?;
            let mut chosen = ClassifyOptions::default();
            if let Some(options) = options.as_ref() {
                chosen.top_k = (options.top_k > 0).then_some(options.top_k);
                chosen.function = match options.function {
                    0 => None,
                    1 => Some(ScoreFunction::Softmax),
                    2 => Some(ScoreFunction::Sigmoid),
                    3 => Some(ScoreFunction::None),
                    other => return Err(Failure::option("function", other)),
                };
                chosen.truncate = options.truncate != 0;
            }
            let labels = Classifier::new(model)?.run_one(session, texts, &chosen)?;
            let item = |label: LabelScore, strings: &mut Strings| rq_label {
                label: strings.keep(&label.label),
                index: label.index,
                score: label.score,
            };
            place.write(hand_over(labels, item, |items, len| rq_label_list {
                items,
                len,
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
pub unsafe extern "C" fn rq_label_list_free(list: *mut rq_label_list) {
    // SAFETY: the caller's promise.
    unsafe { free::<_, rq_label>(list) }
}

/// How the tags of tokens become entities.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_aggregation {
    /// Each token is one.
    RQ_AGGREGATION_NONE = 0,
    /// Neighbours of one label are one.
    RQ_AGGREGATION_SIMPLE = 1,
    /// The same, and a word has the label of its first token.
    RQ_AGGREGATION_FIRST = 2,
    /// The same with the mean of a word's tokens.
    RQ_AGGREGATION_AVERAGE = 3,
    /// The same with the most certain of a word's tokens.
    RQ_AGGREGATION_MAX = 4,
}

/// How to tag.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_tag_options {
    /// An `rq_aggregation`.
    pub aggregation: i32,
}

/// The options that are meant by NULL: `RQ_AGGREGATION_SIMPLE`.
#[unsafe(no_mangle)]
pub extern "C" fn rq_tag_options_default() -> rq_tag_options {
    rq_tag_options {
        aggregation: rq_aggregation::RQ_AGGREGATION_SIMPLE as i32,
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
    /// How many.
    pub len: usize,
}

/// The tagged parts of a text, which may be of any length: a long one is looked at in windows. The model's head must be
/// `RQ_HEAD_TOKEN_CLASSIFICATION`.
///
/// @param options  NULL for those of `rq_tag_options_default`.
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
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let text = super::text(text, text_len, "text")?;
            let place = out(list, "list")?;
            let mut chosen = TagOptions::default();
            if let Some(options) = options.as_ref() {
                chosen.aggregation = match options.aggregation {
                    0 => Aggregation::None,
                    1 => Aggregation::Simple,
                    2 => Aggregation::First,
                    3 => Aggregation::Average,
                    4 => Aggregation::Max,
                    other => return Err(Failure::option("aggregation", other)),
                };
            }
            let entities = Tagger::new(model)?.run_one(session, text, &chosen)?;
            let item = |entity: Entity, strings: &mut Strings| rq_entity {
                label: strings.keep(&entity.label),
                score: entity.score,
                word: strings.keep(&entity.word),
                start: entity.range.start,
                end: entity.range.end,
                start_character: entity.start,
                end_character: entity.end,
            };
            place.write(hand_over(entities, item, |items, len| rq_entity_list {
                items,
                len,
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
pub unsafe extern "C" fn rq_entity_list_free(list: *mut rq_entity_list) {
    // SAFETY: the caller's promise.
    unsafe { free::<_, rq_entity>(list) }
}

/// How to answer questions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_answer_options {
    /// How many answers, at most.
    pub top_k: usize,
    /// The longest answer in tokens.
    pub max_answer_len: usize,
    /// Whether there may be no answer, so that one of them may be empty: 0 for no.
    pub handle_impossible_answer: u8,
}

/// The options that are meant by NULL: one answer of at most 15 tokens.
#[unsafe(no_mangle)]
pub extern "C" fn rq_answer_options_default() -> rq_answer_options {
    let options = AnswerOptions::default();
    rq_answer_options {
        top_k: options.top_k,
        max_answer_len: options.max_answer_len,
        handle_impossible_answer: options.handle_impossible_answer.into(),
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
    /// How many.
    pub len: usize,
}

/// The parts of a context that answer a question. The context may be of any length: a long one is looked at in windows. The
/// model's head must be `RQ_HEAD_QUESTION_ANSWERING`.
///
/// @param options  NULL for those of `rq_answer_options_default`.
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
    // SAFETY: the caller's promises, here and in the closure.
    unsafe {
        with_session(session, |model, session| {
            let input = Question {
                question: super::text(question, question_len, "question")?,
                context: super::text(context, context_len, "context")?,
            };
            let place = out(list, "list")?;
            let mut chosen = AnswerOptions::default();
            if let Some(options) = options.as_ref() {
                chosen.top_k = options.top_k;
                chosen.max_answer_len = options.max_answer_len;
                chosen.handle_impossible_answer = options.handle_impossible_answer != 0;
            }
            let answers = Answerer::new(model)?.run_one(session, input, &chosen)?;
            let item = |answer: Answer, strings: &mut Strings| rq_answer_span {
                answer: strings.keep(&answer.answer),
                score: answer.score,
                start: answer.bytes.start,
                end: answer.bytes.end,
                start_character: answer.start,
                end_character: answer.end,
            };
            place.write(hand_over(answers, item, |items, len| rq_answer_list {
                items,
                len,
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
pub unsafe extern "C" fn rq_answer_list_free(list: *mut rq_answer_list) {
    // SAFETY: the caller's promise.
    unsafe { free::<_, rq_answer_span>(list) }
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
            let encoding = model
                .tokenizer()
                .encode(text, false)
                .map_err(rq::Error::from)?;
            let width = model.config().hidden_size;
            let count = encoding.ids.len();
            if let Some(tokens) = tokens.as_mut() {
                *tokens = count;
            }
            if count * width > capacity {
                return too_small(count * width, capacity, std::ptr::null_mut());
            }
            let batch = Batch::from_iter([&encoding.ids]);
            let hidden = session.hidden_states(&batch, Rows::All)?;
            write_floats(&hidden, out, std::ptr::null_mut())?;
            if !ids.is_null() {
                ids.copy_from_nonoverlapping(encoding.ids.as_ptr(), count);
            }
            Ok(())
        })
    }
}

/// Writes a result that the caller has room for.
///
/// # Safety
/// `out` is NULL or points to room for the values; `len` is NULL or can be written.
unsafe fn write_floats(values: &[f32], out: *mut f32, len: *mut usize) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::null("out"));
    }
    // SAFETY: it isn't NULL, and has room for them.
    unsafe { out.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { len.as_mut() } {
        *len = values.len();
    }
    Ok(())
}

/// A result for which the caller has no room: says how much it takes.
///
/// # Safety
/// `len` is NULL or can be written.
unsafe fn too_small(needed: usize, capacity: usize, len: *mut usize) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { len.as_mut() } {
        *len = needed;
    }
    let message = format!("out has room for {capacity} floats; the result has {needed}");
    Err(Failure::new(rq_status::RQ_BUFFER, message))
}
