//! The tokenizers of RoBERTa, BERT, XLM-RoBERTa and CamemBERT: from text to token ids and back.
//!
//! [`Pipeline::read`] reads a Hugging Face `tokenizer.json` that nobody vouches for. Its steps must be among those that the
//! family has, and whatever could cost more time or memory than its bytes is bounded. A [`Tokenizer`] is a pipeline fitted to
//! a model: every id it gives is in the model's vocabulary, and it knows how many tokens the model takes.
//!
//! RoBERTa's byte-level BPE and XLM-RoBERTa's Unigram are implemented here; WordPiece and the steps around them are those of the
//! crate `tokenizers`.

#![forbid(unsafe_code)]

mod added;
pub mod characters;
mod error;
mod growth;
mod limits;
mod members;
mod model;
mod pipeline;
mod steps;
mod tokenizer;

pub use error::TokenizerError;
pub use pipeline::Pipeline;
pub use tokenizer::{Encoding, Tokenizer, Tokens};
