//! What a caller may hand to the library, and in which types; and that nothing of it is left out in silence.

use crate::common::{options, q8, session};
use rq::{
    AnswerOptions, Answerer, Batch, Classifier, ClassifyOptions, EmbedOptions, Embedder, Error,
    ErrorKind, FillMask, FillOptions, JointFill, JointOptions, MAX_THREADS, Model, Rows, Session,
    SessionOptions, TargetFill, TargetOptions, Task, WholeTargets, WordTagger, cosine,
};
use std::borrow::Cow;
use std::sync::Arc;

fn demo() -> Session {
    let options = options!(SessionOptions { threads: Some(1) });
    Session::new(Model::demo().unwrap(), &options).unwrap()
}

#[test]
fn a_text_is_whatever_looks_like_one() {
    let (first, second) = ("A dog barked.", "It rained.");
    let mut embedder = Embedder::new(demo());
    let options = EmbedOptions::default();
    let expected = embedder.run([first, second], &options).unwrap();
    let strings = vec![first.to_owned(), second.to_owned()];
    let boxed: [Box<str>; 2] = [first.into(), second.into()];
    let shared: [Arc<str>; 2] = [first.into(), second.into()];
    let cows = [Cow::Borrowed(first), Cow::Owned(second.to_owned())];
    let run = |found: Result<_, _>| assert_eq!(found.unwrap(), expected);
    run(embedder.run(&strings, &options));
    run(embedder.run(&strings[..], &options));
    run(embedder.run(strings.iter(), &options));
    run(embedder.run(strings.iter().map(String::as_str), &options));
    run(embedder.run([first, second].iter(), &options));
    run(embedder.run(vec![first, second], &options));
    run(embedder.run(&boxed, &options));
    run(embedder.run(&shared, &options));
    run(embedder.run(&cows, &options));
    run(embedder.run(cows, &options));
    run(embedder.run(strings.clone(), &options));
    let [one, _] = &expected[..] else {
        unreachable!()
    };
    assert_eq!(
        embedder.run_one(&strings[0], &options).as_ref().unwrap(),
        one
    );
    assert_eq!(
        embedder.run_one(strings[0].clone(), &options).unwrap(),
        *one
    );

    // Of embeddings, vectors and slices.
    let similarity = cosine(&expected[0], &expected[1]);
    let vectors: Vec<Vec<f32>> = expected.iter().map(|e| e.embedding.clone()).collect();
    assert_eq!(cosine(&vectors[0], &vectors[1]), similarity);
    assert_eq!(cosine(&vectors[0][..], &expected[1]), similarity);
    assert_eq!(cosine(&expected[0], expected[0].clone()), 1.0);
}

#[test]
fn a_pair_is_a_tuple_and_words_are_a_list() {
    let mut classifier = Classifier::new(session(&q8("data/tasks/nli"))).unwrap();
    let options = ClassifyOptions::default();
    let pair = ("A man sleeps.", "Somebody is asleep.");
    let expected = classifier.run_one(pair, &options).unwrap();
    let owned = (pair.0.to_owned(), pair.1.to_owned());
    assert_eq!(
        classifier.run_one((&owned.0, &owned.1), &options).unwrap(),
        expected
    );
    assert_eq!(
        classifier.run_one(owned.clone(), &options).unwrap(),
        expected
    );
    let pairs = [owned.clone(), owned.clone()];
    assert_eq!(
        classifier.run(pairs, &options).unwrap(),
        [expected.clone(), expected]
    );
    let single = classifier.run_one(pair.0, &options).unwrap();
    assert_eq!(classifier.run_one(&owned.0, &options).unwrap(), single);
    assert_eq!(classifier.run([owned.0], &options).unwrap(), [single]);

    let mut answerer = Answerer::new(session(&q8("data/tasks/answers"))).unwrap();
    let (question, context) = ("Where does Anna live?", "Anna lives in Berlin.");
    let options = AnswerOptions::default();
    let expected = answerer.run_one((question, context), &options).unwrap();
    let owned = (question.to_owned(), Cow::Borrowed(context));
    assert_eq!(answerer.run_one(owned, &options).unwrap(), expected);

    let mut tagger = WordTagger::new(session(&q8("goldens/architectures/bert-tagger"))).unwrap();
    let words = ["anna", "works", "here"];
    let expected = tagger.run_one(words, &()).unwrap();
    let owned = words.map(str::to_owned);
    assert_eq!(tagger.run_one(&words[..], &()).unwrap(), expected);
    assert_eq!(tagger.run_one(&owned, &()).unwrap(), expected);
    assert_eq!(tagger.run_one(&owned[..], &()).unwrap(), expected);
    let vector = owned.to_vec();
    assert_eq!(tagger.run_one(&vector, &()).unwrap(), expected);
    assert_eq!(tagger.run_one(vector, &()).unwrap(), expected);
    let both = tagger.run([&words, &words], &()).unwrap();
    assert_eq!(both, [expected.clone(), expected]);
}

/// An application of its own: no lifetime, and it moves to a thread.
struct App {
    model: Arc<Model>,
    session: Session,
    fill: FillMask,
}

#[test]
fn an_application_owns_its_model_its_session_and_its_task() {
    let model = Arc::new(Model::demo().unwrap());
    let new = || Session::new(Arc::clone(&model), &SessionOptions::default());
    let mut app = App {
        session: new().unwrap(),
        fill: FillMask::new(new().unwrap()).unwrap(),
        model: Arc::clone(&model),
    };
    let answers = std::thread::spawn(move || {
        let text = format!(
            "She opened the {}.",
            app.model.tokenizer().mask_token().unwrap()
        );
        let owned = app.fill.run_one(&text, &FillOptions::default()).unwrap();
        let mut lent = FillMask::new(&mut app.session).unwrap();
        (lent.run_one(&text, &FillOptions::default()).unwrap(), owned)
    });
    let (lent, owned) = answers.join().unwrap();
    assert_eq!(lent, owned);
}

#[test]
fn what_is_wrong_with_one_text_fails_no_other() {
    let mut fill = FillMask::new(demo()).unwrap();
    let (good, long) = ("The <mask> barked.", "<mask> ".repeat(300));
    let options = FillOptions::default();
    let texts = [good, "No mask.", &long, good, ""];
    let results = fill.run_each(texts, &options).unwrap();
    let alone = fill.run_one(good, &options).unwrap();
    assert_eq!(results[0].as_ref().unwrap(), &alone);
    assert_eq!(results[3].as_ref().unwrap(), &alone);
    assert!(matches!(results[1], Err(Error::NoMask { .. })));
    assert!(matches!(results[2], Err(Error::TooLong { .. })));
    assert!(matches!(results[4], Err(Error::EmptyText)));
    assert!(fill.run_each([""; 0], &options).unwrap().is_empty());
    // Options are wrong for all.
    let targets = options!(TargetOptions {
        targets: WholeTargets::default()
    });
    let error = TargetFill::new(demo()).unwrap().run_each([good], &targets);
    assert!(matches!(error, Err(Error::NoTargets)));
}

#[test]
fn a_sequence_without_tokens_is_an_error() {
    let mut session = demo();
    for (ids, empty) in [
        (&[&[5, 6][..], &[], &[7]][..], 1),
        (&[&[]], 0),
        (&[&[5], &[]], 1),
    ] {
        let batch = Batch::from_iter(ids);
        assert_eq!(batch.len(), ids.len());
        let lengths: Vec<usize> = batch.sequences().map(|rows| rows.len()).collect();
        let expected: Vec<usize> = ids.iter().map(|ids| ids.len()).collect();
        assert_eq!(lengths, expected);
        let error = session.hidden_states(&batch, Rows::All).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Text);
        let is_it = |error| matches!(error, Error::EmptySequence { sequence } if sequence == empty);
        assert!(is_it(error));
        assert!(is_it(session.logits(&batch, Rows::All).unwrap_err()));
        assert!(is_it(session.profile(&batch).unwrap_err()));
    }
    // A batch without sequences has no states.
    let none = session.hidden_states(&Batch::new(), Rows::All).unwrap();
    assert!(none.is_empty());

    let mut batch = Batch::new();
    let error = batch.push_with_types(&[5, 6], &[0]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TokenTypes {
                tokens: 2,
                token_types: 1
            }
        ),
        "{error}"
    );
    assert!(batch.is_empty() && batch.ids().is_empty() && batch.token_types().is_empty());
}

#[test]
fn no_option_asks_for_nothing() {
    let zero = |result: Result<(), Error>, option: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Option);
        assert_eq!(
            error.to_string(),
            format!("{option} is 0: it must be at least 1")
        );
    };
    let mut session = demo();
    let text = "The <mask> barked.";
    let mut fill = FillMask::new(&mut session).unwrap();
    let options = options!(FillOptions { top_k: 0 });
    zero(fill.run_one(text, &options).map(drop), "top_k");
    let mut joint = JointFill::new(&mut session).unwrap();
    let options = options!(JointOptions { top_k: 0 });
    zero(joint.run_one(text, &options).map(drop), "top_k");
    let options = options!(JointOptions { beam: 0 });
    zero(joint.run_one(text, &options).map(drop), "beam");
    let (targets, _) = WholeTargets::resolve(session.model().tokenizer(), &[" dog"]).unwrap();
    let options = options!(TargetOptions { top_k: 0, targets });
    let mut target = TargetFill::new(&mut session).unwrap();
    zero(target.run_one(text, &options).map(drop), "top_k");
    let mut classifier = Classifier::new(crate::common::session(&q8("data/tasks/nli"))).unwrap();
    let options = options!(ClassifyOptions { top_k: Some(0) });
    zero(classifier.run_one(text, &options).map(drop), "top_k");
    let mut answerer = Answerer::new(crate::common::session(&q8("data/tasks/answers"))).unwrap();
    for (options, option) in [
        (options!(AnswerOptions { top_k: 0 }), "top_k"),
        (
            options!(AnswerOptions { max_answer_len: 0 }),
            "max_answer_len",
        ),
    ] {
        zero(
            answerer.run_one(("Who?", "Anna."), &options).map(drop),
            option,
        );
    }
    let options = options!(SessionOptions { threads: Some(0) });
    zero(
        Session::new(Model::demo().unwrap(), &options).map(drop),
        "threads",
    );
}

#[test]
fn threads_are_bounded() {
    for count in [MAX_THREADS + 1, usize::MAX] {
        let options = options!(SessionOptions {
            threads: Some(count)
        });
        let error = Session::new(Model::demo().unwrap(), &options).unwrap_err();
        assert!(matches!(error, Error::TooManyThreads { count: told } if told == count));
        assert_eq!(error.kind(), ErrorKind::Option);
    }
}

/// Memory is reserved for what the model can compute, whatever is asked for.
#[test]
fn no_more_is_reserved_than_is_of_use() {
    let mut session = demo();
    let model = Arc::clone(session.model());
    let most = model.session_bytes(&[128], 128, 1);
    assert_eq!(model.session_bytes(&[usize::MAX], usize::MAX, 1), most);
    session.reserve(&[usize::MAX], usize::MAX);
    assert_eq!(session.held_bytes(), most);
    session.reserve(&[], usize::MAX);
    assert_eq!(session.held_bytes(), most);
}
