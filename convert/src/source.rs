//! Where a model is: a directory, or a snapshot in the Hugging Face cache on disk. Nothing is downloaded here.

use crate::error::ConvertError;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The index of sharded weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Weights in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The same as torch.save writes them.
pub(crate) const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
pub(crate) const TORCH_WEIGHTS: &str = "pytorch_model.bin";
/// Any of these is a model's weights, or leads to them. The first that is there is read, as transformers does.
pub(crate) const ANY_WEIGHTS: [&str; 4] = [WEIGHTS, INDEX, TORCH_WEIGHTS, TORCH_INDEX];
/// Weights in forms that aren't read: named, so that the error can say what to do.
pub(crate) const OTHER_WEIGHTS: [&str; 3] = ["tf_model.h5", "flax_model.msgpack", "model.onnx"];
/// Names without an organization, as older downloads and most texts have them, and the repositories that they mean.
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

/// The repositories of the hub that a name may mean: that of the name itself, then the one that it is short for.
pub fn repositories(name: &str) -> impl Iterator<Item = &str> {
    let alias = ALIASES.iter().find(|(short, _)| *short == name);
    std::iter::once(name).chain(alias.map(|(_, full)| *full))
}

/// Where the Hugging Face libraries keep what they download.
#[derive(Clone, Debug, Default)]
pub struct HubCache(Option<PathBuf>);

impl HubCache {
    /// The cache of this process: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
    /// `~/.cache/huggingface/hub`.
    pub fn from_env() -> Self {
        Self::from_variables(std::env::var_os)
    }

    /// The same from variables of the caller's choice; an empty one counts as not set.
    pub fn from_variables(variable: impl Fn(&'static str) -> Option<OsString>) -> Self {
        let directory =
            |name: &'static str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = directory("HF_HUB_CACHE")
            .or_else(|| directory("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hugging_face_home(&directory)?.join("hub")));
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

/// Where the Hugging Face libraries keep everything, by a function that gives a variable that is set.
pub(crate) fn hugging_face_home(
    directory: &impl Fn(&'static str) -> Option<PathBuf>,
) -> Option<PathBuf> {
    directory("HF_HOME")
        .or_else(|| Some(directory("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| {
            let home = directory("HOME").or_else(|| directory("USERPROFILE"))?;
            Some(home.join(".cache/huggingface"))
        })
}

/// A directory that has a configuration and weights, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    directory: PathBuf,
    name: String,
    revision: Option<String>,
}

impl Source {
    /// Finds what `name` means: a directory if there is one of that name, else a repository of the hub in `cache`.
    ///
    /// # Errors
    /// When there is neither, or what is there has no `config.json` or no weights that are read.
    pub fn find(name: &str, cache: &HubCache) -> Result<Self, ConvertError> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::directory_at(path);
        }
        if path.exists() {
            return Err(ConvertError::NotADirectory { path: path.into() });
        }
        if !is_hub_name(name) {
            return Err(ConvertError::NoDirectory { path: path.into() });
        }
        Self::cached(name, cache)
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name on the hub, or that of the directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The commit of the hub's repository, if this is a snapshot from there.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// A snapshot in the cache, of a repository at a commit.
    #[cfg(feature = "hub")]
    pub(crate) fn snapshot(directory: PathBuf, repository: &str, commit: &str) -> Self {
        Self {
            directory,
            name: repository.into(),
            revision: Some(commit.into()),
        }
    }

    fn directory_at(path: &Path) -> Result<Self, ConvertError> {
        // "." and the like have no name of their own.
        let full = path.canonicalize().unwrap_or_else(|_| path.into());
        let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut source = Self {
            directory: path.into(),
            name: last(&full).unwrap_or_else(|| "model".into()),
            revision: None,
        };
        // A snapshot of the cache, given as a directory, still knows its repository.
        let parent = full.parent().filter(|p| p.ends_with("snapshots"));
        let repository = parent.and_then(Path::parent).and_then(last);
        if let Some(repository) = repository
            .as_deref()
            .and_then(|r| r.strip_prefix("models--"))
        {
            source.revision = Some(source.name);
            source.name = repository.replace("--", "/");
        }
        source.check()?;
        Ok(source)
    }

    fn cached(name: &str, cache: &HubCache) -> Result<Self, ConvertError> {
        let Some(cache) = cache.directory() else {
            return Err(ConvertError::NoCache { name: name.into() });
        };
        let mut incomplete = None;
        for repository in repositories(name) {
            let Some((directory, revision)) = snapshot(&cache.join(folder(repository))) else {
                continue;
            };
            let source = Self {
                directory,
                name: repository.into(),
                revision: Some(revision),
            };
            match source.check() {
                Ok(()) => return Ok(source),
                Err(error) => incomplete = incomplete.or(Some(error)),
            }
        }
        Err(incomplete.unwrap_or_else(|| ConvertError::NotCached {
            name: name.into(),
            cache: cache.into(),
            looked_for: repositories(name).map(folder).collect(),
            repository: repositories(name).last().unwrap_or(name).into(),
        }))
    }

    /// Checks that there are a configuration and weights.
    pub(crate) fn check(&self) -> Result<(), ConvertError> {
        let directory = self.directory.clone();
        let has = |file: &str| self.directory.join(file).is_file();
        if !has("config.json") {
            return Err(ConvertError::NoConfig { directory });
        }
        if ANY_WEIGHTS.into_iter().any(has) {
            return Ok(());
        }
        Err(match OTHER_WEIGHTS.into_iter().find(|file| has(file)) {
            Some(file) => ConvertError::OtherWeights { directory, file },
            None => ConvertError::NoWeights { directory },
        })
    }
}

/// The directory of a repository in the cache.
pub(crate) fn folder(repository: &str) -> String {
    format!("models--{}", repository.replace('/', "--"))
}

/// The snapshot that `main` names, or the only one there is; and its commit.
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

/// Whether a name could be a repository of the hub: `name` or `organization/name`.
pub(crate) fn is_hub_name(name: &str) -> bool {
    name.split('/').count() <= 2 && name.split('/').all(is_hub_part)
}

/// Whether this could be a part of such a name: a file's name without surprises.
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
