//! Labels of words that are divided already, against transformers: `goldens/words.json`, with quantized models.

use crate::common::{self, q8, session, tests_path};
use rq::{Error, Model, Task, WordTag, WordTagger};
use rq_convert::Quant;
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::sync::Arc;

/// What 8 bits may cost: the difference of a probability, of random models of 32 dimensions.
const TOLERANCE: f32 = 0.03;

#[derive(Deserialize)]
struct Golden {
    model: String,
    words: Vec<String>,
    ids: Option<Vec<u32>>,
    labels: Vec<Option<(String, f32, f32)>>,
}

/// A model whose tokenizer puts a space before a text, as one does that was trained on words.
fn with_prefix_space(folder: &str) -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    fs::create_dir(&checkpoint).unwrap();
    for entry in fs::read_dir(tests_path(folder)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), checkpoint.join(entry.file_name())).unwrap();
    }
    let settings = checkpoint.join("tokenizer_config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&settings).unwrap()).unwrap();
    value["add_prefix_space"] = true.into();
    fs::write(settings, value.to_string()).unwrap();
    let output = directory.path().join("model.rq");
    common::convert_to(&checkpoint, Quant::Q8, &output);
    Arc::new(Model::from_bytes(fs::read(output).unwrap()).unwrap())
}

fn model(name: &str) -> Arc<Model> {
    match name {
        "data/tasks/tags" => with_prefix_space(name),
        _ => q8(name),
    }
}

#[test]
fn a_word_has_the_label_of_its_first_token() {
    let cases: Vec<Golden> = common::cases("words.json");
    let by_model = common::by_model(cases, |case| &case.model);
    assert_eq!(by_model.len(), 4);
    for (name, cases) in by_model {
        let model = model(&name);
        let mut tagger = WordTagger::new(session(&model)).unwrap();
        for case in &cases {
            let tokenizer = model.tokenizer();
            let windows = tokenizer.windows_of_words(&case.words, 128, 10).unwrap();
            if let Some(ids) = &case.ids {
                assert_eq!((windows.len(), &windows[0].ids), (1, ids), "{name}");
            }
        }
        let all = cases.iter().map(|case| &case.words[..]);
        let answers = tagger.run(all, &()).unwrap();
        for (case, answer) in cases.iter().zip(answers) {
            assert_eq!(answer.len(), case.words.len());
            for ((found, expected), word) in answer.iter().zip(&case.labels).zip(&case.words) {
                let what = format!("{name}, {word:?}: {found:?}, not {expected:?}");
                match (found, expected) {
                    (None, None) => {}
                    (Some(WordTag { label, score, .. }), Some((expected, probability, margin))) => {
                        // Quantization may turn those around that are nearly equal.
                        assert!(
                            (label == expected || *margin < TOLERANCE)
                                && (score - probability).abs() < TOLERANCE,
                            "{what}"
                        );
                    }
                    _ => panic!("{what}"),
                }
            }
        }
    }
}

/// A text of several windows has a label for each word, near its edges those of a window in which the word stands inside.
#[test]
fn long_texts_are_read_in_windows() {
    let model = model("data/tasks/tags");
    let mut tagger = WordTagger::new(session(&model)).unwrap();
    let some = ["Anna", "Smith", "lives", "in", "York", ".", ""].map(str::to_owned);
    let words: Vec<String> = some.iter().cycle().take(7 * 40).cloned().collect();
    let tags = tagger.run_one(&words[..], &()).unwrap();
    assert_eq!(tags.len(), words.len());
    let windows = model.tokenizer().windows_of_words(&words, 128, 31).unwrap();
    assert!(windows.len() > 2);
    for (word, tag) in words.iter().zip(&tags) {
        assert_eq!(tag.is_none(), word.is_empty(), "{word}");
    }
    let first = tags.iter().step_by(7).flatten();
    let named = first.filter(|tag| tag.label == "B-PER").count();
    assert!(named > 30, "{named} of 40");
    assert!(tagger.run_one([""; 0], &()).unwrap().is_empty());
}

#[test]
fn words_need_a_space_before_them() {
    let error = WordTagger::new(session(&q8("data/tasks/tags")));
    assert!(matches!(error, Err(Error::NoPrefixSpace)));
    let error = WordTagger::new(session(&q8("data/sapiens-vh")));
    assert!(matches!(error, Err(Error::WrongHead { .. })));
}
