//! The text that calibrates, and its tokens.

use crate::error::ConvertError;
use crate::tokenizer::TokenizerFile;
use rq_format::{Config, Head};
use sha2::{Digest, Sha256};
use std::path::Path;
use tokenizers::Tokenizer;

/// English prose in the public domain: see `data/NOTE.md`.
const ENGLISH: &str = include_str!("../data/calibration.txt");
/// The most tokens of one text. Longer lines are cut.
const WINDOW: usize = 256;
/// Fewer tokens than these say too little of a model's activations.
const MIN_TOKENS: usize = 512;
/// Of how many tokens one is masked in the texts of a masked language model: it is used on masked texts.
const MASKED_ONE_IN: u64 = 8;

/// A text on which a model is calibrated: each line is one text of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    name: String,
    text: String,
    max_tokens: usize,
}

impl Calibration {
    /// How many tokens are used, at most, unless said otherwise.
    pub const DEFAULT_TOKENS: usize = 16_384;

    /// The built-in text: English prose.
    pub fn english() -> Self {
        Self::new("built-in English prose", ENGLISH)
    }

    /// A text of the caller's; `name` is what messages and the file's provenance call it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            max_tokens: Self::DEFAULT_TOKENS,
        }
    }

    /// Reads a text from a file; its name is that of the file.
    ///
    /// # Errors
    /// When it can't be read, or isn't UTF-8.
    pub fn read(path: &Path) -> Result<Self, ConvertError> {
        let bytes = std::fs::read(path).map_err(|source| ConvertError::Io {
            action: "read the calibration text",
            path: path.into(),
            source,
        })?;
        let text = String::from_utf8(bytes).map_err(|e| ConvertError::NotUtf8 {
            path: path.into(),
            at: e.utf8_error().valid_up_to(),
        })?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self::new(name.to_string_lossy(), text))
    }

    /// The same with another bound on the tokens.
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The SHA-256 of the text.
    pub(crate) fn sha256(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The texts as tokens, special ones around them, some masked; spread evenly over the whole where that is too much.
    pub(crate) fn tokens(
        &self,
        tokenizer: &TokenizerFile,
        config: &Config,
    ) -> Result<Tokens, ConvertError> {
        let Some(texts) = texts(&self.text, tokenizer, config, WINDOW)? else {
            return Ok(Tokens::Unknown);
        };
        let all: usize = texts.iter().map(Vec::len).sum();
        if all < MIN_TOKENS {
            return Err(ConvertError::ShortCalibration {
                name: self.name.clone(),
                tokens: all,
                least: MIN_TOKENS,
            });
        }
        let (mut kept, mut seen, mut count) = (Vec::new(), 0, 0);
        for (i, mut text) in texts.into_iter().enumerate() {
            seen += text.len();
            // Keep the share that the bound allows, of every part of the text alike.
            if (count as u64) * all as u64 > seen as u64 * self.max_tokens.min(all) as u64 {
                continue;
            }
            count += text.len();
            // Only a masked language model meets masks in its use.
            let mask = config
                .mask_token_id
                .filter(|_| config.head == Head::MaskedLm);
            if let Some(mask) = mask {
                for at in 1..text.len() - 1 {
                    if masked(i, at, MASKED_ONE_IN) {
                        text[at] = mask;
                    }
                }
            }
            kept.push(text);
        }
        Ok(Tokens::Known(kept))
    }
}

/// What a tokenizer makes of a calibration text.
pub(crate) enum Tokens {
    /// Texts that the model can read.
    Known(Vec<Vec<u32>>),
    /// The text isn't in the model's language.
    Unknown,
}

/// The lines of a text as tokens with the special ones around them; none longer than `window` or what the model takes. `None`
/// where the tokenizer knows less than half of the bytes.
pub(crate) fn texts(
    text: &str,
    tokenizer: &TokenizerFile,
    config: &Config,
    window: usize,
) -> Result<Option<Vec<Vec<u32>>>, ConvertError> {
    let unusable = |e: tokenizers::Error| ConvertError::Tokenizer {
        path: "tokenizer.json".into(),
        reason: e.to_string(),
    };
    let mut inner = Tokenizer::from_bytes(tokenizer.json()).map_err(unusable)?;
    inner.with_truncation(None).map_err(unusable)?;
    inner.with_padding(None);
    let lower_case = config.pooling.is_some_and(|pooling| pooling.lower_case);
    let room = config.max_tokens().min(window).saturating_sub(2).max(1);
    let mut texts = Vec::new();
    let (mut known, mut bytes) = (0, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let encoding = match lower_case {
            true => inner.encode(line.to_lowercase(), false),
            false => inner.encode(line, false),
        };
        let encoding = encoding.map_err(unusable)?;
        bytes += line.len();
        let pairs = encoding.get_ids().iter().zip(encoding.get_offsets());
        known += pairs
            .filter(|&(&id, _)| Some(id) != config.unk_token_id)
            .map(|(_, (start, end))| end - start)
            .sum::<usize>();
        for ids in encoding.get_ids().chunks(room) {
            let mut text = vec![config.bos_token_id];
            text.extend(ids.iter().filter(|&&id| (id as usize) < config.vocab_size));
            text.push(config.eos_token_id);
            if text.len() > 2 {
                texts.push(text);
            }
        }
    }
    Ok((2 * known >= bytes).then_some(texts))
}

/// Whether a token of a text is masked: about one in so many, always the same ones.
pub(crate) fn masked(text: usize, at: usize, one_in: u64) -> bool {
    // SplitMix64's finalizer.
    let mut x = (text as u64) << 32 | at as u64;
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).is_multiple_of(one_in)
}
