//! `config.json` and the tokenizer: defaults, and what is refused.

mod common;

use common::{assert_error, find, model, tensors, write};
use rq_convert::{ConvertError, HfConfig, Pretrained};
use rq_format::HiddenAct;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn open(directory: &Path) -> Result<Pretrained, ConvertError> {
    Pretrained::open(&find(directory)?, "q8")
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
        mask: 50264,
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
    refused(
        "architectures",
        json!(["BertForMaskedLM"]),
        ": the architecture BertForMaskedLM isn't supported; supported: RobertaForMaskedLM",
    );
    refused(
        "architectures",
        json!(["RobertaForSequenceClassification"]),
        ": the architecture RobertaForSequenceClassification isn't supported; supported: RobertaForMaskedLM",
    );
    refused(
        "architectures",
        Value::Null,
        ": the architecture of the model_type roberta isn't supported; supported: RobertaForMaskedLM",
    );
    refused(
        "model_type",
        json!("xlm-roberta"),
        ": the architecture of the model_type xlm-roberta isn't supported; supported: RobertaForMaskedLM",
    );
    let directory = model(&tensors(""));
    write(directory.path(), "config.json", "{}");
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/config.json: the architecture that it doesn't name isn't supported; supported: RobertaForMaskedLM",
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
    assert_eq!((config.mask_token_id, config.unk_token_id), (18, Some(3)));
}

#[test]
fn without_a_template_the_configuration_says_what_is_around_a_text() {
    let directory = model(&tensors("roberta."));
    let dir = directory.path();
    let mut tokenizer = common::tokenizer();
    tokenizer["post_processor"] = Value::Null;
    write(dir, "tokenizer.json", tokenizer.to_string());
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
    assert_eq!(open(directory.path()).unwrap().config.mask_token_id, 14);
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
        "DIR/tokenizer.json isn't a tokenizer that rq can use: its model isn't byte-level BPE, which is RoBERTa's and the \
         only kind that rq reads",
    );
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    assert_error(
        open(dir),
        dir,
        "DIR has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt; download it, or save it there \
         with `save_pretrained`",
    );
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
    assert_error(
        open(dir),
        dir,
        "DIR/added_tokens.json adds the token `<new>`, which vocab.json doesn't have; save the tokenizer as \
         tokenizer.json, with `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`",
    );
}
