//! What can go wrong, in words for the person who sees it.

use crate::session::MAX_THREADS;
use rq_format::{FormatError, Head};
use rq_kernels::isa::UnknownIsa;
use rq_kernels::kernels::UnavailableIsa;
use rq_tokenizer::TokenizerError;

/// An error of the runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file isn't a model that can be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file's tokenizer can't be used.
    #[error("the model's tokenizer can't be used")]
    Tokenizer(#[source] TokenizerError),
    /// The tokenizer doesn't fit the model.
    #[error("the tokenizer gives token {token}, but the model's vocabulary ends at {vocab_size}")]
    TokenRange {
        /// The token's id.
        token: u32,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// A token type that the model doesn't have.
    #[error("token type {token_type}, of a model with {type_vocab_size}")]
    TokenType {
        /// The type.
        token_type: u32,
        /// How many there are.
        type_vocab_size: usize,
    },
    /// Another number of token types than of tokens.
    #[error("{token_types} token types for {tokens} tokens: there must be one for each")]
    TokenTypes {
        /// Tokens of the sequence.
        tokens: usize,
        /// Types of it.
        token_types: usize,
    },
    /// A batch with a sequence that has no tokens.
    #[error("sequence {sequence} of the batch, counted from 0, has no tokens")]
    EmptySequence {
        /// The sequence of the batch.
        sequence: usize,
    },
    /// Logits were asked for of a model that has no head.
    #[error("the model has no head: it gives hidden states, and no logits")]
    NoHead,
    /// A task that another head is for.
    #[error("{task} needs a model with the head {needed}; this one has the head {found}")]
    WrongHead {
        /// What was asked for.
        task: &'static str,
        /// The head for it.
        needed: Head,
        /// The model's.
        found: Head,
    },
    /// The instruction set that was asked for isn't one.
    #[error(transparent)]
    UnknownIsa(#[from] UnknownIsa),
    /// The instruction set that was asked for can't be used.
    #[error(transparent)]
    UnavailableIsa(#[from] UnavailableIsa),
    /// More threads than a session starts.
    #[error("threads is {count}; at most {MAX_THREADS} are started")]
    TooManyThreads {
        /// How many were asked for.
        count: usize,
    },
    /// The operating system refuses threads.
    #[error("can't start {count} threads")]
    Threads {
        /// How many were asked for.
        count: usize,
        /// Why not.
        source: std::io::Error,
    },
    /// The session was made before its process forked.
    #[error(
        "the session's threads are in the process that this one was forked from: make a session in each process, or one with a single thread"
    )]
    Forked,
    /// A text without characters.
    #[error("the text is empty: it needs a mask token, where a word is to be filled in")]
    EmptyText,
    /// A text that the tokenizer makes nothing of, and puts nothing around.
    #[error("the text has no tokens")]
    NoTokens,
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
    #[error("the text has {tokens} tokens, and the model takes at most {limit}")]
    TooLong {
        /// Tokens of the text, the special ones included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// A question without characters.
    #[error("the question is empty")]
    EmptyQuestion,
    /// A question about nothing.
    #[error("there is no context: give the text in which the answer is to be found")]
    NoContext,
    /// Windows that are larger than what the model takes.
    #[error("windows of {max_seq_len} tokens were asked for, and the model takes at most {limit}")]
    WindowTooLong {
        /// Tokens of a window.
        max_seq_len: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// Windows over a long text that can't advance.
    #[error(
        "windows of {limit} tokens have no room beside {used} fixed tokens and an overlap of {overlap}: take a smaller stride, or a shorter question where there is one"
    )]
    NoRoom {
        /// Tokens of a window.
        limit: usize,
        /// Those that stand in each: special ones, and a question.
        used: usize,
        /// Those that it shares with the window before.
        overlap: usize,
    },
    /// Truncation left no mask.
    #[error(
        "truncated to {limit} of {tokens} tokens, the text has no mask token ({mask}) left: move it away from where the text is cut"
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
    /// An option that asks for nothing.
    #[error("{option} is 0: it must be at least 1")]
    Zero {
        /// The option's name.
        option: &'static str,
    },
    /// No target was given, or none is a token.
    #[error("none of the targets is a token of the model's vocabulary: at least one must be")]
    NoTargets,
    /// A text without tokens, where there must be some.
    #[error("the text is empty: there is nothing to classify")]
    NothingToClassify,
    /// Labels of one's own that are none.
    #[error("no label to choose from, or an empty one: give one or more, such as \"sports\"")]
    NoLabels,
    /// A sentence about a label without a place for it.
    #[error("the template {template:?} has no {{}}, in the place of which a label is put")]
    Template {
        /// The template.
        template: String,
    },
    /// Zero-shot classification by a model that can't tell entailment from anything.
    #[error(
        "zero-shot classification needs a model of entailment, with labels such as \"entailment\" and \"contradiction\"; this one has one label"
    )]
    NoEntailment,
    /// A sentence about a label that leaves no room for a text.
    #[error(
        "the model takes {limit} tokens, which are too few for a text beside {hypothesis:?}: take a shorter label or template"
    )]
    HypothesisTooLong {
        /// The sentence, or its beginning.
        hypothesis: String,
        /// The most tokens that the model takes.
        limit: usize,
    },
    /// Something was prepared with other labels than those of the task.
    #[error("the text was prepared for other labels")]
    OtherLabels,
    /// An overlap of windows that are put together from entities, where only tokens are asked for.
    #[error(
        "a stride needs an aggregation of entities: leave it out; long texts are read in windows all the same"
    )]
    StrideOfTokens,
    /// Dense embeddings by default of a model whose publisher means sparse ones.
    #[error(
        "the model is a sparse encoder, whose embeddings are weights of the vocabulary's entries; it makes dense ones only with a pooling that is chosen"
    )]
    SparseEncoder,
    /// A sparse embedding without weights.
    #[error("a sparse embedding of 0 dimensions was asked for: it must have 1 or more")]
    NoActiveDims,
    /// Words one by one for a tokenizer that needs the space before them.
    #[error(
        "the model's tokenizer splits a word differently without a space before it (add_prefix_space is false): its words can't be tagged one by one"
    )]
    NoPrefixSpace,
    /// A prompt that the model's file doesn't have.
    #[error("the model has no prompt {name:?}; {}", match names.is_empty() { true => "it has none".to_owned(), false => format!("it has {}", names.join(", ")) })]
    NoPrompt {
        /// What was asked for.
        name: String,
        /// Those that it has.
        names: Vec<String>,
    },
    /// A prompt after which nothing is left to pool, in a model that doesn't pool its prompts.
    #[error(
        "the prompt takes all of the {limit} tokens that the model takes, and leaves none to pool"
    )]
    OnlyPrompt {
        /// The most tokens that the model takes.
        limit: usize,
    },
    /// More dimensions of an embedding than it has, or none.
    #[error("{found} dimensions were asked for; embeddings of this model have from 1 to {most}")]
    Dimension {
        /// What was asked for.
        found: usize,
        /// The most that there are.
        most: usize,
    },
    /// A pooling that doesn't suit the layers behind it.
    #[error(
        "the model's dense layer takes {expected} values, and this pooling makes {found}: leave the pooling to the model, or keep each token's vector"
    )]
    DenseWidth {
        /// What the layer takes.
        expected: usize,
        /// What the pooling makes.
        found: usize,
    },
    /// A text for which the model computes NaN or infinity: its weights are damaged, or so large that they overflow.
    #[error(
        "the model computes what isn't a finite number, in {stage} at token {token}: its weights are damaged or too large"
    )]
    NotFinite {
        /// Where it first happens.
        stage: Stage,
        /// The sequence of the batch.
        sequence: usize,
        /// The first token of the sequence with such a number, the special ones counted.
        token: usize,
    },
    /// An embedding whose values are finite in no f32.
    #[error(
        "the embedding of the text has values beyond the range of an f32: the model's weights are too large"
    )]
    EmbeddingRange,
    /// One of several inputs can't be answered.
    #[error("text {number} of {count}")]
    InBatch {
        /// Which, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        source: Box<Self>,
    },
}

/// A stage of a model's computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The sum of the embeddings, and what makes hidden states of it.
    Embeddings,
    /// A layer, from 1.
    Layer(usize),
    /// The head.
    Head,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embeddings => f.write_str("the embeddings"),
            Self::Layer(layer) => write!(f, "layer {layer}"),
            Self::Head => f.write_str("the head"),
        }
    }
}

/// What kind of thing went wrong, for a program that must choose what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The operating system refused: no such file, no rights, no threads.
    Io,
    /// The file isn't a model, it is damaged, or its weights give no finite numbers.
    Damaged,
    /// A newer version of rq made the file.
    NewerVersion,
    /// The model's head is for another task.
    WrongHead,
    /// The text can't be answered: it is empty, or lacks what the task needs.
    Text,
    /// The text has more tokens than the model takes.
    TooLong,
    /// An option or an argument has a value that it can't have.
    Option,
}

impl Error {
    /// Whether a text that was computed is to blame, or rather what the model makes of it, and others computed with it aren't.
    pub(crate) fn is_of_one_text(&self) -> bool {
        matches!(self, Self::NotFinite { .. } | Self::EmbeddingRange)
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Format(FormatError::Io { .. } | FormatError::NoRoom { .. })
            | Self::Threads { .. } => ErrorKind::Io,
            Self::Format(FormatError::Part { .. }) => ErrorKind::Option,
            Self::Format(FormatError::NewerVersion { .. }) => ErrorKind::NewerVersion,
            // Each of its other variants is a rule of the format that the file breaks.
            Self::Format(_)
            | Self::Tokenizer(_)
            | Self::TokenRange { .. }
            | Self::NotFinite { .. }
            | Self::EmbeddingRange => ErrorKind::Damaged,
            Self::WrongHead { .. } | Self::NoHead => ErrorKind::WrongHead,
            Self::EmptyText
            | Self::NoTokens
            | Self::EmptySequence { .. }
            | Self::NothingToClassify
            | Self::NoMask { .. }
            | Self::EmptyQuestion
            | Self::NoContext => ErrorKind::Text,
            // A shorter question makes room.
            Self::TooLong { .. }
            | Self::MaskTruncated { .. }
            | Self::NoRoom { .. }
            | Self::OnlyPrompt { .. } => ErrorKind::TooLong,
            Self::TokenType { .. }
            | Self::TokenTypes { .. }
            | Self::Zero { .. }
            | Self::TooManyThreads { .. }
            | Self::Forked
            | Self::UnknownIsa(_)
            | Self::UnavailableIsa(_)
            | Self::WindowTooLong { .. }
            | Self::TopK { .. }
            | Self::NoTargets
            | Self::NoLabels
            | Self::Template { .. }
            | Self::NoEntailment
            | Self::HypothesisTooLong { .. }
            | Self::OtherLabels
            | Self::NoPrompt { .. }
            | Self::Dimension { .. }
            | Self::DenseWidth { .. }
            | Self::SparseEncoder
            | Self::NoActiveDims
            | Self::NoPrefixSpace
            | Self::StrideOfTokens => ErrorKind::Option,
            Self::InBatch { source, .. } => source.kind(),
        }
    }
}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::TokenRange { token, vocab_size } => {
                Self::TokenRange { token, vocab_size }
            }
            TokenizerError::TooLong { tokens, limit } => Self::TooLong { tokens, limit },
            TokenizerError::NoRoom {
                limit,
                used,
                overlap,
            } => Self::NoRoom {
                limit,
                used,
                overlap,
            },
            error => Self::Tokenizer(error),
        }
    }
}

/// The text for a message: its first characters.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
