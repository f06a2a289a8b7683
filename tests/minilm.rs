//! all-MiniLM-L6-v2, a sentence encoder that people use, against transformers and sentence-transformers in fp32:
//! `goldens/tasks/embed.json`. Its 91 MB aren't in the repository: `.ci/models` gets them. Without them the tests say SKIP, or
//! fail if `RQ_REQUIRE_MODELS` is set.

use crate::common::{self, convert_to, cosine, downloaded, options, session};
use rq::{EmbedOptions, Embedder, Model, Task};
use rq_convert::Quant;
use rq_format::{EmbeddingLayer, PoolingMode};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};

const NAME: &str = "all-MiniLM-L6-v2";

/// What 8 bits may cost: 1 - cosine of an embedding with that of fp32, at most (of the empty text it is largest) and in the
/// mean, and the difference of two texts' cosine.
const TOLERANCE: f64 = 2e-3;
const MEAN_TOLERANCE: f64 = 1e-3;
const SIMILARITY: f64 = 0.02;

#[derive(Deserialize)]
struct Golden {
    model: String,
    text: String,
    tokens: usize,
    embedding: Vec<f32>,
}

/// The model in q8, converted once; none where it isn't there.
fn model() -> Option<&'static Arc<Model>> {
    static MODEL: OnceLock<Option<Arc<Model>>> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let weights = downloaded(NAME, "model.safetensors")?;
        let converted = tempfile::tempdir().unwrap();
        let output = converted.path().join("model.rq");
        convert_to(weights.parent()?, Quant::Q8, &output);
        let bytes = std::fs::read(output).unwrap();
        Some(Arc::new(Model::from_bytes(bytes).unwrap()))
    });
    model.as_ref()
}

fn goldens() -> Vec<Golden> {
    let cases: Vec<Golden> = common::cases("tasks/embed.json");
    let cases: Vec<Golden> = cases
        .into_iter()
        .filter(|case| case.model == NAME)
        .collect();
    assert_eq!(cases.len(), 12);
    cases
}

#[test]
fn tokens_are_those_of_transformers() {
    let Some(model) = model() else { return };
    let tokenizer = model.tokenizer();
    let ids = tokenizer
        .encode("The cat sat on the mat.", false)
        .unwrap()
        .ids;
    assert_eq!(ids, [101, 1996, 4937, 2938, 2006, 1996, 13523, 1012, 102]);
    // 256 is sentence-transformers' limit; the tokenizer's own file cuts to 128.
    assert_eq!(tokenizer.max_tokens(), 256);
    for golden in goldens() {
        let ids = tokenizer.encode(&golden.text, true).unwrap().ids;
        assert_eq!(ids.len(), golden.tokens, "{:?}", golden.text);
    }
}

#[test]
fn embeddings_and_similarities_are_near_those_of_sentence_transformers() {
    let Some(model) = model() else { return };
    let mut embedder = Embedder::new(session(model));
    let options = options!(EmbedOptions { truncate: true });
    let pooling = embedder.model().config().pooling.as_ref().unwrap();
    assert_eq!(pooling.modes, [PoolingMode::Mean]);
    assert_eq!(pooling.layers, [EmbeddingLayer::Normalize]);
    let goldens = goldens();
    let texts = goldens.iter().map(|golden| &*golden.text);
    let found = embedder.run(texts, &options).unwrap();
    let (mut worst, mut sum, mut difference): (f64, f64, f64) = (0.0, 0.0, 0.0);
    for (i, (golden, answer)) in goldens.iter().zip(&found).enumerate() {
        let of_this = 1.0 - cosine(&answer.embedding, &golden.embedding);
        assert!(of_this < TOLERANCE, "{of_this}: {:?}", golden.text);
        (worst, sum) = (worst.max(of_this), sum + of_this);
        for (other, answered) in goldens[..i].iter().zip(&found) {
            let expected = cosine(&golden.embedding, &other.embedding);
            let found = rq::cosine(&answer.embedding, &answered.embedding);
            let of_these = (found - expected).abs();
            let texts = [&golden.text, &other.text];
            assert!(of_these < SIMILARITY, "{found}, {expected}: {texts:?}");
            difference = difference.max(of_these);
        }
        let alone = embedder.run_one(&*golden.text, &options);
        assert_eq!(&alone.unwrap(), answer, "{:?}", golden.text);
    }
    let mean = sum / goldens.len() as f64;
    println!("q8 {NAME}: 1-cos {mean:.1e}, at most {worst:.1e}; cosines within {difference:.4}");
    assert!(mean < MEAN_TOLERANCE, "{mean}");
}
