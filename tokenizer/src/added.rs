//! The tokens that are looked for in a text before anything else.
//!
//! Those that are `normalized` are looked for in the normalized text, as the normalizer makes them: so it is their normal forms
//! that are checked, and not what the file says.

use crate::error::TokenizerError;
use crate::limits::{MAX_ADDED_GROWTH, MAX_ADDED_LEN, MAX_ALL_ADDED_LEN, out_of_bounds};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizedString, Normalizer, NormalizerWrapper,
};

fn refuse<T>(reason: String) -> Result<T, TokenizerError> {
    out_of_bounds("added_tokens", reason)
}

/// The bytes of the tokens so far.
struct Bytes {
    all: usize,
    /// Of which form they are.
    of: &'static str,
}

impl Bytes {
    fn count(&mut self, token: &str) -> Result<(), TokenizerError> {
        let (len, of) = (token.len(), self.of);
        self.all += len;
        if len > MAX_ADDED_LEN {
            return refuse(format!(
                "have one of {len} bytes{of}, and may have {MAX_ADDED_LEN}"
            ));
        }
        if self.all > MAX_ALL_ADDED_LEN {
            return refuse(format!("have more than {MAX_ALL_ADDED_LEN} bytes{of}"));
        }
        Ok(())
    }
}

/// Refuses tokens that the crate `tokenizers` would fail on, or take much memory for:
///
/// - long ones. Normal forms are made one by one, so that they take no more memory than all may have;
/// - one of which the normalizer leaves nothing: it would be everywhere, and the crate panics;
/// - one that takes the spaces around it beside one that begins or ends with a space: the crate would give the same bytes to
///   both, and panic;
/// - two of one form: the crate would choose one by a hash table, another in each process.
pub(crate) fn check(
    tokens: &[AddedToken],
    normalizer: Option<&NormalizerWrapper>,
) -> Result<(), TokenizerError> {
    let mut written = Bytes { all: 0, of: "" };
    let mut by_content: HashMap<&str, &AddedToken> = HashMap::new();
    for token in tokens {
        written.count(&token.content)?;
        match by_content.entry(&token.content) {
            Entry::Vacant(free) => _ = free.insert(token),
            Entry::Occupied(before) if *before.get() == token => {}
            Entry::Occupied(_) => {
                let content = &token.content;
                return refuse(format!("have {content:?} twice, with other flags"));
            }
        }
    }
    let mut normal = Bytes {
        all: 0,
        of: " as the normalizer makes them",
    };
    let mut by_form: HashMap<String, &AddedToken> = HashMap::new();
    let (mut takes_behind, mut spaced) = (false, false);
    for token in tokens {
        let content = token.content.as_str();
        // The crate leaves out empty ones, and those that it has.
        let is_first = by_content
            .get(content)
            .is_some_and(|t| std::ptr::eq(*t, token));
        if content.is_empty() || !is_first {
            continue;
        }
        let form = form(token, normalizer)?;
        normal.count(&form)?;
        if form.len() > 2 * content.len() + MAX_ADDED_GROWTH {
            let len = form.len();
            return refuse(format!(
                "have {content:?}, of which the normalizer makes {len} bytes"
            ));
        }
        if form.is_empty() {
            return refuse(format!(
                "have {content:?}, of which the normalizer leaves nothing"
            ));
        }
        let space = form.starts_with(char::is_whitespace) || form.ends_with(char::is_whitespace);
        takes_behind |= token.rstrip;
        spaced |= space;
        if (space && token.lstrip) || (takes_behind && spaced) {
            return refuse(format!("take spaces from each other: {content:?}"));
        }
        let same = by_content
            .get(form.as_str())
            .filter(|t| !std::ptr::eq(**t, token));
        let same = same.copied().or_else(|| by_form.get(&form).copied());
        if let Some(other) = same {
            let other = &other.content;
            return refuse(format!(
                "have {other:?} and {content:?}, which are both looked for as {form:?}"
            ));
        }
        by_form.insert(form, token);
    }
    Ok(())
}

/// Refuses an id that two tokens have: the vocabulary gives added ones theirs, or they get the next.
pub(crate) fn check_ids(added: &AddedVocabulary, model: &impl Model) -> Result<(), TokenizerError> {
    let ids = added.get_vocab().iter();
    let mut ids: Vec<(u32, &str)> = ids.map(|(content, &id)| (id, content.as_str())).collect();
    ids.sort_unstable();
    let mut before: Option<(u32, &str)> = None;
    for (id, content) in ids {
        let same = before.filter(|(other, _)| *other == id);
        let same = same.map(|(_, other)| other.to_owned());
        let other = same.or_else(|| model.id_to_token(id));
        if let Some(other) = other.filter(|other| other != content) {
            return refuse(format!("give {content:?} the id {id}, which {other:?} has"));
        }
        before = Some((id, content));
    }
    Ok(())
}

/// A token as it is looked for.
fn form(
    token: &AddedToken,
    normalizer: Option<&NormalizerWrapper>,
) -> Result<String, TokenizerError> {
    match normalizer.filter(|_| token.normalized) {
        None => Ok(token.content.clone()),
        Some(normalizer) => {
            let mut form = NormalizedString::from(token.content.as_str());
            normalizer.normalize(&mut form)?;
            Ok(form.get().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Pipeline;
    use serde_json::{Value, json};

    fn token(content: &str) -> Value {
        json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
            "special": false})
    }

    fn with(mut token: Value, flag: &str, value: bool) -> Value {
        token[flag] = value.into();
        token
    }

    /// What is said of these tokens with that normalizer.
    fn reason(normalizer: &Value, added: &[Value]) -> String {
        reason_with(&json!({"a": 0}), normalizer, added)
    }

    fn reason_with(vocab: &Value, normalizer: &Value, added: &[Value]) -> String {
        let json = json!({"added_tokens": added, "normalizer": normalizer, "model": {"vocab": vocab, "merges": []}});
        let pipeline = Pipeline::read(json.to_string().as_bytes());
        pipeline
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    fn replace(from: &str, to: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": from}, "content": to})
    }

    fn bert() -> Value {
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true})
    }

    #[test]
    fn a_token_of_which_the_normalizer_leaves_nothing_is_refused() {
        let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
        for (normalizer, content) in [
            (json!({"type": "StripAccents"}), "\u{301}"),
            (bert(), "\u{200b}"),
            (strip, " "),
            (replace("_", ""), "__"),
        ] {
            let found = reason(&normalizer, &[token(content)]);
            let expected = format!(
                "its added_tokens have {content:?}, of which the normalizer leaves nothing"
            );
            assert_eq!(found, expected);
            let as_written = with(token(content), "normalized", false);
            assert_eq!(reason(&normalizer, &[as_written]), "");
        }
    }

    #[test]
    fn spaces_are_found_as_the_normalizer_makes_them() {
        let normalizer = replace("_", " ");
        let takes = |side| with(token("_"), side, true);
        let behind = with(token("a"), "rstrip", true);
        for added in [
            vec![takes("lstrip")],
            vec![takes("rstrip")],
            vec![behind.clone(), token("_")],
            vec![token("b_"), behind.clone()],
        ] {
            let found = reason(&normalizer, &added);
            assert!(found.contains("take spaces from each other"), "{found}");
        }
        let as_written = with(token("_"), "normalized", false);
        assert_eq!(reason(&normalizer, &[behind, as_written]), "");
    }

    #[test]
    fn two_tokens_of_one_form_are_refused() {
        let lower = json!({"type": "Lowercase"});
        let as_written = |content| with(token(content), "normalized", false);
        for (added, expected) in [
            (
                [token("<x>"), token("<X>")],
                "\"<x>\" and \"<X>\", which are both looked for as \"<x>\"",
            ),
            (
                [token("<X>"), token("<x>")],
                "\"<x>\" and \"<X>\", which are both looked for as \"<x>\"",
            ),
            (
                [token("ẞ"), token("ß")],
                "which are both looked for as \"ß\"",
            ),
            ([token("<X>"), as_written("<x>")], "\"<x>\" and \"<X>\""),
            (
                [token("<x>"), as_written("<x>")],
                "\"<x>\" twice, with other flags",
            ),
        ] {
            let found = reason(&lower, &added);
            assert!(found.contains(expected), "{found}");
        }
        assert_eq!(reason(&lower, &[token("<X>"), as_written("<Y>")]), "");
        assert_eq!(
            reason(&lower, &[token("<X>"), token("<X>"), token("<Y>")]),
            ""
        );
        // BERT's, where a text is lower-cased.
        let special = ["[UNK]", "[CLS]", "[SEP]"].map(as_written);
        assert_eq!(reason(&bert(), &special), "");
    }

    #[test]
    fn an_id_that_another_token_has_is_refused() {
        // The vocabulary has three tokens, so the next ids are 3, 4 and 5.
        let reason =
            |added: &[Value]| reason_with(&json!({"a": 0, "b": 1, "c": 5}), &Value::Null, added);
        let added = ["x", "y", "z", "c"].map(token);
        assert_eq!(reason(&added[..2]), "");
        for added in [&added[..3], &added] {
            let found = reason(added);
            assert!(found.contains("the id 5, which"), "{found}");
        }
        let expected = "its added_tokens give \"z\" the id 5, which \"c\" has";
        assert_eq!(reason(&added[..3]), expected);
    }

    #[test]
    fn normal_forms_are_bounded_before_all_are_made() {
        let steps = [
            replace("x", "yyyy"),
            replace("y", "zzzz"),
            replace("z", "wwww"),
        ];
        let grow = json!({"type": "Sequence", "normalizers": steps});
        let found = reason(&grow, &[token(&"x".repeat(17))]);
        assert!(
            found
                .contains("have one of 1088 bytes as the normalizer makes them, and may have 1024"),
            "{found}"
        );
        let found = reason(&grow, &[token("xxa")]);
        assert!(
            found.contains("have \"xxa\", of which the normalizer makes 129 bytes"),
            "{found}"
        );
        assert_eq!(reason(&grow, &[token("x")]), "");
        let twice = replace("x", "yy");
        let many: Vec<Value> = (0..2000)
            .map(|n| token(&format!("{n:04}{}", "x".repeat(500))))
            .collect();
        let found = reason(&twice, &many);
        assert!(
            found.contains("have more than 1048576 bytes as the normalizer makes them"),
            "{found}"
        );
        assert_eq!(reason(&twice, &many[..1000]), "");
    }
}
