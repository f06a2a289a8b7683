//! Long jobs: `--resume` after a kill, `--shard`, `--dedup`, and 16 bits that don't suffice.

use crate::common::{Ran, User, tests_path};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// One whose model has 32 dimensions.
fn user() -> User {
    let user = User::new();
    let sentence_mean = tests_path("goldens/architectures/sentence-mean");
    let model = user.at("data/sentences.rq");
    fs::create_dir(user.path("data")).unwrap();
    user.rq(&["convert", sentence_mean.to_str().unwrap(), "-o", &model])
        .succeeds();
    user.set("RQ_MODEL", model)
}

/// So many lines, of which one in 40 can't be embedded.
fn lines(count: usize) -> String {
    let line = |i: usize| match i % 40 {
        // More tokens than the model takes.
        39 => "cat ".repeat(600) + "\n",
        _ => format!("{} cat sat on {i} mats.\n", "the old ".repeat(i * 7 % 12)),
    };
    (0..count).map(line).collect()
}

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// The names in the user's home, but for what was there before.
fn names(user: &User) -> Vec<String> {
    let entries = fs::read_dir(&user.home).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "data").collect();
    names.sort();
    names
}

/// Kills runs at any moment until so many have left something to go on with, and compares what the last one makes of it with
/// what a run does that nothing breaks. Returns how many went on behind the beginning.
fn kills(user: &User, count: usize, wanted: usize, out: &str, options: &[&str]) -> usize {
    fs::write(user.path("texts"), lines(count)).unwrap();
    let whole = format!("whole-{out}");
    let began = Instant::now();
    let embed = |out| {
        let arguments = ["embed", "--threads", "1", "--file", "texts", "--out", out];
        [&arguments, options].concat()
    };
    let unbroken = user.rq(&embed(whole.as_str()));
    assert_eq!(unbroken.code, Some(1), "{}", unbroken.stderr);
    let time = began.elapsed().as_millis() as u64;

    let arguments = [&embed(out)[..], &["--resume"]].concat();
    let (mut killed, mut went_on, mut random) = (0, 0, Random(count as u64));
    let journal = user.path(&format!("{out}.journal"));
    let saved = || {
        let bytes = fs::read(&journal).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        json["done"]["lines"].as_u64()
    };
    for _ in 0..20 * wanted {
        if killed == wanted {
            break;
        }
        let mut child = user.spawn(&arguments);
        match killed % 2 {
            // Once more is safe than before.
            0 => {
                let before = saved();
                while child.try_wait().unwrap().is_none() && saved() <= before {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(random.below(10)));
            }
            _ => std::thread::sleep(Duration::from_millis(1 + random.below(time))),
        }
        child.kill().unwrap();
        let ran = Ran::new(&arguments, child.wait_with_output().unwrap());
        went_on += usize::from(ran.stderr.starts_with("rq: going on with"));
        if ran.code.is_some() {
            // It was done before.
            assert_eq!(
                fs::read(user.path(out)).unwrap(),
                fs::read(user.path(&whole)).unwrap()
            );
            fs::remove_file(user.path(out)).unwrap();
        } else if journal.exists() {
            killed += 1;
        }
    }
    assert_eq!(killed, wanted);
    let last = user.rq(&arguments);
    went_on += usize::from(last.stderr.starts_with("rq: going on with"));
    let bytes = fs::read(user.path(out)).unwrap();
    assert!(bytes == fs::read(user.path(&whole)).unwrap());
    assert_eq!(last.code, Some(1), "{last:?}");
    assert_eq!(last.stdout, unbroken.stdout.replace("whole-", ""));
    let summary = |ran: &Ran| {
        ran.stderr
            .lines()
            .rev()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(summary(&last), summary(&unbroken));

    let again = user.rq(&arguments);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    assert!(again.stderr.contains("is finished already"), "{again:?}");
    assert!(bytes == fs::read(user.path(out)).unwrap());
    assert_eq!(names(user), [out, "texts", whole.as_str()]);
    fs::remove_file(user.path(out)).unwrap();
    fs::remove_file(user.path(&whole)).unwrap();
    went_on
}

#[test]
fn killed_runs_are_taken_up_and_end_with_the_same_bytes() {
    let user = user();
    let went_on = [
        kills(&user, 1_500, 3, "a.npy", &[]),
        kills(&user, 1_500, 1, "a.npy", &["--precision", "int8"]),
        kills(
            &user,
            1_500,
            1,
            "a.npy",
            &["--precision", "f16", "--shard", "2/3"],
        ),
    ];
    assert!(went_on.iter().sum::<usize>() > 0, "{went_on:?}");
}

#[test]
#[ignore = "takes a minute: 20 kills of 50,000 lines"]
fn twenty_kills() {
    assert!(kills(&user(), 50_000, 20, "a.npy", &[]) > 0);
}

#[test]
fn another_job_is_not_taken_up() {
    let user = user();
    fs::write(user.path("texts"), lines(2_000)).unwrap();
    let arguments = ["embed", "--file", "texts", "--out", "a.npy", "--resume"];
    let begin = || {
        let journal = user.path("a.npy.journal");
        let mut child = user.spawn(&[&arguments[..], &["--threads", "1"]].concat());
        while !journal.exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        // Two at a time aren't for one file.
        user.rq(&arguments)
            .fails(&["a.npy.partial", "another process"]);
        child.kill().unwrap();
        child.wait().unwrap();
    };
    begin();
    for (options, said) in [
        (&["--dim", "8"][..], "--dim was not given, and is 8"),
        (&["--no-normalize"], "--no-normalize was not given, and is"),
        (&["-m", "sapiens-vh"], "the model's checksum was "),
    ] {
        if said.contains("checksum") {
            user.rq(&["convert", &crate::common::data("sapiens-vh")])
                .succeeds();
        }
        let ran = user.rq(&[&arguments[..], options].concat());
        ran.fails(&[said, "a.npy.partial", "a.npy.journal", "remove"]);
    }
    let mut texts = lines(2_000);
    texts.push('x');
    fs::write(user.path("texts"), texts).unwrap();
    user.rq(&arguments)
        .fails(&["the content of the input was", "bytes"]);
    fs::write(user.path("texts"), lines(2_000)).unwrap();

    // What doesn't change the bytes may differ, and so may the date of the input.
    let ran = user.rq(&[&arguments[..], &["--threads", "2", "--dedup"]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(names(&user), ["a.npy", "texts"]);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(user.path("texts"), "changed").unwrap();
    user.rq(&arguments)
        .fails(&["a.npy is whole, but texts was changed after it"]);

    user.rq(&["embed", "--resume", "--file", "texts"])
        .fails(&["--out"]);
    user.rq(&["embed", "--resume", "--out", "b.npy", "a cat"])
        .fails(&["--file"]);
    user.rq(&["embed", "--resume", "--file", "/dev/null", "--out", "b.npy"])
        .fails(&["isn't a file"]);
    user.rq(&["embed", "--resume", "--file", "texts", "--out", "-"])
        .fails(&["standard output"]);
    fs::write(user.path("b.npy.journal"), "{").unwrap();
    fs::write(user.path("b.npy.partial"), "").unwrap();
    user.rq(&["embed", "--resume", "--file", "texts", "--out", "b.npy"])
        .fails(&["b.npy.journal isn't a journal", "remove"]);
}

#[test]
fn shards_are_the_whole_one_after_the_other() {
    let user = user();
    fs::write(user.path("texts"), lines(101)).unwrap();
    let run = |options: &[&str]| user.rq(&[&["embed", "--file", "texts"], options].concat());
    let whole = run(&["--jsonl"]);
    for count in [1, 2, 7, 200] {
        let shards = (1..=count).map(|i| {
            let ran = run(&["--jsonl", "--shard", &format!("{i}/{count}")]);
            assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
            ran.stdout
        });
        assert!(shards.collect::<String>() == whole.stdout, "{count}");
    }
    run(&["--out", "a.npy"]);
    let mut rows = Vec::new();
    for i in 1..=3 {
        run(&["--out", "b.npy", "--shard", &format!("{i}/3")]);
        rows.extend(fs::read(user.path("b.npy")).unwrap().split_off(128));
    }
    assert!(fs::read(user.path("a.npy")).unwrap()[128..] == rows);
    let ran = run(&["--json", "--shard", "2/5"]);
    assert!(
        ran.stderr
            .ends_with("1 of 20 texts could not be processed\n"),
        "{ran:?}"
    );
    assert!(ran.stdout.ends_with("\"line\":40}\n"), "{ran:?}");

    run(&["--jsonl", "--shard", "4/3"]).fails(&["--shard", "from 1/N to N/N"]);
    run(&["--shard", "1/3"]).fails(&["--shard", "--json"]);
    run(&["--shard", "1/3", "--out", "a.npy", "--precision", "int8"]).fails(&["--shard", "int8"]);
    user.rq_with(&["embed", "--json", "--shard", "1/3"], b"a")
        .fails(&["--file"]);
    user.rq(&["embed", "--json", "--shard", "1/3", "a"])
        .fails(&["--file"]);
}

#[test]
fn equal_texts_have_equal_answers() {
    let user = user();
    let texts: String = (0..600)
        .map(|i| match i % 5 {
            0 => "{\"id\": 1, \"text\": \"the cat\"}\n".to_owned(),
            1 => "the cat\n".to_owned(),
            2 => "{\"id\": 2}\n".to_owned(),
            3 => format!("{} mats\n", i % 90),
            _ => format!("{{\"id\": {i}, \"text\": \"the cat\"}}\n"),
        })
        .collect();
    let run = |options: &[&str]| {
        let ran = user.rq_with(&[&["embed", "--jsonl"], options].concat(), texts.as_bytes());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        (ran.stdout, ran.stderr)
    };
    assert!(run(&[]) == run(&["--dedup"]));
}

/// A model whose last layer makes numbers that 16 bits can't hold, unless they are scaled.
#[test]
fn what_16_bits_cannot_hold_is_no_infinity() {
    let user = user();
    let file = user.path("data/sentences.rq");
    let mut bytes = fs::read(&file).unwrap();
    let model = rq_format::ModelFile::from_bytes(bytes.clone()).unwrap();
    let norm = model
        .tensors()
        .iter()
        .rfind(|tensor| tensor.name.ends_with("norm.weight"));
    let at = norm.unwrap().offset as usize;
    bytes[at..at + 4].copy_from_slice(&1e6_f32.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let embed = ["embed", "--no-normalize", "--precision", "f16"];
    user.rq(&[&embed[..], &["--json", "the cat"]].concat())
        .fails(&["--precision f16 goes to 65504", "--precision f32"]);
    let ran = user.rq_with(
        &[&embed[..], &["--out", "a.npy"]].concat(),
        b"the cat\n\na cat",
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("line 1: a value of the embedding is "),
        "{ran:?}"
    );
    let values = fs::read(user.path("a.npy")).unwrap().split_off(128);
    assert!(
        values.as_chunks().0.iter().all(|x| *x == half_nan()),
        "{values:?}"
    );
    let scaled = user.rq(&[
        "embed",
        "--normalize",
        "--precision",
        "f16",
        "--json",
        "the cat",
    ]);
    let scaled: Vec<Value> = serde_json::from_str(scaled.succeeds()).unwrap();
    assert!(scaled.iter().all(Value::is_number));
}

fn half_nan() -> [u8; 2] {
    0x7e00_u16.to_le_bytes()
}
