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

#![cfg_attr(not(feature = "capi"), forbid(unsafe_code))]
#![deny(unsafe_code)]

mod answer;
mod attention;
mod batch;
mod bpe;
#[cfg(feature = "capi")]
pub mod capi;
mod characters;
mod classify;
mod embed;
mod encoder;
mod error;
mod fill;
mod head;
mod joint;
mod model;
#[cfg(test)]
mod oracle;
mod profile;
mod score;
mod scores;
mod session;
mod tag;
mod task;
mod tokenizer;
mod vocabulary;
mod weights;
mod workspace;
mod zero_shot;

pub use answer::{Answer, AnswerOptions, Answerer, PreparedQuestion, Question};
pub use batch::Batch;
pub use classify::{Classifier, ClassifyOptions, EncodedTexts, LabelScore};
pub use embed::{EmbedOptions, EmbedText, Embedder, Embedding, Pooling, cosine};
pub use encoder::Rows;
pub use error::Error;
pub use fill::{Fill, FillMask, FillOptions, MaskedText, TargetWarning, Targets};
pub use joint::{
    Filling, FillingToken, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions,
    WholeTargets,
};
pub use model::Model;
pub use profile::Profile;
pub use rq_format as format;
pub use rq_kernels::isa::{ISA_VARIABLE, Isa};
pub use score::{Score, ScoreMethod, ScoreOptions, Scorer, TextToScore, TokenScore};
pub use session::{Session, SessionOptions, arena_bytes};
pub use tag::{Aggregation, Entity, TagOptions, TaggedText, Tagger};
pub use task::{Task, Texts};
pub use tokenizer::{Encoding, Tokenizer, Tokens};
pub use zero_shot::{Hypotheses, ZeroShot, ZeroShotOptions};
