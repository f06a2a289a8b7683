//! What is made of logits, against transformers: with those of the f32 reference the answers are the pipeline's, in its order.
//! `tests/answer.rs` has the same goldens for 8-bit models.

use super::*;
use rq_convert::{
    ConvertOptions, HubCache, NoProgress, Pretrained, Quant, Reference, Source, convert,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Rounding of f32 in two orders of summation.
const TOLERANCE: f64 = 2e-5;

/// The tokenizer of a checkpoint, and its weights in f32.
fn open(model: &Path) -> (Model, Reference) {
    let source = Source::find(model.to_str().unwrap(), &HubCache::at("/nonexistent")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.rq");
    let options = ConvertOptions {
        quant: Quant::Q8,
        threads: 2,
        calibration: None,
    };
    convert(&source, &file, &options, &NoProgress).unwrap();
    let model = Model::from_bytes(std::fs::read(file).unwrap()).unwrap();
    let pretrained = Pretrained::open(&source, "f32").unwrap();
    let reference = Reference::load(&pretrained.checkpoint, &pretrained.config).unwrap();
    (model, reference)
}

fn options(given: &Value) -> AnswerOptions {
    let number = |name: &str| given[name].as_u64().map(|n| n as usize);
    let default = AnswerOptions::default();
    AnswerOptions {
        top_k: number("top_k").unwrap_or(default.top_k),
        max_answer_len: number("max_answer_len").unwrap_or(default.max_answer_len),
        max_seq_len: number("max_seq_len"),
        doc_stride: number("doc_stride"),
        handle_impossible_answer: given["handle_impossible_answer"] == true,
        align_to_words: given["align_to_words"] != false,
    }
}

#[test]
fn the_same_answers_in_the_same_order() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let json = std::fs::read(tests.join("goldens/tasks/answer.json")).unwrap();
    let goldens: Value = serde_json::from_slice(&json).unwrap();
    let (mut models, mut logits_of) = (BTreeMap::new(), HashMap::new());
    let (mut cases, mut compared) = (0, 0);
    for golden in goldens["cases"].as_array().unwrap() {
        let expected = match &golden["result"] {
            Value::Array(several) => several.clone(),
            one @ Value::Object(_) => vec![one.clone()],
            _ => continue,
        };
        let text = |name: &str| golden[name].as_str().unwrap();
        let (model, reference) = models
            .entry(text("model"))
            .or_insert_with(|| open(&tests.join(text("model"))));
        let options = options(&golden["options"]);
        let question = (text("question"), text("context")).into();
        let prepared = Answerer::new(model).unwrap().prepare(question, &options);
        let prepared = prepared.unwrap();
        let mut found = Found::new(&prepared);
        for window in &prepared.windows {
            let logits = logits_of
                .entry((text("model"), window.ids.clone()))
                .or_insert_with(|| {
                    let hidden = reference.forward_pair(&window.ids, &window.token_types);
                    reference.logits(&hidden)
                });
            let probabilities = Probabilities::new(window, logits, model.config().bos_token_id);
            found.take(window, &probabilities, &options);
        }
        let answers = found.answers(&options);
        let score = |golden: &Value| golden["score"].as_f64().unwrap();
        // Spans that have no probability in f32 are an accident of the sort there.
        let expected: Vec<Value> = expected.into_iter().filter(|e| score(e) > 0.0).collect();
        assert!(answers.len() >= expected.len(), "{golden}: {answers:?}");
        for (answer, expected) in answers.iter().zip(&expected) {
            let same = expected["start"] == answer.start
                && expected["end"] == answer.end
                && expected["answer"] == *answer.answer
                && (f64::from(answer.score) - score(expected)).abs() <= TOLERANCE;
            assert!(same, "{golden}: {answers:?}");
            compared += 1;
        }
        cases += 1;
    }
    println!("{cases} questions, {compared} answers");
    assert!(cases > 200 && compared > 700);
}
