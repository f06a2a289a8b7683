//! `rq classify` by the labels of the model.

use super::args::ClassifyArgs;
use crate::Ended;
use crate::console::Screen;
use crate::human::{column, percent, visible};
use crate::records;
use crate::task::{Command, answers_with};
use crate::texts::FromLine;
use anyhow::Result;
use rq::{Classifier, ClassifyOptions, LabelScore, Task, Texts};
use rq_format::ScoreFunction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A text or a pair of texts.
#[derive(Debug, Deserialize, Serialize)]
struct TextOrPair {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
}

impl FromLine for TextOrPair {
    const FIELDS: &'static [&'static str] = &["text", "pair"];

    fn from_text(text: String) -> Result<Self> {
        Ok(Self { text, pair: None })
    }
}

/// One label, in transformers' fields and order.
#[derive(Serialize)]
struct LabelRecord<'a> {
    label: &'a str,
    score: f64,
}

impl<'a> From<&'a LabelScore> for LabelRecord<'a> {
    fn from(label: &'a LabelScore) -> Self {
        Self {
            label: &label.label,
            score: f64::from(label.score),
        }
    }
}

fn records(labels: &[LabelScore]) -> Vec<LabelRecord<'_>> {
    labels.iter().map(LabelRecord::from).collect()
}

/// What `--jsonl` adds to a text with these labels.
pub(super) fn fields(labels: &[LabelScore]) -> impl Serialize {
    BTreeMap::from([("labels", records(labels))])
}

/// The columns of a table for labels: the best one and its score, and all.
pub(super) const COLUMNS: [&str; 3] = ["label", "score", "labels"];

/// The same of a text.
#[derive(Serialize)]
pub(super) struct Cells<'a> {
    #[serde(flatten)]
    best: Option<LabelRecord<'a>>,
    labels: Vec<LabelRecord<'a>>,
}

pub(super) fn cells(labels: &[LabelScore]) -> Cells<'_> {
    Cells {
        best: labels.first().map(LabelRecord::from),
        labels: records(labels),
    }
}

/// Whether scores are probabilities.
pub(super) fn are_probabilities(classifier: &Classifier, options: &ClassifyOptions) -> bool {
    let function = options.function;
    function.or(classifier.model().config().score_function) != Some(ScoreFunction::None)
}

/// Writes labels with bars, or with bare numbers.
pub(super) fn show(
    out: &mut impl Screen,
    labels: &[LabelScore],
    probabilities: bool,
) -> Result<()> {
    let names = column(labels.iter().map(|label| visible(&label.label)));
    for (LabelScore { score, .. }, name) in labels.iter().zip(names) {
        match probabilities {
            true => {
                let row = format!("  {name}  {}", percent(*score));
                out.row_with_bar(&row, f64::from(*score))?;
            }
            false => writeln!(out, "  {name}  {score:9.4}")?,
        }
    }
    Ok(())
}

struct ClassifyCommand {
    task: Classifier,
    options: ClassifyOptions,
    pair: Option<String>,
}

impl Command for ClassifyCommand {
    answers_with!(Classifier, ClassifyOptions);
    type Input = TextOrPair;

    fn input<'t>(&'t self, input: &'t TextOrPair) -> Texts<'t> {
        Texts {
            text: (&input.text).into(),
            pair: input.pair.as_ref().or(self.pair.as_ref()).map(Into::into),
        }
    }

    fn show(
        &self,
        out: &mut impl Screen,
        input: &TextOrPair,
        labels: &Vec<LabelScore>,
    ) -> Result<()> {
        let Texts { text, pair } = self.input(input);
        for text in [Some(text), pair].into_iter().flatten() {
            writeln!(out, "{}", visible(&text))?;
        }
        show(out, labels, are_probabilities(&self.task, &self.options))
    }

    fn json(&self, _: &TextOrPair, labels: &Vec<LabelScore>) -> impl Serialize {
        records(labels)
    }

    fn fields(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        fields(labels)
    }

    fn columns(&self) -> Vec<&'static str> {
        COLUMNS.to_vec()
    }

    fn cells(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        cells(labels)
    }
}

pub(super) fn run(args: &ClassifyArgs) -> Result<Ended> {
    let texts = args.open()?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let task = located.task(Classifier::new(session))?;
    let command = ClassifyCommand {
        task,
        options: args.options(),
        pair: args.pair.clone(),
    };
    records::run(command, texts, args.format(), &located, &args.output)
}
