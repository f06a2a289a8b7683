//! `rq bench`: how fast a model is here, beside the fastest that the machine could be.
//!
//! The bound is a roofline: the encoder's weights have to be read once, and its multiply-adds have to be done. Both
//! peaks are measured here too, just before the passes, in the same process.

mod machine;
mod plot;
mod report;
mod shapes;

use super::{MAX_THREADS, blame_variable, isa_parser, locate};
use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, value_parser};
use machine::Peaks;
use report::{Breakdown, Measured, Rate, Record, Report, Spread, counted};
use rq::format::{MAX_POSITIONS, TensorKind};
use rq::{Batch, Isa, Model, Profile, Rows, Session, SessionOptions};
use rq_convert::Quant;
use rq_kernels::kernels::kernels;
use rq_kernels::threads::processors;
use shapes::{Random, SHAPES, Shape};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Tokens of the passes, unless others are asked for.
const LENGTHS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];
/// The shape, unless another or a model is asked for.
const DEFAULT_SHAPE: &str = "roberta-large";
/// The least number of passes that are timed: with one sequence, and with a batch.
const RUNS: usize = 5;
const BATCH_RUNS: usize = 3;
/// The least number of passes that are profiled.
const PROFILES: usize = 3;
/// The most passes that are timed: of tiny models.
const MAX_RUNS: usize = 1000;
/// How long passes are timed, and profiled, at least.
const TIMED: Duration = Duration::from_secs(1);
const PROFILED: Duration = Duration::from_millis(200);
/// How often opening the file is timed.
const OPENINGS: usize = 5;
/// The batch: so many texts, of the shortest to the longest of these lengths.
const TEXTS: usize = 64;
const TEXT_TOKENS: (usize, usize) = (5, 200);

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq bench --quant q8 --threads 4\n  rq bench --model my.rq --json --plot speed.svg"
)]
pub(super) struct BenchArgs {
    /// Model file, or name of a converted model
    #[arg(short, long, value_name = "FILE|NAME", conflicts_with_all = ["shape", "quant"])]
    model: Option<String>,

    /// Random weights in this shape, instead of a model [default: roberta-large]
    ///
    /// They are written to a temporary file of up to 382 MB, which is removed afterwards. TMPDIR moves it.
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    shape: Option<String>,

    /// How the random weights are stored: q8, q4 or q4m [default: q8, then q4]
    #[arg(short, long, value_name = "QUANT", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(Quant::ALL.map(Quant::name)))]
    quant: Option<String>,

    /// Tokens of the sequences [default: 8,16,32,64,128,256,512, or as many as the model takes]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    #[arg(value_parser = value_parser!(u32).range(1..=MAX_POSITIONS as i64))]
    lengths: Vec<u32>,

    /// Threads to compute with, one number after the other [default: 1, and as many as there are processors]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    #[arg(value_parser = value_parser!(u16).range(1..=MAX_THREADS))]
    threads: Vec<u16>,

    /// Instruction set to compute with [default: the best that this machine has]
    ///
    /// The environment variable RQ_ISA does the same.
    #[arg(long, value_name = "NAME", value_parser = isa_parser())]
    isa: Option<Isa>,

    /// Also compute 64 texts of 5 to 200 tokens at once, and padded to the longest
    #[arg(long)]
    batch: bool,

    /// Print lines of JSON
    ///
    /// Each is an object whose "type" is "peaks", "length", "batch" or "load". Times are in milliseconds.
    #[arg(long)]
    json: bool,

    /// Draw time against length in this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What is measured.
enum Subject {
    File(PathBuf),
    Random(&'static Shape, Quant),
}

/// An open model.
struct Opened {
    model: Model,
    /// How long opening took: the median.
    load: Duration,
    /// What must be removed once the model is closed.
    _directory: Option<TempDir>,
}

/// What a pass through a model's encoder takes.
struct Work {
    /// Weights of the products, a multiply-add each for every token.
    weights: usize,
    /// What they take in memory.
    bytes: usize,
    /// Operations of attention for the square of the tokens: scores and contexts.
    attention: f64,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let subjects = args.subjects()?;
    let options = SessionOptions {
        threads: None,
        isa: args.isa,
    };
    let isa = blame_variable(args.isa, options.chosen_isa())?;
    if let Some(path) = &args.plot {
        // Better refused now than after minutes.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        file.with_context(|| format!("can't write {}", path.display()))?;
    }
    let mut report = Report::new(args.json);
    for subject in &subjects {
        report.progress(format!("opening {}", subject.name()));
        let opened = subject.open(args)?;
        let lengths = args.lengths(opened.model.config().max_tokens())?;
        let mut resident = Some(0);
        for threads in args.threads() {
            let peak = measure(&opened.model, subject, isa, threads, &lengths, &mut report)?;
            resident = resident.zip(peak).map(|(a, b)| a.max(b));
            if args.batch {
                let mut session = session(&opened.model, isa, threads)?;
                report.progress("a batch".to_owned());
                report.write(batch(&mut session)?)?;
            }
        }
        report.write(Record::Load {
            quant: opened.model.config().quantization.clone(),
            file_bytes: opened.model.file().file_len(),
            load_ms: milliseconds(opened.load),
            peak_resident_bytes: resident,
        })?;
    }
    if let Some(path) = &args.plot {
        let title = format!("{}: {}, {isa}", subjects[0].name(), machine::name());
        std::fs::write(path, plot::svg(&title, &report.lengths))
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn session(model: &Model, isa: Isa, threads: usize) -> Result<Session<'_>> {
    let options = SessionOptions {
        threads: Some(threads),
        isa: Some(isa),
    };
    Ok(Session::new(model, &options)?)
}

impl BenchArgs {
    fn subjects(&self) -> Result<Vec<Subject>> {
        if let Some(name) = &self.model {
            return Ok(vec![Subject::File(locate::find(name)?)]);
        }
        let name = self.shape.as_deref().unwrap_or(DEFAULT_SHAPE);
        let shape = SHAPES.iter().find(|shape| shape.name == name);
        let shape = shape.context("a known shape")?;
        let asked = |quant: &Quant| match &self.quant {
            None => *quant != Quant::Q4m,
            Some(name) => name == quant.name(),
        };
        let quants = Quant::ALL.into_iter().filter(asked);
        Ok(quants.map(|quant| Subject::Random(shape, quant)).collect())
    }

    fn threads(&self) -> Vec<usize> {
        if !self.threads.is_empty() {
            return self.threads.iter().copied().map(usize::from).collect();
        }
        match processors() {
            1 => vec![1],
            all => vec![1, all],
        }
    }

    /// The lengths, of those that a model takes.
    fn lengths(&self, longest: usize) -> Result<Vec<usize>> {
        if self.lengths.is_empty() {
            let mut lengths = LENGTHS.map(|tokens| tokens.min(longest)).to_vec();
            lengths.dedup();
            return Ok(lengths);
        }
        let lengths: Vec<usize> = self.lengths.iter().map(|&tokens| tokens as usize).collect();
        match lengths.iter().find(|&&tokens| tokens > longest) {
            Some(tokens) => bail!("--lengths {tokens}: the model takes at most {longest} tokens"),
            None => Ok(lengths),
        }
    }
}

impl Subject {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Random(shape, _) => format!("{} with random weights", shape.name),
        }
    }

    fn open(&self, args: &BenchArgs) -> Result<Opened> {
        match self {
            Self::File(path) => Opened::new(path, None),
            Self::Random(shape, quant) => {
                args.lengths(shape.max_tokens())?;
                let directory = tempfile::tempdir().context("no temporary directory")?;
                let path = directory.path().join("random.rq");
                shape.write(*quant, &path)?;
                Opened::new(&path, Some(directory))
            }
        }
    }
}

impl Opened {
    fn new(path: &Path, directory: Option<TempDir>) -> Result<Self> {
        let mut model = locate::open_file(path)?;
        let mut times = Vec::with_capacity(OPENINGS);
        for _ in 0..OPENINGS {
            let start = Instant::now();
            let opened = locate::open_file(path)?;
            times.push(start.elapsed());
            // Only now is the one before closed.
            model = opened;
        }
        times.sort();
        Ok(Self {
            model,
            load: times[OPENINGS / 2],
            // Where a mapped file needs no name it loses it now, so that not even an interrupt leaves it behind.
            _directory: directory.filter(|_| !cfg!(unix)),
        })
    }
}

impl Work {
    fn of(model: &Model) -> Self {
        let (file, config) = (model.file(), model.config());
        let expected = config.expected_tensors().into_iter();
        let products: Vec<_> = expected
            .filter(|t| t.kind == TensorKind::Linear && t.name.starts_with("layers."))
            .filter_map(|t| file.tensor(&t.name).ok())
            .collect();
        Self {
            weights: products.iter().map(|t| t.rows * t.columns).sum(),
            bytes: products.iter().map(|t| t.length as usize).sum(),
            attention: (4 * config.num_hidden_layers * config.hidden_size) as f64,
        }
    }

    /// The least seconds that one sequence can take: its products as fast as their weights can be read or their
    /// multiply-adds done, and then attention, as if it were in 8 bits.
    fn roofline(&self, tokens: usize, peaks: &Peaks) -> f64 {
        let tokens = tokens as f64;
        let read = self.bytes as f64 / peaks.read_bytes;
        let products = 2.0 * self.weights as f64 * tokens / peaks.int8_ops;
        read.max(products) + self.attention * tokens * tokens / peaks.int8_ops
    }
}

/// Measures the machine, then passes of all lengths; returns the memory that was resident at most.
fn measure(
    model: &Model,
    subject: &Subject,
    isa: Isa,
    threads: usize,
    lengths: &[usize],
    report: &mut Report,
) -> Result<Option<u64>> {
    let quant = &model.config().quantization;
    let name = format!(
        "{}, {quant}, {}",
        subject.name(),
        counted(threads, "thread")
    );
    report.progress(format!("{name}: the machine's peaks"));
    let work = Work::of(model);
    let peaks = Peaks::measure(kernels(isa)?, threads, work.bytes);
    report.write(Record::Peaks {
        machine: machine::processor(),
        processors: processors(),
        target: machine::target(),
        version: env!("CARGO_PKG_VERSION"),
        model: subject.name(),
        quant: quant.clone(),
        isa: isa.name(),
        threads,
        int8_gops: peaks.int8_ops / 1e9,
        read_gbps: peaks.read_bytes / 1e9,
        encoder_weights: work.weights,
        encoder_bytes: work.bytes,
    })?;

    let resets = machine::reset_peak_resident();
    let mut session = session(model, isa, threads)?;
    for &tokens in lengths {
        report.progress(format!("{name}, {tokens} tokens"));
        let batch = Batch::from_iter([sequence(model, tokens, &mut Random::new(1))]);
        let times = time(&mut session, &batch)?;
        let (breakdown, head) = profile(&mut session, &batch)?;
        let median = times[times.len() / 2];
        let roofline = 1e3 * work.roofline(tokens, &peaks);
        report.write(Record::Length(Measured {
            quant: quant.clone(),
            isa: isa.name(),
            threads,
            tokens,
            median_ms: median,
            roofline_ms: roofline,
            fraction: roofline / median,
            tokens_per_s: 1e3 * tokens as f64 / median,
            runs: times.len(),
            spread_ms: Spread::of(&times),
            breakdown_ms: breakdown,
            head_ms: head,
        }))?;
    }
    Ok(machine::peak_resident().filter(|_| resets))
}

/// Random tokens, none of them padding.
fn sequence(model: &Model, tokens: usize, random: &mut Random) -> Vec<u32> {
    let config = model.config();
    let ids = std::iter::repeat_with(|| random.below(config.vocab_size) as u32);
    ids.filter(|&id| id != config.pad_token_id)
        .take(tokens)
        .collect()
}

/// The milliseconds of a pass through the encoder.
fn pass(session: &mut Session<'_>, batch: &Batch) -> Result<f64> {
    let start = Instant::now();
    session.hidden_states(batch, Rows::All)?;
    Ok(milliseconds(start.elapsed()))
}

/// The milliseconds of passes through the encoder, in ascending order.
fn time(session: &mut Session<'_>, batch: &Batch) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    // The first one warms up.
    pass(session, batch)?;
    let start = Instant::now();
    while times.len() < RUNS || (start.elapsed() < TIMED && times.len() < MAX_RUNS) {
        times.push(pass(session, batch)?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Where the time of the fastest of some passes went, and the least time of the head.
fn profile(session: &mut Session<'_>, batch: &Batch) -> Result<(Breakdown, f64)> {
    let mut profiles: Vec<Profile> = Vec::new();
    let start = Instant::now();
    while profiles.len() < PROFILES || (start.elapsed() < PROFILED && profiles.len() < MAX_RUNS) {
        profiles.push(session.profile(batch)?);
    }
    let fastest = profiles.iter().min_by_key(|profile| profile.encoder);
    let head = profiles.iter().map(|profile| profile.head).min();
    let fastest = fastest.context("a profile")?;
    Ok((
        Breakdown::new(fastest, session.threads()),
        milliseconds(head.unwrap_or_default()),
    ))
}

/// Many texts at once: their tokens a second, beside those of the longest sequence, and of as many padded texts.
fn batch(session: &mut Session<'_>) -> Result<Record> {
    let model = session.model();
    let longest = model.config().max_tokens();
    let (least, most) = (TEXT_TOKENS.0.min(longest), TEXT_TOKENS.1.min(longest));
    let mut random = Random::new(1);
    let texts: Vec<Vec<u32>> = (0..TEXTS)
        .map(|_| {
            let tokens = least + random.below(most - least + 1);
            sequence(model, tokens, &mut random)
        })
        .collect();
    let most = texts.iter().map(Vec::len).max().unwrap_or_default();
    let padded = std::iter::repeat_with(|| sequence(model, most, &mut random));
    let padded = padded.take(TEXTS).collect();
    let single = Batch::from_iter([sequence(model, longest, &mut random)]);
    // Taking turns, so that whatever else the machine does meets them all.
    let batches = [Batch::from_iter(&texts), single, padded];
    let mut times = [const { Vec::new() }; 3];
    let start = Instant::now();
    while times[0].len() < BATCH_RUNS || start.elapsed() < TIMED {
        for (batch, times) in batches.iter().zip(&mut times) {
            times.push(pass(session, batch)?);
        }
    }
    let [ragged, single, padded] = [0, 1, 2].map(|i| {
        times[i].sort_by(f64::total_cmp);
        Rate::new(batches[i].ids().len(), times[i][times[i].len() / 2])
    });
    Ok(Record::Batch {
        quant: model.config().quantization.clone(),
        isa: session.isa().name(),
        threads: session.threads(),
        texts: TEXTS,
        of_single: ragged.tokens_per_s / single.tokens_per_s,
        times_padded: padded.median_ms / ragged.median_ms,
        ragged,
        single,
        padded,
    })
}

fn milliseconds(duration: Duration) -> f64 {
    1e3 * duration.as_secs_f64()
}
