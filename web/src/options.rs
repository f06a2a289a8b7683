//! The options of each task, by the names that transformers and transformers.js have for them.

use crate::error::Refusal;
use rq::{Aggregation, Pooling, Prompt, ScoreFunction, ScoreMethod};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Reads what the page gave; what isn't as it should be is an error that says what is.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, json: &RawValue) -> Result<T, Refusal> {
    serde_json::from_str(json.get()).map_err(|error| {
        let message = error.to_string();
        // The place in the JSON is none that the caller has seen.
        let message = message
            .rsplit_once(" at line ")
            .map_or(&*message, |(message, _)| message);
        // A type of Rust's.
        let message = message.replace("expected usize", "expected a whole number");
        Refusal::option(format!("{what}: {message}"))
    })
}

/// Several texts, or one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string, or an array of strings")]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(crate) fn list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

/// Names, and what they stand for.
macro_rules! names {
    ($($(#[$doc:meta])* $Name:ident of $Type:ty { $($Variant:ident, $name:literal;)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Deserialize)]
            pub(crate) enum $Name {
                $(#[serde(rename = $name)] $Variant,)*
            }

            impl From<$Name> for $Type {
                fn from(name: $Name) -> Self {
                    match name {
                        $($Name::$Variant => Self::$Variant,)*
                    }
                }
            }
        )*
    };
}

names! {
    /// How to pool.
    PoolingName of Pooling {
        Cls, "cls";
        Mean, "mean";
        Max, "max";
        MeanSqrtLen, "mean_sqrt_len_tokens";
        WeightedMean, "weightedmean";
        LastToken, "lasttoken";
        None, "none";
    }
    /// What makes scores of logits.
    FunctionName of ScoreFunction {
        Softmax, "softmax";
        Sigmoid, "sigmoid";
        None, "none";
    }
    /// What makes up an entity.
    AggregationName of Aggregation {
        None, "none";
        Simple, "simple";
        First, "first";
        Average, "average";
        Max, "max";
    }
    /// What is masked to score a token.
    MethodName of ScoreMethod {
        Original, "original";
        WithinWordL2r, "within_word_l2r";
    }
}

fn five() -> usize {
    5
}

fn one() -> usize {
    1
}

// `null` is all of them, and nothing the best one.
fn best() -> Option<usize> {
    Some(1)
}

fn fifteen() -> usize {
    15
}

fn yes() -> bool {
    true
}

fn outside() -> Vec<String> {
    vec!["O".to_owned()]
}

fn template() -> String {
    "This example is {}.".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fill {
    #[serde(default = "five")]
    pub(crate) top_k: usize,
    pub(crate) targets: Option<OneOrMore>,
    #[serde(default)]
    pub(crate) truncate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Score {
    pub(crate) method: Option<MethodName>,
    #[serde(default)]
    pub(crate) truncate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embed {
    pub(crate) pooling: Option<PoolingName>,
    pub(crate) normalize: Option<bool>,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) prompt: Option<String>,
    #[serde(default)]
    pub(crate) truncate: bool,
}

impl Embed {
    pub(crate) fn prompt(&mut self) -> Prompt {
        match (self.prompt_name.take(), self.prompt.take()) {
            (_, Some(text)) => Prompt::Text(text),
            (Some(name), None) => Prompt::Named(name),
            (None, None) => Prompt::Published,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classify {
    #[serde(default = "best")]
    pub(crate) top_k: Option<usize>,
    pub(crate) function_to_apply: Option<FunctionName>,
    #[serde(default)]
    pub(crate) truncate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZeroShot {
    pub(crate) candidate_labels: Vec<String>,
    #[serde(default = "template")]
    pub(crate) hypothesis_template: String,
    #[serde(default)]
    pub(crate) multi_label: bool,
    #[serde(default)]
    pub(crate) truncate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tag {
    pub(crate) aggregation_strategy: Option<AggregationName>,
    pub(crate) stride: Option<usize>,
    #[serde(default = "outside")]
    pub(crate) ignore_labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default = "one")]
    pub(crate) top_k: usize,
    #[serde(default = "fifteen")]
    pub(crate) max_answer_len: usize,
    pub(crate) max_seq_len: Option<usize>,
    pub(crate) doc_stride: Option<usize>,
    #[serde(default)]
    pub(crate) handle_impossible_answer: bool,
    #[serde(default = "yes")]
    pub(crate) align_to_words: bool,
}

/// What a file must be, apart from a sound one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    /// Its SHA-256, in hexadecimal.
    pub(crate) sha256: Option<String>,
    /// Whether the checksums of its weights are checked, which opening a file leaves out.
    #[serde(default)]
    pub(crate) verify: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pass {
    pub(crate) tokens: usize,
}

/// A text, and the one that it is classified with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) question: String,
    pub(crate) context: String,
}
