//! Sparse embeddings against sentence-transformers: `goldens/sparse.json`, with quantized models. `src/tasks/sparse.rs` has the
//! same in f32.

use crate::common::{self, options, q8, session, tests_path};
use rq::{
    Batch, EmbedOptions, Embedder, Error, Model, Pooling, Prompt, Rows, SparseEmbedder,
    SparseEmbedding, SparseOptions, Task,
};
use rq_convert::Quant;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

/// What 8 bits may cost: 1 - cosine of an embedding with that of fp32, and the relative error of a product.
const TOLERANCE: f64 = 1e-3;
const PRODUCT: f64 = 0.02;

#[derive(Deserialize)]
struct Golden {
    name: String,
    checkpoint: String,
    files: BTreeMap<String, Value>,
    max_active_dims: Option<usize>,
    texts: Vec<String>,
    embeddings: Vec<Entries>,
    /// Of the first text with each.
    similarity: Vec<f64>,
}

#[derive(Deserialize)]
struct Entries {
    indices: Vec<u32>,
    values: Vec<f32>,
}

fn goldens() -> Vec<Golden> {
    serde_json::from_slice(&fs::read(tests_path("goldens/sparse.json")).unwrap()).unwrap()
}

fn model(golden: &Golden) -> Arc<Model> {
    if golden.files.is_empty() {
        return q8(&golden.checkpoint);
    }
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    fs::create_dir(&checkpoint).unwrap();
    for entry in fs::read_dir(tests_path(&golden.checkpoint)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), checkpoint.join(entry.file_name())).unwrap();
    }
    for (file, content) in &golden.files {
        let path = checkpoint.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }
    let output = directory.path().join("model.rq");
    common::convert_to(&checkpoint, Quant::Q8, &output);
    Arc::new(Model::from_bytes(fs::read(output).unwrap()).unwrap())
}

fn named(name: &str) -> Arc<Model> {
    let goldens = goldens();
    model(goldens.iter().find(|golden| golden.name == name).unwrap())
}

fn dense(indices: &[u32], values: &[f32], vocab_size: usize) -> Vec<f32> {
    let mut dense = vec![0.0; vocab_size];
    for (&index, &value) in indices.iter().zip(values) {
        dense[index as usize] = value;
    }
    dense
}

#[test]
fn the_weights_of_sentence_transformers() {
    for golden in goldens() {
        let model = model(&golden);
        let vocab_size = model.config().vocab_size;
        let mut embedder = SparseEmbedder::new(session(&model)).unwrap();
        assert_eq!(embedder.dimension(), vocab_size);
        let options = options!(SparseOptions {
            max_active_dims: golden.max_active_dims,
            truncate: true,
        });
        let texts = golden.texts.iter().map(String::as_str);
        let answers = embedder.run(texts, &options).unwrap();
        let mut worst: f64 = 0.0;
        for ((answer, expected), text) in answers.iter().zip(&golden.embeddings).zip(&golden.texts)
        {
            let what = format!("{}, {text:?}", golden.name);
            assert!(answer.indices.is_sorted() && answer.values.iter().all(|&x| x > 0.0));
            let found = dense(&answer.indices, &answer.values, vocab_size);
            let expected_row = dense(&expected.indices, &expected.values, vocab_size);
            // Where only the largest are kept, those at the border change places.
            let tolerance = match answer.indices.len() {
                20 | 64 | 100 => 0.08,
                _ => TOLERANCE,
            };
            let error = 1.0 - common::cosine(&found, &expected_row);
            assert!(error < tolerance, "{what}: 1-cos {error}");
            worst = worst.max(error);
        }
        for (answer, expected) in answers.iter().zip(&golden.similarity) {
            if golden.max_active_dims.is_none() && golden.name != "distilbert-log-prompt" {
                let found = answers[0].dot(answer);
                let error = (found / expected - 1.0).abs();
                assert!(error < PRODUCT, "{}: {found}, not {expected}", golden.name);
            }
        }
        println!("q8 {}: 1-cos at most {worst:.1e}", golden.name);
    }
}

/// A text that goes through several tiles of rows, and texts that share one.
#[test]
fn batches_and_tiles_change_nothing() {
    let model = named("bert");
    let mut embedder = SparseEmbedder::new(session(&model)).unwrap();
    let options = SparseOptions::default();
    let long = "the cat sat on the mat and ".repeat(13);
    let texts = ["a", &long, "the dog", "", &long, "the door of the house"];
    let together = embedder.run(texts, &options).unwrap();
    let alone: Vec<SparseEmbedding> = texts
        .iter()
        .map(|text| embedder.run_one(*text, &options).unwrap())
        .collect();
    assert_eq!(together, alone);
    // Each token's own logits, one after the other.
    let ids = model.tokenizer().encode(&long, false).unwrap().ids;
    assert!(ids.len() > 100, "{}", ids.len());
    let batch = Batch::from_iter([&ids]);
    let logits = session(&model).logits(&batch, Rows::All).unwrap();
    let width = model.config().vocab_size;
    for (index, value) in together[1].entries() {
        let column = logits[index as usize..].iter().step_by(width);
        let largest = column.fold(0.0_f32, |a, &b| a.max(b));
        assert!((value - largest.ln_1p()).abs() < 1e-6);
    }
}

/// Memory holds the logits of a tile of rows, however many tokens a text has.
#[test]
fn memory_does_not_grow_with_tokens_times_vocabulary() {
    let model = q8("data/demo-model");
    let vocab_size = model.config().vocab_size;
    let held = |words: usize| {
        let mut embedder = SparseEmbedder::new(session(&model)).unwrap();
        let text = "the ".repeat(words);
        let prepared = embedder.prepare(&text, &SparseOptions::default()).unwrap();
        // So many texts that they are more than a batch.
        let texts = vec![prepared; 12];
        embedder.compute(&texts, &SparseOptions::default()).unwrap();
        embedder.session().held_bytes()
    };
    let (few, many) = (held(60), held(120));
    let tokens = 60 * 12;
    // What the tokens take of hidden states, not of the vocabulary.
    assert!(many - few < tokens * vocab_size, "{few} {many}");
    assert!(many < 128 * 12 * vocab_size, "{few} {many}");
}

#[test]
fn what_is_kept_and_put_before_a_text() {
    let model = named("distilbert-log-prompt");
    let mut embedder = SparseEmbedder::new(session(&model)).unwrap();
    let mut embed = |options: &SparseOptions| embedder.run_one("the cat", options).unwrap();
    let published = embed(&SparseOptions::default());
    assert_eq!(published.indices.len(), 20);
    let prompt = Prompt::Named("query".into());
    assert_eq!(embed(&options!(SparseOptions { prompt })), published);
    let prompt = Prompt::Text(String::new());
    assert_ne!(embed(&options!(SparseOptions { prompt })), published);
    // More than the publisher keeps, and fewer.
    for most in [1, 5, 60] {
        let kept = embed(&options!(SparseOptions {
            max_active_dims: Some(most),
        }));
        assert_eq!(kept.indices.len(), most);
        let (index, value) = kept.descending()[0];
        assert_eq!((index, value), published.descending()[0]);
    }
    let none = options!(SparseOptions {
        max_active_dims: Some(0),
    });
    let error = embedder.run_one("the cat", &none);
    assert!(matches!(error, Err(Error::NoActiveDims)));
    let unknown = options!(SparseOptions {
        prompt: Prompt::Named("passage".into()),
    });
    let error = embedder.run_one("the cat", &unknown);
    assert!(matches!(error, Err(Error::NoPrompt { .. })));
}

#[test]
fn each_kind_of_embedding_where_it_is_meant() {
    // Dense ones of a sparse encoder are chosen, as by sentence-transformers, which then takes the mean.
    let model = named("bert");
    let mut embedder = Embedder::new(session(&model));
    let error = embedder.run_one("the cat", &EmbedOptions::default());
    assert!(matches!(error, Err(Error::SparseEncoder)));
    let mean = options!(EmbedOptions {
        pooling: Some(Pooling::Mean),
    });
    assert_eq!(embedder.run_one("the cat", &mean).unwrap().dimension, 32);
    // No sparse ones without a head for them.
    let error = SparseEmbedder::new(session(&q8("goldens/architectures/sentence-mean")));
    assert!(matches!(error, Err(Error::WrongHead { .. })));
}
