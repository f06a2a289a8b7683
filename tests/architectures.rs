//! Each architecture and each head, against transformers in fp32: tokens and their places exactly, hidden states and logits
//! within what f32 and 8 bits leave. The models are tiny and random: see `goldens/README.md`.

use crate::bits::available;
use crate::common::{convert_to, session, session_on, tensor, tests_path};
use rq::{Aggregation, Batch, Model, Rows, Session, TagOptions, Tagger, Task, Tokens};
use rq_convert::{HubCache, Pretrained, Quant, Reference, Source};
use rq_format::{Config, Head};
use rq_kernels::isa::Isa;
use safetensors::SafeTensors;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    text: String,
    pair: Option<String>,
    #[serde(flatten)]
    fields: Fields,
    tokenizers: Option<Fields>,
    #[serde(default)]
    logits_at: Vec<usize>,
}

/// What the tokenizer makes of a text.
#[derive(Clone, Deserialize)]
struct Fields {
    ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    special_tokens_mask: Vec<u8>,
    word_ids: Vec<Option<u32>>,
    sequence_ids: Vec<Option<usize>>,
}

impl Fields {
    fn tokens(self) -> Tokens {
        Tokens {
            ids: self.ids,
            token_types: self.token_type_ids,
            offsets: self.offsets,
            special: self.special_tokens_mask.iter().map(|&m| m == 1).collect(),
            words: self.word_ids,
            texts: self.sequence_ids,
        }
    }
}

/// The cases by model, in the order of the file, with their numbers.
fn cases() -> Vec<(String, Vec<(usize, Case)>)> {
    let json = std::fs::read(tests_path("goldens/architectures.json")).unwrap();
    let Goldens { cases } = serde_json::from_slice(&json).unwrap();
    let mut by_model: Vec<(String, Vec<(usize, Case)>)> = Vec::new();
    for (i, case) in cases.into_iter().enumerate() {
        match by_model.iter_mut().find(|(model, _)| *model == case.model) {
            Some((_, cases)) => cases.push((i, case)),
            None => by_model.push((case.model.clone(), vec![(i, case)])),
        }
    }
    by_model
}

fn directory(model: &str) -> PathBuf {
    tests_path("goldens/architectures").join(model)
}

/// Folders with nothing but a tokenizer in another shape.
fn is_whole(model: &str) -> bool {
    directory(model).join("config.json").is_file()
}

fn converted(source: &Path) -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    convert_to(source, Quant::Q8, &output);
    Arc::new(Model::from_bytes(std::fs::read(output).unwrap()).unwrap())
}

/// A folder that has a tokenizer alone, with the rest of the model whose tokenizer it is in another shape.
fn completed(model: &str) -> Arc<Model> {
    if is_whole(model) {
        return converted(&directory(model));
    }
    let whole = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        let from = directory("xlm-roberta-classifier").join(file);
        std::fs::copy(from, whole.path().join(file)).unwrap();
    }
    // The class that takes the steps of the file, whatever its shape; XLM-RoBERTa's own has steps of its own.
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(whole.path().join("tokenizer_config.json"), class).unwrap();
    let from = directory(model).join("tokenizer.json");
    std::fs::copy(from, whole.path().join("tokenizer.json")).unwrap();
    converted(whole.path())
}

#[test]
fn tokens_and_their_places_are_those_of_transformers() {
    for (name, cases) in cases() {
        let model = completed(&name);
        let tokenizer = model.tokenizer();
        for (i, case) in cases {
            // transformers takes an empty second text for none; the library `tokenizers` doesn't, nor does rq.
            let as_transformers = case.tokenizers.is_none() && is_whole(&name);
            let pair = case
                .pair
                .filter(|pair| !(as_transformers && pair.is_empty()));
            let expected = case.tokenizers.unwrap_or(case.fields).tokens();
            let text = &case.text;
            // sentence-transformers cuts texts to what the encoder is meant for.
            let cut = model.config().pooling.is_some();
            if !cut || expected.ids.len() < tokenizer.max_tokens() {
                let found = tokenizer.tokens(text, pair.as_deref()).unwrap();
                assert_eq!(found, expected, "case {i}, {name}: {:?}", case.text);
            }
            if expected.ids.len() <= tokenizer.max_tokens() {
                let encoding = match &pair {
                    None => tokenizer.encode(text, cut),
                    Some(pair) => tokenizer.encode_pair(text, pair, false),
                }
                .unwrap();
                assert_eq!(encoding.ids, expected.ids, "case {i}, {name}");
                assert_eq!(encoding.token_types, expected.token_types, "case {i}");
            }
        }
    }
}

/// What a checkpoint's tokenizer can be written as besides, makes the same of every text.
#[test]
fn a_tokenizer_in_other_forms_gives_the_same_tokens() {
    let expected = converted(&directory("xlm-roberta-classifier"));
    for form in ["sentencepiece.bpe.model", "tokenizer.json"] {
        let folder = tempfile::tempdir().unwrap();
        let copy = |from: std::path::PathBuf| {
            let to = folder.path().join(from.file_name().unwrap());
            std::fs::copy(from, to).unwrap();
        };
        for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
            copy(directory("xlm-roberta-classifier").join(file));
        }
        if form == "tokenizer.json" {
            // Its fields by their names: the model's type, which is read first, comes third.
            let file = std::fs::read(directory("xlm-roberta-classifier").join(form)).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&file).unwrap();
            std::fs::write(folder.path().join(form), value.to_string()).unwrap();
        } else {
            copy(directory("sentencepiece").join(form));
        }
        let model = converted(folder.path());
        let (mut texts, tokens) = (0, |model: &Model, text: &str, pair: Option<&str>| {
            model.tokenizer().tokens(text, pair).unwrap()
        });
        for (_, case) in cases().into_iter().flat_map(|(_, cases)| cases) {
            let (text, pair) = (&*case.text, case.pair.as_deref());
            assert_eq!(
                tokens(&model, text, pair),
                tokens(&expected, text, pair),
                "{form}: {text:?}"
            );
            texts += 1;
        }
        assert!(texts > 100);
    }
}

/// The squares of a difference and of what is expected, over all cases of a model.
#[derive(Clone, Copy, Default)]
struct Squares {
    difference: f32,
    expected: f32,
}

impl Squares {
    fn add(&mut self, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let differences = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2));
        self.difference += differences.sum::<f32>();
        self.expected += expected.iter().map(|x| x * x).sum::<f32>();
    }

    /// The length of the difference, in units of the length of what is expected.
    fn error(self) -> f32 {
        (self.difference / self.expected.max(f32::MIN_POSITIVE)).sqrt()
    }
}

/// The rows of which a case has the logits.
fn rows(config: &Config, case: &Case, tokens: usize) -> Vec<usize> {
    match config.head {
        Head::MaskedLm => case.logits_at.clone(),
        Head::SequenceClassification => vec![0],
        _ => (0..tokens).collect(),
    }
}

/// Each model's errors: of hidden states, of logits.
fn errors(
    mut compute: impl FnMut(&str) -> Box<dyn FnMut(&Case, &Tokens) -> [Vec<f32>; 2]>,
) -> Vec<(String, [f32; 2])> {
    let bytes = std::fs::read(tests_path("goldens/architectures.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all = Vec::new();
    for (name, cases) in cases().into_iter().filter(|(name, _)| is_whole(name)) {
        let mut run = compute(&name);
        let mut errors = [Squares::default(); 2];
        for (i, case) in cases {
            if tensors.tensor(&format!("hidden.{i}")).is_err() {
                continue;
            }
            let found = run(&case, &case.fields.clone().tokens());
            for ((kind, found), error_of) in
                ["hidden", "logits"].into_iter().zip(found).zip(&mut errors)
            {
                if !found.is_empty() {
                    let (expected, _) = tensor(&tensors, &format!("{kind}.{i}"));
                    error_of.add(&found, &expected);
                }
            }
        }
        all.push((name, errors.map(Squares::error)));
    }
    all
}

#[test]
fn the_f32_reference_agrees_to_rounding() {
    let errors = errors(|name| {
        let directory = directory(name);
        let source =
            Source::find(directory.to_str().unwrap(), &HubCache::at("/nonexistent")).unwrap();
        let pretrained = Pretrained::open(&source, "f32").unwrap();
        let reference = Reference::load(&pretrained.checkpoint, &pretrained.config).unwrap();
        Box::new(move |case, tokens| {
            let hidden = reference.forward_pair(&tokens.ids, &tokens.token_types);
            let width = reference.config().hidden_size;
            let rows = rows(reference.config(), case, tokens.ids.len());
            let wanted: Vec<f32> = rows
                .iter()
                .flat_map(|&row| hidden[row * width..(row + 1) * width].to_vec())
                .collect();
            let logits = reference.logits(&wanted);
            [hidden, logits]
        })
    });
    for (name, [hidden, logits]) in errors {
        println!("f32 {name}: hidden {hidden:.1e}, logits {logits:.1e}");
        assert!(hidden < 2e-6 && logits < 2e-6, "{name}: {hidden} {logits}");
    }
}

#[test]
fn eight_bits_are_near() {
    let errors = errors(|name| {
        let model = converted(&directory(name));
        let mut session = session(&model);
        Box::new(move |case, tokens| {
            let mut batch = Batch::new();
            batch
                .push_with_types(&tokens.ids, &tokens.token_types)
                .unwrap();
            let hidden = session.hidden_states(&batch, Rows::All).unwrap();
            let rows = rows(model.config(), case, tokens.ids.len());
            let logits = match model.config().head {
                Head::None => Vec::new(),
                _ => session.logits(&batch, Rows::Only(&rows)).unwrap(),
            };
            [hidden, logits]
        })
    });
    for (name, [hidden, logits]) in errors {
        println!("q8 {name}: hidden {hidden:.1e}, logits {logits:.1e}");
        assert!(hidden < 0.03 && logits < 0.06, "{name}: {hidden} {logits}");
    }
}

#[test]
fn what_a_session_computes_together_is_what_it_computes_alone() {
    for (name, cases) in cases().into_iter().filter(|(name, _)| is_whole(name)) {
        let model = converted(&directory(&name));
        let mut session = session(&model);
        let limit = model.config().max_tokens();
        let texts: Vec<Tokens> = cases
            .into_iter()
            .map(|(_, case)| case.fields.tokens())
            .filter(|tokens| tokens.ids.len() <= limit)
            .collect();
        let mut together = Batch::new();
        let mut alone = [Vec::new(), Vec::new()];
        let mut run = |batch: &Batch| {
            let hidden = session.hidden_states(batch, Rows::All).unwrap();
            let rows = match model.config().head {
                Head::None => return [hidden, Vec::new()],
                Head::SequenceClassification => Rows::Only(batch.first_rows()),
                _ => Rows::All,
            };
            [hidden, session.logits(batch, rows).unwrap()]
        };
        for tokens in &texts {
            together
                .push_with_types(&tokens.ids, &tokens.token_types)
                .unwrap();
            let mut batch = Batch::new();
            batch
                .push_with_types(&tokens.ids, &tokens.token_types)
                .unwrap();
            for (all, one) in alone.iter_mut().zip(run(&batch)) {
                all.extend(one);
            }
        }
        let together = run(&together);
        for (together, alone) in together.iter().zip(&alone) {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(together), bits(alone), "{name}");
        }
    }
}

/// SHA-256 of a batch's hidden states, and of the logits of some of its rows.
fn digest(session: &mut Session, batch: &Batch, wanted: &[usize]) -> String {
    let mut digest = Sha256::new();
    digest.update(bytemuck::cast_slice(
        &session.hidden_states(batch, Rows::All).unwrap(),
    ));
    if session.model().config().head != Head::None {
        let logits = session.logits(batch, Rows::Only(wanted)).unwrap();
        digest.update(bytemuck::cast_slice(&logits));
    }
    format!("{:x}", digest.finalize())
}

/// As `bits.rs` has it for the larger models: one golden for every instruction set and number of threads.
#[test]
fn the_bits_of_each_are_the_same_everywhere() {
    let path = tests_path("goldens/architectures-bits.json");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut goldens: BTreeMap<String, String> = match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).unwrap(),
        Err(_) => BTreeMap::new(),
    };
    for (name, cases) in cases().into_iter().filter(|(name, _)| is_whole(name)) {
        let model = converted(&directory(&name));
        let limit = model.config().max_tokens();
        let mut batch = Batch::new();
        // The last few, which are of every length and pairs, too: what all of them take in plain Rust is long.
        let last = cases.into_iter().rev().take(6);
        for tokens in last.map(|(_, case)| case.fields.tokens()) {
            if tokens.ids.len() <= limit {
                batch
                    .push_with_types(&tokens.ids, &tokens.token_types)
                    .unwrap();
            }
        }
        let wanted = match model.config().head {
            Head::SequenceClassification => batch.first_rows().to_vec(),
            _ => (0..batch.ids().len()).filter(|row| row % 5 == 3).collect(),
        };
        let mut oracle = session_on(&model, Isa::Scalar, 1).unwrap();
        let expected = digest(&mut oracle, &batch, &wanted);
        if update {
            goldens.insert(name.clone(), expected.clone());
        }
        assert_eq!(goldens.get(&name), Some(&expected), "{name}: scalar");
        let hidden = oracle.hidden_states(&batch, Rows::All).unwrap();
        let width = model.config().hidden_size;
        let rows = wanted.iter().map(|row| &hidden[row * width..][..width]);
        let rows = rows.collect::<Vec<_>>().concat();
        for isa in available() {
            for threads in [1, 2] {
                let mut session = session_on(&model, isa, threads).unwrap();
                let found = digest(&mut session, &batch, &wanted);
                assert_eq!(found, expected, "{name}: {isa}, {threads} threads");
                // Where only these go through the last layer.
                let only = session.hidden_states(&batch, Rows::Only(&wanted));
                assert_eq!(only.unwrap(), rows, "{name}: {isa}, {threads} threads");
            }
        }
    }
    if update {
        let json = serde_json::to_string_pretty(&goldens).unwrap() + "\n";
        std::fs::write(&path, json).unwrap();
    }
}

/// What ELECTRA's discriminator says of a token has a probability, which is the sigmoid of its logit.
#[test]
fn electras_discriminator_tags_what_was_replaced() {
    let model = converted(&directory("electra-discriminator"));
    let text = "The cat sat on the mat, and the dog lay by the door.";
    let ids = model.tokenizer().encode(text, false).unwrap().ids;
    let batch = Batch::from_iter([&ids]);
    let logits = session(&model).logits(&batch, Rows::All).unwrap();
    let mut tagger = Tagger::new(session(&model)).unwrap();
    assert_eq!(tagger.labels(), ["original", "replaced"]);
    let mut options = TagOptions::default();
    options.aggregation = Aggregation::None;
    let entities = tagger.run_one(text, &options).unwrap();
    assert_eq!(entities.len(), ids.len() - 2);
    for entity in entities {
        let row = &logits[2 * entity.index.unwrap()..][..2];
        assert_eq!(row[0], 0.0);
        let replaced = 1.0 / (1.0 + (-row[1]).exp());
        let (label, score) = match replaced > 0.5 {
            true => ("replaced", replaced),
            false => ("original", 1.0 - replaced),
        };
        assert_eq!(entity.label, label);
        assert!((entity.score - score).abs() < 1e-6, "{}", entity.score);
    }
}

#[test]
fn a_model_without_token_types_takes_no_other_than_zero() {
    let model = converted(&directory("mpnet-base-model"));
    let mut batch = Batch::new();
    batch.push_with_types(&[0, 9, 2], &[0, 1, 0]).unwrap();
    let error = session(&model)
        .hidden_states(&batch, Rows::All)
        .unwrap_err();
    assert_eq!(error.to_string(), "token type 1, of a model with 1");
}
