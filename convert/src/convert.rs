//! The conversion: tensor by tensor, the panels of each in parallel, straight from the mapped checkpoint.
//!
//! Beyond the mapped source, memory holds one packed tensor, and one panel of f32 for each thread.

use crate::checkpoint::{Checkpoint, Origin, Pretrained, WeightsFile};
use crate::error::ConvertError;
use crate::progress::{NoProgress, Progress, work};
use crate::quantize::{Calibration, Calibrator, Packed, Squares, Tokens, Tuning, quantize};
use crate::source::Source;
use crate::source::files::{BESIDE_WEIGHTS, modules_in, transformer_folder};
use crate::summary::{CalibrationSummary, Summary};
use rayon::prelude::*;
use rq_format::{ExpectedTensor, Head, Provenance, SourceFile, TensorFormat, TensorKind, Writer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What the provenance of a file names as its maker.
pub const CONVERTER: &str = concat!("rq-convert ", env!("CARGO_PKG_VERSION"));

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

    /// Whether to calibrate unless told otherwise: four bits gain much by it, eight are close without.
    pub const fn is_calibrated_by_default(self) -> bool {
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
    /// The recipe for the weights; [`Quant::Q8`] by default.
    pub quant: Quant,
    /// Threads; zero, the default, means one for each CPU. The file doesn't depend on them.
    pub threads: usize,
    /// Whether the weights of the layers are calibrated, and on what; [`Calibrate::ByRecipe`] by default.
    pub calibration: Calibrate,
    /// The head, in place of the one that the checkpoint's files tell of, which is the default.
    pub head: Option<Head>,
}

/// Whether the weights of the layers are calibrated (GPTQ), and on what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Calibrate {
    /// As suits the recipe: q4 and q4m on the [built-in English text](Calibration::english), q8 not.
    #[default]
    ByRecipe,
    /// Not: each block is left to the search that needs no text. It is much faster, and for q4 and q4m less exact.
    Never,
    /// On this text.
    On(Calibration),
}

impl ConvertOptions {
    /// The text on which the weights are calibrated, if they are.
    pub fn calibration_text(&self) -> Option<Cow<'_, Calibration>> {
        match &self.calibration {
            Calibrate::On(text) => Some(Cow::Borrowed(text)),
            Calibrate::ByRecipe if self.quant.is_calibrated_by_default() => {
                Some(Cow::Owned(Calibration::english()))
            }
            Calibrate::ByRecipe | Calibrate::Never => None,
        }
    }
}

/// Converts a model to the file `output`, as the command `rq convert` does.
///
/// `source` is a directory as `save_pretrained` and the Hugging Face hub have it, or the name of a model on the hub, with
/// `@REVISION` behind it or not. That is looked up in the Hugging Face cache of this machine; with the feature `hub`, what the
/// cache lacks is downloaded into it, as the environment variables of `huggingface_hub` say.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let output = directory.path().join("topics.rq");
/// # let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/tasks/topics");
/// use rq_convert::{ConvertOptions, convert};
///
/// let summary = convert(source, &output, &ConvertOptions::default())?;
/// assert_eq!(summary.bytes, std::fs::metadata(&output)?.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`Source::obtain`] and [`convert_source`].
pub fn convert(
    source: &str,
    output: impl AsRef<Path>,
    options: &ConvertOptions,
) -> Result<Summary, ConvertError> {
    let source = Source::obtain(source, None, &NoProgress)?;
    convert_source(&source, output.as_ref(), options, &NoProgress)
}

/// Converts the model in `source` to the file `output`. A file that is there already stays as it is until the new one
/// is whole; on failure, for good. The same source and recipe make the same file, byte for byte.
///
/// # Errors
/// When the source isn't a model that can be converted, a weight can't be represented, the file can't be written, or `progress` tells
/// to stop.
pub fn convert_source(
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
    let model = Pretrained::open_as(source, options.quant.name(), options.head)?;
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
        notes: remarks,
    } = model;
    let tensors = config.expected_tensors();
    let specs: Vec<_> = tensors.iter().map(|t| t.spec(quant.format(t))).collect();
    let mut notes = BTreeMap::from([("recipe".into(), quant.name().into())]);
    let (texts, calibration) = match options.calibration_text() {
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
    let tokens = texts.iter().map(Vec::len).sum();
    let is_calibrated = |tensor: &ExpectedTensor, format: TensorFormat| {
        tokens > 0 && format.block().is_some() && tensor.name.starts_with("layers.")
    };
    let of_tensor =
        |(tensor, format): (&ExpectedTensor, TensorFormat)| match is_calibrated(tensor, format) {
            true => work::calibrated(tensor, format, tokens).iter().sum(),
            false => work::tensor(tensor, format),
        };
    let formats = specs.iter().map(|spec| spec.format);
    let of_tensors: u64 = tensors.iter().zip(formats).map(of_tensor).sum();
    let lengths = checkpoint
        .files()
        .iter()
        .map(|file| file.bytes().len() as u64);
    progress.start(of_tensors + lengths.map(work::checksum).sum::<u64>());

    let weights: Vec<SourceFile> = checkpoint
        .files()
        .par_iter()
        .map(|file| {
            let source = source_file(file);
            progress.advance(&source.file, work::checksum(source.bytes));
            source
        })
        .collect();
    let source_bytes = weights.iter().map(|w| w.bytes).sum();
    let provenance = Provenance {
        source: source.name().into(),
        revision: source.revision().map(Into::into),
        weights,
        converter: CONVERTER.into(),
        quantization: notes,
    };
    let mut writer = Writer::create(output, config, &provenance, tokenizer.json(), &specs)?;
    let mut summary = Summary {
        output: output.into(),
        bytes: 0,
        fingerprint: 0,
        source_bytes,
        kinds: Vec::new(),
        ignored: checkpoint.ignored().to_vec(),
        notes: remarks.clone(),
        elapsed: Default::default(),
        calibration,
    };
    let mut calibrator: Option<Calibrator<'_>> = None;
    // The word embeddings, and what takes them to the hidden size, until the layers begin.
    let mut embeddings: Vec<Packed> = Vec::new();
    let mut bias = None;
    for (tensor, spec) in tensors.iter().zip(&specs) {
        if progress.is_cancelled() {
            return Err(ConvertError::Cancelled);
        }
        let mut squares = Squares::default();
        let length = match spec.format.block() {
            None => {
                let values = match bias.take_if(|_| tensor.name.ends_with(".bias")) {
                    Some(bias) => bias,
                    None => Origin::read(checkpoint, config, tensor)?,
                };
                writer.write_floats(&tensor.name, &values)?;
                TensorFormat::F32.byte_len(tensor.rows, tensor.columns)
            }
            Some(format) => {
                let packed;
                let in_layers = tensor.name.starts_with("layers.");
                if in_layers && calibrator.is_none() && !texts.is_empty() {
                    let matrices: Vec<_> = embeddings.iter().map(Packed::matrix).collect();
                    let (words, projection) = (&matrices[0], matrices.get(1));
                    let tuning = Tuning::default();
                    let new =
                        Calibrator::new(checkpoint, config, &texts, words, projection, tuning)?;
                    calibrator = Some(new);
                    embeddings.clear();
                }
                (packed, squares) = match calibrator.as_mut().filter(|_| in_layers) {
                    Some(calibrator) => {
                        let quantized = calibrator.quantize(tensor, format, progress)?;
                        bias = Some(quantized.bias);
                        (quantized.weight, quantized.squares)
                    }
                    None => quantize(checkpoint, config, tensor, format)?,
                };
                let bytes = packed.bytes();
                writer.write_tensor(&tensor.name, bytes)?;
                let length = bytes.len();
                if tensor.name.starts_with("embeddings.") && !texts.is_empty() {
                    embeddings.push(packed);
                }
                Some(length)
            }
        };
        let length = length.unwrap_or_default() as u64;
        summary.add(tensor, spec.format, length, squares);
        if !is_calibrated(tensor, spec.format) {
            progress.advance(&tensor.name, work::tensor(tensor, spec.format));
        }
    }
    let written = writer.finish()?;
    (summary.bytes, summary.fingerprint) = (written.bytes, written.fingerprint);
    Ok(summary)
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
    let list = modules_in(source.directory());
    let read = ["", transformer_folder(&list)]
        .into_iter()
        .flat_map(|folder| {
            let folder = source.directory().join(folder);
            BESIDE_WEIGHTS.map(|file| folder.join(file))
        });
    let weights = checkpoint
        .files()
        .iter()
        .map(|file| file.path().to_path_buf());
    let is_output = |path: std::path::PathBuf| path.canonicalize().is_ok_and(|path| path == full);
    if read.chain(weights).any(is_output) {
        return Err(ConvertError::OutputIsSource {
            path: output.into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_of_four_bits_are_calibrated_unless_told_otherwise() {
        let own = Calibration::new("own", "text");
        for quant in Quant::ALL {
            let text = |calibration| {
                let options = ConvertOptions {
                    quant,
                    calibration,
                    ..ConvertOptions::default()
                };
                options.calibration_text().map(Cow::into_owned)
            };
            let by_recipe = (quant != Quant::Q8).then(Calibration::english);
            assert_eq!(text(ConvertOptions::default().calibration), by_recipe);
            assert_eq!(text(Calibrate::Never), None);
            assert_eq!(text(Calibrate::On(own.clone())), Some(own.clone()));
        }
    }
}
