//! Classification against transformers' pipelines: `goldens/tasks/classify.json`, with models in q8.

use crate::common::{self, options, q8, session, session_on};
use rq::{
    Classifier, ClassifyOptions, Error, Isa, LabelScore, ScoreFunction, Task, Texts, ZeroShot,
    ZeroShotOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// How far a quantized model's score may be from that of fp32; a logit's in units of the largest, where that is above 1.
const TOLERANCE: f32 = 0.02;
/// The same for models of random weights, whose probabilities are less sure than those of a trained model, and of their
/// logits. In `src/classify` all are compared, in f32.
const RANDOM_TOLERANCES: [f32; 2] = [0.04, 0.1];
/// Labels whose scores are closer than this may change places.
const TIE: f32 = 0.01;

/// One call of a pipeline, and what it gave.
#[derive(Debug, Deserialize)]
struct Golden {
    pipeline: String,
    model: String,
    #[serde(default)]
    inputs: Value,
    #[serde(default)]
    sequences: Value,
    options: HashMap<String, Value>,
    result: Option<Value>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GoldenLabel {
    label: String,
    score: f32,
}

#[derive(Deserialize)]
struct GoldenZeroShot {
    sequence: String,
    labels: Vec<String>,
    scores: Vec<f32>,
}

fn goldens(pipeline: &str) -> Vec<(String, Vec<Golden>)> {
    let cases: Vec<Golden> = common::cases("tasks/classify.json");
    common::by_model(
        cases.into_iter().filter(|case| case.pipeline == pipeline),
        |case| &case.model,
    )
}

/// Python takes a value for a list of it.
fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn texts(input: &Value) -> Texts<'_> {
    match input {
        Value::String(text) => text.as_str().into(),
        pair => Texts {
            text: pair["text"].as_str().unwrap().into(),
            // transformers takes an empty second text for none.
            pair: pair["text_pair"]
                .as_str()
                .filter(|pair| !pair.is_empty())
                .map(Into::into),
        },
    }
}

impl Golden {
    /// The options, as far as `rq` has them.
    fn classify_options(&self) -> Option<ClassifyOptions> {
        let mut options = options!(ClassifyOptions { top_k: Some(1) });
        for (name, value) in &self.options {
            match (name.as_str(), value.as_str()) {
                ("top_k", _) => options.top_k = value.as_u64().map(|k| k as usize),
                ("function_to_apply", Some("softmax")) => {
                    options.function = Some(ScoreFunction::Softmax);
                }
                ("function_to_apply", Some("sigmoid")) => {
                    options.function = Some(ScoreFunction::Sigmoid);
                }
                ("function_to_apply", Some("none")) => options.function = Some(ScoreFunction::None),
                // The second text is by far the longer one where this is asked for.
                ("truncation", None | Some("only_second")) => options.truncate = true,
                // The pipeline's documentation has a "default" that it refuses; and rq cuts to what the model takes only.
                ("function_to_apply", Some("default")) | ("max_length", _) => return None,
                _ => panic!("{self:?}"),
            }
        }
        Some(options)
    }

    /// The labels for each input.
    fn labels(&self) -> Option<Vec<Vec<GoldenLabel>>> {
        let result = self.result.as_ref()?;
        let answers = match &self.inputs {
            Value::Array(_) => result.as_array().unwrap().clone(),
            _ => vec![result.clone()],
        };
        let parse = |answer| serde_json::from_value(Value::Array(list(&answer))).unwrap();
        Some(answers.into_iter().map(parse).collect())
    }
}

/// Compares labels, of which all are needed, with the first that are expected.
fn check(found: &[LabelScore], expected: &[GoldenLabel], logits: bool, case: &Golden) {
    let tolerance = match case.model.starts_with("goldens/") {
        true => RANDOM_TOLERANCES[usize::from(logits)],
        false => TOLERANCE,
    };
    let sizes = found.iter().map(|found| found.score.abs());
    let largest = sizes.fold(1.0, f32::max);
    let by_label: HashMap<&str, f32> = found.iter().map(|l| (&*l.label, l.score)).collect();
    for (found, expected) in found.iter().zip(expected) {
        let score = by_label[expected.label.as_str()];
        assert!(
            (score - expected.score).abs() <= tolerance * largest,
            "{expected:?}, not {score}: {case:?}"
        );
        assert!(
            found.label == expected.label || (found.score - score).abs() <= TIE,
            "{expected:?}, not {found:?}: {case:?}"
        );
    }
}

#[test]
fn classes_are_those_of_transformers() {
    let (mut compared, mut refused, mut passed_over) = (0, 0, 0);
    for (name, cases) in goldens("text-classification") {
        let model = q8(&name);
        let mut classifier = Classifier::new(session(&model)).unwrap();
        for case in cases {
            let Some(options) = case.classify_options() else {
                passed_over += 1;
                continue;
            };
            let inputs = list(&case.inputs);
            let Some(expected) = case.labels() else {
                // A list of two texts isn't a pair to the pipeline, nor an input here.
                if !inputs[0].is_array() {
                    let error = classifier.run(inputs.iter().map(texts), &options);
                    assert!(matches!(error, Err(Error::TooLong { .. })), "{case:?}");
                }
                refused += 1;
                continue;
            };
            // Where transformers answers with nothing.
            if options.top_k == Some(0) {
                assert!(expected.iter().all(Vec::is_empty), "{case:?}");
                let error = classifier.run(inputs.iter().map(texts), &options);
                assert!(matches!(error, Err(Error::Zero { .. })), "{case:?}");
                continue;
            }
            let mut run = |options| classifier.run(inputs.iter().map(texts), &options).unwrap();
            let best = run(options);
            let top_k = None;
            for ((best, all), expected) in best
                .iter()
                .zip(run(options!(ClassifyOptions { top_k, ..options })))
                .zip(&expected)
            {
                let function = options.function.or(model.config().score_function);
                let logits = function == Some(ScoreFunction::None);
                assert_eq!(best.len(), expected.len(), "{case:?}");
                assert_eq!(best[..], all[..best.len()], "{case:?}");
                check(&all, expected, logits, &case);
            }
            compared += best.len();
        }
    }
    println!("{compared} answers, {refused} refusals, {passed_over} calls that rq doesn't know");
    assert!(compared > 150 && refused <= 2 && passed_over <= 15);
}

#[test]
fn classes_by_labels_of_ones_own_are_those_of_transformers() {
    for (name, cases) in goldens("zero-shot-classification") {
        let model = q8(&name);
        let mut session = session(&model);
        for case in cases {
            let labels = match &case.options["candidate_labels"] {
                Value::String(labels) => {
                    labels.split(',').map(str::trim).map(Value::from).collect()
                }
                labels => list(labels),
            };
            let labels: Vec<&str> = labels
                .iter()
                .map(|label| label.as_str().unwrap())
                .filter(|label| !label.is_empty())
                .collect();
            let template = case.options.get("hypothesis_template");
            let template = template.map_or(<ZeroShot>::TEMPLATE, |t| t.as_str().unwrap());
            let options = options!(ZeroShotOptions {
                multi_label: case.options.get("multi_label") == Some(&json!(true)),
                // The pipeline always does.
                truncate: true,
            });
            let sequences = list(&case.sequences);
            let sequences: Vec<&str> = sequences.iter().map(|s| s.as_str().unwrap()).collect();
            let found = ZeroShot::new(&mut session, &labels, template)
                .and_then(|mut task| task.run(sequences.iter().copied(), &options));
            let Some(result) = &case.result else {
                let words = case.error.as_deref().unwrap();
                let same = match found.unwrap_err() {
                    Error::Template { .. } => words.contains("was not able to be formatted"),
                    Error::NoLabels | Error::NothingToClassify => {
                        words.contains("at least one label and at least one sequence")
                    }
                    error => panic!("{error:?}: {case:?}"),
                };
                assert!(same, "{case:?}");
                continue;
            };
            for ((found, expected), text) in found.unwrap().iter().zip(list(result)).zip(sequences)
            {
                let expected: GoldenZeroShot = serde_json::from_value(expected).unwrap();
                assert_eq!(expected.sequence, text);
                let expected: Vec<GoldenLabel> = expected
                    .labels
                    .into_iter()
                    .zip(expected.scores)
                    .map(|(label, score)| GoldenLabel { label, score })
                    .collect();
                assert_eq!(found.len(), expected.len(), "{case:?}");
                check(found, &expected, false, &case);
            }
        }
    }
}

#[test]
fn a_batch_gives_what_single_texts_give_on_every_instruction_set() {
    for (name, cases) in goldens("text-classification") {
        let model = q8(&name);
        let inputs: Vec<Value> = cases.iter().flat_map(|case| list(&case.inputs)).collect();
        let inputs = inputs.iter().filter(|input| !input.is_array());
        let inputs: Vec<Texts<'_>> = inputs.map(texts).collect();
        for function in [ScoreFunction::Softmax, ScoreFunction::Sigmoid] {
            let options = options!(ClassifyOptions {
                function: Some(function),
                truncate: true,
            });
            let mut expected: Option<Vec<Vec<LabelScore>>> = None;
            for isa in Isa::ALL {
                let Ok(session) = session_on(&model, isa, 2) else {
                    continue;
                };
                let mut classifier = Classifier::new(session).unwrap();
                let together = classifier.run(inputs.iter().cloned(), &options).unwrap();
                let one = |text: &Texts<'_>| classifier.run_one(text.clone(), &options);
                let alone: Vec<_> = inputs.iter().map(one).collect::<Result<_, _>>().unwrap();
                assert_eq!(together, alone, "{name} {isa:?}");
                assert_eq!(*expected.get_or_insert(together), alone, "{name} {isa:?}");
            }
        }
    }
}

#[test]
fn entailment_is_found_by_its_name() {
    let nli = q8("data/tasks/nli");
    let task = ZeroShot::new(session(&nli), &["sports"], "{}").unwrap();
    assert_eq!(
        (task.entailment(), task.entailment_is_named()),
        ("ENTAILMENT", true)
    );
    let other = q8("data/tasks/topics");
    let task = ZeroShot::new(session(&other), &["sports"], "{}").unwrap();
    assert_eq!(
        (task.entailment(), task.entailment_is_named()),
        ("money", false)
    );

    let one = q8("data/tasks/relevance");
    let error = ZeroShot::new(session(&one), &["sports"], "{}").unwrap_err();
    assert!(matches!(error, Error::NoEntailment));
    for labels in [&[][..], &[" "], &["sports", ""]] {
        let error = ZeroShot::new(session(&nli), labels, "{}").unwrap_err();
        assert!(matches!(error, Error::NoLabels), "{labels:?}");
    }
    let tagger = q8("data/tasks/tags");
    for error in [
        ZeroShot::new(session(&tagger), &["sports"], "{}").unwrap_err(),
        Classifier::new(session(&tagger)).unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .ends_with("has the head token_classification"),
            "{error}"
        );
    }
}

#[test]
fn long_texts_are_refused_or_cut() {
    let model = q8("data/tasks/nli");
    let topics = |model, labels: &[&str]| {
        ZeroShot::new(session(model), labels, <ZeroShot>::TEMPLATE).unwrap()
    };
    let text = "The boy was reading in the library all day. ".repeat(40);
    let task = topics(&model, &["sports", &text[..400]]);
    let options = ZeroShotOptions::default();
    let error = task.prepare(&text, &options).unwrap_err();
    assert!(
        matches!(error, Error::TooLong { limit: 128, .. }),
        "{error:?}"
    );
    let truncate = options!(ZeroShotOptions {
        truncate: true,
        ..options
    });
    assert!(task.prepare(&text, &truncate).is_ok());
    let mut task = topics(&model, &["sports", &text]);
    let error = task.prepare(&text, &truncate).unwrap_err();
    assert!(
        matches!(error, Error::HypothesisTooLong { .. }),
        "{error:?}"
    );

    // What other tasks and models prepared is refused, and no more.
    let short = topics(&model, &["sports"]);
    let prepared = short.prepare("I saw a nurse.", &options).unwrap();
    let error = task.compute(std::slice::from_ref(&prepared), &options);
    assert!(matches!(error, Err(Error::OtherLabels)));
    let other = q8("data/tasks/emotions");
    let answer = topics(&other, &["sports"]).compute(&[prepared], &options);
    assert!(
        matches!(answer, Err(Error::TokenRange { .. })),
        "{answer:?}"
    );
}
