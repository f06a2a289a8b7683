//! `rq similar`

use super::embed::{EmbedCommand, shortened, visible};
use super::records::{Format, json_line, say_of_line};
use super::task::{self, Answer, Best, Sink};
use super::texts::{InputArgs, Text};
use super::{ComputeArgs, locate};
use anyhow::{Error, Result, ensure};
use clap::{Args, ValueEnum, value_parser};
use rq::{EmbedOptions, Embedder, Embedding, Pooling, Task, cosine};
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

const JSON: &str = "Print one line of JSON: the matrix of the texts, or the list of the lines";
const JSON_LONG: &str = "\
Print one line of JSON: the matrix of the texts, or the list of the lines

The matrix is what sentence-transformers' similarity returns. The list is that of its semantic_search, objects with \
corpus_id, the number of the line from 0, and score, with the text besides.";
const JSONL: &str =
    "Read JSON lines, and print one for each text: text and similarities, or text, line and score";
const JSONL_LONG: &str = "\
Read JSON lines, and print one for each text: text and similarities, or text, line and score

A line that begins with { or \" is JSON, an object with the field text or a string; any other is the text itself. \
similarities is the text's row of the matrix; line is the number of the line from 1.";

#[derive(Args)]
#[command(
    mut_arg("file", |file| file.help("File with lines to rank, instead of standard input").long_help(FILE_LONG)),
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = "Examples:\n  rq similar -m all-MiniLM-L6-v2 \"A cat sat on the mat.\" \"There was a cat on the rug.\"\n  rq similar -m all-MiniLM-L6-v2 \"How do I bake bread?\" --file titles.txt -k 3"
)]
pub(super) struct SimilarArgs {
    /// Two texts or more to compare with each other; or one, and the lines of the input are ranked by how similar they are to it
    ///
    /// The measure is the cosine of the texts' embeddings, from -1 to 1. Of two texts it is printed, of more a matrix.
    #[arg(value_name = "TEXT", required = true)]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    /// Model file, or name of a converted model [default: roberta-large where it is converted, else a small embedded one]
    ///
    /// A model of any head. One that was trained for embeddings gives useful answers. The environment variable RQ_MODEL
    /// does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// How many lines to show, the most similar ones
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    top_k: u32,

    /// What becomes of the vectors of a text's tokens [default: as the model's publisher says, else mean]
    #[arg(long, value_enum, value_name = "MODE")]
    pooling: Option<PoolingArg>,

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

const FILE_LONG: &str = "\
File with lines to rank, instead of standard input

A line may have 1 MiB. What is wrong with one that can't be processed goes to standard error, and the others are ranked; \
the exit code is then 1. Lines that are equally similar stay in their order.";

/// What makes one vector of a text.
#[derive(Clone, Copy, ValueEnum)]
enum PoolingArg {
    /// The first token's vector
    Cls,
    /// The mean of all tokens, special ones included
    Mean,
    /// In each dimension the largest
    Max,
}

impl From<PoolingArg> for Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Max => Self::Max,
        }
    }
}

/// A text's row of the matrix.
#[derive(Serialize)]
struct Row<'a> {
    text: &'a str,
    similarities: &'a [f32],
}

/// A line of the input, as sentence-transformers' semantic_search has it.
#[derive(Serialize)]
struct Found<'a> {
    corpus_id: u64,
    score: f32,
    text: &'a str,
}

/// A line of the input, as `--jsonl` prints it.
#[derive(Serialize)]
struct RankedLine<'a> {
    text: &'a str,
    /// From 1.
    line: u64,
    score: f32,
}

/// Keeps the lines that are most similar to a text.
struct Ranking {
    query: Vec<f32>,
    /// Texts, with the numbers of their lines.
    best: Best<(String, u64)>,
    /// Lines so far.
    line: u64,
}

impl<'m> Sink<EmbedCommand<'m>> for Ranking {
    fn answer(
        &mut self,
        _: &EmbedCommand<'m>,
        input: &Text,
        answer: &Answer<EmbedCommand<'m>>,
    ) -> Result<()> {
        self.line += 1;
        let score = cosine(&self.query, &answer.embedding) as f32;
        self.best.push(score, || (input.text.clone(), self.line));
        Ok(())
    }

    fn refuse(&mut self, name: &str, line: u64, _: Option<&Text>, error: &Error) -> Result<()> {
        self.line += 1;
        say_of_line(name, line, error);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Ranking {
    fn new(query: Vec<f32>, top_k: usize) -> Self {
        Self {
            query,
            best: Best::new(top_k),
            line: 0,
        }
    }

    fn print(self, format: Format) -> Result<()> {
        let best: Vec<(f32, (String, u64))> = self.best.into_sorted().collect();
        let mut out = BufWriter::new(std::io::stdout().lock());
        match format {
            Format::Human => {
                let last = best.iter().map(|(_, (_, line))| *line).max().unwrap_or(0);
                let width = last.to_string().len().max("line".len());
                if !best.is_empty() {
                    writeln!(out, "{:>7}  {:>width$}  text", "cosine", "line")?;
                }
                for (score, (text, line)) in &best {
                    writeln!(out, "{score:7.4}  {line:width$}  {}", visible(text))?;
                }
            }
            Format::Json => {
                let found = best.iter().map(|(score, (text, line))| Found {
                    corpus_id: line - 1,
                    score: *score,
                    text,
                });
                json_line(&mut out, &found.collect::<Vec<_>>())?;
            }
            Format::Jsonl => {
                for &(score, (ref text, line)) in &best {
                    json_line(&mut out, &RankedLine { text, line, score })?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

pub(super) fn run(args: &SimilarArgs) -> Result<ExitCode> {
    let query = match &args.texts[..] {
        [query] => Some((query, args.input.open("similar")?)),
        _ => None,
    };
    ensure!(
        query.is_some() || !args.input.has_file(),
        "the lines of a file are ranked by one text: give one, or leave out --file"
    );
    let located = locate::open(args.model.as_deref())?;
    let model = &located.model;
    let options = EmbedOptions {
        pooling: args.pooling.map(Pooling::from),
        truncate: args.truncate,
        ..EmbedOptions::default()
    };
    let task = Embedder::new(model);
    model.prefetch();
    let mut session = args.compute.session(model)?;
    let Some((query, lines)) = query else {
        let texts = args.texts.iter().map(String::as_str);
        let embeddings = task.run(&mut session, texts, &options)?;
        located.announce();
        matrix(&args.texts, &embeddings, args.input.format())?;
        return Ok(ExitCode::SUCCESS);
    };
    let query = task.run_one(&mut session, query.as_str(), &options)?;
    let mut ranking = Ranking::new(query.embedding, args.top_k as usize);
    let command = EmbedCommand::new(task, options);
    let code = task::run_into(&mut ranking, command, session, lines, &located)?;
    ranking.print(args.input.format())?;
    Ok(code)
}

/// Prints the cosine of each text with each.
fn matrix(texts: &[String], embeddings: &[Embedding], format: Format) -> Result<()> {
    let cosine = |a: &Embedding, b: &Embedding| cosine(&a.embedding, &b.embedding) as f32;
    let row = |a| embeddings.iter().map(|b| cosine(a, b)).collect();
    let rows: Vec<Vec<f32>> = embeddings.iter().map(row).collect();
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (format, texts.len()) {
        (Format::Human, 2) => writeln!(out, "{:.4}", rows[0][1])?,
        (Format::Human, count) => {
            let width = count.to_string().len();
            let numbers: String = (1..=count).map(|number| format!("{number:9}")).collect();
            writeln!(out, "{:width$}{numbers}", "")?;
            for ((number, text), row) in (1..).zip(texts).zip(&rows) {
                let row: String = row.iter().map(|x| format!("{x:9.4}")).collect();
                writeln!(out, "{number:width$}{row}  {}", shortened(text))?;
            }
        }
        (Format::Json, _) => json_line(&mut out, &rows)?,
        (Format::Jsonl, _) => {
            for (text, similarities) in texts.iter().zip(&rows) {
                json_line(&mut out, &Row { text, similarities })?;
            }
        }
    }
    Ok(out.flush()?)
}
