//! Calibrated conversions: always the same file, and a text that can't calibrate is refused or passed over.

use rq::{Batch, Model, Rows, Session, SessionOptions};
use rq_convert::{
    Calibrate, Calibration, CalibrationSummary, ConvertError, ConvertOptions, Expected, HubCache,
    NoProgress, Pretrained, Quant, Reference, Source, Summary, convert_source, mask_texts,
};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

fn data(name: &str) -> Source {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data")
        .join(name);
    Source::find(path.to_str().unwrap(), &HubCache::at("/nonexistent")).unwrap()
}

/// A few made-up antibodies: variations of one.
fn antibodies() -> String {
    let heavy = "QVQLVQSGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNFNEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYCARRDYRFDMGFDYWGQGTTVTVSS";
    let letters = "ACDEFGHIKLMNPQRSTVWY".as_bytes();
    let line = |n: usize| {
        let residue = |(at, c): (usize, char)| match (at * 7 + n * 13) % 11 {
            0 => char::from(letters[(at + n * n) % letters.len()]),
            _ => c,
        };
        heavy.chars().enumerate().map(residue).collect::<String>() + "\n"
    };
    (0..12).map(line).collect()
}

fn run(
    model: &str,
    calibration: Calibration,
    threads: usize,
) -> Result<(Vec<u8>, Summary), ConvertError> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    let options = ConvertOptions {
        quant: Quant::Q4,
        threads,
        calibration: Calibrate::On(calibration),
        head: None,
    };
    let summary = convert_source(&data(model), &output, &options, &NoProgress)?;
    Ok((fs::read(output).unwrap(), summary))
}

#[test]
fn the_same_file_whatever_the_threads() {
    let calibration = Calibration::new("antibodies", antibodies());
    let (one, summary) = run("sapiens-vh", calibration.clone(), 1).unwrap();
    let CalibrationSummary::Text { name, tokens } = summary.calibration else {
        panic!("{:?}", summary.calibration);
    };
    assert_eq!(name, "antibodies");
    assert!((1000..2000).contains(&tokens), "{tokens}");
    for threads in [2, 4] {
        assert!(run("sapiens-vh", calibration.clone(), threads).unwrap().0 == one);
    }
}

/// How far a file's hidden states are from the checkpoint's: 1 - cosine, the mean over tokens.
fn distance(source: &Source, bytes: Vec<u8>, text: &str) -> f64 {
    let model = Pretrained::open(source, "f32").unwrap();
    let reference = Reference::load(&model.checkpoint, &model.config).unwrap();
    let texts = mask_texts(text, &model, 600).unwrap();
    let mut session = Session::new(
        Model::from_bytes(bytes).unwrap(),
        &SessionOptions::default(),
    )
    .unwrap();
    let closeness = Expected::new(&reference, texts).compare(|text| {
        let batch = Batch::from_iter([&text.ids]);
        let hidden = session.hidden_states(&batch, Rows::All)?;
        let logits = session.logits(&batch, Rows::Only(&text.masks))?;
        Ok::<_, rq::Error>((hidden, logits))
    });
    1.0 - closeness.unwrap().hidden_cosine_mean
}

/// Calibration goes through what is before the layers, and what attention adds, as the model does.
#[test]
fn each_architecture_is_calibrated() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/calibration.txt"));
    let text: Vec<String> = text.unwrap().lines().map(str::to_owned).collect();
    let (seen, held_back) = text.split_at(text.len() / 2);
    let seen = Calibration::new("prose", seen.join("\n"));
    for name in ["distilbert-mlm", "electra-mlm", "mpnet-mlm"] {
        let name = format!("../goldens/architectures/{name}");
        let (calibrated, summary) = run(&name, seen.clone(), 2).unwrap();
        assert!(matches!(
            summary.calibration,
            CalibrationSummary::Text { .. }
        ));
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("model.rq");
        let options = ConvertOptions {
            quant: Quant::Q4,
            calibration: Calibrate::Never,
            ..ConvertOptions::default()
        };
        convert_source(&data(&name), &output, &options, &NoProgress).unwrap();
        let text = held_back.join("\n");
        let found = distance(&data(&name), calibrated, &text);
        let without = distance(&data(&name), fs::read(output).unwrap(), &text);
        println!("{name}: 1 - cosine {found:.1e} calibrated, {without:.1e} without");
        assert!(found < 0.8 * without, "{name}: {found} {without}");
    }
}

#[test]
fn a_text_in_another_language_is_passed_over() {
    let (bytes, summary) = run("sapiens-vh", Calibration::english(), 2).unwrap();
    assert!(matches!(
        summary.calibration,
        CalibrationSummary::Unknown { .. }
    ));
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    let options = ConvertOptions {
        quant: Quant::Q4,
        calibration: Calibrate::Never,
        ..ConvertOptions::default()
    };
    convert_source(&data("sapiens-vh"), &output, &options, &NoProgress).unwrap();
    assert!(bytes == fs::read(output).unwrap());
}

#[test]
fn texts_that_cant_calibrate_are_refused() {
    let error = run(
        "sapiens-vh",
        Calibration::new("three words", "EVQLVESGG"),
        1,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the calibration text three words has 11 tokens; it takes at least 512 to say something of a model's activations"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text.txt");
    let error = Calibration::read(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("can't read the calibration text {}", path.display())
    );
    fs::write(&path, b"EVQL\xff").unwrap();
    let error = Calibration::read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("byte 4 isn't UTF-8; a calibration text is plain text"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_is_equal_to_itself() {
    let model = Pretrained::open(&data("sapiens-vh"), "f32").unwrap();
    let reference = Reference::load(&model.checkpoint, &model.config).unwrap();
    let texts = mask_texts(&antibodies(), &model, 600).unwrap();
    let (masks, tokens) = texts
        .iter()
        .fold((0, 0), |(m, t), x| (m + x.masks.len(), t + x.ids.len()));
    assert!((500..=800).contains(&tokens), "{tokens}");
    assert!(
        (0.1..0.2).contains(&(masks as f64 / tokens as f64)),
        "{masks} of {tokens}"
    );
    let expected = Expected::new(&reference, texts);
    let c = expected
        .compare(|text| Ok::<_, Infallible>(reference.answer(text)))
        .unwrap();
    assert_eq!((c.masks, c.tokens), (masks, tokens));
    assert_eq!(
        [c.top1_agreement, c.top5_agreement, c.kl],
        [1.0, 1.0, 0.0].map(Some)
    );
    assert!(c.hidden_cosine_min > 1.0 - 1e-9);
    assert_eq!(c.perplexity, c.reference_perplexity);
    assert!(
        mask_texts("the quick brown fox", &model, 600)
            .unwrap()
            .is_empty()
    );
}
