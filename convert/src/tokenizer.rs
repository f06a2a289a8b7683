//! The tokenizer: `tokenizer.json` as it is, or the same made of `vocab.json` and `merges.txt` (RoBERTa), `vocab.txt` (BERT)
//! or `sentencepiece.bpe.model` (XLM-RoBERTa and CamemBERT).

use crate::error::ConvertError;
use crate::hf_config::HfConfig;
use crate::json;
use crate::sentence_piece;
use rq_format::{Architecture, Head};
use rq_tokenizer::limits as vocabulary;
use rq_tokenizer::steps::Pipeline;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// What SentencePiece's vocabularies are called.
const SENTENCE_PIECE: [&str; 2] = [sentence_piece::FILE, "spiece.model"];

/// The tokens that have a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Put before every text, if one is.
    pub bos: Option<u32>,
    /// Put behind every text, if one is.
    pub eos: Option<u32>,
    /// Stands for a missing token, if there is one.
    pub mask: Option<u32>,
    /// Stands for what the vocabulary can't spell, if it has one.
    pub unk: Option<u32>,
}

/// A tokenizer that was read and fits the model's vocabulary.
#[derive(Clone, Debug)]
pub struct TokenizerFile {
    json: Vec<u8>,
    special: SpecialTokens,
}

impl TokenizerFile {
    /// Reads the tokenizer in `directory`: `tokenizer.json`, byte for byte but for the place of its model's type, if it is
    /// there; else `vocab.json` and `merges.txt`, `vocab.txt`, or `sentencepiece.bpe.model`, converted as transformers converts
    /// them.
    ///
    /// # Errors
    /// When there is none of them, it can't be read, gives ids beyond the vocabulary, or a masked language model's has no
    /// mask.
    pub fn read(directory: &Path, config: &HfConfig) -> Result<Self, ConvertError> {
        let names = Names::read(directory, config)?;
        let has = |file: &str| directory.join(file).is_file();
        let mut path = directory.join("tokenizer.json");
        let bytes = if path.is_file() {
            json::bytes(&path)?
        } else if has("vocab.json") && has("merges.txt") {
            path = directory.join("vocab.json");
            build(directory, &names)?
        } else if has("vocab.txt") {
            path = directory.join("vocab.txt");
            build_word_piece(&path, &names)?
        } else if let Some(kind) = names.sentence_piece.filter(|_| has(sentence_piece::FILE)) {
            path = directory.join(sentence_piece::FILE);
            sentence_piece::tokenizer_json(&json::bytes(&path)?, kind, &names)
                .map_err(|reason| tokenizer_error(&path)(reason.into()))?
        } else {
            let directory = directory.to_path_buf();
            return Err(match SENTENCE_PIECE.into_iter().find(|file| has(file)) {
                Some(file) => ConvertError::SentencePiece { directory, file },
                None => ConvertError::NoTokenizer { directory },
            });
        };
        let bytes = type_first(&bytes).unwrap_or(bytes);
        let special = check(&path, &bytes, &names, config)?;
        Ok(Self {
            json: bytes,
            special,
        })
    }

    /// The content of `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The tokens that have a meaning of their own.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }
}

/// How the special tokens are written, and how texts begin.
pub(crate) struct Names {
    pub(crate) cls: String,
    pub(crate) sep: String,
    pub(crate) pad: String,
    pub(crate) unk: String,
    pub(crate) mask: String,
    add_prefix_space: bool,
    /// What a vocabulary of SentencePiece is for.
    sentence_piece: Option<sentence_piece::Kind>,
    /// Settings of BERT's normalizer.
    do_lower_case: bool,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: bool,
}

impl Names {
    /// From `tokenizer_config.json`, else `special_tokens_map.json`, else those of the class or the architecture.
    fn read(directory: &Path, config: &HfConfig) -> Result<Self, ConvertError> {
        let mut files = Vec::new();
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = directory.join(file);
            if path.is_file() {
                files.push(json::read::<Value>(&path)?);
            }
        }
        let name = |key: &str, default: &str| {
            let written = files.iter().find_map(|file| match &file[key] {
                Value::String(token) => Some(token.clone()),
                token => token["content"].as_str().map(str::to_owned),
            });
            written.unwrap_or_else(|| default.into())
        };
        let flag = |key: &str| files.iter().find_map(|f| f[key].as_bool());
        let class = files
            .iter()
            .find_map(|file| file["tokenizer_class"].as_str())
            .unwrap_or(config.tokenizer_class());
        let sentence_piece = sentence_piece::Kind::named(class);
        let [cls, sep, pad, unk, mask] = match (config.architecture(), sentence_piece) {
            (Architecture::Bert, None) => ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"],
            _ => ["<s>", "</s>", "<pad>", "<unk>", "<mask>"],
        };
        Ok(Self {
            cls: name("cls_token", cls),
            sep: name("sep_token", sep),
            pad: name("pad_token", pad),
            unk: name("unk_token", unk),
            mask: name("mask_token", mask),
            add_prefix_space: flag("add_prefix_space").unwrap_or(false),
            sentence_piece,
            do_lower_case: flag("do_lower_case").unwrap_or(true),
            strip_accents: flag("strip_accents"),
            tokenize_chinese_chars: flag("tokenize_chinese_chars").unwrap_or(true),
        })
    }
}

/// Makes a `tokenizer.json` of `vocab.json` and `merges.txt`, as transformers does for a `RobertaTokenizer`.
fn build(directory: &Path, names: &Names) -> Result<Vec<u8>, ConvertError> {
    let (vocab, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
    let error = tokenizer_error(&vocab);
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let tokens: BTreeMap<String, Value> = json::read(&vocab)?;
    let lines = json::bytes(&merges)?;
    let lines = String::from_utf8_lossy(&lines);
    let tokens = tokens.keys().map(String::as_str).collect();
    vocabulary::check_merges(&tokens, "", vocabulary::merges(lines.lines()))
        .map_err(|e| tokenizer_error(&merges)(e.into()))?;
    let bpe = BPE::from_file(&text(&vocab), &text(&merges))
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(String::new())
        .build()
        .map_err(&error)?;
    let mut tokenizer = Tokenizer::new(bpe);

    let [cls, sep] = around(&tokenizer, &vocab, names)?;
    let prefix = names.add_prefix_space;
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(prefix, true, true)))
        .with_decoder(Some(ByteLevel::new(true, true, true)))
        .with_post_processor(Some(
            RobertaProcessing::new(sep, cls)
                .trim_offsets(true)
                .add_prefix_space(prefix),
        ));
    // The mask swallows the space before it: " <mask>" and "<mask>" are the same to the model.
    finish(tokenizer, names, true).map_err(&error)
}

/// Makes a `tokenizer.json` of `vocab.txt`, as transformers does for a `BertTokenizer`.
fn build_word_piece(vocab: &Path, names: &Names) -> Result<Vec<u8>, ConvertError> {
    let error = tokenizer_error(vocab);
    let model = WordPiece::from_file(&vocab.to_string_lossy())
        .unk_token(names.unk.clone())
        .continuing_subword_prefix("##".into())
        .max_input_chars_per_word(100)
        .build()
        .map_err(&error)?;
    let mut tokenizer = Tokenizer::new(model);
    let [cls, sep] = around(&tokenizer, vocab, names)?;
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            names.tokenize_chinese_chars,
            names.strip_accents,
            names.do_lower_case,
        )))
        .map_err(&error)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(WordPieceDecoder::new("##".into(), true)))
        .with_post_processor(Some(BertProcessing::new(sep, cls)));
    finish(tokenizer, names, false).map_err(&error)
}

/// The tokens around a text with their ids.
fn around(
    tokenizer: &Tokenizer,
    vocab: &Path,
    names: &Names,
) -> Result<[(String, u32); 2], ConvertError> {
    let id = |role, token: &String| {
        tokenizer
            .token_to_id(token)
            .ok_or_else(|| ConvertError::SpecialToken {
                path: vocab.into(),
                role,
                token: token.clone(),
            })
    };
    let sep = (names.sep.clone(), id("separator", &names.sep)?);
    Ok([(names.cls.clone(), id("first", &names.cls)?), sep])
}

/// Adds the special tokens that the vocabulary has, and writes the whole.
fn finish(mut tokenizer: Tokenizer, names: &Names, lstrip: bool) -> tokenizers::Result<Vec<u8>> {
    let special = [&names.cls, &names.pad, &names.sep, &names.unk, &names.mask];
    let special: Vec<AddedToken> = special
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token.clone(), true).lstrip(lstrip && *token == names.mask))
        .collect();
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer.to_string(false)?.into_bytes())
}

/// A `tokenizer.json` with its model's type before the model's other fields, where that comes later. Libraries write it first,
/// and the runtime reads the others by it; but for BPE, whose oldest files have none.
fn type_first(json: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let json = std::str::from_utf8(json).ok()?;
    let model = serde_json::from_str::<Whole<'_>>(json).ok()?.model.get();
    let first = model.trim_start_matches(|c: char| c == '{' || c.is_ascii_whitespace());
    if first.starts_with("\"type\"") {
        return None;
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(model).ok()?;
    let kind = fields.remove("type").filter(|k| k.get() != "\"BPE\"")?;
    let mut ordered = format!("{{\"type\":{kind}");
    for (name, value) in fields {
        ordered += &format!(",{}:{value}", Value::from(name));
    }
    let start = model.as_ptr().addr() - json.as_ptr().addr();
    let (before, after) = (&json[..start], &json[start + model.len()..]);
    Some([before, &ordered, "}", after].concat().into_bytes())
}

/// Checks that a tokenizer can be read and fits the model; finds its special tokens.
fn check(
    path: &Path,
    json: &[u8],
    names: &Names,
    config: &HfConfig,
) -> Result<SpecialTokens, ConvertError> {
    let error = tokenizer_error(path);
    // Before anything is made of them.
    let steps = serde_json::from_slice::<Pipeline<'_>>(json).map_err(|e| error(e.into()))?;
    steps.check().map_err(|e| error(e.into()))?;
    vocabulary::check(json).map_err(|e| error(e.into()))?;
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(&error)?;
    let vocab_size = config.vocab_size();
    if matches!(tokenizer.get_model(), ModelWrapper::WordLevel(_)) {
        return Err(error(
            "its model is WordLevel; rq reads BPE, WordPiece and Unigram".into(),
        ));
    }
    let vocabulary = tokenizer.get_vocab(true);
    // Of equal ids the first in the order of the names, so that the message doesn't depend on a hash.
    let last = vocabulary
        .into_iter()
        .max_by(|a, b| (a.1, &b.0).cmp(&(b.1, &a.0)));
    if let Some((token, id)) = last.filter(|(_, id)| *id as usize >= vocab_size) {
        return Err(ConvertError::Vocabulary {
            path: path.into(),
            token,
            id,
            vocab_size,
        });
    }
    let added = path.with_file_name("added_tokens.json");
    if !path.ends_with("tokenizer.json") && added.is_file() {
        let tokens: BTreeMap<String, u32> = json::read(&added)?;
        let foreign = tokens
            .into_iter()
            .find(|(token, id)| tokenizer.token_to_id(token) != Some(*id));
        if let Some((token, _)) = foreign {
            return Err(ConvertError::AddedToken { path: added, token });
        }
    }
    let mask = tokenizer.token_to_id(&names.mask);
    if mask.is_none() && config.head() == Head::MaskedLm {
        return Err(ConvertError::SpecialToken {
            path: path.into(),
            role: "mask",
            token: names.mask.clone(),
        });
    }
    // What is put around a text shows in the empty one; some files ask for padding or truncation by themselves.
    tokenizer
        .with_padding(None)
        .with_truncation(None)
        .map_err(&error)?;
    let empty = tokenizer.encode("", true).map_err(&error)?;
    let (bos, eos) = match empty.get_ids() {
        [bos, eos] => (Some(*bos), Some(*eos)),
        _ => (None, None),
    };
    Ok(SpecialTokens {
        bos,
        eos,
        mask,
        unk: tokenizer.token_to_id(&names.unk),
    })
}

fn tokenizer_error(path: &Path) -> impl Fn(tokenizers::Error) -> ConvertError {
    let path = path.to_path_buf();
    move |error| ConvertError::Tokenizer {
        path: path.clone(),
        reason: error.to_string().replace('\n', " "),
    }
}
