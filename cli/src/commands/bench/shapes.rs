//! Known shapes, and model files with random weights: how fast a model will be, before it is downloaded.

use rq_convert::Quant;
use rq_format::{
    Architecture, Config, ConfigFields, ExpectedTensor, FormatError, Head, HiddenAct, Provenance,
    TruncationSide, Writer,
};
use rq_kernels::BLOCK;
use rq_kernels::lanes::{LANES, panels_for};
use rq_kernels::packed::{BlockFormat, CodesQ4};
use serde_json::{Map, Value, json};
use std::mem::offset_of;
use std::path::Path;

/// What distinguishes RoBERTa's sizes.
pub(super) struct Shape {
    pub(super) name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
}

/// The values of `--shape`.
pub(super) const SHAPES: [Shape; 3] = [
    Shape {
        name: "roberta-large",
        layers: 24,
        hidden: 1024,
        heads: 16,
    },
    Shape {
        name: "roberta-base",
        layers: 12,
        hidden: 768,
        heads: 12,
    },
    Shape {
        name: "distilroberta-base",
        layers: 6,
        hidden: 768,
        heads: 12,
    },
];

impl Shape {
    fn config(&self, quant: Quant) -> Config {
        let vocab_size = 50265;
        Config::new(ConfigFields {
            architecture: Architecture::Roberta,
            head: Head::MaskedLm,
            vocab_size,
            hidden_size: self.hidden,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: 4 * self.hidden,
            max_position_embeddings: 514,
            type_vocab_size: 1,
            embedding_size: None,
            layer_norm_eps: 1e-5,
            hidden_act: HiddenAct::Gelu,
            pad_token_id: 1,
            bos_token_id: 0,
            eos_token_id: 2,
            mask_token_id: Some(vocab_size as u32 - 1),
            unk_token_id: Some(3),
            position_offset: 2,
            tie_word_embeddings: true,
            labels: vec![],
            classifier_act: None,
            score_function: None,
            pooling: None,
            sparse_pooling: None,
            max_seq_length: None,
            truncation_side: TruncationSide::Right,
            clean_up_spaces: false,
            quantization: quant.name().into(),
        })
        .expect("a valid configuration")
    }

    /// The most tokens that a model of this shape takes.
    pub(super) fn max_tokens(&self) -> usize {
        self.config(Quant::Q8).max_tokens()
    }

    /// Writes a model file of this shape with random weights.
    pub(super) fn write(&self, quant: Quant, path: &Path) -> Result<(), FormatError> {
        let config = self.config(quant);
        let provenance = Provenance {
            source: format!("random weights in the shape of {}", self.name),
            converter: format!("rq bench {}", env!("CARGO_PKG_VERSION")),
            ..Provenance::default()
        };
        let expected = config.expected_tensors();
        let specs: Vec<_> = expected
            .iter()
            .map(|tensor| tensor.spec(quant.format(tensor)))
            .collect();
        let tokenizer = tokenizer(&config);
        let mut writer = Writer::create(path, &config, &provenance, &tokenizer, &specs)?;
        let mut random = Random::new(1);
        for tensor in &expected {
            let name = &tensor.name;
            match quant.format(tensor).block() {
                Some(format) => writer.write_tensor(name, &packed(tensor, format, &mut random))?,
                None => {
                    let value = if name.ends_with("norm.weight") {
                        1.0
                    } else {
                        0.0
                    };
                    writer.write_floats(name, &vec![value; tensor.rows * tensor.columns])?;
                }
            }
        }
        writer.finish()?;
        Ok(())
    }
}

/// The bytes of a packed tensor: random legal codes, and a scale with which weights spread about as trained ones do: with a
/// standard deviation of 0.02, which is sqrt(128) times as much in the rotated blocks that are stored.
fn packed(tensor: &ExpectedTensor, format: BlockFormat, random: &mut Random) -> Vec<u8> {
    let blocks = panels_for(tensor.rows) * tensor.columns.div_ceil(BLOCK);
    let mut bytes = vec![0; blocks * format.code_bytes()];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = random.next().to_le_bytes();
    }
    match format {
        // 0 would be the code -128, which isn't legal.
        BlockFormat::Q8 => bytes.iter_mut().for_each(|byte| *byte = (*byte).max(1)),
        // Sub-scales from 8 to 15: none may be 0, and most of a trained model's are large.
        BlockFormat::Q4 => {
            for block in bytes.chunks_exact_mut(format.code_bytes()) {
                let sub_scales = &mut block[offset_of!(CodesQ4, sub_scales)..];
                sub_scales.iter_mut().for_each(|byte| *byte |= 0x88);
            }
        }
    }
    // 2^-8, as f16: q8's codes have a standard deviation of 74, q4's with their sub-scales one of 54.
    let scale: u16 = 7 << 10;
    for panel in 0..panels_for(tensor.rows) {
        // The rows beyond the last are padding, which must be zero.
        let rows = panel * LANES..(panel + 1) * LANES;
        let scales = rows.map(|row| if row < tensor.rows { scale } else { 0 });
        let scales: Vec<u8> = scales.flat_map(u16::to_le_bytes).collect();
        bytes.extend(scales.repeat(tensor.columns.div_ceil(BLOCK)));
    }
    bytes
}

/// A byte-level tokenizer of pairs of letters. It has as many entries as the real one, so it takes about as long to load.
fn tokenizer(config: &Config) -> Vec<u8> {
    let letters: Vec<String> = ('\u{100}'..).take(256).map(String::from).collect();
    let special = ["<s>", "<pad>", "</s>", "<unk>"].map(String::from);
    let pairs = letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| (a, b)))
        .take(config.vocab_size - special.len() - letters.len() - 1);
    let merges: Vec<[&String; 2]> = pairs.map(|(a, b)| [a, b]).collect();
    let vocab: Map<String, Value> = special
        .iter()
        .chain(&letters)
        .cloned()
        .chain(merges.iter().map(|pair| pair.map(String::as_str).concat()))
        .chain(["<mask>".to_owned()])
        .zip((0..).map(Value::from))
        .collect();
    json!({"model": {"type": "BPE", "vocab": vocab, "merges": merges}})
        .to_string()
        .into_bytes()
}

/// Marsaglia's xorshift.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (((self.next() >> 32) * end as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rq::Model;

    #[test]
    fn random_files_are_sound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.rq");
        let small = Shape {
            name: "small",
            layers: 1,
            hidden: 64,
            heads: 4,
        };
        for quant in Quant::ALL {
            small.write(quant, &path).unwrap();
            let model = Model::open(&path).unwrap();
            model.file().verify().unwrap();
            assert_eq!(model.tokenizer().mask_token(), Some("<mask>"));
            let weights = model.file().packed("layers.0.ffn.up.weight").unwrap();
            let mut row = vec![0.0; weights.columns()];
            let mut squares = 0.0;
            for r in 0..weights.rows() {
                weights.dequantize_row(r, &mut row);
                squares += row.iter().map(|x| x * x).sum::<f32>();
            }
            let deviation = (squares / (weights.rows() * weights.columns()) as f32).sqrt();
            assert!((0.015..0.03).contains(&deviation), "{deviation}");
        }
    }
}
