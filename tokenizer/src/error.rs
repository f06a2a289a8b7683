//! Why a tokenizer can't be used, or a text not encoded.

/// Why a tokenizer can't be used, or a text not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The `tokenizer.json` isn't JSON, or lacks a field, or has one of the wrong type.
    #[error("{0}")]
    Json(serde_json::Error),
    /// The crate `tokenizers` refuses the pipeline or fails on a text.
    #[error("{0}")]
    Library(tokenizers::Error),
    /// The model isn't of a kind that is supported.
    #[error("its model is {found}; rq reads BPE, WordPiece and Unigram")]
    ModelType {
        /// What the file says.
        found: String,
    },
    /// A merge of BPE is of something that isn't a token.
    #[error("merge {rank} is of `{token}`, which the vocabulary doesn't have")]
    MergeOf {
        /// The merge, from 0.
        rank: usize,
        /// What isn't a token.
        token: String,
    },
    /// A merge of BPE makes something that isn't a token.
    #[error(
        "merge {rank}, of `{left}` and `{right}`, makes a token that the vocabulary doesn't have"
    )]
    MergeInto {
        /// The merge, from 0.
        rank: usize,
        /// Its left part.
        left: String,
        /// Its right part.
        right: String,
    },
    /// A step isn't one that the family has.
    #[error("its {part} isn't one of those of BERT, RoBERTa, XLM-RoBERTa and CamemBERT: {reason}")]
    UnknownStep {
        /// The field of `tokenizer.json`.
        part: &'static str,
        /// What the parser says.
        reason: serde_json::Error,
    },
    /// A part exceeds a limit, or has a value that isn't safe to work with.
    #[error("its {part} {reason}")]
    OutOfBounds {
        /// The field of `tokenizer.json`.
        part: &'static str,
        /// What is wrong, as a predicate: "has more than 16 steps".
        reason: String,
    },
    /// The tokenizer lacks the mask token that the model's configuration names.
    #[error("it has no mask token {id}")]
    NoMask {
        /// The token's id.
        id: u32,
    },
    /// The tokenizer gives an id that the model has no embedding for.
    #[error("the tokenizer gives token {token}, but the model's vocabulary ends at {vocab_size}")]
    TokenRange {
        /// The token's id.
        token: u32,
        /// Entries of the model's vocabulary.
        vocab_size: usize,
    },
    /// A text has more tokens than the model takes.
    #[error("the text has {tokens} tokens, and the model takes at most {limit}")]
    TooLong {
        /// Tokens of the text, special ones included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// The normalizers and pre-tokenizers make a text too long.
    #[error(
        "the tokenizer's normalizers and pre-tokenizers make more than {most} bytes of a text of {text}"
    )]
    Grown {
        /// Bytes of the text.
        text: usize,
        /// The most bytes that it may become.
        most: usize,
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
        /// Those that every window repeats: special tokens, and a question.
        used: usize,
        /// Those that it shares with the window before.
        overlap: usize,
    },
}

impl From<tokenizers::Error> for TokenizerError {
    fn from(error: tokenizers::Error) -> Self {
        Self::Library(error)
    }
}

impl From<serde_json::Error> for TokenizerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}
