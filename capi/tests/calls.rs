//! The C interface, called as a C program calls it: what it refuses, with which status and message, and that it answers as the
//! library does. What only a C program can show (its header, leaks, races) is in `capi/`.

use crate::common::options;
use crate::common::{convert_to, tests_path};
use rq::{
    AnswerOptions, Answerer, Batch, Classifier, ClassifyOptions, EmbedOptions, Embedder, FillMask,
    FillOptions, Model, Prompt, Question, Rows, Session, SessionOptions, TagOptions, Tagger, Task,
    Texts,
};
use rq_capi::*;
use rq_convert::Quant;
use std::ffi::{CStr, c_char};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

const TEXT: &str = "She opened the <mask> and walked into the garden.";
const TOPIC: &str = "The striker scored two goals in the final.";
const NAMES: &str = "Anna works in Berlin.";
const QUESTION: &str = "Where does Anna live?";
const CONTEXT: &str = "Anna lives in Berlin. Peter lives in Rome.";

/// The small English model of this repository.
fn demo() -> PathBuf {
    tests_path("../src/demo-model.rq")
}

/// A model of `tests/data/tasks`, converted once.
fn task_model(name: &str) -> PathBuf {
    static MODELS: OnceLock<TempDir> = OnceLock::new();
    let directory = MODELS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        for name in ["topics", "tags", "answers"] {
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
fn bytes(text: &str) -> (*const c_char, usize) {
    (text.as_ptr().cast(), text.len())
}

fn said(message: &rq_message) -> &str {
    // SAFETY: every message ends with NUL.
    unsafe { CStr::from_ptr(message.text.as_ptr()) }
        .to_str()
        .unwrap()
}

/// A string of a list: `len` bytes and a NUL.
fn string(string: rq_string) -> String {
    // SAFETY: the list lives.
    let text = unsafe { CStr::from_ptr(string.data) };
    assert_eq!(text.count_bytes(), string.len);
    text.to_str().unwrap().to_owned()
}

fn empty_message() -> rq_message {
    rq_message {
        text: [0; RQ_MESSAGE_SIZE],
    }
}

fn open(path: &Path) -> *mut rq_model {
    let (mut message, mut model) = (empty_message(), null_mut());
    let (data, len) = bytes(path.to_str().unwrap());
    // SAFETY: all of them live.
    let status = unsafe { rq_model_open(data, len, &raw mut message, &raw mut model) };
    assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
    model
}

fn session(model: *const rq_model, threads: usize) -> *mut rq_session {
    let (options, mut message, mut session) =
        (rq_session_options { threads }, empty_message(), null_mut());
    // SAFETY: all of them live.
    let status = unsafe { rq_session_new(model, &options, &raw mut message, &raw mut session) };
    assert_eq!(status, rq_status::RQ_OK, "{}", said(&message));
    session
}

/// A model and a session, freed at the end.
struct Opened {
    model: *mut rq_model,
    session: *mut rq_session,
}

impl Opened {
    fn new(path: &Path) -> Self {
        let model = open(path);
        Self {
            model,
            session: session(model, 1),
        }
    }

    /// Why the last call failed.
    fn message(&self) -> String {
        // SAFETY: the session lives.
        string(unsafe { rq_session_message(self.session) })
    }

    fn fill(&self, text: &str, options: Option<&rq_fill_options>) -> Result<Fills, rq_status> {
        fill(self.session, text, options)
    }

    fn embed(&self, text: &str, options: Option<&rq_embed_options>) -> Result<Vec<f32>, rq_status> {
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

    fn classify(
        &self,
        text: &str,
        pair: Option<&str>,
        options: Option<&rq_classify_options>,
    ) -> Result<Vec<(String, usize, f32)>, rq_status> {
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
            let items = std::slice::from_raw_parts((*list).items, (*list).len);
            let labels = items
                .iter()
                .map(|l| (string(l.label), l.index, l.score))
                .collect();
            rq_label_list_free(list);
            Ok(labels)
        }
    }

    fn tag(
        &self,
        text: &str,
        options: Option<&rq_tag_options>,
    ) -> Result<Vec<(rq_entity, String, String)>, rq_status> {
        let options = options.map_or(null(), |o| o as *const _);
        let ((data, len), mut list) = (bytes(text), null_mut());
        // SAFETY: all of them live, and the list is freed once.
        unsafe {
            check(rq_tag(self.session, data, len, options, &raw mut list))?;
            let items = match (*list).len {
                0 => &[],
                len => std::slice::from_raw_parts((*list).items, len),
            };
            let entities = items
                .iter()
                .map(|e| (*e, string(e.label), string(e.word)))
                .collect();
            rq_entity_list_free(list);
            Ok(entities)
        }
    }

    fn answer(
        &self,
        question: &str,
        context: &str,
        options: Option<&rq_answer_options>,
    ) -> Result<Vec<(rq_answer_span, String)>, rq_status> {
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
            let items = std::slice::from_raw_parts((*list).items, (*list).len);
            let answers = items.iter().map(|a| (*a, string(a.answer))).collect();
            rq_answer_list_free(list);
            Ok(answers)
        }
    }
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

fn check(status: rq_status) -> Result<(), rq_status> {
    match status {
        rq_status::RQ_OK => Ok(()),
        failed => Err(failed),
    }
}

/// Mask, score, id, token and sequence.
type Fills = Vec<(usize, f32, u32, String, String)>;

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
        let items = std::slice::from_raw_parts((*list).items, (*list).len);
        let fills = items
            .iter()
            .map(|f| {
                (
                    f.mask,
                    f.score,
                    f.token,
                    string(f.token_str),
                    string(f.sequence),
                )
            })
            .collect();
        rq_fill_list_free(list);
        Ok(fills)
    }
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
        let mut options = rq_embed_options_default();
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
            let options = rq_classify_options {
                top_k: top_k.unwrap_or(0),
                ..rq_classify_options_default()
            };
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
        let options = rq_classify_options {
            function,
            ..rq_classify_options_default()
        };
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
            let found = c.tag(text, None).unwrap();
            assert_eq!(found.len(), expected.len());
            for ((found, label, word), expected) in found.iter().zip(&expected) {
                assert_eq!((label, word), (&expected.label, &expected.word));
                assert_eq!(found.score, expected.score);
                assert_eq!(found.start..found.end, expected.bytes);
                let characters = found.start_character..found.end_character;
                assert_eq!(characters, expected.characters);
            }
        }
    });
    for aggregation in 0..5 {
        let options = rq_tag_options { aggregation };
        assert!(!c.tag(NAMES, Some(&options)).unwrap().is_empty());
    }

    let path = task_model("answers");
    let c = Opened::new(&path);
    with_library(&path, |session| {
        let input = Question {
            question: QUESTION.into(),
            context: CONTEXT.into(),
        };
        let options = options!(AnswerOptions { top_k: 3 });
        let mut answerer = Answerer::new(session).unwrap();
        let expected = answerer.run_one(input, &options).unwrap();
        let options = rq_answer_options {
            top_k: 3,
            ..rq_answer_options_default()
        };
        let found = c.answer(QUESTION, CONTEXT, Some(&options)).unwrap();
        assert_eq!(found.len(), expected.len());
        for ((found, answer), expected) in found.iter().zip(&expected) {
            assert_eq!((answer, found.score), (&expected.answer, expected.score));
            assert_eq!(found.start..found.end, expected.bytes);
            let characters = found.start_character..found.end_character;
            assert_eq!(characters, expected.characters);
        }
    });
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
    let options = rq_session_options {
        threads: usize::MAX,
    };
    // SAFETY: all of them live.
    let status =
        unsafe { rq_session_new(c.model, &options, &raw mut message, &raw mut new_session) };
    assert_eq!(status, rq_status::RQ_OPTION);
    assert!(
        said(&message).contains("at most 1024"),
        "{}",
        said(&message)
    );

    let fill = |top_k, truncate| c.fill(TEXT, Some(&rq_fill_options { top_k, truncate }));
    assert_eq!(fill(usize::MAX, 0), Err(rq_status::RQ_OPTION));
    assert!(c.message().contains("vocabulary has only"));
    assert_eq!(fill(0, 0), Err(rq_status::RQ_OPTION));
    assert_eq!(fill(3, 255).unwrap().len(), 3);

    for (pooling, normalize) in [(7, -1), (-1, -1), (i32::MIN, 0), (0, 2), (0, -2)] {
        let options = rq_embed_options {
            pooling,
            normalize,
            ..rq_embed_options_default()
        };
        let answer = c.embed(TEXT, Some(&options));
        assert_eq!(answer, Err(rq_status::RQ_OPTION));
    }
    assert_eq!(c.message(), "normalize is -2, an invalid value");
    let topics = Opened::new(&task_model("topics"));
    for function in [-1, 4] {
        let options = rq_classify_options {
            function,
            ..rq_classify_options_default()
        };
        let answer = topics.classify(TOPIC, None, Some(&options));
        assert_eq!(answer, Err(rq_status::RQ_OPTION));
    }
    let tags = Opened::new(&task_model("tags"));
    for aggregation in [-1, 5] {
        let answer = tags.tag(NAMES, Some(&rq_tag_options { aggregation }));
        assert_eq!(answer.unwrap_err(), rq_status::RQ_OPTION);
    }
    let answers = Opened::new(&task_model("answers"));
    for (top_k, max_answer_len) in [(0, 15), (1, 0), (usize::MAX, usize::MAX)] {
        let options = rq_answer_options {
            top_k,
            max_answer_len,
            handle_impossible_answer: 1,
        };
        // Odd, but no error: as many answers as there can be.
        let _ = answers.answer(QUESTION, CONTEXT, Some(&options));
        assert!(answers.answer(QUESTION, CONTEXT, None).is_ok());
    }
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
    let cut = rq_fill_options {
        truncate: 1,
        ..rq_fill_options_default()
    };
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
