//! What goes to standard output and standard error, and what an interrupt does.
//!
//! Both are for a terminal, and much of what is written there others wrote: texts, tokens, labels, a file's provenance, names of
//! files, what a server says. It is shown and not obeyed: see [`Escaped`].

use crate::advice::message;
use crate::human::{invisible, visible};
use crate::progress;
use anyhow::Error;
use rq_format::discard_unfinished;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

/// The exit code after an interrupt: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Standard output. Characters that a terminal would obey are escaped on the way, but for the end of a line, so that no text can
/// move the cursor, change colours or set a title; and as JSON writes them, so that its strings stay what they are. What shows a
/// text in its line makes it [`visible`] before.
pub(crate) struct Escaped<W = StdoutLock<'static>>(W);

/// Standard output, held until the writer is dropped. It passes on each line.
pub(crate) fn output() -> Escaped {
    Escaped(io::stdout().lock())
}

/// The same with a buffer, which must be flushed.
pub(crate) fn buffered() -> Escaped<BufWriter<StdoutLock<'static>>> {
    Escaped(BufWriter::new(io::stdout().lock()))
}

impl<W> Escaped<W> {
    /// What goes through to somewhere else, and is to have the same bytes.
    pub(crate) fn new(to: W) -> Self {
        Self(to)
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(|c| c != '\n' && invisible(c)) {
                let (before, behind) = rest.split_at(at);
                let length = behind.chars().next().map_or(0, char::len_utf8);
                let (character, behind) = behind.split_at(length);
                self.0.write_all(before.as_bytes())?;
                self.0.write_all(visible(character).as_bytes())?;
                rest = behind;
            }
            self.0.write_all(rest.as_bytes())?;
            if !chunk.invalid().is_empty() {
                self.0
                    .write_all(char::REPLACEMENT_CHARACTER.to_string().as_bytes())?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a line to standard error. It is not an error if nobody reads it.
pub(crate) fn say(message: impl Display) {
    let message = visible(&message.to_string());
    let _ = progress::above(|| writeln!(io::stderr(), "rq: {message}"));
}

/// Says what is wrong with a line of the input called `name`.
pub(crate) fn say_of_line(name: &str, line: u64, error: &Error) {
    say(format_args!("{name}, line {line}: {}", message(error)));
}

/// Makes a signal that ends the process call `before`, remove unfinished files, and exit with 130, as shells expect of an
/// interrupt.
pub(crate) fn discard_when_interrupted(before: impl Fn() + Send + 'static) {
    when_interrupted(move || {
        // Held until the exit, so that no file is created or moved into place in between.
        let _discarded = discard_unfinished();
        before();
        say("interrupted");
        std::process::exit(INTERRUPTED);
    });
}

/// The signals that end a process which doesn't see to them, but for those of a fault.
#[cfg(unix)]
const ENDING: [i32; 10] = {
    use signal_hook::consts::signal::*;
    [
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
    ]
};

#[cfg(unix)]
fn when_interrupted(handler: impl Fn() + Send + 'static) {
    let ignored = ignored();
    let signals = ENDING.into_iter().filter(|signal| !ignored(*signal));
    // A system without threads or descriptors to spare does without.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(signals) else {
        return;
    };
    let wait = move || {
        if signals.forever().next().is_some() {
            handler();
        }
    };
    let _ = std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait);
}

/// Which signals the parent had ignored, as `nohup` and a shell's `&` do: they stay so. Where the system doesn't say, it's
/// that of `nohup`.
#[cfg(unix)]
fn ignored() -> impl Fn(i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| {
        let mask = line.strip_prefix("SigIgn:")?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    move |signal| match mask {
        Some(mask) => mask >> (signal - 1) & 1 == 1,
        None => signal == signal_hook::consts::SIGHUP,
    }
}

#[cfg(not(unix))]
fn when_interrupted(handler: impl Fn() + Send + 'static) {
    let _ = ctrlc::try_set_handler(handler);
}

/// Makes a file that grows beyond the limit of the shell (`ulimit -f`) an error of the write rather than a signal that ends the
/// process.
pub(crate) fn survive_a_limit_of_files() {
    #[cfg(unix)]
    {
        let told = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::signal::SIGXFSZ, told);
    }
}
