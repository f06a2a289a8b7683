//! `rq embed`

use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of};
use crate::console::{discard_when_interrupted, say, say_of_line};
use crate::human::{column, shortened, visible};
use crate::npy::NpyWriter;
use crate::records;
use crate::task::{self, AT_ONCE, Answer, Command, Sink, answers_with};
use crate::texts::{InputArgs, Text};
use anyhow::{Error, Result, ensure};
use clap::Args;
use rq::{EmbedOptions, Embedder, Embedding, Pooling, Task, Tokenizer};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

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
    ("none", Pooling::None, "One vector per token"),
];
/// What makes one vector of a text.
pub(super) const TEXT_POOLINGS: &[Choice<Pooling>] = &[CLS, MEAN, MAX];
const CLS: Choice<Pooling> = ("cls", Pooling::Cls, "The first token's vector");
const MEAN: Choice<Pooling> = (
    "mean",
    Pooling::Mean,
    "The mean over all tokens, including special ones",
);
const MAX: Choice<Pooling> = ("max", Pooling::Max, "The largest value in each dimension");

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq embed -m all-MiniLM-L6-v2 --json \"The cat sat on the mat.\"\n  rq embed -m all-MiniLM-L6-v2 --file texts.txt --out embeddings.npy"
)]
pub(super) struct EmbedArgs {
    /// Texts; without any, standard input is read, one text per line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    /// Print JSON: per text, the array of its embedding
    ///
    /// With --pooling none, an array for each token. Numbers are as short as possible and read back as the same 32-bit
    /// floats. A text that can't be processed gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their embeddings
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. embedding is the array that --json prints; with --pooling none, the field tokens before it
    /// has the tokens. A text that can't be processed has the field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// How to pool the vectors of a text's tokens [default: as the model's publisher says, or else mean]
    ///
    /// The publisher of a model for sentence-transformers says so in the files that it is converted from.
    #[arg(long, value_name = "MODE", value_parser = one_of(POOLINGS))]
    pooling: Option<Pooling>,

    /// Scale each vector to length 1 [default: as the model's publisher says, or else no]
    #[arg(long, conflicts_with = "no_normalize")]
    normalize: bool,

    /// Don't scale the vectors
    #[arg(long)]
    no_normalize: bool,

    /// Cut off the end of texts that are too long for the model
    #[arg(long)]
    truncate: bool,

    /// Write the embeddings to this file, as NumPy's .npy: float32, one row per text
    ///
    /// An existing file is replaced once the new one is complete. Lines of the input that can't be processed give rows of
    /// NaN, so that row numbers match line numbers.
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,

    #[command(flatten)]
    compute: ComputeArgs,
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
    OfText(&'a [f32]),
    OfTokens(Vec<&'a [f32]>),
}

/// Computes embeddings of single texts, for any [`Sink`].
pub(super) struct EmbedCommand {
    task: Embedder,
    options: EmbedOptions,
    /// Whether each token has a vector.
    tokens: bool,
}

impl EmbedCommand {
    pub(super) fn new(task: Embedder, options: EmbedOptions) -> Self {
        Self {
            tokens: task.resolve(&options).0 == Pooling::None,
            task,
            options,
        }
    }

    fn vector<'a>(&self, embedding: &'a Embedding) -> Vector<'a> {
        match self.tokens {
            true => Vector::OfTokens(embedding.rows().collect()),
            false => Vector::OfText(&embedding.embedding),
        }
    }

    fn dimension(&self) -> usize {
        self.task.model().config().hidden_size
    }

    /// The headings of norms and values.
    fn columns(&self) -> String {
        let dimension = self.dimension();
        let shown = dimension.min(SHOWN_VALUES);
        let values = format!("{dimension} values, the first {shown}");
        let width = shown * (WIDTH + 1) - 1 + if dimension > shown { 4 } else { 0 };
        format!("{:>WIDTH$}  {values:<width$}", "norm")
    }
}

impl Command for EmbedCommand {
    answers_with!(Embedder, EmbedOptions);
    type Input = Text;

    fn input<'t>(&self, input: &'t Text) -> &'t str {
        &input.text
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

    fn json(&self, _: &Self::Input, embedding: &Embedding) -> impl Serialize {
        self.vector(embedding)
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
    refused: bool,
}

impl Sink<EmbedCommand> for ToFile {
    fn answer(&mut self, _: &EmbedCommand, _: &Text, answer: &Answer<EmbedCommand>) -> Result<()> {
        self.file.row(&answer.embedding)
    }

    fn refuse(&mut self, name: &str, line: u64, _: Option<&Text>, error: &Error) -> Result<()> {
        say_of_line(name, line, error);
        self.refused = true;
        self.file.missing_row()
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn run(args: &EmbedArgs) -> Result<ExitCode> {
    let format = Format::new(args.json, args.jsonl);
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let options = options!(EmbedOptions {
        pooling: args.pooling,
        normalize: match (args.normalize, args.no_normalize) {
            (false, false) => None,
            (normalize, _) => Some(normalize),
        },
        truncate: args.truncate,
    });
    let session = args.compute.session(&located.model)?;
    let command = EmbedCommand::new(Embedder::new(session), options);
    let Some(path) = &args.out else {
        return records::run(command, texts, format, &located);
    };
    ensure!(
        !command.tokens,
        "--out takes one row per text, but --pooling none gives one per token: use --jsonl instead"
    );
    discard_when_interrupted(|| {});
    let mut sink = ToFile {
        file: NpyWriter::create(path, command.dimension())?,
        refused: false,
    };
    let dimension = command.dimension();
    let code = task::run(&mut sink, command, texts, &located)?;
    let rows = sink.file.finish()?;
    if sink.refused {
        say("the rows of these texts are NaN");
    }
    let path = path.display();
    writeln!(std::io::stdout(), "{path}: {rows} x {dimension}, float32")?;
    Ok(code)
}

/// The tokens of a text, as the vocabulary writes them.
fn tokens(tokenizer: &Tokenizer, embedding: &Embedding) -> Vec<String> {
    let token = |&id| tokenizer.id_to_token(id).unwrap_or_default();
    embedding.ids.iter().map(token).collect()
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
