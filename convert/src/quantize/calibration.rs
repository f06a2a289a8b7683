//! The text that calibrates, and its tokens.

use super::error::QuantizeError;
use crate::checkpoint::{TokenizerFile, masked, texts};
use crate::encoding::OtherEncoding;
use rq_format::{Config, Head};
use sha2::{Digest, Sha256};
use std::path::Path;

/// English prose in the public domain, and short texts of many kinds: see `data/NOTE.md`.
const ENGLISH: &str = include_str!("../../data/calibration.txt");
/// The most tokens of one text. Longer lines are cut.
const WINDOW: usize = 256;
/// Fewer tokens than these say too little of a model's activations.
const MIN_TOKENS: usize = 512;
/// Of how many lines one is kept back.
const KEPT_BACK_ONE_IN: usize = 16;
/// Of how many tokens one is masked in the texts of a masked language model: it is used on masked texts.
const MASKED_ONE_IN: u64 = 8;

/// Pieces of a paragraph that are shorter, in bytes, are no sentences: "Mr."
const SHORTEST_SENTENCE: usize = 24;

/// A text on which a model is calibrated: each line is one text of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    name: String,
    text: String,
    max_tokens: usize,
    /// Whether lines are paragraphs of prose, of which a sentence encoder is given the sentences.
    paragraphs: bool,
}

impl Calibration {
    /// How many tokens are used, at most, unless said otherwise.
    pub const DEFAULT_TOKENS: usize = 24_576;

    /// The built-in text: English prose and short texts of many kinds. A model is calibrated on its paragraphs, but a sentence
    /// encoder, whose file says how it pools, on its sentences.
    pub fn english() -> Self {
        Self {
            paragraphs: true,
            ..Self::new("built-in English text", ENGLISH)
        }
    }

    /// A text of the caller's; `name` is what messages and the file's provenance call it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            max_tokens: Self::DEFAULT_TOKENS,
            paragraphs: false,
        }
    }

    /// Reads a text from a file; its name is that of the file.
    ///
    /// # Errors
    /// When it can't be read, or isn't UTF-8.
    pub fn read(path: &Path) -> Result<Self, QuantizeError> {
        let bytes = std::fs::read(path).map_err(|source| QuantizeError::Read {
            path: path.into(),
            source,
        })?;
        if let Some(source) = OtherEncoding::of(&bytes) {
            let path = path.into();
            return Err(QuantizeError::Encoding { path, source });
        }
        let text = String::from_utf8(bytes).map_err(|e| QuantizeError::NotUtf8 {
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

    /// The lines that no calibration uses, for a comparison that doesn't flatter: one in 16.
    pub fn kept_back(&self) -> String {
        self.lines(true)
    }

    /// The lines that are kept back, or the others.
    fn lines(&self, kept_back: bool) -> String {
        let lines = self.text.lines().enumerate();
        let wanted =
            lines.filter(|(i, _)| (i % KEPT_BACK_ONE_IN == KEPT_BACK_ONE_IN - 1) == kept_back);
        wanted.flat_map(|(_, line)| [line, "\n"]).collect()
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
    ) -> Result<Tokens, QuantizeError> {
        let lines = self.lines(false);
        let text = match self.paragraphs && config.pooling.is_some() {
            true => sentences(&lines),
            false => lines,
        };
        let Some(texts) = texts(&text, tokenizer, config, WINDOW)? else {
            return Ok(Tokens::Unknown);
        };
        let all: usize = texts.iter().map(Vec::len).sum();
        if all < MIN_TOKENS {
            return Err(QuantizeError::ShortCalibration {
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

/// The sentences of English prose, one a line.
fn sentences(text: &str) -> String {
    let mut sentences = String::with_capacity(text.len());
    for paragraph in text.lines() {
        let mut length = 0;
        for word in paragraph.split_whitespace() {
            sentences += word;
            length += word.len();
            let ends = word
                .trim_end_matches(['"', '\'', ')'])
                .ends_with(['.', '!', '?']);
            sentences.push(if ends && length >= SHORTEST_SENTENCE {
                length = 0;
                '\n'
            } else {
                length += 1;
                ' '
            });
        }
        sentences.push('\n');
    }
    sentences
}

/// What a tokenizer makes of a calibration text.
pub(crate) enum Tokens {
    /// Texts that the model can read.
    Known(Vec<Vec<u32>>),
    /// The text isn't in the model's language.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_in_sentences() {
        let prose = "\"Is that you, Mr. Brown?\" she asked.  He nodded (as he always did.) It was late.\nNo end";
        let expected = "\"Is that you, Mr. Brown?\"\nshe asked. He nodded (as he always did.)\nIt was late. \nNo end \n";
        assert_eq!(sentences(prose), expected);
        let all = sentences(ENGLISH);
        assert!(all.lines().count() > 2 * ENGLISH.lines().count());
        let words = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(words(&all), words(ENGLISH));
    }
}
