//! What the steps of a tokenizer may be: those of BERT, RoBERTa and their family.
//!
//! A `tokenizer.json` can describe steps of any kind, and some of them let its author spend the reader's time or memory: a
//! regular expression that backtracks, a replacement that grows the text at every turn, a table whose indices leave it. So
//! each step must be one of a list, with numbers in bounds, before the library that carries it out sees it.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};

/// The longest step in bytes of JSON: XLM-RoBERTa's table of characters has some 320,000.
pub const MAX_STEP_LEN: usize = 1 << 20;
/// The most tokens that are put around a text.
pub const MAX_ADDED_TOKENS: usize = 16;
/// The longest text that replaces a match, in bytes.
pub const MAX_REPLACEMENT_LEN: usize = 4;
/// The most replacements.
pub const MAX_REPLACEMENTS: usize = 4;

/// The regular expressions that are known: they take time in proportion to the text.
const PATTERNS: [&str; 3] = [" {2,}", "\\s+", "\\s{2,}"];

/// Why a tokenizer's steps can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A step is longer than any that is known.
    #[error("its {part} has {found} bytes, and may have {MAX_STEP_LEN}")]
    Length {
        /// The part of the tokenizer.
        part: &'static str,
        /// Its length.
        found: usize,
    },
    /// A step isn't one that is known.
    #[error("its {part} isn't one of those of BERT, RoBERTa, XLM-RoBERTa and CamemBERT")]
    Unknown {
        /// The part of the tokenizer.
        part: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A step has a value that could take the reader's time or memory.
    #[error("its {part} {reason}")]
    Value {
        /// The part of the tokenizer.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The steps of a tokenizer, as `tokenizer.json` has them; `None` where it says null.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Pipeline<'a> {
    /// What is done to the text.
    #[serde(borrow, default)]
    pub normalizer: Option<&'a RawValue>,
    /// How it is divided into words.
    #[serde(borrow, default)]
    pub pre_tokenizer: Option<&'a RawValue>,
    /// What is put around the tokens.
    #[serde(borrow, default)]
    pub post_processor: Option<&'a RawValue>,
    /// How tokens become text.
    #[serde(borrow, default)]
    pub decoder: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Normalizer {
    #[serde(rename = "BertNormalizer")]
    Bert,
    Lowercase,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Nmt,
    StripAccents,
    Strip,
    Replace {
        pattern: Pattern,
        content: String,
    },
    Precompiled {
        precompiled_charsmap: String,
    },
    Sequence {
        normalizers: Vec<Normalizer>,
    },
}

#[derive(Deserialize)]
enum Pattern {
    String(String),
    Regex(String),
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PreTokenizer {
    #[serde(rename = "BertPreTokenizer")]
    Bert,
    ByteLevel,
    Metaspace,
    Whitespace,
    WhitespaceSplit,
    Punctuation,
    Digits,
    Split {
        pattern: Pattern,
    },
    Sequence {
        pretokenizers: Vec<PreTokenizer>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    BertProcessing,
    RobertaProcessing,
    ByteLevel,
    TemplateProcessing {
        single: Vec<Piece>,
        pair: Vec<Piece>,
        special_tokens: BTreeMap<String, SpecialToken>,
    },
    Sequence {
        processors: Vec<PostProcessor>,
    },
}

#[derive(Deserialize)]
enum Piece {
    Sequence { id: Text },
    SpecialToken { id: String },
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Text {
    A,
    B,
}

#[derive(Deserialize)]
struct SpecialToken {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Decoder {
    ByteLevel,
    WordPiece,
    Metaspace,
    #[serde(rename = "BPEDecoder")]
    Bpe,
    ByteFallback,
    Fuse,
    Strip,
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        decoders: Vec<Decoder>,
    },
}

impl Pipeline<'_> {
    /// Checks every step.
    ///
    /// # Errors
    /// When a step isn't one that is known, or a value in it is out of bounds.
    pub fn check(&self) -> Result<(), PipelineError> {
        let mut replacements = 0;
        if let Some(normalizer) = parse("normalizer", self.normalizer)? {
            check_normalizer(&normalizer, &mut replacements)?;
        }
        if let Some(pre_tokenizer) = parse("pre_tokenizer", self.pre_tokenizer)? {
            check_pre_tokenizer(&pre_tokenizer)?;
        }
        if let Some(post_processor) = parse("post_processor", self.post_processor)? {
            let mut added = 0;
            check_post_processor(&post_processor, &mut added)?;
        }
        if let Some(decoder) = parse("decoder", self.decoder)? {
            check_decoder(&decoder, &mut replacements)?;
        }
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(
    part: &'static str,
    json: Option<&'a RawValue>,
) -> Result<Option<T>, PipelineError> {
    let Some(json) = json else { return Ok(None) };
    let found = json.get().len();
    if found > MAX_STEP_LEN {
        return Err(PipelineError::Length { part, found });
    }
    serde_json::from_str(json.get()).map_err(|source| PipelineError::Unknown { part, source })
}

fn check_normalizer(step: &Normalizer, replacements: &mut usize) -> Result<(), PipelineError> {
    let part = "normalizer";
    match step {
        Normalizer::Replace { pattern, content } => {
            check_pattern(part, pattern)?;
            check_replacement(part, content, replacements)
        }
        Normalizer::Precompiled {
            precompiled_charsmap,
        } => check_charsmap(precompiled_charsmap)
            .map_err(|reason| PipelineError::Value { part, reason }),
        Normalizer::Sequence { normalizers } => {
            let mut steps = normalizers.iter();
            steps.try_for_each(|step| check_normalizer(step, replacements))
        }
        _ => Ok(()),
    }
}

fn check_pre_tokenizer(step: &PreTokenizer) -> Result<(), PipelineError> {
    match step {
        PreTokenizer::Split { pattern } => check_pattern("pre_tokenizer", pattern),
        PreTokenizer::Sequence { pretokenizers } => {
            pretokenizers.iter().try_for_each(check_pre_tokenizer)
        }
        _ => Ok(()),
    }
}

/// Each text stands once in its template: once more would be twice the tokens.
fn check_post_processor(step: &PostProcessor, added: &mut usize) -> Result<(), PipelineError> {
    let wrong = |reason: String| {
        let part = "post_processor";
        Err(PipelineError::Value { part, reason })
    };
    let (single, pair, special) = match step {
        PostProcessor::Sequence { processors } => {
            let mut steps = processors.iter();
            return steps.try_for_each(|step| check_post_processor(step, added));
        }
        PostProcessor::TemplateProcessing {
            single,
            pair,
            special_tokens,
        } => (single, pair, special_tokens),
        PostProcessor::ByteLevel => return Ok(()),
        PostProcessor::BertProcessing | PostProcessor::RobertaProcessing => {
            *added += 4;
            return match *added <= MAX_ADDED_TOKENS {
                true => Ok(()),
                false => wrong("puts tokens around a text too often".into()),
            };
        }
    };
    for (template, texts) in [(single, &[Text::A][..]), (pair, &[Text::A, Text::B])] {
        let mut found = Vec::new();
        for piece in template {
            match piece {
                Piece::Sequence { id } => found.push(*id),
                Piece::SpecialToken { id } => match special.get(id) {
                    None => {
                        return wrong(format!("puts a token {id:?} around, and doesn't say which"));
                    }
                    Some(token) if token.ids.len() != token.tokens.len() => {
                        return wrong(format!("gives the token {id:?} more ids than names"));
                    }
                    Some(token) => *added += token.ids.len(),
                },
            }
        }
        if found != texts {
            return wrong("doesn't have each text once, in their order".into());
        }
        if *added > 2 * MAX_ADDED_TOKENS {
            return wrong(format!("puts more than {MAX_ADDED_TOKENS} tokens around"));
        }
    }
    Ok(())
}

fn check_decoder(step: &Decoder, replacements: &mut usize) -> Result<(), PipelineError> {
    match step {
        Decoder::Replace { pattern, content } => {
            check_pattern("decoder", pattern)?;
            check_replacement("decoder", content, replacements)
        }
        Decoder::Sequence { decoders } => {
            let mut steps = decoders.iter();
            steps.try_for_each(|step| check_decoder(step, replacements))
        }
        _ => Ok(()),
    }
}

fn check_pattern(part: &'static str, pattern: &Pattern) -> Result<(), PipelineError> {
    let reason = match pattern {
        Pattern::String(text) if text.is_empty() => "looks for the empty text".into(),
        Pattern::String(_) => return Ok(()),
        Pattern::Regex(regex) if PATTERNS.contains(&regex.as_str()) => return Ok(()),
        Pattern::Regex(regex) => format!("has the regular expression {regex:?}, which isn't known"),
    };
    Err(PipelineError::Value { part, reason })
}

fn check_replacement(
    part: &'static str,
    content: &str,
    replacements: &mut usize,
) -> Result<(), PipelineError> {
    *replacements += 1;
    let reason = if *replacements > MAX_REPLACEMENTS {
        format!("replaces more than {MAX_REPLACEMENTS} times")
    } else if content.len() > MAX_REPLACEMENT_LEN {
        format!("replaces by more than {MAX_REPLACEMENT_LEN} bytes")
    } else {
        return Ok(());
    };
    Err(PipelineError::Value { part, reason })
}

/// A charsmap of SentencePiece: a length in bytes, a double-array trie of so many (Darts-clone), and texts that end with NUL, to
/// which the trie's values point.
fn check_charsmap(encoded: &str) -> Result<(), String> {
    let damaged = |what: &str| Err(format!("has a damaged precompiled_charsmap: {what}"));
    let Ok(bytes) = base64::decode(encoded) else {
        return damaged("it isn't base64");
    };
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else {
        return damaged("it is too short");
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > rest.len() || !len.is_multiple_of(4) || len == 0 {
        return damaged("its trie is longer than it");
    }
    let (trie, texts) = rest.split_at(len);
    let Ok(texts) = std::str::from_utf8(texts) else {
        return damaged("its texts aren't UTF-8");
    };
    let units: Vec<usize> = trie
        .as_chunks()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit) as usize)
        .collect();
    // The fields of a unit, as Darts-clone packs them.
    let offset = |unit: usize| (unit >> 10) << ((unit & 1 << 9) >> 6);
    let label = |unit: usize| unit & (1 << 31 | 0xff);
    let has_leaf = |unit: usize| unit >> 8 & 1 == 1;
    let value = |unit: usize| unit & !(1 << 31);

    // Every place that a text can lead to is looked at once.
    let (mut places, mut seen) = (vec![offset(units[0])], HashSet::new());
    while let Some(place) = places.pop() {
        if place | 0xff >= units.len() {
            return damaged("a branch of its trie leads out of it");
        }
        if !seen.insert(place) {
            continue;
        }
        for byte in 1..=0xff {
            let at = place ^ byte;
            if label(units[at]) != byte {
                continue;
            }
            let next = at ^ offset(units[at]);
            if next >= units.len() {
                return damaged("a branch of its trie leads out of it");
            }
            if has_leaf(units[at]) && !texts.is_char_boundary(value(units[next])) {
                return damaged("a value of its trie is no place in its texts");
            }
            places.push(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What is said of a tokenizer with this step.
    fn check(part: &str, step: &Value) -> Result<(), String> {
        let json = json!({ part: step, "model": {}, "added_tokens": [] }).to_string();
        let pipeline: Pipeline<'_> = serde_json::from_str(&json).unwrap();
        pipeline.check().map_err(|error| {
            let source = std::error::Error::source(&error);
            source.map_or(error.to_string(), |source| format!("{error}: {source}"))
        })
    }

    /// A charsmap that makes "a" of "A": units at 0, at the root's branch for it, and its value.
    fn charsmap(change: impl FnOnce(&mut Vec<u32>, &mut Vec<u8>)) -> Value {
        let mut units = vec![0u32; 512];
        units[0] = 256 << 10;
        let branch = 256 ^ usize::from(b'A');
        units[branch] = u32::from(b'A') | 1 << 8 | (1 << 10);
        units[branch ^ 1] = 2 | 1 << 31;
        let mut texts = b"x\0a\0".to_vec();
        change(&mut units, &mut texts);
        let mut bytes = (4 * units.len() as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(texts);
        json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(bytes)})
    }

    #[test]
    fn known_steps_pass() {
        for (part, step) in [
            ("normalizer", Value::Null),
            (
                "normalizer",
                json!({"type": "BertNormalizer", "lowercase": true}),
            ),
            ("normalizer", charsmap(|_, _| ())),
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": [
                    {"type": "Strip", "strip_left": false, "strip_right": true},
                    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
                ]}),
            ),
            (
                "pre_tokenizer",
                json!({"type": "ByteLevel", "add_prefix_space": false}),
            ),
            (
                "post_processor",
                json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}),
            ),
            ("decoder", json!({"type": "WordPiece", "prefix": "##"})),
        ] {
            assert_eq!(check(part, &step), Ok(()), "{step}");
        }
    }

    #[test]
    fn what_could_take_time_or_memory_is_refused() {
        let piece = |text: &str| json!({"Sequence": {"id": text, "type_id": 0}});
        let template = |single: Value, special: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [piece("A"), piece("B")], "special_tokens": special});
        let special = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let known = json!({"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}});
        let many: Vec<Value> = std::iter::repeat_n(special.clone(), 40)
            .chain([piece("A")])
            .collect();
        let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        for (part, step, expected) in [
            (
                "pre_tokenizer",
                json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}}),
                "its pre_tokenizer has the regular expression \"(a+)+$\", which isn't known",
            ),
            (
                "normalizer",
                json!({"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}),
                "its normalizer has the regular expression",
            ),
            (
                "normalizer",
                json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaa"}),
                "its normalizer replaces by more than 4 bytes",
            ),
            (
                "decoder",
                json!({"type": "Replace", "pattern": {"String": ""}, "content": "a"}),
                "its decoder looks for the empty text",
            ),
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": vec![replace; 5]}),
                "its normalizer replaces more than 4 times",
            ),
            (
                "normalizer",
                json!({"type": "Prepend", "prepend": "a"}),
                "its normalizer isn't one of those of BERT, RoBERTa, XLM-RoBERTa and CamemBERT: unknown variant `Prepend`",
            ),
            (
                "post_processor",
                template(json!([piece("A"), piece("A")]), json!({})),
                "its post_processor doesn't have each text once, in their order",
            ),
            (
                "post_processor",
                template(json!([special, piece("A")]), json!({})),
                "its post_processor puts a token \"<s>\" around, and doesn't say which",
            ),
            (
                "post_processor",
                template(json!(many), known),
                "its post_processor puts more than 16 tokens around",
            ),
            (
                "decoder",
                json!({"type": "WordPiece", "prefix": "#".repeat(MAX_STEP_LEN)}),
                "its decoder has",
            ),
        ] {
            let found = check(part, &step).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_damaged_charsmap_is_refused() {
        type Change = fn(&mut Vec<u32>, &mut Vec<u8>);
        let branch = 256 ^ usize::from(b'A');
        assert_eq!(branch, 321);
        let changes: [(Change, &str); 5] = [
            (|units, _| units.truncate(256), "leads out of it"),
            (|units, _| units[0] = 1 << 20, "leads out of it"),
            (|units, _| units[321] |= 1 << 25, "leads out of it"),
            (|units, _| units[320] = 5 | 1 << 31, "no place in its texts"),
            (|_, texts| texts.push(0xff), "aren't UTF-8"),
        ];
        for (change, expected) in changes {
            let found = check("normalizer", &charsmap(change)).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        for (bytes, expected) in [
            (&b""[..], "too short"),
            (&[255, 255, 255, 255, 0, 0, 0, 0], "longer than it"),
            (&[0, 0, 0, 0], "longer than it"),
        ] {
            let step =
                json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(bytes)});
            let found = check("normalizer", &step).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        let step = json!({"type": "Precompiled", "precompiled_charsmap": "no base64"});
        assert!(check("normalizer", &step).unwrap_err().contains("base64"));
    }
}
