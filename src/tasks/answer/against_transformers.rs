//! What is made of logits, against transformers: with those of the f32 reference the answers are the pipeline's, in its order.
//! `tests/answer.rs` has the same goldens for 8-bit models.

use super::*;
use crate::tasks::oracle;
use serde_json::Value;
use std::collections::BTreeMap;

/// Rounding of f32 in two orders of summation.
const TOLERANCE: f64 = 2e-5;

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
    let (mut models, mut logits_of) = (BTreeMap::new(), HashMap::new());
    let (mut cases, mut compared) = (0, 0);
    for golden in oracle::cases::<Value>("answer.json") {
        let expected = match &golden["result"] {
            Value::Array(several) => several.clone(),
            one @ Value::Object(_) => vec![one.clone()],
            _ => continue,
        };
        let text = |name: &str| golden[name].as_str().unwrap();
        let (session, reference) = models
            .entry(text("model").to_owned())
            .or_insert_with(|| oracle::open(text("model")));
        let options = options(&golden["options"]);
        let question = (text("question"), text("context"));
        let cls = session.model().config().bos_token_id;
        let task = Answerer::new(session).unwrap();
        let prepared = task.prepare(question, &options).unwrap();
        let mut found = Found::new(&prepared);
        for window in &prepared.windows {
            let logits = logits_of
                .entry((text("model").to_owned(), window.ids.clone()))
                .or_insert_with(|| {
                    let hidden = reference.forward_pair(&window.ids, &window.token_types);
                    reference.logits(&hidden)
                });
            let probabilities = Probabilities::new(window, logits, cls);
            found.take(window, &probabilities, &options);
        }
        let answers = found.answers(&options);
        let score = |golden: &Value| golden["score"].as_f64().unwrap();
        // Spans that have no probability in f32 are an accident of the sort there.
        let expected: Vec<Value> = expected.into_iter().filter(|e| score(e) > 0.0).collect();
        assert!(answers.len() >= expected.len(), "{golden}: {answers:?}");
        for (answer, expected) in answers.iter().zip(&expected) {
            let same = expected["start"] == answer.characters.start
                && expected["end"] == answer.characters.end
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
