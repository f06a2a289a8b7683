//! `rq embed`

mod sparse;
pub(super) use sparse::SparseCommand;

use crate::Ended;
use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of, whole};
use crate::console::{self, discard_when_interrupted, say, say_of_line};
use crate::human::{column, shortened, visible};
use crate::npy::NpyWriter;
use crate::out::{OutArgs, ResumeArg};
use crate::precision::{Precision, Ranges, bits, f16s};
use crate::records;
use crate::resume::{self, Begun, Resumable, Spool};
use crate::table::Form;
use crate::task::{self, AT_ONCE, Answer, Command, Sink, answers_with};
use crate::texts::{InputArgs, Repeated, Source, Text};
use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use half::f16;
use rq::{EmbedOptions, Embedder, Embedding, Pooling, Prompt, Task, Tokenizer};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

/// Values of a vector that are shown to a person.
const SHOWN_VALUES: usize = 5;
/// Columns of a value.
const WIDTH: usize = 9;
/// The most texts in a batch if each token has a vector.
const TOKENS_OF_TEXTS_AT_ONCE: usize = 16;

const POOLINGS: &[Choice<Pooling>] = &[
    CLS,
    MEAN,
    MAX,
    MEAN_SQRT_LEN,
    WEIGHTED_MEAN,
    LAST_TOKEN,
    ("none", Pooling::None, "One vector per token"),
];
/// What makes one vector of a text.
pub(super) const TEXT_POOLINGS: &[Choice<Pooling>] =
    &[CLS, MEAN, MAX, MEAN_SQRT_LEN, WEIGHTED_MEAN, LAST_TOKEN];
const CLS: Choice<Pooling> = ("cls", Pooling::Cls, "The first token's vector");
const MEAN: Choice<Pooling> = (
    "mean",
    Pooling::Mean,
    "The mean over all tokens, including special ones",
);
const MAX: Choice<Pooling> = ("max", Pooling::Max, "The largest value in each dimension");
const MEAN_SQRT_LEN: Choice<Pooling> = (
    "mean_sqrt_len_tokens",
    Pooling::MeanSqrtLen,
    "The sum divided by the square root of the number of tokens",
);
const WEIGHTED_MEAN: Choice<Pooling> = (
    "weightedmean",
    Pooling::WeightedMean,
    "The mean weighted by position",
);
const LAST_TOKEN: Choice<Pooling> = ("lasttoken", Pooling::LastToken, "The last token's vector");

const PRECISIONS: &[Choice<Precision>] = &[
    ("f32", Precision::F32, "32-bit floats"),
    ("f16", Precision::F16, "16-bit floats"),
    (
        "int8",
        Precision::Int8,
        "256 steps between each dimension's least and largest value; needs --out",
    ),
    (
        "ubinary",
        Precision::Ubinary,
        "One bit per dimension, in bytes: whether it is above 0",
    ),
];

/// The heading of the options that change the vectors.
const VECTORS: &str = "Vectors";

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq embed -m all-MiniLM-L6-v2 --json \"The cat sat on the mat.\"\n  rq embed -m all-MiniLM-L6-v2 --file texts.txt --out embeddings.npy\n  rq embed -m splade-v3 --file texts.txt --out embeddings.npz"
)]
pub(super) struct EmbedArgs {
    /// Texts; without any, standard input is read, one text per line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    /// Print JSON: per text, the array of its embedding
    ///
    /// With --pooling none, or of a multi-vector encoder, an array for each token. A sparse embedding is an object with
    /// indices, ids of the vocabulary that ascend, their values, and their tokens. Numbers are as short as possible and read
    /// back as the same 32-bit floats. A text that can't be processed gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their embeddings
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. embedding is the array that
    /// --json prints; with --pooling none, the field tokens before it has the tokens. A sparse embedding has the three fields that
    /// --json prints. A text that can't be processed has the field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// Write the embeddings to this file, as NumPy's .npy, one row per text
    ///
    /// A name that ends in .jsonl or .ndjson gets JSON lines, one in .csv or .tsv a table: the columns of the input, the embedding
    /// as JSON, and error, which says why a row has none.
    /// Sparse ones are written as SciPy's .npz instead, a matrix in compressed rows (CSR) for scipy.sparse.load_npz, which is held
    /// in memory until the last text. The values are what --precision says, float32 if it says nothing. An existing file is
    /// replaced once the new one is complete; a symbolic link stays, and what it leads to is replaced. A pipe, a device or standard
    /// output, as `-`, gets all of it at the end. Lines of the input that can't be processed give rows of NaN, or of zeros where the
    /// values are integers or sparse, so that row numbers match line numbers.
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,

    #[command(flatten)]
    resume: ResumeArg,

    /// Cut texts that are too long for the model
    ///
    /// They lose their end, or their beginning if the model's publisher says so.
    #[arg(long)]
    truncate: bool,

    /// Name of the model's prompt to put before each text
    ///
    /// `rq info` lists the prompts of a model, and says which is the default, if there is one.
    #[arg(long, value_name = "NAME", conflicts_with = "prompt_text", help_heading = VECTORS)]
    prompt: Option<String>,

    /// Text to put before each text, instead of a prompt of the model
    ///
    /// An empty one turns the default prompt off.
    #[arg(long, value_name = "TEXT", hide_short_help = true, help_heading = VECTORS)]
    prompt_text: Option<String>,

    /// Keep the first N dimensions
    ///
    /// Models that are trained for it (Matryoshka) allow that. What is left is scaled to length 1 again if the whole was.
    #[arg(long, value_name = "N", help_heading = VECTORS)]
    #[arg(allow_negative_numbers = true, value_parser = whole::<u32>(1, None))]
    dim: Option<u32>,

    /// Type of the values: f32, f16, int8 or ubinary [default: f32]
    ///
    /// The last two are those of sentence-transformers' quantize_embeddings. int8 has 256 steps between the least and the largest
    /// value of each dimension over all texts, which are held in memory until the last, and needs --out. ubinary has a bit per dimension, set where the value is above
    /// 0, in bytes, the first bit the highest.
    #[arg(long, value_name = "TYPE", value_parser = one_of(PRECISIONS), hide_possible_values = true, help_heading = VECTORS)]
    precision: Option<Precision>,

    /// How to pool the tokens' vectors [default: the publisher's, or mean]
    ///
    /// The publisher of a model for sentence-transformers says so in the files that it is converted from; that of a multi-vector
    /// encoder (ColBERT) means none, and then its dense layers are applied to each token's vector. The modes are cls (the
    /// first token's vector), lasttoken, mean (over all tokens, including special ones), weightedmean (by position),
    /// mean_sqrt_len_tokens (the sum divided by the square root of their number), max (the largest value in each dimension) and
    /// none (one vector per token).
    #[arg(long, value_name = "MODE", value_parser = one_of(POOLINGS), hide_possible_values = true, help_heading = VECTORS)]
    pooling: Option<Pooling>,

    /// Scale each vector to length 1 [default: as the publisher says]
    #[arg(long, conflicts_with = "no_normalize", help_heading = VECTORS)]
    normalize: bool,

    /// Don't scale the vectors
    #[arg(long, hide_short_help = true, help_heading = VECTORS)]
    no_normalize: bool,

    /// Make sparse embeddings: a weight for each token of the vocabulary
    ///
    /// Needs a masked language model. One that is published as a sparse encoder (SPLADE) is meant for it: of such a model
    /// embeddings are sparse without this flag, too, unless --pooling makes dense ones. Of any other, a weight is the largest of
    /// log(1 + max(logit, 0)) over the text's tokens, as sentence-transformers' SparseEncoder has it, and most are above 0.
    #[arg(long, conflicts_with_all = ["pooling", "normalize", "no_normalize", "dim", "precision"], help_heading = VECTORS)]
    sparse: bool,

    /// Keep the N largest weights of each text [default: as the publisher says, or all]
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = VECTORS)]
    #[arg(allow_negative_numbers = true, value_parser = whole::<u32>(1, None))]
    max_active_dims: Option<u32>,

    #[command(flatten)]
    compute: ComputeArgs,
}

impl EmbedArgs {
    fn prompt(&self) -> Prompt {
        match (&self.prompt, &self.prompt_text) {
            (Some(name), _) => Prompt::Named(name.clone()),
            (None, Some(text)) => Prompt::Text(text.clone()),
            (None, None) => Prompt::Published,
        }
    }
}

/// What `--jsonl` adds to a text.
#[derive(Serialize)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<String>>,
    embedding: Vector<'a>,
}

/// An embedding's vector, or those of a text's tokens.
#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    OfText(Row<'a>),
    OfTokens(Vec<Row<'a>>),
}

/// A vector in the precision that is asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Floats(&'a [f32]),
    Halves(Vec<f32>),
    Bits(Vec<u8>),
}

/// Computes embeddings of single texts, for any [`Sink`].
pub(super) struct EmbedCommand {
    task: Embedder,
    options: EmbedOptions,
    precision: Precision,
    /// Whether each token has a vector.
    tokens: bool,
    /// Of a vector.
    dimension: usize,
}

impl EmbedCommand {
    pub(super) fn new(task: Embedder, options: EmbedOptions) -> Result<Self> {
        Ok(Self {
            tokens: task.per_token(&options),
            dimension: task.dimension(&options)?,
            task,
            options,
            precision: Precision::F32,
        })
    }

    fn vector<'a>(&self, embedding: &'a Embedding) -> Vector<'a> {
        let row = |row: &'a [f32]| match self.precision {
            Precision::F16 => Row::Halves(f16s(row).map(f16::to_f32).collect()),
            Precision::Ubinary => Row::Bits(bits(row)),
            Precision::F32 | Precision::Int8 => Row::Floats(row),
        };
        match self.tokens {
            true => Vector::OfTokens(embedding.rows().map(row).collect()),
            false => Vector::OfText(row(&embedding.embedding)),
        }
    }

    /// The headings of norms and values.
    fn columns(&self) -> String {
        let dimension = self.dimension;
        let shown = dimension.min(SHOWN_VALUES);
        let values = format!("{dimension} values, the first {shown}");
        let width = shown * (WIDTH + 1) - 1 + if dimension > shown { 4 } else { 0 };
        format!("{:>WIDTH$}  {values:<width$}", "norm")
    }
}

impl Command for EmbedCommand {
    answers_with!(Embedder, EmbedOptions);
    type Input = Text;

    fn input<'t>(&self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn heading(&self) -> Option<String> {
        (!self.tokens).then(|| format!("{}  text", self.columns()))
    }

    fn show(&self, out: &mut impl Write, input: &Text, embedding: &Embedding) -> Result<()> {
        if !self.tokens {
            let values = values(&embedding.embedding);
            return Ok(writeln!(out, "{values}  {}", shortened(&input.text))?);
        }
        let tokens = tokens(self.task.model().tokenizer(), embedding);
        let names = ["token".to_owned()].into_iter();
        let cells = column(names.chain(tokens.iter().map(|token| visible(token))));
        writeln!(out, "{}", visible(&input.text))?;
        writeln!(out, "  {}{}", cells[0], self.columns().trim_end())?;
        for (token, row) in cells[1..].iter().zip(embedding.rows()) {
            writeln!(out, "  {token}{}", values(row))?;
        }
        Ok(())
    }

    fn check(&self, embedding: &Embedding) -> Result<()> {
        let mut beyond = embedding
            .embedding
            .iter()
            .filter(|&&x| f16::from_f32(x).is_infinite());
        match beyond.next() {
            Some(x) if self.precision == Precision::F16 => bail!(
                "a value of the embedding is {x}, and --precision f16 goes to {}: pass --normalize, or --precision f32",
                f16::MAX
            ),
            _ => Ok(()),
        }
    }

    fn json(&self, _: &Self::Input, embedding: &Embedding) -> impl Serialize {
        self.vector(embedding)
    }

    fn columns(&self) -> Vec<&'static str> {
        match self.tokens {
            true => vec!["tokens", "embedding"],
            false => vec!["embedding"],
        }
    }

    fn fields(&self, embedding: &Embedding) -> impl Serialize {
        let tokenizer = self.task.model().tokenizer();
        Fields {
            tokens: self.tokens.then(|| tokens(tokenizer, embedding)),
            embedding: self.vector(embedding),
        }
    }

    fn at_once(&self) -> usize {
        match self.tokens {
            true => TOKENS_OF_TEXTS_AT_ONCE,
            false => AT_ONCE,
        }
    }
}

/// Writes embeddings to a file, and errors to standard error.
struct ToFile {
    file: NpyWriter,
    precision: Precision,
    dimension: usize,
    /// Rows whose steps depend on those after them; `None` for one that is missing.
    waiting: Vec<Option<Vec<f32>>>,
    /// With `--resume`, the same on the disk.
    spool: Option<Spool>,
    /// With `--resume`, where the rows of the file itself are.
    resumable: Option<Resumable>,
    refused: bool,
}

impl ToFile {
    fn row(&mut self, row: Option<&[f32]>) -> Result<()> {
        let columns = self.precision.columns(self.dimension);
        let bytes = match (self.precision, row) {
            (Precision::Int8, row) => {
                if let Some(spool) = &self.spool {
                    let missing = [f32::NAN];
                    let values = row.unwrap_or(&missing).iter().cycle().take(self.dimension);
                    let bytes: Vec<u8> = values.flat_map(|x| x.to_le_bytes()).collect();
                    spool.append(&bytes)?;
                }
                self.waiting.push(row.map(<[f32]>::to_vec));
                return Ok(());
            }
            (Precision::F32, Some(row)) => row.iter().flat_map(|x| x.to_le_bytes()).collect(),
            (Precision::F16, Some(row)) => f16s(row).flat_map(f16::to_le_bytes).collect(),
            (Precision::Ubinary, Some(row)) => bits(row),
            (Precision::F32, None) => f32::NAN.to_le_bytes().repeat(columns),
            (Precision::F16, None) => f16::NAN.to_le_bytes().repeat(columns),
            (Precision::Ubinary, None) => vec![0; columns],
        };
        let written = self.file.row(&bytes);
        match &self.resumable {
            Some(resumable) => written.with_context(|| resumable.failed()),
            None => written,
        }
    }

    /// Takes up the rows that wait.
    fn replay(&mut self) -> Result<()> {
        let Some(spool) = &self.spool else {
            return Ok(());
        };
        let mut bytes = vec![0; 4 * self.dimension];
        spool.replay(|from| {
            from.read_exact(&mut bytes)?;
            let (values, _) = bytes.as_chunks();
            let row: Vec<f32> = values.iter().map(|x| f32::from_le_bytes(*x)).collect();
            // No embedding has a value that isn't a number.
            self.waiting.push(Some(row).filter(|row| !row[0].is_nan()));
            Ok(())
        })
    }

    /// Writes the rows that wait for the ranges of all.
    fn finish(mut self) -> Result<u64> {
        let waiting = std::mem::take(&mut self.waiting);
        let rows = || waiting.iter().flatten();
        ensure!(
            waiting.is_empty() || rows().count() > 1,
            "--precision int8 takes the ranges of its steps from all embeddings, and there is only one: give more texts"
        );
        if let Some(ranges) = Ranges::of(rows().map(Vec::as_slice)) {
            for row in &waiting {
                let steps = match row {
                    Some(row) => ranges.steps(row),
                    None => vec![0; self.dimension],
                };
                let bytes: Vec<u8> = steps.into_iter().map(i8::cast_unsigned).collect();
                self.file.row(&bytes)?;
            }
        }
        let rows = self.file.finish()?;
        if let Some(spool) = self.spool {
            spool.finish()?;
        }
        if let Some(resumable) = self.resumable {
            resumable.finish();
        }
        Ok(rows)
    }
}

impl Sink<EmbedCommand> for ToFile {
    fn answer(
        &mut self,
        _: &EmbedCommand,
        _: &Repeated,
        _: &Text,
        answer: &Answer<EmbedCommand>,
    ) -> Result<()> {
        self.row(Some(&answer.embedding))
    }

    fn refuse(
        &mut self,
        _: &EmbedCommand,
        name: &str,
        line: u64,
        _: &Repeated,
        _: Option<&Text>,
        error: &Error,
    ) -> Result<()> {
        say_of_line(name, line, error);
        self.refused = true;
        self.row(None)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn done(&mut self, lines: u64, refused: u64) -> Result<()> {
        if let Some(resumable) = &mut self.resumable {
            resumable.save(self.file.output(), lines, refused)?;
        }
        match &mut self.spool {
            Some(spool) => spool.save(lines, refused),
            None => Ok(()),
        }
    }
}

pub(super) fn run(args: &EmbedArgs) -> Result<Ended> {
    let format = Format::new(args.json, args.jsonl);
    let precision = args.precision.unwrap_or(Precision::F32);
    ensure!(
        args.out.is_some() || precision != Precision::Int8,
        "--precision int8 takes the ranges of its steps from all embeddings: write them to a file, with --out"
    );
    ensure!(
        args.out.is_some() || args.json || args.jsonl || args.precision.is_none(),
        "--precision is for --json, --jsonl and --out: what is shown otherwise is the first values, rounded"
    );
    let mut texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let published = located.model.config().sparse_pooling.is_some();
    if args.sparse || (published && args.pooling.is_none()) {
        return sparse::run(args, texts, format, &located);
    }
    ensure!(
        args.max_active_dims.is_none(),
        "--max-active-dims is for sparse embeddings: pass --sparse, too"
    );
    let options = options!(EmbedOptions {
        pooling: args.pooling,
        normalize: match (args.normalize, args.no_normalize) {
            (false, false) => None,
            (normalize, _) => Some(normalize),
        },
        dimension: args.dim.map(|dim| dim as usize),
        prompt: args.prompt(),
        truncate: args.truncate,
    });
    let session = args.compute.session(&located.model)?;
    let mut command = EmbedCommand::new(Embedder::new(session), options)?;
    command.precision = precision;
    let out = OutArgs {
        out: args.out.clone(),
        resume: args.resume,
    };
    let path = match &args.out {
        Some(path) if Form::of(path).is_none() => path,
        _ => return records::run(command, texts, format, &located, &out),
    };
    ensure!(
        !command.tokens,
        "--out takes one row per text, but there is one per token with --pooling none, or by a multi-vector encoder: use --jsonl instead"
    );
    ensure!(
        path.extension().is_none_or(|end| end != "npz"),
        "dense embeddings are written as NumPy's .npy, and .npz is for sparse ones: give --out another name, or pass --sparse"
    );
    ensure!(
        path.extension().is_none_or(|end| end != "parquet"),
        "{}: rq writes no Parquet; embeddings are written as .npy, .jsonl, .csv or .tsv",
        path.display()
    );
    ensure!(
        precision != Precision::Int8 || !args.input.is_sharded(),
        "--precision int8 takes the ranges of its steps from all embeddings, and --shard has only some: store them as f32, and make \
         int8 of all of them"
    );
    discard_when_interrupted(|| {});
    let dimension = command.dimension;
    let columns = precision.columns(dimension);
    let element = precision.element();
    let begun = match resume::begin(args.resume, path, &located, &mut texts)? {
        Some(Begun::Finished) => return Ok(Ended::Success),
        Some(Begun::At(output, resumable)) => Some((output, resumable)),
        None => None,
    };
    let refused = matches!(&texts, Source::Lines(lines) if lines.refused > 0);
    let (file, spool, resumable) = match begun {
        None => (NpyWriter::create(path, columns, element)?, None, None),
        Some((output, resumable)) if precision == Precision::Int8 => {
            let spool = Spool::new(output, resumable);
            (
                NpyWriter::create(path, columns, element)?,
                Some(spool),
                None,
            )
        }
        Some((output, resumable)) => {
            let file = NpyWriter::resume(output, path, columns, element)?;
            (file, None, Some(resumable))
        }
    };
    let mut sink = ToFile {
        file,
        precision,
        dimension,
        waiting: Vec::new(),
        spool,
        resumable,
        refused,
    };
    sink.replay()?;
    let code = task::run(&mut sink, command, texts, &located)?;
    let (refused, is_stdout) = (sink.refused, sink.file.is_stdout());
    let rows = sink.finish()?;
    if refused {
        let missing = match precision {
            Precision::F32 | Precision::F16 => "NaN",
            Precision::Int8 | Precision::Ubinary => "zeros",
        };
        say(format_args!("the rows of these texts are {missing}"));
    }
    let (path, dtype) = (path.display(), precision.dtype());
    written(
        is_stdout,
        format_args!("{path}: {rows} x {columns}, {dtype}"),
    )?;
    Ok(code)
}

/// Says what was written, where it isn't in the way of it.
fn written(to_stdout: bool, what: impl Display) -> Result<()> {
    match to_stdout {
        true => say(what),
        false => writeln!(console::output(), "{what}")?,
    }
    Ok(())
}

/// Tokens as the vocabulary writes them.
fn token_names(tokenizer: &Tokenizer, ids: impl Iterator<Item = u32>) -> Vec<String> {
    ids.map(|id| tokenizer.id_to_token(id).unwrap_or_default())
        .collect()
}

/// The tokens of a text.
fn tokens(tokenizer: &Tokenizer, embedding: &Embedding) -> Vec<String> {
    token_names(tokenizer, embedding.ids.iter().copied())
}

/// The norm and the first values of a vector, in columns.
fn values(vector: &[f32]) -> String {
    let squares = vector.iter().map(|&x| f64::from(x) * f64::from(x));
    let mut line = format!("{:WIDTH$.4} ", squares.sum::<f64>().sqrt());
    for value in vector.iter().take(SHOWN_VALUES) {
        line += &format!(" {value:WIDTH$.4}");
    }
    if vector.len() > SHOWN_VALUES {
        line += " ...";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_for_a_person() {
        assert_eq!(values(&[3.0, -4.0]), "   5.0000     3.0000   -4.0000");
        assert!(values(&[0.0; 6]).ends_with("    0.0000 ..."));
    }
}
