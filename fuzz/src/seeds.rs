//! Writes the inputs with which fuzzing begins: `cargo run -p rq-fuzz --bin seeds`. They are small, and the same every time.

use rq::Tokenizer;
use rq_fuzz::checkpoint;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory).expect("a directory for the seeds");
        fs::write(directory.join(name), bytes).expect("room for a seed");
    };

    let file = checkpoint::small_file();
    write("open", "small", &file);
    write("open", "cut", &file[..file.len() / 2]);

    write("model", "sound", &[0, 3, b'a', b'b', b'c', 0]);
    for base in 128..139_u8 {
        write("model", &format!("sound-{base}"), &[base, 0, 0]);
    }
    // A change of each kind, of each base.
    for kind in 0..10_u8 {
        let change = [kind, 0, 9, 4, 0, 2, b'1', b'2', 3, 77, 5, 5];
        let (base, again) = (if kind % 2 == 0 { 0 } else { 128 + kind }, change);
        write(
            "model",
            &format!("change-{kind}"),
            &[&[base, 1, b'x', 0], &change[..], &again].concat(),
        );
    }

    write("safetensors", "small", &checkpoint::small_safetensors());
    write("safetensors", "empty-header", b"\x02\0\0\0\0\0\0\0{}");

    let torch = [&[0][..], &checkpoint::small_torch()].concat();
    write("torch", "zip", &torch);
    let legacy = [&[0][..], &checkpoint::small_legacy_torch()].concat();
    write("torch", "legacy", &legacy);
    let pickle = checkpoint::small_pickle();
    write("torch", "pickle", &[&[2][..], &pickle].concat());
    write("torch", "pickle-zip64", &[&[3][..], &pickle].concat());
    write("torch", "storage", &[&[1 + 4 * 2][..], &[0; 456]].concat());

    for (name, json) in tokenizers() {
        let json = json.to_string();
        for config in checkpoint::tokenizer_configs() {
            if let Err(error) = Tokenizer::new(json.as_bytes(), &config) {
                panic!("{name}: {error}");
            }
        }
        write("tokenizer", name, json.as_bytes());
    }
    // Texts first, then the tokenizer: any bytes are some.
    let mut state = 1_u32;
    for seed in 0..16 {
        let bytes: Vec<u8> = (0..512)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        write("tokenizers", &format!("any-{seed}"), &bytes);
    }
    let pieces = checkpoint::golden("sentencepiece").join("sentencepiece.bpe.model");
    let pieces = fs::read(pieces).expect("a vocabulary of SentencePiece");
    write("tokenizer", "sentence-piece", &pieces);

    for (i, text) in rq_fuzz::exercise::TEXTS.iter().enumerate() {
        write("text", &format!("text-{i}"), text.as_bytes());
    }
    write(
        "text",
        "pair",
        "a question?\u{1}An answer, [MASK] <mask>.".as_bytes(),
    );

    // A model, a session, answers, and frees; then the same with arguments that are refused.
    let calls: [&[u8]; 7] = [
        &[0, 0, 0, 0, 12, 9],
        &[5, 0, 0, 0, 0],
        &[10, 0, 0, 0, 0, 2, b' ', b'b', 9, 0, 5],
        &[15, 0, 0, 0, 0, 2, b'a', b'b', 9, 0, 2],
        &[8, 0, 0, 0, 0, 0, 8],
        &[3, 0, 0, 0, 0],
        &[10, 0, 1, 0, 4, 2, b' ', b'c', 9, 0, 5],
    ];
    write("capi", "life", &calls.concat());
    for flags in 1..16_u8 {
        let mut calls = calls.map(<[u8]>::to_vec);
        for call in &mut calls[usize::from(flags % 3)..] {
            call[4] ^= flags;
        }
        write("capi", &format!("refused-{flags}"), &calls.concat());
    }
}

/// Tokenizers of each kind, with few tokens.
fn tokenizers() -> Vec<(&'static str, Value)> {
    let mut seeds = vec![(
        "bpe",
        serde_json::from_slice(&checkpoint::small_tokenizer()).expect("JSON"),
    )];
    for (name, golden) in [
        ("word-piece", "bert-mlm"),
        ("unigram-camembert", "camembert-mlm"),
        ("bpe-merges", "roberta-base-model"),
        ("unigram-xlm", "xlm-roberta-mlm"),
    ] {
        let json = fs::read(checkpoint::golden(golden).join("tokenizer.json"));
        let mut json: Value = serde_json::from_slice(&json.expect("a tokenizer")).expect("JSON");
        shorten(&mut json);
        seeds.push((name, json));
    }
    let mut steps = seeds[0].1.clone();
    steps["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "Nmt"}, {"type": "NFKC"},
        {"type": "Strip", "strip_left": true, "strip_right": true},
        {"type": "Replace", "pattern": {"String": "a"}, "content": "b"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]});
    steps["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "Digits", "individual_digits": true},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "Split", "pattern": {"String": "b"}, "behavior": "MergedWithNext", "invert": false},
        {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true}]});
    steps["post_processor"] = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}});
    steps["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "WordPiece", "prefix": "##", "cleanup": true}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
        {"type": "BPEDecoder", "suffix": "</w>"}]});
    for (i, flag) in ["lstrip", "rstrip", "single_word", "normalized"]
        .into_iter()
        .enumerate()
    {
        steps["added_tokens"][i][flag] = json!(true);
    }
    seeds.push(("steps", steps));
    let mut other = seeds[3].1.clone();
    other["model"]["unk_token"] = json!("<unk>");
    other["model"]["continuing_subword_prefix"] = json!("");
    other["model"]["byte_fallback"] = json!(true);
    other["model"]["fuse_unk"] = json!(true);
    seeds.push(("bpe-other", other));
    seeds
}

/// Leaves the beginning of a vocabulary, of its merges, and of what they need; and a small table of characters.
fn shorten(json: &mut Value) {
    const TOKENS: usize = 300;
    if json["normalizer"].to_string().len() > 4096 {
        json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]});
    }
    match &mut json["model"]["vocab"] {
        Value::Array(tokens) => tokens.truncate(TOKENS),
        Value::Object(tokens) => tokens.retain(|_, id| id.as_u64() < Some(TOKENS as u64)),
        _ => {}
    }
    let vocab = json["model"]["vocab"].clone();
    if let Some(Value::Array(merges)) = json["model"].get_mut("merges") {
        let part = |merge: &Value, i: usize| match merge {
            Value::String(merge) => merge.split(' ').nth(i).unwrap_or_default().to_owned(),
            merge => merge[i].as_str().unwrap_or_default().to_owned(),
        };
        merges.retain(|merge| {
            let (left, right) = (part(merge, 0), part(merge, 1));
            let known = |token: &str| vocab.get(token).is_some();
            known(&left) && known(&right) && known(&format!("{left}{right}"))
        });
    }
}
