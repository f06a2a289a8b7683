//! What a command prints for each of its texts: a block for a person, or a line of JSON.

use super::task::{Answer, Command, Sink};
use super::{message, say};
use anyhow::{Error, Result};
use serde::Serialize;
use std::io::{BufWriter, StdoutLock, Write};

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Blocks for a person, with blank lines between, or rows of a table.
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
    /// Whether there is a block or row before the next.
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

/// Lists as transformers returns them: a single item without a list around it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Unwrapped<T> {
    One(T),
    Several(Vec<T>),
}

impl<T> Unwrapped<T> {
    pub(super) fn new(mut items: Vec<T>) -> Self {
        match items.len() {
            1 => Self::One(items.remove(0)),
            _ => Self::Several(items),
        }
    }
}

impl Records {
    pub(super) fn new(format: Format) -> Self {
        Self {
            out: BufWriter::new(std::io::stdout().lock()),
            format,
            begun: false,
        }
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        json_line(&mut self.out, value)
    }
}

/// Writes a line of JSON.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    // As the error of writing that it is, so that a broken pipe is known as one.
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

impl<C: Command> Sink<C> for Records {
    fn answer(&mut self, command: &C, input: &C::Input, answer: &Answer<C>) -> Result<()> {
        match self.format {
            Format::Human => {
                let begun = std::mem::replace(&mut self.begun, true);
                match command.heading() {
                    Some(heading) if !begun => writeln!(self.out, "{heading}")?,
                    _ if begun && command.in_blocks() => writeln!(self.out)?,
                    _ => {}
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

    /// For a person to standard error, else in the answer's place.
    fn refuse(
        &mut self,
        name: &str,
        line: u64,
        input: Option<&C::Input>,
        error: &Error,
    ) -> Result<()> {
        match self.format {
            Format::Human => {
                // Both may be the same terminal.
                self.out.flush()?;
                say_of_line(name, line, error);
                Ok(())
            }
            Format::Json => self.line(&Refusal {
                error: message(error),
                line,
            }),
            Format::Jsonl => self.line(&Object {
                input,
                output: Refusal {
                    error: message(error),
                    line,
                },
            }),
        }
    }

    /// For a person after the answers, else to standard error.
    fn summary(&mut self, summary: &str) -> Result<()> {
        match self.format {
            Format::Human if self.begun => writeln!(self.out, "\n{summary}")?,
            Format::Human => {}
            Format::Json | Format::Jsonl => say(summary),
        }
        Ok(self.out.flush()?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Says on standard error what is wrong with a line of the input `name`.
pub(super) fn say_of_line(name: &str, line: u64, error: &Error) {
    say(format_args!("{name}, line {line}: {}", message(error)));
}
