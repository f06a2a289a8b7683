//! What goes to standard error, and what an interrupt does.

use crate::advice::message;
use anyhow::Error;
use rq_format::discard_unfinished;
use std::fmt::Display;
use std::io::Write;

/// The exit code after an interrupt: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Writes a line to standard error. It is not an error if nobody reads it.
pub(crate) fn say(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "rq: {message}");
}

/// Says what is wrong with a line of the input called `name`.
pub(crate) fn say_of_line(name: &str, line: u64, error: &Error) {
    say(format_args!("{name}, line {line}: {}", message(error)));
}

/// Makes an interrupt call `before`, remove unfinished files, and exit with 130, as shells expect.
pub(crate) fn discard_when_interrupted(before: impl Fn() + Send + 'static) {
    // Fails if the parent had a signal ignored, as `nohup` does; then signals keep what they do.
    let _ = ctrlc::try_set_handler(move || {
        // Held until the exit, so that no file is created or moved into place in between.
        let _discarded = discard_unfinished();
        before();
        say("interrupted");
        std::process::exit(INTERRUPTED);
    });
}
