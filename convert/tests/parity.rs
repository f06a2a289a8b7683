//! The f32 reference and the tokenizers against the committed answers of transformers.

use crate::common::{data, golden, source};
use rq_convert::{Checkpoint, HfConfig, Pretrained, Reference, SpecialTokens, TokenizerFile};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use tokenizers::Tokenizer;

/// The largest difference allowed of a logit, and of a hidden state.
const LOGITS: f32 = 1e-4;
const HIDDEN: f32 = 1e-3;

#[derive(Deserialize)]
struct Goldens<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    mask_positions: Vec<usize>,
    hidden: String,
    logits: String,
    top1: Vec<u32>,
    p1: Vec<f32>,
}

fn goldens<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let goldens: Goldens<T> = serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap();
    goldens.cases
}

fn tokenizer(json: &[u8]) -> Tokenizer {
    Tokenizer::from_bytes(json).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, true).unwrap().get_ids().to_vec()
}

fn load(name: &str) -> (Pretrained, Reference) {
    let model = Pretrained::open(&source(&data(name)), "q8").unwrap();
    let reference = Reference::load(&model.checkpoint, &model.config).unwrap();
    (model, reference)
}

/// The rows that a golden keeps.
fn rows(keep: &str, masks: &[usize], tokens: usize) -> Vec<usize> {
    match keep {
        "all" => (0..tokens).collect(),
        "masks" => masks.to_vec(),
        "none" => Vec::new(),
        other => panic!("a golden keeps `{other}`"),
    }
}

fn pick(values: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|r| &values[r * width..(r + 1) * width])
        .copied()
        .collect()
}

fn largest_difference(tensors: &SafeTensors<'_>, name: &str, found: &[f32]) -> f32 {
    let expected = tensors.tensor(name).unwrap();
    assert_eq!(expected.data().len(), 4 * found.len(), "{name}");
    let expected = expected
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    expected
        .zip(found)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap() as u32
}

fn probability(logits: &[f32], token: u32) -> f32 {
    let max = logits[argmax(logits) as usize];
    let sum: f32 = logits.iter().map(|l| (l - max).exp()).sum();
    (logits[token as usize] - max).exp() / sum
}

fn check_model(name: &str) {
    let (model, reference) = load(name);
    let tokenizer = tokenizer(model.tokenizer.json());
    let bytes = fs::read(golden(&format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (mut hidden_difference, mut logits_difference, mut p_difference) = (0.0f32, 0.0f32, 0.0f32);
    let (width, vocab) = (model.config.hidden_size, model.config.vocab_size);
    for (i, case) in goldens::<Case>(&format!("{name}.json")).iter().enumerate() {
        assert_eq!(ids(&tokenizer, &case.text), case.ids, "case {i}");
        let hidden = reference.forward(&case.ids);
        let masks = reference.logits(&pick(&hidden, width, &case.mask_positions));
        for (m, logits) in masks.chunks_exact(vocab).enumerate() {
            assert_eq!(argmax(logits), case.top1[m], "case {i}, mask {m}");
            let p = probability(logits, case.top1[m]);
            p_difference = p_difference.max((p - case.p1[m]).abs());
        }
        let kept = rows(&case.hidden, &case.mask_positions, case.ids.len());
        if !kept.is_empty() {
            let found = pick(&hidden, width, &kept);
            let difference = largest_difference(&tensors, &format!("hidden.{i}"), &found);
            hidden_difference = hidden_difference.max(difference);
        }
        let kept = rows(&case.logits, &case.mask_positions, case.ids.len());
        if !kept.is_empty() {
            let found = reference.logits(&pick(&hidden, width, &kept));
            let difference = largest_difference(&tensors, &format!("logits.{i}"), &found);
            logits_difference = logits_difference.max(difference);
        }
    }
    println!(
        "{name}: largest difference to transformers: hidden {hidden_difference:.1e}, logits {logits_difference:.1e}, \
         probability of the best {p_difference:.1e}"
    );
    assert!(hidden_difference <= HIDDEN, "{name}: {hidden_difference:e}");
    assert!(logits_difference <= LOGITS, "{name}: {logits_difference:e}");
    assert!(p_difference <= 5e-5, "{name}: {p_difference:e}");
}

#[test]
fn sapiens_agrees_with_transformers() {
    check_model("sapiens-vh");
}

#[test]
fn the_demo_model_agrees_with_transformers() {
    check_model("demo-model");
}

/// What sapiens' authors publish of it: its own sequence comes back, and one residue of 120 masked at a time is right
/// 91 times.
#[test]
fn sapiens_behaves_as_published() {
    let (model, reference) = load("sapiens-vh");
    let tokenizer = tokenizer(model.tokenizer.json());
    let golden: serde_json::Value =
        serde_json::from_slice(&fs::read(golden("sapiens-vh.json")).unwrap()).unwrap();
    let sequence = golden["sequence"].as_str().unwrap();
    let whole = ids(&tokenizer, sequence);
    assert_eq!(whole.len(), 122);
    let mask = model.config.mask_token_id.unwrap();
    let best = |ids: &[u32], positions: &[usize]| -> Vec<u32> {
        let hidden = reference.forward(ids);
        let logits = reference.logits(&pick(&hidden, model.config.hidden_size, positions));
        logits
            .chunks_exact(model.config.vocab_size)
            .map(argmax)
            .collect()
    };
    let right = (1..=120).filter(|&at| {
        let mut ids = whole.clone();
        ids[at] = mask;
        best(&ids, &[at]) == [whole[at]]
    });
    assert_eq!(right.count(), 91);

    let mut masked = whole.clone();
    for at in [1, 2, 6] {
        masked[at] = mask;
    }
    let filled = best(&masked, &[1, 2, 6]);
    let letters: String = filled
        .iter()
        .map(|&id| tokenizer.id_to_token(id).unwrap())
        .collect();
    assert_eq!(format!("{}QLV{}", &letters[..2], &letters[2..]), "QVQLVQ");
}

#[derive(Deserialize)]
struct TokenizerCase {
    model: String,
    text: String,
    ids: Vec<u32>,
}

fn check_tokenizer(json: &[u8], model: &str) {
    let tokenizer = tokenizer(json);
    let cases = goldens::<TokenizerCase>("tokenizer.json");
    let mut count = 0;
    for case in cases.iter().filter(|case| case.model == model) {
        assert_eq!(
            ids(&tokenizer, &case.text),
            case.ids,
            "{model}: {:?}",
            case.text
        );
        count += 1;
    }
    assert!(count > 5, "{model} has {count} cases");
}

#[test]
fn tokenizers_are_read_as_they_are() {
    for name in ["roberta-large-tokenizer", "sapiens-vh", "demo-model"] {
        let config = HfConfig::read(&data(name)).unwrap();
        let tokenizer = TokenizerFile::read(&data(name), &config).unwrap();
        assert_eq!(
            tokenizer.json(),
            fs::read(data(name).join("tokenizer.json")).unwrap()
        );
        let special = tokenizer.special();
        assert_eq!(
            (special.bos, special.eos, special.unk),
            (Some(0), Some(2), Some(3)),
            "{name}"
        );
        if goldens::<TokenizerCase>("tokenizer.json")
            .iter()
            .any(|case| case.model == name)
        {
            check_tokenizer(tokenizer.json(), name);
        }
    }
}

#[test]
fn a_tokenizer_of_vocabulary_and_merges_gives_the_same_ids() {
    for with_map in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut files = vec!["vocab.json", "merges.txt", "tokenizer_config.json"];
        // Without the map, nothing but transformers' own default says that the mask strips the space to its left.
        files.extend(with_map.then_some("special_tokens_map.json"));
        for file in files {
            fs::copy(
                data("roberta-large-tokenizer").join(file),
                directory.path().join(file),
            )
            .unwrap();
        }
        let config = HfConfig::read(&data("roberta-large-tokenizer")).unwrap();
        let read = || TokenizerFile::read(directory.path(), &config).unwrap();
        let tokenizer = read();
        check_tokenizer(tokenizer.json(), "roberta-large-tokenizer");
        assert_eq!(
            tokenizer.json(),
            read().json(),
            "the same input makes the same file"
        );
        assert_eq!(tokenizer.special().mask, Some(50264));
    }
}

/// The value of a file of `goldens/architectures`.
fn architecture(file: &str) -> Value {
    serde_json::from_slice(&fs::read(golden("architectures").join(file)).unwrap()).unwrap()
}

#[test]
fn a_vocabulary_of_sentence_piece_makes_the_tokenizer_that_transformers_makes() {
    for (model_type, class, expected) in [
        ("xlm-roberta", None, "xlm-roberta-classifier"),
        ("camembert", None, "camembert-mlm"),
        // As in BERTs for many languages.
        (
            "bert",
            Some("XLMRobertaTokenizer"),
            "xlm-roberta-classifier",
        ),
        ("roberta", Some("CamembertTokenizerFast"), "camembert-mlm"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = |file| directory.path().join(file);
        let file = "sentencepiece.bpe.model";
        let from = golden("architectures/sentencepiece").join(file);
        fs::copy(from, path(file)).unwrap();
        let mut config = architecture(&format!("{expected}/config.json"));
        config["model_type"] = model_type.into();
        if let Some(class) = class {
            config["architectures"] = json!([if model_type == "bert" {
                "BertModel"
            } else {
                "RobertaModel"
            }]);
            // The file that is read first.
            config["tokenizer_class"] = "BertTokenizer".into();
            let settings = json!({"tokenizer_class": class});
            fs::write(path("tokenizer_config.json"), settings.to_string()).unwrap();
        }
        fs::write(path("config.json"), config.to_string()).unwrap();
        // It says no more than the vocabulary does.
        let mask =
            architecture(&format!("{expected}/tokenizer.json"))["added_tokens"][4]["id"].take();
        fs::write(
            path("added_tokens.json"),
            json!({"<mask>": mask}).to_string(),
        )
        .unwrap();

        let config = HfConfig::read(directory.path()).unwrap();
        let tokenizer = TokenizerFile::read(directory.path(), &config).unwrap();
        let found: Value = serde_json::from_slice(tokenizer.json()).unwrap();
        assert_eq!(
            found,
            architecture(&format!("{expected}/tokenizer.json")),
            "{model_type}"
        );
        let (bos, eos) = if expected == "camembert-mlm" {
            (5, 6)
        } else {
            (0, 2)
        };
        let special = SpecialTokens {
            bos: Some(bos),
            eos: Some(eos),
            mask: mask.as_u64().map(|id| id as u32),
            unk: Some(3),
        };
        assert_eq!(*tokenizer.special(), special, "{model_type}");
    }
}

#[derive(Deserialize)]
struct Variant {
    model: String,
    ids: Vec<u32>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
}

/// Both GELUs, decoders of their own, names without a prefix, padding inside a text: each as transformers has it.
#[test]
fn variants_agree_with_transformers() {
    let cases = goldens::<Variant>("variants.json");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let directory = golden("variants").join(&case.model);
        let hf_config = HfConfig::read(&directory).unwrap();
        let checkpoint = Checkpoint::open(&source(&directory), &hf_config).unwrap();
        assert_eq!(
            checkpoint.tied(),
            !case.model.starts_with("untied"),
            "{}",
            case.model
        );
        let special = SpecialTokens {
            bos: None,
            eos: None,
            mask: Some(18),
            unk: None,
        };
        let config = hf_config.config(&special, checkpoint.tied(), "q8").unwrap();
        let reference = Reference::load(&checkpoint, &config).unwrap();
        let hidden = reference.forward(&case.ids);
        for (found, expected) in [
            (reference.logits(&hidden), &case.logits),
            (hidden, &case.hidden),
        ] {
            assert_eq!(found.len(), expected.len());
            let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let difference = differences.fold(0.0, f32::max);
            assert!(difference <= 1e-5, "{}: {difference:e}", case.model);
        }
    }
}
