//! `rq classify --labels`

use super::classify::{self, ClassifyArgs};
use super::task::{self, AT_ONCE, Command};
use super::texts::Text;
use super::{locate, say};
use anyhow::Result;
use rq::{LabelScore, ZeroShot, ZeroShotOptions};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

struct ZeroShotCommand<'m> {
    task: ZeroShot<'m>,
    options: ZeroShotOptions,
    /// How many labels there are.
    count: usize,
    /// How many are wanted.
    top_k: usize,
}

/// One answer, in transformers' fields and order.
#[derive(Serialize)]
struct ZeroShotRecord<'t, 'l> {
    sequence: &'t str,
    labels: Vec<&'l str>,
    scores: Vec<f64>,
}

impl ZeroShotCommand<'_> {
    fn best<'a>(&self, labels: &'a [LabelScore]) -> &'a [LabelScore] {
        &labels[..self.top_k.min(labels.len())]
    }
}

impl<'m> Command for ZeroShotCommand<'m> {
    type Task = ZeroShot<'m>;
    type Input = Text;

    fn task(&self) -> &ZeroShot<'m> {
        &self.task
    }

    fn options(&self) -> &ZeroShotOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(&self, out: &mut impl Write, input: &Text, labels: &Vec<LabelScore>) -> Result<()> {
        writeln!(out, "{}", input.text)?;
        classify::show(out, self.best(labels), true)
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
        classify::fields(self.best(labels))
    }

    /// Each label is computed as a text of its own.
    fn at_once(&self) -> usize {
        (AT_ONCE / self.count).max(1)
    }
}

pub(super) fn run(args: &ClassifyArgs, labels: &[String]) -> Result<ExitCode> {
    let texts = args.texts.open("classify")?;
    let located = locate::open(args.model.as_deref())?;
    let labels: Vec<&str> = labels
        .iter()
        .map(|label| label.trim())
        .filter(|label| !label.is_empty())
        .collect();
    let template = args.template.as_deref().unwrap_or(ZeroShot::TEMPLATE);
    let task = ZeroShot::new(&located.model, &labels, template);
    let command = ZeroShotCommand {
        task: locate::blame_default(args.model.as_deref(), task)?,
        options: ZeroShotOptions {
            multi_label: args.multi_label,
            truncate: args.truncate,
        },
        count: labels.len(),
        top_k: args.top_k().unwrap_or(usize::MAX),
    };
    if !command.task.entailment_is_named() {
        say(format_args!(
            "warning: no label of the model begins with \"entail\"; its last one, {:?}, is taken for that",
            command.task.entailment()
        ));
    }
    located.model.prefetch();
    let session = args.compute.session(&located.model)?;
    task::run(command, session, texts, args.texts.format(), &located)
}
