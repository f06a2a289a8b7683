//! What the first answer of a new process takes, and what of it is spent where. Prints medians and the least, in ms.
//!
//!     cargo build --release --workspace --bins --examples && target/release/examples/first_answer MODEL.rq [RUNS]
//!
//! "answer" is from starting `rq fill --json` to its line, "exit" to its end. The indented stages are those of another
//! new process, which does the same by the library.

use rq::{Batch, FillMask, FillOptions, Model, Rows, Session, SessionOptions, Task};
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

const TEXT: &str = "The capital of France is <mask>, she said.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["--stages", model] => stages(model),
        [model] => runs(model, 15),
        [model, runs_] => runs_
            .parse()
            .map_err(Into::into)
            .and_then(|n| runs(model, n)),
        _ => Err("usage: first_answer MODEL.rq [RUNS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}

/// The stages of one process.
fn stages(model: &str) -> Result<(), Box<dyn Error>> {
    let mut clock = Instant::now();
    let mut stage = |name: &str| {
        println!("  {name}\t{}", clock.elapsed().as_secs_f64() * 1e3);
        clock = Instant::now();
    };
    let model = Arc::new(Model::open(model)?);
    stage("opening the file, the tokenizer");
    model.prefetch();
    stage("making the weights resident");
    let mut session = Session::new(Arc::clone(&model), &SessionOptions::default())?;
    stage("starting the threads");
    let ids = model.tokenizer().ids(TEXT, true)?;
    stage("the text's tokens");
    let batch: Batch = [&ids].into_iter().collect();
    let mask = ids
        .iter()
        .position(|&id| Some(id) == model.config().mask_token_id);
    session.logits(&batch, Rows::Only(&[mask.ok_or("no mask")?]))?;
    stage("encoder and head");
    session.logits(&batch, Rows::Only(&[mask.ok_or("no mask")?]))?;
    stage("encoder and head, once more");
    FillMask::new(&mut session)?.run_one(TEXT, &FillOptions::default())?;
    stage("a second answer, all of it");
    drop(session);
    drop(model);
    stage("giving all back");
    Ok(())
}

fn runs(model: &str, runs: usize) -> Result<(), Box<dyn Error>> {
    let itself = std::env::current_exe()?;
    let rq = itself
        .ancestors()
        .nth(2)
        .ok_or("no target directory")?
        .join("rq");
    let (mut names, mut times): (Vec<String>, Vec<Vec<f64>>) = Default::default();
    let mut take = |name: &str, ms: f64| match names.iter().position(|n| n == name) {
        Some(at) => times[at].push(ms),
        None => {
            names.push(name.into());
            times.push(vec![ms]);
        }
    };
    // The first run warms the page cache.
    for run in 0..=runs {
        let start = Instant::now();
        let mut child = Command::new(&rq)
            .args(["fill", "--json", "--model", model, TEXT])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("no output")?);
        out.read_line(&mut String::new())?;
        let answer = start.elapsed();
        out.read_to_end(&mut Vec::new())?;
        if !child.wait()?.success() {
            return Err("rq fill failed".into());
        }
        let exit = start.elapsed();
        let child = Command::new(&itself).args(["--stages", model]).output()?;
        if run == 0 {
            continue;
        }
        take("answer", answer.as_secs_f64() * 1e3);
        take("exit", exit.as_secs_f64() * 1e3);
        for line in String::from_utf8(child.stdout)?.lines() {
            let (name, ms) = line.split_once('\t').ok_or("no stage")?;
            take(name, ms.parse()?);
        }
    }
    for (name, times) in names.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!(
            "{name:34} {:7.2}  (least {:.2})",
            times[times.len() / 2],
            times[0]
        );
    }
    Ok(())
}
