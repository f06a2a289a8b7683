//! The conversion: tensor by tensor, the panels of each in parallel, straight from the mapped checkpoint.
//!
//! Beyond the mapped source, memory holds one packed tensor, and one panel of f32 for each thread.

use crate::calibrate::{Calibrator, Tuning};
use crate::calibration::{Calibration, Tokens};
use crate::checkpoint::{Checkpoint, WeightsFile};
use crate::error::ConvertError;
use crate::layout::Origin;
use crate::pretrained::Pretrained;
use crate::sentence::{MODULES, POOLING_SETTINGS, TRANSFORMER_SETTINGS};
use crate::sentence_piece;
use crate::source::{INDEX, Source, TORCH_INDEX};
use crate::summary::{CalibrationSummary, Squares, Summary};
use half::f16;
use rayon::prelude::*;
use rq_format::{
    Config, ExpectedTensor, FormatError, Provenance, SourceFile, TensorFormat, TensorKind, Writer,
};
use rq_kernels::BLOCK;
use rq_kernels::lanes::LANES;
use rq_kernels::packed::{BlockFormat, PackedMatrix, Scales, Unrepresentable, quantize_panel};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What the provenance of a file names as its maker.
pub const CONVERTER: &str = concat!("rq-convert ", env!("CARGO_PKG_VERSION"));

/// The files of a model beside its weights, which an output must not replace.
const INPUTS: [&str; 14] = [
    "config.json",
    MODULES,
    TRANSFORMER_SETTINGS,
    POOLING_SETTINGS,
    INDEX,
    TORCH_INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    sentence_piece::FILE,
];

/// The recipe for the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quant {
    /// Every weight in q8.
    #[default]
    Q8,
    /// The layers' products in q4; the embeddings and the LM head in q8.
    Q4,
    /// The products of the layers' feed-forward parts in q4; everything else in q8.
    Q4m,
}

impl Quant {
    /// Every recipe.
    pub const ALL: [Self; 3] = [Self::Q8, Self::Q4, Self::Q4m];

    /// The name on the command line and in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Q4m => "q4m",
        }
    }

    /// Whether a calibration makes the file better.
    pub const fn gains_from_calibration(self) -> bool {
        matches!(self, Self::Q4 | Self::Q4m)
    }

    /// How a tensor is stored.
    pub fn format(self, tensor: &ExpectedTensor) -> TensorFormat {
        match (self, tensor.kind) {
            (_, TensorKind::Float) => TensorFormat::F32,
            (Self::Q4, TensorKind::Linear) if tensor.name.starts_with("layers.") => {
                TensorFormat::Q4
            }
            (Self::Q4m, TensorKind::Linear) if tensor.name.contains(".ffn.") => TensorFormat::Q4,
            _ => TensorFormat::Q8,
        }
    }
}

/// How to convert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvertOptions {
    /// The recipe for the weights.
    pub quant: Quant,
    /// Threads; zero means one for each CPU. The file doesn't depend on them.
    pub threads: usize,
    /// The text on which q4 weights are calibrated; `None` leaves each weight to the search that needs no text. Where
    /// nothing is stored in q4, it isn't used.
    pub calibration: Option<Calibration>,
}

/// Hears how far a conversion is.
pub trait Progress: Sync {
    /// It begins; so many bytes of tensors will be written.
    fn start(&self, total_bytes: u64);
    /// A tensor is written, of so many bytes.
    fn tensor(&self, name: &str, bytes: u64);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: u64) {}
    fn tensor(&self, _: &str, _: u64) {}
}

/// Converts the model in `source` to the file `output`. A file that is there already stays as it is until the new one
/// is whole; on failure, for good. The same source and recipe make the same file, byte for byte.
///
/// # Errors
/// When the source isn't a model that can be converted, a weight can't be represented, or the file can't be written.
pub fn convert(
    source: &Source,
    output: &Path,
    options: &ConvertOptions,
    progress: &dyn Progress,
) -> Result<Summary, ConvertError> {
    let started = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|i| format!("rq-convert-{i}"))
        .build()
        .map_err(|error| ConvertError::Threads {
            threads: options.threads,
            source: error,
        })?;
    let model = Pretrained::open(source, options.quant.name())?;
    refuse_source(source, &model.checkpoint, output)?;
    let mut summary = pool.install(|| write(&model, source, output, options, progress))?;
    summary.elapsed = started.elapsed();
    Ok(summary)
}

fn write(
    model: &Pretrained,
    source: &Source,
    output: &Path,
    options: &ConvertOptions,
    progress: &dyn Progress,
) -> Result<Summary, ConvertError> {
    let quant = options.quant;
    let Pretrained {
        config,
        checkpoint,
        tokenizer,
    } = model;
    let tensors = config.expected_tensors();
    let specs: Vec<_> = tensors.iter().map(|t| t.spec(quant.format(t))).collect();
    let weights: Vec<SourceFile> = checkpoint.files().par_iter().map(source_file).collect();
    let source_bytes = weights.iter().map(|w| w.bytes).sum();
    let mut notes = BTreeMap::from([("recipe".into(), quant.name().into())]);
    let wanted = options.calibration.as_ref();
    let (texts, calibration) = match wanted.filter(|_| quant.gains_from_calibration()) {
        None => (Vec::new(), CalibrationSummary::None),
        Some(calibration) => {
            let name = calibration.name().to_owned();
            match calibration.tokens(tokenizer, config)? {
                Tokens::Unknown => (Vec::new(), CalibrationSummary::Unknown { name }),
                Tokens::Known(texts) => {
                    let tokens = texts.iter().map(Vec::len).sum();
                    notes.insert("calibration".into(), name.clone());
                    notes.insert("calibration_sha256".into(), calibration.sha256());
                    notes.insert("calibration_tokens".into(), format!("{tokens}"));
                    (texts, CalibrationSummary::Text { name, tokens })
                }
            }
        }
    };
    let provenance = Provenance {
        source: source.name().into(),
        revision: source.revision().map(Into::into),
        weights,
        converter: CONVERTER.into(),
        quantization: notes,
    };
    let mut writer = Writer::create(output, config, &provenance, tokenizer.json(), &specs)?;
    progress.start(writer.remaining().map(|t| t.length).sum());

    let mut summary = Summary {
        output: output.into(),
        bytes: 0,
        fingerprint: 0,
        source_bytes,
        kinds: Vec::new(),
        ignored: checkpoint.ignored().to_vec(),
        elapsed: Default::default(),
        calibration,
    };
    let mut calibrator = match texts.is_empty() {
        true => None,
        false => Some(Calibrator::new(
            checkpoint,
            config,
            &texts,
            Tuning::default(),
        )?),
    };
    let mut bias = None;
    for (tensor, spec) in tensors.iter().zip(&specs) {
        let origin = Origin::of(config, &tensor.name);
        let mut squares = Squares::default();
        let length = match spec.format.block() {
            None => {
                let values = match bias.take_if(|_| tensor.name.ends_with(".bias")) {
                    Some(bias) => bias,
                    None => {
                        let mut values = vec![0.0; tensor.rows * tensor.columns];
                        origin.read_rows(checkpoint, config, 0..tensor.rows, &mut values)?;
                        values
                    }
                };
                writer.write_floats(&tensor.name, &values)?;
                TensorFormat::F32.byte_len(tensor.rows, tensor.columns)
            }
            Some(format) => {
                let layers = calibrator
                    .as_mut()
                    .filter(|_| tensor.name.starts_with("layers."));
                let (bytes, error) = match layers {
                    Some(calibrator) => {
                        let quantized = calibrator.quantize(tensor, format)?;
                        bias = Some(quantized.bias);
                        (quantized.bytes, quantized.squares)
                    }
                    None => quantize(checkpoint, config, &origin, tensor, format)?,
                };
                squares = error;
                writer.write_tensor(&tensor.name, &bytes)?;
                Some(bytes.len())
            }
        };
        let length = length.unwrap_or_default() as u64;
        summary.add(tensor, spec.format, length, squares);
        progress.tensor(&tensor.name, length);
    }
    let written = writer.finish()?;
    (summary.bytes, summary.fingerprint) = (written.bytes, written.fingerprint);
    Ok(summary)
}

/// Bytes of a tensor that is packed.
pub(crate) fn packed_len(
    format: BlockFormat,
    tensor: &ExpectedTensor,
) -> Result<usize, ConvertError> {
    let (rows, columns) = (tensor.rows, tensor.columns);
    let len = format.packed_len(rows, columns);
    len.ok_or_else(|| {
        ConvertError::Format(FormatError::TooLarge {
            name: tensor.name.clone(),
            rows: rows as u64,
            columns: columns as u64,
        })
    })
}

/// Quantizes and packs a tensor, panels in parallel.
fn quantize(
    checkpoint: &Checkpoint,
    config: &Config,
    origin: &Origin,
    tensor: &ExpectedTensor,
    format: BlockFormat,
) -> Result<(Vec<u8>, Squares), ConvertError> {
    let (rows, columns) = (tensor.rows, tensor.columns);
    let len = packed_len(format, tensor)?;
    let blocks = columns.div_ceil(BLOCK);
    let (panel_codes, panel_scales) = (blocks * format.code_bytes(), blocks * size_of::<Scales>());
    let mut packed = vec![0; len];
    let (codes, scales) = packed.split_at_mut(rows.div_ceil(LANES) * panel_codes);
    let panels = codes
        .par_chunks_mut(panel_codes)
        .zip(scales.par_chunks_mut(panel_scales));
    let squares: Vec<Squares> = panels
        .enumerate()
        .map_init(
            || Panel::new(format, columns),
            |panel, (number, (codes, scales))| {
                let range = number * LANES..rows.min((number + 1) * LANES);
                let first = range.start;
                let values = panel.values_mut(range.len());
                origin.read_rows(checkpoint, config, range, values)?;
                let squares = panel.pack().map_err(|e| ConvertError::TooLarge {
                    tensor: tensor.name.clone(),
                    format,
                    row: first + e.row,
                    column: e.column,
                    value: e.value,
                })?;
                codes.copy_from_slice(&panel.bytes()[..panel_codes]);
                scales.copy_from_slice(&panel.bytes()[panel_codes..]);
                Ok(squares)
            },
        )
        .collect::<Result<_, ConvertError>>()?;
    let sum = |f: fn(&Squares) -> f64| squares.iter().map(f).sum();
    let squares = Squares {
        error: sum(|s| s.error),
        weights: sum(|s| s.weights),
    };
    Ok((packed, squares))
}

/// One panel, before and after it is packed.
struct Panel {
    format: BlockFormat,
    columns: usize,
    values: Vec<f32>,
    /// The packed panel as a matrix of its own; as f16, so that it is aligned as the scales are.
    packed: Vec<f16>,
    dequantized: Vec<f32>,
}

impl Panel {
    fn new(format: BlockFormat, columns: usize) -> Self {
        let bytes = columns.div_ceil(BLOCK) * (format.code_bytes() + size_of::<Scales>());
        Self {
            format,
            columns,
            values: Vec::new(),
            packed: vec![f16::ZERO; bytes / size_of::<f16>()],
            dequantized: vec![0.0; columns],
        }
    }

    /// Room for so many rows.
    fn values_mut(&mut self, rows: usize) -> &mut [f32] {
        self.values.resize(rows * self.columns, 0.0);
        &mut self.values
    }

    /// Packs the rows, and says how much that lost.
    fn pack(&mut self) -> Result<Squares, Unrepresentable> {
        let (format, columns) = (self.format, self.columns);
        let code_bytes = columns.div_ceil(BLOCK) * format.code_bytes();
        let (codes, scales) = self.packed.split_at_mut(code_bytes / size_of::<f16>());
        quantize_panel(
            format,
            &self.values,
            columns,
            bytemuck::cast_slice_mut(codes),
            bytemuck::cast_slice_mut(scales),
        )?;
        let mut squares = Squares::default();
        let matrix = PackedMatrix::new(format, LANES, columns, bytemuck::cast_slice(&self.packed));
        let Ok(matrix) = matrix else {
            unreachable!("the buffer has the length of a panel");
        };
        for (row, values) in self.values.chunks_exact(columns).enumerate() {
            matrix.dequantize_row(row, &mut self.dequantized);
            for (w, back) in values.iter().zip(&self.dequantized) {
                squares.error += f64::from(w - back).powi(2);
                squares.weights += f64::from(*w).powi(2);
            }
        }
        Ok(squares)
    }

    /// The packed panel: codes, then scales.
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.packed)
    }
}

/// The name, the length and the digest of a file.
fn source_file(file: &WeightsFile) -> SourceFile {
    let digest = Sha256::digest(file.bytes());
    SourceFile {
        file: file.name(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: file.bytes().len() as u64,
    }
}

/// Refuses an output that is one of the files that are read.
fn refuse_source(
    source: &Source,
    checkpoint: &Checkpoint,
    output: &Path,
) -> Result<(), ConvertError> {
    // What isn't there yet is no file that is read.
    let Ok(full) = output.canonicalize() else {
        return Ok(());
    };
    let read = INPUTS.map(|file| source.directory().join(file));
    let weights = checkpoint
        .files()
        .iter()
        .map(|file| file.path().to_path_buf());
    let is_output = |path: std::path::PathBuf| path.canonicalize().is_ok_and(|path| path == full);
    if read.into_iter().chain(weights).any(is_output) {
        return Err(ConvertError::OutputIsSource {
            path: output.into(),
        });
    }
    Ok(())
}
