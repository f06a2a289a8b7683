//! `config.json` and the tokenizer: defaults, and what is refused.

use crate::common;
use crate::common::{assert_error, find, golden, model, tensors, write};
use proptest::collection::vec;
use proptest::prelude::*;
use rq_convert::{ConvertError, HfConfig, Pretrained, TokenizerFile};
use rq_format::{
    Architecture, ClassifierAct, EmbeddingLayer, Head, HiddenAct, Pooling, PoolingMode,
    ScoreFunction, SparseActivation, SparseMode, SparsePooling,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn open(directory: &Path) -> Result<Pretrained, ConvertError> {
    Ok(Pretrained::open(&find(directory)?, "q8")?)
}

/// Opens the small model with a field of its configuration changed.
fn with_field(field: &str, value: Value) -> (tempfile::TempDir, Result<Pretrained, ConvertError>) {
    let directory = model(&tensors("roberta."));
    let mut config = common::config();
    config[field] = value;
    write(directory.path(), "config.json", config.to_string());
    let result = open(directory.path());
    (directory, result)
}

#[track_caller]
fn refused(field: &str, value: Value, expected: &str) {
    let (directory, result) = with_field(field, value);
    assert_error(
        result,
        directory.path(),
        &format!("DIR/config.json{expected}"),
    );
}

#[test]
fn what_is_left_out_is_as_in_transformers() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "config.json",
        json!({"architectures": ["RobertaForMaskedLM"]}).to_string(),
    );
    let config = HfConfig::read(directory.path()).unwrap();
    assert_eq!(config.vocab_size(), 50265);
    assert_eq!(config.max_position_embeddings(), 512);
    assert_eq!(config.type_vocab_size(), 2);
    assert!(config.tie_word_embeddings());
    let special = rq_convert::SpecialTokens {
        bos: None,
        eos: None,
        mask: Some(50264),
        unk: Some(3),
    };
    let config = config.config(&special, true, "q8").unwrap();
    assert_eq!((config.hidden_size, config.num_hidden_layers), (768, 12));
    assert_eq!(
        (config.num_attention_heads, config.intermediate_size),
        (12, 3072)
    );
    assert_eq!(
        (config.layer_norm_eps, config.hidden_act),
        (1e-12, HiddenAct::Gelu)
    );
    assert_eq!((config.pad_token_id, config.position_offset), (1, 2));
    assert_eq!((config.bos_token_id, config.eos_token_id), (0, 2));
}

/// The graph is the model type's; the head is the architecture's, else the weights', unless another is asked for.
#[test]
fn graph_and_head_are_found_without_architectures() {
    for (field, value) in [
        ("architectures", Value::Null),
        ("architectures", json!([])),
        ("architectures", json!(["RobertaForCausalLM"])),
        ("architectures", json!(["XLMRobertaForMaskedLM"])),
        ("model_type", json!("xlm-roberta")),
        ("model_type", json!("camembert")),
    ] {
        let (_directory, model) = with_field(field, value.clone());
        let config = model.unwrap().config;
        let found = (config.architecture, config.head);
        assert_eq!(found, (Architecture::Roberta, Head::MaskedLm), "{value}");
    }
    let (directory, model) = with_field("architectures", Value::Null);
    model.unwrap();
    let source = find(directory.path()).unwrap();
    let model = Pretrained::open_as(&source, "q8", Some(Head::None)).unwrap();
    assert_eq!(model.config.head, Head::None);
    let ignored = model.checkpoint.ignored();
    assert!(ignored.iter().any(|name| name == "lm_head.bias"));
    let mut tensors = tensors("roberta.");
    tensors.retain(|name, _| !name.starts_with("lm_head."));
    let directory = common::model(&tensors);
    let mut config = common::config();
    config["architectures"] = Value::Null;
    write(directory.path(), "config.json", config.to_string());
    assert_eq!(open(directory.path()).unwrap().config.head, Head::None);
}

/// transformers takes `num_labels` where the two disagree.
#[test]
fn labels_are_those_of_transformers() {
    for (fields, expected) in [
        (
            json!({"id2label": {"0": "low", "1": "high"}, "num_labels": 3}),
            vec!["LABEL_0", "LABEL_1", "LABEL_2"],
        ),
        (
            json!({"id2label": {}, "num_labels": 2}),
            vec!["LABEL_0", "LABEL_1"],
        ),
        (
            json!({"id2label": {"1": 5, "0": "", "2": null}}),
            vec!["", "5", "LABEL_2"],
        ),
    ] {
        let config = with_head("RobertaForSequenceClassification", &fields).unwrap();
        assert_eq!(config.labels(), expected);
    }
}

/// A tokenizer that passes no token types to a model that has them gives both texts of a pair the type 0.
#[test]
fn token_types_that_are_not_passed_are_0() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/architectures");
    for name in ["bert-classifier", "electra-classifier"] {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        for entry in fs::read_dir(goldens.join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
        let has_type_1 = || {
            let model = open(dir).unwrap();
            assert_eq!(model.notes, [""; 0], "{name}");
            let json: Value = serde_json::from_slice(model.tokenizer.json()).unwrap();
            let pair = json["post_processor"]["pair"].as_array().unwrap().clone();
            pair.iter().any(|piece| {
                let [piece] = &piece.as_object().unwrap().values().collect::<Vec<_>>()[..] else {
                    panic!("{piece}");
                };
                piece["type_id"] == 1
            })
        };
        assert!(has_type_1(), "{name}");
        let path = dir.join("tokenizer_config.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        settings["model_input_names"] = json!(["input_ids", "attention_mask"]);
        // What transformers 5 doesn't read.
        settings["never_split"] = Value::Null;
        write(dir, "tokenizer_config.json", settings.to_string());
        assert!(!has_type_1(), "{name}");
    }
}

#[test]
fn what_nobody_knows_is_named() {
    let (_directory, model) = with_field("layer_scale", json!(0.5));
    assert_eq!(
        model.unwrap().notes,
        ["config.json has layer_scale, which rq doesn't know"]
    );
    let (directory, model) = with_field("pruned_heads", json!({"0": [1]}));
    assert_error(
        model,
        directory.path(),
        "DIR/config.json: pruned_heads is {\"0\":[1]}; rq supports nothing: save the model whole, in floats",
    );
    let directory = common::model(&tensors("roberta."));
    let dir = directory.path();
    write(dir, "adapter_config.json", "{}");
    assert_error(
        open(dir),
        dir,
        "DIR has an adapter for the weights of another model (adapter_config.json); merge it first, with PEFT: \
         `AutoPeftModelForMaskedLM.from_pretrained(\"DIR\").merge_and_unload().save_pretrained(\"NEW\")` and \
         `AutoTokenizer.from_pretrained(\"DIR\").save_pretrained(\"NEW\")`",
    );
}

#[test]
fn published_configurations_are_read() {
    for (name, layers, tokens) in [
        ("roberta-large-tokenizer", 24, 512),
        ("sapiens-vh", 4, 144),
        ("demo-model", 6, 128),
    ] {
        let config = HfConfig::read(&common::data(name)).unwrap();
        assert_eq!(config.num_hidden_layers(), layers, "{name}");
        assert_eq!(config.max_position_embeddings(), tokens + 2, "{name}");
    }
}

#[test]
fn activation_functions() {
    for (name, expected) in [
        ("gelu", HiddenAct::Gelu),
        ("gelu_new", HiddenAct::GeluTanh),
        ("gelu_pytorch_tanh", HiddenAct::GeluTanh),
    ] {
        let (_directory, model) = with_field("hidden_act", name.into());
        assert_eq!(model.unwrap().config.hidden_act, expected, "{name}");
    }
}

#[test]
fn other_architectures_are_refused_by_name() {
    let supported = "isn't supported; supported: Roberta, XLMRoberta, Camembert, Bert, DistilBert, Electra and MPNet, each as \
                     Model, ForMaskedLM, ForSequenceClassification, ForTokenClassification and ForQuestionAnswering, and \
                     ElectraForPreTraining";
    for (field, value, found) in [
        (
            "architectures",
            json!(["AlbertForMaskedLM"]),
            "AlbertForMaskedLM",
        ),
        (
            "architectures",
            json!(["ElectraForMultipleChoice"]),
            "ElectraForMultipleChoice",
        ),
        (
            "architectures",
            json!(["RobertaForMultipleChoice"]),
            "RobertaForMultipleChoice",
        ),
        (
            "architectures",
            json!(["BertForPreTraining"]),
            "of the model_type roberta",
        ),
        ("model_type", json!("bert"), "of the model_type bert"),
    ] {
        refused(
            field,
            value,
            &format!(": the architecture {found} {supported}"),
        );
    }
    let directory = model(&tensors(""));
    write(directory.path(), "config.json", "{}");
    assert_error(
        open(directory.path()),
        directory.path(),
        &format!("DIR/config.json: the architecture that it doesn't name {supported}"),
    );
}

#[test]
fn what_the_graph_lacks_is_refused() {
    refused(
        "hidden_act",
        json!("relu"),
        ": hidden_act is \"relu\"; rq supports \"gelu\", \"gelu_new\", \"gelu_fast\" and \"gelu_pytorch_tanh\"",
    );
    refused(
        "position_embedding_type",
        json!("relative_key"),
        ": position_embedding_type is \"relative_key\"; rq supports \"absolute\"",
    );
    refused(
        "is_decoder",
        json!(true),
        ": is_decoder is true; rq supports false",
    );
    refused(
        "add_cross_attention",
        json!(true),
        ": add_cross_attention is true; rq supports false",
    );
    refused(
        "pad_token_id",
        Value::Null,
        ": pad_token_id is null; rq supports a token's id, behind which positions start",
    );
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    refused(
        "num_attention_heads",
        json!(5),
        " describes no model that can be: num_attention_heads is 5; it must divide hidden_size, 12",
    );
    refused(
        "vocab_size",
        json!(0),
        " describes no model that can be: vocab_size is 0; it must be from 1 to 16777216",
    );
    refused(
        "layer_norm_eps",
        json!(0.0),
        " describes no model that can be: layer_norm_eps is 0; it must be a normal, positive f32 of at most 1",
    );
    let (directory, result) = with_field("hidden_size", json!("wide"));
    let error = common::chain(&result.unwrap_err());
    let expected = format!(
        "{}/config.json isn't the JSON that it should be: ",
        directory.path().display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn the_tokenizer_says_what_is_around_a_text() {
    // As in some published models, the ids in config.json are those of another tokenizer. Only the padding counts.
    let directory = model(&tensors("roberta."));
    let mut config = common::config();
    config["bos_token_id"] = json!(700);
    config["eos_token_id"] = json!([701, 702]);
    config["pad_token_id"] = json!(3);
    write(directory.path(), "config.json", config.to_string());
    let config = open(directory.path()).unwrap().config;
    assert_eq!((config.bos_token_id, config.eos_token_id), (0, 2));
    assert_eq!((config.pad_token_id, config.position_offset), (3, 4));
    assert_eq!(
        (config.mask_token_id, config.unk_token_id),
        (Some(18), Some(3))
    );
}

#[test]
fn without_a_template_the_configuration_says_what_is_around_a_text() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    tokenizer["post_processor"] = Value::Null;
    write(dir, "tokenizer.json", tokenizer.to_string());
    // Classes with a name of their own have a template of their own.
    let class = json!({"tokenizer_class": "PreTrainedTokenizerFast"});
    write(dir, "tokenizer_config.json", class.to_string());
    let mut config = common::config();
    config["bos_token_id"] = json!(4);
    config["eos_token_id"] = json!(5);
    write(dir, "config.json", config.to_string());
    let read = open(dir).unwrap().config;
    assert_eq!((read.bos_token_id, read.eos_token_id), (4, 5));
    config["eos_token_id"] = json!(700);
    write(dir, "config.json", config.to_string());
    assert_error(
        open(dir),
        dir,
        "DIR/config.json describes no model that can be: eos_token_id is 700; the vocabulary ends at 19",
    );
}

#[test]
fn the_mask_may_have_another_name() {
    let directory = model(&tensors("roberta."));
    write(
        directory.path(),
        "tokenizer_config.json",
        json!({"mask_token": {"content": "k"}}).to_string(),
    );
    assert_eq!(
        open(directory.path()).unwrap().config.mask_token_id,
        Some(14)
    );
    write(
        directory.path(),
        "tokenizer_config.json",
        json!({"mask_token": "[MASK]"}).to_string(),
    );
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/tokenizer.json: the mask token `[MASK]` isn't in the vocabulary",
    );
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    tokenizer["model"]["vocab"]["z"] = json!(19);
    write(dir, "tokenizer.json", tokenizer.to_string());
    assert_error(
        open(dir),
        dir,
        "DIR/tokenizer.json: the token `z` has the id 19; config.json's vocab_size is 19",
    );
    write(dir, "tokenizer.json", "{\"version\": \"1.0\"}");
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.starts_with(&format!(
            "{}/tokenizer.json isn't a tokenizer that rq can use: ",
            dir.display()
        )),
        "{error}"
    );
    let mut tokenizer = common::tokenizer();
    let vocab = tokenizer["model"]["vocab"].take();
    tokenizer["model"] = json!({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"});
    write(dir, "tokenizer.json", tokenizer.to_string());
    assert_error(
        open(dir),
        dir,
        "DIR/tokenizer.json isn't a tokenizer that rq can use: its model is WordLevel; rq reads BPE, WordPiece and \
         Unigram",
    );
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    assert_error(
        open(dir),
        dir,
        "DIR has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt, vocab.txt or sentencepiece.bpe.model; download it, or save it there \
         with `save_pretrained`",
    );
}

#[test]
fn half_a_character_in_a_vocabulary_is_refused() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    for class in ["RobertaTokenizer", "PreTrainedTokenizerFast"] {
        let settings = json!({"tokenizer_class": class, "mask_token": "k", "sep_token": "[SEP]"});
        write(dir, "tokenizer_config.json", settings.to_string());
        for (whole, half) in [(r#""a":4"#, r#""\ud800":4"#), (r#""BPE""#, r#""\ud800""#)] {
            let tokenizer = common::tokenizer().to_string();
            assert!(tokenizer.contains(whole), "{tokenizer}");
            write(dir, "tokenizer.json", tokenizer.replace(whole, half));
            let error = common::chain(&open(dir).unwrap_err());
            assert!(error.contains("tokenizer.json"), "{error}");
            assert!(
                error.contains("surrogate") || error.contains("hex escape"),
                "{error}"
            );
        }
    }
}

#[test]
fn merges_that_make_no_token_are_refused() {
    // The crate panics at them.
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    tokenizer["model"]["merges"] = json!([["a", "b"]]);
    write(dir, "tokenizer.json", tokenizer.to_string());
    assert_error(
        open(dir),
        dir,
        "DIR/tokenizer.json isn't a tokenizer that rq can use: merge 0, of `a` and `b`, makes a token that the vocabulary \
         doesn't have",
    );
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    write(dir, "vocab.json", tokenizer["model"]["vocab"].to_string());
    write(dir, "merges.txt", "#version: 0.2\na b\n");
    assert_error(
        open(dir),
        dir,
        "DIR/merges.txt isn't a tokenizer that rq can use: merge 0, of `a` and `b`, makes a token that the vocabulary \
         doesn't have",
    );
}

/// What the files beside `tokenizer.json` change counts, too: here they make the normalizer lower-case.
#[test]
fn added_tokens_that_lower_casing_makes_the_same_are_refused() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    let token = |content: &str, id: u32| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": false})
    };
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocab.remove("n");
    vocab.insert("A".into(), 17.into());
    let [upper, lower] = [token("A", 17), token("a", 4)];
    tokenizer["added_tokens"]
        .as_array_mut()
        .unwrap()
        .extend([upper, lower]);
    write(dir, "tokenizer.json", tokenizer.to_string());
    let lower_case = json!({"max_seq_length": 8, "do_lower_case": true});
    write(dir, "sentence_bert_config.json", lower_case.to_string());
    write(dir, "modules.json", json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]).to_string());
    fs::create_dir(dir.join("1_Pooling")).unwrap();
    let pooling =
        json!({"word_embedding_dimension": common::HIDDEN, "pooling_mode_mean_tokens": true});
    write(&dir.join("1_Pooling"), "config.json", pooling.to_string());
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains("\"a\" and \"A\", which are both looked for as \"a\""),
        "{error}"
    );
}

/// As transformers reads `vocab.txt` into a dictionary.
#[test]
fn of_a_token_that_vocab_txt_has_twice_the_last_line_counts() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    write(
        dir,
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nb\na\nb\n",
    );
    let class = json!({"tokenizer_class": "BertTokenizer"});
    write(dir, "tokenizer_config.json", class.to_string());
    let model = open(dir).unwrap();
    let json: Value = serde_json::from_slice(model.tokenizer.json()).unwrap();
    let vocab = &json["model"]["vocab"];
    assert_eq!((&vocab["a"], &vocab["b"]), (&json!(6), &json!(7)));
    assert_eq!(vocab.as_object().unwrap().len(), 7);
}

#[test]
fn a_tokenizer_that_would_end_the_process_is_refused() {
    // The crate's tree of pieces would have a node for each byte, one inside the other: its end would overflow the stack.
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    tokenizer["model"] =
        json!({"type": "Unigram", "unk_id": 0, "vocab": [["a".repeat(1_000_000), 0.0]]});
    write(dir, "tokenizer.json", tokenizer.to_string());
    assert_error(
        open(dir),
        dir,
        "DIR/tokenizer.json isn't a tokenizer that rq can use: its model has a piece of 1000000 bytes, and may have 128",
    );
}

#[test]
fn what_sentence_piece_is_refused() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    // Another model's, where nothing says whose it is; and one that no model of the family has.
    for (file, class) in [
        ("sentencepiece.bpe.model", "RobertaTokenizer"),
        ("spiece.model", "XLMRobertaTokenizer"),
    ] {
        write(dir, file, "not read");
        let settings = json!({"tokenizer_class": class});
        write(dir, "tokenizer_config.json", settings.to_string());
        assert_error(
            open(dir),
            dir,
            &format!(
                "DIR has its tokenizer in {file}, and rq reads SentencePiece of XLM-RoBERTa and CamemBERT only; save it as \
                 tokenizer.json, with `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`"
            ),
        );
        fs::remove_file(dir.join(file)).unwrap();
    }

    let sound = golden("architectures/sentencepiece").join("sentencepiece.bpe.model");
    let sound = fs::read(sound).unwrap();
    let start = "DIR/sentencepiece.bpe.model isn't a tokenizer that rq can use: ";
    let refused = |bytes: &[u8], reason: &str| {
        write(dir, "sentencepiece.bpe.model", bytes);
        let error = common::chain(&open(dir).unwrap_err());
        let error = error.replace(&dir.display().to_string(), "DIR");
        assert!(error.starts_with(&format!("{start}{reason}")), "{error}");
    };
    refused(
        &sound[..sound.len() - 1],
        "failed to decode Protobuf message",
    );
    refused(b"", "its first pieces are [], not <unk>, <s> and </s>");
    refused(&sound[16..], "its first pieces are [\"");
    // What comes later in the file counts: the trainer's settings, with the model BPE.
    refused(
        &[&sound, &b"\x12\x02\x18\x02"[..]].concat(),
        "its model is Bpe, and rq reads Unigram",
    );
    // A table of characters of one byte.
    refused(
        &[&sound, &b"\x1a\x03\x12\x01x"[..]].concat(),
        "its normalizer has a damaged precompiled_charsmap",
    );
    let mut config = common::config();
    config["vocab_size"] = 422.into();
    write(dir, "config.json", config.to_string());
    write(dir, "added_tokens.json", r#"{"<user>": 422}"#);
    write(dir, "sentencepiece.bpe.model", &sound);
    assert_error(
        TokenizerFile::read(dir, &HfConfig::read(dir).unwrap()),
        dir,
        "DIR/sentencepiece.bpe.model: the token `<user>` has the id 422; config.json's vocab_size is 422",
    );
}

proptest! {
    #[test]
    fn a_damaged_sentence_piece_is_read_or_refused(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let directory = model(&tensors("roberta."));
        let dir = directory.path();
        fs::remove_file(dir.join("tokenizer.json")).unwrap();
        write(dir, "tokenizer_config.json", r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#);
        let mut bytes = fs::read(golden("architectures/sentencepiece").join("sentencepiece.bpe.model")).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        write(dir, "sentencepiece.bpe.model", bytes);
        let _ = open(dir);
    }
}

/// Reads the small model's configuration with another head and some fields.
fn with_head(architecture: &str, fields: &Value) -> Result<HfConfig, String> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = common::config();
    config["architectures"] = json!([architecture]);
    for (field, value) in fields.as_object().unwrap() {
        config[field] = value.clone();
    }
    write(directory.path(), "config.json", config.to_string());
    HfConfig::read(directory.path()).map_err(|error| common::chain(&error))
}

#[test]
fn labels_and_their_scores_are_as_in_transformers() {
    let three = json!({"0": "no", "1": "maybe", "2": "yes"});
    let one = json!({"0": "LABEL_0"});
    let special = rq_convert::SpecialTokens {
        bos: Some(0),
        eos: Some(2),
        mask: None,
        unk: None,
    };
    for (fields, labels, function) in [
        (json!({"id2label": three}), 3, ScoreFunction::Softmax),
        (json!({}), 2, ScoreFunction::Softmax),
        (json!({"num_labels": 5}), 5, ScoreFunction::Softmax),
        (json!({"id2label": one}), 1, ScoreFunction::Sigmoid),
        (
            json!({"id2label": three, "problem_type": "multi_label_classification"}),
            3,
            ScoreFunction::Sigmoid,
        ),
        (
            json!({"id2label": three, "problem_type": "single_label_classification"}),
            3,
            ScoreFunction::Softmax,
        ),
        (
            json!({"id2label": one, "problem_type": "regression"}),
            1,
            ScoreFunction::None,
        ),
        (
            json!({"id2label": three, "function_to_apply": "none"}),
            3,
            ScoreFunction::None,
        ),
        (
            json!({"id2label": one, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
            1,
            ScoreFunction::None,
        ),
        (
            json!({"id2label": one, "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}),
            1,
            ScoreFunction::Sigmoid,
        ),
    ] {
        let config = with_head("RobertaForSequenceClassification", &fields).unwrap();
        let config = config.config(&special, true, "q8").unwrap();
        assert_eq!(
            (config.labels.len(), config.score_function),
            (labels, Some(function)),
            "{fields}"
        );
    }
    let names = with_head("RobertaForTokenClassification", &json!({"id2label": three})).unwrap();
    assert_eq!(names.labels(), ["no", "maybe", "yes"]);
    let numbers = json!({"id2label": {"0": 1, "1": 2}});
    let names = with_head("RobertaForTokenClassification", &numbers).unwrap();
    assert_eq!(names.labels(), ["1", "2"]);
    for (fields, expected) in [
        (
            json!({"id2label": {"0": "a", "2": "b"}}),
            "id2label is 2 entries that aren't all names or numbers from 0",
        ),
        (
            json!({"id2label": {"0": "a\n"}}),
            "label 0 is \"a\\n\"; a label has at most 1024 bytes and no control characters",
        ),
        (
            json!({"id2label": {}}),
            "0 labels; the head sequence_classification has from 1 to 65536",
        ),
        (
            json!({"problem_type": "ranking"}),
            "problem_type is \"ranking\"; rq supports \"regression\"",
        ),
        (
            json!({"function_to_apply": "relu"}),
            "function_to_apply is \"relu\"; rq supports",
        ),
        (
            json!({"sbert_ce_default_activation_function": "torch.nn.Tanh"}),
            "activation is \"torch.nn.Tanh\"; rq supports",
        ),
    ] {
        let error = with_head("RobertaForSequenceClassification", &fields).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bert_has_its_own_defaults() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "config.json",
        json!({"architectures": ["BertModel"]}).to_string(),
    );
    let config = HfConfig::read(directory.path()).unwrap();
    assert_eq!((config.vocab_size(), config.type_vocab_size()), (30522, 2));
    let special = rq_convert::SpecialTokens {
        bos: Some(101),
        eos: Some(102),
        mask: Some(103),
        unk: Some(100),
    };
    let config = config.config(&special, true, "q8").unwrap();
    assert_eq!(
        (config.architecture, config.head),
        (Architecture::Bert, Head::None)
    );
    assert_eq!(
        (
            config.pad_token_id,
            config.position_offset,
            config.max_tokens()
        ),
        (0, 0, 512)
    );
    assert_eq!((&config.pooling, config.max_seq_length), (&None, None));
}

/// Reads a configuration alone.
fn read_config(config: &Value) -> Result<rq_format::Config, String> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "config.json", config.to_string());
    let special = rq_convert::SpecialTokens {
        bos: Some(0),
        eos: Some(2),
        mask: Some(4),
        unk: None,
    };
    let config = HfConfig::read(directory.path());
    let config = config.map_err(|error| common::chain(&error))?;
    Ok(config.config(&special, true, "q8").unwrap())
}

#[test]
fn distilbert_names_its_fields_itself() {
    let config = read_config(&json!({"architectures": ["DistilBertForSequenceClassification"]}));
    let config = config.unwrap();
    assert_eq!(
        (config.architecture, config.vocab_size),
        (Architecture::DistilBert, 30522)
    );
    assert_eq!(
        (config.num_hidden_layers, config.num_attention_heads),
        (6, 12)
    );
    assert_eq!((config.type_vocab_size, config.position_offset), (0, 0));
    assert_eq!(config.classifier_act, Some(ClassifierAct::Relu));

    let base = json!({"model_type": "distilbert", "architectures": ["DistilBertModel"], "dim": 24, "n_layers": 3,
        "n_heads": 2, "hidden_dim": 40, "activation": "gelu_new", "pad_token_id": null,
        // What transformers doesn't read.
        "intermediate_size": 7, "hidden_act": "relu", "layer_norm_eps": 0.5, "type_vocab_size": 2});
    let config = read_config(&base).unwrap();
    assert_eq!((config.hidden_size, config.num_hidden_layers), (24, 3));
    assert_eq!(
        (config.num_attention_heads, config.intermediate_size),
        (2, 40)
    );
    assert_eq!(
        (config.hidden_act, config.layer_norm_eps),
        (HiddenAct::GeluTanh, 1e-12)
    );
    assert_eq!((config.type_vocab_size, config.pad_token_id), (0, 0));

    // What it does read by another name, too.
    let mut other = base.clone();
    let fields = other.as_object_mut().unwrap();
    fields.remove("n_heads");
    fields.insert("num_attention_heads".into(), json!(4));
    assert_eq!(read_config(&other).unwrap().num_attention_heads, 4);
    other["n_heads"] = json!(2);
    let error = read_config(&other).unwrap_err();
    let expected =
        "n_heads is 2 and num_attention_heads, its other name, 4; rq supports one value for both";
    assert!(error.ends_with(expected), "{error}");
    other["n_heads"] = json!(4);
    assert_eq!(read_config(&other).unwrap().num_attention_heads, 4);
}

#[test]
fn electra_has_its_own_defaults_and_a_head_of_its_own() {
    let electra = |head: &str| json!({"architectures": [format!("Electra{head}")]});
    let config = read_config(&electra("ForMaskedLM")).unwrap();
    assert_eq!(config.architecture, Architecture::Electra);
    assert_eq!(
        (config.hidden_size, config.embedding_size),
        (256, Some(128))
    );
    assert_eq!(
        (config.num_attention_heads, config.intermediate_size),
        (4, 1024)
    );
    assert_eq!((config.type_vocab_size, config.position_offset), (2, 0));
    let mut fields = electra("ForSequenceClassification");
    fields["embedding_size"] = json!(256);
    fields["hidden_act"] = json!("gelu_new");
    let config = read_config(&fields).unwrap();
    assert_eq!(config.embedding_size, None);
    assert_eq!(config.classifier_act, Some(ClassifierAct::Gelu));
    fields["architectures"] = json!(["ElectraForPreTraining"]);
    let config = read_config(&fields).unwrap();
    assert_eq!(config.head, Head::TokenClassification);
    assert_eq!(config.labels, ["original", "replaced"]);
    assert_eq!(config.classifier_act, Some(ClassifierAct::GeluTanh));
    let config = read_config(&electra("ForTokenClassification")).unwrap();
    assert_eq!(config.classifier_act, None);
}

#[test]
fn mpnet_counts_from_its_own_padding() {
    let mut fields =
        json!({"architectures": ["MPNetForMaskedLM"], "pad_token_id": 0, "type_vocab_size": 2});
    let config = read_config(&fields).unwrap();
    assert_eq!(config.architecture, Architecture::MpNet);
    assert_eq!((config.vocab_size, config.type_vocab_size), (30527, 0));
    // transformers has it in the code.
    assert_eq!((config.pad_token_id, config.position_offset), (1, 2));
    fields["relative_attention_num_buckets"] = json!(64);
    let error = read_config(&fields).unwrap_err();
    let expected = "relative_attention_num_buckets is 64; rq supports 32";
    assert!(error.ends_with(expected), "{error}");
}

/// What transformers 5.24 makes of these, in a model in small letters: special tokens are matched as they are written.
#[test]
fn mpnets_unknown_token_is_the_one_that_its_settings_name() {
    let from = golden("architectures/mpnet-qa");
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    for file in fs::read_dir(&from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let read = |file: &str| -> Value {
        serde_json::from_slice(&fs::read(from.join(file)).unwrap()).unwrap()
    };
    // "[unk]" and "<unk>" as letters, where they aren't tokens.
    let (square, angle): (&[u32], &[u32]) = (&[37, 63, 96, 93, 39], &[32, 63, 96, 93, 34]);
    for (in_vocabulary, unk, expected) in [
        ("[UNK]", "[UNK]", [angle, angle, &[4], square]),
        ("[UNK]", "<unk>", [&[3], angle, square, square]),
        ("[unk]", "[unk]", [angle, angle, square, &[4]]),
    ] {
        let (mut settings, mut tokenizer) = (read("tokenizer_config.json"), read("tokenizer.json"));
        settings["unk_token"] = json!(unk);
        tokenizer["added_tokens"] = json!([]);
        tokenizer["model"]["unk_token"] = json!(in_vocabulary);
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("[UNK]").unwrap();
        vocab.insert(in_vocabulary.into(), id);
        write(dir, "tokenizer_config.json", settings.to_string());
        write(dir, "tokenizer.json", tokenizer.to_string());
        let made = open(dir).unwrap();
        let made = tokenizers::Tokenizer::from_bytes(made.tokenizer.json()).unwrap();
        let ids = made.encode("a <unk> <UNK> [UNK] [unk]", true).unwrap();
        let around = [&[0, 43][..], &expected.concat(), &[2]].concat();
        assert_eq!(ids.get_ids(), around, "{in_vocabulary} {unk}");
    }
}

#[test]
fn sentence_encoders_say_how_they_pool() {
    let read = |files: &[(&str, Value)]| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = common::config();
        config["architectures"] = json!(["RobertaModel"]);
        write(directory.path(), "config.json", config.to_string());
        fs::create_dir(directory.path().join("1_Pooling")).unwrap();
        for (file, content) in files {
            write(directory.path(), file, content.to_string());
        }
        let special = rq_convert::SpecialTokens {
            bos: Some(0),
            eos: Some(2),
            mask: None,
            unk: None,
        };
        let config = HfConfig::read(directory.path()).map_err(|error| {
            common::chain(&error).replace(directory.path().to_str().unwrap(), "DIR")
        })?;
        Ok::<_, String>(config.config(&special, true, "q8").unwrap())
    };
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    let transformer = module("", "Transformer");
    let pooling = module("1_Pooling", "Pooling");
    let normalize = module("2_Normalize", "Normalize");
    let mode = |name: &str| {
        let mut settings = json!({"word_embedding_dimension": 12, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false});
        settings[format!("pooling_mode_{name}")] = true.into();
        settings
    };
    let two = json!([transformer, pooling]);
    let three = json!([transformer, pooling, normalize]);
    for (name, modules, expected, normalize) in [
        ("mean_tokens", &three, PoolingMode::Mean, true),
        ("cls_token", &two, PoolingMode::Cls, false),
        ("max_tokens", &two, PoolingMode::Max, false),
    ] {
        let config = read(&[
            ("modules.json", modules.clone()),
            ("1_Pooling/config.json", mode(name)),
            (
                "sentence_bert_config.json",
                json!({"max_seq_length": 5, "do_lower_case": true}),
            ),
        ])
        .unwrap();
        assert_eq!(
            config.pooling,
            Some(Pooling {
                layers: vec![EmbeddingLayer::Normalize; usize::from(normalize)],
                ..Pooling::of(expected)
            })
        );
        // Of ten positions, two come before the first.
        assert_eq!((config.max_seq_length, config.max_tokens()), (Some(5), 5));
    }
    let long = read(&[
        ("modules.json", two.clone()),
        ("1_Pooling/config.json", json!({"pooling_mode": "mean"})),
        ("sentence_bert_config.json", json!({"max_seq_length": 512})),
    ]);
    let long = long.unwrap();
    assert_eq!((long.max_seq_length, long.max_tokens()), (None, 8));
    assert_eq!(long.pooling.as_ref().unwrap().modes, [PoolingMode::Mean]);
    // Several, in the order of sentence-transformers; none is the mean.
    for (settings, expected) in [
        (
            json!({"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}),
            vec![PoolingMode::Cls, PoolingMode::Mean, PoolingMode::LastToken],
        ),
        (
            json!({"pooling_mode": ["weightedmean", "mean_sqrt_len_tokens"]}),
            vec![PoolingMode::WeightedMean, PoolingMode::MeanSqrtLen],
        ),
        (json!({}), vec![PoolingMode::Mean]),
    ] {
        let config = read(&[
            ("modules.json", two.clone()),
            ("1_Pooling/config.json", settings),
        ]);
        assert_eq!(config.unwrap().pooling.as_ref().unwrap().modes, expected);
    }
    for (files, expected) in [
        (
            vec![
                (
                    "modules.json",
                    json!([transformer, pooling, module("2_CNN", "CNN")]),
                ),
                ("1_Pooling/config.json", mode("mean_tokens")),
            ],
            "DIR/modules.json: a module is CNN in place 2; rq supports Transformer, then Pooling, then Dense, Normalize or nothing",
        ),
        (
            vec![(
                "modules.json",
                json!([transformer, module("../x", "Pooling")]),
            )],
            "DIR/modules.json: a module is at \"../x\"; rq supports a directory's name, as \"1_Pooling\"",
        ),
        (
            vec![
                ("modules.json", two.clone()),
                (
                    "1_Pooling/config.json",
                    json!({"pooling_mode": "attention"}),
                ),
            ],
            "DIR/1_Pooling/config.json: pooling_mode is \"attention\"; rq supports cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken",
        ),
        (
            vec![
                ("modules.json", two.clone()),
                ("1_Pooling/config.json", json!({"pooling_mode": []})),
            ],
            "DIR/1_Pooling/config.json: pooling_mode is no mode; rq supports",
        ),
        (
            vec![("modules.json", two.clone())],
            "DIR/1_Pooling/config.json",
        ),
    ] {
        let error = read(&files).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sparse_encoders_say_how_they_pool() {
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.{kind}")});
    let old = json!([
        module("", "sparse_encoder.models.MLMTransformer"),
        module("1_SpladePooling", "sparse_encoder.models.SpladePooling")
    ]);
    let new = json!([
        module("", "base.modules.transformer.Transformer"),
        module(
            "1_SpladePooling",
            "sparse_encoder.modules.splade_pooling.SpladePooling"
        )
    ]);
    let read = |modules: &Value, architecture: &str, files: &[(&str, Value)]| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = common::config();
        config["architectures"] = json!([architecture]);
        write(directory.path(), "config.json", config.to_string());
        write(directory.path(), "modules.json", modules.to_string());
        for folder in ["1_SpladePooling", "1_Pooling"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
            write(directory.path(), &format!("{folder}/config.json"), "{}");
        }
        for (file, content) in files {
            write(directory.path(), file, content.to_string());
        }
        let special = rq_convert::SpecialTokens {
            bos: Some(0),
            eos: Some(2),
            mask: Some(4),
            unk: None,
        };
        let config = HfConfig::read(directory.path()).map_err(|error| {
            common::chain(&error).replace(directory.path().to_str().unwrap(), "DIR")
        })?;
        Ok::<_, String>(config.config(&special, true, "q8").unwrap())
    };
    let pooling = "1_SpladePooling/config.json";
    let settings = "sentence_bert_config.json";
    let whole = "config_sentence_transformers.json";
    let fill_mask = || {
        (
            settings,
            json!({"transformer_task": "fill-mask", "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}}),
        )
    };
    // What isn't said is as sentence-transformers has it; the head follows from the modules.
    for (modules, architecture, files) in [
        (&old, "RobertaForMaskedLM", vec![]),
        (&old, "RobertaModel", vec![]),
        (&new, "RobertaForMaskedLM", vec![fill_mask()]),
    ] {
        let config = read(modules, architecture, &files).unwrap();
        assert_eq!(config.head, Head::MaskedLm);
        assert_eq!(config.sparse_pooling, Some(SparsePooling::default()));
    }
    let config = read(
        &old,
        "RobertaForMaskedLM",
        &[
            (
                pooling,
                json!({"pooling_strategy": "sum", "activation_function": "log1p_relu"}),
            ),
            (
                whole,
                json!({"max_active_dims": 7, "prompts": {"query": "q: "}, "default_prompt_name": "query"}),
            ),
        ],
    );
    let expected = SparsePooling {
        mode: SparseMode::Sum,
        activation: SparseActivation::Log1pRelu,
        max_active_dims: Some(7),
        prompts: [("query".to_owned(), "q: ".to_owned())].into(),
        default_prompt: Some("query".into()),
    };
    assert_eq!(config.unwrap().sparse_pooling, Some(expected));

    let mut more = old.as_array().unwrap().clone();
    more.push(module("2_Normalize", "models.Normalize"));
    let dense = json!([old[0], module("1_Pooling", "models.Pooling")]);
    for (modules, files, expected) in [
        (
            &old,
            vec![(pooling, json!({"pooling_strategy": "mean"}))],
            "DIR/1_SpladePooling/config.json: pooling_strategy is \"mean\"; rq supports \"max\" and \"sum\"",
        ),
        (
            &old,
            vec![(pooling, json!({"activation_function": 1}))],
            "DIR/1_SpladePooling/config.json: activation_function is 1; rq supports \"relu\" and \"log1p_relu\"",
        ),
        (
            &old,
            vec![(whole, json!({"max_active_dims": 0}))],
            "DIR/config_sentence_transformers.json: max_active_dims is 0; rq supports 1 or more, or null",
        ),
        // Hidden states aren't logits, and the other way round.
        (
            &new,
            vec![],
            "DIR/modules.json: transformer_task is \"feature-extraction\"; rq supports \"fill-mask\" before SpladePooling",
        ),
        (
            &dense,
            vec![],
            "DIR/modules.json: transformer_task is \"fill-mask\"; rq supports \"feature-extraction\" before Pooling",
        ),
        (
            &new,
            vec![(
                settings,
                json!({"transformer_task": "fill-mask", "modality_config": {"text": {"method_output_name": "last_hidden_state"}}}),
            )],
            "DIR/sentence_bert_config.json: modality_config's text is {\"method_output_name\":\"last_hidden_state\"}; rq supports the method \"forward\" with logits",
        ),
        (
            &json!(more),
            vec![],
            "DIR/modules.json: a module is Normalize in place 2; rq supports nothing behind SpladePooling",
        ),
    ] {
        let error = read(modules, "RobertaForMaskedLM", &files).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_vocabulary_without_its_tokens_is_refused() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    write(
        dir,
        "vocab.json",
        json!({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}).to_string(),
    );
    write(dir, "merges.txt", "#version: 0.2\n");
    assert_error(
        open(dir),
        dir,
        "DIR/vocab.json: the mask token `<mask>` isn't in the vocabulary",
    );
    write(
        dir,
        "vocab.json",
        json!({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}).to_string(),
    );
    open(dir).unwrap();
    write(dir, "added_tokens.json", json!({"<new>": 5}).to_string());
    let added = open(dir).unwrap();
    let tokenizer = rq_tokenizer::Pipeline::read(added.tokenizer.json()).unwrap();
    assert_eq!(tokenizer.token_to_id("<new>"), Some(5));
}
