//! Reads texts from a command's arguments, a file, or standard input.
//!
//! A batch of lines is the next line, which is waited for, and the lines after it that are already there. So a program that
//! waits for each answer gets it, one that writes ahead is served in batches, and memory doesn't depend on the number of
//! lines.

use crate::args::Format;
use crate::fields::Fields;
use crate::resume::Done;
use crate::shard::Shard;
use anyhow::{Context, Result, anyhow, ensure};
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

/// An input of a command. With `--jsonl`, it is a JSON object with these fields, in the input and in the output; others are
/// repeated.
pub(crate) trait FromLine: DeserializeOwned + Serialize {
    /// The input that an argument, a line that isn't JSON, or a JSON string stands for.
    fn from_text(text: String) -> Result<Self>;
}

/// The input of a command that takes single texts.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Text {
    pub(crate) text: String,
}

impl FromLine for Text {
    fn from_text(text: String) -> Result<Self> {
        Ok(Self { text })
    }
}

/// The texts of a command.
pub(crate) enum Source<T> {
    /// Arguments.
    Given(Vec<T>),
    /// Lines to be read.
    Lines(Lines<Box<dyn Read>>),
}

impl InputArgs {
    /// Whether only a part of it is read.
    pub(crate) fn is_sharded(&self) -> bool {
        self.shard.is_some()
    }

    /// The file, for what must read it more than once.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The texts given as arguments. Without any, the lines of [`open`].
    pub(crate) fn open<T: FromLine>(&self, texts: &[String], format: Format) -> Result<Source<T>> {
        if texts.is_empty() {
            let mut source = open(self.file.as_deref(), format)?;
            if let Source::Lines(lines) = &mut source {
                lines.remembers = self.dedup;
                if let (Some(shard), Some(path)) = (self.shard, &self.file) {
                    ensure!(
                        format != Format::Human,
                        "--shard is for answers that can be put together again: pass --json, --jsonl or --out, too"
                    );
                    let Source::<T>::Lines(mut counted) = open(Some(path), format)? else {
                        unreachable!("a file has lines");
                    };
                    ensure!(
                        counted.length.is_some(),
                        "--shard counts the lines of {} first, which must be a file for it",
                        path.display()
                    );
                    lines.only(shard.of_lines(counted.skip(u64::MAX)?))?;
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
pub(crate) fn open<T>(file: Option<&Path>, format: Format) -> Result<Source<T>> {
    let mut length = None;
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
            ensure!(
                !stdin.is_terminal(),
                "no text: give one as an argument, or one per line with --file or through a pipe (see --help)"
            );
            (Box::new(stdin), "standard input".to_owned())
        }
    };
    let jsonl = format == Format::Jsonl;
    let mut lines = Lines::new(input, name, jsonl);
    lines.length = length;
    Ok(Source::Lines(lines))
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
    /// Whether lines may be JSON.
    jsonl: bool,
    /// Lines read so far.
    count: u64,
    /// The lines to read, from 0, if not all.
    part: Option<Range<u64>>,
    /// Those without an answer, which who answers counts.
    pub(crate) refused: u64,
    /// Bytes read so far, and in all, if it is a file.
    position: u64,
    length: Option<u64>,
    /// Whether answers are remembered, for equal lines.
    pub(crate) remembers: bool,
    /// Whether the end was reached. A terminal can go on after it.
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R, name: String, jsonl: bool) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            name,
            jsonl,
            count: 0,
            part: None,
            refused: 0,
            position: 0,
            length: None,
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
            let line = self.line();
            if line
                .with_context(|| format!("can't read {}", self.name))?
                .is_none()
            {
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
        self.count - self.part.as_ref().map_or(0, |part| part.start)
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
            let line = self.line();
            let Some(line) = line.with_context(|| format!("can't read {}", self.name))? else {
                break;
            };
            bytes += line.as_ref().map_or(0, String::len);
            let (row, input) = match line {
                Ok(line) => parse(line, self.jsonl),
                Err(error) => (Repeated::Input, Err(error)),
            };
            lines.push(Line {
                number: self.count,
                row,
                input,
            });
        }
        Ok(lines)
    }

    /// Whether a whole line can be read without waiting.
    fn line_is_there(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line, without its end.
    fn line(&mut self) -> std::io::Result<Option<Result<String>>> {
        // Nothing is kept of a line that is too long.
        let (mut line, mut too_long) = (Vec::new(), false);
        let mut whole = false;
        while !whole && !self.ended {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if self.count == 0 && line.is_empty() {
                let encoding = OtherEncoding::of(buffer).map(std::io::Error::other);
                encoding.map_or(Ok(()), Err)?;
            }
            self.ended = buffer.is_empty();
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= line.len() + part.len() > MAX_LINE;
            match too_long {
                true => line = Vec::new(),
                false => line.extend_from_slice(part),
            }
            whole = end.is_some();
            let taken = part.len() + usize::from(whole);
            self.position += taken as u64;
            self.input.consume(taken);
        }
        if self.count == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if !whole && line.is_empty() && !too_long {
            return Ok(None);
        }
        self.count += 1;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(text(line, too_long)))
    }
}

fn text(line: Vec<u8>, too_long: bool) -> Result<String> {
    ensure!(!too_long, "the line is longer than {} MiB", MAX_LINE >> 20);
    String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        anyhow!("the line isn't UTF-8, at byte {at}")
    })
}

fn parse<T: FromLine>(line: String, jsonl: bool) -> (Repeated, Result<T>) {
    match line.as_bytes().first() {
        Some(b'{') if jsonl => {
            // What isn't JSON is said by the other.
            let row = serde_json::from_str(&line).map_or(Repeated::Input, Repeated::Fields);
            (row, from_json(&line))
        }
        Some(b'"') if jsonl => (Repeated::Input, from_json(&line).and_then(T::from_text)),
        _ => (Repeated::Input, T::from_text(line)),
    }
}

pub(crate) fn from_json<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| {
        // serde_json ends with a place in a document of several lines.
        let (message, byte) = (error.to_string(), error.column());
        let place = format!(" at line {} column {byte}", error.line());
        let message = message.strip_suffix(&place).unwrap_or(&message);
        anyhow!("the line isn't the expected JSON: {message}, at byte {byte}")
    })
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

    /// The texts or errors of each batch.
    fn batches(pieces: &[&[u8]], jsonl: bool, most: usize) -> Vec<Vec<Result<String, String>>> {
        let mut lines = Lines::new(Pieces(pieces.iter()), "the test".to_owned(), jsonl);
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
            let mut lines = Lines::new(input, "the test".to_owned(), true);
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
            Err("missing field `text`, at byte 14"),
            Err("invalid type: integer `5`, expected a string, at byte 10"),
            Err("trailing characters, at byte 15"),
            Err("EOF while parsing a string, at byte 2"),
            Err("unexpected end of hex escape, at byte 17"),
            Err("EOF while parsing an object, at byte 1"),
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
        let mut lines = Lines::new(input, "the disk".to_owned(), false);
        assert_eq!(lines.batch::<Text>(9).unwrap().len(), 1);
        let error = lines.batch::<Text>(9).unwrap_err();
        assert_eq!(format!("{error:#}"), "can't read the disk: unplugged");
    }
}
