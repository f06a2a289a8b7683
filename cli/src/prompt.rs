//! A terminal at which texts are typed: it is asked for each.

use std::io::{IsTerminal, Read, Result, Write, stderr};

/// Asks for a line before each read.
pub(crate) struct Prompted<R> {
    input: R,
    begun: bool,
}

/// What ends the input of a terminal.
const END: &str = if cfg!(windows) {
    "Ctrl-Z and Enter"
} else {
    "Ctrl-D"
};

impl<R: Read> Prompted<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            begun: false,
        }
    }
}

impl<R: Read> Read for Prompted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut out = stderr();
        // What goes into a file isn't a question to anybody.
        let asked = out.is_terminal();
        if asked {
            if !std::mem::replace(&mut self.begun, true) {
                writeln!(out, "rq: type one text per line; {END} ends")?;
            }
            write!(out, "> ")?;
        }
        let length = self.input.read(buffer)?;
        if asked && length == 0 {
            writeln!(out)?;
        }
        Ok(length)
    }
}
