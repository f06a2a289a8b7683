//! `rq fill`

use super::joint::{JointCommand, TargetCommand};
use crate::Ended;
use crate::args::options;
use crate::args::{ComputeArgs, Format, ModelArg, whole};
use crate::console::{Screen, say};
use crate::human::{column, percent, visible};
use crate::out::OutArgs;
use crate::records::{self, Unwrapped};
use crate::style::{FOUND, MASK};
use crate::task::{AT_ONCE, Command, answers_with};
use crate::texts::{InputArgs, Text};
use crate::token;
use anyhow::Result;
use clap::Args;
use rq::{
    Fill, FillMask, FillOptions, JointFill, JointOptions, Model, TargetFill, TargetOptions,
    TargetWarning, Targets, Task, Tokenizer, WholeTargets,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The most answers held at once if each text has one mask, unless one text has more.
const FILLS_AT_ONCE: usize = 25_600;

/// The largest value of `--beam`: each combination is a pass over the text for each of its masks.
const MAX_BEAM: u32 = 4096;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq fill \"She opened the <mask> and walked into the garden.\"\n  rq fill --jsonl --file texts.jsonl > filled.jsonl"
)]
pub(super) struct FillArgs {
    /// Texts with one or more <mask>; without any, lines of standard input, or what is typed
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    output: OutArgs,

    /// Print JSON: per text, what transformers' pipeline returns
    ///
    /// A list of objects with score, token, token_str and sequence; for several masks, a list of such lists. With --joint
    /// and --whole-targets, token and token_str are lists, and logprob is the natural logarithm of the score. A text that
    /// can't be filled gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their masks
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. masks has, for each mask, a list of the objects that --json prints; with --joint there is one
    /// list, fillings. A text that can't be filled has the field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// Number of tokens to show for each mask
    #[arg(
        short = 'k',
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true,
        value_parser = whole::<u32>(1, None)
    )]
    top_k: u32,

    /// Consider only these tokens
    ///
    /// A target is an entry of the vocabulary as it is written there ("Ġgarden" for " garden"), or a text, whose first
    /// token is used, with a warning. Scores are still probabilities over the whole vocabulary.
    #[arg(long, value_name = "TOKEN,...", value_delimiter = ',')]
    targets: Option<Vec<String>>,

    /// Score targets of several tokens as a whole
    ///
    /// The mask is replaced with as many masks as the target has tokens, which are filled from left to right. The score is the
    /// product of the tokens' probabilities, so targets with more tokens have lower scores. In most vocabularies a word
    /// within a sentence begins with its space: --targets " railway station".
    #[arg(long, requires = "targets")]
    whole_targets: bool,

    /// Leave out special tokens, such as the end of the text
    ///
    /// Scores are still probabilities over the whole vocabulary.
    #[arg(long, conflicts_with = "whole_targets")]
    exclude_special: bool,

    /// Fill all masks of a text together
    ///
    /// Shows the most probable combinations. Masks are filled from left to right; the score is the product of the tokens'
    /// probabilities. Without this flag, each mask is filled as if the others stayed masks.
    #[arg(long, conflicts_with = "whole_targets")]
    joint: bool,

    /// Combinations that --joint keeps after each mask: more can find better ones, and take longer
    #[arg(
        long,
        value_name = "N",
        requires = "joint",
        allow_negative_numbers = true
    )]
    #[arg(default_value_t = 16, value_parser = whole(1, Some(MAX_BEAM)))]
    beam: u32,

    /// Cut off the end of texts that are too long for the model
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

struct FillCommand {
    task: FillMask,
    options: FillOptions,
}

impl Command for FillCommand {
    answers_with!(FillMask, FillOptions);
    type Input = Text;

    fn input<'t>(&self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Screen, input: &Text, masks: &Vec<Vec<Fill>>) -> Result<()> {
        show(out, self.task.model(), &input.text, masks)
    }

    fn json(&self, _: &Text, masks: &Vec<Vec<Fill>>) -> impl Serialize {
        Unwrapped::new(records(masks))
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["masks"]
    }

    fn fields(&self, masks: &Vec<Vec<Fill>>) -> impl Serialize {
        BTreeMap::from([("masks", records(masks))])
    }

    fn at_once(&self) -> usize {
        (FILLS_AT_ONCE / self.options.top_k.max(1)).clamp(1, AT_ONCE)
    }
}

pub(super) fn run(args: &FillArgs) -> Result<Ended> {
    let format = Format::new(args.json, args.jsonl);
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let model = &located.model;
    let warn = |warnings: Vec<TargetWarning>| {
        for warning in warnings {
            say(format_args!("warning: {warning}"));
        }
    };
    let session = args.compute.session(model)?;
    let (top_k, truncate) = (args.top_k as usize, args.truncate);
    if args.whole_targets {
        let task = located.task(TargetFill::new(session))?;
        let targets = args.targets.as_deref().unwrap_or_default();
        let (targets, warnings) = WholeTargets::resolve(model.tokenizer(), targets)?;
        warn(warnings);
        let options = options!(TargetOptions {
            top_k,
            targets,
            truncate,
        });
        let command = TargetCommand { task, options };
        return records::run(command, texts, format, &located, &args.output);
    }
    let targets = || match &args.targets {
        None => Ok(None),
        Some(targets) => {
            let (targets, warnings) = Targets::resolve(model.tokenizer(), targets)?;
            warn(warnings);
            anyhow::Ok(Some(targets))
        }
    };
    if args.joint {
        let task = located.task(JointFill::new(session))?;
        let options = options!(JointOptions {
            top_k,
            beam: args.beam as usize,
            targets: targets()?,
            exclude_special: args.exclude_special,
            truncate,
        });
        let command = JointCommand { task, options };
        return records::run(command, texts, format, &located, &args.output);
    }
    let task = located.task(FillMask::new(session))?;
    let options = options!(FillOptions {
        top_k,
        targets: targets()?,
        exclude_special: args.exclude_special,
        truncate,
    });
    let command = FillCommand { task, options };
    records::run(command, texts, format, &located, &args.output)
}

fn records(masks: &[Vec<Fill>]) -> Vec<Vec<FillRecord<'_>>> {
    let records = masks.iter().map(|fills| fills.iter().map(FillRecord::from));
    records.map(Iterator::collect).collect()
}

fn show(out: &mut impl Screen, model: &Model, text: &str, masks: &[Vec<Fill>]) -> Result<()> {
    with_masks(out, model.tokenizer(), text)?;
    let token = |fill: &Fill| token::shown(model.tokenizer(), fill.token, &fill.token_str);
    let mut tokens = column(masks.iter().flatten().map(token)).into_iter();
    for (i, fills) in masks.iter().enumerate() {
        if masks.len() > 1 {
            writeln!(out, "  mask {}", i + 1)?;
        }
        for (fill, token) in fills.iter().zip(tokens.by_ref()) {
            let row = format!("  {token}  {}", percent(fill.score));
            out.row_with_bar(&row, f64::from(fill.score))?;
        }
    }
    if let Some(completed) = completed(model, text, masks)? {
        let best = masks.iter().flat_map(|fills| fills.first());
        let tokens = best.map(|fill| &*fill.token_str);
        with_filled(out, model.tokenizer(), text, &completed, tokens)?;
    }
    Ok(())
}

/// Writes a text, in which masks stand out.
pub(super) fn with_masks(out: &mut impl Screen, tokenizer: &Tokenizer, text: &str) -> Result<()> {
    let mask = tokenizer.mask_token().filter(|mask| !mask.is_empty());
    let mut rest = text;
    while let Some(at) = mask.and_then(|mask| rest.find(mask)) {
        let (before, behind) = rest.split_at(at);
        let (mask, behind) = behind.split_at(mask.map_or(0, str::len));
        write!(out, "{}", visible(before))?;
        out.paint(MASK, &visible(mask))?;
        rest = behind;
    }
    Ok(writeln!(out, "{}", visible(rest))?)
}

/// Writes a text whose masks are filled with these tokens, which stand out as far as they are where the masks were.
pub(super) fn with_filled<'t>(
    out: &mut impl Screen,
    tokenizer: &Tokenizer,
    text: &str,
    filled: &str,
    tokens: impl Iterator<Item = &'t str>,
) -> Result<()> {
    let mask = tokenizer.mask_token().filter(|mask| !mask.is_empty());
    let mut rest = filled;
    for (before, token) in mask
        .into_iter()
        .flat_map(|mask| text.split(mask))
        .zip(tokens)
    {
        let (before, token) = (before.trim(), token.trim());
        // Decoding may have changed spaces or case, and then nothing stands out.
        let Some(at) = rest.find(before).map(|at| at + before.len()) else {
            break;
        };
        let spaces = rest[at..].len() - rest[at..].trim_start().len();
        let start = at + spaces;
        if token.is_empty() || !rest[start..].starts_with(token) {
            break;
        }
        write!(out, "{}", visible(&rest[..start]))?;
        out.paint(FOUND, &visible(token))?;
        rest = &rest[start + token.len()..];
    }
    Ok(writeln!(out, "{}", visible(rest))?)
}

/// The text with each mask replaced by its best token.
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
