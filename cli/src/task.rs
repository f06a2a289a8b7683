//! The way from texts to answers, which the commands share, in constant memory.
//!
//! Texts are prepared one by one and computed in batches. Texts given as arguments stand or fall together: if one is wrong,
//! the command fails. A line of the input that is wrong is refused, and the others are answered.

use crate::Ended;
use crate::console::{Screen, say};
use crate::human::grouped;
use crate::locate::Located;
use crate::progress;
use crate::texts::{FromLine, Line, Lines, Repeated, Source, name_the_text};
use anyhow::{Error, Result};
use rq::Task;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{Read, Write};
use std::rc::Rc;

/// The most inputs in a batch: enough for the kernels, and soon done.
pub(crate) const AT_ONCE: usize = 128;

/// What `--dedup` remembers at most, in bytes of inputs and answers as JSON.
const KNOWN_BYTES: usize = 64 << 20;

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
    fn show(&self, out: &mut impl Screen, input: &Self::Input, answer: &Answer<Self>)
    -> Result<()>;

    /// The answer as `--json` prints it.
    fn json(&self, input: &Self::Input, answer: &Answer<Self>) -> impl Serialize;

    /// The fields of the answer that `--jsonl` prints after those of the input.
    fn fields(&self, answer: &Answer<Self>) -> impl Serialize;

    /// The columns of a table for what [`Command::cells`] has of an answer.
    fn columns(&self) -> Vec<&'static str>;

    /// An answer as the fields of a table's row.
    fn cells(&self, answer: &Answer<Self>) -> impl Serialize {
        self.fields(answer)
    }

    /// The heading of the table whose rows the answers are. Without one they are blocks.
    fn heading(&self) -> Option<String> {
        None
    }

    /// Whether an answer can be given as it is asked for.
    ///
    /// # Errors
    /// When it can't, and then its text is refused.
    fn check(&self, _answer: &Answer<Self>) -> Result<()> {
        Ok(())
    }

    /// Takes note of an answer, for what is said of all together.
    fn note(&mut self, _input: &Self::Input, _answer: &Answer<Self>) {}

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
        command: &C,
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

    /// So many lines of the input are done, of which so many were refused: a place to go on from.
    fn done(&mut self, _lines: u64, _refused: u64) -> Result<()> {
        Ok(())
    }

    /// Whether a person sees each answer as it comes.
    fn shows(&self) -> bool {
        false
    }
}

/// Gives the answers to all texts to a sink. The exit code is 1 if some lines have none.
pub(crate) fn run<C: Command>(
    sink: &mut dyn Sink<C>,
    command: C,
    source: Source<C::Input>,
    located: &Located,
) -> Result<Ended> {
    let run = Run {
        best: command.ranked().map(Best::new),
        command,
        sink,
        located: Some(located),
    };
    match source {
        Source::Given(inputs) => run.given(inputs),
        Source::Lines(lines) => run.lines(*lines),
    }
}

struct Run<'a, C: Command> {
    command: C,
    sink: &'a mut dyn Sink<C>,
    /// The best inputs and answers so far, if answers are ranked.
    best: Option<Best<Answered<C>>>,
    /// The model, until it is announced.
    located: Option<&'a Located>,
}

/// What was repeated, read and answered.
type Answered<C> = (Repeated, <C as Command>::Input, Rc<Answer<C>>);

/// What became of a line before its answer is computed.
enum Outcome<I, A> {
    /// Its answer will be in this place.
    Prepared(I, usize),
    Known(I, Rc<A>),
    Refused(Option<I>, Error),
}

impl<C: Command> Run<'_, C> {
    fn given(mut self, inputs: Vec<C::Input>) -> Result<Ended> {
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
                .map(|(answer, number)| name_the_text(answer, number, count))
                .collect::<Result<_>>()?;
            for (answer, input) in answers.into_iter().zip(inputs.by_ref()) {
                self.answered(Repeated::Input, input, Rc::new(answer))?;
            }
            self.sink.flush()?;
        }
        self.end()?;
        Ok(Ended::Success)
    }

    fn lines(mut self, mut lines: Lines<impl Read>) -> Result<Ended> {
        let mut known = lines.remembers.then(Known::default);
        let is_shown = (self.best.is_some() || !self.sink.shows()) && !lines.typed;
        let mut progress = progress::Lines::new(is_shown, lines.end());
        progress.at(lines.count(), lines.position());
        loop {
            let batch = lines.batch(self.command.at_once())?;
            if batch.is_empty() {
                break;
            }
            let (mut prepared, mut keys) = (Vec::new(), HashMap::new());
            let mut outcomes = Vec::new();
            for Line { number, row, input } in batch {
                let outcome = self.outcome(input, &mut prepared, known.as_ref(), &mut keys);
                outcomes.push((number, row, outcome?));
            }
            let answers = self.compute(&prepared)?;
            let mut answers: Vec<Result<Rc<Answer<C>>, Option<Error>>> = answers
                .into_iter()
                .map(|answer| answer.map(Rc::new).map_err(Some))
                .collect();
            for (line, row, outcome) in outcomes {
                let (input, answer) = match outcome {
                    Outcome::Refused(input, error) => (input, Err(error)),
                    Outcome::Known(input, answer) => (Some(input), Ok(answer)),
                    Outcome::Prepared(input, at) => {
                        let answer = match &mut answers[at] {
                            Ok(answer) => Ok(Rc::clone(answer)),
                            Err(error) => match error.take() {
                                Some(error) => Err(error),
                                // An equal line has taken it.
                                None => self.again(&input)?,
                            },
                        };
                        (Some(input), answer)
                    }
                };
                match (input, answer) {
                    (Some(input), Ok(answer)) => self.answered(row, input, answer)?,
                    (input, answer) => {
                        let error = answer.err().expect("an answer has an input");
                        lines.refused += 1;
                        self.sink.refuse(
                            &self.command,
                            lines.name(),
                            line,
                            &row,
                            input.as_ref(),
                            &error,
                        )?;
                    }
                }
            }
            if let Some(known) = &mut known {
                for (key, at) in keys {
                    if let Ok(answer) = &answers[at] {
                        known.add(&self.command, key, Rc::clone(answer))?;
                    }
                }
            }
            self.sink.flush()?;
            self.sink.done(lines.count(), lines.refused)?;
            progress.at(lines.count(), lines.position());
        }
        drop(progress);
        self.end()?;
        if lines.refused == 0 {
            return Ok(Ended::Success);
        }
        say(format_args!(
            "{} of {} texts could not be processed",
            grouped(lines.refused),
            grouped(lines.answered())
        ));
        Ok(Ended::Failure)
    }

    /// Passes on an answer, or keeps it if answers are ranked.
    fn answered(&mut self, row: Repeated, input: C::Input, answer: Rc<Answer<C>>) -> Result<()> {
        self.command.note(&input, &answer);
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

    /// Prepares an input, unless an equal one is known or was prepared before: `keys` has the places of those.
    fn outcome(
        &self,
        input: Result<C::Input>,
        prepared: &mut Vec<Prepared<C>>,
        known: Option<&Known<Answer<C>>>,
        keys: &mut HashMap<String, usize>,
    ) -> Result<Outcome<C::Input, Answer<C>>> {
        let input = match input {
            Ok(input) => input,
            Err(error) => return Ok(Outcome::Refused(None, error)),
        };
        let mut key = None;
        if let Some(known) = known {
            let text = serde_json::to_string(&input)?;
            if let Some((answer, _)) = known.answers.get(text.as_str()) {
                return Ok(Outcome::Known(input, Rc::clone(answer)));
            }
            if let Some(&at) = keys.get(&text) {
                return Ok(Outcome::Prepared(input, at));
            }
            key = Some(text);
        }
        Ok(match self.prepare(&input) {
            Ok(ready) => {
                let at = prepared.len();
                prepared.push(ready);
                keys.extend(key.map(|key| (key, at)));
                Outcome::Prepared(input, at)
            }
            Err(error) => Outcome::Refused(Some(input), error),
        })
    }

    /// The answer to an input by itself.
    fn again(&mut self, input: &C::Input) -> Result<Result<Rc<Answer<C>>>> {
        let prepared = self.prepare(input)?;
        let answer = self.compute(&[prepared])?.pop();
        Ok(answer.expect("an answer to each input").map(Rc::new))
    }

    /// Computes answers. After the first ones, announces the model.
    fn compute(&mut self, prepared: &[Prepared<C>]) -> Result<Vec<Result<Answer<C>>>> {
        let (task, options) = self.command.task_and_options();
        let answers = task.compute_each(prepared, options)?;
        if let Some(located) = self.located.take() {
            located.announce();
        }
        let checked = |answer: Result<Answer<C>, rq::Error>| {
            let answer = answer?;
            self.command.check(&answer)?;
            Ok(answer)
        };
        Ok(answers.into_iter().map(checked).collect())
    }
}

/// Answers to the last different inputs: `--dedup`.
struct Known<A> {
    /// By the input as JSON, with the bytes that each takes.
    answers: HashMap<Rc<str>, (Rc<A>, usize)>,
    /// The inputs, in the order in which they came.
    order: VecDeque<Rc<str>>,
    bytes: usize,
}

impl<A> Default for Known<A> {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<A> Known<A> {
    /// Adds an answer, and forgets the first ones of too many.
    fn add<C>(&mut self, command: &C, key: String, answer: Rc<A>) -> Result<()>
    where
        C: Command,
        C::Task: Task<Answer = A>,
    {
        let mut answer_bytes = Count(0);
        serde_json::to_writer(&mut answer_bytes, &command.fields(&answer))?;
        let bytes = key.len() + answer_bytes.0;
        let key: Rc<str> = key.into();
        self.order.push_back(Rc::clone(&key));
        self.answers.insert(key, (answer, bytes));
        self.bytes += bytes;
        while self.bytes > KNOWN_BYTES
            && let Some(first) = self.order.pop_front()
        {
            let forgotten = self.answers.remove(&first);
            self.bytes -= forgotten.map_or(0, |(_, bytes)| bytes);
        }
        Ok(())
    }
}

/// Counts bytes.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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
