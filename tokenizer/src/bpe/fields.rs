//! The JSON of a BPE model. It is read into few allocations: the strings of a vocabulary are one text, and so are those
//! of its merges.

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The JSON of a model. The crate refuses further fields too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    #[serde(rename = "type")]
    _kind: Option<Kind>,
    pub(super) dropout: Option<f32>,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    pub(super) vocab: VocabField,
    pub(super) merges: MergesField,
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "BPE")]
    Bpe,
}

/// Strings, one directly behind the other in one allocation.
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

/// An object of tokens and their ids, as it is written.
#[derive(Default)]
pub(super) struct VocabField {
    tokens: Strings,
    /// Where each token ends, and its id.
    ends: Vec<(u32, u32)>,
}

impl<'de> Deserialize<'de> for VocabField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for VocabField {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their ids")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while map.next_key_seed(&mut self.tokens)?.is_some() {
            let end = self.tokens.end()?;
            self.ends.push((end, map.next_value()?));
        }
        Ok(self)
    }
}

/// A list of merges, each "left right" or ["left", "right"]: the text of each is left and right without a space.
#[derive(Default)]
pub(super) struct MergesField {
    strings: Strings,
    /// Where the left and the right part of each merge end.
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
        // The first line of a merges.txt.
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

impl VocabField {
    /// The tokens one behind the other, and where each ends and its id.
    pub(super) fn into_parts(self) -> (String, Vec<(u32, u32)>) {
        (self.tokens.text, self.ends)
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
