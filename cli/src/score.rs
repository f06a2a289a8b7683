//! `rq score`

use super::ComputeArgs;
use super::fill::{BAR, bar, visible};
use super::locate::{self, Located};
use super::task::{self, Command};
use super::texts::{FromLine, Source, Text, TextArgs, from_json};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rq::{
    Error, Model, Score, ScoreMethod, ScoreOptions, Scorer, Session, Task, TextToScore, Texts,
};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::process::ExitCode;

const JSONL: &str = "Read and print JSON lines: objects with text, and with text, score and tokens";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with text, and with text, score and tokens

A line that begins with { or \" is JSON, an object with the field text or a string; any other is the text itself. score is the \
sum of the tokens' logprob, in nats; tokens is a list of objects with token, token_str and logprob. A text that can't be \
scored has the field error, with the reason.";
const JSON: &str = "Print one line of JSON a text: score, pseudo_perplexity and tokens";

#[derive(Args)]
#[command(
    mut_arg("json", |json| json.help(JSON)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = "Examples:\n  rq score --tokens \"The keys are on the table.\"\n  rq score --pairs --file minimal-pairs.jsonl"
)]
pub(super) struct ScoreArgs {
    #[command(flatten)]
    texts: TextArgs,

    /// Model file, or name of a converted model [default: roberta-large where it is converted, else a small embedded one]
    ///
    /// The environment variable RQ_MODEL does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// What is masked to score a token
    #[arg(long, value_name = "NAME", default_value = "original")]
    method: Method,

    /// Show the score of each token
    #[arg(long)]
    tokens: bool,

    /// Compare texts two by two: which is more probable?
    ///
    /// Each line or argument is a pair, the good text and the bad one: a JSON object with the fields good and bad (in BLiMP's
    /// files sentence_good and sentence_bad), or the two with a tab between. --json and --jsonl print score_good, score_bad and
    /// correct. The accuracy, the share of pairs of which the good one has
    /// the higher score, comes at the end: for a person with the results, else on standard error.
    #[arg(long, conflicts_with = "tokens")]
    pairs: bool,

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// The methods, by name.
#[derive(Clone, Copy, ValueEnum)]
enum Method {
    /// The token alone (Salazar et al. 2020)
    Original,
    /// Also the later tokens of its word (Kauf and Ivanova 2023)
    WithinWordL2r,
}

impl From<Method> for ScoreMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Original => Self::Original,
            Method::WithinWordL2r => Self::WithinWordL2r,
        }
    }
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

struct ScoreCommand<'m> {
    task: Scorer<'m>,
    options: ScoreOptions,
    /// Whether a person wants to see them.
    tokens: bool,
}

impl<'m> Command for ScoreCommand<'m> {
    type Task = Scorer<'m>;
    type Input = Text;

    fn task(&self) -> &Scorer<'m> {
        &self.task
    }

    fn options(&self) -> &ScoreOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(&self, out: &mut impl Write, input: &Text, score: &Score) -> Result<()> {
        writeln!(out, "{}", input.text)?;
        if self.tokens {
            let tokens = || score.tokens.iter();
            let shown: Vec<String> = tokens().map(|t| visible(&t.token_str)).collect();
            let width = shown.iter().map(|s| s.chars().count()).max().unwrap_or(0);
            let least = tokens().fold(-f64::MIN_POSITIVE, |least, t| least.min(t.log_probability));
            for (token, shown) in tokens().zip(&shown) {
                let log = token.log_probability;
                let bar = bar(log / least, BAR);
                writeln!(
                    out,
                    "{}",
                    format!("  {shown:width$}  {log:8.2}  {bar}").trim_end()
                )?;
            }
        }
        let count = score.tokens.len();
        write!(
            out,
            "  {:.2} nats, {count} token{}",
            score.total,
            if count == 1 { "" } else { "s" }
        )?;
        match score.pseudo_perplexity() {
            Some(perplexity) => writeln!(out, ", pseudo-perplexity {perplexity:.2}")?,
            None => writeln!(out)?,
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, score: &Score) -> impl Serialize {
        ScoreRecord::from(score)
    }

    fn fields(&self, score: &Score) -> impl Serialize {
        ScoreRecord::from(score)
    }
}

/// Two texts to compare. The other names are those of BLiMP's files.
#[derive(Deserialize, Serialize)]
struct Pair {
    #[serde(alias = "sentence_good")]
    good: String,
    #[serde(alias = "sentence_bad")]
    bad: String,
}

impl FromLine for Pair {
    /// A pair isn't a text, so that what looks like JSON is JSON without a flag.
    fn from_text(line: String) -> Result<Self> {
        if line.starts_with('{') {
            return from_json(&line);
        }
        let (good, bad) = line.split_once('\t').context(
            "the line isn't a pair: a good and a bad text with a tab between, or a JSON object with the fields good and bad",
        )?;
        Ok(Self {
            good: good.to_owned(),
            bad: bad.to_owned(),
        })
    }
}

/// Scores both of a pair.
#[derive(Clone, Copy)]
struct PairScorer<'m>(Scorer<'m>);

impl Task for PairScorer<'_> {
    type Input<'t> = Texts<'t>;
    type Options = ScoreOptions;
    type Prepared = [TextToScore; 2];
    type Answer = [Score; 2];

    fn model(&self) -> &Model {
        self.0.model()
    }

    fn prepare(&self, pair: Texts<'_>, options: &ScoreOptions) -> Result<[TextToScore; 2], Error> {
        let bad = pair.pair.unwrap_or_default();
        Ok([
            self.0.prepare(pair.text, options)?,
            self.0.prepare(bad, options)?,
        ])
    }

    fn compute(
        &self,
        session: &mut Session<'_>,
        pairs: &[[TextToScore; 2]],
        options: &ScoreOptions,
    ) -> Result<Vec<[Score; 2]>, Error> {
        let scores = self.0.compute(session, pairs.as_flattened(), options)?;
        let mut scores = scores.into_iter();
        let pair = || Some([scores.next()?, scores.next()?]);
        Ok(std::iter::from_fn(pair).collect())
    }
}

struct PairCommand<'m> {
    task: PairScorer<'m>,
    options: ScoreOptions,
    /// Pairs, and those of which the good one is more probable.
    count: u64,
    right: u64,
}

/// What `--pairs` prints of a pair.
#[derive(Serialize)]
struct PairRecord {
    score_good: f64,
    score_bad: f64,
    /// Whether the good one has the higher score.
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

impl<'m> Command for PairCommand<'m> {
    type Task = PairScorer<'m>;
    type Input = Pair;

    fn task(&self) -> &PairScorer<'m> {
        &self.task
    }

    fn options(&self) -> &ScoreOptions {
        &self.options
    }

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

    fn fields(&self, scores: &[Score; 2]) -> impl Serialize {
        PairRecord::from(scores)
    }

    fn note(&mut self, scores: &[Score; 2]) {
        self.count += 1;
        self.right += u64::from(PairRecord::from(scores).correct);
    }

    fn summary(&self) -> Option<String> {
        let (right, count) = (self.right, self.count);
        let percent = 100.0 * right as f64 / count as f64;
        (count > 0).then(|| format!("accuracy {percent:.1} %: {right} of {count} pairs"))
    }
}

pub(super) fn run(args: &ScoreArgs) -> Result<ExitCode> {
    let options = ScoreOptions {
        method: args.method.into(),
        truncate: args.truncate,
    };
    if args.pairs {
        let pairs = args.texts.open("score")?;
        let located = locate::open(args.model.as_deref())?;
        let command = PairCommand {
            task: PairScorer(Scorer::new(&located.model)?),
            options,
            count: 0,
            right: 0,
        };
        return compute(args, command, pairs, &located);
    }
    let texts = args.texts.open("score")?;
    let located = locate::open(args.model.as_deref())?;
    let command = ScoreCommand {
        task: Scorer::new(&located.model)?,
        options,
        tokens: args.tokens,
    };
    compute(args, command, texts, &located)
}

fn compute<C: Command>(
    args: &ScoreArgs,
    command: C,
    source: Source<C::Input>,
    located: &Located,
) -> Result<ExitCode> {
    located.model.prefetch();
    let session = args.compute.session(&located.model)?;
    task::run(command, session, source, args.texts.format(), located)
}
