//! The writer: what it refuses, and what it leaves behind.

use crate::common::*;
use rq_format::{
    Config, ConfigFields, FormatError, ModelFile, Provenance, ProvenanceError, Section,
    TensorFormat, TensorSpec, Writer,
};
use std::fs;
use std::path::Path;

fn start(path: &Path, specs: &[TensorSpec]) -> Result<Writer, FormatError> {
    Writer::create(path, &config(), &provenance(), TOKENIZER, specs)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_order_of_writing_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let specs = specs(&config());
    let mut writer = start(&path, &specs).unwrap();
    for spec in specs.iter().rev() {
        writer.write_tensor(&spec.name, &content(spec)).unwrap();
    }
    let written = writer.finish().unwrap();
    assert!(fs::read(&path).unwrap() == good());
    let model = ModelFile::open(&path).unwrap();
    assert_eq!(written.bytes, model.file_len());
    assert_eq!(written.fingerprint, model.fingerprint());
    assert_eq!(names(directory.path()), ["model.rq"]);
}

#[test]
fn half_a_file_leaves_nothing_and_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    fs::write(&path, "precious").unwrap();
    let specs = specs(&config());
    let mut writer = start(&path, &specs).unwrap();
    writer
        .write_tensor(&specs[0].name, &content(&specs[0]))
        .unwrap();
    assert_eq!(names(directory.path()).len(), 2);
    assert_eq!(writer.remaining().count(), specs.len() - 1);
    drop(writer);
    assert_eq!(names(directory.path()), ["model.rq"]);

    let mut writer = start(&path, &specs).unwrap();
    for spec in &specs[..specs.len() - 2] {
        writer.write_tensor(&spec.name, &content(spec)).unwrap();
    }
    let error = writer.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 tensors were never written, the first is `lm_head.norm.bias`"
    );
    assert!(matches!(error, FormatError::NotWritten { count: 2, .. }));
    assert_eq!(names(directory.path()), ["model.rq"]);
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    write(&path).unwrap();
    ModelFile::open(&path).unwrap();
}

#[test]
fn a_model_that_is_open_survives_its_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    write(&path).unwrap();
    let model = ModelFile::open(&path).unwrap();
    replace(&path);
    model.verify().unwrap();
    drop(model);
    write(&path).unwrap();
    assert_eq!(names(directory.path()), ["model.rq"]);
}

#[cfg(not(windows))]
fn replace(path: &Path) {
    write(path).unwrap();
    fs::remove_file(path).unwrap();
}

/// It can't be replaced there, which is said, and leaves nothing behind.
#[cfg(windows)]
fn replace(path: &Path) {
    let error = write(path).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("a model is while it is open"),
        "{error}: {cause}"
    );
    assert_eq!(names(path.parent().unwrap()), ["model.rq"]);
}

#[test]
fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = write(&missing.join("model.rq")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("can't create a file in {}", missing.display())
    );
    let error = write(directory.path()).unwrap_err();
    assert!(matches!(&error, FormatError::Io { path, .. } if path == directory.path()));
    assert_eq!(names(directory.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn the_file_has_the_permissions_of_a_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (plain, path) = (
        directory.path().join("plain"),
        directory.path().join("model.rq"),
    );
    fs::write(&plain, "").unwrap();
    write(&path).unwrap();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn tensors_are_checked_as_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let specs = specs(&config());
    let mut writer = start(&directory.path().join("model.rq"), &specs).unwrap();
    let (word, position) = (&specs[0], &specs[1]);
    let mut bytes = content(word);

    assert!(matches!(
        writer.write_tensor("pooler.bias", &bytes),
        Err(FormatError::NoSuchTensor { name }) if name == "pooler.bias"
    ));
    assert!(matches!(
        writer.write_tensor(&word.name, &bytes[1..]),
        Err(FormatError::TensorLength {
            expected: 4160,
            found: 4159,
            ..
        })
    ));
    bytes[100] = 0;
    assert!(matches!(
        writer.write_tensor(&word.name, &bytes),
        Err(FormatError::Value { offset: 100, .. })
    ));
    bytes[100] = 1;
    writer.write_tensor(&word.name, &bytes).unwrap();
    assert!(matches!(
        writer.write_tensor(&word.name, &bytes),
        Err(FormatError::WrittenTwice { name }) if name == word.name
    ));

    assert!(matches!(
        writer.write_floats(&word.name, &[0.0; 640]),
        Err(FormatError::NotFloats {
            found: TensorFormat::Q8,
            ..
        })
    ));
    assert!(matches!(
        writer.write_floats("pooler.bias", &[0.0; 640]),
        Err(FormatError::NoSuchTensor { .. })
    ));
    assert!(matches!(
        writer.write_floats(&position.name, &[0.0; 191]),
        Err(FormatError::TensorLength {
            expected: 768,
            found: 764,
            ..
        })
    ));
    assert!(matches!(
        writer.write_floats(&position.name, &[f32::NEG_INFINITY; 192]),
        Err(FormatError::Value { offset: 0, .. })
    ));
    writer.write_floats(&position.name, &[-1.5; 192]).unwrap();
}

#[test]
fn floats_are_filled_up_with_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let specs = specs(&config());
    let mut writer = start(&path, &specs).unwrap();
    let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
    for spec in &specs {
        match spec.name.as_str() {
            "lm_head.decoder.bias" => writer.write_floats(&spec.name, &values).unwrap(),
            _ => writer.write_tensor(&spec.name, &content(spec)).unwrap(),
        }
    }
    writer.finish().unwrap();
    let model = ModelFile::open(&path).unwrap();
    let lanes = model.lanes("lm_head.decoder.bias", 1, 20).unwrap();
    assert_eq!(lanes[0].0[..], values[..16]);
    assert_eq!(lanes[1].0[..4], values[16..]);
    assert_eq!(lanes[1].0[4..], [0.0; 12]);
    model.verify().unwrap();
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let good = specs(&config());
    let refused = |change: &dyn Fn(&mut Vec<TensorSpec>)| {
        let mut specs = good.clone();
        change(&mut specs);
        start(&path, &specs).unwrap_err()
    };
    assert!(matches!(
        refused(&|s| drop(s.remove(7))),
        FormatError::MissingTensor { .. }
    ));
    assert!(matches!(
        refused(&|s| s.push(TensorSpec {
            name: "pooler.bias".into(),
            ..s[4].clone()
        })),
        FormatError::UnexpectedTensor { .. }
    ));
    assert!(matches!(
        refused(&|s| s.push(s[4].clone())),
        FormatError::DuplicateTensor { .. }
    ));
    assert!(matches!(
        refused(&|s| s[0].rows = 0),
        FormatError::Shape { found: (0, 32), .. }
    ));
    assert!(matches!(
        refused(&|s| s[0].rows = usize::MAX),
        FormatError::TooLarge { .. }
    ));
    assert!(matches!(
        refused(&|s| s[0].format = TensorFormat::F32),
        FormatError::FormatNotAllowed { .. }
    ));
    assert!(matches!(
        refused(&Vec::clear),
        FormatError::EmptySection {
            section: Section::TensorDirectory
        }
    ));

    let (config, mut origin) = (config(), provenance());
    assert!(matches!(
        Writer::create(&path, &config, &origin, b"", &good),
        Err(FormatError::EmptySection {
            section: Section::Tokenizer
        })
    ));
    origin.weights[0].sha256 = "ABCD".repeat(16);
    assert!(matches!(
        Writer::create(&path, &config, &origin, TOKENIZER, &good),
        Err(FormatError::Provenance(ProvenanceError::Sha256 { .. }))
    ));
    assert!(matches!(
        Writer::create(&path, &config, &Provenance::default(), TOKENIZER, &good),
        Err(FormatError::Provenance(ProvenanceError::NoSource))
    ));
    origin = provenance();
    origin.converter.clear();
    assert!(matches!(
        Writer::create(&path, &config, &origin, TOKENIZER, &good),
        Err(FormatError::Provenance(ProvenanceError::NoConverter))
    ));
    origin = provenance();
    origin
        .quantization
        .insert("notes".into(), "x".repeat(1 << 20));
    assert!(matches!(
        Writer::create(&path, &config, &origin, TOKENIZER, &good),
        Err(FormatError::SectionTooLong {
            section: Section::Provenance,
            ..
        })
    ));
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn odd_shapes_come_back() {
    // Heads of 3, a width of 21, an intermediate of 7, an untied decoder: nothing is a multiple of anything.
    let config = Config::new(ConfigFields {
        vocab_size: 37,
        hidden_size: 21,
        num_attention_heads: 7,
        intermediate_size: 7,
        num_hidden_layers: 2,
        tie_word_embeddings: false,
        ..fields()
    })
    .unwrap();
    let specs = specs(&config);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let mut writer = Writer::create(&path, &config, &provenance(), TOKENIZER, &specs).unwrap();
    for spec in &specs {
        writer.write_tensor(&spec.name, &content(spec)).unwrap();
    }
    writer.finish().unwrap();
    let model = ModelFile::open(&path).unwrap();
    model.verify().unwrap();
    let qkv = model.packed("layers.1.attention.qkv.weight").unwrap();
    assert_eq!((qkv.rows(), qkv.columns()), (3 * 7 * 16, 21));
    let decoder = model.packed("lm_head.decoder.weight").unwrap();
    assert_eq!((decoder.rows(), decoder.columns()), (37, 21));
}
