//! Bytes as a `tokenizer.json`: as the runtime reads it, and as the converter does; and as a `sentencepiece.bpe.model`, of
//! which the converter makes one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::Tokenizer;
use rq_convert::{HfConfig, TokenizerFile};
use rq_format::Config;
use rq_fuzz::checkpoint::{Directory, tokenizer_configs};
use rq_fuzz::exercise;
use std::sync::LazyLock;

static DIRECTORY: LazyLock<(Directory, HfConfig)> = LazyLock::new(|| {
    let directory = Directory::new();
    let config = HfConfig::read(directory.path()).expect("a sound configuration");
    (directory, config)
});

/// Its tokenizer is SentencePiece's.
static SENTENCE_PIECE: LazyLock<(Directory, HfConfig)> = LazyLock::new(|| {
    let directory = Directory::of_sentence_piece(512);
    let config = HfConfig::read(directory.path()).expect("a sound configuration");
    (directory, config)
});

static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(tokenizer_configs);

/// What a model does with a tokenizer.
fn exercise(json: &[u8]) {
    for config in CONFIGS.iter() {
        let Ok(tokenizer) = Tokenizer::new(json, config) else {
            continue;
        };
        for text in exercise::TEXTS {
            exercise::tokenizer(&tokenizer, config.vocab_size, text, None);
        }
        // Its own words are in its JSON.
        let middle = json.len() / 2;
        let own = String::from_utf8_lossy(&json[middle..(middle + 400).min(json.len())]);
        exercise::tokenizer(&tokenizer, config.vocab_size, &own, Some("a <mask> b"));
        for id in (0..600).chain([u32::MAX]) {
            let token = tokenizer.id_to_token(id);
            let _ = token.and_then(|token| tokenizer.token_to_id(&token));
        }
        let all: Vec<u32> = (0..512).collect();
        let _ = tokenizer.decode(&all, true);
        let _ = tokenizer.decode(&all, false);
    }
}

fuzz_target!(|bytes: &[u8]| {
    exercise(bytes);
    let (directory, config) = &*DIRECTORY;
    directory.write("tokenizer.json", bytes);
    let _ = TokenizerFile::read(directory.path(), config);
    let (directory, config) = &*SENTENCE_PIECE;
    directory.write("sentencepiece.bpe.model", bytes);
    if let Ok(tokenizer) = TokenizerFile::read(directory.path(), config) {
        exercise(tokenizer.json());
    }
});
