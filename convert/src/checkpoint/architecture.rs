//! The architectures that can be converted, as transformers names them.

use super::layout::{LmHeadNames, classifier_names};
use rq_format::{Architecture, Head};

/// A model type that can be converted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// As `config.json` names it.
    pub(super) model_type: &'static str,
    pub(super) architecture: Architecture,
    /// What the names of its classes begin with.
    class: &'static str,
    /// What transformers takes the vocabulary's size to be if it isn't there.
    pub(super) vocab_size: usize,
}

const FAMILIES: [Family; 7] = [
    row("roberta", Architecture::Roberta, "Roberta", 50265),
    row("xlm-roberta", Architecture::Roberta, "XLMRoberta", 50265),
    row("camembert", Architecture::Roberta, "Camembert", 50265),
    row("bert", Architecture::Bert, "Bert", 30522),
    row("distilbert", Architecture::DistilBert, "DistilBert", 30522),
    row("electra", Architecture::Electra, "Electra", 30522),
    row("mpnet", Architecture::MpNet, "MPNet", 30527),
];

const fn row(
    model_type: &'static str,
    architecture: Architecture,
    class: &'static str,
    vocab_size: usize,
) -> Family {
    Family {
        model_type,
        architecture,
        class,
        vocab_size,
    }
}

/// What the classes' names end with, and their heads.
const HEADS: [(&str, Head); 8] = [
    ("Model", Head::None),
    ("ForMaskedLM", Head::MaskedLm),
    // The same head, beside one for the next sentence, or with a causal mask in a decoder.
    ("ForPreTraining", Head::MaskedLm),
    ("LMHeadModel", Head::MaskedLm),
    ("ForCausalLM", Head::MaskedLm),
    ("ForSequenceClassification", Head::SequenceClassification),
    ("ForTokenClassification", Head::TokenClassification),
    ("ForQuestionAnswering", Head::QuestionAnswering),
];

/// ELECTRA's discriminator as it was trained, which tells of each token whether it was replaced.
const DISCRIMINATOR: &str = "ElectraForPreTraining";

/// The architectures that can be converted, for people.
pub const SUPPORTED_ARCHITECTURES: &str = "Roberta, XLMRoberta, Camembert, Bert, DistilBert, Electra and MPNet, each as Model, \
    ForMaskedLM, ForSequenceClassification, ForTokenClassification and ForQuestionAnswering, and ElectraForPreTraining";

/// A class of transformers that can be converted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub(super) family: Family,
    pub(super) head: Head,
    /// Whether it is ELECTRA's discriminator: a classifier of tokens with a head and labels of its own.
    pub(super) discriminator: bool,
}

/// The class of this name, if it is one that can be converted.
pub(super) fn class(name: &str) -> Option<Class> {
    FAMILIES.iter().find_map(|&family| {
        let end = name.strip_prefix(family.class)?;
        let discriminator = name == DISCRIMINATOR;
        let head = match discriminator {
            true => Head::TokenClassification,
            false => HEADS.iter().find(|(known, _)| *known == end)?.1,
        };
        Some(Class {
            family,
            head,
            discriminator,
        })
    })
}

/// The model type of this name, if it is one that can be converted.
pub(super) fn family(model_type: &str) -> Option<Family> {
    FAMILIES
        .into_iter()
        .find(|family| family.model_type == model_type)
}

/// The head that the names of a checkpoint's tensors tell of.
pub(super) fn head_of(architecture: Architecture, has: impl Fn(&str) -> bool) -> Head {
    let lm_head = LmHeadNames::of(architecture);
    let (dense, out) = classifier_names(Head::SequenceClassification, architecture, false);
    let sequence = [dense.unwrap_or(out), out].map(|name| format!("{name}.weight"));
    if has(&format!("{}.weight", lm_head.dense)) {
        Head::MaskedLm
    } else if has("qa_outputs.weight") {
        Head::QuestionAnswering
    } else if sequence.iter().all(|name| has(name)) {
        Head::SequenceClassification
    } else if has("classifier.weight") {
        // A classifier of texts has a layer before it.
        Head::TokenClassification
    } else {
        Head::None
    }
}
