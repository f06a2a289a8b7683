//! `rq info --cpu`: the instruction sets that are compiled in and detected, and the one that is used.

use crate::Ended;
use crate::args::blame_variable;
use crate::console;
use crate::records::json_line;
use anyhow::Result;
use rq::{Isa, SessionOptions};
use rq_kernels::kernels::features;
use rq_kernels::threads::processors;
use serde::Serialize;
use std::io::Write;

/// The object of `--json`.
#[derive(Serialize)]
struct Cpu {
    architecture: &'static str,
    system: &'static str,
    threads: usize,
    /// The instruction set that is used.
    chosen: &'static str,
    instruction_sets: Vec<InstructionSet>,
}

#[derive(Serialize)]
struct InstructionSet {
    name: &'static str,
    compiled: bool,
    detected: bool,
    /// What the kernels need. Unknown if they aren't compiled in.
    features: Vec<Feature>,
}

#[derive(Serialize)]
struct Feature {
    name: &'static str,
    detected: bool,
}

impl InstructionSet {
    fn new(isa: Isa) -> Self {
        let features = features(isa);
        let compiled = features.is_ok();
        let features: Vec<Feature> = features
            .unwrap_or_default()
            .into_iter()
            .map(|(name, detected)| Feature { name, detected })
            .collect();
        Self {
            name: isa.name(),
            compiled,
            detected: compiled && features.iter().all(|feature| feature.detected),
            features,
        }
    }

    fn names(&self, detected: bool) -> String {
        let names = self.features.iter().filter(|f| f.detected == detected);
        names.map(|f| f.name).collect::<Vec<_>>().join(", ")
    }

    /// Its state in words.
    fn state(&self) -> String {
        match (self.compiled, self.detected) {
            (false, _) => "not in this build: for another processor architecture".to_owned(),
            (true, false) => format!("compiled in; not detected: {}", self.names(false)),
            (true, true) if self.features.is_empty() => "compiled in; runs anywhere".to_owned(),
            (true, true) => format!("compiled in; detected: {}", self.names(true)),
        }
    }
}

pub(super) fn run(json: bool) -> Result<Ended> {
    let chosen = blame_variable(None, SessionOptions::default().chosen_isa())?;
    let cpu = Cpu {
        architecture: std::env::consts::ARCH,
        system: std::env::consts::OS,
        threads: processors(),
        chosen: chosen.name(),
        instruction_sets: Isa::ALL.map(InstructionSet::new).into(),
    };
    let mut out = console::output();
    if json {
        json_line(&mut out, &cpu)?;
        return Ok(Ended::Success);
    }
    writeln!(
        out,
        "processor      {}, {}, {} threads\nchosen         {}\n",
        cpu.architecture, cpu.system, cpu.threads, cpu.chosen
    )?;
    for isa in &cpu.instruction_sets {
        writeln!(out, "{:<14} {}", isa.name, isa.state())?;
    }
    Ok(Ended::Success)
}
