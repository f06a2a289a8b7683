//! Finds models: a file, a name in the data directory, or the embedded default.

use crate::console::say;
use crate::names::{self, EXTENSION};
use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use rq::{Error, FormatError, Model};
use rq_convert::repositories;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The variable that names the model when `--model` doesn't.
const MODEL_VARIABLE: &str = "RQ_MODEL";
/// The variable that moves rq's data directory.
const DATA_VARIABLE: &str = "RQ_DATA_DIR";
/// The default model, once it is converted.
const DEFAULT_NAME: &str = "roberta-large";

/// The name of the embedded model in messages.
const EMBEDDED: &str = "the embedded model";
/// The name by which it can be asked for.
pub(crate) const DEMO: &str = "demo";
/// Endings of files with weights that a conversion reads, and of those of other software.
const WEIGHTS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];
const FOREIGN_WEIGHTS: [&str; 8] = [
    "gguf", "ggml", "onnx", "h5", "msgpack", "ot", "tflite", "xml",
];

/// A model and where it comes from.
pub(crate) struct Located {
    pub(crate) model: Arc<Model>,
    /// Its file, or the name of the embedded model.
    pub(crate) place: String,
    /// Whether the user named it.
    named: bool,
}

impl Located {
    /// Passes on a task for this model. An error about the model's head says if the user didn't name the model.
    pub(crate) fn task<T>(&self, task: Result<T, Error>) -> Result<T> {
        match task {
            Err(error @ Error::WrongHead { .. }) if !self.named => Err(error)
                .context("no model was named with --model, and the default is for another task"),
            task => Ok(task?),
        }
    }

    /// Says if the embedded model was used. Called after the first answers, so that an error stays one line.
    pub(crate) fn announce(&self) {
        if self.place == EMBEDDED && !self.named {
            say(format_args!(
                "using the small embedded English model, because no model was named and {DEFAULT_NAME} hasn't been \
                 converted; see `rq convert --help`"
            ));
        }
    }
}

/// The directory for converted models: `RQ_DATA_DIR`, or else the operating system's directory for application data.
pub(crate) fn data_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DATA_VARIABLE).filter(|d| !d.is_empty()) {
        return Ok(directory.into());
    }
    let strategy = etcetera::choose_base_strategy().with_context(|| {
        format!("there is no home directory for converted models: set {DATA_VARIABLE}")
    })?;
    // On Windows the one that a company's network doesn't copy from machine to machine: models are large.
    let directory = match cfg!(windows) {
        true => strategy.cache_dir(),
        false => strategy.data_dir(),
    };
    Ok(directory.join("rq"))
}

/// The file of a converted model in the data directory.
pub(crate) fn converted_path(name: &str) -> Result<PathBuf> {
    Ok(data_directory()?.join(names::file_name(name)))
}

/// The file of this name, or that of the converted model of this name.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() && !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(converted) = find_converted(name)? {
        return Ok(converted);
    }
    let with_ending = PathBuf::from(format!("{name}.{EXTENSION}"));
    if with_ending.is_file() {
        return Ok(with_ending);
    }
    if path.is_dir() {
        bail!("{name} is a directory, not a model file: convert it first with `rq convert {name}`");
    }
    if name.eq_ignore_ascii_case(DEMO) {
        bail!("{DEMO} is {EMBEDDED}, which has no file of its own");
    }
    let models = names::converted(&data_directory()?)?;
    let names = models.iter().map(|model| &*model.name);
    let nearest = names::nearest(name, names).map(|nearest| format!("; did you mean {nearest:?}?"));
    bail!(
        "no model {name:?}: there is no such file, and no {}{} `rq list` shows which models there are, and `rq convert` \
         makes them",
        converted_path(name)?.display(),
        nearest.as_deref().unwrap_or(";")
    );
}

/// The file of a model that was converted under this name as it is written, or under the full name that it is short for.
fn under(name: &str) -> Result<Option<PathBuf>> {
    for repository in repositories(name) {
        let path = converted_path(repository)?;
        if path.is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The same of a name as people write it.
fn find_converted(name: &str) -> Result<Option<PathBuf>> {
    if let Some(path) = under(name)? {
        return Ok(Some(path));
    }
    let models = names::converted(&data_directory()?)?;
    let found = names::find(name, &models)?;
    Ok(found.map(|model| model.path.clone()))
}

/// The file of the model that answers when a command names none: that of `RQ_MODEL` or a converted roberta-large. `None` if it is
/// the embedded one.
pub(crate) fn default_path() -> Result<Option<PathBuf>> {
    match variable() {
        Some(name) if is_demo(&name)? => Ok(None),
        Some(name) => {
            let found = find(&name).with_context(|| format!("{MODEL_VARIABLE}={name}"));
            found.map(Some)
        }
        // No other organization's, which nobody named.
        None => under(DEFAULT_NAME),
    }
}

fn variable() -> Option<String> {
    let variable = std::env::var(MODEL_VARIABLE).ok();
    variable.filter(|name| !name.is_empty())
}

/// Whether a name is that of the embedded model, and no other model has it.
fn is_demo(name: &str) -> Result<bool> {
    let named = name.eq_ignore_ascii_case(DEMO) && !Path::new(name).is_file();
    Ok(named && find_converted(name)?.is_none())
}

/// Opens a model file. Errors name it and say what to do.
pub(crate) fn open_file(path: &Path) -> Result<Model> {
    let place = path.display();
    Model::open(path).map_err(|error| match error {
        // The operating system's errors name the file.
        Error::Format(FormatError::Io { .. }) => error.into(),
        Error::Format(FormatError::NewerVersion { .. } | FormatError::OlderVersion { .. }) => {
            anyhow::Error::new(error).context(place.to_string())
        }
        Error::Format(FormatError::Magic { .. } | FormatError::TooShort { .. })
            if path.extension().is_none_or(|ending| ending != EXTENSION) =>
        {
            anyhow::Error::new(Unsound::NeverAModel(path.to_owned()))
        }
        _ => damaged(error, path),
    })
}

/// A file that doesn't hold what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsound {
    #[error("{} isn't a sound model file: convert the model again, or copy the file again", .0.display())]
    Damaged(PathBuf),
    #[error("{} {}", .0.display(), instead(.0))]
    NeverAModel(PathBuf),
}

/// Adds to an error that the file is unsound.
pub(crate) fn damaged(error: impl Into<anyhow::Error>, path: &Path) -> anyhow::Error {
    error.into().context(Unsound::Damaged(path.to_owned()))
}

/// What a file is that was never a model, and what to do.
fn instead(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    let ending = ending.to_string_lossy().to_lowercase();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.display().to_string(),
        _ => ".".to_owned(),
    };
    if WEIGHTS.contains(&&*ending) {
        return format!(
            "has weights that aren't converted: convert the directory that holds them, with `rq convert {directory}`"
        );
    }
    if FOREIGN_WEIGHTS.contains(&&*ending) {
        return "has weights in another program's format: convert the checkpoint that they were made from, a directory with \
                model.safetensors or pytorch_model.bin, with `rq convert DIRECTORY`"
            .to_owned();
    }
    "isn't a model file, and never was: `rq convert` makes one of a checkpoint, and `rq list` shows those that there are"
        .to_owned()
}

/// Opens the model of this name, that of `RQ_MODEL`, a converted roberta-large, or the embedded model.
pub(crate) fn open(name: Option<&str>) -> Result<Located> {
    let named = name.is_some() || variable().is_some();
    let path = match name {
        Some(name) if is_demo(name)? => None,
        Some(name) => Some(find(name)?),
        None => default_path()?,
    };
    match path {
        Some(path) => Ok(Located {
            model: Arc::new(open_file(&path)?),
            place: path.display().to_string(),
            named,
        }),
        None => embedded(named),
    }
}

#[cfg(feature = "demo-model")]
fn embedded(named: bool) -> Result<Located> {
    Ok(Located {
        model: Arc::new(Model::demo()?),
        place: EMBEDDED.to_owned(),
        named,
    })
}

#[cfg(not(feature = "demo-model"))]
fn embedded(_: bool) -> Result<Located> {
    bail!(
        "no model: name one with --model or {MODEL_VARIABLE}, or convert {DEFAULT_NAME} with `rq convert`"
    )
}
