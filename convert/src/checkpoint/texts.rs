//! Plain text as a model's tokens, for calibration and evaluation.

use super::error::CheckpointError;
use super::tokenizer::TokenizerFile;
use rq_format::Config;
use rq_tokenizer::{Tokenizer, TokenizerError};

/// The lines of a text as tokens with the special ones around them; none longer than `window` or what the model takes. `None`
/// where the tokenizer knows less than half of the characters.
pub(crate) fn texts(
    text: &str,
    tokenizer: &TokenizerFile,
    config: &Config,
    window: usize,
) -> Result<Option<Vec<Vec<u32>>>, CheckpointError> {
    let unusable = |error: TokenizerError| CheckpointError::Tokenizer {
        path: "tokenizer.json".into(),
        reason: error.to_string(),
    };
    let tokenizer = Tokenizer::new(tokenizer.json(), config).map_err(unusable)?;
    let room = config.max_tokens().min(window).saturating_sub(2).max(1);
    let mut texts = Vec::new();
    let (mut known, mut all) = (0, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let tokens = tokenizer.tokens(line, None).map_err(unusable)?;
        all += line.chars().count();
        let mut ids = Vec::with_capacity(tokens.ids.len());
        for (i, &id) in tokens.ids.iter().enumerate() {
            if tokens.special[i] {
                continue;
            }
            let (start, end) = tokens.offsets[i];
            known += if Some(id) == config.unk_token_id {
                0
            } else {
                end - start
            };
            ids.push(id);
        }
        for ids in ids.chunks(room) {
            texts.push([&[config.bos_token_id], ids, &[config.eos_token_id]].concat());
        }
    }
    Ok((2 * known >= all).then_some(texts))
}

/// Whether a token of a text is masked: about one in so many, always the same ones.
pub(crate) fn masked(text: usize, at: usize, one_in: u64) -> bool {
    // SplitMix64's finalizer.
    let mut x = (text as u64) << 32 | at as u64;
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).is_multiple_of(one_in)
}
