//! Writes a checkpoint of a given shape with random weights: the load for speed, memory and size.
//!
//!     cargo run --release -p rq-convert --example random_checkpoint -- MODEL_DIR OUT_DIR [--seed N]
//!
//! MODEL_DIR has a `config.json` and a tokenizer, which are copied; its weights, if any, aren't read. OUT_DIR gets
//! `model.safetensors` in f32 with the names and the order of transformers. Weights are about normal with a standard
//! deviation of 0.02, as in an untrained model; LayerNorm's are about 1. The same seed makes the same file.

use serde_json::{Map, Value, json};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

const COPIED: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (from, to, seed) = match arguments[..] {
        [from, to] => (from, to, Ok(0)),
        [from, to, "--seed", seed] | ["--seed", seed, from, to] => (from, to, seed.parse()),
        _ => {
            eprintln!("usage: random_checkpoint MODEL_DIR OUT_DIR [--seed N]");
            return ExitCode::from(2);
        }
    };
    let result = seed
        .map_err(Into::into)
        .and_then(|seed| run(from.as_ref(), to.as_ref(), seed));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("random_checkpoint: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(from: &Path, to: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for file in COPIED {
        if from.join(file).is_file() {
            fs::copy(from.join(file), to.join(file))?;
        }
    }
    let config: Value = serde_json::from_slice(&fs::read(from.join("config.json"))?)?;
    let tensors = tensors(&config)?;

    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, shape) in &tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let path = to.join("model.safetensors");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (index, (name, shape)) in tensors.iter().enumerate() {
        // A stream of its own for each tensor, so that a tensor doesn't depend on those before it.
        let mut random = Random(seed.wrapping_add((index as u64) << 32));
        let (mean, deviation) = if name.to_lowercase().contains("norm.weight") {
            (1.0, 0.1)
        } else {
            (0.0, 0.02)
        };
        let mut left: usize = shape.iter().product();
        let mut buffer = Vec::with_capacity(1 << 16);
        while left > 0 {
            let count = left.min(1 << 14);
            buffer.clear();
            for _ in 0..count {
                buffer.extend((mean + deviation * random.normal()).to_le_bytes());
            }
            file.write_all(&buffer)?;
            left -= count;
        }
    }
    file.flush()?;
    println!(
        "{}: {} tensors, {end} bytes of weights",
        path.display(),
        tensors.len()
    );
    Ok(())
}

/// A name and a shape.
type Tensor = (String, Vec<usize>);

/// The tensors of a RoBERTa masked language model, sorted by name as transformers writes them.
fn tensors(config: &Value) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let number = |key: &str| {
        let value = config[key]
            .as_u64()
            .ok_or_else(|| format!("config.json: no number {key}"))?;
        Ok::<_, Box<dyn Error>>(usize::try_from(value)?)
    };
    let (hidden, vocab) = (number("hidden_size")?, number("vocab_size")?);
    let intermediate = number("intermediate_size")?;
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut push = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    for (table, rows) in [
        ("word", vocab),
        ("position", number("max_position_embeddings")?),
        ("token_type", number("type_vocab_size")?),
    ] {
        push(
            format!("roberta.embeddings.{table}_embeddings.weight"),
            &[rows, hidden],
        );
    }
    push("lm_head.bias".into(), &[vocab]);
    let mut with_bias = |name: String, shape: &[usize]| {
        push(format!("{name}.weight"), shape);
        push(format!("{name}.bias"), &shape[..1]);
    };
    with_bias("roberta.embeddings.LayerNorm".into(), &[hidden]);
    for n in 0..number("num_hidden_layers")? {
        let layer = format!("roberta.encoder.layer.{n}");
        for part in ["query", "key", "value"] {
            with_bias(format!("{layer}.attention.self.{part}"), &[hidden, hidden]);
        }
        with_bias(format!("{layer}.attention.output.dense"), &[hidden, hidden]);
        with_bias(format!("{layer}.attention.output.LayerNorm"), &[hidden]);
        with_bias(
            format!("{layer}.intermediate.dense"),
            &[intermediate, hidden],
        );
        with_bias(format!("{layer}.output.dense"), &[hidden, intermediate]);
        with_bias(format!("{layer}.output.LayerNorm"), &[hidden]);
    }
    with_bias("lm_head.dense".into(), &[hidden, hidden]);
    with_bias("lm_head.layer_norm".into(), &[hidden]);
    tensors.sort();
    Ok(tensors)
}

/// splitmix64: a counter through a mixing function.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal, with mean 0 and standard deviation 1: the sum of four uniform values (Irwin and Hall), 16 bits
    /// each. It ends at 3.46 deviations.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        // Each has the variance 65536^2 / 12.
        (sum as f32 - 131_070.0) * (1.732_050_8 / 65536.0)
    }
}
