//! The semantics alone: every call of `tests/goldens/tasks/tag.json`, with the labels' probabilities of the f32 reference, so
//! that nothing is near. What 8 bits make of it is in `tests/tag.rs`.

use super::*;
use crate::tasks::oracle;
use rq_convert::Reference;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// One call of the pipeline, and what it gave.
#[derive(Debug, Deserialize)]
struct Golden {
    model: String,
    inputs: Value,
    options: HashMap<String, Value>,
    result: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct GoldenEntity {
    #[serde(alias = "entity_group")]
    entity: String,
    score: f32,
    index: Option<usize>,
    word: String,
    start: usize,
    end: usize,
}

fn entities(
    (session, reference): &mut (Session, Reference),
    text: &str,
    options: &TagOptions,
) -> Vec<Entity> {
    let tagger = Tagger::new(session).unwrap();
    let prepared = tagger.prepare(text, options).unwrap();
    let width = tagger.model().config().hidden_size;
    let outputs = tagger.model().config().outputs();
    let mut scores = Vec::new();
    for window in &prepared.windows {
        let (ids, types) = (&window.ids, &window.token_types);
        let hidden = reference.forward_pair(ids, types);
        let wanted = window.rows.iter().map(|row| row * width..(row + 1) * width);
        let wanted: Vec<f32> = wanted.flat_map(|row| hidden[row].to_vec()).collect();
        let logits = reference.logits(&wanted);
        scores.extend(logits.chunks_exact(outputs).flat_map(softmax));
    }
    tagger
        .answers(&[prepared], &scores, options)
        .unwrap()
        .remove(0)
}

fn options(golden: &Golden) -> TagOptions {
    let mut options = TagOptions {
        aggregation: Aggregation::None,
        ..TagOptions::default()
    };
    for (name, value) in &golden.options {
        match (name.as_str(), value) {
            ("aggregation_strategy", Value::String(name)) => {
                options.aggregation = match name.as_str() {
                    "none" => Aggregation::None,
                    "simple" => Aggregation::Simple,
                    "first" => Aggregation::First,
                    "average" => Aggregation::Average,
                    "max" => Aggregation::Max,
                    _ => panic!("{name}"),
                }
            }
            ("stride", value) => options.stride = Some(value.as_u64().unwrap() as usize),
            ("ignore_labels", labels) => {
                options.ignore_labels = serde_json::from_value(labels.clone()).unwrap();
            }
            _ => panic!("{golden:?}"),
        }
    }
    options
}

#[test]
fn the_semantics_are_those_of_transformers() {
    let mut models = HashMap::new();
    let (mut compared, mut passed_over) = (0, 0);
    for case in oracle::cases::<Golden>("tag.json") {
        let Some(result) = case.result.clone() else {
            continue;
        };
        // Texts that are split into words already aren't for this.
        if case.options.contains_key("is_split_into_words") {
            continue;
        }
        let both = models
            .entry(case.model.clone())
            .or_insert_with(|| oracle::open(&case.model));
        let (texts, results) = match (&case.inputs, result) {
            (Value::Array(texts), Value::Array(results)) => (texts.clone(), results),
            (text, result) => (vec![text.clone()], vec![result]),
        };
        let options = options(&case);
        for (text, expected) in texts.iter().zip(results) {
            let text = text.as_str().unwrap();
            let model = both.0.model();
            let tokens = model.tokenizer().ids(text, true).unwrap().len();
            let long = tokens > model.config().max_tokens();
            // Without a stride transformers cuts the text; and tokens alone it takes twice, where windows share them.
            if long && (options.stride.is_none() || options.aggregation == Aggregation::None) {
                passed_over += 1;
                continue;
            }
            let expected: Vec<GoldenEntity> = serde_json::from_value(expected).unwrap();
            let found = entities(both, text, &options);
            assert_eq!(found.len(), expected.len(), "{case:?}: {found:#?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    found.label == expected.entity
                        && found.index == expected.index
                        && found.word == expected.word
                        && found.characters == (expected.start..expected.end)
                        && (found.score - expected.score).abs() < 1e-4,
                    "{expected:?}, not {found:?}: {case:?}"
                );
            }
            compared += 1;
        }
    }
    assert!(
        compared > 150 && passed_over == 2,
        "{compared} {passed_over}"
    );
}
