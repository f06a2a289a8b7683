//! The layout of the Hugging Face cache, as the Python library writes and reads it:
//!
//! ```text
//! models--org--name/
//!   blobs/<etag>                  the files' content; <etag>.incomplete while it comes
//!   snapshots/<commit>/<file>     a relative link to a blob, or a copy
//!   refs/<revision>               the commit of a branch or tag
//!   .no_exist/<commit>/<file>     an empty file for one that the commit doesn't have
//! .locks/models--org--name/<etag>.lock
//! ```
//!
//! Compared with what huggingface_hub 2.4.0 writes, which adds a `CACHEDIR.TAG` for backups, by the ignored test
//! `python_finds_ours_and_we_find_pythons`.
//!
//! What has its final name is whole: a blob is moved there when it is checked, a snapshot's file is made of a blob, a
//! reference is written when everything that it leads to is there.

use super::error::HubError;
use crate::source::cache::{folder, is_hub_part};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A repository's place in the cache.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
    locks: PathBuf,
    copies: bool,
}

impl Store {
    /// Nothing is made until it's needed.
    pub(super) fn new(cache: &Path, repository: &str, copies: bool) -> Self {
        let folder = folder(repository);
        Self {
            root: cache.join(&folder),
            locks: cache.join(".locks").join(&folder),
            copies,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag had when it was last asked for.
    pub(super) fn reference(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_hub_part(commit).then(|| commit.to_owned())
    }

    /// Writes which commit a branch or tag has.
    pub(super) fn set_reference(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.reference(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        let new = unique(&path);
        fs::write(&new, commit).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("write", &path))
    }

    /// Notes that a commit doesn't have a file, as the Python library does.
    pub(super) fn note_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.root.join(".no_exist").join(commit).join(file);
        make_parent(&path)?;
        fs::write(&path, b"").map_err(failed("write", &path))
    }

    /// Waits until no other process downloads this blob, and keeps others from it while the lock lives. Where a file
    /// system has no locks, it does without: what two write at once then has a wrong hash.
    pub(super) fn lock(&self, etag: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let _ = lock.lock();
        Ok(lock)
    }

    /// Opens what there is of a blob, to go on with.
    pub(super) fn open_incomplete(&self, etag: &str) -> Result<File, HubError> {
        let path = self.incomplete(etag);
        make_parent(&path)?;
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))
    }

    /// Gives a whole blob its name.
    pub(super) fn finish(&self, etag: &str, file: File) -> Result<(), HubError> {
        let path = self.incomplete(etag);
        file.sync_data().map_err(failed("write", &path))?;
        drop(file);
        fs::rename(&path, self.blob(etag)).map_err(failed("rename", &path))
    }

    /// Removes what came of a blob.
    pub(super) fn discard(&self, etag: &str) -> Result<(), HubError> {
        let path = self.incomplete(etag);
        fs::remove_file(&path).map_err(failed("remove", &path))
    }

    /// Makes a blob a file of a snapshot.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(file);
        if pointer.is_file() {
            return Ok(());
        }
        make_parent(&pointer)?;
        let (blob, new) = (self.blob(etag), unique(&self.blob(etag)));
        // From the file's own directory, which may be below the snapshot.
        let up = 2 + file.matches('/').count();
        let target: PathBuf = std::iter::repeat_n("..", up)
            .chain(["blobs", etag])
            .collect();
        if self.copies || symlink(&target, &new).is_err() {
            fs::copy(&blob, &new).map_err(failed("copy", &blob))?;
        }
        // In place of a link to a blob that was removed, if there is one.
        fs::rename(&new, &pointer).map_err(failed("write", &pointer))
    }
}

/// A name beside `path` that no other process or thread uses.
fn unique(path: &Path) -> PathBuf {
    static USED: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), USED.fetch_add(1, Ordering::Relaxed));
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{process}-{number}.incomplete"));
    name.into()
}

#[cfg(unix)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(windows)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, pointer)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn make_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(failed("create", parent))
}

/// An error of the operating system, with what was tried on which file.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Io {
        action,
        path,
        source,
    }
}
