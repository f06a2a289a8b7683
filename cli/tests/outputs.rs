//! Where results go: a file that is replaced as a whole, or a pipe; nothing else is touched.

#![cfg(unix)]

use crate::common::{Ran, User, data};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

const TEXTS: [&str; 3] = ["EVQL", "GG", "EVQLESGG"];

/// What `rq embed --out` writes of the texts, to a file.
fn embedded(user: &User) -> Vec<u8> {
    embed(user, &user.at("file.npy")).succeeds();
    fs::read(user.path("file.npy")).unwrap()
}

fn embed(user: &User, out: &str) -> Ran {
    let arguments = ["embed", "-m", "sapiens-vh", "--out", out];
    user.rq(&[&arguments, &TEXTS[..]].concat())
}

fn convert(user: &User, output: &str) -> Ran {
    user.rq(&["convert", &data("sapiens-vh"), "--no-eval", "-o", output])
}

fn fifo(user: &User) -> String {
    let path = user.at("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    path
}

/// The names in the user's home, but for those of the model and its directories.
fn names(user: &User) -> Vec<String> {
    let entries = fs::read_dir(&user.home).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "data").collect();
    names.sort();
    names
}

#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    let user = User::new();
    let fifo = fifo(&user);
    let _socket = UnixListener::bind(user.path("socket")).unwrap();
    symlink("/proc/self/fd/1", user.path("stdout")).unwrap();
    symlink("fifo", user.path("link")).unwrap();
    symlink("loop", user.path("loop")).unwrap();
    fs::create_dir(user.path("directory")).unwrap();
    let before = names(&user);
    for (output, said) in [
        (
            fifo.as_str(),
            "fifo is a pipe, and nothing is put in its place; name a file",
        ),
        (&user.at("link"), "is a pipe"),
        (&user.at("socket"), "is a socket"),
        (&user.at("stdout"), "is standard output"),
        ("-", "- is standard output"),
        (&user.at("loop"), "Too many levels of symbolic links"),
        (&user.at("directory"), "is a directory"),
        (&user.at("new/"), "is a directory"),
        ("/dev/null", "/dev/null is a device"),
    ] {
        // A wrong rename over a device would be the machine's loss, not the test's: root only looks.
        if output == "/dev/null" && fs::metadata("/dev").unwrap().uid() == own(&user) {
            continue;
        }
        convert(&user, output).fails(&[said]);
    }
    assert_eq!(names(&user), before);
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let socket = fs::metadata(user.path("socket")).unwrap();
    assert!(socket.file_type().is_socket());
}

/// Whose files this user's are.
fn own(user: &User) -> u32 {
    fs::metadata(&user.home).unwrap().uid()
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let user = User::new();
    fs::create_dir(user.path("elsewhere")).unwrap();
    let target = user.path("elsewhere/model.rq");
    symlink("elsewhere/model.rq", user.path("first")).unwrap();
    symlink("first", user.path("second")).unwrap();
    // One that leads to nothing yet, and one to a file.
    for _ in 0..2 {
        convert(&user, &user.at("second")).succeeds();
        assert!(
            fs::symlink_metadata(user.path("second"))
                .unwrap()
                .is_symlink()
        );
        assert!(
            fs::symlink_metadata(user.path("first"))
                .unwrap()
                .is_symlink()
        );
        assert!(fs::read(&target).unwrap().len() > 100_000);
        assert_eq!(fs::read_dir(user.path("elsewhere")).unwrap().count(), 1);
        fs::write(&target, "what was there").unwrap();
    }
    assert_eq!(names(&user), ["elsewhere", "first", "second"]);
}

#[test]
fn a_pipe_gets_what_a_file_would() {
    let user = User::with_model();
    let expected = embedded(&user);
    let fifo = fifo(&user);
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    let said = embed(&user, &fifo).succeeds().to_owned();
    assert_eq!(said, format!("{fifo}: 3 x 128, float32\n"));
    assert!(reader.join().unwrap() == expected);
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());

    symlink("/proc/self/fd/1", user.path("stdout")).unwrap();
    for out in ["-", "/dev/stdout", &user.at("stdout")] {
        let arguments = ["embed", "-m", "sapiens-vh", "--out", out];
        let child = user.spawn(&[&arguments, &TEXTS[..]].concat());
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout == expected, "{out}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("rq: {out}: 3 x 128, float32\n"));
    }
    let before = names(&user);
    assert_eq!(before, ["fifo", "file.npy", "stdout"]);
    // A file that the shell has opened, by its number.
    let file = File::create(user.path("opened.npy")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rq"));
    command.args(["embed", "-m", "sapiens-vh", "--out", "/dev/fd/0"]);
    let ran = command
        .args(TEXTS)
        .env("RQ_DATA_DIR", user.path("data"))
        .stdin(Stdio::from(file))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(fs::read(user.path("opened.npy")).unwrap() == expected);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let user = User::with_model();
    fs::write(user.path(".rq-a1B2c3.tmp"), "left").unwrap();
    let living = File::create(user.path(".rq-living.tmp")).unwrap();
    living.lock().unwrap();
    embedded(&user);
    assert_eq!(names(&user), [".rq-living.tmp", "file.npy"]);
    drop(living);
    convert(&user, &user.at("model.rq")).succeeds();
    assert_eq!(names(&user), ["file.npy", "model.rq"]);
}

#[test]
fn a_limit_of_the_shell_is_an_error_that_says_so() {
    let user = User::with_model();
    let expected = embedded(&user);
    let rq = env!("CARGO_BIN_EXE_rq");
    let model = data("sapiens-vh");
    for command in [
        format!("convert {model} --no-eval -o file.npy"),
        "embed -m sapiens-vh --file lines --out file.npy".to_owned(),
    ] {
        fs::write(user.path("lines"), "EVQL\n".repeat(300)).unwrap();
        // In blocks of 512 or 1024 bytes.
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -f 100; exec {rq} {command}")])
            .current_dir(&user.home)
            .env("RQ_DATA_DIR", user.path("data"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ran = Ran::new(&[&command], output);
        ran.fails(&["file.npy: ", "File too large", "`ulimit -f`"]);
        assert_eq!(names(&user), ["file.npy", "lines"]);
        assert!(fs::read(user.path("file.npy")).unwrap() == expected);
    }
}
