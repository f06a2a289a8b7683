//! The steps of a tokenizer: those that BERT, RoBERTa, XLM-RoBERTa and CamemBERT have, and no others.
//!
//! A `tokenizer.json` can describe steps of any kind, and some let its author spend the reader's time or memory: a regular
//! expression that backtracks, a replacement that makes the text longer again and again, a table whose indices point outside
//! it. So each step is checked against the list below, within [`crate::limits`], before the crate `tokenizers` reads it.

use crate::error::TokenizerError;
use crate::limits::{
    MAX_AROUND, MAX_GROWTH, MAX_REPLACEMENT_LEN, MAX_REPLACEMENTS, MAX_STEP_LEN, MAX_STEPS,
    check_name, out_of_bounds,
};
use crate::members;
use rq_format::json::{self, AnyValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet, VecDeque};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

/// The regular expressions that are allowed, which take linear time, and the fewest bytes that each matches.
const PATTERNS: [(&str, usize); 3] = [(" {2,}", 2), ("\\s+", 1), ("\\s{2,}", 2)];
/// How many times as long Unicode's normal forms make a text, at most, in UTF-8: <https://www.unicode.org/faq/normalization.html>.
const CANONICAL_GROWTH: f64 = 3.0;
const COMPATIBILITY_GROWTH: f64 = 11.0;
/// "İ" and "Ⱥ", of two bytes, have three in lower case.
const LOWERCASE_GROWTH: f64 = 1.5;
/// A byte becomes a character of at most two bytes, and so does the space that comes before each part.
const BYTE_LEVEL_GROWTH: f64 = 4.0;
/// What isn't UTF-8 becomes U+FFFD, three bytes for a character of two.
const BYTE_LEVEL_DECODER_GROWTH: f64 = 1.5;
/// A space becomes a character of at most four bytes, and one is put before each part.
const METASPACE_GROWTH: f64 = 5.0;
/// A space is put before each token.
const WORD_PIECE_DECODER_GROWTH: f64 = 2.0;

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
        normalizers: Vec<Self>,
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
        pretokenizers: Vec<Self>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    ByteLevel,
    TemplateProcessing {
        single: Vec<Piece>,
        pair: Vec<Piece>,
        special_tokens: BTreeMap<String, SpecialToken>,
    },
    Sequence {
        processors: Vec<Self>,
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
    Bpe {
        suffix: String,
    },
    ByteFallback,
    Fuse,
    Strip {
        stop: usize,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        decoders: Vec<Self>,
    },
}

type Checked<T> = Result<Option<T>, TokenizerError>;

/// What is done to a text before it is divided.
pub(crate) fn normalizer(json: Option<&RawValue>) -> Checked<NormalizerWrapper> {
    checked("normalizer", json, check_normalizer)
}

/// How a text is divided into words.
pub(crate) fn pre_tokenizer(json: Option<&RawValue>) -> Checked<PreTokenizerWrapper> {
    checked("pre_tokenizer", json, check_pre_tokenizer)
}

/// What is put around the tokens.
pub(crate) fn post_processor(json: Option<&RawValue>) -> Checked<PostProcessorWrapper> {
    checked("post_processor", json, check_post_processor)
}

/// How tokens become text.
pub(crate) fn decoder(json: Option<&RawValue>) -> Checked<DecoderWrapper> {
    checked("decoder", json, check_decoder)
}

/// Checks a step, then reads it as the crate has it.
fn checked<'a, Step: Deserialize<'a>, Made: DeserializeOwned>(
    part: &'static str,
    json: Option<&'a RawValue>,
    check: fn(&Step, &mut Effort) -> Result<(), TokenizerError>,
) -> Checked<Made> {
    let Some(json) = json.map(RawValue::get) else {
        return Ok(None);
    };
    let len = json.len();
    if len > MAX_STEP_LEN {
        return out_of_bounds(
            part,
            format!("has {len} bytes, and may have {MAX_STEP_LEN}"),
        );
    }
    let unknown = |reason| TokenizerError::UnknownStep { part, reason };
    // That its keys are unique, that it is known and what it costs, and that it has its members and no others.
    let AnyValue = json::from_str(json)?;
    let step = serde_json::from_str(json).map_err(unknown)?;
    check(&step, &mut Effort::of(part))?;
    members::check(part, &serde_json::from_str(json)?).map_err(unknown)?;
    Ok(Some(serde_json::from_str(json)?))
}

/// What the steps of one kind cost together.
struct Effort {
    part: &'static str,
    steps: usize,
    replacements: usize,
    /// How many times as long they make a text.
    growth: f64,
    /// The tokens that they put around a text or a pair.
    around: usize,
}

impl Effort {
    fn of(part: &'static str) -> Self {
        Self {
            part,
            steps: 0,
            replacements: 0,
            growth: 1.0,
            around: 0,
        }
    }

    fn refuse<T>(&self, reason: String) -> Result<T, TokenizerError> {
        out_of_bounds(self.part, reason)
    }

    /// Counts a step that makes a text at most `growth` times as long.
    fn step(&mut self, growth: f64) -> Result<(), TokenizerError> {
        self.steps += 1;
        self.growth *= growth.max(1.0);
        if self.steps > MAX_STEPS {
            return self.refuse(format!("has more than {MAX_STEPS} steps"));
        }
        if self.growth > MAX_GROWTH {
            return self.refuse(format!("makes a text more than {MAX_GROWTH} times as long"));
        }
        Ok(())
    }

    /// Counts a replacement.
    fn replacement(&mut self, pattern: &Pattern, content: &str) -> Result<(), TokenizerError> {
        let least = self.pattern(pattern)?;
        self.replacements += 1;
        if self.replacements > MAX_REPLACEMENTS {
            return self.refuse(format!("replaces more than {MAX_REPLACEMENTS} times"));
        }
        if content.len() > MAX_REPLACEMENT_LEN {
            return self.refuse(format!("replaces by more than {MAX_REPLACEMENT_LEN} bytes"));
        }
        self.step(content.len() as f64 / least as f64)
    }

    /// The fewest bytes that a pattern matches.
    fn pattern(&self, pattern: &Pattern) -> Result<usize, TokenizerError> {
        match pattern {
            Pattern::String(text) if text.is_empty() => {
                self.refuse("looks for the empty text".into())
            }
            Pattern::String(text) => Ok(text.len()),
            Pattern::Regex(regex) => match PATTERNS.iter().find(|(known, _)| known == regex) {
                Some((_, least)) => Ok(*least),
                None => self.refuse(format!(
                    "has the regular expression {regex:?}, which isn't known"
                )),
            },
        }
    }
}

fn check_normalizer(step: &Normalizer, effort: &mut Effort) -> Result<(), TokenizerError> {
    match step {
        Normalizer::Replace { pattern, content } => effort.replacement(pattern, content),
        Normalizer::Precompiled {
            precompiled_charsmap,
        } => match charsmap_growth(precompiled_charsmap) {
            Ok(growth) => effort.step(growth),
            Err(reason) => effort.refuse(reason),
        },
        Normalizer::Sequence { normalizers } => {
            let mut steps = normalizers.iter();
            steps.try_for_each(|step| check_normalizer(step, effort))
        }
        // BERT's takes letters and accents apart.
        Normalizer::Bert | Normalizer::Nfc | Normalizer::Nfd => effort.step(CANONICAL_GROWTH),
        Normalizer::Nfkc | Normalizer::Nfkd => effort.step(COMPATIBILITY_GROWTH),
        Normalizer::Lowercase => effort.step(LOWERCASE_GROWTH),
        Normalizer::Nmt | Normalizer::StripAccents | Normalizer::Strip => effort.step(1.0),
    }
}

fn check_pre_tokenizer(step: &PreTokenizer, effort: &mut Effort) -> Result<(), TokenizerError> {
    match step {
        PreTokenizer::Split { pattern } => {
            effort.pattern(pattern)?;
            effort.step(1.0)
        }
        PreTokenizer::Sequence { pretokenizers } => {
            let mut steps = pretokenizers.iter();
            steps.try_for_each(|step| check_pre_tokenizer(step, effort))
        }
        PreTokenizer::ByteLevel => effort.step(BYTE_LEVEL_GROWTH),
        PreTokenizer::Metaspace => effort.step(METASPACE_GROWTH),
        PreTokenizer::Bert
        | PreTokenizer::Whitespace
        | PreTokenizer::WhitespaceSplit
        | PreTokenizer::Punctuation
        | PreTokenizer::Digits => effort.step(1.0),
    }
}

/// Each text stands in its template once: a second time would double the tokens.
fn check_post_processor(step: &PostProcessor, effort: &mut Effort) -> Result<(), TokenizerError> {
    let (single, pair, special) = match step {
        PostProcessor::Sequence { processors } => {
            let mut steps = processors.iter();
            return steps.try_for_each(|step| check_post_processor(step, effort));
        }
        PostProcessor::TemplateProcessing {
            single,
            pair,
            special_tokens,
        } => (single, pair, special_tokens),
        PostProcessor::ByteLevel => return effort.step(1.0),
        PostProcessor::BertProcessing { sep, cls }
        | PostProcessor::RobertaProcessing { sep, cls } => {
            effort.step(1.0)?;
            check_name(effort.part, "token", &sep.0)?;
            check_name(effort.part, "token", &cls.0)?;
            effort.around += 4;
            return match effort.around <= MAX_AROUND {
                true => Ok(()),
                false => effort.refuse("puts tokens around a text too often".into()),
            };
        }
    };
    effort.step(1.0)?;
    for (template, texts) in [(single, &[Text::A][..]), (pair, &[Text::A, Text::B])] {
        let mut found = Vec::new();
        for piece in template {
            match piece {
                Piece::Sequence { id } => found.push(*id),
                Piece::SpecialToken { id } => match special.get(id) {
                    None => {
                        return effort
                            .refuse(format!("puts a token {id:?} around, and doesn't say which"));
                    }
                    Some(token) if token.ids.len() != token.tokens.len() => {
                        return effort
                            .refuse(format!("gives the token {id:?} more ids than names"));
                    }
                    Some(token) => {
                        effort.around += token.ids.len();
                        let mut names = token.tokens.iter();
                        names.try_for_each(|name| check_name(effort.part, "token", name))?;
                    }
                },
            }
        }
        if found != texts {
            return effort.refuse("doesn't have each text once, in their order".into());
        }
        // Both templates count.
        if effort.around > 2 * MAX_AROUND {
            return effort.refuse(format!("puts more than {MAX_AROUND} tokens around"));
        }
    }
    Ok(())
}

fn check_decoder(step: &Decoder, effort: &mut Effort) -> Result<(), TokenizerError> {
    match step {
        Decoder::Replace { pattern, content } => effort.replacement(pattern, content),
        // The crate counts from the end, and panics where a token has fewer characters.
        Decoder::Strip { stop } if *stop > 0 => effort.refuse("strips the ends of tokens".into()),
        Decoder::Sequence { decoders } => {
            let mut steps = decoders.iter();
            steps.try_for_each(|step| check_decoder(step, effort))
        }
        // It would be found between all characters.
        Decoder::Bpe { suffix } if suffix.is_empty() => {
            effort.refuse("looks for the empty text".into())
        }
        Decoder::ByteLevel => effort.step(BYTE_LEVEL_DECODER_GROWTH),
        Decoder::WordPiece => effort.step(WORD_PIECE_DECODER_GROWTH),
        Decoder::Bpe { .. }
        | Decoder::Metaspace
        | Decoder::ByteFallback
        | Decoder::Fuse
        | Decoder::Strip { .. } => effort.step(1.0),
    }
}

/// How many times as long a charsmap of SentencePiece makes a text, at most.
///
/// A charsmap is a length in bytes, a double-array trie of that length (Darts-clone), and texts that end with NUL, to which the
/// trie's values point.
fn charsmap_growth(encoded: &str) -> Result<f64, String> {
    let damaged = |what: &str| Err(format!("has a damaged precompiled_charsmap: {what}"));
    // The crate takes it without padding, too.
    let (true, Ok(bytes)) = (encoded.len().is_multiple_of(4), base64::decode(encoded)) else {
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

    // Visits every place that a text can lead to once, by the shortest text first, which grows the most.
    let (mut places, mut seen) = (VecDeque::from([(offset(units[0]), 1)]), HashSet::new());
    let mut growth = 1.0_f64;
    while let Some((place, bytes)) = places.pop_front() {
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
            if has_leaf(units[at]) {
                let Some(text) = texts.get(value(units[next])..) else {
                    return damaged("a value of its trie is no place in its texts");
                };
                // No further than it takes to decide.
                let most = (MAX_GROWTH as usize).saturating_mul(bytes) + 1;
                let len = text.bytes().take(most).take_while(|b| *b != 0).count();
                growth = growth.max(len as f64 / bytes as f64);
                if growth > MAX_GROWTH {
                    return Err(format!("makes a text more than {MAX_GROWTH} times as long"));
                }
            }
            places.push_back((next, bytes + 1));
        }
    }
    Ok(growth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pipeline;
    use crate::limits::{MAX_STEP_LEN, MAX_STEPS};
    use serde_json::{Value, json};
    use tokenizers::{
        Decoder as _, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
        PreTokenizedString, PreTokenizer as _,
    };

    /// What is said of a tokenizer with this step.
    fn check(part: &str, step: &Value) -> Result<(), String> {
        let model = json!({"vocab": {}, "merges": []});
        let json = json!({ part: step, "model": model, "added_tokens": [] }).to_string();
        let pipeline = Pipeline::read(json.as_bytes());
        pipeline.map(drop).map_err(|error| error.to_string())
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
                json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                    "lowercase": true}),
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
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}),
            ),
            (
                "post_processor",
                json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true,
                    "add_prefix_space": false}),
            ),
            (
                "decoder",
                json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            ),
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
    fn steps_that_repeat_or_grow_a_text_without_bound_are_refused() {
        let grow = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let many =
            |part: &str, step: Value| json!({"type": "Sequence", part: vec![step; MAX_STEPS + 1]});
        let template = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}});
        for (part, step, expected) in [
            (
                "normalizer",
                many("normalizers", json!({"type": "Nmt"})),
                "more than 16 steps",
            ),
            (
                "pre_tokenizer",
                many("pretokenizers", json!({"type": "Whitespace"})),
                "more than 16 steps",
            ),
            (
                "post_processor",
                many("processors", template),
                "more than 16 steps",
            ),
            (
                "decoder",
                many("decoders", json!({"type": "Fuse"})),
                "more than 16 steps",
            ),
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": vec![grow("a", "aaaa"); 4]}),
                "its normalizer makes a text more than 64 times as long",
            ),
            (
                "decoder",
                json!({"type": "Sequence", "decoders": vec![grow("a", "aaaa"); 4]}),
                "its decoder makes a text more than 64 times as long",
            ),
            (
                "normalizer",
                charsmap(|_, texts| texts.splice(2..3, [b'a'; 65]).for_each(drop)),
                "its normalizer makes a text more than 64 times as long",
            ),
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": [charsmap(|_, texts| texts.splice(2..3, [b'a'; 64]).for_each(drop)),
                    {"type": "NFKC"}]}),
                "its normalizer makes a text more than 64 times as long",
            ),
        ] {
            let found = check(part, &step).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        let most = charsmap(|_, texts| texts.splice(2..3, [b'a'; 64]).for_each(drop));
        assert_eq!(check("normalizer", &most), Ok(()));
    }

    /// Every character of the blocks that have decompositions, of one case and the other, and one of each length beyond.
    fn characters() -> impl Iterator<Item = char> {
        let blocks = [0..0x2200, 0xac00..0xac10, 0xf900..0xfe00];
        let beyond = [0x1_d150..0x1_d1c0, 0x1_e900..0x1_e920, 0x2_f800..0x2_f840];
        let all = blocks.into_iter().chain(beyond).flatten();
        all.chain([0x4e00, 0x1_f980]).filter_map(char::from_u32)
    }

    #[test]
    fn no_step_makes_a_character_longer_than_it_is_counted() {
        let normalizers = [
            (
                json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": false,
                "lowercase": true}),
                CANONICAL_GROWTH,
            ),
            (
                json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": true,
                "lowercase": false}),
                CANONICAL_GROWTH,
            ),
            (json!({"type": "NFC"}), CANONICAL_GROWTH),
            (json!({"type": "NFD"}), CANONICAL_GROWTH),
            (json!({"type": "NFKC"}), COMPATIBILITY_GROWTH),
            (json!({"type": "NFKD"}), COMPATIBILITY_GROWTH),
            (json!({"type": "Lowercase"}), LOWERCASE_GROWTH),
            (json!({"type": "Nmt"}), 1.0),
            (json!({"type": "StripAccents"}), 1.0),
        ];
        for (step, most) in normalizers {
            let normalizer: NormalizerWrapper = serde_json::from_value(step.clone()).unwrap();
            for c in characters() {
                let mut text = NormalizedString::from(c.to_string());
                normalizer.normalize(&mut text).unwrap();
                let growth = text.len() as f64 / c.len_utf8() as f64;
                assert!(growth <= most, "{growth} times {c:?} by {step}");
            }
        }
        let pre_tokenizers = [
            (
                json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}),
                BYTE_LEVEL_GROWTH,
            ),
            (
                json!({"type": "Metaspace", "replacement": "\u{10ffff}", "prepend_scheme": "always", "split": true}),
                METASPACE_GROWTH,
            ),
            (json!({"type": "Punctuation", "behavior": "Isolated"}), 1.0),
            (json!({"type": "Digits", "individual_digits": true}), 1.0),
        ];
        for (step, most) in pre_tokenizers {
            let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(step.clone()).unwrap();
            for c in characters() {
                let mut parts = PreTokenizedString::from(c.to_string());
                pre_tokenizer.pre_tokenize(&mut parts).unwrap();
                let parts = parts.get_splits(OffsetReferential::Original, OffsetType::None);
                let len: usize = parts.iter().map(|(part, ..)| part.len()).sum();
                let growth = len as f64 / c.len_utf8() as f64;
                assert!(growth <= most, "{growth} times {c:?} by {step}");
            }
        }
        let decoders = [
            (
                json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}),
                BYTE_LEVEL_DECODER_GROWTH,
            ),
            (
                json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
                WORD_PIECE_DECODER_GROWTH,
            ),
            (json!({"type": "BPEDecoder", "suffix": "a"}), 1.0),
            (
                json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "never"}),
                1.0,
            ),
        ];
        for (step, most) in decoders {
            let decoder: DecoderWrapper = serde_json::from_value(step.clone()).unwrap();
            for c in characters() {
                let token = c.to_string();
                let text = decoder.decode(vec![token.clone(), token.clone()]).unwrap();
                let growth = text.len() as f64 / (2 * token.len()) as f64;
                assert!(growth <= most, "{growth} times {c:?} by {step}");
            }
        }
    }

    #[test]
    fn a_decoder_that_strips_beyond_a_token_is_refused() {
        let strip = |stop: u64| json!({"type": "Strip", "content": " ", "start": 1, "stop": stop});
        assert_eq!(check("decoder", &strip(0)), Ok(()));
        for stop in [1, u64::MAX] {
            let found = check("decoder", &strip(stop)).unwrap_err();
            assert_eq!(found, "its decoder strips the ends of tokens");
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
