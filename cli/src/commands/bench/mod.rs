//! `rq bench`: how fast a model runs on this machine, and how close that is to the machine's limit.
//!
//! The limit is a roofline: the encoder's weights must be read once, and its multiply-adds must be done. Both peaks are
//! measured just before the passes, in the same process.

mod machine;
mod report;
mod shapes;

use crate::Ended;
use crate::args::options;
use crate::args::{self, blame_variable};
use crate::human::count;
use crate::locate;
use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use machine::Peaks;
use report::{Breakdown, Measured, Rate, Record, Report, Spread, milliseconds};
use rq::{Batch, Isa, Model, Profile, Rows, Session, SessionOptions};
use rq_convert::Quant;
use rq_format::{MAX_POSITIONS, TensorKind};
use rq_kernels::kernels::kernels;
use rq_kernels::threads::processors;
use shapes::{Random, SHAPES, Shape};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The default lengths of sequences, in tokens.
const LENGTHS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];
/// The default shape.
const DEFAULT_SHAPE: &str = "roberta-large";
/// The fewest passes that are timed: of one sequence, and of a batch.
const RUNS: usize = 5;
const BATCH_RUNS: usize = 3;
/// The fewest passes that are profiled.
const PROFILES: usize = 3;
/// The most passes that are timed, of tiny models.
const MAX_RUNS: usize = 1000;
/// The shortest time for which passes are timed, and profiled.
const TIMED: Duration = Duration::from_secs(1);
const PROFILED: Duration = Duration::from_millis(200);
/// How often opening the file is timed.
const OPENINGS: usize = 5;
/// The texts of the batch, and the tokens of the shortest and the longest.
const TEXTS: usize = 64;
const TEXT_TOKENS: (usize, usize) = (5, 200);

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq bench --quant q8 --threads 4\n  rq bench --model my.rq --json > my.jsonl"
)]
pub(super) struct BenchArgs {
    /// Model file, or name of a converted model
    #[arg(short, long, value_name = "FILE|NAME", conflicts_with_all = ["shape", "quant"])]
    model: Option<String>,

    /// Random weights in this shape, instead of a model [default: roberta-large]
    ///
    /// They are written to a temporary file of up to 366 MB, in TMPDIR, which is removed afterwards.
    #[arg(long, value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    shape: Option<String>,

    /// Quantization of the random weights [default: q8, then q4]
    #[arg(short, long, value_name = "QUANT")]
    #[arg(value_parser = PossibleValuesParser::new(Quant::ALL.map(Quant::name)))]
    quant: Option<String>,

    /// Sequence lengths in tokens [default: 8,16,32,64,128,256,512, or as many as the model takes]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    #[arg(value_parser = args::whole(1, Some(MAX_POSITIONS as u32)))]
    lengths: Vec<u32>,

    /// Numbers of threads to measure [default: 1, then one per processor]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    #[arg(value_parser = args::threads())]
    threads: Vec<u16>,

    /// Instruction set to use [default: the best this machine has]
    ///
    /// `rq info --cpu` lists them. The environment variable RQ_ISA does the same.
    #[arg(long, value_name = "NAME", value_parser = args::isa(), hide_possible_values = true)]
    isa: Option<Isa>,

    /// Also measure a batch of 64 texts of 5 to 200 tokens, and the same padded to the longest
    #[arg(long)]
    batch: bool,

    /// Print JSON lines
    ///
    /// Each is an object whose "type" is "peaks", "length", "batch" or "load". Times are in milliseconds.
    #[arg(long)]
    json: bool,
}

/// What is measured.
enum Subject {
    File(PathBuf),
    Random(&'static Shape, Quant),
}

/// An open model.
struct Opened {
    model: Arc<Model>,
    /// The median time that opening took.
    load: Duration,
    /// The directory to remove once the model is closed.
    _directory: Option<TempDir>,
}

/// The work of a pass through a model's encoder.
struct Work {
    /// Weights of the matrix products: one multiply-add each per token.
    weights: usize,
    /// Their size in memory.
    bytes: usize,
    /// Operations of attention per squared number of tokens: scores and contexts.
    attention: f64,
}

pub(super) fn run(args: &BenchArgs) -> Result<Ended> {
    let subjects = args.subjects()?;
    let options = options!(SessionOptions {
        threads: None,
        isa: args.isa,
    });
    let isa = blame_variable(args.isa, options.chosen_isa())?;
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
    Ok(Ended::Success)
}

fn session(model: &Arc<Model>, isa: Isa, threads: usize) -> Result<Session> {
    let options = options!(SessionOptions {
        threads: Some(threads),
        isa: Some(isa),
    });
    Ok(Session::new(Arc::clone(model), &options)?)
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

    /// The lengths, as far as a model takes them.
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
            // Closes the previous one.
            model = opened;
        }
        times.sort();
        Ok(Self {
            model: Arc::new(model),
            load: times[OPENINGS / 2],
            // On Unix a mapped file needs no name, so it is removed now, and not even an interrupt leaves it behind.
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

    /// The least seconds that one sequence can take: its products, limited by reading their weights or by multiply-adds,
    /// and attention, as if it were in 8 bits.
    fn roofline(&self, tokens: usize, peaks: &Peaks) -> f64 {
        let tokens = tokens as f64;
        let read = self.bytes as f64 / peaks.read_bytes;
        let products = 2.0 * self.weights as f64 * tokens / peaks.int8_ops;
        read.max(products) + self.attention * tokens * tokens / peaks.int8_ops
    }
}

/// Measures the machine, then passes of all lengths. Returns the peak resident memory.
fn measure(
    model: &Arc<Model>,
    subject: &Subject,
    isa: Isa,
    threads: usize,
    lengths: &[usize],
    report: &mut Report,
) -> Result<Option<u64>> {
    let quant = &model.config().quantization;
    let name = format!("{}, {quant}, {}", subject.name(), count(threads, "thread"));
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
fn pass(session: &mut Session, batch: &Batch) -> Result<f64> {
    let start = Instant::now();
    session.hidden_states(batch, Rows::All)?;
    Ok(milliseconds(start.elapsed()))
}

/// The milliseconds of passes through the encoder, in ascending order.
fn time(session: &mut Session, batch: &Batch) -> Result<Vec<f64>> {
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

/// How the fastest of some passes spent its time, and the least time of the head.
fn profile(session: &mut Session, batch: &Batch) -> Result<(Breakdown, f64)> {
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

/// Measures a batch, the longest sequence, and the batch with padded texts.
fn batch(session: &mut Session) -> Result<Record> {
    let model = Arc::clone(session.model());
    let longest = model.config().max_tokens();
    let (least, most) = (TEXT_TOKENS.0.min(longest), TEXT_TOKENS.1.min(longest));
    let mut random = Random::new(1);
    let texts: Vec<Vec<u32>> = (0..TEXTS)
        .map(|_| {
            let tokens = least + random.below(most - least + 1);
            sequence(&model, tokens, &mut random)
        })
        .collect();
    let most = texts.iter().map(Vec::len).max().unwrap_or_default();
    let padded = std::iter::repeat_with(|| sequence(&model, most, &mut random));
    let padded = padded.take(TEXTS).collect();
    let single = Batch::from_iter([sequence(&model, longest, &mut random)]);
    // They take turns, so that other load on the machine affects all of them.
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
