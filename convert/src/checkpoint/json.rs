//! Reading a JSON file, with errors that name it.

use super::error::CheckpointError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads the whole file at `path`.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    not_a_pointer(path, &bytes)?;
    Ok(bytes)
}

/// Refuses what Git LFS leaves in the place of a file that it didn't fetch.
pub(super) fn not_a_pointer(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    match bytes.starts_with(b"version https://git-lfs") {
        true => Err(CheckpointError::LfsPointer { path: path.into() }),
        false => Ok(()),
    }
}

/// Reads the file at `path` as JSON.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    serde_json::from_slice(&bytes(path)?).map_err(|source| CheckpointError::Json {
        path: path.into(),
        source,
    })
}
