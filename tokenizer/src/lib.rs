//! The tokenizers of the family: from text to token ids and back.
//!
//! A `tokenizer.json` is read within bounds: its steps must be ones that RoBERTa, BERT, XLM-RoBERTa and CamemBERT have
//! ([`steps`]), and its vocabulary no larger than what is safe to look up in ([`limits`]). Byte-level BPE is in tables of
//! our own; WordPiece, Unigram and the steps around them are carried out by the crate `tokenizers`.

#![forbid(unsafe_code)]

mod bpe;
pub mod characters;
mod error;
pub mod limits;
mod model;
pub mod steps;
mod tokenizer;

pub use error::TokenizerError;
pub use tokenizer::{Encoding, Tokenizer, Tokens};
