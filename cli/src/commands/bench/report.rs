//! What `rq bench` prints: tables, or lines of JSON.

use crate::console;
use crate::human::{count, figures, size};
use crate::progress;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use rq::Profile;
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// A result.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Record {
    /// The machine's peaks, before the lengths that are measured against them.
    Peaks {
        machine: Option<String>,
        processors: usize,
        target: String,
        version: &'static str,
        model: String,
        quant: String,
        isa: &'static str,
        threads: usize,
        /// Billions of operations per second: two for each multiply-add of 8-bit integers.
        int8_gops: f64,
        /// Billions of bytes per second.
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
        /// Tokens per second, relative to the longest sequence.
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
        /// From the path to a model with its tokenizer, with the file cached.
        load_ms: f64,
        /// Including the file's pages. Unknown if the operating system doesn't tell.
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
    /// `roofline_ms / median_ms`.
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
    /// `times` are in ascending order.
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

/// The parts of a profiled pass. Their sum is its time.
#[derive(Serialize)]
pub(super) struct Breakdown {
    products: f64,
    attention: f64,
    element_wise: f64,
    quantization: f64,
    /// Waiting threads, and the little that belongs to no part.
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

/// Tokens and the time that they took.
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

/// Prints records as they come.
pub(super) struct Report {
    json: bool,
    /// Shows on a terminal what is being measured.
    progress: ProgressBar,
    /// Whether something was printed.
    begun: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            progress: progress::line().with_style(ProgressStyle::default_spinner()),
            begun: false,
        }
    }

    /// Shows what comes next.
    pub(super) fn progress(&self, what: String) {
        self.progress.set_message(what);
    }

    pub(super) fn write(&mut self, record: Record) -> Result<()> {
        let text = match self.json {
            true => serde_json::to_string(&record)? + "\n",
            false => self.text(&record),
        };
        self.progress.suspend(|| {
            let mut out = console::output();
            out.write_all(text.as_bytes())?;
            out.flush()
        })?;
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
                        count(*processors, "thread")
                    );
                }
                text + &format!(
                    "\n{model}, {quant}, {}\n\
                     peaks: {} billion int8 operations per second; {} GB/s, read from {}\n\n\
                     {:>6} {:>9} {:>9} {:>8} {:>9}   {:>8} {:>9} {:>7} {:>8} {:>5} {:>8}\n",
                    count(*threads, "thread"),
                    figures(*int8_gops),
                    figures(*read_gbps),
                    size(*encoder_bytes as u64),
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
                    format!("; peak resident memory {}", size(bytes))
                });
                format!(
                    "\nfile: {}, opened in {} ms{resident}\n",
                    size(*file_bytes),
                    figures(*load_ms)
                )
            }
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    1e3 * duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles() {
        let times: Vec<f64> = (1..=9).map(f64::from).collect();
        let spread = Spread::of(&times);
        assert_eq!((spread.min, spread.lower_quartile), (1.0, 3.0));
        assert_eq!((spread.upper_quartile, spread.max), (7.0, 9.0));
        assert_eq!(Spread::of(&[5.0]).upper_quartile, 5.0);
    }
}
