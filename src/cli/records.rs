//! What a command prints for each of its texts: a block for a person, or a line of JSON.

use super::task::{Answer, Command};
use super::{message, say};
use anyhow::{Error, Result};
use serde::Serialize;
use std::io::{BufWriter, StdoutLock, Write};

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Blocks for a person, with blank lines between.
    Human,
    /// A line of JSON a text, in a form that others have made known.
    Json,
    /// A line with a JSON object a text, which begins with the fields of the input.
    Jsonl,
}

/// Writes answers and refusals to standard output, in the order of the texts.
pub(super) struct Records {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    /// Whether there is a block before the next.
    begun: bool,
}

/// A line of `--jsonl`.
#[derive(Serialize)]
struct Object<I, O> {
    #[serde(flatten)]
    input: I,
    #[serde(flatten)]
    output: O,
}

/// What takes the place of an answer that there isn't.
#[derive(Serialize)]
struct Refusal {
    error: String,
    line: u64,
}

impl Records {
    pub(super) fn new(format: Format) -> Self {
        Self {
            out: BufWriter::new(std::io::stdout().lock()),
            format,
            begun: false,
        }
    }

    /// Writes the answer to a text.
    pub(super) fn answer<C: Command>(
        &mut self,
        command: &C,
        input: &C::Input,
        answer: &Answer<C>,
    ) -> Result<()> {
        match self.format {
            Format::Human => {
                if std::mem::replace(&mut self.begun, true) && command.in_blocks() {
                    writeln!(self.out)?;
                }
                command.show(&mut self.out, input, answer)
            }
            Format::Json => self.line(&command.json(input, answer)),
            Format::Jsonl => self.line(&Object {
                input,
                output: command.fields(answer),
            }),
        }
    }

    /// Writes why there is no answer to a line of the input: for a person to standard error, else in the answer's place.
    pub(super) fn refuse<I: Serialize>(
        &mut self,
        name: &str,
        line: u64,
        input: Option<&I>,
        error: &Error,
    ) -> Result<()> {
        let error = message(error);
        match self.format {
            Format::Human => {
                // Both may be the same terminal.
                self.flush()?;
                say(format_args!("{name}, line {line}: {error}"));
                Ok(())
            }
            Format::Json => self.line(&Refusal { error, line }),
            Format::Jsonl => self.line(&Object {
                input,
                output: Refusal { error, line },
            }),
        }
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        // As the error of writing that it is, so that a broken pipe is known as one.
        serde_json::to_writer(&mut self.out, value).map_err(std::io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }
}
