//! The C interface, called as a C program calls it: what it refuses, with which status and message, and that it answers as the
//! library does. What only a C program can show (its header, leaks, races) is in `capi/`.

use crate::common::options;
use crate::common::{convert_to, tests_path};
use rq::{
    AnswerOptions, Answerer, Batch, Classifier, ClassifyOptions, EmbedOptions, Embedder, FillMask,
    FillOptions, Model, Prompt, Rows, ScoreOptions, Scorer, Session, SessionOptions, TagOptions,
    Tagger, Task, Texts, ZeroShot, ZeroShotOptions,
};
use rq_capi::*;
use rq_convert::Quant;
use std::ffi::{CStr, c_char};
use std::io::Write;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

pub(crate) const TEXT: &str = "She opened the <mask> and walked into the garden.";
pub(crate) const TOPIC: &str = "The striker scored two goals in the final.";
pub(crate) const NAMES: &str = "Anna works in Berlin.";
pub(crate) const QUESTION: &str = "Where does Anna live?";
pub(crate) const CONTEXT: &str = "Anna lives in Berlin. Peter lives in Rome.";

/// The small English model of this repository.
pub(crate) fn demo() -> PathBuf {
    tests_path("../src/demo-model.rq")
}

/// A model of `tests/data/tasks`, converted once.
pub(crate) fn task_model(name: &str) -> PathBuf {
    static MODELS: OnceLock<TempDir> = OnceLock::new();
    let directory = MODELS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        for name in ["topics", "tags", "answers", "nli"] {
            let output = directory.path().join(name);
            convert_to(
                &tests_path("data/tasks").join(name),
                Quant::Q8,
                &output.with_extension("rq"),
            );
        }
        directory
    });
    directory.path().join(name).with_extension("rq")
}

/// A string, as C passes it.
pub(crate) fn bytes(text: &str) -> (*const c_char, usize) {
    (text.as_ptr().cast(), text.len())
}

pub(crate) fn said(message: &rq_message) -> &str {
    // SAFETY: every message ends with NUL.
    unsafe { CStr::from_ptr(message.text.as_ptr()) }
        .to_str()
        .unwrap()
}

/// A string of a list: `len` bytes and a NUL.
pub(crate) fn string(string: rq_string) -> String {
    // SAFETY: the list lives.
    let text = unsafe { CStr::from_ptr(string.data) };
    assert_eq!(text.count_bytes(), string.len);
    text.to_str().unwrap().to_owned()
}

/// The items of a list, which may be NULL where there are none.
pub(crate) fn items<'a, T>(items: *const T, len: usize) -> &'a [T] {
    match len {
        0 => &[],
        // SAFETY: the list lives.
        _ => unsafe { std::slice::from_raw_parts(items, len) },
    }
}

/// Options as C writes them: the size, these fields, and zeros.
macro_rules! c_options {
    ($kind:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut options: $kind = $crate::calls::zeros();
        options.size = size_of::<$kind>();
        $(options.$field = $value;)*
        options
    }};
}
pub(crate) use c_options;

/// Options that are all zeros.
pub(crate) fn zeros<T: Copy>() -> T {
    // SAFETY: numbers and pointers, of which zeros are a value.
    unsafe { std::mem::zeroed() }
}

pub(crate) fn empty_message() -> rq_message {
    rq_message {
        text: [0; RQ_MESSAGE_SIZE],
    }
}

pub(crate) fn open(path: &Path) -> *mut rq_model {
    let (mut message, mut model) = (empty_message(), null_mut());
    let (data, len) = bytes(path.to_str().unwrap());
    // SAFETY: all of them live.
    let status = unsafe { rq_model_open(data, len, &raw mut message, &raw mut model) };
    assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
    model
}

pub(crate) fn session(model: *const rq_model, threads: usize) -> *mut rq_session {
    let (options, mut message, mut session) = (
        c_options!(rq_session_options { threads: threads }),
        empty_message(),
        null_mut(),
    );
    // SAFETY: all of them live.
    let status = unsafe { rq_session_new(model, &options, &raw mut message, &raw mut session) };
    assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
    session
}

/// A model and a session, freed at the end.
pub(crate) struct Opened {
    pub(crate) model: *mut rq_model,
    pub(crate) session: *mut rq_session,
}

impl Opened {
    pub(crate) fn new(path: &Path) -> Self {
        let model = open(path);
        Self {
            model,
            session: session(model, 1),
        }
    }

    /// Why the last call failed.
    pub(crate) fn message(&self) -> String {
        // SAFETY: the session lives.
        string(unsafe { rq_session_message(self.session) })
    }

    pub(crate) fn fill(
        &self,
        text: &str,
        options: Option<&rq_fill_options>,
    ) -> Result<Fills, rq_status> {
        fill(self.session, text, options)
    }

    pub(crate) fn embed(
        &self,
        text: &str,
        options: Option<&rq_embed_options>,
    ) -> Result<Vec<f32>, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        // SAFETY: the model lives.
        let mut out = vec![0.0; unsafe { rq_model_hidden_size(self.model) }];
        let ((data, len), mut count) = (bytes(text), 0);
        // SAFETY: all of them live.
        let status = unsafe {
            rq_embed(
                self.session,
                data,
                len,
                options,
                out.as_mut_ptr(),
                out.len(),
                &raw mut count,
            )
        };
        check(status)?;
        // SAFETY: the options live.
        let dimension = unsafe { options.as_ref() }.map_or(0, |o| o.dimension);
        let expected = if dimension == 0 { out.len() } else { dimension };
        assert_eq!(count, expected);
        out.truncate(count);
        Ok(out)
    }

    pub(crate) fn classify(
        &self,
        text: &str,
        pair: Option<&str>,
        options: Option<&rq_classify_options>,
    ) -> Result<Labels, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((data, len), mut list) = (bytes(text), null_mut());
        let (pair, pair_len) = pair.map_or((null(), 0), bytes);
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            let list_place = &raw mut list;
            check(rq_classify(
                self.session,
                data,
                len,
                pair,
                pair_len,
                options,
                list_place,
            ))?;
            let labels = labels(&*list);
            rq_label_list_free(list);
            Ok(labels)
        }
    }

    pub(crate) fn tag(
        &self,
        text: &str,
        options: Option<&rq_tag_options>,
    ) -> Result<Vec<Tagged>, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((data, len), mut list) = (bytes(text), null_mut());
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            check(rq_tag(self.session, data, len, options, &raw mut list))?;
            let entities = entities(&*list);
            rq_entity_list_free(list);
            Ok(entities)
        }
    }

    pub(crate) fn answer(
        &self,
        question: &str,
        context: &str,
        options: Option<&rq_answer_options>,
    ) -> Result<Vec<Answered>, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((question, question_len), (context, context_len)) = (bytes(question), bytes(context));
        let mut list = null_mut();
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            check(rq_answer(
                self.session,
                question,
                question_len,
                context,
                context_len,
                options,
                &raw mut list,
            ))?;
            let answers = answers(&*list);
            rq_answer_list_free(list);
            Ok(answers)
        }
    }

    pub(crate) fn score(
        &self,
        text: &str,
        options: Option<&rq_score_options>,
    ) -> Result<Scored, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((data, len), mut list) = (bytes(text), null_mut());
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            check(rq_score(self.session, data, len, options, &raw mut list))?;
            let score = scored(&*list);
            rq_score_list_free(list);
            Ok(score)
        }
    }

    pub(crate) fn zero_shot(
        &self,
        text: &str,
        labels: &[&str],
        options: Option<&rq_zero_shot_options>,
    ) -> Result<Labels, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((data, len), mut list) = (bytes(text), null_mut());
        let given = texts(labels);
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            check(rq_zero_shot(
                self.session,
                data,
                len,
                given.as_ptr(),
                given.len(),
                options,
                &raw mut list,
            ))?;
            let labels = self::labels(&*list);
            rq_label_list_free(list);
            Ok(labels)
        }
    }
}

/// Texts, as C passes them.
pub(crate) fn texts(texts: &[&str]) -> Vec<rq_text> {
    let text = |text: &&str| rq_text {
        data: text.as_ptr().cast(),
        len: text.len(),
    };
    texts.iter().map(text).collect()
}

/// Label, number and score.
pub(crate) type Labels = Vec<(String, usize, f32)>;

pub(crate) fn labels(list: &rq_label_list) -> Labels {
    let labels = items(list.items, list.len).iter();
    labels
        .map(|l| (string(l.label), l.index, l.score))
        .collect()
}

/// Label, word and score of an entity, and where it is.
pub(crate) type Tagged = (String, String, f32, Range<usize>, Range<usize>);

pub(crate) fn entities(list: &rq_entity_list) -> Vec<Tagged> {
    let entity = |e: &rq_entity| {
        let characters = e.start_character..e.end_character;
        (
            string(e.label),
            string(e.word),
            e.score,
            e.start..e.end,
            characters,
        )
    };
    items(list.items, list.len).iter().map(entity).collect()
}

/// An answer, its score, and where it is.
pub(crate) type Answered = (String, f32, Range<usize>, Range<usize>);

pub(crate) fn answers(list: &rq_answer_list) -> Vec<Answered> {
    let answer = |a: &rq_answer_span| {
        let characters = a.start_character..a.end_character;
        (string(a.answer), a.score, a.start..a.end, characters)
    };
    items(list.items, list.len).iter().map(answer).collect()
}

/// The sum, the pseudo-perplexity if there is one, and token, text and logarithm of each token.
pub(crate) type Scored = (f64, Option<f64>, Vec<(u32, String, f64)>);

pub(crate) fn scored(list: &rq_score_list) -> Scored {
    let token = |t: &rq_token_score| (t.token, string(t.token_str), t.log_probability);
    let tokens = items(list.items, list.len).iter().map(token).collect();
    let perplexity = Some(list.pseudo_perplexity).filter(|x| !x.is_nan());
    (list.total, perplexity, tokens)
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: each is freed once, and used no more.
        unsafe {
            rq_session_free(self.session);
            rq_model_free(self.model);
        }
    }
}

pub(crate) fn check(status: rq_status) -> Result<(), rq_status> {
    match status {
        rq_status::RQ_OK => Ok(()),
        failed => Err(failed),
    }
}

/// Mask, score, id, token and sequence.
pub(crate) type Fills = Vec<(usize, f32, u32, String, String)>;

fn fill(
    session: *mut rq_session,
    text: &str,
    options: Option<&rq_fill_options>,
) -> Result<Fills, rq_status> {
    let options = options.map_or(null(), |o| o as *const _);
    let ((data, len), mut list) = (bytes(text), null_mut());
    // SAFETY: all of them live, and the list is freed once.
    unsafe {
        check(rq_fill(session, data, len, options, &raw mut list))?;
        let fills = fills(&*list);
        rq_fill_list_free(list);
        Ok(fills)
    }
}

pub(crate) fn fills(list: &rq_fill_list) -> Fills {
    let token = |f: &rq_fill_token| {
        let (token_str, sequence) = (string(f.token_str), string(f.sequence));
        (f.mask, f.score, f.token, token_str, sequence)
    };
    items(list.items, list.len).iter().map(token).collect()
}

fn with_library<R>(path: &Path, f: impl FnOnce(&mut Session) -> R) -> R {
    let model = Model::open(path).unwrap();
    let options = options!(SessionOptions {
        threads: Some(1),
        isa: None,
    });
    f(&mut Session::new(model, &options).unwrap())
}

#[test]
fn fills_and_embeddings_are_those_of_the_library() {
    let c = Opened::new(&demo());
    with_library(&demo(), |session| {
        for text in [TEXT, "A <mask> in the hand is worth two in the <mask>."] {
            let expected = FillMask::new(&mut *session)
                .unwrap()
                .run_one(text, &FillOptions::default())
                .unwrap();
            let expected: Fills = (0..)
                .zip(&expected)
                .flat_map(|(mask, fills)| {
                    fills.iter().map(move |f| {
                        let (token_str, sequence) = (f.token_str.clone(), f.sequence.clone());
                        (mask, f.score, f.token, token_str, sequence)
                    })
                })
                .collect();
            assert_eq!(c.fill(text, None), Ok(expected));

            let embedding = Embedder::new(&mut *session)
                .run_one(text, &EmbedOptions::default())
                .unwrap();
            assert_eq!(c.embed(text, None), Ok(embedding.embedding));

            let ids = session.model().tokenizer().encode(text, false).unwrap().ids;
            let expected = session
                .hidden_states(&Batch::from_iter([&ids]), Rows::All)
                .unwrap();
            let (mut found, mut found_ids, mut tokens) =
                (vec![0.0; expected.len()], vec![0; ids.len()], 0);
            let (data, len) = bytes(text);
            // SAFETY: all of them live, and have room.
            let status = unsafe {
                rq_hidden_states(
                    c.session,
                    data,
                    len,
                    found_ids.as_mut_ptr(),
                    found.as_mut_ptr(),
                    found.len(),
                    &raw mut tokens,
                )
            };
            assert_eq!(status, rq_status::RQ_OK);
            assert_eq!((tokens, found_ids, found), (ids.len(), ids, expected));
        }
    });
    // SAFETY: the model lives.
    unsafe {
        assert_eq!(rq_model_head(c.model), rq_head::RQ_HEAD_MASKED_LM);
        assert_eq!(string(rq_model_mask_token(c.model)), "<mask>");
        assert_eq!(rq_model_hidden_size(c.model), 256);
        assert_eq!(rq_model_max_tokens(c.model), 128);
        assert_eq!(rq_model_label_count(c.model), 0);
        rq_model_prefetch(c.model);
        assert_eq!(rq_abi_version(), RQ_ABI_VERSION);
        let version = CStr::from_ptr(rq_version()).to_str();
        assert_eq!(version, Ok(env!("CARGO_PKG_VERSION")));
    }
}

/// A sentence encoder with prompts, whose publisher puts one of them before each text.
fn model_with_prompts(directory: &Path) -> PathBuf {
    let published = tests_path("goldens/architectures/sentence-mean");
    let copy = directory.join("prompts");
    for part in ["", "1_Pooling"] {
        std::fs::create_dir_all(copy.join(part)).unwrap();
        for entry in std::fs::read_dir(published.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    let settings =
        r#"{"prompts": {"query": "To find: ", "passage": ""}, "default_prompt_name": "query"}"#;
    std::fs::write(copy.join("config_sentence_transformers.json"), settings).unwrap();
    let model = directory.join("prompts.rq");
    convert_to(&copy, Quant::Q8, &model);
    model
}

#[test]
fn options_of_embeddings_are_those_of_the_library() {
    let directory = tempfile::tempdir().unwrap();
    let path = model_with_prompts(directory.path());
    let c = Opened::new(&path);
    let text = "a tree near the river";
    let embed = |change: &dyn Fn(&mut rq_embed_options)| {
        let mut options = c_options!(rq_embed_options {});
        change(&mut options);
        c.embed(text, Some(&options))
    };
    let library = |prompt: Prompt, dimension: Option<usize>| {
        let options = options!(EmbedOptions { prompt, dimension });
        with_library(&path, |session| {
            let answer = Embedder::new(session).run_one(text, &options);
            answer.unwrap().embedding
        })
    };

    let query = library(Prompt::Published, None);
    let passage = library(Prompt::Named("passage".into()), None);
    let title = library(Prompt::Text("Title: ".into()), None);
    assert!(query != passage && query != title && passage != title);
    assert_eq!(c.embed(text, None).as_ref(), Ok(&query));
    assert_eq!(embed(&|o| o.prompt = c"query".as_ptr()), Ok(query.clone()));
    assert_eq!(
        embed(&|o| o.prompt = c"passage".as_ptr()).as_ref(),
        Ok(&passage)
    );
    assert_eq!(embed(&|o| o.prompt_text = c"Title: ".as_ptr()), Ok(title));
    assert_eq!(embed(&|o| o.prompt_text = c"".as_ptr()), Ok(passage));
    let cut = library(Prompt::Published, Some(8));
    assert_eq!(cut.len(), 8);
    assert_eq!(embed(&|o| o.dimension = 8), Ok(cut));

    assert_eq!(
        embed(&|o| o.prompt = c"title".as_ptr()),
        Err(rq_status::RQ_OPTION)
    );
    let message = c.message();
    assert!(
        message.contains("\"title\"") && message.contains("passage, query"),
        "{message}"
    );
    assert_eq!(
        embed(&|o| o.dimension = query.len() + 1),
        Err(rq_status::RQ_OPTION)
    );
    assert_eq!(
        embed(&|o| o.prompt_text = c"\xff".as_ptr()),
        Err(rq_status::RQ_NOT_UTF8)
    );
}

#[test]
fn labels_are_those_of_the_library() {
    let path = task_model("topics");
    let c = Opened::new(&path);
    with_library(&path, |session| {
        let mut classifier = Classifier::new(session).unwrap();
        for (pair, top_k) in [(None, None), (Some("And rain."), None), (None, Some(2))] {
            let options = options!(ClassifyOptions { top_k });
            let texts = Texts {
                text: TOPIC.into(),
                pair: pair.map(Into::into),
            };
            let expected = classifier.run_one(texts, &options).unwrap();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|l| (l.label, l.index, l.score))
                .collect();
            let options = c_options!(rq_classify_options {
                top_k: top_k.unwrap_or(0)
            });
            let found = c.classify(TOPIC, pair, Some(&options)).unwrap();
            assert_eq!(found, expected);
        }
    });
    // SAFETY: the model lives.
    unsafe {
        let head = rq_head::RQ_HEAD_SEQUENCE_CLASSIFICATION;
        assert_eq!(rq_model_head(c.model), head);
        assert_eq!(rq_model_label_count(c.model), 4);
        let labels: Vec<_> = (0..5).map(|i| string(rq_model_label(c.model, i))).collect();
        assert_eq!(labels, ["sports", "cooking", "weather", "money", ""]);
        assert_eq!(string(rq_model_label(c.model, usize::MAX)), "");
    }
    for function in 0..4 {
        let options = c_options!(rq_classify_options { function: function });
        assert_eq!(c.classify(TOPIC, None, Some(&options)).unwrap().len(), 4);
    }
}

#[test]
fn entities_and_answers_are_those_of_the_library() {
    let path = task_model("tags");
    let c = Opened::new(&path);
    let long = format!("{NAMES} ").repeat(40);
    with_library(&path, |session| {
        let mut tagger = Tagger::new(session).unwrap();
        for text in [NAMES, long.as_str()] {
            let expected = tagger.run_one(text, &TagOptions::default()).unwrap();
            assert!(!expected.is_empty());
            let expected = expected.into_iter();
            let expected: Vec<Tagged> = expected
                .map(|e| (e.label, e.word, e.score, e.bytes, e.characters))
                .collect();
            assert_eq!(c.tag(text, None), Ok(expected));
        }
    });
    for aggregation in 0..5 {
        let options = c_options!(rq_tag_options {
            aggregation: aggregation
        });
        assert!(!c.tag(NAMES, Some(&options)).unwrap().is_empty());
    }

    let path = task_model("answers");
    let c = Opened::new(&path);
    with_library(&path, |session| {
        let mut answerer = Answerer::new(session).unwrap();
        for top_k in [1, 3] {
            let options = options!(AnswerOptions { top_k });
            let expected = answerer.run_one((QUESTION, CONTEXT), &options).unwrap();
            let expected = expected.into_iter();
            let expected: Vec<Answered> = expected
                .map(|a| (a.answer, a.score, a.bytes, a.characters))
                .collect();
            let options = c_options!(rq_answer_options {
                top_k: if top_k == 1 { 0 } else { top_k }
            });
            assert_eq!(c.answer(QUESTION, CONTEXT, Some(&options)), Ok(expected));
        }
    });
}

#[test]
fn scores_and_labels_of_ones_own_are_those_of_the_library() {
    let c = Opened::new(&demo());
    with_library(&demo(), |session| {
        let mut scorer = Scorer::new(session).unwrap();
        for text in ["It rained.", ""] {
            let score = scorer.run_one(text, &ScoreOptions::default()).unwrap();
            let perplexity = score.pseudo_perplexity();
            let tokens = score.tokens.into_iter();
            let tokens = tokens.map(|t| (t.token, t.token_str, t.log_probability));
            let expected: Scored = (score.total, perplexity, tokens.collect());
            assert_eq!(c.score(text, None), Ok(expected));
        }
    });
    let whole_words = c_options!(rq_score_options { method: 1 });
    let score = c.score(TOPIC, Some(&whole_words)).unwrap();
    assert_ne!(score, c.score(TOPIC, None).unwrap());

    let path = task_model("nli");
    let c = Opened::new(&path);
    let labels = ["sports", "cooking", "money"];
    with_library(&path, |session| {
        for (template, multi_label) in [(None, false), (Some(c"It is about {}."), true)] {
            let text = template.map_or(ZeroShot::TEMPLATE, |t| t.to_str().unwrap());
            let mut task = ZeroShot::new(&mut *session, &labels, text).unwrap();
            let options = options!(ZeroShotOptions { multi_label });
            let expected = task.run_one(TOPIC, &options).unwrap().into_iter();
            let expected: Labels = expected.map(|l| (l.label, l.index, l.score)).collect();
            let options = c_options!(rq_zero_shot_options {
                hypothesis_template: template.map_or(null(), CStr::as_ptr),
                multi_label: multi_label.into(),
            });
            assert_eq!(c.zero_shot(TOPIC, &labels, Some(&options)), Ok(expected));
        }
    });
    for (labels, template, why) in [
        (&[][..], c"{}", "no label"),
        (&["", "a"][..], c"{}", "empty one"),
        (&["a"][..], c"no place", "has no {}"),
    ] {
        let options = c_options!(rq_zero_shot_options {
            hypothesis_template: template.as_ptr()
        });
        let answer = c.zero_shot(TOPIC, labels, Some(&options));
        assert_eq!(answer, Err(rq_status::RQ_OPTION));
        assert!(c.message().contains(why), "{}", c.message());
    }
}

/// Each pointer that must not be NULL, and each that may be.
#[test]
fn null_is_refused_by_name_or_harmless() {
    let c = Opened::new(&demo());
    let (data, len) = bytes(TEXT);
    let mut message = empty_message();
    let mut model: *mut rq_model = null_mut();
    let mut new_session: *mut rq_session = null_mut();
    let (mut fills, mut labels, mut entities, mut answers) =
        (null_mut(), null_mut(), null_mut(), null_mut());
    let mut out = vec![0.0; 256];
    use rq_status::*;
    // SAFETY: what isn't NULL lives.
    unsafe {
        let m = &raw mut message;
        assert_eq!(rq_model_open(null(), 3, m, &raw mut model), RQ_NULL);
        assert_eq!(said(&message), "path is NULL");
        let path = bytes("/");
        assert_eq!(rq_model_open(path.0, path.1, m, null_mut()), RQ_NULL);
        assert_eq!(said(&message), "model is NULL");
        assert_eq!(rq_model_open(null(), 3, null_mut(), null_mut()), RQ_NULL);
        assert_eq!(rq_model_open_fd(0, 0, 1, m, null_mut()), RQ_NULL);
        assert_eq!(rq_model_from_memory(null(), 1, m, &raw mut model), RQ_NULL);
        assert_eq!(said(&message), "data is NULL");
        assert_eq!(rq_model_from_memory(null(), 0, m, null_mut()), RQ_NULL);
        assert_eq!(
            rq_session_new(null(), null(), m, &raw mut new_session),
            RQ_NULL
        );
        assert_eq!(said(&message), "model is NULL");
        assert_eq!(rq_session_new(c.model, null(), m, null_mut()), RQ_NULL);
        assert_eq!(said(&message), "session is NULL");
        assert!(model.is_null() && new_session.is_null());

        // Without a session.
        let none = null_mut();
        assert_eq!(rq_fill(none, data, len, null(), &raw mut fills), RQ_NULL);
        assert_eq!(
            rq_embed(none, data, len, null(), out.as_mut_ptr(), 256, null_mut()),
            RQ_NULL
        );
        assert_eq!(
            rq_classify(none, data, len, null(), 0, null(), &raw mut labels),
            RQ_NULL
        );
        assert_eq!(rq_tag(none, data, len, null(), &raw mut entities), RQ_NULL);
        assert_eq!(
            rq_answer(none, data, len, data, len, null(), &raw mut answers),
            RQ_NULL
        );
        assert_eq!(
            rq_hidden_states(none, data, len, null_mut(), null_mut(), 0, null_mut()),
            RQ_NULL
        );
        assert_eq!(rq_session_reserve(none, 8), RQ_NULL);
        assert_eq!(rq_session_memory(none), 0);
        assert_eq!(string(rq_session_message(none)), "session is NULL");

        // Without a text, and without a place for the result.
        let s = c.session;
        for (status, name) in [
            (rq_fill(s, null(), len, null(), &raw mut fills), "text"),
            (rq_fill(s, data, len, null(), null_mut()), "list"),
            (
                rq_classify(s, null(), 1, null(), 0, null(), &raw mut labels),
                "text",
            ),
            (
                rq_classify(s, data, len, null(), 1, null(), &raw mut labels),
                "pair",
            ),
            (
                rq_classify(s, data, len, null(), 0, null(), null_mut()),
                "list",
            ),
            (rq_tag(s, null(), 1, null(), &raw mut entities), "text"),
            (rq_tag(s, data, len, null(), null_mut()), "list"),
            (
                rq_answer(s, null(), 1, data, len, null(), &raw mut answers),
                "question",
            ),
            (
                rq_answer(s, data, len, null(), 1, null(), &raw mut answers),
                "context",
            ),
            (
                rq_answer(s, data, len, data, len, null(), null_mut()),
                "list",
            ),
            (
                rq_embed(s, null(), 1, null(), out.as_mut_ptr(), 256, null_mut()),
                "text",
            ),
            (
                rq_embed(s, data, len, null(), null_mut(), 256, null_mut()),
                "out",
            ),
            (
                rq_hidden_states(s, null(), 1, null_mut(), null_mut(), 0, null_mut()),
                "text",
            ),
            (
                rq_hidden_states(s, data, len, null_mut(), null_mut(), 9999, null_mut()),
                "out",
            ),
        ] {
            assert_eq!(status, RQ_NULL, "{name}");
        }
        assert_eq!(c.message(), "out is NULL");
        assert!(fills.is_null() && labels.is_null() && entities.is_null() && answers.is_null());

        // What may be NULL.
        rq_model_free(null_mut());
        rq_session_free(null_mut());
        rq_fill_list_free(null_mut());
        rq_label_list_free(null_mut());
        rq_entity_list_free(null_mut());
        rq_answer_list_free(null_mut());
        rq_model_prefetch(null());
        assert_eq!(rq_model_head(null()), rq_head::RQ_HEAD_NONE);
        assert_eq!(rq_model_hidden_size(null()), 0);
        assert_eq!(rq_model_max_tokens(null()), 0);
        assert_eq!(rq_model_label_count(null()), 0);
        assert_eq!(string(rq_model_label(null(), 0)), "");
        assert_eq!(string(rq_model_mask_token(null())), "");
        // An empty text needs no pointer.
        assert_eq!(rq_fill(s, null(), 0, null(), &raw mut fills), RQ_TEXT);
        assert!(fills.is_null());
        // All options, and the messages, too.
        let mut second = null_mut();
        assert_eq!(
            rq_session_new(c.model, null(), null_mut(), &raw mut second),
            RQ_OK
        );
        rq_session_free(second);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let c = Opened::new(&demo());
    let bad = b"A dog\xff barks";
    let (data, len) = (bad.as_ptr().cast(), bad.len());
    let (text, text_len) = bytes(TEXT);
    let (mut message, mut model) = (empty_message(), null_mut());
    let (mut fills, mut labels, mut answers) = (null_mut(), null_mut(), null_mut());
    // SAFETY: all of them live.
    unsafe {
        let status = rq_model_open(data, len, &raw mut message, &raw mut model);
        assert_eq!(status, rq_status::RQ_NOT_UTF8);
        assert_eq!(said(&message), "path isn't UTF-8 at byte 5");
        let s = c.session;
        let status = rq_fill(s, data, len, null(), &raw mut fills);
        assert_eq!(status, rq_status::RQ_NOT_UTF8);
        assert_eq!(c.message(), "text isn't UTF-8 at byte 5");
        let status = rq_classify(s, text, text_len, data, len, null(), &raw mut labels);
        assert_eq!(status, rq_status::RQ_NOT_UTF8);
        assert_eq!(c.message(), "pair isn't UTF-8 at byte 5");
        let status = rq_answer(s, text, text_len, data, len, null(), &raw mut answers);
        assert_eq!(status, rq_status::RQ_NOT_UTF8);
        assert_eq!(c.message(), "context isn't UTF-8 at byte 5");
        // Cut within a character.
        let cut = "caf\u{e9}";
        let status = rq_fill(s, cut.as_ptr().cast(), 4, null(), &raw mut fills);
        assert_eq!(status, rq_status::RQ_NOT_UTF8);
        // Longer than memory.
        let status = rq_fill(s, text, usize::MAX, null(), &raw mut fills);
        assert_eq!(status, rq_status::RQ_OPTION);
    }
    assert!(c.fill(TEXT, None).is_ok());
    assert_eq!(c.message(), "");
}

#[test]
fn options_are_checked() {
    let c = Opened::new(&demo());
    let (mut message, mut new_session) = (empty_message(), null_mut());
    let options = c_options!(rq_session_options {
        threads: usize::MAX
    });
    // SAFETY: all of them live.
    let status =
        unsafe { rq_session_new(c.model, &options, &raw mut message, &raw mut new_session) };
    assert_eq!(status, rq_status::RQ_OPTION);
    assert!(
        said(&message).contains("at most 1024"),
        "{}",
        said(&message)
    );

    let fill = |top_k, truncate| {
        let options = c_options!(rq_fill_options {
            top_k: top_k,
            truncate: truncate
        });
        c.fill(TEXT, Some(&options))
    };
    assert_eq!(fill(usize::MAX, 0), Err(rq_status::RQ_OPTION));
    assert!(c.message().contains("vocabulary has only"));
    assert_eq!(fill(3, 255).unwrap().len(), 3);

    for (pooling, normalize) in [(7, 0), (-1, 0), (i32::MIN, 2), (0, 3), (0, -2)] {
        let options = c_options!(rq_embed_options {
            pooling: pooling,
            normalize: normalize
        });
        let answer = c.embed(TEXT, Some(&options));
        assert_eq!(answer, Err(rq_status::RQ_OPTION));
    }
    assert_eq!(c.message(), "normalize is -2, an invalid value");
    for method in [-1, 2] {
        let options = c_options!(rq_score_options { method: method });
        assert_eq!(c.score(TEXT, Some(&options)), Err(rq_status::RQ_OPTION));
    }
    let topics = Opened::new(&task_model("topics"));
    for function in [-1, 4] {
        let options = c_options!(rq_classify_options { function: function });
        let answer = topics.classify(TOPIC, None, Some(&options));
        assert_eq!(answer, Err(rq_status::RQ_OPTION));
    }
    let tags = Opened::new(&task_model("tags"));
    for aggregation in [-1, 5] {
        let options = c_options!(rq_tag_options {
            aggregation: aggregation
        });
        let answer = tags.tag(NAMES, Some(&options));
        assert_eq!(answer.unwrap_err(), rq_status::RQ_OPTION);
    }
    let answers = Opened::new(&task_model("answers"));
    // No error: as many answers as there can be.
    let options = c_options!(rq_answer_options {
        top_k: usize::MAX,
        max_answer_len: usize::MAX,
        handle_impossible_answer: 1,
    });
    let all = answers.answer(QUESTION, CONTEXT, Some(&options)).unwrap();
    assert!(all.len() > 10, "{}", all.len());
}

/// Of every structure: zeros but for the size are the defaults, and so is NULL.
#[test]
fn zeros_are_the_defaults() {
    let c = Opened::new(&demo());
    let fills = c.fill(TEXT, None).unwrap();
    assert_eq!(fills.len(), 5);
    let zeros = c_options!(rq_fill_options {});
    assert_eq!(c.fill(TEXT, Some(&zeros)), Ok(fills));
    let zeros = c_options!(rq_embed_options {});
    assert_eq!(c.embed(TEXT, Some(&zeros)), c.embed(TEXT, None));
    let zeros = c_options!(rq_score_options {});
    assert_eq!(c.score(TEXT, Some(&zeros)), c.score(TEXT, None));
    let topics = Opened::new(&task_model("topics"));
    let zeros = c_options!(rq_classify_options {});
    let labels = topics.classify(TOPIC, None, None);
    assert_eq!(topics.classify(TOPIC, None, Some(&zeros)), labels);
    let nli = Opened::new(&task_model("nli"));
    let (zeros, labels) = (c_options!(rq_zero_shot_options {}), ["sports", "money"]);
    let expected = nli.zero_shot(TOPIC, &labels, None);
    assert_eq!(nli.zero_shot(TOPIC, &labels, Some(&zeros)), expected);
    let tags = Opened::new(&task_model("tags"));
    let zeros = c_options!(rq_tag_options {});
    assert_eq!(tags.tag(NAMES, Some(&zeros)), tags.tag(NAMES, None));
    let answers = Opened::new(&task_model("answers"));
    let zeros = c_options!(rq_answer_options {});
    let expected = answers.answer(QUESTION, CONTEXT, None);
    assert_eq!(expected.as_ref().map(Vec::len), Ok(1));
    assert_eq!(answers.answer(QUESTION, CONTEXT, Some(&zeros)), expected);
}

/// A program may have been compiled for an older version of a structure, or a newer one.
#[test]
fn options_of_other_versions_are_read_as_far_as_they_go() {
    #[repr(C)]
    struct Newer {
        known: rq_fill_options,
        unknown: [u64; 4],
    }
    let c = Opened::new(&demo());
    let own = size_of::<rq_fill_options>();
    let fill = |size: usize, unknown: [u64; 4]| {
        let known = c_options!(rq_fill_options {
            size: size,
            top_k: 3,
            truncate: 1
        });
        let newer = Newer { known, unknown };
        let length = c.fill(TEXT, Some(&newer.known)).map(|fills| fills.len());
        (length, c.message())
    };
    let ok = |len| (Ok(len), String::new());
    assert_eq!(fill(own, [9; 4]), ok(3));
    // What an older structure doesn't have is its default, whatever stands there.
    assert_eq!(
        fill(std::mem::offset_of!(rq_fill_options, truncate), [9; 4]),
        ok(3)
    );
    assert_eq!(fill(size_of::<usize>(), [9; 4]), ok(5));
    // What a newer one has beside is 0, or an error.
    assert_eq!(fill(own + 8, [0, 9, 9, 9]), ok(3));
    assert_eq!(fill(own + 32, [0; 4]), ok(3));
    let (status, message) = fill(own + 32, [0, 0, 0, 1 << 56]);
    assert_eq!(status, Err(rq_status::RQ_OPTION));
    assert!(message.contains("newer"), "{message}");
    for size in [0, 1, 7, own + 1, own - 4, 4096, usize::MAX, usize::MAX - 7] {
        let (status, message) = fill(size, [0; 4]);
        assert_eq!(status, Err(rq_status::RQ_OPTION), "{size}");
        let expected =
            format!("the size of rq_fill_options is {size}: set it to sizeof(rq_fill_options)");
        assert_eq!(message, expected);
    }

    let (mut message, mut session) = (empty_message(), null_mut());
    let mut options = c_options!(rq_session_options { size: 0 });
    let mut new = |options: &rq_session_options| {
        // SAFETY: all of them live.
        unsafe { rq_session_new(c.model, options, &raw mut message, &raw mut session) }
    };
    assert_eq!(new(&options), rq_status::RQ_OPTION);
    options.size = size_of::<rq_session_options>();
    assert_eq!(new(&options), rq_status::RQ_OK);
    assert!(said(&message).contains("sizeof(rq_session_options)"));
    // SAFETY: it is freed once.
    unsafe { rq_session_free(session) };
}

#[test]
fn statuses_have_names() {
    let name = |status: i32| {
        // SAFETY: it ends with a NUL.
        unsafe { CStr::from_ptr(rq_status_name(status)) }
            .to_str()
            .unwrap()
    };
    let header = include_str!("../include/rq.h");
    for status in 0..13 {
        let line = format!("  {} = {status},\n", name(status));
        assert!(header.contains(&line), "{line}");
    }
    for status in [-1, 13, i32::MAX, i32::MIN] {
        assert_eq!(name(status), "unknown");
    }
}

#[test]
fn tokens_are_counted() {
    let c = Opened::new(&demo());
    let long = "word ".repeat(300);
    let count = |text: &str, pair: Option<&str>| {
        let ((data, len), (pair, pair_len)) = (bytes(text), pair.map_or((null(), 0), bytes));
        let (mut message, mut count) = (empty_message(), None);
        let mut place = rq_token_count {
            tokens: 0,
            truncated: 0,
            max: 0,
        };
        // SAFETY: all of them live.
        let status = unsafe {
            rq_count_tokens(
                c.model,
                data,
                len,
                pair,
                pair_len,
                &raw mut message,
                &raw mut place,
            )
        };
        if status == rq_status::RQ_OK {
            count = Some((place.tokens, place.truncated, place.max));
        }
        (count, said(&message).to_owned())
    };
    let tokenizer = Model::open(demo()).unwrap();
    let tokenizer = tokenizer.tokenizer();
    let encoded = tokenizer.encode(TEXT, false).unwrap().ids.len();
    assert_eq!(count(TEXT, None).0, Some((encoded, encoded, 128)));
    assert_eq!(count("", None).0, Some((2, 2, 128)));
    let (whole, truncated, max) = count(&long, None).0.unwrap();
    assert!(whole > 300 && (truncated, max) == (128, 128));
    let pair = tokenizer.encode_pair(TEXT, TOPIC, true).unwrap().ids.len();
    assert_eq!(count(TEXT, Some(TOPIC)).0, Some((pair, pair, 128)));
    assert_eq!(count(&long, Some(&long)).0.unwrap().1, 128);
    // The call that refuses the text says the same numbers.
    assert_eq!(
        c.fill(&format!("<mask>{long}"), None),
        Err(rq_status::RQ_TOO_LONG)
    );
    let (whole, ..) = count(&format!("<mask>{long}"), None).0.unwrap();
    assert!(
        c.message().contains(&format!("{whole} tokens")),
        "{}",
        c.message()
    );
    // SAFETY: NULL is refused.
    let status = unsafe { rq_count_tokens(null(), null(), 0, null(), 0, null_mut(), null_mut()) };
    assert_eq!(status, rq_status::RQ_NULL);
}

#[test]
fn texts_that_cannot_be_answered_say_why() {
    let c = Opened::new(&demo());
    assert_eq!(c.fill("", None), Err(rq_status::RQ_TEXT));
    assert_eq!(c.fill("No mask.", None), Err(rq_status::RQ_TEXT));
    assert!(c.message().contains("<mask>"), "{}", c.message());
    let long = format!("{TEXT} ").repeat(100);
    assert_eq!(c.fill(&long, None), Err(rq_status::RQ_TOO_LONG));
    assert!(c.message().contains("at most 128"), "{}", c.message());
    assert_eq!(c.embed(&long, None), Err(rq_status::RQ_TOO_LONG));
    let cut = c_options!(rq_fill_options { truncate: 1 });
    assert!(c.fill(&long, Some(&cut)).is_ok());
    assert_eq!(c.message(), "");
    let masked_late = format!("{} <mask>", "word ".repeat(300));
    let answer = c.fill(&masked_late, Some(&cut));
    assert_eq!(answer, Err(rq_status::RQ_TOO_LONG));

    // The model is for another task.
    let wrong = Err(rq_status::RQ_WRONG_HEAD);
    assert_eq!(c.classify(TOPIC, None, None), wrong);
    assert!(c.message().contains("classif"), "{}", c.message());
    assert_eq!(c.tag(NAMES, None).err(), Some(rq_status::RQ_WRONG_HEAD));
    let answer = c.answer(QUESTION, CONTEXT, None);
    assert_eq!(answer.err(), Some(rq_status::RQ_WRONG_HEAD));

    let topics = Opened::new(&task_model("topics"));
    assert_eq!(topics.fill(TEXT, None), Err(rq_status::RQ_WRONG_HEAD));
    let answers = Opened::new(&task_model("answers"));
    for (question, context, status) in [
        ("", CONTEXT, rq_status::RQ_TEXT),
        (QUESTION, "", rq_status::RQ_TEXT),
        (long.as_str(), CONTEXT, rq_status::RQ_TOO_LONG),
    ] {
        let answer = answers.answer(question, context, None);
        assert_eq!(answer.err(), Some(status), "{}", answers.message());
    }

    // A NUL in a text is a character like another.
    assert!(c.fill("A \0 <mask>.", None).is_ok());
}

/// A buffer that is too small is left alone, and the needed length is told.
#[test]
fn small_buffers_are_left_alone() {
    const CANARY: f32 = 1234.5;
    let c = Opened::new(&demo());
    let (data, len) = bytes(TEXT);
    let (mut out, mut needed) = (vec![CANARY; 300], 0);
    // SAFETY: all of them live, and have the stated room.
    unsafe {
        let s = c.session;
        for capacity in [0, 1, 255] {
            needed = 0;
            let status = rq_embed(
                s,
                data,
                len,
                null(),
                out.as_mut_ptr(),
                capacity,
                &raw mut needed,
            );
            assert_eq!((status, needed), (rq_status::RQ_BUFFER, 256));
            assert!(out.iter().all(|&x| x == CANARY));
        }
        let room = "out has room for 255 floats; the result has 256";
        assert_eq!(c.message(), room);
        let status = rq_embed(s, data, len, null(), null_mut(), 0, &raw mut needed);
        assert_eq!(status, rq_status::RQ_BUFFER);
        let status = rq_embed(s, data, len, null(), out.as_mut_ptr(), 300, &raw mut needed);
        assert_eq!((status, needed), (rq_status::RQ_OK, 256));
        assert!(out[256..].iter().all(|&x| x == CANARY));
        assert!(out[..256].iter().all(|&x| x != CANARY));

        let (mut tokens, mut ids) = (0, vec![u32::MAX; 64]);
        let status = rq_hidden_states(
            s,
            data,
            len,
            ids.as_mut_ptr(),
            null_mut(),
            0,
            &raw mut tokens,
        );
        assert_eq!(status, rq_status::RQ_BUFFER);
        assert!(tokens > 8 && ids.iter().all(|&id| id == u32::MAX));
        let mut out = vec![CANARY; tokens * 256 + 8];
        for (capacity, expected) in [
            (tokens * 256 - 1, rq_status::RQ_BUFFER),
            (tokens * 256, rq_status::RQ_OK),
        ] {
            let status = rq_hidden_states(
                s,
                data,
                len,
                ids.as_mut_ptr(),
                out.as_mut_ptr(),
                capacity,
                null_mut(),
            );
            assert_eq!(status, expected);
        }
        assert!(out[tokens * 256..].iter().all(|&x| x == CANARY));
        assert!(ids[tokens..].iter().all(|&id| id == u32::MAX));
    }
}

#[test]
fn files_that_are_no_models_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let sound = std::fs::read(demo()).unwrap();
    let try_open = |path: &Path| {
        let (mut message, mut model) = (empty_message(), null_mut());
        let (data, len) = bytes(path.to_str().unwrap());
        // SAFETY: all of them live.
        let status = unsafe { rq_model_open(data, len, &raw mut message, &raw mut model) };
        assert_eq!(model.is_null(), status != rq_status::RQ_OK);
        (status, said(&message).to_owned())
    };
    let (status, message) = try_open(&directory.path().join("missing.rq"));
    assert_eq!(status, rq_status::RQ_IO);
    assert!(message.contains("missing.rq"), "{message}");
    // The system's own reason stands behind it.
    assert!(message.contains("No such file"), "{message}");

    let path = directory.path().join("model.rq");
    for bytes in [&b""[..], b"not a model", &sound[..sound.len() - 64]] {
        std::fs::write(&path, bytes).unwrap();
        let (status, message) = try_open(&path);
        assert_eq!(status, rq_status::RQ_DAMAGED, "{message}");
        assert!(!message.is_empty());
    }
    // Every message names the file.
    let (_, message) = try_open(&path);
    assert!(message.starts_with(path.to_str().unwrap()), "{message}");
    // C would take it for the name before the NUL.
    let (status, message) = try_open(Path::new("src/demo-model.rq\0.txt"));
    assert_eq!(status, rq_status::RQ_OPTION);
    let expected =
        "path has a NUL at byte 17, which no file's name has: \"src/demo-model.rq\\0.txt\"";
    assert_eq!(message, expected);
    // A long path is cut in the message, between characters.
    let long = directory
        .path()
        .join("\u{e9}".repeat(120))
        .join("\u{e9}".repeat(400));
    let (_, message) = try_open(&long);
    assert_eq!(message.len().max(RQ_MESSAGE_SIZE - 2), message.len());
}

/// A model inside another file, as an asset in a package, wherever it begins.
#[test]
fn a_model_is_found_at_its_offset() {
    let expected = Opened::new(&demo()).fill(TEXT, None).unwrap();
    let sound = std::fs::read(demo()).unwrap();
    for offset in [0, 64, 4096, 100, 4097] {
        let mut package = tempfile::tempfile().unwrap();
        package.write_all(&vec![0xaa; offset]).unwrap();
        package.write_all(&sound).unwrap();
        package.write_all(&[0xaa; 1000]).unwrap();
        let (mut message, mut model) = (empty_message(), null_mut());
        let (offset, length) = (offset as u64, sound.len() as u64);
        // SAFETY: all of them live, and the file is open.
        unsafe {
            let (fd, m, place) = (package.as_raw_fd(), &raw mut message, &raw mut model);
            let status = rq_model_open_fd(fd, offset, length, m, place);
            assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
            // The descriptor isn't needed any more.
            drop(package);
            let session = session(model, 1);
            assert_eq!(
                fill(session, TEXT, None).as_ref(),
                Ok(&expected),
                "{offset}"
            );
            rq_session_free(session);
            rq_model_free(model);
        }
    }

    let file = std::fs::File::open(demo()).unwrap();
    let (fd, length) = (file.as_raw_fd(), sound.len() as u64);
    use rq_status::*;
    for (fd, offset, length, expected) in [
        (-1, 0, length, RQ_OPTION),
        (i32::MAX, 0, length, RQ_IO),
        (fd, 1, length, RQ_OPTION),
        (fd, 0, length + 1, RQ_OPTION),
        (fd, u64::MAX, u64::MAX, RQ_OPTION),
        (fd, 0, 0, RQ_DAMAGED),
        (fd, 64, length - 64, RQ_DAMAGED),
        (fd, 0, length - 64, RQ_DAMAGED),
    ] {
        let (mut message, mut model) = (empty_message(), null_mut());
        // SAFETY: all of them live; the descriptor that isn't open belongs to nothing.
        let status =
            unsafe { rq_model_open_fd(fd, offset, length, &raw mut message, &raw mut model) };
        assert_eq!(
            status,
            expected,
            "{fd} {offset} {length}: {}",
            said(&message)
        );
        assert!(model.is_null() && !said(&message).is_empty());
    }
}

#[test]
fn a_model_is_taken_from_memory() {
    let expected = Opened::new(&demo()).fill(TEXT, None).unwrap();
    let sound = std::fs::read(demo()).unwrap();
    let mut memory = vec![0; sound.len() + 128];
    let aligned = memory.as_ptr().align_offset(64);
    for at in [aligned, aligned + 1, aligned + 32] {
        memory[at..][..sound.len()].copy_from_slice(&sound);
        let (mut message, mut model) = (empty_message(), null_mut());
        // SAFETY: all of them live, and the memory lives as long as the model if it is used in place.
        unsafe {
            let (data, m, place) = (memory[at..].as_ptr(), &raw mut message, &raw mut model);
            let status = rq_model_from_memory(data, sound.len(), m, place);
            assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
            if at != aligned {
                // It was copied.
                memory.fill(0);
            }
            let session = session(model, 1);
            rq_model_free(model);
            assert_eq!(fill(session, TEXT, None).as_ref(), Ok(&expected));
            rq_session_free(session);

            let (mut model, data) = (null_mut(), memory.as_ptr());
            let status = rq_model_from_memory(data, 100, m, &raw mut model);
            assert_eq!(status, rq_status::RQ_DAMAGED);
            let status = rq_model_from_memory(null(), 0, m, &raw mut model);
            assert_eq!(status, rq_status::RQ_DAMAGED);
            assert!(model.is_null());
        }
    }
}

#[test]
fn a_model_may_be_freed_before_its_sessions() {
    let expected = Opened::new(&demo()).fill(TEXT, None).unwrap();
    let model = open(&demo());
    let sessions = [session(model, 1), session(model, 2)];
    // SAFETY: each is freed once, and used no more.
    unsafe {
        rq_model_free(model);
        for session in sessions {
            assert_eq!(rq_session_reserve(session, 128), rq_status::RQ_OK);
            let reserved = rq_session_memory(session);
            assert!(reserved > 0);
            assert_eq!(fill(session, TEXT, None).as_ref(), Ok(&expected));
            assert_eq!(rq_session_memory(session), reserved);
            // More than any text has, which is what the longest takes.
            assert_eq!(rq_session_reserve(session, usize::MAX), rq_status::RQ_OK);
            rq_session_free(session);
        }
    }
}

/// A session that two threads use at once answers to one of them, and says to the other that it is busy.
#[test]
fn a_session_is_used_by_one_thread_at_a_time() {
    struct Shared(*mut rq_session);
    // SAFETY: that is what is tested.
    unsafe impl Sync for Shared {}

    let expected = Opened::new(&demo()).fill(TEXT, None).unwrap();
    let model = open(&demo());
    let shared = Shared(session(model, 1));
    let (busy, done, over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let shared = &shared;
                while !over.load(Ordering::Relaxed) {
                    match fill(shared.0, TEXT, None) {
                        Ok(fills) => {
                            assert_eq!(fills, expected);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(status) => {
                            assert_eq!(status, rq_status::RQ_BUSY);
                            busy.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    let [busy, done] = [&busy, &done].map(|n| n.load(Ordering::Relaxed));
                    if busy >= 3 && done >= 3 {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // SAFETY: each is freed once, and no thread uses it.
    unsafe {
        rq_session_free(shared.0);
        rq_model_free(model);
    }
}

/// MXCSR with every rounding upwards, and with subnormal numbers that count as zero.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_settings_for_floats_are_the_defaults_within_a_call_and_the_callers_after_it() {
    use std::arch::asm;
    const HOSTILE: u32 = 0x1f80 | 1 << 15 | 2 << 13 | 1 << 6;
    let set = |settings: u32| {
        // SAFETY: the bits are those of MXCSR that may be set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const settings) };
    };
    let get = || {
        let mut settings = 0u32;
        // SAFETY: it is written to a number of its size.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut settings) };
        settings
    };
    let model = open(&demo());
    for threads in [1, 2] {
        let embed = |settings: u32| {
            set(settings);
            let session = session(model, threads);
            let mut out = vec![0.0; 4096];
            let (data, len) = bytes(TOPIC);
            let mut width = 0;
            // SAFETY: the session lives, and the room is as long as it says.
            let status = unsafe {
                rq_embed(
                    session,
                    data,
                    len,
                    null(),
                    out.as_mut_ptr(),
                    4096,
                    &raw mut width,
                )
            };
            // But for the flags of what happened.
            let after = get() & !0x3f;
            set(0x1f80);
            // SAFETY: it isn't used after this.
            unsafe { rq_session_free(session) };
            assert_eq!((status, after), (rq_status::RQ_OK, settings & !0x3f));
            out.truncate(width);
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(embed(0x1f80), embed(HOSTILE));
    }
    // SAFETY: its sessions were freed.
    unsafe { rq_model_free(model) };
}

/// In the child of a fork, which has none of the parent's threads: an error for a session of several, an answer for one of one.
#[test]
fn a_forked_process_gets_an_error_and_does_not_hang() {
    let model = open(&demo());
    let sessions = [session(model, 1), session(model, 2)];
    let fill = |session: *mut rq_session| {
        let (data, len) = bytes(TEXT);
        let mut list = null_mut();
        // SAFETY: the session lives, and the text is as long as it says.
        unsafe { rq_fill(session, data, len, null(), &raw mut list) }
    };
    assert_eq!(sessions.map(fill), [rq_status::RQ_OK; 2]);
    // SAFETY: the child calls only what is tested here, and ends without going through this process's own ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let found = sessions.map(fill);
        let code = i32::from(found != [rq_status::RQ_OK, rq_status::RQ_OPTION]);
        // SAFETY: it has no precondition.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    let begun = std::time::Instant::now();
    // SAFETY: the child is this process's, and `status` a number of its type.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if begun.elapsed().as_secs() > 60 {
            // SAFETY: it is this process's child, which hangs.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(status, 0);
    for session in sessions {
        // SAFETY: each was made above, and isn't used after this.
        unsafe { rq_session_free(session) };
    }
    // SAFETY: its sessions were freed.
    unsafe { rq_model_free(model) };
}
