//! `rq embed`

use super::npy::NpyWriter;
use super::records::say_of_line;
use super::task::{self, AT_ONCE, Answer, Command, Sink};
use super::texts::{Text, TextArgs};
use super::{ComputeArgs, discard_when_interrupted, locate, say};
use anyhow::{Error, Result, ensure};
use clap::{Args, ValueEnum};
use rq::{EmbedOptions, Embedder, Embedding, Pooling, Task, Tokenizer};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Values of a vector that a person is shown.
const SHOWN_VALUES: usize = 5;
/// Characters of a text that a person is shown.
const SHOWN_TEXT: usize = 60;
/// Columns of a value.
const WIDTH: usize = 9;
/// Texts of which each token's vector is computed at once.
const TOKENS_OF_TEXTS_AT_ONCE: usize = 16;

const JSONL: &str = "Read and print JSON lines: objects with text, and with text and embedding";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with text, and with text and embedding

A line that begins with { or \" is JSON, an object with the field text or a string; any other is the text itself. \
embedding is the array that --json prints; with --pooling none the field tokens before it has the tokens. A text that \
can't be processed has the field error, with the reason.";
const JSON: &str = "Print one line of JSON a text: the array of its embedding";
const JSON_LONG: &str = "\
Print one line of JSON a text: the array of its embedding

With --pooling none, an array for each token. Numbers are the shortest that are read back as the same 32-bit floats. A \
text that can't be processed has an object with error, the reason, and line.";

#[derive(Args)]
#[command(
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = "Examples:\n  rq embed -m all-MiniLM-L6-v2 --json \"The cat sat on the mat.\"\n  rq embed -m all-MiniLM-L6-v2 --file texts.txt --out embeddings.npy"
)]
pub(super) struct EmbedArgs {
    #[command(flatten)]
    texts: TextArgs,

    /// Model file, or name of a converted model [default: roberta-large where it is converted, else a small embedded one]
    ///
    /// A model of any head. One that was trained for embeddings gives useful ones. The environment variable RQ_MODEL
    /// does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// What becomes of the vectors of a text's tokens [default: as the model's publisher says, else mean]
    ///
    /// The publisher of a model for sentence-transformers says it in the files that it is converted from.
    #[arg(long, value_enum, value_name = "MODE")]
    pooling: Option<PoolingArg>,

    /// Divide each vector by its length [default: as the model's publisher says, else no]
    #[arg(long, conflicts_with = "no_normalize")]
    normalize: bool,

    /// Leave the vectors as they are
    #[arg(long)]
    no_normalize: bool,

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    truncate: bool,

    /// File to write the embeddings to, as NumPy's .npy: float32, a row for each text
    ///
    /// An existing file is replaced when the new one is whole. Lines of the input that can't be processed have a row of
    /// NaN, so that the rows stay those of the lines.
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// As [`Pooling`], in words.
#[derive(Clone, Copy, ValueEnum)]
enum PoolingArg {
    /// The first token's vector
    Cls,
    /// The mean of all tokens, special ones included
    Mean,
    /// In each dimension the largest
    Max,
    /// A vector for each token
    None,
}

impl From<PoolingArg> for Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Max => Self::Max,
            PoolingArg::None => Self::None,
        }
    }
}

/// What `--jsonl` adds to the text.
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

/// Embeddings of single texts. What is done with them is the [`Sink`]'s.
pub(super) struct EmbedCommand<'m> {
    task: Embedder<'m>,
    options: EmbedOptions,
    /// Whether each token has a vector.
    tokens: bool,
}

impl<'m> EmbedCommand<'m> {
    pub(super) fn new(task: Embedder<'m>, options: EmbedOptions) -> Self {
        Self {
            task,
            options,
            tokens: task.resolve(&options).0 == Pooling::None,
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

    /// What stands over norms and values.
    fn columns(&self) -> String {
        let dimension = self.dimension();
        let shown = dimension.min(SHOWN_VALUES);
        let values = format!("{dimension} values, the first {shown}");
        let width = shown * (WIDTH + 1) - 1 + if dimension > shown { 4 } else { 0 };
        format!("{:>WIDTH$}  {values:<width$}", "norm")
    }
}

impl<'m> Command for EmbedCommand<'m> {
    type Task = Embedder<'m>;
    type Input = Text;

    fn task(&self) -> &Embedder<'m> {
        &self.task
    }

    fn options(&self) -> &EmbedOptions {
        &self.options
    }

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
        let tokens: Vec<String> = tokens.iter().map(|token| visible(token)).collect();
        let width = tokens.iter().map(|token| token.chars().count()).max();
        let width = width.unwrap_or(0).max("token".len());
        writeln!(out, "{}", visible(&input.text))?;
        writeln!(out, "  {:width$}{}", "token", self.columns().trim_end())?;
        for (token, row) in tokens.iter().zip(embedding.rows()) {
            writeln!(out, "  {token:width$}{}", values(row))?;
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

/// Embeddings go to a file, and what is wrong with lines to standard error.
struct ToFile {
    file: NpyWriter,
    refused: bool,
}

impl<'m> Sink<EmbedCommand<'m>> for ToFile {
    fn answer(
        &mut self,
        _: &EmbedCommand<'m>,
        _: &Text,
        answer: &Answer<EmbedCommand<'m>>,
    ) -> Result<()> {
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
    let texts = args.texts.open("embed")?;
    let located = locate::open(args.model.as_deref())?;
    let model = &located.model;
    let options = EmbedOptions {
        pooling: args.pooling.map(Pooling::from),
        normalize: match (args.normalize, args.no_normalize) {
            (false, false) => None,
            (normalize, _) => Some(normalize),
        },
        truncate: args.truncate,
    };
    let command = EmbedCommand::new(Embedder::new(model), options);
    let Some(path) = &args.out else {
        model.prefetch();
        let session = args.compute.session(model)?;
        return task::run(command, session, texts, args.texts.format(), &located);
    };
    ensure!(
        !command.tokens,
        "--out has one row a text, and --pooling none gives one a token: use --jsonl for these"
    );
    discard_when_interrupted(|| {});
    let mut sink = ToFile {
        file: NpyWriter::create(path, command.dimension())?,
        refused: false,
    };
    model.prefetch();
    let session = args.compute.session(model)?;
    let dimension = command.dimension();
    let code = task::run_into(&mut sink, command, session, texts, &located)?;
    let rows = sink.file.finish()?;
    if sink.refused {
        say("in the place of their embeddings are rows of NaN");
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

/// The norm of a vector and its first values, in columns.
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

/// A text with control characters spelled out.
pub(super) fn visible(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The beginning of a text, with control characters spelled out.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_TEXT) {
        Some((end, _)) => visible(&text[..end]) + "...",
        None => visible(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_for_a_person() {
        assert_eq!(values(&[3.0, -4.0]), "   5.0000     3.0000   -4.0000");
        assert!(values(&[0.0; 6]).ends_with("    0.0000 ..."));
    }

    #[test]
    fn texts_for_a_person() {
        assert_eq!(visible("a\tb\u{1b}[1m é"), "a\\tb\\u{1b}[1m é");
        assert_eq!(shortened(&"é".repeat(60)), "é".repeat(60));
        assert_eq!(shortened(&"é".repeat(61)), "é".repeat(60) + "...");
    }
}
