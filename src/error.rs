//! What can go wrong, in words for the person who sees it.

use rq_format::FormatError;
use rq_kernels::isa::UnknownIsa;
use rq_kernels::kernels::UnavailableIsa;

/// An error of the runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file isn't a model that can be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file's tokenizer can't be used.
    #[error("the model's tokenizer can't be used: {0}")]
    Tokenizer(String),
    /// The tokenizer doesn't fit the model.
    #[error("the tokenizer gives token {token}, but the model's vocabulary ends at {vocab_size}")]
    TokenRange {
        /// The token's id.
        token: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// The instruction set that was asked for isn't one.
    #[error(transparent)]
    UnknownIsa(#[from] UnknownIsa),
    /// The instruction set that was asked for can't be used.
    #[error(transparent)]
    UnavailableIsa(#[from] UnavailableIsa),
    /// The operating system refuses threads.
    #[error("can't start {count} threads")]
    Threads {
        /// How many were asked for.
        count: usize,
        /// Why not.
        source: std::io::Error,
    },
    /// A text without characters.
    #[error("the text is empty: it needs a mask token, where a word is to be filled in")]
    EmptyText,
    /// A text without the mask token.
    #[error(
        "no mask token found in the text {text:?}: write {mask} where a word is to be filled in"
    )]
    NoMask {
        /// The mask token, as it must be written.
        mask: String,
        /// The text, or its beginning.
        text: String,
    },
    /// A text that is longer than the model's positions.
    #[error(
        "the text has {tokens} tokens, and the model takes at most {limit}: shorten it, or truncate it (--truncate)"
    )]
    TooLong {
        /// Tokens of the text, the special ones included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// Truncation left no mask.
    #[error(
        "truncated to {limit} of {tokens} tokens, the text has no mask token ({mask}) left: move it nearer to the beginning"
    )]
    MaskTruncated {
        /// The mask token.
        mask: String,
        /// Tokens of the whole text.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// More results asked for than there are tokens.
    #[error("the {top_k} best tokens were asked for, and the vocabulary has only {vocab_size}")]
    TopK {
        /// How many were asked for.
        top_k: usize,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// No target was given, or none is a token.
    #[error("none of the targets is a token of the model's vocabulary: at least one must be")]
    NoTargets,
}

/// The text for a message: its first characters.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
