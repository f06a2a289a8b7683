//! RoBERTa on a device: one quantized file, hand-written kernels, the same bits on every instruction set.
//!
//! A [`Model`] is a mapped file, with its tokenizer; it can be shared by threads. A [`Session`] computes with it: it
//! owns the threads and the memory for it. The answer to a text doesn't depend on the instruction set, the number of
//! threads, or the texts that are computed with it.
//!
//! A task has two steps: each text is prepared, as tokens that fit the model, and those prepared are computed together.
//! What is wrong with a text shows in the first ([`MaskedText::new`]), so that one text never fails a batch of others
//! ([`Session::fill_batch`]). For a single text there is one call for both:
//!
//! ```
//! # #[cfg(feature = "demo-model")] {
//! use rq::{FillOptions, Model, Session, SessionOptions};
//!
//! let model = Model::demo()?;
//! let mut session = Session::new(&model, &SessionOptions::default())?;
//! let masks = session.fill("She opened the <mask> and walked into the garden.", &FillOptions::default())?;
//! assert_eq!(masks[0][0].token_str, " door");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod attention;
mod batch;
mod bpe;
mod encoder;
mod error;
mod fill;
mod head;
mod model;
mod profile;
mod session;
mod tokenizer;
mod weights;
mod workspace;

pub use batch::Batch;
pub use encoder::Rows;
pub use error::Error;
pub use fill::{Fill, FillOptions, MaskedText, TargetWarning, Targets};
pub use model::Model;
pub use profile::Profile;
pub use rq_format as format;
pub use rq_kernels::isa::{ISA_VARIABLE, Isa};
pub use session::{Session, SessionOptions, arena_bytes};
pub use tokenizer::{Encoding, Tokenizer};
