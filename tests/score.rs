//! Scores of texts against those of transformers' models: `goldens/tasks/score.json`, with 8-bit models.

use crate::common::{self, options, q8, session, session_on};
use rq::{Error, Score, ScoreMethod, ScoreOptions, Scorer, Task};
use serde::Deserialize;

/// How far the logarithm of a token's probability may be from that of fp32, in nats, and how far on average. A probability of
/// 8 bits is within 2e-2 of that of fp32, which says little of the logarithm of a small one: these bounds were measured, and
/// rounded up.
const TOLERANCE: f64 = 0.2;
const MEAN_TOLERANCE: f64 = 0.04;
/// Totals of a minimal pair that are nearer to each other than this may change places: a tie.
const MARGIN: f64 = 0.5;

const MODELS: [&str; 2] = ["data/demo-model", "goldens/architectures/bert-mlm"];
const METHODS: [ScoreMethod; 2] = [ScoreMethod::Original, ScoreMethod::WithinWordL2r];

#[derive(Deserialize)]
struct Case {
    model: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Text(Text),
    Pair {
        minimal_pair: [String; 2],
        good: Totals,
        bad: Totals,
    },
}

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    positions: Vec<usize>,
    original: Vec<f64>,
    within_word_l2r: Vec<f64>,
}

#[derive(Deserialize)]
struct Totals {
    original_total: f64,
    within_word_l2r_total: f64,
}

impl Totals {
    fn of(&self, method: ScoreMethod) -> f64 {
        match method {
            ScoreMethod::Original => self.original_total,
            ScoreMethod::WithinWordL2r => self.within_word_l2r_total,
        }
    }
}

fn cases(model: &str) -> Vec<Kind> {
    let cases: Vec<Case> = common::cases("tasks/score.json");
    let cases = cases.into_iter().filter(|case| case.model == model);
    cases.map(|case| case.kind).collect()
}

fn texts(model: &str) -> Vec<String> {
    let text = |kind| match kind {
        Kind::Text(text) => vec![text.text],
        Kind::Pair { minimal_pair, .. } => minimal_pair.to_vec(),
    };
    cases(model).into_iter().flat_map(text).collect()
}

fn options(method: ScoreMethod) -> ScoreOptions {
    options!(ScoreOptions { method })
}

#[test]
fn the_scores_of_transformers() {
    for name in MODELS {
        let mut task = Scorer::new(session(&q8(name))).unwrap();
        for method in METHODS {
            let (mut sum, mut count, mut most) = (0.0, 0, 0.0_f64);
            let mut score = |text: &str| -> Score { task.run_one(text, &options(method)).unwrap() };
            for case in cases(name) {
                match case {
                    Kind::Text(golden) => {
                        let expected = match method {
                            ScoreMethod::Original => &golden.original,
                            ScoreMethod::WithinWordL2r => &golden.within_word_l2r,
                        };
                        let found = score(&golden.text);
                        let ids: Vec<u32> = found.tokens.iter().map(|t| t.token).collect();
                        let at = golden.positions.iter();
                        assert_eq!(ids, at.map(|&i| golden.ids[i]).collect::<Vec<_>>());
                        for (token, expected) in found.tokens.iter().zip(expected) {
                            let difference = (token.log_probability - expected).abs();
                            let probability = token.log_probability.exp() - expected.exp();
                            assert!(
                                difference <= TOLERANCE && probability.abs() <= 0.02,
                                "{method:?}, {expected}: {token:?} of {golden:?}"
                            );
                            sum += difference;
                            count += 1;
                            most = most.max(difference);
                        }
                        let logs = found.tokens.iter().map(|t| t.log_probability);
                        assert_eq!(found.total, logs.fold(0.0, |sum, log| sum + log));
                    }
                    Kind::Pair {
                        minimal_pair: [good, bad],
                        good: of_good,
                        bad: of_bad,
                    } => {
                        let expected = of_good.of(method) - of_bad.of(method);
                        let found = score(&good).total - score(&bad).total;
                        let same = found.signum() == expected.signum();
                        assert!(same || expected.abs() < MARGIN, "{good} {found} {expected}");
                    }
                }
            }
            let mean = sum / f64::from(count);
            println!("{name}, {method:?}: {mean:.4} nats away on average, {most:.4} at most");
            assert!(mean <= MEAN_TOLERANCE, "{name}, {method:?}: {mean}");
        }
    }
}

#[test]
fn a_batch_gives_the_bits_of_single_texts() {
    for name in MODELS {
        let mut task = Scorer::new(session(&q8(name))).unwrap();
        let texts = texts(name);
        for method in METHODS {
            let all = texts.iter().map(String::as_str);
            let together = task.run(all, &options(method)).unwrap();
            for (text, together) in texts.iter().zip(together) {
                let alone = task.run_one(&**text, &options(method));
                let alone = alone.unwrap();
                assert_eq!(alone, together, "{text:?}");
                assert_eq!(alone.total.to_bits(), together.total.to_bits());
            }
        }
    }
}

#[test]
fn a_text_that_is_empty_or_too_long() {
    let mut task = Scorer::new(session(&q8(MODELS[0]))).unwrap();
    let mut options = ScoreOptions::default();
    let empty = task.run_one("", &options).unwrap();
    assert_eq!((empty.total, empty.tokens.len()), (0.0, 0));
    assert_eq!(empty.pseudo_perplexity(), None);

    let long = "the ".repeat(200);
    let error = task.prepare(&long, &options);
    assert!(matches!(error, Err(Error::TooLong { limit: 128, .. })));
    options.truncate = true;
    let cut = task.run_one(&*long, &options).unwrap();
    assert_eq!(cut.tokens.len(), 126);
    let perplexity = cut.pseudo_perplexity().unwrap();
    assert!((perplexity.ln() * 126.0 + cut.total).abs() < 1e-9);
}

/// Tokens of a larger vocabulary are an error, not an index out of bounds, also where they are masked.
#[test]
fn texts_of_another_model_are_refused() {
    let [mut of_small, of_large] =
        ["data/sapiens-vh", MODELS[0]].map(|name| Scorer::new(session(&q8(name))).unwrap());
    let options = ScoreOptions::default();
    let text = of_large.prepare("garden", &options).unwrap();
    let error = of_small.compute(&[text], &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
}

/// As they were on the machine where they were written down, on each instruction set that this one has.
#[test]
fn the_same_bits_everywhere() {
    let model = q8(MODELS[0]);
    for kernels in rq_kernels::kernels::detected() {
        let session = session_on(&model, kernels.isa(), 1).unwrap();
        let mut task = Scorer::new(session).unwrap();
        let score = |text| task.run_one(text, &ScoreOptions::default());
        let totals = ["The cat sat on the mat.", "Crème brûlée"].map(score);
        let bits = totals.map(|score| score.unwrap().total.to_bits());
        assert_eq!(
            bits,
            [0xc033_1d38_4b7d_b4ee, 0xc050_9c03_c557_df8d],
            "{}",
            kernels.isa()
        );
    }
}
