//! Token ids against those of Hugging Face's tokenizers, through a model's own tokenizer: `goldens/tokenizer.json`.

mod common;

use common::{model, tests_path};
use rq::format::{
    Architecture, Config, ConfigFields, Head, HiddenAct, Provenance, TensorFormat, TensorKind,
    Writer,
};
use rq::{Error, Model};
use rq_convert::Quant;
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    model: String,
    text: String,
    ids: Vec<u32>,
}

/// A model with the tokenizer and the positions of roberta-large, and no weights to speak of.
fn roberta_large() -> Model {
    let config = Config::new(ConfigFields {
        architecture: Architecture::Roberta,
        head: Head::MaskedLm,
        vocab_size: 50265,
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 514,
        type_vocab_size: 1,
        layer_norm_eps: 1e-5,
        hidden_act: HiddenAct::Gelu,
        pad_token_id: 1,
        bos_token_id: 0,
        eos_token_id: 2,
        mask_token_id: 50264,
        unk_token_id: Some(3),
        position_offset: 2,
        tie_word_embeddings: true,
        labels: vec![],
        quantization: "q8".into(),
    })
    .unwrap();
    let provenance = Provenance {
        source: "a test".into(),
        converter: "a test".into(),
        ..Provenance::default()
    };
    let tokenizer =
        std::fs::read(tests_path("data/roberta-large-tokenizer/tokenizer.json")).unwrap();
    let tensors: Vec<_> = config
        .expected_tensors()
        .iter()
        .map(|tensor| match tensor.kind {
            TensorKind::Float => tensor.spec(TensorFormat::F32),
            _ => tensor.spec(TensorFormat::Q8),
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.rq");
    let mut writer = Writer::create(&path, &config, &provenance, &tokenizer, &tensors).unwrap();
    for tensor in &tensors {
        let zeros = vec![0.0; tensor.rows * tensor.columns];
        match tensor.format.block() {
            None => writer.write_floats(&tensor.name, &zeros).unwrap(),
            Some(format) => {
                let packed = rq_kernels::packed::quantize(format, &zeros, tensor.columns).unwrap();
                writer.write_tensor(&tensor.name, &packed).unwrap();
            }
        }
    }
    writer.finish().unwrap();
    Model::from_bytes(std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_ids_of_tokenizers() {
    let json = std::fs::read(tests_path("goldens/tokenizer.json")).unwrap();
    let goldens: Goldens = serde_json::from_slice(&json).unwrap();
    let models = [
        ("roberta-large-tokenizer", roberta_large()),
        ("demo-model", model("demo-model", Quant::Q8)),
        ("sapiens-vh", model("sapiens-vh", Quant::Q8)),
    ];
    let mut too_long = 0;
    for (name, model) in &models {
        let tokenizer = model.tokenizer();
        let limit = tokenizer.max_tokens();
        let of_model = |golden: &&Golden| golden.model == *name;
        let cases: Vec<&Golden> = goldens.cases.iter().filter(of_model).collect();
        assert!(cases.len() >= 10, "{name}");
        for Golden { text, ids, .. } in cases {
            assert_eq!(&tokenizer.ids(text, true).unwrap(), ids, "{name}: {text:?}");
            let truncated = tokenizer.encode(text, true).unwrap();
            if ids.len() <= limit {
                assert_eq!(tokenizer.encode(text, false).unwrap(), truncated);
                assert_eq!((&truncated.ids, truncated.truncated_from), (ids, None));
                continue;
            }
            too_long += 1;
            assert!(matches!(
                tokenizer.encode(text, false),
                Err(Error::TooLong { tokens, limit: l, .. }) if (tokens, l) == (ids.len(), limit)
            ));
            let (kept, last) = (&ids[..limit - 1], ids[ids.len() - 1]);
            assert_eq!(truncated.ids, [kept, &[last]].concat());
            assert_eq!(truncated.truncated_from, Some(ids.len()));
        }
    }
    assert!(too_long > 0);
}
