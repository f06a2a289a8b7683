//! Tasks in C: each call answers to one text.

use crate::enumeration::{enumeration, invalid};
use crate::results::{Strings, free, hand_over};
use crate::session::with_session;
use crate::{Failure, Out, optional_out, out, room, rq_session, rq_status, rq_string, string};
use rq::{
    Aggregation, Answer, AnswerOptions, Answerer, Batch, Classifier, ClassifyOptions, EmbedOptions,
    Embedder, Entity, Fill, FillMask, FillOptions, LabelScore, Pooling, Prompt, Question, Rows,
    ScoreFunction, TagOptions, Tagger, Task, Texts,
};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// How to fill masks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_fill_options {
    /// How many tokens for each mask, at most.
    pub top_k: usize,
    /// Whether to cut a text that is too long at its end: 0 refuses it.
    pub truncate: u8,
}

/// The defaults, for which NULL stands: five tokens for each mask, and texts that are too long are refused.
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
    /// Their number.
    pub len: usize,
    /// Masks of the text.
    pub masks: usize,
}

/// The best tokens for each mask of a text. The model's head must be `RQ_HEAD_MASKED_LM`.
///
/// @param options  NULL for `rq_fill_options_default`.
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
            options.as_ref(),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let (text, list) = (text?, list?);
        let mut chosen = FillOptions::default();
        if let Some(options) = options {
            (chosen.top_k, chosen.truncate) = (options.top_k, options.truncate != 0);
        }
        let masks = FillMask::new(session)?.run_one(text, &chosen)?;
        let numbered = masks.iter().enumerate();
        let fills = numbered.flat_map(|(mask, fills)| fills.iter().map(move |fill| (mask, fill)));
        let item = |(mask, fill): (_, &Fill), strings: &mut Strings| rq_fill_token {
            mask,
            score: fill.score,
            token: fill.token,
            token_str: strings.keep(&fill.token_str),
            sequence: strings.keep(&fill.sequence),
        };
        let masks = masks.len();
        list.write(hand_over(fills, item, |items, len| rq_fill_list {
            items,
            len,
            masks,
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
    unsafe { free::<_, rq_fill_token>(list) }
}

/// How hidden states become an embedding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_pooling {
    /// As the model's publisher says, else the mean.
    RQ_POOLING_MODEL = 0,
    /// The first token's.
    RQ_POOLING_CLS = 1,
    /// The mean over all tokens.
    RQ_POOLING_MEAN = 2,
    /// The largest in each dimension.
    RQ_POOLING_MAX = 3,
    /// The sum over all tokens, divided by the square root of their number.
    RQ_POOLING_MEAN_SQRT_LEN = 4,
    /// The mean over all tokens, each with the weight of its position.
    RQ_POOLING_WEIGHTED_MEAN = 5,
    /// The last token's.
    RQ_POOLING_LAST_TOKEN = 6,
}

enumeration!(rq_pooling, "pooling", Option<Pooling> {
    RQ_POOLING_MODEL = [None],
    RQ_POOLING_CLS = [Some(Pooling::Cls)],
    RQ_POOLING_MEAN = [Some(Pooling::Mean)],
    RQ_POOLING_MAX = [Some(Pooling::Max)],
    RQ_POOLING_MEAN_SQRT_LEN = [Some(Pooling::MeanSqrtLen)],
    RQ_POOLING_WEIGHTED_MEAN = [Some(Pooling::WeightedMean)],
    RQ_POOLING_LAST_TOKEN = [Some(Pooling::LastToken)],
});

/// How to embed. Enumerations are passed as numbers, so that every value can be checked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_embed_options {
    /// An `rq_pooling`.
    pub pooling: i32,
    /// Whether to scale the embedding to length 1: 1 yes, 0 no, -1 as the model's publisher says.
    pub normalize: i32,
    /// Whether to cut a text that is too long, at the end that the model's publisher says: 0 refuses it.
    pub truncate: u8,
    /// How many dimensions to keep, the first ones; 0 keeps all. What is left is scaled to length 1 again if the whole was.
    pub dimension: usize,
    /// The name of a prompt of the model, UTF-8 that ends with a zero, or NULL for the one that its publisher says.
    pub prompt: *const c_char,
    /// What to put before the text in place of a prompt of the model, UTF-8 that ends with a zero: "" is nothing, NULL leaves it
    /// to `prompt`.
    pub prompt_text: *const c_char,
}

/// The defaults, for which NULL stands: everything as the model's publisher says, and texts that are too long are refused.
#[unsafe(no_mangle)]
pub extern "C" fn rq_embed_options_default() -> rq_embed_options {
    rq_embed_options {
        pooling: rq_pooling::RQ_POOLING_MODEL as i32,
        normalize: -1,
        truncate: 0,
        dimension: 0,
        prompt: std::ptr::null(),
        prompt_text: std::ptr::null(),
    }
}

/// The embedding of a text: `rq_model_embedding_size` floats, unless options ask for fewer dimensions. Any model has one.
///
/// @param options   NULL for `rq_embed_options_default`.
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
    // SAFETY: the caller's promises.
    let (session, text, options, out, len) = unsafe {
        (
            session.as_ref(),
            string(text, text_len, "text"),
            options.as_ref(),
            room(out, capacity, "out"),
            optional_out(len),
        )
    };
    let optional = |text: *const c_char, name| {
        // SAFETY: the caller's promise: it ends with a zero.
        let string = || unsafe { string(text, CStr::from_ptr(text).to_bytes().len(), name) };
        (!text.is_null()).then(string).transpose()
    };
    with_session(session, |session| {
        let text = text?;
        let mut chosen = EmbedOptions::default();
        if let Some(options) = options {
            let name = optional(options.prompt, "prompt")?;
            let prompt_text = optional(options.prompt_text, "prompt_text")?;
            chosen.prompt = match (prompt_text, name) {
                (Some(text), _) => Prompt::Text(text.to_owned()),
                (None, Some(name)) => Prompt::Named(name.to_owned()),
                (None, None) => Prompt::Published,
            };
            chosen.dimension = (options.dimension != 0).then_some(options.dimension);
            chosen.pooling = rq_pooling::parse(options.pooling)?;
            chosen.normalize = match options.normalize {
                -1 => None,
                0 => Some(false),
                1 => Some(true),
                other => return Err(invalid("normalize", other)),
            };
            chosen.truncate = options.truncate != 0;
        }
        let embedder = Embedder::new(&mut *session);
        if embedder.per_token(&chosen) {
            let message = "the model is a multi-vector encoder, which has a vector for each token: choose a pooling for one";
            return Err(Failure::new(rq_status::RQ_OPTION, message));
        }
        let width = embedder.dimension(&chosen)?;
        let embed = |out: &mut [MaybeUninit<f32>]| {
            let embedding = Embedder::new(session).run_one(text, &chosen)?;
            out.write_copy_of_slice(&embedding.embedding);
            Ok(())
        };
        fill_room(out, capacity, width, (len, width), embed)
    })
}

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

enumeration!(rq_function, "function", Option<ScoreFunction>, both ways {
    RQ_FUNCTION_MODEL = [None],
    RQ_FUNCTION_SOFTMAX = [Some(ScoreFunction::Softmax)],
    RQ_FUNCTION_SIGMOID = [Some(ScoreFunction::Sigmoid)],
    RQ_FUNCTION_NONE = [Some(ScoreFunction::None)],
});

/// How to classify.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_classify_options {
    /// How many labels, at most; 0 for all.
    pub top_k: usize,
    /// An `rq_function`.
    pub function: i32,
    /// Whether to cut texts that are too long at their end: 0 refuses them.
    pub truncate: u8,
}

/// The defaults, for which NULL stands: all labels, the model's function, and texts that are too long are refused.
#[unsafe(no_mangle)]
pub extern "C" fn rq_classify_options_default() -> rq_classify_options {
    rq_classify_options {
        top_k: 0,
        function: rq_function::from(ClassifyOptions::default().function) as i32,
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
    /// Their number.
    pub len: usize,
}

/// The labels of a text, or of a pair of texts. The model's head must be `RQ_HEAD_SEQUENCE_CLASSIFICATION`.
///
/// @param pair     The second text of a pair, or NULL for a single text.
/// @param options  NULL for `rq_classify_options_default`.
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
    let (session, first, second, options, list) = unsafe {
        let second = match pair.is_null() && pair_len == 0 {
            true => Ok(None),
            false => string(pair, pair_len, "pair").map(Some),
        };
        (
            session.as_ref(),
            string(text, text_len, "text"),
            second,
            options.as_ref(),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let texts = Texts {
            text: first?.into(),
            pair: second?.map(Into::into),
        };
        let list = list?;
        let mut chosen = ClassifyOptions::default();
        if let Some(options) = options {
            chosen.top_k = (options.top_k > 0).then_some(options.top_k);
            chosen.function = rq_function::parse(options.function)?;
            chosen.truncate = options.truncate != 0;
        }
        let labels = Classifier::new(session)?.run_one(texts, &chosen)?;
        let item = |label: LabelScore, strings: &mut Strings| rq_label {
            label: strings.keep(&label.label),
            index: label.index,
            score: label.score,
        };
        list.write(hand_over(labels, item, |items, len| rq_label_list {
            items,
            len,
        }));
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
    unsafe { free::<_, rq_label>(list) }
}

/// How tagged tokens become entities.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_aggregation {
    /// Each token is an entity.
    RQ_AGGREGATION_NONE = 0,
    /// Neighbours with the same label are one entity.
    RQ_AGGREGATION_SIMPLE = 1,
    /// The same, with each word taking the label of its first token.
    RQ_AGGREGATION_FIRST = 2,
    /// The same, with each word taking the label that is best on the mean of its tokens.
    RQ_AGGREGATION_AVERAGE = 3,
    /// The same, with each word taking the label of its most certain token.
    RQ_AGGREGATION_MAX = 4,
}

enumeration!(rq_aggregation, "aggregation", Aggregation, both ways {
    RQ_AGGREGATION_NONE = [Aggregation::None],
    RQ_AGGREGATION_SIMPLE = [Aggregation::Simple],
    RQ_AGGREGATION_FIRST = [Aggregation::First],
    RQ_AGGREGATION_AVERAGE = [Aggregation::Average],
    RQ_AGGREGATION_MAX = [Aggregation::Max],
});

/// How to tag.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_tag_options {
    /// An `rq_aggregation`.
    pub aggregation: i32,
}

/// The defaults, for which NULL stands: `RQ_AGGREGATION_SIMPLE`.
#[unsafe(no_mangle)]
pub extern "C" fn rq_tag_options_default() -> rq_tag_options {
    rq_tag_options {
        aggregation: rq_aggregation::from(TagOptions::default().aggregation) as i32,
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

/// The tagged parts of a text of any length: a long one is read in overlapping windows. The model's head must be
/// `RQ_HEAD_TOKEN_CLASSIFICATION`.
///
/// @param options  NULL for `rq_tag_options_default`.
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
            options.as_ref(),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let (text, list) = (text?, list?);
        let mut chosen = TagOptions::default();
        if let Some(options) = options {
            chosen.aggregation = rq_aggregation::parse(options.aggregation)?;
        }
        let entities = Tagger::new(session)?.run_one(text, &chosen)?;
        let item = |entity: Entity, strings: &mut Strings| rq_entity {
            label: strings.keep(&entity.label),
            score: entity.score,
            word: strings.keep(&entity.word),
            start: entity.bytes.start,
            end: entity.bytes.end,
            start_character: entity.characters.start,
            end_character: entity.characters.end,
        };
        list.write(hand_over(entities, item, |items, len| rq_entity_list {
            items,
            len,
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
    /// Whether the context may hold no answer, which is then an empty one: 0 for no.
    pub handle_impossible_answer: u8,
}

/// The defaults, for which NULL stands: one answer of at most 15 tokens.
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
    /// Their number.
    pub len: usize,
}

/// The parts of a context that answer a question. The context may be of any length: a long one is read in overlapping windows.
/// The model's head must be `RQ_HEAD_QUESTION_ANSWERING`.
///
/// @param options  NULL for `rq_answer_options_default`.
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
            options.as_ref(),
            out(list, "list"),
        )
    };
    with_session(session, |session| {
        let input = Question {
            question: question?.into(),
            context: context?.into(),
        };
        let list = list?;
        let mut chosen = AnswerOptions::default();
        if let Some(options) = options {
            chosen.top_k = options.top_k;
            chosen.max_answer_len = options.max_answer_len;
            chosen.handle_impossible_answer = options.handle_impossible_answer != 0;
        }
        let answers = Answerer::new(session)?.run_one(input, &chosen)?;
        let item = |answer: Answer, strings: &mut Strings| rq_answer_span {
            answer: strings.keep(&answer.answer),
            score: answer.score,
            start: answer.bytes.start,
            end: answer.bytes.end,
            start_character: answer.characters.start,
            end_character: answer.characters.end,
        };
        list.write(hand_over(answers, item, |items, len| rq_answer_list {
            items,
            len,
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
    // SAFETY: the caller's promises: `ids` has room for the tokens that `out` has room for.
    let (session, text, ids, out, tokens) = unsafe {
        let session = session.as_ref();
        let most = session.map_or(0, |session| capacity / session.hidden_size);
        let ids = match ids.is_null() {
            true => Ok(None),
            false => room(ids, most, "ids").map(Some),
        };
        (
            session,
            string(text, text_len, "text"),
            ids,
            room(out, capacity, "out"),
            optional_out(tokens),
        )
    };
    with_session(session, |session| {
        let encoding = session.model().tokenizer().encode(text?, false);
        let encoding = encoding.map_err(rq::Error::from)?;
        let count = encoding.ids.len();
        let needed = count * session.model().config().hidden_size;
        let ids = ids?;
        let compute = |out: &mut [MaybeUninit<f32>]| {
            let hidden = session.hidden_states(&Batch::from_iter([&encoding.ids]), Rows::All)?;
            out.write_copy_of_slice(&hidden);
            if let Some(ids) = ids {
                ids[..count].write_copy_of_slice(&encoding.ids);
            }
            Ok(())
        };
        fill_room(out, capacity, needed, (tokens, count), compute)
    })
}

/// Fills `needed` floats of the caller's room, and says how much there is: on success, and where the room is too small.
fn fill_room(
    out: Result<&mut [MaybeUninit<f32>], Failure>,
    capacity: usize,
    needed: usize,
    (place, length): (Option<Out<'_, usize>>, usize),
    fill: impl FnOnce(&mut [MaybeUninit<f32>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let filled = match capacity < needed {
        true => {
            let message = format!("out has room for {capacity} floats; the result has {needed}");
            Err(Failure::new(rq_status::RQ_BUFFER, message))
        }
        false => Ok(fill(&mut out?[..needed])?),
    };
    if let Some(place) = place {
        place.write(length);
    }
    filled
}
