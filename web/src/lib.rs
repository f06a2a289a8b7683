//! The WebAssembly module of the npm package `rq-runtime`: a model, and requests about it in JSON.
//!
//! [`Engine`] is safe Rust that any target compiles. What crosses to JavaScript, and has pointers, is in `boundary.rs`; its other
//! side is `package/engine.js`.

#[cfg(target_family = "wasm")]
mod boundary;
mod engine;
mod error;
mod options;
mod results;

pub use engine::{Answer, Engine};
pub use error::Refusal;
