//! What the tests of the tasks' semantics have in common: a checkpoint of `tests/`, with its weights in f32.

use crate::model::Model;
use crate::session::{Session, SessionOptions};
use rq_convert::{
    Calibrate, ConvertOptions, HubCache, NoProgress, Pretrained, Quant, Reference, Source,
    convert_source,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The cases of a file of `tests/goldens/tasks`.
pub(crate) fn cases<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    #[derive(serde::Deserialize)]
    struct Goldens<T> {
        cases: Vec<T>,
    }
    let path = tests().join("goldens/tasks").join(file);
    let goldens: Goldens<T> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    goldens.cases
}

/// A session with the model of a folder of `tests/`, for its tokenizer and its labels, and the reference.
pub(crate) fn open(folder: &str) -> (Session, Reference) {
    open_in(&tests().join(folder))
}

/// The same, with these files of JSON beside the checkpoint's.
pub(crate) fn open_with(folder: &str, files: &BTreeMap<String, Value>) -> (Session, Reference) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(tests().join(folder)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    for (file, content) in files {
        let path = copy.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.to_string()).unwrap();
    }
    open_in(copy.path())
}

fn open_in(folder: &Path) -> (Session, Reference) {
    let source = Source::find(folder.to_str().unwrap(), &HubCache::at("/nonexistent")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.rq");
    let options = ConvertOptions {
        quant: Quant::Q8,
        threads: 1,
        calibration: Calibrate::Never,
        head: None,
    };
    convert_source(&source, &file, &options, &NoProgress).unwrap();
    let model = Model::from_bytes(std::fs::read(file).unwrap()).unwrap();
    let pretrained = Pretrained::open(&source, "f32").unwrap();
    let reference = Reference::load(&pretrained.checkpoint, &pretrained.config).unwrap();
    let options = SessionOptions {
        threads: Some(1),
        isa: None,
    };
    (Session::new(model, &options).unwrap(), reference)
}

fn tests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}
