//! The weights: `model.safetensors` or `pytorch_model.bin`, or the shards that an index of either names, mapped and
//! read as f32.

use super::error::CheckpointError;
use super::hf_config::HfConfig;
use super::json;
use super::layout::{self, LmHeadNames};
use super::torch;
use crate::source::Source;
use crate::source::files::{ANY_WEIGHTS, INDEX, TORCH_INDEX, TORCH_WEIGHTS, WEIGHTS};
use half::{bf16, f16};
use rq_format::{Architecture, Head, MappedFile};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How many times as many bytes as the files the tensors may have that a model needs. Those of torch may share a storage: a tied
/// decoder does, and then each byte counts twice.
const MAX_SHARING: u64 = 4;
/// Rows of the word embeddings that are compared with the decoder's at a time.
const COMPARED_ROWS: usize = 256;

/// The weights of a model. Every tensor that the model needs is present, in floats, in the shape that its configuration
/// gives.
///
/// Tensors are named as in transformers, without the prefix that is the model's name, which a checkpoint may
/// have or not; the layers' as BERT's, whatever the architecture.
#[derive(Debug)]
pub struct Checkpoint {
    /// The weights' file, or the index of the shards, for error messages.
    path: PathBuf,
    files: Vec<WeightsFile>,
    tensors: BTreeMap<String, Entry>,
    /// From the names in transformers to the checkpoint's own.
    aliases: BTreeMap<String, String>,
    tied: bool,
    ignored: Vec<String>,
    /// The bytes of the tensors that the model needs, each by itself.
    needed_bytes: u64,
    /// The bytes of the files, and which files they are: shards may be links to one.
    file_bytes: u64,
    counted: BTreeSet<FileId>,
}

/// One file of weights, mapped.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    bytes: MappedFile,
}

impl WeightsFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, without the directory.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Its content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where a tensor is.
#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// The stride of each dimension, in elements; `None` if the tensor is contiguous.
    strides: Option<Vec<usize>>,
    /// Its bytes in the file.
    range: Range<usize>,
}

impl Entry {
    /// Rows and columns; a vector is a row.
    fn matrix(&self) -> (usize, usize) {
        let columns = self.shape.last().copied().unwrap_or(1);
        (self.shape.iter().rev().skip(1).product(), columns)
    }

    /// The strides of rows and columns, of a tensor of one or two dimensions.
    fn matrix_strides(&self, columns: usize) -> (usize, usize) {
        match self.strides.as_deref() {
            Some([stride]) => (0, *stride),
            Some([rows, columns]) => (*rows, *columns),
            _ => (columns, 1),
        }
    }
}

/// The format of a file of weights.
#[derive(Clone, Copy, Debug)]
enum WeightsFormat {
    Safetensors,
    Torch,
}

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Maps the weights in `source` and checks them against `config`. Values are read only to compare a decoder with the
    /// word embeddings, and to verify the checksums of files that torch.save wrote.
    ///
    /// # Errors
    /// When a file is missing, damaged or in an unknown format, or a tensor that the model needs is missing, has the
    /// wrong shape or isn't in floats.
    pub fn open(source: &Source, config: &HfConfig) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::map(config.directory())?;
        checkpoint.resolve(config)?;
        checkpoint.add_dense_layers(source.directory(), config)?;
        Ok(checkpoint)
    }

    /// The names of the tensors in `directory`, without the prefixes that a checkpoint may put before them.
    ///
    /// # Errors
    /// When a file is missing, damaged or in an unknown format.
    pub(crate) fn names(
        directory: &Path,
        architecture: Architecture,
    ) -> Result<BTreeSet<String>, CheckpointError> {
        let names = Self::map(directory)?.tensors.into_keys();
        let (prefix, _) = layout::published(architecture, layout::WORD_EMBEDDINGS);
        let short = |name: String| match name.strip_prefix(prefix) {
            Some(short) => short.to_owned(),
            None => name,
        };
        Ok(names.map(short).collect())
    }

    /// Maps the weights of a sentence encoder's dense layers, as tensors `dense.N.weight` and `dense.N.bias`.
    fn add_dense_layers(
        &mut self,
        directory: &Path,
        config: &HfConfig,
    ) -> Result<(), CheckpointError> {
        let Some(pooling) = config.pooling() else {
            return Ok(());
        };
        let layers = pooling.dense_layers(config.hidden_size());
        for (n, ((in_features, layer), folder)) in layers.zip(config.dense_folders()).enumerate() {
            let folder = directory.join(folder);
            let there = |file: &&str| folder.join(file).is_file();
            let file = [WEIGHTS, TORCH_WEIGHTS].into_iter().find(there);
            let format = match file {
                Some(TORCH_WEIGHTS) => WeightsFormat::Torch,
                _ => WeightsFormat::Safetensors,
            };
            let path = folder.join(file.unwrap_or(WEIGHTS));
            let mut found = self.add_file(path.clone(), format)?;
            let out_features = layer.out_features;
            let mut tensors = vec![("weight", vec![out_features, in_features])];
            if layer.bias {
                tensors.push(("bias", vec![out_features]));
            }
            for (parameter, shape) in tensors {
                let of_file = format!("linear.{parameter}");
                let Some(entry) = found.remove(&of_file) else {
                    return Err(CheckpointError::Missing {
                        path,
                        names: vec![of_file],
                    });
                };
                let name = format!("dense.{n}.{parameter}");
                self.tensors.insert(name.clone(), entry);
                self.take(&name, name.clone(), &shape)?;
            }
            let more = found
                .into_keys()
                .map(|name| format!("{name} of dense layer {n}"));
            self.ignored.extend(more);
        }
        Ok(())
    }

    /// The files, sorted by name.
    pub fn files(&self) -> &[WeightsFile] {
        &self.files
    }

    /// Whether the LM head's decoder is the word embeddings.
    pub fn tied(&self) -> bool {
        self.tied
    }

    /// The tensors that the model doesn't need, by their names in the checkpoint.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The rows and columns of a tensor; a vector is a row.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<(usize, usize), CheckpointError> {
        Ok(self.entry(name)?.1.matrix())
    }

    /// A tensor's values, row after row.
    ///
    /// # Errors
    /// When there is no such tensor, or a value is NaN or infinite.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let (rows, columns) = self.shape(name)?;
        let mut values = vec![0.0; rows * columns];
        self.read_rows(name, 0..rows, &mut values)?;
        Ok(values)
    }

    /// Reads some rows of a tensor to `out`.
    ///
    /// # Errors
    /// When there is no such tensor, or a value is NaN or infinite.
    ///
    /// # Panics
    /// When the tensor lacks the rows, or `out` doesn't have their length.
    pub fn read_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let (full_name, entry) = self.entry(name)?;
        let (all, columns) = entry.matrix();
        let first = rows.start;
        assert!(
            rows.start <= rows.end && rows.end <= all,
            "rows {rows:?} of {all}"
        );
        assert_eq!(out.len(), rows.len() * columns);
        let bytes = &self.files[entry.file].bytes[entry.range.clone()];
        let elements = Elements {
            bytes,
            strides: entry.matrix_strides(columns),
            rows,
            columns,
        };
        match entry.dtype {
            Dtype::F32 => elements.widen(out, f32::from_le_bytes),
            Dtype::F16 => elements.widen(out, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => elements.widen(out, |b| bf16::from_le_bytes(b).to_f32()),
            // Rounded, as in torch. Values beyond f32 become infinite and are refused below.
            Dtype::F64 => elements.widen(out, |b| f64::from_le_bytes(b) as f32),
            other => {
                return Err(CheckpointError::Dtype {
                    path: self.files[entry.file].path.clone(),
                    tensor: full_name.into(),
                    found: format!("{other:?}"),
                });
            }
        }
        // One comparison for all values: the bits of NaN and infinity exceed those of any finite magnitude.
        let magnitude = |x: &f32| (x.to_bits() & 0x7fff_ffff) as i32;
        if out.iter().map(magnitude).fold(0, i32::max) >= 0x7f80_0000
            && let Some(at) = out.iter().position(|x| !x.is_finite())
        {
            return Err(CheckpointError::NotFinite {
                path: self.files[entry.file].path.clone(),
                tensor: full_name.into(),
                row: first + at / columns,
                column: at % columns,
                value: out[at],
            });
        }
        Ok(())
    }

    /// The checkpoint's name for a tensor, and where it is.
    fn entry(&self, name: &str) -> Result<(&str, &Entry), CheckpointError> {
        let found = self
            .aliases
            .get(name)
            .and_then(|full| Some((full.as_str(), self.tensors.get(full)?)));
        found.ok_or_else(|| CheckpointError::NoTensor {
            tensor: name.into(),
        })
    }

    fn map(directory: &Path) -> Result<Self, CheckpointError> {
        let there = |file: &&str| directory.join(file).is_file();
        let file = ANY_WEIGHTS.into_iter().find(there).unwrap_or(INDEX);
        let mut checkpoint = Self {
            path: directory.join(file),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            aliases: BTreeMap::new(),
            tied: true,
            ignored: Vec::new(),
            needed_bytes: 0,
            file_bytes: 0,
            counted: BTreeSet::new(),
        };
        let format = match file {
            TORCH_WEIGHTS | TORCH_INDEX => WeightsFormat::Torch,
            _ => WeightsFormat::Safetensors,
        };
        if let WEIGHTS | TORCH_WEIGHTS = file {
            let path = checkpoint.path.clone();
            checkpoint.tensors = checkpoint.add_file(path, format)?;
            return Ok(checkpoint);
        }

        let index = checkpoint.path.clone();
        let Index { weight_map } = json::read(&index)?;
        let mut by_shard: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for (tensor, shard) in &weight_map {
            by_shard.entry(shard).or_default().push(tensor);
        }
        for (shard, names) in by_shard {
            let is_name = Path::new(shard)
                .file_name()
                .is_some_and(|name| name == shard);
            if !is_name || shard.contains('\\') {
                return Err(CheckpointError::ShardName {
                    index,
                    shard: shard.into(),
                });
            }
            let path = directory.join(shard);
            if !path.is_file() {
                return Err(CheckpointError::NoShard {
                    index,
                    shard: shard.into(),
                });
            }
            let mut found = checkpoint.add_file(path, format)?;
            for name in names {
                let Some(entry) = found.remove(name) else {
                    return Err(CheckpointError::NotInShard {
                        index,
                        shard: shard.into(),
                        tensor: name.clone(),
                    });
                };
                checkpoint.tensors.insert(name.clone(), entry);
            }
        }
        Ok(checkpoint)
    }

    /// Maps a file and finds its tensors.
    fn add_file(
        &mut self,
        path: PathBuf,
        format: WeightsFormat,
    ) -> Result<BTreeMap<String, Entry>, CheckpointError> {
        let bytes = MappedFile::open(&path)?;
        json::not_a_pointer(&path, &bytes)?;
        let file = self.files.len();
        let entries = match format {
            WeightsFormat::Safetensors => safetensors_entries(file, &path, &bytes),
            WeightsFormat::Torch => torch_entries(file, &path, &bytes),
        }?;
        if self.counted.insert(file_id(&path)) {
            self.file_bytes += bytes.len() as u64;
        }
        self.files.push(WeightsFile { path, bytes });
        Ok(entries)
    }

    /// Finds and checks the tensors that the model needs, and lists the others.
    fn resolve(&mut self, config: &HfConfig) -> Result<(), CheckpointError> {
        let full_name = |tensors: &BTreeMap<String, Entry>, name: &str| {
            let (prefix, name) = layout::published(config.architecture(), name);
            let prefixed = format!("{prefix}{name}");
            let old = |name: &str| layout::old_name(name).unwrap_or_default();
            let names = [prefixed.clone(), name.clone(), old(&prefixed), old(&name)];
            let found = names.into_iter().find(|n| tensors.contains_key(n));
            found.ok_or(prefixed)
        };
        let masked_lm = config.head() == Head::MaskedLm;
        let tied = masked_lm && config.tie_word_embeddings();
        let lm_head = LmHeadNames::of(config.architecture());
        let mut missing = Vec::new();
        for (name, shape) in layout::required(config) {
            // transformers accepts either of two tied tensors.
            let found = full_name(&self.tensors, &name).or_else(|absent| match name.as_str() {
                layout::WORD_EMBEDDINGS if tied => {
                    full_name(&self.tensors, lm_head.decoder).map_err(|_| absent)
                }
                name if name == lm_head.bias => match lm_head.other_bias {
                    None => Err(absent),
                    Some(other) => full_name(&self.tensors, other)
                        .map_err(|other| format!("{other} (or {absent})")),
                },
                _ => Err(absent),
            });
            match found {
                Ok(full) => self.take(&name, full, &shape)?,
                Err(absent) => missing.push(absent),
            }
        }
        // The decoder isn't tied if the configuration says so, or if it differs from the embeddings, whatever the
        // configuration says. transformers 5 decides the same way.
        if !masked_lm {
            // No decoder is needed.
        } else if let Ok(full) = full_name(&self.tensors, lm_head.decoder) {
            let width = config.embedding_size().unwrap_or(config.hidden_size());
            let vocab = config.vocab_size();
            if self.aliases.contains_key(layout::WORD_EMBEDDINGS) && missing.is_empty() {
                self.take(lm_head.decoder, full, &[vocab, width])?;
                self.tied = self.equal(layout::WORD_EMBEDDINGS, lm_head.decoder)?;
                if self.tied {
                    self.aliases.remove(lm_head.decoder);
                }
            }
        } else if !config.tie_word_embeddings() {
            missing.push(format!(
                "{} (config.json has tie_word_embeddings false)",
                lm_head.decoder
            ));
        }
        if !missing.is_empty() {
            return Err(CheckpointError::Missing {
                path: self.path.clone(),
                names: missing,
            });
        }
        let used: Vec<&String> = self.aliases.values().collect();
        let unused = self.tensors.keys().filter(|name| !used.contains(name));
        self.ignored = unused.cloned().collect();
        Ok(())
    }

    /// Checks the tensor `full`, and records it as `name`.
    fn take(&mut self, name: &str, full: String, shape: &[usize]) -> Result<(), CheckpointError> {
        let entry = &self.tensors[&full];
        let path = || self.files[entry.file].path.clone();
        if !matches!(
            entry.dtype,
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16
        ) {
            return Err(CheckpointError::Dtype {
                path: path(),
                tensor: full,
                found: format!("{:?}", entry.dtype),
            });
        }
        if entry.shape != shape {
            return Err(CheckpointError::Shape {
                path: path(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
                tensor: full,
            });
        }
        // Strides of zero, and storages that tensors share, make more of a file than it has.
        let elements = shape
            .iter()
            .fold(1_u64, |product, &n| product.saturating_mul(n as u64));
        let bytes = elements.saturating_mul(entry.dtype.bitsize() as u64 / 8);
        self.needed_bytes = self.needed_bytes.saturating_add(bytes);
        if self.needed_bytes > self.file_bytes.saturating_mul(MAX_SHARING) {
            return Err(CheckpointError::Sharing {
                path: path(),
                tensor: full,
                needed: self.needed_bytes,
                there: self.file_bytes,
                most: MAX_SHARING,
            });
        }
        self.aliases.insert(name.into(), full);
        Ok(())
    }

    /// Whether two tensors of the same shape have equal values.
    fn equal(&self, a: &str, b: &str) -> Result<bool, CheckpointError> {
        let (rows, columns) = self.shape(a)?;
        let mut values = [(); 2].map(|()| vec![0.0; COMPARED_ROWS * columns]);
        for start in (0..rows).step_by(COMPARED_ROWS) {
            let range = start..rows.min(start + COMPARED_ROWS);
            let len = range.len() * columns;
            for (name, values) in [a, b].into_iter().zip(&mut values) {
                self.read_rows(name, range.clone(), &mut values[..len])?;
            }
            if values[0][..len] != values[1][..len] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A device, a number on it, and, where there are no such numbers, the path.
type FileId = (u64, u64, PathBuf);

/// What is the same for all names of a file.
fn file_id(path: &Path) -> FileId {
    #[cfg(unix)]
    if let Ok(metadata) = path.metadata() {
        use std::os::unix::fs::MetadataExt;
        return (metadata.dev(), metadata.ino(), PathBuf::new());
    }
    (0, 0, path.canonicalize().unwrap_or_else(|_| path.into()))
}

/// The tensors in a safetensors file's header.
fn safetensors_entries(
    file: usize,
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => CheckpointError::Truncated {
            path: path.into(),
            bytes: bytes.len() as u64,
        },
        other => CheckpointError::NotSafetensors {
            path: path.into(),
            reason: other.to_string(),
        },
    })?;
    let data = size_of::<u64>() + header;
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            file,
            dtype: info.dtype,
            shape: info.shape.clone(),
            strides: None,
            range: data + start..data + end,
        };
        (name, entry)
    };
    Ok(metadata.tensors().into_iter().map(entry).collect())
}

/// The tensors in a file of torch's.
fn torch_entries(
    file: usize,
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let tensors = torch::read(bytes).map_err(|source| CheckpointError::Torch {
        path: path.into(),
        source,
    })?;
    let entry = |(name, tensor): (String, torch::TorchTensor)| {
        let entry = Entry {
            file,
            dtype: tensor.dtype,
            shape: tensor.shape,
            strides: tensor.strides,
            range: tensor.range,
        };
        (name, entry)
    };
    Ok(tensors.into_iter().map(entry).collect())
}

/// Some rows of a strided matrix.
struct Elements<'a> {
    /// From the matrix's first element to its last.
    bytes: &'a [u8],
    /// Elements from row to row, and from column to column.
    strides: (usize, usize),
    rows: Range<usize>,
    columns: usize,
}

impl Elements<'_> {
    /// Reads values of `N` bytes each.
    fn widen<const N: usize>(self, out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        let (all, columns) = (self.bytes.as_chunks().0, self.columns);
        if columns == 0 {
            return;
        }
        if self.strides == (columns, 1) {
            let elements = &all[self.rows.start * columns..self.rows.end * columns];
            for (x, bytes) in out.iter_mut().zip(elements) {
                *x = read(*bytes);
            }
            return;
        }
        let (row_stride, column_stride) = self.strides;
        for (row, out) in self.rows.zip(out.chunks_exact_mut(columns)) {
            for (column, x) in out.iter_mut().enumerate() {
                *x = read(all[row * row_stride + column * column_stride]);
            }
        }
    }
}
