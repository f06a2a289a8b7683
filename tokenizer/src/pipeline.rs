//! A `tokenizer.json`: the steps between text and tokens.

use crate::error::TokenizerError;
use crate::growth::{Limit, Normalizing};
use crate::model::{Fields as ModelFields, Vocabulary};
use crate::{added, steps};
use rq_format::json::{self, AnyValue};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use tokenizers::{
    AddedToken, Decoder, DecoderWrapper, Encoding, Model, NormalizerWrapper, OffsetType,
    PostProcessor, PostProcessorWrapper, PreTokenizerWrapper, TokenizerBuilder, TokenizerImpl,
};

/// A tokenizer that was read from a `tokenizer.json`, not yet fitted to a model.
#[derive(Debug)]
pub struct Pipeline {
    /// Without the post-processor: texts are cut into windows before it runs, and it must not run twice.
    steps: TokenizerImpl<
        Vocabulary,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >,
    post_processor: Option<PostProcessorWrapper>,
    largest_id: Option<u32>,
}

/// The fields of a `tokenizer.json`. `truncation` and `padding` are settings of whoever trained it: they are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(default)]
    version: Version,
    #[serde(rename = "truncation", default)]
    _truncation: Option<AnyValue>,
    #[serde(rename = "padding", default)]
    _padding: Option<AnyValue>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    model: ModelFields,
}

/// An added token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    /// The crate asks the vocabulary for it.
    #[serde(rename = "id")]
    _id: Option<u32>,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl From<Added> for AddedToken {
    fn from(added: Added) -> Self {
        Self {
            content: added.content,
            single_word: added.single_word,
            lstrip: added.lstrip,
            rstrip: added.rstrip,
            normalized: added.normalized,
            special: added.special,
        }
    }
}

/// The only version that there has been.
#[derive(Default, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "1.0")]
    One,
}

impl Pipeline {
    /// Reads and checks the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is damaged, exceeds a limit, or isn't one that RoBERTa, BERT, XLM-RoBERTa or CamemBERT could have.
    pub fn read(json: &[u8]) -> Result<Self, TokenizerError> {
        // Once for the whole, rather than for each string.
        let text = std::str::from_utf8(json).map_err(<serde_json::Error as de::Error>::custom)?;
        let fields: Fields<'_> = json::from_str(text)?;
        let Version::One = fields.version;
        let added: Vec<AddedToken> = fields.added_tokens.into_iter().map(Into::into).collect();
        let post_processor = steps::post_processor(fields.post_processor)?;
        let normalizer = steps::normalizer(fields.normalizer)?;
        added::check(&added, normalizer.as_ref())?;
        let pre_tokenizer = steps::pre_tokenizer(fields.pre_tokenizer)?;
        let decoder = steps::decoder(fields.decoder)?;
        let model = Vocabulary::new(fields.model)?;
        let largest = model.largest_id();
        let mut steps = TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(normalizer)
            .with_pre_tokenizer(pre_tokenizer)
            .with_post_processor(None)
            .with_decoder(decoder)
            .build()?;
        steps.add_tokens(added)?;
        // Tokens that the vocabulary didn't have were given further ids.
        let added = steps.get_added_vocabulary();
        let largest_id = largest
            .into_iter()
            .chain(added.get_vocab().values().copied())
            .max();
        added::check_ids(added, steps.get_model())?;
        Ok(Self {
            steps,
            post_processor,
            largest_id,
        })
    }

    /// The id of a vocabulary entry, written as the vocabulary writes it ("Ġgarden").
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.steps.token_to_id(token)
    }

    /// The vocabulary entry of an id, written as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.steps.id_to_token(id)
    }

    /// The largest id of the vocabulary and the added tokens, if there is any.
    pub fn largest_id(&self) -> Option<u32> {
        self.largest_id
    }

    /// The token ids of a text, with the special tokens around it or without.
    ///
    /// # Errors
    /// When a step fails.
    pub fn ids(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut encoding = self.encode_without_offsets(text)?;
        if special_tokens {
            encoding = self.post_process(encoding, None)?;
        }
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text without special tokens around it. It is faster than to find where each is.
    pub(crate) fn encode_without_offsets(&self, text: &str) -> Result<Encoding, TokenizerError> {
        self.divide(text, OffsetType::None)
    }

    /// The tokens of a text without special tokens around it, and where in the text each is.
    pub(crate) fn encode(&self, text: &str) -> Result<Encoding, TokenizerError> {
        self.divide(text, OffsetType::Char)
    }

    /// What the crate's own `encode` does, with a look at how long the text has become behind each step.
    fn divide(&self, text: &str, offsets: OffsetType) -> Result<Encoding, TokenizerError> {
        let limit = Limit::of(text);
        let normalizing = Normalizing::new(self.steps.get_normalizer(), limit);
        let added = self.steps.get_added_vocabulary();
        let mut parts = added.extract_and_normalize(Some(&normalizing), text);
        normalizing.finish()?;
        if let Some(step) = self.steps.get_pre_tokenizer() {
            limit.pre_tokenize(step, &mut parts)?;
        }
        let model = self.steps.get_model();
        model.tokenize_in_pretokenized(&mut parts, None)?;
        let encoding = parts.into_encoding(None, 0, offsets)?;
        Ok(self.steps.post_process(encoding, None, false)?)
    }

    /// Puts the special tokens around a text or a pair.
    pub(crate) fn post_process(
        &self,
        first: Encoding,
        second: Option<Encoding>,
    ) -> Result<Encoding, TokenizerError> {
        Ok(match &self.post_processor {
            Some(processor) => processor.process(first, second, true),
            None => self.steps.post_process(first, second, true),
        }?)
    }

    /// How many special tokens go around a text or a pair.
    pub(crate) fn added_tokens(&self, pair: bool) -> usize {
        let processor = self.post_processor.as_ref();
        processor.map_or(0, |processor| processor.added_tokens(pair))
    }

    /// The text of tokens.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let added = self.steps.get_added_vocabulary();
        let token = |&id: &u32| {
            let token = added.simple_id_to_token(id);
            let token = token.or_else(|| self.steps.get_model().id_to_token(id))?;
            (!skip_special || !added.is_special_token(&token)).then_some(token)
        };
        self.join(ids.iter().filter_map(token).collect())
    }

    /// The text of vocabulary entries.
    pub(crate) fn join(&self, tokens: Vec<String>) -> Result<String, TokenizerError> {
        match self.steps.get_decoder() {
            // A decoder of the crate counts the tokens, less one.
            _ if tokens.is_empty() => Ok(String::new()),
            Some(decoder) => Ok(decoder.decode(tokens)?),
            None => Ok(tokens.join(" ")),
        }
    }

    /// Whether the vocabulary marks entries that continue a word. RoBERTa's marks those that begin one instead.
    pub(crate) fn marks_continuations(&self) -> bool {
        self.steps.get_model().marks_continuations()
    }

    /// The ids of the added tokens that are special.
    pub(crate) fn special_ids(&self) -> impl Iterator<Item = u32> {
        let added = self.steps.get_added_vocabulary().get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special);
        special.map(|(&id, _)| id)
    }
}
