//! Models in C.

use super::{
    Failure, fence, out, reference, report, rq_message, rq_status, rq_string, slice, text,
};
use rq::Model;
use rq_format::Head;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::Arc;

/// A model. It can be shared by threads, and by sessions, which keep it alive.
pub struct rq_model {
    pub(super) model: Arc<Model>,
    labels: Vec<CString>,
    mask_token: CString,
}

/// What a model computes of its hidden states: what it is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_head {
    /// Nothing: for `rq_embed`.
    RQ_HEAD_NONE = 0,
    /// For `rq_fill`.
    RQ_HEAD_MASKED_LM = 1,
    /// For `rq_classify`.
    RQ_HEAD_SEQUENCE_CLASSIFICATION = 2,
    /// For `rq_tag`.
    RQ_HEAD_TOKEN_CLASSIFICATION = 3,
    /// For `rq_answer`.
    RQ_HEAD_QUESTION_ANSWERING = 4,
}

impl rq_model {
    fn new(model: Model) -> Result<Box<Self>, Failure> {
        // A string with a NUL inside would end early in C; a file's labels have no control characters.
        let string = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        Ok(Box::new(Self {
            labels: model.config().labels.iter().map(|l| string(l)).collect(),
            mask_token: string(model.tokenizer().mask_token().unwrap_or_default()),
            model: Arc::new(model),
        }))
    }
}

/// Hands a model to the caller.
///
/// # Safety
/// `model` and `message` are NULL or can be written.
unsafe fn open(
    model: *mut *mut rq_model,
    message: *mut rq_message,
    open: impl FnOnce() -> Result<Model, Failure>,
) -> rq_status {
    let result = fence(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { out(model, "model") }?;
        let model = rq_model::new(open()?)?;
        place.write(Box::into_raw(model));
        Ok(())
    });
    // SAFETY: the caller's promise.
    unsafe { report(result, message) }
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
    // SAFETY: the caller's promises, as in `open` and `text`.
    unsafe {
        open(model, message, || {
            let path = text(path, path_len, "path")?;
            Ok(Model::open(Path::new(path))?)
        })
    }
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
    use std::os::fd::BorrowedFd;
    // SAFETY: the caller's promises, as in `open`.
    unsafe {
        open(model, message, || {
            if fd < 0 {
                let message = format!("fd is {fd}, which is no file");
                return Err(Failure::new(rq_status::RQ_OPTION, message));
            }
            // SAFETY: it isn't negative, and the caller promises that it is open.
            let borrowed = BorrowedFd::borrow_raw(fd);
            let file = borrowed.try_clone_to_owned().map_err(|e| {
                Failure::new(
                    rq_status::RQ_IO,
                    format!("can't use file descriptor {fd}: {e}"),
                )
            })?;
            let end = offset.saturating_add(length);
            Ok(Model::open_part(&file.into(), offset..end)?)
        })
    }
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
    // SAFETY: the caller's promises, as in `open` and `slice`. What is used in place lives as long as the model does, which
    // the caller promises, too; so that it is static to the model.
    unsafe {
        open(model, message, || {
            let bytes: &'static [u8] = slice(data, len, "data")?;
            Ok(Model::from_bytes(bytes)?)
        })
    }
}

/// Frees a model. Sessions of it that live go on. NULL is nothing to free.
///
/// # Safety
/// `model` is NULL or a model that wasn't freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_free(model: *mut rq_model) {
    if !model.is_null() {
        // SAFETY: it came from `Box::into_raw`, and the caller promises that this is the first time.
        let model = unsafe { Box::from_raw(model) };
        let _ = fence(|| {
            drop(model);
            Ok(())
        });
    }
}

/// What the model is for; `RQ_HEAD_NONE` for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_head(model: *const rq_model) -> rq_head {
    // SAFETY: the caller's promise.
    match unsafe { model.as_ref() }.map(|m| m.model.config().head) {
        Some(Head::MaskedLm) => rq_head::RQ_HEAD_MASKED_LM,
        Some(Head::SequenceClassification) => rq_head::RQ_HEAD_SEQUENCE_CLASSIFICATION,
        Some(Head::TokenClassification) => rq_head::RQ_HEAD_TOKEN_CLASSIFICATION,
        Some(Head::QuestionAnswering) => rq_head::RQ_HEAD_QUESTION_ANSWERING,
        _ => rq_head::RQ_HEAD_NONE,
    }
}

/// The width of hidden states and embeddings; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_hidden_size(model: *const rq_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |m| m.model.config().hidden_size)
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

/// The mask token, as it must be written in a text; empty for a model without one. It lives as long as the model.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_mask_token(model: *const rq_model) -> rq_string {
    // SAFETY: the caller's promise.
    rq_string::of(unsafe { model.as_ref() }.map_or(c"", |m| &m.mask_token))
}

/// Reads the weights into memory now, where the system can be asked for it, so that the first answer doesn't wait for a disk.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_model_prefetch(model: *const rq_model) {
    let _ = fence(|| {
        // SAFETY: the caller's promise.
        unsafe { reference(model, "model") }?.model.prefetch();
        Ok(())
    });
}
