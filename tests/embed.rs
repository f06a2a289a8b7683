//! Embeddings against sentence-transformers: `goldens/tasks/embed.json` and the `sentence-` folders of
//! `goldens/architectures.json`, with quantized models.

use crate::common::{self, cosine, options, q8, session, tensor, tests_path};
use rq::{Batch, EmbedOptions, Embedder, Embedding, Error, Head, Model, Pooling, Rows, Task};
use rq_format::{EmbeddingLayer, PoolingMode};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What 8 bits may cost: 1 - cosine of an embedding with that of fp32, and the relative error of its length.
const TOLERANCE: f64 = 1e-3;
const LENGTH: f64 = 0.02;

#[derive(Deserialize)]
struct Golden {
    model: String,
    text: String,
    pooling: String,
    normalize: bool,
    tokens: usize,
    embedding: Vec<f32>,
}

impl Golden {
    fn options(&self) -> EmbedOptions {
        options!(EmbedOptions {
            pooling: Some(match &*self.pooling {
                "cls" => Pooling::Cls,
                "mean" => Pooling::Mean,
                "max" => Pooling::Max,
                other => panic!("{other}"),
            }),
            normalize: Some(self.normalize),
            truncate: true,
        })
    }
}

/// The cases by model, those that are in the repository.
fn goldens() -> BTreeMap<String, Vec<Golden>> {
    let cases: Vec<Golden> = common::cases("tasks/embed.json");
    let mut by_model = BTreeMap::<_, Vec<_>>::new();
    for case in cases.into_iter().filter(|case| case.model.contains('/')) {
        by_model.entry(case.model.clone()).or_default().push(case);
    }
    by_model
}

fn architecture(name: &str) -> Arc<Model> {
    q8(&format!("goldens/architectures/{name}"))
}

fn length(vector: &[f32]) -> f64 {
    let squares = vector.iter().map(|&x| f64::from(x).powi(2));
    squares.sum::<f64>().sqrt()
}

/// 1 - cosine, of an embedding that is as long as it should be.
#[track_caller]
fn error(found: &[f32], expected: &[f32], what: &str) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let error = 1.0 - cosine(found, expected);
    let relative = length(found) / length(expected) - 1.0;
    assert!(error < TOLERANCE, "{what}: 1-cos {error}");
    assert!(relative.abs() < LENGTH, "{what}: length {relative:+}");
    error
}

#[test]
fn the_embeddings_of_transformers() {
    let by_model = goldens();
    assert_eq!(by_model.len(), 3);
    for (name, cases) in by_model {
        let mut embedder = Embedder::new(session(&q8(&name)));
        let mut worst: f64 = 0.0;
        for golden in &cases {
            let what = format!("{name}, {:?}, {}", golden.text, golden.pooling);
            let answer = embedder.run_one(&*golden.text, &golden.options());
            let answer = answer.unwrap();
            assert_eq!(answer.ids.len(), golden.tokens, "{what}");
            worst = worst.max(error(&answer.embedding, &golden.embedding, &what));
            if golden.normalize {
                assert!((length(&answer.embedding) - 1.0).abs() < 1e-6, "{what}");
            }
        }
        println!("q8 {name}: 1-cos at most {worst:.1e}");
    }
}

/// Files that were converted from models of sentence-transformers say how themselves.
#[test]
fn a_sentence_encoder_does_as_its_publisher_says() {
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        model: String,
        text: String,
        ids: Vec<u32>,
    }
    let json = std::fs::read(tests_path("goldens/architectures.json")).unwrap();
    let Cases { cases } = serde_json::from_slice(&json).unwrap();
    let bytes = std::fs::read(tests_path("goldens/architectures.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (name, means) in [
        ("sentence-mean", (PoolingMode::Mean, true)),
        ("sentence-cls", (PoolingMode::Cls, false)),
        ("sentence-max", (PoolingMode::Max, false)),
    ] {
        let model = architecture(name);
        let pooling = model.config().pooling.as_ref().unwrap();
        let normalizes = pooling.layers == [EmbeddingLayer::Normalize];
        assert_eq!((&pooling.modes[..], normalizes), (&[means.0][..], means.1));
        let mut embedder = Embedder::new(session(&model));
        let options = options!(EmbedOptions { truncate: true });
        let of_model = |(_, case): &(usize, &Case)| case.model == name;
        let (mut worst, mut count): (f64, _) = (0.0, 0);
        for (i, case) in cases.iter().enumerate().filter(of_model) {
            let what = format!("case {i}, {name}: {:?}", case.text);
            let answer = embedder.run_one(&*case.text, &options);
            let answer = answer.unwrap();
            assert_eq!(answer.ids, case.ids, "{what}");
            let (expected, _) = tensor(&tensors, &format!("embedding.{i}"));
            worst = worst.max(error(&answer.embedding, &expected, &what));
            count += 1;
        }
        assert_eq!(count, 20);
        println!("q8 {name}: 1-cos at most {worst:.1e}");
    }
}

const OPTIONS: [(Pooling, bool); 5] = [
    (Pooling::Cls, false),
    (Pooling::Mean, true),
    (Pooling::Max, false),
    (Pooling::None, false),
    (Pooling::None, true),
];

fn bits(embedding: &Embedding) -> Vec<u32> {
    embedding.embedding.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_batch_gives_the_bits_of_single_texts() {
    for (name, cases) in goldens() {
        let mut embedder = Embedder::new(session(&q8(&name)));
        // Enough for more than one group.
        let texts: Vec<&str> = cases.iter().map(|case| &*case.text).collect();
        for (pooling, normalize) in OPTIONS {
            let options = options!(EmbedOptions {
                pooling: Some(pooling),
                normalize: Some(normalize),
                truncate: true,
            });
            let together = embedder.run(texts.iter().copied(), &options);
            let together = together.unwrap();
            assert_eq!(together.len(), texts.len());
            for (text, together) in texts.iter().zip(together) {
                let alone = embedder.run_one(*text, &options).unwrap();
                assert_eq!(alone.ids, together.ids);
                assert_eq!(bits(&alone), bits(&together), "{options:?}: {text:?}");
            }
        }
    }
}

#[test]
fn a_model_of_any_head_has_embeddings() {
    let text = "She opened the window and looked at the street.";
    let mut heads = Vec::new();
    for name in [
        "bert-classifier",
        "roberta-regression",
        "bert-tagger",
        "bert-qa",
        "camembert-mlm",
        "bert-base-model",
        "distilbert-classifier",
        "electra-discriminator",
        "mpnet-mlm",
    ] {
        let model = architecture(name);
        let mut session = session(&model);
        heads.push(model.config().head);
        let ids = model.tokenizer().encode(text, false).unwrap().ids;
        let batch = Batch::from_iter([&ids]);
        let hidden = session.hidden_states(&batch, Rows::All).unwrap();
        let width = model.config().hidden_size;
        let mut embedder = Embedder::new(session);
        assert!(!embedder.per_token(&EmbedOptions::default()));
        let mut embed = |pooling| {
            let options = options!(EmbedOptions { pooling });
            embedder.run_one(text, &options).unwrap()
        };
        let tokens = embed(Some(Pooling::None));
        assert_eq!((&tokens.embedding, &tokens.ids), (&hidden, &ids));
        assert_eq!(tokens.rows().len(), ids.len());
        let cls = embed(Some(Pooling::Cls));
        assert_eq!(cls.embedding, hidden[..width]);
        assert_eq!(cls.rows().len(), 1);
        for (i, mean) in embed(None).embedding.into_iter().enumerate() {
            let column = hidden[i..].iter().step_by(width).map(|&x| f64::from(x));
            let expected = column.sum::<f64>() / ids.len() as f64;
            assert!((f64::from(mean) - expected).abs() < 1e-6);
        }
    }
    for head in [
        Head::None,
        Head::MaskedLm,
        Head::SequenceClassification,
        Head::TokenClassification,
        Head::QuestionAnswering,
    ] {
        assert!(heads.contains(&head), "{head}");
    }
}

#[test]
fn vectors_of_tokens_are_normalized_only_when_asked() {
    let mut embedder = Embedder::new(session(&architecture("sentence-mean")));
    let mut options = options!(EmbedOptions {
        pooling: Some(Pooling::None),
    });
    assert!(embedder.per_token(&options));
    let answer = embedder.run_one("The cat sat on the mat.", &options);
    for row in answer.unwrap().rows() {
        assert!((length(row) - 1.0).abs() > 1e-3);
    }
    options.normalize = Some(true);
    let answer = embedder.run_one("The cat sat on the mat.", &options);
    for row in answer.unwrap().rows() {
        assert!((length(row) - 1.0).abs() < 1e-6);
    }
    // Another pooling than the publisher's goes on to the publisher's next step.
    options = options!(EmbedOptions {
        pooling: Some(Pooling::Cls),
    });
    let answer = embedder.run_one("The cat sat on the mat.", &options);
    assert!((length(&answer.unwrap().embedding) - 1.0).abs() < 1e-6);
}

/// Tokens that stand in a text as they are written are found before letters become small: `<S>` isn't one.
#[test]
fn lower_case_as_the_publisher_says() {
    let mut embedder = Embedder::new(session(&architecture("sentence-max")));
    let mut embed = |text| {
        let options = EmbedOptions::default();
        embedder.run_one(text, &options).unwrap()
    };
    assert_eq!(embed("SÃO PAULO"), embed("são paulo"));
    assert_ne!(embed("<MASK>").ids, embed("<mask>").ids);
    assert_eq!(embed("<mask>").ids.len(), 3);
}

#[test]
fn what_is_wrong_with_a_text_shows_when_it_is_prepared() {
    let mut embedder = Embedder::new(session(&architecture("sentence-mean")));
    let mut options = EmbedOptions::default();
    let long = "the cat ".repeat(100);
    let error = embedder.prepare(&long, &options);
    assert!(matches!(
        error,
        Err(Error::TooLong {
            tokens: 202,
            limit: 48
        })
    ));
    let error = embedder.run(["", &*long], &options);
    assert!(matches!(error, Err(Error::InBatch { number: 2, .. })));
    options.truncate = true;
    let answer = embedder.run_one(&*long, &options).unwrap();
    assert_eq!(answer.ids.len(), 48);
    let none = embedder.compute(&[], &options).unwrap();
    assert_eq!(none, []);
}

#[test]
fn texts_of_another_model_are_refused() {
    let [mut of_small, of_large] =
        ["data/sapiens-vh", "data/demo-model"].map(|name| Embedder::new(session(&q8(name))));
    let options = EmbedOptions::default();
    let text = of_large.prepare("The garden", &options).unwrap();
    let error = of_small.compute(&[text], &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
}
