//! How far a long job is: on a terminal, one line of standard error that is drawn again and again. Elsewhere there is none.

use crate::human::grouped;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Columns of a bar.
const BAR: usize = 24;

/// The line that is drawn, so that messages go above it.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether the terminal can only write one line after another.
pub(crate) fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

/// A line on standard error if that is a terminal that can draw one; it goes when it is dropped. There is one at a time.
pub(crate) fn line() -> ProgressBar {
    if is_dumb_terminal() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    *drawn = Some(line.clone());
    line
}

/// Does what writes to the terminal, above the line.
pub(crate) fn above<R>(write: impl FnOnce() -> R) -> R {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(line) if !line.is_finished() => line.suspend(write),
        _ => write(),
    }
}

/// The style of a bar with this text behind it.
pub(crate) fn style(text: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(&format!("{{bar:{BAR}}} {text}"));
    style.expect("a template without a mistake")
}

/// How far the lines of an input are.
pub(crate) struct Lines {
    line: ProgressBar,
    begun: Instant,
    /// Lines and bytes, or rows, before this run.
    before: Option<(u64, u64)>,
}

impl Lines {
    /// `total` is how long the input is, in the units of [`Lines::at`], where that is known.
    pub(crate) fn new(shown: bool, total: Option<u64>) -> Self {
        let line = if shown { line() } else { ProgressBar::hidden() };
        match total {
            Some(total) => {
                line.set_style(style("{msg}"));
                line.set_length(total.max(1));
            }
            None => line.set_style(ProgressStyle::with_template("{msg}").expect("a template")),
        }
        Self {
            line,
            begun: Instant::now(),
            before: None,
        }
    }

    /// So many lines are read, which end here in the input. The first call says where this run begins.
    pub(crate) fn at(&mut self, lines: u64, position: u64) {
        let Some(before) = self.before else {
            self.before = Some((lines, position));
            return;
        };
        if self.line.is_hidden() {
            return;
        }
        let elapsed = self.begun.elapsed();
        let total = self.line.length();
        self.line.set_position(position);
        self.line
            .set_message(message(lines, position, before, total, elapsed));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

/// Lines so far, lines a second, and the time that is left at this speed.
fn message(
    lines: u64,
    position: u64,
    before: (u64, u64),
    total: Option<u64>,
    elapsed: Duration,
) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = (lines - before.0) as f64 / seconds;
    let rate = match rate {
        ..10.0 => format!("{rate:.1}"),
        _ => grouped(rate as u64),
    };
    let mut message = format!("{} lines, {rate}/s", grouped(lines));
    let done = position.saturating_sub(before.1);
    if let Some(total) = total.filter(|_| done > 0) {
        let rest = total.saturating_sub(position);
        let left = seconds * rest as f64 / done as f64;
        message += &format!(", {} left", duration(left));
    }
    message
}

/// A time for a person.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {:02} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {:02} min", minutes % 60),
        (days, hours, _) => format!("{days} d {:02} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_and_how_long() {
        let times = [0.4, 59.6, 61.0, 3599.0, 3661.0, 90_000.0].map(duration);
        let expected = [
            "0 s",
            "1 min 00 s",
            "1 min 01 s",
            "59 min 59 s",
            "1 h 01 min",
            "1 d 01 h",
        ];
        assert_eq!(times, expected);
        let ten = Duration::from_secs(10);
        let all = message(12_000, 600, (2_000, 100), Some(1_100), ten);
        assert_eq!(all, "12,000 lines, 1,000/s, 10 s left");
        assert_eq!(message(5, 9, (0, 0), None, ten), "5 lines, 0.5/s");
    }
}
