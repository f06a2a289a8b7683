//! `rq convert`

use super::eval;
use crate::Ended;
use crate::args::{self, Choice, one_of};
use crate::console::{self, discard_when_interrupted, say};
use crate::{human, locate, progress};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use rq_convert::{
    Calibrate, Calibration, CalibrationSummary, ConvertOptions, DownloadProgress, Progress, Quant,
    Source, Summary, convert_source,
};
use rq_format::Head;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The largest checkpoint whose conversion ends with a comparison.
const MAX_COMPARED_BYTES: u64 = 600_000_000;

const QUANTS: &[Choice<Quant>] = &[
    (
        "q8",
        Quant::Q8,
        "8.1 bits per weight; answers as good as the checkpoint's",
    ),
    (
        "q4",
        Quant::Q4,
        "4.4 bits per weight in the layers, 8.1 in the embeddings; smaller, faster and less exact",
    ),
    (
        "q4m",
        Quant::Q4m,
        "q8 for attention, q4 for the feed-forward layers: about 5.6 bits per weight in the layers",
    ),
];

const HEADS: &[Choice<Head>] = &[
    ("none", Head::None, "The encoder alone, for embeddings"),
    ("masked_lm", Head::MaskedLm, "A masked language model"),
    (
        "sequence_classification",
        Head::SequenceClassification,
        "A classifier of texts",
    ),
    (
        "token_classification",
        Head::TokenClassification,
        "A classifier of tokens",
    ),
    (
        "question_answering",
        Head::QuestionAnswering,
        "Answers' places in a text",
    ),
];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq convert roberta-large\n  rq convert ./my-roberta --quant q4 -o my-roberta-q4.rq\n  rq convert models/*/"
)]
pub(super) struct ConvertArgs {
    /// Directory with config.json, weights and a tokenizer; or the name of a model on the Hugging Face hub. Several are converted
    /// one after the other
    #[cfg_attr(
        feature = "hub",
        doc = "\n\nWeights are model.safetensors or pytorch_model.bin. Files of a named model that are not in the Hugging Face \
               cache on this machine are downloaded into it. NAME@REVISION means the same as NAME --revision REVISION. \
               HF_HUB_OFFLINE=1 turns the network off; HF_TOKEN, or the token that `hf auth login` stores, gives access to \
               private and gated models; HF_ENDPOINT selects another hub; HF_HOME or HF_HUB_CACHE moves the cache; \
               HF_HUB_DOWNLOAD_TIMEOUT is the number of seconds to wait for a silent server; https_proxy and no_proxy, SSL_CERT_FILE \
               and REQUESTS_CA_BUNDLE are read, too."
    )]
    #[cfg_attr(
        not(feature = "hub"),
        doc = "\n\nWeights are model.safetensors or pytorch_model.bin. The files of a named model must be in the Hugging Face \
               cache on this machine: this rq was built without downloads."
    )]
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,

    /// Branch, tag or commit on the hub [default: main, as it is in the cache]
    ///
    /// A branch or tag is looked up on the hub. Without this flag, a model in the cache is used as it is.
    #[cfg(feature = "hub")]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,

    /// File to write [default: named after SOURCE, in the data directory, where rq finds it]
    ///
    /// An existing file is replaced once the new one is complete; a symbolic link stays, and what it leads to is replaced. What isn't
    /// a file, such as a pipe or a device, is refused. If the conversion fails or is interrupted, no file is left behind; what
    /// a killed one leaves, the next into the same directory removes. The environment variable RQ_DATA_DIR moves the data directory.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How to store the weights
    #[arg(short, long, value_name = "QUANT", default_value = "q8", value_parser = one_of(QUANTS))]
    quant: Quant,

    /// Calibrate the weights of the layers on FILE, one text per line [default: built-in English text]
    ///
    /// q4 and q4m are calibrated anyway, on built-in English text; q8 only if asked for. It takes many minutes for
    /// roberta-large. If the model isn't used on English, give a few hundred lines like those it will see. At most 24,576
    /// tokens are used, spread over the whole file; one line in 16 is kept back for the comparison at the end.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "no_calibrate"
    )]
    calibrate: Option<Option<PathBuf>>,

    /// Don't calibrate q4 and q4m: much faster, but less exact
    #[arg(long)]
    no_calibrate: bool,

    /// Don't compare the file with the checkpoint at the end
    ///
    /// The comparison loads the checkpoint into memory as f32, so it is skipped for weights of more than 600 MB. `rq eval`
    /// compares files of any size.
    #[arg(long)]
    no_eval: bool,

    /// Head of the model [default: as config.json says, or else the weights]
    ///
    /// none, masked_lm, sequence_classification, token_classification or question_answering. A model whose files say nothing, or
    /// the wrong thing, needs it.
    #[arg(long, value_name = "HEAD", value_parser = one_of(HEADS), hide_possible_values = true)]
    head: Option<Head>,

    /// Number of threads [default: one per processor]
    ///
    /// The file doesn't depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::threads())]
    threads: Option<u16>,
}

/// On a terminal, a bar for the download and then for the conversion.
struct Bar(ProgressBar);

impl DownloadProgress for Bar {
    fn start(&self, repository: &str, commit: &str, total_bytes: u64) {
        say(format_args!(
            "downloading {} of {repository} at {commit}",
            human::size(total_bytes)
        ));
        self.0.set_length(total_bytes);
    }

    fn at(&self, file: &str, bytes: u64) {
        // Only if it changes, because setting it redraws the bar.
        let file = human::visible(file);
        if self.0.message() != file {
            self.0.set_message(file);
        }
        self.0.set_position(bytes);
    }

    fn waiting(&self, file: &str, lock: &Path) {
        say(format_args!(
            "another process downloads {file}, and this one waits for it; Ctrl-C ends the wait (the lock is {})",
            lock.display()
        ));
    }
}

impl Progress for Bar {
    fn start(&self, total_work: u64) {
        self.0.reset();
        self.0
            .set_style(progress::style("{percent:>3} %, {eta} left  {wide_msg}"));
        self.0.set_length(total_work);
    }

    fn advance(&self, part: &str, work: u64) {
        self.0.set_message(human::visible(part));
        self.0.inc(work);
    }
}

pub(super) fn run(args: &ConvertArgs) -> Result<Ended> {
    let style = "{decimal_bytes:>10} of {decimal_total_bytes}  {wide_msg}";
    let bar = Bar(progress::line().with_style(progress::style(style)));
    let shown = bar.0.clone();
    discard_when_interrupted(move || shown.finish_and_clear());
    let several = args.sources.len() > 1;
    ensure!(
        !several || (args.output.is_none() && revision(args).is_none()),
        "--output and --revision are for one model: here are {}",
        args.sources.len()
    );
    let mut written = HashMap::new();
    for (i, name) in args.sources.iter().enumerate() {
        let source = Source::obtain(name, revision(args), &bar);
        let source = source.inspect_err(|_| bar.0.finish_and_clear())?;
        let output = output(args, &source)?;
        if let Some(other) = written.insert(output.clone(), name) {
            bail!(
                "{other} and {name} have the same name, {}: convert one of them alone, with --output",
                source.name()
            );
        }
        if i > 0 {
            writeln!(console::output())?;
        }
        convert_one(args, &source, &output, &bar)?;
    }
    Ok(Ended::Success)
}

/// Where a model's file goes.
fn output(args: &ConvertArgs, source: &Source) -> Result<PathBuf> {
    Ok(match &args.output {
        Some(output) => output.clone(),
        None => {
            let output = locate::converted_path(source.name())?;
            let directory = output.parent().unwrap_or(&output);
            std::fs::create_dir_all(directory)
                .with_context(|| format!("can't create {}", directory.display()))?;
            output
        }
    })
}

fn convert_one(args: &ConvertArgs, source: &Source, output: &Path, bar: &Bar) -> Result<()> {
    let options = ConvertOptions {
        quant: args.quant,
        threads: args.threads.map_or(0, usize::from),
        calibration: calibration(args)?,
        head: args.head,
    };
    let summary = convert_source(source, output, &options, bar);
    bar.0.finish_and_clear();
    let summary = summary?;
    if let CalibrationSummary::Unknown { name } = &summary.calibration {
        say(format!(
            "not calibrated: the model's tokenizer knows less than half of the {name}; pass a text in its language with \
             --calibrate=FILE"
        ));
    }
    let mut out = console::output();
    write(&mut out, &summary, args.sources.len() == 1)?;
    if !args.no_eval && summary.source_bytes <= MAX_COMPARED_BYTES {
        let text = options.calibration_text();
        let text = text.map_or_else(Calibration::english, Cow::into_owned);
        if let Some(line) = eval::short(&summary.output, source, &text)? {
            let blank = if args.sources.len() == 1 { "\n" } else { "" };
            writeln!(out, "{blank}{line}")?;
        }
    }
    Ok(())
}

/// Whether the weights are calibrated, and on what.
fn calibration(args: &ConvertArgs) -> Result<Calibrate> {
    Ok(match &args.calibrate {
        Some(Some(path)) => Calibrate::On(Calibration::read(path)?),
        Some(None) => Calibrate::On(Calibration::english()),
        None if args.no_calibrate => Calibrate::Never,
        None => Calibrate::ByRecipe,
    })
}

#[cfg(feature = "hub")]
fn revision(args: &ConvertArgs) -> Option<&str> {
    args.revision.as_deref()
}

#[cfg(not(feature = "hub"))]
fn revision(_: &ConvertArgs) -> Option<&str> {
    None
}

/// Writes what was converted; with the sizes and errors of the kinds of tensors, if they are asked for.
fn write(out: &mut impl Write, summary: &Summary, kinds: bool) -> Result<()> {
    writeln!(
        out,
        "{}: {}, {:.2} bits per weight, from {} of weights in {:.1} s",
        summary.output.display(),
        human::size(summary.bytes),
        summary.bits_per_weight(),
        human::size(summary.source_bytes),
        summary.elapsed.as_secs_f64()
    )?;
    if let CalibrationSummary::Text { name, tokens } = &summary.calibration {
        writeln!(out, "calibrated on {tokens} tokens of the {name}")?;
    }
    if kinds {
        table(out, summary)?;
    }
    if !summary.ignored.is_empty() {
        writeln!(
            out,
            "\nnot needed and left out: {}",
            human::visible(&summary.ignored.join(", "))
        )?;
    }
    for note in &summary.notes {
        writeln!(out, "\nnote: {}", human::visible(note))?;
    }
    Ok(())
}

fn table(out: &mut impl Write, summary: &Summary) -> Result<()> {
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
        let (format, size) = (kind.format.to_string(), human::size(kind.bytes));
        writeln!(
            out,
            "{:<24} {format:<6} {:>7} {size:>10} {error:>7}",
            kind.kind, kind.tensors
        )?;
    }
    Ok(())
}
