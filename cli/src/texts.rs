//! Where a command's texts come from: its arguments, a file, or standard input. What is done with them is in `task`.
//!
//! Lines are read as they come, and only as many as are computed next: a read waits for a line, and takes what is there.
//! So a producer that waits for each answer gets it, one that writes ahead is served in batches, and memory doesn't
//! depend on how many lines there are.

use super::records::Format;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read};
use std::path::PathBuf;

/// The longest line in bytes. The tokenizer takes about 180 bytes of memory for each, and a text that a model takes whole
/// has a few thousand.
const MAX_LINE: usize = 1 << 20;
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;
/// Bytes of the texts that are computed at once, at most, but for one text more: a few thousand tokens.
const BATCH: usize = 16 << 10;

/// What the lines of a file begin with that was written by some editors of Windows.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The texts of a command that takes them as arguments, too.
#[derive(Args)]
pub(super) struct TextArgs {
    /// Texts; without any, standard input is read, one text a line
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,
}

/// Where lines come from, what they are, and what becomes of them.
#[derive(Args)]
pub(super) struct InputArgs {
    /// File to read instead of standard input
    ///
    /// A line may have 1 MiB. One that can't be processed is an error of its own, and the others go on; the exit code is
    /// then 1.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print one line of JSON a text
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines
    #[arg(long)]
    jsonl: bool,
}

/// What a command computes on, as a line of its input gives it: with `--jsonl` a JSON object of these fields, others being
/// ignored. In the output the same fields say which text an answer is to.
pub(super) trait FromLine: DeserializeOwned + Serialize {
    /// What an argument is, or a line that isn't JSON, or one that is a JSON string.
    fn from_text(text: String) -> Result<Self>;
}

/// The input of a command that takes single texts.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Text {
    pub(super) text: String,
}

impl FromLine for Text {
    fn from_text(text: String) -> Result<Self> {
        Ok(Self { text })
    }
}

/// The texts of a command.
pub(super) enum Source<T> {
    /// All at hand.
    Given(Vec<T>),
    /// To be read.
    Lines(Lines<Box<dyn Read>>),
}

impl TextArgs {
    /// The texts that were given, or else what [`InputArgs::open`] opens.
    ///
    /// # Errors
    /// As [`InputArgs::open`], and when an argument isn't what the command takes.
    pub(super) fn open<T: FromLine>(&self, command: &str) -> Result<Source<T>> {
        if self.texts.is_empty() {
            return self.input.open(command);
        }
        let count = self.texts.len();
        let texts = (1..).zip(&self.texts).map(|(number, text)| {
            let text = T::from_text(text.clone());
            name_the_text(text, number, count)
        });
        Ok(Source::Given(texts.collect::<Result<_>>()?))
    }

    pub(super) fn format(&self) -> Format {
        self.input.format()
    }
}

impl InputArgs {
    /// Opens the file, or standard input, for a command of this name.
    ///
    /// # Errors
    /// When there is no such file, or standard input is a terminal: a person who typed the command without a text is told
    /// so, and doesn't wait for it.
    pub(super) fn open<T>(&self, command: &str) -> Result<Source<T>> {
        let (input, name): (Box<dyn Read>, _) = match &self.file {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("can't read {name}"))?;
                (Box::new(file), name)
            }
            None => {
                let stdin = std::io::stdin().lock();
                if stdin.is_terminal() {
                    bail!(
                        "no text: give one as an argument, or texts with --file or in a pipe, one a line (see `rq {command} --help`)"
                    );
                }
                (Box::new(stdin), "standard input".to_owned())
            }
        };
        Ok(Source::Lines(Lines::new(input, name, self.jsonl)))
    }

    /// Whether a file was named.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (_, true) => Format::Jsonl,
            (true, _) => Format::Json,
            _ => Format::Human,
        }
    }
}

/// Says in an error which of the texts that were given it is about, if there are several.
pub(super) fn name_the_text<T>(result: Result<T>, number: usize, count: usize) -> Result<T> {
    match count {
        1 => result,
        _ => result.with_context(|| format!("text {number} of {count}")),
    }
}

/// A line of the input.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// What it holds, or why that can't be known.
    pub(super) input: Result<T>,
}

/// Reads lines.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    /// What it is called in messages.
    name: String,
    /// Whether lines may be JSON.
    jsonl: bool,
    /// Lines that were read.
    count: u64,
    /// Whether the end was seen. A terminal would go on after it.
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R, name: String, jsonl: bool) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            name,
            jsonl,
            count: 0,
            ended: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next lines: waits for one, and takes those with it that are there, up to `most`. None at the end.
    ///
    /// # Errors
    /// When reading fails. A line that can't be used is none.
    pub(super) fn batch<T: FromLine>(&mut self, most: usize) -> Result<Vec<Line<T>>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.is_empty() || (lines.len() < most && bytes < BATCH && self.line_is_there()) {
            let line = self.line();
            let Some(line) = line.with_context(|| format!("can't read {}", self.name))? else {
                break;
            };
            bytes += line.as_ref().map_or(0, String::len);
            lines.push(Line {
                number: self.count,
                input: line.and_then(|line| parse(line, self.jsonl)),
            });
        }
        Ok(lines)
    }

    /// Whether a whole line can be had without waiting.
    fn line_is_there(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line, without what ends it.
    fn line(&mut self) -> std::io::Result<Option<Result<String>>> {
        // Of a line that is too long, nothing is kept.
        let (mut line, mut too_long) = (Vec::new(), false);
        let mut whole = false;
        while !whole && !self.ended {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
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

fn parse<T: FromLine>(line: String, jsonl: bool) -> Result<T> {
    match line.as_bytes().first() {
        Some(b'{') if jsonl => from_json(&line),
        Some(b'"') if jsonl => T::from_text(from_json(&line)?),
        _ => T::from_text(line),
    }
}

pub(super) fn from_json<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| {
        // Its own words end with a place in a document of several lines.
        let (message, byte) = (error.to_string(), error.column());
        let place = format!(" at line {} column {byte}", error.line());
        let message = message.strip_suffix(&place).unwrap_or(&message);
        anyhow!("the line isn't the JSON that is expected: {message}, at byte {byte}")
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
                .map_err(|error| format!("the line isn't the JSON that is expected: {error}"))
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
