//! Which tensors a model has in transformers, and in which shapes.
//!
//! Names here lack the prefix that is the model's name, `roberta.` or `bert.`, which a checkpoint may have or not. The
//! tensors of a layer have BERT's and RoBERTa's names; [`published`] tells what other architectures call them.

use super::hf_config::{HfConfig, RELATIVE_BUCKETS};
use rq_format::{Architecture, Config, Head};

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
    pub(crate) other_bias: Option<&'static str>,
}

impl LmHeadNames {
    pub(crate) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Bert => Self {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions.decoder.weight",
                bias: "cls.predictions.decoder.bias",
                other_bias: Some("cls.predictions.bias"),
            },
            Architecture::DistilBert => Self {
                dense: "vocab_transform",
                norm: "vocab_layer_norm",
                decoder: "vocab_projector.weight",
                bias: "vocab_projector.bias",
                other_bias: None,
            },
            Architecture::Electra => Self {
                dense: "generator_predictions.dense",
                norm: "generator_predictions.LayerNorm",
                decoder: "generator_lm_head.weight",
                bias: "generator_lm_head.bias",
                other_bias: None,
            },
            Architecture::Roberta | Architecture::MpNet => Self {
                dense: "lm_head.dense",
                norm: "lm_head.layer_norm",
                decoder: "lm_head.decoder.weight",
                bias: "lm_head.decoder.bias",
                other_bias: Some("lm_head.bias"),
            },
        }
    }
}

/// What transformers calls the products of a classifier, of texts, of tokens or of an answer's places: the one before its
/// activation function, if it has that, and the last.
pub(crate) fn classifier_names(
    head: Head,
    architecture: Architecture,
    has_dense: bool,
) -> (Option<&'static str>, &'static str) {
    match (head, architecture) {
        (Head::QuestionAnswering, _) => (None, "qa_outputs"),
        (Head::SequenceClassification, Architecture::Bert) => (Some("pooler.dense"), "classifier"),
        (Head::SequenceClassification, Architecture::DistilBert) => {
            (Some("pre_classifier"), "classifier")
        }
        (Head::SequenceClassification, _) => (Some("classifier.dense"), "classifier.out_proj"),
        _ if has_dense => (Some("discriminator_predictions.dense"), DISCRIMINATOR_OUT),
        _ => (None, "classifier"),
    }
}

/// The last product of ELECTRA's discriminator: one output, that the token was replaced. The file has a zero before it, which
/// is what the softmax over two labels makes the sigmoid of the one.
pub(crate) const DISCRIMINATOR_OUT: &str = "discriminator_predictions.dense_prediction";

/// [`classifier_names`] of a file's configuration.
pub(crate) fn classifier_names_of(config: &Config) -> (Option<&'static str>, &'static str) {
    classifier_names(
        config.head,
        config.architecture,
        config.classifier_act.is_some(),
    )
}

/// Query, key and value: their order in the file's product.
pub(super) const QKV: [&str; 3] = ["query", "key", "value"];

/// The relative bias of an MPNet: for each bucket of distances, a value for each head.
pub(super) const RELATIVE_BIAS: &str = "encoder.relative_attention_bias.weight";

/// The row of [`RELATIVE_BIAS`] for a key that stands so many tokens behind the query, or before it if negative. These are T5's
/// buckets (Raffel et al. 2020) for both directions: 16 each, of which the first 8 are of a distance each, and number
/// `8 + floor(8 * log(distance / 8) / log(128 / 8))` are the others.
pub(super) fn relative_bucket(distance: isize) -> usize {
    /// Where the buckets behind the first eight and the one that begins with 8 begin.
    const STARTS: [usize; 7] = [12, 16, 23, 32, 46, 64, 91];
    let size = distance.unsigned_abs();
    let bucket = match size {
        0..8 => size,
        _ => 8 + STARTS.partition_point(|&start| start <= size),
    };
    bucket + if distance > 0 { 16 } else { 0 }
}

/// What a checkpoint of this architecture calls a tensor, and the prefix that it may put before that name.
pub(crate) fn published(architecture: Architecture, name: &str) -> (&'static str, String) {
    let of_encoder = ["embeddings.", "embeddings_project.", "encoder.", "pooler."];
    let prefix = match architecture {
        _ if !of_encoder.iter().any(|start| name.starts_with(start)) => "",
        Architecture::Roberta => "roberta.",
        Architecture::Bert => "bert.",
        Architecture::DistilBert => "distilbert.",
        Architecture::Electra => "electra.",
        Architecture::MpNet => "mpnet.",
    };
    // In this order: the output's names end as those of attention's output do.
    let renamed: &[(&str, &str)] = match architecture {
        _ if !name.starts_with("encoder.layer.") => &[],
        Architecture::DistilBert => &[
            ("encoder.", "transformer."),
            ("attention.self.query", "attention.q_lin"),
            ("attention.self.key", "attention.k_lin"),
            ("attention.self.value", "attention.v_lin"),
            ("attention.output.dense", "attention.out_lin"),
            ("attention.output.LayerNorm", "sa_layer_norm"),
            ("intermediate.dense", "ffn.lin1"),
            ("output.dense", "ffn.lin2"),
            ("output.LayerNorm", "output_layer_norm"),
        ],
        Architecture::MpNet => &[
            ("attention.self.query", "attention.attn.q"),
            ("attention.self.key", "attention.attn.k"),
            ("attention.self.value", "attention.attn.v"),
            ("attention.output.dense", "attention.attn.o"),
            ("attention.output.LayerNorm", "attention.LayerNorm"),
        ],
        _ => &[],
    };
    let rename = |name: String, (from, to): &(&str, &str)| name.replace(from, to);
    (prefix, renamed.iter().fold(name.into(), rename))
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
    let width = config.embedding_size().unwrap_or(hidden);
    let architecture = config.architecture();
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    push(WORD_EMBEDDINGS.into(), &[config.vocab_size(), width]);
    let positions = config.max_position_embeddings();
    push(
        "embeddings.position_embeddings.weight".into(),
        &[positions, width],
    );
    if architecture.has_token_types() {
        let types = config.type_vocab_size();
        push(
            "embeddings.token_type_embeddings.weight".into(),
            &[types, width],
        );
    }
    if architecture.has_relative_bias() {
        let heads = config.num_attention_heads();
        push(RELATIVE_BIAS.into(), &[RELATIVE_BUCKETS, heads]);
    }
    let mut with_bias = |name: &str, shape: &[usize]| {
        push(format!("{name}.weight"), shape);
        push(format!("{name}.bias"), &shape[..1]);
    };
    with_bias("embeddings.LayerNorm", &[width]);
    if config.embedding_size().is_some() {
        with_bias("embeddings_project", &[hidden, width]);
    }
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
    match config.head() {
        Head::None => {}
        Head::MaskedLm => {
            let names = LmHeadNames::of(architecture);
            with_bias(names.dense, &[width, hidden]);
            with_bias(names.norm, &[width]);
            push(names.bias.into(), &[config.vocab_size()]);
        }
        head => {
            let discriminator = config.is_discriminator();
            let (dense, out) = classifier_names(head, architecture, discriminator);
            if let Some(dense) = dense {
                with_bias(dense, &[hidden, hidden]);
            }
            let outputs = match head {
                Head::QuestionAnswering => 2,
                _ if discriminator => 1,
                _ => config.labels().len(),
            };
            with_bias(out, &[outputs, hidden]);
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_far_and_near_have_their_buckets() {
        // As transformers' MPNetEncoder.relative_position_bucket has them.
        for (distance, bucket) in [
            (0, 0),
            (-1, 1),
            (1, 17),
            (-8, 8),
            (8, 24),
            (-11, 8),
            (-12, 9),
            (15, 25),
            (16, 26),
            (-22, 10),
            (-63, 13),
            (-64, 14),
            (90, 30),
            (91, 31),
            (-600, 15),
        ] {
            assert_eq!(relative_bucket(distance), bucket, "{distance}");
        }
    }
}
