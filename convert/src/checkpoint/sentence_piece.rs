//! A vocabulary of SentencePiece: the `tokenizer.json` that transformers makes of it for XLM-RoBERTa and CamemBERT.

use super::as_transformers::Class;
use super::tokenizer_json::{Names, Steps, added_tokens, assembled};
use prost::Message;
use serde_json::{Map, json};
use std::collections::HashMap;

/// The models whose `tokenizer.json` is known: they place their special tokens differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    XlmRoberta,
    Camembert,
}

impl Kind {
    /// That of a tokenizer's class in transformers.
    pub(crate) fn of(class: Class) -> Option<Self> {
        match class {
            Class::XlmRoberta => Some(Self::XlmRoberta),
            Class::Camembert => Some(Self::Camembert),
            Class::Bert | Class::Roberta | Class::MpNet => None,
        }
    }
}

/// What matters of the file, by the numbers of its fields in sentencepiece_model.proto.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    /// A logarithm of a probability.
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(enumeration = "PieceType", optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum PieceType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(enumeration = "ModelType", optional, tag = "3")]
    model_type: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum ModelType {
    Unigram = 1,
    Bpe = 2,
    Word = 3,
    Char = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Makes a `tokenizer.json` of the content of a file.
///
/// # Errors
/// Why it can't be, in words that follow the file's name.
pub(crate) fn tokenizer_json(file: &[u8], kind: Kind, names: &Names) -> Result<Vec<u8>, String> {
    let model = Model::decode(file).map_err(|error| error.to_string())?;
    let model_type = model.trainer.unwrap_or_default().model_type();
    if model_type != ModelType::Unigram {
        return Err(format!(
            "its model is {model_type:?}, and rq reads Unigram of SentencePiece only"
        ));
    }
    let mut pieces = model.pieces.iter();
    let first: Vec<&str> = pieces.by_ref().take(3).map(Piece::text).collect();
    if first != ["<unk>", "<s>", "</s>"] {
        return Err(format!(
            "its first pieces are {first:?}, not <unk>, <s> and </s>"
        ));
    }
    // The places that fairseq gave to the special tokens, before the pieces.
    let special: &[(&str, f64)] = match kind {
        Kind::XlmRoberta => &[
            (&names.cls, 0.0),
            (&names.pad, 0.0),
            (&names.sep, 0.0),
            (&names.unk, 0.0),
        ],
        Kind::Camembert => &[
            ("<s>NOTUSED", 0.0),
            (&names.pad, 0.0),
            ("</s>NOTUSED", 0.0),
            (&names.unk, 0.0),
            ("<unk>NOTUSED", -100.0),
            ("<s>", 0.0),
            ("</s>", 0.0),
        ],
    };
    let mut vocab = special.to_vec();
    vocab.extend(pieces.map(|piece| (piece.text(), f64::from(piece.score()))));
    vocab.push((&names.mask, 0.0));
    let ids: HashMap<&str, u32> = vocab.iter().map(|(token, _)| *token).zip(0..).collect();
    let id = |token: &str| ids.get(token).copied();

    let own = model.pieces.iter().filter_map(|piece| match piece.kind() {
        PieceType::Control => Some((piece.text(), true)),
        PieceType::UserDefined => Some((piece.text(), false)),
        _ => None,
    });
    let added_tokens = added_tokens(names, own, id, true);

    let [cls, sep] =
        [&names.cls, &names.sep].map(|token| json!({"SpecialToken": {"id": token, "type_id": 0}}));
    let [a, b] = ["A", "B"].map(|text| json!({"Sequence": {"id": text, "type_id": 0}}));
    let around = [&names.cls, &names.sep].map(|token| {
        let entry = json!({"id": token, "ids": [id(token)], "tokens": [token]});
        (token.clone(), entry)
    });
    let charsmap = model.normalizer.and_then(|n| n.precompiled_charsmap);
    let charsmap = charsmap.filter(|charsmap| !charsmap.is_empty()).map(
        |charsmap| json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(charsmap)}),
    );
    let space =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let steps = Steps {
        normalizer: charsmap.unwrap_or_default(),
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}),
        decoder: space,
    };
    let post_processor = json!({
        "type": "TemplateProcessing",
        "single": [cls, a, sep],
        "pair": [cls, a, sep, sep, b, sep],
        "special_tokens": Map::from_iter(around),
    });
    let model = json!({
        "type": "Unigram",
        "unk_id": id(&names.unk),
        "vocab": vocab,
        "byte_fallback": false,
    });
    assembled(steps, post_processor, added_tokens, model).map_err(|error| error.to_string())
}
