//! `rq fill --joint` and `rq fill --whole-targets`

use super::fill::{BAR, bar, percent, visible};
use super::records::Unwrapped;
use super::task::{AT_ONCE, Command};
use super::texts::Text;
use anyhow::Result;
use rq::{Filling, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions};
use serde::Serialize;
use std::io::Write;

/// A filling, in the fields of transformers' as far as it has them.
#[derive(Serialize)]
struct FillingRecord<'a> {
    score: f64,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    token: Vec<u32>,
    token_str: Vec<&'a str>,
    sequence: &'a str,
}

impl<'a> FillingRecord<'a> {
    fn new(filling: &'a Filling, target: Option<&'a str>) -> Self {
        let tokens = || filling.tokens.iter();
        Self {
            score: filling.score,
            logprob: filling.log_probability,
            target,
            token: tokens().map(|token| token.token).collect(),
            token_str: tokens().map(|token| token.token_str.as_str()).collect(),
            sequence: &filling.sequence,
        }
    }
}

pub(super) struct JointCommand<'m> {
    pub(super) task: JointFill<'m>,
    pub(super) options: JointOptions,
}

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Fillings<'a> {
    fillings: Vec<FillingRecord<'a>>,
}

fn joint_records(fillings: &[Filling]) -> Vec<FillingRecord<'_>> {
    let record = |filling| FillingRecord::new(filling, None);
    fillings.iter().map(record).collect()
}

impl<'m> Command for JointCommand<'m> {
    type Task = JointFill<'m>;
    type Input = Text;

    fn task(&self) -> &JointFill<'m> {
        &self.task
    }

    fn options(&self) -> &JointOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(&self, out: &mut impl Write, input: &Text, fillings: &Vec<Filling>) -> Result<()> {
        writeln!(out, "{}", input.text)?;
        let rows: Vec<Vec<String>> = fillings
            .iter()
            .map(|filling| {
                filling
                    .tokens
                    .iter()
                    .map(|t| visible(&t.token_str))
                    .collect()
            })
            .collect();
        let columns = rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let best = fillings.first().map_or(0.0, |best| best.log_probability);
        for (filling, row) in fillings.iter().zip(&rows) {
            for (token, width) in row.iter().zip(&widths) {
                write!(out, "  {token:width$}")?;
            }
            show_score(out, filling, best)?;
        }
        if let Some(best) = fillings.first() {
            writeln!(out, "{}", best.sequence)?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, fillings: &Vec<Filling>) -> impl Serialize {
        joint_records(fillings)
    }

    fn fields(&self, fillings: &Vec<Filling>) -> impl Serialize {
        Fillings {
            fillings: joint_records(fillings),
        }
    }

    /// Each text becomes as many as the beam is wide.
    fn at_once(&self) -> usize {
        (AT_ONCE / self.options.beam.max(self.options.top_k).max(1)).max(1)
    }
}

pub(super) struct TargetCommand<'m> {
    pub(super) task: TargetFill<'m>,
    pub(super) options: TargetOptions,
}

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Masks<'a> {
    masks: Vec<Vec<FillingRecord<'a>>>,
}

fn target_records(masks: &[Vec<TargetFilling>]) -> Vec<Vec<FillingRecord<'_>>> {
    let masks = masks.iter().map(|targets| {
        let records = targets
            .iter()
            .map(|t| FillingRecord::new(&t.filling, Some(&t.target)));
        records.collect()
    });
    masks.collect()
}

impl<'m> Command for TargetCommand<'m> {
    type Task = TargetFill<'m>;
    type Input = Text;

    fn task(&self) -> &TargetFill<'m> {
        &self.task
    }

    fn options(&self) -> &TargetOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(
        &self,
        out: &mut impl Write,
        input: &Text,
        masks: &Vec<Vec<TargetFilling>>,
    ) -> Result<()> {
        writeln!(out, "{}", input.text)?;
        for (i, targets) in masks.iter().enumerate() {
            if masks.len() > 1 {
                writeln!(out, "  mask {}", i + 1)?;
            }
            let shown: Vec<String> = targets.iter().map(|t| visible(&t.target)).collect();
            let width = shown.iter().map(|s| s.chars().count()).max().unwrap_or(0);
            let best = targets.first().map_or(0.0, |t| t.filling.log_probability);
            for (target, shown) in targets.iter().zip(&shown) {
                write!(out, "  {shown:width$}")?;
                show_score(out, &target.filling, best)?;
            }
        }
        if let [targets] = &masks[..]
            && let Some(best) = targets.first()
        {
            writeln!(out, "{}", best.filling.sequence)?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, masks: &Vec<Vec<TargetFilling>>) -> impl Serialize {
        Unwrapped::new(target_records(masks))
    }

    fn fields(&self, masks: &Vec<Vec<TargetFilling>>) -> impl Serialize {
        Masks {
            masks: target_records(masks),
        }
    }

    fn at_once(&self) -> usize {
        1
    }
}

/// The end of a row: the logarithm, the probability, and a bar that is the longest for the best.
fn show_score(out: &mut impl Write, filling: &Filling, best: f64) -> Result<()> {
    let log = filling.log_probability;
    let (percent, bar) = (
        percent(filling.score as f32),
        bar(libm::exp(log - best), BAR),
    );
    Ok(writeln!(out, "  {log:8.2}  {percent} %  {bar}")?)
}
