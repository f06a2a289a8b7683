//! The whole encoder: two layers of RoBERTa-large's shape, with random weights, on one thread and on all.
//!
//! `cargo bench --bench encoder`. Throughput is in tokens.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rq::format::{
    Architecture, Config, ConfigFields, Head, HiddenAct, Provenance, TensorFormat, TensorKind,
    Writer,
};
use rq::{Batch, Model, Rows, Session, SessionOptions};
use rq_kernels::packed::{self, BlockFormat};
use std::time::Duration;

const TOKENS: [usize; 4] = [8, 32, 128, 512];

/// The tokenizer isn't measured; any that fits the vocabulary serves.
const TOKENIZER: &[u8] = include_bytes!("../tests/data/demo-model/tokenizer.json");

fn model(format: BlockFormat) -> Model {
    let config = Config::new(ConfigFields {
        architecture: Architecture::Roberta,
        head: Head::MaskedLm,
        vocab_size: 12288,
        hidden_size: 1024,
        num_hidden_layers: 2,
        num_attention_heads: 16,
        intermediate_size: 4096,
        max_position_embeddings: 514,
        type_vocab_size: 1,
        layer_norm_eps: 1e-5,
        hidden_act: HiddenAct::Gelu,
        pad_token_id: 1,
        bos_token_id: 0,
        eos_token_id: 2,
        mask_token_id: 4,
        unk_token_id: Some(3),
        position_offset: 2,
        tie_word_embeddings: true,
        labels: vec![],
        quantization: format.name().into(),
    })
    .expect("a valid configuration");
    let provenance = Provenance {
        source: "random weights".into(),
        converter: "bench".into(),
        ..Provenance::default()
    };
    let tensors: Vec<_> = config
        .expected_tensors()
        .into_iter()
        .map(|tensor| match tensor.kind {
            TensorKind::Float => tensor.spec(TensorFormat::F32),
            _ => tensor.spec(TensorFormat::from(format)),
        })
        .collect();

    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("model.rq");
    let mut writer = Writer::create(&path, &config, &provenance, TOKENIZER, &tensors)
        .expect("a writable directory");
    let mut seed = 1u64;
    for tensor in &tensors {
        let scale = if tensor.name.ends_with("norm.weight") {
            1.0
        } else {
            0.04
        };
        let mut uniform = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * scale
        };
        let weights: Vec<f32> = (0..tensor.rows * tensor.columns)
            .map(|_| uniform())
            .collect();
        match tensor.format.block() {
            None => writer
                .write_floats(&tensor.name, &weights)
                .expect("written"),
            Some(format) => {
                let bytes =
                    packed::quantize(format, &weights, tensor.columns).expect("finite weights");
                writer.write_tensor(&tensor.name, &bytes).expect("written");
            }
        }
    }
    writer.finish().expect("written");
    Model::from_bytes(std::fs::read(&path).expect("readable")).expect("what was written")
}

fn encoder(criterion: &mut Criterion) {
    for format in BlockFormat::ALL {
        let model = model(format);
        for threads in [Some(1), None] {
            let options = SessionOptions { threads, isa: None };
            let mut session = Session::new(&model, &options).expect("a session");
            let name = format!(
                "encoder/{}/{format}/{} threads",
                session.isa(),
                session.threads()
            );
            let mut group = criterion.benchmark_group(name);
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1));
            for tokens in TOKENS {
                let ids: Vec<u32> = (0..tokens as u32).map(|i| 5 + i * 37 % 12000).collect();
                let batch = Batch::from_iter([ids]);
                group.throughput(Throughput::Elements(tokens as u64));
                group.bench_function(BenchmarkId::from_parameter(tokens), |b| {
                    b.iter(|| {
                        session
                            .hidden_states(&batch, Rows::All)
                            .expect("tokens of the vocabulary")
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, encoder);
criterion_main!(benches);
