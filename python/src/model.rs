//! A model file.

use crate::error::{chain, raise};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// A mapped model file, with its tokenizer.
#[pyclass(frozen, module = "rq_runtime._native")]
pub(crate) struct Model {
    pub(crate) model: Arc<rq::Model>,
}

#[pymethods]
impl Model {
    /// Maps a file.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let model = py.detach(|| rq::Model::open(path));
        Ok(Self {
            model: Arc::new(model.map_err(|error| raise(&error))?),
        })
    }

    /// The model that is compiled in.
    #[staticmethod]
    fn demo(py: Python<'_>) -> PyResult<Self> {
        let model = py.detach(rq::Model::demo);
        Ok(Self {
            model: Arc::new(model.map_err(|error| raise(&error))?),
        })
    }

    /// The configuration as JSON, and the name of what the head is for.
    fn config(&self) -> PyResult<(String, String)> {
        let config = self.model.config();
        let json = serde_json::to_string(config);
        let json = json.map_err(|error| PyValueError::new_err(chain(&error)))?;
        Ok((json, config.head.to_string()))
    }

    /// The most tokens of a text, the special ones included.
    fn max_tokens(&self) -> usize {
        self.model.config().max_tokens()
    }

    /// The ids of a text's tokens, the special ones included.
    fn tokens(&self, text: &str) -> PyResult<Vec<u32>> {
        let ids = self.model.tokenizer().ids(text, true);
        ids.map_err(|error| PyValueError::new_err(chain(&error)))
    }

    /// A token as the vocabulary writes it.
    fn token(&self, id: u32) -> Option<String> {
        self.model.tokenizer().id_to_token(id)
    }
}
