//! `rq fill --joint` and `--targets`.

use crate::common::{User, data};
use serde_json::Value;

const TEXT: &str = "The <mask> sat on the <mask>.";
const ONE: &str = "They went to the <mask> in the morning.";
const TARGETS: &str = " railway station, garden";

fn user() -> User {
    let user = User::new();
    user.rq(&["convert", &data("demo-model")]).succeeds();
    user.set("RQ_MODEL", "demo-model")
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn combinations_are_a_table_or_json() {
    let user = user();
    let line = user.everywhere(&["fill", "--joint", "--json", "-k", "3", TEXT]);
    let fillings = parse(&line);
    assert_eq!(fillings.as_array().unwrap().len(), 3);
    let best = &fillings[0];
    assert_eq!(best["token_str"].as_array().unwrap().len(), 2);
    let words: Vec<&str> = best["token_str"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    let sequence = format!("The{} sat on the{}.", words[0], words[1]);
    assert_eq!(best["sequence"], sequence);

    let ran = user.rq(&["fill", "--joint", "-k", "3", TEXT]);
    let rows: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!(
        (rows.len(), rows[0], rows[4]),
        (5, TEXT, &*sequence),
        "{ran:?}"
    );
    let first: Vec<&str> = rows[1].split_whitespace().take(2).collect();
    assert_eq!(first, words.iter().map(|w| w.trim()).collect::<Vec<_>>());

    let input = format!("{TEXT}\nnone\n");
    let ran = user.rq_with(&["fill", "--joint", "--jsonl", "-k", "3"], input.as_bytes());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines[0],
        format!(r#"{{"text":"{TEXT}","fillings":{}}}"#, line.trim_end())
    );
    assert_eq!(parse(lines[1])["line"], 2);
}

#[test]
fn targets_of_several_tokens_are_compared() {
    let user = user();
    let targets = ["fill", "--whole-targets", "--targets", TARGETS];
    let line = user.everywhere(&[&targets[..], &["--json", ONE]].concat());
    let list = parse(&line);
    assert_eq!(list[0]["target"], " garden");
    assert_eq!(list[1]["target"], " railway station");
    assert_eq!(list[1]["token"].as_array().unwrap().len(), 2);
    assert_eq!(
        list[1]["sequence"],
        "They went to the railway station in the morning."
    );

    let ran = user.rq(&[&targets[..], &[ONE]].concat());
    let rows: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!(rows.len(), 4, "{ran:?}");
    assert!(rows[2].starts_with("  railway station  "), "{ran:?}");
    assert_eq!(rows[3], "They went to the garden in the morning.");

    let lines = user.rq(&[&targets[..], &["--jsonl", ONE, TEXT]].concat());
    let lines: Vec<Value> = lines.succeeds().lines().map(parse).collect();
    assert_eq!(lines[0]["masks"], Value::Array(vec![list]));
    assert_eq!(lines[1]["masks"].as_array().unwrap().len(), 2);
    let ran = user.rq(&[&targets[..], &[TEXT]].concat());
    assert_eq!(ran.succeeds().lines().nth(4), Some("  mask 2"), "{ran:?}");
}

#[test]
fn options_that_do_not_go_together() {
    let user = user();
    let cases: [(&[&str], &str); 6] = [
        (
            &["--joint", "--whole-targets", "--targets", "x"],
            "cannot be used",
        ),
        (&["--whole-targets"], "--targets"),
        (
            &["--whole-targets", "--targets", "x", "--exclude-special"],
            "cannot be used",
        ),
        (&["--whole-targets", "--targets", ""], "none of the targets"),
        (&["--beam", "3"], "--joint"),
        (&["--joint", "--beam", "0"], "--beam"),
    ];
    for (arguments, part) in cases {
        user.rq(&[&["fill"], arguments, &[TEXT]].concat())
            .fails(&[part]);
    }
    let special = user.rq(&[
        "fill",
        "--json",
        "--exclude-special",
        "--targets",
        "<s>,Ġgarden",
        ONE,
    ]);
    assert_eq!(parse(special.succeeds()).as_array().unwrap().len(), 1);
}
