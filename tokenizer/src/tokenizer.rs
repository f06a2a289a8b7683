//! A model's tokenizer: encoding texts and pairs within what the model takes, windows over long texts, and decoding.

use crate::error::TokenizerError;
use crate::pipeline::Pipeline;
use rq_format::{Config, TruncationSide};
use std::collections::BTreeSet;
use std::ops::Range;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding as Part, Token};

/// The tokenizer of a model, and the limits that the model sets.
#[derive(Debug)]
pub struct Tokenizer {
    pipeline: Pipeline,
    vocab_size: usize,
    max_tokens: usize,
    /// The end at which texts are cut.
    cut_at: TruncationDirection,
    /// How many special tokens go before a text and behind it.
    around: [usize; 2],
    clean_up_spaces: bool,
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
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// The token type of each: 1 in the second text of a pair for BERT and ELECTRA, otherwise 0.
    pub token_types: Vec<u32>,
    /// How many tokens there were before truncation, if any were cut.
    pub truncated_from: Option<usize>,
}

/// The tokens of a text, or of a pair of texts, and where in the texts they are. All lists have the length of `ids`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// The token type of each: 1 in the second text of a pair for BERT and ELECTRA, otherwise 0.
    pub token_types: Vec<u32>,
    /// The half-open range of characters (code points) of its text that each stands for; (0, 0) for tokens put around.
    pub offsets: Vec<(usize, usize)>,
    /// Whether each was put around the texts.
    pub special: Vec<bool>,
    /// The word of its text that each belongs to, from 0, as the pre-tokenizer divides it; `None` for tokens put around.
    pub words: Vec<Option<u32>>,
    /// The text that each belongs to, 0 or 1; `None` for tokens put around.
    pub texts: Vec<Option<usize>>,
}

impl Tokenizer {
    /// The tokenizer that a `tokenizer.json` describes, for a model of this configuration.
    ///
    /// # Errors
    /// As [`Pipeline::read`], and when it lacks the model's mask token or has an id outside the model's vocabulary.
    pub fn new(json: &[u8], config: &Config) -> Result<Self, TokenizerError> {
        let pipeline = Pipeline::read(json)?;
        let mask = match config.mask_token_id {
            None => None,
            Some(id) => {
                let token = pipeline.id_to_token(id);
                let token = token.ok_or(TokenizerError::NoMask { id })?;
                Some((id, token))
            }
        };
        let special: BTreeSet<u32> = pipeline
            .special_ids()
            .chain([config.bos_token_id, config.eos_token_id])
            .chain([config.pad_token_id])
            .chain(config.mask_token_id)
            .chain(config.unk_token_id)
            .collect();
        let around = around(&pipeline)?;
        let tokenizer = Self {
            pipeline,
            vocab_size: config.vocab_size,
            max_tokens: config.max_tokens(),
            cut_at: match config.truncation_side {
                TruncationSide::Right => TruncationDirection::Right,
                TruncationSide::Left => TruncationDirection::Left,
            },
            around,
            clean_up_spaces: config.clean_up_spaces,
            typed: config.architecture.types_pairs(),
            mask,
            pad_token_id: config.pad_token_id,
            special: special.into_iter().collect(),
        };
        tokenizer.check(tokenizer.pipeline.largest_id().as_slice())?;
        // What is put around a text, and around a pair.
        for pair in [None, Some(Part::default())] {
            let around = tokenizer.pipeline.post_process(Part::default(), pair)?;
            tokenizer.check(around.get_ids())?;
        }
        Ok(tokenizer)
    }

    /// The mask token as it is written in a text, if the model has one.
    pub fn mask_token(&self) -> Option<&str> {
        self.mask.as_ref().map(|(_, token)| token.as_str())
    }

    /// The most tokens that the model takes, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens of a text, special ones included. Truncation cuts the text's own tokens, at the end that the model's
    /// configuration says; then the special ones are put around.
    ///
    /// # Errors
    /// When the text has more tokens than the model takes and `truncate` is false, or not even the special ones fit.
    pub fn encode(&self, text: &str, truncate: bool) -> Result<Encoding, TokenizerError> {
        let mut part = self.pipeline.encode_without_offsets(text)?;
        let tokens = self.fit(&mut part, truncate)?;
        let whole = self.pipeline.post_process(part, None)?;
        let ids = whole.get_ids().to_vec();
        self.check(&ids)?;
        Ok(Encoding {
            token_types: vec![0; ids.len()],
            truncated_from: (ids.len() < tokens).then_some(tokens),
            ids,
        })
    }

    /// Cuts the tokens of a text so that the special ones fit around it; returns how many there were with those.
    fn fit(&self, part: &mut Part, truncate: bool) -> Result<usize, TokenizerError> {
        let added = self.added_tokens(false);
        let tokens = part.len() + added;
        if tokens > self.max_tokens {
            self.refuse_unless(truncate && added <= self.max_tokens, tokens)?;
            self.cut_part(part, self.max_tokens - added);
        }
        Ok(tokens)
    }

    /// Cuts the tokens of a text down to this many.
    fn cut_part(&self, part: &mut Part, to: usize) {
        part.truncate(to, 0, self.cut_at);
        // The crate keeps what was cut off, and would put special tokens around it, piece by piece.
        part.take_overflowing();
    }

    /// The tokens of a pair of texts, special ones included. Truncation cuts the longer text until both are equally long,
    /// then both, at the end that the model's configuration says. Where an odd number of tokens is left, the longer text keeps one more; of equal ones, the second.
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

    /// Like [`Tokenizer::encode_pair`], but truncation cuts only the first text, and leaves at least one token of it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_pair`], and when the second text leaves no room for the first.
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

    /// The tokens of a pair of texts. If they are too many, `cut` is given the number of tokens of each and how many there is
    /// room for, and says how many of each stay.
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
            // The tokens put around a pair can be too many by themselves.
            self.refuse_unless(added <= self.max_tokens, tokens)?;
            let room = self.max_tokens - added;
            let [to_first, to_second] = cut([first.len(), second.len()], room)?;
            self.cut_part(&mut first, to_first);
            self.cut_part(&mut second, to_second);
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

    /// The tokens of a text or a pair of any length, special ones included, and where in the texts they are.
    ///
    /// # Errors
    /// When a step fails.
    pub fn tokens(&self, text: &str, pair: Option<&str>) -> Result<Tokens, TokenizerError> {
        let second = pair.map(|pair| self.part(pair, 1)).transpose()?;
        Ok(self.finish(self.part(text, 0)?, second)?.swap_remove(0))
    }

    /// The tokens of a text as [`Tokenizer::encode`] gives them, and where in the text they are.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens_within(&self, text: &str, truncate: bool) -> Result<Tokens, TokenizerError> {
        let mut part = self.part(text, 0)?;
        self.fit(&mut part, truncate)?;
        Ok(self.finish(part, None)?.swap_remove(0))
    }

    /// The tokens of a text in windows of at most `limit` tokens, special ones included, where each window repeats the last
    /// `overlap` tokens of the one before. `before`, if given, is the first text of a pair in every window, whole.
    ///
    /// # Errors
    /// When a step fails, or the text needs several windows and they have room for no more than the overlap.
    pub fn windows(
        &self,
        before: Option<&str>,
        text: &str,
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Tokens>, TokenizerError> {
        let first = before.map(|text| self.part(text, 0)).transpose()?;
        let part = self.part(text, u32::from(before.is_some()))?;
        self.cut_into_windows(first, part, limit, overlap)
    }

    /// As [`Tokenizer::windows`], of a text that is divided into words already: each is tokenized by itself, as transformers does
    /// with `is_split_into_words`. In the tokens, `words` are indices of the list, and `offsets` are within each word.
    ///
    /// # Errors
    /// As [`Tokenizer::windows`].
    pub fn windows_of_words<W: AsRef<str>>(
        &self,
        words: &[W],
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Tokens>, TokenizerError> {
        let parts = words.iter().map(|word| self.part(word.as_ref(), 0));
        let parts: Vec<Part> = parts.collect::<Result<_, _>>()?;
        let numbered = (0..).zip(&parts);
        let words: Vec<u32> = numbered
            .flat_map(|(word, part)| std::iter::repeat_n(word, part.len()))
            .collect();
        let part = Part::merge(parts, false);
        let mut windows = self.cut_into_windows(None, part, limit, overlap)?;
        let step = limit
            .saturating_sub(self.added_tokens(false))
            .saturating_sub(overlap);
        for (number, tokens) in windows.iter_mut().enumerate() {
            let mut words = words[words.len().min(number * step)..].iter();
            let special = tokens.special.iter();
            tokens.words = special
                .map(|&special| if special { None } else { words.next().copied() })
                .collect();
        }
        Ok(windows)
    }

    /// Whether a word has the same tokens with a space before it, so that words can be tokenized one by one. RoBERTa's has so only
    /// with `add_prefix_space`.
    ///
    /// # Errors
    /// When a step fails.
    pub fn takes_single_words(&self) -> Result<bool, TokenizerError> {
        Ok(self.ids("a", false)? == self.ids(" a", false)?)
    }

    /// Windows of at most `limit` tokens over a text, each behind all of the first one, if there is one.
    fn cut_into_windows(
        &self,
        first: Option<Part>,
        mut part: Part,
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Tokens>, TokenizerError> {
        let added = self.added_tokens(first.is_some());
        let used = first.as_ref().map_or(0, |first| first.len()) + added;
        let room = limit.saturating_sub(used);
        // A text that fits in one window needs no room for the overlap.
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

    /// How many special tokens go around a text or a pair.
    pub fn added_tokens(&self, pair: bool) -> usize {
        self.pipeline.added_tokens(pair)
    }

    /// The places of a text's tokens that stay when tokens with special ones around them are cut to what the model takes.
    pub fn kept(&self, tokens: usize) -> Range<usize> {
        let [before, behind] = self.around;
        let over = tokens.saturating_sub(self.max_tokens);
        match self.cut_at {
            TruncationDirection::Right => before..tokens.saturating_sub(behind + over),
            TruncationDirection::Left => before + over..tokens.saturating_sub(behind),
        }
    }

    /// Cuts tokens with special ones around them to what the model takes. The special ones stay.
    pub fn cut(&self, ids: &mut Vec<u32>) {
        let [before, behind] = self.around;
        let kept = self.kept(ids.len());
        if ids.len() > self.max_tokens {
            ids.drain(kept.end..ids.len() - behind);
            ids.drain(before..kept.start);
        }
    }

    fn refuse_unless(&self, truncate: bool, tokens: usize) -> Result<(), TokenizerError> {
        let limit = self.max_tokens;
        truncate
            .then_some(())
            .ok_or(TokenizerError::TooLong { tokens, limit })
    }

    /// The tokens of one text, without special tokens around it.
    fn part(&self, text: &str, token_type: u32) -> Result<Part, TokenizerError> {
        let mut encoding = self.pipeline.encode(text)?;
        encoding.set_type_ids(vec![token_type; encoding.len()]);
        Ok(encoding)
    }

    /// Puts the special tokens around a text or a pair, or around each of its windows.
    fn finish(&self, first: Part, second: Option<Part>) -> Result<Vec<Tokens>, TokenizerError> {
        // The first text comes before the second in every window.
        let first_len = match second {
            Some(_) => first.len(),
            None => usize::MAX,
        };
        let mut whole = self.pipeline.post_process(first, second)?;
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

    /// The token ids of a text of any length, with the special tokens around it or without.
    ///
    /// # Errors
    /// When a step fails.
    pub fn ids(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let ids = self.pipeline.ids(text, special_tokens)?;
        self.check(&ids)?;
        Ok(ids)
    }

    fn check(&self, ids: &[u32]) -> Result<(), TokenizerError> {
        let vocab_size = self.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&token) => Err(TokenizerError::TokenRange { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// The text of token ids. Where the model's configuration says so, spaces before punctuation and English contractions go.
    ///
    /// # Errors
    /// When a step fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        let text = self.pipeline.decode(ids, skip_special_tokens)?;
        Ok(match self.clean_up_spaces {
            true => without_spaces(text),
            false => text,
        })
    }

    /// The text of vocabulary entries, as [`Tokenizer::id_to_token`] gives them.
    ///
    /// # Errors
    /// When a step fails.
    pub fn join(&self, tokens: Vec<String>) -> Result<String, TokenizerError> {
        self.pipeline.join(tokens)
    }

    /// Whether the vocabulary marks entries that continue a word ("##ing"). RoBERTa's marks those that begin one instead.
    pub fn marks_continuations(&self) -> bool {
        self.pipeline.marks_continuations()
    }

    /// The id of a vocabulary entry, written as the vocabulary writes it ("Ġgarden").
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// The vocabulary entry of an id, written as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id)
    }

    /// The ids of the special tokens, ascending: those that stand for no text, such as the mask and the unknown token.
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

/// How many special tokens go before a text and behind it.
fn around(pipeline: &Pipeline) -> Result<[usize; 2], TokenizerError> {
    let text = Part::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
    let whole = pipeline.post_process(text, None)?;
    let special = whole.get_special_tokens_mask();
    let before = special.iter().take_while(|&&special| special != 0).count();
    Ok([before, (special.len() - before).saturating_sub(1)])
}

/// What transformers makes of a text with `clean_up_tokenization_spaces`: the replacements in its order.
fn without_spaces(mut text: String) -> String {
    for (from, to) in [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ] {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text
}
