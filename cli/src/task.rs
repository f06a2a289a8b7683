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
use rq::{Session, Task};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Inputs that are computed at once, at most: enough for the kernels, and soon done.
pub(super) const AT_ONCE: usize = 128;

/// A command that answers texts by a task.
pub(super) trait Command {
    /// What it computes.
    type Task: Task;
    /// What it answers to, as it is read.
    type Input: FromLine;

    /// The task.
    fn task(&self) -> &Self::Task;

    /// How to answer.
    fn options(&self) -> &<Self::Task as Task>::Options;

    /// What was read, as the task takes it.
    fn input<'t>(&'t self, input: &'t Self::Input) -> <Self::Task as Task>::Input<'t>;

    /// Writes an answer for a person, in whole lines.
    fn show(&self, out: &mut impl Write, input: &Self::Input, answer: &Answer<Self>) -> Result<()>;

    /// The answer as `--json` prints it.
    fn json(&self, input: &Self::Input, answer: &Answer<Self>) -> impl Serialize;

    /// The fields of the answer that `--jsonl` prints after those of the input.
    fn fields(&self, answer: &Answer<Self>) -> impl Serialize;

    /// The heading, where answers to a person are rows of a table. Without one they are blocks.
    fn heading(&self) -> Option<String> {
        None
    }

    /// Takes note of an answer that is printed, for the summary.
    fn note(&mut self, _answer: &Answer<Self>) {}

    /// What is to be said of all answers together, in a line.
    fn summary(&self) -> Option<String> {
        None
    }

    /// Whether what is shown to a person are blocks, with blank lines between.
    fn in_blocks(&self) -> bool {
        self.heading().is_none()
    }

    /// How many answers there are at most, where they are ranked, the best first, and not in the order of the texts.
    fn ranked(&self) -> Option<usize> {
        None
    }

    /// What answers are ranked by: the higher, the better.
    fn rank(&self, _answer: &Answer<Self>) -> f32 {
        0.0
    }

    /// How many inputs are computed at once, at most: fewer than [`AT_ONCE`] where an answer is large.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// What a command's task answers.
pub(super) type Answer<C> = <<C as Command>::Task as Task>::Answer;
/// What a command's task computes of.
type Prepared<C> = <<C as Command>::Task as Task>::Prepared;

/// What is done with answers, and with what there is no answer to, in the order of the inputs.
pub(super) trait Sink<C: Command> {
    /// Takes the answer to an input.
    fn answer(&mut self, command: &C, input: &C::Input, answer: &Answer<C>) -> Result<()>;

    /// Takes why there is no answer to a line of the input `name`.
    fn refuse(
        &mut self,
        name: &str,
        line: u64,
        input: Option<&C::Input>,
        error: &Error,
    ) -> Result<()>;

    /// Takes what is to be said of all answers together, after the last.
    fn summary(&mut self, summary: &str) -> Result<()> {
        say(summary);
        Ok(())
    }

    /// Hands on what it was given, before more is waited for.
    fn flush(&mut self) -> Result<()>;
}

/// Answers to all texts, as far as there are answers, on standard output. The exit code is 1 where there aren't to some.
///
/// # Errors
/// When a text can't be processed that was given as an argument; when the input can't be read, or the output written; when
/// computing fails.
pub(super) fn run<C: Command>(
    command: C,
    session: Session<'_>,
    source: Source<C::Input>,
    format: Format,
    located: &Located,
) -> Result<ExitCode> {
    run_into(&mut Records::new(format), command, session, source, located)
}

/// As [`run`], with something else done with the answers.
///
/// # Errors
/// As [`run`].
pub(super) fn run_into<C: Command>(
    sink: &mut impl Sink<C>,
    command: C,
    session: Session<'_>,
    source: Source<C::Input>,
    located: &Located,
) -> Result<ExitCode> {
    let run = Run {
        best: command.ranked().map(Best::new),
        command,
        session,
        sink,
        located: Some(located),
    };
    match source {
        Source::Given(inputs) => run.given(inputs),
        Source::Lines(lines) => run.lines(lines),
    }
}

struct Run<'a, 'm, C: Command, S> {
    command: C,
    session: Session<'m>,
    sink: &'a mut S,
    /// The best answers so far, with what they are to, where they are ranked.
    best: Option<Best<(C::Input, Answer<C>)>>,
    /// The model, until it was announced.
    located: Option<&'a Located>,
}

/// What became of a line, but for its answer.
enum Outcome<I> {
    Prepared(I),
    Refused(Option<I>, Error),
}

impl<C: Command, S: Sink<C>> Run<'_, '_, C, S> {
    fn given(mut self, inputs: Vec<C::Input>) -> Result<ExitCode> {
        let prepared = (1..).zip(&inputs).map(|(number, input)| {
            let prepared = self.prepare(input);
            name_the_text(prepared, number, inputs.len())
        });
        let prepared: Vec<Prepared<C>> = prepared.collect::<Result<_>>()?;
        let mut inputs = inputs.into_iter();
        for prepared in prepared.chunks(self.command.at_once()) {
            let answers = self.compute(prepared)?;
            for (answer, input) in answers.into_iter().zip(inputs.by_ref()) {
                self.answered(input, answer)?;
            }
            self.sink.flush()?;
        }
        self.end()?;
        Ok(ExitCode::SUCCESS)
    }

    fn lines(mut self, mut lines: Lines<impl Read>) -> Result<ExitCode> {
        let (mut count, mut refused) = (0, 0);
        loop {
            let batch = lines.batch(self.command.at_once())?;
            if batch.is_empty() {
                break;
            }
            let mut prepared = Vec::new();
            let outcomes: Vec<(u64, Outcome<C::Input>)> = batch
                .into_iter()
                .map(|line| (line.number, self.outcome(line, &mut prepared)))
                .collect();
            let mut answers = self.compute(&prepared)?.into_iter();
            for (line, outcome) in outcomes {
                count += 1;
                match outcome {
                    Outcome::Prepared(input) => {
                        let answer = answers.next().expect("an answer to each prepared input");
                        self.answered(input, answer)?;
                    }
                    Outcome::Refused(input, error) => {
                        refused += 1;
                        self.sink
                            .refuse(lines.name(), line, input.as_ref(), &error)?;
                    }
                }
            }
            self.sink.flush()?;
        }
        self.end()?;
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

    /// Prints an answer, or keeps it until all are there.
    fn answered(&mut self, input: C::Input, answer: Answer<C>) -> Result<()> {
        self.command.note(&answer);
        match &mut self.best {
            None => self.sink.answer(&self.command, &input, &answer),
            Some(best) => {
                best.push(self.command.rank(&answer), || (input, answer));
                Ok(())
            }
        }
    }

    /// Prints what was kept, and what is to be said of all answers together.
    fn end(&mut self) -> Result<()> {
        for (_, (input, answer)) in self.best.take().into_iter().flat_map(Best::into_sorted) {
            self.sink.answer(&self.command, &input, &answer)?;
        }
        if let Some(summary) = self.command.summary() {
            self.sink.summary(&summary)?;
        }
        self.sink.flush()
    }

    fn prepare(&self, input: &C::Input) -> Result<Prepared<C>> {
        let command = &self.command;
        let input = command.input(input);
        Ok(command.task().prepare(input, command.options())?)
    }

    fn outcome(&self, line: Line<C::Input>, prepared: &mut Vec<Prepared<C>>) -> Outcome<C::Input> {
        let input = match line.input {
            Ok(input) => input,
            Err(error) => return Outcome::Refused(None, error),
        };
        match self.prepare(&input) {
            Ok(ready) => {
                prepared.push(ready);
                Outcome::Prepared(input)
            }
            Err(error) => Outcome::Refused(Some(input), error),
        }
    }

    /// Computes, and announces the model with the first answers.
    fn compute(&mut self, prepared: &[Prepared<C>]) -> Result<Vec<Answer<C>>> {
        let (task, options) = (self.command.task(), self.command.options());
        let answers = task.compute(&mut self.session, prepared, options)?;
        if let Some(located) = self.located.take() {
            located.announce();
        }
        Ok(answers)
    }
}

/// The best of what is ranked, no more than are wanted at any time.
pub(super) struct Best<T> {
    most: usize,
    /// What came so far.
    count: u64,
    /// The last of them at the top.
    kept: BinaryHeap<Ranked<T>>,
}

/// Something with its rank.
struct Ranked<T> {
    score: f32,
    /// When it came.
    number: u64,
    item: T,
}

impl<T> Best<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            count: 0,
            kept: BinaryHeap::new(),
        }
    }

    /// Takes what has this score; it isn't made if it isn't kept.
    pub(super) fn push(&mut self, score: f32, item: impl FnOnce() -> T) {
        self.count += 1;
        if self.kept.len() == self.most {
            // Of equal ones the first stay.
            let better = |last: &Ranked<T>| score.total_cmp(&last.score).is_gt();
            if !self.kept.peek().is_some_and(better) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Ranked {
            score,
            number: self.count,
            item: item(),
        });
    }

    /// What was kept with its scores, the best first; of equal ones, the one that came first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (f32, T)> {
        let sorted = self.kept.into_sorted_vec().into_iter();
        sorted.map(|ranked| (ranked.score, ranked.item))
    }
}

impl<T> Ord for Ranked<T> {
    /// The first is the best.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(self.number.cmp(&other.number))
    }
}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Ranked<T> {}

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
    fn the_best_by_score_and_equal_ones_in_their_order() {
        let scores = [0.25, 0.5, -1.0, 0.5, 0.75, 0.25, 0.5];
        let best = |most| -> Vec<u64> {
            let mut best = Best::new(most);
            for (number, score) in (1..).zip(scores) {
                best.push(score, || number);
                assert!(best.kept.len() <= most);
            }
            best.into_sorted().map(|(_, number)| number).collect()
        };
        assert_eq!(best(1), [5]);
        assert_eq!(best(3), [5, 2, 4]);
        assert_eq!(best(9), [5, 2, 4, 7, 1, 6, 3]);
        assert!(best(0).is_empty());
    }

    #[test]
    fn numbers_for_a_person() {
        let numbers = [0, 999, 1000, 10_000, 1_234_567].map(with_commas);
        assert_eq!(numbers, ["0", "999", "1,000", "10,000", "1,234,567"]);
    }
}
