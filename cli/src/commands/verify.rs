//! `rq verify`

use crate::Ended;
use crate::advice::message;
use crate::console::{self, say};
use crate::{human, locate};
use anyhow::Result;
use clap::Args;
use std::io::Write;

#[derive(Args)]
#[command(
    after_help = "The exit code is 0 for a sound file, 1 for one that is damaged or no model, and 2 if it can't be read."
)]
pub(super) struct VerifyArgs {
    /// Model file, or name of a converted model
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// The exit code is 1 if the file isn't sound.
pub(super) fn run(args: &VerifyArgs) -> Result<Ended> {
    let path = locate::find(&args.file)?;
    let verified = locate::open_file(&path).and_then(|model| {
        let verified = model.file().verify();
        verified.map_err(|error| locate::damaged(error, &path))
    });
    let report = match verified {
        Err(error) if error.is::<locate::Unsound>() => {
            say(message(&error));
            return Ok(Ended::Failure);
        }
        verified => verified?,
    };
    writeln!(
        console::output(),
        "{}: sound: {} tensors, {}, fingerprint {:016x}",
        path.display(),
        report.tensors,
        human::size(report.bytes),
        report.fingerprint
    )?;
    Ok(Ended::Success)
}
