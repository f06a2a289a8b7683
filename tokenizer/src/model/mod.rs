//! How words become tokens: the `model` of a `tokenizer.json`.

mod bpe;
mod fields;
mod unigram;

use crate::error::TokenizerError;
use crate::limits::{MAX_WORD, check_affix, out_of_bounds};
use bpe::{Bpe, Tokens};
pub(crate) use fields::Fields;
use fields::{MergesField, VocabField};
use serde::de::Error as _;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{Model, Token};
use unigram::Unigram;

/// A vocabulary, and how words become its entries.
#[derive(Debug)]
pub(crate) enum Vocabulary {
    /// RoBERTa's byte-level BPE.
    Bpe(Bpe),
    /// XLM-RoBERTa's and CamemBERT's Unigram.
    Unigram(Unigram),
    /// A model of the crate `tokenizers`.
    Other {
        model: OfCrate,
        largest_id: Option<u32>,
        /// Whether entries that continue a word begin with a prefix.
        prefixed: bool,
    },
}

/// The crate's models that are used. Its own enumeration has code for all.
#[derive(Debug)]
pub(crate) enum OfCrate {
    /// With settings that RoBERTa doesn't have.
    Bpe(Box<BPE>),
    /// BERT's.
    WordPiece(Box<WordPiece>),
}

/// A method of either.
macro_rules! of_crate {
    ($model:ident.$method:ident($($argument:ident),*)) => {
        match $model {
            OfCrate::Bpe(model) => model.$method($($argument),*),
            OfCrate::WordPiece(model) => model.$method($($argument),*),
        }
    };
}

impl Vocabulary {
    /// Checks and builds the model that the fields describe.
    pub(crate) fn new(fields: Fields) -> Result<Self, TokenizerError> {
        match fields.kind.as_deref() {
            None | Some("BPE") => Self::bpe(fields),
            Some("WordPiece") => Self::word_piece(fields),
            Some("Unigram") => Self::unigram(fields),
            Some(other) => Err(TokenizerError::ModelType {
                found: other.into(),
            }),
        }
    }

    fn bpe(fields: Fields) -> Result<Self, TokenizerError> {
        let tokens = tokens(fields.vocab)?;
        let merges_field: MergesField = need(fields.merges, "merges")?;
        let prefix = fields.continuing_subword_prefix.unwrap_or_default();
        let suffix = fields.end_of_word_suffix.unwrap_or_default();
        let merges = bpe::resolve(&merges_field, &tokens, &prefix)?;
        if let Some(dropout) = fields.dropout.filter(|dropout| *dropout != 0.0) {
            return out_of_bounds(
                "model",
                format!(
                    "has a dropout of {dropout}, which is for training: the same text would have other tokens each time"
                ),
            );
        }
        let plain = fields.unk_token.is_none()
            && prefix.is_empty()
            && suffix.is_empty()
            && !fields.byte_fallback
            && !fields.ignore_merges;
        if plain {
            return Ok(Self::Bpe(Bpe::new(tokens, merges)));
        }
        check_affix("continuing_subword_prefix", &prefix)?;
        check_affix("end_of_word_suffix", &suffix)?;
        check_affix("unk_token", fields.unk_token.as_deref().unwrap_or_default())?;
        let prefixed = !prefix.is_empty();
        // The crate panics at merges that make no token: that they do was checked by resolving them. Its cache of words would
        // belong to the thread and outlive the model.
        let mut builder = BPE::builder()
            .cache_capacity(0)
            .vocab_and_merges(tokens.all::<Vocab>(), merges_field.to_strings())
            .continuing_subword_prefix(prefix)
            .end_of_word_suffix(suffix)
            .fuse_unk(fields.fuse_unk)
            .byte_fallback(fields.byte_fallback)
            .ignore_merges(fields.ignore_merges);
        if let Some(token) = fields.unk_token {
            builder = builder.unk_token(token);
        }
        let model = OfCrate::Bpe(Box::new(builder.build()?));
        Ok(Self::other(model, tokens.largest_id(), prefixed))
    }

    fn word_piece(fields: Fields) -> Result<Self, TokenizerError> {
        let longest = need(fields.max_input_chars_per_word, "max_input_chars_per_word")?;
        if longest > MAX_WORD {
            return out_of_bounds(
                "model",
                format!("has max_input_chars_per_word {longest}, and may have {MAX_WORD}"),
            );
        }
        let prefix = need(
            fields.continuing_subword_prefix,
            "continuing_subword_prefix",
        )?;
        check_affix("continuing_subword_prefix", &prefix)?;
        let unknown = need(fields.unk_token, "unk_token")?;
        check_affix("unk_token", &unknown)?;
        let tokens = tokens(fields.vocab)?;
        let prefixed = !prefix.is_empty();
        let model = WordPiece::builder()
            .vocab(tokens.all::<Vocab>())
            .unk_token(unknown)
            .continuing_subword_prefix(prefix)
            .max_input_chars_per_word(longest)
            .build()?;
        let model = OfCrate::WordPiece(Box::new(model));
        Ok(Self::other(model, tokens.largest_id(), prefixed))
    }

    fn unigram(fields: Fields) -> Result<Self, TokenizerError> {
        let VocabField::Scores(pieces) = fields.vocab else {
            return Err(vocab_type("a list of pieces and their scores"));
        };
        let model = Unigram::new(pieces, fields.unk_id, fields.byte_fallback)?;
        Ok(Self::Unigram(model))
    }

    fn other(model: OfCrate, largest_id: Option<u32>, prefixed: bool) -> Self {
        Self::Other {
            model,
            largest_id,
            prefixed,
        }
    }

    /// Whether entries that continue a word are marked as such. RoBERTa's vocabulary marks those that begin one instead.
    pub(crate) fn marks_continuations(&self) -> bool {
        matches!(self, Self::Other { prefixed: true, .. })
    }

    /// The largest id, if there is one.
    pub(crate) fn largest_id(&self) -> Option<u32> {
        match self {
            Self::Bpe(model) => model.tokens().largest_id(),
            // An id is a place in the list, which is shorter than 2^32.
            Self::Unigram(model) => model.len().checked_sub(1).map(|last| last as u32),
            Self::Other { largest_id, .. } => *largest_id,
        }
    }
}

fn need<T>(field: Option<T>, name: &'static str) -> Result<T, TokenizerError> {
    field.ok_or_else(|| serde_json::Error::missing_field(name).into())
}

fn tokens(vocab: VocabField) -> Result<Tokens, TokenizerError> {
    match vocab {
        VocabField::Ids(ids) => Tokens::new(ids),
        VocabField::Scores(_) => Err(vocab_type("an object of tokens and their ids")),
    }
}

fn vocab_type(expected: &str) -> TokenizerError {
    serde_json::Error::custom(format_args!("`vocab` isn't {expected}")).into()
}

impl Model for Vocabulary {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Bpe(bpe) => Ok(bpe.tokenize(sequence)),
            Self::Unigram(unigram) => unigram.tokenize(sequence),
            Self::Other { model, .. } => of_crate!(model.tokenize(sequence)),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Bpe(bpe) => bpe.tokens().id(token),
            Self::Unigram(unigram) => unigram.id(token),
            Self::Other { model, .. } => of_crate!(model.token_to_id(token)),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Bpe(bpe) => bpe.tokens().token(id).map(str::to_owned),
            Self::Unigram(unigram) => unigram.token(id).map(str::to_owned),
            Self::Other { model, .. } => of_crate!(model.id_to_token(id)),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Bpe(bpe) => bpe.tokens().all(),
            Self::Unigram(unigram) => unigram.all(),
            Self::Other { model, .. } => of_crate!(model.get_vocab()),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Bpe(bpe) => bpe.tokens().len(),
            Self::Unigram(unigram) => unigram.len(),
            Self::Other { model, .. } => of_crate!(model.get_vocab_size()),
        }
    }

    /// Nothing saves a tokenizer here: a model's file keeps the `tokenizer.json` that it was made with.
    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a model that was read from a file isn't saved".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}
