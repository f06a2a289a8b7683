//! RoBERTa on a device: one quantized file, hand-written kernels, the same bits on every instruction set.
//!
//! A [`Model`] is a mapped file, with its tokenizer; it can be shared by threads. A [`Session`] computes with it: it
//! owns the threads and the memory for it. The answer to a text doesn't depend on the instruction set, the number of
//! threads, or the texts that are computed with it.
//!
//! What a model is for is a [`Task`]: [`FillMask`], [`JointFill`], [`TargetFill`] and [`Scorer`], [`Embedder`], [`Classifier`] and
//! [`ZeroShot`], [`Tagger`], [`Answerer`]. It is made of the model, and computes with a session:
//!
//! ```
//! # #[cfg(feature = "demo-model")] {
//! use rq::{FillMask, FillOptions, Model, Session, SessionOptions, Task};
//!
//! let model = Model::demo()?;
//! let mut session = Session::new(&model, &SessionOptions::default())?;
//! let text = "She opened the <mask> and walked into the garden.";
//! let masks = FillMask::new(&model)?.run_one(&mut session, text, &FillOptions::default())?;
//! assert_eq!(masks[0][0].token_str, " door");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod batch;
mod encoder;
mod error;
mod model;
mod profile;
mod session;
mod tasks;

pub use batch::Batch;
pub use encoder::Rows;
pub use error::Error;
pub use model::Model;
pub use profile::Profile;
pub use rq_format as format;
pub use rq_kernels::isa::{ISA_VARIABLE, Isa};
pub use rq_tokenizer::{Encoding, Tokenizer, TokenizerError, Tokens};
pub use session::{Session, SessionOptions, arena_bytes};
pub use tasks::answer::{Answer, AnswerOptions, Answerer, PreparedQuestion, Question};
pub use tasks::classify::{Classifier, ClassifyOptions, EncodedTexts, LabelScore};
pub use tasks::embed::{EmbedOptions, EmbedText, Embedder, Embedding, Pooling, cosine};
pub use tasks::fill::{Fill, FillMask, FillOptions, MaskedText, TargetWarning, Targets};
pub use tasks::joint::{
    Filling, FillingToken, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions,
    WholeTargets,
};
pub use tasks::score::{Score, ScoreMethod, ScoreOptions, Scorer, TextToScore, TokenScore};
pub use tasks::tag::{Aggregation, Entity, TagOptions, TaggedText, Tagger};
pub use tasks::zero_shot::{Hypotheses, ZeroShot, ZeroShotOptions};
pub use tasks::{Task, Texts};
