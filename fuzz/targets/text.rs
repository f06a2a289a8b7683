//! Any text, or pair of texts, through models of each kind of tokenizer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::Model;
use rq_fuzz::{checkpoint, exercise};
use std::sync::{Arc, LazyLock};

static MODELS: LazyLock<Vec<Arc<Model>>> = LazyLock::new(|| {
    let names = ["bert-mlm", "xlm-roberta-mlm", "camembert-mlm", "mpnet-mlm"];
    let goldens = names.map(|name| checkpoint::converted(&checkpoint::golden(name)));
    let models = goldens
        .into_iter()
        .map(|file| Model::from_bytes(file).expect("what the converter wrote"));
    let demo = Model::demo().expect("the embedded model");
    models.chain([demo]).map(Arc::new).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (text, pair) = match text.split_once('\u{1}') {
        Some((text, pair)) => (text, Some(pair)),
        None => (&*text, None),
    };
    for (i, model) in MODELS.iter().enumerate() {
        exercise::tokenizer(model.tokenizer(), model.config().vocab_size, text, pair);
        // One of the small models computes; the largest, once in a while.
        if i == bytes.len() % 4 || (i == 4 && bytes.len() % 64 == 5) {
            let mut session = exercise::session(Arc::clone(model));
            exercise::text(&mut session, text, pair);
        }
    }
});
