//! Tokenizers of the family, made of an input's bytes: few tokens, which are alike, so that many of them meet.

use crate::input::Input;
use serde_json::{Value, json};

/// What tokens and texts are made of: what normalizers make the same, or nothing, or longer, and what steps look for.
const PARTS: [&str; 40] = [
    "a", "b", "A", "aa", "ab", "B", "é", "e\u{301}", "\u{301}", "É", " ", "  ", "_", "▁", "▁a",
    "Ġ", "Ġa", "##a", "##b", "a</w>", "<x>", "<X>", "<mask>", "<unk>", "[UNK]", "<0x61>", "<0xC3>",
    "<0xA9>", "\u{200b}", "\u{a0}", "ﬁ", "fi", "ﷺ", "字", ".", ",", "1", "İ", "Ã", "🦀",
];

/// A text of some parts.
pub fn text(input: &mut Input<'_>) -> String {
    let parts = input.below(24);
    (0..parts).map(|_| part(input)).collect()
}

fn part(input: &mut Input<'_>) -> &'static str {
    PARTS[input.below(PARTS.len())]
}

/// A token of one part or two.
fn token(input: &mut Input<'_>) -> String {
    match input.byte() % 4 {
        0 => format!("{}{}", part(input), part(input)),
        _ => part(input).to_owned(),
    }
}

/// A step, or several, as one of their kind has them.
fn steps(input: &mut Input<'_>, part: &str, step: fn(&mut Input<'_>) -> Value) -> Value {
    let most = input.byte() % 4;
    let mut all: Vec<Value> = (0..most).map(|_| step(input)).collect();
    match all.len() {
        0 => Value::Null,
        1 => all.swap_remove(0),
        _ => json!({"type": "Sequence", part: all}),
    }
}

fn pattern(input: &mut Input<'_>) -> Value {
    match input.byte() % 6 {
        0 => json!({"Regex": " {2,}"}),
        1 => json!({"Regex": "\\s+"}),
        _ => json!({"String": part(input)}),
    }
}

fn replace(input: &mut Input<'_>) -> Value {
    let content = ["", " ", "a", "x", "__", "▁"][input.below(6)];
    json!({"type": "Replace", "pattern": pattern(input), "content": content})
}

fn normalizer(input: &mut Input<'_>) -> Value {
    let flags = input.byte();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    match input.byte() % 10 {
        0 => {
            json!({"type": "BertNormalizer", "clean_text": flag(0), "handle_chinese_chars": flag(1),
            "strip_accents": flag(2).then_some(flag(3)), "lowercase": flag(4)})
        }
        1 => json!({"type": "NFC"}),
        2 => json!({"type": "NFD"}),
        3 => json!({"type": "NFKC"}),
        4 => json!({"type": "NFKD"}),
        5 => json!({"type": "Nmt"}),
        6 => json!({"type": "StripAccents"}),
        7 => json!({"type": "Strip", "strip_left": flag(0), "strip_right": flag(1)}),
        8 => json!({"type": "Lowercase"}),
        _ => replace(input),
    }
}

fn pre_tokenizer(input: &mut Input<'_>) -> Value {
    let flags = input.byte();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let behavior = [
        "Removed",
        "Isolated",
        "MergedWithPrevious",
        "MergedWithNext",
        "Contiguous",
    ][usize::from(flags >> 4) % 5];
    match input.byte() % 8 {
        0 => json!({"type": "BertPreTokenizer"}),
        1 => {
            json!({"type": "ByteLevel", "add_prefix_space": flag(0), "trim_offsets": flag(1), "use_regex": flag(2)})
        }
        2 => json!({"type": "Metaspace", "replacement": (["▁", "_"][input.below(2)]),
            "prepend_scheme": (["always", "first", "never"][input.below(3)]), "split": flag(0)}),
        3 => json!({"type": "Whitespace"}),
        4 => json!({"type": "WhitespaceSplit"}),
        5 => json!({"type": "Punctuation", "behavior": behavior}),
        6 => json!({"type": "Digits", "individual_digits": flag(0)}),
        _ => {
            json!({"type": "Split", "pattern": pattern(input), "behavior": behavior, "invert": flag(0)})
        }
    }
}

fn decoder(input: &mut Input<'_>) -> Value {
    match input.byte() % 8 {
        0 => json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}),
        1 => json!({"type": "WordPiece", "prefix": "##", "cleanup": input.byte() % 2 == 1}),
        2 => json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}),
        3 => json!({"type": "BPEDecoder", "suffix": (["</w>", "a"][input.below(2)])}),
        4 => json!({"type": "ByteFallback"}),
        5 => json!({"type": "Fuse"}),
        6 => json!({"type": "Strip", "content": " ", "start": input.below(3), "stop": 0}),
        _ => replace(input),
    }
}

fn post_processor(input: &mut Input<'_>) -> Value {
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let piece = |kind: &str, id: &str, type_id: u32| json!({kind: {"id": id, "type_id": type_id}});
    match input.byte() % 4 {
        0 => Value::Null,
        1 => json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
            "trim_offsets": input.byte() % 2 == 1, "add_prefix_space": input.byte() % 2 == 1}),
        2 => json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}),
        _ => json!({"type": "TemplateProcessing",
            "single": [piece("SpecialToken", "<s>", 0), piece("Sequence", "A", 0), piece("SpecialToken", "</s>", 0)],
            "pair": [piece("SpecialToken", "<s>", 0), piece("Sequence", "A", 0), piece("SpecialToken", "</s>", 0),
                piece("Sequence", "B", 1), piece("SpecialToken", "</s>", 1)],
            "special_tokens": {"<s>": special("<s>", 0), "</s>": special("</s>", 2)}}),
    }
}

/// The vocabulary as it is written: one token may be there twice, and so may an id.
fn vocabulary(input: &mut Input<'_>) -> Vec<(String, usize)> {
    let mut all: Vec<(String, usize)> = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        .map(str::to_owned)
        .into_iter()
        .zip(0..)
        .collect();
    for at in 0..input.below(40) {
        let token = token(input);
        // Mostly without what is refused at once.
        if input.byte() != 1 && all.iter().any(|(other, _)| *other == token) {
            continue;
        }
        let id = match input.byte() {
            1 => input.below(64),
            2 => 5 + at + input.below(4),
            _ => all.len(),
        };
        all.push((token, id));
    }
    all
}

fn quoted(token: &str) -> String {
    Value::from(token).to_string()
}

fn model(input: &mut Input<'_>) -> String {
    let vocabulary = vocabulary(input);
    let ids: Vec<String> = vocabulary
        .iter()
        .map(|(token, id)| format!("{}:{id}", quoted(token)))
        .collect();
    let ids = ids.join(",");
    let flags = input.byte();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    match input.byte() % 4 {
        0 => {
            let pieces: Vec<Value> = vocabulary
                .iter()
                .map(|(token, _)| json!([token, -f64::from(input.byte() % 16) / 4.0]))
                .collect();
            json!({"type": "Unigram", "unk_id": (!flag(0)).then_some(3), "byte_fallback": flag(1), "vocab": pieces})
                .to_string()
        }
        1 => format!(
            "{{\"type\":\"WordPiece\",\"unk_token\":\"<unk>\",\"continuing_subword_prefix\":\"{}\",\"max_input_chars_per_word\":{},\"vocab\":{{{ids}}}}}",
            ["##", ""][usize::from(flag(0))],
            input.below(20),
        ),
        kind => {
            let entry = |input: &mut Input<'_>| &vocabulary[input.below(vocabulary.len())].0;
            let merges: Vec<Value> = (0..input.below(60))
                .map(|_| [entry(input), entry(input)])
                .filter(|[left, right]| {
                    let whole = format!("{left}{right}");
                    vocabulary.iter().any(|(token, _)| *token == whole)
                })
                .map(|pair| json!(pair))
                .collect();
            let merges = Value::from(merges);
            let settings = match kind {
                2 => String::new(),
                _ => {
                    let unknown = flag(0).then_some("<unk>");
                    let dropout = flag(4).then_some(0.5).filter(|_| flag(5));
                    json!({"unk_token": unknown, "byte_fallback": flag(1), "fuse_unk": flag(2),
                        "ignore_merges": flag(3), "dropout": dropout})
                    .to_string()
                }
            };
            let settings = settings.trim_matches(['{', '}']);
            let comma = if settings.is_empty() { "" } else { "," };
            format!("{{\"type\":\"BPE\",\"merges\":{merges},{settings}{comma}\"vocab\":{{{ids}}}}}")
        }
    }
}

/// A `tokenizer.json`. Most are sound; what is wrong with the others is what the runtime refuses.
pub fn json(input: &mut Input<'_>) -> String {
    let model = model(input);
    let mut added = Vec::new();
    for _ in 0..input.byte() % 6 {
        let (content, flags) = (token(input), input.byte());
        let flag = |bit: u8| flags >> bit & 1 == 1;
        added.push(json!({"id": 0, "content": content, "single_word": flag(0) && flag(1), "lstrip": flag(2) && flag(3),
            "rstrip": flag(4) && flag(5), "normalized": flag(6), "special": flag(7)}));
    }
    let fields =
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": steps(input, "normalizers", normalizer),
        "pre_tokenizer": steps(input, "pretokenizers", pre_tokenizer),
        "post_processor": post_processor(input), "decoder": steps(input, "decoders", decoder)})
        .to_string();
    let fields = fields.strip_suffix('}').expect("an object");
    format!("{fields},\"model\":{model}}}")
}
