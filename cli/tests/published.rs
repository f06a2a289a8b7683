//! What a publisher's files say beside the weights is applied, refused or named: each case has the answer of transformers or of
//! sentence-transformers.

use crate::common::{Ran, User, tests_path};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most that the cosine with fp32 may lack: what 8 bits cost these random weights, and a little.
const TOLERANCE: f64 = 5e-4;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    run: Vec<String>,
    links: BTreeMap<String, String>,
    embedding: Option<Vec<f64>>,
    tokens: Option<Vec<String>>,
    hidden_first: Option<Vec<f64>>,
    sequence: Option<String>,
    token_str: Option<String>,
    labels: Option<Vec<String>>,
    scores: Option<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    let json = fs::read(tests_path("data/published/cases.json")).unwrap();
    let Cases { cases } = serde_json::from_slice(&json).unwrap();
    cases
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A case's checkpoint, in the user's home.
fn checkpoint(user: &User, case: &Case) -> PathBuf {
    let published = tests_path("data/published");
    let to = user.path(&case.case);
    copy(&published.join(&case.case), &to);
    for (file, link) in &case.links {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::copy(published.join(link), to.join(file)).unwrap();
    }
    to
}

fn convert(user: &User, directory: &Path, model: &str) -> Ran {
    let directory = directory.to_str().unwrap();
    user.rq(&["convert", directory, "-o", model, "--no-eval"])
}

fn named(name: &str) -> Case {
    let mut all = cases().into_iter();
    all.find(|case| case.case == name).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|x| x.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[track_caller]
fn near(found: &Value, expected: &[f64], what: &str) {
    let found = floats(found);
    let lacks = 1.0 - cosine(&found, expected);
    assert!(lacks < TOLERANCE, "{what}: 1-cos {lacks:.1e}");
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let ratio = length(&found) / length(expected);
    assert!((ratio - 1.0).abs() < 0.02, "{what}: {ratio} times as long");
}

#[test]
fn each_case_has_the_publishers_answer() {
    let user = User::new();
    let cases = cases();
    assert_eq!(cases.len(), 17);
    for case in &cases {
        let what = case.case.as_str();
        let directory = checkpoint(&user, case);
        let model = user.at(&format!("{what}.rq"));
        convert(&user, &directory, &model).succeeds();
        let mut run: Vec<&str> = case.run.iter().map(String::as_str).collect();
        run.extend(["-m", &model]);
        let ran = user.rq(&run);
        let found: Value = serde_json::from_str(ran.succeeds()).unwrap();
        let mut checked = 0;
        if let Some(expected) = &case.embedding {
            near(&found, expected, what);
            checked += 1;
        }
        if let Some(expected) = &case.tokens {
            assert_eq!(found["tokens"], json!(expected), "{what}");
            checked += 1;
        }
        if let Some(expected) = &case.hidden_first {
            near(&found["embedding"][0], expected, what);
            checked += 1;
        }
        if let Some(expected) = &case.sequence {
            assert_eq!(found[0]["sequence"], json!(expected), "{what}");
            assert_eq!(found[0]["token_str"], json!(case.token_str), "{what}");
            checked += 1;
        }
        if let (Some(labels), Some(scores)) = (&case.labels, &case.scores) {
            let entries = found.as_array().unwrap();
            let entries = entries
                .first()
                .filter(|f| f.is_array())
                .map_or(entries, |f| f.as_array().unwrap());
            for ((entry, label), score) in entries.iter().zip(labels).zip(scores) {
                assert_eq!(entry["label"], json!(label), "{what}");
                assert!(
                    (entry["score"].as_f64().unwrap() - score).abs() < 0.02,
                    "{what}"
                );
            }
            assert_eq!(entries.len(), labels.len());
            checked += 1;
        }
        assert!(checked > 0, "{what}");
    }
}

#[test]
fn what_counts_in_place_of_a_file_is_named() {
    let user = User::new();
    for (name, expected) in [
        (
            "tok-bpe-dropout",
            "note: tokenizer.json has BPE dropout, which is for training: it is left out",
        ),
        (
            "lab-id2label-fewer",
            "note: config.json has num_labels 3 and 2 entries of id2label",
        ),
        (
            "st-mlm-arch-with-head-cls",
            "note: modules.json makes this a sentence encoder",
        ),
        (
            "tok-do-lower-case-false",
            "note: tokenizer.json's normalizer isn't the one of the class",
        ),
    ] {
        let directory = checkpoint(&user, &named(name));
        let ran = convert(&user, &directory, &user.at("m.rq"));
        assert!(ran.succeeds().contains(expected), "{name}: {ran:?}");
    }
}

/// A sentence encoder with prompts; the default one is `query`.
fn with_prompts() -> User {
    let user = User::new();
    let directory = checkpoint(&user, &named("st-default-prompt"));
    let model = user.at("prompts.rq");
    convert(&user, &directory, &model).succeeds();
    user.set("RQ_MODEL", model)
}

#[test]
fn prompts_are_texts_before_the_text() {
    let user = with_prompts();
    let embed = |more: &[&str]| user.rq(&[&["embed", "--json"], more].concat());
    let query = embed(&["cats"]).succeeds().to_owned();
    assert_eq!(embed(&["--prompt", "query", "cats"]).succeeds(), query);
    assert_eq!(
        embed(&["--prompt-text", "", "query: cats"]).succeeds(),
        query
    );
    assert_eq!(
        embed(&["--prompt-text", "query: ", "cats"]).succeeds(),
        query
    );
    let passage = embed(&["--prompt", "passage", "cats"])
        .succeeds()
        .to_owned();
    assert_ne!(passage, query);
    assert_eq!(
        embed(&["--prompt-text", "", "passage: cats"]).succeeds(),
        passage
    );
    let ran = embed(&["--prompt", "title", "cats"]);
    ran.fails(&["the model has no prompt \"title\"; it has passage, query"]);
    let info = user.rq(&["info"]);
    let info = info.succeeds();
    assert!(
        info.contains("prompt         query (default): \"query: \""),
        "{info}"
    );
}

#[test]
fn fewer_dimensions_and_bits() {
    let user = with_prompts();
    let embed = |more: &[&str]| -> Value {
        let ran = user.rq(&[&["embed", "--json", "cats"], more].concat());
        serde_json::from_str(ran.succeeds()).unwrap()
    };
    let whole = floats(&embed(&[]));
    assert_eq!(whole.len(), 32);
    assert_eq!(floats(&embed(&["--dim", "7"])), whole[..7]);
    let scaled = floats(&embed(&["--dim", "7", "--normalize"]));
    let length: f64 = scaled.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-6);
    let bits = floats(&embed(&["--precision", "ubinary", "--dim", "12"]));
    assert_eq!(bits.len(), 2);
    for (i, x) in whole[..12].iter().enumerate() {
        let bit = bits[i / 8] as u8 >> (7 - i % 8) & 1;
        assert_eq!(bit == 1, *x > 0.0, "{i}");
    }
    let halves = floats(&embed(&["--precision", "f16"]));
    for (half, x) in halves.iter().zip(&whole) {
        assert!(
            (half - x).abs() <= x.abs() / 1024.0 && half != x,
            "{half} {x}"
        );
    }
    let ran = user.rq(&["embed", "--dim", "33", "cats"]);
    ran.fails(&["33 dimensions were asked for; embeddings of this model have from 1 to 32"]);
    let ran = user.rq(&["embed", "--precision", "int8", "cats"]);
    ran.fails(&["int8", "--out"]);
    let ran = user.rq(&["embed", "--precision", "ubinary", "cats"]);
    ran.fails(&["--precision is for --json, --jsonl and --out"]);
}

#[test]
fn files_of_fewer_bits() {
    let user = with_prompts();
    let texts = ["cats", "the dog", "the cat sat on the mat"];
    let file = user.at("e.npy");
    let embed = |precision: &str, texts: &[&str]| {
        user.rq(&[&["embed", "--out", &file, "--precision", precision], texts].concat())
    };
    let values = |header: &str, size: usize| -> Vec<u8> {
        let bytes = fs::read(&file).unwrap();
        let start = bytes.iter().position(|b| *b == b'\n').unwrap_or(0).max(127) + 1;
        let text = String::from_utf8_lossy(&bytes[10..start]).into_owned();
        assert!(text.contains(header), "{text}");
        assert_eq!(bytes.len() - start, size);
        bytes[start..].to_vec()
    };
    embed("f16", &texts).succeeds();
    values(
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 32), }",
        192,
    );
    embed("ubinary", &texts).succeeds();
    values(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }",
        12,
    );
    embed("int8", &texts).succeeds();
    let steps = values(
        "{'descr': '|i1', 'fortran_order': False, 'shape': (3, 32), }",
        96,
    );
    // In each dimension the least is the first step; the largest is the last, or the one below where it is rounded so.
    for column in 0..32 {
        let steps: Vec<i8> = (0..3)
            .map(|row| steps[row * 32 + column].cast_signed())
            .collect();
        assert_eq!(steps.iter().min(), Some(&-128), "{steps:?}");
        assert!(*steps.iter().max().unwrap() >= 126, "{steps:?}");
    }
    embed("int8", &texts[..1]).fails(&["there is only one", "more texts"]);
}

/// Dense layers, several poolings and a prompt that isn't pooled: embeddings of sentence-transformers.
#[test]
fn modules_are_applied_in_their_order() {
    /// Shape and values, of f32.
    type Tensor = (Vec<usize>, Vec<f32>);
    #[derive(Deserialize)]
    struct Made {
        name: String,
        files: BTreeMap<String, Value>,
        /// By file.
        tensors: BTreeMap<String, BTreeMap<String, Tensor>>,
        texts: Vec<String>,
        embeddings: Vec<Vec<f64>>,
    }
    let json = fs::read(tests_path("goldens/modules.json")).unwrap();
    let all: Vec<Made> = serde_json::from_slice(&json).unwrap();
    assert!(all.len() > 8);
    let user = User::new();
    for made in all {
        let directory = checkpoint(&user, &named("st-default-prompt"));
        for (file, content) in &made.files {
            fs::create_dir_all(directory.join(file).parent().unwrap()).unwrap();
            fs::write(directory.join(file), content.to_string()).unwrap();
        }
        for (file, tensors) in &made.tensors {
            let mut header = json!({});
            let mut data = Vec::new();
            for (name, (shape, values)) in tensors {
                let start = data.len();
                data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
                header[name] =
                    json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
            }
            let header = header.to_string();
            let len = (header.len() as u64).to_le_bytes();
            fs::write(
                directory.join(file),
                [&len[..], header.as_bytes(), &data].concat(),
            )
            .unwrap();
        }
        let model = user.at("modules.rq");
        convert(&user, &directory, &model).succeeds();
        for (text, expected) in made.texts.iter().zip(&made.embeddings) {
            let ran = user.rq(&["embed", "--json", "--truncate", "-m", &model, text]);
            let found: Value = serde_json::from_str(ran.succeeds()).unwrap();
            // The vectors of tokens one behind the other.
            let found = match &found[0] {
                Value::Array(_) => found.as_array().unwrap().iter().flat_map(floats).collect(),
                _ => found,
            };
            near(&found, expected, &format!("{}: {text:?}", made.name));
        }
        fs::remove_dir_all(directory).unwrap();
    }
}

/// A snapshot that other software left without the small files isn't known to be whole.
#[test]
fn what_a_snapshot_may_lack_is_named_offline() {
    let user = User::new();
    let commit = "a".repeat(40);
    let root = user.path("hf/hub/models--me--part");
    let snapshot = root.join("snapshots").join(&commit);
    let case = named("tok-added-decoder-fast");
    let directory = checkpoint(&user, &case);
    fs::create_dir_all(root.join("refs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(root.join("refs/main"), &commit).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(directory.join(file), snapshot.join(file)).unwrap();
    }
    let convert = || convert(&user, Path::new("me/part"), &user.at("m.rq"));
    let note = "note: not in the cache, and not known to be missing on the hub: tokenizer_config.json, special_tokens_map.json, \
                added_tokens.json, modules.json; if the publisher has them, answers may differ";
    let ran = convert();
    assert!(ran.succeeds().contains(note), "{ran:?}");
    // Once the libraries have asked for them in vain, it is.
    let nowhere = root.join(".no_exist").join(&commit);
    fs::create_dir_all(&nowhere).unwrap();
    for file in [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "modules.json",
    ] {
        fs::write(nowhere.join(file), "").unwrap();
    }
    let ran = convert();
    assert!(!ran.succeeds().contains("note:"), "{ran:?}");
}
