//! The layout of the Hugging Face cache, as the Python library writes and reads it:
//!
//! ```text
//! models--org--name/
//!   blobs/<etag>                  the files' content; <etag>.incomplete while it comes; .rq-*.tmp: see below
//!   snapshots/<commit>/<file>     a relative link to a blob, or a copy
//!   refs/<revision>               the commit of a branch or tag
//!   .no_exist/<commit>/<file>     an empty file for one that the commit doesn't have
//! .locks/models--org--name/<etag>.lock
//! ```
//!
//! Compared with what huggingface_hub 2.4.0 writes, which adds a `CACHEDIR.TAG` for backups, by the ignored test
//! `python_finds_ours_and_we_find_pythons`.
//!
//! An ETag that is no hash names nothing: the blob of such a file is called by Git's SHA-1 of its content, as the hub's own are. Names of
//! ours that aren't kept are random and begin with a dot, which no ETag does; their files are locked while their process lives, and
//! removed by the next download if it doesn't. Nothing is written through a symbolic link.
//!
//! What has its final name is whole: a blob is moved there when it is checked, a snapshot's file is made of a blob, a
//! reference is written when everything that it leads to is there.

use super::error::HubError;
use crate::source::cache::{folder, is_hub_part};
use rq_format::{Temporary, discard_abandoned, open_regular};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

    /// Removes what killed runs left: all but the beginnings of files, which are worth going on with.
    pub(super) fn tidy(&self) {
        let blobs = self.root.join("blobs");
        discard_abandoned(&blobs);
        for entry in fs::read_dir(&blobs).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(was_temporary) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A file for what isn't kept if the process ends.
    pub(super) fn temporary(&self) -> Result<Temporary, HubError> {
        let blobs = self.root.join("blobs");
        fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
        Temporary::create_in(&blobs).map_err(failed("create a file in", &blobs))
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
        let new = self.temporary()?;
        new.file()
            .write_all(commit.as_bytes())
            .and_then(|()| new.move_to(&path))
            .map_err(failed("write", &path))
    }

    /// Notes that a commit doesn't have a file, as the Python library does.
    pub(super) fn note_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.root.join(".no_exist").join(commit).join(file);
        make_parent(&path)?;
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(failed("write", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Waits until no other process downloads this blob, and keeps others from it while the lock lives; `waiting` hears of a
    /// wait. Where a file system has no locks, it does without: what two write at once then has a wrong hash.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce(&Path)) -> Result<File, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let lock = open_regular(File::options().create(true).append(true), &path)
            .map_err(failed("open", &path))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            waiting(&path);
            let _ = lock.lock();
        }
        Ok(lock)
    }

    /// Opens what there is of a blob, to go on with. What is there and isn't a file of its own, such as a link, goes.
    pub(super) fn open_incomplete(&self, etag: &str) -> Result<File, HubError> {
        let path = self.incomplete(etag);
        make_parent(&path)?;
        if fs::symlink_metadata(&path).is_ok_and(|found| !is_of_its_own(&found)) {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        open_regular(&mut options, &path).map_err(failed("open", &path))
    }

    /// Gives a whole blob its name.
    pub(super) fn finish(&self, etag: &str, file: File) -> Result<(), HubError> {
        let path = self.incomplete(etag);
        file.sync_data().map_err(failed("write", &path))?;
        drop(file);
        fs::rename(&path, self.blob(etag)).map_err(failed("rename", &path))
    }

    /// The same of a temporary one.
    pub(super) fn keep(&self, blob: &str, file: Temporary) -> Result<(), HubError> {
        let path = self.blob(blob);
        file.file()
            .sync_data()
            .and_then(|()| file.move_to(&path))
            .map_err(failed("write", &path))
    }

    /// Removes what came of a blob, if anything did.
    pub(super) fn discard(&self, etag: &str) -> Result<(), HubError> {
        let path = self.incomplete(etag);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a blob a file of a snapshot.
    pub(super) fn link(&self, commit: &str, file: &str, blob: &str) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(file);
        if pointer.is_file() {
            return Ok(());
        }
        make_parent(&pointer)?;
        // From the file's own directory, which may be below the snapshot.
        let up = 2 + file.matches('/').count();
        let target: PathBuf = std::iter::repeat_n("..", up)
            .chain(["blobs", blob])
            .collect();
        if !self.copies {
            // A link to a blob that was removed.
            if fs::symlink_metadata(&pointer).is_ok_and(|found| found.is_symlink()) {
                fs::remove_file(&pointer).map_err(failed("remove", &pointer))?;
            }
            // Another process may have been faster.
            if symlink(&target, &pointer).is_ok() || pointer.is_file() {
                return Ok(());
            }
        }
        let (blob, new) = (self.blob(blob), self.temporary()?);
        let copied = File::open(&blob).and_then(|mut blob| io::copy(&mut blob, &mut new.file()));
        copied.map_err(failed("copy", &blob))?;
        new.move_to(&pointer).map_err(failed("write", &pointer))
    }
}

/// Whether this is the name of a temporary file by an older rq, which named them by their process.
fn was_temporary(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = name
        .strip_suffix(".incomplete")
        .and_then(|name| name.rsplit_once('.')?.1.split_once('-'));
    numbers.is_some_and(|(process, number)| digits(process) && digits(number))
}

/// Whether this is a file that has no other name.
fn is_of_its_own(found: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        found.is_file() && found.nlink() == 1
    }
    #[cfg(not(unix))]
    found.is_file()
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
