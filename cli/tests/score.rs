//! `rq score`.

use crate::common::User;
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
    let sum = logs.fold(0.0, |sum, log| sum + log);
    // JSON's parser rounds in the last place.
    assert!((score["score"].as_f64().unwrap() - sum).abs() < 1e-12);
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
        said[1].contains("line 5: ") && said[1].contains("the field `bad` is missing"),
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
