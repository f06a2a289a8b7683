//! Which files of a repository make a model that can be converted.

use crate::source::cache::is_hub_part;
use crate::source::files::{
    ANY_WEIGHTS, INDEX, MODULES, Module, OPTIONAL, SENTENCE_PIECE, SENTENCE_TRANSFORMERS,
    TORCH_INDEX, TORCH_WEIGHTS, TRANSFORMER_SETTINGS, WEIGHTS, in_folder, is_folder, modules_in,
    transformer_folder,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The indexes of sharded weights.
pub(super) const INDEXES: [&str; 2] = [INDEX, TORCH_INDEX];

/// The files to read of those that there are, the weights last: once they are there, everything is. `list` are the modules of
/// a sentence encoder. Else the file, or the choice of files, that isn't there and that a model can't do without.
pub(super) fn choose(
    has: impl Fn(&str) -> bool,
    list: &[Module],
) -> Result<Vec<String>, &'static str> {
    let folder = transformer_folder(list);
    let path = |file: &str| in_folder(folder, file);
    let mut files = Vec::new();
    let mut need = |alternatives: &[&[&str]], described: &'static str| {
        let found = alternatives
            .iter()
            .find(|all| all.iter().all(|file| has(&path(file))));
        let found = found.ok_or(described)?;
        files.extend(found.iter().map(|file| path(file)));
        Ok::<_, &str>(())
    };
    need(&[&["config.json"]], "config.json")?;
    need(
        &[
            &["tokenizer.json"],
            &["vocab.json", "merges.txt"],
            &["vocab.txt"],
            &[SENTENCE_PIECE],
        ],
        "tokenizer.json, and none of vocab.json with merges.txt, vocab.txt and sentencepiece.bpe.model",
    )?;
    let mut more: Vec<String> = OPTIONAL.iter().map(|file| path(file)).collect();
    if !list.is_empty() {
        more.extend([MODULES, SENTENCE_TRANSFORMERS].map(str::to_owned));
        more.extend(TRANSFORMER_SETTINGS.map(path));
    }
    for module in list.iter().skip(1).filter(|module| is_folder(&module.path)) {
        let inside = |file: &str| in_folder(&module.path, file);
        more.push(inside("config.json"));
        let weights = [WEIGHTS, TORCH_WEIGHTS].map(inside);
        more.extend(weights.into_iter().find(|file| has(file)));
    }
    files.extend(more.into_iter().filter(|file| has(file)));
    let weights = ANY_WEIGHTS.into_iter().find(|file| has(&path(file)));
    files.push(path(weights.ok_or(WEIGHTS)?));
    Ok(files)
}

/// The shards that an index names, if it is one and each is a file beside it.
pub(super) fn shards(index: &[u8]) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = serde_json::from_slice(index).ok()?;
    let shards: BTreeSet<_> = weight_map.into_values().collect();
    shards
        .iter()
        .all(|shard| is_hub_part(shard))
        .then_some(shards)
}

/// What a snapshot on disk lacks, if anything.
pub(super) fn lacks(snapshot: &Path) -> Option<String> {
    let has = |file: &str| snapshot.join(file).is_file();
    let chosen = match choose(has, &modules_in(snapshot)) {
        Ok(chosen) => chosen,
        Err(file) => return Some(file.into()),
    };
    let is_index = |file: &&String| INDEXES.iter().any(|index| file.ends_with(index));
    let index = chosen.iter().find(is_index)?;
    let folder = Path::new(index).parent().unwrap_or(Path::new(""));
    // An index that can't be read is for the converter to complain of.
    let shards = shards(&std::fs::read(snapshot.join(index)).ok()?)?;
    let mut shards = shards.into_iter();
    shards.find(|shard| !snapshot.join(folder).join(shard).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Result<Vec<String>, &'static str> {
        choose(|file| files.contains(&file), &[])
    }

    #[test]
    fn safetensors_and_the_fast_tokenizer_come_first() {
        let all = [
            "config.json",
            "tokenizer.json",
            "vocab.json",
            "merges.txt",
            WEIGHTS,
            INDEX,
            TORCH_WEIGHTS,
            "tf_model.h5",
            "README.md",
        ];
        let expected = ["config.json", "tokenizer.json", WEIGHTS];
        assert_eq!(chosen(&all).unwrap(), expected);
        let slow = [
            "config.json",
            "vocab.json",
            "merges.txt",
            "added_tokens.json",
            INDEX,
        ];
        assert_eq!(chosen(&slow).unwrap(), slow);
        let torch = ["config.json", "tokenizer.json", TORCH_INDEX];
        assert_eq!(chosen(&torch).unwrap(), torch);
    }

    #[test]
    fn modules_have_their_folders() {
        let kinds = [
            ("0_Transformer", "Transformer"),
            ("1_Pooling", "Pooling"),
            ("2_Dense", "Dense"),
        ];
        let list = kinds.map(|(path, kind)| Module {
            path: path.into(),
            kind: kind.into(),
        });
        let all = [
            "modules.json",
            "config_sentence_transformers.json",
            "0_Transformer/config.json",
            "0_Transformer/tokenizer.json",
            "0_Transformer/sentence_xlnet_config.json",
            "0_Transformer/model.safetensors",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "config.json",
        ];
        let chosen = choose(|file| all.contains(&file), &list).unwrap();
        let mut expected = all[..9].to_vec();
        expected.sort_unstable();
        let mut found = chosen.clone();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(chosen.last().unwrap(), "0_Transformer/model.safetensors");
    }

    #[test]
    fn what_is_missing_is_named() {
        let config = "config.json";
        assert_eq!(chosen(&[]), Err(config));
        let tokenizer = chosen(&[config, "vocab.json"]).unwrap_err();
        assert!(tokenizer.contains("merges.txt"));
        let small = [config, "tokenizer.json", "tf_model.h5"];
        assert_eq!(chosen(&small), Err(WEIGHTS));
    }

    #[test]
    fn shards_are_files_beside_their_index() {
        let index =
            |shard| format!(r#"{{"weight_map": {{"a": "1.safetensors", "b": "{shard}"}}}}"#);
        let shards = |text: &str| shards(text.as_bytes());
        assert_eq!(shards(&index("2.safetensors")).unwrap().len(), 2);
        for shard in ["../2", "a/b", "/2", "", ".."] {
            assert_eq!(shards(&index(shard)), None);
        }
        assert_eq!(shards("[]"), None);
    }
}
