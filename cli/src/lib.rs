//! The program `rq`. This file is the policy for errors and exit codes; `commands` is the program.
//!
//! It exits with 0 on success; with 1 if a check failed (`verify`, `eval`) or some lines of the input couldn't be processed;
//! with 2 on an error, which is one line on standard error, however many causes it has. A reader that closes the pipe early
//! is not an error.

#![forbid(unsafe_code)]

mod advice;
mod args;
mod commands;
mod console;
mod elsewhere;
mod fields;
mod human;
mod locate;
mod names;
mod npy;
mod npz;
mod out;
mod plot;
mod precision;
mod progress;
mod prompt;
mod records;
mod resume;
mod shard;
mod style;
mod table;
mod task;
mod texts;
mod token;
mod words;

use std::ffi::OsString;
use std::io::ErrorKind;

pub use words::of as words_of;

/// How a command ends that isn't in error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Success,
    /// A check failed, or some lines of the input couldn't be processed.
    Failure,
}

/// Runs the program with its arguments, of which the first is its name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    console::survive_a_limit_of_files();
    match commands::run(arguments.into_iter().collect()) {
        Ok(Ended::Success) => 0,
        Ok(Ended::Failure) => 1,
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            console::say(advice::message(&error));
            2
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &std::io::Error| cause.kind() == ErrorKind::BrokenPipe)
}
