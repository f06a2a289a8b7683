//! A tiny model, made twice: by the writer, and by hand, as FORMAT.md says.

use rq_format::{
    Architecture, Config, ConfigFields, FormatError, Head, HiddenAct, ModelFile, Provenance,
    SourceFile, TensorFormat, TensorKind, TensorSpec, TruncationSide, Writer,
};
use rq_kernels::packed::BlockFormat;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Not JSON that a tokenizer would take, but bytes that must come back.
pub(crate) const TOKENIZER: &[u8] = b"{\"version\":\"1.0\",\"model\":null}\n";
/// Where the section table is, and how long its records are.
pub(crate) const TABLE: usize = 64;
pub(crate) const SECTION_RECORD: usize = 32;
pub(crate) const TENSOR_RECORD: usize = 128;

pub(crate) fn fields() -> ConfigFields {
    ConfigFields {
        architecture: Architecture::Roberta,
        head: Head::MaskedLm,
        vocab_size: 20,
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 40,
        max_position_embeddings: 6,
        type_vocab_size: 1,
        embedding_size: None,
        layer_norm_eps: 1e-5,
        hidden_act: HiddenAct::Gelu,
        pad_token_id: 1,
        bos_token_id: 0,
        eos_token_id: 2,
        mask_token_id: Some(19),
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
        quantization: "q4".into(),
    }
}

pub(crate) fn config() -> Config {
    Config::new(fields()).unwrap()
}

pub(crate) fn provenance() -> Provenance {
    Provenance {
        source: "tiny".into(),
        revision: None,
        weights: vec![SourceFile {
            file: "model.safetensors".into(),
            sha256: "0123456789abcdef".repeat(4),
            bytes: 1234,
        }],
        converter: "by hand".into(),
        quantization: [("words".to_string(), "q8".to_string())].into(),
    }
}

/// The tensors of the tiny model: embeddings in q8, products in q4, the rest in f32.
pub(crate) fn specs(config: &Config) -> Vec<TensorSpec> {
    let tensors = config.expected_tensors();
    let specs = tensors.iter().map(|tensor| {
        tensor.spec(match tensor.kind {
            TensorKind::Embedding => TensorFormat::Q8,
            TensorKind::Linear => TensorFormat::Q4,
            TensorKind::Float => TensorFormat::F32,
        })
    });
    specs.collect()
}

/// Legal content for a tensor, different for each.
pub(crate) fn content(spec: &TensorSpec) -> Vec<u8> {
    let seed = spec
        .name
        .bytes()
        .fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let byte = |i: usize| (seed.wrapping_add(i as u32).wrapping_mul(2_654_435_769) >> 24) as u8;
    let len = spec.format.byte_len(spec.rows, spec.columns).unwrap();
    let mut bytes: Vec<u8> = Vec::with_capacity(len);
    let Some(format) = spec.format.block() else {
        for r in 0..spec.rows {
            let row = (0..spec.columns).map(|c| f32::from(byte(r * spec.columns + c)) / 64.0);
            bytes.extend(row.flat_map(f32::to_le_bytes));
            bytes.resize(bytes.len().next_multiple_of(64), 0);
        }
        return bytes;
    };
    let blocks = spec.rows.div_ceil(16) * spec.columns.div_ceil(128);
    match format {
        BlockFormat::Q8 => bytes.extend((0..blocks * 2048).map(|i| byte(i).max(1))),
        BlockFormat::Q4 => bytes.extend((0..blocks * 1088).map(|i| match i % 1088 {
            0..1024 => byte(i),
            // Sub-scales, of which none is 0.
            _ => byte(i) | 0x11,
        })),
    }
    for i in 0..blocks * 16 {
        let row = i / 16 / spec.columns.div_ceil(128) * 16 + i % 16;
        // f16 1.0, and zero for rows of padding.
        bytes.extend(if row < spec.rows {
            [0x00, 0x3c]
        } else {
            [0, 0]
        });
    }
    assert_eq!(bytes.len(), len);
    bytes
}

/// Writes the tiny model to `path`.
pub(crate) fn write(path: &Path) -> Result<(), FormatError> {
    let config = config();
    let specs = specs(&config);
    let mut writer = Writer::create(path, &config, &provenance(), TOKENIZER, &specs)?;
    for spec in &specs {
        writer.write_tensor(&spec.name, &content(spec))?;
    }
    writer.finish().map(|_| ())
}

/// The tiny model, put together by hand.
pub(crate) fn good() -> Vec<u8> {
    let config_json = r#"{"architecture":"roberta","head":"masked_lm","vocab_size":20,"hidden_size":32,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":40,"max_position_embeddings":6,"type_vocab_size":1,"layer_norm_eps":0.00001,"hidden_act":"gelu","pad_token_id":1,"bos_token_id":0,"eos_token_id":2,"mask_token_id":19,"unk_token_id":3,"position_offset":2,"tie_word_embeddings":true,"labels":[],"quantization":"q4"}"#;
    let provenance_json = format!(
        r#"{{"source":"tiny","revision":null,"weights":[{{"file":"model.safetensors","sha256":"{}","bytes":1234}}],"converter":"by hand","quantization":{{"words":"q8"}}}}"#,
        "0123456789abcdef".repeat(4)
    );
    assemble(
        config_json.as_bytes(),
        provenance_json.as_bytes(),
        TOKENIZER,
        &specs(&config()),
    )
}

/// A file with these sections, whatever they say.
pub(crate) fn assemble(
    config: &[u8],
    provenance: &[u8],
    tokenizer: &[u8],
    tensors: &[TensorSpec],
) -> Vec<u8> {
    let directory_len = tensors.len() * TENSOR_RECORD;
    let mut file = vec![0; TABLE + 5 * SECTION_RECORD];
    let mut table = Vec::new();
    let pad = |file: &mut Vec<u8>| file.resize(file.len().next_multiple_of(64), 0);
    for section in [config, provenance, tokenizer, &vec![0; directory_len]] {
        pad(&mut file);
        table.push((file.len(), section.len()));
        file.extend_from_slice(section);
    }
    let directory = table[3].0;
    pad(&mut file);
    let data = file.len();
    for (i, spec) in tensors.iter().enumerate() {
        pad(&mut file);
        let (offset, bytes) = (file.len(), content(spec));
        file.extend_from_slice(&bytes);
        let record = &mut file[directory + i * TENSOR_RECORD..][..TENSOR_RECORD];
        record[..spec.name.len()].copy_from_slice(spec.name.as_bytes());
        record[72] = match spec.format {
            TensorFormat::F32 => 0,
            TensorFormat::Q8 => 1,
            TensorFormat::Q4 => 2,
        };
        for (at, value) in [
            (80, spec.rows as u64),
            (88, spec.columns as u64),
            (96, offset as u64),
            (104, bytes.len() as u64),
            (112, xxh3_64(&bytes)),
        ] {
            record[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    table.push((data, file.len() - data));

    let len = file.len() as u64;
    let mut edit = Edit(file);
    edit.bytes(0, &[0x89, b'R', b'Q', b'M', 13, 10, 0x1a, 10])
        .u32(8, 2)
        .u32(12, 5)
        .u64(16, len)
        .u64(24, 64);
    for (i, (offset, length)) in table.into_iter().enumerate() {
        let record = TABLE + i * SECTION_RECORD;
        edit.u32(record, i as u32 + 1)
            .u64(record + 8, offset as u64)
            .u64(record + 16, length as u64);
    }
    edit.seal();
    edit.0
}

/// Bytes of a file to be changed.
pub(crate) struct Edit(pub(crate) Vec<u8>);

impl Edit {
    pub(crate) fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    pub(crate) fn get(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// Where the record of a section is: 1 is the configuration, 5 the tensors.
    pub(crate) fn section(&self, kind: usize) -> usize {
        TABLE + (kind - 1) * SECTION_RECORD
    }

    /// Where a section starts.
    pub(crate) fn start(&self, kind: usize) -> usize {
        self.get(self.section(kind) + 8) as usize
    }

    /// The bytes of a section.
    pub(crate) fn content(&self, kind: usize) -> &[u8] {
        let len = self.get(self.section(kind) + 16) as usize;
        &self.0[self.start(kind)..][..len]
    }

    /// Where the record of a tensor is.
    pub(crate) fn tensor(&self, index: usize) -> usize {
        self.start(4) + index * TENSOR_RECORD
    }

    /// Makes every checksum but the tensors' right again.
    pub(crate) fn seal(&mut self) -> &mut Self {
        for kind in 1..=4 {
            let record = self.section(kind);
            let start = self.get(record + 8) as usize;
            let end = start.saturating_add(self.get(record + 16) as usize);
            if let Some(bytes) = self.0.get(start..end) {
                self.u64(record + 24, xxh3_64(bytes));
            }
        }
        self.seal_header()
    }

    /// Makes the checksum of the header right again.
    pub(crate) fn seal_header(&mut self) -> &mut Self {
        let covered = [&self.0[..56], &self.0[64..224]].concat();
        self.u64(56, xxh3_64(&covered))
    }

    /// What the reader says of it.
    pub(crate) fn error(&self) -> FormatError {
        match ModelFile::from_bytes(self.0.clone()) {
            Ok(_) => panic!("a bad file was opened"),
            Err(error) => error,
        }
    }
}

/// The tiny model, to be changed.
pub(crate) fn edit() -> Edit {
    Edit(good())
}

/// The tiny model with another configuration, whatever that says.
pub(crate) fn with_config(change: impl Fn(String) -> String) -> Edit {
    let good = edit();
    let json = change(String::from_utf8(good.content(1).to_vec()).unwrap());
    Edit(assemble(
        json.as_bytes(),
        good.content(2),
        good.content(3),
        &specs(&config()),
    ))
}

/// The tiny model with other tensors, whatever those are.
pub(crate) fn with_tensors(change: impl Fn(&mut Vec<TensorSpec>)) -> Edit {
    let good = edit();
    let mut tensors = specs(&config());
    change(&mut tensors);
    Edit(assemble(
        good.content(1),
        good.content(2),
        good.content(3),
        &tensors,
    ))
}

/// Everything that reads bytes, until the first error.
pub(crate) fn read_all(bytes: &[u8]) -> Result<(), FormatError> {
    let model = ModelFile::from_bytes(bytes.to_vec())?;
    model.tokenizer()?;
    model.verify().map(|_| ())
}

/// Asserts that the reader refuses an edited file with an error of this shape.
macro_rules! refused {
    ($edit:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = $edit.error();
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}: {error}");
    }};
}
pub(crate) use refused;
