//! Fill-mask against transformers' pipeline: `goldens/fill.json`, with quantized models.

use crate::common::{self, MODELS, model, options, session};
use rq::{Batch, Error, Fill, FillMask, FillOptions, Rows, Session, TargetWarning, Targets, Task};
use rq_convert::Quant;
use serde::Deserialize;
use std::collections::HashMap;

/// How far a quantized model's score may be from that of fp32.
const TOLERANCE: f32 = 0.02;

/// One call of the pipeline, and what it gave.
#[derive(Debug, Deserialize)]
struct Golden {
    model: String,
    text: String,
    top_k: Option<usize>,
    targets: Option<OneOrMore<String>>,
    result: Option<OneOrMore<OneOrMore<GoldenFill>>>,
    error: Option<String>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct GoldenFill {
    score: f32,
    token: u32,
    token_str: String,
    sequence: String,
}

/// Python takes a value for a list of it, and unwraps a list of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T: Clone> OneOrMore<T> {
    fn to_vec(&self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::More(more) => more.clone(),
        }
    }
}

impl Golden {
    fn top_k(&self) -> usize {
        self.top_k.unwrap_or(FillOptions::default().top_k)
    }

    /// The results of each mask.
    fn masks(&self) -> Option<Vec<Vec<GoldenFill>>> {
        let masks = self.result.as_ref()?.to_vec();
        Some(match masks.first() {
            Some(OneOrMore::More(_)) => masks.iter().map(OneOrMore::to_vec).collect(),
            // One mask: its list is the result.
            _ => vec![masks.iter().flat_map(OneOrMore::to_vec).collect()],
        })
    }

    fn run(
        &self,
        session: &mut Session,
        top_k: usize,
    ) -> Result<(Vec<Vec<Fill>>, Vec<TargetWarning>), Error> {
        let mut options = options!(FillOptions { top_k });
        let mut warnings = Vec::new();
        if let Some(targets) = &self.targets {
            let tokenizer = session.model().tokenizer();
            let (targets, about) = Targets::resolve(tokenizer, &targets.to_vec())?;
            (options.targets, warnings) = (Some(targets), about);
        }
        let fills = FillMask::new(session)?.run_one(&*self.text, &options)?;
        Ok((fills, warnings))
    }

    /// Compares what `rq` gives with what transformers gave.
    fn check(&self, session: &mut Session) {
        let Some(expected) = self.masks() else {
            let error = self.run(session, self.top_k()).unwrap_err();
            let same = match self.error.as_deref().unwrap() {
                "PipelineException: No mask_token (<mask>) found on the input" => {
                    matches!(error, Error::NoMask { .. } | Error::EmptyText)
                }
                "ValueError: At least one target must be provided when passed." => {
                    matches!(error, Error::NoTargets)
                }
                "RuntimeError: selected index k out of range" => {
                    matches!(error, Error::TopK { .. })
                }
                _ => false,
            };
            assert!(same, "{self:?}: {error:?}");
            return;
        };

        // Where transformers answers with nothing.
        if self.top_k() == 0 {
            assert!(expected.iter().all(Vec::is_empty), "{self:?}");
            let error = self.run(session, 0);
            assert!(matches!(error, Err(Error::Zero { .. })), "{self:?}");
            return;
        }
        let (fills, warnings) = self.run(session, self.top_k()).unwrap();
        assert_eq!(lengths(&fills), lengths(&expected), "{self:?}");
        let warnings: Vec<String> = warnings.iter().map(TargetWarning::to_string).collect();
        assert_eq!(warnings, self.warnings, "{self:?}");

        // Of more results, for the tokens that quantization moved out of the first few.
        let all = session.model().config().vocab_size;
        let (fills, _) = self.run(session, all).unwrap();
        for (fills, expected) in fills.iter().zip(&expected) {
            let by_token: HashMap<u32, &Fill> = fills.iter().map(|f| (f.token, f)).collect();
            for golden in expected {
                let fill = by_token[&golden.token];
                assert_eq!(fill.token_str, golden.token_str, "{self:?}");
                assert_eq!(fill.sequence, golden.sequence, "{self:?}");
                let difference = (fill.score - golden.score).abs();
                assert!(difference <= TOLERANCE, "{self:?}: {fill:?}");
            }
            for (i, better) in expected.iter().enumerate() {
                for worse in &expected[i..] {
                    if better.score - worse.score > TOLERANCE {
                        let (better, worse) = (by_token[&better.token], by_token[&worse.token]);
                        assert!(better.score > worse.score, "{self:?}: {better:?} {worse:?}");
                    }
                }
            }
        }
    }
}

fn lengths<T>(masks: &[Vec<T>]) -> Vec<usize> {
    masks.iter().map(Vec::len).collect()
}

fn goldens() -> Vec<Golden> {
    common::cases("fill.json")
}

#[test]
fn the_answers_of_transformers() {
    for name in MODELS {
        let mut session = session(&model(name, Quant::Q8));
        let of_model = |golden: &Golden| golden.model == name;
        let cases: Vec<Golden> = goldens().into_iter().filter(of_model).collect();
        assert!(cases.len() >= 5);
        for golden in cases {
            golden.check(&mut session);
        }
    }
}

#[test]
fn a_batch_gives_the_bits_of_single_texts() {
    for name in MODELS {
        let texts: Vec<String> = goldens()
            .into_iter()
            .filter(|golden| golden.model == name && golden.error.is_none())
            .map(|golden| golden.text)
            .collect();
        let options = options!(FillOptions { top_k: 20 });
        let mut task = FillMask::new(session(&model(name, Quant::Q8))).unwrap();
        let all = texts.iter().map(String::as_str);
        let together = task.run(all, &options).unwrap();
        assert_eq!(together.len(), texts.len());
        for (text, together) in texts.iter().zip(together) {
            let alone = task.run_one(&**text, &options).unwrap();
            assert_eq!(alone, together, "{text:?}");
            let bits = |masks: &[Vec<Fill>]| -> Vec<u32> {
                masks.iter().flatten().map(|f| f.score.to_bits()).collect()
            };
            assert_eq!(bits(&alone), bits(&together), "{text:?}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_text_shows_when_it_is_prepared() {
    let options = FillOptions::default();
    let truncate = options!(FillOptions { truncate: true });
    let mut task = FillMask::new(session(&model("sapiens-vh", Quant::Q8))).unwrap();
    let prepare = |text: &str, options: &FillOptions| task.prepare(text, options).map(|_| ());
    let long = format!("<mask>{}", "E".repeat(200));
    assert!(matches!(prepare("", &options), Err(Error::EmptyText)));
    assert!(matches!(
        prepare("EVQL", &options),
        Err(Error::NoMask { .. })
    ));
    let error = prepare(&long, &options);
    assert!(matches!(
        error,
        Err(Error::TooLong {
            tokens: 203,
            limit: 144
        })
    ));
    prepare(&long, &truncate).unwrap();
    let error = task.run(["<mask>", &*long], &options);
    assert!(matches!(
        error,
        Err(Error::InBatch { number: 2, count: 2, source })
            if matches!(*source, Error::TooLong { tokens: 203, limit: 144 })
    ));
    let error = task.run([&*long], &options);
    assert!(matches!(error, Err(Error::TooLong { .. })));
    assert!(task.compute(&[], &truncate).unwrap().is_empty());
}

/// Tokens of a larger vocabulary, or more than the model takes, are an error, not an index out of bounds.
#[test]
fn texts_of_another_model_are_refused() {
    let [mut of_small, of_large] =
        MODELS.map(|name| FillMask::new(session(&model(name, Quant::Q8))).unwrap());
    let options = FillOptions::default();
    let text = of_large.prepare("The garden<mask>", &options).unwrap();
    let error = of_small.compute(&[text], &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { vocab_size: 25, .. })
    ));
}

/// Ids of a larger vocabulary are an error, not an index out of bounds.
#[test]
fn targets_of_another_model_are_refused() {
    let (small, large) = MODELS.map(|name| model(name, Quant::Q8)).into();
    let (targets, _) = Targets::resolve(large.tokenizer(), &["Ġgarden"]).unwrap();
    let options = options!(FillOptions {
        targets: Some(targets),
    });
    let mut task = FillMask::new(session(&small)).unwrap();
    let error = task.run_one("EVQL<mask>", &options);
    assert!(matches!(
        error,
        Err(Error::TokenRange { token, vocab_size: 25 }) if token >= 25
    ));
}

/// However many masks a text has, the logits of a tile of them are held, and its answers are those of each mask among them.
#[test]
fn many_masks_take_the_memory_of_a_tile() {
    let model = model("demo-model", Quant::Q8);
    let mut task = FillMask::new(session(&model)).unwrap();
    let most = model.config().max_tokens();
    let text = "<mask>".repeat(most - 2);
    let masks = task.run_one(&*text, &FillOptions::default()).unwrap();
    assert_eq!(masks.len(), most - 2);
    let threads = task.session().threads();
    assert_eq!(
        task.session().held_bytes(),
        model.session_bytes(&[most], 64, threads)
    );
    // By the logits of all rows at once.
    let ids = model.tokenizer().encode(&text, false).unwrap().ids;
    let batch = Batch::from_iter([ids]);
    let logits = session(&model).logits(&batch, Rows::All).unwrap();
    let rows = logits.chunks_exact(model.config().vocab_size).skip(1);
    for (fills, row) in masks.iter().zip(rows) {
        let best = row[fills[0].token as usize];
        assert!(row.iter().all(|&logit| logit <= best));
    }
}
