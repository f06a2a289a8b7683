//! Finds models: a file, a name in the data directory, or the embedded default.

use crate::console::say;
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
/// The extension of a converted model's file.
const EXTENSION: &str = "rq";
/// The default model, once it is converted.
const DEFAULT_NAME: &str = "roberta-large";

/// The name of the embedded model in messages.
const EMBEDDED: &str = "the embedded model";

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
        if self.place == EMBEDDED {
            say(format_args!(
                "using the small embedded English model, because no model was named and {DEFAULT_NAME} hasn't been \
                 converted; see `rq convert --help`"
            ));
        }
    }
}

/// The directory for converted models: `RQ_DATA_DIR`, or else the operating system's directory for application data.
fn data_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DATA_VARIABLE).filter(|d| !d.is_empty()) {
        return Ok(directory.into());
    }
    let strategy = etcetera::choose_base_strategy().with_context(|| {
        format!("there is no home directory for converted models: set {DATA_VARIABLE}")
    })?;
    Ok(strategy.data_dir().join("rq"))
}

/// The file of a converted model: `org/name` is `org--name.rq`.
pub(crate) fn converted_path(name: &str) -> Result<PathBuf> {
    let file = name.replace(['/', '\\'], "--");
    Ok(data_directory()?.join(format!("{file}.{EXTENSION}")))
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
    if path.is_dir() {
        bail!("{name} is a directory, not a model file: convert it first with `rq convert {name}`");
    }
    bail!(
        "no model {name:?}: there is no such file, and no {}; convert one with `rq convert`",
        converted_path(name)?.display()
    );
}

/// The file of a model that was converted under this name, or under the full name that it is short for.
fn find_converted(name: &str) -> Result<Option<PathBuf>> {
    for repository in repositories(name) {
        let path = converted_path(repository)?;
        if path.exists() {
            return Ok(Some(path));
        }
    }
    Ok(None)
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
        _ => damaged(error, path),
    })
}

/// A file that doesn't hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("{} isn't a sound model file: convert the model again, or copy the file again", .0.display())]
pub(crate) struct Unsound(PathBuf);

/// Adds to an error that the file is unsound.
pub(crate) fn damaged(error: impl Into<anyhow::Error>, path: &Path) -> anyhow::Error {
    error.into().context(Unsound(path.to_owned()))
}

/// Opens the model of this name, that of `RQ_MODEL`, a converted roberta-large, or the embedded model.
pub(crate) fn open(name: Option<&str>) -> Result<Located> {
    let variable = std::env::var(MODEL_VARIABLE).ok();
    let variable = variable.filter(|name| !name.is_empty());
    let named = name.is_some() || variable.is_some();
    let path = match (name, variable) {
        (Some(name), _) => Some(find(name)?),
        (None, Some(name)) => {
            Some(find(&name).with_context(|| format!("{MODEL_VARIABLE}={name}"))?)
        }
        (None, None) => find_converted(DEFAULT_NAME)?,
    };
    match path {
        Some(path) => Ok(Located {
            model: Arc::new(open_file(&path)?),
            place: path.display().to_string(),
            named,
        }),
        None => embedded(),
    }
}

#[cfg(feature = "demo-model")]
fn embedded() -> Result<Located> {
    Ok(Located {
        model: Arc::new(Model::demo()?),
        place: EMBEDDED.to_owned(),
        named: false,
    })
}

#[cfg(not(feature = "demo-model"))]
fn embedded() -> Result<Located> {
    bail!(
        "no model: name one with --model or {MODEL_VARIABLE}, or convert {DEFAULT_NAME} with `rq convert`"
    )
}
