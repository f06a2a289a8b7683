//! The command `rq`: this file is the policy for errors and exit codes; `cli` is the program.
//!
//! Exit codes: 0; 1 where a check fails (`verify`, `eval`), or lines of an input couldn't be processed (`fill`, `score`,
//! `answer`); 2 on an error. A reader that closes the pipe early is no error. An error is one line on standard error, whatever
//! its causes say.

mod answer;
mod bench;
mod classify;
mod convert;
mod cpu;
mod embed;
mod eval;
mod fill;
mod info;
mod joint;
mod locate;
mod npy;
mod records;
mod rerank;
mod score;
mod similar;
mod tag;
mod task;
mod texts;
mod verify;
mod zero_shot;

use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, value_parser};
use rq::format::discard_unfinished;
use rq::{ISA_VARIABLE, Isa, Model, Session, SessionOptions};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The most threads that `--threads` takes: far beyond what helps, and far below what a system refuses.
const MAX_THREADS: i64 = 1024;

/// The exit status after an interrupt: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// RoBERTa on a device: one quantized file, the same answers on every processor.
#[derive(Parser)]
#[command(
    name = "rq",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find the answers to questions in a text
    Answer(answer::AnswerArgs),
    /// Measure how fast a model is on this machine, beside the fastest that it could be
    Bench(bench::BenchArgs),
    /// Classify texts or pairs of texts, by the model's labels or your own, or rank passages
    Classify(classify::ClassifyArgs),
    /// Convert a checkpoint into one quantized file
    Convert(convert::ConvertArgs),
    /// Make embeddings of texts
    Embed(embed::EmbedArgs),
    /// Compare a model file with the checkpoint that it was converted from
    Eval(eval::EvalArgs),
    /// Fill the masks of a text with the most probable tokens
    Fill(fill::FillArgs),
    /// Show what a model file holds, or what this processor offers
    Info(info::InfoArgs),
    /// Score texts: how probable a masked language model finds them
    Score(score::ScoreArgs),
    /// Compare texts by their embeddings, or rank lines by how similar they are to a text
    Similar(similar::SimilarArgs),
    /// Find the names and other entities of a text
    Tag(tag::TagArgs),
    /// Check every byte of a model file
    Verify(verify::VerifyArgs),
}

/// How to compute.
#[derive(Args)]
struct ComputeArgs {
    /// Threads to compute with [default: as many as there are processors]
    ///
    /// The answer doesn't depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = value_parser!(u16).range(1..=MAX_THREADS))]
    threads: Option<u16>,

    /// Instruction set to compute with [default: the best that this machine has]
    ///
    /// The answer doesn't depend on it. The environment variable RQ_ISA does the same.
    #[arg(long, value_name = "NAME", value_parser = isa_parser())]
    isa: Option<Isa>,
}

impl ComputeArgs {
    fn session<'m>(&self, model: &'m Model) -> Result<Session<'m>> {
        let options = SessionOptions {
            threads: self.threads.map(usize::from),
            isa: self.isa,
        };
        blame_variable(self.isa, Session::new(model, &options))
    }
}

/// Takes the names of instruction sets.
fn isa_parser() -> impl TypedValueParser<Value = Isa> {
    PossibleValuesParser::new(Isa::ALL.map(Isa::name)).try_map(|name| name.parse::<Isa>())
}

/// Says so of an error that may come from the environment's choice of an instruction set.
fn blame_variable<T>(flag: Option<Isa>, result: Result<T, rq::Error>) -> Result<T> {
    match std::env::var(ISA_VARIABLE) {
        Ok(name) if flag.is_none() && !name.is_empty() => {
            result.with_context(|| format!("{ISA_VARIABLE}={name}"))
        }
        _ => Ok(result?),
    }
}

/// Parses the arguments and runs the command.
fn run() -> Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                e.print()?;
                return Ok(ExitCode::SUCCESS);
            }
            // Without any argument, the help is what's wanted.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Cli::command().print_help()?;
                return Ok(ExitCode::SUCCESS);
            }
            _ => anyhow::bail!(one_line(&e.render().to_string())),
        },
    };
    match cli.command {
        Command::Answer(args) => return answer::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Classify(args) => return classify::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Embed(args) => return embed::run(&args),
        Command::Eval(args) => return eval::run(&args),
        Command::Fill(args) => return fill::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Score(args) => return score::run(&args),
        Command::Similar(args) => return similar::run(&args),
        Command::Tag(args) => return tag::run(&args),
        Command::Verify(args) => return verify::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Lets an interrupt end the process with 130, as shells have it, and leave nothing of a new file behind.
fn discard_when_interrupted(before: impl Fn() + Send + 'static) {
    // It is refused where the parent had a signal ignored, as `nohup` does; then all stay as they are.
    let _ = ctrlc::try_set_handler(move || {
        // Held until the end, so that in between no file is begun or moved into its place.
        let _discarded = discard_unfinished();
        before();
        say("interrupted");
        std::process::exit(INTERRUPTED);
    });
}

/// A line on standard error. That nobody reads it is no error.
pub(crate) fn say(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "rq: {message}");
}

/// An error, in one line.
fn report(error: &anyhow::Error) {
    say(message(error));
}

/// An error with its causes, in one line.
fn message(error: &anyhow::Error) -> String {
    let message = format!("{error:#}");
    message.lines().collect::<Vec<_>>().join(" ")
}

/// What clap has to say about the arguments, without the usage, which `--help` gives.
fn one_line(message: &str) -> String {
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts: Vec<String> = message
        .trim_start_matches("error: ")
        .split("\n\n")
        .filter(|part| !part.starts_with("Usage: ") && !part.starts_with("For more information"))
        .map(words)
        .collect();
    parts.push("see --help".to_owned());
    parts.join("; ")
}

/// A number of bytes for a person: decimal units, as file managers count.
fn human_size(bytes: u64) -> String {
    match bytes {
        ..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_refused_in_one_line() {
        let clap = "error: invalid value 'q5' for '--quant <QUANT>'\n  [possible values: q8, q4]\n\n  tip: a similar value \
                    exists: 'q4'\n\nUsage: rq convert <SOURCE>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            one_line(clap),
            "invalid value 'q5' for '--quant <QUANT>' [possible values: q8, q4]; tip: a similar value exists: 'q4'; see \
             --help"
        );
    }
}
