//! Sessions in C.

use crate::options::{self, Options};
use crate::results::in_c;
use crate::{
    Failure, fence, free, optional_out, out, reference, report, rq_message, rq_model, rq_status,
    rq_string,
};
use rq::{Session, SessionOptions};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, TryLockError};

/// A session: the threads and the memory with which a model computes. One thread at a time may use it.
#[derive(Debug)]
pub struct rq_session {
    /// The model's.
    pub(crate) hidden_size: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Why the last call failed; empty if it didn't.
    message: CString,
}

/// How a session computes. None of it changes an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_session_options {
    /// `sizeof(rq_session_options)`.
    pub size: usize,
    /// Threads, at most 1024; 0 for one per processor. With 1, no thread is started: everything runs on the caller's.
    pub threads: usize,
}

// SAFETY: a number behind the size.
unsafe impl Options for rq_session_options {
    const NAME: &'static str = "rq_session_options";
}

/// Makes a session of a model. It starts its threads now, if any, and allocates memory as texts need it.
///
/// @param options  NULL for the defaults.
/// @param message  NULL, or where to say why it failed.
/// @param session  Where the session goes; free it with `rq_session_free`.
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_new(
    model: *const rq_model,
    options: *const rq_session_options,
    message: *mut rq_message,
    session: *mut *mut rq_session,
) -> rq_status {
    // SAFETY: the caller's promises.
    let (model, options, message, place) = unsafe {
        (
            reference(model, "model"),
            options::read(options),
            optional_out(message),
            out(session, "session"),
        )
    };
    let result = fence(|| {
        let (model, place) = (model?, place?);
        let threads = options?.threads;
        let mut options = SessionOptions::default();
        options.threads = (threads > 0).then_some(threads);
        let inner = Mutex::new(Inner {
            session: Session::new(Arc::clone(&model.model), &options)?,
            message: CString::default(),
        });
        let hidden_size = model.model.config().hidden_size;
        place.write(Box::into_raw(Box::new(rq_session { hidden_size, inner })));
        Ok(())
    });
    report(result, message)
}

/// Frees a session, and its model if that was freed before and has no other session. NULL is ignored.
///
/// # Safety
/// `session` is NULL or a session that wasn't freed, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_free(session: *mut rq_session) {
    // SAFETY: the caller's promise; a session came from `Box::into_raw`.
    unsafe { free(session) }
}

/// Why the latest call with a session failed: empty if it didn't. It lives until the next call with the same one.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_message(session: *const rq_session) -> rq_string {
    // SAFETY: the caller's promise.
    let Some(session) = (unsafe { session.as_ref() }) else {
        return rq_string::of(c"session is NULL");
    };
    match session.inner.try_lock() {
        Ok(inner) => rq_string::of(&inner.message),
        Err(TryLockError::Poisoned(inner)) => rq_string::of(&inner.get_ref().message),
        Err(TryLockError::WouldBlock) => rq_string::of(BUSY),
    }
}

const BUSY: &CStr = c"another thread uses the session; give each thread a session of its own";

/// Allocates the session's memory for a text of `tokens` tokens, with at most eight masks, so that computing such a text later
/// allocates no more of it.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_reserve(session: *mut rq_session, tokens: usize) -> rq_status {
    // SAFETY: the caller's promise.
    with_session(unsafe { session.as_ref() }, |session| {
        session.reserve(&[tokens], 8);
        Ok(())
    })
}

/// Bytes of memory that the session holds, beside the model; 0 for NULL, or while another thread uses it.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_memory(session: *mut rq_session) -> usize {
    let mut bytes = 0;
    // SAFETY: the caller's promise.
    with_session(unsafe { session.as_ref() }, |session| {
        bytes = session.held_bytes();
        Ok(())
    });
    bytes
}

/// Does the work of a call with a session: fenced, and by one thread at a time.
pub(crate) fn with_session(
    session: Option<&rq_session>,
    work: impl FnOnce(&mut Session) -> Result<(), Failure>,
) -> rq_status {
    let Some(session) = session else {
        return rq_status::RQ_NULL;
    };
    let mut inner = match session.inner.try_lock() {
        Ok(inner) => inner,
        // After a panic the buffers hold nothing of meaning, as between any two calls.
        Err(TryLockError::Poisoned(inner)) => inner.into_inner(),
        Err(TryLockError::WouldBlock) => return rq_status::RQ_BUSY,
    };
    let (status, message) = match fence(|| work(&mut inner.session)) {
        Ok(()) => (rq_status::RQ_OK, CString::default()),
        Err(failure) => (failure.status, in_c(&failure.message)),
    };
    inner.message = message;
    status
}
