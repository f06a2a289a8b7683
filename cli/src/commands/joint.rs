//! `rq fill --joint` and `rq fill --whole-targets`

use crate::human::{column, percent, token, visible, with_bar};
use crate::records::Unwrapped;
use crate::task::{AT_ONCE, Command, answers_with};
use crate::texts::Text;
use anyhow::Result;
use rq::{Filling, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// A filling, in transformers' fields where they exist.
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

pub(super) struct JointCommand {
    pub(super) task: JointFill,
    pub(super) options: JointOptions,
}

fn joint_records(fillings: &[Filling]) -> Vec<FillingRecord<'_>> {
    let record = |filling| FillingRecord::new(filling, None);
    fillings.iter().map(record).collect()
}

impl Command for JointCommand {
    answers_with!(JointFill, JointOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Write, input: &Text, fillings: &Vec<Filling>) -> Result<()> {
        writeln!(out, "{}", visible(&input.text))?;
        let cell = |filling: &Filling, i: usize| token(&filling.tokens[i].token_str);
        let masks = fillings.first().map_or(0, |best| best.tokens.len());
        let columns: Vec<Vec<String>> = (0..masks)
            .map(|i| column(fillings.iter().map(|filling| cell(filling, i))))
            .collect();
        let best = fillings.first().map_or(0.0, |best| best.log_probability);
        for (row, filling) in fillings.iter().enumerate() {
            let tokens: Vec<&str> = columns.iter().map(|column| &*column[row]).collect();
            writeln!(out, "{}", scored(&tokens.join("  "), filling, best))?;
        }
        if let Some(best) = fillings.first() {
            writeln!(out, "{}", visible(&best.sequence))?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, fillings: &Vec<Filling>) -> impl Serialize {
        joint_records(fillings)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["fillings"]
    }

    fn fields(&self, fillings: &Vec<Filling>) -> impl Serialize {
        BTreeMap::from([("fillings", joint_records(fillings))])
    }

    /// Each text becomes as many texts as the beam is wide.
    fn at_once(&self) -> usize {
        (AT_ONCE / self.options.beam.max(self.options.top_k).max(1)).max(1)
    }
}

pub(super) struct TargetCommand {
    pub(super) task: TargetFill,
    pub(super) options: TargetOptions,
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

impl Command for TargetCommand {
    answers_with!(TargetFill, TargetOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(
        &self,
        out: &mut impl Write,
        input: &Text,
        masks: &Vec<Vec<TargetFilling>>,
    ) -> Result<()> {
        writeln!(out, "{}", visible(&input.text))?;
        for (i, targets) in masks.iter().enumerate() {
            if masks.len() > 1 {
                writeln!(out, "  mask {}", i + 1)?;
            }
            let best = targets.first().map_or(0.0, |t| t.filling.log_probability);
            let shown = column(targets.iter().map(|t| token(&t.target)));
            for (target, shown) in targets.iter().zip(shown) {
                writeln!(out, "{}", scored(&shown, &target.filling, best))?;
            }
        }
        if let [targets] = &masks[..]
            && let Some(best) = targets.first()
        {
            writeln!(out, "{}", visible(&best.filling.sequence))?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, masks: &Vec<Vec<TargetFilling>>) -> impl Serialize {
        Unwrapped::new(target_records(masks))
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["masks"]
    }

    fn fields(&self, masks: &Vec<Vec<TargetFilling>>) -> impl Serialize {
        BTreeMap::from([("masks", target_records(masks))])
    }

    fn at_once(&self) -> usize {
        1
    }
}

/// A row: its tokens, the logarithm of the probability, the probability, and a bar that is the longest for the best.
fn scored(tokens: &str, filling: &Filling, best: f64) -> String {
    let log = filling.log_probability;
    let row = format!("  {tokens}  {log:8.2}  {}", percent(filling.score as f32));
    with_bar(row, libm::exp(log - best))
}
