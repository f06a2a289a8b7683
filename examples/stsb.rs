//! How well each way of storing the weights of a sentence encoder keeps what it is for: the table of `docs/embeddings`.
//!
//!     cargo run --release -p rq-runtime --example stsb -- MODEL STSB.csv [CALIBRATION]
//!
//! MODEL is a directory with a checkpoint, STSB.csv the STS benchmark's test split: lines of sentence1,sentence2,score without a
//! heading, as PhilipMay/stsb-multi-mt has them. CALIBRATION is what q4 and q4m are calibrated on instead of the built-in
//! English prose. The figure is Spearman's rank correlation of the sentences' cosines with the scores, times 100.

use rq::{EmbedOptions, Embedder, Model, Session, SessionOptions, Task, cosine};
use rq_convert::{
    Calibrate, Calibration, ConvertOptions, HubCache, NoProgress, Pretrained, Quant, Reference,
    Source, convert_source,
};
use rq_format::PoolingMode;
use std::error::Error;
use std::path::Path;

/// A pair of sentences, by their places in the list of all, and how similar people find them.
type Pair = ([usize; 2], f64);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, benchmark, calibration @ ..] = &arguments[..] else {
        return Err("usage: stsb MODEL STSB.csv [CALIBRATION]".into());
    };
    let (sentences, pairs) = read(&std::fs::read_to_string(benchmark)?)?;
    let source = Source::find(model, &HubCache::from_env())?;
    let calibration = match calibration.first() {
        Some(path) => Calibration::read(Path::new(path))?,
        None => Calibration::english(),
    };
    let directory = tempfile::tempdir()?;
    let mut fp32 = Vec::new();
    println!("| weights | Spearman x 100 | beside fp32 | 1-cos, mean | worst | file |");
    println!("|---|---|---|---|---|---|");
    for (name, quant, calibrated) in [
        ("q8", Quant::Q8, false),
        ("q4m", Quant::Q4m, true),
        ("q4m, not calibrated", Quant::Q4m, false),
        ("q4", Quant::Q4, true),
        ("q4, not calibrated", Quant::Q4, false),
    ] {
        let path = directory.path().join("model.rq");
        let options = ConvertOptions {
            quant,
            threads: 0,
            calibration: match calibrated {
                true => Calibrate::On(calibration.clone()),
                false => Calibrate::Never,
            },
            head: None,
        };
        convert_source(&source, &path, &options, &NoProgress)?;
        let model = Model::open(&path)?;
        if fp32.is_empty() {
            fp32 = reference(&source, &model, &sentences)?;
            let score = 100.0 * score(&fp32, &pairs);
            println!("| fp32 | {score:.3} | | | | |");
        }
        let mut embedder = Embedder::new(Session::new(model, &SessionOptions::default())?);
        let mut options = EmbedOptions::default();
        options.truncate = true;
        let texts = sentences.iter().map(String::as_str);
        let embeddings = embedder.run(texts, &options)?;
        let embeddings: Vec<Vec<f32>> = embeddings.into_iter().map(|e| e.embedding).collect();
        let (found, expected) = (score(&embeddings, &pairs), score(&fp32, &pairs));
        let cosines = || embeddings.iter().zip(&fp32).map(|(a, b)| cosine(a, b));
        println!(
            "| {name} | {:.3} | {:+.3} | {:.2e} | {:.2e} | {:.1} MB |",
            100.0 * found,
            100.0 * (found - expected),
            1.0 - cosines().sum::<f64>() / sentences.len() as f64,
            1.0 - cosines().fold(1.0, f64::min),
            std::fs::metadata(&path)?.len() as f64 / 1e6,
        );
    }
    println!("\n{} pairs, {} sentences", pairs.len(), sentences.len());
    Ok(())
}

/// The embeddings of the f32 forward.
fn reference(
    source: &Source,
    model: &Model,
    sentences: &[String],
) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let pretrained = Pretrained::open(source, "f32")?;
    let reference = Reference::load(&pretrained.checkpoint, &pretrained.config)?;
    let pooling = pretrained.config.pooling.as_ref();
    let mode = pooling.map(|pooling| pooling.modes[0]);
    let width = pretrained.config.hidden_size;
    let embed = |sentence: &String| {
        let ids = model.tokenizer().encode(sentence, true)?.ids;
        let hidden = reference.forward(&ids);
        let dimension = |i| hidden[i..].iter().step_by(width).copied();
        Ok((0..width)
            .map(|i| match mode {
                Some(PoolingMode::Cls) => hidden[i],
                Some(PoolingMode::Max) => dimension(i).fold(f32::NEG_INFINITY, f32::max),
                _ => (dimension(i).map(f64::from).sum::<f64>() / ids.len() as f64) as f32,
            })
            .collect())
    };
    sentences.iter().map(embed).collect()
}

/// Spearman's rank correlation of the cosines with the scores.
fn score(embeddings: &[Vec<f32>], pairs: &[Pair]) -> f64 {
    let cosines = pairs
        .iter()
        .map(|([a, b], _)| cosine(&embeddings[*a], &embeddings[*b]));
    let scores = pairs.iter().map(|(_, score)| *score);
    correlation(
        &ranks(&cosines.collect::<Vec<_>>()),
        &ranks(&scores.collect::<Vec<_>>()),
    )
}

/// The rank of each value, from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&i| ranks[i] = rank);
        before += equal.len();
    }
    ranks
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let centered = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x - mean).collect()
    };
    let (a, b) = (centered(a), centered(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// The sentences of the benchmark, each once, and its pairs.
fn read(csv: &str) -> Result<(Vec<String>, Vec<Pair>), Box<dyn Error>> {
    let (mut sentences, mut pairs) = (Vec::new(), Vec::new());
    let mut places = std::collections::HashMap::new();
    for (number, line) in (1..).zip(csv.lines()) {
        let fields = fields(line);
        let [a, b, score] = &fields[..] else {
            return Err(format!("line {number} has {} fields, not 3", fields.len()).into());
        };
        let pair = [a, b].map(|sentence| {
            *places.entry(sentence.clone()).or_insert_with(|| {
                sentences.push(sentence.clone());
                sentences.len() - 1
            })
        });
        let score = score.trim().parse();
        pairs.push((pair, score.map_err(|e| format!("line {number}: {e}"))?));
    }
    Ok((sentences, pairs))
}

/// The fields of a line; within quotation marks a comma is none, and two such marks are one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut().expect("one").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("one").push(character),
        }
    }
    fields
}
