//! What is made of logits, against transformers: with those of the f32 reference the labels are the pipelines', in their order.
//! `tests/classify.rs` has the same goldens for 8-bit models.

use super::*;
use crate::tasks::oracle;
use crate::tasks::zero_shot::{ZeroShot, ZeroShotOptions};
use rq_convert::Reference;
use serde_json::Value;
use std::collections::BTreeMap;

/// Rounding of f32 in two orders of summation; of a logit, in units of it.
const TOLERANCE: f64 = 2e-5;

/// The logits of a text.
fn logits(reference: &Reference, PreparedClassify(text): &PreparedClassify) -> Vec<f32> {
    let hidden = reference.forward_pair(&text.ids, &text.token_types);
    reference.logits(&hidden[..reference.config().hidden_size])
}

/// A value alone, or a list of them.
fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn options(given: &Value) -> ClassifyOptions {
    ClassifyOptions {
        // Null is all of them; not there, the best.
        top_k: given
            .get("top_k")
            .map_or(Some(1), |k| k.as_u64().map(|k| k as usize)),
        function: match given["function_to_apply"].as_str() {
            Some("softmax") => Some(ScoreFunction::Softmax),
            Some("sigmoid") => Some(ScoreFunction::Sigmoid),
            Some("none") => Some(ScoreFunction::None),
            _ => None,
        },
        truncate: given.get("truncation").is_some(),
    }
}

/// Compares labels with the names and the scores that are expected.
fn check(found: &[LabelScore], labels: &[Value], scores: &[Value], golden: &Value) {
    assert_eq!(found.len(), labels.len(), "{golden}: {found:?}");
    for ((found, label), score) in found.iter().zip(labels).zip(scores) {
        let score = score.as_f64().unwrap();
        let near = (f64::from(found.score) - score).abs() <= TOLERANCE * score.abs().max(1.0);
        assert!(near && *label == *found.label, "{golden}: {found:?}");
    }
}

#[test]
fn the_same_labels_in_the_same_order() {
    let (mut models, mut compared, mut topics) = (BTreeMap::new(), 0, 0);
    for golden in oracle::cases::<Value>("classify.json") {
        // The pipeline cuts elsewhere than at what the model takes, which rq doesn't know.
        let result = &golden["result"];
        if result.is_null() || golden["options"].get("max_length").is_some() {
            continue;
        }
        let name = golden["model"].as_str().unwrap();
        let (session, reference) = models
            .entry(name.to_owned())
            .or_insert_with(|| oracle::open(name));
        let given = &golden["options"];
        if golden["pipeline"] == "zero-shot-classification" {
            let labels = match &given["candidate_labels"] {
                Value::String(labels) => {
                    labels.split(',').map(str::trim).map(Value::from).collect()
                }
                labels => list(labels),
            };
            let labels = labels.iter().map(|label| label.as_str().unwrap());
            let labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
            let template = given["hypothesis_template"].as_str();
            let template = template.unwrap_or(<ZeroShot>::TEMPLATE);
            let task = ZeroShot::new(&mut *session, &labels, template).unwrap();
            let options = ZeroShotOptions {
                multi_label: given["multi_label"] == true,
                truncate: true,
            };
            for (text, expected) in list(&golden["sequences"]).iter().zip(list(result)) {
                let prepared = task.prepare(text.as_str().unwrap(), &options).unwrap();
                let logits: Vec<_> = prepared.0.iter().map(|t| logits(reference, t)).collect();
                let found = task.answer(logits.iter().map(Vec::as_slice), &options);
                let [labels, scores] = ["labels", "scores"].map(|field| list(&expected[field]));
                check(&found, &labels, &scores, &golden);
                topics += 1;
            }
            continue;
        }
        let task = Classifier::new(session).unwrap();
        let (inputs, results) = match &golden["inputs"] {
            Value::Array(inputs) => (inputs.clone(), list(result)),
            one => (vec![one.clone()], vec![result.clone()]),
        };
        assert_eq!(inputs.len(), results.len(), "{golden}");
        for (input, expected) in inputs.iter().zip(&results) {
            let texts = match input {
                Value::String(text) => text.as_str().into(),
                pair => Texts {
                    text: pair["text"].as_str().unwrap().into(),
                    // transformers takes an empty second text for none.
                    pair: pair["text_pair"]
                        .as_str()
                        .filter(|pair| !pair.is_empty())
                        .map(Into::into),
                },
            };
            let options = options(given);
            let prepared = task.prepare(texts, &options).unwrap();
            let logits = logits(reference, &prepared);
            let found = answer(task.model().config(), &logits, &options);
            let expected = list(expected);
            let field = |name| expected.iter().map(|e| e[name].clone()).collect::<Vec<_>>();
            check(&found, &field("label"), &field("score"), &golden);
            compared += 1;
        }
    }
    println!("{compared} texts, {topics} with labels of one's own");
    assert!(compared > 150 && topics > 25);
}
