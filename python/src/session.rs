//! A session, and what it answers to batches of texts.

use crate::arrow::Embeddings;
use crate::error::{TaskError, named, raise};
use crate::model::Model;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rq::{
    Aggregation, AnswerOptions, Answerer, Classifier, ClassifyOptions, EmbedOptions, Embedder,
    FillMask, FillOptions, Pooling, Prompt, ScoreFunction, ScoreMethod, ScoreOptions, Scorer,
    SessionOptions, SparseEmbedder, SparseOptions, TagOptions, Tagger, Targets, Task, Texts,
    WordTagger, ZeroShot, ZeroShotOptions,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of text after which Python is asked whether someone pressed Ctrl-C. About a thousand tokens, with which the weights are
/// read once.
const BATCH: usize = 4 << 10;

/// A token for a mask: its probability, id and text, and the whole text with it.
type Fill = (f32, u32, String, String);
/// The tokens of each mask of a text.
type Masks = Vec<Vec<Fill>>;
/// A label, its score, and which it is of those in question: two can have one name.
type Label = (String, f32, usize);
/// A word's label and its score.
type WordLabel = (String, f32);
/// An entity: label, score, the token's place if it is one, word, first character, and the one after the last.
type Entity = (String, f32, Option<usize>, String, usize, usize);
/// An answer: score, first character, the one after the last, and the text.
type Answer = (f32, usize, usize, String);
/// A text's score, its pseudo-perplexity, and each token: id, text and log-probability.
type Score = (f64, Option<f64>, Vec<(u32, String, f64)>);
/// Of a sparse embedding: which dimensions, and their values.
type Sparse = (Vec<u32>, Vec<f32>);

/// Threads and memory to compute with.
#[pyclass(frozen, module = "rq_runtime._native")]
pub(crate) struct Session {
    model: Arc<rq::Model>,
    options: SessionOptions,
    session: Mutex<Made>,
}

struct Made {
    session: Box<rq::Session>,
    /// The process that has its threads.
    process: u32,
}

impl Made {
    fn new(model: &Arc<rq::Model>, options: &SessionOptions) -> PyResult<Self> {
        let session = rq::Session::new(Arc::clone(model), options);
        Ok(Self {
            session: Box::new(session.map_err(|error| raise(&error))?),
            process: std::process::id(),
        })
    }
}

/// Sets fields of options that can't be written out elsewhere.
macro_rules! options {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut options = $type::default();
        $(options.$field = $value;)*
        options
    }};
}

impl Session {
    /// Computes without the interpreter's lock. Another thread's call waits for its turn.
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        compute: impl FnOnce(&mut rq::Session) -> PyResult<R> + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let mut made = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            if made.process != std::process::id() {
                // A process that was forked has none of the threads that the session would stop.
                let new = Made::new(&self.model, &self.options)?;
                std::mem::forget(std::mem::replace(&mut *made, new));
            }
            compute(&mut made.session)
        })
    }
}

/// Answers to inputs of so many bytes, batch after batch.
fn answers<'t, T: Task, I: Into<T::Input<'t>>>(
    task: &mut T,
    inputs: impl ExactSizeIterator<Item = (usize, I)>,
    options: &T::Options,
) -> PyResult<Vec<T::Answer>> {
    let count = inputs.len();
    let mut inputs = inputs.peekable();
    let mut all = Vec::with_capacity(count);
    while inputs.peek().is_some() {
        let (mut batch, mut total) = (Vec::new(), 0);
        while total < BATCH
            && let Some((bytes, input)) = inputs.next()
        {
            batch.push(input);
            total += bytes;
        }
        let answers = task.run_each(batch, options);
        for answer in answers.map_err(|error| raise(&error))? {
            let number = all.len() + 1;
            let answer = answer.map_err(|error| match count {
                1 => error,
                _ => rq::Error::InBatch {
                    number,
                    count,
                    source: Box::new(error),
                },
            });
            all.push(answer.map_err(|error| raise(&error))?);
        }
        Python::attach(|py| py.check_signals())?;
    }
    Ok(all)
}

fn texts(texts: &[String]) -> impl ExactSizeIterator<Item = (usize, &str)> {
    texts.iter().map(|text| (text.len(), text.as_str()))
}

fn labels(scores: Vec<rq::LabelScore>) -> Vec<Label> {
    scores
        .into_iter()
        .map(|label| (label.label, label.score, label.index))
        .collect()
}

fn matrix(values: Vec<f32>, columns: usize, py: Python<'_>) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let rows = values.len() / columns.max(1);
    PyArray1::from_vec(py, values).reshape([rows, columns])
}

/// How to embed.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Embed {
    pooling: Option<String>,
    normalize: Option<bool>,
    dimension: Option<usize>,
    prompt_name: Option<String>,
    prompt: Option<String>,
    truncate: bool,
}

impl Embed {
    fn options(self) -> PyResult<EmbedOptions> {
        let pooling = |name: String| {
            named(
                "pooling",
                &[
                    ("cls", Pooling::Cls),
                    ("mean", Pooling::Mean),
                    ("max", Pooling::Max),
                    ("mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
                    ("weightedmean", Pooling::WeightedMean),
                    ("lasttoken", Pooling::LastToken),
                    ("none", Pooling::None),
                ],
                &name,
            )
        };
        Ok(options!(EmbedOptions {
            pooling: self.pooling.map(pooling).transpose()?,
            normalize: self.normalize,
            dimension: self.dimension,
            prompt: prompt(self.prompt_name, self.prompt),
            truncate: self.truncate,
        }))
    }
}

fn prompt(name: Option<String>, text: Option<String>) -> Prompt {
    match (name, text) {
        (_, Some(text)) => Prompt::Text(text),
        (Some(name), None) => Prompt::Named(name),
        (None, None) => Prompt::Published,
    }
}

#[pymethods]
impl Session {
    #[new]
    fn new(py: Python<'_>, model: &Model, threads: usize) -> PyResult<Self> {
        let model = Arc::clone(&model.model);
        let options = options!(SessionOptions {
            threads: Some(threads),
        });
        let session = Mutex::new(py.detach(|| Made::new(&model, &options))?);
        Ok(Self {
            model,
            options,
            session,
        })
    }

    fn isa(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.with(py, |session| Ok(session.isa().name()))
    }

    /// Of each text the tokens for each mask; and warnings about the targets.
    fn fill(
        &self,
        py: Python<'_>,
        inputs: Vec<String>,
        top_k: usize,
        targets: Option<Vec<String>>,
        truncate: bool,
    ) -> PyResult<(Vec<Masks>, Vec<String>)> {
        self.with(py, |session| {
            let mut warnings = Vec::new();
            let targets = match targets {
                None => None,
                Some(targets) => {
                    let tokenizer = session.model().tokenizer();
                    let resolved = Targets::resolve(tokenizer, &targets);
                    let (targets, of_targets) = resolved.map_err(|error| raise(&error))?;
                    for warning in of_targets {
                        let word =
                            tokenizer.ids(&format!(" {}", warning.target.trim_start()), false);
                        // A byte-level vocabulary has words with the space before them.
                        let hint = match (&warning.replacement, word.as_deref()) {
                            (Some(_), Ok(&[id])) => tokenizer.id_to_token(id),
                            _ => None,
                        };
                        let hint = hint.filter(|hint| warning.replacement.as_ref() != Some(hint));
                        warnings.push(match hint {
                            Some(hint) => format!("{warning} For the word, write `{hint}`."),
                            None => warning.to_string(),
                        });
                    }
                    Some(targets)
                }
            };
            let options = options!(FillOptions {
                top_k: top_k,
                targets: targets,
                truncate: truncate,
            });
            let mut task = FillMask::new(session).map_err(|error| raise(&error))?;
            let filled = answers(&mut task, texts(&inputs), &options)?;
            let fill = |fill: rq::Fill| (fill.score, fill.token, fill.token_str, fill.sequence);
            let mask = |fills: Vec<rq::Fill>| fills.into_iter().map(fill).collect();
            let text = |masks: Vec<Vec<rq::Fill>>| masks.into_iter().map(mask).collect();
            Ok((filled.into_iter().map(text).collect(), warnings))
        })
    }

    fn score(
        &self,
        py: Python<'_>,
        inputs: Vec<String>,
        method: &str,
        truncate: bool,
    ) -> PyResult<Vec<Score>> {
        let methods = [
            ("original", ScoreMethod::Original),
            ("within_word_l2r", ScoreMethod::WithinWordL2r),
        ];
        let options = options!(ScoreOptions {
            method: named("method", &methods, method)?,
            truncate: truncate,
        });
        self.with(py, |session| {
            let mut task = Scorer::new(session).map_err(|error| raise(&error))?;
            let scores = answers(&mut task, texts(&inputs), &options)?;
            let token = |t: rq::TokenScore| (t.token, t.token_str, t.log_probability);
            let score = |score: rq::Score| {
                let perplexity = score.pseudo_perplexity();
                let tokens = score.tokens.into_iter().map(token).collect();
                (score.total, perplexity, tokens)
            };
            Ok(scores.into_iter().map(score).collect())
        })
    }

    /// A row for each text.
    fn embed<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<String>,
        options: Embed,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let options = options.options()?;
        let (values, dimension) = self.with(py, |session| {
            let mut task = Embedder::new(session);
            if task.per_token(&options) {
                return Err(PyValueError::new_err(
                    "pooling=\"none\" gives an embedding for each token: ask for encode(..., output_value=\"token_embeddings\")",
                ));
            }
            let dimension = task.dimension(&options).map_err(|error| raise(&error))?;
            let embeddings = answers(&mut task, texts(&inputs), &options)?;
            Ok((embeddings.into_iter().flat_map(|e| e.embedding).collect(), dimension))
        })?;
        matrix(values, dimension, py)
    }

    /// A matrix for each text, with a row for each token.
    fn embed_tokens<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<String>,
        options: Embed,
    ) -> PyResult<Vec<Bound<'py, PyArray2<f32>>>> {
        let mut options = options.options()?;
        options.pooling = Some(Pooling::None);
        let embeddings = self.with(py, |session| {
            answers(&mut Embedder::new(session), texts(&inputs), &options)
        })?;
        let rows = embeddings.into_iter();
        rows.map(|e| matrix(e.embedding, e.dimension, py)).collect()
    }

    fn embed_arrow(
        &self,
        py: Python<'_>,
        inputs: Vec<Option<String>>,
        options: Embed,
    ) -> PyResult<Embeddings> {
        let options = options.options()?;
        let valid: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        let inputs: Vec<String> = inputs.into_iter().flatten().collect();
        let (embeddings, dimension) = self.with(py, |session| {
            let mut task = Embedder::new(session);
            if task.per_token(&options) {
                return Err(PyValueError::new_err(
                    "pooling=\"none\" gives an embedding for each token, and a row has one",
                ));
            }
            let dimension = task.dimension(&options).map_err(|error| raise(&error))?;
            Ok((answers(&mut task, texts(&inputs), &options)?, dimension))
        })?;
        let mut values = Vec::with_capacity(valid.len() * dimension);
        let mut embeddings = embeddings.into_iter();
        for &valid in &valid {
            match valid.then(|| embeddings.next()).flatten() {
                Some(embedding) => values.extend(embedding.embedding),
                None => values.resize(values.len() + dimension, 0.0),
            }
        }
        Embeddings::new(values, dimension, valid)
    }

    /// The width of an embedding.
    fn dimension(&self, py: Python<'_>, options: Embed) -> PyResult<usize> {
        let options = options.options()?;
        self.with(py, |session| {
            let dimension = Embedder::new(session).dimension(&options);
            dimension.map_err(|error| raise(&error))
        })
    }

    fn sparse(
        &self,
        py: Python<'_>,
        inputs: Vec<String>,
        most: Option<usize>,
        prompt_name: Option<String>,
        truncate: bool,
    ) -> PyResult<(Vec<Sparse>, usize)> {
        let options = options!(SparseOptions {
            max_active_dims: most,
            prompt: prompt(prompt_name, None),
            truncate: truncate,
        });
        self.with(py, |session| {
            let mut task = SparseEmbedder::new(session).map_err(|error| raise(&error))?;
            let dimension = task.dimension();
            let embeddings = answers(&mut task, texts(&inputs), &options)?;
            let sparse = embeddings.into_iter().map(|e| (e.indices, e.values));
            Ok((sparse.collect(), dimension))
        })
    }

    /// Of each text, or pair of texts, the labels by descending score.
    fn classify(
        &self,
        py: Python<'_>,
        inputs: Vec<(String, Option<String>)>,
        top_k: Option<usize>,
        function: Option<&str>,
        truncate: bool,
    ) -> PyResult<Vec<Vec<Label>>> {
        let functions = [
            ("softmax", ScoreFunction::Softmax),
            ("sigmoid", ScoreFunction::Sigmoid),
            ("none", ScoreFunction::None),
        ];
        let function = function.map(|name| named("function_to_apply", &functions, name));
        let options = options!(ClassifyOptions {
            top_k: top_k,
            function: function.transpose()?,
            truncate: truncate,
        });
        self.with(py, |session| {
            let mut task = Classifier::new(session).map_err(|error| raise(&error))?;
            let inputs = inputs.iter().map(|(text, pair)| {
                let bytes = text.len() + pair.as_ref().map_or(0, String::len);
                let texts = match pair {
                    None => Texts::from(text),
                    Some(pair) => Texts::from((text, pair)),
                };
                (bytes, texts)
            });
            let scores = answers(&mut task, inputs, &options)?;
            Ok(scores.into_iter().map(labels).collect())
        })
    }

    /// Of each text the labels by descending score. The model's label that counts is named after entailment, or given.
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn zero_shot(
        &self,
        py: Python<'_>,
        inputs: Vec<String>,
        candidates: Vec<String>,
        template: &str,
        multi_label: bool,
        entailment_label: Option<&str>,
        truncate: bool,
    ) -> PyResult<Vec<Vec<Label>>> {
        let options = options!(ZeroShotOptions {
            multi_label: multi_label,
            truncate: truncate,
        });
        self.with(py, |session| {
            let task = ZeroShot::new(session, &candidates, template);
            let mut task = task.map_err(|error| raise(&error))?;
            let of_model = || format!("{:?}", task.model().config().labels);
            if let Some(label) = entailment_label {
                let (of_model, named) = (of_model(), task.with_entailment(label));
                task = named.ok_or_else(|| {
                    PyValueError::new_err(format!(
                        "entailment_label is {label:?}; the model's labels are {of_model}"
                    ))
                })?;
            } else if !task.entailment_is_named() {
                return Err(TaskError::new_err(format!(
                    "the model isn't known to be one of entailment (NLI), which zero-shot classification needs: none of its \
                     labels, {}, is named after it; if one means it, name it with entailment_label",
                    of_model()
                )));
            }
            let scores = answers(&mut task, texts(&inputs), &options)?;
            Ok(scores.into_iter().map(labels).collect())
        })
    }

    fn tag(
        &self,
        py: Python<'_>,
        inputs: Vec<String>,
        aggregation: &str,
        stride: Option<usize>,
        ignore_labels: Vec<String>,
    ) -> PyResult<Vec<Vec<Entity>>> {
        let aggregations = [
            ("none", Aggregation::None),
            ("simple", Aggregation::Simple),
            ("first", Aggregation::First),
            ("average", Aggregation::Average),
            ("max", Aggregation::Max),
        ];
        let options = options!(TagOptions {
            aggregation: named("aggregation_strategy", &aggregations, aggregation)?,
            stride: stride,
            ignore_labels: ignore_labels,
        });
        self.with(py, |session| {
            let mut task = Tagger::new(session).map_err(|error| raise(&error))?;
            let tagged = answers(&mut task, texts(&inputs), &options)?;
            let entity = |e: rq::Entity| {
                let characters = e.characters;
                (
                    e.label,
                    e.score,
                    e.index,
                    e.word,
                    characters.start,
                    characters.end,
                )
            };
            let entities = |entities: Vec<rq::Entity>| entities.into_iter().map(entity).collect();
            Ok(tagged.into_iter().map(entities).collect())
        })
    }

    /// Of each list of words a label and its score for each word.
    fn tag_words(
        &self,
        py: Python<'_>,
        inputs: Vec<Vec<String>>,
    ) -> PyResult<Vec<Vec<Option<WordLabel>>>> {
        self.with(py, |session| {
            let mut task = WordTagger::new(session).map_err(|error| raise(&error))?;
            let inputs = inputs.iter().map(|words| {
                let bytes = words.iter().map(String::len).sum();
                (bytes, words)
            });
            let tagged = answers(&mut task, inputs, &())?;
            let tag = |tag: Option<rq::WordTag>| tag.map(|tag| (tag.label, tag.score));
            let tags = |tags: Vec<Option<rq::WordTag>>| tags.into_iter().map(tag).collect();
            Ok(tagged.into_iter().map(tags).collect())
        })
    }

    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn answer(
        &self,
        py: Python<'_>,
        inputs: Vec<(String, String)>,
        top_k: usize,
        max_answer_len: usize,
        max_seq_len: Option<usize>,
        doc_stride: Option<usize>,
        handle_impossible_answer: bool,
        align_to_words: bool,
    ) -> PyResult<Vec<Vec<Answer>>> {
        let options = options!(AnswerOptions {
            top_k: top_k,
            max_answer_len: max_answer_len,
            max_seq_len: max_seq_len,
            doc_stride: doc_stride,
            handle_impossible_answer: handle_impossible_answer,
            align_to_words: align_to_words,
        });
        self.with(py, |session| {
            let mut task = Answerer::new(session).map_err(|error| raise(&error))?;
            let inputs = inputs.iter().map(|(question, context)| {
                let bytes = question.len() + context.len();
                (bytes, (question, context))
            });
            let answered = answers(&mut task, inputs, &options)?;
            let answer = |a: rq::Answer| (a.score, a.characters.start, a.characters.end, a.answer);
            let all = |found: Vec<rq::Answer>| found.into_iter().map(answer).collect();
            Ok(answered.into_iter().map(all).collect())
        })
    }
}
