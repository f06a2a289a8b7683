//! The command `rq`: this file is the policy for errors and exit codes; `cli` is the program.
//!
//! Exit codes: 0; 1 where a check fails (`verify`, `eval`), or lines of an input couldn't be processed (`fill`, `score`, `answer`); 2 on an
//! error. A reader that closes the pipe early is no error. An error is one line on standard error, whatever its causes say.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&error);
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
