//! The C interface. `include/rq.h` is made of this module by cbindgen; a test compares them (`tests/header.rs`).
//!
//! How it keeps its promises:
//!
//! - every function that can fail returns an [`rq_status`]; what it gives goes through its last parameters, which are written
//!   only on success; a message says more than the code does;
//! - a pointer that must not be NULL is checked, and a string is checked to be UTF-8;
//! - no panic leaves a function: it becomes [`rq_status::RQ_PANIC`];
//! - a session that two threads use at once says [`rq_status::RQ_BUSY`] to one of them; models may be shared by threads;
//! - a session keeps its model alive, so that they can be freed in any order.
//!
//! What it can't check is what C can't say: that a pointer which isn't NULL points to what it should, as long as its length
//! says, and that nothing is used after it was freed. Each `SAFETY` comment below rests on that, which `include/rq.h` asks of
//! the caller.

#![allow(unsafe_code)]
#![allow(
    non_camel_case_types,
    reason = "the names are those of the C interface"
)]

mod model;
mod results;
mod session;
mod tasks;

pub use model::*;
pub use session::*;
pub use tasks::*;

use rq::Error;
use rq_format::FormatError;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The version of this interface: what a program was compiled against (`RQ_ABI_VERSION`) must be what `rq_abi_version`
/// returns. It grows with every change that an existing program would notice.
pub const RQ_ABI_VERSION: u32 = 1;

/// Bytes of a message, the final NUL included.
pub const RQ_MESSAGE_SIZE: usize = 512;

/// What became of a call. Codes keep their numbers for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_status {
    /// It was done.
    RQ_OK = 0,
    /// A pointer is NULL that must not be.
    RQ_NULL = 1,
    /// A string isn't UTF-8.
    RQ_NOT_UTF8 = 2,
    /// The operating system refused: no such file, no rights, no threads.
    RQ_IO = 3,
    /// The file isn't a model, or it is damaged.
    RQ_DAMAGED = 4,
    /// The file was made by a newer version of rq.
    RQ_NEWER_VERSION = 5,
    /// The model's head is for another task.
    RQ_WRONG_HEAD = 6,
    /// The text can't be answered: it is empty, or has no mask; or the question or the context is empty.
    RQ_TEXT = 7,
    /// The text has more tokens than the model takes.
    RQ_TOO_LONG = 8,
    /// An option has a value that it can't have.
    RQ_OPTION = 9,
    /// The caller's buffer is too small; the needed length was written to where the call says.
    RQ_BUFFER = 10,
    /// Another thread uses the session.
    RQ_BUSY = 11,
    /// A defect of rq. The session can be used further.
    RQ_PANIC = 12,
}

/// A message for a person: UTF-8, ended by NUL, cut if it is too long.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_message {
    /// The text.
    pub text: [c_char; RQ_MESSAGE_SIZE],
}

/// A string that rq owns: UTF-8, `len` bytes and a NUL behind them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_string {
    /// The bytes.
    pub data: *const c_char,
    /// How many, without the NUL.
    pub len: usize,
}

impl rq_string {
    /// A string that the caller may use as long as `owned` lives.
    pub(crate) fn of(owned: &CStr) -> Self {
        Self {
            data: owned.as_ptr(),
            len: owned.count_bytes(),
        }
    }
}

/// The version of rq, as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn rq_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The version of this interface: see `RQ_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn rq_abi_version() -> u32 {
    RQ_ABI_VERSION
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: rq_status,
    message: String,
}

impl Failure {
    fn new(status: rq_status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// A number that none of an enumeration's is.
    fn option(name: &str, value: i32) -> Self {
        Self::new(
            rq_status::RQ_OPTION,
            format!("{name} is {value}, which none of its values is"),
        )
    }

    /// A pointer that is NULL.
    fn null(parameter: &str) -> Self {
        Self::new(rq_status::RQ_NULL, format!("{parameter} is NULL"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use rq_status::*;
        let status = match &error {
            Error::Format(FormatError::Io { .. }) | Error::Threads { .. } => RQ_IO,
            Error::Format(FormatError::Part { .. }) => RQ_OPTION,
            Error::Format(FormatError::NewerVersion { .. }) => RQ_NEWER_VERSION,
            Error::Format(_) | Error::Tokenizer(_) | Error::TokenRange { .. } => RQ_DAMAGED,
            Error::WrongHead { .. } | Error::NoHead => RQ_WRONG_HEAD,
            Error::EmptyText | Error::NoTokens | Error::NothingToClassify => RQ_TEXT,
            Error::NoMask { .. } | Error::EmptyQuestion | Error::NoContext => RQ_TEXT,
            // In windows of the model's length there is no room but for lack of a shorter question.
            Error::TooLong { .. } | Error::MaskTruncated { .. } | Error::NoRoom { .. } => {
                RQ_TOO_LONG
            }
            _ => RQ_OPTION,
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self { status, message }
    }
}

/// Runs what a function of the interface does: a panic becomes a failure.
fn fence<R>(work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("it says no more");
        Err(Failure::new(
            rq_status::RQ_PANIC,
            format!("a defect of rq, please report it: {said}"),
        ))
    })
}

/// Ends a function that has no session to keep its message.
///
/// # Safety
/// `message` is NULL or points to an [`rq_message`] that can be written.
unsafe fn report(result: Result<(), Failure>, message: *mut rq_message) -> rq_status {
    let Err(failure) = result else {
        return rq_status::RQ_OK;
    };
    // SAFETY: the caller's promise.
    if let Some(message) = unsafe { message.as_mut() } {
        let mut end = failure.message.len().min(RQ_MESSAGE_SIZE - 1);
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        message.text = [0; RQ_MESSAGE_SIZE];
        for (to, from) in message
            .text
            .iter_mut()
            .zip(&failure.message.as_bytes()[..end])
        {
            *to = *from as c_char;
        }
    }
    failure.status
}

/// What a pointer points to.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that lives, and that nothing changes, for `'a`.
unsafe fn reference<'a, T>(pointer: *const T, parameter: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::null(parameter))
}

/// The bytes at a pointer. Where there are none, it may be NULL.
///
/// # Safety
/// `data` is NULL or points to `len` values that live, and that nothing changes, for `'a`.
unsafe fn slice<'a, T>(data: *const T, len: usize, parameter: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::null(parameter));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::new(
            rq_status::RQ_OPTION,
            format!("{parameter} has a length of {len}, more than there is memory"),
        ));
    }
    // SAFETY: it isn't NULL, no longer than memory can be, and the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// The string at a pointer.
///
/// # Safety
/// As [`slice`].
unsafe fn text<'a>(data: *const c_char, len: usize, parameter: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(data.cast::<u8>(), len, parameter) }?;
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        Failure::new(
            rq_status::RQ_NOT_UTF8,
            format!("{parameter} isn't UTF-8 at byte {at}"),
        )
    })
}

/// Where a result goes.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that can be written.
unsafe fn out<'a, T>(pointer: *mut T, parameter: &str) -> Result<Out<'a, T>, Failure> {
    match pointer.is_null() {
        true => Err(Failure::null(parameter)),
        false => Ok(Out {
            pointer,
            lifetime: std::marker::PhantomData,
        }),
    }
}

/// A place that is written at most once, and on success only. What is there before may be no `T`.
struct Out<'a, T> {
    pointer: *mut T,
    lifetime: std::marker::PhantomData<&'a mut T>,
}

impl<T> Out<'_, T> {
    fn write(self, value: T) {
        // SAFETY: it isn't NULL, and `out`'s caller promised that it can be written.
        unsafe { self.pointer.write(value) };
    }
}
