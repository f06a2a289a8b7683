//! Who hears how far a download is.

use crate::progress::NoProgress;

/// Hears how far a download is.
pub trait DownloadProgress: Sync {
    /// It begins, or goes on: so many bytes of files of this repository at this commit.
    fn start(&self, repository: &str, commit: &str, total_bytes: u64);
    /// So many of those bytes are there; the last are of this file. The number may shrink, when a file has to be begun
    /// again.
    fn at(&self, file: &str, bytes: u64);
}

impl DownloadProgress for NoProgress {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
}

/// The bytes of the files before, and who hears of them.
pub(super) struct Meter<'p> {
    pub(super) progress: &'p dyn DownloadProgress,
    pub(super) before: u64,
}

impl Meter<'_> {
    pub(super) fn at(&mut self, file: &str, bytes: u64) {
        self.progress.at(file, self.before + bytes);
    }
}
