//! Where models are: a file, a name in the data directory, or the embedded default.

use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use rq::Model;
use std::path::{Path, PathBuf};

/// The variable that names the model when `--model` doesn't.
const MODEL_VARIABLE: &str = "RQ_MODEL";
/// The variable that names rq's data directory.
const DATA_VARIABLE: &str = "RQ_DATA_DIR";
/// What a converted model's file ends with.
const EXTENSION: &str = "rq";
/// The names under which the default model may have been converted.
const DEFAULT_NAMES: [&str; 2] = ["roberta-large", "FacebookAI/roberta-large"];

/// A model, and what to call it.
pub(super) struct Located {
    pub(super) model: Model,
    /// Its file, or a description of the embedded one.
    pub(super) place: String,
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
    if path.is_dir() {
        bail!(
            "{name} is a directory, not a model file: convert it first, with `rq convert {name}`"
        );
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    let converted = converted_path(name)?;
    if !converted.exists() {
        bail!(
            "no model {name:?}: there is no such file, and no {}; convert one with `rq convert`",
            converted.display()
        );
    }
    Ok(converted)
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
        (None, None) => default_path(),
    };
    match path {
        Some(path) => {
            let place = path.display().to_string();
            let model = Model::open(&path).with_context(|| place.clone())?;
            Ok(Located { model, place })
        }
        None => embedded(),
    }
}

fn default_path() -> Option<PathBuf> {
    DEFAULT_NAMES
        .iter()
        .filter_map(|name| converted_path(name).ok())
        .find(|path| path.exists())
}

#[cfg(feature = "demo-model")]
fn embedded() -> Result<Located> {
    eprintln!(
        "rq: no model was named and no roberta-large is converted: using the small embedded English model; see \
         `rq convert --help`"
    );
    Ok(Located {
        model: Model::demo()?,
        place: "the embedded model".to_owned(),
    })
}

#[cfg(not(feature = "demo-model"))]
fn embedded() -> Result<Located> {
    bail!(
        "no model: name one with --model or {MODEL_VARIABLE}, or convert roberta-large with `rq convert`"
    )
}
