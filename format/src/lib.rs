//! The single file of `rq`: specification, reader and writer.
//!
//! One file holds a model whole: configuration, provenance, tokenizer and weights, as the kernels read them. It is
//! mapped and used in place. `FORMAT.md`, beside this crate, specifies every byte; this crate is its reference
//! implementation.
//!
//! - [`ModelFile`] reads: [`ModelFile::open`] checks the structure, in a time that doesn't depend on the weights;
//!   [`ModelFile::verify`] checks every byte.
//! - [`Writer`] writes one tensor at a time, and puts the file in its place when it is whole.
//! - [`Config`] is the architecture; one that exists is valid, and says which tensors its file must hold.
//!
//! No bytes, however malformed, make the reader panic, read out of bounds or allocate without bound.
//!
//! # Example
//!
//! ```
//! use rq_format::{
//!     Architecture, Config, ConfigFields, Head, HiddenAct, ModelFile, Provenance, TensorFormat, TensorKind, TruncationSide,
//!     Writer,
//! };
//!
//! let config = Config::new(ConfigFields {
//!     architecture: Architecture::Roberta,
//!     head: Head::MaskedLm,
//!     vocab_size: 20,
//!     hidden_size: 32,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     intermediate_size: 64,
//!     max_position_embeddings: 10,
//!     type_vocab_size: 1,
//!     embedding_size: None,
//!     layer_norm_eps: 1e-5,
//!     hidden_act: HiddenAct::Gelu,
//!     pad_token_id: 1,
//!     bos_token_id: 0,
//!     eos_token_id: 2,
//!     mask_token_id: Some(19),
//!     unk_token_id: Some(3),
//!     position_offset: 2,
//!     tie_word_embeddings: true,
//!     labels: vec![],
//!     classifier_act: None,
//!     score_function: None,
//!     pooling: None,
//!     sparse_pooling: None,
//!     max_seq_length: None,
//!     truncation_side: TruncationSide::Right,
//!     clean_up_spaces: false,
//!     quantization: "q8".into(),
//! })?;
//! let provenance = Provenance {
//!     source: "an example".into(),
//!     converter: "by hand".into(),
//!     ..Provenance::default()
//! };
//!
//! // Every tensor that the configuration asks for: weights in q8, the rest in f32.
//! let tensors: Vec<_> = config
//!     .expected_tensors()
//!     .into_iter()
//!     .map(|tensor| match tensor.kind {
//!         TensorKind::Float => tensor.spec(TensorFormat::F32),
//!         TensorKind::Embedding | TensorKind::Linear => tensor.spec(TensorFormat::Q8),
//!     })
//!     .collect();
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("model.rq");
//! let mut writer = Writer::create(&path, &config, &provenance, b"{}", &tensors)?;
//! for tensor in &tensors {
//!     let weights = vec![0.25; tensor.rows * tensor.columns];
//!     match tensor.format.block() {
//!         None => writer.write_floats(&tensor.name, &weights)?,
//!         Some(format) => {
//!             let bytes = rq_kernels::packed::quantize(format, &weights, tensor.columns)?;
//!             writer.write_tensor(&tensor.name, &bytes)?;
//!         }
//!     }
//! }
//! writer.finish()?;
//!
//! let model = ModelFile::open(&path)?;
//! assert_eq!(model.config().hidden_size, 32);
//! assert_eq!(model.packed("embeddings.word")?.rows(), 20);
//! assert_eq!(model.lanes("embeddings.norm.weight", 1, 32)?[1].0, [0.25; 16]);
//! model.verify()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

mod config;
mod error;
mod expected;
mod header;
pub mod json;
mod output;
mod provenance;
mod reader;
mod storage;
mod temporary;
mod tensor;
mod writer;

pub use config::{
    Activation, Architecture, ClassifierAct, Config, ConfigError, ConfigFields, Dense,
    EmbeddingLayer, Head, HiddenAct, MAX_EMBEDDING_LAYERS, MAX_HIDDEN_SIZE, MAX_INTERMEDIATE_SIZE,
    MAX_LABEL_LEN, MAX_LABELS, MAX_LAYERS, MAX_POOLING_MODES, MAX_POSITIONS, MAX_PROMPT_LEN,
    MAX_PROMPTS, MAX_RELATIVE_DISTANCE, MAX_TOKEN_TYPES, MAX_VOCAB_SIZE, Pooling, PoolingMode,
    ScoreFunction, SparseActivation, SparseMode, SparsePooling, TruncationSide,
};
pub use error::{FormatError, Place};
pub use expected::{ExpectedTensor, TensorKind};
pub use header::{
    ALIGNMENT, HEADER_LEN, MAGIC, MAX_CONFIG_LEN, MAX_PROVENANCE_LEN, MAX_TOKENIZER_LEN,
    SECTION_RECORD_LEN, START_LEN, Section, VERSION, announced_len,
};
pub use output::Output;
pub use provenance::{Provenance, ProvenanceError, SourceFile};
pub use reader::{ModelFile, VerifyProgress, VerifyReport};
pub use storage::MappedFile;
pub use temporary::{Discarded, Temporary, discard_abandoned, discard_unfinished, open_regular};
pub use tensor::{
    MAX_DIMENSION, MAX_NAME_LEN, MAX_TENSORS, TENSOR_RECORD_LEN, TensorFormat, TensorInfo,
    TensorSpec,
};
pub use writer::{Writer, Written};
