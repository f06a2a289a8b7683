//! Small checkpoints, written by hand, and the committed test data.

pub(crate) mod torch;

use half::{bf16, f16};
use rq_convert::{HubCache, Source};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Sizes of the small model: a head of 6 values, so that heads need padding; rows and columns that end in mid-panel.
pub(crate) const VOCAB: usize = 19;
pub(crate) const HIDDEN: usize = 12;
pub(crate) const HEADS: usize = 2;
pub(crate) const INTERMEDIATE: usize = 20;
pub(crate) const POSITIONS: usize = 10;

/// Tensors by name: shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    BF16,
    I32,
}

/// The committed models and tokenizers.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data")
        .join(name)
}

/// The committed answers of transformers.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/goldens")
        .join(name)
}

pub(crate) fn source(directory: &Path) -> Source {
    find(directory).unwrap()
}

pub(crate) fn find(directory: &Path) -> Result<Source, rq_convert::ConvertError> {
    Ok(Source::find(
        directory.to_str().unwrap(),
        &HubCache::default(),
    )?)
}

/// An error and its causes, as a program would print them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn config() -> Value {
    json!({
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1
    })
}

/// A tokenizer of 19 tokens: five special ones and the letters a to n.
pub(crate) fn tokenizer() -> Value {
    let mut vocab = json!({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 18});
    for (i, letter) in ('a'..='n').enumerate() {
        vocab[letter.to_string()] = json!(4 + i);
    }
    let added = [
        ("<s>", 0),
        ("<pad>", 1),
        ("</s>", 2),
        ("<unk>", 3),
        ("<mask>", 18),
    ];
    let added: Vec<Value> = added
        .iter()
        .map(|(content, id)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": *id == 18, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
            "trim_offsets": true, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    })
}

/// Every tensor of the small model, with values that f16 and bf16 hold exactly. `prefix` is `roberta.` or nothing.
pub(crate) fn tensors(prefix: &str) -> Tensors {
    let mut tensors = Tensors::new();
    let mut seed = 1u32;
    let mut push = |name: String, shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f32::from((seed >> 24) as u8) - 128.0) / 64.0
        });
        tensors.insert(name, (shape.to_vec(), values.collect()));
    };
    for (table, rows) in [("word", VOCAB), ("position", POSITIONS), ("token_type", 1)] {
        push(
            format!("{prefix}embeddings.{table}_embeddings.weight"),
            &[rows, HIDDEN],
        );
    }
    push("lm_head.bias".into(), &[VOCAB]);
    let mut with_bias = |name: String, shape: &[usize]| {
        push(format!("{name}.weight"), shape);
        push(format!("{name}.bias"), &shape[..1]);
    };
    with_bias(format!("{prefix}embeddings.LayerNorm"), &[HIDDEN]);
    for n in 0..2 {
        let layer = format!("{prefix}encoder.layer.{n}");
        for part in ["query", "key", "value"] {
            with_bias(format!("{layer}.attention.self.{part}"), &[HIDDEN, HIDDEN]);
        }
        with_bias(format!("{layer}.attention.output.dense"), &[HIDDEN, HIDDEN]);
        with_bias(format!("{layer}.attention.output.LayerNorm"), &[HIDDEN]);
        with_bias(
            format!("{layer}.intermediate.dense"),
            &[INTERMEDIATE, HIDDEN],
        );
        with_bias(format!("{layer}.output.dense"), &[HIDDEN, INTERMEDIATE]);
        with_bias(format!("{layer}.output.LayerNorm"), &[HIDDEN]);
    }
    with_bias("lm_head.dense".into(), &[HIDDEN, HIDDEN]);
    with_bias("lm_head.layer_norm".into(), &[HIDDEN]);
    tensors
}

/// A safetensors file of these tensors.
pub(crate) fn safetensors(tensors: &Tensors, dtype: Dtype) -> Vec<u8> {
    let mut header = json!({"__metadata__": {"format": "pt"}});
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        for &x in values {
            match dtype {
                Dtype::F32 => data.extend(x.to_le_bytes()),
                Dtype::F16 => data.extend(f16::from_f32(x).to_le_bytes()),
                Dtype::BF16 => data.extend(bf16::from_f32(x).to_le_bytes()),
                Dtype::I32 => data.extend((x as i32).to_le_bytes()),
            }
        }
        header[name] = json!({"dtype": format!("{dtype:?}"), "shape": shape, "data_offsets": [start, data.len()]});
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// A directory with the small model.
pub(crate) fn model(tensors: &Tensors) -> tempfile::TempDir {
    model_with(tensors, Dtype::F32, &config())
}

pub(crate) fn model_with(tensors: &Tensors, dtype: Dtype, config: &Value) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "config.json", config.to_string());
    write(directory.path(), "tokenizer.json", tokenizer().to_string());
    write(
        directory.path(),
        "model.safetensors",
        safetensors(tensors, dtype),
    );
    directory
}

pub(crate) fn write(directory: &Path, file: &str, content: impl AsRef<[u8]>) {
    fs::write(directory.join(file), content).unwrap();
}

/// Checks that an error is one line, and this one. `DIR` in what is expected stands for the model's directory.
#[track_caller]
pub(crate) fn assert_error<T>(
    result: Result<T, impl Into<rq_convert::ConvertError>>,
    directory: &Path,
    expected: &str,
) {
    let Err(error) = result else {
        panic!("expected an error: {expected}");
    };
    let found = chain(&error.into());
    assert_eq!(found.lines().count(), 1, "{found}");
    assert_eq!(found.replace(directory.to_str().unwrap(), "DIR"), expected);
}
