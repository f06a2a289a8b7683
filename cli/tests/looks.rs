//! What a person sees: colours, shades and pictures; and a terminal at which texts are typed.

use crate::common::{User, data};
use std::fs;

/// A text without what a terminal takes as colours, and whether there were any.
fn plain(text: &str) -> (String, bool) {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        let (codes, behind) = behind.split_once('m').expect("the end of a colour");
        assert!(
            codes.chars().all(|c| c.is_ascii_digit() || c == ';'),
            "{codes:?}"
        );
        plain += before;
        rest = behind;
    }
    let has_colours = rest.len() < text.len();
    (plain + rest, has_colours)
}

fn user() -> User {
    let user = User::new();
    for model in ["demo-model", "tasks/tags", "tasks/answers", "tasks/topics"] {
        let name = model.rsplit('/').next().unwrap();
        let output = user.at(&format!("{name}.rq"));
        user.rq(&["convert", &data(model), "--no-eval", "-o", &output])
            .succeeds();
    }
    user
}

/// With colours, each answer is the same text, and what is foreign in it is still escaped.
#[test]
fn colours_change_no_letter() {
    let user = user();
    let hostile = "She \u{1b}[31mopened\u{9b}7m the <mask> at\u{202e} home.";
    let masks = "The <mask> saw the <mask>.";
    let named = "Anna Smith lives in \u{1b}[1mNew York.";
    let commands: [&[&str]; 9] = [
        &["fill", "-m", "demo-model", hostile, masks],
        &["fill", "-m", "demo-model", "--joint", masks],
        &[
            "fill",
            "-m",
            "demo-model",
            "--whole-targets",
            "--targets",
            "door,garden",
            hostile,
        ],
        &["tag", "-m", "tags", named, "Nobody."],
        &["tag", "-m", "tags", "-a", "none", named],
        &[
            "answer",
            "-m",
            "answers",
            "-k3",
            "--no-answer",
            "-c",
            named,
            "Where does Anna live?",
        ],
        &["classify", "-m", "topics", "The team won the match."],
        &["similar", "-m", "topics", "the soup", "the cup", "the bank"],
        &[
            "score",
            "-m",
            "demo-model",
            "--pairs",
            "a dog barked\tdog a barked",
        ],
    ];
    for arguments in commands {
        let without = user.rq(arguments).succeeds().to_owned();
        assert_eq!(plain(&without), (without.clone(), false), "{arguments:?}");
        let with = user.rq(&[arguments, &["--color", "always"]].concat());
        let (text, has_colours) = plain(with.succeeds());
        assert_eq!((text, has_colours), (without, true), "{arguments:?}");
        // Programs read no colours.
        let json = user.rq(&[arguments, &["--json", "--color", "always"]].concat());
        assert!(!json.stdout.contains('\u{1b}'), "{json:?}");
    }
    user.rq(&["fill", "--color", "blue", "a"])
        .fails(&["'blue'", "auto, always, never"]);
}

#[test]
fn words_are_shaded_and_bytes_are_shown() {
    let user = user();
    let text = "The cat sat 😀 down.";
    let score = ["score", "-m", "demo-model", "--tokens", text];
    let table = user.rq(&score).succeeds().to_owned();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], text);
    // A character of several tokens is shown in their bytes, which together are it.
    let tokens = rows[1..]
        .iter()
        .filter_map(|row| row.split_whitespace().next());
    let bytes: String = tokens.filter(|token| token.starts_with(r"\x")).collect();
    assert_eq!(bytes, r"\xf0\x9f\x98\x80", "{table}");
    assert!(!table.contains('\u{fffd}'), "{table}");
    let shaded = user.rq(&[&score[..], &["--color", "always"]].concat());
    let (shown, _) = plain(shaded.succeeds());
    let legend = shown.strip_prefix(&table).unwrap();
    assert!(
        legend.contains("probability of a token:") && legend.contains(" less "),
        "{legend}"
    );
    assert!(
        shaded
            .stdout
            .lines()
            .next()
            .unwrap()
            .contains("😀\u{1b}[0m"),
        "{shaded:?}"
    );
}

#[test]
fn pictures_are_files_that_appear_when_they_are_whole() {
    let user = user();
    let texts = ["a <b>", "c & d", "猫"];
    let similar = |out: &str, more: &[&str]| {
        let how = ["similar", "-m", "topics", "--plot", out];
        user.rq(&[&how[..], more].concat())
    };
    let plain = user.rq(&[&["similar", "-m", "topics"], &texts[..]].concat());
    assert_eq!(similar("heat.svg", &texts).succeeds(), plain.succeeds());
    let svg = fs::read_to_string(user.path("heat.svg")).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    for part in [
        "a &lt;b&gt; 1</text>",
        "c &amp; d 2</text>",
        "猫 3</text>",
        ">1.00</text>",
        "cosine",
    ] {
        assert!(svg.contains(part), "no {part:?} in {svg}");
    }
    similar("heat.svg", &["one"]).fails(&["--plot draws", "is only one"]);
    similar("nowhere/heat.svg", &texts).fails(&["nowhere", "No such file"]);
    similar("-", &texts).fails(&["standard output"]);
    assert_eq!(fs::read_to_string(user.path("heat.svg")).unwrap(), svg);

    let score = ["score", "-m", "demo-model", "--plot", "surprisal.svg"];
    let texts = ["The cat sat down.", "A & 😀"];
    user.rq(&[&score[..], &texts].concat()).succeeds();
    let svg = fs::read_to_string(user.path("surprisal.svg")).unwrap();
    for part in [
        ">sat</text>",
        " nats, 5 tokens",
        "surprisal in nats",
        "😀</text>",
        "&amp;</text>",
    ] {
        assert!(svg.contains(part), "no {part:?} in {svg}");
    }
    let many = "a\n".repeat(510);
    let ran = user.rq_with(&score, many.as_bytes());
    let said = "rq: surprisal.svg has the first 500 texts; 10 more were scored\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), said));
}

/// One real terminal: what `script` starts has one.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_asked_for_texts_and_has_colours() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let user = user();
    let at_terminal = |more: &str, variable: (&str, &str)| {
        let rq = env!("CARGO_BIN_EXE_rq");
        let command = format!("stty -echo; {rq} fill -m demo-model -k1 {more}");
        let child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(&user.home)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE")
            // It makes some programs write colours; the rest of the environment still decides.
            .env("CI", "true")
            .env("RQ_DATA_DIR", user.path("data"))
            .env(variable.0, variable.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.ok()?;
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(b"She opened the <mask> and walked in.\nno mask\n");
        drop(input);
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        Some((output.status.code(), shown.replace("\r\n", "\n")))
    };
    let Some((code, shown)) = at_terminal("", ("RQ_MODEL", "")) else {
        eprintln!("SKIP: `script`, which makes a terminal, isn't there");
        return;
    };
    let (text, has_colours) = plain(&shown);
    assert!(has_colours, "{shown:?}");
    assert_eq!(code, Some(1), "a line without a mask is refused: {text}");
    for part in [
        "rq: type one text per line; Ctrl-D ends\n> ",
        "She opened the door and walked in.\n",
        "line 2: no mask token",
    ] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    for (more, variable) in [
        ("", ("NO_COLOR", "1")),
        ("", ("TERM", "dumb")),
        ("--color never", ("RQ_MODEL", "")),
    ] {
        let (_, shown) = at_terminal(more, variable).unwrap();
        assert!(shown.contains("She opened the door"), "{shown:?}");
        assert!(!plain(&shown).1, "{variable:?} {more}: {shown:?}");
    }
}
