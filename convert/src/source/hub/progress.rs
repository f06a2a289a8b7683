//! Who hears how far a download is.

use crate::progress::DownloadProgress;
use std::path::Path;

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
