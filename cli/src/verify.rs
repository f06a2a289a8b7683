//! `rq verify`

use super::{human_size, locate};
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Model file, or name of a converted model
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// Exits with 1 where the file isn't sound.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let path = locate::find(&args.file)?;
    let place = path.display();
    let verified = locate::open_file(&path).and_then(|model| {
        let verified = model.file().verify();
        verified.map_err(|error| locate::damaged(error, &path))
    });
    let report = match verified {
        Err(error) if error.is::<locate::Unsound>() => {
            super::report(&error);
            return Ok(ExitCode::from(1));
        }
        verified => verified?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{place}: sound: {} tensors, {}, fingerprint {:016x}",
        report.tensors,
        human_size(report.bytes),
        report.fingerprint
    )?;
    Ok(ExitCode::SUCCESS)
}
