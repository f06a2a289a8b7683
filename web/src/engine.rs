//! A model, and what it answers to the page.

use crate::error::Refusal;
use crate::options::{self, OneOrMore, parse};
use crate::results::{
    Answer as FoundAnswer, Embeddings, Entity, Fill, Info, Label, Places, Score, ZeroShot, task,
};
use rq::{
    AnswerOptions, Answerer, Batch, Classifier, ClassifyOptions, EmbedOptions, Embedder, FillMask,
    FillOptions, Model, Rows, ScoreOptions, Scorer, Session, SessionOptions, TagOptions, Tagger,
    Targets, Task, Texts, ZeroShotOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Sets fields of options that can't be written out elsewhere.
macro_rules! options {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut options = $type::default();
        $(options.$field = $value;)*
        options
    }};
}

/// What is answered to a request.
#[derive(Debug, Default)]
pub struct Answer {
    /// An object: `answer`, and `warnings` for the person who wrote the request.
    pub json: Vec<u8>,
    /// The floats of embeddings, row after row.
    pub floats: Vec<f32>,
}

impl Answer {
    fn new(answer: &impl Serialize) -> Self {
        Self::warning(answer, Vec::new())
    }

    fn warning(answer: &impl Serialize, warnings: Vec<String>) -> Self {
        #[derive(Serialize)]
        struct Answered<'a, T> {
            answer: &'a T,
            warnings: Vec<String>,
        }
        let json = serde_json::to_vec(&Answered { answer, warnings });
        Self {
            // Strings, numbers, and lists of them.
            json: json.expect("what JSON can say"),
            floats: Vec::new(),
        }
    }
}

/// A request: the task, by the name of the method, and what it is about.
#[derive(Deserialize)]
struct Request<'r> {
    task: &'r str,
    #[serde(borrow)]
    inputs: &'r RawValue,
    #[serde(borrow)]
    options: &'r RawValue,
}

/// A model and the session that computes with it.
#[derive(Debug)]
pub struct Engine {
    session: Session,
}

impl Engine {
    /// Takes the bytes of a file: in place, if they begin at a multiple of 64. `options` are JSON: `sha256` and `verify`.
    ///
    /// # Errors
    /// When the file isn't the one that is meant, or not a sound one.
    pub fn open(bytes: &'static [u8], options: &[u8]) -> Result<Self, Refusal> {
        let options: &RawValue =
            serde_json::from_slice(options).map_err(|e| Refusal::option(e.to_string()))?;
        let options: options::Open = parse("options of Rq.open", options)?;
        if let Some(expected) = options.sha256 {
            let expected = expected.to_lowercase();
            let found = format!("{:x}", Sha256::digest(bytes));
            if found != expected {
                return Err(Refusal {
                    code: "checksum",
                    message: format!(
                        "the file's SHA-256 is {found}, and {expected} was expected: it is another file, or it was damaged on its way"
                    ),
                });
            }
        }
        let model = Model::from_bytes(bytes)?;
        if options.verify {
            model.file().verify()?;
        }
        let options = options!(SessionOptions { threads: Some(1) });
        Ok(Self {
            session: Session::new(model, &options)?,
        })
    }

    /// Answers to a request, which is JSON.
    ///
    /// # Errors
    /// When the model isn't for the task, or a text or an option isn't one that it takes.
    pub fn call(&mut self, request: &[u8]) -> Result<Answer, Refusal> {
        let Request {
            task,
            inputs,
            options,
        } = serde_json::from_slice(request).map_err(|e| Refusal::option(e.to_string()))?;
        let of = format!("options of {task}");
        match task {
            "fill" => self.fill(parse("text", inputs)?, parse(&of, options)?),
            "score" => self.score(parse("text", inputs)?, parse(&of, options)?),
            "embed" => self.embed(parse("text", inputs)?, parse(&of, options)?),
            "classify" => self.classify(parse("text", inputs)?, parse(&of, options)?),
            "zeroShot" => self.zero_shot(parse("text", inputs)?, parse(&of, options)?),
            "tag" => self.tag(parse("text", inputs)?, parse(&of, options)?),
            "answer" => self.answer(parse("question", inputs)?, parse(&of, options)?),
            "pass" => self.pass(&parse(&of, options)?),
            "info" => Ok(self.info()),
            "verify" => {
                self.session.model().file().verify()?;
                Ok(Answer::new(&()))
            }
            _ => Err(Refusal::option(format!("there is no task {task:?}"))),
        }
    }

    fn fill(&mut self, texts: Vec<String>, options: options::Fill) -> Result<Answer, Refusal> {
        let mut warnings = Vec::new();
        let targets = match options.targets.map(OneOrMore::list) {
            None => None,
            Some(targets) => {
                let tokenizer = self.session.model().tokenizer();
                let (targets, of_targets) = Targets::resolve(tokenizer, &targets)?;
                warnings.extend(of_targets.iter().map(ToString::to_string));
                Some(targets)
            }
        };
        let options = options!(FillOptions {
            top_k: options.top_k,
            targets: targets,
            truncate: options.truncate,
        });
        let filled = FillMask::new(&mut self.session)?.run(&texts, &options)?;
        let mask = |fills: Vec<rq::Fill>| fills.into_iter().map(Fill::from).collect();
        let text = |masks: Vec<Vec<rq::Fill>>| masks.into_iter().map(mask).collect();
        let filled: Vec<Vec<Vec<Fill>>> = filled.into_iter().map(text).collect();
        Ok(Answer::warning(&filled, warnings))
    }

    fn score(&mut self, texts: Vec<String>, options: options::Score) -> Result<Answer, Refusal> {
        let options = options!(ScoreOptions {
            method: options.method.map_or_else(Default::default, Into::into),
            truncate: options.truncate,
        });
        let scores = Scorer::new(&mut self.session)?.run(&texts, &options)?;
        let scores: Vec<Score> = scores.into_iter().map(Score::from).collect();
        Ok(Answer::new(&scores))
    }

    fn embed(
        &mut self,
        texts: Vec<String>,
        mut options: options::Embed,
    ) -> Result<Answer, Refusal> {
        let options = options!(EmbedOptions {
            prompt: options.prompt(),
            pooling: options.pooling.map(Into::into),
            normalize: options.normalize,
            dimension: options.truncate_dim,
            truncate: options.truncate,
        });
        let mut task = Embedder::new(&mut self.session);
        let per_token = task.per_token(&options);
        let dimension = task.dimension(&options)?;
        let embeddings = task.run(&texts, &options)?;
        let tokens = per_token.then(|| embeddings.iter().map(|e| e.rows().len()).collect());
        let floats = embeddings.into_iter().flat_map(|e| e.embedding).collect();
        Ok(Answer {
            floats,
            ..Answer::new(&Embeddings { dimension, tokens })
        })
    }

    fn classify(
        &mut self,
        pairs: Vec<options::Pair>,
        options: options::Classify,
    ) -> Result<Answer, Refusal> {
        let options = options!(ClassifyOptions {
            top_k: options.top_k,
            function: options.function_to_apply.map(Into::into),
            truncate: options.truncate,
        });
        let texts = pairs.iter().map(|pair| match &pair.text_pair {
            None => Texts::from(&pair.text),
            Some(second) => Texts::from((&pair.text, second)),
        });
        let best = Classifier::new(&mut self.session)?.run(texts, &options)?;
        let labels = |best: Vec<rq::LabelScore>| best.into_iter().map(Label::from).collect();
        let best: Vec<Vec<Label>> = best.into_iter().map(labels).collect();
        Ok(Answer::new(&best))
    }

    fn zero_shot(
        &mut self,
        texts: Vec<String>,
        options: options::ZeroShot,
    ) -> Result<Answer, Refusal> {
        let labels = &options.candidate_labels;
        let template = &options.hypothesis_template;
        let mut task = rq::ZeroShot::new(&mut self.session, labels, template)?;
        let mut warnings = Vec::new();
        if !task.entailment_is_named() {
            warnings.push(format!(
                "no label of the model begins with \"entail\": its last one, {:?}, is used instead",
                task.entailment()
            ));
        }
        let options = options!(ZeroShotOptions {
            multi_label: options.multi_label,
            truncate: options.truncate,
        });
        let best = task.run(&texts, &options)?;
        let pairs = texts.into_iter().zip(best);
        let best: Vec<ZeroShot> = pairs
            .map(|(text, best)| ZeroShot::new(text, best))
            .collect();
        Ok(Answer::warning(&best, warnings))
    }

    fn tag(&mut self, texts: Vec<String>, options: options::Tag) -> Result<Answer, Refusal> {
        let aggregation = options.aggregation_strategy;
        let options = options!(TagOptions {
            aggregation: aggregation.map_or(rq::Aggregation::None, Into::into),
            stride: options.stride,
            ignore_labels: options.ignore_labels,
        });
        let tagged = Tagger::new(&mut self.session)?.run(&texts, &options)?;
        let entities = |(text, entities): (&String, Vec<rq::Entity>)| {
            let mut places = Places::of(text);
            let entities = entities.into_iter();
            entities.map(|e| Entity::new(e, &mut places)).collect()
        };
        let tagged: Vec<Vec<Entity>> = texts.iter().zip(tagged).map(entities).collect();
        Ok(Answer::new(&tagged))
    }

    fn answer(
        &mut self,
        questions: Vec<options::Question>,
        options: options::Answer,
    ) -> Result<Answer, Refusal> {
        let options = options!(AnswerOptions {
            top_k: options.top_k,
            max_answer_len: options.max_answer_len,
            max_seq_len: options.max_seq_len,
            doc_stride: options.doc_stride,
            handle_impossible_answer: options.handle_impossible_answer,
            align_to_words: options.align_to_words,
        });
        let inputs = questions.iter().map(|one| (&one.question, &one.context));
        let found = Answerer::new(&mut self.session)?.run(inputs, &options)?;
        let answers = |(one, found): (&options::Question, Vec<rq::Answer>)| {
            let mut places = Places::of(&one.context);
            let found = found.into_iter();
            found.map(|a| FoundAnswer::new(a, &mut places)).collect()
        };
        let found: Vec<Vec<FoundAnswer>> = questions.iter().zip(found).map(answers).collect();
        Ok(Answer::new(&found))
    }

    /// Computes the hidden states of so many tokens, for the page to time.
    fn pass(&mut self, options: &options::Pass) -> Result<Answer, Refusal> {
        let vocab_size = self.session.model().config().vocab_size;
        let ids: Vec<u32> = (0..options.tokens)
            .map(|i| (i * 7919 % vocab_size) as u32)
            .collect();
        let batch = Batch::from_iter([ids]);
        self.session.hidden_states(&batch, Rows::All)?;
        Ok(Answer::new(&()))
    }

    fn info(&self) -> Answer {
        let model = self.session.model();
        let (file, config) = (model.file(), model.config());
        let parameters = file
            .tensors()
            .iter()
            .map(|t| t.rows as u64 * t.columns as u64);
        Answer::new(&Info {
            task: task(config.head),
            labels: &config.labels,
            max_tokens: config.max_tokens(),
            mask_token: model.tokenizer().mask_token().map(str::to_owned),
            bytes: file.file_len(),
            fingerprint: format!("{:016x}", file.fingerprint()),
            parameters: parameters.sum(),
            instruction_set: self.session.isa().name(),
            config,
            provenance: file.provenance(),
        })
    }
}
