//! Reads texts from a command's arguments, a file, or standard input.
//!
//! A batch of lines is the next line, which is waited for, and the lines after it that are already there. So a program that
//! waits for each answer gets it, one that writes ahead is served in batches, and memory doesn't depend on the number of
//! lines.

use crate::args::{Choice, Format, one_of};
use crate::fields::Fields;
use crate::prompt::Prompted;
use crate::resume::Done;
use crate::shard::Shard;
use crate::table::{self, Delimiter, Form};
use crate::words;
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::Args;
use rq_convert::OtherEncoding;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The longest line in bytes. The tokenizer takes about 180 bytes of memory for each of them, and a text that fits a model
/// has a few thousand.
const MAX_LINE: usize = 1 << 20;
/// Bytes in a read.
const BUFFER: usize = 64 << 10;
/// The bytes in a batch after which no line is added: a few thousand tokens.
const BATCH: usize = 16 << 10;

/// What some editors on Windows begin a file with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The file that texts come from.
#[derive(Args)]
pub(crate) struct InputArgs {
    /// File to read instead of standard input
    ///
    /// A line can have up to 1 MiB. If a line can't be processed, its error is reported, the other lines are answered, and
    /// the exit code is 1. With --jsonl, the output repeats all fields of an object as they are written, in their order. A field
    /// of the answer replaces one of the same name; so does error, which only lines without an answer have.
    #[arg(short, long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) form: FormArgs,

    /// Answer only a part of the lines of --file, such as 2/5, the second of five
    ///
    /// Parts follow each other, and have about the same number of lines: part I of N begins after the first L * (I - 1) / N of L
    /// lines. What they give with --json or --jsonl is, one after the other, what the whole file gives; with --out, so are the rows.
    /// Numbers of lines are those of the file.
    #[arg(long, value_name = "I/N", requires = "file", hide_short_help = true)]
    shard: Option<Shard>,

    /// Compute equal texts once
    ///
    /// For inputs in which many are the same. Every line has its answer, in its place and with the same bytes. The last
    /// different texts are remembered, as many as take 64 MiB with their answers as JSON.
    #[arg(long, hide_short_help = true)]
    dedup: bool,
}

/// How the input is read.
#[derive(Args)]
pub(crate) struct FormArgs {
    /// Columns of a table, or fields of JSON objects, to read: the texts', or such as text=review,pair=title
    ///
    /// What stands before = is a field that the command reads (see --jsonl); without it, it is the text. Without this flag, columns
    /// have the names of the fields, and the only column of a table can have any. All other columns are repeated in the output.
    #[arg(
        long,
        value_name = "COLUMN|FIELD=COLUMN,...",
        value_delimiter = ',',
        alias = "text-column",
        hide_short_help = true
    )]
    columns: Vec<String>,

    /// What the input is: lines, jsonl, csv or tsv [default: from the ending of --file]
    ///
    /// A file called .csv or .tsv is a table: its first record names the columns, and the others are the texts. One called .jsonl or
    /// .ndjson has JSON lines, as with --jsonl. Any other, and standard input, has a text in each line, or JSON lines with --jsonl.
    #[arg(long, value_name = "FORM", value_parser = one_of(FORMS), hide_possible_values = true, hide_short_help = true)]
    input_format: Option<Form>,
}

/// The columns of tables, or fields of JSON lines, that the fields of an input are read from.
struct Columns {
    /// Fields and columns, the main one first.
    names: Vec<(&'static str, String)>,
    /// Whether the user chose them.
    chosen: bool,
}

const FORMS: &[Choice<Form>] = &[
    ("lines", Form::Lines, "A text in each line"),
    ("jsonl", Form::Jsonl, "A JSON object in each line"),
    ("csv", Form::Table(Delimiter::Comma), "A table with commas"),
    ("tsv", Form::Table(Delimiter::Tab), "A table with tabs"),
];

impl FormArgs {
    /// What a file, or standard input, is.
    fn form(&self, file: Option<&Path>, format: Format) -> Result<Form> {
        if let Some(form) = self.input_format {
            return Ok(form);
        }
        let ending = file.and_then(Path::extension).unwrap_or_default();
        ensure!(
            ending != "parquet",
            "rq reads no Parquet: write the table as CSV or JSON lines, with the columns that you need"
        );
        let unnamed = match format {
            Format::Jsonl => Form::Jsonl,
            Format::Human | Format::Json => Form::Lines,
        };
        Ok(file.and_then(Form::of).unwrap_or(unnamed))
    }

    /// Which column each field is read from.
    fn columns<T: FromLine>(&self) -> Result<Columns> {
        let mut columns = Vec::new();
        for column in &self.columns {
            let (field, name) = column.split_once('=').unwrap_or((T::FIELDS[0], column));
            let Some(field) = T::FIELDS.iter().find(|known| **known == field) else {
                bail!(
                    "--columns {column}: there is no field {field:?}, only {}",
                    T::FIELDS.join(" and ")
                );
            };
            if columns.iter().any(|(other, _)| other == field) {
                let pairs: Vec<String> = T::FIELDS.iter().map(|f| format!("{f}=COLUMN")).collect();
                bail!("--columns names {field} twice: write {}", pairs.join(","));
            }
            columns.push((*field, name.to_owned()));
        }
        let chosen = !columns.is_empty();
        for field in T::FIELDS {
            if !columns.iter().any(|(other, _)| other == field) {
                columns.push((field, (*field).to_owned()));
            }
        }
        columns.sort_by_key(|(field, _)| T::FIELDS.iter().position(|other| other == field));
        Ok(Columns {
            names: columns,
            chosen,
        })
    }
}

/// An input of a command. With `--jsonl`, it is a JSON object with these fields, in the input and in the output; others are
/// repeated.
pub(crate) trait FromLine: DeserializeOwned + Serialize {
    /// The names of the fields, the main one first.
    const FIELDS: &'static [&'static str];

    /// The input that an argument, a line that isn't JSON, or a JSON string stands for.
    fn from_text(text: String) -> Result<Self>;
}

/// The input of a command that takes single texts.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Text {
    pub(crate) text: String,
}

impl FromLine for Text {
    const FIELDS: &'static [&'static str] = &["text"];

    fn from_text(text: String) -> Result<Self> {
        Ok(Self { text })
    }
}

/// The texts of a command.
pub(crate) enum Source<T> {
    /// Arguments.
    Given(Vec<T>),
    /// Lines to be read.
    Lines(Box<Lines<Box<dyn Read>>>),
}

impl InputArgs {
    /// Whether a line can have several fields.
    pub(crate) fn has_fields(&self, format: Format) -> Result<bool> {
        Ok(self.form.form(self.file.as_deref(), format)? != Form::Lines)
    }

    /// Whether only a part of it is read.
    pub(crate) fn is_sharded(&self) -> bool {
        self.shard.is_some()
    }

    /// The texts given as arguments. Without any, the lines of [`open`].
    pub(crate) fn open<T: FromLine>(&self, texts: &[String], format: Format) -> Result<Source<T>> {
        if texts.is_empty() {
            let file = self.file.as_deref();
            let mut source = open(file, &self.form, format)?;
            if let Source::Lines(lines) = &mut source {
                lines.remembers = self.dedup;
                if let (Some(shard), Some(path)) = (self.shard, &self.file) {
                    let Source::<T>::Lines(mut counted) = open(file, &self.form, format)? else {
                        unreachable!("a file has lines");
                    };
                    ensure!(
                        counted.length.is_some(),
                        "--shard counts the lines of {} first, which must be a file for it",
                        path.display()
                    );
                    let part = shard.of_lines(counted.skip(u64::MAX)?);
                    lines.is_later_part = !shard.is_first();
                    lines.only(part)?;
                }
            }
            return Ok(source);
        }
        ensure!(
            self.shard.is_none(),
            "--shard is a part of the lines of a file: name it with --file"
        );
        let inputs = (1..).zip(texts).map(|(number, text)| {
            let input = T::from_text(text.clone());
            name_the_text(input, number, texts.len())
        });
        Ok(Source::Given(inputs.collect::<Result<_>>()?))
    }
}

impl<T> Source<T> {
    /// What lines are.
    pub(crate) fn form(&self) -> Option<Form> {
        match self {
            Self::Given(_) => None,
            Self::Lines(lines) => Some(lines.form),
        }
    }

    /// The file, for what must read it more than once.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(_) => None,
            Self::Lines(lines) => lines.path.as_deref(),
        }
    }

    /// How many lines come before those that are read.
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Given(_) => 0,
            Self::Lines(lines) => lines.first(),
        }
    }

    /// Whether it is one of several parts.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.part.is_some())
    }

    /// The names of a table's columns.
    pub(crate) fn header(&mut self) -> Result<Option<&[String]>> {
        match self {
            Self::Given(_) => Ok(None),
            Self::Lines(lines) => lines.header(),
        }
    }

    /// Whether it is one of several parts, and which are behind the first.
    pub(crate) fn is_later_part(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_later_part)
    }

    /// Takes up lines where another run stopped.
    pub(crate) fn resume(&mut self, done: Done) -> Result<()> {
        if let Self::Lines(lines) = self {
            lines.skip(done.lines)?;
            lines.refused = done.refused;
        }
        Ok(())
    }
}

/// Opens a file, or standard input.
pub(crate) fn open<T: FromLine>(
    file: Option<&Path>,
    args: &FormArgs,
    format: Format,
) -> Result<Source<T>> {
    let form = args.form(file, format)?;
    let columns = args.columns::<T>()?;
    ensure!(
        form != Form::Lines || !columns.chosen,
        "--columns is for tables and JSON lines: name a .csv, .tsv or .jsonl file, or pass --input-format"
    );
    let (mut length, mut typed) = (None, false);
    let (input, name): (Box<dyn Read>, _) = match file {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("can't read {name}"))?;
            length = file
                .metadata()
                .ok()
                .filter(|m| m.is_file())
                .map(|m| m.len());
            (Box::new(file), name)
        }
        None => {
            let stdin = std::io::stdin().lock();
            typed = stdin.is_terminal();
            let input: Box<dyn Read> = match typed {
                true => Box::new(Prompted::new(stdin)),
                false => Box::new(stdin),
            };
            (input, "standard input".to_owned())
        }
    };
    let mut lines = Lines::new(input, name, form, columns);
    lines.path = file.map(Path::to_owned);
    (lines.length, lines.typed) = (length, typed);
    Ok(Source::Lines(Box::new(lines)))
}

/// The whole text of a file of at most so many bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<String> {
    let cannot = || format!("can't read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    let length = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    ensure!(
        length.with_context(cannot)? as u64 <= most,
        "{} is longer than {} MiB: split it",
        path.display(),
        most >> 20
    );
    if let Some(encoding) = OtherEncoding::of(&bytes) {
        return Err(encoding).with_context(cannot);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        anyhow!(
            "can't read {}: it isn't UTF-8, at byte {at}",
            path.display()
        )
    })
}

/// Says in an error which text it is about, if there are several.
pub(crate) fn name_the_text<T>(result: Result<T>, number: usize, count: usize) -> Result<T> {
    match count {
        1 => result,
        _ => result.with_context(|| format!("text {number} of {count}")),
    }
}

/// A line of the input.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// What the output repeats of it.
    pub(crate) row: Repeated,
    /// What it holds, or why it can't be read.
    pub(crate) input: Result<T>,
}

/// What the output repeats of a line.
#[derive(Clone, Debug, Default)]
pub(crate) enum Repeated {
    /// The command's own input is all there is.
    #[default]
    Input,
    /// A JSON object.
    Fields(Fields),
}

/// Reads lines.
pub(crate) struct Lines<R> {
    input: BufReader<R>,
    /// Its name in messages.
    name: String,
    form: Form,
    /// The file, if it is one.
    path: Option<PathBuf>,
    columns: Columns,
    /// Of a table, what puts records together, and the names of its columns once they are read.
    table: Option<(table::Records, Option<Vec<String>>)>,
    /// The number of the last line; of a table, with those that are parts of records.
    physical: u64,
    /// Whether it is a part that comes behind the first.
    pub(crate) is_later_part: bool,
    /// Lines read so far; of a table, records.
    count: u64,
    /// The lines to read, from 0, if not all.
    part: Option<Range<u64>>,
    /// Those without an answer, which who answers counts.
    pub(crate) refused: u64,
    /// Bytes read so far, and in all, if it is a file.
    position: u64,
    length: Option<u64>,
    /// Whether they are typed at a terminal, which shows no progress among them.
    pub(crate) typed: bool,
    /// Whether answers are remembered, for equal lines.
    pub(crate) remembers: bool,
    /// Whether the end was reached. A terminal can go on after it.
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R, name: String, form: Form, columns: Columns) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            name,
            form,
            path: None,
            columns,
            table: match form {
                Form::Table(delimiter) => Some((table::Records::new(delimiter), None)),
                Form::Lines | Form::Jsonl => None,
            },
            physical: 0,
            is_later_part: false,
            count: 0,
            part: None,
            refused: 0,
            position: 0,
            length: None,
            typed: false,
            remembers: false,
            ended: false,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads only these lines, counted from 0.
    fn only(&mut self, part: Range<u64>) -> Result<()> {
        self.skip(part.start)?;
        self.part = Some(part);
        Ok(())
    }

    /// Goes to the line after so many, or to the end, and returns how many there were.
    fn skip(&mut self, lines: u64) -> Result<u64> {
        while self.count < lines {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(self.count)
    }

    /// The number of the last line that was read.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many of the lines to be read were read.
    pub(crate) fn answered(&self) -> u64 {
        self.count - self.first()
    }

    /// How many lines come before those that are read.
    fn first(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.start)
    }

    /// How far it is, in bytes of a file, or lines of a part.
    pub(crate) fn position(&self) -> u64 {
        match &self.part {
            Some(_) => self.count,
            None => self.position,
        }
    }

    /// How far it goes, if that is known.
    pub(crate) fn end(&self) -> Option<u64> {
        match &self.part {
            Some(part) => Some(part.end),
            None => self.length,
        }
    }

    /// The next batch, of at most `most` lines; empty at the end.
    pub(crate) fn batch<T: FromLine>(&mut self, most: usize) -> Result<Vec<Line<T>>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.is_empty() || (lines.len() < most && bytes < BATCH && self.line_is_there()) {
            if self
                .part
                .as_ref()
                .is_some_and(|part| part.end <= self.count)
            {
                break;
            }
            let Some((number, given)) = self.next()? else {
                break;
            };
            let (row, input) = match given {
                Ok(Given::Text(line)) => {
                    bytes += line.len();
                    parse(line, self.form == Form::Jsonl, &self.columns)
                }
                Ok(Given::Row(fields, wrong)) => {
                    let input = match wrong {
                        Some(error) => Err(error),
                        None => select(&fields, &self.columns.names),
                    };
                    bytes += fields.len();
                    (Repeated::Fields(fields), input)
                }
                Err(error) => (Repeated::Input, Err(error)),
            };
            lines.push(Line { number, row, input });
        }
        Ok(lines)
    }

    /// Whether a whole line can be read without waiting.
    fn line_is_there(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The names of a table's columns, which its first record has.
    fn header(&mut self) -> Result<Option<&[String]>> {
        if let Some((mut records, None)) = self.table.take_if(|(_, names)| names.is_none()) {
            let names = match self.record(&mut records) {
                Ok(None) => Ok(Vec::new()),
                Ok(Some((_, record))) => record.and_then(table::header),
                Err(error) => Err(error.into()),
            };
            let names = names.with_context(|| format!("can't read {}", self.name))?;
            self.choose(&names)?;
            self.table = Some((records, Some(names)));
        }
        Ok(self.table.as_ref().and_then(|(_, names)| names.as_deref()))
    }

    /// The next line or record, and the number of the line on which it begins.
    fn next(&mut self) -> Result<Option<(u64, Result<Given>)>> {
        self.header()?;
        let cannot = |name: &str| format!("can't read {name}");
        let Some((mut records, Some(names))) = self.table.take() else {
            let line = self.line().with_context(|| cannot(&self.name))?;
            let Some((mut line, too_long)) = line else {
                return Ok(None);
            };
            self.count += 1;
            line.pop_if(|byte| *byte == b'\n');
            line.pop_if(|byte| *byte == b'\r');
            return Ok(Some((self.physical, text(line, too_long).map(Given::Text))));
        };
        let record = self
            .record(&mut records)
            .with_context(|| cannot(&self.name))?;
        let given = record.map(|(number, record)| {
            self.count += 1;
            let fields = table::fields(&names, record);
            (
                number,
                fields.map(|(fields, wrong)| Given::Row(fields, wrong)),
            )
        });
        self.table = Some((records, Some(names)));
        Ok(given)
    }

    /// The next record of a table, and the number of the line on which it begins.
    fn record(
        &mut self,
        records: &mut table::Records,
    ) -> std::io::Result<Option<(u64, Result<table::Record>)>> {
        let mut first = None;
        loop {
            let Some((line, too_long)) = self.line()? else {
                let Some(first) = first else {
                    return Ok(None);
                };
                records.reset();
                let open = anyhow!(
                    "the quote that opens in line {first} is never closed: what is behind it, {} lines, is no row",
                    self.physical - first
                );
                return Ok(Some((first, Err(open))));
            };
            let number = *first.get_or_insert(self.physical);
            if too_long || records.pending() > MAX_LINE {
                records.reset();
                let long = anyhow!(
                    "the record is longer than {} MiB: does it lack a quote?",
                    MAX_LINE >> 20
                );
                return Ok(Some((number, Err(long))));
            }
            let record = match line.last() {
                Some(b'\n') => records.line(&line),
                _ => records.line(&[&line[..], b"\n"].concat()),
            };
            match record {
                Some(record) => return Ok(Some((number, record))),
                // An empty line is none.
                None if records.pending() == 0 && line.iter().all(u8::is_ascii_whitespace) => {
                    first = None;
                }
                None => {}
            }
        }
    }

    /// Says which of a table's columns is the text, and refuses a table without it.
    fn choose(&mut self, names: &[String]) -> Result<()> {
        let Columns {
            names: columns,
            chosen,
        } = &mut self.columns;
        if let [only] = names
            && !*chosen
        {
            ensure!(
                !only.contains([';', '\t', '|']),
                "{} has one column, {only:?}: its fields must be separated by commas, or by tabs in a .tsv file; --columns takes it as it is",
                self.name
            );
            columns[0].1.clone_from(only);
        }
        let main = columns[0].0;
        let missing = columns.iter().find(|(field, name)| {
            let is_needed = *field == main || (*chosen && field != name);
            is_needed && !names.contains(name)
        });
        match missing {
            Some((_, name)) if !names.is_empty() => bail!(
                "{} has no column {name:?}; its columns are {}: say which one to read with --columns",
                self.name,
                names.join(", ")
            ),
            _ => Ok(()),
        }
    }

    /// The next line, with its end, and whether it is too long, of which nothing is kept then.
    fn line(&mut self) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        let (mut line, mut too_long) = (Vec::new(), false);
        let (mut whole, begins) = (false, self.position == 0);
        while !whole && !self.ended {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if begins && line.is_empty() {
                let encoding = OtherEncoding::of(buffer).map(std::io::Error::other);
                encoding.map_or(Ok(()), Err)?;
            }
            self.ended = buffer.is_empty();
            let end = buffer.iter().position(|&byte| byte == b'\n');
            whole = end.is_some();
            let part = &buffer[..end.map_or(buffer.len(), |end| end + 1)];
            too_long |= line.len() + part.len() - usize::from(whole) > MAX_LINE;
            match too_long {
                true => line = Vec::new(),
                false => line.extend_from_slice(part),
            }
            let taken = part.len();
            self.position += taken as u64;
            self.input.consume(taken);
        }
        if begins && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if !whole && line.is_empty() && !too_long {
            return Ok(None);
        }
        self.physical += 1;
        Ok(Some((line, too_long)))
    }
}

/// What a line or a record holds.
enum Given {
    Text(String),
    /// A table's, and what is wrong with it.
    Row(Fields, Option<Error>),
}

/// The input that some fields of an object or a record are.
fn select<T: FromLine>(fields: &Fields, columns: &[(&'static str, String)]) -> Result<T> {
    let selected = fields.select(columns);
    let (main, name) = &columns[0];
    ensure!(
        selected.names().any(|field| field == *main),
        "there is no {name:?}"
    );
    // A text by itself may stand for more than one field.
    if let [field] = selected.names().collect::<Vec<_>>()[..]
        && let Some(text) = selected.text(field)
    {
        return T::from_text(text);
    }
    serde_json::from_str(&serde_json::to_string(&selected)?).map_err(|error| {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        anyhow!(
            "it isn't what is read: {}",
            message.strip_suffix(&place).unwrap_or(&message)
        )
    })
}

fn text(line: Vec<u8>, too_long: bool) -> Result<String> {
    ensure!(!too_long, "the line is longer than {} MiB", MAX_LINE >> 20);
    String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        anyhow!("the line isn't UTF-8, at byte {at}")
    })
}

fn parse<T: FromLine>(line: String, jsonl: bool, columns: &Columns) -> (Repeated, Result<T>) {
    match line.as_bytes().first() {
        Some(b'{') if jsonl => match serde_json::from_str::<Fields>(&line) {
            Ok(fields) => {
                let input = match columns.chosen {
                    true => select(&fields, &columns.names),
                    false => from_json(&line),
                };
                (Repeated::Fields(fields), input)
            }
            // It isn't JSON, which the other says.
            Err(_) => (Repeated::Input, from_json(&line)),
        },
        Some(b'"') if jsonl => (Repeated::Input, from_json(&line).and_then(T::from_text)),
        _ => (Repeated::Input, T::from_text(line)),
    }
}

pub(crate) fn from_json<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line)
        .map_err(|error| anyhow!("the line isn't the expected JSON: {}", words::of(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input that comes in these pieces, one a read.
    struct Pieces<'a>(std::slice::Iter<'a, &'a [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let piece = self.0.next().copied().unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    /// Those of a text.
    fn columns() -> Columns {
        Columns {
            names: vec![("text", "text".to_owned())],
            chosen: false,
        }
    }

    /// The texts or errors of each batch.
    fn batches(pieces: &[&[u8]], jsonl: bool, most: usize) -> Vec<Vec<Result<String, String>>> {
        let form = match jsonl {
            true => Form::Jsonl,
            false => Form::Lines,
        };
        let pieces = Pieces(pieces.iter());
        let mut lines = Lines::new(pieces, "the test".to_owned(), form, columns());
        let (mut batches, mut number) = (Vec::new(), 0);
        loop {
            let batch = lines.batch::<Text>(most).unwrap();
            if batch.is_empty() {
                return batches;
            }
            let mut texts = Vec::new();
            for line in batch {
                number += 1;
                assert_eq!(line.number, number);
                let input = line.input.map(|input| input.text);
                texts.push(input.map_err(|error| format!("{error:#}")));
            }
            batches.push(texts);
        }
    }

    fn texts(input: &[u8], jsonl: bool) -> Vec<Result<String, String>> {
        batches(&[input], jsonl, usize::MAX).concat()
    }

    #[test]
    fn a_batch_is_what_is_there() {
        let all = |pieces: &[&[u8]], most| -> Vec<Vec<String>> {
            let batches = batches(pieces, false, most).into_iter();
            batches
                .map(|batch| batch.into_iter().map(Result::unwrap).collect())
                .collect()
        };
        assert_eq!(all(&[b"a\n", b"b\nc\n"], 9), [vec!["a"], vec!["b", "c"]]);
        assert_eq!(
            all(&[b"a\nb\nc\n"], 2),
            [vec!["a", "b"], vec!["c"]],
            "at most two"
        );
        // What is there of another line doesn't hold the whole ones back.
        assert_eq!(all(&[b"a\nb", b"c", b"d\ne"], 9), [["a"], ["bcd"], ["e"]]);
        assert_eq!(all(&[], 9), [[""; 0]; 0]);

        let long = [b"x".repeat(BATCH), b"\nb\nc\n".to_vec()].concat();
        let sizes: Vec<usize> = all(&[&long], 9).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn lines_without_their_ends() {
        let expect = |input: &[u8], expected: &[&str]| {
            let texts: Vec<String> = texts(input, false)
                .into_iter()
                .map(Result::unwrap)
                .collect();
            assert_eq!(texts, expected, "{input:?}");
        };
        expect(b"", &[]);
        expect(b"\n", &[""]);
        expect(b"a\r\n\r\n b\rc \n", &["a", "", " b\rc "]);
        expect(b"a\nb\r", &["a", "b"]);
        expect("\u{feff}a\n\u{feff}b\n".as_bytes(), &["a", "\u{feff}b"]);
        expect("\u{feff}".as_bytes(), &[]);
        expect("\u{feff}\n".as_bytes(), &[""]);
        expect(b"{\"text\": 1}\n\"\n", &["{\"text\": 1}", "\""]);
    }

    #[test]
    fn another_encoding_ends_it_before_the_first_line() {
        for input in [&b"\xff\xfea\0\n\0"[..], b"\n\0a\0\n\0", b"\0{\0}"] {
            let mut lines = Lines::new(input, "the test".to_owned(), Form::Jsonl, columns());
            let error = format!("{:#}", lines.batch::<Text>(9).unwrap_err());
            assert!(
                error.starts_with("can't read the test: it is UTF-16"),
                "{error}"
            );
        }
        // Not what only looks like it further on.
        let expected = [Ok("a".to_owned()), Ok("b\0c\0".to_owned())];
        assert_eq!(batches(&[b"a\n", b"b\0c\0"], false, 9).concat(), expected);
    }

    #[test]
    fn json_lines() {
        let input = br#"{"text": "a\n", "id": [1, {}]}
"b\"\u00e9"
{"text": ""}
 {"text": "c"}
[1]

{"texts": "d"}
{"text": 5}
{"text": "d"} e
"d
{"text": "\ud800"}
{
f"#;
        let expected: [Result<&str, &str>; 13] = [
            Ok("a\n"),
            Ok("b\"é"),
            Ok(""),
            Ok(" {\"text\": \"c\"}"),
            Ok("[1]"),
            Ok(""),
            Err("the field `text` is missing, at byte 14"),
            Err("there is the number 5, in place of a string, at byte 10"),
            Err("something follows the JSON, at byte 15"),
            Err("it ends within the JSON, at byte 2"),
            Err("a \\u escape is half of a surrogate pair, at byte 17"),
            Err("it ends within the JSON, at byte 1"),
            Ok("f"),
        ];
        let expected = expected.map(|line| {
            line.map(str::to_owned)
                .map_err(|error| format!("the line isn't the expected JSON: {error}"))
        });
        assert_eq!(texts(input, true), expected);
    }

    #[test]
    fn a_line_that_cant_be_used_is_an_error_of_its_own() {
        let not_utf8 = Err("the line isn't UTF-8, at byte 2".to_owned());
        let (a, b) = (Ok("a".to_owned()), Ok("b".to_owned()));
        assert_eq!(texts(b"a\nx\xff\nb", false), [a, not_utf8, b.clone()]);

        let longest = "y".repeat(MAX_LINE);
        let input = format!("x{longest}\n{longest}\n{longest}z{longest}\nb\n{longest}z");
        let pieces: Vec<&[u8]> = input.as_bytes().chunks(1000).collect();
        let too_long = Err("the line is longer than 1 MiB".to_owned());
        assert_eq!(
            batches(&pieces, false, 9).concat(),
            [
                too_long.clone(),
                Ok(longest),
                too_long.clone(),
                b,
                too_long.clone()
            ]
        );
    }

    #[test]
    fn a_failure_of_the_input_is_not_a_line() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("unplugged"))
            }
        }
        let input = (&b"a\nb"[..]).chain(Broken);
        let mut lines = Lines::new(input, "the disk".to_owned(), Form::Lines, columns());
        assert_eq!(lines.batch::<Text>(9).unwrap().len(), 1);
        let error = lines.batch::<Text>(9).unwrap_err();
        assert_eq!(format!("{error:#}"), "can't read the disk: unplugged");
    }
}
