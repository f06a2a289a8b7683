//! Batches in C: each text has the answer that it has alone, or a status and a message of its own.

use crate::calls::*;
use rq_capi::*;
use std::ptr::{null, null_mut};

/// A text that isn't UTF-8.
const BROKEN: &[u8] = b"A\xff<mask>";

/// These texts, and behind them one that isn't UTF-8, and one whose pointer is NULL.
fn with_broken(given: &[&str]) -> Vec<rq_text> {
    let mut given = texts(given);
    given.push(rq_text {
        data: BROKEN.as_ptr().cast(),
        len: BROKEN.len(),
    });
    given.push(rq_text {
        data: null(),
        len: 3,
    });
    given
}

/// What a batch gives: each text's answer, or its status and message.
type Results<A> = Vec<Result<A, (rq_status, String)>>;

fn result<A>(status: rq_status, message: rq_string, answer: A) -> Result<A, (rq_status, String)> {
    match status {
        rq_status::RQ_OK => {
            assert_eq!(string(message), "");
            Ok(answer)
        }
        failed => Err((failed, string(message))),
    }
}

/// What each text alone gives, and what is wrong with the two behind them.
fn alone<I, A>(
    c: &Opened,
    inputs: &[I],
    what: &str,
    one: impl Fn(&I) -> Result<A, rq_status>,
) -> Results<A> {
    let mut results: Results<A> = inputs
        .iter()
        .map(|input| one(input).map_err(|status| (status, c.message())))
        .collect();
    let (broken, null) = (inputs.len(), inputs.len() + 1);
    let broken = format!("{what}[{broken}] isn't UTF-8 at byte 1");
    results.push(Err((rq_status::RQ_NOT_UTF8, broken)));
    results.push(Err((rq_status::RQ_NULL, format!("{what}[{null}] is NULL"))));
    results
}

/// Calls a batch, and reads and frees its results.
macro_rules! batch {
    ($call:ident, $free:ident, $result:ident => $answer:expr, $($argument:expr),*) => {{
        let mut results = null_mut();
        // SAFETY: all of them live, and the results are freed once.
        unsafe {
            check($call($($argument,)* null(), &raw mut results)).map(|()| {
                let read = items((*results).items, (*results).len).iter();
                let read = read.map(|$result| result($result.status, $result.message, $answer));
                let read: Results<_> = read.collect();
                $free(results);
                read
            })
        }
    }};
}

#[test]
fn a_text_has_the_answer_that_it_has_alone() {
    let long = "word ".repeat(300);
    let masked = format!("<mask>{long}");
    let c = Opened::new(&demo());
    let (s, given) = (
        c.session,
        [TEXT, "No mask.", &masked, "A <mask> of <mask>.", ""],
    );
    let batch = with_broken(&given);
    let (data, count) = (batch.as_ptr(), batch.len());
    let found = batch!(rq_fill_batch, rq_fill_results_free, r => fills(&r.answer), s, data, count);
    assert_eq!(c.message(), "");
    assert_eq!(
        found,
        Ok(alone(&c, &given, "texts", |text| c.fill(text, None)))
    );
    let found = found.unwrap();
    assert!(found[0].is_ok() && found[3].is_ok());
    let statuses = [1, 2, 4].map(|i| found[i].as_ref().unwrap_err().0);
    use rq_status::{RQ_TEXT, RQ_TOO_LONG};
    assert_eq!(statuses, [RQ_TEXT, RQ_TOO_LONG, RQ_TEXT]);

    let values = |r: &rq_embedding_result| items(r.values, r.len).to_vec();
    let found = batch!(rq_embed_batch, rq_embedding_results_free, r => values(r), s, data, count);
    let expected = alone(&c, &given, "texts", |text| c.embed(text, None));
    assert_eq!(found, Ok(expected));

    let given = ["It rained.", "", &long];
    let batch = with_broken(&given);
    let (data, count) = (batch.as_ptr(), batch.len());
    let found =
        batch!(rq_score_batch, rq_score_results_free, r => scored(&r.answer), s, data, count);
    let expected = alone(&c, &given, "texts", |text| c.score(text, None));
    assert_eq!(found, Ok(expected));

    let tags = Opened::new(&task_model("tags"));
    let s = tags.session;
    let given = [NAMES, "", &long, "Peter lives in Rome."];
    let batch = with_broken(&given);
    let (data, count) = (batch.as_ptr(), batch.len());
    let found =
        batch!(rq_tag_batch, rq_entity_results_free, r => entities(&r.answer), s, data, count);
    let expected = alone(&tags, &given, "texts", |text| tags.tag(text, None));
    assert_eq!(found, Ok(expected));

    let topics = Opened::new(&task_model("topics"));
    let (s, none) = (topics.session, null());
    let found = batch!(
        rq_classify_batch, rq_label_results_free, r => labels(&r.answer), s, data, none, count
    );
    let one = |text: &&str| topics.classify(text, None, None);
    assert_eq!(found, Ok(alone(&topics, &given, "texts", one)));
    let pairs = texts(&["It rains."; 6]);
    let found = batch!(
        rq_classify_batch, rq_label_results_free, r => labels(&r.answer), s, data, pairs.as_ptr(), count
    );
    let one = |text: &&str| topics.classify(text, Some("It rains."), None);
    assert_eq!(found, Ok(alone(&topics, &given, "texts", one)));

    let nli = Opened::new(&task_model("nli"));
    let (s, own) = (nli.session, texts(&["sports", "money"]));
    let found = batch!(
        rq_zero_shot_batch, rq_label_results_free, r => labels(&r.answer), s, data, count, own.as_ptr(), 2
    );
    let one = |text: &&str| nli.zero_shot(text, &["sports", "money"], None);
    assert_eq!(found, Ok(alone(&nli, &given, "texts", one)));

    let answerer = Opened::new(&task_model("answers"));
    let s = answerer.session;
    let given = [(QUESTION, CONTEXT), ("", CONTEXT), (QUESTION, "")];
    let questions = with_broken(&given.map(|(question, _)| question));
    let contexts = texts(&[CONTEXT, CONTEXT, "", CONTEXT, CONTEXT]);
    let found = batch!(
        rq_answer_batch, rq_answer_results_free, r => answers(&r.answer),
        s, questions.as_ptr(), contexts.as_ptr(), questions.len()
    );
    let one = |(question, context): &(&str, &str)| answerer.answer(question, context, None);
    assert_eq!(found, Ok(alone(&answerer, &given, "questions", one)));
}

/// What no text is to blame for is the status of the call, and nothing is written.
#[test]
fn what_is_wrong_for_all_texts_is_wrong_with_the_call() {
    let c = Opened::new(&demo());
    let (s, given) = (c.session, texts(&[TEXT, "No mask."]));
    let (data, mut results, mut embeddings) = (given.as_ptr(), null_mut(), null_mut());
    use rq_status::*;
    // SAFETY: what isn't NULL lives, and what is given is freed once.
    unsafe {
        let fill = c_options!(rq_fill_options { top_k: usize::MAX });
        let status = rq_fill_batch(s, data, 2, &fill, &raw mut results);
        assert_eq!(status, RQ_OPTION);
        assert!(c.message().contains("vocabulary"), "{}", c.message());
        for options in [
            c_options!(rq_embed_options {
                prompt: c"none".as_ptr()
            }),
            c_options!(rq_embed_options { dimension: 9999 }),
            c_options!(rq_embed_options { size: 1 }),
        ] {
            let status = rq_embed_batch(s, data, 2, &options, &raw mut embeddings);
            assert_eq!(status, RQ_OPTION);
        }
        let (mut entities, mut labels) = (null_mut(), null_mut());
        let status = rq_tag_batch(s, data, 2, null(), &raw mut entities);
        assert_eq!(status, RQ_WRONG_HEAD);
        let status = rq_zero_shot_batch(s, data, 2, data, 2, null(), &raw mut labels);
        assert_eq!(status, RQ_WRONG_HEAD);
        assert!(entities.is_null() && labels.is_null() && embeddings.is_null());

        assert_eq!(
            rq_fill_batch(null_mut(), data, 2, null(), &raw mut results),
            RQ_NULL
        );
        assert_eq!(
            rq_fill_batch(s, null(), 2, null(), &raw mut results),
            RQ_NULL
        );
        assert_eq!(c.message(), "texts is NULL");
        assert_eq!(rq_fill_batch(s, data, 2, null(), null_mut()), RQ_NULL);
        assert_eq!(c.message(), "results is NULL");
        let status = rq_fill_batch(s, data, usize::MAX, null(), &raw mut results);
        assert_eq!(status, RQ_OPTION);
        assert!(results.is_null());

        // No texts have no results.
        assert_eq!(rq_fill_batch(s, null(), 0, null(), &raw mut results), RQ_OK);
        assert_eq!((*results).len, 0);
        rq_fill_results_free(results);
        rq_fill_results_free(null_mut());
        rq_embedding_results_free(null_mut());
        rq_label_results_free(null_mut());
        rq_entity_results_free(null_mut());
        rq_answer_results_free(null_mut());
        rq_score_results_free(null_mut());
        rq_score_list_free(null_mut());
    }
}
