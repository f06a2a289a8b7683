//! Sound files with changes in them, extreme numbers among them, and checksums that hold: what is opened is computed with, and
//! what passes `verify` has one answer on every instruction set and number of threads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::Model;
use rq_format::ModelFile;
use rq_fuzz::file::{Parts, put, seal};
use rq_fuzz::input::Input;
use rq_fuzz::{checkpoint, exercise};
use std::sync::{Arc, LazyLock};

static BASES: LazyLock<Vec<Parts>> = LazyLock::new(|| {
    let goldens = checkpoint::GOLDENS.map(|name| checkpoint::converted(&checkpoint::golden(name)));
    let files = std::iter::once(checkpoint::small_file()).chain(goldens);
    let bases: Vec<Parts> = files.map(|file| Parts::of(&file)).collect();
    for base in &bases {
        let mut file = base.assemble();
        seal(&mut file);
        Model::from_bytes(file).expect("a file that wasn't changed");
    }
    bases
});

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    // The smallest of them half of the time.
    let base = usize::from(input.byte());
    let mut parts = BASES[if base < 128 { 0 } else { base % BASES.len() }].clone();
    let mut numbers = Vec::new();
    let text = String::from_utf8_lossy(input.string()).into_owned();
    let sealed = input.byte() != 1;
    for _ in 0..32 {
        if input.0.is_empty() {
            break;
        }
        parts.change(&mut input, &mut numbers);
    }
    let mut file = parts.assemble();
    for (at, value) in numbers {
        put(&mut file, at, value);
    }
    if sealed {
        seal(&mut file);
    }
    let mut sound = false;
    if let Ok(file) = ModelFile::from_bytes(file.clone()) {
        exercise::file(&file);
        sound = file.verify().is_ok();
    }
    let Ok(model) = Model::from_bytes(file) else {
        return;
    };
    let mut session = exercise::session(model);
    let model = Arc::clone(session.model());
    if sound {
        exercise::one_answer(&model, &format!("a<mask>c {text}"));
    }
    let vocab_size = model.config().vocab_size;
    for text in ["a<mask>c", "[MASK]", &text] {
        exercise::tokenizer(model.tokenizer(), vocab_size, text, Some("b"));
        exercise::text(&mut session, text, None);
    }
    exercise::text(&mut session, &text, Some("b c"));
});
