//! Results as transformers' pipelines name them, with places in UTF-16 code units, as JavaScript counts.

use rq::{Config, Head};
use rq_format::Provenance;
use serde::Serialize;
use std::ops::Range;

/// A token for a mask.
#[derive(Serialize)]
pub(crate) struct Fill {
    score: f64,
    token: u32,
    token_str: String,
    sequence: String,
}

impl From<rq::Fill> for Fill {
    fn from(fill: rq::Fill) -> Self {
        Self {
            score: fill.score.into(),
            token: fill.token,
            token_str: fill.token_str,
            sequence: fill.sequence,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Label {
    label: String,
    score: f64,
}

impl From<rq::LabelScore> for Label {
    fn from(label: rq::LabelScore) -> Self {
        Self {
            label: label.label,
            score: label.score.into(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ZeroShot {
    sequence: String,
    labels: Vec<String>,
    scores: Vec<f64>,
}

impl ZeroShot {
    pub(crate) fn new(sequence: String, best: Vec<rq::LabelScore>) -> Self {
        let scores = best.iter().map(|label| label.score.into()).collect();
        Self {
            sequence,
            labels: best.into_iter().map(|label| label.label).collect(),
            scores,
        }
    }
}

/// Makes UTF-16 code units of bytes. Places that ascend are counted on from the one before.
pub(crate) struct Places<'t> {
    text: &'t str,
    byte: usize,
    unit: usize,
}

impl<'t> Places<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self {
            text,
            byte: 0,
            unit: 0,
        }
    }

    fn unit(&mut self, byte: usize) -> usize {
        let byte = self.text.floor_char_boundary(byte);
        let units = |range: Range<usize>| self.text[range].encode_utf16().count();
        self.unit = match byte < self.byte {
            true => self.unit - units(byte..self.byte),
            false => self.unit + units(self.byte..byte),
        };
        self.byte = byte;
        self.unit
    }

    fn range(&mut self, bytes: Range<usize>) -> (usize, usize) {
        (self.unit(bytes.start), self.unit(bytes.end))
    }
}

/// An entity, or without aggregation a token.
#[derive(Serialize)]
pub(crate) struct Entity {
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<String>,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    word: String,
    start: usize,
    end: usize,
}

impl Entity {
    pub(crate) fn new(entity: rq::Entity, places: &mut Places<'_>) -> Self {
        let (start, end) = places.range(entity.bytes);
        let (entity_group, token) = match entity.index {
            None => (Some(entity.label), None),
            Some(_) => (None, Some(entity.label)),
        };
        Self {
            entity_group,
            entity: token,
            score: entity.score.into(),
            index: entity.index,
            word: entity.word,
            start,
            end,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Answer {
    score: f64,
    start: usize,
    end: usize,
    answer: String,
}

impl Answer {
    pub(crate) fn new(answer: rq::Answer, places: &mut Places<'_>) -> Self {
        let (start, end) = places.range(answer.bytes);
        Self {
            score: answer.score.into(),
            start,
            end,
            answer: answer.answer,
        }
    }
}

#[derive(Serialize)]
struct Token {
    token: u32,
    token_str: String,
    logprob: f64,
}

#[derive(Serialize)]
pub(crate) struct Score {
    score: f64,
    pseudo_perplexity: Option<f64>,
    tokens: Vec<Token>,
}

impl From<rq::Score> for Score {
    fn from(score: rq::Score) -> Self {
        let token = |token: rq::TokenScore| Token {
            token: token.token,
            token_str: token.token_str,
            logprob: token.log_probability,
        };
        Self {
            score: score.total,
            pseudo_perplexity: score.pseudo_perplexity(),
            tokens: score.tokens.into_iter().map(token).collect(),
        }
    }
}

/// How the floats of embeddings are divided.
#[derive(Serialize)]
pub(crate) struct Embeddings {
    /// Floats of a row.
    pub(crate) dimension: usize,
    /// The rows of each text, where they are its tokens'; nothing where each text has one row.
    pub(crate) tokens: Option<Vec<usize>>,
}

/// What a file is.
#[derive(Serialize)]
pub(crate) struct Info<'m> {
    pub(crate) task: &'static str,
    pub(crate) labels: &'m [String],
    pub(crate) max_tokens: usize,
    pub(crate) mask_token: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) fingerprint: String,
    pub(crate) parameters: u64,
    pub(crate) instruction_set: &'static str,
    pub(crate) config: &'m Config,
    pub(crate) provenance: &'m Provenance,
}

/// What transformers calls that which a head is for.
pub(crate) fn task(head: Head) -> &'static str {
    match head {
        Head::MaskedLm => "fill-mask",
        Head::SequenceClassification => "text-classification",
        Head::TokenClassification => "token-classification",
        Head::QuestionAnswering => "question-answering",
        _ => "feature-extraction",
    }
}
