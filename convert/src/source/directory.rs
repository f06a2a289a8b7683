//! A directory with a model, or a snapshot in the Hugging Face cache.

use super::cache::{HubCache, folder, is_hub_name, repositories, snapshot, unsettled};
use super::error::SourceError;
use super::files::{ANY_WEIGHTS, modules_in, transformer_folder};
use super::foreign::ForeignWeights;
#[cfg(feature = "hub")]
use super::hub::{Hub, HubSettings};
use crate::progress::DownloadProgress;
use std::path::{Path, PathBuf};

/// A directory with a configuration and weights, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    directory: PathBuf,
    name: String,
    revision: Option<String>,
    /// Files that the publisher may have, and that nobody looked for.
    unsettled: Vec<String>,
}

impl Source {
    /// Finds what `name` means: a directory of that name if there is one, else a model of the Hugging Face hub, in the cache
    /// that the environment says. With the feature `hub`, a `revision` (or one behind an `@` in the name) is looked up there, and
    /// what the cache lacks is downloaded.
    ///
    /// # Errors
    /// When there is neither, it can't be downloaded, a revision is asked for and this build has no hub, or it has no
    /// `config.json`, or no weights in a format that rq reads.
    pub fn obtain(
        name: &str,
        revision: Option<&str>,
        progress: &dyn DownloadProgress,
    ) -> Result<Self, SourceError> {
        // For a directory the hub's environment variables don't matter, even if they are wrong.
        if revision.is_none() && Path::new(name).exists() {
            return Self::find(name, &HubCache::from_env());
        }
        #[cfg(feature = "hub")]
        return Hub::new(HubSettings::from_env()?).find(name, revision, progress);
        #[cfg(not(feature = "hub"))]
        {
            let _ = progress;
            match revision {
                None => Self::find(name, &HubCache::from_env()),
                Some(revision) => Err(SourceError::NoHub {
                    name: name.into(),
                    revision: revision.into(),
                }),
            }
        }
    }

    /// Resolves `name`: a directory of that name if there is one, else a hub repository in `cache`.
    ///
    /// # Errors
    /// When there is neither, or it has no `config.json`, or no weights in a format that rq reads.
    pub fn find(name: &str, cache: &HubCache) -> Result<Self, SourceError> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::directory_at(path);
        }
        if path.exists() {
            return Err(match ForeignWeights::file(path) {
                Some(foreign) => SourceError::Foreign(foreign),
                None => SourceError::NotADirectory { path: path.into() },
            });
        }
        if !is_hub_name(name) {
            return Err(SourceError::NoDirectory { path: path.into() });
        }
        Self::cached(name, cache)
    }

    /// The directory that holds the files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The repository's name on the hub, or the directory's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The commit, if this is a snapshot from the hub.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Files that aren't in this snapshot of the cache, and of which nothing says whether the publisher has them.
    pub fn unsettled(&self) -> &[String] {
        &self.unsettled
    }

    /// A snapshot in the cache, of a repository at a commit.
    #[cfg(feature = "hub")]
    pub(crate) fn snapshot(
        directory: PathBuf,
        repository: &str,
        commit: &str,
        unsettled: Vec<String>,
    ) -> Self {
        Self {
            directory,
            name: repository.into(),
            revision: Some(commit.into()),
            unsettled,
        }
    }

    fn directory_at(path: &Path) -> Result<Self, SourceError> {
        // "." has no name of its own.
        let full = path.canonicalize().unwrap_or_else(|_| path.into());
        let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut source = Self {
            directory: path.into(),
            name: last(&full).unwrap_or_else(|| "model".into()),
            revision: None,
            unsettled: Vec::new(),
        };
        // The path of a cached snapshot tells its repository.
        let parent = full.parent().filter(|p| p.ends_with("snapshots"));
        let repository = parent.and_then(Path::parent).and_then(last);
        if let Some(repository) = repository
            .as_deref()
            .and_then(|r| r.strip_prefix("models--"))
        {
            let root = parent.and_then(Path::parent).unwrap_or(path);
            source.unsettled = unsettled(root, &source.name);
            source.revision = Some(source.name);
            source.name = repository.replace("--", "/");
        }
        source.check()?;
        Ok(source)
    }

    fn cached(name: &str, cache: &HubCache) -> Result<Self, SourceError> {
        let Some(cache) = cache.directory() else {
            return Err(SourceError::NoCache { name: name.into() });
        };
        let mut incomplete = None;
        for repository in repositories(name) {
            let Some((directory, revision)) = snapshot(&cache.join(folder(repository))) else {
                continue;
            };
            let source = Self {
                directory,
                name: repository.into(),
                unsettled: unsettled(&cache.join(folder(repository)), &revision),
                revision: Some(revision),
            };
            match source.check() {
                Ok(()) => return Ok(source),
                Err(error) => incomplete = incomplete.or(Some(error)),
            }
        }
        Err(incomplete.unwrap_or_else(|| SourceError::NotCached {
            name: name.into(),
            cache: cache.into(),
            looked_for: repositories(name).map(folder).collect(),
            repository: repositories(name).last().unwrap_or(name).into(),
        }))
    }

    /// Checks that there are a configuration and weights, here or in the folder of a sentence encoder's first module.
    pub(crate) fn check(&self) -> Result<(), SourceError> {
        let list = modules_in(&self.directory);
        let directory = match transformer_folder(&list) {
            "" => self.directory.clone(),
            folder => self.directory.join(folder),
        };
        if let Some(foreign) = ForeignWeights::in_directory(&directory) {
            return Err(SourceError::Foreign(foreign));
        }
        let has = |file: &str| directory.join(file).is_file();
        if !has("config.json") {
            return Err(SourceError::NoConfig { directory });
        }
        match ANY_WEIGHTS.into_iter().any(has) {
            true => Ok(()),
            false => Err(SourceError::NoWeights { directory }),
        }
    }
}
