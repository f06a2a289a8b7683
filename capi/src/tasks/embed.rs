//! Embeddings in C.

use super::{each, fill_room};
use crate::enumeration::enumeration;
use crate::options::{self, Options};
use crate::results::{Keeper, free, hand_over};
use crate::session::with_session;
use crate::{
    Failure, c_string, optional_out, out, room, rq_session, rq_status, rq_string, rq_text, string,
    texts,
};
use rq::{EmbedOptions, Embedder, Pooling, Prompt, Session, Task};
use std::ffi::c_char;
use std::mem::MaybeUninit;

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

/// Whether an embedding is scaled to length 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_normalize {
    /// As the model's publisher says, else not.
    RQ_NORMALIZE_MODEL = 0,
    /// It is.
    RQ_NORMALIZE_YES = 1,
    /// It isn't.
    RQ_NORMALIZE_NO = 2,
}

enumeration!(rq_normalize, "normalize", Option<bool> {
    RQ_NORMALIZE_MODEL = [None],
    RQ_NORMALIZE_YES = [Some(true)],
    RQ_NORMALIZE_NO = [Some(false)],
});

/// How to embed. Enumerations are passed as numbers, so that every value can be checked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_embed_options {
    /// `sizeof(rq_embed_options)`.
    pub size: usize,
    /// An `rq_pooling`.
    pub pooling: i32,
    /// An `rq_normalize`.
    pub normalize: i32,
    /// How many dimensions to keep, the first ones; 0 keeps all. What is left is scaled to length 1 again if the whole was.
    pub dimension: usize,
    /// The name of a prompt of the model, UTF-8 that ends with a zero, or NULL for the one that its publisher says.
    pub prompt: *const c_char,
    /// What to put before the text in place of a prompt of the model, UTF-8 that ends with a zero: "" is nothing, NULL leaves it
    /// to `prompt`.
    pub prompt_text: *const c_char,
    /// Whether to cut a text that is too long, at the end that the model's publisher says: 0 refuses it.
    pub truncate: u8,
}

// SAFETY: numbers and pointers behind the size.
unsafe impl Options for rq_embed_options {
    const NAME: &'static str = "rq_embed_options";
}

/// The options at a pointer.
///
/// # Safety
/// As [`options::read`], and the strings end with a zero.
unsafe fn embed_options(pointer: *const rq_embed_options) -> Result<EmbedOptions, Failure> {
    // SAFETY: the caller's promises.
    let (options, name, text) = unsafe {
        let options = options::read(pointer)?;
        let name = c_string(options.prompt, "prompt")?;
        (options, name, c_string(options.prompt_text, "prompt_text")?)
    };
    let mut chosen = EmbedOptions::default();
    chosen.prompt = match (text, name) {
        (Some(text), _) => Prompt::Text(text.to_owned()),
        (None, Some(name)) => Prompt::Named(name.to_owned()),
        (None, None) => Prompt::Published,
    };
    chosen.dimension = (options.dimension != 0).then_some(options.dimension);
    chosen.pooling = rq_pooling::parse(options.pooling)?;
    chosen.normalize = rq_normalize::parse(options.normalize)?;
    chosen.truncate = options.truncate != 0;
    Ok(chosen)
}

/// The width of the embeddings that options mean for a session's model.
fn width(session: &mut Session, options: &EmbedOptions) -> Result<usize, Failure> {
    let embedder = Embedder::new(session);
    if embedder.per_token(options) {
        let message = "the model is a multi-vector encoder, which has a vector for each token: choose a pooling for one";
        return Err(Failure::new(rq_status::RQ_OPTION, message));
    }
    Ok(embedder.dimension(options)?)
}

/// The embedding of a text: `rq_model_embedding_size` floats, unless options ask for fewer dimensions. Any model has one.
///
/// @param options   NULL for the defaults.
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
            embed_options(options),
            room(out, capacity, "out"),
            optional_out(len),
        )
    };
    with_session(session, |session| {
        let (text, options) = (text?, options?);
        let width = width(session, &options)?;
        let embed = |out: &mut [MaybeUninit<f32>]| {
            let embedding = Embedder::new(session).run_one(text, &options)?;
            out.write_copy_of_slice(&embedding.embedding);
            Ok(())
        };
        fill_room(out, capacity, width, (len, width), embed)
    })
}

/// What became of a text of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_embedding_result {
    /// Whether the text has an embedding.
    pub status: rq_status,
    /// Why it has none; else empty.
    pub message: rq_string,
    /// The embedding: what `rq_embed` gives, byte for byte.
    pub values: *const f32,
    /// Its length; 0 where there is none.
    pub len: usize,
}

/// A result for each text of a batch, in their order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_embedding_results {
    /// The results.
    pub items: *const rq_embedding_result,
    /// Their number.
    pub len: usize,
}

/// As `rq_embed`, for each of `count` texts. What is wrong with a text is in its result, and the others are embedded.
///
/// @param options  NULL for the defaults.
/// @param results  Where the results go; free them with `rq_embedding_results_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_embed_batch(
    session: *mut rq_session,
    texts: *const rq_text,
    count: usize,
    options: *const rq_embed_options,
    results: *mut *mut rq_embedding_results,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (session, texts, options, results) = unsafe {
        (
            session.as_ref(),
            self::texts(texts, count, "texts"),
            embed_options(options),
            out(results, "results"),
        )
    };
    with_session(session, |session| {
        let (texts, options, results) = (texts?, options?, results?);
        width(session, &options)?;
        let answers = each(&mut Embedder::new(session), texts, &options)?;
        let vector = |answer: Result<rq::Embedding, _>| answer.map(|answer| answer.embedding);
        let vectors = answers.into_iter().map(vector).collect();
        let result = |status, message, vector, keeper: &mut Keeper| {
            let (values, len) = keeper.list(vector);
            rq_embedding_result {
                status,
                message,
                values,
                len,
            }
        };
        results.write(hand_over(|keeper| {
            let (items, len) = keeper.results(vectors, result);
            rq_embedding_results { items, len }
        }));
        Ok(())
    })
}

/// Frees the results of a batch. NULL is ignored.
///
/// # Safety
/// `results` is NULL or results that weren't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_embedding_results_free(results: *mut rq_embedding_results) {
    // SAFETY: the caller's promise.
    unsafe { free(results) }
}
