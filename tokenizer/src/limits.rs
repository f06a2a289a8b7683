//! How much a `tokenizer.json` may ask for.
//!
//! Whatever can cost more time or memory than its own bytes, or makes the crate `tokenizers` fail, has its limit here. A plain
//! list of tokens needs none.

use crate::error::TokenizerError;

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
/// How many times as long all steps of one kind may make any text, in bytes, by what each could do to its worst one.
pub(crate) const MAX_GROWTH: f64 = 64.0;
/// How many times as long the normalizers and pre-tokenizers together may make a text, in bytes, when they are run: memory and
/// time grow with it. XLM-RoBERTa's make the worst text 13 times as long.
pub(crate) const MAX_TEXT_GROWTH: usize = 16;
/// The bytes that any text may become, however short it is.
pub(crate) const ANY_TEXT_LEN: usize = 1 << 12;

/// The longest word that WordPiece looks up, in characters: it takes quadratic time.
pub(crate) const MAX_WORD: usize = 1000;
/// The longest prefix or suffix of the parts of a word, in bytes: it is attached anew at each look-up. And the longest name of
/// an unknown token, and of one that is put around texts: it is copied for each.
const MAX_AFFIX_LEN: usize = 64;
/// The longest token of BPE or WordPiece, in bytes: texts of tokens are as long. RoBERTa's has 256.
const MAX_TOKEN_LEN: usize = 1 << 10;
/// The longest piece of a Unigram, in bytes: at each place of a text every piece is visited that begins there. SentencePiece
/// makes pieces of up to 16 characters.
const MAX_PIECE_LEN: usize = 128;
/// The bytes of all pieces of a Unigram. XLM-RoBERTa's have 2 million.
const MAX_PIECES_LEN: usize = 8 << 20;
/// The longest added token, as it is written and as it is looked for, in bytes.
pub(crate) const MAX_ADDED_LEN: usize = 1 << 10;
/// How many bytes longer than twice as long as it is written an added token may be as it is looked for.
pub(crate) const MAX_ADDED_GROWTH: usize = 64;
/// The bytes of all added tokens, as they are written, and as they are looked for: the crate takes hundreds of bytes for each.
pub(crate) const MAX_ALL_ADDED_LEN: usize = 1 << 20;

pub(crate) fn out_of_bounds<T>(part: &'static str, reason: String) -> Result<T, TokenizerError> {
    Err(TokenizerError::OutOfBounds { part, reason })
}

/// Checks a token of BPE or WordPiece.
pub(crate) fn check_token(token: &str) -> Result<(), TokenizerError> {
    match token.len() {
        0..=MAX_TOKEN_LEN => Ok(()),
        len => out_of_bounds(
            "model",
            format!("has a token of {len} bytes, and may have {MAX_TOKEN_LEN}"),
        ),
    }
}

/// Checks a prefix or suffix of the parts of words, or an unknown token.
pub(crate) fn check_affix(field: &str, text: &str) -> Result<(), TokenizerError> {
    check_name("model", field, text)
}

/// Checks the name of a token that is copied again and again.
pub(crate) fn check_name(part: &'static str, what: &str, text: &str) -> Result<(), TokenizerError> {
    match text.len() {
        0..=MAX_AFFIX_LEN => Ok(()),
        len => out_of_bounds(
            part,
            format!("has a {what} of {len} bytes, and may have {MAX_AFFIX_LEN}"),
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
