//! `rq score`

use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of};
use crate::human::{column, count, share, token, visible, with_bar};
use crate::out::OutArgs;
use crate::records;
use crate::task::{Command, answers_with};
use crate::texts::{FromLine, InputArgs, Text, from_json};
use anyhow::{Context, Result};
use clap::Args;
use rq::{Error, PreparedScore, Score, ScoreMethod, ScoreOptions, Scorer, Session, Task, Texts};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::process::ExitCode;

const METHODS: &[Choice<ScoreMethod>] = &[
    (
        "original",
        ScoreMethod::Original,
        "Mask the token alone (Salazar et al. 2020)",
    ),
    (
        "within-word-l2r",
        ScoreMethod::WithinWordL2r,
        "Mask also the later tokens of its word (Kauf and Ivanova 2023)",
    ),
];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq score --tokens \"The keys are on the table.\"\n  rq score --pairs --file minimal-pairs.jsonl"
)]
pub(super) struct ScoreArgs {
    /// Texts; without any, standard input is read, one text per line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    output: OutArgs,

    /// Print JSON: per text, an object with score, pseudo_perplexity and tokens
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their scores
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. score is the sum of the tokens' logprob, in nats; tokens is a list of objects with token,
    /// token_str and logprob. A text that can't be scored has the field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// What to mask while a token is scored
    #[arg(long, value_name = "NAME", default_value = "original", value_parser = one_of(METHODS))]
    method: ScoreMethod,

    /// Show the score of each token
    #[arg(long)]
    tokens: bool,

    /// Compare pairs of texts: which one is more probable?
    ///
    /// Each line or argument is a pair of a good and a bad text: a JSON object with the fields good and bad (in BLiMP's files
    /// sentence_good and sentence_bad), or both texts with a tab between them. --json and --jsonl print score_good,
    /// score_bad and correct. The last line is the accuracy, the share of pairs whose good text has the higher score; with
    /// --json or --jsonl it goes to standard error.
    #[arg(long, conflicts_with = "tokens")]
    pairs: bool,

    /// Cut off the end of texts that are too long for the model
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// A score as it is printed.
#[derive(Serialize)]
struct ScoreRecord<'a> {
    score: f64,
    pseudo_perplexity: Option<f64>,
    tokens: Vec<TokenRecord<'a>>,
}

#[derive(Serialize)]
struct TokenRecord<'a> {
    token: u32,
    token_str: &'a str,
    logprob: f64,
}

impl<'a> From<&'a Score> for ScoreRecord<'a> {
    fn from(score: &'a Score) -> Self {
        let tokens = score.tokens.iter().map(|token| TokenRecord {
            token: token.token,
            token_str: &token.token_str,
            logprob: token.log_probability,
        });
        Self {
            score: score.total,
            pseudo_perplexity: score.pseudo_perplexity(),
            tokens: tokens.collect(),
        }
    }
}

struct ScoreCommand {
    task: Scorer,
    options: ScoreOptions,
    /// Whether a person sees the tokens.
    tokens: bool,
}

impl Command for ScoreCommand {
    answers_with!(Scorer, ScoreOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Write, input: &Text, score: &Score) -> Result<()> {
        writeln!(out, "{}", visible(&input.text))?;
        if self.tokens {
            let logs = score.tokens.iter().map(|token| token.log_probability);
            let least = logs.fold(-f64::MIN_POSITIVE, f64::min);
            let shown = column(score.tokens.iter().map(|t| token(&t.token_str)));
            for (token, shown) in score.tokens.iter().zip(shown) {
                let log = token.log_probability;
                writeln!(
                    out,
                    "{}",
                    with_bar(format!("  {shown}  {log:8.2}"), log / least)
                )?;
            }
        }
        let tokens = count(score.tokens.len(), "token");
        write!(out, "  {:.2} nats, {tokens}", score.total)?;
        match score.pseudo_perplexity() {
            Some(perplexity) => writeln!(out, ", pseudo-perplexity {perplexity:.2}")?,
            None => writeln!(out)?,
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, score: &Score) -> impl Serialize {
        ScoreRecord::from(score)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["score", "pseudo_perplexity", "tokens"]
    }

    fn fields(&self, score: &Score) -> impl Serialize {
        ScoreRecord::from(score)
    }
}

/// Two texts to compare. The aliases are the names in BLiMP's files.
#[derive(Deserialize, Serialize)]
struct Pair {
    #[serde(alias = "sentence_good")]
    good: String,
    #[serde(alias = "sentence_bad")]
    bad: String,
}

impl FromLine for Pair {
    const FIELDS: &'static [&'static str] = &["good", "bad"];

    /// JSON needs no flag, because an object can't be mistaken for a pair of texts.
    fn from_text(line: String) -> Result<Self> {
        if line.starts_with('{') {
            return from_json(&line);
        }
        let (good, bad) = line.split_once('\t').context(
            "the line isn't a pair: a good and a bad text with a tab between them, or a JSON object with the fields good and bad",
        )?;
        Ok(Self {
            good: good.to_owned(),
            bad: bad.to_owned(),
        })
    }
}

/// Scores both texts of a pair.
struct PairScorer(Scorer);

impl Task for PairScorer {
    type Input<'t> = Texts<'t>;
    type Options = ScoreOptions;
    type Prepared = [PreparedScore; 2];
    type Answer = [Score; 2];

    fn session(&self) -> &Session {
        self.0.session()
    }

    fn prepare<'t>(
        &self,
        pair: impl Into<Texts<'t>>,
        options: &ScoreOptions,
    ) -> Result<[PreparedScore; 2], Error> {
        let Texts { text, pair } = pair.into();
        Ok([
            self.0.prepare(text, options)?,
            self.0.prepare(pair.unwrap_or_default(), options)?,
        ])
    }

    fn compute(
        &mut self,
        pairs: &[[PreparedScore; 2]],
        options: &ScoreOptions,
    ) -> Result<Vec<[Score; 2]>, Error> {
        let scores = self.0.compute(pairs.as_flattened(), options)?;
        let mut scores = scores.into_iter();
        let pair = || Some([scores.next()?, scores.next()?]);
        Ok(std::iter::from_fn(pair).collect())
    }
}

struct PairCommand {
    task: PairScorer,
    options: ScoreOptions,
    /// Pairs so far, and those whose good text is more probable.
    count: u64,
    right: u64,
}

/// What `--pairs` prints for a pair.
#[derive(Serialize)]
struct PairRecord {
    score_good: f64,
    score_bad: f64,
    /// Whether the good text has the higher score.
    correct: bool,
}

impl From<&[Score; 2]> for PairRecord {
    fn from([good, bad]: &[Score; 2]) -> Self {
        Self {
            score_good: good.total,
            score_bad: bad.total,
            correct: good.total > bad.total,
        }
    }
}

impl Command for PairCommand {
    answers_with!(PairScorer, ScoreOptions);
    type Input = Pair;

    fn input<'t>(&'t self, input: &'t Pair) -> Texts<'t> {
        (input.good.as_str(), input.bad.as_str()).into()
    }

    fn show(&self, out: &mut impl Write, input: &Pair, scores: &[Score; 2]) -> Result<()> {
        let [good, bad] = [scores[0].total, scores[1].total];
        for (name, text, score, other) in [
            ("good", &input.good, good, bad),
            ("bad ", &input.bad, bad, good),
        ] {
            let mark = if score > other { '>' } else { ' ' };
            writeln!(out, "{mark} {name}  {score:9.2}  {text}")?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, scores: &[Score; 2]) -> impl Serialize {
        PairRecord::from(scores)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["score_good", "score_bad", "correct"]
    }

    fn fields(&self, scores: &[Score; 2]) -> impl Serialize {
        PairRecord::from(scores)
    }

    fn note(&mut self, scores: &[Score; 2]) {
        self.count += 1;
        self.right += u64::from(PairRecord::from(scores).correct);
    }

    fn summary(&self) -> Option<String> {
        let (right, count) = (self.right, self.count);
        let accuracy = share(right as f64 / count as f64);
        (count > 0).then(|| format!("accuracy {accuracy}: {right} of {count} pairs"))
    }
}

pub(super) fn run(args: &ScoreArgs) -> Result<ExitCode> {
    let options = options!(ScoreOptions {
        method: args.method,
        truncate: args.truncate,
    });
    let format = Format::new(args.json, args.jsonl);
    if args.pairs {
        let pairs = args.input.open(&args.texts, format)?;
        let located = args.model.open()?;
        let session = args.compute.session(&located.model)?;
        let command = PairCommand {
            task: PairScorer(located.task(Scorer::new(session))?),
            options,
            count: 0,
            right: 0,
        };
        return records::run(command, pairs, format, &located, &args.output);
    }
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let command = ScoreCommand {
        task: located.task(Scorer::new(session))?,
        options,
        tokens: args.tokens,
    };
    records::run(command, texts, format, &located, &args.output)
}
