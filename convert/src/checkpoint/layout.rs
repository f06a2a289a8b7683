//! Which tensors a model has in transformers, and in which shapes.
//!
//! Names here lack the prefix `roberta.` or `bert.`, which a checkpoint may have or not.

use super::hf_config::HfConfig;
use rq_format::{Architecture, Head};

/// The word embeddings.
pub(crate) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// What transformers calls the parts of the LM head.
pub(crate) struct LmHeadNames {
    pub(crate) dense: &'static str,
    pub(crate) norm: &'static str,
    /// The decoder's weight, where it isn't tied to the word embeddings.
    pub(crate) decoder: &'static str,
    /// The LM head's bias, under the name of the layer that adds it.
    pub(crate) bias: &'static str,
    /// The same bias, as most checkpoints name it.
    pub(crate) other_bias: &'static str,
}

impl LmHeadNames {
    pub(crate) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Bert => Self {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions.decoder.weight",
                bias: "cls.predictions.decoder.bias",
                other_bias: "cls.predictions.bias",
            },
            _ => Self {
                dense: "lm_head.dense",
                norm: "lm_head.layer_norm",
                decoder: "lm_head.decoder.weight",
                bias: "lm_head.decoder.bias",
                other_bias: "lm_head.bias",
            },
        }
    }
}

/// What transformers calls the two products of a sequence classifier.
pub(crate) fn classifier_names(architecture: Architecture) -> [&'static str; 2] {
    match architecture {
        Architecture::Bert => ["pooler.dense", "classifier"],
        _ => ["classifier.dense", "classifier.out_proj"],
    }
}

/// What transformers calls the product of a head over every token.
pub(crate) fn token_head_name(head: Head) -> &'static str {
    match head {
        Head::QuestionAnswering => "qa_outputs",
        _ => "classifier",
    }
}

/// Query, key and value: their order in the file's product.
pub(super) const QKV: [&str; 3] = ["query", "key", "value"];

/// The prefix that checkpoints put before a tensor's name.
pub(crate) fn prefix(architecture: Architecture, name: &str) -> &'static str {
    let of_encoder = ["embeddings.", "encoder.", "pooler."];
    match architecture {
        _ if !of_encoder.iter().any(|start| name.starts_with(start)) => "",
        Architecture::Bert => "bert.",
        _ => "roberta.",
    }
}

/// The TensorFlow name of a norm's parameter, which converted checkpoints keep.
pub(crate) fn old_name(name: &str) -> Option<String> {
    let renamed = |new: &str, old: &str| Some(format!("{}{old}", name.strip_suffix(new)?));
    renamed("LayerNorm.weight", "LayerNorm.gamma")
        .or_else(|| renamed("LayerNorm.bias", "LayerNorm.beta"))
}

/// Every tensor that the model needs, with its shape. The decoder's weight isn't among them: a model may do without.
pub(crate) fn required(config: &HfConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, intermediate) = (config.hidden_size(), config.intermediate_size());
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    push(WORD_EMBEDDINGS.into(), &[config.vocab_size(), hidden]);
    let positions = config.max_position_embeddings();
    push(
        "embeddings.position_embeddings.weight".into(),
        &[positions, hidden],
    );
    let types = config.type_vocab_size();
    push(
        "embeddings.token_type_embeddings.weight".into(),
        &[types, hidden],
    );
    let mut with_bias = |name: &str, shape: &[usize]| {
        push(format!("{name}.weight"), shape);
        push(format!("{name}.bias"), &shape[..1]);
    };
    with_bias("embeddings.LayerNorm", &[hidden]);
    for n in 0..config.num_hidden_layers() {
        let layer = format!("encoder.layer.{n}");
        for part in QKV {
            with_bias(&format!("{layer}.attention.self.{part}"), &[hidden, hidden]);
        }
        with_bias(
            &format!("{layer}.attention.output.dense"),
            &[hidden, hidden],
        );
        with_bias(&format!("{layer}.attention.output.LayerNorm"), &[hidden]);
        with_bias(
            &format!("{layer}.intermediate.dense"),
            &[intermediate, hidden],
        );
        with_bias(&format!("{layer}.output.dense"), &[hidden, intermediate]);
        with_bias(&format!("{layer}.output.LayerNorm"), &[hidden]);
    }
    let architecture = config.architecture();
    match config.head() {
        Head::None => {}
        Head::MaskedLm => {
            let names = LmHeadNames::of(architecture);
            with_bias(names.dense, &[hidden, hidden]);
            with_bias(names.norm, &[hidden]);
            push(names.bias.into(), &[config.vocab_size()]);
        }
        Head::SequenceClassification => {
            let [dense, out] = classifier_names(architecture);
            with_bias(dense, &[hidden, hidden]);
            with_bias(out, &[config.labels().len(), hidden]);
        }
        head => {
            let outputs = match head {
                Head::QuestionAnswering => 2,
                _ => config.labels().len(),
            };
            with_bias(token_head_name(head), &[outputs, hidden]);
        }
    }
    tensors
}
