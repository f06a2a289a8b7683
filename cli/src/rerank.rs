//! `rq classify --query`

use super::classify::{ClassifyArgs, are_probabilities};
use super::fill::{bar, percent};
use super::locate;
use super::task::{self, Command};
use super::texts::{Source, Text};
use anyhow::{Result, ensure};
use rq::{Classifier, ClassifyOptions, LabelScore, Texts};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// Columns of the longest bar.
const BAR: usize = 12;

struct RerankCommand<'m> {
    task: Classifier<'m>,
    options: ClassifyOptions,
    query: String,
    /// How many passages are wanted, if they are ranked.
    ranked: Option<usize>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Passage<'a> {
    score: f64,
    text: &'a str,
}

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Score {
    score: f64,
}

/// How relevant a passage is: the one label's score.
fn relevance(labels: &[LabelScore]) -> f32 {
    labels[0].score
}

impl<'m> Command for RerankCommand<'m> {
    type Task = Classifier<'m>;
    type Input = Text;

    fn task(&self) -> &Classifier<'m> {
        &self.task
    }

    fn options(&self) -> &ClassifyOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> Texts<'t> {
        (self.query.as_str(), input.text.as_str()).into()
    }

    fn show(&self, out: &mut impl Write, input: &Text, labels: &Vec<LabelScore>) -> Result<()> {
        let (score, text) = (relevance(labels), &input.text);
        match are_probabilities(&self.task, &self.options) {
            true => {
                let bar = bar(f64::from(score), BAR);
                writeln!(out, "{} %  {bar:BAR$}  {text}", percent(score))?;
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

    fn fields(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        Score {
            score: f64::from(relevance(labels)),
        }
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

pub(super) fn run(args: &ClassifyArgs, query: &str) -> Result<ExitCode> {
    let texts = args.texts.open("classify")?;
    let located = locate::open(args.model.as_deref())?;
    let task = Classifier::new(&located.model);
    let task = locate::blame_default(args.model.as_deref(), task)?;
    let labels = task.labels().len();
    ensure!(
        labels == 1,
        "--query needs a model with one label, which says how relevant a passage is; this one has {labels}"
    );
    let command = RerankCommand {
        task,
        options: ClassifyOptions {
            top_k: None,
            ..args.options()
        },
        query: query.to_owned(),
        ranked: match &texts {
            Source::Given(texts) => Some(args.top_k().unwrap_or(texts.len())),
            Source::Lines(_) => args.top_k(),
        },
    };
    located.model.prefetch();
    let session = args.compute.session(&located.model)?;
    task::run(command, session, texts, args.texts.format(), &located)
}
