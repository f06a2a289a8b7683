//! The architectures that can be converted, as transformers names them.

use rq_format::{Architecture, Head};

/// The model types that can be converted, as `config.json` names them, with their graphs and what their classes' names
/// begin with.
const FAMILIES: [(&str, Architecture, &str); 4] = [
    ("roberta", Architecture::Roberta, "Roberta"),
    ("xlm-roberta", Architecture::Roberta, "XLMRoberta"),
    ("camembert", Architecture::Roberta, "Camembert"),
    ("bert", Architecture::Bert, "Bert"),
];

/// What the classes' names end with, and their heads.
const HEADS: [(&str, Head); 5] = [
    ("Model", Head::None),
    ("ForMaskedLM", Head::MaskedLm),
    ("ForSequenceClassification", Head::SequenceClassification),
    ("ForTokenClassification", Head::TokenClassification),
    ("ForQuestionAnswering", Head::QuestionAnswering),
];

/// The architectures that can be converted, for people.
pub const SUPPORTED_ARCHITECTURES: &str = "Roberta, XLMRoberta, Camembert and Bert, each as Model, ForMaskedLM, \
    ForSequenceClassification, ForTokenClassification and ForQuestionAnswering";

/// The head that transformers' class of this name has, if it is one that can be converted.
pub(super) fn class(name: &str) -> Option<(&'static str, Architecture, Head)> {
    FAMILIES
        .iter()
        .find_map(|&(model_type, architecture, family)| {
            let end = name.strip_prefix(family)?;
            let (_, head) = HEADS.iter().find(|(known, _)| *known == end)?;
            Some((model_type, architecture, *head))
        })
}
