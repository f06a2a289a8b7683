//! The tokenizer: `tokenizer.json`, or one made of `vocab.json` and `merges.txt` (RoBERTa), `vocab.txt` (BERT) or
//! `sentencepiece.bpe.model` (XLM-RoBERTa and CamemBERT), with what the files beside it say.

use super::as_transformers::{self, Class, Published, steps};
use super::error::CheckpointError;
use super::hf_config::{HfConfig, SpecialTokens};
use super::json;
use super::notes::Notes;
use super::sentence_piece::{self, Kind};
use super::tokenizer_json::{Names, added_tokens, assembled};
use super::tokenizer_settings::TokenizerSettings;
use crate::source::files::SENTENCE_PIECE;
use rq_format::{Architecture, Head, TruncationSide};
use rq_tokenizer::Pipeline;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

/// What SentencePiece's vocabularies are called.
const SENTENCE_PIECES: [&str; 2] = [SENTENCE_PIECE, "spiece.model"];

/// A tokenizer that was read and fits the model's vocabulary.
#[derive(Clone, Debug)]
pub struct TokenizerFile {
    json: Vec<u8>,
    special: SpecialTokens,
    truncation_side: TruncationSide,
    clean_up_spaces: bool,
    notes: Notes,
}

impl TokenizerFile {
    /// Reads the tokenizer in `directory`: `tokenizer.json` if it is there; else `vocab.json` and `merges.txt`, `vocab.txt`, or
    /// `sentencepiece.bpe.model`, converted as transformers converts them. What `tokenizer_config.json` and the files beside
    /// it say is applied as transformers 5 applies it; where that changes nothing, `tokenizer.json` stays byte for byte.
    ///
    /// # Errors
    /// When there is none of them, it can't be read or isn't one that the runtime accepts, gives ids beyond the vocabulary, or
    /// a masked language model's has no mask.
    pub fn read(directory: &Path, config: &HfConfig) -> Result<Self, CheckpointError> {
        let settings = config.tokenizer_settings();
        let named = settings.class().unwrap_or(config.tokenizer_class());
        let class = Class::named(named);
        let names = names(class, config);
        let path = |file| directory.join(file);
        let has = |file| path(file).is_file();
        let merges = path("merges.txt");
        let is_file = has("tokenizer.json");
        let (vocab, json) = if is_file {
            let file = path("tokenizer.json");
            let json = json::bytes(&file)?;
            (file, json)
        } else if has("vocab.json") && merges.is_file() {
            let vocab = path("vocab.json");
            let json = bpe(&vocab, &merges, &names, settings)?;
            (vocab, json)
        } else if has("vocab.txt") {
            let vocab = path("vocab.txt");
            let json = word_piece(&vocab, &names, settings, config.architecture())?;
            (vocab, json)
        } else if let Some(kind) = class.and_then(Kind::of).filter(|_| has(SENTENCE_PIECE)) {
            let file = path(SENTENCE_PIECE);
            let json = sentence_piece::tokenizer_json(&json::bytes(&file)?, kind, &names)
                .map_err(|reason| unusable(&file, reason))?;
            (file, json)
        } else {
            let directory = directory.to_path_buf();
            return Err(match SENTENCE_PIECES.into_iter().find(|file| has(file)) {
                Some(file) => CheckpointError::SentencePiece { directory, file },
                None => CheckpointError::NoTokenizer { directory },
            });
        };
        // The vocabulary of BPE was read when the JSON was made: what is refused now is a merge.
        let read = match vocab.ends_with("vocab.json") {
            true => &merges,
            false => &vocab,
        };
        let mut notes = Notes::default();
        if !is_file
            && (settings
                .flag("add_bos_token")
                .or(settings.flag("add_eos_token")))
            .is_some()
        {
            let fields = "add_bos_token and add_eos_token";
            notes.add(format!(
                "tokenizer_config.json has {fields}, which rq doesn't know"
            ));
        }
        let published = Published {
            names: &names,
            settings,
            class,
            is_file,
            lower_case: config.lower_case_first(),
            typed: config.architecture().types_pairs(),
            vocab_size: config.vocab_size(),
        };
        if class.is_none() && is_file && !is_generic(named) {
            notes.add(format!(
                "the tokenizer's class is {named}, which rq doesn't know: its steps are those of tokenizer.json"
            ));
        }
        let made = as_transformers::apply(json, read, &published, &mut notes)?;
        let tokenizer = Pipeline::read(&made.json).map_err(|error| unusable(read, error))?;
        let special = check(&tokenizer, &vocab, &names, config)?;
        Ok(Self {
            json: made.json,
            special,
            truncation_side: made.truncation_side,
            clean_up_spaces: made.clean_up_spaces,
            notes,
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

    /// The end at which texts are cut.
    pub fn truncation_side(&self) -> TruncationSide {
        self.truncation_side
    }

    /// Whether the text of tokens loses the spaces before punctuation.
    pub fn clean_up_spaces(&self) -> bool {
        self.clean_up_spaces
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }
}

/// Whether a class has no steps of its own.
fn is_generic(class: &str) -> bool {
    matches!(
        class,
        "PreTrainedTokenizerFast" | "PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend"
    )
}

/// How the files say that special tokens are written, else as the class or the architecture does.
fn names(class: Option<Class>, config: &HfConfig) -> Names {
    use Architecture::{Bert, DistilBert, Electra, MpNet};
    let settings = config.tokenizer_settings();
    let architecture = config.architecture();
    let of_bert = match class {
        Some(class) => class == Class::Bert,
        None => matches!(architecture, Bert | DistilBert | Electra),
    };
    let of_mpnet = architecture == MpNet && class.and_then(Kind::of).is_none();
    let [cls, sep, pad, unk, mask] = match (of_bert, of_mpnet) {
        (true, _) => ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"],
        (_, true) => ["<s>", "</s>", "<pad>", "[UNK]", "<mask>"],
        _ => ["<s>", "</s>", "<pad>", "<unk>", "<mask>"],
    };
    let name = |key: &str, default: &str| settings.name(key).unwrap_or_else(|| default.into());
    Names {
        bos: name("bos_token", "<s>"),
        eos: name("eos_token", "</s>"),
        cls: name("cls_token", cls),
        sep: name("sep_token", sep),
        pad: name("pad_token", pad),
        unk: name("unk_token", unk),
        mask: name("mask_token", mask),
    }
}

/// Makes a `tokenizer.json` of `vocab.json` and `merges.txt`, as transformers does for a `RobertaTokenizer`.
fn bpe(
    vocab: &Path,
    merges: &Path,
    names: &Names,
    settings: &TokenizerSettings,
) -> Result<Vec<u8>, CheckpointError> {
    #[derive(Serialize)]
    struct Bpe<'a> {
        r#type: &'static str,
        vocab: &'a RawValue,
        merges: Vec<&'a str>,
    }
    let ids: HashMap<String, u32> = json::read(vocab)?;
    let id = |token: &str| ids.get(token).copied();
    let [cls, sep] = around(vocab, names, id)?;
    let prefix = settings.flag("add_prefix_space").unwrap_or(false);
    let post_processor = json!({"type": "RobertaProcessing", "sep": sep, "cls": cls, "trim_offsets": true,
        "add_prefix_space": prefix});
    let steps = steps(Class::Roberta, settings, &Value::Null);
    let lines = text(merges)?;
    let lines = lines.lines().filter(|line| !line.starts_with("#version"));
    let model = Bpe {
        r#type: "BPE",
        vocab: &json::read::<Box<RawValue>>(vocab)?,
        merges: lines.collect(),
    };
    assembled(
        steps,
        post_processor,
        added_tokens(names, [], id, true),
        model,
    )
    .map_err(|error| unusable(vocab, error))
}

/// Makes a `tokenizer.json` of `vocab.txt`, as transformers does for a `BertTokenizer`, or an `MPNetTokenizer`.
fn word_piece(
    vocab: &Path,
    names: &Names,
    settings: &TokenizerSettings,
    architecture: Architecture,
) -> Result<Vec<u8>, CheckpointError> {
    #[derive(Serialize)]
    struct WordPiece<'a> {
        r#type: &'static str,
        unk_token: &'a str,
        continuing_subword_prefix: &'static str,
        max_input_chars_per_word: usize,
        #[serde(serialize_with = "as_map")]
        vocab: Vec<(&'a str, u32)>,
    }
    fn as_map<S: Serializer>(tokens: &[(&str, u32)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(tokens.iter().copied())
    }
    let lines = text(vocab)?;
    let numbered = lines.lines().map(str::trim_end).zip(0..);
    let ids: HashMap<&str, u32> = numbered.clone().collect();
    // Of a token that is there twice the last line counts, as in transformers.
    let tokens = numbered.filter(|(token, id)| ids.get(token) == Some(id));
    let id = |token: &str| ids.get(token).copied();
    let [cls, sep] = around(vocab, names, id)?;
    let like_roberta = architecture == Architecture::MpNet;
    let post_processor = match like_roberta {
        true => json!({"type": "RobertaProcessing", "sep": sep, "cls": cls, "trim_offsets": true,
            "add_prefix_space": false}),
        false => json!({"type": "BertProcessing", "sep": sep, "cls": cls}),
    };
    let steps = steps(Class::Bert, settings, &Value::Null);
    let model = WordPiece {
        r#type: "WordPiece",
        unk_token: &names.unk,
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
        vocab: tokens.collect(),
    };
    let added = added_tokens(names, [], id, like_roberta);
    assembled(steps, post_processor, added, model).map_err(|error| unusable(vocab, error))
}

/// The first token of a text and the one that ends or separates texts, with their ids.
fn around<'a>(
    vocab: &Path,
    names: &'a Names,
    id: impl Fn(&str) -> Option<u32>,
) -> Result<[(&'a str, u32); 2], CheckpointError> {
    let with_id = |role, token: &'a str| match id(token) {
        Some(id) => Ok((token, id)),
        None => Err(CheckpointError::SpecialToken {
            path: vocab.into(),
            role,
            token: token.into(),
        }),
    };
    let sep = with_id("separator", &names.sep)?;
    Ok([with_id("first", &names.cls)?, sep])
}

fn text(path: &Path) -> Result<String, CheckpointError> {
    String::from_utf8(json::bytes(path)?).map_err(|error| unusable(path, error))
}

/// Checks that a tokenizer fits the model; finds its special tokens. Messages name `path`.
fn check(
    tokenizer: &Pipeline,
    path: &Path,
    names: &Names,
    config: &HfConfig,
) -> Result<SpecialTokens, CheckpointError> {
    let vocab_size = config.vocab_size();
    let largest = tokenizer.largest_id();
    if let Some(id) = largest.filter(|&id| id as usize >= vocab_size) {
        return Err(CheckpointError::Vocabulary {
            path: path.into(),
            token: tokenizer.id_to_token(id).unwrap_or_default(),
            id,
            vocab_size,
        });
    }
    let mask = tokenizer.token_to_id(&names.mask);
    if mask.is_none() && config.head() == Head::MaskedLm {
        return Err(CheckpointError::SpecialToken {
            path: path.into(),
            role: "mask",
            token: names.mask.clone(),
        });
    }
    // What is put around a text shows in the empty one.
    let empty = tokenizer.ids("", true);
    let (bos, eos) = match empty.map_err(|error| unusable(path, error))?[..] {
        [bos, eos] => (Some(bos), Some(eos)),
        _ => (None, None),
    };
    Ok(SpecialTokens {
        bos,
        eos,
        mask,
        unk: tokenizer.token_to_id(&names.unk),
    })
}

fn unusable(path: &Path, reason: impl Display) -> CheckpointError {
    CheckpointError::Tokenizer {
        path: path.into(),
        reason: reason.to_string().replace('\n', " "),
    }
}
