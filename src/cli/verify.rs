//! `rq verify`

use super::{locate, megabytes};
use anyhow::{Context, Result};
use clap::Args;
use rq::Model;
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
    let model = Model::open(&path).with_context(|| place.to_string())?;
    let report = model.file().verify().with_context(|| place.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{place}: sound: {} tensors, {}, fingerprint {:016x}",
        report.tensors,
        megabytes(report.bytes),
        report.fingerprint
    )?;
    Ok(())
}
