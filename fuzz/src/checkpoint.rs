//! Small checkpoints on disk, and the files that become of them.

use crate::common;
use crate::common::{Dtype, torch};
use rq_convert::{
    Calibrate, ConvertError, ConvertOptions, HubCache, NoProgress, Pretrained, Quant, Source,
};
use rq_format::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Checkpoints beside the tests, of each architecture, and with each kind of tokenizer and head.
pub const GOLDENS: [&str; 10] = [
    "bert-mlm",
    "camembert-mlm",
    "roberta-base-model",
    "bert-classifier",
    "bert-qa",
    "camembert-tagger",
    "xlm-roberta-mlm",
    "distilbert-mlm",
    "electra-discriminator",
    "mpnet-mlm",
];

/// A checkpoint beside the tests.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/goldens/architectures")
        .join(name)
}

/// The smallest checkpoint, of the converter's tests, as each kind of file.
pub fn small_safetensors() -> Vec<u8> {
    common::safetensors(&common::tensors("roberta."), Dtype::F32)
}

/// As torch saves it.
pub fn small_torch() -> Vec<u8> {
    torch::file(&common::tensors("roberta."), Dtype::F16)
}

/// The same as torch wrote it before 1.6.
pub fn small_legacy_torch() -> Vec<u8> {
    let entries = small_torch_entries();
    let storages = || entries.iter().filter(|entry| entry.name.contains("/data/"));
    let names: Vec<&str> = storages()
        .filter_map(|entry| entry.name.rsplit('/').next())
        .collect();
    // Of 16 bits.
    let storages: Vec<(u64, &[u8])> = storages()
        .map(|entry| (entry.content.len() as u64 / 2, &entry.content[..]))
        .collect();
    torch::legacy(true, &entries[0].content, &names, &storages)
}

/// The pickle in such a file.
pub fn small_pickle() -> Vec<u8> {
    small_torch_entries()[0].content.clone()
}

/// Such a file with something else in the place of an entry, of which the pickle is the first.
pub fn torch_with(entry: usize, content: &[u8], zip64: bool) -> Vec<u8> {
    static ENTRIES: LazyLock<Vec<torch::Entry>> = LazyLock::new(small_torch_entries);
    let mut entries = ENTRIES.clone();
    let entry = entry % entries.len();
    entries[entry] = torch::Entry::new(&entries[entry].name, content);
    torch::zip(&entries, zip64)
}

fn small_torch_entries() -> Vec<torch::Entry> {
    torch::entries(&common::tensors("roberta."), Dtype::F16)
}

/// The tokenizer of the smallest checkpoint.
pub fn small_tokenizer() -> Vec<u8> {
    common::tokenizer().to_string().into_bytes()
}

/// What the target `tokenizer` opens tokenizers for: RoBERTa's with a mask, and BERT's without.
pub fn tokenizer_configs() -> [Config; 2] {
    let config = |architecture, head, mask| {
        let offset = if architecture == "roberta" { 2 } else { 0 };
        let json = serde_json::json!({"architecture": architecture, "head": head, "vocab_size": 512, "hidden_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16, "max_position_embeddings": 34,
            "type_vocab_size": 2, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "pad_token_id": 1, "bos_token_id": 0,
            "eos_token_id": 2, "mask_token_id": mask, "position_offset": offset, "tie_word_embeddings": true,
            "labels": [], "quantization": "q8"});
        serde_json::from_value(json).expect("a sound configuration")
    };
    [
        config("roberta", "masked_lm", Some(4)),
        config("bert", "none", None),
    ]
}

/// A directory on which a target puts one file after the other.
#[derive(Debug)]
pub struct Directory(tempfile::TempDir);

impl Directory {
    /// The smallest checkpoint, without weights.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        common::write(
            directory.path(),
            "config.json",
            common::config().to_string(),
        );
        common::write(directory.path(), "tokenizer.json", small_tokenizer());
        Self(directory)
    }

    /// The same with room for so many tokens, and a tokenizer that is XLM-RoBERTa's.
    pub fn of_sentence_piece(tokens: usize) -> Self {
        let directory = Self::new();
        let mut config = common::config();
        config["vocab_size"] = tokens.into();
        config["tokenizer_class"] = "XLMRobertaTokenizer".into();
        directory.write("config.json", config.to_string().as_bytes());
        fs::remove_file(directory.path().join("tokenizer.json")).expect("it was written");
        directory
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file into it, in the place of another of that name.
    pub fn write(&self, file: &str, content: &[u8]) {
        common::write(self.path(), file, content);
    }

    /// Opens the checkpoint, and converts it if it can be: the file, or why there is none.
    pub fn convert(&self) -> Result<Vec<u8>, ConvertError> {
        let source = Source::find(&self.path().to_string_lossy(), &HubCache::default())?;
        Pretrained::open(&source, "q8")?;
        let output = self.path().join("converted.rq");
        let written = convert(&source, &output);
        let file = written.map(|()| fs::read(&output).expect("what was written"));
        let _ = fs::remove_file(output);
        file
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

fn convert(source: &Source, output: &Path) -> Result<(), ConvertError> {
    let options = ConvertOptions {
        quant: Quant::Q8,
        threads: 1,
        calibration: Calibrate::Never,
        head: None,
    };
    rq_convert::convert_source(source, output, &options, &NoProgress).map(|_| ())
}

/// The file that becomes of a sound checkpoint.
pub fn converted(checkpoint: &Path) -> Vec<u8> {
    let source = Source::find(&checkpoint.to_string_lossy(), &HubCache::default());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = directory.path().join("converted.rq");
    convert(&source.expect("a checkpoint"), &output).expect("a sound checkpoint");
    fs::read(output).expect("what was written")
}

/// The file that becomes of the smallest checkpoint.
pub fn small_file() -> Vec<u8> {
    let directory = Directory::new();
    directory.write("model.safetensors", &small_safetensors());
    directory.convert().expect("a sound checkpoint")
}
