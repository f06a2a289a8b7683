//! Times passes through a model's encoder on request, in one process: rq's side of `benches/peers`.
//!
//!     cargo run --release -p rq-runtime --example passes -- MODEL.rq THREADS
//!
//! Each line of standard input is a request, answered by a line before the next is read; the first line out says what is ready.
//!
//!     {"isa":"avx2","version":"0.1.0"}
//!     {"ids": [[0, 1045, 2], [0, 2]], "passes": 3, "out": "states.f32"}
//!     {"ms":[1.9,1.8,1.8]}
//!
//! `ids` are the sequences of one batch. `out`, if there is one, gets the last hidden states, token after token, as
//! little-endian f32.

use rq::{Batch, Model, Rows, Session, SessionOptions};
use serde::Deserialize;
use serde_json::json;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ids: Vec<Vec<u32>>,
    passes: usize,
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("passes: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [model, threads] = arguments else {
        return Err("usage: passes MODEL.rq THREADS".into());
    };
    let mut options = SessionOptions::default();
    options.threads = Some(threads.parse()?);
    let mut session = Session::new(Model::open(model)?, &options)?;
    let mut out = std::io::stdout().lock();
    let ready = json!({"isa": session.isa().name(), "version": env!("CARGO_PKG_VERSION")});
    writeln!(out, "{ready}")?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let batch = Batch::from_iter(&request.ids);
        let mut ms = Vec::with_capacity(request.passes);
        let mut states = Vec::new();
        for _ in 0..request.passes {
            let start = Instant::now();
            states = session.hidden_states(&batch, Rows::All)?;
            ms.push(1e3 * start.elapsed().as_secs_f64());
        }
        if let Some(path) = request.out {
            let bytes: Vec<u8> = states.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(path, bytes)?;
        }
        writeln!(out, "{}", json!({"ms": ms}))?;
    }
    Ok(())
}
