//! `rq answer`

use crate::Ended;
use crate::args::options;
use crate::args::{ComputeArgs, Format, ModelArg, whole};
use crate::console::Screen;
use crate::human::{end_of, percent, visible};
use crate::out::OutArgs;
use crate::records::{self, Unwrapped};
use crate::style::{FAINT, FOUND};
use crate::task::{AT_ONCE, Command, answers_with};
use crate::texts::{self, FromLine, InputArgs};
use anyhow::{Result, bail, ensure};
use clap::Args;
use rq::{Answer, AnswerOptions, Answerer, Question};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::PathBuf;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// About how many bytes of context are held as tokens at once, if all questions share one.
const CONTEXTS_AT_ONCE: usize = 256 << 10;
/// The largest context file in bytes. As tokens, a context takes about 200 bytes of memory for each of its bytes.
const MAX_CONTEXT: u64 = 4 << 20;
/// The most columns of context shown on each side of an answer.
const AROUND: usize = 36;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq answer -m NAME --context-file report.txt \"Who wrote the report?\"\n  rq answer -m NAME --jsonl --file questions.jsonl > answers.jsonl"
)]
pub(super) struct AnswerArgs {
    /// Questions; without any, standard input is read, one question per line
    #[arg(value_name = "QUESTION")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    output: OutArgs,

    /// Print JSON: per question, what transformers' pipeline returns
    ///
    /// An object with score, start, end (in characters of the context) and answer, or a list of them. An empty answer means
    /// that the context has none. Scores of equal answers, in one window or several, are added up: where windows overlap, a
    /// score can exceed 1. A question that can't be answered gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: questions with contexts, and their answers
    ///
    /// An input line is a JSON object with the fields question and, unless --context gives it, context; a JSON string; or
    /// the question itself. The output has the fields of the input and
    /// those of the best answer; with --top-k above 1 also answers, the list of all. A question that can't be answered
    /// has the field error instead.
    #[arg(long)]
    jsonl: bool,

    /// Text that holds the answers
    #[arg(short, long, value_name = "TEXT", conflicts_with = "context_file")]
    context: Option<String>,

    /// File with the text that holds the answers
    ///
    /// It can have up to 4 MiB, in any number of lines.
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArg,

    /// Number of answers to show
    #[arg(short = 'k', long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = whole::<u32>(1, None), allow_negative_numbers = true)]
    top_k: u32,

    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 15)]
    #[arg(value_parser = whole::<u32>(1, None), allow_negative_numbers = true)]
    max_answer_len: u32,

    /// Tokens of a window over a long context [default: 384]
    ///
    /// They include the question and the special tokens. The default is less for a model that takes fewer tokens.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(1, None))]
    max_seq_len: Option<u32>,

    /// Tokens of the context that consecutive windows share [default: 128]
    ///
    /// The default is half a window if that is less.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(0, None))]
    doc_stride: Option<u32>,

    /// Allow "no answer" as an answer
    ///
    /// For models that were trained on unanswerable questions, as those of SQuAD 2.
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
    /// None if all questions share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

impl FromLine for QuestionLine {
    const FIELDS: &'static [&'static str] = &["question", "context"];

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
            start: answer.characters.start,
            end: answer.characters.end,
            answer: &answer.answer,
        }
    }
}

/// What `--jsonl` adds to a question.
#[derive(Serialize)]
struct Answers<'a> {
    #[serde(flatten)]
    best: Option<AnswerRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<AnswerRecord<'a>>>,
}

struct AnswerCommand {
    task: Answerer,
    options: AnswerOptions,
    /// The context of questions without their own.
    context: String,
}

impl AnswerCommand {
    fn context<'t>(&'t self, input: &'t QuestionLine) -> &'t str {
        input.context.as_ref().unwrap_or(&self.context)
    }
}

impl Command for AnswerCommand {
    answers_with!(Answerer, AnswerOptions);
    type Input = QuestionLine;

    fn input<'t>(&'t self, input: &'t QuestionLine) -> Question<'t> {
        (&input.question, self.context(input)).into()
    }

    fn show(
        &self,
        out: &mut impl Screen,
        input: &QuestionLine,
        answers: &Vec<Answer>,
    ) -> Result<()> {
        writeln!(out, "{}", visible(&input.question))?;
        let context = self.context(input);
        let shown: Vec<[String; 3]> = answers
            .iter()
            .map(|answer| in_context(context, &answer.bytes))
            .collect();
        let widths = shown.iter().map(|[before, ..]| before.width());
        let width = widths.max().unwrap_or(0);
        for (answer, [before, text, after]) in answers.iter().zip(&shown) {
            write!(out, "  {}  ", percent(answer.score))?;
            if answer.answer.is_empty() {
                out.paint(FAINT, "(no answer)")?;
            } else {
                let blanks = " ".repeat(width - before.width());
                write!(out, "{blanks}{before}[")?;
                out.paint(FOUND, text)?;
                write!(out, "]{}", after.trim_end())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn json(&self, _: &Self::Input, answers: &Vec<Answer>) -> impl Serialize {
        Unwrapped::new(answers.iter().map(AnswerRecord::from).collect())
    }

    fn columns(&self) -> Vec<&'static str> {
        let best = ["score", "start", "end", "answer"].into_iter();
        best.chain((self.options.top_k > 1).then_some("answers"))
            .collect()
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

pub(super) fn run(args: &AnswerArgs) -> Result<Ended> {
    let format = Format::new(args.json, args.jsonl);
    let context = match (&args.context, &args.context_file) {
        (Some(context), _) => Some(context.clone()),
        (None, Some(path)) => Some(texts::read(path, MAX_CONTEXT)?),
        (None, None) if args.input.has_fields(format)? => None,
        (None, None) => bail!(
            "no context to find the answers in: pass --context or --context-file, or give each question its own, in JSON \
             lines (--jsonl)"
        ),
    };
    ensure!(
        context.as_ref().is_none_or(|context| !context.is_empty()),
        "the context is empty"
    );
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let task = located.task(Answerer::new(session))?;
    let options = options!(AnswerOptions {
        top_k: args.top_k as usize,
        max_answer_len: args.max_answer_len as usize,
        max_seq_len: args.max_seq_len.map(|n| n as usize),
        doc_stride: args.doc_stride.map(|n| n as usize),
        handle_impossible_answer: args.no_answer,
        align_to_words: !args.no_align,
    });
    let command = AnswerCommand {
        task,
        options,
        context: context.unwrap_or_default(),
    };
    records::run(command, texts, format, &located, &args.output)
}

/// An answer, which these bytes are, with the context before and after it, in one line.
fn in_context(context: &str, answer: &Range<usize>) -> [String; 3] {
    let (before, after) = (&context[..answer.start], &context[answer.end..]);
    let from = before.len() - end_of(before.graphemes(true).rev(), AROUND);
    let to = end_of(after.graphemes(true), AROUND);
    let dots = |cut: bool| if cut { "..." } else { "" };
    [
        format!("{}{}", dots(from > 0), &before[from..]),
        context[answer.clone()].to_owned(),
        format!("{}{}", &after[..to], dots(to < after.len())),
    ]
    .map(|part| visible(&part.replace(['\n', '\r', '\t'], " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_their_context() {
        let shown = |context: &str, answer: &str| {
            let start = context.find(answer).unwrap();
            in_context(context, &(start..start + answer.len())).join("|")
        };
        assert_eq!(shown("a\nbé c", "bé"), "a |bé| c");
        assert_eq!(shown("b", "b"), "|b|");
        let (dots, a) = ("...", "é".repeat(AROUND));
        assert_eq!(shown(&format!("{a}b{a}"), "b"), format!("{a}|b|{a}"));
        assert_eq!(
            shown(&format!("é{a}b{a}é"), "b"),
            format!("{dots}{a}|b|{a}{dots}")
        );
        // Wide characters take two columns, and no character is divided.
        let half = "猫".repeat(AROUND / 2);
        assert_eq!(
            shown(&format!("猫{half}b{half}猫"), "b"),
            format!("{dots}{half}|b|{half}{dots}")
        );
    }
}
