//! `rq completions` and `rq man`: what a shell and a package need of the command line.

use super::Cli;
use crate::Ended;
use crate::console::say;
use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq completions bash > ~/.local/share/bash-completion/completions/rq\n  rq completions zsh > ~/.zfunc/_rq\n  rq completions fish > ~/.config/fish/completions/rq.fish"
)]
pub(super) struct CompletionsArgs {
    /// Shell whose script is printed
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// Directory to write rq.1, rq-fill.1 and so on into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<Ended> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rq", &mut script);
    // A script has tabs, which are for its shell.
    let mut out = std::io::stdout().lock();
    out.write_all(&script)
        .and_then(|()| out.flush())
        .context("can't write to standard output")?;
    Ok(Ended::Success)
}

pub(super) fn man(args: &ManArgs) -> Result<Ended> {
    let directory = args.out.display();
    std::fs::create_dir_all(&args.out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.out))
        .with_context(|| format!("can't write the pages into {directory}"))?;
    say(format_args!("man pages are in {directory}"));
    Ok(Ended::Success)
}
