//! What the files of a model are called.

use serde::Deserialize;
use std::path::Path;

/// The index of sharded weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Weights in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The same two, as torch.save writes them.
pub(crate) const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
pub(crate) const TORCH_WEIGHTS: &str = "pytorch_model.bin";
/// A model's weights, or the index of their shards. The first one present is read, as in transformers.
pub(crate) const ANY_WEIGHTS: [&str; 4] = [WEIGHTS, INDEX, TORCH_WEIGHTS, TORCH_INDEX];

/// A sentence encoder's list of modules.
pub(crate) const MODULES: &str = "modules.json";
/// A sentence encoder's prompts.
pub(crate) const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";
/// The settings of its first module, under the names that sentence-transformers looks for, in its order.
pub(crate) const TRANSFORMER_SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// What is read if it is there, in the folder of the checkpoint.
pub(crate) const OPTIONAL: [&str; 3] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// A module of a sentence encoder.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Module {
    /// The folder of its files; empty for the checkpoint's own.
    #[serde(default)]
    pub(crate) path: String,
    /// The class of sentence-transformers, with its path in Python.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// The modules that a `modules.json` lists.
pub(crate) fn modules(json: &[u8]) -> serde_json::Result<Vec<Module>> {
    serde_json::from_slice(json)
}

/// Those of the list in a directory; none without a list. One that can't be read is for the converter to complain of.
pub(crate) fn modules_in(directory: &Path) -> Vec<Module> {
    let list = std::fs::read(directory.join(MODULES)).unwrap_or_default();
    modules(&list).unwrap_or_default()
}

/// The folder of the first module, which runs the checkpoint; empty for the directory itself.
pub(crate) fn transformer_folder(list: &[Module]) -> &str {
    let folder = list.first().map_or("", |module| module.path.as_str());
    if is_folder(folder) { folder } else { "" }
}

/// The path of a file in a folder; empty stands for the directory itself.
pub(crate) fn in_folder(folder: &str, file: &str) -> String {
    match folder {
        "" => file.to_owned(),
        folder => format!("{folder}/{file}"),
    }
}

/// Whether this is the name of a module's folder, which is safe as a file name.
pub(crate) fn is_folder(path: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !path.is_empty() && path.chars().all(legal) && !path.starts_with(['.', '-'])
}

/// The vocabulary that SentencePiece saves.
pub(crate) const SENTENCE_PIECE: &str = "sentencepiece.bpe.model";

/// Every file that may be read beside the weights, in the folder of the checkpoint.
pub(crate) const BESIDE_WEIGHTS: [&str; 20] = [
    "config.json",
    MODULES,
    SENTENCE_TRANSFORMERS,
    TRANSFORMER_SETTINGS[0],
    TRANSFORMER_SETTINGS[1],
    TRANSFORMER_SETTINGS[2],
    TRANSFORMER_SETTINGS[3],
    TRANSFORMER_SETTINGS[4],
    TRANSFORMER_SETTINGS[5],
    TRANSFORMER_SETTINGS[6],
    INDEX,
    TORCH_INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    SENTENCE_PIECE,
];
