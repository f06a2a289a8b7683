//! What commands that answer texts have in common: from their input to their output, in constant memory.
//!
//! Each text is prepared by itself, and those that can be are computed together. Texts that were given as arguments are a
//! unit: if one is wrong, the command fails. A line of an input that is wrong has an error in the place of its answer, and
//! the others go on.

use super::locate::Located;
use super::records::{Format, Records};
use super::say;
use super::texts::{FromLine, Line, Lines, Source, name_the_text};
use anyhow::{Error, Result};
use serde::Serialize;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Inputs that are computed at once, at most: enough for the kernels, and soon done.
pub(super) const AT_ONCE: usize = 128;

/// What a command computes.
pub(super) trait Task {
    /// What it answers to.
    type Input: FromLine;
    /// An input that can be computed.
    type Prepared;
    /// What it answers.
    type Answer;

    /// Prepares an input; an error is one of this input alone.
    fn prepare(&self, input: &Self::Input) -> Result<Self::Prepared>;

    /// Computes prepared inputs together, and gives each its answer; an error ends the command.
    fn compute(&mut self, prepared: &[Self::Prepared]) -> Result<Vec<Self::Answer>>;

    /// Writes an answer for a person, in whole lines.
    fn show(&self, out: &mut impl Write, input: &Self::Input, answer: &Self::Answer) -> Result<()>;

    /// The answer as `--json` prints it.
    fn json(&self, answer: &Self::Answer) -> impl Serialize;

    /// The fields of the answer that `--jsonl` prints after those of the input.
    fn fields(&self, answer: &Self::Answer) -> impl Serialize;

    /// How many inputs are computed at once, at most: fewer than [`AT_ONCE`] where an answer is large.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// Answers to all texts, as far as there are answers. The exit code is 1 where there aren't to some.
///
/// # Errors
/// When a text can't be processed that was given as an argument; when the input can't be read, or the output written; when
/// computing fails.
pub(super) fn run<T: Task>(
    task: T,
    source: Source<T::Input>,
    format: Format,
    located: &Located,
) -> Result<ExitCode> {
    let run = Run {
        task,
        records: Records::new(format),
        located: Some(located),
    };
    match source {
        Source::Given(inputs) => run.given(&inputs),
        Source::Lines(lines) => run.lines(lines),
    }
}

struct Run<'a, T> {
    task: T,
    records: Records,
    /// The model, until it was announced.
    located: Option<&'a Located>,
}

/// What became of a line, but for its answer.
enum Outcome<I> {
    Prepared(I),
    Refused(Option<I>, Error),
}

impl<T: Task> Run<'_, T> {
    fn given(mut self, inputs: &[T::Input]) -> Result<ExitCode> {
        let prepared = (1..).zip(inputs).map(|(number, input)| {
            let prepared = self.task.prepare(input);
            name_the_text(prepared, number, inputs.len())
        });
        let prepared: Vec<T::Prepared> = prepared.collect::<Result<_>>()?;
        let at_once = self.task.at_once();
        for (inputs, prepared) in inputs.chunks(at_once).zip(prepared.chunks(at_once)) {
            let answers = self.compute(prepared)?;
            for (input, answer) in inputs.iter().zip(&answers) {
                self.records.answer(&self.task, input, answer)?;
            }
            self.records.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn lines(mut self, mut lines: Lines<impl Read>) -> Result<ExitCode> {
        let (mut count, mut refused) = (0, 0);
        loop {
            let batch = lines.batch(self.task.at_once())?;
            if batch.is_empty() {
                break;
            }
            let mut prepared = Vec::new();
            let outcomes: Vec<(u64, Outcome<T::Input>)> = batch
                .into_iter()
                .map(|line| (line.number, self.prepare(line, &mut prepared)))
                .collect();
            let mut answers = self.compute(&prepared)?.into_iter();
            for (line, outcome) in outcomes {
                count += 1;
                match outcome {
                    Outcome::Prepared(input) => {
                        let answer = answers.next().expect("an answer to each prepared input");
                        self.records.answer(&self.task, &input, &answer)?;
                    }
                    Outcome::Refused(input, error) => {
                        refused += 1;
                        self.records
                            .refuse(lines.name(), line, input.as_ref(), &error)?;
                    }
                }
            }
            self.records.flush()?;
        }
        if refused == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        say(format_args!(
            "{} of {} texts could not be processed",
            with_commas(refused),
            with_commas(count)
        ));
        Ok(ExitCode::from(1))
    }

    fn prepare(&self, line: Line<T::Input>, prepared: &mut Vec<T::Prepared>) -> Outcome<T::Input> {
        let input = match line.input {
            Ok(input) => input,
            Err(error) => return Outcome::Refused(None, error),
        };
        match self.task.prepare(&input) {
            Ok(ready) => {
                prepared.push(ready);
                Outcome::Prepared(input)
            }
            Err(error) => Outcome::Refused(Some(input), error),
        }
    }

    /// Computes, and announces the model with the first answers.
    fn compute(&mut self, prepared: &[T::Prepared]) -> Result<Vec<T::Answer>> {
        let answers = self.task.compute(prepared)?;
        if let Some(located) = self.located.take() {
            located.announce();
        }
        Ok(answers)
    }
}

/// A number for a person, in groups of three digits.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_a_person() {
        let numbers = [0, 999, 1000, 10_000, 1_234_567].map(with_commas);
        assert_eq!(numbers, ["0", "999", "1,000", "10,000", "1,234,567"]);
    }
}
