//! The same bits on every instruction set, number of threads, and batch.

use crate::common::{self, MODELS, converted, goldens, model, tests_path};
use rq::{
    Batch, FillMask, FillOptions, ISA_VARIABLE, Isa, Model, Rows, Session, SessionOptions, Task,
};
use rq_convert::Quant;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The instruction sets of this machine, or the one that `RQ_ISA` forces.
pub(crate) fn available() -> Vec<Isa> {
    if std::env::var_os(ISA_VARIABLE).is_some_and(|name| !name.is_empty()) {
        return vec![SessionOptions::default().chosen_isa().unwrap()];
    }
    Isa::ALL
        .into_iter()
        .filter(|&isa| rq_kernels::kernels::kernels(isa).is_ok())
        .collect()
}

fn session(model: &Arc<Model>, isa: Isa, threads: usize) -> Session {
    common::session_on(model, isa, threads).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Sequences of many lengths, 1 token and the longest among them.
fn sequences(name: &str, model: &Model) -> Vec<Vec<u32>> {
    let (goldens, _) = goldens(name);
    let mut all: Vec<Vec<u32>> = goldens
        .cases
        .iter()
        .take(64)
        .step_by(7)
        .map(|case| case.ids.clone())
        .collect();
    let longest = model.config().max_tokens();
    all.push(vec![model.config().mask_token_id.unwrap()]);
    all.push(
        (0..longest as u32)
            .map(|i| 5 + i * 7 % (model.config().vocab_size as u32 - 5))
            .collect(),
    );
    all
}

/// What a model answers, to the bit: SHA-256 of the little-endian floats, and a few of them to look at.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    file: String,
    hidden: String,
    logits: String,
    first_hidden: [f32; 4],
    first_logits: [f32; 4],
    /// Ids and probabilities for the first mask of the first text.
    top: Vec<(u32, f32)>,
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

impl Golden {
    /// What a session says to all sequences in one batch.
    fn new(file: &str, text: &str, batch: &Batch, session: &mut Session) -> Self {
        let mask = session.model().config().mask_token_id;
        let masks: Vec<usize> = (0..batch.ids().len())
            .filter(|&row| Some(batch.ids()[row]) == mask)
            .collect();
        let hidden = session.hidden_states(batch, Rows::All).unwrap();
        let logits = session.logits(batch, Rows::Only(&masks)).unwrap();
        let fills = FillMask::new(session)
            .unwrap()
            .run_one(text, &FillOptions::default())
            .unwrap();
        Self {
            file: file.to_owned(),
            hidden: sha256(bytemuck::cast_slice(&hidden)),
            logits: sha256(bytemuck::cast_slice(&logits)),
            first_hidden: hidden[..4].try_into().unwrap(),
            first_logits: logits[..4].try_into().unwrap(),
            top: fills[0]
                .iter()
                .map(|fill| (fill.token, fill.score))
                .collect(),
        }
    }
}

/// One golden for all. `UPDATE_GOLDENS=1` writes it anew: a change of bits is a decision, to be written down.
#[test]
fn one_answer_everywhere() {
    let path = tests_path("goldens/bits.json");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut goldens: BTreeMap<String, Golden> = match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).unwrap(),
        Err(_) => BTreeMap::new(),
    };
    for name in MODELS {
        for quant in Quant::ALL {
            let key = format!("{name} {}", quant.name());
            let directory = tempfile::tempdir().unwrap();
            let bytes = std::fs::read(converted(name, quant, directory.path())).unwrap();
            let file = sha256(&bytes);
            let model = Arc::new(Model::from_bytes(bytes).unwrap());
            let sequences = sequences(name, &model);
            let together = Batch::from_iter(&sequences);
            let text = &common::goldens(name).0.cases[0].text;
            if update {
                let mut oracle = session(&model, Isa::Scalar, 1);
                goldens.insert(
                    key.clone(),
                    Golden::new(&file, text, &together, &mut oracle),
                );
            }
            let golden = &goldens[&key];
            for isa in available() {
                for threads in [1, 2, 4] {
                    let mut session = session(&model, isa, threads);
                    let batch = Golden::new(&file, text, &together, &mut session);
                    assert_eq!(
                        batch, *golden,
                        "{key}: in a batch, {isa}, {threads} threads"
                    );
                    let alone: Vec<f32> = sequences
                        .iter()
                        .flat_map(|ids| {
                            session
                                .hidden_states(&Batch::from_iter([ids]), Rows::All)
                                .unwrap()
                        })
                        .collect();
                    let alone = sha256(bytemuck::cast_slice(&alone));
                    assert_eq!(
                        alone, golden.hidden,
                        "{key}: alone, {isa}, {threads} threads"
                    );
                }
            }
        }
    }
    if update {
        std::fs::write(
            &path,
            serde_json::to_string_pretty(&goldens).unwrap() + "\n",
        )
        .unwrap();
    }
}

/// Only the wanted rows go through the last layer; they are the rows that all would give.
#[test]
fn wanted_rows_are_the_same_rows() {
    let model = model("demo-model", Quant::Q8);
    let batch = Batch::from_iter(&sequences("demo-model", &model));
    let wanted: Vec<usize> = (0..batch.ids().len()).filter(|row| row % 5 == 3).collect();
    let vocab_size = model.config().vocab_size;
    let mut oracle = session(&model, Isa::Scalar, 2);
    let all = oracle.logits(&batch, Rows::All).unwrap();
    let expected: Vec<u32> = wanted
        .iter()
        .flat_map(|&row| bits(&all[row * vocab_size..(row + 1) * vocab_size]))
        .collect();
    for isa in available() {
        for threads in [1, 2, 4] {
            let logits = session(&model, isa, threads)
                .logits(&batch, Rows::Only(&wanted))
                .unwrap();
            assert!(bits(&logits) == expected, "{isa}, {threads} threads");
        }
    }
}
