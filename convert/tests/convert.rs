//! Whole conversions: what the file holds, that it is always the same, and that a failure harms nothing.

use crate::common;
use crate::common::{
    Dtype, HIDDEN, INTERMEDIATE, VOCAB, assert_error, model, model_with, source, tensors, write,
};
use rq_convert::{
    Calibrate, ConvertError, ConvertOptions, NoProgress, Pretrained, Progress, Quant, Summary,
    convert_source,
};
use rq_format::{ModelFile, TensorFormat};
use rq_kernels::lanes::as_floats;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

const WORD: &str = "roberta.embeddings.word_embeddings.weight";

fn run(
    directory: &Path,
    output: &Path,
    quant: Quant,
    threads: usize,
) -> Result<Summary, rq_convert::ConvertError> {
    convert_source(
        &source(directory),
        output,
        &ConvertOptions {
            quant,
            threads,
            calibration: Calibrate::Never,
            head: None,
        },
        &NoProgress,
    )
}

/// Rows of a tensor of the file, dequantized.
fn rows(file: &ModelFile, name: &str) -> Vec<Vec<f32>> {
    let matrix = file.packed(name).unwrap();
    let row = |row| {
        let mut out = vec![0.0; matrix.columns()];
        matrix.dequantize_row(row, &mut out);
        out
    };
    (0..matrix.rows()).map(row).collect()
}

/// Values of a tensor of floats that is one row.
fn floats(file: &ModelFile, name: &str, columns: usize) -> Vec<f32> {
    as_floats(file.lanes(name, 1, columns).unwrap())[..columns].to_vec()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let difference = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(difference <= tolerance, "{difference}");
}

#[test]
fn every_weight_is_in_its_place() {
    let tensors = tensors("roberta.");
    let directory = model(&tensors);
    let output = directory.path().join("model.rq");
    // Two steps of a block whose largest weight is 2: each weight has a part of the errors of its whole block.
    let tolerance = 2.0 / 127.0 * 2.0;
    run(directory.path(), &output, Quant::Q8, 2).unwrap();
    let file = ModelFile::open(&output).unwrap();
    file.verify().unwrap();
    let config = file.config();
    assert_eq!((config.head_size(), config.padded_head_size()), (6, 16));

    for (row, expected) in rows(&file, "embeddings.word")
        .iter()
        .zip(tensors[WORD].1.chunks(HIDDEN))
    {
        assert_close(row, expected, tolerance);
    }
    let layer = |part: &str| &tensors[&format!("roberta.encoder.layer.1.{part}")].1;
    let qkv = rows(&file, "layers.1.attention.qkv.weight");
    let bias = floats(&file, "layers.1.attention.qkv.bias", qkv.len());
    assert_eq!(qkv.len(), 3 * 2 * 16);
    for (r, row) in qkv.iter().enumerate() {
        let (part, head, at) = (["query", "key", "value"][r / 32], r / 16 % 2, r % 16);
        if at >= 6 {
            assert_eq!((row.as_slice(), bias[r]), (&[0.0; HIDDEN][..], 0.0));
            continue;
        }
        let from = head * 6 + at;
        let expected = layer(&format!("attention.self.{part}.weight"));
        assert_close(
            row,
            &expected[from * HIDDEN..(from + 1) * HIDDEN],
            tolerance,
        );
        assert_eq!(bias[r], layer(&format!("attention.self.{part}.bias"))[from]);
    }
    let output_rows = rows(&file, "layers.1.attention.output.weight");
    for (row, expected) in output_rows
        .iter()
        .zip(layer("attention.output.dense.weight").chunks(HIDDEN))
    {
        for head in 0..2 {
            assert_close(
                &row[head * 16..head * 16 + 6],
                &expected[head * 6..head * 6 + 6],
                tolerance,
            );
            // Zeros, but for their part of the block's errors.
            assert_close(&row[head * 16 + 6..][..10], &[0.0; 10], tolerance);
        }
    }
    let down = rows(&file, "layers.1.ffn.down.weight");
    for (row, expected) in down
        .iter()
        .zip(layer("output.dense.weight").chunks(INTERMEDIATE))
    {
        assert_close(row, expected, tolerance);
    }
    for (name, from, columns) in [
        (
            "layers.1.ffn.up.bias",
            "roberta.encoder.layer.1.intermediate.dense.bias",
            INTERMEDIATE,
        ),
        (
            "layers.1.ffn.norm.weight",
            "roberta.encoder.layer.1.output.LayerNorm.weight",
            HIDDEN,
        ),
        (
            "layers.1.attention.norm.bias",
            "roberta.encoder.layer.1.attention.output.LayerNorm.bias",
            HIDDEN,
        ),
        (
            "embeddings.norm.bias",
            "roberta.embeddings.LayerNorm.bias",
            HIDDEN,
        ),
        (
            "embeddings.token_type",
            "roberta.embeddings.token_type_embeddings.weight",
            HIDDEN,
        ),
        ("lm_head.norm.weight", "lm_head.layer_norm.weight", HIDDEN),
        ("lm_head.dense.bias", "lm_head.dense.bias", HIDDEN),
        ("lm_head.decoder.bias", "lm_head.bias", VOCAB),
    ] {
        assert_eq!(floats(&file, name, columns), tensors[from].1, "{name}");
    }
}

#[test]
fn q4_keeps_the_embeddings_and_the_head_in_q8() {
    let mut tensors = tensors("");
    let decoder = tensors["embeddings.word_embeddings.weight"]
        .1
        .iter()
        .map(|x| -x)
        .collect();
    tensors.insert(
        "lm_head.decoder.weight".into(),
        (vec![VOCAB, HIDDEN], decoder),
    );
    let directory = model(&tensors);
    let output = directory.path().join("model.rq");
    let summary = run(directory.path(), &output, Quant::Q4, 1).unwrap();
    let file = ModelFile::open(&output).unwrap();
    file.verify().unwrap();
    assert!(!file.config().tie_word_embeddings);
    assert_eq!(file.config().quantization, "q4");
    for tensor in file.tensors() {
        let expected = match tensor.name.as_str() {
            "embeddings.word" | "lm_head.dense.weight" | "lm_head.decoder.weight" => {
                TensorFormat::Q8
            }
            name if name.starts_with("layers.")
                && name.ends_with(".weight")
                && !name.contains("norm") =>
            {
                TensorFormat::Q4
            }
            _ => TensorFormat::F32,
        };
        assert_eq!(tensor.format, expected, "{}", tensor.name);
    }
    let kinds: Vec<_> = summary
        .kinds
        .iter()
        .map(|k| (k.kind, k.format, k.tensors))
        .collect();
    assert_eq!(
        kinds,
        [
            ("embeddings", TensorFormat::Q8, 1),
            ("norms, biases, positions", TensorFormat::F32, 24),
            ("attention", TensorFormat::Q4, 4),
            ("feed-forward", TensorFormat::Q4, 4),
            ("head", TensorFormat::Q8, 2),
        ]
    );
    for kind in &summary.kinds {
        let limit = match kind.format {
            TensorFormat::F32 => 0.0,
            TensorFormat::Q8 => 0.01,
            TensorFormat::Q4 => 0.12,
        };
        assert!(kind.relative_error <= limit, "{kind:?}");
        assert_eq!(
            kind.relative_error > 0.0,
            kind.format != TensorFormat::F32,
            "{kind:?}"
        );
    }
    assert_eq!(summary.bytes, fs::metadata(&output).unwrap().len());
    assert_eq!(summary.fingerprint, file.fingerprint());
}

#[test]
fn the_same_model_makes_the_same_file() {
    let tensors = tensors("roberta.");
    let directories = [
        model(&tensors),
        model_with(&tensors, Dtype::F32, &common::config()),
    ];
    for quant in Quant::ALL {
        let mut first: Option<Vec<u8>> = None;
        for (directory, threads) in [(0, 1), (0, 2), (1, 3), (0, 0)] {
            let output = tempfile::tempdir().unwrap();
            let output = output.path().join("model.rq");
            // The name is part of the provenance: give both directories the same one.
            let parent = tempfile::tempdir().unwrap();
            let named = parent.path().join("model");
            fs::create_dir(&named).unwrap();
            for entry in fs::read_dir(directories[directory].path()).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), named.join(entry.file_name())).unwrap();
            }
            run(&named, &output, quant, threads).unwrap();
            let bytes = fs::read(&output).unwrap();
            assert!(
                *first.get_or_insert_with(|| bytes.clone()) == bytes,
                "{quant:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn the_file_says_where_it_came_from() {
    let directory = model(&tensors("roberta."));
    let output = directory.path().join("model.rq");
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--some--model/snapshots/0123abc");
    fs::create_dir_all(&snapshot).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(directory.path().join(file), snapshot.join(file)).unwrap();
    }
    run(&snapshot, &output, Quant::Q8, 1).unwrap();
    let file = ModelFile::open(&output).unwrap();
    let provenance = file.provenance().clone();
    assert_eq!(provenance.source, "some/model");
    assert_eq!(provenance.revision.as_deref(), Some("0123abc"));
    assert_eq!(provenance.converter, rq_convert::CONVERTER);
    let weights = &provenance.weights[0];
    assert_eq!(weights.file, "model.safetensors");
    assert_eq!(
        weights.bytes,
        fs::metadata(snapshot.join("model.safetensors"))
            .unwrap()
            .len()
    );
    assert_eq!(weights.sha256.len(), 64);
    assert_eq!(
        file.tokenizer().unwrap(),
        fs::read(snapshot.join("tokenizer.json")).unwrap()
    );
}

#[test]
fn progress_adds_up() {
    #[derive(Default)]
    struct Heard(Mutex<(u64, u64, Vec<String>)>);
    impl Progress for Heard {
        fn start(&self, total_work: u64) {
            self.0.lock().unwrap().0 = total_work;
        }
        fn advance(&self, part: &str, work: u64) {
            let mut heard = self.0.lock().unwrap();
            heard.1 += work;
            heard.2.push(part.into());
        }
    }
    let directory = model(&tensors("roberta."));
    let heard = Heard::default();
    let output = directory.path().join("model.rq");
    let options = ConvertOptions {
        quant: Quant::Q8,
        threads: 2,
        calibration: Calibrate::Never,
        head: None,
    };
    convert_source(&source(directory.path()), &output, &options, &heard).unwrap();
    let (total, sum, names) = heard.0.into_inner().unwrap();
    assert!(total > 0 && total == sum, "{total} {sum}");
    let config = Pretrained::open(&source(directory.path()), "q8")
        .unwrap()
        .config;
    let tensors = config.expected_tensors().into_iter().map(|t| t.name);
    let file = ["model.safetensors".to_owned()].into_iter();
    assert_eq!(names, file.chain(tensors).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_conversion_leaves_nothing() {
    /// Has enough after so many parts.
    struct Impatient(Mutex<usize>);
    impl Progress for Impatient {
        fn start(&self, _: u64) {}
        fn advance(&self, _: &str, _: u64) {
            let mut left = self.0.lock().unwrap();
            *left = left.saturating_sub(1);
        }
        fn is_cancelled(&self) -> bool {
            *self.0.lock().unwrap() == 0
        }
    }
    let directory = model(&tensors("roberta."));
    let before = fs::read_dir(directory.path()).unwrap().count();
    let output = directory.path().join("model.rq");
    for parts in [0, 1, 7] {
        let impatient = Impatient(Mutex::new(parts));
        let options = ConvertOptions::default();
        let error = convert_source(&source(directory.path()), &output, &options, &impatient);
        assert!(matches!(error, Err(ConvertError::Cancelled)), "{error:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before);
    }
}

/// What is at the output when a conversion fails is what was there before, and nothing else is left.
#[track_caller]
fn harmless(directory: &Path, expected: &str) {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("model.rq");
    write(place.path(), "model.rq", "precious");
    assert_error(run(directory, &output, Quant::Q8, 2), directory, expected);
    assert_eq!(fs::read(&output).unwrap(), b"precious");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_failure_harms_nothing() {
    let mut broken = tensors("roberta.");
    if let Some((_, values)) = broken.get_mut("lm_head.layer_norm.bias") {
        values[7] = f32::NAN;
    }
    harmless(
        model(&broken).path(),
        "DIR/model.safetensors: the tensor `lm_head.layer_norm.bias` has NaN at row 0, column 7; such a model can't be \
         converted",
    );
    let mut broken = tensors("roberta.");
    if let Some((_, values)) = broken.get_mut("roberta.encoder.layer.1.attention.self.key.weight") {
        values[2 * HIDDEN + 5] = f32::INFINITY;
    }
    harmless(
        model(&broken).path(),
        "DIR/model.safetensors: the tensor `roberta.encoder.layer.1.attention.self.key.weight` has inf at row 2, column \
         5; such a model can't be converted",
    );
    let mut broken = tensors("roberta.");
    if let Some((_, values)) = broken.get_mut("lm_head.dense.weight") {
        values[HIDDEN + 4] = -1e9;
    }
    harmless(
        model(&broken).path(),
        "the tensor `lm_head.dense.weight` has -1000000000 at row 1, column 4, which is too large for q8",
    );
    let whole = tensors("roberta.");
    let directory = model(&whole);
    let bytes = common::safetensors(&whole, Dtype::F32);
    write(
        directory.path(),
        "model.safetensors",
        &bytes[..bytes.len() - 10],
    );
    harmless(
        directory.path(),
        &format!(
            "DIR/model.safetensors has {} bytes, and its header says otherwise: it is incomplete or damaged; download it \
             again",
            bytes.len() - 10
        ),
    );
}

#[test]
fn the_output_can_not_be_the_source() {
    let directory = model(&tensors("roberta."));
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let output = directory.path().join(file);
        let before = fs::read(&output).unwrap();
        assert_error(
            run(directory.path(), &output, Quant::Q8, 1),
            directory.path(),
            &format!(
                "DIR/{file} is part of the model that is to be converted; choose another output"
            ),
        );
        assert_eq!(fs::read(&output).unwrap(), before);
    }
}

#[test]
fn an_output_without_a_directory_is_refused() {
    let directory = model(&tensors("roberta."));
    let output = directory.path().join("nowhere/model.rq");
    let error = common::chain(&run(directory.path(), &output, Quant::Q8, 1).unwrap_err());
    let expected = format!(
        "can't create a file in {}/nowhere: ",
        directory.path().display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_real_model_loses_little() {
    // A whole model in q8 and q4: sizes, and the error of each kind. How its answers change is the runtime's test.
    for (quant, limits) in [(Quant::Q8, (0.008, 0.008)), (Quant::Q4, (0.008, 0.085))] {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("sapiens.rq");
        let summary = run(&common::data("sapiens-vh"), &output, quant, 2).unwrap();
        ModelFile::open(&output).unwrap().verify().unwrap();
        for kind in &summary.kinds {
            println!(
                "{quant:?}: {} in {}: relative error {:.4}",
                kind.kind, kind.format, kind.relative_error
            );
            let limit = if kind.format == TensorFormat::Q4 {
                limits.1
            } else {
                limits.0
            };
            assert!(kind.relative_error <= limit, "{kind:?}");
        }
        assert_eq!(summary.ignored, [""; 0]);
        println!(
            "{quant:?}: {:.2} bits a weight, {} bytes",
            summary.bits_per_weight(),
            summary.bytes
        );
    }
}
