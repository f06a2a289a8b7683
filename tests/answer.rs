//! Question answering against the pipeline of transformers 4.57: `goldens/tasks/answer.json`, with 8-bit models.

use crate::common::{self, model, options, q8, session, session_on};
use rq::{Answer, AnswerOptions, Answerer, Error, Session, Task};
use rq_convert::Quant;
use serde::Deserialize;

/// How far a score of 8 bits may be from that of fp32.
const TOLERANCE: f32 = 0.02;
/// Answers whose scores in fp32 are nearer to each other than this are a tie: with 8 bits they may change places.
const MARGIN: f32 = 0.004;

const MODELS: [&str; 2] = ["data/tasks/answers", "goldens/architectures/bert-qa"];

/// One call of the pipeline, and what it gave.
#[derive(Debug, Deserialize)]
struct Golden {
    model: String,
    question: String,
    context: String,
    options: GoldenOptions,
    result: Option<OneOrMore>,
    error: Option<String>,
    second: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenOptions {
    top_k: Option<usize>,
    max_answer_len: Option<usize>,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
    handle_impossible_answer: Option<bool>,
    align_to_words: Option<bool>,
    /// Without effect.
    #[serde(rename = "max_question_len")]
    _max_question_len: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(GoldenAnswer),
    More(Vec<GoldenAnswer>),
}

#[derive(Clone, Debug, Deserialize)]
struct GoldenAnswer {
    score: f32,
    start: usize,
    end: usize,
    answer: String,
}

impl Golden {
    fn options(&self) -> AnswerOptions {
        let (o, default) = (&self.options, AnswerOptions::default());
        options!(AnswerOptions {
            top_k: o.top_k.unwrap_or(default.top_k),
            max_answer_len: o.max_answer_len.unwrap_or(default.max_answer_len),
            max_seq_len: o.max_seq_len,
            doc_stride: o.doc_stride,
            handle_impossible_answer: o.handle_impossible_answer.unwrap_or(false),
            align_to_words: o.align_to_words.unwrap_or(true),
        })
    }

    fn run(&self, session: &mut Session, options: &AnswerOptions) -> Result<Vec<Answer>, Error> {
        let question = (self.question.as_str(), self.context.as_str());
        Answerer::new(session)?.run_one(question, options)
    }

    fn answers(&self) -> Vec<GoldenAnswer> {
        match &self.result {
            Some(OneOrMore::One(one)) => vec![one.clone()],
            Some(OneOrMore::More(more)) => more.clone(),
            None => Vec::new(),
        }
    }

    /// Compares what `rq` gives with what transformers gave. Returns how many answers there were, and how many were compared:
    /// those that are no tie. In `src/tasks/answer` all are compared, in f32.
    fn check(&self, session: &mut Session) -> (usize, usize) {
        let options = self.options();
        if let Some(error) = &self.error {
            let found = self.run(session, &options);
            let same = match &found {
                Err(Error::Zero { .. }) => error.contains("should be >= 1"),
                Err(Error::NoRoom { .. }) => ["stride", "too short"]
                    .iter()
                    .any(|part| error.contains(part)),
                Err(Error::EmptyQuestion) => error.contains("`question` cannot be empty"),
                Err(Error::NoContext) => error.contains("`context` cannot be empty"),
                _ => false,
            };
            assert!(same, "{self:?}: {found:?}");
            return (0, 0);
        }
        let expected = self.answers();
        let answers = self.run(session, &options).unwrap();
        let chars: Vec<char> = self.context.chars().collect();
        for answer in &answers {
            let text: String = chars[answer.characters.clone()].iter().collect();
            assert_eq!(text, answer.answer, "{self:?}");
            assert_eq!(
                self.context[answer.bytes.clone()],
                answer.answer,
                "{self:?}"
            );
        }
        assert!(
            answers.is_sorted_by(|a, b| a.score >= b.score),
            "{answers:?}"
        );

        let mut compared = 0;
        for (i, golden) in expected.iter().enumerate() {
            let neighbours = [i.checked_sub(1), Some(i + 1)].into_iter().flatten();
            let neighbours = neighbours.filter_map(|i| expected.get(i));
            let mut scores = neighbours.map(|other| other.score).chain(self.second);
            // What came after the last of several isn't known.
            let last = options.top_k > 1 && i + 1 == options.top_k;
            if last || golden.score < MARGIN || scores.any(|s| (s - golden.score).abs() < MARGIN) {
                continue;
            }
            compared += 1;
            let found = &answers[i];
            assert_eq!(found.answer, golden.answer, "{self:?}: {answers:?}");
            // Of several places with the same text, the best one is told.
            if self.context.matches(&golden.answer).count() == 1 {
                assert_eq!(found.characters, golden.start..golden.end, "{self:?}");
            }
            let difference = (found.score - golden.score).abs();
            assert!(difference <= TOLERANCE, "{self:?}: {answers:?}");
        }
        (expected.len(), compared)
    }
}

fn goldens(model: &str) -> Vec<Golden> {
    let cases: Vec<Golden> = common::cases("tasks/answer.json");
    let of_model = |golden: &Golden| golden.model == model;
    cases.into_iter().filter(of_model).collect()
}

#[test]
fn the_answers_of_transformers() {
    for name in MODELS {
        let mut session = session(&q8(name));
        let cases = goldens(name);
        assert!(cases.len() >= 50);
        let (mut all, mut compared) = (0, 0);
        for golden in &cases {
            let counts = golden.check(&mut session);
            all += counts.0;
            compared += counts.1;
        }
        println!("{name}: {compared} of {all} answers are no tie, nor without probability");
        assert!(compared >= 50, "{compared}");
    }
}

#[test]
fn a_batch_gives_the_bits_of_single_questions() {
    for name in MODELS {
        let mut session = session(&q8(name));
        let cases: Vec<Golden> = goldens(name)
            .into_iter()
            .filter(|golden| golden.error.is_none())
            .collect();
        let options = options!(AnswerOptions {
            top_k: 9,
            handle_impossible_answer: true,
        });
        let questions = cases
            .iter()
            .map(|golden| (golden.question.as_str(), golden.context.as_str()));
        let mut task = Answerer::new(&mut session).unwrap();
        let together = task.run(questions, &options).unwrap();
        assert_eq!(together.len(), cases.len());
        for (golden, together) in cases.iter().zip(together) {
            let alone = golden.run(&mut session, &options).unwrap();
            assert_eq!(alone, together, "{golden:?}");
            let bits = |answers: &[Answer]| -> Vec<u32> {
                answers.iter().map(|a| a.score.to_bits()).collect()
            };
            assert_eq!(bits(&alone), bits(&together), "{golden:?}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_question_shows_when_it_is_prepared() {
    let task = Answerer::new(session(&q8(MODELS[1]))).unwrap();
    let options = AnswerOptions::default();
    let prepare = |question, context| task.prepare((question, context), &options).map(|_| ());
    assert!(matches!(prepare("", "x"), Err(Error::EmptyQuestion)));
    assert!(matches!(prepare("x", ""), Err(Error::NoContext)));
    // Of blanks alone BERT makes no token.
    assert!(matches!(prepare("x", " \n"), Err(Error::NoContext)));
    let long = "a ".repeat(130);
    assert!(matches!(prepare(&long, "x"), Err(Error::NoRoom { .. })));
    prepare("x", &long.repeat(9)).unwrap();
    let options = options!(AnswerOptions {
        max_seq_len: Some(129),
    });
    assert!(matches!(
        task.prepare(("x", "x"), &options),
        Err(Error::WindowTooLong {
            max_seq_len: 129,
            limit: 128
        })
    ));
}

#[test]
fn other_models_are_refused() {
    let [mut of_roberta, of_bert] = MODELS.map(|name| Answerer::new(session(&q8(name))).unwrap());
    let options = AnswerOptions::default();
    let question = ("Where does Anna live?", "Anna lives in New York.");
    let prepared = of_bert.prepare(question, &options).unwrap();
    // BERT's second text has a type that RoBERTa has not.
    let error = of_roberta.compute(&[prepared], &options);
    assert!(matches!(error, Err(Error::TokenType { token_type: 1, .. })));

    let filler = model("sapiens-vh", Quant::Q8);
    let error = Answerer::new(session(&filler)).unwrap_err().to_string();
    assert!(
        error.contains("question_answering") && error.ends_with("has the head masked_lm"),
        "{error}"
    );
}

/// As they were on the machine where they were written down, on each instruction set that this one has.
#[test]
fn the_same_bits_everywhere() {
    let model = q8(MODELS[0]);
    let context = "Anna lives in New York. Peter works as a taxi driver.";
    let three = options!(AnswerOptions { top_k: 3 });
    for kernels in rq_kernels::kernels::detected() {
        let session = session_on(&model, kernels.isa(), 1).unwrap();
        let mut task = Answerer::new(session).unwrap();
        let answers = task.run_one(("Where does Anna live?", context), &three);
        let scores = answers.unwrap().into_iter().map(|a| a.score.to_bits());
        assert_eq!(
            scores.collect::<Vec<_>>(),
            [0x3f56_9e00, 0x3bc5_3975, 0x3abb_4ae8],
            "{}",
            kernels.isa()
        );
    }
}
