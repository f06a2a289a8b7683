//! What tasks have in common: texts are prepared one by one, and computed together.

pub(crate) mod answer;
pub(crate) mod classify;
pub(crate) mod embed;
pub(crate) mod fill;
pub(crate) mod input;
pub(crate) mod joint;
#[cfg(test)]
mod oracle;
pub(crate) mod prompt;
pub(crate) mod score;
mod scores;
pub(crate) mod sparse;
pub(crate) mod tag;
pub(crate) mod zero_shot;

use crate::error::{Error, ErrorKind};
use crate::model::Model;
use crate::session::Session;
use rq_format::Head;

/// Something that a model is for.
///
/// A task is made of a [`Session`], or of a `&mut Session` where several tasks share one; to make one is cheap. It works in
/// two steps. A text is [prepared](Task::prepare) as tokens that fit the model, which is where it can be refused. Prepared
/// texts are [computed](Task::compute) together, so that one text never fails the others. [`Task::run`] does both for a
/// batch. The bits of an answer depend on its own text alone.
pub trait Task {
    /// What an answer is about: a text, a pair of texts, a question.
    type Input<'t>;
    /// How to answer.
    type Options: Default;
    /// An input as tokens that fit the model.
    type Prepared: Send;
    /// What is answered to one input.
    type Answer;

    /// The session that computes.
    fn session(&self) -> &Session;

    /// The model.
    fn model(&self) -> &Model {
        self.session().model()
    }

    /// Makes tokens of an input.
    ///
    /// # Errors
    /// When the input can't be answered by itself: it is empty, too long, or lacks what the task needs.
    fn prepare<'t>(
        &self,
        input: impl Into<Self::Input<'t>>,
        options: &Self::Options,
    ) -> Result<Self::Prepared, Error>;

    /// Answers to what was prepared with the same options, in its order.
    ///
    /// # Errors
    /// When the options ask for what the model doesn't have, something was prepared for another model, or the model computes
    /// what isn't finite for one of the inputs: [`Task::compute_each`] tells for which.
    fn compute(
        &mut self,
        prepared: &[Self::Prepared],
        options: &Self::Options,
    ) -> Result<Vec<Self::Answer>, Error>;

    /// As [`Task::compute`], but where the model computes what isn't finite for some inputs, the others are answered.
    ///
    /// # Errors
    /// When the options ask for what the model doesn't have, or something was prepared for another model.
    fn compute_each(
        &mut self,
        prepared: &[Self::Prepared],
        options: &Self::Options,
    ) -> Result<Vec<Result<Self::Answer, Error>>, Error> {
        match self.compute(prepared, options) {
            Ok(answers) => Ok(answers.into_iter().map(Ok).collect()),
            // The bits of an answer don't depend on what is computed beside it.
            Err(error) if error.is_of_one_text() => Ok(prepared
                .iter()
                .map(|one| {
                    let answers = self.compute(std::slice::from_ref(one), options)?;
                    Ok(answers.into_iter().next().expect("an answer to each input"))
                })
                .collect()),
            Err(error) => Err(error),
        }
    }

    /// Prepares a batch of inputs and answers to all of them, or to none: [`Task::run_each`] answers to those that it can.
    ///
    /// # Errors
    /// Those of the two steps. [`Error::InBatch`] says which of several inputs can't be answered.
    fn run<'t, I: Into<Self::Input<'t>>>(
        &mut self,
        inputs: impl IntoIterator<Item = I>,
        options: &Self::Options,
    ) -> Result<Vec<Self::Answer>, Error> {
        let inputs: Vec<I> = inputs.into_iter().collect();
        let count = inputs.len();
        let of_input = |number| {
            move |error| match count {
                1 => error,
                _ => Error::InBatch {
                    number,
                    count,
                    source: Box::new(error),
                },
            }
        };
        let prepare = |(number, input): (usize, I)| {
            let prepared = self.prepare(input, options);
            prepared.map_err(of_input(number))
        };
        let prepared: Vec<_> = (1..).zip(inputs).map(prepare).collect::<Result<_, _>>()?;
        let answers = (1..).zip(self.compute_each(&prepared, options)?);
        answers
            .map(|(number, answer)| answer.map_err(of_input(number)))
            .collect()
    }

    /// Prepares a batch of inputs and answers to each that can be answered, in their order; what is wrong with one of them fails
    /// no other.
    ///
    /// # Errors
    /// When the options can't be met, whatever the input.
    fn run_each<'t, I: Into<Self::Input<'t>>>(
        &mut self,
        inputs: impl IntoIterator<Item = I>,
        options: &Self::Options,
    ) -> Result<Vec<Result<Self::Answer, Error>>, Error> {
        let mut prepared = Vec::new();
        let mut refused = Vec::new();
        for input in inputs {
            refused.push(match self.prepare(input, options) {
                Ok(input) => {
                    prepared.push(input);
                    None
                }
                Err(error) if error.kind() == ErrorKind::Option => return Err(error),
                Err(error) => Some(error),
            });
        }
        let mut answers = self.compute_each(&prepared, options)?.into_iter();
        let mut next = || answers.next().expect("an answer to each prepared input");
        let result = |refused: Option<Error>| refused.map_or_else(&mut next, Err);
        Ok(refused.into_iter().map(result).collect())
    }

    /// Prepares one input and answers to it.
    ///
    /// # Errors
    /// Those of the two steps.
    fn run_one<'t>(
        &mut self,
        input: impl Into<Self::Input<'t>>,
        options: &Self::Options,
    ) -> Result<Self::Answer, Error> {
        let mut answers = self.run([input], options)?;
        Ok(answers.pop().expect("an answer to each input"))
    }
}

/// Refuses a session whose model has a head for something else.
pub(crate) fn need_head(task: &'static str, needed: Head, session: &Session) -> Result<(), Error> {
    let found = session.model().config().head;
    match found == needed {
        true => Ok(()),
        false => Err(Error::WrongHead {
            task,
            needed,
            found,
        }),
    }
}

/// Refuses an option that asks for nothing.
pub(crate) fn not_zero(option: &'static str, value: usize) -> Result<(), Error> {
    match value {
        0 => Err(Error::Zero { option }),
        _ => Ok(()),
    }
}
