//! `rq answer`.

use crate::common::{User, data};
use serde_json::{Value, json};
use std::fs;

const CONTEXT: &str = "Anna lives in New York. Peter works as a taxi driver.";
const QUESTIONS: [&str; 2] = ["Where does Anna live?", "What does Peter do?"];

fn user() -> User {
    let user = User::new();
    let output = user.at("answers.rq");
    user.rq(&["convert", &data("tasks/answers"), "-o", &output]);
    user.set("RQ_MODEL", output)
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_person_sees_answers_in_their_context() {
    let user = user();
    let answer = [&["answer", "--context", CONTEXT], &QUESTIONS[..]].concat();
    let ran = user.rq(&answer);
    let lines: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!((lines.len(), lines[2]), (5, ""), "{ran:?}");
    assert_eq!([lines[0], lines[3]], QUESTIONS);
    assert!(lines[1].ends_with(" %  Anna lives in [New York]. Peter works as a taxi driver."));
    assert!(lines[4].ends_with(" %  ...lives in New York. Peter works as a [taxi driver]."));

    let file = user.at("context.txt");
    fs::write(&file, CONTEXT).unwrap();
    let from_file = [&["answer", "--context-file", &file], &QUESTIONS[..]].concat();
    assert_eq!(user.rq(&from_file).succeeds(), ran.stdout);
    let lines = user.rq_with(&answer[..3], QUESTIONS.join("\n").as_bytes());
    assert_eq!(lines.succeeds(), ran.stdout);

    let several = user.rq(&[&answer[..4], &["-k", "9", "--no-answer"]].concat());
    assert_eq!(several.succeeds().lines().count(), 10);
    assert!(several.stdout.contains(" %  (no answer)\n"), "{several:?}");
    let no_blank = |line: &str| line.trim_end() == line;
    assert!(several.stdout.lines().all(no_blank), "{several:?}");
}

#[test]
fn json_is_what_the_pipeline_returns() {
    let user = user();
    let answer = [&["answer", "--json", "-c", CONTEXT], &QUESTIONS[..]].concat();
    let lines = user.everywhere(&answer);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(r#","start":14,"end":22,"answer":"New York"}"#));
    assert!(lines[0].starts_with(r#"{"score":0."#));
    assert_eq!(parse(lines[1])["answer"], "taxi driver");

    let several = user.rq(&[&answer[..5], &["--top-k", "3", "--no-answer"]].concat());
    let several = parse(several.succeeds());
    assert_eq!(several.as_array().unwrap().len(), 3);
    assert_eq!(several[0], parse(lines[0]));
    let none = json!({"score": several[1]["score"], "start": 0, "end": 0, "answer": ""});
    assert_eq!(several[1], none);
}

#[test]
fn json_lines_have_their_own_context_or_the_one_of_all() {
    let user = user();
    let object = format!(r#"{{"question":"{}","context":"{CONTEXT}"}}"#, QUESTIONS[0]);
    let alone = format!(r#"{{"id":7,"question":"{}"}}"#, QUESTIONS[0]);
    let lines = [
        &object,
        &alone,
        QUESTIONS[0],
        "{\"question\":5}",
        "{\"question\":\"\"}",
    ];
    let input = lines.join("\n");

    let ran = user.rq_with(&["answer", "--jsonl"], input.as_bytes());
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr, "rq: 4 of 5 texts could not be processed\n");
    let found: Vec<Value> = ran.stdout.lines().map(parse).collect();
    assert_eq!(found.len(), 5);
    let own = ran.stdout.lines().next().unwrap();
    assert!(own.starts_with(&object[..object.len() - 1]), "{own}");
    let mut fields = found[0].clone();
    let removed = |value: &mut Value, name| value.as_object_mut().unwrap().remove(name);
    assert!(removed(&mut fields, "score").is_some());
    assert_eq!(
        fields,
        json!({"question": QUESTIONS[0], "context": CONTEXT, "start": 14, "end": 22, "answer": "New York"})
    );
    for (i, reason) in [
        (1, "no context"),
        (2, "no context"),
        (3, "in place of a string"),
        (4, "is empty"),
    ] {
        let error = found[i]["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
        assert_eq!(found[i]["line"], i + 1);
        assert!(found[i].get("answer").is_none());
    }

    let ran = user.rq_with(
        &["answer", "--jsonl", "-k", "2", "-c", CONTEXT],
        input.as_bytes(),
    );
    let found: Vec<Value> = ran.stdout.lines().map(parse).collect();
    let mut other = found[1].clone();
    // What else the line has is repeated.
    assert_eq!(removed(&mut other, "id"), Some(json!(7)));
    assert_eq!(other, found[2]);
    assert_eq!(found[1]["question"], QUESTIONS[0]);
    assert!(found[1].get("context").is_none());
    assert_eq!(found[0]["answers"].as_array().unwrap().len(), 2);
    for field in ["score", "start", "end", "answer"] {
        assert_eq!(found[0][field], found[0]["answers"][0][field]);
        assert_eq!(found[0][field], found[1][field]);
    }
}

#[test]
fn what_is_refused() {
    let user = user();
    let (large, binary) = (user.at("large.txt"), user.at("binary.txt"));
    fs::write(&large, "a ".repeat(3 << 20)).unwrap();
    fs::write(&binary, b"a\xff").unwrap();
    user.rq(&["answer", "--context-file", &large, "x"])
        .fails(&["longer than 4 MiB", &large]);
    user.rq(&["answer", "--context-file", &binary, "x"])
        .fails(&["can't read", &binary, "UTF-8"]);
    let missing = user.at("missing.txt");
    let long = "what ".repeat(200);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["x"], &["no context", "--context-file"]),
        (&["--json", "x"], &["no context", "--context-file"]),
        (&["-c", "", "x"], &["context is empty"]),
        (&["-c", "x", ""], &["the question is empty"]),
        (
            &["-c", "x", "--context-file", "y", "z"],
            &["cannot be used"],
        ),
        (
            &["--context-file", &missing, "x"],
            &["can't read", &missing],
        ),
        (&["-c", "x", "-k", "0", "x"], &["--top-k"]),
        (&["-c", "x", &long], &["no room", "shorter question"]),
        (
            &["-c", "x", "--max-seq-len", "129", "x"],
            &["129 tokens", "at most 128"],
        ),
    ];
    for (arguments, parts) in cases {
        user.rq(&[&["answer"], arguments].concat()).fails(parts);
    }
    user.rq(&["fill", "<mask>"])
        .fails(&["question_answering", "`rq answer`"]);
}
