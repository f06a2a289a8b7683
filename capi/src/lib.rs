//! The C interface of rq. cbindgen makes `include/rq.h` of this crate, and `tests/header.rs` compares them.
//!
//! Each function first parses its pointers, in one `unsafe` block; the rest is safe code. What it promises:
//!
//! - A function that can fail returns an [`rq_status`]. Results go through its last parameters, which are written only on
//!   success, and a message says more than the code does.
//! - A pointer that must not be NULL is checked, and a string is checked to be UTF-8.
//! - A panic doesn't leave the function: it becomes [`rq_status::RQ_PANIC`].
//! - When two threads use a session at once, one of them gets [`rq_status::RQ_BUSY`]. Models may be shared by threads.
//! - A session keeps its model alive, so they can be freed in any order.
//! - The caller's settings for floats are replaced by the defaults, and restored.
//!
//! C can't express, and nothing here can check, that a pointer which isn't NULL points to what it should, for as long as its
//! length says, and that nothing is used after it was freed. Every `SAFETY` comment rests on that promise of the caller,
//! which `include/rq.h` states.

#![allow(
    non_camel_case_types,
    reason = "the names are those of the C interface"
)]

mod enumeration;
mod model;
mod options;
mod results;
mod session;
mod tasks;

pub use model::*;
pub use session::*;
pub use tasks::*;

use rq::{Error, ErrorKind};
use rq_kernels::environment::with_defaults;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The version of this interface: what a program was compiled against (`RQ_ABI_VERSION`) must be what `rq_abi_version`
/// returns. It grows with every change that an existing program would notice.
pub const RQ_ABI_VERSION: u32 = 1;

/// Bytes of a message, the final NUL included.
pub const RQ_MESSAGE_SIZE: usize = 512;

/// The result of a call. Codes never change their numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rq_status {
    /// Success.
    RQ_OK = 0,
    /// A pointer that must not be NULL is NULL.
    RQ_NULL = 1,
    /// A string isn't UTF-8.
    RQ_NOT_UTF8 = 2,
    /// The operating system refused: no such file, no rights, no threads.
    RQ_IO = 3,
    /// The file isn't a model, or it is damaged.
    RQ_DAMAGED = 4,
    /// A newer version of rq made the file.
    RQ_NEWER_VERSION = 5,
    /// The model's head is for another task.
    RQ_WRONG_HEAD = 6,
    /// The text can't be answered: it is empty, or has no mask; or the question or the context is empty.
    RQ_TEXT = 7,
    /// The text has more tokens than the model takes.
    RQ_TOO_LONG = 8,
    /// An option has an invalid value.
    RQ_OPTION = 9,
    /// The caller's buffer is too small; the needed length was written to where the call says.
    RQ_BUFFER = 10,
    /// Another thread uses the session.
    RQ_BUSY = 11,
    /// A bug in rq. The session stays usable.
    RQ_PANIC = 12,
}

/// The name of a status, as "RQ_OK", for logs. It lives for ever.
///
/// @param status   An `rq_status`, or any other number, whose name is "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn rq_status_name(status: i32) -> *const c_char {
    macro_rules! names {
        ($($name:ident),+) => {
            match status {
                $(x if x == rq_status::$name as i32 => concat!(stringify!($name), "\0"),)+
                _ => "unknown\0",
            }
        };
    }
    let name = names!(
        RQ_OK,
        RQ_NULL,
        RQ_NOT_UTF8,
        RQ_IO,
        RQ_DAMAGED,
        RQ_NEWER_VERSION,
        RQ_WRONG_HEAD,
        RQ_TEXT,
        RQ_TOO_LONG,
        RQ_OPTION,
        RQ_BUFFER,
        RQ_BUSY,
        RQ_PANIC
    );
    name.as_ptr().cast()
}

/// A message for a person: UTF-8, NUL-terminated, cut if it is too long.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_message {
    /// The text.
    pub text: [c_char; RQ_MESSAGE_SIZE],
}

/// A string that rq owns: `len` bytes of UTF-8, followed by a NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_string {
    /// The bytes.
    pub data: *const c_char,
    /// Its length in bytes, without the NUL.
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

/// A text of the caller's, of which a batch has several: `len` bytes of UTF-8, which needn't end with a NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rq_text {
    /// The bytes. Where there are none, it may be NULL.
    pub data: *const c_char,
    /// Their number.
    pub len: usize,
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

    /// A pointer that is NULL.
    fn null(parameter: &str) -> Self {
        Self::new(rq_status::RQ_NULL, format!("{parameter} is NULL"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Io => rq_status::RQ_IO,
            ErrorKind::Damaged => rq_status::RQ_DAMAGED,
            ErrorKind::NewerVersion => rq_status::RQ_NEWER_VERSION,
            ErrorKind::WrongHead => rq_status::RQ_WRONG_HEAD,
            ErrorKind::Text => rq_status::RQ_TEXT,
            ErrorKind::TooLong => rq_status::RQ_TOO_LONG,
            ErrorKind::Option => rq_status::RQ_OPTION,
        };
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        Self::new(status, causes.join(": "))
    }
}

/// Runs what a function of the interface does: with the defaults of floats, and a panic becomes a failure.
fn fence<R>(work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    let caught = with_defaults(|| catch_unwind(AssertUnwindSafe(work)));
    caught.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("no message");
        Err(Failure::new(
            rq_status::RQ_PANIC,
            format!("a bug in rq, please report it: {said}"),
        ))
    })
}

/// Ends a function that has no session to keep its message: writes why it failed, if the caller wants to know.
fn report(result: Result<(), Failure>, place: Option<Out<'_, rq_message>>) -> rq_status {
    let Err(failure) = result else {
        return rq_status::RQ_OK;
    };
    if let Some(place) = place {
        let message = failure.message.replace('\0', " ");
        let end = message.floor_char_boundary(RQ_MESSAGE_SIZE - 1);
        let mut text = [0; RQ_MESSAGE_SIZE];
        for (to, from) in text.iter_mut().zip(&message.as_bytes()[..end]) {
            *to = c_char::from_ne_bytes([*from]);
        }
        place.write(rq_message { text });
    }
    failure.status
}

/// Frees what `Box::into_raw` gave. NULL is ignored.
///
/// # Safety
/// `pointer` is NULL, or came from `Box::into_raw` and wasn't freed.
unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(pointer) };
        let _ = fence(|| {
            drop(owned);
            Ok(())
        });
    }
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
unsafe fn string<'a>(data: *const c_char, len: usize, parameter: &str) -> Result<&'a str, Failure> {
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

/// A string that may be NULL.
///
/// # Safety
/// As [`slice`].
unsafe fn optional_string<'a>(
    data: *const c_char,
    len: usize,
    parameter: &str,
) -> Result<Option<&'a str>, Failure> {
    match data.is_null() && len == 0 {
        true => Ok(None),
        // SAFETY: the caller's promise.
        false => unsafe { string(data, len, parameter) }.map(Some),
    }
}

/// A string that may be NULL, and else ends with a zero.
///
/// # Safety
/// `text` is NULL or points to bytes that end with a zero, live, and that nothing changes, for `'a`.
unsafe fn c_string<'a>(text: *const c_char, parameter: &str) -> Result<Option<&'a str>, Failure> {
    match text.is_null() {
        true => Ok(None),
        // SAFETY: the caller's promise.
        false => unsafe { string(text, CStr::from_ptr(text).count_bytes(), parameter) }.map(Some),
    }
}

/// The texts of a batch, and what is wrong with some of them.
///
/// # Safety
/// As [`slice`], and for the bytes of each text, too.
unsafe fn texts<'a>(
    data: *const rq_text,
    count: usize,
    parameter: &str,
) -> Result<Vec<Result<&'a str, Failure>>, Failure> {
    // SAFETY: the caller's promise.
    let texts = unsafe { slice(data, count, parameter) }?;
    let text = |(number, text): (usize, &rq_text)| {
        // SAFETY: the caller's promise.
        unsafe { string(text.data, text.len, &format!("{parameter}[{number}]")) }
    };
    Ok(texts.iter().enumerate().map(text).collect())
}

/// Room for a list that the caller owns. What is there before may be no `T`. Where there is no room, it may be NULL.
///
/// # Safety
/// `data` is NULL or points to room for `capacity` values that nothing else uses for `'a`.
unsafe fn room<'a, T>(
    data: *mut T,
    capacity: usize,
    parameter: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    if capacity == 0 {
        return Ok(&mut []);
    }
    // SAFETY: the caller's promise; nothing is read.
    let there = unsafe { slice(data.cast::<MaybeUninit<T>>(), capacity, parameter) }?;
    // SAFETY: as `slice` found it, and the caller promises that nothing else uses it.
    Ok(unsafe { std::slice::from_raw_parts_mut(data.cast(), there.len()) })
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

/// Where a result goes that the caller needn't want.
///
/// # Safety
/// As [`out`].
unsafe fn optional_out<'a, T>(pointer: *mut T) -> Option<Out<'a, T>> {
    // SAFETY: the caller's promise.
    unsafe { out(pointer, "") }.ok()
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
