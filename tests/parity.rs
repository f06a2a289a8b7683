//! How close the quantized models are to transformers in fp32. `cargo test --release -p rq-runtime --test all parity -- --nocapture` prints the
//! figures.

use crate::common::{
    MODELS, convert_to, cosine, goldens, model, options, session, tensor, tests_path,
};
use rq::{Batch, FillMask, FillOptions, Model, Rows, Session, SessionOptions, Task};
use rq_convert::Quant;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::json;

/// What a quantized model does on the goldens of its checkpoint.
#[derive(Debug)]
struct Parity {
    /// Of the last hidden states.
    mean_cosine: f64,
    worst_cosine: f64,
    /// Masks where the two best tokens of fp32 are further apart than 0.02, and how many of these have the same best.
    clear_masks: usize,
    clear_equal: usize,
    masks: usize,
    equal: usize,
    /// The largest difference of the best token's probability.
    worst_probability: f32,
}

fn parity(name: &str, quant: Quant) -> Parity {
    let model = model(name, quant);
    let mut session = session(&model);
    let (cases, bytes) = goldens(name);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let vocab_size = model.config().vocab_size;
    let mut cosines = Vec::new();
    let mut parity = Parity {
        mean_cosine: 0.0,
        worst_cosine: 1.0,
        clear_masks: 0,
        clear_equal: 0,
        masks: 0,
        equal: 0,
        worst_probability: 0.0,
    };
    for (i, case) in cases.cases.iter().enumerate() {
        let ids = model.tokenizer().encode(&case.text, false).unwrap().ids;
        assert_eq!(ids, case.ids, "{name}: {:?}", case.text);
        let batch = Batch::from_iter([&ids]);
        let masks = Rows::Only(&case.mask_positions);

        if case.hidden != "none" {
            let rows = if case.hidden == "all" {
                Rows::All
            } else {
                masks
            };
            let hidden = session.hidden_states(&batch, rows).unwrap();
            let (expected, width) = tensor(&tensors, &format!("hidden.{i}"));
            assert_eq!(hidden.len(), expected.len());
            cosines.extend(
                hidden
                    .chunks(width)
                    .zip(expected.chunks(width))
                    .map(|(a, b)| cosine(a, b)),
            );
        }

        let logits = session.logits(&batch, masks).unwrap();
        for (m, logits) in logits.chunks(vocab_size).enumerate() {
            let best = (0..vocab_size)
                .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                .unwrap();
            let sum: f32 = logits.iter().map(|x| (x - logits[best]).exp()).sum();
            let p = (logits[case.top1[m] as usize] - logits[best]).exp() / sum;
            parity.worst_probability = parity.worst_probability.max((p - case.p1[m]).abs());
            let equal = usize::from(best as u32 == case.top1[m]);
            parity.masks += 1;
            parity.equal += equal;
            if case.p1[m] - case.p2[m] > 0.02 {
                parity.clear_masks += 1;
                parity.clear_equal += equal;
            }
        }
    }
    parity.mean_cosine = cosines.iter().sum::<f64>() / cosines.len() as f64;
    parity.worst_cosine = cosines.into_iter().fold(1.0, f64::min);
    println!("{name} {quant:?}: {parity:?}");
    parity
}

#[test]
fn q8_is_near_fp32() {
    for name in MODELS {
        let parity = parity(name, Quant::Q8);
        assert!(parity.mean_cosine >= 0.999, "{name}: {parity:?}");
        assert_eq!(parity.clear_equal, parity.clear_masks, "{name}: {parity:?}");
        assert!(parity.clear_masks >= 30, "{name}: {parity:?}");
    }
}

#[test]
fn q4_is_near_fp32() {
    for name in MODELS {
        let parity = parity(name, Quant::Q4);
        assert!(parity.mean_cosine >= 0.95, "{name}: {parity:?}");
    }
}

/// What the publishers of Sapiens test and report.
#[test]
fn published_behaviour_of_sapiens() {
    let model = model("sapiens-vh", Quant::Q8);
    let mut task = FillMask::new(session(&model)).unwrap();
    let (goldens, _) = goldens("sapiens-vh");
    let best_of = options!(FillOptions { top_k: 1 });

    let masked = &goldens.cases[0];
    let mut ids = masked.ids.clone();
    let fills = task.run_one(&*masked.text, &best_of).unwrap();
    for (mask, fills) in masked.mask_positions.iter().zip(&fills) {
        ids[*mask] = fills[0].token;
    }
    let filled = model.tokenizer().decode(&ids, true).unwrap();
    assert!(filled.starts_with("QVQLVQ"), "{filled}");
    assert_eq!(Some(filled), goldens.filled);

    // Case 1 is the whole sequence; each residue is masked in turn.
    let sequence = &goldens.cases[1].text;
    let texts: Vec<String> = (0..sequence.len())
        .map(|i| format!("{}<mask>{}", &sequence[..i], &sequence[i + 1..]))
        .collect();
    let texts = texts.iter().map(String::as_str);
    let answers = task.run(texts, &best_of).unwrap();
    let right = answers
        .iter()
        .zip(sequence.chars())
        .filter(|(masks, c)| masks[0][0].token_str == c.to_string())
        .count();
    println!("sapiens-vh q8: {right} of {} right", sequence.len());
    assert_eq!((right, sequence.len()), (91, 120));
}

#[derive(Deserialize)]
struct Variants {
    cases: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    model: String,
    ids: Vec<u32>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
}

/// A tokenizer of 19 entries, one letter each, for models that have none.
fn letters() -> serde_json::Value {
    let special = [
        (0, "<s>"),
        (1, "<pad>"),
        (2, "</s>"),
        (3, "<unk>"),
        (18, "<mask>"),
    ];
    let mut vocab: serde_json::Map<_, _> = ('a'..='n')
        .zip(4..)
        .map(|(letter, id)| (letter.to_string(), json!(id)))
        .collect();
    vocab.extend(special.map(|(id, token)| (token.to_owned(), json!(id))));
    let added = special.map(|(id, content)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": content == "<mask>", "rstrip": false,
               "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true,
                           "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}
    })
}

/// Both GELUs, decoders of their own, names without a prefix, padding inside a text; and widths that fill neither a
/// panel nor a block: hidden size 12, heads of 6, a feed-forward of 20.
#[test]
fn odd_models_are_near_fp32() {
    let variants: Variants =
        serde_json::from_slice(&std::fs::read(tests_path("goldens/variants.json")).unwrap())
            .unwrap();
    for case in variants.cases {
        let (source, directory) = (
            tests_path("goldens/variants").join(&case.model),
            tempfile::tempdir().unwrap(),
        );
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(source.join(file), directory.path().join(file)).unwrap();
        }
        std::fs::write(
            directory.path().join("tokenizer.json"),
            letters().to_string(),
        )
        .unwrap();
        let output = directory.path().join("model.rq");
        convert_to(directory.path(), Quant::Q8, &output);
        let model = Model::open(&output).unwrap();
        let mut session = Session::new(model, &SessionOptions::default()).unwrap();
        let batch = Batch::from_iter([&case.ids]);
        let hidden = session.hidden_states(&batch, Rows::All).unwrap();
        let logits = session.logits(&batch, Rows::All).unwrap();
        let (hidden, logits) = (cosine(&hidden, &case.hidden), cosine(&logits, &case.logits));
        println!(
            "{}: cosine of hidden states {hidden:.6}, of logits {logits:.6}",
            case.model
        );
        assert!(
            hidden > 0.999 && logits > 0.995,
            "{}: {hidden} {logits}",
            case.model
        );
    }
}
