//! `rq convert`

use super::{MAX_THREADS, human_size, locate};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use rq_convert::{ConvertOptions, HubCache, Progress, Quant, Source, Summary, convert};
use rq_format::discard_unfinished;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The exit status after an interrupt: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq convert ./my-roberta\n  rq convert roberta-large --quant q4 -o roberta-large-q4.rq"
)]
pub(super) struct ConvertArgs {
    /// Directory with config.json, weights (safetensors or pytorch_model.bin) and a tokenizer; or a name on the Hugging
    /// Face hub whose files are in the cache on disk
    #[arg(value_name = "SOURCE")]
    source: String,

    /// File to write [default: SOURCE's name in rq's data directory, where `rq fill` finds it]
    ///
    /// An existing file is replaced when the new one is whole. A conversion that fails or is interrupted leaves nothing
    /// behind. The environment variable RQ_DATA_DIR moves the data directory.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How to store the weights
    #[arg(short, long, value_enum, default_value_t = QuantArg::Q8)]
    quant: QuantArg,

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
        },
        threads: args.threads.map_or(0, usize::from),
    };
    let style = "{bar:32} {bytes:>10} of {total_bytes}  {wide_msg}";
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?),
        false => ProgressBar::hidden(),
    };
    let bar = Bar(bar);
    discard_when_interrupted(&bar.0);
    let summary = convert(&source, &output, &options, &bar);
    bar.0.finish_and_clear();
    write(&mut std::io::stdout().lock(), &summary?)
}

/// Lets an interrupt end the process with 130, as shells have it, and leave nothing of the new file behind.
fn discard_when_interrupted(bar: &ProgressBar) {
    let bar = bar.clone();
    // It is refused where the parent had a signal ignored, as `nohup` does; then all stay as they are.
    let _ = ctrlc::try_set_handler(move || {
        // Held until the end, so that in between no file is begun or moved into its place.
        let _discarded = discard_unfinished();
        bar.finish_and_clear();
        super::say("interrupted");
        std::process::exit(INTERRUPTED);
    });
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
