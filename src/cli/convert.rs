//! `rq convert`

use super::{MAX_THREADS, eval, human_size, locate, say};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use rq_convert::{
    Calibration, CalibrationSummary, ConvertOptions, HubCache, Progress, Quant, Source, Summary,
    convert,
};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The largest weights that a conversion compares its result with.
const MAX_COMPARED_BYTES: u64 = 600_000_000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq convert ./my-roberta\n  rq convert roberta-large --quant q4 -o roberta-large-q4.rq"
)]
pub(super) struct ConvertArgs {
    /// Directory with config.json, safetensors and a tokenizer; or a name on the Hugging Face hub whose files are in
    /// the cache on disk
    #[arg(value_name = "SOURCE")]
    source: String,

    /// File to write [default: SOURCE's name in rq's data directory, where `rq fill` finds it]
    ///
    /// An existing file is replaced when the new one is whole. The environment variable RQ_DATA_DIR moves the data
    /// directory.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How to store the weights
    #[arg(short, long, value_enum, default_value_t = QuantArg::Q8)]
    quant: QuantArg,

    /// Text to calibrate q4 and q4m on, one text of the model's a line [default: English prose, built in]
    ///
    /// Give a few hundred lines such as the model will see, where it isn't used on English. At most 16,384 tokens are
    /// used, spread over the whole.
    #[arg(long, value_name = "FILE", conflicts_with = "no_calibrate")]
    calibrate: Option<PathBuf>,

    /// Quantize each weight by itself: faster (half a minute instead of minutes for roberta-large), and less exact
    #[arg(long)]
    no_calibrate: bool,

    /// Don't compare the file with the checkpoint at the end
    ///
    /// The comparison takes the checkpoint into memory as f32, so it isn't made for weights of more than 600 MB: `rq eval`
    /// does that.
    #[arg(long)]
    no_eval: bool,

    /// Threads to quantize with [default: as many as there are processors]
    ///
    /// The file doesn't depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = value_parser!(u16).range(1..=MAX_THREADS))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, ValueEnum)]
enum QuantArg {
    /// 8 bits: 8.5 bits a weight, answers as good as those of the checkpoint
    Q8,
    /// 4 bits: 4.5 bits a weight in the layers, embeddings in 8 bits; smaller and faster, less exact
    Q4,
    /// 8 bits for attention, 4 bits for the feed-forward layers: about 5.9 bits a weight in the layers, between the two
    Q4m,
}

/// A bar on a terminal; nothing elsewhere.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn start(&self, total_bytes: u64) {
        self.0.set_length(total_bytes);
    }

    fn tensor(&self, name: &str, bytes: u64) {
        self.0.set_message(name.to_owned());
        self.0.inc(bytes);
    }
}

pub(super) fn run(args: &ConvertArgs) -> Result<()> {
    let source = Source::find(&args.source, &HubCache::from_env())?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            let output = locate::converted_path(source.name())?;
            let directory = output.parent().unwrap_or(&output);
            std::fs::create_dir_all(directory)
                .with_context(|| format!("can't create {}", directory.display()))?;
            output
        }
    };
    let options = ConvertOptions {
        quant: match args.quant {
            QuantArg::Q8 => Quant::Q8,
            QuantArg::Q4 => Quant::Q4,
            QuantArg::Q4m => Quant::Q4m,
        },
        threads: args.threads.map_or(0, usize::from),
        calibration: calibration(args)?,
    };
    let style = "{bar:32} {bytes:>10} of {total_bytes}  {wide_msg}";
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?),
        false => ProgressBar::hidden(),
    };
    let bar = Bar(bar);
    let summary = convert(&source, &output, &options, &bar);
    bar.0.finish_and_clear();
    let summary = summary?;
    if let CalibrationSummary::Unknown { name } = &summary.calibration {
        say(format!(
            "not calibrated: the model's tokenizer knows less than half of the {name}; give a text that it can read with \
             --calibrate"
        ));
    }
    let mut out = std::io::stdout().lock();
    write(&mut out, &summary)?;
    if !args.no_eval && summary.source_bytes <= MAX_COMPARED_BYTES {
        let text = options.calibration.unwrap_or_else(Calibration::english);
        if let Some(line) = eval::short(&summary.output, &source, &text)? {
            writeln!(out, "\n{line}")?;
        }
    }
    Ok(())
}

/// The text that calibrates, if the recipe has a use for one.
fn calibration(args: &ConvertArgs) -> Result<Option<Calibration>> {
    if matches!(args.quant, QuantArg::Q8) {
        if args.calibrate.is_some() {
            say("--calibrate does nothing for q8, which is as good without; it's for q4 and q4m");
        }
        return Ok(None);
    }
    Ok(match &args.calibrate {
        Some(path) => Some(Calibration::read(path)?),
        None if args.no_calibrate => None,
        None => Some(Calibration::english()),
    })
}

fn write(out: &mut impl Write, summary: &Summary) -> Result<()> {
    writeln!(
        out,
        "{}: {}, {:.2} bits a weight, from {} of weights in {:.1} s",
        summary.output.display(),
        human_size(summary.bytes),
        summary.bits_per_weight(),
        human_size(summary.source_bytes),
        summary.elapsed.as_secs_f64()
    )?;
    if let CalibrationSummary::Text { name, tokens } = &summary.calibration {
        writeln!(out, "calibrated on {tokens} tokens of the {name}")?;
    }
    writeln!(
        out,
        "\n{:<24} {:<6} {:>7} {:>10} {:>7}",
        "tensors", "format", "count", "size", "error"
    )?;
    for kind in &summary.kinds {
        let error = match kind.format.block() {
            Some(_) => format!("{:.2} %", kind.relative_error * 100.0),
            None => "-".to_owned(),
        };
        let (format, size) = (kind.format.to_string(), human_size(kind.bytes));
        writeln!(
            out,
            "{:<24} {format:<6} {:>7} {size:>10} {error:>7}",
            kind.kind, kind.tensors
        )?;
    }
    if !summary.ignored.is_empty() {
        writeln!(
            out,
            "\nnot needed, and left out: {}",
            summary.ignored.join(", ")
        )?;
    }
    Ok(())
}
