//! `rq classify`. With labels of one's own it is in `zero_shot`, with a query in `rerank`.

use super::fill::{BAR, bar, percent};
use super::task::{self, Command};
use super::texts::{FromLine, TextArgs};
use super::{ComputeArgs, locate, rerank, zero_shot};
use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use rq::format::ScoreFunction;
use rq::{Classifier, ClassifyOptions, LabelScore, Task, Texts};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::process::ExitCode;

/// How many labels are shown where nobody asks for a number.
const TOP_K: usize = 5;

const TEXTS: &str = "Texts; without any, standard input is read, one text a line";
const JSON: &str = "Print one line of JSON a text: what transformers' pipelines return";
const JSON_LONG: &str = "\
Print one line of JSON a text: what transformers' pipelines return

A list of objects with label and score; with --labels an object with sequence, labels and scores; with --query an object \
with score and text. A text that can't be classified has an object with error, the reason, and line.";
const JSONL: &str = "Read and print JSON lines: objects with text, and with text and labels";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with text, and with text and labels

A line that begins with { or \" is JSON, an object with the field text and perhaps pair, or a string; any other is the text \
itself. labels is a list of objects with label and score; with --query there is a score instead. A text that can't be \
classified has the field error, with the reason.";
const EXAMPLES: &str = "Examples:
  rq classify -m topics \"The team won the match.\"
  rq classify -m nli \"A man is asleep.\" --pair \"Somebody sleeps.\"
  rq classify -m nli --labels sports,cooking --template \"This text is about {}.\" < texts.txt
  rq classify -m reranker --query \"price of apples\" -k 10 --file passages.txt";

#[derive(Args)]
#[command(
    mut_arg("texts", |texts| texts.help(TEXTS)),
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = EXAMPLES
)]
pub(super) struct ClassifyArgs {
    #[command(flatten)]
    pub(super) texts: TextArgs,

    /// Model file, or name of a converted model
    ///
    /// The environment variable RQ_MODEL does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    pub(super) model: Option<String>,

    /// Second text of the pair that each text is the first of
    ///
    /// A line of --jsonl may have a pair of its own, which counts instead.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["labels", "query"])]
    pair: Option<String>,

    /// Labels of your own, separated by commas, for a model of entailment (NLI)
    ///
    /// The model says how well the text entails a sentence about each label: zero-shot classification. Any number of them
    /// may be given, and the option more than once.
    #[arg(
        short,
        long,
        value_name = "LABEL,...",
        value_delimiter = ',',
        conflicts_with = "query"
    )]
    pub(super) labels: Option<Vec<String>>,

    /// Sentence about a label, in the place of {} [default: This example is {}.]
    #[arg(long, value_name = "TEXT", requires = "labels")]
    pub(super) template: Option<String>,

    /// Score each label by itself: any number of them may be right
    ///
    /// Without this one is, and the scores of all labels sum up to 100 %.
    #[arg(long, requires = "labels")]
    pub(super) multi_label: bool,

    /// Rank the texts as passages for this, by a model with one label
    ///
    /// The model has to be trained on pairs of a query and a passage. Texts that are arguments are printed by descending score. Lines keep their order, and are answered as they come, unless
    /// --top-k says how many of the best are wanted, which are printed at the end.
    #[arg(short, long, value_name = "TEXT")]
    pub(super) query: Option<String>,

    /// How many labels to show, or passages of a query [default: 5; with --labels or --query all]
    #[arg(short = 'k', long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = value_parser!(u32))]
    top_k: Option<u32>,

    /// How logits become scores: softmax, sigmoid, none [default: as the model was trained]
    #[arg(long, value_name = "NAME", value_parser = function_parser(), hide_possible_values = true)]
    #[arg(conflicts_with = "labels")]
    function: Option<ScoreFunction>,

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    pub(super) truncate: bool,

    #[command(flatten)]
    pub(super) compute: ComputeArgs,
}

/// Takes the names of functions.
fn function_parser() -> impl TypedValueParser<Value = ScoreFunction> {
    PossibleValuesParser::new(["softmax", "sigmoid", "none"]).map(|name| match name.as_str() {
        "softmax" => ScoreFunction::Softmax,
        "sigmoid" => ScoreFunction::Sigmoid,
        _ => ScoreFunction::None,
    })
}

impl ClassifyArgs {
    pub(super) fn top_k(&self) -> Option<usize> {
        self.top_k.map(|top_k| top_k as usize)
    }

    pub(super) fn options(&self) -> ClassifyOptions {
        ClassifyOptions {
            top_k: Some(self.top_k().unwrap_or(TOP_K)),
            function: self.function,
            truncate: self.truncate,
        }
    }
}

/// A text, or a pair of texts.
#[derive(Debug, Deserialize, Serialize)]
struct TextOrPair {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
}

impl FromLine for TextOrPair {
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

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Labels<'a> {
    labels: Vec<LabelRecord<'a>>,
}

fn records(labels: &[LabelScore]) -> Vec<LabelRecord<'_>> {
    labels.iter().map(LabelRecord::from).collect()
}

/// What `--jsonl` adds to a text that was given these labels.
pub(super) fn fields(labels: &[LabelScore]) -> impl Serialize {
    Labels {
        labels: records(labels),
    }
}

/// Whether scores are probabilities.
pub(super) fn are_probabilities(classifier: &Classifier<'_>, options: &ClassifyOptions) -> bool {
    let function = options.function;
    function.or(classifier.model().config().score_function) != Some(ScoreFunction::None)
}

/// Writes labels with bars, of which the longest is for 100 %, or with bare numbers.
pub(super) fn show(out: &mut impl Write, labels: &[LabelScore], probabilities: bool) -> Result<()> {
    let width = |label: &LabelScore| label.label.chars().count();
    let width = labels.iter().map(width).max().unwrap_or(0);
    for LabelScore { label, score, .. } in labels {
        match probabilities {
            true => {
                let bar = bar(f64::from(*score), BAR);
                let line = format!("  {label:width$}  {} %  {bar}", percent(*score));
                writeln!(out, "{}", line.trim_end())?;
            }
            false => writeln!(out, "  {label:width$}  {score:9.4}")?,
        }
    }
    Ok(())
}

struct ClassifyCommand<'m> {
    task: Classifier<'m>,
    options: ClassifyOptions,
    pair: Option<String>,
}

impl<'m> Command for ClassifyCommand<'m> {
    type Task = Classifier<'m>;
    type Input = TextOrPair;

    fn task(&self) -> &Classifier<'m> {
        &self.task
    }

    fn options(&self) -> &ClassifyOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t TextOrPair) -> Texts<'t> {
        Texts {
            text: &input.text,
            pair: input.pair.as_deref().or(self.pair.as_deref()),
        }
    }

    fn show(
        &self,
        out: &mut impl Write,
        input: &TextOrPair,
        labels: &Vec<LabelScore>,
    ) -> Result<()> {
        let Texts { text, pair } = self.input(input);
        for text in [Some(text), pair].into_iter().flatten() {
            writeln!(out, "{text}")?;
        }
        show(out, labels, are_probabilities(&self.task, &self.options))
    }

    fn json(&self, _: &TextOrPair, labels: &Vec<LabelScore>) -> impl Serialize {
        records(labels)
    }

    fn fields(&self, labels: &Vec<LabelScore>) -> impl Serialize {
        fields(labels)
    }
}

pub(super) fn run(args: &ClassifyArgs) -> Result<ExitCode> {
    if let Some(labels) = &args.labels {
        return zero_shot::run(args, labels);
    }
    if let Some(query) = &args.query {
        return rerank::run(args, query);
    }
    let texts = args.texts.open("classify")?;
    let located = locate::open(args.model.as_deref())?;
    let task = Classifier::new(&located.model);
    let command = ClassifyCommand {
        task: locate::blame_default(args.model.as_deref(), task)?,
        options: args.options(),
        pair: args.pair.clone(),
    };
    located.model.prefetch();
    let session = args.compute.session(&located.model)?;
    task::run(command, session, texts, args.texts.format(), &located)
}
