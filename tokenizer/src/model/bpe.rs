//! RoBERTa's byte-pair encoding, in tables that are quick to build.
//!
//! The crate `tokenizers` has a BPE too, and building its tables would be the longest part of opening a model: it allocates a
//! string for each token, one more for each id, and two for each merge. Here tokens are ranges of one text. The answers are
//! the same, token for token (`tests/tokenizer.rs`). Settings that RoBERTa doesn't have (prefixes, an unknown token,
//! ...) are left to the crate.
//!
//! `docs/tokenizer.md` compares these tables with ones that would be used where the file is mapped.
//!
//! Every word is merged anew. The crate caches words, which makes it a fifth faster over a long text: some 2 µs a token, which
//! is nothing beside the model's forward pass.

use super::fields::{MergesField, TokenIds};
use crate::error::TokenizerError;
use crate::limits::{check_token, out_of_bounds};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use serde::de;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::hash::BuildHasher;
use tokenizers::Token;

/// The entries of a vocabulary by their text and by their ids.
pub(super) struct Tokens {
    text: String,
    by_text: HashTable<OneToken>,
    hasher: DefaultHashBuilder,
    /// By ascending id.
    by_id: Vec<OneToken>,
}

#[derive(Clone, Copy)]
struct OneToken {
    start: u32,
    end: u32,
    id: u32,
}

impl OneToken {
    fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

impl Tokens {
    /// Refuses a token that has two ids, and an id that two tokens have: which of them counts would depend on a hash table
    /// where the crate `tokenizers` has the vocabulary.
    pub(super) fn new(ids: TokenIds) -> Result<Self, TokenizerError> {
        let (text, ends) = ids.into_parts();
        let hasher = DefaultHashBuilder::default();
        let mut by_text: HashTable<OneToken> = HashTable::with_capacity(ends.len());
        let mut by_id = Vec::with_capacity(ends.len());
        let mut start = 0;
        for (end, id) in ends {
            let token = OneToken { start, end, id };
            let written = token.of(&text);
            check_token(written)?;
            // The table has room for all: it never grows.
            let rehash = |_: &OneToken| 0;
            match by_text.entry(hasher.hash_one(written), |t| t.of(&text) == written, rehash) {
                Entry::Occupied(_) => {
                    let twice = format!("the token {written:?} twice in the vocabulary");
                    return Err(<serde_json::Error as de::Error>::custom(twice).into());
                }
                Entry::Vacant(free) => _ = free.insert(token),
            }
            by_id.push(token);
            start = end;
        }
        // Most files have this order already.
        by_id.sort_by_key(|token| token.id);
        if let Some([one, other]) = by_id
            .array_windows()
            .find(|[one, other]| one.id == other.id)
        {
            let (id, [one, other]) = (one.id, [one, other].map(|token| token.of(&text)));
            return out_of_bounds(
                "model",
                format!("has the id {id} twice, of {one:?} and {other:?}"),
            );
        }
        Ok(Self {
            text,
            by_text,
            hasher,
            by_id,
        })
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let same = |t: &OneToken| t.of(&self.text) == token;
        let found = self.by_text.find(self.hasher.hash_one(token), same)?;
        Some(found.id)
    }

    /// The token of an id.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        let at = self.by_id.binary_search_by_key(&id, |token| token.id);
        Some(self.by_id[at.ok()?].of(&self.text))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn largest_id(&self) -> Option<u32> {
        self.by_id.last().map(|token| token.id)
    }

    pub(super) fn all<C: FromIterator<(String, u32)>>(&self) -> C {
        let owned = |token: &OneToken| (token.of(&self.text).to_owned(), token.id);
        self.by_id.iter().map(owned).collect()
    }
}

/// What a pair of tokens becomes.
#[derive(Clone, Copy)]
pub(super) struct Merge {
    /// The lower, the earlier.
    rank: u32,
    whole: u32,
}

pub(super) type Merges = HashMap<(u32, u32), Merge>;

/// The merges by the ids of what they merge. The right part begins with `prefix`, which the merge drops.
pub(super) fn resolve(
    field: &MergesField,
    tokens: &Tokens,
    prefix: &str,
) -> Result<Merges, TokenizerError> {
    let mut merges = Merges::with_capacity(field.len());
    for (rank, (left, right, both)) in field.parts().enumerate() {
        let part = |token: &str| {
            tokens.id(token).ok_or_else(|| TokenizerError::MergeOf {
                rank,
                token: token.to_owned(),
            })
        };
        let pair = (part(left)?, part(right)?);
        let whole = match prefix {
            "" => tokens.id(both),
            prefix => right
                .get(prefix.len()..)
                .and_then(|rest| tokens.id(&format!("{left}{rest}"))),
        };
        let whole = whole.ok_or_else(|| TokenizerError::MergeInto {
            rank,
            left: left.to_owned(),
            right: right.to_owned(),
        })?;
        // A file has at most 2^26 bytes of tokenizer.json.
        let rank = rank as u32;
        // Of equal merges the last counts, as in the crate.
        merges.insert(pair, Merge { rank, whole });
    }
    Ok(merges)
}

/// A vocabulary and its merges. Characters that aren't in the vocabulary are dropped.
pub(crate) struct Bpe {
    tokens: Tokens,
    merges: Merges,
}

impl fmt::Debug for Bpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bpe")
            .field("tokens", &self.tokens.len())
            .field("merges", &self.merges.len())
            .finish_non_exhaustive()
    }
}

/// A token of a word that is being merged, linked to its neighbours.
struct Symbol {
    id: u32,
    /// In bytes; 0 once the token is part of the one before it.
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Bpe {
    pub(super) fn new(tokens: Tokens, merges: Merges) -> Self {
        Self { tokens, merges }
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The tokens of a word: merges the pair of the lowest rank, the leftmost of equal ones, until no pair merges.
    fn merge(&self, word: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut bytes = [0; 4];
        for c in word.chars() {
            if let Some(id) = self.tokens.id(c.encode_utf8(&mut bytes)) {
                let at = symbols.len();
                if let Some(last) = symbols.last_mut() {
                    last.next = Some(at);
                }
                symbols.push(Symbol {
                    id,
                    len: c.len_utf8(),
                    previous: at.checked_sub(1),
                    next: None,
                });
            }
        }
        let find = |symbols: &[Symbol], left: usize, right: usize| {
            let pair = (symbols[left].id, symbols[right].id);
            self.merges.get(&pair).copied()
        };
        let mut queue: BinaryHeap<Reverse<(u32, usize, u32)>> = (1..symbols.len())
            .filter_map(|right| {
                let Merge { rank, whole } = find(&symbols, right - 1, right)?;
                Some(Reverse((rank, right - 1, whole)))
            })
            .collect();
        while let Some(Reverse((_, at, whole))) = queue.pop() {
            let Some(right) = symbols[at].next.filter(|_| symbols[at].len > 0) else {
                continue;
            };
            // One of the pair may have been merged with its other neighbour since.
            if find(&symbols, at, right).is_none_or(|merge| merge.whole != whole) {
                continue;
            }
            let next = symbols[right].next;
            symbols[at].id = whole;
            symbols[at].len += std::mem::take(&mut symbols[right].len);
            symbols[at].next = next;
            if let Some(next) = next {
                symbols[next].previous = Some(at);
            }
            let around = [symbols[at].previous.map(|p| (p, at)), next.map(|n| (at, n))];
            for (left, right) in around.into_iter().flatten() {
                if let Some(Merge { rank, whole }) = find(&symbols, left, right) {
                    queue.push(Reverse((rank, left, whole)));
                }
            }
        }
        symbols.retain(|symbol| symbol.len > 0);
        symbols
    }

    pub(super) fn tokenize(&self, word: &str) -> Vec<Token> {
        let mut start = 0;
        let symbols = self.merge(word).into_iter();
        symbols
            .map(|Symbol { id, len, .. }| {
                let offsets = (start, start + len);
                start += len;
                let token = self.tokens.token(id).unwrap_or_default();
                Token::new(id, token.to_owned(), offsets)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Fields, Vocabulary};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokenizers::Model;
    use tokenizers::models::bpe::BPE;

    fn model(json: &Value) -> Result<Vocabulary, String> {
        model_of(&json.to_string())
    }

    fn model_of(json: &str) -> Result<Vocabulary, String> {
        let fields: Fields = serde_json::from_str(json).map_err(|e| e.to_string())?;
        Vocabulary::new(fields).map_err(|e| e.to_string())
    }

    /// Ids, texts and places of a word's tokens.
    fn tokens(model: &impl Model, word: &str) -> Vec<(u32, String, (usize, usize))> {
        let tokens = model.tokenize(word).unwrap().into_iter();
        tokens.map(|t| (t.id, t.value, t.offsets)).collect()
    }

    /// Checks a model against the crate's.
    fn same(json: &Value, words: &[String]) {
        let crates: BPE = serde_json::from_str(&json.to_string()).unwrap();
        let ours = model(json).unwrap();
        for word in words {
            let (ours, crates) = (tokens(&ours, word), tokens(&crates, word));
            assert_eq!(ours, crates, "{word:?} by {json}");
        }
        assert_eq!(ours.get_vocab(), crates.get_vocab());
        assert_eq!(ours.get_vocab_size(), crates.get_vocab_size());
        for (token, id) in crates.get_vocab() {
            assert_eq!(ours.token_to_id(&token), Some(id));
            assert_eq!(ours.id_to_token(id), crates.id_to_token(id));
        }
        assert_eq!(ours.token_to_id("absent"), None);
        assert_eq!(ours.id_to_token(u32::MAX), None);
    }

    proptest! {
        /// Random merges over an alphabet of four, so that a word can be merged in many ways. One letter of the words
        /// isn't in the vocabulary.
        #[test]
        fn any_merges_give_the_tokens_of_the_crate(
            pairs in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..40),
            seed in 0..1000_usize,
            mut words in prop::collection::vec("[abcé🦀]{0,60}", 8),
        ) {
            let mut made: Vec<String> = ["a", "b", "c", "é"].map(str::to_owned).to_vec();
            let mut merges = Vec::new();
            for [left, right] in pairs {
                let (left, right) = (left.get(&made).clone(), right.get(&made).clone());
                let whole = format!("{left}{right}");
                if whole.len() <= 12 {
                    merges.push((left, right));
                    if !made.contains(&whole) {
                        made.push(whole);
                    }
                }
            }
            // Ids in another order than that of the merges.
            let id = |at: usize| (at * 7919 + seed) % 1_000_003;
            let entries = made.iter().enumerate().map(|(at, token)| (token.clone(), id(at).into()));
            let vocab: serde_json::Map<String, Value> = entries.collect();
            words.extend(made.iter().cloned());
            same(&json!({"type": "BPE", "vocab": vocab, "merges": merges}), &words);
            let lines = merges.iter().map(|(left, right)| format!("{left} {right}"));
            let lines: Vec<String> = ["#version: 0.2".to_owned()].into_iter().chain(lines).collect();
            same(&json!({"merges": lines, "vocab": vocab}), &words);
        }
    }

    #[test]
    fn a_long_word_takes_no_time_to_speak_of() {
        let json = json!({"vocab": {"a": 0, "aa": 1, "aaaa": 2}, "merges": ["a a", "aa aa"]});
        let tokens = model(&json).unwrap().tokenize(&"a".repeat(1 << 20));
        assert_eq!(tokens.unwrap().len(), 1 << 18);
    }

    #[test]
    fn settings_that_roberta_does_not_have_are_for_the_crate() {
        let vocab = json!({
            "a": 0, "b": 1, "##b": 2, "ab": 3, "b</w>": 4, "ab</w>": 5, "<unk>": 6, "<0xC3>": 7, "<0xA9>": 8, "abab": 9
        });
        let words = ["", "a", "ab", "abab", "ébéé", "bé"].map(str::to_owned);
        for (setting, value, merges) in [
            ("continuing_subword_prefix", json!("##"), json!(["a ##b"])),
            (
                "end_of_word_suffix",
                json!("</w>"),
                json!(["a b", "a b</w>"]),
            ),
            ("unk_token", json!("<unk>"), json!(["a b"])),
            ("byte_fallback", json!(true), json!(["a b"])),
            ("ignore_merges", json!(true), json!(["a b"])),
        ] {
            let mut fields = json!({"vocab": vocab, "merges": merges});
            fields[setting] = value;
            assert!(
                matches!(model(&fields), Ok(Vocabulary::Other { .. })),
                "{setting}"
            );
            same(&fields, &words);
            fields["fuse_unk"] = true.into();
            same(&fields, &words);
        }
        let empty = json!({
            "dropout": 0.0, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": ["a b"]
        });
        assert!(matches!(model(&empty), Ok(Vocabulary::Bpe(_))));
        same(&empty, &words);
    }

    /// Of which the crate's hash tables would choose one, another in each process.
    #[test]
    fn a_token_or_an_id_that_is_there_twice_is_refused() {
        for (vocab, reason) in [
            (
                r#"{"a": 0, "b": 1, "a": 2}"#,
                "the token \"a\" twice in the vocabulary",
            ),
            (
                r#"{"a": 0, "a": 0}"#,
                "the token \"a\" twice in the vocabulary",
            ),
            (
                r#"{"a": 3, "b": 1, "c": 0, "d": 1}"#,
                "its model has the id 1 twice, of \"b\" and \"d\"",
            ),
        ] {
            for model in [
                "\"type\": \"BPE\", \"merges\": []",
                "\"type\": \"BPE\", \"merges\": [], \"unk_token\": \"a\"",
                "\"type\": \"WordPiece\", \"unk_token\": \"a\", \"continuing_subword_prefix\": \"\", \"max_input_chars_per_word\": 9",
            ] {
                let found = model_of(&format!("{{{model}, \"vocab\": {vocab}}}"));
                assert_eq!(found.expect_err("no model"), reason);
            }
        }
    }

    #[test]
    fn what_is_not_a_model_is_refused_by_its_reason() {
        let vocab = json!({"a": 0, "b": 1, "ab": 2, "##b": 3});
        let with = |merges: Value| json!({"vocab": vocab, "merges": merges});
        let prefixed = |merges: Value, prefix: &str| json!({"vocab": vocab, "merges": merges, "continuing_subword_prefix": prefix});
        for (json, reason) in [
            (
                with(json!(["ab"])),
                "merge 0 is `ab`; it must be two tokens with one space between",
            ),
            (
                with(json!(["a b", "a b b"])),
                "merge 1 is `a b b`; it must be two tokens",
            ),
            (
                with(json!([["a"]])),
                "invalid length 1, expected two tokens",
            ),
            (with(json!([[]])), "invalid length 0, expected two tokens"),
            (with(json!([["a", "b", "b"]])), "trailing characters"),
            (with(json!([["a", 1]])), "expected a token"),
            (with(json!([7])), "expected a merge: two tokens"),
            (with(json!({"a": "b"})), "expected a list of merges"),
            (
                with(json!(["a x"])),
                "merge 0 is of `x`, which the vocabulary doesn't have",
            ),
            (
                with(json!(["a b", "x b"])),
                "merge 1 is of `x`, which the vocabulary doesn't have",
            ),
            (
                with(json!(["b a"])),
                "merge 0, of `b` and `a`, makes a token that the vocabulary doesn't have",
            ),
            // These are longer than every token, or shorter than the prefix: the crate would panic.
            (
                with(json!(["ab ab"])),
                "merge 0, of `ab` and `ab`, makes a token",
            ),
            (
                prefixed(json!(["a b"]), "####"),
                "merge 0, of `a` and `b`, makes a token",
            ),
            (
                prefixed(json!(["b ##b"]), "##"),
                "merge 0, of `b` and `##b`, makes a token",
            ),
            (
                json!({"vocab": vocab, "merges": [], "dropout": 2.0}),
                "its model has a dropout of 2, which is for training",
            ),
            (
                json!({"vocab": {"a": -1}, "merges": []}),
                "invalid value: integer `-1`",
            ),
            (
                json!({"vocab": {"a": 1_u64 << 32}, "merges": []}),
                "invalid value: integer `4294967296`",
            ),
            (
                json!({"vocab": ["a"], "merges": []}),
                "expected an object of tokens and their ids",
            ),
            (json!({"vocab": vocab}), "missing field `merges`"),
            (json!({"merges": []}), "missing field `vocab`"),
            (
                json!({"type": "WordLevel", "vocab": vocab, "merges": []}),
                "its model is WordLevel; rq reads BPE, WordPiece and Unigram",
            ),
            (
                json!({"vocab": vocab, "merges": [], "further": 1}),
                "unknown field `further`",
            ),
        ] {
            let found = model(&json).expect_err("no model");
            assert!(found.contains(reason), "{json}: {found}");
        }
    }
}
