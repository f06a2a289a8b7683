//! How much a `tokenizer.json` may ask for.
//!
//! Whatever can cost more time or memory than its own bytes, or makes the crate `tokenizers` fail, has its limit here. A plain
//! list of tokens needs none.

use crate::error::TokenizerError;
use tokenizers::AddedToken;

/// The longest step, in bytes of JSON. XLM-RoBERTa's table of characters has some 320,000.
pub(crate) const MAX_STEP_LEN: usize = 1 << 20;
/// The most steps of one kind, sequences flattened.
pub(crate) const MAX_STEPS: usize = 16;
/// The most tokens that are put around a text.
pub(crate) const MAX_AROUND: usize = 16;
/// The most replacements.
pub(crate) const MAX_REPLACEMENTS: usize = 4;
/// The longest text that replaces a match, in bytes.
pub(crate) const MAX_REPLACEMENT_LEN: usize = 4;
/// How many times as long all steps of one kind may make a text, in bytes: the crate's bookkeeping grows with it.
/// XLM-RoBERTa's make the worst text 11 times as long.
pub(crate) const MAX_GROWTH: f64 = 64.0;

/// The longest word that WordPiece looks up, in characters: it takes quadratic time.
pub(crate) const MAX_WORD: usize = 1000;
/// The longest prefix or suffix of the parts of a word, in bytes: it is attached anew at each look-up.
const MAX_AFFIX_LEN: usize = 64;
/// The longest piece of a Unigram, in bytes. The crate's trie has a nested node for each byte, and at each place of a text it
/// visits every piece that begins there. SentencePiece makes pieces of up to 16 characters.
const MAX_PIECE_LEN: usize = 128;
/// The bytes of all pieces of a Unigram: the trie takes some 350 bytes for each. XLM-RoBERTa's have 2 million.
const MAX_PIECES_LEN: usize = 8 << 20;
/// The longest added token, in bytes.
const MAX_ADDED_LEN: usize = 1 << 10;
/// The bytes of all added tokens: the crate takes hundreds of bytes for each.
const MAX_ALL_ADDED_LEN: usize = 1 << 20;

pub(crate) fn out_of_bounds<T>(part: &'static str, reason: String) -> Result<T, TokenizerError> {
    Err(TokenizerError::OutOfBounds { part, reason })
}

/// Checks a prefix or suffix of the parts of words.
pub(crate) fn check_affix(field: &str, text: &str) -> Result<(), TokenizerError> {
    match text.len() {
        0..=MAX_AFFIX_LEN => Ok(()),
        len => out_of_bounds(
            "model",
            format!("has a {field} of {len} bytes, and may have {MAX_AFFIX_LEN}"),
        ),
    }
}

/// Checks the pieces of a Unigram.
pub(crate) fn check_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a str>,
) -> Result<(), TokenizerError> {
    let refuse = |reason| out_of_bounds("model", reason);
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

/// Checks the tokens that are searched in a text before anything else. Where one that takes the spaces around it meets one that
/// begins or ends with a space, the crate would give the same bytes to both, and panic.
pub(crate) fn check_added(tokens: &[AddedToken]) -> Result<(), TokenizerError> {
    let refuse = |reason| out_of_bounds("added_tokens", reason);
    let (mut all, mut takes_behind, mut spaced) = (0, false, false);
    for token in tokens {
        let content = token.content.as_str();
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
        takes_behind |= token.rstrip;
        spaced |= space;
        if (space && token.lstrip) || (takes_behind && spaced) {
            return refuse(format!("take spaces from each other: {content:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::MAX_PIECE_LEN;
    use crate::Pipeline;
    use serde_json::{Value, json};

    fn reason(added: Value, model: Value) -> String {
        let json = json!({"added_tokens": added, "model": model}).to_string();
        match Pipeline::read(json.as_bytes()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    fn bpe(merges: Value, prefix: &str) -> Value {
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "é": 3, "aé": 4}, "merges": merges,
            "continuing_subword_prefix": prefix})
    }

    #[test]
    fn vocabularies_in_bounds_pass() {
        let token = |content: &str, lstrip: bool| {
            json!({"id": 0, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": false,
                "normalized": false, "special": false})
        };
        for model in [
            bpe(json!([["a", "b"], ["a", "é"]]), ""),
            bpe(json!(["#version: 0.2", "a b"]), ""),
            json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100}),
            json!({"type": "Unigram", "vocab": [["a".repeat(MAX_PIECE_LEN), -1.5]]}),
        ] {
            assert_eq!(
                reason(json!([token("<mask>", true), token(" ", false)]), model),
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
                json!({"type": "WordPiece", "vocab": {}, "continuing_subword_prefix": long, "max_input_chars_per_word": 100}),
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
                json!({"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}),
                "its model has a dropout of 0.1, which is for training",
            ),
            (
                json!({"type": "BPE", "merges": []}),
                "missing field `vocab`",
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
            assert!(found.starts_with("merge 0"), "{found}");
        }
    }

    #[test]
    fn added_tokens_out_of_bounds_are_refused() {
        let token = |content: &str, lstrip: bool, rstrip: bool| json!({"content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip, "normalized": false, "special": false});
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
