//! What the steps of a tokenizer may be: those of BERT, RoBERTa and their family.
//!
//! A `tokenizer.json` can describe steps of any kind, and some of them let its author spend the reader's time or memory: a
//! regular expression that backtracks, a replacement that grows the text at every turn, a table whose indices leave it. So
//! each step must be one of a list, with numbers in bounds, before the library that carries it out sees it.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// The longest step in bytes of JSON: XLM-RoBERTa's table of characters has some 320,000.
pub const MAX_STEP_LEN: usize = 1 << 20;
/// The most tokens that are put around a text.
pub const MAX_ADDED_TOKENS: usize = 16;
/// The most steps of one kind, those in sequences counted one by one.
pub const MAX_STEPS: usize = 16;
/// The longest text that replaces a match, in bytes.
pub const MAX_REPLACEMENT_LEN: usize = 4;
/// The most replacements.
pub const MAX_REPLACEMENTS: usize = 4;
/// How many times as long as it was all steps of one kind may make a text, in bytes: what is kept of it beside is in
/// proportion. XLM-RoBERTa's make 11 of the worst text.
pub const MAX_GROWTH: f64 = 64.0;

/// The regular expressions that are known, and the least bytes that each matches: they take time in proportion to the text.
const PATTERNS: [(&str, usize); 3] = [(" {2,}", 2), ("\\s+", 1), ("\\s{2,}", 2)];
/// What Unicode's normal forms make of a text at most, in UTF-8: <https://www.unicode.org/faq/normalization.html>.
const CANONICAL_GROWTH: f64 = 3.0;
const COMPATIBILITY_GROWTH: f64 = 11.0;

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
    #[error("its {part} isn't one of those of BERT, RoBERTa, XLM-RoBERTa and CamemBERT: {reason}")]
    Unknown {
        /// The part of the tokenizer.
        part: &'static str,
        /// What the parser says.
        reason: serde_json::Error,
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
    Strip {
        stop: usize,
    },
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
        if let Some(normalizer) = parse("normalizer", self.normalizer)? {
            check_normalizer(&normalizer, &mut Effort::of("normalizer"))?;
        }
        if let Some(pre_tokenizer) = parse("pre_tokenizer", self.pre_tokenizer)? {
            check_pre_tokenizer(&pre_tokenizer, &mut Effort::of("pre_tokenizer"))?;
        }
        if let Some(post_processor) = parse("post_processor", self.post_processor)? {
            let mut effort = Effort::of("post_processor");
            check_post_processor(&post_processor, &mut 0, &mut effort)?;
        }
        if let Some(decoder) = parse("decoder", self.decoder)? {
            check_decoder(&decoder, &mut Effort::of("decoder"))?;
        }
        Ok(())
    }
}

/// What the steps of one kind cost together.
struct Effort {
    part: &'static str,
    steps: usize,
    replacements: usize,
    growth: f64,
}

impl Effort {
    fn of(part: &'static str) -> Self {
        Self {
            part,
            steps: 0,
            replacements: 0,
            growth: 1.0,
        }
    }

    fn refuse<T>(&self, reason: String) -> Result<T, PipelineError> {
        let part = self.part;
        Err(PipelineError::Value { part, reason })
    }

    /// Counts a step that isn't a sequence, and makes a text so many times as long at most.
    fn step(&mut self, growth: f64) -> Result<(), PipelineError> {
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
    fn replacement(&mut self, pattern: &Pattern, content: &str) -> Result<(), PipelineError> {
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

    /// The least bytes that a pattern matches.
    fn pattern(&self, pattern: &Pattern) -> Result<usize, PipelineError> {
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

fn parse<'a, T: Deserialize<'a>>(
    part: &'static str,
    json: Option<&'a RawValue>,
) -> Result<Option<T>, PipelineError> {
    let Some(json) = json else { return Ok(None) };
    let found = json.get().len();
    if found > MAX_STEP_LEN {
        return Err(PipelineError::Length { part, found });
    }
    serde_json::from_str(json.get()).map_err(|reason| PipelineError::Unknown { part, reason })
}

fn check_normalizer(step: &Normalizer, effort: &mut Effort) -> Result<(), PipelineError> {
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
        Normalizer::Lowercase | Normalizer::Nmt | Normalizer::StripAccents | Normalizer::Strip => {
            effort.step(1.0)
        }
    }
}

fn check_pre_tokenizer(step: &PreTokenizer, effort: &mut Effort) -> Result<(), PipelineError> {
    match step {
        PreTokenizer::Split { pattern } => {
            effort.pattern(pattern)?;
            effort.step(1.0)
        }
        PreTokenizer::Sequence { pretokenizers } => {
            let mut steps = pretokenizers.iter();
            steps.try_for_each(|step| check_pre_tokenizer(step, effort))
        }
        _ => effort.step(1.0),
    }
}

/// Each text stands once in its template: once more would be twice the tokens.
fn check_post_processor(
    step: &PostProcessor,
    added: &mut usize,
    effort: &mut Effort,
) -> Result<(), PipelineError> {
    let wrong = |reason: String| {
        let part = "post_processor";
        Err(PipelineError::Value { part, reason })
    };
    let (single, pair, special) = match step {
        PostProcessor::Sequence { processors } => {
            let mut steps = processors.iter();
            return steps.try_for_each(|step| check_post_processor(step, added, effort));
        }
        PostProcessor::TemplateProcessing {
            single,
            pair,
            special_tokens,
        } => (single, pair, special_tokens),
        PostProcessor::ByteLevel => return effort.step(1.0),
        PostProcessor::BertProcessing | PostProcessor::RobertaProcessing => {
            effort.step(1.0)?;
            *added += 4;
            return match *added <= MAX_ADDED_TOKENS {
                true => Ok(()),
                false => wrong("puts tokens around a text too often".into()),
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

fn check_decoder(step: &Decoder, effort: &mut Effort) -> Result<(), PipelineError> {
    match step {
        Decoder::Replace { pattern, content } => effort.replacement(pattern, content),
        // The crate looks at so many characters from the end, whether they are there or not.
        Decoder::Strip { stop } if *stop > 0 => effort.refuse("strips the ends of tokens".into()),
        Decoder::Sequence { decoders } => {
            let mut steps = decoders.iter();
            steps.try_for_each(|step| check_decoder(step, effort))
        }
        _ => effort.step(1.0),
    }
}

/// A charsmap of SentencePiece: a length in bytes, a double-array trie of so many (Darts-clone), and texts that end with NUL, to
/// which the trie's values point. How many times as long as it was it makes a text, at most.
fn charsmap_growth(encoded: &str) -> Result<f64, String> {
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

    // Every place that a text can lead to is looked at once: by the shortest text first, which grows the most.
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
                // No further than decides it.
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
    use serde_json::{Value, json};

    /// What is said of a tokenizer with this step.
    fn check(part: &str, step: &Value) -> Result<(), String> {
        let json = json!({ part: step, "model": {}, "added_tokens": [] }).to_string();
        let pipeline: Pipeline<'_> = serde_json::from_str(&json).unwrap();
        pipeline.check().map_err(|error| error.to_string())
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
