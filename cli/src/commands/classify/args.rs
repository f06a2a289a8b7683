//! The arguments of `rq classify`.

use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of, whole};
use crate::out::OutArgs;
use crate::texts::{FromLine, InputArgs, Source};
use anyhow::Result;
use clap::Args;
use rq::ClassifyOptions;
use rq_format::ScoreFunction;

/// How many labels are shown by default.
const TOP_K: usize = 5;

const FUNCTIONS: &[Choice<ScoreFunction>] = &[
    (
        "softmax",
        ScoreFunction::Softmax,
        "Probabilities that sum to 1",
    ),
    (
        "sigmoid",
        ScoreFunction::Sigmoid,
        "A probability for each label by itself",
    ),
    ("none", ScoreFunction::None, "The logits"),
];

const EXAMPLES: &str = "Examples:
  rq classify -m topics \"The team won the match.\"
  rq classify -m nli \"A man is asleep.\" --pair \"Somebody sleeps.\"
  rq classify -m nli --labels sports,cooking --template \"This text is about {}.\" < texts.txt
  rq classify -m reranker --query \"price of apples\" -k 10 --file passages.txt";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::commands) struct ClassifyArgs {
    /// Texts; without any, standard input is read, one text per line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    pub(super) output: OutArgs,

    /// Print JSON: per text, what transformers' pipelines return
    ///
    /// A list of objects with label and score; with --labels, an object with sequence, labels and scores; with --query, an
    /// object with score and text. A text that can't be classified gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their labels
    ///
    /// An input line is a JSON object with the field text and optionally pair, a JSON string, or the text itself. labels is a list of objects with label and score; with --query, there is a
    /// score instead. A text that can't be classified has the field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    pub(super) model: ModelArg,

    /// Second text of a pair, whose first text is each of the texts
    ///
    /// A line of --jsonl can have its own pair, which takes precedence.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["labels", "query"])]
    pub(super) pair: Option<String>,

    /// Your own labels, for a model trained on entailment (NLI)
    ///
    /// The model says how far the text entails a sentence about each label: zero-shot classification. The flag can be
    /// repeated.
    #[arg(
        short,
        long,
        value_name = "LABEL,...",
        value_delimiter = ',',
        conflicts_with = "query"
    )]
    pub(super) labels: Option<Vec<String>>,

    /// Sentence about a label, which replaces {} [default: This example is {}.]
    #[arg(long, value_name = "TEXT", requires = "labels")]
    pub(super) template: Option<String>,

    /// Label of the model that means entailment [default: the one whose name begins with "entail"]
    #[arg(
        long,
        value_name = "LABEL",
        requires = "labels",
        hide_short_help = true
    )]
    pub(super) entailment_label: Option<String>,

    /// Score each label by itself: any number of them can apply
    ///
    /// Without this flag exactly one label applies, and the scores of all labels sum to 100 %.
    #[arg(long, requires = "labels")]
    pub(super) multi_label: bool,

    /// Rank the texts as passages for this query, by a model with one label
    ///
    /// The model must have been trained on pairs of a query and a passage. Texts given as arguments are printed in order of
    /// their scores. Lines keep their order and are answered as they come, unless --top-k asks for the best ones, which are
    /// printed at the end.
    #[arg(short, long, value_name = "TEXT")]
    pub(super) query: Option<String>,

    /// Labels or passages to show [default: 5; all with --labels or --query]
    #[arg(short = 'k', long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(1, None))]
    top_k: Option<u32>,

    /// How to turn logits into scores [default: as the model was trained]
    #[arg(long, value_name = "NAME", conflicts_with = "labels", value_parser = one_of(FUNCTIONS))]
    function: Option<ScoreFunction>,

    /// Cut off the end of texts that are too long for the model
    #[arg(long)]
    pub(super) truncate: bool,

    #[command(flatten)]
    pub(super) compute: ComputeArgs,
}

impl ClassifyArgs {
    pub(super) fn open<T: FromLine>(&self) -> Result<Source<T>> {
        self.input.open(&self.texts, self.format())
    }

    pub(super) fn format(&self) -> Format {
        Format::new(self.json, self.jsonl)
    }

    pub(super) fn top_k(&self) -> Option<usize> {
        self.top_k.map(|top_k| top_k as usize)
    }

    pub(super) fn options(&self) -> ClassifyOptions {
        options!(ClassifyOptions {
            top_k: Some(self.top_k().unwrap_or(TOP_K)),
            function: self.function,
            truncate: self.truncate,
        })
    }
}
