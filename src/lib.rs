//! RoBERTa on a device: one quantized file, hand-written kernels, the same bits on every instruction set.
//!
//! - A [`Model`] is a mapped file with its tokenizer. Threads can share it.
//! - A [`Session`] computes with a model: it owns the threads and the memory for that.
//! - A [`Task`] makes answers of what a session computes: [`FillMask`], [`JointFill`], [`TargetFill`], [`Scorer`] and
//!   [`SparseEmbedder`] for masked language models, [`Classifier`] and [`ZeroShot`], [`Tagger`] and [`WordTagger`],
//!   [`Answerer`] for the heads of that name, and [`Embedder`] for any model.
//!
//! The answer to a text depends on the model and the text alone: not on the instruction set, the number of threads, or the
//! other texts of a batch. Not one bit differs.
//!
//! ```
//! # #[cfg(feature = "demo-model")] {
//! use rq::{FillMask, FillOptions, Model, Session, SessionOptions, Task};
//!
//! let session = Session::new(Model::demo()?, &SessionOptions::default())?;
//! let text = "She opened the <mask> and walked into the garden.";
//! let masks = FillMask::new(session)?.run_one(text, &FillOptions::default())?;
//! assert_eq!(masks[0][0].token_str, " door");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A session owns its model, and a task may own its session, so that an application holds them without a lifetime, and may move
//! to another thread:
//!
//! ```
//! # #[cfg(feature = "demo-model")] {
//! use rq::{EmbedOptions, Embedder, Error, Model, Session, SessionOptions, Task, cosine};
//! use std::sync::Arc;
//!
//! struct App {
//!     model: Arc<Model>,
//!     embedder: Embedder,
//! }
//!
//! impl App {
//!     fn new(model: Model) -> Result<Self, Error> {
//!         let model = Arc::new(model);
//!         let session = Session::new(Arc::clone(&model), &SessionOptions::default())?;
//!         Ok(Self { model, embedder: Embedder::new(session) })
//!     }
//!
//!     fn similarity(&mut self, texts: &[String; 2]) -> Result<f64, Error> {
//!         let [a, b] = &self.embedder.run(texts, &EmbedOptions::default())?[..] else {
//!             unreachable!()
//!         };
//!         Ok(cosine(a, b))
//!     }
//! }
//!
//! let mut app = App::new(Model::demo()?)?;
//! assert_eq!(app.model.config().hidden_size, 256);
//! let texts = ["The dog barked.", "A dog was barking."].map(String::from);
//! let similarity = std::thread::spawn(move || app.similarity(&texts)).join().unwrap()?;
//! assert!(similarity > 0.5);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

/// The README, whose program in Rust must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch;
mod encoder;
mod error;
mod model;
mod profile;
mod session;
mod tasks;

pub use batch::Batch;
pub use encoder::Rows;
#[doc(hidden)]
pub use encoder::steps;
pub use error::{Error, ErrorKind, Stage};
pub use model::Model;
pub use profile::Profile;
pub use rq_format::{Config, FormatError, Head, ModelFile, ScoreFunction};
pub use rq_kernels::isa::{ISA_VARIABLE, Isa};
pub use rq_tokenizer::{Encoding, Tokenizer, TokenizerError, Tokens};
pub use session::{MAX_THREADS, Session, SessionOptions};
pub use tasks::Task;
pub use tasks::answer::{Answer, AnswerOptions, Answerer, PreparedAnswer, Question};
pub use tasks::classify::{Classifier, ClassifyOptions, LabelScore, PreparedClassify};
pub use tasks::embed::{EmbedOptions, Embedder, Embedding, Pooling, PreparedEmbed, cosine};
pub use tasks::fill::{Fill, FillMask, FillOptions, PreparedFill, TargetWarning, Targets};
pub use tasks::input::{Text, Texts, Words};
pub use tasks::joint::{
    Filling, FillingToken, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions,
    WholeTargets,
};
pub use tasks::prompt::Prompt;
pub use tasks::score::{PreparedScore, Score, ScoreMethod, ScoreOptions, Scorer, TokenScore};
pub use tasks::sparse::{PreparedSparse, SparseEmbedder, SparseEmbedding, SparseOptions};
pub use tasks::tag::{
    Aggregation, Entity, PreparedTag, PreparedWords, TagOptions, Tagger, WordTag, WordTagger,
};
pub use tasks::zero_shot::{PreparedZeroShot, ZeroShot, ZeroShotOptions};
