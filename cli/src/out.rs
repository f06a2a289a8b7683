//! `--out` of answers: JSON lines, or a table.

use crate::Ended;
use crate::args::Format;
use crate::console::{self, Escaped, discard_when_interrupted, say};
use crate::fields::Fields;
use crate::human::grouped;
use crate::locate::Located;
use crate::records::{Refusal, json_line, object_line};
use crate::resume::{self, Begun, Resumable};
use crate::table::{self, Delimiter, Form};
use crate::task::{self, Answer, Command, Sink};
use crate::texts::{FromLine, Repeated, Source};
use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use rq_format::Output;
use serde::Serialize;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The column that says why a row has no answer.
const ERROR: &str = "error";
/// What is put before the name of an answer's column if the input has one of that name.
const OWN: &str = "rq_";

/// Where answers go.
#[derive(Args, Default)]
pub(crate) struct OutArgs {
    /// Write the answers to this file: a table (.csv, .tsv) or JSON lines (.jsonl, .ndjson)
    ///
    /// A table has the columns of the input, in their order, then those of the answer, then error, which says why a row has no
    /// answer. An answer's column gets the prefix rq_ if the input has one of its name. Lists and objects are JSON in one field. Of
    /// JSON lines, the first says which columns there are. Another name, a pipe or standard output (-) gets what --json or --jsonl
    /// says, or what the input is, a table. An existing file is replaced once the new one is complete; a symbolic link stays, and
    /// what it leads to is replaced.
    #[arg(short, long, value_name = "FILE", hide_short_help = true)]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) resume: ResumeArg,
}

/// Whether a run that was broken off goes on.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct ResumeArg {
    /// Continue an interrupted run with --out, or start one that can be continued
    ///
    /// Whatever ended it, a kill, a full disk or a power cut: the file gets the bytes of a run that nothing broke. What is done is
    /// beside it until then, in FILE.partial, with a journal, FILE.journal; the same command goes on with them. rq checks that the
    /// input, the model and the options are the same. If FILE exists and FILE.partial doesn't, the job counts as finished, and
    /// nothing is done.
    #[arg(long, requires_all = ["out", "file"], hide_short_help = true)]
    pub(crate) resume: bool,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Jsonl,
    Table(Delimiter),
}

/// Answers to a file.
struct ToFile {
    output: Output,
    kind: Kind,
    /// What isn't written yet.
    buffer: Vec<u8>,
    /// Rows so far.
    rows: u64,
    /// The columns of a table, once a line has said which: the input's, and the answer's.
    columns: Option<(Vec<String>, Vec<String>)>,
    /// Why the first lines, which say nothing of columns, have no answers.
    waiting: Vec<String>,
    /// Whether the table's header stands elsewhere: only the first of several parts has it.
    headless: bool,
    resumable: Option<Resumable>,
}

/// Answers all texts in a file.
pub(crate) fn run<C: Command>(
    command: C,
    mut source: Source<C::Input>,
    format: Format,
    located: &Located,
    args: &OutArgs,
    path: &Path,
) -> Result<Ended> {
    let kind = kind(path, format, &source)?;
    ensure!(
        !args.resume.resume || command.ranked().is_none(),
        "--resume goes on with answers in the order of the lines, and --top-k ranks them: leave out one"
    );
    discard_when_interrupted(|| {});
    let (output, resumable) = match resume::begin(args.resume, path, located, &mut source)? {
        None => (Output::at(path)?, None),
        Some(Begun::Finished) => return Ok(Ended::Success),
        Some(Begun::At(output, resumable)) => (output, Some(resumable)),
    };
    let mut sink = ToFile {
        output,
        kind,
        buffer: Vec::new(),
        rows: 0,
        columns: None,
        waiting: Vec::new(),
        headless: source.is_later_part(),
        resumable,
    };
    sink.go_on(&command, &mut source)?;
    let code = task::run(&mut sink, command, source, located)?;
    let is_stdout = sink.output.is_stdout();
    let rows = sink.finish::<C>()?;
    let written = format!("{}: {} rows", path.display(), grouped(rows));
    match is_stdout {
        true => say(written),
        false => writeln!(console::output(), "{written}")?,
    }
    Ok(code)
}

fn kind<T>(path: &Path, format: Format, source: &Source<T>) -> Result<Kind> {
    let of = |form| match form {
        Form::Table(delimiter) => Some(Kind::Table(delimiter)),
        Form::Jsonl => Some(Kind::Jsonl),
        Form::Lines => None,
    };
    let named = Form::of(path).and_then(of);
    let given = source.form().and_then(of);
    let asked = match format {
        Format::Json => Some(Kind::Json),
        Format::Jsonl => Some(Kind::Jsonl),
        Format::Human => None,
    };
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ensure!(
        !matches!(
            &*ending,
            "parquet" | "npy" | "npz" | "arrow" | "feather" | "xlsx" | "xls" | "ods"
        ),
        "{}: rq doesn't write .{ending} here: name a .csv, .tsv or .jsonl file",
        path.display()
    );
    match named.or(asked).or(given) {
        Some(kind) => Ok(kind),
        None => bail!(
            "it isn't clear what to write to {}: give it a name that ends in .csv, .tsv or .jsonl, or pass --json or --jsonl",
            path.display()
        ),
    }
}

impl ToFile {
    /// Takes up the columns of a table that has its header already, or begins with those of a table.
    fn go_on<C: Command>(&mut self, command: &C, source: &mut Source<C::Input>) -> Result<()> {
        let done = self.resumable.as_ref().map(Resumable::done);
        let Some(done) = done.filter(|done| done.bytes > 0) else {
            if let (Kind::Table(_), Some(names)) = (self.kind, source.header()?) {
                self.begin(command, names.to_vec());
            }
            return Ok(());
        };
        self.rows = done.lines - source.first();
        let Kind::Table(delimiter) = self.kind else {
            return Ok(());
        };
        ensure!(
            !self.headless,
            "a part of a table has no header that tells how to go on: leave out --resume, or write JSON lines"
        );
        let mut file = self.output.file_to_fill();
        file.seek(SeekFrom::Start(0))?;
        let (mut lines, mut records) = (BufReader::new(file), table::Records::new(delimiter));
        let header = loop {
            let mut line = Vec::new();
            lines.read_until(b'\n', &mut line)?;
            match records.line(&line) {
                Some(record) => break table::header(record?)?,
                None => ensure!(!line.is_empty(), "what there is has no header"),
            }
        };
        file.seek(SeekFrom::End(0))?;
        let own = command.columns().len() + 1;
        let (input, answer) = header.split_at(header.len().saturating_sub(own));
        self.columns = Some((input.to_vec(), answer.to_vec()));
        Ok(())
    }

    /// The row of a table: cells of the input and of the answer.
    fn row<C: Command>(&mut self, command: &C, input: &Fields, answer: &Fields) -> Result<()> {
        let Kind::Table(delimiter) = self.kind else {
            unreachable!("only tables have columns");
        };
        if self.columns.is_none() {
            self.begin(command, input.names().map(str::to_owned).collect());
        }
        let Some((names, _)) = &self.columns else {
            unreachable!("it has begun");
        };
        if let Some(other) = input
            .names()
            .find(|name| !names.iter().any(|own| own == name))
        {
            bail!(
                "a line has the field {other:?}, which the first one hasn't, and the rows of a table have the same columns: write JSON \
                 lines (.jsonl)"
            );
        }
        let own = command.columns();
        let names = names.iter().map(|name| input.cell(name));
        let answers = own
            .iter()
            .copied()
            .chain([ERROR])
            .map(|name| answer.cell(name));
        let cells: Vec<String> = names.chain(answers).collect();
        table::write(
            &mut self.buffer,
            delimiter,
            cells.iter().map(String::as_str),
        );
        self.rows += 1;
        Ok(())
    }

    /// Writes the header, and the rows that waited for it.
    fn begin<C: Command>(&mut self, command: &C, names: Vec<String>) {
        let Kind::Table(delimiter) = self.kind else {
            unreachable!("only tables have columns");
        };
        let own = command.columns().into_iter().chain([ERROR]);
        let own: Vec<String> = own
            .map(|name| match names.iter().any(|other| other == name) {
                true => format!("{OWN}{name}"),
                false => name.to_owned(),
            })
            .collect();
        let all = names.iter().chain(&own).map(String::as_str);
        if !self.headless {
            table::write(&mut self.buffer, delimiter, all);
        }
        let before = names.len() + own.len() - 1;
        for error in std::mem::take(&mut self.waiting) {
            let cells = std::iter::repeat_n("", before).chain([error.as_str()]);
            table::write(&mut self.buffer, delimiter, cells);
            self.rows += 1;
        }
        self.columns = Some((names, own));
    }

    fn write(&mut self) -> Result<()> {
        let written = self.output.file_to_fill().write_all(&self.buffer);
        self.buffer.clear();
        match &self.resumable {
            Some(resumable) => written.with_context(|| resumable.failed()),
            None => Ok(written.context("can't write the answers")?),
        }
    }

    fn finish<C: Command>(mut self) -> Result<u64> {
        if let Kind::Table(delimiter) = self.kind
            && !self.waiting.is_empty()
        {
            // No line could be read: the command's own input names the columns.
            let main = C::Input::FIELDS[0];
            if !self.headless {
                table::write(&mut self.buffer, delimiter, [main, ERROR]);
            }
            for error in std::mem::take(&mut self.waiting) {
                table::write(&mut self.buffer, delimiter, ["", error.as_str()]);
                self.rows += 1;
            }
        }
        self.write()?;
        self.output.finish()?;
        if let Some(resumable) = self.resumable {
            resumable.finish();
        }
        Ok(self.rows)
    }
}

/// What the row of a table has of an input.
fn of_input(row: &Repeated, input: &impl Serialize) -> Result<Fields> {
    match row {
        Repeated::Fields(fields) => Ok(fields.clone()),
        Repeated::Input => Ok(Fields::of(input)?),
    }
}

impl<C: Command> Sink<C> for ToFile {
    fn answer(
        &mut self,
        command: &C,
        row: &Repeated,
        input: &C::Input,
        answer: &Answer<C>,
    ) -> Result<()> {
        match self.kind {
            Kind::Json => json_line(
                &mut Escaped::new(&mut self.buffer, false),
                &command.json(input, answer),
            )?,
            Kind::Jsonl => {
                let output = command.fields(answer);
                object_line(
                    &mut Escaped::new(&mut self.buffer, false),
                    row,
                    input,
                    output,
                )?;
            }
            Kind::Table(_) => {
                let answer = Fields::of(&command.cells(answer))?;
                return self.row(command, &of_input(row, input)?, &answer);
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn refuse(
        &mut self,
        command: &C,
        _: &str,
        line: u64,
        row: &Repeated,
        input: Option<&C::Input>,
        error: &Error,
    ) -> Result<()> {
        let output = Refusal::new(error, line, row);
        match self.kind {
            Kind::Json => json_line(&mut Escaped::new(&mut self.buffer, false), &output)?,
            Kind::Jsonl => object_line(
                &mut Escaped::new(&mut self.buffer, false),
                row,
                input,
                output,
            )?,
            Kind::Table(_) => {
                let fields = match (row, input) {
                    (Repeated::Input, None) if self.columns.is_none() => {
                        self.waiting.push(output.error);
                        return Ok(());
                    }
                    (Repeated::Input, None) => Fields::default(),
                    (row, input) => of_input(row, &input)?,
                };
                return self.row(command, &fields, &Fields::of(&output)?);
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.write()
    }

    fn done(&mut self, lines: u64, refused: u64) -> Result<()> {
        match &mut self.resumable {
            Some(resumable) if self.waiting.is_empty() => {
                resumable.save(&self.output, lines, refused)
            }
            _ => Ok(()),
        }
    }
}
