//! `rq classify --query`

use super::args::ClassifyArgs;
use super::labels::are_probabilities;
use crate::Ended;
use crate::console::Screen;
use crate::human::{self, bar, percent, visible};
use crate::records;
use crate::style;
use crate::task::{Command, answers_with};
use crate::texts::{Source, Text};
use anyhow::{Result, ensure};
use rq::{Classifier, ClassifyOptions, LabelScore, Texts};
use serde::Serialize;
use std::collections::BTreeMap;

struct RerankCommand {
    task: Classifier,
    options: ClassifyOptions,
    query: String,
    /// How many passages to show, if they are ranked.
    ranked: Option<usize>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Passage<'a> {
    score: f64,
    text: &'a str,
}

/// How relevant a passage is: the score of the only label.
fn relevance(labels: &[LabelScore]) -> f32 {
    labels[0].score
}

impl Command for RerankCommand {
    answers_with!(Classifier, ClassifyOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> Texts<'t> {
        (self.query.as_str(), input.text.as_str()).into()
    }

    fn show(&self, out: &mut impl Screen, input: &Text, labels: &Vec<LabelScore>) -> Result<()> {
        let (score, text) = (relevance(labels), visible(&input.text));
        match are_probabilities(&self.task, &self.options) {
            true => {
                let bar = bar(f64::from(score));
                let blanks = " ".repeat(human::BAR - bar.chars().count());
                write!(out, "{}  ", percent(score))?;
                out.paint(style::BAR, &bar)?;
                writeln!(out, "{blanks}  {text}")?;
            }
            false => writeln!(out, "{score:9.4}  {text}")?,
        }
        Ok(())
    }

    fn json(&self, input: &Text, labels: &Vec<LabelScore>) -> impl Serialize {
        Passage {
            score: f64::from(relevance(labels)),
            text: &input.text,
        }
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["score"]
    }

    fn fields(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        BTreeMap::from([("score", f64::from(relevance(labels)))])
    }

    fn in_blocks(&self) -> bool {
        false
    }

    fn ranked(&self) -> Option<usize> {
        self.ranked
    }

    fn rank(&self, labels: &Vec<LabelScore>) -> f32 {
        relevance(labels)
    }
}

pub(super) fn run(args: &ClassifyArgs, query: &str) -> Result<Ended> {
    let texts = args.open()?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let task = located.task(Classifier::new(session))?;
    let labels = task.labels().len();
    ensure!(
        labels == 1,
        "--query needs a model with one label, which says how relevant a passage is; this one has {labels}"
    );
    let mut options = args.options();
    options.top_k = None;
    let command = RerankCommand {
        task,
        options,
        query: query.to_owned(),
        ranked: match &texts {
            Source::Given(texts) => Some(args.top_k().unwrap_or(texts.len())),
            Source::Lines(_) => args.top_k(),
        },
    };
    records::run(command, texts, args.format(), &located, &args.output)
}
