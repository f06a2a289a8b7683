//! Reading a JSON file, with errors that name it.

use crate::error::ConvertError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads the whole file at `path`.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, ConvertError> {
    std::fs::read(path).map_err(|source| ConvertError::Io {
        action: "read",
        path: path.into(),
        source,
    })
}

/// Reads the file at `path` as JSON.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConvertError> {
    serde_json::from_slice(&bytes(path)?).map_err(|source| ConvertError::Json {
        path: path.into(),
        source,
    })
}
