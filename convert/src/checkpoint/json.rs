//! Reading a JSON file, with errors that name it.

use super::error::CheckpointError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads the whole file at `path`.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    std::fs::read(path).map_err(|source| CheckpointError::Io {
        action: "read",
        path: path.into(),
        source,
    })
}

/// Reads the file at `path` as JSON.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    serde_json::from_slice(&bytes(path)?).map_err(|source| CheckpointError::Json {
        path: path.into(),
        source,
    })
}
