//! The model inside a `tokenizer.json`: byte-pair encoding of RoBERTa's kind in tables of our own, the others by the crate
//! `tokenizers`.

use crate::bpe::BpeModel;
use crate::limits::{check_unigram, check_word_piece};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{Model, Token};

/// How words become tokens.
#[derive(Debug)]
pub(crate) enum Vocabulary {
    /// RoBERTa's.
    Bpe(BpeModel),
    /// BERT's, and its largest id.
    WordPiece(WordPiece, Option<u32>),
    /// XLM-RoBERTa's and CamemBERT's.
    Unigram(Unigram),
}

impl Vocabulary {
    /// Whether an entry that goes on with a word is marked as one that does. RoBERTa's marks what begins a word instead.
    pub(crate) fn marks_continuations(&self) -> bool {
        match self {
            Self::Bpe(model) => model.marks_continuations(),
            Self::WordPiece(model, _) => !model.continuing_subword_prefix.is_empty(),
            Self::Unigram(_) => false,
        }
    }

    /// The largest id of a token, if there is one.
    pub(crate) fn largest_id(&self) -> Option<u32> {
        match self {
            Self::Bpe(model) => model.largest_id(),
            Self::WordPiece(_, largest) => *largest,
            // An id is a place in the list.
            Self::Unigram(model) => {
                let last = model.get_vocab_size().checked_sub(1)?;
                Some(u32::try_from(last).unwrap_or(u32::MAX))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model of a tokenizer")
    }

    /// The type comes first in every file that a library has written, so that the rest is read once, into its own form.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let Some(first) = map.next_key::<String>()? else {
            return Err(A::Error::missing_field("vocab"));
        };
        if first != "type" {
            // Old files of RoBERTa's have no type.
            let whole = MapAccessDeserializer::new(Unread {
                key: Some(first),
                map,
            });
            return BpeModel::deserialize(whole).map(Vocabulary::Bpe);
        }
        let kind: String = map.next_value()?;
        let rest = MapAccessDeserializer::new(map);
        match kind.as_str() {
            "BPE" => BpeModel::deserialize(rest).map(Vocabulary::Bpe),
            "WordPiece" => WordPieceFields::deserialize(rest)?
                .build()
                .map_err(A::Error::custom),
            "Unigram" => UnigramFields::deserialize(rest)?
                .build()
                .map_err(A::Error::custom),
            other => Err(A::Error::unknown_variant(
                other,
                &["BPE", "WordPiece", "Unigram"],
            )),
        }
    }
}

/// The JSON of a WordPiece. It is checked before the crate makes tables of it.
#[derive(Deserialize)]
struct WordPieceFields {
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: Vocab,
}

impl WordPieceFields {
    fn build(self) -> tokenizers::Result<Vocabulary> {
        check_word_piece(
            self.max_input_chars_per_word,
            &self.continuing_subword_prefix,
        )?;
        let largest = self.vocab.values().copied().max();
        let model = WordPiece::builder()
            .vocab(self.vocab)
            .unk_token(self.unk_token)
            .continuing_subword_prefix(self.continuing_subword_prefix)
            .max_input_chars_per_word(self.max_input_chars_per_word)
            .build()?;
        Ok(Vocabulary::WordPiece(model, largest))
    }
}

/// The JSON of a Unigram. It is checked before the crate makes a tree of it.
#[derive(Deserialize)]
struct UnigramFields {
    vocab: Vec<(String, f64)>,
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

impl UnigramFields {
    fn build(self) -> tokenizers::Result<Vocabulary> {
        check_unigram(self.vocab.iter().map(|(piece, _)| piece.as_str()))?;
        let model = Unigram::from(self.vocab, self.unk_id, self.byte_fallback)?;
        Ok(Vocabulary::Unigram(model))
    }
}

/// A map whose first key was read already.
struct Unread<A> {
    key: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Unread<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.key.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// What the model of any kind answers.
macro_rules! each {
    ($self:ident, $model:ident => $answer:expr) => {
        match $self {
            Vocabulary::Bpe($model) => $answer,
            Vocabulary::WordPiece($model, _) => $answer,
            Vocabulary::Unigram($model) => $answer,
        }
    };
}

impl Model for Vocabulary {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        each!(self, model => model.tokenize(sequence))
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        each!(self, model => model.token_to_id(token))
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        each!(self, model => model.id_to_token(id))
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        each!(self, model => model.get_vocab())
    }

    fn get_vocab_size(&self) -> usize {
        each!(self, model => model.get_vocab_size())
    }

    /// Nothing here saves a tokenizer: files keep the `tokenizer.json` that they were given.
    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a model that was read from a file isn't saved".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        each!(self, model => model.get_trainer().into())
    }
}
