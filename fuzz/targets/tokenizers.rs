//! Bytes as a tokenizer of the family, and as texts: what the runtime accepts gives what the crate `tokenizers` gives, ids,
//! offsets, pairs and decoded text, and so does the same tokenizer when it is opened again. Each hash table has its own order,
//! so what would depend on one differs here as it would in another process.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::{Tokenizer, TokenizerError};
use rq_format::Config;
use rq_fuzz::input::Input;
use rq_fuzz::{checkpoint, tokenizers as generated};
use std::sync::LazyLock;
use tokenizers::Encoding;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let [_, bert] = checkpoint::tokenizer_configs();
    bert
});

/// How often each tokenizer is opened. A choice between two is another in every second order.
const TIMES: usize = 4;

/// What the crate decodes. It counts on a token: where there is none, nobody asks it.
fn decoded(crates: &tokenizers::Tokenizer, ids: &[u32], skip_special: bool) -> Option<String> {
    let added = crates.get_added_vocabulary();
    let mut tokens = ids.iter().filter_map(|&id| crates.id_to_token(id));
    match tokens.any(|token| !(skip_special && added.is_special_token(&token))) {
        true => crates.decode(ids, skip_special).ok(),
        false => Some(String::new()),
    }
}

fn same(
    json: &str,
    tokenizer: &Tokenizer,
    crates: &tokenizers::Tokenizer,
    text: &str,
    pair: Option<&str>,
) {
    let found = tokenizer.tokens(text, pair);
    let expected = match pair {
        None => crates.encode_char_offsets(text, true),
        Some(pair) => crates.encode_char_offsets((text, pair), true),
    };
    let what = || format!("{text:?} and {pair:?} by {json}");
    let (tokens, expected): (_, Encoding) = match (found, expected) {
        (Ok(tokens), Ok(expected)) => (tokens, expected),
        // What the crate has no bound for.
        (Err(TokenizerError::Grown { .. }), _) => return,
        (Err(_), Err(_)) => return,
        (found, expected) => panic!("{found:?}, not {expected:?}: {}", what()),
    };
    assert_eq!(tokens.ids, expected.get_ids(), "{}", what());
    assert_eq!(tokens.offsets, expected.get_offsets(), "{}", what());
    assert_eq!(tokens.words, expected.get_word_ids(), "{}", what());
    if pair.is_none() {
        let ids = tokenizer.ids(text, true).expect("it was encoded before");
        assert_eq!(ids, tokens.ids, "{}", what());
    }
    for skip in [false, true] {
        let found = tokenizer.decode(&tokens.ids, skip).ok();
        assert_eq!(found, decoded(crates, &tokens.ids, skip), "{}", what());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let texts: [String; 3] = std::array::from_fn(|_| generated::text(&mut input));
    let json = generated::json(&mut input);
    let Ok(first) = Tokenizer::new(json.as_bytes(), &CONFIG) else {
        assert!(Tokenizer::new(json.as_bytes(), &CONFIG).is_err(), "{json}");
        return;
    };
    let crates = tokenizers::Tokenizer::from_bytes(&json);
    let crates = crates.unwrap_or_else(|error| panic!("{error}: {json}"));
    let all: Vec<u32> = (0..80).collect();
    let expected: Vec<_> = all
        .iter()
        .map(|&id| first.decode(&[id], false).ok())
        .collect();
    let others =
        (1..TIMES).map(|_| Tokenizer::new(json.as_bytes(), &CONFIG).expect("it was opened before"));
    for tokenizer in std::iter::once(first).chain(others) {
        for (id, expected) in all.iter().zip(&expected) {
            assert_eq!(
                tokenizer.decode(&[*id], false).ok(),
                *expected,
                "{id} by {json}"
            );
            assert_eq!(decoded(&crates, &[*id], false), *expected, "{id} by {json}");
            assert_eq!(
                tokenizer.id_to_token(*id),
                crates.id_to_token(*id),
                "{id} by {json}"
            );
        }
        for (text, pair) in texts.iter().zip([None, Some(&texts[0][..]), None]) {
            same(&json, &tokenizer, &crates, text, pair);
        }
    }
});
