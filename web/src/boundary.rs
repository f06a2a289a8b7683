//! What the module exports and imports. Its other side is `package/engine.js`.
//!
//! Every text and file that crosses is bytes in the module's memory: the page asks for room with [`room`], writes there, and hands the
//! bytes over; what is answered stays where [`result`] and [`floats`] say until the next call. One module has one model. Its memory goes
//! as a whole, when the page lets go of the module.

#![expect(
    unsafe_code,
    reason = "memory that JavaScript writes, and functions by name"
)]

use crate::engine::{Answer, Engine};
use crate::error::Refusal;
use std::alloc::Layout;
use std::cell::RefCell;

/// Sections and tensors of a file begin at multiples of this.
const ALIGNMENT: usize = rq_format::ALIGNMENT;

#[link(wasm_import_module = "page")]
unsafe extern "C" {
    /// Fills bytes with random ones.
    safe fn random(start: *mut u8, len: usize);
    /// Hears what a panic says, before it ends the module.
    safe fn panicked(start: *const u8, len: usize);
}

#[derive(Default)]
struct State {
    engine: Option<Engine>,
    /// Of the last call.
    answer: Answer,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Room for bytes, or null where there is no memory for it.
#[unsafe(no_mangle)]
extern "C" fn room(len: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(len.max(1), ALIGNMENT) else {
        return std::ptr::null_mut();
    };
    // SAFETY: the layout's size isn't 0.
    unsafe { std::alloc::alloc(layout) }
}

/// Gives room back.
///
/// # Safety
/// It comes from [`room`] with this length, and is used no more.
#[unsafe(no_mangle)]
unsafe extern "C" fn give_back(start: *mut u8, len: usize) {
    // SAFETY: `room` took the same size and alignment, which is a layout; the caller promises the rest.
    unsafe {
        let layout = Layout::from_size_align_unchecked(len.max(1), ALIGNMENT);
        std::alloc::dealloc(start, layout);
    }
}

/// Runs a request, and keeps its answer. Returns whether it succeeded; else the answer is a [`Refusal`].
fn answered(run: impl FnOnce(&mut State) -> Result<Answer, Refusal>) -> bool {
    STATE.with_borrow_mut(|state| {
        // The memory of the answer before is free while this one is computed.
        state.answer = Answer::default();
        let answer = run(state);
        let succeeded = answer.is_ok();
        state.answer = answer.unwrap_or_else(|refusal| Answer {
            json: serde_json::to_vec(&refusal).expect("two strings are JSON"),
            floats: Vec::new(),
        });
        succeeded
    })
}

/// Makes panics heard. The first call.
#[unsafe(no_mangle)]
extern "C" fn begin() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        panicked(message.as_ptr(), message.len());
    }));
}

/// How many bytes say how long a file is.
#[unsafe(no_mangle)]
extern "C" fn start_len() -> usize {
    rq_format::START_LEN
}

/// How long the file is that begins with these bytes; -1 if none does.
///
/// # Safety
/// They are `len` bytes that were written to what [`room`] gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn announced_len(start: *const u8, len: usize) -> f64 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    let mut announced = -1.0;
    answered(|_| {
        announced = rq_format::announced_len(bytes)? as f64;
        Ok(Answer::default())
    });
    announced
}

/// Opens a model, and takes its bytes for good.
///
/// # Safety
/// Both are bytes that were written to what [`room`] gave; those of the file are neither written nor given back from now on.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(
    start: *const u8,
    len: usize,
    options: *const u8,
    options_len: usize,
) -> bool {
    // SAFETY: the caller's promise.
    let (bytes, options) = unsafe {
        (
            std::slice::from_raw_parts(start, len),
            std::slice::from_raw_parts(options, options_len),
        )
    };
    answered(|state| {
        state.engine = Some(Engine::open(bytes, options)?);
        Ok(Answer::default())
    })
}

/// Answers to a request.
///
/// # Safety
/// It is bytes that were written to what [`room`] gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn call(start: *const u8, len: usize) -> bool {
    // SAFETY: the caller's promise.
    let request = unsafe { std::slice::from_raw_parts(start, len) };
    answered(|state| match &mut state.engine {
        Some(engine) => engine.call(request),
        None => Err(Refusal::option("no model is open".to_owned())),
    })
}

/// Where the JSON of the last call is.
#[unsafe(no_mangle)]
extern "C" fn result() -> *const u8 {
    STATE.with_borrow(|state| state.answer.json.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn result_len() -> usize {
    STATE.with_borrow(|state| state.answer.json.len())
}

/// Where the floats of the last call are.
#[unsafe(no_mangle)]
extern "C" fn floats() -> *const f32 {
    STATE.with_borrow(|state| state.answer.floats.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn floats_len() -> usize {
    STATE.with_borrow(|state| state.answer.floats.len())
}

/// What the crate `getrandom` asks for random numbers.
///
/// # Safety
/// `len` bytes can be written from `start` on.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    start: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    random(start, len);
    Ok(())
}
