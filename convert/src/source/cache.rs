//! The Hugging Face cache on disk: where it is, and what it calls its repositories and snapshots.

use super::files::{
    MODULES, OPTIONAL, SENTENCE_TRANSFORMERS, TRANSFORMER_SETTINGS, in_folder, is_folder,
    modules_in, transformer_folder,
};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Short names, common in older caches and in writing, and the repositories that they stand for.
const ALIASES: [(&str, &str); 13] = [
    ("roberta-base", "FacebookAI/roberta-base"),
    ("roberta-large", "FacebookAI/roberta-large"),
    ("roberta-large-mnli", "FacebookAI/roberta-large-mnli"),
    ("distilroberta-base", "distilbert/distilroberta-base"),
    ("xlm-roberta-base", "FacebookAI/xlm-roberta-base"),
    ("xlm-roberta-large", "FacebookAI/xlm-roberta-large"),
    ("camembert-base", "almanach/camembert-base"),
    ("bert-base-uncased", "google-bert/bert-base-uncased"),
    ("bert-base-cased", "google-bert/bert-base-cased"),
    ("bert-large-uncased", "google-bert/bert-large-uncased"),
    ("bert-large-cased", "google-bert/bert-large-cased"),
    (
        "bert-base-multilingual-cased",
        "google-bert/bert-base-multilingual-cased",
    ),
    ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
];

/// The hub repositories that a name may mean: the name itself, then the repository that it is short for.
pub fn repositories(name: &str) -> impl Iterator<Item = &str> {
    let alias = ALIASES.iter().find(|(short, _)| *short == name);
    std::iter::once(name).chain(alias.map(|(_, full)| *full))
}

/// The cache in which the Hugging Face libraries keep their downloads.
#[derive(Clone, Debug, Default)]
pub struct HubCache(Option<PathBuf>);

impl HubCache {
    /// The cache of this process: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
    /// `~/.cache/huggingface/hub`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// Like [`HubCache::from_env`], but `variable` looks the variables up. An empty one counts as unset; `~`, `$NAME` and
    /// `${NAME}` in them stand for what they do in Python.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let cache = directory(&variable, "HF_HUB_CACHE")
            .or_else(|| directory(&variable, "HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hugging_face_home(&variable)?.join("hub")));
        Self(cache)
    }

    /// The cache in this directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(Some(directory.into()))
    }

    /// The cache's directory, which needn't exist.
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

/// The directory that a variable names. What is no variable stays as it is, as in Python.
pub(crate) fn directory(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Option<PathBuf> {
    let value = variable(name).filter(|value| !value.is_empty())?;
    let Some(text) = value.to_str() else {
        return Some(value.into());
    };
    let other = |name: &str| variable(name)?.into_string().ok();
    let home = || user_home(variable)?.into_os_string().into_string().ok();
    let expanded = shellexpand::full_with_context_no_errors(text, home, other);
    Some(expanded.into_owned().into())
}

/// The home directory of the user.
fn user_home(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    Some(set("HOME").or_else(|| set("USERPROFILE"))?.into())
}

/// The home directory of the Hugging Face libraries.
pub(crate) fn hugging_face_home(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    directory(variable, "HF_HOME")
        .or_else(|| Some(directory(variable, "XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(user_home(variable)?.join(".cache/huggingface")))
}

/// The directory of a repository in the cache.
pub(crate) fn folder(repository: &str) -> String {
    format!("models--{}", repository.replace('/', "--"))
}

/// The snapshot that `main` points to, or the only one, with its commit.
pub(crate) fn snapshot(repository: &Path) -> Option<(PathBuf, String)> {
    let snapshots = repository.join("snapshots");
    let commit = match fs::read_to_string(repository.join("refs/main")) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => {
            let mut entries = fs::read_dir(&snapshots).ok()?.flatten();
            let only = entries.next()?;
            if entries.next().is_some() {
                return None;
            }
            only.file_name().into_string().ok()?
        }
    };
    let directory = snapshots.join(&commit);
    (is_hub_part(&commit) && directory.is_dir()).then_some((directory, commit))
}

/// Which of the files that a publisher may have are neither in a snapshot nor known not to be in the repository. The Hugging
/// Face libraries note in `.no_exist` what they asked for in vain; what nobody asked for may be there.
pub(crate) fn unsettled(repository: &Path, commit: &str) -> Vec<String> {
    let snapshot = repository.join("snapshots").join(commit);
    let nowhere = repository.join(".no_exist").join(commit);
    let list = modules_in(&snapshot);
    let folder = transformer_folder(&list);
    let path = |file: &&str| in_folder(folder, file);
    let here = |file: &String| snapshot.join(file).is_file();
    let mut files: Vec<String> = OPTIONAL.iter().map(path).collect();
    files.push(MODULES.to_owned());
    if here(&MODULES.to_owned()) {
        files.push(SENTENCE_TRANSFORMERS.to_owned());
        // The first of these that is there counts.
        let settings = TRANSFORMER_SETTINGS.iter().map(path);
        files.extend(settings.take_while(|file| !here(file)));
        for module in list.iter().skip(1) {
            // Without settings, the embedding would be another one.
            if is_folder(&module.path) && !module.kind.ends_with("Dropout") {
                files.push(in_folder(&module.path, "config.json"));
            }
        }
    }
    files.retain(|file| !here(file) && !nowhere.join(file).is_file());
    files
}

/// Whether this could name a hub repository: `name` or `organization/name`.
pub(crate) fn is_hub_name(name: &str) -> bool {
    name.split('/').count() <= 2 && name.split('/').all(is_hub_part)
}

/// Whether this could be one part of such a name. It is then safe as a file name.
pub(crate) fn is_hub_part(part: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !part.is_empty() && part.bytes().all(legal) && !part.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_variables_in_their_order() {
        let cache = |set: &[(&str, &str)]| {
            let set: Vec<_> = set
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            let find = |name: &str| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.into());
            HubCache::from_variables(find).0
        };
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HF_HOME", "/b"),
            ("XDG_CACHE_HOME", "/c"),
            ("HOME", "/d"),
        ];
        let expected = [
            "/a",
            "/b/hub",
            "/c/huggingface/hub",
            "/d/.cache/huggingface/hub",
        ];
        for (i, expected) in expected.into_iter().enumerate() {
            assert_eq!(cache(&all[i..]), Some(PathBuf::from(expected)));
        }
        assert_eq!(
            cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/b")]),
            Some("/b/hub".into())
        );
        assert_eq!(cache(&[]), None);
        // Each has been compared with os.path.expandvars(os.path.expanduser(...)).
        for (value, expected) in [
            ("~", "/home/u"),
            ("~/hf", "/home/u/hf"),
            ("$DISK/hf", "/mnt/hf"),
            ("${DISK}2/~", "/mnt2/~"),
            ("/a~/$NONE/${NONE}", "/a~/$NONE/${NONE}"),
        ] {
            let set = [("HOME", "/home/u"), ("DISK", "/mnt"), ("HF_HOME", value)];
            assert_eq!(cache(&set), Some(Path::new(expected).join("hub")));
            let set = [set[0], set[1], ("HF_HUB_CACHE", value)];
            assert_eq!(cache(&set), Some(expected.into()));
        }
    }

    #[test]
    fn hub_names_are_told_from_paths() {
        for name in ["roberta-large", "FacebookAI/roberta-large", "a_b/c.d-1"] {
            assert!(is_hub_name(name), "{name}");
        }
        for name in [
            "", ".", "..", "./a", "../a", "/a", "a/", "a/b/c", "a b", "-x", "a/..",
        ] {
            assert!(!is_hub_name(name), "{name}");
        }
    }
}
