//! The program `rq`. This file is the policy for errors and exit codes; [`commands`] is the program.
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

use std::io::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    console::survive_a_limit_of_files();
    match commands::run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(advice::message(&error));
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &std::io::Error| cause.kind() == ErrorKind::BrokenPipe)
}
