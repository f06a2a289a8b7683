//! Tables and JSON lines in and out: `--columns`, `--input-format`, `--out`.

use crate::common::User;
use std::fs;

fn user() -> User {
    User::with_model().set("RQ_MODEL", "sapiens-vh")
}

/// The records of a table with commas, by a reader that isn't rq's.
fn table(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut fields));
            }
            c => field.push(c),
        }
    }
    assert!(!quoted && field.is_empty() && fields.is_empty(), "{text}");
    records
}

const CSV: &str = "\u{feff}id,text,note\r\n007,EVQL<mask>,\"one, \"\"two\"\"\nthree\"\r\n\r\n8,EVQL,\r\n9,<mask>,x,y\r\n1e5,EV<mask>L,é\r\n";

#[test]
fn a_table_keeps_its_columns_and_gets_those_of_the_answer() {
    let user = user();
    fs::write(user.path("a.csv"), CSV).unwrap();
    let run = |options: &[&str]| {
        let ran = user.rq(&[&["fill", "-k", "1", "--file", "a.csv"], options].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran
    };
    let said = run(&["--out", "b.csv"]);
    assert_eq!(said.stdout, "b.csv: 4 rows\n");
    assert_eq!(said.stderr, "rq: 2 of 4 texts could not be processed\n");
    let written = fs::read_to_string(user.path("b.csv")).unwrap();
    let rows = table(&written);
    assert_eq!(rows[0], ["id", "text", "note", "masks", "error"]);
    assert_eq!(rows[1][..3], ["007", "EVQL<mask>", "one, \"two\"\nthree"]);
    assert_eq!(rows[2][..4], ["8", "EVQL", "", ""]);
    assert!(rows[2][4].starts_with("no mask token"), "{rows:?}");
    // The row of too many fields, of which the first tell which it is.
    assert_eq!(rows[3][1..4], ["<mask>", "x", ""]);
    assert!(
        rows[3][4].starts_with("the row has 4 fields, and the header 3"),
        "{rows:?}"
    );
    assert_eq!(rows[4][..3], ["1e5", "EV<mask>L", "é"]);
    for (row, text) in [(&rows[1], "EVQL<mask>"), (&rows[4], "EV<mask>L")] {
        let alone = user.rq(&["fill", "-k", "1", "--json", text]);
        assert_eq!(row[3], format!("[{}]", alone.succeeds().trim()));
        assert_eq!(row[4], "");
    }

    // The same as JSON lines, and as what they make of a table.
    let lines = run(&["--jsonl"]).stdout;
    assert!(
        lines.starts_with(
            r#"{"id":"007","text":"EVQL<mask>","note":"one, \"two\"\nthree","masks":[["#
        )
    );
    run(&["--out", "b.jsonl"]);
    assert_eq!(fs::read_to_string(user.path("b.jsonl")).unwrap(), lines);
    // From and to pipes.
    let piped = user.rq_with(
        &["fill", "-k", "1", "--input-format", "csv", "--out", "-"],
        CSV.as_bytes(),
    );
    assert_eq!(piped.stdout, written);
    // A line that is wrong is said by the number that an editor gives it.
    assert!(
        lines.contains(r#","line":5}"#) && lines.contains(r#","line":6}"#),
        "{lines}"
    );

    let tabs = CSV.replace(",", "\t").replace("one\t", "one,");
    fs::write(user.path("a.tsv"), &tabs).unwrap();
    user.rq(&["fill", "-k", "1", "--file", "a.tsv", "--out", "c.csv"]);
    assert_eq!(fs::read_to_string(user.path("c.csv")).unwrap(), written);
    user.rq(&["fill", "-k", "1", "--file", "a.csv", "--out", "c.tsv"]);
    let tabs = fs::read_to_string(user.path("c.tsv")).unwrap();
    assert!(tabs.starts_with(
        "id\ttext\tnote\tmasks\terror\n007\tEVQL<mask>\t\"one, \"\"two\"\"\nthree\"\t"
    ));
}

#[test]
fn columns_are_chosen_by_name() {
    let user = user();
    let file = |name: &str, text: &str| fs::write(user.path(name), text).unwrap();
    file("a.csv", "review,title\n<mask>V,EVQL\n");
    file("one.csv", "anything\n<mask>V\n");
    file(
        "a.jsonl",
        "{\"review\": \"<mask>V\", \"title\": 1.0}\n\"<mask>V\"\n",
    );
    let fill = |options: &[&str]| user.rq(&[&["fill", "--jsonl"], options].concat());
    let masks = fill(&["<mask>V"]).succeeds().trim().to_owned();
    let masks = masks.split_once(',').unwrap().1.to_owned();
    for columns in ["review", "text=review"] {
        for flag in ["--columns", "--text-column"] {
            let ran = fill(&["--file", "a.csv", flag, columns]);
            assert_eq!(
                ran.succeeds(),
                format!("{{\"review\":\"<mask>V\",\"title\":\"EVQL\",{masks}\n")
            );
        }
        let ran = fill(&["--file", "a.jsonl", "--columns", columns]);
        let object = format!("{{\"review\":\"<mask>V\",\"title\":1.0,{masks}\n");
        assert_eq!(
            ran.succeeds(),
            format!("{object}{{\"text\":\"<mask>V\",{masks}\n")
        );
    }
    let ran = fill(&["--file", "one.csv"]);
    assert_eq!(
        ran.succeeds(),
        format!("{{\"anything\":\"<mask>V\",{masks}\n")
    );
    fill(&["--file", "a.csv"]).fails(&[
        "a.csv has no column \"text\"; its columns are review, title",
        "--columns",
    ]);
    fill(&["--file", "a.csv", "--columns", "name"])
        .fails(&["no column \"name\"; its columns are review, title"]);
    fill(&["--file", "a.csv", "--columns", "pair=title"]).fails(&["no field \"pair\", only text"]);
    file("lines", "<mask>V\n");
    fill(&[
        "--file",
        "lines",
        "--columns",
        "review",
        "--input-format",
        "lines",
    ])
    .fails(&["--columns is for tables"]);
    file("twice.csv", "a,a\n");
    fill(&["--file", "twice.csv"]).fails(&["two of the table's columns are called \"a\""]);
    file("a.parquet", "PAR1");
    fill(&["--file", "a.parquet"]).fails(&["rq reads no Parquet"]);
    for command in [["fill", "<mask>V"], ["embed", "EVQL"]] {
        user.rq(&[&command[..], &["--out", "b.parquet"]].concat())
            .fails(&["arquet: ", ".csv"]);
    }
    fill(&["--file", "lines", "--out", "b.csv"]).succeeds();
    let written = fs::read_to_string(user.path("b.csv")).unwrap();
    assert!(
        written.starts_with("text,masks,error\n<mask>V,\"[[{"),
        "{written}"
    );
    user.rq(&["fill", "--out", "b", "<mask>V"])
        .fails(&["it isn't clear what to write to b"]);

    // Pairs, with a field that both have.
    file(
        "pairs.csv",
        "right,wrong,score_good\nEVQLVESGG,EVQLVWWWW,7\n",
    );
    let ran = user.rq(&[
        "score",
        "--pairs",
        "--file",
        "pairs.csv",
        "--columns",
        "good=right,bad=wrong",
        "--out",
        "c.csv",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let written = fs::read_to_string(user.path("c.csv")).unwrap();
    let rows = table(&written);
    assert_eq!(
        rows[0],
        [
            "right",
            "wrong",
            "score_good",
            "rq_score_good",
            "score_bad",
            "correct",
            "error"
        ]
    );
    assert_eq!(rows[1][2], "7");
    assert_eq!(rows[1][5..], ["true", ""]);
}

#[test]
fn broken_tables_are_said_where_they_break() {
    let user = user();
    let run = |input: &str| {
        user.rq_with(
            &["fill", "--jsonl", "--input-format", "csv"],
            input.as_bytes(),
        )
    };
    let ran = run("text\n<mask>V\n\"<mask>\nV\n");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let last = ran.stdout.lines().last().unwrap();
    assert!(
        last.contains("the quote that opens in line 3 is never closed: what is behind it, 1 lines")
            && last.ends_with("\"line\":3}"),
        "{last}"
    );
    let ran = run(&format!(
        "text\n\"{}\n<mask>V\n",
        format!("{}\n", "V".repeat(10_000)).repeat(108)
    ));
    assert!(
        ran.stdout.contains("the record is longer than 1 MiB"),
        "{}",
        ran.stderr
    );
    assert_eq!(run("").succeeds(), "");
    assert_eq!(run("text\n").succeeds(), "");

    // What was answered of a table is taken up, and its parts are the whole.
    let texts: String = (0..300)
        .map(|i| format!("{i},\"<mask>{}\"\n", "EV\n".repeat(i % 3)))
        .collect();
    fs::write(user.path("a.csv"), format!("id,text\n{texts}")).unwrap();
    let fill = |options: &[&str]| {
        let ran = user.rq(&[
            &["fill", "-k", "1", "--threads", "1", "--file", "a.csv"],
            options,
        ]
        .concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    fill(&["--out", "whole.csv"]);
    let whole = fs::read(user.path("whole.csv")).unwrap();
    let parts = (1..=3).flat_map(|i| {
        fill(&["--out", "part.csv", "--shard", &format!("{i}/3")]);
        fs::read(user.path("part.csv")).unwrap()
    });
    assert!(parts.collect::<Vec<u8>>() == whole);
    let arguments = [
        "fill",
        "-k",
        "1",
        "--threads",
        "1",
        "--file",
        "a.csv",
        "--out",
        "b.csv",
        "--resume",
    ];
    for _ in 0..3 {
        let mut child = user.spawn(&arguments);
        while child.try_wait().unwrap().is_none()
            && !fs::metadata(user.path("b.csv.partial")).is_ok_and(|m| m.len() > 0)
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = user.rq(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(fs::read(user.path("b.csv")).unwrap() == whole);
    assert!(!user.path("b.csv.partial").exists() && !user.path("b.csv.journal").exists());
}

#[test]
fn a_wrong_row_keeps_what_tells_which_it_is() {
    let user = user();
    let out = |table: &[u8]| {
        fs::write(user.path("a.csv"), table).unwrap();
        let ran = user.rq(&["fill", "--file", "a.csv", "--out", "b.csv"]);
        let written = fs::read_to_string(user.path("b.csv")).unwrap_or_default();
        (ran, self::table(&written))
    };
    let (ran, rows) = out(b"id,text,note\n1,<mask>,caf\xe9\n2,<mask>\n");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(rows[0], ["id", "text", "note", "masks", "error"]);
    assert_eq!(rows[1][..4], ["1", "<mask>", "caf\u{fffd}", ""]);
    assert!(rows[1][4].contains("\"note\" isn't UTF-8"), "{rows:?}");
    assert_eq!(rows[2][..4], ["2", "<mask>", "", ""]);
    // What has no whole row has its columns all the same.
    let (ran, rows) = out(b"id,text\n1,\"<mask>\n2,x\n");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(rows[0], ["id", "text", "masks", "error"]);
    let (ran, rows) = out(b"id,text\n");
    assert_eq!(ran.succeeds(), "b.csv: 0 rows\n");
    assert_eq!(rows, [["id", "text", "masks", "error"]]);
}

#[test]
fn a_table_that_is_none_is_refused() {
    let user = user();
    for (table, said) in [
        ("text,id\r<mask>,1\r<mask>,2\r", "carriage return"),
        ("text;id\n<mask>;1\n", "separated by commas"),
        ("sep=;\ntext;id\n", "separated by commas"),
    ] {
        fs::write(user.path("a.csv"), table).unwrap();
        let ran = user.rq(&["fill", "--file", "a.csv", "--out", "b.csv"]);
        ran.fails(&["a.csv", said]);
        assert!(!user.path("b.csv").exists());
    }
    fs::write(user.path("a.csv"), "text,id\n<mask>\rV,1\n<mask>V,2\n").unwrap();
    let ran = user.rq(&["fill", "--file", "a.csv", "--jsonl"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].contains("carriage return"), "{ran:?}");
    assert_eq!(lines.len(), 2, "{ran:?}");
    user.rq(&["classify", "--columns", "a,b", "--file", "a.csv"])
        .fails(&["--columns names text twice", "text=COLUMN"]);
}

#[test]
fn no_output_replaces_the_input_or_the_model() {
    let user = user();
    fs::write(user.path("a.csv"), "text\n<mask>\n").unwrap();
    fs::hard_link(user.path("a.csv"), user.path("hard.csv")).unwrap();
    let mut outputs = vec!["a.csv", "./a.csv", "hard.csv"];
    if cfg!(unix) {
        #[cfg(unix)]
        std::os::unix::fs::symlink("a.csv", user.path("soft.csv")).unwrap();
        outputs.push("soft.csv");
    }
    for output in outputs {
        for more in [&[][..], &["--resume"], &["--shard", "1/2"]] {
            let ran = user.rq(&[&["fill", "--file", "a.csv", "--out", output], more].concat());
            ran.fails(&[output, "is the input"]);
        }
        let ran = user.rq(&[
            "embed",
            "--file",
            "a.csv",
            "--out",
            output,
            "--input-format",
            "lines",
        ]);
        ran.fails(&["is the input"]);
        let ran = user.rq(&["score", "--file", "a.csv", "--plot", output]);
        ran.fails(&["is the input"]);
    }
    assert_eq!(
        fs::read_to_string(user.path("a.csv")).unwrap(),
        "text\n<mask>\n"
    );
}

#[test]
fn a_field_called_line_stays() {
    let user = user();
    let input = "{\"text\": 3, \"line\": \"mine\"}\n{\"text\": 3}\n";
    let ran = user.rq_with(&["fill", "--jsonl"], input.as_bytes());
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[0].contains("\"line\":\"mine\"") && !lines[0].contains("\"line\":1"),
        "{ran:?}"
    );
    assert!(lines[1].ends_with("\"line\":2}"), "{ran:?}");
}
