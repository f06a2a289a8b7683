//! `rq similar`

use super::embed::{EmbedCommand, SparseCommand, TEXT_POOLINGS};
use crate::Ended;
use crate::args::options;
use crate::args::{ComputeArgs, Format, ModelArg, one_of, whole};
use crate::console::{self, Screen, say_of_line};
use crate::human::{cut, visible};
use crate::locate::Located;
use crate::plot::{self, MAX_TEXTS, Plot};
use crate::records::{json_line, object_line};
use crate::style::{FAINT, similarity};
use crate::task::{self, Answer, Best, Command, Sink};
use crate::texts::{FormArgs, Repeated, Source, Text, open};
use anyhow::{Error, Result, ensure};
use clap::Args;
use rq::{
    EmbedOptions, Embedder, Embedding, Pooling, SparseEmbedding, SparseOptions, Task, cosine,
};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq similar -m all-MiniLM-L6-v2 \"A cat sat on the mat.\" \"There was a cat on the rug.\"\n  rq similar -m all-MiniLM-L6-v2 \"How do I bake bread?\" --file titles.txt -k 3"
)]
pub(super) struct SimilarArgs {
    /// Two or more texts to compare with each other, or one text to rank the lines of the input by
    ///
    /// Similarity is the cosine of the embeddings, from -1 to 1; of a sparse encoder's, unless --pooling makes dense ones, their
    /// inner product. Two texts give one number, more give a matrix. Where that is wider than the terminal, or than 80 columns
    /// elsewhere, each text has the three that are most similar to it instead.
    #[arg(value_name = "TEXT", required = true)]
    texts: Vec<String>,

    /// File with lines to rank, instead of standard input
    ///
    /// A line can have up to 1 MiB. If a line can't be processed, its error goes to standard error, the other lines are
    /// ranked, and the exit code is 1. Equally similar lines keep their order.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    form: FormArgs,

    /// Print JSON: the matrix of the texts, or the list of the ranked lines
    ///
    /// The matrix is what sentence-transformers' similarity returns. The list is that of its semantic_search, objects with
    /// corpus_id (the line number from 0) and score, plus text.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read JSON lines, and print one for each row of the matrix, or each ranked line
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. The output has text and similarities, a row of the matrix; or text, line (the line
    /// number from 1) and score.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// Number of lines to show, the most similar first
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    #[arg(allow_negative_numbers = true, value_parser = whole::<u32>(1, None))]
    top_k: u32,

    /// Draw the matrix into this SVG file
    ///
    /// A heat map of two to 256 texts, which are given as arguments.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// How to pool the tokens' vectors [default: as the publisher says, or else mean]
    ///
    /// The modes are those of `rq embed` that give one vector per text.
    #[arg(long, value_name = "MODE", value_parser = one_of(TEXT_POOLINGS), hide_possible_values = true)]
    pooling: Option<Pooling>,

    /// Cut texts that are too long for the model
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// A text's row of the matrix.
#[derive(Serialize)]
struct Row<'a> {
    text: &'a str,
    similarities: &'a [f32],
}

/// A ranked line, as sentence-transformers' semantic_search returns it.
#[derive(Serialize)]
struct Found<'a> {
    corpus_id: u64,
    score: f32,
    text: &'a str,
}

/// What `--jsonl` adds to a ranked line.
#[derive(Serialize)]
struct Rank {
    /// From 1.
    line: u64,
    score: f32,
}

/// What compares two embeddings, and its name.
struct Measure<E> {
    name: &'static str,
    of: fn(&E, &E) -> f32,
}

const COSINE: Measure<Embedding> = Measure {
    name: "cosine",
    of: |a, b| cosine(a, b) as f32,
};
const DOT: Measure<SparseEmbedding> = Measure {
    name: "product",
    of: |a, b| a.dot(b) as f32,
};

/// Keeps the lines that are most similar to a text.
struct Ranking<'m, E> {
    query: E,
    measure: &'m Measure<E>,
    /// Lines, their texts and their numbers.
    best: Best<(Repeated, String, u64)>,
    /// Lines so far.
    line: u64,
}

impl<C: Command<Input = Text>> Sink<C> for Ranking<'_, Answer<C>> {
    fn answer(&mut self, _: &C, row: &Repeated, input: &Text, answer: &Answer<C>) -> Result<()> {
        self.line += 1;
        let score = (self.measure.of)(&self.query, answer);
        self.best
            .push(score, || (row.clone(), input.text.clone(), self.line));
        Ok(())
    }

    fn refuse(
        &mut self,
        _: &C,
        name: &str,
        line: u64,
        _: &Repeated,
        _: Option<&Text>,
        error: &Error,
    ) -> Result<()> {
        self.line += 1;
        say_of_line(name, line, error);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<'m, E> Ranking<'m, E> {
    fn new(query: E, measure: &'m Measure<E>, top_k: usize) -> Self {
        Self {
            query,
            measure,
            best: Best::new(top_k),
            line: 0,
        }
    }

    fn print(self, format: Format) -> Result<()> {
        let best: Vec<(f32, (Repeated, String, u64))> = self.best.into_sorted().collect();
        let mut out = console::buffered();
        match format {
            Format::Human => {
                let last = best.iter().map(|(_, (.., line))| *line).max().unwrap_or(0);
                let width = last.to_string().len().max("line".len());
                if !best.is_empty() {
                    writeln!(out, "{:>7}  {:>width$}  text", self.measure.name, "line")?;
                }
                for (score, (_, text, line)) in &best {
                    writeln!(out, "{score:7.4}  {line:width$}  {}", visible(text))?;
                }
            }
            Format::Json => {
                let found = best.iter().map(|(score, (_, text, line))| Found {
                    corpus_id: line - 1,
                    score: *score,
                    text,
                });
                json_line(&mut out, &found.collect::<Vec<_>>())?;
            }
            Format::Jsonl => {
                for (score, (row, text, line)) in best {
                    object_line(&mut out, &row, Text { text }, Rank { line, score })?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

pub(super) fn run(args: &SimilarArgs) -> Result<Ended> {
    let format = Format::new(args.json, args.jsonl);
    let query = match &args.texts[..] {
        [query] => Some((query, open(args.file.as_deref(), &args.form, format)?)),
        _ => None,
    };
    ensure!(
        args.plot.is_none() || (2..=MAX_TEXTS).contains(&args.texts.len()),
        "--plot draws how similar two to {MAX_TEXTS} texts are to each other, and takes them as arguments: there {}",
        match args.texts.len() {
            1 => "is only one".to_owned(),
            count => format!("are {count}"),
        }
    );
    ensure!(
        query.is_some() || args.file.is_none(),
        "the lines of a file are ranked by one text: give only one, or leave out --file"
    );
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let truncate = args.truncate;
    let sparse = located.model.config().sparse_pooling.is_some();
    if sparse && args.pooling.is_none() {
        let options = options!(SparseOptions { truncate });
        let command = SparseCommand::new(&located, session, options)?;
        return compare(command, &DOT, args, query, format, &located);
    }
    let options = options!(EmbedOptions {
        pooling: args.pooling,
        truncate
    });
    let task = Embedder::new(session);
    ensure!(
        !task.per_token(&options),
        "the model is a multi-vector encoder, which has a vector for each token, and rq compares one per text: choose a --pooling"
    );
    let command = EmbedCommand::new(task, options)?;
    compare(command, &COSINE, args, query, format, &located)
}

/// Compares the texts with each other, or ranks the lines of a source by one.
fn compare<C>(
    mut command: C,
    measure: &Measure<Answer<C>>,
    args: &SimilarArgs,
    query: Option<(&String, Source<Text>)>,
    format: Format,
    located: &Located,
) -> Result<Ended>
where
    C: Command<Input = Text>,
    C::Task: for<'t> Task<Input<'t> = rq::Text<'t>>,
{
    let (task, options) = command.task_and_options();
    let Some((query, lines)) = query else {
        let plot = args.plot.as_deref();
        let plot = plot.map(|path| Ok::<_, Error>((Plot::create(path)?, path)));
        let plot = plot.transpose()?;
        let embeddings = task.run(&args.texts, options)?;
        located.announce();
        let of = measure.of;
        let row = |a| embeddings.iter().map(|b| of(a, b)).collect();
        let rows: Vec<Vec<f32>> = embeddings.iter().map(row).collect();
        print(&args.texts, &rows, format)?;
        if let Some((plot, path)) = plot {
            plot.finish(&plot::heat(&args.texts, &rows, measure.name), path)?;
        }
        return Ok(Ended::Success);
    };
    let query = task.run_one(query, options)?;
    let mut ranking = Ranking::new(query, measure, args.top_k as usize);
    let code = task::run(&mut ranking, command, lines, located)?;
    ranking.print(format)?;
    Ok(code)
}

/// Prints the similarity of each text with each.
fn print(texts: &[String], rows: &[Vec<f32>], format: Format) -> Result<()> {
    let mut out = console::buffered();
    match (format, texts.len()) {
        (Format::Human, 2) => writeln!(out, "{:.4}", rows[0][1])?,
        (Format::Human, _) => show(&mut out, texts, rows, console::columns())?,
        (Format::Json, _) => json_line(&mut out, &rows)?,
        (Format::Jsonl, _) => {
            for (text, similarities) in texts.iter().zip(rows) {
                json_line(&mut out, &Row { text, similarities })?;
            }
        }
    }
    Ok(out.flush()?)
}

/// The columns of a number in a matrix, its decimals, and the least columns of a text beside it.
const WIDTHS: [(usize, usize, usize); 2] = [(9, 4, 20), (6, 2, 16)];

/// Writes the matrix of some texts in so many columns, or where it is too wide what is most similar to each.
fn show(out: &mut impl Screen, texts: &[String], rows: &[Vec<f32>], columns: usize) -> Result<()> {
    let digits = texts.len().to_string().len();
    let largest = largest(rows);
    let taken = |(width, ..): (usize, usize, usize)| digits + width * texts.len() + 2;
    let fits = |widths: &(usize, usize, usize)| {
        // Products of sparse embeddings may have more digits before the point.
        let digits = (largest as u64).to_string().len();
        taken(*widths) + widths.2 <= columns && digits + widths.1 + 3 <= widths.0
    };
    let Some(widths) = WIDTHS.into_iter().find(fits) else {
        return nearest(out, texts, rows, columns);
    };
    let (width, decimals, _) = widths;
    let numbers = (1..=texts.len()).map(|number| format!("{number:width$}"));
    let numbers: String = numbers.collect();
    out.paint(FAINT, &format!("{:digits$}{numbers}", ""))?;
    writeln!(out)?;
    for ((number, text), row) in (1..).zip(texts).zip(rows) {
        write!(out, "{number:digits$}")?;
        for &x in row {
            let shown = format!("{x:.decimals$}");
            write!(out, "{}", " ".repeat(width.saturating_sub(shown.len())))?;
            out.paint(similarity(x / largest), &shown)?;
        }
        writeln!(out, "  {}", cut(&visible(text), columns - taken(widths)))?;
    }
    Ok(())
}

/// The largest similarity, which is 1 or more: a product of sparse embeddings may be.
fn largest(rows: &[Vec<f32>]) -> f32 {
    rows.iter().flatten().fold(1.0, |a, b| a.max(b.abs()))
}

/// Writes for each text which others are most similar to it, the most similar first, by their numbers.
fn nearest(
    out: &mut impl Screen,
    texts: &[String],
    rows: &[Vec<f32>],
    columns: usize,
) -> Result<()> {
    const SHOWN: usize = 3;
    let most = largest(rows);
    let digits = texts.len().to_string().len();
    for ((i, text), row) in (0..).zip(texts).zip(rows) {
        let mut best = Best::new(SHOWN);
        for (j, &x) in row.iter().enumerate().filter(|(j, _)| *j != i) {
            best.push(x, || j);
        }
        write!(out, "{:digits$}", i + 1)?;
        let mut taken = digits;
        for (x, j) in best.into_sorted() {
            let shade = similarity(x / most);
            let (number, x) = (format!("  {:digits$} ", j + 1), format!("{x:.2}"));
            taken += number.len() + x.len();
            out.paint(FAINT, &number)?;
            out.paint(shade, &x)?;
        }
        let room = columns.saturating_sub(taken + 2).max(8);
        writeln!(out, "  {}", cut(&visible(text), room))?;
    }
    writeln!(
        out,
        "\nEach text has the numbers of the {SHOWN} most similar to it, and how similar they are.\n\
         --json prints the whole matrix, --plot FILE.svg draws it."
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Escaped;
    use unicode_width::UnicodeWidthStr;

    fn shown(count: usize, columns: usize) -> Vec<String> {
        let texts: Vec<String> = (0..count)
            .map(|i| format!("猫 {i} {}", "long ".repeat(40)))
            .collect();
        let row = |i: usize| (0..count).map(move |j| 1.0 - (i.abs_diff(j) as f32) / 100.0);
        let rows: Vec<Vec<f32>> = (0..count).map(|i| row(i).collect()).collect();
        let mut bytes = Vec::new();
        show(&mut Escaped::new(&mut bytes, false), &texts, &rows, columns).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_matrix_fits_the_terminal() {
        for columns in [80, 120] {
            for count in [3, 6, 7, 9, 10, 11, 20, 100] {
                let lines = shown(count, columns);
                let widest = lines.iter().map(|line| line.width()).max();
                assert!(widest <= Some(columns), "{count} in {columns}: {lines:#?}");
                assert!(lines.len() > count, "{lines:#?}");
            }
        }
        assert!(shown(6, 80)[1].starts_with("1   1.0000   0.9900   0.9800"));
        assert!(shown(8, 80)[1].starts_with("1  1.00  0.99  0.98"));
        let many = shown(100, 80);
        assert!(
            many[0].starts_with("  1    2 0.99    3 0.98    4 0.97  猫 0 long"),
            "{many:#?}"
        );
        assert!(many.last().unwrap().contains("--plot"), "{many:#?}");
    }
}
