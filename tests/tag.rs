//! Tagging against transformers' pipeline: `goldens/tasks/tag.json`, with models in q8.

use crate::common::{self, options, q8, session, session_on};
use rq::{Aggregation, Entity, Error, Isa, TagOptions, Tagger, Task};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// How far a quantized model's score may be from that of fp32.
const TOLERANCE: f32 = 0.02;
/// The same for models of random weights, which are sure of nothing: of logits, of which a probability p moves by p (1 - p)
/// times as much.
const RANDOM_LOGIT_TOLERANCE: f32 = 0.25;
/// Where the best two labels of a token are closer than this in fp32, 8 bits may choose the other, and a word or an entity
/// becomes another: such texts are compared only as far as [`Golden::check_loosely`] does. With the probabilities of fp32
/// they are compared exactly, in the tests of `src/tasks/tag`.
const TIE: f32 = 0.06;
/// The same where the tokens of a word are weighed against each other: what that is decided by may be closer than the labels
/// of each.
const TIE_OF_WORDS: f32 = 0.25;

/// One call of the pipeline, and what it gave.
#[derive(Debug, Deserialize)]
struct Golden {
    model: String,
    inputs: Value,
    options: HashMap<String, Value>,
    result: Option<Value>,
    error: Option<String>,
    margin: Option<f32>,
}

#[derive(Clone, Debug, Deserialize)]
struct GoldenEntity {
    #[serde(alias = "entity_group")]
    entity: String,
    score: f32,
    index: Option<usize>,
    word: String,
    start: usize,
    end: usize,
}

fn goldens() -> Vec<(String, Vec<Golden>)> {
    let cases: Vec<Golden> = common::cases("tasks/tag.json");
    common::by_model(cases, |case| &case.model)
}

impl Golden {
    fn texts(&self) -> Vec<&str> {
        match &self.inputs {
            Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap()).collect(),
            text => vec![text.as_str().unwrap()],
        }
    }

    /// The options, as far as `rq` has them.
    fn options(&self) -> Option<TagOptions> {
        let mut options = options!(TagOptions {
            aggregation: Aggregation::None,
        });
        for (name, value) in &self.options {
            match (name.as_str(), value) {
                ("aggregation_strategy", Value::String(name)) => {
                    options.aggregation = aggregation(name);
                }
                ("stride", value) => options.stride = Some(value.as_u64().unwrap() as usize),
                ("ignore_labels", Value::Array(labels)) => {
                    let labels = labels
                        .iter()
                        .map(|label| label.as_str().unwrap().to_owned());
                    options.ignore_labels = labels.collect();
                }
                ("is_split_into_words", _) => return None,
                _ => panic!("{self:?}"),
            }
        }
        Some(options)
    }

    fn entities(&self) -> Option<Vec<Vec<GoldenEntity>>> {
        let result = self.result.clone()?;
        let parse = |value| serde_json::from_value(value).unwrap();
        Some(match &self.inputs {
            Value::Array(_) => parse(result),
            _ => vec![serde_json::from_value(result).unwrap()],
        })
    }

    fn check(&self, found: &[Entity], expected: &[GoldenEntity]) {
        let places = |(found, expected): (&Entity, &GoldenEntity)| {
            found.label == expected.entity
                && found.characters == (expected.start..expected.end)
                && found.word == expected.word
                && found.index == expected.index
                && (found.score - expected.score).abs() <= self.tolerance(expected.score)
        };
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(places),
            "{self:?}\n{found:#?}"
        );
    }

    fn tolerance(&self, probability: f32) -> f32 {
        match self.model.starts_with("goldens/") {
            true => TOLERANCE.max(RANDOM_LOGIT_TOLERANCE * probability * (1.0 - probability)),
            false => TOLERANCE,
        }
    }

    /// That of the entities at least the places of a half are the same.
    fn check_loosely(&self, found: &[Entity], expected: &[GoldenEntity]) {
        let same = |expected: &&GoldenEntity| {
            found
                .iter()
                .any(|found| found.characters == (expected.start..expected.end))
        };
        let same = expected.iter().filter(same).count();
        assert!(2 * same >= expected.len(), "{self:?}\n{found:#?}");
    }
}

fn aggregation(name: &str) -> Aggregation {
    match name {
        "none" => Aggregation::None,
        "simple" => Aggregation::Simple,
        "first" => Aggregation::First,
        "average" => Aggregation::Average,
        "max" => Aggregation::Max,
        _ => panic!("{name}"),
    }
}

const AGGREGATIONS: [Aggregation; 5] = [
    Aggregation::None,
    Aggregation::Simple,
    Aggregation::First,
    Aggregation::Average,
    Aggregation::Max,
];

fn characters(text: &str, entity: &Entity) -> String {
    let wanted = entity.characters.clone();
    text.chars().skip(wanted.start).take(wanted.len()).collect()
}

#[test]
fn entities_are_those_of_transformers() {
    let (mut exact, mut loose, mut refused, mut passed_over) = (0, 0, 0, 0);
    for (name, cases) in goldens() {
        let model = q8(&name);
        let mut tagger = Tagger::new(session(&model)).unwrap();
        for case in cases {
            let Some(options) = case.options() else {
                passed_over += 1;
                continue;
            };
            let texts = case.texts();
            let too_long = |text: &&str| {
                let tokens = model.tokenizer().ids(text, true).unwrap().len();
                tokens > model.config().max_tokens()
            };
            // Without a stride, transformers cuts the text; with one, it doesn't mind that tokens have a number in each
            // window, as long as nobody says that they aren't to be aggregated.
            let tokens = options.aggregation == Aggregation::None;
            if case.error.is_none()
                && texts.iter().any(too_long)
                && (tokens || options.stride.is_none())
            {
                passed_over += 1;
                continue;
            }
            let found = tagger.run(texts.iter().copied(), &options);
            let Some(expected) = case.entities() else {
                let error = found.unwrap_err();
                let same = match options.stride {
                    Some(16) => matches!(error, Error::StrideOfTokens),
                    _ => matches!(error, Error::NoRoom { .. }),
                };
                assert!(same, "{case:?}: {error:?}");
                refused += 1;
                continue;
            };
            for ((found, expected), text) in found.unwrap().iter().zip(&expected).zip(texts) {
                for entity in found {
                    let by_bytes = text.get(entity.bytes.clone()).unwrap();
                    assert_eq!(by_bytes, characters(text, entity));
                }
                let tie = match options.aggregation {
                    Aggregation::Average | Aggregation::Max => TIE_OF_WORDS,
                    _ => TIE,
                };
                match case.margin {
                    Some(margin) if margin < tie => {
                        case.check_loosely(found, expected);
                        loose += 1;
                    }
                    _ => {
                        case.check(found, expected);
                        exact += 1;
                    }
                }
            }
        }
    }
    println!(
        "{exact} texts exactly, {loose} loosely, {refused} refusals, {passed_over} calls that rq doesn't know"
    );
    assert!(exact > 95 && refused == 3 && passed_over <= 4, "{exact}");
}

#[test]
fn a_long_text_is_read_whole() {
    let model = q8("data/tasks/tags");
    let mut tagger = Tagger::new(session(&model)).unwrap();
    // No full stop behind a name: the two would be one word, and the surer of them would decide.
    let text = [
        "Anna Smith lives in New York.",
        "It was a long year.",
        "Peter Okafor works for Acme in Oslo now.",
        "Nobody was surprised.",
        "On Friday, Chlo\u{e9} met Bj\u{f6}rn Lindqvist again.",
        "Many people heard about it.",
    ]
    .join(" ");
    let text = [&*text; 10].join(" ");
    let tokens = model.tokenizer().tokens(&text, None).unwrap();
    assert!(tokens.ids.len() > 5 * model.config().max_tokens());
    for aggregation in AGGREGATIONS {
        let options = options!(TagOptions { aggregation });
        let found = tagger.run_one(&*text, &options).unwrap();
        for two in found.windows(2) {
            assert!(
                two[0].characters.start < two[1].characters.start || two[0].index < two[1].index,
                "{two:?}"
            );
            assert!(
                two[0].bytes.end <= two[1].bytes.start || aggregation == Aggregation::None,
                "{two:?}"
            );
        }
        if aggregation == Aggregation::None {
            for entity in &found {
                let index = entity.index.unwrap();
                let (start, end) = tokens.offsets[index];
                assert_eq!(entity.characters, start..end);
                let word = model.tokenizer().id_to_token(tokens.ids[index]).unwrap();
                assert_eq!(entity.word, word);
            }
        }
        if aggregation != Aggregation::None {
            // None is missed or cut in two where windows meet.
            for name in ["Peter Okafor", "Acme", "Oslo", "Bj\u{f6}rn Lindqvist"] {
                let is_it = |e: &&Entity| text[e.bytes.clone()] == *name;
                let times = found.iter().filter(is_it).count();
                assert_eq!(times, 10, "{name} {aggregation:?} {found:#?}");
            }
        }
    }
}

#[test]
fn a_batch_gives_what_single_texts_give_on_every_instruction_set() {
    for (name, cases) in goldens() {
        let model = q8(&name);
        let mut texts: Vec<&str> = cases.iter().flat_map(Golden::texts).collect();
        texts.sort_unstable();
        texts.dedup();
        for aggregation in AGGREGATIONS {
            let options = options!(TagOptions { aggregation });
            let mut expected: Option<Vec<Vec<Entity>>> = None;
            for isa in Isa::ALL {
                let Ok(session) = session_on(&model, isa, 2) else {
                    continue;
                };
                let mut tagger = Tagger::new(session).unwrap();
                let together = tagger.run(texts.iter().copied(), &options).unwrap();
                let one = |text: &&str| tagger.run_one(*text, &options).unwrap();
                let alone: Vec<_> = texts.iter().map(one).collect();
                let what = format!("{name} {aggregation:?} {isa:?}");
                assert_eq!(together, alone, "{what}");
                assert_eq!(*expected.get_or_insert(together), alone, "{what}");
            }
        }
    }
}

#[test]
fn what_cant_be_tagged_is_refused() {
    let model = q8("data/tasks/tags");
    let other = q8("goldens/architectures/bert-tagger");
    let options = TagOptions::default();
    // Tokens of another model aren't known for what they are, but they never panic.
    let tagger = Tagger::new(session(&model)).unwrap();
    let text = "Anna Smith \u{1f600} lives in New York. ".repeat(20);
    let prepared = tagger.prepare(&text, &options).unwrap();
    let mut of_other = Tagger::new(session(&other)).unwrap();
    let _ = of_other.compute(&[prepared], &options);

    let stride = |stride, aggregation| {
        options!(TagOptions {
            aggregation,
            stride: Some(stride),
        })
    };
    let error = tagger
        .prepare("", &stride(16, Aggregation::None))
        .unwrap_err();
    assert!(matches!(error, Error::StrideOfTokens));
    let error = tagger
        .prepare("", &stride(126, Aggregation::Max))
        .unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }));

    let classifier = q8("data/tasks/topics");
    let error = Tagger::new(session(&classifier)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has the head sequence_classification"),
        "{error}"
    );
}
