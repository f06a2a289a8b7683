//! Token ids against those of Hugging Face's tokenizers, through a model's own tokenizer: `goldens/tokenizer.json`, and
//! every kind of text against the crate as it reads the same `tokenizer.json`.

use crate::common::{convert_to, model, tests_path};
use proptest::prelude::*;
use rq::{Model, TokenizerError};
use rq_convert::Quant;
use rq_format::{
    Architecture, Config, ConfigFields, Head, HiddenAct, Provenance, TensorFormat, TensorKind,
    TruncationSide, Writer,
};
use serde::Deserialize;
use std::path::Path;
use std::sync::{Arc, LazyLock};

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    model: String,
    text: String,
    ids: Vec<u32>,
}

/// A model with the tokenizer and the positions of roberta-large, and no weights to speak of.
fn roberta_large() -> Arc<Model> {
    let config = Config::new(ConfigFields {
        architecture: Architecture::Roberta,
        head: Head::MaskedLm,
        vocab_size: 50265,
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 514,
        type_vocab_size: 1,
        embedding_size: None,
        layer_norm_eps: 1e-5,
        hidden_act: HiddenAct::Gelu,
        pad_token_id: 1,
        bos_token_id: 0,
        eos_token_id: 2,
        mask_token_id: Some(50264),
        unk_token_id: Some(3),
        position_offset: 2,
        tie_word_embeddings: true,
        labels: vec![],
        classifier_act: None,
        score_function: None,
        pooling: None,
        sparse_pooling: None,
        max_seq_length: None,
        truncation_side: TruncationSide::Right,
        clean_up_spaces: false,
        quantization: "q8".into(),
    })
    .unwrap();
    let provenance = Provenance {
        source: "a test".into(),
        converter: "a test".into(),
        ..Provenance::default()
    };
    let tokenizer =
        std::fs::read(tests_path("data/roberta-large-tokenizer/tokenizer.json")).unwrap();
    let tensors: Vec<_> = config
        .expected_tensors()
        .iter()
        .map(|tensor| match tensor.kind {
            TensorKind::Float => tensor.spec(TensorFormat::F32),
            _ => tensor.spec(TensorFormat::Q8),
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let mut writer = Writer::create(&path, &config, &provenance, &tokenizer, &tensors).unwrap();
    for tensor in &tensors {
        let zeros = vec![0.0; tensor.rows * tensor.columns];
        match tensor.format.block() {
            None => writer.write_floats(&tensor.name, &zeros).unwrap(),
            Some(format) => {
                let packed = rq_kernels::packed::quantize(format, &zeros, tensor.columns).unwrap();
                writer.write_tensor(&tensor.name, &packed).unwrap();
            }
        }
    }
    writer.finish().unwrap();
    Arc::new(Model::from_bytes(std::fs::read(path).unwrap()).unwrap())
}

#[test]
fn the_ids_of_tokenizers() {
    let json = std::fs::read(tests_path("goldens/tokenizer.json")).unwrap();
    let goldens: Goldens = serde_json::from_slice(&json).unwrap();
    let models = [
        ("roberta-large-tokenizer", roberta_large()),
        ("demo-model", model("demo-model", Quant::Q8)),
        ("sapiens-vh", model("sapiens-vh", Quant::Q8)),
    ];
    let mut too_long = 0;
    for (name, model) in &models {
        let tokenizer = model.tokenizer();
        let limit = tokenizer.max_tokens();
        let of_model = |golden: &&Golden| golden.model == *name;
        let cases: Vec<&Golden> = goldens.cases.iter().filter(of_model).collect();
        assert!(cases.len() >= 10, "{name}");
        for Golden { text, ids, .. } in cases {
            assert_eq!(&tokenizer.ids(text, true).unwrap(), ids, "{name}: {text:?}");
            let truncated = tokenizer.encode(text, true).unwrap();
            if ids.len() <= limit {
                assert_eq!(tokenizer.encode(text, false).unwrap(), truncated);
                assert_eq!((&truncated.ids, truncated.truncated_from), (ids, None));
                continue;
            }
            too_long += 1;
            assert!(matches!(
                tokenizer.encode(text, false),
                Err(TokenizerError::TooLong { tokens, limit: l, .. }) if (tokens, l) == (ids.len(), limit)
            ));
            let (kept, last) = (&ids[..limit - 1], ids[ids.len() - 1]);
            assert_eq!(truncated.ids, [kept, &[last]].concat());
            assert_eq!(truncated.truncated_from, Some(ids.len()));
        }
    }
    assert!(too_long > 0);
}

/// A model, and the crate's own tokenizer for it.
struct Pair {
    name: &'static str,
    model: Arc<Model>,
    crates: tokenizers::Tokenizer,
}

impl Pair {
    fn new(name: &'static str, model: Arc<Model>) -> Self {
        let path = tests_path(&format!("data/{name}/tokenizer.json"));
        let crates = tokenizers::Tokenizer::from_file(path).unwrap();
        Self {
            name,
            model,
            crates,
        }
    }

    /// Checks the tokens of a text, and the text of its tokens.
    fn compare(&self, text: &str) {
        let (name, tokenizer) = (self.name, self.model.tokenizer());
        for special in [true, false] {
            let crates = self.crates.encode_fast(text, special).unwrap();
            let ids = tokenizer.ids(text, special).unwrap();
            assert_eq!(ids, crates.get_ids(), "{name}: {text:?}");
            let (ours, crates) = (
                tokenizer.decode(&ids, special).unwrap(),
                self.crates.decode(&ids, special).unwrap(),
            );
            assert_eq!(ours, crates, "{name}: {text:?}");
        }
    }
}

static PAIRS: LazyLock<[Pair; 3]> = LazyLock::new(|| {
    [
        Pair::new("roberta-large-tokenizer", roberta_large()),
        Pair::new("demo-model", model("demo-model", Quant::Q8)),
        Pair::new("sapiens-vh", model("sapiens-vh", Quant::Q8)),
    ]
});

fn compare(text: &str) {
    PAIRS.iter().for_each(|pair| pair.compare(text));
}

/// The files of a directory that are text, whole and by lines.
fn compare_files(path: &Path) -> usize {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries
            .map(|entry| compare_files(&entry.unwrap().path()))
            .sum();
    }
    let Ok(text) = std::fs::read_to_string(path) else {
        return 0;
    };
    text.lines().for_each(compare);
    compare(&text);
    1
}

#[test]
fn every_entry_of_the_vocabulary_is_the_crates() {
    for Pair { model, crates, .. } in &*PAIRS {
        let (ours, vocabulary) = (model.tokenizer(), crates.get_vocab(true));
        assert_eq!(vocabulary.len(), model.config().vocab_size);
        for (token, id) in vocabulary {
            assert_eq!(ours.token_to_id(&token), Some(id), "{token}");
            assert_eq!(
                ours.decode(&[id], false).unwrap(),
                crates.decode(&[id], false).unwrap()
            );
            assert_eq!(ours.id_to_token(id), Some(token));
        }
        for absent in ["", "no such token", "Ġ "] {
            assert_eq!(
                ours.token_to_id(absent),
                crates.token_to_id(absent),
                "{absent:?}"
            );
        }
        for id in [model.config().vocab_size as u32, u32::MAX] {
            assert_eq!(ours.id_to_token(id), None);
        }
    }
}

#[test]
fn every_character_of_two_planes_is_the_crates() {
    let all: Vec<char> = ('\0'..='\u{1ffff}').collect();
    for chars in all.chunks(256) {
        compare(&chars.iter().collect::<String>());
        compare(
            &chars
                .iter()
                .flat_map(|c| [' ', *c, 'a'])
                .collect::<String>(),
        );
    }
    for c in ('\0'..='\u{ff}').chain('🤖'..='🤟') {
        compare(&c.to_string());
        compare(&format!("a{c}b {c}{c}  {c}"));
    }
}

#[test]
fn difficult_texts_are_the_crates() {
    for text in [
        "",
        " ",
        "  \t\r\n \u{a0}\u{2003}x \n\n ",
        "it's we'll they've I'd I'm you're 'tis ' s 'S",
        "naïve façade Ångström e\u{301} \u{1e9b}\u{323} ﬁ",
        "👩\u{200d}👩\u{200d}👧\u{200d}👦 🇨🇭 👍🏽 \u{fe0f}",
        "<mask>",
        "a<mask>b <mask> c  <mask>  <mask>\n<mask>,<mask>.",
        "<s>a</s></s><pad><unk> <s> </s> <MASK> < mask> <mask",
        "Ġ Ċ Ġthe Ã© âĢĶ #version: 0.2 \u{0} \u{7f} \u{ad}",
        "EVQLVESGGGLVQPGG*LRLSCAASGFTFSSYAMS<mask>WVRQAPGKGLEWVS xyz",
    ] {
        compare(text);
    }
    // Words without an end, of one letter, of two, and of many.
    compare(&"a".repeat(20_000));
    compare(&"ab".repeat(10_000));
    compare(&"antidisestablishmentarianism".repeat(500));
    compare(&" ".repeat(5_000));
}

#[test]
fn the_texts_beside_the_tests_are_the_crates() {
    for path in ["goldens/tokenizer.json", "data", "../README.md", "../src"] {
        let path = tests_path(path);
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
            entries
                .filter(|path| path.is_file())
                .for_each(|path| _ = compare_files(&path));
        } else {
            assert_eq!(compare_files(&path), 1);
        }
    }
}

/// `RQ_TEXTS=DIRECTORY cargo test --release -p rq-runtime --test all tokenizer -- --ignored`
#[test]
#[ignore = "takes a directory of texts"]
fn the_texts_of_a_directory_are_the_crates() {
    let directory = std::env::var_os("RQ_TEXTS").expect("RQ_TEXTS");
    println!("{} files", compare_files(Path::new(&directory)));
}

proptest! {
    #[test]
    fn any_text_is_the_crates(text in any::<String>(), ascii in "[ -~\n]{0,80}", words in "([ ']?[a-zé]{1,9}|<mask>| <s>|[0-9]|\\PC){0,30}") {
        for text in [text, ascii, words] {
            compare(&text);
        }
    }

    /// Texts made of the vocabulary's own entries, which are merged across their borders.
    #[test]
    fn any_entries_in_a_row_are_the_crates(ids in prop::collection::vec(0..50265_u32, 0..40)) {
        for pair in &*PAIRS {
            let vocab_size = pair.model.config().vocab_size as u32;
            let ids: Vec<u32> = ids.iter().map(|id| id % vocab_size).collect();
            let text = pair.model.tokenizer().decode(&ids, false).unwrap();
            prop_assert_eq!(&text, &pair.crates.decode(&ids, false).unwrap());
            pair.compare(&text);
        }
    }
}

#[test]
fn pairs_are_cut_as_the_crate_cuts_them() {
    use tokenizers::utils::truncation::TruncationParams;
    let checkpoint = tests_path("data/tasks/relevance");
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("model.rq");
    convert_to(&checkpoint, Quant::Q8, &output);
    let model = Model::open(output).unwrap();
    let mut theirs = tokenizers::Tokenizer::from_file(checkpoint.join("tokenizer.json")).unwrap();
    theirs.with_padding(None);
    // One token a word. There is room for 125 of them, which is odd.
    let words = |count| vec!["a"; count].join(" ");
    let limit = model.tokenizer().max_tokens();
    let truncation = TruncationParams {
        max_length: limit,
        ..TruncationParams::default()
    };
    theirs.with_truncation(Some(truncation)).unwrap();
    for first in [0, 1, 30, 62, 63, 64, 125, 126, 500] {
        for second in [0, 1, 30, 62, 63, 64, 125, 126, 500] {
            let (first, second) = (words(first), words(second));
            let pair = (first.as_str(), second.as_str());
            let expected = theirs.encode(pair, true).unwrap();
            let found = model.tokenizer().encode_pair(pair.0, pair.1, true).unwrap();
            assert_eq!(found.ids, expected.get_ids(), "{pair:?}");
            assert_eq!(found.token_types, expected.get_type_ids(), "{pair:?}");
        }
    }
}
