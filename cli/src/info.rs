//! `rq info`

use super::{MAX_THREADS, cpu, human_size, locate};
use anyhow::{Result, ensure};
use clap::{Args, value_parser};
use rq::arena_bytes;
use rq::format::{
    Config, ModelFile, PoolingMode, Provenance, TensorFormat, TensorInfo, TensorKind,
};
use rq_kernels::threads::processors;
use serde::Serialize;
use std::io::Write;
use std::num::NonZero;

/// The most texts for which an arena is stated.
const MAX_BATCH: usize = 65_536;

#[derive(Args)]
pub(super) struct InfoArgs {
    /// Model file, or name of a converted model [default: the model that `rq fill` would use]
    #[arg(value_name = "FILE|NAME")]
    file: Option<String>,

    /// Show what this processor offers, and the kernels that are chosen for it
    #[arg(long, conflicts_with = "file")]
    cpu: bool,

    /// Tokens of the texts for which the arena is stated [default: the most that the model takes]
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    tokens: Option<NonZero<usize>>,

    /// Texts that are computed together, for which the arena is stated
    #[arg(long, value_name = "N", conflicts_with = "cpu", default_value = "1")]
    batch: NonZero<usize>,

    /// Threads for which the arena is stated [default: as many as there are processors]
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    #[arg(value_parser = value_parser!(u16).range(1..=MAX_THREADS))]
    threads: Option<u16>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Info<'a> {
    file: &'a str,
    bytes: u64,
    fingerprint: String,
    max_tokens: usize,
    parameters: u64,
    config: &'a Config,
    arena: Arena,
    sizes: Vec<Size>,
    provenance: &'a Provenance,
    tensors: Vec<TensorRecord<'a>>,
}

/// The memory that a session takes beside the file, to fill one mask in each of some texts.
#[derive(Serialize)]
struct Arena {
    tokens: usize,
    batch: usize,
    threads: usize,
    bytes: usize,
}

impl Arena {
    fn new(config: &Config, args: &InfoArgs) -> Result<Self> {
        let most = config.max_tokens();
        let tokens = args.tokens.map_or(most, NonZero::get);
        ensure!(
            tokens <= most,
            "--tokens {tokens}: the model takes at most {most} tokens"
        );
        let batch = args.batch.get();
        ensure!(
            batch <= MAX_BATCH,
            "--batch {batch}: at most {MAX_BATCH} texts can be asked for"
        );
        let threads = args.threads.map_or_else(processors, usize::from);
        Ok(Self {
            tokens,
            batch,
            threads,
            bytes: arena_bytes(config, &vec![tokens; batch], batch, threads),
        })
    }
}

/// The tensors of one kind and format.
#[derive(Serialize)]
struct Size {
    kind: &'static str,
    format: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct TensorRecord<'a> {
    name: &'a str,
    format: String,
    rows: usize,
    columns: usize,
    bytes: u64,
}

pub(super) fn run(args: &InfoArgs) -> Result<()> {
    if args.cpu {
        return cpu::run(args.json);
    }
    let located = locate::open(args.file.as_deref())?;
    located.announce();
    let file = located.model.file();
    let arena = Arena::new(file.config(), args)?;
    let info = Info {
        file: &located.place,
        bytes: file.file_len(),
        fingerprint: format!("{:016x}", file.fingerprint()),
        max_tokens: file.config().max_tokens(),
        parameters: file.tensors().iter().map(parameters).sum(),
        config: file.config(),
        arena,
        sizes: sizes(file),
        provenance: file.provenance(),
        tensors: file.tensors().iter().map(TensorRecord::from).collect(),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&info)?)?;
    } else {
        info.write(&mut out)?;
    }
    Ok(())
}

fn parameters(tensor: &TensorInfo) -> u64 {
    tensor.rows as u64 * tensor.columns as u64
}

/// The sizes by kind of tensor, in the order of first use.
fn sizes(file: &ModelFile) -> Vec<Size> {
    let mut sizes: Vec<Size> = Vec::new();
    for expected in file.config().expected_tensors() {
        let Ok(tensor) = file.tensor(&expected.name) else {
            continue;
        };
        let kind = match expected.kind {
            TensorKind::Embedding => "word embeddings",
            TensorKind::Linear if expected.name.starts_with("layers.") => "encoder matrices",
            TensorKind::Linear => "head matrices",
            _ if expected.name.starts_with("embeddings.") => "other embeddings",
            _ => "biases and norms",
        };
        let format = tensor.format.to_string();
        let at = sizes
            .iter()
            .position(|s| s.kind == kind && s.format == format)
            .unwrap_or_else(|| {
                sizes.push(Size {
                    kind,
                    format,
                    tensors: 0,
                    parameters: 0,
                    bytes: 0,
                });
                sizes.len() - 1
            });
        sizes[at].tensors += 1;
        sizes[at].parameters += parameters(tensor);
        sizes[at].bytes += tensor.length;
    }
    sizes
}

impl<'a> From<&'a TensorInfo> for TensorRecord<'a> {
    fn from(tensor: &'a TensorInfo) -> Self {
        Self {
            name: &tensor.name,
            format: TensorFormat::to_string(&tensor.format),
            rows: tensor.rows,
            columns: tensor.columns,
            bytes: tensor.length,
        }
    }
}

impl Info<'_> {
    fn write(&self, out: &mut impl Write) -> Result<()> {
        let c = self.config;
        let mut row = |name: &str, value: String| writeln!(out, "{name:<14} {value}");
        row(
            "file",
            format!("{} ({})", self.file, human_size(self.bytes)),
        )?;
        row("fingerprint", self.fingerprint.clone())?;
        row(
            "architecture",
            format!("{:?}, {}", c.architecture, c.head).to_lowercase(),
        )?;
        row(
            "parameters",
            format!("{:.1} M", self.parameters as f64 / 1e6),
        )?;
        row("quantization", c.quantization.clone())?;
        row(
            "layers",
            format!(
                "{} of hidden size {}, {} heads, feed-forward {}",
                c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size
            ),
        )?;
        row("vocabulary", format!("{} tokens", c.vocab_size))?;
        row(
            "longest text",
            format!("{} tokens, the special ones included", self.max_tokens),
        )?;
        if !c.labels.is_empty() {
            row("labels", listed(&c.labels))?;
        }
        if let Some(pooling) = c.pooling {
            let mode = match pooling.mode {
                PoolingMode::Cls => "the first token",
                PoolingMode::Mean => "the mean",
                PoolingMode::Max => "the largest values",
                _ => "another",
            };
            let length = if pooling.normalize {
                ", scaled to the length 1"
            } else {
                ""
            };
            row("embeddings", format!("{mode}{length}"))?;
        }
        let arena = &self.arena;
        let texts = if arena.batch == 1 {
            "one text".to_owned()
        } else {
            format!("{} texts", arena.batch)
        };
        row(
            "arena",
            format!(
                "{} for {texts} of {} tokens on {} threads, beside the file",
                human_size(arena.bytes as u64),
                arena.tokens,
                arena.threads
            ),
        )?;
        let p = self.provenance;
        let revision = p
            .revision
            .as_deref()
            .map(|r| format!(", revision {r}"))
            .unwrap_or_default();
        row("source", format!("{}{revision}", p.source))?;
        for file in &p.weights {
            row(
                "",
                format!(
                    "{} ({}), sha256 {}",
                    file.file,
                    human_size(file.bytes),
                    file.sha256
                ),
            )?;
        }
        row("converter", p.converter.clone())?;
        writeln!(
            out,
            "\n{:<18} {:<6} {:>7} {:>12} {:>10} {:>6}",
            "tensors", "format", "count", "parameters", "size", "bits"
        )?;
        for size in &self.sizes {
            let bits = size.bytes as f64 * 8.0 / size.parameters as f64;
            writeln!(
                out,
                "{:<18} {:<6} {:>7} {:>12} {:>10} {bits:>6.2}",
                size.kind,
                size.format,
                size.tensors,
                size.parameters,
                human_size(size.bytes)
            )?;
        }
        Ok(())
    }
}
/// The first of some labels, and how many more there are.
fn listed(labels: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    match labels.len() - labels.len().min(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
