//! `rq verify`

use super::{human_size, locate};
use anyhow::Result;
use clap::Args;
use std::io::Write;

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Model file, or name of a converted model
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let path = locate::find(&args.file)?;
    let place = path.display();
    let model = locate::open_file(&path)?;
    let verified = model.file().verify();
    let report = verified.map_err(|error| locate::damaged(error, &path))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{place}: sound: {} tensors, {}, fingerprint {:016x}",
        report.tensors,
        human_size(report.bytes),
        report.fingerprint
    )?;
    Ok(())
}
