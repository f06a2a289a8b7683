//! `rq fill`

use super::joint::{JointCommand, TargetCommand};
use super::records::Unwrapped;
use super::task::{self, AT_ONCE, Command};
use super::texts::{Text, TextArgs};
use super::{ComputeArgs, locate, say};
use anyhow::Result;
use clap::{Args, value_parser};
use rq::{
    Fill, FillMask, FillOptions, JointFill, JointOptions, Model, TargetFill, TargetOptions,
    TargetWarning, Targets, Task, WholeTargets,
};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// Columns of the longest bar.
pub(super) const BAR: usize = 24;

/// Tokens that are held as answers at once, at most, where each text has one mask and more than one text is computed.
const FILLS_AT_ONCE: usize = 25_600;

/// The most combinations that `--beam` takes: each is a pass over the text for each of its masks.
const MAX_BEAM: i64 = 4096;

const JSONL: &str = "Read and print JSON lines: objects with text, and with text and masks";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with text, and with text and masks

A line that begins with { or \" is JSON, an object with the field text or a string; any other is the text itself. masks \
is a list for each mask of objects as those of --json; with --joint there is one list, fillings. A text that can't be filled \
has the field error, with the reason.";
const JSON: &str = "Print one line of JSON a text: what transformers' pipeline returns";
const JSON_LONG: &str = "\
Print one line of JSON a text: what transformers' fill-mask pipeline returns

A list of objects with score, token, token_str and sequence; with several masks, a list of such lists. --joint and \
--whole-targets have lists in the places of token and token_str, and logprob, the natural logarithm of the score. A text \
that can't be filled has an object with error, the reason, and line.";

#[derive(Args)]
#[command(
    mut_arg("texts", |texts| texts.help("Texts with one or more <mask>; without any, standard input is read, one text a line")),
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = "Examples:\n  rq fill \"She opened the <mask> and walked into the garden.\"\n  rq fill --jsonl --file texts.jsonl > filled.jsonl"
)]
pub(super) struct FillArgs {
    #[command(flatten)]
    texts: TextArgs,

    /// Model file, or name of a converted model [default: roberta-large where it is converted, else a small embedded one]
    ///
    /// The environment variable RQ_MODEL does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// How many tokens to show for each mask
    #[arg(
        short = 'k',
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true
    )]
    top_k: u32,

    /// Only these tokens, separated by commas
    ///
    /// A target is an entry of the vocabulary as the vocabulary writes it ("Ġgarden" for " garden"), or a text, of which
    /// the first token is taken, with a warning. Scores are those of a softmax over the whole vocabulary.
    #[arg(long, value_name = "TOKEN,...", value_delimiter = ',')]
    targets: Option<Vec<String>>,

    /// Score targets of several tokens whole
    ///
    /// With as many masks in the mask's place, from left to right: the score is the product of the probabilities of each token with those before it in place and masks
    /// after it. Targets of more tokens have lower scores. For most models a word in a sentence begins with its space:
    /// --targets " railway station".
    #[arg(long, requires = "targets")]
    whole_targets: bool,

    /// Never answer special tokens, such as the end of the text
    ///
    /// Scores stay those of a softmax over the whole vocabulary.
    #[arg(long, conflicts_with = "whole_targets")]
    exclude_special: bool,

    /// Fill several masks together
    ///
    /// The combinations that are most probable, from left to right: the score is the product of the probabilities of each token with those before it in place and masks
    /// after it. Without this, each mask is filled as if the others stayed masks.
    #[arg(long, conflicts_with = "whole_targets")]
    joint: bool,

    /// Combinations that --joint keeps from mask to mask: more may find better ones, and take longer
    #[arg(
        long,
        value_name = "N",
        requires = "joint",
        allow_negative_numbers = true
    )]
    #[arg(default_value_t = 16, value_parser = value_parser!(u32).range(1..=MAX_BEAM))]
    beam: u32,

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// One answer, in transformers' fields and order.
#[derive(Serialize)]
struct FillRecord<'a> {
    score: f64,
    token: u32,
    token_str: &'a str,
    sequence: &'a str,
}

impl<'a> From<&'a Fill> for FillRecord<'a> {
    fn from(fill: &'a Fill) -> Self {
        Self {
            score: f64::from(fill.score),
            token: fill.token,
            token_str: &fill.token_str,
            sequence: &fill.sequence,
        }
    }
}

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Masks<'a> {
    masks: Vec<Vec<FillRecord<'a>>>,
}

struct FillCommand<'m> {
    task: FillMask<'m>,
    options: FillOptions,
}

impl<'m> Command for FillCommand<'m> {
    type Task = FillMask<'m>;
    type Input = Text;

    fn task(&self) -> &FillMask<'m> {
        &self.task
    }

    fn options(&self) -> &FillOptions {
        &self.options
    }

    fn input<'t>(&self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(&self, out: &mut impl Write, input: &Text, masks: &Vec<Vec<Fill>>) -> Result<()> {
        show(out, self.task.model(), &input.text, masks)
    }

    fn json(&self, _: &Text, masks: &Vec<Vec<Fill>>) -> impl Serialize {
        Unwrapped::new(records(masks))
    }

    fn fields(&self, masks: &Vec<Vec<Fill>>) -> impl Serialize {
        Masks {
            masks: records(masks),
        }
    }

    fn at_once(&self) -> usize {
        (FILLS_AT_ONCE / self.options.top_k.max(1)).clamp(1, AT_ONCE)
    }
}

pub(super) fn run(args: &FillArgs) -> Result<ExitCode> {
    let texts = args.texts.open("fill")?;
    let located = locate::open(args.model.as_deref())?;
    let model = &located.model;
    let warn = |warnings: Vec<TargetWarning>| {
        for warning in warnings {
            say(format_args!("warning: {warning}"));
        }
    };
    let (top_k, truncate, format) = (args.top_k as usize, args.truncate, args.texts.format());
    if args.whole_targets {
        let task = TargetFill::new(model)?;
        let targets = args.targets.as_deref().unwrap_or_default();
        let (targets, warnings) = WholeTargets::resolve(model.tokenizer(), targets)?;
        warn(warnings);
        let options = TargetOptions {
            top_k,
            targets,
            truncate,
        };
        model.prefetch();
        let session = args.compute.session(model)?;
        let command = TargetCommand { task, options };
        return task::run(command, session, texts, format, &located);
    }
    let task = FillMask::new(model)?;
    let targets = match &args.targets {
        None => None,
        Some(targets) => {
            let (targets, warnings) = Targets::resolve(model.tokenizer(), targets)?;
            warn(warnings);
            Some(targets)
        }
    };
    model.prefetch();
    let session = args.compute.session(model)?;
    if args.joint {
        let options = JointOptions {
            top_k,
            beam: args.beam as usize,
            targets,
            exclude_special: args.exclude_special,
            truncate,
        };
        let task = JointFill::new(model)?;
        let command = JointCommand { task, options };
        return task::run(command, session, texts, format, &located);
    }
    let options = FillOptions {
        top_k,
        targets,
        exclude_special: args.exclude_special,
        truncate,
    };
    let command = FillCommand { task, options };
    task::run(command, session, texts, format, &located)
}

fn records(masks: &[Vec<Fill>]) -> Vec<Vec<FillRecord<'_>>> {
    let records = masks.iter().map(|fills| fills.iter().map(FillRecord::from));
    records.map(Iterator::collect).collect()
}

fn show(out: &mut impl Write, model: &Model, text: &str, masks: &[Vec<Fill>]) -> Result<()> {
    writeln!(out, "{text}")?;
    for (i, fills) in masks.iter().enumerate() {
        if masks.len() > 1 {
            writeln!(out, "  mask {}", i + 1)?;
        }
        let shown: Vec<String> = fills.iter().map(|fill| visible(&fill.token_str)).collect();
        let width = shown.iter().map(|s| s.chars().count()).max().unwrap_or(0);
        let best = fills
            .iter()
            .fold(f32::MIN_POSITIVE, |m, fill| m.max(fill.score));
        for (fill, token) in fills.iter().zip(&shown) {
            let bar = bar(f64::from(fill.score / best), BAR);
            writeln!(out, "  {token:width$}  {} %  {bar}", percent(fill.score))?;
        }
    }
    if let Some(completed) = completed(model, text, masks)? {
        writeln!(out, "{completed}")?;
    }
    Ok(())
}

/// A bar for a person, of a number from 0 to 1, so many columns wide at most.
pub(super) fn bar(part: f64, columns: usize) -> String {
    "█".repeat((part * columns as f64).round() as usize)
}

/// A probability in percent, six characters wide.
pub(super) fn percent(score: f32) -> String {
    match score * 100.0 {
        ..0.01 => " <0.01".to_owned(),
        percent => format!("{percent:6.2}"),
    }
}

/// A token without the space before it, and with control characters spelled out.
pub(super) fn visible(token: &str) -> String {
    let trimmed = token
        .strip_prefix(' ')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(token);
    trimmed
        .escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// The text with the best token in each mask's place.
fn completed(model: &Model, text: &str, masks: &[Vec<Fill>]) -> Result<Option<String>> {
    let Some(best) = masks
        .iter()
        .map(|fills| fills.first())
        .collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    if let [one] = best[..] {
        return Ok(Some(one.sequence.clone()));
    }
    let mut ids = model.tokenizer().encode(text, true)?.ids;
    let mut best = best.into_iter();
    for id in ids
        .iter_mut()
        .filter(|id| Some(**id) == model.config().mask_token_id)
    {
        *id = best.next().map_or(*id, |fill| fill.token);
    }
    Ok(Some(model.tokenizer().decode(&ids, true)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_for_a_person() {
        let shown = [1.0, 0.1234, 0.00011, 0.00004, 0.0].map(percent);
        assert_eq!(shown, ["100.00", " 12.34", "  0.01", " <0.01", " <0.01"]);
    }

    #[test]
    fn tokens_for_a_person() {
        assert_eq!(visible(" door"), "door");
        assert_eq!(visible(" "), " ");
        assert_eq!(visible("\n"), "\\n");
        assert_eq!(visible("'s"), "'s");
    }
}
