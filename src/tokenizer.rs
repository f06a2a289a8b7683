//! From text to token ids and back.

use crate::bpe::BpeModel;
use crate::error::Error;
use rq_format::Config;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

/// RoBERTa's tokenizers are byte-level BPE.
type Bpe = TokenizerImpl<
    BpeModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The tokenizer of a model, and the limits that the model sets.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Bpe,
    vocab_size: usize,
    max_tokens: usize,
    mask_token: String,
    pad_token_id: u32,
    mask_token_id: u32,
}

/// The tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, the special ones included.
    pub ids: Vec<u32>,
    /// How many tokens there were before the truncation, if there was one.
    pub truncated_from: Option<usize>,
}

impl Tokenizer {
    pub(crate) fn new(json: &[u8], config: &Config) -> Result<Self, Error> {
        let unusable = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
        // Whether it is UTF-8 is found out once, not string by string.
        let json = std::str::from_utf8(json).map_err(|e| unusable(e.into()))?;
        let mut inner: Bpe = json.parse().map_err(unusable)?;
        // A file may carry settings for batches of its trainer's; here a text is what it is.
        inner.with_truncation(None).map_err(unusable)?;
        inner.with_padding(None);
        let mask_token = inner.id_to_token(config.mask_token_id).ok_or_else(|| {
            Error::Tokenizer(format!("it has no mask token {}", config.mask_token_id))
        })?;
        Ok(Self {
            inner,
            vocab_size: config.vocab_size,
            max_tokens: config.max_tokens(),
            mask_token,
            pad_token_id: config.pad_token_id,
            mask_token_id: config.mask_token_id,
        })
    }

    /// The mask token, as it is written in a text.
    pub fn mask_token(&self) -> &str {
        &self.mask_token
    }

    /// The most tokens that the model takes, the special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens of a text, the special ones included.
    ///
    /// # Errors
    /// When the text has more tokens than the model takes and `truncate` is false.
    pub fn encode(&self, text: &str, truncate: bool) -> Result<Encoding, Error> {
        let mut ids = self.ids(text, true)?;
        let (tokens, limit) = (ids.len(), self.max_tokens);
        if tokens <= limit {
            return Ok(Encoding {
                ids,
                truncated_from: None,
            });
        }
        if !truncate {
            return Err(Error::TooLong { tokens, limit });
        }
        // The closing special token stays.
        ids[limit - 1] = ids[tokens - 1];
        ids.truncate(limit);
        Ok(Encoding {
            ids,
            truncated_from: Some(tokens),
        })
    }

    /// The tokens of a text of any length, with the special tokens around it or without.
    ///
    /// # Errors
    /// When the tokenizer fails, or gives a token that the model doesn't have.
    pub fn ids(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, special_tokens)
            .map_err(|e| Error::Tokenizer(e.to_string()))?;
        let ids = encoding.get_ids();
        match ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            Some(&token) => Err(Error::TokenRange {
                token,
                vocab_size: self.vocab_size,
            }),
            None => Ok(ids.to_vec()),
        }
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Error> {
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    /// The id of a vocabulary entry, written as the vocabulary writes it ("Ġgarden").
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The vocabulary entry of an id, written as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub(crate) fn pad_token_id(&self) -> u32 {
        self.pad_token_id
    }

    pub(crate) fn mask_token_id(&self) -> u32 {
        self.mask_token_id
    }
}
