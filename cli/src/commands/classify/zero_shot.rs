//! `rq classify --labels`

use super::args::ClassifyArgs;
use super::labels::{COLUMNS, cells, fields, show};
use crate::Ended;
use crate::args::options;
use crate::console::Screen;
use crate::human::{listed, visible};
use crate::records;
use crate::task::{AT_ONCE, Command, answers_with};
use crate::texts::Text;
use anyhow::{Context, Result, ensure};
use rq::{LabelScore, ZeroShot, ZeroShotOptions};
use serde::Serialize;

struct ZeroShotCommand {
    task: ZeroShot,
    options: ZeroShotOptions,
    /// How many labels there are.
    count: usize,
    /// How many to show.
    top_k: usize,
}

/// One answer, in transformers' fields and order.
#[derive(Serialize)]
struct ZeroShotRecord<'t, 'l> {
    sequence: &'t str,
    labels: Vec<&'l str>,
    scores: Vec<f64>,
}

impl ZeroShotCommand {
    fn best<'a>(&self, labels: &'a [LabelScore]) -> &'a [LabelScore] {
        &labels[..self.top_k.min(labels.len())]
    }
}

impl Command for ZeroShotCommand {
    answers_with!(ZeroShot, ZeroShotOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Screen, input: &Text, labels: &Vec<LabelScore>) -> Result<()> {
        writeln!(out, "{}", visible(&input.text))?;
        show(out, self.best(labels), true)
    }

    fn json(&self, input: &Text, labels: &Vec<LabelScore>) -> impl Serialize {
        let labels = self.best(labels).iter();
        ZeroShotRecord {
            sequence: &input.text,
            labels: labels.clone().map(|label| &*label.label).collect(),
            scores: labels.map(|label| f64::from(label.score)).collect(),
        }
    }

    fn fields(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        fields(self.best(labels))
    }

    fn columns(&self) -> Vec<&'static str> {
        COLUMNS.to_vec()
    }

    fn cells(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        cells(self.best(labels))
    }

    /// Each label makes another text.
    fn at_once(&self) -> usize {
        (AT_ONCE / self.count).max(1)
    }
}

pub(super) fn run(args: &ClassifyArgs, labels: &[String]) -> Result<Ended> {
    let texts = args.open()?;
    let located = args.model.open()?;
    let labels: Vec<&str> = labels
        .iter()
        .map(|label| label.trim())
        .filter(|label| !label.is_empty())
        .collect();
    let template = args.template.as_deref().unwrap_or(ZeroShot::TEMPLATE);
    let session = args.compute.session(&located.model)?;
    let mut task = located.task(ZeroShot::new(session, &labels, template))?;
    let of_model = listed(&located.model.config().labels);
    if let Some(label) = &args.entailment_label {
        let named = task.with_entailment(label);
        task = named.with_context(|| {
            format!("--entailment-label {label}: the model has no such label; it has {of_model}")
        })?;
    } else {
        ensure!(
            task.entailment_is_named(),
            "the model isn't known to be one of entailment (NLI), which --labels needs: none of its labels, {of_model}, is named \
             after it; if one means it, name it with --entailment-label"
        );
    }
    let command = ZeroShotCommand {
        task,
        options: options!(ZeroShotOptions {
            multi_label: args.multi_label,
            truncate: args.truncate,
        }),
        count: labels.len(),
        top_k: args.top_k().unwrap_or(usize::MAX),
    };
    records::run(command, texts, args.format(), &located, &args.output)
}
