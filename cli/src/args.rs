//! Arguments that several commands take.

use crate::locate::{self, Located};
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use rq::{ISA_VARIABLE, Isa, MAX_THREADS, Model, Session, SessionOptions};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The model that answers.
#[derive(Args)]
pub(crate) struct ModelArg {
    /// Model file, or name of a converted model
    ///
    /// Without this flag, the environment variable RQ_MODEL names the model. Without either, it is roberta-large if you have
    /// converted it, or else a small English model that is part of rq and fills masks.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,
}

impl ModelArg {
    pub(crate) fn open(&self) -> Result<Located> {
        locate::open(self.model.as_deref())
    }
}

/// How to compute.
#[derive(Args)]
pub(crate) struct ComputeArgs {
    /// Number of threads [default: one per processor]
    ///
    /// The answer doesn't depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads())]
    threads: Option<u16>,

    /// Instruction set to use [default: the best this machine has]
    ///
    /// The answer doesn't depend on it. `rq info --cpu` lists them. The environment variable RQ_ISA does the same.
    #[arg(long, value_name = "NAME", value_parser = isa(), hide_possible_values = true)]
    isa: Option<Isa>,
}

impl ComputeArgs {
    /// A session of the model, whose weights are read into memory now.
    pub(crate) fn session(&self, model: &Arc<Model>) -> Result<Session> {
        let options = options!(SessionOptions {
            threads: self.threads.map(usize::from),
            isa: self.isa,
        });
        model.prefetch();
        blame_variable(self.isa, Session::new(Arc::clone(model), &options))
    }
}

/// Options of the library, by default but for these fields. From another crate they can't be written as a literal.
macro_rules! options {
    ($kind:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let mut options = $kind::default();
        $(options.$field = options!(@ $field $(, $value)?);)*
        options
    }};
    (@ $field:ident, $value:expr) => { $value };
    (@ $field:ident) => { $field };
}
pub(crate) use options;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Blocks or rows of a table, for a person.
    Human,
    /// One line of JSON per text, in a form that users of transformers know.
    Json,
    /// One JSON object per text, which begins with the fields of the input.
    Jsonl,
}

impl Format {
    /// The format that the flags `--json` and `--jsonl` ask for.
    pub(crate) fn new(json: bool, jsonl: bool) -> Self {
        match (json, jsonl) {
            (_, true) => Self::Jsonl,
            (true, _) => Self::Json,
            _ => Self::Human,
        }
    }
}

/// Parses a whole number from `least` on, to `most` if there is one.
pub(crate) fn whole<T>(
    least: T,
    most: Option<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: Copy + Display + FromStr + PartialOrd + Send + Sync + 'static,
{
    move |text| match (text.parse(), most) {
        (Ok(n), _) if least <= n && most.is_none_or(|most| n <= most) => Ok(n),
        (_, Some(most)) => Err(format!("a whole number from {least} to {most} is needed")),
        (Err(_), None) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Err("the number is too large".to_owned())
        }
        (_, None) => Err(format!("a whole number from {least} up is needed")),
    }
}

/// Parses a number of threads.
pub(crate) fn threads() -> impl Fn(&str) -> Result<u16, String> + Clone + Send + Sync + 'static {
    const { assert!(MAX_THREADS <= u16::MAX as usize) }
    whole(1, Some(MAX_THREADS as u16))
}

/// Parses the name of an instruction set.
pub(crate) fn isa() -> impl TypedValueParser<Value = Isa> {
    PossibleValuesParser::new(Isa::ALL.map(Isa::name)).try_map(|name| name.parse::<Isa>())
}

/// A name that a flag takes, the value it stands for, and its help.
pub(crate) type Choice<T> = (&'static str, T, &'static str);

/// Parses one of some names.
pub(crate) fn one_of<T>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = choices
        .iter()
        .map(|&(name, _, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(names).map(|name| {
        let choice = choices.iter().find(|choice| choice.0 == name);
        choice.expect("a name that was taken").1
    })
}

/// Names the environment's choice of an instruction set in an error that may come from it.
pub(crate) fn blame_variable<T>(flag: Option<Isa>, result: Result<T, rq::Error>) -> Result<T> {
    match std::env::var(ISA_VARIABLE) {
        Ok(name) if flag.is_none() && !name.is_empty() => {
            result.with_context(|| format!("{ISA_VARIABLE}={name}"))
        }
        _ => Ok(result?),
    }
}
