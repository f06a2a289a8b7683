//! `rq fill --joint` and `rq fill --whole-targets`

use super::fill::{with_filled, with_masks};
use crate::console::Screen;
use crate::human::{column, percent};
use crate::records::Unwrapped;
use crate::task::{AT_ONCE, Command, answers_with};
use crate::texts::Text;
use crate::token;
use anyhow::Result;
use rq::{Filling, JointFill, JointOptions, TargetFill, TargetFilling, TargetOptions, Task};
use serde::Serialize;
use std::collections::BTreeMap;

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

    fn show(&self, out: &mut impl Screen, input: &Text, fillings: &Vec<Filling>) -> Result<()> {
        let tokenizer = self.task.model().tokenizer();
        with_masks(out, tokenizer, &input.text)?;
        let cell = |filling: &Filling, i: usize| {
            let token = &filling.tokens[i];
            token::shown(tokenizer, token.token, &token.token_str)
        };
        let masks = fillings.first().map_or(0, |best| best.tokens.len());
        let columns: Vec<Vec<String>> = (0..masks)
            .map(|i| column(fillings.iter().map(|filling| cell(filling, i))))
            .collect();
        for (row, filling) in fillings.iter().enumerate() {
            let tokens: Vec<&str> = columns.iter().map(|column| &*column[row]).collect();
            scored(out, &tokens.join("  "), filling)?;
        }
        if let Some(best) = fillings.first() {
            let tokens = best.tokens.iter().map(|token| &*token.token_str);
            with_filled(out, tokenizer, &input.text, &best.sequence, tokens)?;
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
        out: &mut impl Screen,
        input: &Text,
        masks: &Vec<Vec<TargetFilling>>,
    ) -> Result<()> {
        let tokenizer = self.task.model().tokenizer();
        with_masks(out, tokenizer, &input.text)?;
        let targets = masks.iter().flatten();
        let mut shown = column(targets.map(|t| token::word(&t.target))).into_iter();
        for (i, targets) in masks.iter().enumerate() {
            if masks.len() > 1 {
                writeln!(out, "  mask {}", i + 1)?;
            }
            for (target, shown) in targets.iter().zip(shown.by_ref()) {
                scored(out, &shown, &target.filling)?;
            }
        }
        if let [targets] = &masks[..]
            && let Some(best) = targets.first()
        {
            let (target, sequence) = (&best.target, &best.filling.sequence);
            let tokens = std::iter::once(&**target);
            with_filled(out, tokenizer, &input.text, sequence, tokens)?;
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

/// Writes a row: its tokens, the logarithm of the probability, the probability, and its bar.
fn scored(out: &mut impl Screen, tokens: &str, filling: &Filling) -> Result<()> {
    let (log, score) = (filling.log_probability, filling.score);
    let row = format!("  {tokens}  {log:8.2}  {}", percent(score as f32));
    Ok(out.row_with_bar(&row, score)?)
}
