//! The way from texts to answers, which the commands share, in constant memory.
//!
//! Texts are prepared one by one and computed in batches. Texts given as arguments stand or fall together: if one is wrong,
//! the command fails. A line of the input that is wrong is refused, and the others are answered.

use crate::console::say;
use crate::human::grouped;
use crate::locate::Located;
use crate::texts::{FromLine, Line, Lines, Repeated, Source, name_the_text};
use anyhow::{Error, Result};
use rq::Task;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::process::ExitCode;

/// The most inputs in a batch: enough for the kernels, and soon done.
pub(crate) const AT_ONCE: usize = 128;

/// A command that answers texts with a task.
pub(crate) trait Command {
    /// What it computes.
    type Task: Task;
    /// An input as it is read.
    type Input: FromLine;

    /// The task.
    fn task(&self) -> &Self::Task;

    /// The options of the task.
    fn options(&self) -> &<Self::Task as Task>::Options;

    /// Both, to compute.
    fn task_and_options(&mut self) -> (&mut Self::Task, &<Self::Task as Task>::Options);

    /// An input as the task takes it.
    fn input<'t>(&'t self, input: &'t Self::Input) -> <Self::Task as Task>::Input<'t>;

    /// Writes an answer in lines for a person.
    fn show(&self, out: &mut impl Write, input: &Self::Input, answer: &Answer<Self>) -> Result<()>;

    /// The answer as `--json` prints it.
    fn json(&self, input: &Self::Input, answer: &Answer<Self>) -> impl Serialize;

    /// The fields of the answer that `--jsonl` prints after those of the input.
    fn fields(&self, answer: &Answer<Self>) -> impl Serialize;

    /// The heading of the table whose rows the answers are. Without one they are blocks.
    fn heading(&self) -> Option<String> {
        None
    }

    /// Counts an answer for the summary.
    fn note(&mut self, _answer: &Answer<Self>) {}

    /// A line about all answers together.
    fn summary(&self) -> Option<String> {
        None
    }

    /// Whether a person sees blocks with blank lines between them.
    fn in_blocks(&self) -> bool {
        self.heading().is_none()
    }

    /// How many of the best answers to give, the best first, instead of all in the order of the texts.
    fn ranked(&self) -> Option<usize> {
        None
    }

    /// The score that ranks an answer: the higher, the better.
    fn rank(&self, _answer: &Answer<Self>) -> f32 {
        0.0
    }

    /// The most inputs in a batch: fewer than [`AT_ONCE`] if answers are large.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// The task of a [`Command`] and its options, in the fields of those names.
macro_rules! answers_with {
    ($task:ty, $options:ty) => {
        type Task = $task;

        fn task(&self) -> &$task {
            &self.task
        }

        fn options(&self) -> &$options {
            &self.options
        }

        fn task_and_options(&mut self) -> (&mut $task, &$options) {
            (&mut self.task, &self.options)
        }
    };
}
pub(crate) use answers_with;

/// An answer of a command's task.
pub(crate) type Answer<C> = <<C as Command>::Task as Task>::Answer;
/// An input that a command's task can compute.
type Prepared<C> = <<C as Command>::Task as Task>::Prepared;

/// Takes answers and refusals, in the order of the inputs.
pub(crate) trait Sink<C: Command> {
    /// Takes the answer to an input, which the row is that it was read from.
    fn answer(
        &mut self,
        command: &C,
        row: &Repeated,
        input: &C::Input,
        answer: &Answer<C>,
    ) -> Result<()>;

    /// Takes the reason why a line of the input called `name` has no answer.
    fn refuse(
        &mut self,
        name: &str,
        line: u64,
        row: &Repeated,
        input: Option<&C::Input>,
        error: &Error,
    ) -> Result<()>;

    /// Takes the line about all answers together, after the last one.
    fn summary(&mut self, summary: &str) -> Result<()> {
        say(summary);
        Ok(())
    }

    /// Passes on what it has, before the command waits for more input.
    fn flush(&mut self) -> Result<()>;
}

/// Gives the answers to all texts to a sink. The exit code is 1 if some lines have none.
pub(crate) fn run<C: Command>(
    sink: &mut impl Sink<C>,
    command: C,
    source: Source<C::Input>,
    located: &Located,
) -> Result<ExitCode> {
    let run = Run {
        best: command.ranked().map(Best::new),
        command,
        sink,
        located: Some(located),
    };
    match source {
        Source::Given(inputs) => run.given(inputs),
        Source::Lines(lines) => run.lines(lines),
    }
}

struct Run<'a, C: Command, S> {
    command: C,
    sink: &'a mut S,
    /// The best inputs and answers so far, if answers are ranked.
    best: Option<Best<(Repeated, C::Input, Answer<C>)>>,
    /// The model, until it is announced.
    located: Option<&'a Located>,
}

/// What became of a line before its answer is computed.
enum Outcome<I> {
    Prepared(I),
    Refused(Option<I>, Error),
}

impl<C: Command, S: Sink<C>> Run<'_, C, S> {
    fn given(mut self, inputs: Vec<C::Input>) -> Result<ExitCode> {
        let count = inputs.len();
        let prepared = (1..).zip(&inputs).map(|(number, input)| {
            let prepared = self.prepare(input);
            name_the_text(prepared, number, count)
        });
        let prepared: Vec<Prepared<C>> = prepared.collect::<Result<_>>()?;
        let (mut numbers, mut inputs) = (1.., inputs.into_iter());
        for prepared in prepared.chunks(self.command.at_once()) {
            let answers = self.compute(prepared)?.into_iter().zip(numbers.by_ref());
            let answers: Vec<Answer<C>> = answers
                .map(|(answer, number)| name_the_text(answer.map_err(Error::from), number, count))
                .collect::<Result<_>>()?;
            for (answer, input) in answers.into_iter().zip(inputs.by_ref()) {
                self.answered(Repeated::Input, input, answer)?;
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
            let outcomes: Vec<(u64, Repeated, Outcome<C::Input>)> = batch
                .into_iter()
                .map(|Line { number, row, input }| {
                    (number, row, self.outcome(input, &mut prepared))
                })
                .collect();
            let mut answers = self.compute(&prepared)?.into_iter();
            for (line, row, outcome) in outcomes {
                count += 1;
                let (input, error) = match outcome {
                    Outcome::Prepared(input) => {
                        let answer = answers.next().expect("an answer to each prepared input");
                        match answer {
                            Ok(answer) => {
                                self.answered(row, input, answer)?;
                                continue;
                            }
                            Err(error) => (Some(input), error.into()),
                        }
                    }
                    Outcome::Refused(input, error) => (input, error),
                };
                refused += 1;
                self.sink
                    .refuse(lines.name(), line, &row, input.as_ref(), &error)?;
            }
            self.sink.flush()?;
        }
        self.end()?;
        if refused == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        say(format_args!(
            "{} of {} texts could not be processed",
            grouped(refused),
            grouped(count)
        ));
        Ok(ExitCode::FAILURE)
    }

    /// Passes on an answer, or keeps it if answers are ranked.
    fn answered(&mut self, row: Repeated, input: C::Input, answer: Answer<C>) -> Result<()> {
        self.command.note(&answer);
        match &mut self.best {
            None => self.sink.answer(&self.command, &row, &input, &answer),
            Some(best) => {
                best.push(self.command.rank(&answer), || (row, input, answer));
                Ok(())
            }
        }
    }

    /// Passes on the answers that were kept, and the summary.
    fn end(&mut self) -> Result<()> {
        for (_, (row, input, answer)) in self.best.take().into_iter().flat_map(Best::into_sorted) {
            self.sink.answer(&self.command, &row, &input, &answer)?;
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

    fn outcome(
        &self,
        input: Result<C::Input>,
        prepared: &mut Vec<Prepared<C>>,
    ) -> Outcome<C::Input> {
        let input = match input {
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

    /// Computes answers. After the first ones, announces the model.
    fn compute(&mut self, prepared: &[Prepared<C>]) -> Result<Vec<Result<Answer<C>, rq::Error>>> {
        let (task, options) = self.command.task_and_options();
        let answers = task.compute_each(prepared, options)?;
        if let Some(located) = self.located.take() {
            located.announce();
        }
        Ok(answers)
    }
}

/// The best of some items. It never holds more than are wanted.
pub(crate) struct Best<T> {
    most: usize,
    /// Items so far.
    count: u64,
    /// The worst is at the top.
    kept: BinaryHeap<Ranked<T>>,
}

/// An item with its score.
struct Ranked<T> {
    score: f32,
    /// Its place among all items, from 1.
    number: u64,
    item: T,
}

impl<T> Best<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            count: 0,
            kept: BinaryHeap::new(),
        }
    }

    /// Adds an item with this score. `item` is called only if the item is kept.
    pub(crate) fn push(&mut self, score: f32, item: impl FnOnce() -> T) {
        self.count += 1;
        if self.kept.len() == self.most {
            // Among equals, the first stay.
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

    /// The scores and the items that were kept, the best first, and equals in the order in which they came.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = (f32, T)> {
        let sorted = self.kept.into_sorted_vec().into_iter();
        sorted.map(|ranked| (ranked.score, ranked.item))
    }
}

impl<T> Ord for Ranked<T> {
    /// The best comes first.
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
}
