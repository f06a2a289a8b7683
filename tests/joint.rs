//! Several masks filled together, and targets of several tokens, against the chain rule of transformers' model in fp32:
//! `goldens/tasks/fill_joint.json`.

use crate::common::{self, model, options, session, session_on};
use rq::{
    Error, FillMask, FillOptions, Filling, JointFill, JointOptions, TargetFill, TargetOptions,
    Targets, Task, WholeTargets,
};
use rq_convert::Quant;
use serde::Deserialize;

/// How far the logarithm of a token's probability may be from that of fp32, in nats: measured, and rounded up.
const TOLERANCE: f64 = 0.25;
/// Combinations whose logarithms are nearer to each other than this may change places: a tie.
const MARGIN: f64 = 0.15;

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Golden {
    Joint {
        text: String,
        ids: Vec<u32>,
        mask_positions: Vec<usize>,
        without_special_tokens: bool,
        candidates: Vec<Vec<u32>>,
        chain: Vec<Chain>,
        best: Option<Vec<Best>>,
    },
    Target {
        text: String,
        target: String,
        target_ids: Vec<u32>,
        log_probabilities: Vec<f64>,
        total: f64,
    },
}

#[derive(Debug, Deserialize)]
struct Chain {
    tokens: Vec<u32>,
    log_probabilities: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Best {
    tokens: Vec<u32>,
    log_probability: f64,
}

fn goldens() -> Vec<Golden> {
    common::cases("tasks/fill_joint.json")
}

fn tokens(filling: &Filling) -> Vec<u32> {
    filling.tokens.iter().map(|token| token.token).collect()
}

fn check(filling: &Filling, expected: &[f64]) {
    let total: f64 = expected.iter().sum();
    assert!(
        (filling.score - total.exp()).abs() <= 0.02,
        "{total}: {filling:?}"
    );
    for (token, expected) in filling.tokens.iter().zip(expected) {
        let difference = (token.log_probability - expected).abs();
        assert!(difference <= TOLERANCE, "{expected}: {filling:?}");
    }
    let logs = filling.tokens.iter().map(|token| token.log_probability);
    assert_eq!(filling.log_probability, logs.fold(0.0, |sum, x| sum + x));
    assert!((filling.score.ln() - filling.log_probability).abs() < 1e-9);
}

/// With a beam that keeps all there is, each combination has the probability that the chain rule gives it.
#[test]
fn combinations_have_the_probabilities_of_the_chain_rule() {
    let model = model("demo-model", Quant::Q8);
    let mut task = JointFill::new(session(&model)).unwrap();
    let mut compared = 0;
    for golden in goldens() {
        let Golden::Joint {
            text,
            ids,
            mask_positions,
            without_special_tokens,
            candidates,
            chain,
            ..
        } = golden
        else {
            continue;
        };
        // Targets are for all masks alike: those of each golden, and more.
        let entries: Vec<String> = candidates
            .iter()
            .flatten()
            .map(|&id| model.tokenizer().id_to_token(id).unwrap())
            .collect();
        let (targets, _) = Targets::resolve(model.tokenizer(), &entries).unwrap();
        let options = options!(JointOptions {
            top_k: 20 * 20 * 20,
            targets: Some(targets),
            exclude_special: without_special_tokens,
        });
        let fillings = task.run_one(&*text, &options).unwrap();
        assert!(fillings.is_sorted_by(|a, b| a.log_probability >= b.log_probability));
        for golden in &chain {
            let found = fillings.iter().find(|f| tokens(f) == golden.tokens);
            let found = found.unwrap();
            check(found, &golden.log_probabilities);
            let mut filled = ids.clone();
            for (&mask, &token) in mask_positions.iter().zip(&golden.tokens) {
                filled[mask] = token;
            }
            assert_eq!(
                found.sequence,
                model.tokenizer().decode(&filled, true).unwrap()
            );
            compared += 1;
        }
    }
    println!("{compared} combinations");
    assert!(compared > 1000);
}

/// The beam of the default width finds the best combinations, which an exact search has found.
#[test]
fn the_best_combinations_are_found() {
    let model = model("demo-model", Quant::Q8);
    let mut task = JointFill::new(session(&model)).unwrap();
    for golden in goldens() {
        let Golden::Joint {
            text,
            without_special_tokens,
            best: Some(best),
            ..
        } = golden
        else {
            continue;
        };
        let options = options!(JointOptions {
            top_k: best.len(),
            exclude_special: without_special_tokens,
        });
        let found = task.run_one(&*text, &options).unwrap();
        for (i, golden) in best.iter().enumerate() {
            if tokens(&found[i]) == golden.tokens {
                continue;
            }
            // It changed places with one that is as good, or with one that is as good as the last.
            let mut others = best.iter().enumerate().filter(|(j, _)| *j != i);
            let near = |(_, other): (usize, &Best)| {
                (other.log_probability - golden.log_probability).abs() < MARGIN
            };
            let last = i + 1 == best.len();
            assert!(last || others.any(near), "{text}: {golden:?}");
            let difference = (found[i].log_probability - golden.log_probability).abs();
            assert!(difference < TOLERANCE, "{text}: {golden:?}");
        }
    }
}

#[test]
fn targets_of_several_tokens_have_the_probabilities_of_the_chain_rule() {
    let model = model("demo-model", Quant::Q8);
    let mut task = TargetFill::new(session(&model)).unwrap();
    let mut compared = 0;
    for golden in goldens() {
        let Golden::Target {
            text,
            target,
            target_ids,
            log_probabilities,
            total,
        } = golden
        else {
            continue;
        };
        // The others are there to be told apart.
        let all = [" garden", &*target, " railway garden", &*target];
        let (targets, warnings) = WholeTargets::resolve(model.tokenizer(), &all).unwrap();
        assert!(warnings.is_empty());
        let options = options!(TargetOptions { targets });
        let masks = task.run_one(&*text, &options).unwrap();
        assert_eq!(masks.len(), text.matches("<mask>").count());
        assert_eq!(masks[0].len(), all.len());
        let found = masks[0].iter().find(|found| found.target == target);
        let found = &found.unwrap().filling;
        assert_eq!(tokens(found), target_ids);
        check(found, &log_probabilities);
        assert!((found.log_probability - total).abs() < TOLERANCE * target_ids.len() as f64);
        if masks.len() == 1 {
            assert_eq!(
                found.sequence,
                text.replace(" <mask>", "<mask>").replace("<mask>", &target)
            );
        }
        compared += 1;
    }
    assert!(compared >= 10);
}

#[test]
fn one_mask_is_filled_as_by_fill_mask() {
    let mut session = session(&model("demo-model", Quant::Q8));
    let text = "She opened the <mask>.";
    let mut joint = JointFill::new(&mut session).unwrap();
    let joint = joint.run_one(text, &JointOptions::default());
    let mut fills = FillMask::new(session).unwrap();
    let fills = fills.run_one(text, &FillOptions::default());
    for (filling, fill) in joint.unwrap().iter().zip(&fills.unwrap()[0]) {
        assert_eq!(tokens(filling), [fill.token]);
        assert_eq!(filling.sequence, fill.sequence);
        assert!((filling.score - f64::from(fill.score)).abs() < 1e-6);
    }
}

#[test]
fn special_tokens_can_be_left_out() {
    let model = model("demo-model", Quant::Q8);
    let special = model.tokenizer().special_ids();
    assert_eq!(special, [0, 1, 2, 3, 4]);
    let mut task = FillMask::new(session(&model)).unwrap();
    let mut options = options!(FillOptions {
        top_k: model.config().vocab_size,
    });
    let text = "<mask>.";
    let all = task.run_one(text, &options).unwrap();
    options.exclude_special = true;
    let some = task.run_one(text, &options).unwrap();
    let mut all = all.into_iter().next().unwrap();
    let before = all.len();
    all.retain(|fill| !special.contains(&fill.token));
    assert_eq!(all.len(), before - special.len());
    assert_eq!(all, some[0]);
}

#[test]
fn a_batch_gives_the_bits_of_single_texts() {
    let model = model("demo-model", Quant::Q8);
    let mut session = session(&model);
    let texts: Vec<String> = goldens()
        .into_iter()
        .map(|golden| match golden {
            Golden::Joint { text, .. } | Golden::Target { text, .. } => text,
        })
        .collect();
    let all = || texts.iter().map(String::as_str);
    let options = JointOptions::default();
    let mut task = JointFill::new(&mut session).unwrap();
    let together = task.run(all(), &options).unwrap();
    for (text, together) in texts.iter().zip(together) {
        assert_eq!(task.run_one(&**text, &options).unwrap(), together);
    }
    let targets = [" railway station", " garden", " man"];
    let (targets, _) = WholeTargets::resolve(model.tokenizer(), &targets).unwrap();
    let options = options!(TargetOptions { targets });
    let mut task = TargetFill::new(session).unwrap();
    let together = task.run(all(), &options).unwrap();
    for (text, together) in texts.iter().zip(together) {
        assert_eq!(task.run_one(&**text, &options).unwrap(), together);
    }
}

#[test]
fn what_cannot_be_filled_is_refused() {
    let (small, large) = (
        model("sapiens-vh", Quant::Q8),
        model("demo-model", Quant::Q8),
    );
    let [mut of_small, mut of_large] =
        [&small, &large].map(|model| TargetFill::new(session(model)).unwrap());
    let none = TargetOptions::default();
    assert!(matches!(
        of_large.prepare("<mask>", &none),
        Err(Error::NoTargets)
    ));
    let resolve = |targets: &[&str]| WholeTargets::resolve(large.tokenizer(), targets);
    assert!(matches!(resolve(&[""]), Err(Error::NoTargets)));
    let (targets, warnings) = resolve(&["", " railway station"]).unwrap();
    assert_eq!(warnings.len(), 1);
    let mut options = options!(TargetOptions { targets });

    // One token more than there is room for.
    let text = format!("{}<mask>{}", "the ".repeat(60), " the".repeat(65));
    let tokens = large.tokenizer().ids(&text, true).unwrap().len();
    assert!(tokens <= 128, "{tokens}");
    let text = format!("{text}{}", " the".repeat(128 - tokens));
    let error = of_large.prepare(&text, &options);
    assert!(matches!(
        error,
        Err(Error::TooLong {
            tokens: 129,
            limit: 128
        })
    ));
    options.truncate = true;
    let masks = of_large.run_one(&*text, &options);
    assert!(
        masks.unwrap()[0][0]
            .filling
            .sequence
            .contains(" railway station the")
    );
    let at_the_end = format!("{}<mask>", "the ".repeat(125));
    let error = of_large.prepare(&at_the_end, &options);
    assert!(
        matches!(error, Err(Error::MaskTruncated { .. })),
        "{error:?}"
    );

    // Tokens of a larger vocabulary are an error, not an index out of bounds.
    let error = of_small.run_one("EV<mask>", &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
    let (targets, _) = Targets::resolve(large.tokenizer(), &["Ġgarden"]).unwrap();
    let joint = options!(JointOptions {
        targets: Some(targets),
    });
    let mut task = JointFill::new(session(&small)).unwrap();
    let error = task.run_one("EV<mask>", &joint);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
}

/// As they were on the machine where they were written down, on each instruction set that this one has.
#[test]
fn the_same_bits_everywhere() {
    let model = model("demo-model", Quant::Q8);
    for kernels in rq_kernels::kernels::detected() {
        let session = session_on(&model, kernels.isa(), 1).unwrap();
        let mut task = JointFill::new(session).unwrap();
        let text = "The <mask> sat on the <mask>.";
        let fillings = task.run_one(text, &JointOptions::default());
        let scores = fillings.unwrap().into_iter().map(|f| f.score.to_bits());
        assert_eq!(
            scores.collect::<Vec<_>>(),
            [
                0x3f68_38d7_7bd6_b538,
                0x3f5e_e51b_ba54_5b85,
                0x3f59_4996_8a31_7ecd,
                0x3f56_5030_48a5_a2e7,
                0x3f53_55cf_a07e_d8f9
            ],
            "{}",
            kernels.isa()
        );
    }
}
