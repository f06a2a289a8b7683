//! Why a tokenizer can't be used, or a text not encoded.

use crate::steps::PipelineError;

/// Why a tokenizer can't be used, or a text not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The `tokenizer.json` isn't JSON of the right form, or the library that carries it out refuses it.
    #[error("{0}")]
    Invalid(String),
    /// A step or the vocabulary is out of bounds.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The model's configuration names a mask token that the tokenizer doesn't have.
    #[error("it has no mask token {id}")]
    NoMask {
        /// The token's id.
        id: u32,
    },
    /// The tokenizer gives a token that the model doesn't have.
    #[error("the tokenizer gives token {token}, but the model's vocabulary ends at {vocab_size}")]
    TokenRange {
        /// The token's id.
        token: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// A text has more tokens than the model takes.
    #[error("the text has {tokens} tokens, and the model takes at most {limit}")]
    TooLong {
        /// Tokens of the text, the special ones included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// The second text of a pair leaves no room for the first.
    #[error("the model takes {limit} tokens, and the second text leaves no room for the first")]
    SecondTooLong {
        /// The most tokens that the model takes.
        limit: usize,
    },
    /// Windows over a long text can't advance.
    #[error(
        "windows of {limit} tokens have no room beside {used} fixed tokens and an overlap of {overlap}"
    )]
    NoRoom {
        /// Tokens of a window.
        limit: usize,
        /// Those that stand in each: special ones, and a question.
        used: usize,
        /// Those that it shares with the window before.
        overlap: usize,
    },
}

impl From<tokenizers::Error> for TokenizerError {
    fn from(error: tokenizers::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<serde_json::Error> for TokenizerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}
