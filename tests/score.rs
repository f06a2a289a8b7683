//! Scores of texts against those of transformers' models: `goldens/tasks/score.json`, with 8-bit models.

use crate::common;
use crate::common::{convert_to, model, session, tests_path};
use rq::{Error, Model, Score, ScoreMethod, ScoreOptions, Scorer, Session, SessionOptions, Task};
use rq_convert::Quant;
use serde::Deserialize;

/// How far the logarithm of a token's probability may be from that of fp32, in nats, and how far on average. A probability of
/// 8 bits is within 2e-2 of that of fp32, which says little of the logarithm of a small one: these bounds were measured, and
/// rounded up.
const TOLERANCE: f64 = 0.15;
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

fn converted(model: &str) -> Model {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    convert_to(&tests_path(model), Quant::Q8, &output);
    Model::from_bytes(std::fs::read(output).unwrap()).unwrap()
}

fn options(method: ScoreMethod) -> ScoreOptions {
    ScoreOptions {
        method,
        truncate: false,
    }
}

#[test]
fn the_scores_of_transformers() {
    for name in MODELS {
        let model = converted(name);
        let mut session = session(&model);
        let task = Scorer::new(&model).unwrap();
        for method in METHODS {
            let (mut sum, mut count, mut most) = (0.0, 0, 0.0_f64);
            let mut score = |text: &str| -> Score {
                task.run_one(&mut session, text, &options(method)).unwrap()
            };
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
        let model = converted(name);
        let mut session = session(&model);
        let task = Scorer::new(&model).unwrap();
        let texts = texts(name);
        for method in METHODS {
            let all = texts.iter().map(String::as_str);
            let together = task.run(&mut session, all, &options(method)).unwrap();
            for (text, together) in texts.iter().zip(together) {
                let alone = task.run_one(&mut session, &**text, &options(method));
                let alone = alone.unwrap();
                assert_eq!(alone, together, "{text:?}");
                assert_eq!(alone.total.to_bits(), together.total.to_bits());
            }
        }
    }
}

#[test]
fn a_text_that_is_empty_or_too_long() {
    let model = converted(MODELS[0]);
    let mut session = session(&model);
    let task = Scorer::new(&model).unwrap();
    let mut options = ScoreOptions::default();
    let empty = task.run_one(&mut session, "", &options).unwrap();
    assert_eq!((empty.total, empty.tokens.len()), (0.0, 0));
    assert_eq!(empty.pseudo_perplexity(), None);

    let long = "the ".repeat(200);
    let error = task.prepare(&long, &options);
    assert!(matches!(error, Err(Error::TooLong { limit: 128, .. })));
    options.truncate = true;
    let cut = task.run_one(&mut session, &*long, &options).unwrap();
    assert_eq!(cut.tokens.len(), 126);
    let perplexity = cut.pseudo_perplexity().unwrap();
    assert!((perplexity.ln() * 126.0 + cut.total).abs() < 1e-9);
}

/// Tokens of a larger vocabulary are an error, not an index out of bounds, also where they are masked.
#[test]
fn texts_of_another_model_are_refused() {
    let (small, large) = (model("sapiens-vh", Quant::Q8), converted(MODELS[0]));
    let [of_small, of_large] = [&small, &large].map(|model| Scorer::new(model).unwrap());
    let options = ScoreOptions::default();
    let text = of_large.prepare("garden", &options).unwrap();
    let error = of_small.compute(&mut session(&small), std::slice::from_ref(&text), &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
    let error = of_large.compute(&mut session(&small), &[text], &options);
    assert!(matches!(error, Err(Error::OtherModel)));
}

/// As they were on the machine where they were written down, on each instruction set that this one has.
#[test]
fn the_same_bits_everywhere() {
    let model = converted(MODELS[0]);
    let task = Scorer::new(&model).unwrap();
    for kernels in rq_kernels::kernels::detected() {
        let options = SessionOptions {
            isa: Some(kernels.isa()),
            threads: Some(1),
        };
        let mut session = Session::new(&model, &options).unwrap();
        let score = |text| task.run_one(&mut session, text, &ScoreOptions::default());
        let totals = ["The cat sat on the mat.", "Crème brûlée"].map(score);
        let bits = totals.map(|score| score.unwrap().total.to_bits());
        assert_eq!(
            bits,
            [0xc032_efed_581e_863c, 0xc050_a2eb_e0d8_ec93],
            "{}",
            kernels.isa()
        );
    }
}

#[cfg(feature = "cli")]
mod command_line {
    use crate::common::command::User;
    use serde_json::Value;
    use std::fs;

    fn user() -> User {
        User::with_model().set("RQ_MODEL", "sapiens-vh")
    }

    fn parse(line: &str) -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn a_person_sees_the_score_and_the_tokens() {
        let user = user();
        let ran = user.rq(&["score", "EVQL", "E", ""]);
        let lines: Vec<&str> = ran.succeeds().lines().collect();
        assert_eq!(lines.len(), 8, "{ran:?}");
        assert_eq!([lines[0], lines[3], lines[6]], ["EVQL", "E", ""]);
        assert!(
            lines[1].starts_with("  -") && lines[1].contains(" nats, 4 tokens, pseudo-perplexity ")
        );
        assert!(
            lines[4].contains(" nats, 1 token, pseudo-perplexity "),
            "{ran:?}"
        );
        assert_eq!(lines[7], "  0.00 nats, 0 tokens");
        let tokens = user.rq(&["score", "--tokens", "EVQL"]);
        let rows: Vec<&str> = tokens.succeeds().lines().collect();
        assert_eq!((rows[0], rows[5]), (lines[0], lines[1]));
        for (row, token) in rows[1..5].iter().zip(["E", "V", "Q", "L"]) {
            assert_eq!(row.split_whitespace().next(), Some(token), "{tokens:?}");
        }
    }

    #[test]
    fn json_has_all_tokens() {
        let user = user();
        let line = user.everywhere(&["score", "--json", "EVQL"]);
        let score = parse(&line);
        let tokens = score["tokens"].as_array().unwrap();
        let logs = tokens
            .iter()
            .map(|token| token["logprob"].as_f64().unwrap());
        assert_eq!(score["score"], logs.fold(0.0, |sum, log| sum + log));
        assert!(line.starts_with(r#"{"score":-"#), "{line}");
        assert_eq!(tokens[1]["token_str"], "V");

        let input = b"EVQL\n{\"text\": \"EVQL\"}\n{\n\"\"\n";
        let ran = user.rq_with(&["score", "--jsonl"], input);
        assert_eq!(ran.code, Some(1));
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let expected = format!(r#"{{"text":"EVQL",{}"#, &line.trim_end()[1..]);
        assert_eq!(lines[..2], [&expected; 2]);
        assert_eq!(parse(lines[2])["line"], 3);
        assert!(parse(lines[3])["pseudo_perplexity"].is_null());
        let l2r = user.rq(&["score", "--json", "--method", "within-word-l2r", "EVQL"]);
        let l2r = parse(l2r.succeeds());
        assert!(l2r["score"] != score["score"]);
        // There is nothing after the last.
        assert_eq!(l2r["tokens"][3], score["tokens"][3]);
    }

    #[test]
    fn pairs_are_compared_and_counted() {
        let user = user();
        let lines = [
            "EVQLVESGG\tEVQLVWWWW",
            r#"{"good": "EVQLVWWWW", "bad": "EVQLVESGG"}"#,
            r#"{"sentence_good": "EVQLVESGG", "sentence_bad": "EVQLVESGG", "UID": "x"}"#,
            "EVQL",
            r#"{"good": "EVQL"}"#,
        ];
        let file = user.at("pairs.jsonl");
        fs::write(&file, lines.join("\n")).unwrap();
        let ran = user.rq(&["score", "--pairs", "-f", &file]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let shown: Vec<&str> = ran.stdout.lines().collect();
        let marks = shown
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| &line[..6]);
        let expected = [
            "> good", "  bad ", "  good", "> bad ", "  good", "  bad ", "accura",
        ];
        assert_eq!(marks.collect::<Vec<_>>(), expected, "{ran:?}");
        // As good as each other isn't right.
        assert_eq!(shown[9], "accuracy 33.3 %: 1 of 3 pairs");
        let said: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(said.len(), 3);
        assert!(
            said[0].contains("line 4: the line isn't a pair: "),
            "{ran:?}"
        );
        assert!(
            said[1].contains("line 5: ") && said[1].contains("missing field `bad`"),
            "{ran:?}"
        );
        assert_eq!(said[2], "rq: 2 of 5 texts could not be processed");

        let ran = user.rq(&["score", "--pairs", "--jsonl", lines[0], lines[1]]);
        assert_eq!(ran.stderr, "rq: accuracy 50.0 %: 1 of 2 pairs\n");
        let records: Vec<Value> = ran.stdout.lines().map(parse).collect();
        assert!(
            ran.stdout
                .starts_with(r#"{"good":"EVQLVESGG","bad":"EVQLVWWWW","score_good":-"#)
        );
        assert_eq!(records[0]["score_good"], records[1]["score_bad"]);
        assert_eq!(
            [&records[0]["correct"], &records[1]["correct"]],
            [true, false]
        );

        user.rq(&["score", "--pairs", lines[0], "EVQL"])
            .fails(&["text 2 of 2", "a tab between"]);
        user.rq(&["score", "--pairs", "--tokens", lines[0]])
            .fails(&["cannot be used"]);
        assert_eq!(user.rq(&["score", "--pairs"]).succeeds(), "");
    }

    #[test]
    fn a_long_text_is_refused_or_cut() {
        let user = user();
        let long = "E".repeat(200);
        user.rq(&["score", &long])
            .fails(&["202 tokens", "at most 144", "--truncate"]);
        let cut = user.rq(&["score", "--truncate", &long]);
        assert!(cut.succeeds().contains("nats, 142 tokens"), "{cut:?}");
    }
}
