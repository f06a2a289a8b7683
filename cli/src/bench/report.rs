//! What `rq bench` prints: tables, or lines of JSON.

use super::milliseconds;
use crate::human_size;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressFinish};
use rq::Profile;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// One result.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Record {
    /// What the machine could do at most, before the lengths that are measured against it.
    Peaks {
        machine: Option<String>,
        processors: usize,
        target: String,
        version: &'static str,
        model: String,
        quant: String,
        isa: &'static str,
        threads: usize,
        /// Billions of operations a second: two for each multiply-add of 8-bit integers.
        int8_gops: f64,
        /// Billions of bytes a second.
        read_gbps: f64,
        encoder_weights: usize,
        encoder_bytes: usize,
    },
    Length(Measured),
    Batch {
        quant: String,
        isa: &'static str,
        threads: usize,
        texts: usize,
        /// Tokens a second, as a part of those of the longest sequence.
        of_single: f64,
        /// How many times longer the padded texts take.
        times_padded: f64,
        ragged: Rate,
        single: Rate,
        padded: Rate,
    },
    Load {
        quant: String,
        file_bytes: u64,
        /// From the path to a model with its tokenizer, the file being cached.
        load_ms: f64,
        /// With the file's pages; unknown where the operating system doesn't tell.
        peak_resident_bytes: Option<u64>,
    },
}

/// One sequence through the encoder.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) quant: String,
    pub(super) isa: &'static str,
    pub(super) threads: usize,
    pub(super) tokens: usize,
    pub(super) median_ms: f64,
    pub(super) roofline_ms: f64,
    /// Of the roofline: `roofline_ms / median_ms`.
    pub(super) fraction: f64,
    pub(super) tokens_per_s: f64,
    pub(super) runs: usize,
    pub(super) spread_ms: Spread,
    pub(super) breakdown_ms: Breakdown,
    /// The language modelling head on one token.
    pub(super) head_ms: f64,
}

#[derive(Serialize)]
pub(super) struct Spread {
    min: f64,
    lower_quartile: f64,
    upper_quartile: f64,
    max: f64,
}

impl Spread {
    /// Of times in ascending order.
    pub(super) fn of(times: &[f64]) -> Self {
        let last = times.len() - 1;
        Self {
            min: times[0],
            lower_quartile: times[last / 4],
            upper_quartile: times[last - last / 4],
            max: times[last],
        }
    }
}

/// The parts of a profiled pass. Together they are its time.
#[derive(Serialize)]
pub(super) struct Breakdown {
    products: f64,
    attention: f64,
    element_wise: f64,
    quantization: f64,
    /// Threads that wait, and the little that is in no part.
    other: f64,
}

impl Breakdown {
    pub(super) fn new(profile: &Profile, threads: usize) -> Self {
        let part = |summed: Duration| milliseconds(summed) / threads as f64;
        let mut parts = Self {
            products: part(profile.products),
            attention: part(profile.attention),
            element_wise: part(profile.element_wise),
            quantization: part(profile.quantization),
            other: milliseconds(profile.encoder),
        };
        parts.other -= parts.products + parts.attention + parts.element_wise + parts.quantization;
        parts
    }

    fn percent(&self) -> [f64; 5] {
        let parts = [
            self.products,
            self.attention,
            self.element_wise,
            self.quantization,
            self.other,
        ];
        let all: f64 = parts.iter().sum();
        parts.map(|part| 100.0 * part / all)
    }
}

/// Tokens in a time.
#[derive(Serialize)]
pub(super) struct Rate {
    pub(super) tokens: usize,
    pub(super) median_ms: f64,
    pub(super) tokens_per_s: f64,
}

impl Rate {
    pub(super) fn new(tokens: usize, median_ms: f64) -> Self {
        Self {
            tokens,
            median_ms,
            tokens_per_s: 1e3 * tokens as f64 / median_ms,
        }
    }
}

/// Prints records as they come, and keeps those of lengths.
pub(super) struct Report {
    json: bool,
    /// Says what is going on, on a terminal.
    progress: ProgressBar,
    /// Whether something was printed.
    begun: bool,
    pub(super) lengths: Vec<Measured>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            progress: match std::io::stderr().is_terminal() {
                true => ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear),
                false => ProgressBar::hidden(),
            },
            begun: false,
            lengths: Vec::new(),
        }
    }

    /// Says what comes next.
    pub(super) fn progress(&self, what: String) {
        self.progress.set_message(what);
    }

    pub(super) fn write(&mut self, record: Record) -> Result<()> {
        let text = match self.json {
            true => serde_json::to_string(&record)? + "\n",
            false => self.text(&record),
        };
        self.progress.suspend(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        })?;
        if let Record::Length(measured) = record {
            self.lengths.push(measured);
        }
        Ok(())
    }

    fn text(&mut self, record: &Record) -> String {
        match record {
            Record::Peaks {
                machine,
                processors,
                target,
                version,
                model,
                quant,
                isa,
                threads,
                int8_gops,
                read_gbps,
                encoder_bytes,
                ..
            } => {
                let mut text = String::new();
                if !std::mem::replace(&mut self.begun, true) {
                    let machine = machine.as_deref().unwrap_or("unknown processor");
                    text = format!(
                        "rq {version}, {target}: {machine}, {}, {isa}\n",
                        counted(*processors, "thread")
                    );
                }
                text + &format!(
                    "\n{model}, {quant}, {}\n\
                     peaks: {} billion int8 operations a second; {} GB/s, read from {}\n\n\
                     {:>6} {:>9} {:>9} {:>8} {:>9}   {:>8} {:>9} {:>7} {:>8} {:>5} {:>8}\n",
                    counted(*threads, "thread"),
                    figures(*int8_gops),
                    figures(*read_gbps),
                    human_size(*encoder_bytes as u64),
                    "tokens",
                    "ms",
                    "roofline",
                    "fraction",
                    "tokens/s",
                    "products",
                    "attention",
                    "element",
                    "quantize",
                    "other",
                    "head ms"
                )
            }
            Record::Length(m) => {
                let [products, attention, element_wise, quantization, other] =
                    m.breakdown_ms.percent();
                format!(
                    "{:>6} {:>9} {:>9} {:>8.2} {:>9}   {products:>6.0} % {attention:>7.0} % {element_wise:>5.0} % \
                     {quantization:>6.0} % {other:>3.0} % {:>8}\n",
                    m.tokens,
                    figures(m.median_ms),
                    figures(m.roofline_ms),
                    m.fraction,
                    figures(m.tokens_per_s),
                    figures(m.head_ms)
                )
            }
            Record::Batch {
                texts,
                of_single,
                times_padded,
                ragged,
                single,
                padded,
                ..
            } => format!(
                "\n{texts} texts at once: {} tokens in {} ms, {} tokens/s\n  \
                 {of_single:.2} of the tokens/s of one sequence of {}\n  \
                 {times_padded:.2} times as fast as padded to {}\n",
                ragged.tokens,
                figures(ragged.median_ms),
                figures(ragged.tokens_per_s),
                single.tokens,
                padded.tokens / texts
            ),
            Record::Load {
                file_bytes,
                load_ms,
                peak_resident_bytes,
                ..
            } => {
                let resident = peak_resident_bytes.map_or(String::new(), |bytes| {
                    format!("; at most {} of memory resident", human_size(bytes))
                });
                format!(
                    "\nfile: {}, opened in {} ms{resident}\n",
                    human_size(*file_bytes),
                    figures(*load_ms)
                )
            }
        }
    }
}

/// A number of things.
pub(super) fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        _ => format!("{n} {what}s"),
    }
}

/// A number with three significant figures, or all before the point.
fn figures(x: f64) -> String {
    match x {
        ..1.0 => format!("{x:.3}"),
        ..10.0 => format!("{x:.2}"),
        ..100.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_a_person() {
        let shown = [0.0123, 0.5, 1.234, 12.34, 123.4, 1234.5].map(figures);
        assert_eq!(shown, ["0.012", "0.500", "1.23", "12.3", "123", "1234"]);
        assert_eq!(
            counted(1, "thread") + ", " + &counted(2, "thread"),
            "1 thread, 2 threads"
        );
    }

    #[test]
    fn quartiles() {
        let times: Vec<f64> = (1..=9).map(f64::from).collect();
        let spread = Spread::of(&times);
        assert_eq!((spread.min, spread.lower_quartile), (1.0, 3.0));
        assert_eq!((spread.upper_quartile, spread.max), (7.0, 9.0));
        assert_eq!(Spread::of(&[5.0]).upper_quartile, 5.0);
    }
}
