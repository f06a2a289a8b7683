//! Where a model came from.

use crate::error::FormatError;
use crate::header::Section;
use crate::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As much of a text that can't be shown as a message has, in characters.
const MAX_SHOWN: usize = 200;

/// Where a model came from, and what was done to it. No times: the same input makes the same file, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The model's name: on the hub, or of its directory.
    pub source: String,
    /// The revision: a commit of the hub's repository.
    pub revision: Option<String>,
    /// The files that the weights were read from.
    pub weights: Vec<SourceFile>,
    /// The program that made the file, and its version.
    pub converter: String,
    /// How the weights were quantized: notes by name.
    pub quantization: BTreeMap<String, String>,
}

/// A file that weights were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name, without directories.
    pub file: String,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// Why a provenance isn't well-formed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// Nothing says where the model came from.
    #[error("source is empty")]
    NoSource,
    /// Nothing says what made the file.
    #[error("converter is empty")]
    NoConverter,
    /// A text can't be shown to a person.
    #[error("{field} is {found:?}; what is shown has no control characters")]
    Control {
        /// Which.
        field: &'static str,
        /// What it is.
        found: String,
    },
    /// A digest isn't a SHA-256.
    #[error("sha256 of `{file}` is `{found}`, not 64 lower-case hexadecimal digits")]
    Sha256 {
        /// Whose.
        file: String,
        /// What is there.
        found: String,
    },
}

impl Provenance {
    /// Checks what the types don't say.
    ///
    /// # Errors
    /// When the source or the converter is empty, a text has a control character, or a digest is malformed.
    pub fn check(&self) -> Result<(), ProvenanceError> {
        if self.source.is_empty() {
            return Err(ProvenanceError::NoSource);
        }
        if self.converter.is_empty() {
            return Err(ProvenanceError::NoConverter);
        }
        let notes = self.quantization.iter();
        let notes = notes.flat_map(|(name, note)| [("quantization", name), ("quantization", note)]);
        let texts = [("source", &self.source), ("converter", &self.converter)];
        let files = self.weights.iter().map(|weights| ("file", &weights.file));
        let revision = self.revision.iter().map(|revision| ("revision", revision));
        let mut all = texts.into_iter().chain(revision).chain(files).chain(notes);
        if let Some((field, found)) = all.find(|(_, text)| text.contains(char::is_control)) {
            let found = found.chars().take(MAX_SHOWN).collect();
            return Err(ProvenanceError::Control { field, found });
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        for weights in &self.weights {
            if weights.sha256.len() != 64 || !weights.sha256.bytes().all(hex) {
                return Err(ProvenanceError::Sha256 {
                    file: weights.file.clone(),
                    found: weights.sha256.clone(),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, FormatError> {
        let provenance: Self = json::from_slice(bytes).map_err(|source| FormatError::Json {
            section: Section::Provenance,
            source,
        })?;
        provenance.check()?;
        Ok(provenance)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|source| FormatError::Json {
            section: Section::Provenance,
            source,
        })
    }
}
