//! What the tests share: the test models, converted once a process, and the goldens.

#![allow(dead_code, reason = "each program uses a part")]

use rq::{Error, Isa, Model, Session, SessionOptions};
use rq_convert::{Calibrate, ConvertOptions, HubCache, NoProgress, Quant, Source, convert_source};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options like `base`, by default the default ones, but for these fields. Outside their crate they can't be written as a
/// literal.
macro_rules! options {
    ($kind:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
        options!($kind { $($field $(: $value)?,)* ..$kind::default() })
    };
    ($kind:ident { $($field:ident $(: $value:expr)?,)* ..$base:expr }) => {{
        let mut options: $kind = $base;
        $(options.$field = options!(@ $field $(, $value)?);)*
        options
    }};
    (@ $field:ident, $value:expr) => { $value };
    (@ $field:ident) => { $field };
}
#[allow(unused_imports, reason = "each program uses a part")]
pub(crate) use options;

pub(crate) const MODELS: [&str; 2] = ["sapiens-vh", "demo-model"];

/// A folder or file below the `tests/` of the workspace, whose root each program names.
pub(crate) fn tests_path(path: &str) -> PathBuf {
    Path::new(crate::ROOT).join("tests").join(path)
}

/// Converts a test model to a file of its own.
pub(crate) fn converted(model: &str, quant: Quant, directory: &Path) -> PathBuf {
    let output = directory.join(format!("{model}-{}.rq", quant.name()));
    convert_to(&tests_path("data").join(model), quant, &output);
    output
}

/// Converts the checkpoint in a directory.
pub(crate) fn convert_to(source: &Path, quant: Quant, output: &Path) {
    let source = Source::find(source.to_str().unwrap(), &HubCache::at("/nonexistent")).unwrap();
    convert_source(
        &source,
        output,
        &ConvertOptions {
            quant,
            threads: 2,
            calibration: Calibrate::Never,
            head: None,
        },
        &NoProgress,
    )
    .unwrap();
}

/// A test model, converted.
pub(crate) fn model(model: &str, quant: Quant) -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(converted(model, quant, directory.path())).unwrap();
    Arc::new(Model::from_bytes(bytes).unwrap())
}

/// A file of a model that `.ci/models` gets. Where it isn't there this says SKIP, or fails if `RQ_REQUIRE_MODELS` is set.
pub(crate) fn downloaded(model: &str, file: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")));
    let path = cache.map(|cache| cache.join("rq-models").join(model).join(file));
    let path = path.filter(|path| path.is_file());
    if path.is_none() {
        let message = format!("no {model} in the cache: bash .ci/models gets it");
        assert!(variable("RQ_REQUIRE_MODELS").is_none(), "{message}");
        // Not captured, unlike what is printed.
        let _ = writeln!(std::io::stderr(), "SKIP: NOT TESTED HERE: {message}");
    }
    path
}

/// The cases of a file of goldens: `{"cases": [...]}`.
pub(crate) fn cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct Goldens<T> {
        cases: Vec<T>,
    }
    let json = std::fs::read(tests_path("goldens").join(file)).unwrap();
    serde_json::from_slice::<Goldens<T>>(&json).unwrap().cases
}

/// Cases by the model that they are of, in their order.
pub(crate) fn by_model<T>(
    cases: impl IntoIterator<Item = T>,
    model: impl Fn(&T) -> &str,
) -> Vec<(String, Vec<T>)> {
    let mut by_model: Vec<(String, Vec<T>)> = Vec::new();
    for case in cases {
        match by_model.iter_mut().find(|(name, _)| name == model(&case)) {
            Some((_, cases)) => cases.push(case),
            None => by_model.push((model(&case).to_owned(), vec![case])),
        }
    }
    by_model
}

/// The checkpoint in a folder below `tests/`, in q8.
pub(crate) fn q8(folder: &str) -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    convert_to(&tests_path(folder), Quant::Q8, &output);
    Arc::new(Model::from_bytes(std::fs::read(output).unwrap()).unwrap())
}

/// A session with the best instruction set, and all processors.
pub(crate) fn session(model: &Arc<Model>) -> Session {
    Session::new(Arc::clone(model), &SessionOptions::default()).unwrap()
}

/// A session with this instruction set, where the machine has it, and so many threads.
pub(crate) fn session_on(model: &Arc<Model>, isa: Isa, threads: usize) -> Result<Session, Error> {
    let options = options!(SessionOptions {
        isa: Some(isa),
        threads: Some(threads),
    });
    Session::new(Arc::clone(model), &options)
}

/// What transformers answers to a text: see `goldens/README.md`.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
    pub(crate) mask_positions: Vec<usize>,
    pub(crate) hidden: String,
    pub(crate) logits: String,
    pub(crate) top1: Vec<u32>,
    pub(crate) p1: Vec<f32>,
    pub(crate) p2: Vec<f32>,
}

#[derive(Deserialize)]
pub(crate) struct Cases {
    pub(crate) cases: Vec<Case>,
    pub(crate) filled: Option<String>,
}

/// The goldens of a model: its cases, and the bytes of their tensors.
pub(crate) fn goldens(model: &str) -> (Cases, Vec<u8>) {
    let read = |end: &str| std::fs::read(tests_path(&format!("goldens/{model}.{end}"))).unwrap();
    (
        serde_json::from_slice(&read("json")).unwrap(),
        read("safetensors"),
    )
}

/// A tensor of the goldens: its values and the length of its rows.
pub(crate) fn tensor(tensors: &SafeTensors<'_>, name: &str) -> (Vec<f32>, usize) {
    let view = tensors.tensor(name).unwrap();
    let values = view
        .data()
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    (values, *view.shape().last().unwrap())
}

/// The cosine of the angle between two vectors, by other code than [`rq::cosine`].
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
