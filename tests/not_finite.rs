//! No answer without a number: weights that are NaN or infinite, or that overflow, give an error that says where, and never a
//! distribution, an order or a vector that looks like an answer. It is the same error on every instruction set.

use crate::common::{convert_to, session, session_on, tests_path};
use rq::{
    Answerer, Batch, Classifier, Embedder, Error, ErrorKind, FillMask, FillOptions, Isa, Model,
    Question, Rows, Scorer, Session, SparseEmbedder, Stage, Tagger, Task,
};
use rq_convert::Quant;
use rq_format::TensorFormat;
use std::sync::Arc;

/// A file's tensors to change, and what to write there in place of each f32, or of each f16 scale.
#[derive(Clone, Copy)]
struct Change {
    tensors: &'static str,
    floats: fn(usize) -> f32,
    scales: Option<u16>,
    /// Whether no text has a number then.
    never: bool,
}

const fn floats(tensors: &'static str, floats: fn(usize) -> f32, never: bool) -> Change {
    Change {
        tensors,
        floats,
        scales: None,
        never,
    }
}

const fn scales(tensors: &'static str, bits: u16, never: bool) -> Change {
    Change {
        tensors,
        floats: |_| 0.0,
        scales: Some(bits),
        never,
    }
}

const F16_MAX: u16 = 0x7bff;
const F16_INFINITY: u16 = 0x7c00;
const F16_NAN: u16 = 0x7e00;

/// What `rq verify` finds, and what it doesn't.
const CHANGES: [Change; 16] = [
    floats("norm.weight", |_| f32::NAN, true),
    floats("norm.bias", |_| f32::INFINITY, true),
    floats("embeddings.position", |_| f32::NAN, true),
    floats("layers.0.attention.qkv.bias", |_| f32::NAN, true),
    floats("layers.0.ffn.up.bias", |_| f32::NEG_INFINITY, true),
    scales("layers.0.attention.qkv.weight", F16_NAN, true),
    scales("layers.0.ffn.down.weight", F16_INFINITY, true),
    scales("", F16_NAN, true),
    // All finite.
    floats("norm.weight", |_| 3e38, true),
    floats("embeddings.position", |i| [3e38, -3e38][i % 2], true),
    floats("layers.0.attention.qkv.bias", |_| 3e38, true),
    floats("norm.bias", |i| [3e38, -3e38][i % 2], false),
    floats(".bias", |_| f32::MAX, false),
    floats("out.bias", |i| [f32::MAX, f32::MIN][i % 2], false),
    scales("", F16_MAX, false),
    floats("", |_| 1e-45, false),
];

/// The bytes of the model in a folder below `tests/`, in q8.
fn converted(folder: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    convert_to(&tests_path(folder), Quant::Q8, &output);
    std::fs::read(output).unwrap()
}

/// The file with that change, which nobody verifies.
fn changed(sound: &[u8], change: Change) -> Arc<Model> {
    let mut bytes = sound.to_vec();
    let model = Model::from_bytes(sound.to_vec()).unwrap();
    let mut found = false;
    for tensor in model.file().tensors() {
        if !tensor.name.contains(change.tensors) {
            continue;
        }
        let start = tensor.offset as usize;
        let content = &mut bytes[start..start + tensor.length as usize];
        let (rows, columns) = (tensor.rows, tensor.columns);
        match (tensor.format, change.scales) {
            (TensorFormat::F32, None) => {
                let width = columns.next_multiple_of(16);
                for (i, value) in content.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    if i % width < columns {
                        *value = (change.floats)(i % width).to_le_bytes();
                    }
                }
                found = true;
            }
            (TensorFormat::F32, Some(_)) | (_, None) => {}
            (_, Some(bits)) => {
                let count = rows.div_ceil(16) * columns.div_ceil(128) * 16;
                let scales = content.len() - 2 * count;
                let blocks = columns.div_ceil(128);
                for (i, scale) in content[scales..]
                    .as_chunks_mut::<2>()
                    .0
                    .iter_mut()
                    .enumerate()
                {
                    if i / (16 * blocks) * 16 + i % 16 < rows {
                        *scale = bits.to_le_bytes();
                    }
                }
                found = true;
            }
        }
    }
    assert!(found || change.tensors == "out.bias", "{}", change.tensors);
    Arc::new(Model::from_bytes(bytes).unwrap())
}

/// All numbers that a task answers with, or the error.
type Numbers = Result<Vec<f64>, Error>;
type Ask = fn(Session) -> Numbers;

fn as_numbers<'t, T: Task>(
    task: Result<T, Error>,
    input: impl Into<T::Input<'t>>,
    numbers: impl Fn(T::Answer) -> Vec<f64>,
) -> Numbers {
    task?.run_one(input, &T::Options::default()).map(numbers)
}

fn fill(session: Session) -> Numbers {
    as_numbers(FillMask::new(session), "EVQ<mask>VES", |masks| {
        masks[0].iter().map(|fill| f64::from(fill.score)).collect()
    })
}

fn score(session: Session) -> Numbers {
    as_numbers(Scorer::new(session), "EVQLVES", |score| vec![score.total])
}

fn sparse(session: Session) -> Numbers {
    as_numbers(SparseEmbedder::new(session), "EVQLVES", |embedding| {
        embedding.values.iter().map(|&x| f64::from(x)).collect()
    })
}

fn embed(session: Session) -> Numbers {
    as_numbers(Ok(Embedder::new(session)), "A text.", |embedding| {
        embedding.embedding.iter().map(|&x| f64::from(x)).collect()
    })
}

fn classify(session: Session) -> Numbers {
    as_numbers(Classifier::new(session), "A text.", |labels| {
        labels.iter().map(|label| f64::from(label.score)).collect()
    })
}

fn tag(session: Session) -> Numbers {
    as_numbers(Tagger::new(session), "Ada is here.", |entities| {
        entities
            .iter()
            .map(|entity| f64::from(entity.score))
            .collect()
    })
}

fn answer(session: Session) -> Numbers {
    let question = Question {
        question: "Who is here?".into(),
        context: "Ada is here.".into(),
    };
    as_numbers(Answerer::new(session), question, |answers| {
        answers
            .iter()
            .map(|answer| f64::from(answer.score))
            .collect()
    })
}

#[test]
fn weights_that_give_no_number_are_an_error_everywhere_the_same() {
    let tasks: [(&str, &[Ask]); 4] = [
        ("data/sapiens-vh", &[fill, score, sparse, embed]),
        ("data/tasks/emotions", &[classify]),
        ("data/tasks/tags", &[tag]),
        ("data/tasks/answers", &[answer]),
    ];
    for (folder, tasks) in tasks {
        let bytes = converted(folder);
        let sound = Arc::new(Model::from_bytes(bytes.clone()).unwrap());
        for task in tasks {
            assert!(task(session(&sound)).is_ok(), "{folder}");
            for (n, change) in CHANGES.into_iter().enumerate() {
                let model = changed(&bytes, change);
                let what = format!("{folder}, change {n} of {:?}", change.tensors);
                let scalar = task(session_on(&model, Isa::Scalar, 1).unwrap());
                match &scalar {
                    Ok(numbers) => {
                        assert!(!change.never, "{what}: {numbers:?}");
                        assert!(numbers.iter().all(|x| x.is_finite()), "{what}: {numbers:?}");
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}"),
                }
                let best = task(session(&model));
                assert_eq!(format!("{scalar:?}"), format!("{best:?}"), "{what}");
            }
        }
    }
}

#[test]
fn a_text_without_a_number_leaves_the_others_theirs() {
    let mut bytes = converted("data/sapiens-vh");
    let sound = Arc::new(Model::from_bytes(bytes.clone()).unwrap());
    let table = sound.file().tensor("embeddings.position").unwrap();
    let width = table.columns.next_multiple_of(16) * 4;
    // Of the seventh token.
    let at = table.offset as usize + (sound.config().position_offset + 6) * width;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let damaged = Arc::new(Model::from_bytes(bytes).unwrap());

    let texts = ["E<mask>Q", "EVQLVES<mask>G", "<mask>"];
    let options = FillOptions::default();
    let mut task = FillMask::new(session(&damaged)).unwrap();
    let prepared = texts.map(|text| task.prepare(text, &options).unwrap());
    let answers = task.compute_each(&prepared, &options).unwrap();
    let expected = FillMask::new(session(&sound))
        .unwrap()
        .run(["E<mask>Q", "<mask>"], &options)
        .unwrap();
    assert_eq!(answers[0].as_ref().unwrap(), &expected[0]);
    assert_eq!(answers[2].as_ref().unwrap(), &expected[1]);
    assert!(matches!(
        answers[1],
        Err(Error::NotFinite {
            stage: Stage::Embeddings,
            sequence: 0,
            token: 6
        })
    ));

    let error = task.run(texts, &options).unwrap_err();
    assert!(matches!(
        error,
        Error::InBatch {
            number: 2,
            count: 3,
            ..
        }
    ));
    // Of a batch, a session names the sequence.
    let ids = texts.map(|text| sound.tokenizer().encode(text, false).unwrap().ids);
    let batch = Batch::from_iter(&ids);
    let rows = Rows::Only(batch.first_rows());
    let error = session(&damaged).hidden_states(&batch, rows).unwrap_err();
    assert!(matches!(
        error,
        Error::NotFinite {
            sequence: 1,
            token: 6,
            ..
        }
    ));
}
