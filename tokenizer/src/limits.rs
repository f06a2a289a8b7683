//! How large the vocabulary of a tokenizer may be, and what its entries may be.
//!
//! Where the library that looks words up takes more time or memory than the entries' bytes, or fails on some of them, that is
//! bounded here. A plain list of tokens isn't: it costs what its bytes cost.

use crate::steps::PipelineError;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

/// The longest word in characters that WordPiece looks up: it takes time in proportion to the square.
pub const MAX_WORD: usize = 1000;
/// The longest text before or behind the parts of a word, in bytes: it is put there at each look.
pub const MAX_AFFIX_LEN: usize = 64;
/// The longest piece of a Unigram, in bytes. Its tree has a node for each byte, one inside the other; and at each place of a
/// text, every piece that begins there is looked at. SentencePiece makes pieces of 16 characters.
pub const MAX_PIECE_LEN: usize = 128;
/// The bytes of all pieces of a Unigram: each takes some 350 of memory. XLM-RoBERTa's have 2 million.
pub const MAX_PIECES_LEN: usize = 8 << 20;
/// The longest token that is added to a vocabulary, in bytes.
pub const MAX_ADDED_LEN: usize = 1 << 10;
/// The bytes of all of those: each takes some hundreds of memory.
pub const MAX_ALL_ADDED_LEN: usize = 1 << 20;

/// Checks the settings of a WordPiece.
///
/// # Errors
/// When words may be longer than [`MAX_WORD`], or the prefix is longer than [`MAX_AFFIX_LEN`].
pub fn check_word_piece(
    max_input_chars_per_word: usize,
    prefix: &str,
) -> Result<(), PipelineError> {
    if max_input_chars_per_word > MAX_WORD {
        return refuse(format!(
            "has max_input_chars_per_word {max_input_chars_per_word}, and may have {MAX_WORD}"
        ));
    }
    check_affix("continuing_subword_prefix", prefix)
}

/// Checks a text that is put before or behind the parts of words.
///
/// # Errors
/// When it is longer than [`MAX_AFFIX_LEN`].
pub fn check_affix(field: &str, text: &str) -> Result<(), PipelineError> {
    match text.len() {
        0..=MAX_AFFIX_LEN => Ok(()),
        len => refuse(format!(
            "has a {field} of {len} bytes, and may have {MAX_AFFIX_LEN}"
        )),
    }
}

/// Checks the pieces of a Unigram.
///
/// # Errors
/// When one is longer than [`MAX_PIECE_LEN`], or all are longer than [`MAX_PIECES_LEN`].
pub fn check_unigram<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Result<(), PipelineError> {
    let mut all = 0;
    for piece in pieces {
        let len = piece.len();
        if len > MAX_PIECE_LEN {
            return refuse(format!(
                "has a piece of {len} bytes, and may have {MAX_PIECE_LEN}"
            ));
        }
        all += len;
        if all > MAX_PIECES_LEN {
            return refuse(format!("has pieces of more than {MAX_PIECES_LEN} bytes"));
        }
    }
    Ok(())
}

/// A token that is looked for in a text before anything else, as far as it is checked.
#[derive(Debug, Deserialize)]
pub struct AddedToken {
    /// How it is written.
    pub content: String,
    /// Whether it takes the spaces before it.
    #[serde(default)]
    pub lstrip: bool,
    /// Whether it takes the spaces behind it.
    #[serde(default)]
    pub rstrip: bool,
}

/// Checks the tokens that are added to a vocabulary: content, whether it takes the spaces before it, and those behind it.
///
/// # Errors
/// When one is longer than [`MAX_ADDED_LEN`], all are longer than [`MAX_ALL_ADDED_LEN`], or one that takes spaces could meet
/// spaces that are a token themselves, which would give the same bytes to both.
pub fn check_added<'a>(
    tokens: impl IntoIterator<Item = (&'a str, bool, bool)>,
) -> Result<(), PipelineError> {
    let part = "added_tokens";
    let refuse = |reason| Err(PipelineError::Value { part, reason });
    let (mut all, mut takes_behind, mut spaced) = (0, false, false);
    for (content, lstrip, rstrip) in tokens {
        let len = content.len();
        if len > MAX_ADDED_LEN {
            return refuse(format!(
                "have one of {len} bytes, and may have {MAX_ADDED_LEN}"
            ));
        }
        all += len;
        if all > MAX_ALL_ADDED_LEN {
            return refuse(format!("have more than {MAX_ALL_ADDED_LEN} bytes"));
        }
        let space =
            content.starts_with(char::is_whitespace) || content.ends_with(char::is_whitespace);
        takes_behind |= rstrip;
        spaced |= space;
        if (space && lstrip) || (takes_behind && spaced) {
            return refuse(format!("take spaces from each other: {content:?}"));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pieces {
    Unigram(Vec<(String, f64)>),
    Other(HashMap<String, u32>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merges {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    max_input_chars_per_word: usize,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: Pieces,
    merges: Option<Merges>,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// Checks the vocabulary of a whole `tokenizer.json`, before the crate `tokenizers` reads it: that its numbers are in bounds, and
/// that each merge is of tokens, and makes one.
///
/// # Errors
/// When it isn't JSON of the right form, or not so.
pub fn check(json: &[u8]) -> Result<(), PipelineError> {
    let unknown = |reason| PipelineError::Unknown {
        part: "model",
        reason,
    };
    let whole: Whole<'_> = serde_json::from_slice(json).map_err(unknown)?;
    let added = whole.added_tokens.iter();
    check_added(added.map(|t| (t.content.as_str(), t.lstrip, t.rstrip)))?;
    let model: Model = serde_json::from_str(whole.model.get()).map_err(unknown)?;
    let prefix = model.continuing_subword_prefix.unwrap_or_default();
    check_word_piece(model.max_input_chars_per_word, &prefix)?;
    check_affix(
        "end_of_word_suffix",
        &model.end_of_word_suffix.unwrap_or_default(),
    )?;
    let vocab: HashSet<&str> = match &model.vocab {
        Pieces::Unigram(pieces) => {
            return check_unigram(pieces.iter().map(|(piece, _)| piece.as_str()));
        }
        Pieces::Other(tokens) => tokens.keys().map(String::as_str).collect(),
    };
    match &model.merges {
        None => Ok(()),
        Some(Merges::Pairs(pairs)) => {
            let pairs = pairs.iter().map(|(l, r)| (l.as_str(), r.as_str()));
            check_merges(&vocab, &prefix, pairs)
        }
        Some(Merges::Lines(lines)) => {
            check_merges(&vocab, &prefix, merges(lines.iter().map(String::as_str)))
        }
    }
}

/// The merges in lines of a `merges.txt`. What isn't two tokens is left out: the crate refuses it by itself.
pub fn merges<'a>(
    lines: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let lines = lines.into_iter();
    let lines = lines.filter(|line| !line.starts_with("#version"));
    lines.filter_map(|line| line.split_once(' '))
}

/// Checks that merges are of tokens, and make tokens. A token behind another one begins with `prefix`, which a merge drops.
///
/// # Errors
/// At the first that isn't.
pub fn check_merges<'a>(
    vocab: &HashSet<&str>,
    prefix: &str,
    merges: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), PipelineError> {
    for (rank, (left, right)) in merges.into_iter().enumerate() {
        let rest = right.get(prefix.len()..);
        let whole = rest.map(|rest| format!("{left}{rest}"));
        let known = |token: &str| vocab.contains(token);
        if !whole.is_some_and(|whole| known(left) && known(right) && known(&whole)) {
            return refuse(format!(
                "has the merge {rank} of {left:?} and {right:?}, and not all of the tokens for it"
            ));
        }
    }
    Ok(())
}

fn refuse<T>(reason: String) -> Result<T, PipelineError> {
    let part = "model";
    Err(PipelineError::Value { part, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(added: Value, model: Value) -> String {
        let json = json!({"added_tokens": added, "model": model}).to_string();
        match check(json.as_bytes()) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    fn bpe(merges: Value, prefix: &str) -> Value {
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "é": 3, "aé": 4}, "merges": merges,
            "continuing_subword_prefix": prefix})
    }

    #[test]
    fn vocabularies_in_bounds_pass() {
        let token = |content: &str| json!({"id": 0, "content": content, "lstrip": true});
        for model in [
            bpe(json!([["a", "b"], ["a", "é"]]), ""),
            bpe(json!(["#version: 0.2", "a b"]), ""),
            json!({"type": "WordPiece", "vocab": {"a": 0}, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
            json!({"type": "Unigram", "vocab": [["a".repeat(MAX_PIECE_LEN), -1.5]]}),
        ] {
            assert_eq!(
                reason(json!([token("<mask>"), {"content": " "}]), model),
                ""
            );
        }
    }

    #[test]
    fn a_vocabulary_out_of_bounds_is_refused() {
        let long = "a".repeat(65);
        for (model, expected) in [
            (
                json!({"type": "WordPiece", "vocab": {}, "max_input_chars_per_word": 1001}),
                "its model has max_input_chars_per_word 1001, and may have 1000",
            ),
            (
                json!({"type": "WordPiece", "vocab": {}, "continuing_subword_prefix": long}),
                "its model has a continuing_subword_prefix of 65 bytes, and may have 64",
            ),
            (
                json!({"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": long}),
                "its model has a end_of_word_suffix of 65 bytes, and may have 64",
            ),
            (
                json!({"type": "Unigram", "vocab": [["a".repeat(129), 0.0]]}),
                "its model has a piece of 129 bytes, and may have 128",
            ),
            (
                json!({"type": "Unigram", "vocab": vec![json!(["a".repeat(128), 0.0]); 65_537]}),
                "its model has pieces of more than 8388608 bytes",
            ),
            (
                json!({"type": "BPE", "merges": []}),
                "its model isn't one of",
            ),
        ] {
            let found = reason(json!([]), model);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn merges_that_the_crate_would_fail_on_are_refused() {
        for (merges, prefix) in [
            (json!([["a", "c"]]), ""),
            (json!([["b", "a"]]), ""),
            (json!(["b a"]), ""),
            (json!([["a", "b"]]), "##"),
            // Within a character.
            (json!([["a", "é"]]), "#"),
        ] {
            let found = reason(json!([]), bpe(merges, prefix));
            assert!(found.starts_with("its model has the merge 0 of"), "{found}");
        }
    }

    #[test]
    fn added_tokens_out_of_bounds_are_refused() {
        let token = |content: &str, lstrip: bool, rstrip: bool| json!({"content": content, "lstrip": lstrip, "rstrip": rstrip});
        for (added, expected) in [
            (
                json!([token(&"a".repeat(1025), false, false)]),
                "added_tokens have one of 1025 bytes, and may have 1024",
            ),
            (
                json!(vec![token(&"a".repeat(1024), false, false); 1025]),
                "added_tokens have more than 1048576 bytes",
            ),
            (
                json!([token(" ", true, false)]),
                "added_tokens take spaces from each other",
            ),
            (
                json!([token("a", false, true), token("\u{a0}b", false, false)]),
                "added_tokens take spaces from each other",
            ),
            (
                json!([token("b ", false, false), token("a", false, true)]),
                "added_tokens take spaces from each other",
            ),
        ] {
            let found = reason(added, bpe(json!([]), ""));
            assert!(found.contains(expected), "{found}");
        }
    }
}
