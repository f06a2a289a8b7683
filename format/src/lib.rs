//! The single-file model format of `rq`.
