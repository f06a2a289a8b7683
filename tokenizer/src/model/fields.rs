//! The JSON of a model: one form for all kinds. The strings of a vocabulary are read into one text, and so are those of its
//! merges, so that a large file takes few allocations.

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The fields that a model may have; which of them it must have depends on its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    /// Absent in RoBERTa's oldest files.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: VocabField,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) byte_fallback: bool,

    pub(super) merges: Option<MergesField>,
    pub(super) dropout: Option<f32>,
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,

    pub(super) max_input_chars_per_word: Option<usize>,

    pub(super) unk_id: Option<usize>,
}

/// Strings, one behind the other.
#[derive(Default)]
struct Strings {
    text: String,
}

impl Strings {
    /// Where the last string ends.
    fn end<E: de::Error>(&self) -> Result<u32, E> {
        u32::try_from(self.text.len()).map_err(|_| E::custom("tokens of more than 4 GiB"))
    }
}

/// Appends a string.
impl<'de> DeserializeSeed<'de> for &mut Strings {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for &mut Strings {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E: de::Error>(self, token: &str) -> Result<(), E> {
        self.text.push_str(token);
        Ok(())
    }
}

/// A vocabulary.
pub(super) enum VocabField {
    Ids(TokenIds),
    /// An id is a place in the list.
    Scores(Pieces),
}

/// Tokens and their ids, in the order of the file.
#[derive(Default)]
pub(super) struct TokenIds {
    tokens: Strings,
    /// Where each token ends, and its id.
    ends: Vec<(u32, u32)>,
}

/// The pieces of a Unigram and the logarithms of their probabilities, by id.
#[derive(Default)]
pub(super) struct Pieces {
    tokens: Strings,
    /// Where each piece ends.
    ends: Vec<u32>,
    scores: Vec<f64>,
}

impl<'de> Deserialize<'de> for VocabField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = VocabField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their ids, or a list of pieces and their scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabField, A::Error> {
        let mut ids = TokenIds::default();
        while map.next_key_seed(&mut ids.tokens)?.is_some() {
            let end = ids.tokens.end()?;
            ids.ends.push((end, map.next_value()?));
        }
        Ok(VocabField::Ids(ids))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VocabField, A::Error> {
        let mut pieces = Pieces::default();
        while seq.next_element_seed(OnePiece(&mut pieces))?.is_some() {}
        Ok(VocabField::Scores(pieces))
    }
}

/// Appends a piece and its score.
struct OnePiece<'a>(&'a mut Pieces);

impl<'de> DeserializeSeed<'de> for OnePiece<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OnePiece<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their ids, or a list of pieces and their scores")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Pieces {
            tokens,
            ends,
            scores,
        } = self.0;
        let missing = |len| de::Error::invalid_length(len, &"a piece and its score");
        seq.next_element_seed(&mut *tokens)?
            .ok_or_else(|| missing(0))?;
        ends.push(tokens.end()?);
        scores.push(seq.next_element()?.ok_or_else(|| missing(1))?);
        Ok(())
    }
}

/// A list of merges, each "left right" or ["left", "right"].
#[derive(Default)]
pub(super) struct MergesField {
    /// The left and the right part of each.
    strings: Strings,
    /// Where they end.
    ends: Vec<(u32, u32)>,
}

impl<'de> Deserialize<'de> for MergesField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de> Visitor<'de> for MergesField {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element_seed(OneMerge(&mut self))?.is_some() {}
        Ok(self)
    }
}

/// Appends a merge.
struct OneMerge<'a>(&'a mut MergesField);

impl<'de> DeserializeSeed<'de> for OneMerge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneMerge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge: two tokens")
    }

    fn visit_str<E: de::Error>(self, merge: &str) -> Result<(), E> {
        // The first line of a merges.txt, which old files keep.
        if merge.starts_with("#version") {
            return Ok(());
        }
        let field = self.0;
        match merge.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => {
                field.strings.text.push_str(left);
                let middle = field.strings.end()?;
                field.strings.text.push_str(right);
                field.ends.push((middle, field.strings.end()?));
                Ok(())
            }
            _ => Err(E::custom(format_args!(
                "merge {} is `{merge}`; it must be two tokens with one space between",
                field.ends.len()
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let field = self.0;
        let missing = |len| de::Error::invalid_length(len, &"two tokens");
        seq.next_element_seed(&mut field.strings)?
            .ok_or_else(|| missing(0))?;
        let middle = field.strings.end()?;
        seq.next_element_seed(&mut field.strings)?
            .ok_or_else(|| missing(1))?;
        field.ends.push((middle, field.strings.end()?));
        Ok(())
    }
}

impl TokenIds {
    /// The tokens one behind the other, and where each ends and its id.
    pub(super) fn into_parts(self) -> (String, Vec<(u32, u32)>) {
        (self.tokens.text, self.ends)
    }
}

impl Pieces {
    /// The pieces one behind the other, where each ends, and their scores.
    pub(super) fn into_parts(self) -> (String, Vec<u32>, Vec<f64>) {
        (self.tokens.text, self.ends, self.scores)
    }
}

impl MergesField {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each merge's left part, right part, and both.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let text = &self.strings.text;
        let mut start = 0;
        self.ends.iter().map(move |&(middle, end)| {
            let (middle, end) = (middle as usize, end as usize);
            let both = &text[std::mem::replace(&mut start, end)..end];
            let right = &text[middle..end];
            (&both[..both.len() - right.len()], right, both)
        })
    }

    pub(super) fn to_strings(&self) -> Vec<(String, String)> {
        let parts = self.parts();
        parts
            .map(|(left, right, _)| (left.to_owned(), right.to_owned()))
            .collect()
    }
}
