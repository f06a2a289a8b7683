//! Models in C.

use crate::results::in_c;
use crate::{
    Failure, Out, fence, free, optional_out, optional_string, out, reference, report, rq_message,
    rq_status, rq_string, slice, string,
};
use rq::Model;
use rq_format::Head;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::Arc;

/// A model. It can be shared by threads, and by sessions, which keep it alive.
#[derive(Debug)]
pub struct rq_model {
    pub(super) model: Arc<Model>,
    labels: Vec<CString>,
    mask_token: CString,
}

/// What a model's head computes, which decides what the model is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_head {
    /// No head: for `rq_embed`, as any model is.
    RQ_HEAD_NONE = 0,
    /// For `rq_fill` and `rq_score`.
    RQ_HEAD_MASKED_LM = 1,
    /// For `rq_classify`, and where the labels are those of entailment for `rq_zero_shot`.
    RQ_HEAD_SEQUENCE_CLASSIFICATION = 2,
    /// For `rq_tag`.
    RQ_HEAD_TOKEN_CLASSIFICATION = 3,
    /// For `rq_answer`.
    RQ_HEAD_QUESTION_ANSWERING = 4,
}

impl From<Head> for rq_head {
    fn from(head: Head) -> Self {
        match head {
            Head::None => Self::RQ_HEAD_NONE,
            Head::MaskedLm => Self::RQ_HEAD_MASKED_LM,
            Head::SequenceClassification => Self::RQ_HEAD_SEQUENCE_CLASSIFICATION,
            Head::TokenClassification => Self::RQ_HEAD_TOKEN_CLASSIFICATION,
            Head::QuestionAnswering => Self::RQ_HEAD_QUESTION_ANSWERING,
        }
    }
}

impl rq_model {
    fn new(model: Model) -> Box<Self> {
        Box::new(Self {
            labels: model.config().labels.iter().map(|l| in_c(l)).collect(),
            mask_token: in_c(model.tokenizer().mask_token().unwrap_or_default()),
            model: Arc::new(model),
        })
    }
}

/// Hands a model to the caller.
fn open(
    place: Result<Out<'_, *mut rq_model>, Failure>,
    message: Option<Out<'_, rq_message>>,
    open: impl FnOnce() -> Result<Model, Failure>,
) -> rq_status {
    let result = fence(|| {
        let place = place?;
        place.write(Box::into_raw(rq_model::new(open()?)));
        Ok(())
    });
    report(result, message)
}

/// Maps the model file at `path`: nothing is copied, and its pages stay the file's. While the model lives, the file must not be
/// changed in place or cut; it may be replaced by another.
///
/// @param path     The file's path, UTF-8, `path_len` bytes.
/// @param message  NULL, or where to say why it failed.
/// @param model    Where the model goes; free it with `rq_model_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_open(
    path: *const c_char,
    path_len: usize,
    message: *mut rq_message,
    model: *mut *mut rq_model,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (path, message, model) = unsafe {
        (
            string(path, path_len, "path"),
            optional_out(message),
            out(model, "model"),
        )
    };
    open(model, message, || {
        let path = path?;
        if let Some(at) = path.find('\0') {
            let message =
                format!("path has a NUL at byte {at}, which no file's name has: {path:?}");
            return Err(Failure::new(rq_status::RQ_OPTION, message));
        }
        Model::open(Path::new(path)).map_err(|error| {
            let mut failure = Failure::from(error);
            // What the system says names it.
            if !failure.message.contains(path) {
                failure.message = format!("{path}: {}", failure.message);
            }
            failure
        })
    })
}

/// Maps the model that is `length` bytes at `offset` of an open file, such as an uncompressed asset inside an Android package
/// (AAsset_openFileDescriptor). It is used in place if `offset` is a multiple of 64, else copied to memory once. The
/// descriptor may be closed afterwards. Only on Unix-like systems.
///
/// # Safety
/// As `rq_model_open`, and `fd` is an open file descriptor.
#[cfg(unix)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_open_fd(
    fd: i32,
    offset: u64,
    length: u64,
    message: *mut rq_message,
    model: *mut *mut rq_model,
) -> rq_status {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: the caller's promises; a descriptor isn't negative.
    let (fd, message, model) = unsafe {
        let fd = match fd {
            0.. => Ok(BorrowedFd::borrow_raw(fd)),
            _ => Err(Failure::new(
                rq_status::RQ_OPTION,
                format!("fd is {fd}, which is no file"),
            )),
        };
        (fd, optional_out(message), out(model, "model"))
    };
    open(model, message, || {
        let fd = fd?;
        let file = fd.try_clone_to_owned().map_err(|e| {
            let message = format!("can't use file descriptor {}: {e}", fd.as_raw_fd());
            Failure::new(rq_status::RQ_IO, message)
        })?;
        let end = offset.saturating_add(length);
        Ok(Model::open_part(&file.into(), offset..end)?)
    })
}

/// Takes the bytes of a model file from memory. If they begin at a multiple of 64 they are used in place, and must stay as they
/// are until the model and all its sessions are freed; else they are copied, and can be freed at once.
///
/// # Safety
/// As `rq_model_open`, and `data` points to `len` bytes that stay as long as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_from_memory(
    data: *const u8,
    len: usize,
    message: *mut rq_message,
    model: *mut *mut rq_model,
) -> rq_status {
    // SAFETY: the caller's promises. Bytes that are used in place live as long as the model does, which the caller promises
    // too, so they are static to the model.
    let (bytes, message, model) = unsafe {
        let bytes: Result<&'static [u8], Failure> = slice(data, len, "data");
        (bytes, optional_out(message), out(model, "model"))
    };
    open(model, message, || Ok(Model::from_bytes(bytes?)?))
}

/// Frees a model. Its sessions go on working. NULL is ignored.
///
/// # Safety
/// `model` is NULL or a model that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_free(model: *mut rq_model) {
    // SAFETY: the caller's promise; a model came from `Box::into_raw`.
    unsafe { free(model) }
}

/// What the model is for; `RQ_HEAD_NONE` for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_head(model: *const rq_model) -> rq_head {
    // SAFETY: the caller's promise.
    let model = unsafe { model.as_ref() };
    model.map_or(rq_head::RQ_HEAD_NONE, |m| m.model.config().head.into())
}

/// The width of hidden states; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_hidden_size(model: *const rq_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |m| m.model.config().hidden_size)
}

/// The width of an embedding, which the model's publisher may make another one than that of hidden states; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_embedding_size(model: *const rq_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |m| m.model.config().embedding_dimension())
}

/// The most tokens of a text, special ones included; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_max_tokens(model: *const rq_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |m| m.model.config().max_tokens())
}

/// How many labels a classifier or tagger has; 0 for other models.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_label_count(model: *const rq_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |m| m.labels.len())
}

/// A label, from 0; empty where there is none. It lives as long as the model.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_label(model: *const rq_model, index: usize) -> rq_string {
    // SAFETY: the caller's promise.
    let label = unsafe { model.as_ref() }.and_then(|m| m.labels.get(index));
    rq_string::of(label.map_or(c"", |label| label))
}

/// The mask token as it must be written in a text; empty for a model without one. It lives as long as the model.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_mask_token(model: *const rq_model) -> rq_string {
    // SAFETY: the caller's promise.
    rq_string::of(unsafe { model.as_ref() }.map_or(c"", |m| &m.mask_token))
}

/// Reads the weights into memory now, where the system supports it, so that the first answer doesn't wait for a disk.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_prefetch(model: *const rq_model) {
    // SAFETY: the caller's promise.
    if let Some(model) = unsafe { model.as_ref() } {
        let _ = fence(|| {
            model.model.prefetch();
            Ok(())
        });
    }
}

/// How long a text is in tokens.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_token_count {
    /// The tokens of the whole text, special ones included.
    pub tokens: usize,
    /// Those that are left where the text is cut to what the model takes: as many, unless it is too long.
    pub truncated: usize,
    /// The most that the model takes: `rq_model_max_tokens`.
    pub max: usize,
}

/// Counts the tokens of a text, or of a pair of texts. A prompt before a text that is embedded is counted with it only where the
/// text given here begins with it.
///
/// @param pair     The second text of a pair, or NULL for a single text.
/// @param message  NULL, or where to say why it failed.
/// @param count    Where the numbers go.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_count_tokens(
    model: *const rq_model,
    text: *const c_char,
    text_len: usize,
    pair: *const c_char,
    pair_len: usize,
    message: *mut rq_message,
    count: *mut rq_token_count,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (model, text, pair, message, place) = unsafe {
        (
            reference(model, "model"),
            string(text, text_len, "text"),
            optional_string(pair, pair_len, "pair"),
            optional_out(message),
            out(count, "count"),
        )
    };
    let result = fence(|| {
        let (tokenizer, text, place) = (model?.model.tokenizer(), text?, place?);
        let encoding = match pair? {
            None => tokenizer.encode(text, true),
            Some(pair) => tokenizer.encode_pair(text, pair, true),
        };
        let encoding = encoding.map_err(rq::Error::from)?;
        let truncated = encoding.ids.len();
        place.write(rq_token_count {
            tokens: encoding.truncated_from.unwrap_or(truncated),
            truncated,
            max: tokenizer.max_tokens(),
        });
        Ok(())
    });
    report(result, message)
}
