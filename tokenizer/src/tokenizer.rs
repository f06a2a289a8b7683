//! From text to token ids and back.

use crate::error::TokenizerError;
use crate::limits::check_added;
use crate::model::Vocabulary;
use crate::steps::Pipeline as Steps;
use rq_format::{Architecture, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{
    AddedToken, Decoder, DecoderWrapper, EncodeInput, NormalizerWrapper, PostProcessor,
    PostProcessorWrapper, PreTokenizerWrapper, TokenizerBuilder, TokenizerImpl,
};

type Pipeline = TokenizerImpl<
    Vocabulary,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The tokenizer of a model, and the limits that the model sets.
#[derive(Debug)]
pub struct Tokenizer {
    /// Without the step that puts special tokens around texts: windows are cut before it, and it mustn't happen twice.
    inner: Pipeline,
    processor: Option<PostProcessorWrapper>,
    vocab_size: usize,
    max_tokens: usize,
    /// Whether the texts of a pair have different token types.
    typed: bool,
    mask: Option<(u32, String)>,
    pad_token_id: u32,
    /// Ascending.
    special: Vec<u32>,
}

/// The tokens of a text, or of a pair of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, the special ones included.
    pub ids: Vec<u32>,
    /// The type of each: 1 in the second text of a pair of BERT's, else 0.
    pub token_types: Vec<u32>,
    /// How many tokens there were before the truncation, if there was one.
    pub truncated_from: Option<usize>,
}

/// The tokens of a text, or of a pair of texts, and where they come from. All lists are as long as `ids`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, the special ones included.
    pub ids: Vec<u32>,
    /// The type of each: 1 in the second text of a pair of BERT's, else 0.
    pub token_types: Vec<u32>,
    /// The characters (code points) of its text that each stands for: from, to. (0, 0) for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// Which were put around the texts.
    pub special: Vec<bool>,
    /// The word of its text, from 0, that each is a part of, as the tokenizer divides it; none for what was put around.
    pub words: Vec<Option<u32>>,
    /// The text that each is of: 0, or 1 for the second of a pair; none for what was put around.
    pub texts: Vec<Option<usize>>,
}

/// A `tokenizer.json`. What it says of truncation and padding is for batches of its trainer's; here a text is what it is.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    model: Vocabulary,
}

/// A step, as the crate `tokenizers` carries it out.
fn step<T: DeserializeOwned>(json: Option<&RawValue>) -> Result<Option<T>, TokenizerError> {
    let parse = |json: &RawValue| serde_json::from_str(json.get());
    Ok(json.map(parse).transpose()?)
}

impl Tokenizer {
    /// The tokenizer that a `tokenizer.json` describes, for a model of this configuration. [`Model`](crate::Model) has its own.
    ///
    /// # Errors
    /// When it isn't one of those of RoBERTa, BERT, XLM-RoBERTa and CamemBERT, is damaged, lacks the model's mask token, or has
    /// a token that the model's vocabulary doesn't have.
    pub fn new(json: &[u8], config: &Config) -> Result<Self, TokenizerError> {
        // Whether it is UTF-8 is found out once, not string by string.
        let json = std::str::from_utf8(json).map_err(|e| TokenizerError::Invalid(e.to_string()))?;
        let fields: Fields<'_> = serde_json::from_str(json)?;
        let steps = Steps {
            normalizer: fields.normalizer,
            pre_tokenizer: fields.pre_tokenizer,
            post_processor: fields.post_processor,
            decoder: fields.decoder,
        };
        steps.check()?;
        let added = fields.added_tokens.iter();
        check_added(added.map(|t| (t.content.as_str(), t.lstrip, t.rstrip)))?;
        let processor = step(fields.post_processor)?;
        let largest = fields.model.largest_id();
        let mut inner = TokenizerBuilder::new()
            .with_model(fields.model)
            .with_normalizer(step::<NormalizerWrapper>(fields.normalizer)?)
            .with_pre_tokenizer(step::<PreTokenizerWrapper>(fields.pre_tokenizer)?)
            .with_post_processor(None::<PostProcessorWrapper>)
            .with_decoder(step::<DecoderWrapper>(fields.decoder)?)
            .build()?;
        inner.add_tokens(fields.added_tokens)?;
        // Those that the vocabulary didn't have.
        let added = inner.get_added_vocabulary().get_vocab().values().copied();
        let largest = largest.into_iter().chain(added).max();
        if config.pooling.is_some_and(|pooling| pooling.lower_case) {
            // As sentence-transformers does it: tokens that stand in the text as they are written are found before.
            let first = NormalizerWrapper::from(Lowercase);
            let steps = std::iter::once(first).chain(inner.get_normalizer().cloned());
            inner.with_normalizer(Some(Sequence::new(steps.collect())))?;
        }
        let mask = match config.mask_token_id {
            None => None,
            Some(id) => {
                let token = inner.id_to_token(id);
                let token = token.ok_or(TokenizerError::NoMask { id })?;
                Some((id, token))
            }
        };
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let added = added.iter().filter(|(_, token)| token.special);
        let special: BTreeSet<u32> = added
            .map(|(&id, _)| id)
            .chain([config.bos_token_id, config.eos_token_id])
            .chain([config.pad_token_id])
            .chain(config.mask_token_id)
            .chain(config.unk_token_id)
            .collect();
        let tokenizer = Self {
            special: special.into_iter().collect(),
            inner,
            processor,
            vocab_size: config.vocab_size,
            max_tokens: config.max_tokens(),
            typed: config.architecture == Architecture::Bert,
            mask,
            pad_token_id: config.pad_token_id,
        };
        tokenizer.check(largest.as_slice())?;
        // What is put around a text, and around a pair.
        for pair in [None, Some(tokenizers::Encoding::default())] {
            let around = tokenizer.processed(tokenizers::Encoding::default(), pair);
            tokenizer.check(around?.get_ids())?;
        }
        Ok(tokenizer)
    }

    /// The mask token, as it is written in a text, if there is one.
    pub fn mask_token(&self) -> Option<&str> {
        self.mask.as_ref().map(|(_, token)| token.as_str())
    }

    /// The most tokens that the model takes, the special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens of a text, the special ones included.
    ///
    /// # Errors
    /// When the text has more tokens than the model takes and `truncate` is false.
    pub fn encode(&self, text: &str, truncate: bool) -> Result<Encoding, TokenizerError> {
        let mut ids = self.ids(text, true)?;
        let tokens = ids.len();
        if tokens > self.max_tokens {
            self.refuse_unless(truncate, tokens)?;
            self.cut(&mut ids);
        }
        Ok(Encoding {
            token_types: vec![0; ids.len()],
            truncated_from: (ids.len() < tokens).then_some(tokens),
            ids,
        })
    }

    /// The tokens of a pair of texts, the special ones included. Truncation takes from the end of the longer text until it is
    /// as long as the other, then from both; where they can't be equal, the longer one keeps a token more, or the second.
    ///
    /// # Errors
    /// When the texts have more tokens than the model takes and `truncate` is false.
    pub fn encode_pair(
        &self,
        text: &str,
        pair: &str,
        truncate: bool,
    ) -> Result<Encoding, TokenizerError> {
        self.pair(text, pair, truncate, |[first, second], room| {
            let shorter = first.min(second).min(room / 2);
            Ok(match first > second {
                true => [room - shorter, shorter],
                false => [shorter, room - shorter],
            })
        })
    }

    /// As [`Tokenizer::encode_pair`], but truncation takes from the end of the first text only, and leaves some of it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_pair`], and when the second text leaves no room.
    pub fn encode_pair_cutting_first(
        &self,
        text: &str,
        pair: &str,
        truncate: bool,
    ) -> Result<Encoding, TokenizerError> {
        self.pair(text, pair, truncate, |[_, second], room| {
            match room.checked_sub(second) {
                None | Some(0) => Err(TokenizerError::SecondTooLong {
                    limit: self.max_tokens,
                }),
                Some(first) => Ok([first, second]),
            }
        })
    }

    /// The tokens of a pair of texts. Where they are too many, `cut` makes of their numbers, and of the number that there
    /// is room for, those that stay.
    fn pair(
        &self,
        text: &str,
        pair: &str,
        truncate: bool,
        cut: impl FnOnce([usize; 2], usize) -> Result<[usize; 2], TokenizerError>,
    ) -> Result<Encoding, TokenizerError> {
        let [mut first, mut second] = [self.part(text, 0)?, self.part(pair, 1)?];
        let added = self.added_tokens(true);
        let tokens = first.len() + second.len() + added;
        if tokens > self.max_tokens {
            self.refuse_unless(truncate, tokens)?;
            // What is put around a pair alone can be too long.
            self.refuse_unless(added <= self.max_tokens, tokens)?;
            let room = self.max_tokens - added;
            let [to_first, to_second] = cut([first.len(), second.len()], room)?;
            first.truncate(to_first, 0, TruncationDirection::Right);
            second.truncate(to_second, 0, TruncationDirection::Right);
            // What was cut off would be paired, piece by piece.
            first.take_overflowing();
            second.take_overflowing();
        }
        let Tokens {
            ids, token_types, ..
        } = self.finish(first, Some(second))?.swap_remove(0);
        Ok(Encoding {
            truncated_from: (ids.len() < tokens).then_some(tokens),
            ids,
            token_types,
        })
    }

    /// The tokens of a text, or of a pair, of any length, with the special tokens around, and where they come from.
    ///
    /// # Errors
    /// When the tokenizer fails, or gives a token that the model doesn't have.
    pub fn tokens(&self, text: &str, pair: Option<&str>) -> Result<Tokens, TokenizerError> {
        let second = pair.map(|pair| self.part(pair, 1)).transpose()?;
        Ok(self.finish(self.part(text, 0)?, second)?.swap_remove(0))
    }

    /// The tokens of a text in windows of at most `limit` tokens, special ones included, that overlap by `overlap` tokens.
    /// With `before`, that stands whole in front of each window, as the first text of a pair.
    ///
    /// # Errors
    /// When the tokenizer fails, or the text needs several windows and one has no room for more than the overlap.
    pub fn windows(
        &self,
        before: Option<&str>,
        text: &str,
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Tokens>, TokenizerError> {
        let pair = before.is_some();
        let first = before.map(|text| self.part(text, 0)).transpose()?;
        let used = first.as_ref().map_or(0, |first| first.len()) + self.added_tokens(pair);
        let room = limit.saturating_sub(used);
        let mut part = self.part(text, u32::from(pair))?;
        // A text that fits whole needs no second window.
        if used + part.len() > limit && room <= overlap {
            return Err(TokenizerError::NoRoom {
                limit,
                used,
                overlap,
            });
        }
        part.truncate(room, overlap, TruncationDirection::Right);
        match first {
            Some(first) => self.finish(first, Some(part)),
            None => self.finish(part, None),
        }
    }

    /// How many tokens are put around a text or a pair.
    pub fn added_tokens(&self, pair: bool) -> usize {
        let processor = self.processor.as_ref();
        processor.map_or(0, |processor| processor.added_tokens(pair))
    }

    /// Cuts tokens that are too many at their end, but for the closing special one, which stays.
    pub fn cut(&self, ids: &mut Vec<u32>) {
        let (tokens, limit) = (ids.len(), self.max_tokens);
        if tokens > limit {
            ids[limit - 1] = ids[tokens - 1];
            ids.truncate(limit);
        }
    }

    fn refuse_unless(&self, truncate: bool, tokens: usize) -> Result<(), TokenizerError> {
        let limit = self.max_tokens;
        truncate
            .then_some(())
            .ok_or(TokenizerError::TooLong { tokens, limit })
    }

    /// The tokens of one text, without those that are put around it.
    fn part(&self, text: &str, token_type: u32) -> Result<tokenizers::Encoding, TokenizerError> {
        let mut encoding = self.inner.encode_char_offsets(text, false)?;
        encoding.set_type_ids(vec![token_type; encoding.len()]);
        Ok(encoding)
    }

    /// Puts the special tokens around a text or a pair; each of the windows, if there are some.
    fn finish(
        &self,
        first: tokenizers::Encoding,
        second: Option<tokenizers::Encoding>,
    ) -> Result<Vec<Tokens>, TokenizerError> {
        // How many tokens the first text has in each window: without a second one, all.
        let first_len = match second {
            Some(_) => first.len(),
            None => usize::MAX,
        };
        let mut whole = self.processed(first, second)?;
        let windows = whole.take_overflowing();
        let all = std::iter::once(whole).chain(windows);
        all.map(|encoding| {
            self.check(encoding.get_ids())?;
            let mask = encoding.get_special_tokens_mask();
            let special: Vec<bool> = mask.iter().map(|&m| m != 0).collect();
            let mut seen = 0;
            let texts = special.iter().map(|&special| {
                (!special).then(|| {
                    seen += 1;
                    usize::from(seen > first_len)
                })
            });
            Ok(Tokens {
                ids: encoding.get_ids().to_vec(),
                token_types: match self.typed {
                    true => encoding.get_type_ids().to_vec(),
                    false => vec![0; encoding.len()],
                },
                offsets: encoding.get_offsets().to_vec(),
                texts: texts.collect(),
                special,
                words: encoding.get_word_ids().to_vec(),
            })
        })
        .collect()
    }

    /// Puts the special tokens around a text or a pair.
    fn processed(
        &self,
        first: tokenizers::Encoding,
        second: Option<tokenizers::Encoding>,
    ) -> tokenizers::Result<tokenizers::Encoding> {
        match &self.processor {
            Some(processor) => processor.process(first, second, true),
            None => self.inner.post_process(first, second, true),
        }
    }

    /// The tokens of a text of any length, with the special tokens around it or without.
    ///
    /// # Errors
    /// When the tokenizer fails, or gives a token that the model doesn't have.
    pub fn ids(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let text = EncodeInput::Single(text.into());
        let mut encoding = self.inner.encode_fast(text, false)?;
        if special_tokens {
            encoding = self.processed(encoding, None)?;
        }
        self.check(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    fn check(&self, ids: &[u32]) -> Result<(), TokenizerError> {
        let vocab_size = self.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&token) => Err(TokenizerError::TokenRange { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(Into::into)
    }

    /// The text of entries of the vocabulary, or of what stands for them.
    pub fn join(&self, tokens: Vec<String>) -> Result<String, TokenizerError> {
        match self.inner.get_decoder() {
            Some(decoder) => decoder.decode(tokens),
            None => Ok(tokens.join(" ")),
        }
        .map_err(Into::into)
    }

    /// Whether an entry of the vocabulary that goes on with a word is marked as one that does.
    pub fn marks_continuations(&self) -> bool {
        self.inner.get_model().marks_continuations()
    }

    /// The id of a vocabulary entry, written as the vocabulary writes it ("Ġgarden").
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The vocabulary entry of an id, written as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The ids of the special tokens, ascending: those that stand for no text, as the mask, and what texts can't spell.
    pub fn special_ids(&self) -> &[u32] {
        &self.special
    }

    /// The id of the padding token.
    pub fn pad_token_id(&self) -> u32 {
        self.pad_token_id
    }

    /// The id of the mask token, if there is one.
    pub fn mask_token_id(&self) -> Option<u32> {
        self.mask.as_ref().map(|(id, _)| *id)
    }
}
