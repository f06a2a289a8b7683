//! Two models of chemical reactions, real weights in the format from before torch 1.6, against transformers in f32: see
//! `data/rxnfp/NOTE.md`. `.ci/models` gets the weights. Without them the tests say SKIP, or fail if `RQ_REQUIRE_MODELS` is set.

use crate::common::{convert_to, downloaded, options, session, tests_path};
use rq::{Classifier, ClassifyOptions, FillMask, FillOptions, Model, ScoreFunction, Task};
use rq_convert::Quant;
use serde::Deserialize;
use std::fs;
use std::sync::Arc;

/// A mask whose best two tokens are further apart than this in fp32 must have the same best in q8.
const CLEAR: f32 = 0.1;
/// How far a logit in q8 may be from that in fp32, where the largest are about 14; the worst of 2,000 is off by 0.243.
const LOGITS: f32 = 0.3;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    label: Option<String>,
    #[serde(default)]
    logits: Vec<f32>,
    #[serde(default)]
    top5: Vec<Vec<(u32, String, f32)>>,
}

/// The model in q8, and what transformers answers; none where the weights aren't there.
fn model(name: &str, weights: &str) -> Option<(Arc<Model>, Vec<Golden>)> {
    #[derive(Deserialize)]
    struct Goldens {
        cases: Vec<Golden>,
    }
    let weights = downloaded("rxnfp", &format!("{weights}/pytorch_model.bin"))?;
    let data = tests_path("data/rxnfp").join(name);
    let directory = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(data.join(file), directory.path().join(file)).unwrap();
    }
    fs::copy(weights, directory.path().join("pytorch_model.bin")).unwrap();
    let output = directory.path().join("model.rq");
    convert_to(directory.path(), Quant::Q8, &output);
    let model = Arc::new(Model::from_bytes(fs::read(output).unwrap()).unwrap());
    let goldens: Goldens =
        serde_json::from_slice(&fs::read(data.join("golden.json")).unwrap()).unwrap();
    assert_eq!(goldens.cases.len(), 40);
    for golden in &goldens.cases {
        let ids = model.tokenizer().encode(&golden.text, true).unwrap().ids;
        assert_eq!(ids, golden.ids, "{:?}", golden.text);
    }
    Some((model, goldens.cases))
}

#[test]
fn reactions_have_the_labels_of_transformers() {
    let Some((model, goldens)) = model("classes50", "bert_ft_10k_25s") else {
        return;
    };
    let mut classifier = Classifier::new(session(&model)).unwrap();
    let options = options!(ClassifyOptions {
        function: Some(ScoreFunction::None),
    });
    let mut worst: f32 = 0.0;
    for golden in goldens {
        let found = classifier.run_one(&*golden.text, &options).unwrap();
        assert_eq!(
            Some(&found[0].label),
            golden.label.as_ref(),
            "{:?}",
            golden.text
        );
        for found in found {
            worst = worst.max((found.score - golden.logits[found.index]).abs());
        }
    }
    println!("q8 rxnfp: logits within {worst:.3}");
    assert!(worst < LOGITS, "{worst}");
}

#[test]
fn clear_masks_have_the_tokens_of_transformers() {
    let Some((model, goldens)) = model("mlm", "bert_pretrained") else {
        return;
    };
    let mut task = FillMask::new(session(&model)).unwrap();
    let options = options!(FillOptions { top_k: 1 });
    let (mut clear, mut equal, mut masks) = (0, 0, 0);
    for golden in goldens {
        let fills = task.run_one(&*golden.text, &options).unwrap();
        assert_eq!(fills.len(), golden.top5.len(), "{:?}", golden.text);
        for (fill, expected) in fills.iter().zip(&golden.top5) {
            let [(best, _, p1), (_, _, p2), ..] = expected[..] else {
                panic!("five tokens: {expected:?}");
            };
            let same = fill[0].token == best;
            assert!(same || p1 - p2 <= CLEAR, "{fill:?}, {expected:?}");
            clear += usize::from(p1 - p2 > CLEAR);
            equal += usize::from(same);
            masks += 1;
        }
    }
    println!("q8 rxnfp: best token equal in {equal} of {masks} masks, all of {clear} clear ones");
    assert!(clear > 200, "{clear}");
}
