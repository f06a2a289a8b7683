//! Where models are: a file, a name in the data directory, or the embedded default.

use super::say;
use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use rq::format::FormatError;
use rq::{Error, Model};
use rq_convert::repositories;
use std::path::{Path, PathBuf};

/// The variable that names the model when `--model` doesn't.
const MODEL_VARIABLE: &str = "RQ_MODEL";
/// The variable that names rq's data directory.
const DATA_VARIABLE: &str = "RQ_DATA_DIR";
/// What a converted model's file ends with.
const EXTENSION: &str = "rq";
/// The model that is used where none is named, once it is converted.
const DEFAULT_NAME: &str = "roberta-large";

/// What the embedded default is called.
const EMBEDDED: &str = "the embedded model";

/// A model, and what to call it.
pub(super) struct Located {
    pub(super) model: Model,
    /// Its file, or a description of the embedded one.
    pub(super) place: String,
}

impl Located {
    /// Says on standard error that the answers are those of the embedded model, if they are. Called once there are
    /// answers, so that a refusal stays one line.
    pub(super) fn announce(&self) {
        if self.place == EMBEDDED {
            say(format_args!(
                "using the small embedded English model, as no model was named and no {DEFAULT_NAME} is converted; see \
                 `rq convert --help`"
            ));
        }
    }
}

/// Where converted models are kept: `RQ_DATA_DIR`, else the operating system's place for applications' data.
fn data_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DATA_VARIABLE).filter(|d| !d.is_empty()) {
        return Ok(directory.into());
    }
    let strategy = etcetera::choose_base_strategy()
        .with_context(|| format!("no home directory for converted models: set {DATA_VARIABLE}"))?;
    Ok(strategy.data_dir().join("rq"))
}

/// The file of a converted model: `org/name` is `org--name.rq`.
pub(super) fn converted_path(name: &str) -> Result<PathBuf> {
    let file = name.replace(['/', '\\'], "--");
    Ok(data_directory()?.join(format!("{file}.{EXTENSION}")))
}

/// A file as it was named, or a converted model of that name.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() && !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(converted) = find_converted(name)? {
        return Ok(converted);
    }
    if path.is_dir() {
        bail!(
            "{name} is a directory, not a model file: convert it first, with `rq convert {name}`"
        );
    }
    bail!(
        "no model {name:?}: there is no such file, and no {}; convert one with `rq convert`",
        converted_path(name)?.display()
    );
}

/// The file of a model that was converted under this name, or under the one that it is short for.
fn find_converted(name: &str) -> Result<Option<PathBuf>> {
    for repository in repositories(name) {
        let path = converted_path(repository)?;
        if path.exists() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Opens a model's file; an error names it and says what to do.
pub(super) fn open_file(path: &Path) -> Result<Model> {
    let place = path.display();
    Model::open(path).map_err(|error| match error {
        // The operating system's errors name the file.
        Error::Format(FormatError::Io { .. }) => error.into(),
        Error::Format(FormatError::NewerVersion { .. }) => {
            anyhow::Error::new(error).context(place.to_string())
        }
        _ => damaged(error, path),
    })
}

/// What is said of a file that doesn't hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("{} isn't a sound model file; convert the model again, or copy the file again", .0.display())]
pub(super) struct Unsound(PathBuf);

/// An error about what a file holds.
pub(super) fn damaged(error: impl Into<anyhow::Error>, path: &Path) -> anyhow::Error {
    error.into().context(Unsound(path.to_owned()))
}

/// The model that `--model` or `RQ_MODEL` names, else a converted roberta-large, else the embedded default.
pub(super) fn open(name: Option<&str>) -> Result<Located> {
    let from_variable = std::env::var(MODEL_VARIABLE)
        .ok()
        .filter(|name| !name.is_empty());
    let path = match (name, from_variable) {
        (Some(name), _) => Some(find(name)?),
        (None, Some(name)) => {
            Some(find(&name).with_context(|| format!("{MODEL_VARIABLE}={name}"))?)
        }
        (None, None) => find_converted(DEFAULT_NAME)?,
    };
    match path {
        Some(path) => Ok(Located {
            model: open_file(&path)?,
            place: path.display().to_string(),
        }),
        None => embedded(),
    }
}

/// Says of a model that is for something else that none was named, if none was.
pub(super) fn blame_default<T>(name: Option<&str>, task: Result<T, Error>) -> Result<T> {
    let named = name.is_some() || std::env::var(MODEL_VARIABLE).is_ok_and(|name| !name.is_empty());
    match task {
        Err(error @ Error::WrongHead { .. }) if !named => {
            Err(error).context("no model was named with --model, and the default won't do")
        }
        task => Ok(task?),
    }
}

#[cfg(feature = "demo-model")]
fn embedded() -> Result<Located> {
    Ok(Located {
        model: Model::demo()?,
        place: EMBEDDED.to_owned(),
    })
}

#[cfg(not(feature = "demo-model"))]
fn embedded() -> Result<Located> {
    bail!(
        "no model: name one with --model or {MODEL_VARIABLE}, or convert {DEFAULT_NAME} with `rq convert`"
    )
}
