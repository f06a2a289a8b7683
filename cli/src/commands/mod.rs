//! The command line: one module for each command.

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
mod list;
mod packaging;
mod score;
mod similar;
mod tag;
mod verify;

use crate::Ended;
use crate::args::{Choice, one_of};
use crate::console;
use crate::elsewhere;
use crate::progress;
use anstream::ColorChoice;
use anyhow::{Result, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::sync::Mutex;

const COLOURS: &[Choice<ColorChoice>] = &[
    (
        "auto",
        ColorChoice::Auto,
        "On a terminal that has them (not with TERM=dumb), unless NO_COLOR is set",
    ),
    ("always", ColorChoice::Always, "Also into a file or a pipe"),
    ("never", ColorChoice::Never, "Plain text"),
];

/// Run RoBERTa and its family on a CPU, from one quantized file
#[derive(Parser)]
#[command(name = "rq", version, max_term_width = 100)]
struct Cli {
    /// Colours in what is shown to a person: auto, always or never
    ///
    /// auto means on a terminal that has them (not with TERM=dumb), unless the environment variable NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = one_of(COLOURS))]
    #[arg(hide_short_help = true, hide_possible_values = true)]
    color: ColorChoice,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer questions from a text
    Answer(answer::AnswerArgs),
    /// Measure a model's speed, and how close it comes to the limit of this machine
    Bench(bench::BenchArgs),
    /// Classify texts or pairs of texts by the model's labels or your own, or rank passages
    Classify(classify::ClassifyArgs),
    /// Print a script with which a shell completes commands and options
    Completions(packaging::CompletionsArgs),
    /// Convert checkpoints, each into one quantized file
    Convert(convert::ConvertArgs),
    /// Compute embeddings of texts
    Embed(embed::EmbedArgs),
    /// Compare a model file with the checkpoint it was converted from
    Eval(eval::EvalArgs),
    /// Fill the masks in a text with the most probable tokens
    Fill(fill::FillArgs),
    /// Show what a model file holds, or what this processor supports
    Info(info::InfoArgs),
    /// List the converted models
    List(list::ListArgs),
    /// Write manual pages, for a package
    #[command(hide = true)]
    Man(packaging::ManArgs),
    /// Score texts by how probable a masked language model finds them
    Score(score::ScoreArgs),
    /// Compare texts by their embeddings, or rank lines by their similarity to a text
    Similar(similar::SimilarArgs),
    /// Find names and other entities in texts
    Tag(tag::TagArgs),
    /// Check every byte of a model file
    Verify(verify::VerifyArgs),
    /// Print the version
    Version,
}

/// The arguments of this run.
static GIVEN: Mutex<Vec<OsString>> = Mutex::new(Vec::new());

/// Parses the arguments and runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<Ended> {
    let given = GIVEN.lock().map(|mut given| given.clone_from(&arguments));
    given.expect("nobody panics with the arguments");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                error.print()?;
                return Ok(Ended::Success);
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Cli::command().print_long_help()?;
                return Ok(Ended::Success);
            }
            _ => bail!(refusal(&error)),
        },
    };
    match cli.color {
        // anstream writes colours wherever the variable CI is set, whatever TERM says.
        ColorChoice::Auto if progress::is_dumb_terminal() => ColorChoice::Never,
        choice => choice,
    }
    .write_global();
    match cli.command {
        Command::Answer(args) => answer::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Completions(args) => packaging::completions(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Fill(args) => fill::run(&args),
        Command::Info(args) => info::run(&args),
        Command::List(args) => list::run(&args),
        Command::Man(args) => packaging::man(&args),
        Command::Score(args) => score::run(&args),
        Command::Similar(args) => similar::run(&args),
        Command::Tag(args) => tag::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Version => {
            let version = Cli::command().render_version();
            write!(console::output(), "{version}")?;
            Ok(Ended::Success)
        }
    }
}

/// What clap says of the arguments, in one line; of an option that other programs have, what it is called here.
fn refusal(error: &clap::Error) -> String {
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => Some(option),
        _ => None,
    };
    match unknown.and_then(|option| Some((option, elsewhere::advice(option)?))) {
        Some((option, advice)) => format!("there is no option {option}: {advice}"),
        None => one_line(&error.render().to_string()),
    }
}

/// The arguments again, and what they may be, for what tells two runs apart.
pub(crate) fn arguments() -> (clap::Command, clap::ArgMatches) {
    let given = GIVEN.lock().expect("nobody panics with the arguments");
    (Cli::command(), Cli::command().get_matches_from(&*given))
}

/// clap's message about the arguments, without the usage, which `--help` gives.
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
