//! A configuration that exists is valid.

mod common;

use common::*;
use rq_format::{
    Config, ConfigError, ConfigFields, MAX_HIDDEN_SIZE, MAX_INTERMEDIATE_SIZE, MAX_LAYERS,
    MAX_POSITIONS, MAX_TOKEN_TYPES, MAX_VOCAB_SIZE, TensorKind,
};

fn refused(change: impl FnOnce(&mut ConfigFields)) -> ConfigError {
    let mut fields = fields();
    change(&mut fields);
    Config::new(fields).unwrap_err()
}

#[test]
fn sizes_have_limits() {
    type Field = fn(&mut ConfigFields) -> &mut usize;
    let fields: [(&str, usize, Field); 7] = [
        ("vocab_size", MAX_VOCAB_SIZE, |f| &mut f.vocab_size),
        ("hidden_size", MAX_HIDDEN_SIZE, |f| &mut f.hidden_size),
        ("num_hidden_layers", MAX_LAYERS, |f| {
            &mut f.num_hidden_layers
        }),
        ("num_attention_heads", MAX_HIDDEN_SIZE, |f| {
            &mut f.num_attention_heads
        }),
        ("intermediate_size", MAX_INTERMEDIATE_SIZE, |f| {
            &mut f.intermediate_size
        }),
        ("max_position_embeddings", MAX_POSITIONS, |f| {
            &mut f.max_position_embeddings
        }),
        ("type_vocab_size", MAX_TOKEN_TYPES, |f| {
            &mut f.type_vocab_size
        }),
    ];
    for (name, max, field) in fields {
        for found in [0, max + 1, usize::MAX] {
            assert_eq!(
                refused(|f| *field(f) = found),
                ConfigError::Range {
                    field: name,
                    found,
                    min: 1,
                    max
                }
            );
        }
    }
    assert_eq!(
        refused(|f| f.hidden_size = 0).to_string(),
        "hidden_size is 0; it must be from 1 to 65536"
    );
}

#[test]
fn heads_divide_the_hidden_size() {
    assert_eq!(
        refused(|f| f.num_attention_heads = 3),
        ConfigError::Heads {
            hidden_size: 32,
            num_attention_heads: 3
        }
    );
}

#[test]
fn epsilon_is_a_normal_number() {
    for eps in [0.0, -1e-5, 1e-60, 1e-40, 1.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            refused(|f| f.layer_norm_eps = eps),
            ConfigError::LayerNormEps { .. }
        ));
    }
}

#[test]
fn special_tokens_are_in_the_vocabulary() {
    for (name, error) in [
        ("pad_token_id", refused(|f| f.pad_token_id = 20)),
        ("bos_token_id", refused(|f| f.bos_token_id = 20)),
        ("eos_token_id", refused(|f| f.eos_token_id = 20)),
        ("mask_token_id", refused(|f| f.mask_token_id = 20)),
        ("unk_token_id", refused(|f| f.unk_token_id = Some(20))),
    ] {
        let expected = ConfigError::TokenId {
            field: name,
            found: 20,
            vocab_size: 20,
        };
        assert_eq!(error, expected);
    }
    let mut fields = fields();
    fields.unk_token_id = None;
    assert_eq!(Config::new(fields).unwrap().unk_token_id, None);
}

#[test]
fn positions_start_behind_the_padding_token() {
    assert_eq!(
        refused(|f| f.position_offset = 0),
        ConfigError::PositionOffset {
            expected: 2,
            found: 0
        }
    );
    for max_position_embeddings in 1..4 {
        assert_eq!(
            refused(|f| f.max_position_embeddings = max_position_embeddings),
            ConfigError::MaxTokens {
                max_position_embeddings,
                position_offset: 2
            }
        );
    }
}

#[test]
fn labels_suit_the_head() {
    assert!(matches!(
        refused(|f| f.labels = vec!["positive".into()]),
        ConfigError::Labels { found: 1, .. }
    ));
}

#[test]
fn a_recipe_has_a_name() {
    for name in ["", "Q4", "q 4", "q4\n", &"q".repeat(65)] {
        assert!(matches!(
            refused(|f| f.quantization = name.into()),
            ConfigError::Quantization { found } if found == name
        ));
    }
}

#[test]
fn derived_sizes() {
    let config = config();
    assert_eq!((config.head_size(), config.padded_head_size()), (16, 16));
    assert_eq!(config.max_tokens(), 4);
    let config = Config::new(ConfigFields {
        hidden_size: 60,
        num_attention_heads: 3,
        ..fields()
    })
    .unwrap();
    assert_eq!((config.head_size(), config.padded_head_size()), (20, 32));
    let qkv = &config.expected_tensors()[5];
    assert_eq!(qkv.name, "layers.0.attention.qkv.weight");
    assert_eq!((qkv.rows, qkv.columns), (3 * 3 * 32, 60));
    assert_eq!(qkv.kind, TensorKind::Linear);
}

#[test]
fn json_comes_back_and_is_checked() {
    let config = config();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    let bad = json.replace("\"hidden_size\":32", "\"hidden_size\":33");
    let error = serde_json::from_str::<Config>(&bad).unwrap_err();
    assert!(error.to_string().contains("it must divide hidden_size, 33"));
}

#[test]
fn the_largest_configuration_is_within_the_limits_of_a_file() {
    let config = Config::new(ConfigFields {
        vocab_size: MAX_VOCAB_SIZE,
        hidden_size: MAX_HIDDEN_SIZE,
        num_hidden_layers: MAX_LAYERS,
        num_attention_heads: MAX_HIDDEN_SIZE,
        intermediate_size: MAX_INTERMEDIATE_SIZE,
        max_position_embeddings: MAX_POSITIONS,
        type_vocab_size: MAX_TOKEN_TYPES,
        tie_word_embeddings: false,
        ..fields()
    })
    .unwrap();
    let tensors = config.expected_tensors();
    assert!(tensors.len() <= rq_format::MAX_TENSORS);
    for tensor in &tensors {
        assert!(tensor.name.len() <= rq_format::MAX_NAME_LEN);
        assert!(tensor.rows.max(tensor.columns) as u64 <= rq_format::MAX_DIMENSION);
    }
}
