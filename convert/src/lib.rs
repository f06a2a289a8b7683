//! Finds, reads, quantizes and packs RoBERTa checkpoints for `rq`.
