//! What each way of storing the weights costs: the table of `docs/quantization`.
//!
//!     cargo run --release -p rq-runtime --example quantization -- MODEL TEXT [CALIBRATION]
//!
//! MODEL is a directory with a checkpoint, TEXT what is evaluated on, a text a line, CALIBRATION what is calibrated on
//! instead of the built-in English text. Q4_0 and IQ4_NL are ggml's, by their arithmetic: weights quantized and
//! dequantized, activations in f32.

use half::f16;
use rq::{Batch, Head, Model, Rows, Session, SessionOptions};
use rq_convert::{
    Calibrate, Calibration, Closeness, ConvertOptions, Expected, HubCache, MaskedText, NoProgress,
    Pretrained, Quant, Reference, Source, convert_source, mask_texts,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Quantizes a block of weights and gives back what it stands for.
type Format = fn(&[f32]) -> Vec<f32>;

const BLOCK: usize = 32;
const TOKENS: usize = 12_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, calibration @ ..] = &arguments[..] else {
        return Err("usage: quantization MODEL TEXT [CALIBRATION]".into());
    };
    let source = Source::find(model, &HubCache::from_env())?;
    let pretrained = Pretrained::open(&source, "f32")?;
    let reference = Reference::load(&pretrained.checkpoint, &pretrained.config)?;
    let texts = mask_texts(&std::fs::read_to_string(text)?, &pretrained, TOKENS)?;
    let expected = Expected::new(&reference, texts);
    let calibration = match calibration.first() {
        Some(path) => Calibration::read(Path::new(path))?,
        None => Calibration::english(),
    };
    println!(
        "| weights | bits in the layers | 1-cos, mean | median | worst | of the texts' means | top-1 | top-5 | KL | perplexity | seconds |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let row = |name: &str, bits: f64, c: &Closeness, seconds: f64| {
        println!(
            "| {name} | {bits:.2} | {:.2e} | {:.2e} | {:.2e} | {:.2e} | {} | {} | {} | {} | {seconds:.1} |",
            1.0 - c.hidden_cosine_mean,
            1.0 - c.hidden_cosine_median,
            1.0 - c.hidden_cosine_min,
            1.0 - c.pooled_cosine_mean,
            of_masks(c.top1_agreement, |share| format!("{:.1} %", 100.0 * share)),
            of_masks(c.top5_agreement, |share| format!("{:.1} %", 100.0 * share)),
            of_masks(c.kl, |kl| format!("{kl:.4}")),
            of_masks(c.perplexity, |perplexity| format!("{perplexity:.2}")),
        );
    };
    let directory = tempfile::tempdir()?;
    let formats: [(&str, Format); 2] = [("Q4_0", q4_0), ("IQ4_NL", iq4_nl)];
    for (name, format) in formats {
        let rounded = directory.path().join(name);
        round(source.directory(), &rounded, format)?;
        let rounded = Source::find(rounded.to_str().unwrap_or_default(), &HubCache::from_env())?;
        let rounded = Pretrained::open(&rounded, "f32")?;
        let rounded = Reference::load(&rounded.checkpoint, &rounded.config)?;
        let closeness = expected.compare(|text| Ok::<_, Box<dyn Error>>(rounded.answer(text)))?;
        row(name, 4.5, &closeness, 0.0);
    }
    for (name, quant, calibrated) in [
        ("q4, not calibrated", Quant::Q4, false),
        ("q4", Quant::Q4, true),
        ("q4m, not calibrated", Quant::Q4m, false),
        ("q4m", Quant::Q4m, true),
        ("q8, not calibrated", Quant::Q8, false),
        ("q8", Quant::Q8, true),
    ] {
        let output = directory.path().join("model.rq");
        let options = ConvertOptions {
            quant,
            threads: 0,
            calibration: match calibrated {
                true => Calibrate::On(calibration.clone()),
                false => Calibrate::Never,
            },
            head: None,
        };
        let start = Instant::now();
        let summary = convert_source(&source, &output, &options, &NoProgress)?;
        let seconds = start.elapsed().as_secs_f64();
        let layers = || {
            summary
                .kinds
                .iter()
                .filter(|k| ["attention", "feed-forward"].contains(&k.kind))
        };
        let bits = layers().map(|k| 8 * k.bytes).sum::<u64>() as f64
            / layers().map(|k| k.weights).sum::<u64>() as f64;
        let mut session = Session::new(Model::open(&output)?, &SessionOptions::default())?;
        let closeness = expected.compare(|text| answer(&mut session, text))?;
        row(name, bits, &closeness, seconds);
    }
    let fp32 = expected.compare(|text| Ok::<_, Box<dyn Error>>(reference.answer(text)))?;
    row("fp32", 32.0, &fp32, 0.0);
    println!(
        "\n{} texts, {} tokens, {} masks",
        fp32.texts, fp32.tokens, fp32.masks
    );
    Ok(())
}

fn answer(session: &mut Session, text: &MaskedText) -> Result<(Vec<f32>, Vec<f32>), rq::Error> {
    let batch = Batch::from_iter([&text.ids]);
    let hidden = session.hidden_states(&batch, Rows::All)?;
    let logits = match session.model().config().head {
        Head::None => Vec::new(),
        _ => session.logits(&batch, Rows::Only(&text.masks))?,
    };
    Ok((hidden, logits))
}

/// Copies a checkpoint, the products of its layers rounded.
fn round(from: &Path, to: &Path, format: Format) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        let pooling = path.join("config.json");
        if pooling.is_file() {
            std::fs::create_dir(&copy)?;
            std::fs::copy(pooling, copy.join("config.json"))?;
        } else if path.extension().is_some_and(|e| e == "json" || e == "txt") {
            std::fs::copy(&path, copy)?;
        }
    }
    let bytes = std::fs::read(from.join("model.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut rounded: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, view) in tensors.tensors() {
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            // No weights: the numbers of the positions.
            Dtype::I64 => continue,
            other => return Err(format!("{name} is in {other:?}").into()),
        };
        let linear = name.contains("encoder.layer.") && view.shape().len() == 2;
        let values = if linear {
            values.chunks(BLOCK).flat_map(format).collect()
        } else {
            values
        };
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        rounded.push((name, view.shape().to_vec(), bytes));
    }
    let views = rounded
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(views, None, &to.join("model.safetensors"))?;
    Ok(())
}

/// The value of largest magnitude, with its sign.
fn extreme(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |m: f32, &x| if x.abs() > m.abs() { x } else { m })
}

/// ggml's Q4_0.
fn q4_0(x: &[f32]) -> Vec<f32> {
    let d = extreme(x) / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let scale = f16::from_f32(d).to_f32();
    x.iter()
        .map(|x| scale * ((x * inverse + 8.5).floor().min(15.0) - 8.0))
        .collect()
}

/// ggml's IQ4_NL, with its default weights x^2.
fn iq4_nl(x: &[f32]) -> Vec<f32> {
    const LEVELS: [f32; 16] = [
        -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0,
        69.0, 89.0, 113.0,
    ];
    let nearest = |q: f32| {
        let distance = |l: &f32| (l - q).abs();
        LEVELS
            .into_iter()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0.0)
    };
    let m = extreme(x);
    if m == 0.0 {
        return x.to_vec();
    }
    let (mut best, mut d) = (-1.0, 0.0);
    for t in std::iter::once(127.0).chain((-7..8).map(|i| (i - 127) as f32)) {
        let (mut sxl, mut sll) = (0.0, 0.0);
        for &x in x {
            let (y, w) = (x / m, (x / m).powi(2));
            let l = nearest(y * t);
            sxl += w * y * l;
            sll += w * l * l;
        }
        if sll > 0.0 && sxl * sxl > best * sll {
            d = sxl / sll;
            best = d * sxl;
        }
    }
    let scale = f16::from_f32(d * m).to_f32();
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    x.iter().map(|x| scale * nearest(x * inverse)).collect()
}

/// A figure over masks, if there are some.
fn of_masks(figure: Option<f64>, show: impl Fn(f64) -> String) -> String {
    figure.map_or("-".to_owned(), show)
}
