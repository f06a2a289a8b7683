//! `rq score`

use crate::Ended;
use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of};
use crate::console::{Screen, say};
use crate::human::{column, count, percent, share, visible};
use crate::out::OutArgs;
use crate::plot::{self, Plot, Surprisals};
use crate::records;
use crate::resume;
use crate::style::{FAINT, FOUND, SURPRISE, surprise};
use crate::task::{Command, answers_with};
use crate::texts::{FromLine, InputArgs, Text, from_json};
use crate::token;
use anyhow::{Context, Result};
use clap::Args;
use rq::{
    Error, PreparedScore, Score, ScoreMethod, ScoreOptions, Scorer, Session, Task, Texts, Tokenizer,
};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;

/// The most texts of a picture.
const MAX_PLOTTED: usize = 500;

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
    ///
    /// It is a natural logarithm, and the probability beside it. On a terminal with colours the text is shaded, too: the less
    /// probable a token, the redder.
    #[arg(long)]
    tokens: bool,

    /// Draw the texts into this SVG file, each token shaded by its surprisal
    ///
    /// The surprisal is minus the natural logarithm of the token's probability, in nats. Of more than 500 texts the first are drawn.
    #[arg(long, value_name = "FILE", conflicts_with = "pairs")]
    plot: Option<PathBuf>,

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

struct ScoreCommand<'p> {
    task: Scorer,
    options: ScoreOptions,
    /// Whether a person sees the tokens.
    tokens: bool,
    /// Whether the shades were explained.
    explained: Cell<bool>,
    /// What is drawn, if anything is.
    drawn: Option<&'p mut Drawn>,
}

/// The texts of a picture.
#[derive(Default)]
struct Drawn {
    texts: Vec<Surprisals>,
    left_out: usize,
}

impl Command for ScoreCommand<'_> {
    answers_with!(Scorer, ScoreOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Screen, input: &Text, score: &Score) -> Result<()> {
        if !self.tokens {
            writeln!(out, "{}", visible(&input.text))?;
            return Ok(writeln!(out, "  {}", summary(score))?);
        }
        for (part, log) in self.parts(&input.text, score)? {
            let style = log.map(|log| surprise(libm::exp(log)));
            out.paint(style.unwrap_or_default(), &visible(part))?;
        }
        writeln!(out)?;
        let tokenizer = self.task.model().tokenizer();
        let shown = score.tokens.iter();
        let shown = column(shown.map(|t| token::shown(tokenizer, t.token, &t.token_str)));
        for (token, shown) in score.tokens.iter().zip(shown) {
            let log = token.log_probability;
            let probability = libm::exp(log);
            let row = format!("  {shown}  {log:8.2}  {}", percent(probability as f32));
            out.row_with_bar(&row, probability)?;
        }
        writeln!(out, "  {}", summary(score))?;
        if out.has_colours() && !self.explained.replace(true) {
            legend(out)?;
        }
        Ok(())
    }

    fn note(&mut self, input: &Text, score: &Score) {
        if self
            .drawn
            .as_ref()
            .is_none_or(|drawn| drawn.texts.len() == MAX_PLOTTED)
        {
            if let Some(drawn) = &mut self.drawn {
                drawn.left_out += 1;
            }
            return;
        }
        // What could be scored has its tokens.
        let Ok(parts) = self.parts(&input.text, score) else {
            return;
        };
        let parts = parts.into_iter().map(|(part, log)| (part.to_owned(), log));
        let (parts, summary) = (parts.collect(), summary(score));
        if let Some(drawn) = &mut self.drawn {
            drawn.texts.push(Surprisals { parts, summary });
        }
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

impl ScoreCommand<'_> {
    /// A text in parts; those of tokens with the logarithms of their probabilities.
    fn parts<'t>(&self, text: &'t str, score: &Score) -> Result<Vec<(&'t str, Option<f64>)>> {
        let tokenizer = self.task.model().tokenizer();
        let places = places(tokenizer, text, self.options.truncate)?;
        let logs = score.tokens.iter().map(|token| token.log_probability);
        Ok(parts(text, places.into_iter().zip(logs)))
    }
}

/// The bytes of a text that its tokens stand for.
fn places(tokenizer: &Tokenizer, text: &str, truncate: bool) -> Result<Vec<Range<usize>>> {
    let tokens = tokenizer.tokens_within(text, truncate)?;
    let ends = text.char_indices().map(|(byte, _)| byte);
    let bytes: Vec<usize> = ends.chain([text.len()]).collect();
    let byte = |character: usize| bytes.get(character).copied().unwrap_or(text.len());
    let places = tokens.offsets.iter().zip(&tokens.special);
    let of_text = places.filter(|(_, special)| !**special);
    Ok(of_text
        .map(|((start, end), _)| byte(*start)..byte(*end))
        .collect())
}

/// Divides a text at its tokens. Those that share a character are one part, whose logarithms add up.
fn parts(
    text: &str,
    tokens: impl Iterator<Item = (Range<usize>, f64)>,
) -> Vec<(&str, Option<f64>)> {
    let mut merged: Vec<(Range<usize>, f64)> = Vec::new();
    for (place, log) in tokens {
        match merged.last_mut() {
            Some((last, sum)) if place.start < last.end => {
                last.end = last.end.max(place.end);
                *sum += log;
            }
            _ => merged.push((place, log)),
        }
    }
    let (mut parts, mut end) = (Vec::new(), 0);
    for (place, log) in merged {
        parts.push((&text[end..place.start], None));
        parts.push((&text[place.clone()], Some(log)));
        end = place.end;
    }
    parts.push((&text[end..], None));
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

fn summary(score: &Score) -> String {
    let tokens = count(score.tokens.len(), "token");
    let perplexity = score.pseudo_perplexity();
    let perplexity = perplexity.map(|x| format!(", pseudo-perplexity {x:.2}"));
    format!(
        "{:.2} nats, {tokens}{}",
        score.total,
        perplexity.unwrap_or_default()
    )
}

/// Says what the shades mean.
fn legend(out: &mut impl Screen) -> Result<()> {
    out.paint(FAINT, "  probability of a token: ")?;
    for (i, (least, style)) in SURPRISE.iter().enumerate() {
        let text = match i {
            4 => " less ".to_owned(),
            _ => format!(" from {} % ", 100.0 * least),
        };
        out.paint(*style, &text)?;
    }
    Ok(writeln!(out)?)
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

    fn show(&self, out: &mut impl Screen, input: &Pair, scores: &[Score; 2]) -> Result<()> {
        let [good, bad] = [scores[0].total, scores[1].total];
        for (name, text, score, other) in [
            ("good", &input.good, good, bad),
            ("bad ", &input.bad, bad, good),
        ] {
            let row = format!("{name}  {score:9.2}  {}", visible(text));
            match score > other {
                true => out.paint(FOUND, &format!("> {row}"))?,
                false => write!(out, "  {row}")?,
            }
            writeln!(out)?;
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

    fn note(&mut self, _: &Pair, scores: &[Score; 2]) {
        self.count += 1;
        self.right += u64::from(PairRecord::from(scores).correct);
    }

    fn summary(&self) -> Option<String> {
        let (right, count) = (self.right, self.count);
        let accuracy = share(right as f64 / count as f64);
        (count > 0).then(|| format!("accuracy {accuracy}: {right} of {count} pairs"))
    }
}

pub(super) fn run(args: &ScoreArgs) -> Result<Ended> {
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
    let task = located.task(Scorer::new(session))?;
    if let Some(path) = &args.plot {
        resume::spare_sources(path, &located, &texts)?;
    }
    let plot = args.plot.as_deref();
    let plot = plot.map(|path| Ok::<_, anyhow::Error>((Plot::create(path)?, path)));
    let plot = plot.transpose()?;
    let mut drawn = Drawn::default();
    let command = ScoreCommand {
        task,
        options,
        tokens: args.tokens,
        explained: Cell::new(false),
        drawn: plot.is_some().then_some(&mut drawn),
    };
    let code = records::run(command, texts, format, &located, &args.output)?;
    if let Some((plot, path)) = plot {
        plot.finish(&plot::surprisal(&drawn.texts), path)?;
        if drawn.left_out > 0 {
            say(format_args!(
                "{} has the first {MAX_PLOTTED} texts; {} more were scored",
                path.display(),
                drawn.left_out
            ));
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_divided_at_its_tokens() {
        let tokens = [(0..2, -1.0), (3..7, -2.0), (3..7, -0.5), (7..8, -0.25)];
        let expected = [
            ("ab", Some(-1.0)),
            (" ", None),
            ("😀", Some(-2.5)),
            ("c", Some(-0.25)),
            (" d", None),
        ];
        assert_eq!(parts("ab 😀c d", tokens.into_iter()), expected);
        assert_eq!(parts("", std::iter::empty()), []);
    }
}
