//! Someone who types `rq` at a shell, and what they get.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A folder or file below the library's `tests/`.
pub(crate) fn tests_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests")
        .join(path)
        .canonicalize()
        .unwrap()
}

/// A user with an empty data directory, an empty Hugging Face cache, and no network.
pub(crate) struct User {
    pub(crate) home: TempDir,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// One who has converted sapiens-vh.
    pub(crate) fn with_model() -> Self {
        let user = Self::new();
        user.rq(&["convert", &data("sapiens-vh")]).succeeds();
        user
    }

    /// A path in the user's home.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// The same, as an argument.
    pub(crate) fn at(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    /// A copy of a test model, to be changed.
    pub(crate) fn copy(&self, model: &str, to: &str) -> PathBuf {
        let to = self.path(to);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(data(model)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        to
    }

    pub(crate) fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rq"));
        for variable in [
            "RQ_MODEL",
            "RQ_ISA",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_TOKEN",
            "HF_ENDPOINT",
        ] {
            command.env_remove(variable);
        }
        command
            .args(arguments)
            .current_dir(&self.home)
            .env("RQ_DATA_DIR", self.path("data"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The results of a command, which must be the same bytes on each instruction set and number of threads.
    #[track_caller]
    pub(crate) fn everywhere(&self, arguments: &[&str]) -> String {
        let expected = self.rq(arguments).succeeds().to_owned();
        for kernels in rq_kernels::kernels::detected() {
            for threads in ["1", "2"] {
                let how = ["--isa", kernels.isa().name(), "--threads", threads];
                let ran = self.rq(&[arguments, &how].concat());
                assert_eq!(ran.succeeds(), expected, "{}", ran.command);
            }
        }
        expected
    }

    pub(crate) fn rq(&self, arguments: &[&str]) -> Ran {
        self.rq_with(arguments, b"")
    }

    pub(crate) fn rq_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self.spawn(arguments);
        // A command that doesn't read its input may have closed it.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::new(arguments, child.wait_with_output().unwrap())
    }
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(arguments: &[&str], output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            command: format!("rq {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Its results, of a command that had nothing else to say.
    #[track_caller]
    pub(crate) fn succeeds(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        &self.stdout
    }

    /// Checks that it failed with exactly one line, in which all of these parts are.
    #[track_caller]
    pub(crate) fn fails(&self, parts: &[&str]) {
        assert_eq!(self.stdout, "", "{self:?}");
        self.ends_with_error(parts);
    }

    /// The same of a check that failed.
    #[track_caller]
    pub(crate) fn finds(&self, parts: &[&str]) {
        assert_eq!(self.stdout, "", "{self:?}");
        self.ends_with(1, parts);
    }

    /// The same as [`Ran::fails`] of a command that had printed results before.
    #[track_caller]
    pub(crate) fn ends_with_error(&self, parts: &[&str]) {
        self.ends_with(2, parts);
    }

    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("rq: "), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        // Rust's words are for those who write it.
        for word in [
            "panicked",
            "os error",
            "EOF while parsing",
            "invalid digit",
            "not in 0..=",
        ] {
            assert!(!self.stderr.contains(word), "{self:?}");
        }
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
    }
}

/// The directory of a test model, as an argument.
pub(crate) fn data(model: &str) -> String {
    let path = tests_path("data").join(model);
    path.to_str().unwrap().to_owned()
}
