//! The conformance corpus of the format: rq says of every file what the reader in Python says, which was written from FORMAT.md
//! alone. `format/conformance/README.md` describes the corpus.

use crate::ROOT;
use rq::{Batch, Model, Rows, Session, SessionOptions, Tokenizer};
use rq_format::{FormatError, ModelFile};
use rq_tokenizer::Pipeline;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    files: BTreeMap<String, Answers>,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    fingerprint: String,
    /// The checksums of each tensor's values as they are stored, if it is in blocks, and of its weights.
    tensors: BTreeMap<String, (Option<String>, String)>,
    tokens: BTreeMap<String, Vec<u32>>,
    sequence: Sequence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    ids: Vec<u32>,
    types: Vec<u32>,
    hidden_states: Vec<Vec<f32>>,
    logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    what: String,
    of: String,
    edit: Vec<Part>,
    refused: Option<String>,
    fingerprint: Option<String>,
}

/// Offset, length, and what is there instead, once or so many times.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Once(usize, usize, String),
    Run(usize, usize, String, usize),
}

fn folder() -> std::path::PathBuf {
    Path::new(ROOT).join("format/conformance")
}

fn manifest() -> Manifest {
    let json = std::fs::read(folder().join("manifest.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn edited(before: &[u8], edit: &[Part]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    for part in edit {
        let (offset, length, new, times) = match part {
            Part::Once(offset, length, new) => (*offset, *length, new, 1),
            Part::Run(offset, length, new, times) => (*offset, *length, new, *times),
        };
        let new: Vec<u8> = match new.strip_prefix("hex:") {
            None => new.bytes().collect(),
            Some(hex) => {
                let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
                digits
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|[a, b]| a << 4 | b)
                    .collect()
            }
        };
        out.extend_from_slice(&before[at..offset]);
        out.extend(new.repeat(times));
        at = offset + length;
    }
    out.extend_from_slice(&before[at..]);
    out
}

/// The name of a variant.
fn variant(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap()
        .to_owned()
}

fn name(error: &FormatError) -> String {
    match error {
        FormatError::Config(error) => format!("Config({})", variant(error)),
        FormatError::Provenance(error) => format!("Provenance({})", variant(error)),
        error => variant(error),
    }
}

/// The file's fingerprint, or the name of what is wrong with it.
fn verdict(bytes: Vec<u8>) -> Result<String, String> {
    let check = || {
        let file = ModelFile::from_bytes(bytes)?;
        file.verify()?;
        Ok::<_, FormatError>(file)
    };
    let file = check().map_err(|error| name(&error))?;
    let tokenizer = Tokenizer::new(file.tokenizer().unwrap(), file.config());
    match tokenizer {
        Ok(_) => Ok(format!("{:016x}", file.fingerprint())),
        Err(error) => Err(format!("Tokenizer({})", variant(&error))),
    }
}

#[test]
fn changes_are_refused_by_the_name_that_the_other_reader_gives() {
    let Manifest { files, changes } = manifest();
    let files: BTreeMap<&str, Vec<u8>> = files
        .keys()
        .map(|name| (name.as_str(), file(name)))
        .collect();
    let mut wrong = Vec::new();
    for change in &changes {
        let bytes = edited(&files[change.of.as_str()], &change.edit);
        let expected = match (&change.refused, &change.fingerprint) {
            (Some(name), None) => Err(name.clone()),
            (None, Some(fingerprint)) => Ok(fingerprint.clone()),
            _ => panic!("{}: neither refused nor accepted", change.what),
        };
        let found = verdict(bytes);
        if found != expected {
            wrong.push(format!("{}: {found:?}, not {expected:?}", change.what));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        changes.len(),
        wrong.join("\n")
    );
}

/// The XXH3-64 of f32 values, whose zeros have no sign.
fn checksum(values: impl IntoIterator<Item = f32>) -> String {
    let values = values.into_iter().map(|x| x + 0.0);
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    format!("{:016x}", xxh3_64(&bytes))
}

fn tensors(file: &ModelFile) -> BTreeMap<String, (Option<String>, String)> {
    let tensors = file.tensors().iter().map(|tensor| {
        let (name, rows, columns) = (tensor.name.as_str(), tensor.rows, tensor.columns);
        let answer = if tensor.format.block().is_some() {
            let matrix = file.packed(name).unwrap();
            let places =
                (0..rows).flat_map(|row| (0..matrix.blocks()).map(move |block| (row, block)));
            let stored = places.flat_map(|(row, block)| matrix.rotated(row, block));
            let weights = (0..rows).flat_map(|row| {
                let mut weights = vec![0.0; columns];
                matrix.dequantize_row(row, &mut weights);
                weights
            });
            (Some(checksum(stored)), checksum(weights))
        } else {
            let lanes = file.lanes(name, rows, columns).unwrap();
            let rows = lanes.chunks(columns.div_ceil(16));
            let values = rows.flat_map(|row| row.iter().flat_map(|lanes| lanes.0).take(columns));
            (None, checksum(values))
        };
        (name.to_owned(), answer)
    });
    tensors.collect()
}

/// The largest difference of a row's values, as a part of the largest value of all.
fn difference(found: &[f32], expected: &[Vec<f32>]) -> f32 {
    let expected = expected.concat();
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0, |most, x| x.abs().max(most));
    let pairs = found.iter().zip(&expected);
    pairs.fold(0.0, |most, (a, b)| (a - b).abs().max(most)) / largest
}

#[test]
fn answers_are_those_of_the_other_reader() {
    for (name, answers) in manifest().files {
        let bytes = file(&name);
        assert_eq!(verdict(bytes.clone()), Ok(answers.fingerprint), "{name}");
        let model = Arc::new(Model::from_bytes(bytes).unwrap());
        assert_eq!(tensors(model.file()), answers.tensors, "{name}");
        for (text, ids) in answers.tokens {
            let found = model.tokenizer().ids(&text, true).unwrap();
            assert_eq!(found, ids, "{name}: {text:?}");
        }
        let Sequence {
            ids,
            types,
            hidden_states,
            logits,
        } = answers.sequence;
        let mut session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
        let mut batch = Batch::new();
        batch.push_with_types(&ids, &types).unwrap();
        let found = session.hidden_states(&batch, Rows::All).unwrap();
        let hidden = difference(&found, &hidden_states);
        let rows = match logits.len() {
            1 => batch.first_rows().to_vec(),
            _ => (0..ids.len()).collect(),
        };
        let logits = match logits.is_empty() {
            true => 0.0,
            false => difference(&session.logits(&batch, Rows::Only(&rows)).unwrap(), &logits),
        };
        println!("{name}: hidden states {hidden:.1e}, logits {logits:.1e}");
        assert!(hidden < 0.05 && logits < 0.05, "{name}: {hidden} {logits}");
    }
}

/// The cells of a table of FORMAT.md.
fn table<'a>(page: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = page
        .split_once(&format!("<!-- begin {name} -->\n"))
        .unwrap();
    let (table, _) = rest.split_once(&format!("<!-- end {name} -->")).unwrap();
    let rows = table.lines().skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What is said of a tokenizer with these fields.
fn refusal(fields: &Value) -> Option<String> {
    let mut tokenizer = json!({"model": {"vocab": {}, "merges": []}});
    for (name, value) in fields.as_object().unwrap() {
        tokenizer[name] = value.clone();
    }
    let error = Pipeline::read(tokenizer.to_string().as_bytes()).err()?;
    Some(format!("{}: {error}", variant(&error)))
}

#[test]
fn the_limits_of_a_tokenizer_are_those_of_the_page() {
    let added = |content: String| {
        json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": false})
    };
    let replace = |content: String| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let sequence =
        |steps: Vec<Value>| json!({"normalizer": {"type": "Sequence", "normalizers": steps}});
    let unigram = |pieces: Vec<String>| {
        let pieces: Vec<Value> = pieces
            .into_iter()
            .map(|piece| json!([piece, 0.0]))
            .collect();
        json!({"model": {"type": "Unigram", "vocab": pieces}})
    };
    let texts = |len: usize| -> Vec<String> {
        let numbered = (0..len.div_ceil(128)).map(|at| format!("{at:0>128}"));
        let mut texts: Vec<String> = numbered.collect();
        let last = texts.len() - 1;
        texts[last].truncate(len - 128 * last);
        texts
    };
    let page = std::fs::read_to_string(Path::new(ROOT).join("format/FORMAT.md")).unwrap();
    for row in table(&page, "tokenizer limits") {
        let most: usize = row[1].replace(',', "").parse().unwrap();
        // What of this many is, and whether as much as is allowed would take long.
        let (make, slow): (&dyn Fn(usize) -> Value, bool) = match row[0] {
            "a step, bytes of JSON" => (
                &|n| {
                    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
                    let pair = json!([text, {"Sequence": {"id": "B", "type_id": 0}}]);
                    let step = |id: &str| {
                        json!({"type": "TemplateProcessing", "single": [text], "pair": pair,
                            "special_tokens": {"x": {"id": id, "ids": [], "tokens": []}}})
                    };
                    let others = step("").to_string().len();
                    json!({"post_processor": step(&"x".repeat(n - others))})
                },
                false,
            ),
            "steps of one kind (normalizers, ...)" => {
                (&|n| sequence(vec![json!({"type": "Nmt"}); n]), false)
            }
            "how many times as long the normalizers, the pre-tokenizers, or the decoders can make a text" =>
            {
                (
                    // 4 times, as often as it goes, and then once more.
                    &|n| {
                        let times = n.ilog(4) as usize;
                        let more = n - 4_usize.pow(times as u32);
                        sequence(
                            [
                                vec![replace("aaaa".into()); times],
                                vec![replace("a".repeat(more + 1)); more.min(1)],
                            ]
                            .concat(),
                        )
                    },
                    false,
                )
            }
            "replacements" => (&|n| sequence(vec![replace(String::new()); n]), false),
            "bytes that replace a match" => {
                (&|n| json!({"normalizer": replace("b".repeat(n))}), false)
            }
            "tokens put around a text" => (
                &|n| {
                    let processor =
                        json!({"type": "BertProcessing", "sep": ["a", 0], "cls": ["a", 0]});
                    json!({"post_processor": {"type": "Sequence", "processors": vec![processor; n.div_ceil(4)]}})
                },
                false,
            ),
            "characters of a word of WordPiece" => (
                &|n| {
                    json!({"model": {"type": "WordPiece", "vocab": {}, "unk_token": "a", "continuing_subword_prefix": "",
                        "max_input_chars_per_word": n}})
                },
                false,
            ),
            "a prefix or suffix of words' parts, bytes" => (
                &|n| json!({"model": {"vocab": {}, "merges": [], "end_of_word_suffix": "x".repeat(n)}}),
                false,
            ),
            "an unknown token, or one that is put around texts, bytes" => (
                &|n| json!({"model": {"vocab": {}, "merges": [], "unk_token": "x".repeat(n)}}),
                false,
            ),
            "a token of BPE or WordPiece, bytes" => (
                &|n| json!({"model": {"vocab": {"x".repeat(n): 0}, "merges": []}}),
                false,
            ),
            "a piece of a Unigram, bytes" => (&|n| unigram(vec!["x".repeat(n)]), false),
            "all pieces of a Unigram, bytes" => (&|n| unigram(texts(n)), true),
            "an added token, and its form, bytes" => {
                (&|n| json!({"added_tokens": [added("x".repeat(n))]}), false)
            }
            "all added tokens, and all of their forms, bytes" => (
                &|n| {
                    let tokens: Vec<Value> = texts(n).into_iter().map(added).collect();
                    json!({ "added_tokens": tokens })
                },
                true,
            ),
            other => panic!("a limit that isn't tested: {other}"),
        };
        if !slow {
            assert_eq!(refusal(&make(most)), None, "{most}: {}", row[0]);
        }
        let refused = refusal(&make(most + 1)).unwrap_or_default();
        assert!(refused.starts_with("OutOfBounds"), "{}: {refused}", row[0]);
    }
}
