//! Tasks in C: a call answers to one text, or to each text of a batch.

mod answer;
mod classify;
mod embed;
mod fill;
mod hidden;
mod score;
mod tag;
mod zero_shot;

pub use answer::*;
pub use classify::*;
pub use embed::*;
pub use fill::*;
pub use hidden::*;
pub use score::*;
pub use tag::*;
pub use zero_shot::*;

use crate::{Failure, Out, rq_status};
use rq::Task;
use std::mem::MaybeUninit;

/// Answers to each input of a batch that can be answered.
fn each<'t, T: Task, I: Into<T::Input<'t>>>(
    task: &mut T,
    inputs: Vec<Result<I, Failure>>,
    options: &T::Options,
) -> Result<Vec<Result<T::Answer, Failure>>, Failure> {
    let mut sound = Vec::with_capacity(inputs.len());
    let unsound: Vec<Option<Failure>> = inputs
        .into_iter()
        .map(|input| input.map(|input| sound.push(input)).err())
        .collect();
    let mut answers = task.run_each(sound, options)?.into_iter();
    let answer = |failure: Option<Failure>| match failure {
        Some(failure) => Err(failure),
        None => Ok(answers.next().expect("an answer to each sound input")?),
    };
    Ok(unsound.into_iter().map(answer).collect())
}

/// The inputs of a batch of which each has two texts.
fn zip<'a>(
    firsts: Vec<Result<&'a str, Failure>>,
    seconds: Vec<Result<&'a str, Failure>>,
) -> Vec<Result<(&'a str, &'a str), Failure>> {
    let pairs = firsts.into_iter().zip(seconds);
    pairs.map(|(first, second)| Ok((first?, second?))).collect()
}

/// Fills `needed` floats of the caller's room, and says how much there is: on success, and where the room is too small.
fn fill_room(
    out: Result<&mut [MaybeUninit<f32>], Failure>,
    capacity: usize,
    needed: usize,
    (place, length): (Option<Out<'_, usize>>, usize),
    fill: impl FnOnce(&mut [MaybeUninit<f32>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let filled = match capacity < needed {
        true => {
            let message = format!("out has room for {capacity} floats; the result has {needed}");
            Err(Failure::new(rq_status::RQ_BUFFER, message))
        }
        false => Ok(fill(&mut out?[..needed])?),
    };
    if let Some(place) = place {
        place.write(length);
    }
    filled
}
