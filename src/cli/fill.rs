//! `rq fill`

use super::{ComputeArgs, locate, say};
use anyhow::{Context, Result, bail};
use clap::Args;
use rq::{Fill, FillOptions, MaskedText, Model, Targets};
use serde::Serialize;
use std::io::{BufRead, IsTerminal, Write};

/// Columns of the longest bar.
const BAR: usize = 24;

#[derive(Args)]
#[command(after_help = "Example:\n  rq fill \"She opened the <mask> and walked into the garden.\"")]
pub(super) struct FillArgs {
    /// Texts with one or more <mask>; without any, standard input is read, one text a line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

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

    /// Cut texts that are too long for the model at their end
    #[arg(long)]
    truncate: bool,

    /// Print one line of JSON a text: what transformers' fill-mask pipeline returns
    ///
    /// A list of objects with score, token, token_str and sequence; with several masks, a list of such lists.
    #[arg(long)]
    json: bool,

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

pub(super) fn run(args: &FillArgs) -> Result<()> {
    let stdin = std::io::stdin();
    if args.texts.is_empty() && stdin.is_terminal() {
        bail!(
            "no text: give one as an argument, or pipe texts in, one a line (see `rq fill --help`)"
        );
    }
    let located = locate::open(args.model.as_deref())?;
    let model = &located.model;
    let mut options = FillOptions {
        top_k: args.top_k as usize,
        targets: None,
        truncate: args.truncate,
    };
    if let Some(targets) = &args.targets {
        let (targets, warnings) = Targets::resolve(model.tokenizer(), targets)?;
        warnings
            .iter()
            .for_each(|warning| say(format_args!("warning: {warning}")));
        options.targets = Some(targets);
    }
    model.prefetch();
    let mut session = args.compute.session(model)?;
    let mut out = std::io::stdout().lock();

    if !args.texts.is_empty() {
        let count = args.texts.len();
        let texts = (1..).zip(&args.texts).map(|(number, text)| {
            let text = MaskedText::new(model.tokenizer(), text, &options);
            match count {
                1 => Ok(text?),
                _ => text.with_context(|| format!("text {number} of {count}")),
            }
        });
        let texts: Vec<MaskedText> = texts.collect::<Result<_>>()?;
        let all = session.fill_batch(&texts, &options)?;
        located.announce();
        for (i, (text, masks)) in args.texts.iter().zip(&all).enumerate() {
            if i > 0 && !args.json {
                writeln!(out)?;
            }
            write(&mut out, args.json, model, text, masks)?;
        }
        return Ok(());
    }
    for (i, line) in stdin.lock().lines().enumerate() {
        let place = || format!("standard input, line {}", i + 1);
        let line = line.with_context(place)?;
        let text = line.strip_suffix('\r').unwrap_or(&line);
        let masks = session.fill(text, &options).with_context(place)?;
        match i {
            0 => located.announce(),
            _ if !args.json => writeln!(out)?,
            _ => {}
        }
        write(&mut out, args.json, model, text, &masks)?;
        out.flush()?;
    }
    Ok(())
}

fn write(
    out: &mut impl Write,
    json: bool,
    model: &Model,
    text: &str,
    masks: &[Vec<Fill>],
) -> Result<()> {
    if json {
        let records: Vec<Vec<FillRecord<'_>>> = masks
            .iter()
            .map(|fills| fills.iter().map(FillRecord::from).collect())
            .collect();
        let line = match &records[..] {
            [one] => serde_json::to_string(one)?,
            several => serde_json::to_string(several)?,
        };
        return Ok(writeln!(out, "{line}")?);
    }
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
            let bar = "█".repeat((fill.score / best * BAR as f32).round() as usize);
            writeln!(out, "  {token:width$}  {} %  {bar}", percent(fill.score))?;
        }
    }
    if let Some(completed) = completed(model, text, masks)? {
        writeln!(out, "{completed}")?;
    }
    Ok(())
}

/// A probability in percent, six characters wide.
fn percent(score: f32) -> String {
    match score * 100.0 {
        ..0.01 => " <0.01".to_owned(),
        percent => format!("{percent:6.2}"),
    }
}

/// A token without the space before it, and with control characters spelled out.
fn visible(token: &str) -> String {
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
        .filter(|id| **id == model.config().mask_token_id)
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
