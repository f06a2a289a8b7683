//! `rq answer`

use super::fill::percent;
use super::records::{Format, Unwrapped};
use super::task::{self, AT_ONCE, Command};
use super::texts::{FromLine, TextArgs};
use super::{ComputeArgs, locate};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, value_parser};
use rq::{Answer, AnswerOptions, Answerer, Question};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of context that are held as tokens at once, about, where all questions have the same.
const CONTEXTS_AT_ONCE: usize = 256 << 10;
/// The longest context in bytes that is read from a file. As tokens it takes about 200 bytes of memory for each.
const MAX_CONTEXT: u64 = 4 << 20;
/// Characters of the context that a person is shown on each side of an answer, at most.
const AROUND: usize = 36;

const TEXTS: &str =
    "Questions about --context; without any, standard input is read, one question a line";
const JSONL: &str =
    "Read and print JSON lines: objects with question and context, and with their answer";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with question and context

A line that begins with { or \" is JSON, an object with the field question, and context unless --context has it, or a string; \
any other is the question itself. The output has the fields of the input, then those of the best answer as --json has them, \
and with --top-k above 1 answers, a list of all. A question that can't be answered has the field error, with the reason.";
const JSON: &str = "Print one line of JSON a question: what transformers' pipeline returns";
const JSON_LONG: &str = "\
Print one line of JSON a question: what transformers' question-answering pipeline returns

An object with score, start, end (in characters of the context) and answer, or a list of several. That there is no answer has \
an empty one. The score is that of all places with the same text, and of all windows: where they overlap it can be above 1. A \
question that can't be answered has an object with error, the reason, and line.";

#[derive(Args)]
#[command(
    mut_arg("texts", |texts| texts.value_name("QUESTION").help(TEXTS)),
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = "Examples:\n  rq answer -m NAME --context-file report.txt \"Who wrote the report?\"\n  rq answer -m NAME --jsonl --file questions.jsonl > answers.jsonl"
)]
pub(super) struct AnswerArgs {
    #[command(flatten)]
    texts: TextArgs,

    /// Text in which the answers are to be found
    #[arg(short, long, value_name = "TEXT", conflicts_with = "context_file")]
    context: Option<String>,

    /// File with the text in which the answers are to be found
    ///
    /// At most 4 MiB, of any number of lines.
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,

    /// Model file, or name of a converted model: one for question answering
    ///
    /// The environment variable RQ_MODEL does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// How many answers to show
    #[arg(short = 'k', long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    top_k: u32,

    /// Tokens of an answer, at most
    #[arg(long, value_name = "N", default_value_t = 15)]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    max_answer_len: u32,

    /// Tokens of a window over a long context [default: 384]
    ///
    /// With the question and the special tokens. The default is less for a model that takes fewer.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_seq_len: Option<u32>,

    /// Tokens of the context that windows share [default: 128]
    ///
    /// The default is half a window where that is less.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    doc_stride: Option<u32>,

    /// Let it be an answer that there is none
    ///
    /// For models that were trained for it, as on SQuAD 2.
    #[arg(long)]
    no_answer: bool,

    /// Don't extend answers to whole words
    #[arg(long)]
    no_align: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// A question as it is read.
#[derive(Deserialize, Serialize)]
struct QuestionLine {
    question: String,
    /// None where all questions have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

impl FromLine for QuestionLine {
    fn from_text(question: String) -> Result<Self> {
        Ok(Self {
            question,
            context: None,
        })
    }
}

/// One answer, in transformers' fields and order.
#[derive(Serialize)]
struct AnswerRecord<'a> {
    score: f64,
    start: usize,
    end: usize,
    answer: &'a str,
}

impl<'a> From<&'a Answer> for AnswerRecord<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            score: f64::from(answer.score),
            start: answer.start,
            end: answer.end,
            answer: &answer.answer,
        }
    }
}

/// What `--jsonl` adds to the question.
#[derive(Serialize)]
struct Answers<'a> {
    #[serde(flatten)]
    best: Option<AnswerRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<AnswerRecord<'a>>>,
}

struct AnswerCommand<'m> {
    task: Answerer<'m>,
    options: AnswerOptions,
    /// Of the questions that come without one.
    context: String,
}

impl AnswerCommand<'_> {
    fn context<'t>(&'t self, input: &'t QuestionLine) -> &'t str {
        input.context.as_ref().unwrap_or(&self.context)
    }
}

impl<'m> Command for AnswerCommand<'m> {
    type Task = Answerer<'m>;
    type Input = QuestionLine;

    fn task(&self) -> &Answerer<'m> {
        &self.task
    }

    fn options(&self) -> &AnswerOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t QuestionLine) -> Question<'t> {
        Question {
            question: &input.question,
            context: self.context(input),
        }
    }

    fn show(
        &self,
        out: &mut impl Write,
        input: &QuestionLine,
        answers: &Vec<Answer>,
    ) -> Result<()> {
        writeln!(out, "{}", input.question)?;
        let context = self.context(input);
        let shown: Vec<[String; 3]> = answers
            .iter()
            .map(|answer| in_context(context, answer))
            .collect();
        let lengths = shown.iter().map(|[before, ..]| before.chars().count());
        let width = lengths.max().unwrap_or(0);
        for (answer, [before, text, after]) in answers.iter().zip(&shown) {
            let percent = percent(answer.score);
            let line = match answer.answer.is_empty() {
                true => "(no answer)".to_owned(),
                false => format!("{before:>width$}[{text}]{after}"),
            };
            writeln!(out, "  {percent} %  {}", line.trim_end())?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, answers: &Vec<Answer>) -> impl Serialize {
        Unwrapped::new(answers.iter().map(AnswerRecord::from).collect())
    }

    fn fields(&self, answers: &Vec<Answer>) -> impl Serialize {
        let records = || answers.iter().map(AnswerRecord::from);
        Answers {
            best: records().next(),
            answers: (self.options.top_k > 1).then(|| records().collect()),
        }
    }

    /// Each question has the whole context.
    fn at_once(&self) -> usize {
        (CONTEXTS_AT_ONCE / self.context.len().max(1)).clamp(1, AT_ONCE)
    }
}

pub(super) fn run(args: &AnswerArgs) -> Result<ExitCode> {
    let format = args.texts.format();
    let context = match (&args.context, &args.context_file) {
        (Some(context), _) => Some(context.clone()),
        (None, Some(path)) => Some(read(path)?),
        (None, None) if format == Format::Jsonl => None,
        (None, None) => bail!(
            "no context in which the answers are to be found: give it with --context or --context-file, or with each question, \
             in JSON lines (--jsonl)"
        ),
    };
    ensure!(
        context.as_ref().is_none_or(|context| !context.is_empty()),
        "the context is empty"
    );
    let texts = args.texts.open("answer")?;
    let located = locate::open(args.model.as_deref())?;
    let model = &located.model;
    let task = locate::blame_default(args.model.as_deref(), Answerer::new(model))?;
    let options = AnswerOptions {
        top_k: args.top_k as usize,
        max_answer_len: args.max_answer_len as usize,
        max_seq_len: args.max_seq_len.map(|n| n as usize),
        doc_stride: args.doc_stride.map(|n| n as usize),
        handle_impossible_answer: args.no_answer,
        align_to_words: !args.no_align,
    };
    model.prefetch();
    let session = args.compute.session(model)?;
    let command = AnswerCommand {
        task,
        options,
        context: context.unwrap_or_default(),
    };
    task::run(command, session, texts, format, &located)
}

/// The text of a file that isn't too long.
fn read(path: &Path) -> Result<String> {
    let cannot = || format!("can't read {}", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(cannot)?;
    let most = MAX_CONTEXT + 1;
    let length = file.take(most).read_to_string(&mut text);
    ensure!(
        length.with_context(cannot)? < most as usize,
        "{} is longer than {} MiB: divide it",
        path.display(),
        MAX_CONTEXT >> 20
    );
    Ok(text)
}

/// An answer between what is before it and after it in the context, in one line.
fn in_context(context: &str, answer: &Answer) -> [String; 3] {
    let (before, after) = (&context[..answer.bytes.start], &context[answer.bytes.end..]);
    let from = before.char_indices().rev().nth(AROUND - 1);
    let mut before = before[from.map_or(0, |(i, _)| i)..].to_owned();
    if from.is_some_and(|(i, _)| i > 0) {
        before.insert_str(0, "...");
    }
    let to = after.char_indices().nth(AROUND);
    let mut end = after[..to.map_or(after.len(), |(i, _)| i)].to_owned();
    if to.is_some() {
        end.push_str("...");
    }
    [before, answer.answer.clone(), end].map(|part| part.replace(|c: char| c.is_control(), " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_their_context() {
        let shown = |context: &str, answer: &str| {
            let start = context.find(answer).unwrap();
            let answer = Answer {
                score: 1.0,
                start: 0,
                end: 0,
                bytes: start..start + answer.len(),
                answer: answer.to_owned(),
            };
            in_context(context, &answer).join("|")
        };
        assert_eq!(shown("a\nbé c", "bé"), "a |bé| c");
        assert_eq!(shown("b", "b"), "|b|");
        let (dots, a) = ("...", "é".repeat(AROUND));
        assert_eq!(shown(&format!("{a}b{a}"), "b"), format!("{a}|b|{a}"));
        assert_eq!(
            shown(&format!("é{a}b{a}é"), "b"),
            format!("{dots}{a}|b|{a}{dots}")
        );
    }
}
