//! Prints answers: a block or a row for a person, or a line of JSON.

use crate::Ended;
use crate::advice::message;
use crate::args::Format;
use crate::console::{self, Escaped, say, say_of_line};
use crate::locate::Located;
use crate::out::{self, OutArgs};
use crate::task::{self, Answer, Command, Sink};
use crate::texts::{Repeated, Source};
use anyhow::{Error, Result, ensure};
use serde::Serialize;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

/// Answers all texts on standard output, or in the file that is asked for, as [`task::run`] does.
pub(crate) fn run<C: Command>(
    command: C,
    source: Source<C::Input>,
    format: Format,
    located: &Located,
    out: &OutArgs,
) -> Result<Ended> {
    ensure!(
        !source.is_part()
            || (command.ranked().is_none() && (out.out.is_some() || format != Format::Human)),
        "--shard is for answers that can be put together again: pass --json, --jsonl or --out, and no --top-k that ranks them"
    );
    if let Some(path) = &out.out {
        return out::run(command, source, format, located, out, path);
    }
    let mut records = Records {
        out: console::buffered(),
        format,
        begun: false,
    };
    task::run(&mut records, command, source, located)
}

/// Writes answers and refusals to standard output, in the order of the texts.
struct Records {
    out: Escaped<BufWriter<StdoutLock<'static>>>,
    format: Format,
    /// Whether a block or row comes before the next one.
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

/// What a line has instead of an answer.
#[derive(Serialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

impl Refusal {
    /// Why a line is refused, and its number, unless the row says something else with that name.
    pub(crate) fn new(error: &Error, line: u64, row: &Repeated) -> Self {
        let is_free = match row {
            Repeated::Input => true,
            Repeated::Fields(fields) => fields.names().all(|name| name != "line"),
        };
        Self {
            error: message(error),
            line: is_free.then_some(line),
        }
    }
}

/// A list as transformers returns it: a single item without the list around it.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Unwrapped<T> {
    One(T),
    Several(Vec<T>),
}

impl<T> Unwrapped<T> {
    pub(crate) fn new(mut items: Vec<T>) -> Self {
        match items.len() {
            1 => Self::One(items.remove(0)),
            _ => Self::Several(items),
        }
    }
}

/// Writes a line of JSON.
pub(crate) fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    // As an error of input and output, so that a broken pipe is recognized.
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// Writes a line of `--jsonl`: what the row repeats, and the answer or what there is instead.
pub(crate) fn object_line(
    out: &mut impl Write,
    row: &Repeated,
    input: impl Serialize,
    output: impl Serialize,
) -> Result<()> {
    match row {
        Repeated::Input => json_line(out, &Object { input, output }),
        Repeated::Fields(fields) => json_line(out, &fields.and(&output)?),
    }
}

impl<C: Command> Sink<C> for Records {
    fn answer(
        &mut self,
        command: &C,
        row: &Repeated,
        input: &C::Input,
        answer: &Answer<C>,
    ) -> Result<()> {
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
            Format::Json => json_line(&mut self.out, &command.json(input, answer)),
            Format::Jsonl => object_line(&mut self.out, row, input, command.fields(answer)),
        }
    }

    /// Goes to standard error for a person, else where the answer would be.
    fn refuse(
        &mut self,
        _: &C,
        name: &str,
        line: u64,
        row: &Repeated,
        input: Option<&C::Input>,
        error: &Error,
    ) -> Result<()> {
        let output = Refusal::new(error, line, row);
        match self.format {
            Format::Human => {
                // Both may be the same terminal.
                self.out.flush()?;
                say_of_line(name, line, error);
                Ok(())
            }
            Format::Json => json_line(&mut self.out, &output),
            Format::Jsonl => object_line(&mut self.out, row, input, output),
        }
    }

    fn shows(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Follows the answers for a person, else goes to standard error.
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
