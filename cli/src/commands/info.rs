//! `rq info`

use super::cpu;
use crate::Ended;
use crate::args::{self, whole};
use crate::console;
use crate::human::{listed, size, visible};
use crate::locate;
use crate::records::json_line;
use anyhow::{Result, ensure};
use clap::Args;
use rq::Model;
use rq_format::{
    Config, EmbeddingLayer, ModelFile, Pooling, PoolingMode, Provenance, SparseActivation,
    SparseMode, SparsePooling, TensorFormat, TensorInfo, TensorKind, TruncationSide,
};
use rq_kernels::threads::processors;
use serde::Serialize;
use std::io::Write;

/// The largest value of `--batch`.
const MAX_BATCH: usize = 65_536;

#[derive(Args)]
pub(super) struct InfoArgs {
    /// Model file, or name of a converted model [default: the one `rq fill` would use]
    #[arg(value_name = "FILE|NAME")]
    file: Option<String>,

    /// Show the instruction sets of this processor, and the one that is used
    #[arg(long, conflicts_with = "file")]
    cpu: bool,

    /// State the arena for texts of this many tokens [default: as many as the model takes]
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    #[arg(allow_negative_numbers = true, value_parser = whole::<usize>(1, None))]
    tokens: Option<usize>,

    /// State the arena for this many texts computed together
    #[arg(long, value_name = "N", conflicts_with = "cpu", default_value_t = 1)]
    #[arg(allow_negative_numbers = true, value_parser = whole(1, Some(MAX_BATCH)))]
    batch: usize,

    /// State the arena for this many threads [default: one per processor]
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    #[arg(allow_negative_numbers = true, value_parser = args::threads())]
    threads: Option<u16>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The object of `--json`.
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

/// The memory that a session takes besides the file, to fill one mask in each of some texts.
#[derive(Serialize)]
struct Arena {
    tokens: usize,
    batch: usize,
    threads: usize,
    bytes: usize,
}

impl Arena {
    fn new(model: &Model, args: &InfoArgs) -> Result<Self> {
        let most = model.config().max_tokens();
        let tokens = args.tokens.unwrap_or(most);
        ensure!(
            tokens <= most,
            "--tokens {tokens}: the model takes at most {most} tokens"
        );
        let batch = args.batch;
        let threads = args.threads.map_or_else(processors, usize::from);
        Ok(Self {
            tokens,
            batch,
            threads,
            bytes: model.session_bytes(&vec![tokens; batch], batch, threads),
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

pub(super) fn run(args: &InfoArgs) -> Result<Ended> {
    if args.cpu {
        return cpu::run(args.json);
    }
    let located = locate::open(args.file.as_deref())?;
    located.announce();
    let file = located.model.file();
    let info = Info {
        file: &located.place,
        bytes: file.file_len(),
        fingerprint: format!("{:016x}", file.fingerprint()),
        max_tokens: file.config().max_tokens(),
        parameters: file.tensors().iter().map(parameters).sum(),
        config: file.config(),
        arena: Arena::new(&located.model, args)?,
        sizes: sizes(file),
        provenance: file.provenance(),
        tensors: file.tensors().iter().map(TensorRecord::from).collect(),
    };
    let mut out = console::output();
    if args.json {
        json_line(&mut out, &info)?;
    } else {
        info.write(&mut out)?;
    }
    Ok(Ended::Success)
}

fn parameters(tensor: &TensorInfo) -> u64 {
    tensor.rows as u64 * tensor.columns as u64
}

/// The sizes by kind and format of tensor, in the order in which they first appear.
fn sizes(file: &ModelFile) -> Vec<Size> {
    let mut sizes: Vec<Size> = Vec::new();
    for expected in file.config().expected_tensors() {
        let Ok(tensor) = file.tensor(&expected.name) else {
            continue;
        };
        let kind = match expected.kind {
            TensorKind::Embedding => "word embeddings",
            TensorKind::Linear if expected.name.starts_with("layers.") => "encoder matrices",
            _ if expected.name.starts_with("embeddings.") => "other embeddings",
            TensorKind::Linear => "head matrices",
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
        let (c, arena, p) = (self.config, &self.arena, self.provenance);
        let architecture = format!("{:?}, {}", c.architecture, c.head).to_lowercase();
        let parameters = self.parameters as f64 / 1e6;
        writeln!(
            out,
            "file           {} ({})",
            visible(self.file),
            size(self.bytes)
        )?;
        writeln!(out, "fingerprint    {}", self.fingerprint)?;
        writeln!(out, "architecture   {architecture}")?;
        writeln!(out, "parameters     {parameters:.1} M")?;
        writeln!(out, "quantization   {}", c.quantization)?;
        writeln!(
            out,
            "layers         {} of hidden size {}, {} heads, feed-forward {}",
            c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size
        )?;
        writeln!(out, "vocabulary     {} tokens", c.vocab_size)?;
        let longest = self.max_tokens;
        writeln!(
            out,
            "longest text   {longest} tokens, including special ones"
        )?;
        if !c.labels.is_empty() {
            writeln!(out, "labels         {}", listed(&c.labels))?;
        }
        if c.truncation_side == TruncationSide::Left {
            writeln!(out, "truncation     cuts the beginning")?;
        }
        if let Some(pooling) = &c.pooling {
            writeln!(out, "embeddings     {}", steps(pooling))?;
            let size = c.embedding_dimension();
            writeln!(out, "dimensions     {size}")?;
        }
        if let Some(sparse) = &c.sparse_pooling {
            writeln!(out, "embeddings     {}", sparse_steps(sparse))?;
            writeln!(out, "dimensions     {}", c.vocab_size)?;
        }
        if let Some((prompts, published)) = c.prompts() {
            for (name, prompt) in prompts {
                let default = match published == Some(name) {
                    true => " (default)",
                    false => "",
                };
                writeln!(
                    out,
                    "prompt         {}{default}: \"{}\"",
                    visible(name),
                    visible(prompt)
                )?;
            }
        }
        let texts = match arena.batch {
            1 => "one text".to_owned(),
            count => format!("{count} texts"),
        };
        writeln!(
            out,
            "arena          {} for {texts} of {} tokens on {} threads, besides the file",
            size(arena.bytes as u64),
            arena.tokens,
            arena.threads
        )?;
        let revision = p.revision.iter();
        let revision = revision.map(|r| format!(", revision {}", visible(r)));
        writeln!(
            out,
            "source         {}{}",
            visible(&p.source),
            revision.collect::<String>()
        )?;
        for file in &p.weights {
            let (name, bytes) = (visible(&file.file), size(file.bytes));
            writeln!(
                out,
                "               {name} ({bytes}), sha256 {}",
                file.sha256
            )?;
        }
        writeln!(out, "converter      {}", visible(&p.converter))?;
        writeln!(
            out,
            "\ntensors            format   count   parameters       size   bits"
        )?;
        for s in &self.sizes {
            let (bytes, bits) = (size(s.bytes), s.bytes as f64 * 8.0 / s.parameters as f64);
            writeln!(
                out,
                "{:<18} {:<6} {:>7} {:>12} {bytes:>10} {bits:>6.2}",
                s.kind, s.format, s.tensors, s.parameters
            )?;
        }
        Ok(())
    }
}

/// What makes a sparse embedding.
fn sparse_steps(sparse: &SparsePooling) -> String {
    let mode = match sparse.mode {
        SparseMode::Max => "largest",
        SparseMode::Sum => "sum",
    };
    let value = match sparse.activation {
        SparseActivation::Relu => "log(1 + max(logit, 0))",
        SparseActivation::Log1pRelu => "log(1 + log(1 + max(logit, 0)))",
    };
    let most = sparse.max_active_dims;
    let most = most.map_or(String::new(), |most| format!(", the {most} largest kept"));
    format!("sparse: {mode} of the tokens' {value}{most}")
}

/// What makes an embedding, step by step.
fn steps(pooling: &Pooling) -> String {
    let modes = pooling.modes.iter().map(|mode| match mode {
        PoolingMode::Cls => "first token",
        PoolingMode::Mean => "mean of the tokens",
        PoolingMode::Max => "largest value in each dimension",
        PoolingMode::MeanSqrtLen => "sum of the tokens by the square root of their number",
        PoolingMode::WeightedMean => "mean of the tokens weighted by position",
        PoolingMode::LastToken => "last token",
        PoolingMode::Tokens => "each token's vector",
    });
    let mut text = modes.collect::<Vec<_>>().join(" and ");
    if !pooling.include_prompt {
        text += " without the prompt's";
    }
    for layer in &pooling.layers {
        text += &match layer {
            EmbeddingLayer::Normalize => ", scaled to length 1".to_owned(),
            EmbeddingLayer::Dense(dense) => {
                format!(", a dense layer to {} dimensions", dense.out_features)
            }
        };
    }
    text
}
