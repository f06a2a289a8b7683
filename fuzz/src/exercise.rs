//! Everything that is asked of a model, or of a tokenizer. Answers may be errors; what must hold of the others is asserted.

use rq::{
    Batch, FillMask, FillOptions, Head, Isa, Model, ModelFile, Rows, Session, SessionOptions, Task,
    Tokenizer,
};
use std::sync::Arc;

/// Texts that meet each step of a tokenizer.
pub const TEXTS: [&str; 8] = [
    "",
    "a <mask> b",
    "Hello,  World! [MASK] it's",
    " \t\n\u{a0}\u{2003}x  ",
    "e\u{301}\u{301}\u{323}Å ﷺ ﬁ ½ 한국어 日本語",
    "👩‍👩‍👧 🇩🇪\u{0}\u{7f}\u{feff}\u{fffd}",
    "<s></s><pad><unk>[CLS][SEP]<s>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Everything that a reader can ask of a file, damaged or not.
pub fn file(file: &ModelFile) {
    let _ = file.tokenizer();
    let _ = file.verify();
    let _ = (file.fingerprint(), file.file_len(), format!("{file:?}"));
    let _ = serde_json::to_string(file.config());
    for tensor in file.tensors() {
        assert_eq!(
            file.tensor_bytes(&tensor.name).map(<[u8]>::len).ok(),
            Some(tensor.length as usize)
        );
        let lanes = file.lanes(&tensor.name, tensor.rows, tensor.columns);
        let packed = file.packed(&tensor.name);
        assert!(lanes.is_ok() != packed.is_ok());
        if let Ok(packed) = packed {
            let mut row = vec![0.0; packed.columns()];
            packed.dequantize_row(packed.rows() - 1, &mut row);
        }
    }
}

/// Tokens of a text, there and back.
pub fn tokenizer(tokenizer: &Tokenizer, vocab_size: usize, text: &str, pair: Option<&str>) {
    let most = tokenizer.max_tokens();
    let ids = tokenizer.ids(text, true);
    if let Ok(ids) = &ids {
        assert!(ids.iter().all(|&id| (id as usize) < vocab_size));
        let _ = tokenizer.decode(ids, true);
        let _ = tokenizer.decode(ids, false);
        let _ = ids.first().and_then(|&id| tokenizer.id_to_token(id));
    }
    for truncate in [false, true] {
        if let Ok(encoding) = tokenizer.encode(text, truncate) {
            assert!(encoding.ids.len() <= most);
            assert_eq!(encoding.ids.len(), encoding.token_types.len());
        }
        if let Some(pair) = pair
            && let Ok(encoding) = tokenizer.encode_pair(text, pair, truncate)
        {
            assert!(encoding.ids.len() <= most);
            assert_eq!(encoding.ids.len(), encoding.token_types.len());
        }
    }
    let chars = [text.chars().count(), pair.map_or(0, |p| p.chars().count())];
    let mut whole = 0;
    if let Ok(tokens) = tokenizer.tokens(text, pair) {
        check(&tokens, chars);
        whole = tokens.ids.len();
    }
    for (limit, overlap) in [(8, 2), (most, most / 2), (3, 0), (0, 0), (usize::MAX, 1)] {
        let (before, text) = match pair {
            Some(pair) => (Some(text), pair),
            None => (None, text),
        };
        // Windows that advance by a token at a time are what the caller asked for.
        if whole > 2000 {
            continue;
        }
        if let Ok(windows) = tokenizer.windows(before, text, limit, overlap) {
            for window in &windows {
                assert!(window.ids.len() <= limit);
                check(window, chars);
            }
        }
    }
    let _ = tokenizer.token_to_id(text);
}

fn check(tokens: &rq::Tokens, chars: [usize; 2]) {
    let len = tokens.ids.len();
    assert_eq!(tokens.token_types.len(), len);
    assert_eq!(tokens.offsets.len(), len);
    assert_eq!(tokens.special.len(), len);
    assert_eq!(tokens.words.len(), len);
    assert_eq!(tokens.texts.len(), len);
    for (text, (from, to)) in tokens.texts.iter().zip(&tokens.offsets) {
        let end = text.map_or(0, |text| chars[text]);
        assert!(from <= to && *to <= end, "{from}..{to} of {end}");
    }
}

/// Everything that is computed of a text, on one thread.
pub fn text(session: &mut Session, text: &str, pair: Option<&str>) {
    let model = Arc::clone(session.model());
    let config = model.config();
    let encoding = match pair {
        Some(pair) => model.tokenizer().encode_pair(text, pair, true),
        None => model.tokenizer().encode(text, true),
    };
    if let Ok(encoding) = encoding {
        let mut batch = Batch::new();
        batch
            .push_with_types(&encoding.ids, &encoding.token_types)
            .unwrap();
        batch.push(&encoding.ids);
        if let Ok(hidden) = session.hidden_states(&batch, Rows::All) {
            assert_eq!(hidden.len(), batch.ids().len() * config.hidden_size);
            assert!(hidden.iter().all(|x| x.is_finite()));
        }
        let rows = batch.first_rows().to_vec();
        if let Ok(logits) = session.logits(&batch, Rows::Only(&rows)) {
            assert_eq!(logits.len(), rows.len() * config.outputs());
            assert!(logits.iter().all(|x| x.is_finite()));
        }
    }
    if config.head == Head::MaskedLm
        && let Ok(mut fill) = FillMask::new(session)
    {
        let mut cut = FillOptions::default();
        (cut.top_k, cut.truncate) = (2, true);
        for options in [FillOptions::default(), cut] {
            if let Ok(masks) = fill.run_one(text, &options) {
                assert!(masks.iter().all(|fills| fills.len() <= options.top_k));
                assert!(masks.iter().flatten().all(|fill| fill.score.is_finite()));
            }
        }
    }
}

/// What a model computes of a text has the same bits on each instruction set of the processor, on one thread and on two, as
/// plain Rust gives on one. All that isn't a number counts as the same.
pub fn one_answer(model: &Arc<Model>, text: &str) {
    let Ok(encoding) = model.tokenizer().encode(text, true) else {
        return;
    };
    let mut batch = Batch::new();
    batch
        .push_with_types(&encoding.ids, &encoding.token_types)
        .unwrap();
    batch.push(&encoding.ids[..1]);
    let bits = |values: Result<Vec<f32>, rq::Error>| {
        let bits = |x: f32| {
            if x.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.to_bits()
            }
        };
        values
            .ok()
            .map(|values| values.into_iter().map(bits).collect::<Vec<u32>>())
    };
    let mut expected = None;
    for isa in Isa::ALL {
        for threads in [1, 2] {
            let mut options = SessionOptions::default();
            (options.isa, options.threads) = (Some(isa), Some(threads));
            let Ok(mut session) = Session::new(Arc::clone(model), &options) else {
                continue;
            };
            let hidden = bits(session.hidden_states(&batch, Rows::All));
            let rows = batch.first_rows().to_vec();
            let found = (hidden, bits(session.logits(&batch, Rows::Only(&rows))));
            match &expected {
                None => {
                    assert_eq!(isa, Isa::Scalar);
                    expected = Some(found);
                }
                Some(expected) => assert!(found == *expected, "{isa:?}, {threads} threads"),
            }
        }
    }
}

/// A session with one thread: a fuzzer starts no others.
pub fn session(model: impl Into<Arc<Model>>) -> Session {
    let mut options = SessionOptions::default();
    options.threads = Some(1);
    Session::new(model, &options).expect("one thread, and the processor's own instruction set")
}
