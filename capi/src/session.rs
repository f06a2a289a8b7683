//! Sessions in C.

use super::{Failure, fence, out, reference, report, rq_message, rq_model, rq_status, rq_string};
use rq::Model;
use rq::{Session, SessionOptions};
use self_cell::self_cell;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, TryLockError};

self_cell!(
    /// A session, and the model that it borrows.
    struct Owned {
        owner: Arc<Model>,
        #[covariant]
        dependent: Session,
    }
);

/// A session: the threads and the memory with which a model computes. One thread at a time may use it.
pub struct rq_session {
    inner: Mutex<Inner>,
}

struct Inner {
    owned: Owned,
    /// Why the last call failed; empty if it didn't.
    message: CString,
}

/// How a session computes. None of it changes an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_session_options {
    /// Threads; 0 means one for each processor. 1 means that no thread is started: everything runs on the caller's.
    pub threads: usize,
}

/// The options that are meant by NULL.
#[unsafe(no_mangle)]
pub extern "C" fn rq_session_options_default() -> rq_session_options {
    rq_session_options { threads: 0 }
}

/// A session of a model. It starts its threads now, if there are to be any, and takes memory as texts ask for it.
///
/// @param options  NULL for those of `rq_session_options_default`.
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
    let result = fence(|| {
        // SAFETY: the caller's promises.
        let (model, options, place) = unsafe {
            (
                reference(model, "model")?,
                options.as_ref(),
                out(session, "session")?,
            )
        };
        let threads = options.map_or(0, |options| options.threads);
        if threads > MAX_THREADS {
            let message = format!("threads is {threads}; at most {MAX_THREADS} are started");
            return Err(Failure::new(rq_status::RQ_OPTION, message));
        }
        let options = SessionOptions {
            threads: (threads > 0).then_some(threads),
            isa: None,
        };
        let owned = Owned::try_new(model.model.clone(), |model| Session::new(model, &options))?;
        let inner = Mutex::new(Inner {
            owned,
            message: CString::default(),
        });
        place.write(Box::into_raw(Box::new(rq_session { inner })));
        Ok(())
    });
    // SAFETY: the caller's promise.
    unsafe { report(result, message) }
}

/// The most threads of a session: far beyond what helps.
const MAX_THREADS: usize = 1024;

/// Frees a session, and its model if that was freed before and has no other session. NULL is nothing to free.
///
/// # Safety
/// `session` is NULL or a session that wasn't freed, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_free(session: *mut rq_session) {
    if !session.is_null() {
        // SAFETY: it came from `Box::into_raw`, and the caller promises that this is the first time.
        let session = unsafe { Box::from_raw(session) };
        let _ = fence(|| {
            drop(session);
            Ok(())
        });
    }
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

/// Takes the memory for a text of `tokens` tokens now, so that none is taken for what a session keeps while such a text is
/// computed; if it has masks, at most eight.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_reserve(session: *mut rq_session, tokens: usize) -> rq_status {
    // SAFETY: the caller's promise.
    unsafe {
        with_session(session, |model, session| {
            let tokens = tokens.min(model.config().max_tokens());
            session.reserve(&[tokens], tokens.min(8));
            Ok(())
        })
    }
}

/// Bytes of memory that the session holds, beside the model; 0 for NULL, or while another thread uses it.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_session_memory(session: *mut rq_session) -> usize {
    let mut bytes = 0;
    // SAFETY: the caller's promise.
    unsafe {
        with_session(session, |_, session| {
            bytes = session.arena_bytes();
            Ok(())
        });
    }
    bytes
}

/// Does the work of a call with a session: fenced, and by one thread at a time.
///
/// # Safety
/// `session` is NULL or a session.
pub(super) unsafe fn with_session(
    session: *const rq_session,
    work: impl FnOnce(&Model, &mut Session<'_>) -> Result<(), Failure>,
) -> rq_status {
    // SAFETY: the caller's promise.
    let Some(session) = (unsafe { session.as_ref() }) else {
        return rq_status::RQ_NULL;
    };
    let mut inner = match session.inner.try_lock() {
        Ok(inner) => inner,
        // After a panic the buffers hold nothing of meaning, as between any two calls.
        Err(TryLockError::Poisoned(inner)) => inner.into_inner(),
        Err(TryLockError::WouldBlock) => return rq_status::RQ_BUSY,
    };
    let owned = &mut inner.owned;
    let result = fence(|| owned.with_dependent_mut(|model, session| work(model, session)));
    match result {
        Ok(()) => {
            inner.message = CString::default();
            rq_status::RQ_OK
        }
        Err(failure) => {
            inner.message = CString::new(failure.message.replace('\0', " ")).unwrap_or_default();
            failure.status
        }
    }
}
