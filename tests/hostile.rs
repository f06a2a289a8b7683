//! Tokenizers that want a reader's time, memory or stack, or that don't fit their model: each is refused when the model is
//! opened. And texts that do: each is answered, in a time in proportion to it.

use crate::common::{convert_to, tests_path};
use rq::{Model, Tokenizer, TokenizerError};
use rq_convert::Quant;
use rq_format::{Config, ModelFile};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Of a model with 20 tokens, and a mask.
fn config() -> Config {
    serde_json::from_value(json!({"architecture": "roberta", "head": "masked_lm", "vocab_size": 20, "hidden_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16, "max_position_embeddings": 12,
        "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "pad_token_id": 1, "bos_token_id": 0,
        "eos_token_id": 2, "mask_token_id": 4, "position_offset": 2, "tie_word_embeddings": true, "labels": [],
        "quantization": "q8"}))
    .unwrap()
}

/// A tokenizer with this model, and these further fields.
fn tokenizer(model: &Value, fields: &Value) -> Result<Tokenizer, TokenizerError> {
    let mut json = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null});
    for (field, value) in fields.as_object().unwrap() {
        json[field] = value.clone();
    }
    // The type comes first, as in every file that a library has written.
    let model = model.to_string();
    let json = json.to_string();
    let json = format!("{},\"model\":{model}}}", json.strip_suffix('}').unwrap());
    Tokenizer::new(json.as_bytes(), &config())
}

#[track_caller]
fn refused(model: &Value, fields: &Value, expected: &str) {
    let found = tokenizer(model, fields).unwrap_err().to_string();
    assert!(found.contains(expected), "{found}");
}

/// Models of each kind with these tokens. JSON's keys are sorted here: "dropout" would come before "type", so that the type is
/// a value of its own.
fn bpe(tokens: &[(&str, u32)]) -> Value {
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .map(|(t, id)| ((*t).to_owned(), json!(id)))
        .collect();
    json!({"merges": [], "vocab": vocab})
}

fn unigram(tokens: &[&str]) -> String {
    let pieces: Vec<Value> = tokens.iter().map(|t| json!([t, -1.0])).collect();
    json!({"unk_id": 0, "vocab": pieces}).to_string()
}

fn word_piece(tokens: &[(&str, u32)], prefix: &str) -> String {
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .map(|(t, id)| ((*t).to_owned(), json!(id)))
        .collect();
    json!({"unk_token": "[UNK]", "continuing_subword_prefix": prefix, "max_input_chars_per_word": 100, "vocab": vocab})
        .to_string()
}

/// A tokenizer whose model says first of what type it is.
fn typed(kind: &str, fields: &str, added: &Value) -> Result<Tokenizer, TokenizerError> {
    let json = format!(
        "{{\"added_tokens\":{added},\"model\":{{\"type\":\"{kind}\",{}}}",
        fields.strip_prefix('{').unwrap()
    );
    Tokenizer::new(json.as_bytes(), &config())
}

const TOKENS: [(&str, u32); 4] = [("<s>", 0), ("</s>", 2), ("a", 3), ("<mask>", 4)];

#[test]
fn a_vocabulary_that_the_model_lacks_is_refused_on_opening() {
    let beyond = |found: Result<Tokenizer, TokenizerError>| {
        let error = found.unwrap_err();
        assert!(
            matches!(
                error,
                TokenizerError::TokenRange {
                    token: 20..,
                    vocab_size: 20
                }
            ),
            "{error}"
        );
    };
    let with = |token, id| [&TOKENS[..], &[(token, id)]].concat();
    assert!(tokenizer(&bpe(&with("b", 19)), &json!({})).is_ok());
    beyond(tokenizer(&bpe(&with("b", 20)), &json!({})));
    beyond(tokenizer(&bpe(&with("b", u32::MAX)), &json!({})));
    let mut other = bpe(&with("b", 20));
    other["unk_token"] = json!("a");
    beyond(tokenizer(&other, &json!({})));
    assert!(typed("WordPiece", &word_piece(&with("b", 19), "##"), &json!([])).is_ok());
    beyond(typed(
        "WordPiece",
        &word_piece(&with("b", 20), "##"),
        &json!([]),
    ));
    assert!(typed("Unigram", &unigram(&["a"; 20]), &json!([])).is_ok());
    beyond(typed("Unigram", &unigram(&["a"; 21]), &json!([])));
    // A token that the vocabulary doesn't have gets the next id.
    let full: Vec<(String, u32)> = (0..20).map(|id| (format!("t{id}"), id)).collect();
    let full: Vec<(&str, u32)> = full.iter().map(|(t, id)| (t.as_str(), *id)).collect();
    let token = |content: &str| {
        json!({"id": 0, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false})
    };
    assert!(tokenizer(&bpe(&full), &json!({"added_tokens": [token("t3")]})).is_ok());
    beyond(tokenizer(
        &bpe(&full),
        &json!({"added_tokens": [token("new")]}),
    ));
    // What is put around texts.
    let around = |id: u32| {
        json!({"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", id], "cls": ["<s>", 0],
        "trim_offsets": true, "add_prefix_space": false}})
    };
    assert!(tokenizer(&bpe(&TOKENS), &around(19)).is_ok());
    beyond(tokenizer(&bpe(&TOKENS), &around(20)));
}

#[test]
fn a_model_whose_vocabulary_is_smaller_than_its_tokenizers_is_not_opened() {
    // The smallest change: a file of the format is sound, and the model is refused.
    let directory = tempfile::tempdir().unwrap();
    let source = tests_path("goldens/architectures/bert-mlm");
    let output = directory.path().join("model.rq");
    convert_to(&source, Quant::Q8, &output);
    let bytes = std::fs::read(&output).unwrap();
    let file = ModelFile::from_bytes(bytes).unwrap();
    let mut fields = file.config().clone().into_fields();
    let tokenizer = file.tokenizer().unwrap();
    assert!(Tokenizer::new(tokenizer, file.config()).is_ok());
    fields.vocab_size -= 1;
    let error = Tokenizer::new(tokenizer, &Config::new(fields).unwrap()).unwrap_err();
    assert!(
        matches!(error, TokenizerError::TokenRange { .. }),
        "{error}"
    );
}

#[test]
fn a_tokenizer_without_the_mask_is_refused() {
    refused(&bpe(&TOKENS[..3]), &json!({}), "it has no mask token 4");
}

#[test]
fn a_piece_that_would_nest_a_tree_too_deep_is_refused() {
    // The crate's tree of a million nodes, one inside the other, would end the process when it is freed.
    let piece = "a".repeat(1_000_000);
    let error = typed("Unigram", &unigram(&[&piece]), &json!([])).unwrap_err();
    let found = error.to_string();
    assert!(
        found.contains("has a piece of 1000000 bytes, and may have 128"),
        "{found}"
    );
}

#[test]
fn a_prefix_that_would_be_copied_at_each_look_is_refused() {
    let prefix = "#".repeat(65);
    let error = typed("WordPiece", &word_piece(&TOKENS, &prefix), &json!([])).unwrap_err();
    let found = error.to_string();
    assert!(
        found.contains("a continuing_subword_prefix of 65 bytes"),
        "{found}"
    );
    let mut model = bpe(&TOKENS);
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
        model[affix] = json!(prefix);
        refused(&model, &json!({}), &format!("a {affix} of 65 bytes"));
        model[affix] = Value::Null;
    }
}

#[test]
fn added_tokens_that_take_spaces_from_each_other_are_refused() {
    // The token behind would begin where the one before has taken its spaces: the crate panics at "a  ".
    let token = |content: &str, lstrip: bool, rstrip: bool| {
        json!({"id": 0, "content": content, "single_word": false,
        "lstrip": lstrip, "rstrip": rstrip, "normalized": false, "special": false})
    };
    let added = json!({"added_tokens": [token("a", false, true), token(" ", true, false)]});
    refused(
        &bpe(&TOKENS),
        &added,
        "added_tokens take spaces from each other",
    );
    let added = json!({"added_tokens": [token("<mask>", true, true), token("a", true, true)]});
    let sound = tokenizer(&bpe(&TOKENS), &added).unwrap();
    assert_eq!(sound.ids("  a   <mask>  a ", false).unwrap(), [3, 4, 3]);
}

/// The crate looks for tokens that are `normalized` in the normalized text: what is checked is what it looks for.
#[test]
fn added_tokens_are_checked_as_they_are_looked_for() {
    let token = |content: &str, lstrip: bool, rstrip: bool| {
        json!({"id": 0, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": true, "special": false})
    };
    let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    for (normalizer, added, expected) in [
        (
            json!({"type": "StripAccents"}),
            vec![token("\u{301}", false, false)],
            "of which the normalizer leaves nothing",
        ),
        (
            bert.clone(),
            vec![token("\u{200b}", false, false)],
            "of which the normalizer leaves nothing",
        ),
        (
            replace("_", " "),
            vec![token("a", false, true), token("_", true, false)],
            "take spaces from each other",
        ),
        (
            bert,
            vec![token("<x>", false, false), token("<X>", false, false)],
            "\"<x>\" and \"<X>\", which are both looked for as \"<x>\"",
        ),
        (
            json!({"type": "Sequence", "normalizers": [replace("x", "yyyy"), replace("y", "zzzz"), replace("z", "wwww")]}),
            vec![token(&"x".repeat(996), false, false)],
            "one of 63744 bytes as the normalizer makes them, and may have 1024",
        ),
    ] {
        refused(
            &bpe(&TOKENS),
            &json!({"normalizer": normalizer, "added_tokens": added}),
            expected,
        );
    }
}

#[test]
fn an_id_of_two_tokens_is_refused() {
    let twice = [&TOKENS[..], &[("b", 3)]].concat();
    let expected = "its model has the id 3 twice, of \"a\" and \"b\"";
    refused(&bpe(&twice), &json!({}), expected);
    let mut other = bpe(&twice);
    other["unk_token"] = json!("a");
    refused(&other, &json!({}), expected);
    let error = typed("WordPiece", &word_piece(&twice, "##"), &json!([])).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn steps_that_grow_a_text_are_refused_wherever_they_are() {
    let many = |part: &str, step: Value| json!({"type": "Sequence", part: vec![step; 16]});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    for (fields, expected) in [
        (
            json!({"pre_tokenizer": many("pretokenizers", byte_level.clone())}),
            "its pre_tokenizer makes a text more than 64 times as long",
        ),
        (
            json!({"decoder": many("decoders", byte_level)}),
            "its decoder makes a text more than 64 times as long",
        ),
        (
            json!({"decoder": many("decoders", json!({"type": "WordPiece", "prefix": "##", "cleanup": false}))}),
            "its decoder makes a text more than 64 times as long",
        ),
        (
            json!({"decoder": {"type": "BPEDecoder", "suffix": ""}}),
            "its decoder looks for the empty text",
        ),
    ] {
        refused(&bpe(&TOKENS), &fields, expected);
    }
    let long = "q".repeat(1025);
    let tokens = [&TOKENS[..], &[(&long, 5)]].concat();
    refused(
        &bpe(&tokens),
        &json!({}),
        "its model has a token of 1025 bytes, and may have 1024",
    );
}

/// Steps of which each may be are too much for some texts together.
#[test]
fn a_text_that_grows_too_much_is_refused() {
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let fields = json!({"normalizer": {"type": "Sequence", "normalizers": [replace, replace]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [byte_level, byte_level]}});
    let tokenizer = tokenizer(&bpe(&TOKENS), &fields).unwrap();
    // Sixteen times as long, and no more.
    assert_eq!(
        tokenizer.ids(&"a".repeat(3000), false).unwrap().len(),
        48_000
    );
    // Any text may become 4096 bytes.
    assert!(
        tokenizer
            .ids(&format!("{}é", "a".repeat(200)), false)
            .is_ok()
    );
    for text in ["aé".repeat(3000), "aaaé".repeat(1000)] {
        let error = tokenizer.ids(&text, false);
        assert!(error.is_ok(), "{error:?}");
    }
    let fields =
        json!({"normalizer": {"type": "Sequence", "normalizers": [replace, replace, replace]}});
    let tokenizer = self::tokenizer(&bpe(&TOKENS), &fields).unwrap();
    assert_eq!(tokenizer.ids(&"a".repeat(64), false).unwrap().len(), 4096);
    let error = tokenizer.ids(&"a".repeat(300), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tokenizer's normalizers and pre-tokenizers make more than 4800 bytes of a text of 300"
    );
    // What is behind an added token counts, too.
    let error = tokenizer.tokens(&format!("<mask>{}", "a".repeat(300)), None);
    assert!(matches!(
        error,
        Err(TokenizerError::Grown {
            text: 306,
            most: 4896
        })
    ));
}

#[test]
fn a_decoder_that_strips_beyond_a_token_is_refused() {
    let strip = json!({"decoder": {"type": "Strip", "content": " ", "start": 0, "stop": 1}});
    refused(
        &bpe(&TOKENS),
        &strip,
        "its decoder strips the ends of tokens",
    );
}

#[test]
fn json_bombs_are_refused() {
    for depth in [1_000, 1_000_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        for json in [
            open.clone(),
            format!("{{\"model\":{open}{close}}}"),
            format!("{{\"normalizer\":{open}{close},\"model\":{{\"vocab\":{{}},\"merges\":[]}}}}"),
            format!("{{\"model\":{{\"type\":\"Unigram\",\"vocab\":{open}{close}}}}}"),
            "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[".repeat(depth),
        ] {
            assert!(Tokenizer::new(json.as_bytes(), &config()).is_err());
        }
    }
}

#[test]
fn what_is_put_around_a_pair_can_be_too_long_by_itself() {
    let piece = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let special = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let mut pair = vec![special; 11];
    pair.extend([piece("A"), piece("B")]);
    let processor = json!({"post_processor": {"type": "TemplateProcessing", "single": [piece("A")], "pair": pair,
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}});
    let tokenizer = tokenizer(&bpe(&TOKENS), &processor).unwrap();
    let error = tokenizer.encode_pair("a", "a", true).unwrap_err();
    assert!(
        matches!(
            error,
            TokenizerError::TooLong {
                tokens: 13,
                limit: 10
            }
        ),
        "{error}"
    );
}

/// Texts that take long where something is looked at again and again.
#[test]
fn long_texts_take_a_time_in_proportion() {
    let directory = tempfile::tempdir().unwrap();
    let mut models = vec![("demo", Model::demo().unwrap())];
    for name in ["bert-mlm", "xlm-roberta-mlm", "camembert-mlm"] {
        let output = directory.path().join(name);
        let source = tests_path("goldens/architectures").join(name);
        convert_to(&source, Quant::Q8, &output);
        models.push((name, Model::open(output).unwrap()));
    }
    for (what, unit) in [
        ("combining marks", "\u{301}"),
        ("marks in the wrong order", "\u{301}\u{323}"),
        ("one word", "a"),
        ("spaces", " "),
        ("wide spaces", "\u{3000}"),
        ("line ends", "\r\n"),
        ("ligatures", "\u{fdfa}"),
        ("joined emoji", "👩\u{200d}"),
        ("flags", "🇩"),
        ("masks", "<mask>"),
        ("masks and spaces", " <mask>"),
        ("punctuation", "'"),
        ("hangul", "한"),
        ("not in the vocabulary", "\u{10ffff}"),
        ("NUL", "\0"),
    ] {
        // A mark belongs to what is before it, however far away that is.
        let len = if unit == "\u{301}" { 1 << 20 } else { 1 << 18 };
        for (name, model) in &models {
            let tokenizer = model.tokenizer();
            let mut took = [Duration::ZERO; 2];
            for (took, len) in took.iter_mut().zip([len / 8, len]) {
                let text = format!("x{}x", unit.repeat(len / unit.len()));
                let start = Instant::now();
                let _ = tokenizer.tokens(&text, None).unwrap();
                let encoding = tokenizer.encode(&text, true).unwrap();
                *took = start.elapsed();
                assert!(encoding.ids.len() <= tokenizer.max_tokens());
            }
            println!("{what:26} {name:16} {:7.0?} {:7.0?}", took[0], took[1]);
            // Eight times the text: what is quadratic takes 64 times as long. The rest is room for a busy machine.
            assert!(
                took[1] < Duration::from_secs(2) || took[1] < 24 * took[0],
                "{what}, {name}: {took:?}"
            );
        }
    }
}
