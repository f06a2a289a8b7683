//! What goes to standard output and standard error, and what an interrupt does.
//!
//! Both are for a terminal, and much of what is written there others wrote: texts, tokens, labels, a file's provenance, names of
//! files, what a server says. It is shown and not obeyed: see [`Escaped`].

use crate::advice::message;
use crate::human::{bar, invisible, visible};
use crate::progress;
use crate::style::BAR;
use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use anyhow::Error;
use rq_format::discard_unfinished;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

/// The exit code after an interrupt: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Standard output. Characters that a terminal would obey are escaped on the way, but for the end of a line, so that no text can
/// move the cursor, change colours or set a title; and as JSON writes them, so that its strings stay what they are. What shows a
/// text in its line makes it [`visible`] before. Colours are its own, and come in by [`Screen::paint`] alone.
pub(crate) struct Escaped<W = StdoutLock<'static>> {
    to: W,
    colours: bool,
}

impl<W: Write> Escaped<W> {
    pub(crate) fn new(to: W, colours: bool) -> Self {
        Self { to, colours }
    }
}

/// Standard output, held until the writer is dropped. It passes on each line.
pub(crate) fn output() -> Escaped {
    Escaped::new(io::stdout().lock(), are_colours_wanted())
}

/// The same with a buffer, which must be flushed.
pub(crate) fn buffered() -> Escaped<BufWriter<StdoutLock<'static>>> {
    Escaped::new(BufWriter::new(io::stdout().lock()), are_colours_wanted())
}

/// Whether standard output has colours: as `--color` says, or else on a terminal that has them, unless NO_COLOR is set.
fn are_colours_wanted() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// The columns of the terminal that answers are shown on; 80 where there is none.
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(80, |(width, _)| usize::from(width.0).max(20))
}

/// Where a person sees answers.
pub(crate) trait Screen: Write {
    /// Whether it has colours.
    fn has_colours(&self) -> bool;

    /// Writes a text in a style where there are colours, and as it is where there are none.
    fn paint(&mut self, style: Style, text: &str) -> io::Result<()>;

    /// Writes a row with a bar at its end, whose length is a part of 1, the same in every table.
    fn row_with_bar(&mut self, row: &str, part: f64) -> io::Result<()> {
        let bar = bar(part);
        if bar.is_empty() {
            return writeln!(self, "{}", row.trim_end());
        }
        write!(self, "{row}  ")?;
        self.paint(BAR, &bar)?;
        writeln!(self)
    }
}

impl<W: Write> Screen for Escaped<W> {
    fn has_colours(&self) -> bool {
        self.colours
    }

    fn paint(&mut self, style: Style, text: &str) -> io::Result<()> {
        if !self.colours || style.is_plain() || text.is_empty() {
            return self.write_all(text.as_bytes());
        }
        self.pass_on(&style.render().to_string())?;
        self.write_all(text.as_bytes())?;
        self.pass_on(&style.render_reset().to_string())
    }
}

impl<W: Write> Escaped<W> {
    fn pass_on(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes()).map_err(cannot_write)
    }
}

/// An error of standard output, which says so. A broken pipe is none.
fn cannot_write(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => error,
        kind => io::Error::new(kind, format!("can't write to standard output: {error}")),
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
                self.pass_on(before)?;
                self.pass_on(&visible(character))?;
                rest = behind;
            }
            self.pass_on(rest)?;
            if !chunk.invalid().is_empty() {
                self.pass_on(&char::REPLACEMENT_CHARACTER.to_string())?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(cannot_write)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::FOUND;

    fn written(
        colours: bool,
        write: impl FnOnce(&mut Escaped<Vec<u8>>) -> io::Result<()>,
    ) -> String {
        let mut out = Escaped::new(Vec::new(), colours);
        write(&mut out).unwrap();
        String::from_utf8(out.to).unwrap()
    }

    #[test]
    fn only_its_own_colours_come_through() {
        let foreign = "a\u{1b}[31mb\u{9b}m\u{1b}]0;x\u{7}";
        let shown = "a\\u001b[31mb\\u009bm\\u001b]0;x\\u0007";
        let paint = |out: &mut Escaped<Vec<u8>>| {
            out.paint(FOUND, foreign)?;
            write!(out, "{foreign}")
        };
        let (on, off) = (FOUND.render(), FOUND.render_reset());
        assert_eq!(written(true, paint), format!("{on}{shown}{off}{shown}"));
        assert_eq!(written(false, paint), format!("{shown}{shown}"));
    }

    #[test]
    fn bars_end_rows() {
        let row = |part| written(false, |out| out.row_with_bar("  a  14.33 %", part));
        assert_eq!(row(0.1433), "  a  14.33 %  ██▉\n");
        assert_eq!(row(0.0001), "  a  14.33 %\n");
        let coloured = written(true, |out| out.row_with_bar("a", 1.0));
        let (on, off) = (BAR.render(), BAR.render_reset());
        assert_eq!(coloured, format!("a  {on}{}{off}\n", "█".repeat(20)));
    }
}
