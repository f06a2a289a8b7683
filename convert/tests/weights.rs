//! The weights: the forms that are read, and what is refused.

use crate::common;
use crate::common::{
    Dtype, HIDDEN, Tensors, VOCAB, assert_error, find, model, model_with, safetensors, tensors,
    write,
};
use rq_convert::{Checkpoint, ConvertError, HfConfig};
use serde_json::json;
use std::fs;
use std::path::Path;

const WORD: &str = "roberta.embeddings.word_embeddings.weight";
const DECODER: &str = "lm_head.decoder.weight";

fn open(directory: &Path) -> Result<Checkpoint, ConvertError> {
    Ok(Checkpoint::open(
        &find(directory)?,
        &HfConfig::read(directory)?,
    )?)
}

/// Writes the tensors as two shards and an index.
fn shard(directory: &Path, tensors: &Tensors) {
    let _ = fs::remove_file(directory.join("model.safetensors"));
    let mut parts = [Tensors::new(), Tensors::new()];
    let mut map = json!({});
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        parts[i % 2].insert(name.clone(), tensor.clone());
        map[name] = json!(format!("model-{}.safetensors", i % 2));
    }
    for (i, part) in parts.iter().enumerate() {
        write(
            directory,
            &format!("model-{i}.safetensors"),
            safetensors(part, Dtype::F32),
        );
    }
    write(
        directory,
        "model.safetensors.index.json",
        json!({"weight_map": map}).to_string(),
    );
}

#[track_caller]
fn refused(tensors: &Tensors, expected: &str) {
    let directory = model(tensors);
    assert_error(open(directory.path()), directory.path(), expected);
}

#[test]
fn every_form_has_the_same_values() {
    let with_prefix = tensors("roberta.");
    let expected = &with_prefix[WORD].1;
    let word = |checkpoint: &Checkpoint| {
        checkpoint
            .tensor("embeddings.word_embeddings.weight")
            .unwrap()
    };
    for prefix in ["roberta.", ""] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let directory = model_with(&tensors(prefix), dtype, &common::config());
            let checkpoint = open(directory.path()).unwrap();
            assert_eq!(&word(&checkpoint), expected, "{prefix} {dtype:?}");
            assert_eq!(checkpoint.ignored(), [""; 0]);
            let mut rows = vec![0.0; 3 * HIDDEN];
            checkpoint
                .read_rows("embeddings.word_embeddings.weight", 7..10, &mut rows)
                .unwrap();
            assert_eq!(rows, expected[7 * HIDDEN..10 * HIDDEN]);
        }
    }
    let directory = model(&with_prefix);
    shard(directory.path(), &with_prefix);
    let checkpoint = open(directory.path()).unwrap();
    assert_eq!(&word(&checkpoint), expected);
    let names: Vec<String> = checkpoint.files().iter().map(|f| f.name()).collect();
    assert_eq!(names, ["model-0.safetensors", "model-1.safetensors"]);
}

#[test]
fn a_decoder_of_its_own_is_kept() {
    let mut tensors = tensors("roberta.");
    assert!(open(model(&tensors).path()).unwrap().tied());
    // The same values: tied, whatever the configuration says.
    tensors.insert(DECODER.into(), tensors[WORD].clone());
    let mut config = common::config();
    for tie in [true, false] {
        config["tie_word_embeddings"] = json!(tie);
        let checkpoint = open(model_with(&tensors, Dtype::F32, &config).path()).unwrap();
        assert!(checkpoint.tied());
        assert_eq!(checkpoint.ignored(), [DECODER]);
    }
    // Other values: its own, whatever the configuration says, as transformers 5 has it.
    if let Some((_, values)) = tensors.get_mut(DECODER) {
        values[VOCAB * HIDDEN - 1] += 0.5;
    }
    for tie in [true, false] {
        config["tie_word_embeddings"] = json!(tie);
        let checkpoint = open(model_with(&tensors, Dtype::F32, &config).path()).unwrap();
        assert!(!checkpoint.tied());
        assert_eq!(checkpoint.tensor(DECODER).unwrap(), tensors[DECODER].1);
        assert_eq!(checkpoint.ignored(), [""; 0]);
    }
    // Only the decoder: the word embeddings are tied to it.
    let decoder = tensors[DECODER].1.clone();
    tensors.remove(WORD);
    let checkpoint = open(model(&tensors).path()).unwrap();
    assert!(checkpoint.tied());
    assert_eq!(
        checkpoint
            .tensor("embeddings.word_embeddings.weight")
            .unwrap(),
        decoder
    );
}

#[test]
fn an_untied_model_must_have_its_decoder() {
    let mut config = common::config();
    config["tie_word_embeddings"] = json!(false);
    let directory = model_with(&tensors("roberta."), Dtype::F32, &config);
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/model.safetensors lacks 1 of the model's tensors: lm_head.decoder.weight (config.json has \
         tie_word_embeddings false)",
    );
}

#[test]
fn the_decoder_bias_has_two_names() {
    let mut tensors = tensors("roberta.");
    let bias = tensors["lm_head.bias"].clone();
    let read = |tensors: &Tensors| {
        let checkpoint = open(model(tensors).path()).unwrap();
        (
            checkpoint.tensor("lm_head.decoder.bias").unwrap(),
            checkpoint.ignored().to_vec(),
        )
    };
    assert_eq!(read(&tensors), (bias.1.clone(), vec![]));
    tensors.insert("lm_head.decoder.bias".into(), bias.clone());
    assert_eq!(
        read(&tensors),
        (bias.1.clone(), vec!["lm_head.bias".into()])
    );
    // Where they differ, the layer's own is the one that transformers adds.
    tensors.insert("lm_head.bias".into(), (bias.0.clone(), vec![9.0; VOCAB]));
    assert_eq!(
        read(&tensors),
        (bias.1.clone(), vec!["lm_head.bias".into()])
    );
    tensors.remove("lm_head.bias");
    assert_eq!(read(&tensors), (bias.1, vec![]));
    tensors.remove("lm_head.decoder.bias");
    refused(
        &tensors,
        "DIR/model.safetensors lacks 1 of the model's tensors: lm_head.bias (or lm_head.decoder.bias)",
    );
}

#[test]
fn norms_may_have_the_names_of_tensorflow() {
    let with_new_names = tensors("roberta.");
    let expected = open(model(&with_new_names).path()).unwrap();
    for prefix in ["roberta.", ""] {
        let old = |name: String| match name.rsplit_once('.') {
            Some((norm, "weight")) if norm.ends_with("LayerNorm") => format!("{norm}.gamma"),
            Some((norm, "bias")) if norm.ends_with("LayerNorm") => format!("{norm}.beta"),
            _ => name,
        };
        let tensors: Tensors = tensors(prefix)
            .into_iter()
            .map(|(k, v)| (old(k), v))
            .collect();
        assert!(tensors.contains_key(&format!("{prefix}encoder.layer.1.output.LayerNorm.gamma")));
        let checkpoint = open(model(&tensors).path()).unwrap();
        assert_eq!(checkpoint.ignored(), [""; 0]);
        for name in [
            "embeddings.LayerNorm.weight",
            "encoder.layer.1.attention.output.LayerNorm.bias",
        ] {
            assert_eq!(
                checkpoint.tensor(name).unwrap(),
                expected.tensor(name).unwrap()
            );
        }
    }
    // A missing one goes by its new name.
    let mut tensors = with_new_names;
    tensors.remove("roberta.embeddings.LayerNorm.bias");
    refused(
        &tensors,
        "DIR/model.safetensors lacks 1 of the model's tensors: roberta.embeddings.LayerNorm.bias",
    );
}

#[test]
fn what_the_model_does_not_need_is_named() {
    let mut tensors = tensors("roberta.");
    for name in [
        "roberta.pooler.dense.weight",
        "roberta.embeddings.position_ids",
        "something.else",
    ] {
        tensors.insert(name.into(), (vec![2], vec![f32::NAN; 2]));
    }
    let checkpoint = open(model(&tensors).path()).unwrap();
    let expected = [
        "roberta.embeddings.position_ids",
        "roberta.pooler.dense.weight",
        "something.else",
    ];
    assert_eq!(checkpoint.ignored(), expected);
}

#[test]
fn missing_tensors_are_listed() {
    let mut tensors = tensors("roberta.");
    tensors.remove("roberta.encoder.layer.1.output.dense.bias");
    tensors.remove("lm_head.layer_norm.weight");
    refused(
        &tensors,
        "DIR/model.safetensors lacks 2 of the model's tensors: roberta.encoder.layer.1.output.dense.bias, \
         lm_head.layer_norm.weight",
    );
    tensors.retain(|name, _| !name.contains("layer.1."));
    refused(
        &tensors,
        "DIR/model.safetensors lacks 17 of the model's tensors: roberta.encoder.layer.1.attention.self.query.weight, \
         roberta.encoder.layer.1.attention.self.query.bias, roberta.encoder.layer.1.attention.self.key.weight, \
         roberta.encoder.layer.1.attention.self.key.bias, roberta.encoder.layer.1.attention.self.value.weight and 12 \
         more",
    );
}

#[test]
fn shapes_and_types_are_checked() {
    let mut tensors = tensors("roberta.");
    tensors.insert(
        "lm_head.dense.weight".into(),
        (vec![HIDDEN, 13], vec![0.5; HIDDEN * 13]),
    );
    refused(
        &tensors,
        "DIR/model.safetensors: the tensor `lm_head.dense.weight` has the shape [12, 13]; config.json asks for [12, 12]",
    );
    let directory = model_with(&common::tensors(""), Dtype::I32, &common::config());
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/model.safetensors: the tensor `embeddings.word_embeddings.weight` is in I32; rq reads F64, F32, F16 and BF16",
    );
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    for (value, name) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let mut tensors = tensors("roberta.");
            if let Some((_, values)) = tensors.get_mut(WORD) {
                values[5 * HIDDEN + 3] = value;
            }
            let directory = model_with(&tensors, dtype, &common::config());
            let checkpoint = open(directory.path()).unwrap();
            assert_error(
                checkpoint.tensor("embeddings.word_embeddings.weight"),
                directory.path(),
                &format!(
                    "DIR/model.safetensors: the tensor `{WORD}` has {name} at row 5, column 3; such a model can't be \
                     converted"
                ),
            );
        }
    }
}

#[test]
fn damaged_files_are_refused() {
    let tensors = tensors("roberta.");
    let whole = safetensors(&tensors, Dtype::F32);
    let directory = model(&tensors);
    let dir = directory.path();
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    for len in [
        0,
        5,
        8,
        100,
        header - 1,
        header,
        header + 1,
        whole.len() - 1,
    ] {
        write(dir, "model.safetensors", &whole[..len]);
        assert_error(
            open(dir),
            dir,
            &format!(
                "DIR/model.safetensors has {len} bytes, and its header says otherwise: it is incomplete or damaged; \
                 download it again"
            ),
        );
    }
    write(dir, "model.safetensors", [&whole[..], b"more"].concat());
    let error = common::chain(&open(dir).unwrap_err());
    assert!(error.contains("its header says otherwise"), "{error}");

    write(
        dir,
        "model.safetensors",
        "<!DOCTYPE html><html><body>404</body></html>",
    );
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains("isn't a safetensors file: header too large; download it again"),
        "{error}"
    );
    let mut garbage = whole.clone();
    garbage[9] = b'!';
    write(dir, "model.safetensors", garbage);
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains("isn't a safetensors file: invalid JSON in header"),
        "{error}"
    );

    write(
        dir,
        "model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    );
    assert_error(
        open(dir),
        dir,
        "DIR/model.safetensors is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    );
}

#[test]
fn damaged_shards_are_refused() {
    let tensors = tensors("roberta.");
    let directory = model(&tensors);
    let dir = directory.path();
    shard(dir, &tensors);
    let second = fs::read(dir.join("model-1.safetensors")).unwrap();
    write(dir, "model-1.safetensors", &second[..second.len() - 4]);
    assert_error(
        open(dir),
        dir,
        &format!(
            "DIR/model-1.safetensors has {} bytes, and its header says otherwise: it is incomplete or damaged; download \
             it again",
            second.len() - 4
        ),
    );
    fs::remove_file(dir.join("model-1.safetensors")).unwrap();
    assert_error(
        open(dir),
        dir,
        "DIR/model.safetensors.index.json names the shard `model-1.safetensors`, which isn't beside it; download it",
    );
    let mut other = tensors.clone();
    other.remove(WORD);
    write(dir, "model-1.safetensors", safetensors(&other, Dtype::F32));
    write(dir, "model-0.safetensors", safetensors(&other, Dtype::F32));
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains(&format!(
            "says that the tensor `{WORD}` is in the shard `model-"
        )),
        "{error}"
    );

    for shard in ["../model.safetensors", "/etc/passwd", "..", ""] {
        let index = json!({"weight_map": {WORD: shard}});
        write(dir, "model.safetensors.index.json", index.to_string());
        assert_error(
            open(dir),
            dir,
            &format!(
                "DIR/model.safetensors.index.json names the shard `{shard}`; a shard is a file in the same directory"
            ),
        );
    }
    write(dir, "model.safetensors.index.json", "[]");
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains("model.safetensors.index.json isn't the JSON that it should be: "),
        "{error}"
    );
}
