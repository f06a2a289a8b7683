//! A `tokenizer.json` as transformers 5 uses it.
//!
//! A class of its own, such as `BertTokenizer`, takes vocabulary and merges from the file, and builds every step by its own
//! settings; the class `PreTrainedTokenizerFast` takes the steps from the file. Either way tokens are added.

use super::error::CheckpointError;
use super::notes::Notes;
use super::tokenizer_json::{Names, Steps};
use super::tokenizer_settings::{Added, TokenizerSettings};
use rq_format::TruncationSide;
use rq_tokenizer::Pipeline;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A class that builds the steps itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Bert,
    Roberta,
    XlmRoberta,
    Camembert,
    MpNet,
}

impl Class {
    /// The class of this name in transformers, or of this model type, whose name stands for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "bert"
            | "DistilBertTokenizer"
            | "distilbert"
            | "ElectraTokenizer"
            | "electra"
            | "RetriBertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer"
            | "ConvBertTokenizer" => Some(Self::Bert),
            "RobertaTokenizer" | "roberta" | "LongformerTokenizer" | "BartTokenizer" => {
                Some(Self::Roberta)
            }
            "XLMRobertaTokenizer" | "xlm-roberta" => Some(Self::XlmRoberta),
            "CamembertTokenizer" | "camembert" => Some(Self::Camembert),
            "MPNetTokenizer" | "mpnet" => Some(Self::MpNet),
            _ => None,
        }
    }

    /// Gives a special token that is named without flags those of the class.
    fn dress(self, name: &str, token: &mut Added) {
        let like_a_word = matches!(self, Self::MpNet | Self::Camembert);
        token.lstrip = like_a_word && name == "mask_token";
    }

    /// The model that its vocabulary is for.
    fn model(self) -> &'static str {
        match self {
            Self::Bert | Self::MpNet => "WordPiece",
            Self::Roberta => "BPE",
            Self::XlmRoberta | Self::Camembert => "Unigram",
        }
    }
}

/// A `tokenizer.json`. The model stays as it is written.
#[derive(Serialize, Deserialize)]
struct Whole<'a> {
    #[serde(default)]
    version: Value,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(default)]
    added_tokens: Vec<Value>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// A tokenizer that is only asked for ids.
#[derive(Serialize)]
struct Asked<'a> {
    added_tokens: Vec<Value>,
    model: &'a RawValue,
}

/// The fields of a model, but for its vocabulary.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    merges: Option<IgnoredAny>,
}

/// A tokenizer as transformers would use it.
pub(crate) struct Made {
    pub(crate) json: Vec<u8>,
    /// The end at which texts are cut.
    pub(crate) truncation_side: TruncationSide,
    /// Whether spaces before punctuation go when tokens become text.
    pub(crate) clean_up_spaces: bool,
}

/// What there is to know of a tokenizer beside its `tokenizer.json`.
pub(crate) struct Published<'a> {
    pub(crate) names: &'a Names,
    pub(crate) settings: &'a TokenizerSettings,
    /// The class, if it is one that builds the steps itself.
    pub(crate) class: Option<Class>,
    /// Whether the file is the publisher's, and not one that was made of a vocabulary by the class's rules.
    pub(crate) is_file: bool,
    /// Whether sentence-transformers puts texts in lower case first.
    pub(crate) lower_case: bool,
    /// Whether the model looks token types up.
    pub(crate) typed: bool,
    /// Entries of the model's vocabulary.
    pub(crate) vocab_size: usize,
}

/// Makes it of the JSON of `path`.
pub(crate) fn apply(
    json: Vec<u8>,
    path: &Path,
    published: &Published<'_>,
    notes: &mut Notes,
) -> Result<Made, CheckpointError> {
    let refuse = |reason: String| CheckpointError::Tokenizer {
        path: path.into(),
        reason: reason.replace('\n', " "),
    };
    let text = std::str::from_utf8(&json).map_err(|error| {
        let at = error.valid_up_to() + 1;
        refuse(format!("it isn't UTF-8, at byte {at}"))
    })?;
    let mut whole: Whole<'_> =
        serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let model: Model =
        serde_json::from_str(whole.model.get()).map_err(|error| refuse(error.to_string()))?;
    let kind = model.kind.unwrap_or_else(|| {
        // The oldest files don't say.
        let kind = if model.merges.is_some() {
            "BPE"
        } else {
            "WordPiece"
        };
        kind.to_owned()
    });
    let mut class = published.class.filter(|_| published.is_file);
    if let Some(known) = class.filter(|class| class.model() != kind) {
        notes.add(format!(
            "the tokenizer's class is {known:?}, and tokenizer.json has a model of another kind ({kind}): tokenizer.json counts"
        ));
        class = None;
    }

    let settings = published.settings;
    let truncation_side = match settings.truncation_side()? {
        Some(side) => side,
        None if whole.truncation["direction"] == "Left" => TruncationSide::Left,
        None => TruncationSide::Right,
    };
    let forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
    let clean_up_spaces = settings.flag("clean_up_tokenization_spaces") == Some(true)
        && (kind != "BPE" || settings.flag(forced) == Some(true));

    let mut changed = false;
    // A step that does the same stays as it is written.
    let mut set = |part: &mut Value, to: Value| {
        let other = settles(part) != settles(&to);
        if other {
            changed = true;
            *part = to;
        }
        other
    };
    if let Some(class) = class {
        let steps = steps(class, settings, &whole.normalizer);
        for (name, part, to) in [
            ("normalizer", &mut whole.normalizer, steps.normalizer),
            (
                "pre_tokenizer",
                &mut whole.pre_tokenizer,
                steps.pre_tokenizer,
            ),
        ] {
            if set(part, to) {
                notes.add(format!(
                    "tokenizer.json's {name} isn't the one of the class with the settings in tokenizer_config.json, which \
                     counts, as in transformers 5"
                ));
            }
        }
        // What a decoder of bytes has besides changes nothing.
        let bytes = |step: &Value| step["type"] == "ByteLevel";
        if !(bytes(&whole.decoder) && bytes(&steps.decoder)) {
            set(&mut whole.decoder, steps.decoder);
        }
    }
    if published.lower_case && !lowers(&whole.normalizer) {
        let mut steps = vec![json!({"type": "Lowercase"})];
        match whole.normalizer.take() {
            Value::Null => {}
            mut sequence if sequence["type"] == "Sequence" => {
                if let Value::Array(more) = sequence["normalizers"].take() {
                    steps.extend(more);
                }
            }
            step => steps.push(step),
        }
        let sequence = json!({"type": "Sequence", "normalizers": steps});
        set(&mut whole.normalizer, sequence);
    }

    // The tokens that are added, and in which order.
    let mut settings = settings.clone();
    let of_file: Vec<Added> = added(&whole.added_tokens);
    if published.is_file {
        settings.take_file_tokens(&whole.added_tokens);
    }
    let defaults = match class {
        Some(class) => defaults(class, published.names),
        None => Vec::new(),
    };
    let there: &[Added] = if class.is_some() { &[] } else { &of_file };
    let mut tokens = there.to_vec();
    let dress = |name: &str, token: &mut Added| {
        if let Some(class) = class {
            class.dress(name, token);
        }
    };
    for token in settings.added(there, &defaults, dress) {
        // Where the vocabulary's own rules made a token, a list of names and ids says no more of it.
        let made = !published.is_file && !settings.has_decoder();
        let made = made && there.iter().any(|t| t.content == token.content);
        if !made && !tokens.contains(&token) {
            tokens.push(token);
        }
    }

    // The vocabulary is asked for the ids, with the tokens added and nothing put around.
    let ids = |tokens: &[Added], model: &RawValue| -> Result<Pipeline, CheckpointError> {
        let asked = Asked {
            added_tokens: tokens.iter().map(|t| t.json(0)).collect(),
            model,
        };
        let json = serde_json::to_vec(&asked).map_err(|error| refuse(error.to_string()))?;
        Pipeline::read(&json).map_err(|error| refuse(error.to_string()))
    };
    let rebuilt = rebuilt_model(class, published.names, whole.model, notes)
        .map_err(|error| refuse(error.to_string()))?;
    let model: &RawValue = rebuilt.as_deref().unwrap_or(whole.model);
    changed |= rebuilt.is_some();
    // Special tokens are named that nobody trained; the files' own added tokens are checked by whoever reads the result.
    let own: Vec<String> = settings.ids().map(|(_, token)| token.to_owned()).collect();
    if tokens.len() > there.len() {
        let pipeline = ids(&tokens, model)?;
        tokens.retain(|token| {
            let id = pipeline.token_to_id(&token.content);
            let fits = id.is_none_or(|id| (id as usize) < published.vocab_size);
            let content = &token.content;
            let keep = fits || own.contains(content) || there.contains(token);
            if !keep {
                notes.add(format!(
                    "the special token {content} isn't in the vocabulary, and the model has no embedding for it: it is left out"
                ));
            }
            keep
        });
    }
    let same = tokens == of_file;
    if !same || class.is_some() {
        let pipeline = ids(&tokens, model)?;
        let id = |token: &str| pipeline.token_to_id(token);
        for (said, token) in settings.ids() {
            match id(token) {
                Some(id) if id != said => notes.add(format!(
                    "{token} has the id {id}, as in transformers, and not {said}, as the files say"
                )),
                _ => {}
            }
        }
        if !same {
            changed = true;
            let json = tokens.iter().map(|t| t.json(id(&t.content).unwrap_or(0)));
            whole.added_tokens = json.collect();
        }
        if let Some(class) = class {
            let around = around(class, published, &id, path)?;
            if !around.contains(&whole.post_processor) {
                let [new, ..] = around;
                changed = true;
                whole.post_processor = new;
            }
        }
    }
    if published.typed && !settings.passes_token_types() {
        let untyped = untyped(&whole.post_processor);
        changed |= untyped != whole.post_processor;
        whole.post_processor = untyped;
    }
    let json = match changed {
        false => json,
        true => {
            whole.truncation = Value::Null;
            whole.padding = Value::Null;
            let whole = Whole { model, ..whole };
            serde_json::to_vec(&whole).map_err(|error| refuse(error.to_string()))?
        }
    };
    Ok(Made {
        json,
        truncation_side,
        clean_up_spaces,
    })
}

fn added(tokens: &[Value]) -> Vec<Added> {
    tokens.iter().filter_map(Added::of).collect()
}

/// The steps of a class with these settings. `normalizer` is the file's, of which two take the table of characters.
pub(crate) fn steps(class: Class, settings: &TokenizerSettings, normalizer: &Value) -> Steps {
    let flag = |name: &str, default: bool| settings.flag(name).unwrap_or(default);
    match class {
        Class::Bert | Class::MpNet => Steps {
            normalizer: json!({"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": flag("tokenize_chinese_chars", true),
                "strip_accents": settings.flag("strip_accents"),
                "lowercase": flag("do_lower_case", true)}),
            pre_tokenizer: json!({"type": "BertPreTokenizer"}),
            decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        },
        Class::Roberta => {
            let byte_level = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
            Steps {
                normalizer: Value::Null,
                pre_tokenizer: byte_level(flag("add_prefix_space", false)),
                decoder: byte_level(true),
            }
        }
        Class::XlmRoberta | Class::Camembert => {
            let scheme = match flag("add_prefix_space", true) {
                true => "always",
                false => "never",
            };
            let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
            Steps {
                normalizer: charsmap(normalizer),
                pre_tokenizer: json!({"type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}),
                decoder: metaspace,
            }
        }
    }
}

/// The table of characters in a normalizer, which is all that these classes take of it.
fn charsmap(normalizer: &Value) -> Value {
    let is_table = |step: &&Value| step["type"] == "Precompiled";
    let table = match &normalizer["normalizers"] {
        Value::Array(steps) => steps.iter().find(is_table),
        _ => Some(normalizer).filter(is_table),
    };
    table.cloned().unwrap_or_default()
}

/// A step in the form in which it is compared: what a file needn't say is filled in, and what changes nothing is left out.
fn settles(step: &Value) -> Value {
    let steps = |key: &str, more: &Value| match more {
        Value::Array(steps) => match &steps[..] {
            [one] => settles(one),
            steps => {
                json!({"type": "Sequence", key: steps.iter().map(settles).collect::<Vec<_>>()})
            }
        },
        _ => step.clone(),
    };
    match step["type"].as_str() {
        Some("Sequence") if step.get("normalizers").is_some() => {
            steps("normalizers", &step["normalizers"])
        }
        Some("Sequence") => steps("pretokenizers", &step["pretokenizers"]),
        Some("ByteLevel") => {
            json!({"type": "ByteLevel", "add_prefix_space": step["add_prefix_space"],
            "use_regex": step["use_regex"].as_bool().unwrap_or(true)})
        }
        Some("Metaspace") => {
            let scheme = match (step["prepend_scheme"].as_str(), &step["add_prefix_space"]) {
                (Some(scheme), _) => scheme,
                (None, Value::Bool(false)) => "never",
                (None, _) => "always",
            };
            json!({"type": "Metaspace", "replacement": step["replacement"], "prepend_scheme": scheme,
                "split": step["split"].as_bool().unwrap_or(true)})
        }
        _ => step.clone(),
    }
}

/// Whether a normalizer has the step that puts texts in lower case, as sentence-transformers looks for it.
fn lowers(normalizer: &Value) -> bool {
    let is_lower = |step: &Value| step["type"] == "Lowercase";
    match &normalizer["normalizers"] {
        Value::Array(steps) => steps.iter().any(is_lower),
        _ => is_lower(normalizer),
    }
}

/// The special tokens of a class, where the files don't name them.
fn defaults(class: Class, names: &Names) -> Vec<(&'static str, Added)> {
    let of = |name, content: &str| (name, Added::special(content));
    let mut all = vec![
        of("unk_token", &names.unk),
        of("sep_token", &names.sep),
        of("pad_token", &names.pad),
        of("cls_token", &names.cls),
        of("mask_token", &names.mask),
    ];
    if class != Class::Bert {
        all.push(of("bos_token", &names.bos));
        all.push(of("eos_token", &names.eos));
    }
    all
}

/// What a class puts around texts, in the forms in which a file may have it; the first is the class's own.
fn around(
    class: Class,
    published: &Published<'_>,
    id: &impl Fn(&str) -> Option<u32>,
    path: &Path,
) -> Result<[Value; 2], CheckpointError> {
    let names = published.names;
    let with_id = |role, token: &str| match id(token) {
        Some(id) => Ok((token.to_owned(), id)),
        None => Err(CheckpointError::SpecialToken {
            path: path.into(),
            role,
            token: token.into(),
        }),
    };
    let flag = |name: &str, default: bool| published.settings.flag(name).unwrap_or(default);
    Ok(match class {
        Class::Bert => {
            let cls = with_id("first", &names.cls)?;
            let sep = with_id("separator", &names.sep)?;
            [
                bert_template(&cls, &sep),
                json!({"type": "BertProcessing", "sep": sep, "cls": cls}),
            ]
        }
        Class::Roberta | Class::MpNet => {
            let cls = with_id("first", &names.cls)?;
            let sep = with_id("separator", &names.sep)?;
            // MPNet's has no such settings.
            let flag = |name: &str, default: bool| match class {
                Class::MpNet => default,
                _ => flag(name, default),
            };
            let value = json!({"type": "RobertaProcessing", "sep": sep, "cls": cls,
                "trim_offsets": flag("trim_offsets", true),
                "add_prefix_space": flag("add_prefix_space", false)});
            [value.clone(), value]
        }
        Class::XlmRoberta | Class::Camembert => {
            let bos = with_id("first", &names.bos)?;
            let eos = with_id("separator", &names.eos)?;
            let more = [piece(&eos, 0), sequence("B", 0), piece(&eos, 0)];
            let value = template(&bos, &eos, &more);
            [value.clone(), value]
        }
    })
}

/// What BERT puts around a text, and around the second one of a pair, which has the type 1.
fn bert_template(cls: &(String, u32), sep: &(String, u32)) -> Value {
    template(cls, sep, &[sequence("B", 1), piece(sep, 1)])
}

/// A template of a text between two tokens, and of a pair, which goes on with `more`.
fn template(first: &(String, u32), last: &(String, u32), more: &[Value]) -> Value {
    let single = [piece(first, 0), sequence("A", 0), piece(last, 0)];
    let tokens = [first, last].map(|(token, id)| {
        let entry = json!({"id": token, "ids": [id], "tokens": [token]});
        (token.as_str(), entry)
    });
    let (pair, tokens) = ([&single, more].concat(), BTreeMap::from(tokens));
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
}

fn piece((token, _): &(String, u32), type_id: u32) -> Value {
    json!({"SpecialToken": {"id": token, "type_id": type_id}})
}

fn sequence(name: &str, type_id: u32) -> Value {
    json!({"Sequence": {"id": name, "type_id": type_id}})
}

/// A post-processor that gives all tokens the type 0.
fn untyped(step: &Value) -> Value {
    let mut step = step.clone();
    match step["type"].as_str() {
        Some("BertProcessing") => {
            let token = |name: &str| serde_json::from_value(step[name].clone());
            match (token("cls"), token("sep")) {
                (Ok(cls), Ok(sep)) => untyped(&bert_template(&cls, &sep)),
                // It is refused by whoever reads the result.
                _ => step,
            }
        }
        Some("TemplateProcessing") => {
            for template in ["single", "pair"] {
                for piece in step[template].as_array_mut().into_iter().flatten() {
                    for part in ["Sequence", "SpecialToken"] {
                        if let Some(part) = piece.get_mut(part) {
                            part["type_id"] = 0.into();
                        }
                    }
                }
            }
            step
        }
        Some("Sequence") => {
            for inner in step["processors"].as_array_mut().into_iter().flatten() {
                *inner = untyped(inner);
            }
            step
        }
        _ => step,
    }
}

/// The model with the class's settings, and without dropout; `None` if it has them as it is.
fn rebuilt_model(
    class: Option<Class>,
    names: &Names,
    model: &RawValue,
    notes: &mut Notes,
) -> serde_json::Result<Option<Box<RawValue>>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(model.get())?;
    let mut changed = false;
    let settle = |fields: &mut BTreeMap<String, Box<RawValue>>,
                  field: &str,
                  to: Value,
                  same: &[Value]|
     -> serde_json::Result<bool> {
        let found: Value = match fields.get(field) {
            Some(raw) => serde_json::from_str(raw.get())?,
            None => Value::Null,
        };
        if found == to || same.contains(&found) {
            return Ok(false);
        }
        fields.insert(field.into(), serde_json::value::to_raw_value(&to)?);
        Ok(true)
    };
    if settle(&mut fields, "dropout", Value::Null, &[json!(0.0)])? {
        notes.add("tokenizer.json has BPE dropout, which is for training: it is left out");
        changed = true;
    }
    let unset = [Value::Null, json!(""), json!(false)];
    let mut all = |settings: &[(&str, Value, &[Value])]| -> serde_json::Result<()> {
        for (field, to, same) in settings {
            changed |= settle(&mut fields, field, to.clone(), same)?;
        }
        Ok(())
    };
    match class {
        None => {}
        Some(Class::Bert | Class::MpNet) => all(&[
            ("unk_token", json!(names.unk), &[]),
            ("continuing_subword_prefix", json!("##"), &[]),
            ("max_input_chars_per_word", json!(100), &[]),
        ])?,
        Some(Class::Roberta) => all(&[
            ("unk_token", Value::Null, &[]),
            ("continuing_subword_prefix", Value::Null, &unset),
            ("end_of_word_suffix", Value::Null, &unset),
            ("fuse_unk", json!(false), &unset),
            ("byte_fallback", json!(false), &unset),
            ("ignore_merges", json!(false), &unset),
        ])?,
        Some(Class::XlmRoberta) => all(&[
            ("unk_id", json!(3), &[]),
            ("byte_fallback", json!(false), &unset),
        ])?,
        Some(Class::Camembert) => all(&[("byte_fallback", json!(false), &unset)])?,
    }
    match changed {
        true => serde_json::value::to_raw_value(&fields).map(Some),
        false => Ok(None),
    }
}
