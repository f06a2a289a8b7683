//! Who hears how far a conversion or a download is, and how much work the parts of a conversion are.

use rq_format::{ExpectedTensor, TensorFormat};
use rq_kernels::BLOCK;

use std::path::Path;

/// Hears how far a conversion is.
pub trait Progress: Sync {
    /// It begins: all its work, in a unit that takes about the same time wherever it is spent.
    fn start(&self, total_work: u64);
    /// So much of it is done, for a tensor or another part. The sum of all is the total.
    fn advance(&self, part: &str, work: u64);
    /// Whether to stop. It is asked before each tensor; then nothing is left of the output.
    fn is_cancelled(&self) -> bool {
        false
    }
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
    fn advance(&self, _: &str, _: u64) {}
}

/// The parts of the work, in nanoseconds of one core of a Zen 3 with AVX2, where each was measured on all-MiniLM-L6-v2. Another machine
/// takes another time, but about in the same proportions.
pub(crate) mod work {
    use super::{BLOCK, ExpectedTensor, TensorFormat};

    /// The checksum of a file of weights.
    pub(crate) fn checksum(bytes: u64) -> u64 {
        bytes
    }

    /// A tensor that is quantized by itself, or stored as it is.
    pub(crate) fn tensor(tensor: &ExpectedTensor, format: TensorFormat) -> u64 {
        let each = match format {
            TensorFormat::Q8 => 25,
            TensorFormat::Q4 => 65,
            TensorFormat::F32 => 2,
        };
        (tensor.rows * tensor.columns * each) as u64
    }

    /// The steps of a product's calibration on so many tokens: its outputs and the moments of its inputs, GPTQ's factor, the codes, and
    /// what follows the product.
    pub(crate) fn calibrated(
        tensor: &ExpectedTensor,
        format: TensorFormat,
        tokens: usize,
    ) -> [u64; 4] {
        let (rows, tokens) = (tensor.rows as u64, tokens as u64);
        let columns = tensor.columns.next_multiple_of(BLOCK) as u64;
        let search = match format {
            TensorFormat::Q4 => 380,
            TensorFormat::Q8 | TensorFormat::F32 => 30,
        };
        let attention = match tensor.name.ends_with("attention.qkv.weight") {
            true => 120 * tokens * columns,
            false => 0,
        };
        [
            tokens * columns * (3 * rows + columns / 2) / 10,
            columns * columns * columns / 20,
            rows * columns * (search + columns / 8),
            tokens * columns * rows / 22 + attention,
        ]
    }
}

impl DownloadProgress for NoProgress {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
}
