//! `rq convert` of a model on the hub: a server of these tests, on loopback.

#![cfg(feature = "hub")]

#[path = "../../convert/tests/common/hub.rs"]
mod server;

use crate::common::tests_path;
use serde_json::Value;
use server::{COMMIT, Fault, Files, Server, etag, sha256};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "prophet/sapiens-vh";
const WEIGHTS: &str = "model.safetensors";

/// Sapiens VH, as a repository has it.
fn sapiens() -> Files {
    let directory = tests_path("data/sapiens-vh");
    let files = fs::read_dir(directory).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    });
    files.collect()
}

/// Someone who has nothing yet.
struct User {
    home: TempDir,
    endpoint: String,
    variables: Vec<(&'static str, String)>,
}

impl User {
    fn of(server: &Server) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            endpoint: server.endpoint.clone(),
            variables: Vec::new(),
        }
    }

    fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rq"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("HF_")
                || name.starts_with("SSL_CERT_")
                || name.ends_with("_CA_BUNDLE")
                || name.to_lowercase().ends_with("_proxy")
            {
                command.env_remove(&*name);
            }
        }
        command
            .args(arguments)
            .current_dir(&self.home)
            .env("RQ_DATA_DIR", self.path("data"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_ENDPOINT", &self.endpoint)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Exit code, and what was said on standard error.
    fn rq(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.spawn(arguments).wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, stderr) = self.rq(arguments);
        assert_eq!(code, Some(0), "{stderr}");
        stderr
    }

    /// An error is one line that has these parts.
    fn fails(&self, arguments: &[&str], parts: &[&str]) {
        let (code, stderr) = self.rq(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        let error: Vec<&str> = stderr
            .lines()
            .filter(|line| !line.contains("downloading"))
            .collect();
        assert_eq!(error.len(), 1, "{stderr}");
        assert!(error[0].starts_with("rq: "), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{part:?} in {stderr}");
        }
    }

    fn info(&self, file: &Path) -> Value {
        let arguments = ["info", "--json", file.to_str().unwrap()];
        let output = self.spawn(&arguments).wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Converts the same files from a directory that is called like a snapshot of the cache, so that its file has the
    /// same provenance.
    fn convert_locally(&self, files: &Files) -> PathBuf {
        let repository = format!("models--{}", NAME.replace('/', "--"));
        let directory = self.path(&format!("{repository}/snapshots/{COMMIT}"));
        fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in files {
            fs::write(directory.join(name), bytes).unwrap();
        }
        let output = self.path("local.rq");
        let (directory, file) = (directory.to_str().unwrap(), output.to_str().unwrap());
        self.succeeds(&["convert", directory, "-o", file]);
        output
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn a_downloaded_model_is_the_local_one_byte_for_byte() {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    let local = user.convert_locally(&files);
    assert_eq!(server.lines(), Vec::<String>::new());
    let said = user.succeeds(&["convert", NAME]);
    assert!(said.starts_with("rq: downloading "), "{said}");
    assert!(
        said.ends_with(&format!(" of {NAME} at {COMMIT}\n")),
        "{said}"
    );
    let converted = user.path("data/prophet--sapiens-vh.rq");
    assert!(bytes(&converted) == bytes(&local));
    let provenance = user.info(&converted)["provenance"].clone();
    assert_eq!(provenance["source"], NAME);
    assert_eq!(provenance["revision"], COMMIT);

    // Once more, without a request; and with one, for the branch.
    server.seen();
    assert_eq!(user.succeeds(&["convert", NAME]), "");
    assert_eq!(server.lines(), Vec::<String>::new());
    user.succeeds(&["convert", NAME, "--revision", "main"]);
    user.succeeds(&["convert", &format!("{NAME}@main")]);
    let ask = format!("GET /api/models/{NAME}/revision/main");
    assert_eq!(server.lines(), [ask.clone(), ask]);
    assert!(bytes(&converted) == bytes(&local));

    let user = user.set("HF_HUB_OFFLINE", "1");
    user.succeeds(&["convert", NAME]);
    user.fails(
        &["convert", "prophet/other"],
        &["HF_HUB_OFFLINE is set", "prophet--other"],
    );
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn the_environment_says_where_and_with_which_token() {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    server.change(|content| {
        content.gated.insert(NAME.into());
        content.token = "hf_secret".into();
    });
    let user = User::of(&server);
    user.fails(
        &["convert", NAME],
        &["is gated", &server.endpoint, "HF_TOKEN"],
    );
    let cache = user.path("cache");
    let user = user.set("HF_HUB_CACHE", cache.to_str().unwrap());
    fs::create_dir(user.path("hf")).unwrap();
    fs::write(user.path("hf/token"), "hf_secret\n").unwrap();
    user.succeeds(&["convert", NAME]);
    let blob = etag(WEIGHTS, &files[WEIGHTS]);
    assert!(
        cache
            .join("models--prophet--sapiens-vh/blobs")
            .join(blob)
            .is_file()
    );
    assert!(!user.path("hf/hub").exists());

    let user = User::of(&server).set("HF_TOKEN", "hf_wrong");
    user.fails(
        &["convert", NAME],
        &["doesn't accept the token from HF_TOKEN"],
    );
    let user = User::of(&server).set("HF_ENDPOINT", "nowhere");
    user.fails(&["convert", NAME], &["HF_ENDPOINT is \"nowhere\""]);
    // A directory needs no hub.
    user.convert_locally(&files);
}

#[test]
fn a_silent_server_is_left() {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Stall(1000); 10]);
    let user = User::of(&server).set("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    user.fails(
        &["convert", NAME],
        &[
            "sent nothing for 1 s",
            "run the same command again",
            "HF_HUB_DOWNLOAD_TIMEOUT",
        ],
    );
}

#[test]
fn who_interrupts_a_download_goes_on_with_it() {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    let (size, hash) = (files[WEIGHTS].len(), sha256(&files[WEIGHTS]));
    server.fail(WEIGHTS, &[Fault::Stall(size / 2)]);
    let user = User::of(&server);
    let repository = user.path("hf/hub/models--prophet--sapiens-vh");
    let incomplete = repository.join(format!("blobs/{hash}.incomplete"));
    let mut child = user.spawn(&["convert", NAME]);
    let started = Instant::now();
    let length = |path: &Path| path.metadata().map_or(0, |m| m.len());
    while length(&incomplete) < size as u64 / 2 {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What is there is whole, but for the one file that says otherwise.
    assert!(!repository.join("blobs").join(&hash).exists());
    assert!(!repository.join("refs").exists());
    assert!(
        !repository
            .join(format!("snapshots/{COMMIT}/{WEIGHTS}"))
            .exists()
    );
    for (name, content) in &files {
        let blob = repository.join("blobs").join(etag(name, content));
        assert!(!blob.exists() || bytes(&blob) == *content, "{name}");
    }
    assert!(!user.path("data/prophet--sapiens-vh.rq").exists());

    server.seen();
    user.succeeds(&["convert", NAME]);
    let lines = server.lines();
    let resumed = format!("GET /{hash} bytes={}-", size / 2);
    assert!(lines.contains(&resumed), "{lines:?}");
    assert!(!incomplete.exists());
    let local = user.convert_locally(&files);
    assert!(bytes(&user.path("data/prophet--sapiens-vh.rq")) == bytes(&local));
}

#[test]
fn who_waits_for_another_download_is_told() {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    let locks = user.path("hf/hub/.locks/models--prophet--sapiens-vh");
    fs::create_dir_all(&locks).unwrap();
    let path = locks.join(format!("{}.lock", sha256(&files[WEIGHTS])));
    let lock = fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let mut child = user.spawn(&["convert", NAME, "--no-eval"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = format!(
        "rq: another process downloads {WEIGHTS}, and this one waits for it; Ctrl-C ends the wait (the lock is {})",
        path.display()
    );
    assert!(said.by_ref().any(|line| line.unwrap() == waits));
    drop(lock);
    assert!(child.wait().unwrap().success());
}

/// Numbers below 1, in an order that only the seed determines.
struct Moments(u64);

impl Iterator for Moments {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        // Knuth's MMIX.
        let next = self.0.wrapping_mul(6364136223846793005);
        self.0 = next.wrapping_add(1442695040888963407);
        Some((self.0 >> 33) as f64 / (1_u64 << 31) as f64)
    }
}

/// Every file and link below a directory, by its path.
fn everything(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => everything(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

/// Kills `rq convert` so many times at any moment, from the hub (`slowly` sent) or from a directory, each time with another file
/// in the place of its output. That file is as it was, or the new one; what is in the cache under its own name is whole; the next
/// run succeeds, and leaves nothing but its results. Returns how many were killed in time.
fn kill_at_any_moment(times: usize, seed: u64, download: bool) -> usize {
    let files = sapiens();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &vec![Fault::Slow(4); 4 * times + 4]);
    let local = User::of(&server);
    let converted = bytes(&local.convert_locally(&files));
    let directory = local.path(&format!(
        "models--{}/snapshots/{COMMIT}",
        NAME.replace('/', "--")
    ));
    let source = match download {
        true => NAME,
        false => directory.to_str().unwrap(),
    };
    let mut user = User::of(&server);
    let arguments = ["convert", source, "--no-eval", "-o", "out/model.rq"];
    fs::create_dir(user.path("out")).unwrap();
    let started = Instant::now();
    user.succeeds(&arguments);
    let (whole, mut killed) = (started.elapsed(), 0);
    for (number, moment) in Moments(seed).take(times).enumerate() {
        // One time from nothing, one with what the kill before left.
        if number % 2 == 0 {
            user = User::of(&server);
            fs::create_dir(user.path("out")).unwrap();
        }
        let output = user.path("out/model.rq");
        fs::write(&output, "what was there").unwrap();
        let mut child = user.spawn(&arguments);
        std::thread::sleep(whole.mul_f64(moment));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        let there = bytes(&output);
        assert!(there == b"what was there" || there == converted, "{number}");
        let mut found = Vec::new();
        everything(&user.path("hf"), &mut found);
        for (name, content) in &files {
            let etag = etag(name, content);
            let mut whole = found.iter().filter(|path| path.ends_with(&etag));
            assert!(whole.all(|path| bytes(path) == *content), "{number} {name}");
        }
        if number % 2 == 1 {
            user.succeeds(&arguments);
            assert!(bytes(&output) == converted, "{number}");
            assert_eq!(fs::read_dir(user.path("out")).unwrap().count(), 1);
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            everything(&user.path("hf"), &mut found);
            if download {
                let fresh = User::of(&server);
                fs::create_dir(fresh.path("out")).unwrap();
                fresh.succeeds(&arguments);
                everything(&fresh.path("hf"), &mut expected);
                expected = expected
                    .iter()
                    .map(|path| {
                        user.path(path.strip_prefix(&fresh.home).unwrap().to_str().unwrap())
                    })
                    .collect();
            }
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{number}");
        }
    }
    killed
}

#[test]
fn a_kill_at_any_moment_harms_nothing() {
    kill_at_any_moment(2, 1, true);
    kill_at_any_moment(4, 1, false);
}

#[test]
#[ignore = "minutes: 100 kills of a download and of a conversion each, at moments of the seed in RQ_SEED"]
fn a_hundred_kills_harm_nothing() {
    let seed = std::env::var("RQ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let downloads = kill_at_any_moment(100, seed, true);
    let conversions = kill_at_any_moment(100, seed, false);
    eprintln!("killed in time: {downloads} of 100 downloads, {conversions} of 100 conversions");
    assert!(downloads > 50 && conversions > 50);
}
