//! What the files of a model are called.

/// The index of sharded weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Weights in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The same two, as torch.save writes them.
pub(crate) const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
pub(crate) const TORCH_WEIGHTS: &str = "pytorch_model.bin";
/// A model's weights, or the index of their shards. The first one present is read, as in transformers.
pub(crate) const ANY_WEIGHTS: [&str; 4] = [WEIGHTS, INDEX, TORCH_WEIGHTS, TORCH_INDEX];
/// Weights in formats that rq doesn't read, for the error message.
pub(crate) const OTHER_WEIGHTS: [&str; 3] = ["tf_model.h5", "flax_model.msgpack", "model.onnx"];

/// A sentence encoder's list of modules.
pub(crate) const MODULES: &str = "modules.json";
/// The settings of its first module.
pub(crate) const TRANSFORMER_SETTINGS: &str = "sentence_bert_config.json";
/// The settings of its second, in the usual place.
pub(crate) const POOLING_SETTINGS: &str = "1_Pooling/config.json";

/// The vocabulary that SentencePiece saves.
pub(crate) const SENTENCE_PIECE: &str = "sentencepiece.bpe.model";

/// Every file that may be read beside the weights.
pub(crate) const BESIDE_WEIGHTS: [&str; 14] = [
    "config.json",
    MODULES,
    TRANSFORMER_SETTINGS,
    POOLING_SETTINGS,
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
