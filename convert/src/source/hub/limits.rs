//! How much a hub may send, and how slowly.

use crate::source::files::SENTENCE_PIECE;
use std::time::{Duration, Instant};

/// The most bytes of a file of settings, of an index of shards, and of an answer of the API.
pub(super) const MAX_SETTINGS: u64 = 16 << 20;
/// The most bytes of a tokenizer's file: what a model's file has room for.
const MAX_TOKENIZER: u64 = rq_format::MAX_TOKENIZER_LEN;
/// The most bytes of a file of weights; the largest of the family, XLM-RoBERTa-XXL, has 43 GB.
const MAX_WEIGHTS: u64 = 64 << 30;
/// The most shards that an index may name.
pub(super) const MAX_SHARDS: usize = 1024;
/// The fewest bytes a second that a connection may bring, over [`SLOW`] times the time for which a server may be silent.
pub(super) const LEAST_SPEED: u64 = 1 << 10;
pub(super) const SLOW: u32 = 3;
/// The fewest bytes a second of a file as a whole, over all connections and pauses, but for the allowance of the settings.
pub(super) const LEAST_SPEED_OF_FILE: u64 = 16 << 10;

/// The tokenizers' files; those of settings end in `.json`, and all others are weights.
const TOKENIZERS: [&str; 5] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    SENTENCE_PIECE,
];

/// The most bytes of a file of this name.
pub(super) fn most(file: &str) -> u64 {
    let name = file.rsplit('/').next().unwrap_or(file);
    match name {
        name if TOKENIZERS.contains(&name) => MAX_TOKENIZER,
        name if name.ends_with(".json") => MAX_SETTINGS,
        _ => MAX_WEIGHTS,
    }
}

/// When a file has to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    begun: Instant,
    pub(super) allowed: Duration,
}

impl Deadline {
    /// For a file of up to so many bytes.
    pub(super) fn of(bytes: u64, allowance: Duration) -> Self {
        Self {
            begun: Instant::now(),
            allowed: allowance.saturating_add(Duration::from_secs(bytes / LEAST_SPEED_OF_FILE)),
        }
    }

    /// Whether that is over.
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() > self.allowed
    }
}

/// How fast a connection is.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time over which it is measured.
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(super) fn over(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Counts what came after a wait; false if it's too little for the time.
    pub(super) fn keeps(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let keeps = self.bytes as f64 >= LEAST_SPEED as f64 * self.waited.as_secs_f64();
        *self = Self::over(self.window);
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_a_limit() {
        for (file, expected) in [
            ("config.json", MAX_SETTINGS),
            ("1_Pooling/config.json", MAX_SETTINGS),
            ("model.safetensors.index.json", MAX_SETTINGS),
            ("tokenizer.json", MAX_TOKENIZER),
            ("0_Transformer/vocab.txt", MAX_TOKENIZER),
            (SENTENCE_PIECE, MAX_TOKENIZER),
            ("model.safetensors", MAX_WEIGHTS),
            ("pytorch_model-00001-of-00002.bin", MAX_WEIGHTS),
        ] {
            assert_eq!(most(file), expected, "{file}");
        }
    }

    #[test]
    fn a_connection_is_judged_over_a_window() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::over(3 * second);
        // Slow for a while, and fast enough on the whole.
        assert!(pace.keeps(second, 1) && pace.keeps(second, 1) && pace.keeps(second, 3070));
        assert!(pace.keeps(second, 4000) && pace.keeps(second, 0) && !pace.keeps(2 * second, 0));
    }
}
