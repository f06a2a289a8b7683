//! A configuration that exists is valid.

use crate::common::*;
use rq_format::{
    Activation, Architecture, ClassifierAct, Config, ConfigError, ConfigFields, Dense,
    EmbeddingLayer, Head, MAX_EMBEDDING_LAYERS, MAX_HIDDEN_SIZE, MAX_INTERMEDIATE_SIZE,
    MAX_LABEL_LEN, MAX_LABELS, MAX_LAYERS, MAX_POOLING_MODES, MAX_POSITIONS, MAX_PROMPT_LEN,
    MAX_PROMPTS, MAX_TOKEN_TYPES, MAX_VOCAB_SIZE, Pooling, PoolingMode, ScoreFunction,
    SparseActivation, SparseMode, SparsePooling, TensorKind,
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
        ("mask_token_id", refused(|f| f.mask_token_id = Some(20))),
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
    for head in [Head::SequenceClassification, Head::TokenClassification] {
        assert_eq!(
            refused(|f| f.head = head),
            ConfigError::Labels { head, found: 0 }
        );
        let found = MAX_LABELS + 1;
        assert_eq!(
            refused(|f| (f.head, f.labels) = (head, vec!["a".into(); found])),
            ConfigError::Labels { head, found }
        );
    }
    for (label, found) in [("a\nb", "a\nb"), ("\u{7f}", "\u{7f}"), ("\u{85}", "\u{85}")] {
        let labels = vec!["good".into(), label.into()];
        let error = refused(|f| (f.head, f.labels) = (Head::TokenClassification, labels));
        let found = found.into();
        assert_eq!(error, ConfigError::Label { index: 1, found });
    }
    // transformers has labels without a letter.
    let empty = ConfigFields {
        head: Head::TokenClassification,
        labels: vec!["good".into(), "".into()],
        ..fields()
    };
    assert_eq!(Config::new(empty).unwrap().labels[1], "");
    let long = vec!["l".repeat(MAX_LABEL_LEN + 1)];
    assert!(matches!(
        refused(|f| (f.head, f.labels) = (Head::TokenClassification, long)),
        ConfigError::Label { index: 0, .. }
    ));
}

#[test]
fn a_head_has_its_fields_and_no_others() {
    let labels = || vec!["no".to_owned(), "yes".to_owned()];
    let pooling = Pooling::of(PoolingMode::Mean);
    let heads = [
        Head::None,
        Head::MaskedLm,
        Head::SequenceClassification,
        Head::TokenClassification,
        Head::QuestionAnswering,
    ];
    for (head, outputs) in heads.into_iter().zip([0, 20, 2, 2, 2]) {
        let mut fields = ConfigFields { head, ..fields() };
        if head.has_labels() {
            fields.labels = labels();
        }
        if head == Head::SequenceClassification {
            let refused = |fields: &ConfigFields, field| {
                let error = Config::new(fields.clone()).unwrap_err();
                let expected =
                    format!("{field} is not there; the head sequence_classification has one");
                assert_eq!(error.to_string(), expected);
            };
            refused(&fields, "score_function");
            fields.score_function = Some(ScoreFunction::Softmax);
            refused(&fields, "classifier_act");
            fields.classifier_act = Some(ClassifierAct::Tanh);
        }
        assert_eq!(Config::new(fields.clone()).unwrap().outputs(), outputs);
        let with_pooling = Config::new(ConfigFields {
            pooling: Some(pooling.clone()),
            ..fields.clone()
        });
        assert_eq!(with_pooling.is_ok(), head == Head::None, "{head}");
        let with_sparse = Config::new(ConfigFields {
            sparse_pooling: Some(SparsePooling::default()),
            ..fields.clone()
        });
        assert_eq!(with_sparse.is_ok(), head == Head::MaskedLm, "{head}");
        let with_act = Config::new(ConfigFields {
            classifier_act: Some(ClassifierAct::Relu),
            ..fields.clone()
        });
        assert_eq!(with_act.is_ok(), head.has_labels(), "{head}");
        if head != Head::SequenceClassification {
            let score_function = Some(ScoreFunction::Sigmoid);
            let error = Config::new(ConfigFields {
                score_function,
                ..fields
            })
            .unwrap_err();
            assert_eq!(
                error,
                ConfigError::HeadField {
                    field: "score_function",
                    head,
                    found: true
                }
            );
        }
    }
}

fn with_pooling(change: impl FnOnce(&mut Pooling)) -> Result<Config, ConfigError> {
    let mut pooling = Pooling::of(PoolingMode::Mean);
    change(&mut pooling);
    Config::new(ConfigFields {
        head: Head::None,
        pooling: Some(pooling),
        ..fields()
    })
}

#[test]
fn a_sparse_pooling_has_limits() {
    let with = |change: &dyn Fn(&mut SparsePooling)| {
        let mut pooling = SparsePooling::default();
        change(&mut pooling);
        Config::new(ConfigFields {
            sparse_pooling: Some(pooling),
            ..fields()
        })
    };
    for (found, expected) in [
        (
            with(&|p| p.max_active_dims = Some(0)),
            "sparse_pooling has max_active_dims 0; it must be from 1 to 16777216",
        ),
        (
            with(&|p| p.max_active_dims = Some(MAX_VOCAB_SIZE + 1)),
            "sparse_pooling has max_active_dims 16777217; it must be from 1 to 16777216",
        ),
        (
            with(&|p| p.default_prompt = Some("query".into())),
            "sparse_pooling has the default prompt \"query\", which isn't one of its prompts",
        ),
    ] {
        assert_eq!(found.unwrap_err().to_string(), expected);
    }
    let config = with(&|p| {
        p.mode = SparseMode::Sum;
        p.activation = SparseActivation::Log1pRelu;
        p.max_active_dims = Some(9);
        p.prompts.insert("query".into(), "query: ".into());
        p.default_prompt = Some("query".into());
    })
    .unwrap();
    let (prompts, default) = config.prompts().unwrap();
    assert_eq!((&*prompts["query"], default), ("query: ", Some("query")));
    let json = serde_json::to_string(&config).unwrap();
    let sparse = r#""sparse_pooling":{"mode":"sum","activation":"log1p_relu","max_active_dims":9,"prompts":{"query":"query: "},"default_prompt":"query"}"#;
    assert!(json.contains(sparse), "{json}");
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    assert_eq!(Config::new(fields()).unwrap().prompts(), None);
}

fn dense(out_features: usize, bias: bool) -> EmbeddingLayer {
    EmbeddingLayer::Dense(Dense {
        out_features,
        bias,
        activation: Activation::Tanh,
    })
}

#[test]
fn dense_layers_have_tensors_and_embeddings_their_width() {
    let config = with_pooling(|p| {
        p.modes = vec![PoolingMode::Cls, PoolingMode::LastToken];
        p.layers = vec![dense(24, true), EmbeddingLayer::Normalize, dense(5, false)];
    })
    .unwrap();
    assert_eq!(config.embedding_dimension(), 5);
    let tensors = config.expected_tensors().into_iter();
    let found: Vec<_> = tensors
        .filter(|t| t.name.starts_with("dense."))
        .map(|t| (t.name, t.rows, t.columns, t.kind))
        .collect();
    let float = TensorKind::Float;
    let expected = [
        ("dense.0.weight".to_owned(), 24, 64, float),
        ("dense.0.bias".to_owned(), 1, 24, float),
        ("dense.1.weight".to_owned(), 5, 24, float),
    ];
    assert_eq!(found, expected);
    let several = with_pooling(|p| p.modes = vec![PoolingMode::Max; 3]).unwrap();
    assert_eq!(several.embedding_dimension(), 96);
    assert_eq!(Config::new(fields()).unwrap().embedding_dimension(), 32);
}

#[test]
fn a_pooling_has_limits() {
    let refused = |change: &dyn Fn(&mut Pooling)| with_pooling(change).unwrap_err().to_string();
    let prompt = |p: &mut Pooling, name: &str, text: String| {
        p.prompts.insert(name.into(), text);
    };
    for (found, expected) in [
        (
            refused(&|p| p.modes.clear()),
            "pooling has 0 modes; it must have from 1 to 6",
        ),
        (
            refused(&|p| p.modes = vec![PoolingMode::Cls; MAX_POOLING_MODES + 1]),
            "pooling has 7 modes; it must have from 1 to 6",
        ),
        (
            refused(&|p| p.modes.push(PoolingMode::Tokens)),
            "pooling has tokens among other modes; it must be the only one",
        ),
        (
            refused(&|p| p.layers = vec![EmbeddingLayer::Normalize; MAX_EMBEDDING_LAYERS + 1]),
            "pooling has 17 layers; it may have 16",
        ),
        (
            refused(&|p| p.layers = vec![dense(0, true)]),
            "pooling has a dense layer with out_features 0; it must be from 1 to 65536",
        ),
        (
            refused(&|p| p.layers = vec![dense(MAX_HIDDEN_SIZE + 1, true)]),
            "pooling has a dense layer with out_features 65537; it must be from 1 to 65536",
        ),
        (
            refused(&|p| (0..=MAX_PROMPTS).for_each(|n| prompt(p, &n.to_string(), "".into()))),
            "pooling has 1025 prompts; it may have 1024",
        ),
        (
            refused(&|p| prompt(p, "a\n", "".into())),
            "pooling has a prompt called \"a\\n\"; a name is 1 to 1024 bytes without control characters",
        ),
        (
            refused(&|p| prompt(p, "a", "x".repeat(MAX_PROMPT_LEN + 1))),
            "pooling has the prompt \"a\" of 65537 bytes; it may have 65536",
        ),
        (
            refused(&|p| p.default_prompt = Some("query".into())),
            "pooling has the default prompt \"query\", which isn't one of its prompts",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let whole = with_pooling(|p| {
        prompt(p, "query", "query: ".into());
        p.default_prompt = Some("query".into());
        p.layers = vec![dense(8, false), EmbeddingLayer::Normalize];
        p.include_prompt = false;
    });
    let json = serde_json::to_string(&whole.unwrap()).unwrap();
    let pooling = r#""pooling":{"modes":["mean"],"include_prompt":false,"layers":[{"dense":{"out_features":8,"bias":false,"activation":"tanh"}},"normalize"],"prompts":{"query":"query: "},"default_prompt":"query"}"#;
    assert!(json.contains(pooling), "{json}");
    serde_json::from_str::<Config>(&json).unwrap();
    let unknown = json.replace("\"bias\":false", "\"bias\":false,\"residual\":true");
    assert!(serde_json::from_str::<Config>(&unknown).is_err());
}

#[test]
fn only_a_masked_language_model_needs_a_mask() {
    assert_eq!(refused(|f| f.mask_token_id = None), ConfigError::NoMask);
    let fields = ConfigFields {
        head: Head::None,
        mask_token_id: None,
        ..fields()
    };
    assert_eq!(Config::new(fields).unwrap().mask_token_id, None);
}

#[test]
fn a_shorter_sequence_may_be_intended() {
    for found in [0, 1, 5] {
        assert_eq!(
            refused(|f| f.max_seq_length = Some(found)),
            ConfigError::MaxSeqLength { found, most: 4 }
        );
    }
    let fields = ConfigFields {
        max_seq_length: Some(3),
        ..fields()
    };
    assert_eq!(Config::new(fields).unwrap().max_tokens(), 3);
}

#[test]
fn bert_starts_at_position_zero() {
    let error = refused(|f| f.architecture = Architecture::Bert);
    assert_eq!(
        error,
        ConfigError::PositionOffset {
            expected: 0,
            found: 2
        }
    );
    let fields = ConfigFields {
        architecture: Architecture::Bert,
        position_offset: 0,
        type_vocab_size: 2,
        ..fields()
    };
    assert_eq!(Config::new(fields).unwrap().max_tokens(), 6);
}

#[test]
fn distilbert_and_mpnet_have_no_token_types() {
    for (architecture, position_offset) in [(Architecture::DistilBert, 0), (Architecture::MpNet, 2)]
    {
        let fields = |type_vocab_size| ConfigFields {
            architecture,
            position_offset,
            type_vocab_size,
            ..fields()
        };
        let error = Config::new(fields(1)).unwrap_err();
        let expected = "type_vocab_size is 1; it must be from 0 to 0";
        assert_eq!(error.to_string(), expected);
        let tensors = Config::new(fields(0)).unwrap().expected_tensors();
        assert!(tensors.iter().all(|t| t.name != "embeddings.token_type"));
        let has_bias = tensors.iter().any(|t| t.name == "attention.relative_bias");
        assert_eq!(has_bias, architecture == Architecture::MpNet);
    }
    assert!(matches!(
        refused(|f| f.type_vocab_size = 0),
        ConfigError::Range { min: 1, .. }
    ));
}

#[test]
fn embeddings_may_have_a_width_of_their_own() {
    for found in [0, MAX_HIDDEN_SIZE + 1] {
        assert_eq!(
            refused(|f| f.embedding_size = Some(found)),
            ConfigError::Range {
                field: "embedding_size",
                found,
                min: 1,
                max: MAX_HIDDEN_SIZE
            }
        );
    }
    let config = Config::new(ConfigFields {
        architecture: Architecture::Electra,
        position_offset: 0,
        embedding_size: Some(48),
        ..fields()
    })
    .unwrap();
    let shape = |name: &str| {
        let tensors = config.expected_tensors();
        let tensor = tensors.into_iter().find(|t| t.name == name).unwrap();
        (tensor.rows, tensor.columns)
    };
    assert_eq!(config.embedding_width(), 48);
    assert_eq!(shape("embeddings.position"), (6, 48));
    assert_eq!(shape("embeddings.projection.weight"), (32, 48));
    assert_eq!(shape("lm_head.dense.weight"), (48, 32));
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
