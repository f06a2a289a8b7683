//! Models of the Hugging Face hub: what the cache on disk lacks is downloaded into it.
//!
//! [`Hub::find`] is [`Source::find`] with the network behind it. What is whole in the cache is used as it is, without
//! asking the hub whether there is something newer, unless a branch or tag is named. Whole is what has every file that the
//! publisher may have, or a note in `.no_exist` that there is none; otherwise the hub is asked which files there are. Files come over https with
//! `ureq`, in Hugging Face's own protocol: the API resolves a revision to a commit, HEAD tells each file's size and
//! ETag, GET with a range brings what is missing of it. What is written is the cache of the Python library, so that
//! each finds what the other has downloaded.
//!
//! Nothing is believed of what comes: a file has its name in the cache when its bytes have the hash that the hub says, there are
//! limits to how much comes and how slowly ([`limits`]), and what has no hash to be compared with is never a part of an earlier
//! download.

mod client;
mod download;
pub(super) mod error;
mod files;
mod limits;
mod origin;
mod progress;
mod proxy;
mod settings;
mod store;

pub use error::HubError;
pub use proxy::Proxies;
pub use settings::{Certificates, HubSettings, Token};

use crate::progress::DownloadProgress;
use crate::source::cache::{folder, is_hub_name, is_hub_part, repositories, snapshot, unsettled};
use crate::source::directory::Source;
use crate::source::error::SourceError;
use crate::source::files::{MODULES, in_folder, modules_in, transformer_folder};
use crate::source::foreign::ForeignWeights;
use client::{About, Client};
use download::Remote;
use files::{INDEXES, choose, lacks, shards};
use limits::MAX_SHARDS;
use progress::{Meter, Quiet};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use store::{Store, failed};

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// The Hugging Face hub, and the cache on disk in front of it.
#[derive(Clone, Debug)]
pub struct Hub {
    settings: HubSettings,
}

impl Hub {
    /// The hub of these settings.
    pub fn new(mut settings: HubSettings) -> Self {
        let (credentials, endpoint) = Token::of_address(settings.endpoint.trim_end_matches('/'));
        settings.endpoint = endpoint;
        settings.token = credentials.or(settings.token);
        Self { settings }
    }

    /// Finds what `name` means: a directory if there is one of that name; else a repository of the hub, at `revision`
    /// or at the one after an `@` in the name, from the cache as far as it is there, and downloaded otherwise.
    ///
    /// # Errors
    /// When there is neither, it can't be downloaded, or it isn't a model that can be converted.
    pub fn find(
        &self,
        name: &str,
        revision: Option<&str>,
        progress: &dyn DownloadProgress,
    ) -> Result<Source, SourceError> {
        let path = Path::new(name);
        if path.exists() {
            return match revision {
                Some(_) => Err(HubError::NoRevisions { path: path.into() }.into()),
                None => Source::find(name, &self.settings.cache),
            };
        }
        let (repository, revision) = match (name.split_once('@'), revision) {
            (None, revision) => (name, revision),
            (Some((repository, revision)), None) => (repository, Some(revision)),
            (Some(_), Some(revision)) => {
                return Err(HubError::TwoRevisions {
                    name: name.into(),
                    revision: revision.into(),
                }
                .into());
            }
        };
        if !is_hub_name(repository) {
            return Err(SourceError::NoDirectory { path: path.into() });
        }
        if let Some(revision) = revision.filter(|revision| !is_revision(revision)) {
            let revision = revision.to_owned();
            return Err(HubError::Revision { revision }.into());
        }
        let Some(cache) = self.settings.cache.directory() else {
            return Err(SourceError::NoCache { name: name.into() });
        };
        // One that is whole, as far as the cache alone can tell.
        let mut perhaps = None;
        for repository in repositories(repository) {
            match self.cached(cache, repository, revision) {
                Some(source) if source.unsettled().is_empty() || self.settings.offline => {
                    return Ok(source);
                }
                source => perhaps = perhaps.or(source),
            }
        }
        if let Some(source) = perhaps {
            // What it may lack, the hub knows; the commit stays.
            let commit = source.revision().unwrap_or(MAIN).to_owned();
            let name = source.name().to_owned();
            return self
                .download(cache, &name, &commit, progress)
                .or(Ok(source));
        }
        if self.settings.offline {
            return Err(self.offline(cache, repository, revision));
        }
        let repository = repositories(repository).last().unwrap_or(repository);
        self.download(cache, repository, revision.unwrap_or(MAIN), progress)
    }

    /// A repository in the cache, if it is whole and it is certain, or can't be asked, that the revision has that
    /// commit.
    fn cached(&self, cache: &Path, repository: &str, revision: Option<&str>) -> Option<Source> {
        let store = self.store(cache, repository);
        let commit = match revision {
            Some(commit) if is_commit(commit) => commit.to_owned(),
            Some(revision) if self.settings.offline => store.reference(revision)?,
            Some(_) => return None,
            None if self.settings.offline => snapshot(store.root())?.1,
            None => store.reference(MAIN)?,
        };
        let directory = store.snapshot(&commit);
        if lacks(&directory).is_some() {
            return None;
        }
        let unsettled = unsettled(store.root(), &commit);
        let source = Source::snapshot(directory, repository, &commit, unsettled);
        source.check().is_ok().then_some(source)
    }

    /// Why the cache alone doesn't do.
    fn offline(&self, cache: &Path, name: &str, revision: Option<&str>) -> SourceError {
        let mut looked_for = Vec::new();
        for repository in repositories(name) {
            let store = self.store(cache, repository);
            let commit = match revision {
                Some(commit) if is_commit(commit) => Some(commit.to_owned()),
                Some(revision) => store.reference(revision),
                None => snapshot(store.root()).map(|(_, commit)| commit),
            };
            let directory = commit.map(|commit| store.snapshot(&commit));
            if let Some(snapshot) = directory.filter(|directory| directory.is_dir()) {
                // Weights that aren't read are told from weights that aren't there.
                if let Some(foreign) = ForeignWeights::in_directory(&snapshot) {
                    return SourceError::Foreign(foreign);
                }
                let file = lacks(&snapshot).unwrap_or_default();
                return HubError::OfflineMissing { snapshot, file }.into();
            }
            looked_for.push(match revision {
                Some(revision) => format!("{} at revision {revision}", folder(repository)),
                None => folder(repository),
            });
        }
        HubError::OfflineNotCached {
            cache: cache.into(),
            looked_for,
            repository: repositories(name).last().unwrap_or(name).into(),
        }
        .into()
    }

    fn download(
        &self,
        cache: &Path,
        repository: &str,
        revision: &str,
        progress: &dyn DownloadProgress,
    ) -> Result<Source, SourceError> {
        let client = Client::new(&self.settings)?;
        let store = self.store(cache, repository);
        store.tidy();
        let (commit, listed, config) = resolve(&client, repository, revision)?;
        let has = |file: &str| listed.iter().any(|f| f == file);
        let no_file = |file: &str| HubError::NoFile {
            repository: repository.into(),
            revision: commit.clone(),
            file: file.into(),
        };
        let transfer = Transfer {
            client: &client,
            store: &store,
            repository,
            commit: &commit,
        };
        let mut list = Vec::new();
        if has(MODULES) {
            // What there is to download is known only from the list.
            transfer.get(&[MODULES.to_owned()], &Quiet(progress))?;
            list = modules_in(&store.snapshot(&commit));
        }
        let folder = transformer_folder(&list);
        let inside = |file: &String| match folder {
            "" => Some(file.clone()),
            folder => Some(file.strip_prefix(folder)?.strip_prefix('/')?.to_owned()),
        };
        let inside: Vec<String> = listed.iter().filter_map(inside).collect();
        if let Some(foreign) = ForeignWeights::in_repository(repository, &inside, &config) {
            return Err(SourceError::Foreign(foreign));
        }
        let mut files = choose(has, &list).map_err(no_file)?;
        let is_index = |file: &String| INDEXES.iter().any(|index| file.ends_with(index));
        if let Some(index) = files.last().filter(|file| is_index(file)).cloned() {
            // What there is to download is known only from the index.
            transfer.get(std::slice::from_ref(&index), &Quiet(progress))?;
            let folder = index.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = store.snapshot(&commit).join(&index);
            let index = std::fs::read(&path).map_err(failed("read", &path))?;
            // An index that can't be read is for the converter to complain of.
            let shards = shards(&index).unwrap_or_default();
            if shards.len() > MAX_SHARDS {
                let (file, found) = (files.pop().unwrap_or_default(), shards.len());
                return Err(HubError::Shards { file, found }.into());
            }
            for shard in shards {
                let shard = in_folder(folder, &shard);
                if !has(&shard) {
                    return Err(no_file(&shard).into());
                }
                files.push(shard);
            }
        }
        transfer.get(&files, progress)?;
        // What the hub doesn't have needn't be asked for again.
        for file in unsettled(store.root(), &commit) {
            if !has(&file) {
                store.note_absent(&commit, &file)?;
            }
        }
        if revision != commit {
            store.set_reference(revision, &commit)?;
        }
        let snapshot = store.snapshot(&commit);
        let source = Source::snapshot(snapshot, repository, &commit, Vec::new());
        source.check()?;
        Ok(source)
    }

    fn store(&self, cache: &Path, repository: &str) -> Store {
        Store::new(cache, repository, self.settings.copies)
    }
}

/// Files of one commit on their way.
struct Transfer<'a> {
    client: &'a Client<'a>,
    store: &'a Store,
    repository: &'a str,
    commit: &'a str,
}

impl Transfer<'_> {
    /// Gets those of the files that the snapshot lacks.
    fn get(&self, files: &[String], progress: &dyn DownloadProgress) -> Result<(), HubError> {
        let snapshot = self.store.snapshot(self.commit);
        let mut missing = Vec::new();
        for file in files.iter().filter(|file| !snapshot.join(file).is_file()) {
            let remote = Remote::ask(self.client, self.about(file))?;
            match remote.has_hash() && self.store.blob(&remote.etag).is_file() {
                true => self.store.link(self.commit, file, &remote.etag)?,
                false => missing.push(remote),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let total = missing.iter().filter_map(|remote| remote.size).sum();
        progress.start(self.repository, self.commit, total);
        let mut meter = Meter {
            progress,
            before: 0,
        };
        for remote in &missing {
            let about = self.about(&remote.name);
            let blob = download::fetch(self.client, self.store, remote, about, &mut meter)?;
            if let Some(blob) = blob {
                self.store.link(self.commit, &remote.name, &blob)?;
            }
            meter.before += remote.size.unwrap_or(0);
        }
        Ok(())
    }

    fn about<'f>(&'f self, file: &'f str) -> About<'f> {
        About {
            repository: self.repository,
            revision: self.commit,
            file: Some(file),
        }
    }
}

/// The commit of a revision, its files, and what the hub repeats of `config.json`.
fn resolve(
    client: &Client<'_>,
    repository: &str,
    revision: &str,
) -> Result<(String, Vec<String>, Value), HubError> {
    #[derive(Deserialize)]
    struct Revision {
        sha: String,
        siblings: Vec<Sibling>,
        #[serde(default)]
        config: Value,
    }
    #[derive(Deserialize)]
    struct Sibling {
        rfilename: String,
    }
    let json = client.revision_json(About {
        repository,
        revision,
        file: None,
    })?;
    let protocol = |reason: String| HubError::Protocol {
        url: client.settings.endpoint.clone(),
        reason,
    };
    let Revision {
        sha,
        siblings,
        config,
    } = serde_json::from_slice(&json)
        .map_err(|error| protocol(format!("asked for a revision of a model, {error}")))?;
    if !is_commit(&sha) {
        return Err(protocol(format!("it gives {sha:?} as a commit")));
    }
    let files = siblings.into_iter().map(|s| s.rfilename).collect();
    Ok((sha, files, config))
}

/// Whether this is a whole commit's hash, which means the same forever.
fn is_commit(revision: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    revision.len() == 40 && revision.bytes().all(digit)
}

/// Whether this can be a branch, tag or commit, and a path below `refs`.
fn is_revision(revision: &str) -> bool {
    revision.len() <= 255 && revision.split('/').all(is_hub_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_stay_below_their_directory() {
        for revision in ["main", "refs/pr/1", "v1.0", "c0ffee"] {
            assert!(is_revision(revision), "{revision}");
        }
        for revision in [
            "", "/", "..", "a/../b", "/a", "a/", "a\\b", "a b", "-a", "a\nb",
        ] {
            assert!(!is_revision(revision), "{revision}");
        }
    }
}
