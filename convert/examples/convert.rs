//! Converts a model and prints the summary, without the command line of `rq`:
//!
//!     cargo run --release -p rq-convert --example convert -- SOURCE OUTPUT q8|q4|q4m [THREADS]

use rq_convert::{Calibrate, ConvertOptions, HubCache, NoProgress, Quant, Source, convert_source};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, output, quant, threads @ ..] = &arguments[..] else {
        return Err("usage: convert SOURCE OUTPUT q8|q4|q4m [THREADS]".into());
    };
    let quant = Quant::ALL.into_iter().find(|q| q.name() == quant);
    let options = ConvertOptions {
        quant: quant.ok_or("the recipes are q8, q4 and q4m")?,
        threads: threads.first().map_or(Ok(0), |t| t.parse())?,
        calibration: Calibrate::Never,
        head: None,
    };
    let source = Source::find(source, &HubCache::from_env())?;
    let summary = convert_source(&source, Path::new(output), &options, &NoProgress)?;
    for kind in &summary.kinds {
        println!(
            "{:26} {:4} {:4} tensors {:11} weights {:11} bytes, relative error {:.4}",
            kind.kind,
            kind.format.name(),
            kind.tensors,
            kind.weights,
            kind.bytes,
            kind.relative_error
        );
    }
    println!("not needed: {}", summary.ignored.join(", "));
    println!(
        "{}: {} bytes of {}, {:.3} bits a weight, {:.1} s",
        summary.output.display(),
        summary.bytes,
        summary.source_bytes,
        summary.bits_per_weight(),
        summary.elapsed.as_secs_f64()
    );
    Ok(())
}
