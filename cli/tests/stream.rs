//! Reading texts, which all commands share, tested with `rq fill`: sources, wrong lines, and constant memory.

use crate::common::{Ran, User, data};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const FORMATS: [&[&str]; 3] = [&["fill"], &["fill", "--json"], &["fill", "--jsonl"]];
const TEXTS: [&str; 4] = ["EVQL<mask>ESGG", "<mask>VQL", "EV<mask>L<mask>", "<mask>"];

/// How long an answer may take, on a machine with a lot else to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn user() -> User {
    User::with_model().set("RQ_MODEL", "sapiens-vh")
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A command at work: lines go in, and lines come out.
struct Running {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Running {
    fn start(user: &User, arguments: &[&str]) -> Self {
        let mut child = user.spawn(arguments);
        let input = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, output) = channel();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        Self {
            child,
            input,
            output,
        }
    }

    /// Writes lines while the answers to them are read.
    fn answers(&mut self, lines: &[impl AsRef<[u8]> + Sync]) -> Vec<String> {
        let (input, output) = (&mut self.input, &self.output);
        thread::scope(|scope| {
            scope.spawn(move || {
                for line in lines {
                    input.write_all(line.as_ref()).unwrap();
                    input.write_all(b"\n").unwrap();
                }
            });
            let answers = lines.iter().map(|_| output.recv_timeout(PATIENCE));
            answers.collect::<Result<_, _>>().expect("an answer a line")
        })
    }

    /// The most memory that it has had so far, in KiB.
    fn peak(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Ends the input, and waits for what remains to be said.
    fn end(self, arguments: &[&str]) -> Ran {
        drop(self.input);
        Ran::new(arguments, self.child.wait_with_output().unwrap())
    }
}

#[test]
fn texts_come_from_arguments_a_file_or_standard_input() {
    let user = user();
    let file = user.at("texts.txt");
    for fill in FORMATS {
        let arguments = user.rq(&[fill, &TEXTS].concat());
        let expected = arguments.succeeds();
        let lines = [
            TEXTS.join("\n"),
            TEXTS.join("\r\n") + "\r\n",
            format!("\u{feff}{}\n", TEXTS.join("\n")),
        ];
        for lines in lines {
            let ran = user.rq_with(fill, lines.as_bytes());
            assert_eq!(ran.succeeds(), expected);
            fs::write(&file, lines).unwrap();
            for flag in ["--file", "-f"] {
                let ran = user.rq(&[fill, &[flag, &file]].concat());
                assert_eq!(ran.succeeds(), expected);
            }
        }
        // One by one.
        let each = TEXTS.map(|text| user.rq(&[fill, &[text]].concat()).succeeds().to_owned());
        let between = if fill.len() == 1 { "\n" } else { "" };
        assert_eq!(each.join(between), expected);
        assert_eq!(user.rq(fill).succeeds(), "", "no text, no answer");
    }
}

#[test]
fn json_lines_are_objects_strings_or_texts() {
    let user = user();
    let given = [
        r#"{"text": "EVQL<mask>ESGG", "id": 7}"#,
        r#""\u003cmask>VQL""#,
        "EV<mask>L<mask>",
        r#"{"label":null,"text":"<mask>"}"#,
    ];
    let ran = user.rq_with(&["fill", "--jsonl"], given.join("\n").as_bytes());
    let texts = user.rq(&[&["fill", "--jsonl"][..], &TEXTS].concat());
    let others = ran.succeeds().replace(r#""id":7,"#, "");
    let others = others.replace(r#""label":null,"#, "");
    assert_eq!(others, texts.succeeds());

    let lists = user.rq(&[&["fill", "--json"][..], &TEXTS].concat());
    let lists = lists.succeeds().lines();
    for ((line, list), text) in texts.stdout.lines().zip(lists).zip(TEXTS) {
        let one_mask = text.matches("<mask>").count() == 1;
        let masks = if one_mask {
            format!("[{list}]")
        } else {
            list.to_owned()
        };
        assert_eq!(line, format!(r#"{{"text":"{text}","masks":{masks}}}"#));
    }

    // Without the flag, what looks like JSON is a text; so is an argument.
    let object = given[0];
    let line = user.rq_with(&["fill"], object.as_bytes());
    assert!(line.succeeds().starts_with(object), "{line:?}");
    let argument = user.rq(&["fill", "--jsonl", object]);
    assert_eq!(json(argument.succeeds())["text"], object);
}

/// The fields of a JSON object, in alphabetical order; none of anything else.
fn fields_of(line: &[u8]) -> Vec<String> {
    let object: Option<serde_json::Map<String, Value>> = serde_json::from_slice(line).ok();
    let fields = object.into_iter().flatten();
    fields.map(|(name, _)| name).collect()
}

/// Lines of which every other can't be filled: the line, the text if there is one, and a part of the reason.
type Refused<'a> = (&'a [u8], Option<&'a str>, &'a str);

#[test]
fn other_fields_of_a_line_are_repeated_as_they_are_written() {
    let user = user();
    let given = [
        r#"{"id": 12345678901234567890123, "text": "<mask>VQL", "w": 1.10e+05, "tags": [ "a b", {"x" : null} ]}"#,
        r#"{"masks": 1, "text": "EV<mask>", "line": 7, "error": "of another run"}"#,
        r#"{"id": 0.10, "text": "EVQL", "error": 1, "line": 7, "masks": [ ]}"#,
        r#"{"id": -0, "sequence": "EV<mask>"}"#,
        r#"{"id": "\u0061", "text": 5, "id": 2}"#,
    ];
    let ran = user.rq_with(&["fill", "--jsonl", "-k", "1"], given.join("\n").as_bytes());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let masks = |text| {
        let ran = user.rq(&["fill", "--json", "-k", "1", text]);
        format!("\"masks\":[{}]}}", ran.succeeds().trim())
    };
    let start = r#"{"id":12345678901234567890123,"text":"<mask>VQL","w":1.10e+05,"tags":["a b",{"x":null}],"#;
    assert_eq!(lines[0], format!("{start}{}", masks("<mask>VQL")));
    let start = r#"{"text":"EV<mask>","line":7,"#;
    assert_eq!(lines[1], format!("{start}{}", masks("EV<mask>")));
    let starts = [
        // Its own `line` stays.
        r#"{"id":0.10,"text":"EVQL","line":7,"masks":[],"error":"no mask token found"#,
        r#"{"id":-0,"sequence":"EV<mask>","error":"the line isn't the expected JSON: the field `text` is missing"#,
        r#"{"id":"\u0061","text":5,"id":2,"error":"the line isn't the expected JSON: there is the number 5"#,
    ];
    for ((line, start), number) in lines[2..].iter().zip(starts).zip(3..) {
        assert!(line.starts_with(start), "{line}");
        let has_number = line.ends_with(&format!(",\"line\":{number}}}"));
        assert_eq!(has_number, !start.contains("\"line\""), "{line}");
    }
    let ran = user.rq_with(
        &["similar", "--jsonl", "EVQL"],
        br#"{"id": 1.0, "text": "EVQL", "line": "x"}"#,
    );
    let line = ran.succeeds();
    let start = r#"{"id":1.0,"text":"EVQL","line":1,"score":"#;
    assert!(line.starts_with(start), "{line}");
}

/// Checks what each format makes of lines that can't be filled, between some that can.
fn check_refused(user: &User, formats: &[&[&str]], refused: &[Refused<'_>]) {
    let mut input = Vec::new();
    for (i, (line, ..)) in refused.iter().enumerate() {
        input.extend_from_slice(line);
        input.extend_from_slice(b"\n");
        input.extend_from_slice(TEXTS[i % 4].as_bytes());
        input.extend_from_slice(b"\n");
    }
    let file = user.at("lines.txt");
    fs::write(&file, &input).unwrap();
    let good: Vec<&str> = TEXTS.iter().copied().cycle().take(refused.len()).collect();
    let summary = format!(
        "rq: {} of {} texts could not be processed",
        refused.len(),
        2 * refused.len()
    );
    for fill in formats {
        let answers = user.rq(&[fill, &good[..]].concat());
        let answers = answers.succeeds();
        for (place, ran) in [
            ("standard input", user.rq_with(fill, &input)),
            (&*file, user.rq(&[*fill, &["-f", &file]].concat())),
        ] {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            let said: Vec<&str> = ran.stderr.lines().collect();
            assert_eq!(said.last(), Some(&summary.as_str()), "{ran:?}");
            if fill.len() == 1 {
                assert_eq!(ran.stdout, answers);
                assert_eq!(said.len(), refused.len() + 1, "{ran:?}");
                for (i, (said, (.., reason))) in said.iter().zip(refused).enumerate() {
                    let start = format!("rq: {place}, line {}: ", 2 * i + 1);
                    assert!(said.starts_with(&start), "{said}");
                    assert!(said.contains(reason), "{said}");
                }
                continue;
            }
            assert_eq!(said.len(), 1, "{ran:?}");
            let lines: Vec<&str> = ran.stdout.lines().collect();
            let odd: Vec<&str> = lines.iter().copied().skip(1).step_by(2).collect();
            assert_eq!(odd.join("\n") + "\n", answers);
            for (i, (line, (_, text, reason))) in lines.iter().step_by(2).zip(refused).enumerate() {
                let record = json(line);
                let error = record["error"].as_str().unwrap();
                assert!(error.contains(reason), "{line}");
                assert_eq!(record["line"], 2 * i + 1);
                let text = text.filter(|_| fill[1] == "--jsonl");
                assert_eq!(record["text"].as_str(), text, "{line}");
                let mut expected = vec!["error".to_owned(), "line".to_owned()];
                match text {
                    Some(_) => expected.push("text".to_owned()),
                    // Of an object that has no text, what it has.
                    None if fill[1] == "--jsonl" => expected.extend(fields_of(refused[i].0)),
                    None => {}
                }
                assert_eq!(fields_of(line.as_bytes()), expected, "{line}");
            }
        }
    }
}

#[test]
fn a_line_that_cannot_be_filled_has_an_error_in_its_place() {
    let user = user();
    let residues = "E".repeat(200);
    let masked = format!("<mask>{residues}");
    // Three of them are longer than what is read at once.
    let too_long = "EV<mask>".repeat(140_000);
    let refused: [Refused<'_>; 6] = [
        (b"EVQL", Some("EVQL"), "no mask token"),
        (b"", Some(""), "the text is empty"),
        (b"EV\xff<mask>", None, "the line isn't UTF-8, at byte 3"),
        (masked.as_bytes(), Some(&masked), "at most 144"),
        (too_long.as_bytes(), None, "longer than 1 MiB"),
        (b"\r", Some(""), "the text is empty"),
    ];
    check_refused(&user, &FORMATS, &refused);

    let refused: [Refused<'_>; 6] = [
        (b"{\"text\": \"<mask>", None, "it ends within the JSON"),
        (b"{\"text\": \"EVQL\"}", Some("EVQL"), "no mask token"),
        (
            b"{\"sequence\": \"<mask>\"}",
            None,
            "the field `text` is missing",
        ),
        (
            b"{\"text\": [\"<mask>\"]}",
            None,
            "an array, in place of a string",
        ),
        (b"\"<mask>\" EVQL", None, "something follows the JSON"),
        (b"{\"text\": \"<mask>\xff\"}", None, "UTF-8"),
    ];
    check_refused(&user, &FORMATS[2..], &refused);
}

/// A model of which one weight is damaged, which only long texts meet.
#[test]
fn a_line_that_the_model_has_no_number_for_has_an_error_in_its_place() {
    let user = user();
    let models = fs::read_dir(user.path("data")).unwrap();
    let file = models.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let model = rq_format::ModelFile::from_bytes(bytes.clone()).unwrap();
    let table = model.tensor("embeddings.position").unwrap();
    let row = model.config().position_offset + 50;
    let at = table.offset as usize + row * table.columns.next_multiple_of(16) * 4;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();

    let long = "E".repeat(70) + "<mask>";
    let refused: Refused<'_> = (
        long.as_bytes(),
        Some(&long),
        "isn't a finite number, in the embeddings at token 50: its weights are damaged or too large: `rq verify`",
    );
    check_refused(&user, &FORMATS, &[refused; 3]);
    let texts = ["fill", TEXTS[0], &long];
    user.rq(&texts).fails(&["text 2 of 2: ", refused.2]);
}

#[test]
fn texts_in_utf16_are_refused_and_their_encoding_named() {
    let user = user();
    let file = user.at("texts.txt");
    // As PowerShell's `>` writes it, and without its mark; a masked text, which no command takes for another reason.
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let texts: [(Vec<u8>, _); 2] = [
        (utf16("\u{feff}EV<mask>QL\r\n"), "`iconv -f UTF-16 -t"),
        (utf16("EV<mask>QL\r\n"), "`iconv -f UTF-16LE -t"),
    ];
    let (model, to) = (data("sapiens-vh"), user.at("to.rq"));
    let calibrate = format!("--calibrate={file}");
    let against = user.path("data/sapiens-vh.rq");
    let against = against.to_str().unwrap();
    for (text, advice) in texts {
        fs::write(&file, &text).unwrap();
        for arguments in [
            &["fill"][..],
            &["fill", "--jsonl"],
            &["fill", "--joint"],
            &["embed"],
            &["score"],
            &["similar", "EVQL"],
        ] {
            user.rq_with(arguments, &text)
                .fails(&["can't read standard input: it is UTF-16", advice]);
            user.rq(&[arguments, &["--file", &file]].concat()).fails(&[
                "can't read",
                &file,
                advice,
                "PowerShell",
            ]);
        }
        for arguments in [
            &["eval", against, "--against", &model, "--text", &file][..],
            &["answer", "--context-file", &file, "Where?"],
            &["convert", &model, &calibrate, "-o", &to],
        ] {
            user.rq(arguments).fails(&["can't read", &file, advice]);
        }
    }
    assert!(!user.path("to.rq").exists());
}

#[test]
fn each_answer_comes_before_the_next_text() {
    let user = user();
    for fill in &FORMATS[1..] {
        let mut running = Running::start(&user, fill);
        for text in TEXTS.iter().chain(&["EVQL"]).chain(&TEXTS) {
            let answer = running.answers(&[text]).remove(0);
            assert_eq!(answer.contains("\"error\""), *text == "EVQL", "{answer}");
        }
        let ran = running.end(fill);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.stderr, "rq: 1 of 9 texts could not be processed\n");
    }
}

#[test]
fn ten_thousand_lines_take_the_memory_of_a_thousand() {
    const COUNT: usize = 10_000;
    const BAD: usize = 7_654;
    const SLACK: u64 = 4 << 10;
    let user = user();
    let texts: Vec<String> = (0..23)
        .map(|i| format!("{}<mask>{}", "EV".repeat(i), "QL".repeat(i * i % 17)))
        .collect();
    // Far more of them would be held than the slack, if any were.
    let fill = ["fill", "--jsonl", "-k", "25", "--threads", "2"];
    let arguments: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = user.rq(&[&fill[..], &arguments].concat());
    let expected: Vec<&str> = expected.succeeds().lines().collect();

    let mut lines: Vec<&str> = arguments.iter().copied().cycle().take(COUNT).collect();
    lines[BAD - 1] = "{";
    let mut running = Running::start(&user, &fill);
    let mut answers = running.answers(&lines[..1000]);
    let before = running.peak();
    answers.extend(running.answers(&lines[1000..]));
    let after = running.peak();
    for (i, answer) in answers.iter().enumerate() {
        match i + 1 {
            BAD => assert_eq!(json(answer)["line"], BAD),
            _ => assert_eq!(answer, expected[i % expected.len()], "line {}", i + 1),
        }
    }
    // Nor is a line kept that is too long: not even in part, and it can be longer than the memory.
    let too_long = vec![b'E'; 64 << 20];
    let answers = running.answers(&[&too_long[..], b"<mask>"]);
    assert!(json(&answers[0])["error"].is_string());
    assert!(json(&answers[1])["masks"].is_array());
    let at_last = running.peak();
    let ran = running.end(&fill);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr, "rq: 2 of 10,002 texts could not be processed\n");

    let (Some(before), Some(after), Some(at_last)) = (before, after, at_last) else {
        println!("SKIP: no /proc/PID/status to say how much memory was taken");
        return;
    };
    println!("{before} KiB after 1,000 lines, {after} after 10,000, {at_last} after a long one");
    assert!(after <= before + SLACK, "{before} KiB, then {after}");
    assert!(at_last <= after + SLACK, "{after} KiB, then {at_last}");
}

#[test]
fn inputs_that_are_refused() {
    let user = user();
    let missing = user.at("missing.txt");
    let directory = user.at("");
    let cases: [(&[&str], &[&str]); 5] = [
        (&["-f", &missing], &["can't read", &missing]),
        (&["-f", &directory], &["can't read", &directory]),
        (&["-f", &missing, "<mask>"], &["--file", "cannot be used"]),
        (&["--json", "--jsonl"], &["--jsonl", "cannot be used"]),
        (&["--jsonl", "<mask>", "E"], &["text 2 of 2: no mask token"]),
    ];
    for (arguments, parts) in cases {
        user.rq(&[&["fill"], arguments].concat()).fails(parts);
    }
    // What is wrong with the options is wrong with all texts.
    user.rq_with(&["fill", "-k", "26"], b"EVQL\n<mask>\n")
        .fails(&["26 best", "only 25"]);
}

#[test]
fn a_reader_may_leave_in_the_middle_of_an_answer() {
    let user = user();
    let text = format!("{}\n", "<mask>".repeat(100)).repeat(4);
    for fill in FORMATS {
        let mut child = user.spawn(fill);
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        // The first of far more bytes than a pipe holds.
        output.fill_buf().unwrap();
        drop(output);
        let ran = Ran::new(fill, child.wait_with_output().unwrap());
        assert_eq!(ran.succeeds(), "");
    }
}
