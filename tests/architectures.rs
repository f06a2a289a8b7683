//! Each architecture and each head, against transformers in fp32: tokens and their places exactly, hidden states and logits
//! within what f32 and 8 bits leave. The models are tiny and random: see `goldens/README.md`.

use crate::common::{convert_to, session, tensor, tests_path};
use rq::{Batch, Model, Rows, Tokens};
use rq_convert::{HubCache, Pretrained, Quant, Reference, Source};
use rq_format::{Config, Head};
use safetensors::SafeTensors;
use serde::Deserialize;
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
    for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        let from = directory("xlm-roberta-classifier").join(file);
        std::fs::copy(from, whole.path().join(file)).unwrap();
    }
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
            batch.push_with_types(&tokens.ids, &tokens.token_types);
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
            together.push_with_types(&tokens.ids, &tokens.token_types);
            let mut batch = Batch::new();
            batch.push_with_types(&tokens.ids, &tokens.token_types);
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
