//! The command line: its arguments, and one module a command.

mod convert;
mod fill;
mod info;
mod locate;
mod verify;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rq::{Isa, SessionOptions};
use std::num::NonZeroUsize;

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
    /// Convert a checkpoint into one quantized file
    Convert(convert::ConvertArgs),
    /// Fill the masks of a text with the most probable tokens
    Fill(fill::FillArgs),
    /// Show what a model file holds
    Info(info::InfoArgs),
    /// Check every byte of a model file
    Verify(verify::VerifyArgs),
}

/// How to compute.
#[derive(Args)]
struct ComputeArgs {
    /// Threads to compute with [default: as many as there are processors]
    ///
    /// The answer doesn't depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Instruction set to compute with: scalar, avx2, avx512vnni [default: the best there is]
    ///
    /// The answer doesn't depend on it. The environment variable RQ_ISA does the same.
    #[arg(long, value_name = "NAME")]
    isa: Option<Isa>,
}

impl ComputeArgs {
    fn session_options(&self) -> SessionOptions {
        SessionOptions {
            threads: self.threads.map(NonZeroUsize::get),
            isa: self.isa,
        }
    }
}

/// Parses the arguments and runs the command.
pub(crate) fn run() -> Result<()> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() => {
            let text = e.render().to_string();
            anyhow::bail!(
                "{}",
                text.strip_prefix("error: ").unwrap_or(&text).trim_end()
            );
        }
        Err(e) => return Ok(e.print()?),
    };
    match cli.command {
        Command::Convert(args) => convert::run(&args),
        Command::Fill(args) => fill::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}

/// A number of bytes for a person: decimal units, as file managers count.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
