//! Why a model can't be found.

use super::foreign::ForeignWeights;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a model can't be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A path leads nowhere.
    #[error("there is no directory {}; give a directory with a model, or a name of the Hugging Face hub such as `roberta-large`", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A path leads to a file.
    #[error("{} is a file; give the directory that holds the model's config.json and weights{}", path.display(), Beside(path))]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A name of the hub isn't in the cache.
    #[error("there is no directory `{name}`, and the Hugging Face cache {} holds no {}; download it with `hf download {repository}` (older: `huggingface-cli download`), or give the path of a directory", cache.display(), Either(looked_for))]
    NotCached {
        /// What the user named.
        name: String,
        /// The cache's directory.
        cache: PathBuf,
        /// The directories that were looked for in it.
        looked_for: Vec<String>,
        /// The repository to download.
        repository: String,
    },
    /// A name of the hub, and no cache to look in.
    #[error(
        "there is no directory `{name}`, and no Hugging Face cache to look in, since neither HF_HUB_CACHE, HF_HOME nor HOME is set; give the path of a directory"
    )]
    NoCache {
        /// What the user named.
        name: String,
    },
    /// The directory has no `config.json`.
    #[error("{} has no config.json; give the directory that `save_pretrained` or `hf download` made", directory.display())]
    NoConfig {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has no weights.
    #[error("{} has no weights: neither model.safetensors nor pytorch_model.bin, nor an index of either's shards; download them, or save the model there with `save_pretrained`", directory.display())]
    NoWeights {
        /// The directory.
        directory: PathBuf,
    },
    /// The weights are there, in a form that isn't read.
    #[error("{0}")]
    Foreign(ForeignWeights),
    /// A revision, which only the hub knows.
    #[cfg(not(feature = "hub"))]
    #[error(
        "revision {revision} of {name} can't be looked up: this build has no downloads (rq-convert's feature `hub`)"
    )]
    NoHub {
        /// What the user named.
        name: String,
        /// The revision.
        revision: String,
    },
    /// It can't be had from the hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] super::hub::error::HubError),
}

/// "a", "a or b".
struct Either<'a>(&'a [String]);

impl fmt::Display for Either<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" or "))
    }
}

/// ": DIR", if a file's directory has a configuration.
struct Beside<'a>(&'a Path);

impl fmt::Display for Beside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.0.parent() else {
            return Ok(());
        };
        match (
            parent.join("config.json").is_file(),
            parent.as_os_str().is_empty(),
        ) {
            (false, _) => Ok(()),
            (true, true) => f.write_str(": `.`"),
            (true, false) => write!(f, ": {}", parent.display()),
        }
    }
}
