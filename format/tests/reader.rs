//! Files come back as they were written, wherever their bytes are.

use crate::common::*;
use rq_format::{FormatError, ModelFile, TensorFormat};
use rq_kernels::lanes::as_floats;
use rq_kernels::packed::BlockFormat;

/// Checks everything that the tiny model says.
fn check(model: &ModelFile) {
    assert_eq!(model.config(), &config());
    assert_eq!(model.provenance(), &provenance());
    assert_eq!(model.tokenizer().unwrap(), TOKENIZER);
    let specs = specs(&config());
    assert_eq!(model.tensors().len(), specs.len());
    for (tensor, spec) in model.tensors().iter().zip(&specs) {
        assert_eq!(tensor.name, spec.name);
        let bytes = model.tensor_bytes(&spec.name).unwrap();
        assert_eq!(bytes, content(spec), "{}", spec.name);
        match spec.format.block() {
            Some(format) => {
                let packed = model.packed(&spec.name).unwrap();
                assert_eq!(packed.format(), format);
                assert_eq!((packed.rows(), packed.columns()), (spec.rows, spec.columns));
            }
            None => {
                let lanes = model.lanes(&spec.name, spec.rows, spec.columns).unwrap();
                assert_eq!(lanes.len(), spec.rows * spec.columns.div_ceil(16));
                let floats = as_floats(lanes).iter().flat_map(|x| x.to_le_bytes());
                assert!(floats.eq(bytes.iter().copied()));
            }
        }
    }
    let mut seen = Vec::new();
    let report = model
        .verify_with(|p| seen.push((p.tensor.name.clone(), p.done, p.total)))
        .unwrap();
    assert_eq!(report.tensors, specs.len());
    assert_eq!(report.bytes, model.file_len());
    assert_eq!(report.fingerprint, model.fingerprint());
    assert!(seen.iter().map(|s| &s.0).eq(specs.iter().map(|s| &s.name)));
    let (_, done, total) = seen.last().unwrap();
    assert_eq!(done, total);
}

#[test]
fn a_file_by_hand_and_one_by_the_writer_are_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    write(&path).unwrap();
    let written = std::fs::read(&path).unwrap();
    let differs = written.iter().zip(&good()).position(|(a, b)| a != b);
    assert_eq!((written.len(), differs), (good().len(), None));
    write(&path).unwrap();
    assert!(std::fs::read(&path).unwrap() == written);
}

#[test]
fn a_part_of_a_file_comes_back() {
    let (directory, model) = (tempfile::tempdir().unwrap(), good());
    let path = directory.path().join("package");
    // Aligned or not, with something behind it or not.
    for (before, behind) in [(0, 0), (64, 0), (4096, 3), (4, 64), (1, 1)] {
        let mut package = vec![0xaa; before];
        package.extend_from_slice(&model);
        package.resize(package.len() + behind, 0xaa);
        std::fs::write(&path, &package).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let (start, end) = (before as u64, (before + model.len()) as u64);
        check(&ModelFile::open_part(&file, start..end).unwrap());
        // A part that is too short or too long is no model; one that leaves the file is none of it.
        assert!(matches!(
            ModelFile::open_part(&file, start..end - 1),
            Err(FormatError::FileLength { .. })
        ));
        let length = package.len() as u64;
        for part in [start..length + 1, length + 1..length + 2, end..start] {
            assert!(matches!(
                ModelFile::open_part(&file, part),
                Err(FormatError::Part { .. })
            ));
        }
        assert!(matches!(
            ModelFile::open_part(&file, length..length),
            Err(FormatError::TooShort { found: 0 } | FormatError::Magic { .. })
        ));
    }
}

#[test]
fn a_mapped_file_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    write(&path).unwrap();
    let file = ModelFile::open(&path).unwrap();
    check(&file);
    file.prefetch();
    check(&file);
}

#[test]
fn bytes_come_back_at_every_alignment() {
    check(&ModelFile::from_bytes(good()).unwrap());
    for shift in 0..=64 {
        let bytes = [vec![0xa5; shift], good()].concat().leak();
        check(&ModelFile::from_bytes(&bytes[shift..]).unwrap());
    }
}

#[test]
fn aligned_static_bytes_are_used_in_place() {
    let bytes = [vec![0; 63], good()].concat().leak();
    let shift = (64 - bytes.as_ptr().addr() % 64) % 64;
    let good = good();
    bytes[shift..shift + good.len()].copy_from_slice(&good);
    let bytes = &bytes[shift..shift + good.len()];
    let model = ModelFile::from_bytes(bytes).unwrap();
    let tokenizer = model.tokenizer().unwrap().as_ptr();
    assert!(bytes.as_ptr_range().contains(&tokenizer));
    check(&model);
}

#[test]
fn a_model_may_be_shared_and_sent() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<ModelFile>();
}

#[test]
fn the_wrong_question_is_named() {
    let model = ModelFile::from_bytes(good()).unwrap();
    assert!(matches!(
        model.packed("pooler.weight"),
        Err(FormatError::NoSuchTensor { name }) if name == "pooler.weight"
    ));
    assert!(matches!(
        model.lanes("pooler.weight", 1, 1),
        Err(FormatError::NoSuchTensor { .. })
    ));
    assert!(matches!(
        model.packed("embeddings.position"),
        Err(FormatError::NotPacked { name }) if name == "embeddings.position"
    ));
    assert!(matches!(
        model.lanes("embeddings.word", 20, 32),
        Err(FormatError::NotFloats {
            found: TensorFormat::Q8,
            ..
        })
    ));
    let error = model.lanes("embeddings.position", 7, 32).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tensor `embeddings.position` is 6 x 32, not 7 x 32"
    );
    assert_eq!(
        model.tensor("embeddings.word").unwrap().format,
        BlockFormat::Q8.into()
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ModelFile::open("/nowhere/model.rq").unwrap_err();
    assert_eq!(error.to_string(), "can't open /nowhere/model.rq");
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        ModelFile::open(directory.path()),
        Err(FormatError::Io { .. })
    ));
    let empty = directory.path().join("empty.rq");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(
        ModelFile::open(&empty),
        Err(FormatError::TooShort { found: 0 })
    ));
}
