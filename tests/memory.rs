//! The memory of a session: what it takes, and that it takes no more.

mod common;

/// The root of the workspace.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

use common::{convert_to, model, options, tests_path};
use rq::{Batch, Model, Rows, Session, SessionOptions, Tokenizer};
use rq_convert::Quant;
use rq_format::Config;
use serde_json::{Map, Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Bytes that are in use, and the most that were.
static BYTES: AtomicUsize = AtomicUsize::new(0);
static MOST_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        let bytes = BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST_BYTES.fetch_max(bytes, Ordering::Relaxed);
        // SAFETY: as for this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as for this function.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn session(model: &Arc<Model>, threads: usize) -> Session {
    let threads = Some(threads);
    Session::new(Arc::clone(model), &options!(SessionOptions { threads })).unwrap()
}

/// The models of the other tests, and one with a relative bias and one with narrow embeddings.
fn models() -> [(&'static str, Arc<Model>); 4] {
    let architecture = |name| {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("model.rq");
        let source = tests_path("goldens/architectures").join(name);
        convert_to(&source, Quant::Q8, &output);
        let bytes = std::fs::read(output).unwrap();
        (name, Arc::new(Model::from_bytes(bytes).unwrap()))
    };
    let [first, second] = common::MODELS.map(|name| (name, model(name, Quant::Q8)));
    [
        first,
        second,
        architecture("mpnet-mlm"),
        architecture("electra-mlm"),
    ]
}

/// Allocations of one call, at best: on several threads the pool's queue grows now and then, by a block for some dozens of
/// calls.
fn fewest_allocations(mut call: impl FnMut()) -> usize {
    let count = |call: &mut dyn FnMut()| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        call();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    (0..8).map(|_| count(&mut call)).min().unwrap()
}

/// One test at a time, so that no other allocates beside it.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn memory_is_what_is_stated_and_stays() {
    let _alone = ALONE.lock();
    for (name, model) in models() {
        let config = model.config();
        let lengths = [3, 100, 1, 17];
        let ids = |length: usize| -> Vec<u32> { (0..length).map(|i| 5 + i as u32 % 15).collect() };
        let batch = Batch::from_iter(lengths.map(ids));
        let masks = [2, 50, 120];
        for threads in [1, 2] {
            let mut session = session(&model, threads);
            assert_eq!(session.held_bytes(), 0);
            session.reserve(&lengths, masks.len());
            let stated = model.session_bytes(&lengths, masks.len(), threads);
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");

            let mut hidden = vec![0.0; batch.ids().len() * config.hidden_size];
            let mut logits = vec![0.0; masks.len() * config.vocab_size];
            let allocations = fewest_allocations(|| {
                session
                    .hidden_states_into(&batch, Rows::All, &mut hidden)
                    .unwrap();
                session
                    .logits_into(&batch, Rows::Only(&masks), &mut logits)
                    .unwrap();
            });
            assert_eq!(allocations, 0, "{name}, {threads} threads");
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");
            // Less takes no more.
            session
                .hidden_states(&Batch::from_iter([ids(50)]), Rows::All)
                .unwrap();
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");
        }
    }
}

/// The most memory that a tokenizer takes to be opened, for each byte of its JSON, and to divide a text into tokens or to put
/// tokens together, for each byte of the text or of the tokens: `docs/security.md` states them.
const TO_OPEN: usize = 200;
const TO_ENCODE: usize = 8192;
const TO_DECODE: usize = 100;
/// What each of these may take beside that, however little there is.
const IN_ANY_CASE: usize = 1 << 14;

/// What a call returns, and how many bytes it had allocated at most.
fn most_bytes<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.load(Ordering::Relaxed);
    MOST_BYTES.store(before, Ordering::Relaxed);
    let made = call();
    (made, MOST_BYTES.load(Ordering::Relaxed) - before)
}

/// How many bytes were allocated for each of so many, without those that are always allowed.
fn times(bytes: usize, of: usize) -> usize {
    bytes.saturating_sub(IN_ANY_CASE) / of.max(1)
}

/// For any id below 2^20.
fn large_config() -> Config {
    serde_json::from_value(
        json!({"architecture": "bert", "head": "none", "vocab_size": 1 << 20, "hidden_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16, "max_position_embeddings": 512,
        "type_vocab_size": 2, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "pad_token_id": 0, "bos_token_id": 0,
        "eos_token_id": 0, "position_offset": 0, "tie_word_embeddings": true, "labels": [], "quantization": "q8"}),
    )
    .unwrap()
}

/// Opens a tokenizer; says how many bytes that took for each of its JSON.
#[track_caller]
fn open(fields: &Value) -> (Tokenizer, usize) {
    let config = large_config();
    let json = fields.to_string();
    let (tokenizer, bytes) = most_bytes(|| Tokenizer::new(json.as_bytes(), &config));
    let tokenizer = tokenizer.unwrap_or_else(|error| panic!("{error}: {:.200}", json));
    (tokenizer, times(bytes, json.len()))
}

fn added(content: &str, normalized: bool) -> Value {
    json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": normalized,
        "special": false})
}

/// A model of each kind with these tokens and an unknown one. BPE merges single letters to all that it can.
fn vocabularies(tokens: &[String]) -> [(&'static str, Value); 4] {
    let unknown = "<unk>".to_owned();
    let all = || std::iter::once(&unknown).chain(tokens);
    let ids: Map<String, Value> = all().cloned().zip((0..).map(|id: u32| id.into())).collect();
    let scores: Vec<Value> = all().map(|token| json!([token, -1.5])).collect();
    let letters = || tokens.iter().filter(|token| token.len() == 1);
    let pairs = letters().flat_map(|left| tokens.iter().map(move |right| [left, right]));
    let merges: Vec<Value> = pairs
        .filter(|[left, right]| ids.contains_key(&format!("{left}{right}")))
        .map(|pair| json!(pair))
        .collect();
    [
        (
            "BPE",
            json!({"type": "BPE", "vocab": ids, "merges": merges}),
        ),
        (
            "BPE with an unknown token",
            json!({"type": "BPE", "vocab": ids, "merges": merges, "unk_token": unknown}),
        ),
        (
            "WordPiece",
            json!({"type": "WordPiece", "vocab": ids, "unk_token": unknown, "continuing_subword_prefix": "",
                "max_input_chars_per_word": 1000}),
        ),
        (
            "Unigram",
            json!({"type": "Unigram", "vocab": scores, "unk_id": 0}),
        ),
    ]
}

/// Tokens of so many letters. Each differs from the others in its first ones, or in its last ones.
fn tokens(count: usize, letters: usize, first: bool) -> Vec<String> {
    let token = |mut n: usize| {
        let mut token = vec![b'a'; letters];
        for at in 0..letters.min(5) {
            let at = if first { at } else { letters - 1 - at };
            token[at] += (n % 26) as u8;
            n /= 26;
        }
        String::from_utf8(token).unwrap()
    };
    (0..count).map(token).collect()
}

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

#[test]
fn a_tokenizer_takes_memory_in_proportion_to_its_json() {
    let _alone = ALONE.lock();
    let check = |what: String, fields: Value| {
        let (_, found) = open(&fields);
        println!("{found:5} {what}");
        assert!(found <= TO_OPEN, "{what}: {found} bytes for one");
    };
    let sorts = [(5000, 3), (1000, 127), (100, 1000)];
    for ((count, letters), first) in sorts.into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let mut some = tokens(count, letters, first);
        if letters == 3 {
            some.extend(tokens(26, 1, true));
            some.extend(tokens(26 * 26, 2, true));
        }
        for (kind, model) in vocabularies(&some) {
            if letters <= 128 || kind != "Unigram" {
                let what = format!("{kind}, {count} tokens of {letters}");
                check(what, json!({"model": model}));
            }
        }
    }
    let model = &vocabularies(&tokens(1, 1, true))[0].1;
    let sorts = [(5000, 3), (1000, 127), (200, 1000)];
    for ((count, letters), first) in sorts.into_iter().flat_map(|s| [(s, false), (s, true)]) {
        for normalized in [false, true] {
            let tokens = tokens(count, letters, first);
            let tokens: Vec<Value> = tokens.iter().map(|t| added(t, normalized)).collect();
            let what = format!("{count} added tokens of {letters}, normalized: {normalized}");
            check(what, json!({"added_tokens": tokens, "model": model}));
        }
    }
    for letters in [20, 60, 500] {
        let tokens = tokens(50_000 / letters, letters, true).into_iter();
        let tokens: Vec<Value> = tokens
            .map(|token| added(&token.replacen("aaaaaaaaaaaaa", "ééééé", 1), true))
            .collect();
        let normalizer = replace("é", "xxxx");
        let what = format!("added tokens of {letters}, longer as they are looked for");
        check(
            what,
            json!({"added_tokens": tokens, "normalizer": normalizer, "model": model}),
        );
    }
}

/// Tokenizers of all kinds of steps by turns, and texts that each makes the most of.
#[test]
fn a_text_takes_memory_in_proportion_to_its_bytes() {
    let _alone = ALONE.lock();
    let golden = tests_path("goldens/architectures/xlm-roberta-mlm/tokenizer.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let twice = |part: &str, step: Value| json!({"type": "Sequence", part: [step, step]});
    let normalizers = [
        Value::Null,
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true}),
        json!({"type": "NFKC"}),
        golden["normalizer"].clone(),
        replace("a", "...."),
        twice("normalizers", replace("a", "aaaa")),
    ];
    let punctuation = json!({"type": "Punctuation", "behavior": "Isolated"});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false});
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{10ffff}", "prepend_scheme": "always", "split": true});
    let pre_tokenizers = [
        Value::Null,
        json!({"type": "BertPreTokenizer"}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}),
        json!({"type": "Sequence", "pretokenizers": [punctuation, metaspace]}),
        json!({"type": "Sequence", "pretokenizers": [punctuation, byte_level, byte_level, byte_level]}),
        json!({"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": false}),
    ];
    let decoders = [
        Value::Null,
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}),
        twice(
            "decoders",
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        ),
        twice("decoders", replace("a", "aaaa")),
        json!({"type": "ByteFallback"}),
    ];
    let all_added = [
        json!([]),
        json!([added("a", false)]),
        json!([added(".", true), added("a", true)]),
    ];
    let letters = ["a", "b", ".", " ", "Ã", "\u{10ffff}"].map(str::to_owned);
    let vocabularies = vocabularies(&letters);
    let texts = ["a", ".", "a.", " a", "é", "\u{fdfa}", "字"];
    let texts = texts.map(|unit| unit.repeat(300 / unit.len()));
    let (mut turn, mut most, mut refused, mut answered) = (0, [0; 2], 0, 0);
    for (normalizer, pre_tokenizer) in normalizers
        .iter()
        .flat_map(|n| pre_tokenizers.iter().map(move |p| (n, p)))
    {
        for (kind, model) in &vocabularies {
            let added = &all_added[turn % 3];
            let decoder = &decoders[turn % 5];
            turn += 1;
            let (tokenizer, _) = open(&json!({"added_tokens": added, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "decoder": decoder, "model": model}));
            for text in &texts {
                let what = || {
                    let steps = [normalizer, pre_tokenizer, decoder, added].map(Value::to_string);
                    format!("{text:.9}, {kind}, {steps:.120?}")
                };
                // What regular expressions keep for the next text isn't counted.
                let _ = tokenizer.tokens(text, None);
                let (found, bytes) = most_bytes(|| tokenizer.tokens(text, None));
                let (short, fewer) = most_bytes(|| tokenizer.encode(text, true));
                let encoding = times(bytes.max(fewer), text.len());
                assert!(encoding <= TO_ENCODE, "{encoding} for one: {}", what());
                most[0] = most[0].max(encoding);
                assert_eq!(found.is_ok(), short.is_ok());
                let Ok(tokens) = found else {
                    refused += 1;
                    continue;
                };
                answered += 1;
                let entries = tokens
                    .ids
                    .iter()
                    .filter_map(|id| tokenizer.id_to_token(*id));
                // A token may be empty, and counts as a byte.
                let len = entries.map(|token| token.len() + 1).sum();
                let _ = tokenizer.decode(&tokens.ids, false);
                let (_, bytes) = most_bytes(|| tokenizer.decode(&tokens.ids, false));
                let decoding = times(bytes, len);
                assert!(decoding <= TO_DECODE, "{decoding} for one: {}", what());
                most[1] = most[1].max(decoding);
            }
        }
    }
    println!("at most {most:?} for one; {refused} texts refused, {answered} answered");
    assert!(refused > 5 && answered > 600);
}
