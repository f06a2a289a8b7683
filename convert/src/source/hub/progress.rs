//! Who hears how far a download is.

use crate::progress::NoProgress;
use std::path::Path;

/// Hears how far a download is.
pub trait DownloadProgress: Sync {
    /// It begins, or goes on: so many bytes of files of this repository at this commit.
    fn start(&self, repository: &str, commit: &str, total_bytes: u64);
    /// So many of those bytes are there; the last are of this file. The number may shrink, when a file has to be begun
    /// again.
    fn at(&self, file: &str, bytes: u64);
    /// Another process downloads this file, and has locked this file of the cache: this one goes on when it is done.
    fn waiting(&self, _file: &str, _lock: &Path) {}
}

impl DownloadProgress for NoProgress {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
}

/// Of a download that isn't worth a word, only what it waits for.
pub(super) struct Quiet<'p>(pub(super) &'p dyn DownloadProgress);

impl DownloadProgress for Quiet<'_> {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
    fn waiting(&self, file: &str, lock: &Path) {
        self.0.waiting(file, lock);
    }
}

/// The bytes of the files before, and who hears of them.
pub(super) struct Meter<'p> {
    pub(super) progress: &'p dyn DownloadProgress,
    pub(super) before: u64,
}

impl Meter<'_> {
    pub(super) fn waiting(&self, file: &str, lock: &Path) {
        self.progress.waiting(file, lock);
    }

    pub(super) fn at(&mut self, file: &str, bytes: u64) {
        self.progress.at(file, self.before + bytes);
    }
}
