//! Who hears how far a conversion or a download is.

use std::path::Path;

/// Hears how far a conversion is.
pub trait Progress: Sync {
    /// It begins; so many bytes of tensors will be written.
    fn start(&self, total_bytes: u64);
    /// A tensor is written, of so many bytes.
    fn tensor(&self, name: &str, bytes: u64);
}

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

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: u64) {}
    fn tensor(&self, _: &str, _: u64) {}
}

impl DownloadProgress for NoProgress {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
}
