//! `rq list`

use crate::Ended;
use crate::advice;
use crate::console;
use crate::human::{column, size, visible};
use crate::locate;
use crate::records::json_line;
use crate::words;
use anyhow::Result;
use clap::Args;
use rq_format::ModelFile;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct ListArgs {
    /// Print JSON: a list of objects, one per model
    ///
    /// Each has name, file, bytes and default; and of a sound file command, architecture, head and quantization, of another error.
    #[arg(long)]
    json: bool,
}

/// A model as it is listed.
#[derive(Serialize)]
struct Listed {
    name: String,
    /// None if it is embedded.
    file: Option<PathBuf>,
    bytes: u64,
    /// Whether it answers when no model is named.
    default: bool,
    #[serde(flatten)]
    content: Content,
}

/// What a file holds, or why it can't be read.
#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Model {
        /// The command that it is for.
        command: &'static str,
        architecture: String,
        head: String,
        quantization: String,
    },
    Unsound {
        error: String,
    },
}

impl Content {
    fn of(file: &ModelFile) -> Self {
        let config = file.config();
        Self::Model {
            command: advice::command(config.head),
            architecture: format!("{:?}", config.architecture).to_lowercase(),
            head: config.head.to_string(),
            quantization: config.quantization.clone(),
        }
    }
}

impl Listed {
    fn at(name: String, path: &Path, default: Option<&Path>) -> Self {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        Self {
            name,
            bytes,
            default: default == Some(path),
            content: match ModelFile::open(path) {
                Ok(file) => Content::of(&file),
                Err(error) => Content::Unsound {
                    error: words::of(&error),
                },
            },
            file: Some(path.to_owned()),
        }
    }

    #[cfg(feature = "demo-model")]
    fn embedded(default: bool) -> Result<Self> {
        let model = rq::Model::demo()?;
        Ok(Self {
            name: locate::DEMO.to_owned(),
            file: None,
            bytes: model.file().file_len(),
            default,
            content: Content::of(model.file()),
        })
    }
}

pub(super) fn run(args: &ListArgs) -> Result<Ended> {
    let directory = locate::data_directory()?;
    let models = crate::names::converted(&directory)?;
    let default = locate::default_path();
    let default_path = default.as_ref().ok().and_then(Option::as_deref);
    let mut listed: Vec<Listed> = models
        .into_iter()
        .map(|model| Listed::at(model.name, &model.path, default_path))
        .collect();
    // One that RQ_MODEL names may lie elsewhere.
    if let Some(path) = default_path.filter(|_| listed.iter().all(|model| !model.default)) {
        listed.push(Listed::at(path.display().to_string(), path, default_path));
    }
    #[cfg(feature = "demo-model")]
    listed.push(Listed::embedded(matches!(default, Ok(None)))?);
    let mut out = console::output();
    if args.json {
        json_line(&mut out, &listed)?;
    } else {
        table(&mut out, &listed, &directory)?;
    }
    // A variable that names no model is an error of every command that takes one, and said at the end.
    default?;
    Ok(Ended::Success)
}

fn table(out: &mut impl Write, listed: &[Listed], directory: &Path) -> Result<()> {
    let cells = |heading: &str, cell: &dyn Fn(&Listed) -> String| {
        let heading = std::iter::once(heading.to_owned());
        column(heading.chain(listed.iter().map(cell)))
    };
    let names = cells("model", &|model| visible(&model.name));
    let commands = cells("command", &|model| match &model.content {
        Content::Model { command, .. } => (*command).to_owned(),
        Content::Unsound { .. } => "-".to_owned(),
    });
    let quants = cells("quant", &|model| match &model.content {
        Content::Model { quantization, .. } => visible(quantization),
        Content::Unsound { .. } => "-".to_owned(),
    });
    let rows = names.iter().zip(&commands).zip(&quants);
    for (i, ((name, command), quant)) in rows.enumerate() {
        let model = i.checked_sub(1).map(|i| &listed[i]);
        let mark = if model.is_some_and(|m| m.default) {
            '*'
        } else {
            ' '
        };
        let size = model.map_or("size".to_owned(), |model| size(model.bytes));
        let note = match model.map(|model| &model.content) {
            Some(Content::Unsound { error }) => format!("  {}", visible(error)),
            _ if model.is_some_and(|model| model.file.is_none()) => "  part of rq".to_owned(),
            _ => String::new(),
        };
        writeln!(out, "{mark} {name}  {command}  {quant}  {size:>9}{note}")?;
    }
    if listed.iter().any(|model| model.default) {
        writeln!(out, "\n* answers when no model is named")?;
    }
    let directory = directory.display();
    match listed.iter().any(|model| model.file.is_some()) {
        true => writeln!(out, "files in {directory}")?,
        false => writeln!(
            out,
            "nothing converted yet in {directory}: `rq convert` does that"
        )?,
    }
    Ok(())
}
