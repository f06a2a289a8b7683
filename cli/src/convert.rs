//! `rq convert`

use super::{MAX_THREADS, discard_when_interrupted, eval, human_size, locate, say};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use rq_convert::{
    Calibration, CalibrationSummary, ConvertOptions, HubCache, Progress, Quant, Source, Summary,
    convert,
};
#[cfg(feature = "hub")]
use rq_convert::{DownloadProgress, Hub, HubSettings};
use std::io::{IsTerminal, Write};
#[cfg(feature = "hub")]
use std::path::Path;
use std::path::PathBuf;

/// The largest weights that a conversion compares its result with.
const MAX_COMPARED_BYTES: u64 = 600_000_000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq convert roberta-large\n  rq convert ./my-roberta --quant q4 -o my-roberta-q4.rq"
)]
pub(super) struct ConvertArgs {
    /// Directory with config.json, weights (safetensors or pytorch_model.bin) and a tokenizer; or a name on the Hugging
    /// Face hub
    #[cfg_attr(
        feature = "hub",
        doc = "\n\nWhat the Hugging Face cache on disk lacks of a name is downloaded into it. NAME@REVISION is the same as NAME \
               --revision REVISION. HF_HUB_OFFLINE=1 forbids the network; HF_TOKEN, or the token that `hf auth login` stores, is for \
               private and gated models; HF_ENDPOINT names another hub; HF_HOME or HF_HUB_CACHE moves the cache; \
               HF_HUB_DOWNLOAD_TIMEOUT is how many seconds a server may be silent."
    )]
    #[cfg_attr(
        not(feature = "hub"),
        doc = "\n\nThe files of a name must be in the Hugging Face cache on disk: this rq was built without downloads."
    )]
    #[arg(value_name = "SOURCE")]
    source: String,

    /// Branch, tag or commit on the hub [default: main, as the cache has it]
    ///
    /// A branch or tag is looked up on the hub; without one, a model that the cache has is used as it is.
    #[cfg(feature = "hub")]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,

    /// File to write [default: SOURCE's name in rq's data directory, where `rq fill` finds it]
    ///
    /// An existing file is replaced when the new one is whole. A conversion that fails or is interrupted leaves nothing
    /// behind. The environment variable RQ_DATA_DIR moves the data directory.
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

/// A bar on a terminal, first for the download and then for the conversion; nothing elsewhere.
struct Bar(ProgressBar);

#[cfg(feature = "hub")]
impl DownloadProgress for Bar {
    fn start(&self, repository: &str, commit: &str, total_bytes: u64) {
        self.0.suspend(|| {
            super::say(format_args!(
                "downloading {} of {repository} at {commit}",
                human_size(total_bytes)
            ));
        });
        self.0.set_length(total_bytes);
    }

    fn at(&self, file: &str, bytes: u64) {
        // Only where it changes: setting it draws the bar anew.
        if self.0.message() != file {
            self.0.set_message(file.to_owned());
        }
        self.0.set_position(bytes);
    }
}

impl Progress for Bar {
    fn start(&self, total_bytes: u64) {
        self.0.reset();
        self.0.set_length(total_bytes);
    }

    fn tensor(&self, name: &str, bytes: u64) {
        self.0.set_message(name.to_owned());
        self.0.inc(bytes);
    }
}

pub(super) fn run(args: &ConvertArgs) -> Result<()> {
    let style = "{bar:32} {decimal_bytes:>10} of {decimal_total_bytes}  {wide_msg}";
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?),
        false => ProgressBar::hidden(),
    };
    let bar = Bar(bar);
    let shown = bar.0.clone();
    discard_when_interrupted(move || shown.finish_and_clear());
    let source = find(args, &bar);
    if source.is_err() {
        bar.0.finish_and_clear();
    }
    let source = source?;
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

/// The model's directory, downloaded if it must be.
#[cfg(feature = "hub")]
fn find(args: &ConvertArgs, bar: &Bar) -> Result<Source> {
    // A directory needs none of the hub's variables to be right.
    if args.revision.is_none() && Path::new(&args.source).exists() {
        return Ok(Source::find(&args.source, &HubCache::from_env())?);
    }
    let hub = Hub::new(HubSettings::from_env()?);
    Ok(hub.find(&args.source, args.revision.as_deref(), bar)?)
}

/// The model's directory.
#[cfg(not(feature = "hub"))]
fn find(args: &ConvertArgs, _: &Bar) -> Result<Source> {
    Ok(Source::find(&args.source, &HubCache::from_env())?)
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
