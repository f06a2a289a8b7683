//! `--resume`: a job that was broken off goes on where it was.
//!
//! What is done stays in a file beside the output, `NAME.partial`, and beside it is a journal, `NAME.journal`, of how much of it counts
//! and of what the output depends on: the input's bytes, the model, the options, the version of rq. The journal is replaced as a
//! whole, and only after what it tells of is on the disk. So whatever ends a run, a kill, a full disk or a power cut, the next one
//! cuts the file to what the journal tells of, and goes on from there; and as an answer depends on nothing but its own line, the
//! output has the bytes of a run that nothing broke.

use crate::commands;
use crate::console::say;
use crate::human::grouped;
use crate::locate::Located;
use crate::out::ResumeArg;
use crate::texts::Source;
use anyhow::{Context, Result, bail, ensure};
use clap::ArgMatches;
use clap::parser::ValueSource;
use rq_format::Output;
use same_file::Handle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3Default;

/// What the journal's name ends with.
const JOURNAL: &str = ".journal";
/// Flags on which no byte of the output depends, and those whose values are in the journal by their contents.
const NOT_OPTIONS: [&str; 9] = [
    "color",
    "threads",
    "isa",
    "resume",
    "out",
    "file",
    "model",
    "dedup",
    "context_file",
];
/// The share of the time that goes to making what is done safe.
const SHARE: u32 = 20;

/// What an output depends on, by name.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Job(BTreeMap<String, String>);

impl Job {
    /// The job of these arguments of a program: what this model and these options make of a file.
    pub(crate) fn new(
        program: &clap::Command,
        arguments: &ArgMatches,
        located: &Located,
        input: &Path,
    ) -> Result<Self> {
        let (command, arguments) = arguments.subcommand().context("a command")?;
        let flags = program.find_subcommand(command).context("a command")?;
        let mut job = BTreeMap::new();
        let mut add = |name: &str, value: String| job.insert(name.to_owned(), value);
        add("the command", command.to_owned());
        add("the version of rq", env!("CARGO_PKG_VERSION").to_owned());
        let model = located.model.file().fingerprint();
        add("the model's checksum", format!("{model:016x}"));
        add("the content of the input", content(input)?);
        for flag in flags.get_arguments() {
            let id = flag.get_id().as_str();
            let given = arguments.value_source(id) == Some(ValueSource::CommandLine);
            if !given || NOT_OPTIONS.contains(&id) {
                continue;
            }
            let values = arguments.get_raw(id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            add(
                &format!("--{}", flag.get_long().unwrap_or(id)),
                values.join(" "),
            );
        }
        if let Ok(Some(path)) = arguments.try_get_one::<PathBuf>("context_file") {
            add("the content of --context-file", content(path)?);
        }
        Ok(Self(job))
    }

    /// What is another than in `before`, for a person.
    fn differences(&self, before: &Self) -> Vec<String> {
        let names = self.0.keys().chain(before.0.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let value = |job: &Self, name: &String| match job.0.get(name).map(String::as_str) {
            None => "not given".to_owned(),
            Some("") => "given".to_owned(),
            Some(value) => value.to_owned(),
        };
        names
            .into_iter()
            .filter(|&name| self.0.get(name) != before.0.get(name))
            .map(|name| {
                format!(
                    "{name} was {}, and is {}",
                    value(before, name),
                    value(self, name)
                )
            })
            .collect()
    }
}

/// The size and the hash of a file.
fn content(path: &Path) -> Result<String> {
    let cannot = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    ensure!(
        metadata.is_file(),
        "{} isn't a file, which can be read again from its beginning, as --resume needs it",
        path.display()
    );
    let (mut hash, mut length) = (Xxh3Default::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(cannot),
        }
    }
    Ok(format!(
        "{} bytes with hash {:032x}",
        grouped(length),
        hash.digest128()
    ))
}

/// How much of a job is done.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Done {
    /// Lines of the input.
    pub(crate) lines: u64,
    /// Of these, lines that have no answer.
    pub(crate) refused: u64,
    /// Bytes of the file that is filled.
    pub(crate) bytes: u64,
}

#[derive(Deserialize, Serialize)]
struct Journal {
    job: Job,
    done: Done,
}

/// Keeps the journal of a job.
pub(crate) struct Resumable {
    path: PathBuf,
    journal: Journal,
    /// When it was written, and how long to wait before the next time.
    written: Instant,
    wait: Duration,
}

/// Rows as they come, of a file that is written when there are all of them.
pub(crate) struct Spool {
    output: Output,
    resumable: Resumable,
}

impl Spool {
    pub(crate) fn new(output: Output, resumable: Resumable) -> Self {
        Self { output, resumable }
    }

    /// Reads the rows of former runs, after which others are appended.
    pub(crate) fn replay(&self, mut row: impl FnMut(&mut dyn BufRead) -> Result<()>) -> Result<()> {
        let mut file = self.output.file_to_fill();
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file.take(self.resumable.done().bytes));
        while !reader.fill_buf()?.is_empty() {
            row(&mut reader).context("can't read what an earlier run has left")?;
        }
        file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    pub(crate) fn append(&self, row: &[u8]) -> Result<()> {
        let written = self.output.file_to_fill().write_all(row);
        written.with_context(|| self.resumable.failed())
    }

    pub(crate) fn save(&mut self, lines: u64, refused: u64) -> Result<()> {
        self.resumable.save(&self.output, lines, refused)
    }

    /// Removes the rows, once the file that they were for is there.
    pub(crate) fn finish(self) -> Result<()> {
        self.output.discard()?;
        self.resumable.finish();
        Ok(())
    }
}

/// What `--resume` finds.
pub(crate) enum Begun {
    /// The output is whole.
    Finished,
    /// A job to go on with, perhaps from its beginning. The file is as long as the journal says, and at its end.
    At(Output, Resumable),
}

impl Resumable {
    /// Looks for what there is of the output at `path`, which `sources` are the files of.
    pub(crate) fn open(path: &Path, job: Job, sources: &[&Path]) -> Result<Begun> {
        let shown = path.display();
        let Some(journal_path) = Output::beside(path, JOURNAL) else {
            // Which says why.
            Output::file_at(path)?;
            bail!("{shown} isn't a file, which --resume needs");
        };
        let partial_path = Output::beside(path, ".partial").context("a file")?;
        let before = match fs::read(&journal_path) {
            // Its file was moved into place, or somebody has removed it.
            Ok(_) if !partial_path.exists() => None,
            Ok(bytes) => {
                let journal: Journal = serde_json::from_slice(&bytes).with_context(|| {
                    let name = journal_path.display();
                    format!(
                        "{name} isn't a journal of rq's: remove it and {}",
                        partial_path.display()
                    )
                })?;
                Some(journal)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("can't read {}", journal_path.display()));
            }
        };
        if before.is_none() && path.exists() {
            let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
            let newer = |source: &&&Path| changed(source) > changed(path);
            if let Some(source) = sources.iter().find(newer) {
                bail!(
                    "{shown} is whole, but {} was changed after it: remove {shown}, or leave out --resume to replace it",
                    source.display()
                );
            }
            let _ = fs::remove_file(&journal_path);
            return Ok(Begun::Finished);
        }
        let output = Output::partial_at(path)?;
        let done = match &before {
            None => Done::default(),
            Some(before) => {
                let differences = job.differences(&before.job);
                ensure!(
                    differences.is_empty(),
                    "can't go on with {}, which is the beginning of another job: {}; do the same job, or remove that file and {}",
                    partial_path.display(),
                    differences.join("; "),
                    journal_path.display()
                );
                before.done
            }
        };
        let mut file = output.file_to_fill();
        let cannot = || format!("can't write {}", partial_path.display());
        let length = file.metadata().with_context(cannot)?.len();
        ensure!(
            done.bytes <= length,
            "{} has {length} bytes, and {} were written: remove it and {} to begin anew",
            partial_path.display(),
            done.bytes,
            journal_path.display()
        );
        file.set_len(done.bytes).with_context(cannot)?;
        file.seek(SeekFrom::End(0)).with_context(cannot)?;
        if done.lines > 0 {
            say(format_args!(
                "going on with {shown} after {} lines",
                grouped(done.lines)
            ));
        }
        let mut resumable = Self {
            path: journal_path,
            journal: Journal { job, done },
            written: Instant::now(),
            wait: Duration::ZERO,
        };
        // So that the partial file is never without one.
        resumable.write(&output)?;
        resumable.wait = Duration::ZERO;
        Ok(Begun::At(output, resumable))
    }

    /// What can't be done when a write fails.
    pub(crate) fn failed(&self) -> String {
        let path = self.path.with_extension("partial");
        format!(
            "can't write {}; the same command goes on with what is done",
            path.display()
        )
    }

    /// What was done when it was opened, and then what is known to be on the disk.
    pub(crate) fn done(&self) -> Done {
        self.journal.done
    }

    /// Makes what is done safe, if that is some time ago.
    pub(crate) fn save(&mut self, output: &Output, lines: u64, refused: u64) -> Result<()> {
        if self.written.elapsed() < self.wait {
            return Ok(());
        }
        self.journal.done = Done {
            lines,
            refused,
            bytes: output.file_to_fill().stream_position()?,
        };
        self.write(output)
    }

    fn write(&mut self, output: &Output) -> Result<()> {
        let began = Instant::now();
        output.file_to_fill().sync_data()?;
        let journal = Output::file_at(&self.path)?;
        let json = serde_json::to_vec(&self.journal)?;
        let mut file = journal.file_to_fill();
        let written = file.write_all(&json).and_then(|()| file.sync_all());
        written.with_context(|| format!("can't write {}", self.path.display()))?;
        journal.finish()?;
        self.written = Instant::now();
        self.wait = (self.written - began) * SHARE;
        Ok(())
    }

    /// Forgets the journal of a job that is done.
    pub(crate) fn finish(self) {
        // Without its file it stands for nothing, and the next run removes it.
        let _ = fs::remove_file(self.path);
    }
}

/// Refuses an output that would replace the texts, or the model that answers them, under whatever name.
pub(crate) fn spare_sources<T>(path: &Path, located: &Located, texts: &Source<T>) -> Result<()> {
    // A device or a pipe may be both.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let is_input = match texts.path() {
        Some(input) => same_file::is_same_file(path, input),
        None => Handle::from_path(path)
            .and_then(|output| Ok(matches!(texts, Source::Lines(_)) && output == Handle::stdin()?)),
    };
    let shown = path.display();
    // What can't be opened is said where it is.
    ensure!(
        !is_input.unwrap_or(false),
        "{shown} is the input, which the answers would replace: name another output"
    );
    ensure!(
        !same_file::is_same_file(path, &located.place).unwrap_or(false),
        "{shown} is the model that answers: name another output"
    );
    Ok(())
}

/// Before an output: refuses one that is a source. With `--resume`, looks for what there is of it, and takes the texts up behind
/// that. Says if it is whole.
pub(crate) fn begin<T>(
    arg: ResumeArg,
    path: &Path,
    located: &Located,
    texts: &mut Source<T>,
) -> Result<Option<Begun>> {
    spare_sources(path, located, texts)?;
    if !arg.resume {
        return Ok(None);
    }
    let file = texts
        .path()
        .context("--resume goes on with the lines of a file: name it with --file")?;
    let (program, arguments) = commands::arguments();
    let job = Job::new(&program, &arguments, located, file)?;
    let begun = Resumable::open(path, job, &[file, Path::new(&located.place)])?;
    match &begun {
        Begun::Finished => {
            let path = path.display();
            say(format_args!(
                "{path} is finished already, by this command or another, and left as it is; to make it anew, leave out --resume"
            ));
        }
        Begun::At(_, resumable) => texts.resume(resumable.done())?,
    }
    Ok(Some(begun))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(pairs: &[(&str, &str)]) -> Job {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Job(pairs.iter().map(own).collect())
    }

    #[test]
    fn what_differs_is_named() {
        let before = job(&[
            ("--dim", "8"),
            ("--truncate", "true"),
            ("the model's checksum", "a"),
        ]);
        let now = job(&[
            ("--dim", "9"),
            ("--normalize", "true"),
            ("the model's checksum", "a"),
        ]);
        assert!(before.differences(&before).is_empty());
        assert_eq!(
            now.differences(&before).join("; "),
            "--dim was 8, and is 9; --normalize was not given, and is true; --truncate was true, and is not given"
        );
    }

    #[test]
    fn a_partial_file_is_cut_to_what_the_journal_tells_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        let open = |dim| Resumable::open(&path, job(&[("--dim", dim)]), &[]);
        let Begun::At(output, mut resumable) = open("8").unwrap() else {
            panic!("there was nothing")
        };
        output.file_to_fill().write_all(b"whole").unwrap();
        resumable.wait = Duration::ZERO;
        resumable.save(&output, 3, 1).unwrap();
        output.file_to_fill().write_all(b"half").unwrap();
        // As long as it lives, nobody else may.
        assert!(open("8").is_err());
        drop((output, resumable));

        let error = open("9").err().unwrap();
        assert!(
            format!("{error:#}").contains("--dim was 8, and is 9"),
            "{error:#}"
        );
        let Begun::At(output, resumable) = open("8").unwrap() else {
            panic!("it wasn't finished")
        };
        assert_eq!(
            resumable.done(),
            Done {
                lines: 3,
                refused: 1,
                bytes: 5
            }
        );
        output.file_to_fill().write_all(b" now").unwrap();
        output.finish().unwrap();
        assert!(matches!(open("8").unwrap(), Begun::Finished));
        assert_eq!(fs::read(&path).unwrap(), b"whole now");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);

        // Lost bytes aren't made up for by zeros.
        fs::remove_file(&path).unwrap();
        let Begun::At(output, mut resumable) = open("8").unwrap() else {
            panic!("it is gone")
        };
        output.file_to_fill().write_all(b"whole").unwrap();
        resumable.wait = Duration::ZERO;
        resumable.save(&output, 3, 1).unwrap();
        output.file_to_fill().set_len(4).unwrap();
        drop((output, resumable));
        assert!(open("8").is_err());
    }
}
