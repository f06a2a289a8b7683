//! `rq embed --sparse`

use super::{EmbedArgs, token_names, written};
use crate::Ended;
use crate::args::{Format, options};
use crate::console::{discard_when_interrupted, say, say_of_line};
use crate::human::{column, visible};
use crate::locate::Located;
use crate::npz::CsrWriter;
use crate::out::OutArgs;
use crate::records;
use crate::resume::{self, Begun, Spool};
use crate::table::Form;
use crate::task::{self, Command, Sink, answers_with};
use crate::texts::{Repeated, Source, Text};
use anyhow::{Error, Result, ensure};
use rq::{Session, SparseEmbedder, SparseEmbedding, SparseOptions, Task};
use rq_format::Output;
use serde::Serialize;
use std::io::{Read, Write};
use std::path::Path;

/// The most texts in a batch: an embedding may have as many entries as the vocabulary.
const AT_ONCE: usize = 16;
/// Columns of a weight.
const WIDTH: usize = 9;

/// What `--json` prints of a text, and `--jsonl` adds to it.
#[derive(Serialize)]
struct Fields<'a> {
    indices: &'a [u32],
    values: &'a [f32],
    tokens: Vec<String>,
}

/// Computes sparse embeddings of single texts, for any [`Sink`].
pub(in crate::commands) struct SparseCommand {
    task: SparseEmbedder,
    options: SparseOptions,
}

impl SparseCommand {
    pub(in crate::commands) fn new(
        located: &Located,
        session: Session,
        options: SparseOptions,
    ) -> Result<Self> {
        let task = located.task(SparseEmbedder::new(session))?;
        Ok(Self { task, options })
    }
}

impl Command for SparseCommand {
    answers_with!(SparseEmbedder, SparseOptions);
    type Input = Text;

    fn input<'t>(&self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    /// The largest weights first.
    fn show(&self, out: &mut impl Write, input: &Text, embedding: &SparseEmbedding) -> Result<()> {
        let entries = embedding.descending();
        let tokens = token_names(
            self.task.model().tokenizer(),
            entries.iter().map(|&(index, _)| index),
        );
        let names = ["token".to_owned()].into_iter();
        let cells = column(names.chain(tokens.iter().map(|token| visible(token))));
        writeln!(out, "{}", visible(&input.text))?;
        writeln!(out, "  {}{:>WIDTH$}", cells[0], "weight")?;
        for (token, (_, weight)) in cells[1..].iter().zip(&entries) {
            writeln!(out, "  {token}{weight:WIDTH$.4}")?;
        }
        if entries.is_empty() {
            writeln!(out, "  no weight is above 0")?;
        }
        Ok(())
    }

    fn json(&self, _: &Text, embedding: &SparseEmbedding) -> impl Serialize {
        self.fields(embedding)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["indices", "values", "tokens"]
    }

    fn fields(&self, embedding: &SparseEmbedding) -> impl Serialize {
        Fields {
            indices: &embedding.indices,
            values: &embedding.values,
            tokens: token_names(
                self.task.model().tokenizer(),
                embedding.indices.iter().copied(),
            ),
        }
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// Writes embeddings to a file, and errors to standard error.
struct ToFile {
    file: CsrWriter,
    /// With `--resume`, the rows on the disk.
    spool: Option<Spool>,
    refused: bool,
}

impl ToFile {
    fn row(&mut self, columns: &[u32], values: &[f32]) -> Result<()> {
        if let Some(spool) = &self.spool {
            let mut bytes = (columns.len() as u64).to_le_bytes().to_vec();
            bytes.extend(columns.iter().flat_map(|x| x.to_le_bytes()));
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            spool.append(&bytes)?;
        }
        self.file.row(columns, values);
        Ok(())
    }

    /// Takes up the rows of former runs.
    fn replay(&mut self) -> Result<()> {
        let Some(spool) = &self.spool else {
            return Ok(());
        };
        spool.replay(|from| {
            let mut count = [0; 8];
            from.read_exact(&mut count)?;
            let count = u64::from_le_bytes(count);
            let mut words = |count| -> Result<Vec<[u8; 4]>> {
                let mut bytes = Vec::new();
                let whole = from.take(4 * count).read_to_end(&mut bytes)? as u64 == 4 * count;
                ensure!(whole, "a row ends early");
                Ok(bytes.as_chunks().0.to_vec())
            };
            let columns: Vec<u32> = words(count)?.into_iter().map(u32::from_le_bytes).collect();
            let values: Vec<f32> = words(count)?.into_iter().map(f32::from_le_bytes).collect();
            self.file.row(&columns, &values);
            Ok(())
        })
    }
}

impl Sink<SparseCommand> for ToFile {
    fn answer(
        &mut self,
        _: &SparseCommand,
        _: &Repeated,
        _: &Text,
        answer: &SparseEmbedding,
    ) -> Result<()> {
        self.row(&answer.indices, &answer.values)
    }

    fn refuse(
        &mut self,
        _: &SparseCommand,
        name: &str,
        line: u64,
        _: &Repeated,
        _: Option<&Text>,
        error: &Error,
    ) -> Result<()> {
        say_of_line(name, line, error);
        self.refused = true;
        self.row(&[], &[])
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn done(&mut self, lines: u64, refused: u64) -> Result<()> {
        match &mut self.spool {
            Some(spool) => spool.save(lines, refused),
            None => Ok(()),
        }
    }
}

pub(super) fn run(
    args: &EmbedArgs,
    mut texts: Source<Text>,
    format: Format,
    located: &Located,
) -> Result<Ended> {
    ensure!(
        !(args.normalize || args.no_normalize || args.dim.is_some() || args.precision.is_some()),
        "the model is a sparse encoder: --normalize, --no-normalize, --dim and --precision are for dense embeddings, which it makes with a --pooling"
    );
    let is_npz = |path: &Path| {
        path.extension().is_some_and(|end| end == "npz")
            || Form::of(path).is_some()
            || Output::is_stream(path)
    };
    ensure!(
        args.out.as_deref().is_none_or(is_npz),
        "sparse embeddings are written as SciPy's .npz: give --out a name that ends in .npz"
    );
    let options = options!(SparseOptions {
        max_active_dims: args.max_active_dims.map(|most| most as usize),
        prompt: args.prompt(),
        truncate: args.truncate,
    });
    let session = args.compute.session(&located.model)?;
    let command = SparseCommand::new(located, session, options)?;
    let out = OutArgs {
        out: args.out.clone(),
        resume: args.resume,
    };
    let path = match &args.out {
        Some(path) if Form::of(path).is_none() => path,
        _ => return records::run(command, texts, format, located, &out),
    };
    discard_when_interrupted(|| {});
    let columns = command.task.dimension();
    let spool = match resume::begin(args.resume, path, located, &mut texts)? {
        Some(Begun::Finished) => return Ok(Ended::Success),
        Some(Begun::At(output, resumable)) => Some(Spool::new(output, resumable)),
        None => None,
    };
    ensure!(
        !args.input.is_sharded(),
        "a matrix of sparse embeddings isn't put together of parts: leave out --shard, or write JSON lines (--jsonl)"
    );
    let mut sink = ToFile {
        file: CsrWriter::create(path, columns)?,
        spool,
        refused: matches!(&texts, Source::Lines(lines) if lines.refused > 0),
    };
    sink.replay()?;
    let code = task::run(&mut sink, command, texts, located)?;
    let is_stdout = sink.file.is_stdout();
    let (rows, weights) = sink.file.finish()?;
    if let Some(spool) = sink.spool {
        spool.finish()?;
    }
    if sink.refused {
        say("the rows of these texts are empty");
    }
    let path = path.display();
    written(
        is_stdout,
        format_args!("{path}: {rows} x {columns}, float32, {weights} weights"),
    )?;
    Ok(code)
}
