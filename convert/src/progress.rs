//! Who hears how far a conversion or a download is.

/// Hears how far a conversion is.
pub trait Progress: Sync {
    /// It begins; so many bytes of tensors will be written.
    fn start(&self, total_bytes: u64);
    /// A tensor is written, of so many bytes.
    fn tensor(&self, name: &str, bytes: u64);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: u64) {}
    fn tensor(&self, _: &str, _: u64) {}
}
