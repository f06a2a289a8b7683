//! The same bits on every instruction set, number of threads, and batch.

mod common;

use common::{goldens, model};
use rq::{Batch, Isa, Model, Rows, Session, SessionOptions};
use rq_convert::Quant;

fn available() -> Vec<Isa> {
    Isa::ALL
        .into_iter()
        .filter(|&isa| rq_kernels::kernels::kernels(isa).is_ok())
        .collect()
}

fn session(model: &Model, isa: Isa, threads: usize) -> Session<'_> {
    Session::new(
        model,
        &SessionOptions {
            isa: Some(isa),
            threads: Some(threads),
        },
    )
    .unwrap()
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
    all.push(vec![model.config().mask_token_id]);
    all.push(
        (0..longest as u32)
            .map(|i| 5 + i * 7 % (model.config().vocab_size as u32 - 5))
            .collect(),
    );
    all
}

#[test]
fn one_answer_everywhere() {
    for (name, quant) in [
        ("demo-model", Quant::Q8),
        ("demo-model", Quant::Q4),
        ("sapiens-vh", Quant::Q8),
        ("sapiens-vh", Quant::Q4),
    ] {
        let model = model(name, quant);
        let sequences = sequences(name, &model);
        let mut oracle = session(&model, Isa::Scalar, 2);
        let alone: Vec<Vec<u32>> = sequences
            .iter()
            .map(|ids| {
                bits(
                    &oracle
                        .hidden_states(&Batch::from_iter([ids]), Rows::All)
                        .unwrap(),
                )
            })
            .collect();
        let together = Batch::from_iter(&sequences);
        for isa in available() {
            for threads in [1, 2, 4] {
                let mut session = session(&model, isa, threads);
                let hidden = bits(&session.hidden_states(&together, Rows::All).unwrap());
                assert!(
                    hidden == alone.concat(),
                    "{name} {quant:?}: batch, {isa}, {threads} threads"
                );
                if isa != Isa::Scalar {
                    for (ids, expected) in sequences.iter().zip(&alone) {
                        let hidden = session
                            .hidden_states(&Batch::from_iter([ids]), Rows::All)
                            .unwrap();
                        assert!(
                            bits(&hidden) == *expected,
                            "{name} {quant:?}: alone, {isa}, {threads} threads"
                        );
                    }
                }
            }
        }
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
