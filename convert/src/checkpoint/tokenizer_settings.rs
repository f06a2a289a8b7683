//! What a checkpoint's files say of its tokenizer beside `tokenizer.json`: `tokenizer_config.json`,
//! `special_tokens_map.json` and `added_tokens.json`, put together as transformers 5 does.
//!
//! The published settings of a class are the arguments that its `__init__` would get.

use super::error::CheckpointError;
use super::json;
use super::notes::Notes;
use rq_format::TruncationSide;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CONFIG: &str = "tokenizer_config.json";

/// The settings that name one special token, in transformers' order.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Settings that are applied.
const APPLIED: [&str; 22] = [
    "tokenizer_class",
    "model_max_length",
    "max_len",
    "truncation_side",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
    "trim_offsets",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    "model_input_names",
    "split_special_tokens",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "add_bos_token",
];
/// Settings that change nothing of what rq computes: it never pads, and has no chats.
const HARMLESS: [&str; 41] = [
    "bos_token",
    "eos_token",
    "add_eos_token",
    "backend",
    "is_local",
    "local_files_only",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "errors",
    "padding_side",
    "pad_token_type_id",
    "pad_to_multiple_of",
    "max_length",
    "stride",
    "truncation_strategy",
    "truncation",
    "padding",
    "do_basic_tokenize",
    "never_split",
    "wordpieces_prefix",
    "clean_text",
    "full_tokenizer_file",
    "sp_model_kwargs",
    "use_fast",
    "legacy",
    "from_slow",
    "chat_template",
    "chat_control_tokens",
    "response_schema",
    "response_template",
    "processor_class",
    "auto_map",
    "verbose",
    "return_tensors",
    "spaces_between_special_tokens",
    "model_specific_special_tokens",
    "init_inputs",
    "max_model_input_sizes",
];

/// A token that is looked for in a text before anything else, as `tokenizer.json` has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Added {
    pub(crate) content: String,
    single_word: bool,
    pub(crate) lstrip: bool,
    rstrip: bool,
    pub(crate) normalized: bool,
    pub(crate) special: bool,
}

impl Added {
    /// A special token without flags.
    pub(crate) fn special(content: &str) -> Self {
        Self {
            content: content.into(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    /// One in JSON; what isn't there is as in transformers' `AddedToken`.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let content = value["content"].as_str()?.to_owned();
        let flag = |name: &str| value[name].as_bool().unwrap_or(false);
        let special = flag("special");
        Some(Self {
            content,
            single_word: flag("single_word"),
            lstrip: flag("lstrip"),
            rstrip: flag("rstrip"),
            normalized: value["normalized"].as_bool().unwrap_or(!special),
            special,
        })
    }

    /// The same for `tokenizer.json`.
    pub(crate) fn json(&self, id: u32) -> Value {
        json!({"id": id, "content": self.content, "single_word": self.single_word, "lstrip": self.lstrip,
            "rstrip": self.rstrip, "normalized": self.normalized, "special": self.special})
    }
}

/// The settings of a checkpoint's tokenizer.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerSettings {
    path: PathBuf,
    /// The arguments of the tokenizer's class.
    fields: Map<String, Value>,
    /// Whether `tokenizer_config.json` lists the added tokens: then it alone counts.
    has_decoder: bool,
    /// The added tokens by their ids.
    decoder: BTreeMap<u32, Added>,
}

impl TokenizerSettings {
    /// Reads the files in `directory`. What is in `given` counts in place of what they say.
    pub(crate) fn read(
        directory: &Path,
        given: &Map<String, Value>,
        notes: &mut Notes,
    ) -> Result<Self, CheckpointError> {
        let path = directory.join(CONFIG);
        let mut settings = Self {
            path: path.clone(),
            ..Self::default()
        };
        if path.is_file() {
            settings.fields = json::read(&path)?;
        }
        settings.fields.extend(given.clone());
        // The older name of the same; what special_tokens_map.json says under it doesn't count beside this.
        if let Some(list) = settings.fields.remove("additional_special_tokens") {
            let newer = settings
                .fields
                .entry("extra_special_tokens")
                .or_insert(Value::Null);
            let is_empty = match &*newer {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(named) => named.is_empty(),
                _ => false,
            };
            if is_empty {
                *newer = list;
            }
        }
        notes.account(CONFIG, settings.fields.keys(), |key| {
            APPLIED.contains(&key)
                || HARMLESS.contains(&key)
                || key.ends_with("_token")
                || key.starts_with('_')
        });
        for field in ["split_special_tokens", "fix_mistral_regex"] {
            if settings.fields.get(field) == Some(&Value::Bool(true)) {
                return Err(settings.unsupported(field, "true", "false"));
            }
        }
        let decoder = settings.fields.remove("added_tokens_decoder");
        settings.has_decoder = decoder.is_some();
        match decoder {
            Some(decoder) => settings.decode(&decoder)?,
            None => settings.read_older(directory, given, notes)?,
        }
        Ok(settings)
    }

    fn unsupported(
        &self,
        field: &'static str,
        found: impl std::fmt::Display,
        supported: &'static str,
    ) -> CheckpointError {
        CheckpointError::Unsupported {
            path: self.path.clone(),
            field,
            found: found.to_string(),
            supported,
        }
    }

    /// The tokens of `added_tokens_decoder`.
    fn decode(&mut self, decoder: &Value) -> Result<(), CheckpointError> {
        let supported = "an object of ids and tokens";
        let entries = decoder.as_object();
        let entries = entries
            .ok_or_else(|| self.unsupported("added_tokens_decoder", decoder, supported))?
            .clone();
        for (id, token) in &entries {
            let read = id.parse().ok().zip(Added::of(token));
            let found = || format!("{id:?}: {token}");
            let (id, token) =
                read.ok_or_else(|| self.unsupported("added_tokens_decoder", found(), supported))?;
            self.decoder.insert(id, token);
        }
        Ok(())
    }

    /// What was written before there was `added_tokens_decoder`.
    fn read_older(
        &mut self,
        directory: &Path,
        given: &Map<String, Value>,
        notes: &mut Notes,
    ) -> Result<(), CheckpointError> {
        const MAP: &str = "special_tokens_map.json";
        let path = directory.join(MAP);
        if path.is_file() {
            let map: Map<String, Value> = json::read(&path)?;
            notes.account(MAP, map.keys(), |key| {
                key.ends_with("_token") || key.ends_with("_special_tokens")
            });
            for (key, mut value) in map {
                if given.contains_key(&key) {
                    continue;
                }
                if let Value::Object(token) = &mut value {
                    token.insert("special".into(), true.into());
                }
                self.fields.insert(key, value);
            }
        }
        let path = directory.join("added_tokens.json");
        if path.is_file() {
            let tokens: BTreeMap<String, u32> = json::read(&path)?;
            let named = NAMED.iter().filter_map(|name| self.token(name));
            let special: BTreeSet<String> = named
                .chain(self.extra())
                .map(|token| token.content)
                .collect();
            for (content, id) in tokens {
                let special = special.contains(&content);
                let token = Added {
                    normalized: !special,
                    special,
                    ..Added::special(&content)
                };
                self.decoder.insert(id, token);
            }
        }
        Ok(())
    }

    /// Takes the added tokens of `tokenizer.json` to those by id, where transformers does.
    pub(crate) fn take_file_tokens(&mut self, tokens: &[Value]) {
        if self.has_decoder {
            return;
        }
        for token in tokens {
            let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            if let (Some(id), Some(token)) = (id, Added::of(token)) {
                self.decoder.insert(id, token);
            }
        }
    }

    /// The special token of this name, if the files say which it is.
    fn token(&self, name: &str) -> Option<Added> {
        let token = match self.fields.get(name)? {
            Value::String(content) => Added::special(content),
            value => Added::of(value)?,
        };
        // One of those by id has the flags.
        let known = self.decoder.values().find(|t| t.content == token.content);
        Some(known.cloned().unwrap_or(token))
    }

    /// How the special token of this name is written, if the files say so.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        Some(self.token(name)?.content)
    }

    /// Further special tokens.
    fn extra(&self) -> Vec<Added> {
        let list = |key: &str| match self.fields.get(key) {
            Some(Value::Array(list)) if !list.is_empty() => Some(list.iter().collect()),
            Some(Value::Object(named)) if !named.is_empty() => Some(named.values().collect()),
            _ => None,
        };
        let listed: Vec<&Value> = list("extra_special_tokens")
            .or_else(|| list("additional_special_tokens"))
            .unwrap_or_default();
        let own = self.fields.iter().filter(|(key, value)| {
            key.ends_with("_token") && !NAMED.contains(&key.as_str()) && value.is_string()
        });
        let all = listed.into_iter().chain(own.map(|(_, value)| value));
        all.filter_map(|token| match token {
            Value::String(content) => Some(Added::special(content)),
            token => Added::of(token),
        })
        .collect()
    }

    /// The added tokens in the order in which transformers adds them: those by id, then the special ones that aren't among
    /// `there` or them. `defaults` are the special tokens of the class where the files don't say; `dress` gives those that are
    /// named without flags the class's.
    pub(crate) fn added(
        &self,
        there: &[Added],
        defaults: &[(&str, Added)],
        dress: impl Fn(&str, &mut Added),
    ) -> Vec<Added> {
        let mut all: Vec<Added> = self.decoder.values().cloned().collect();
        let default = |name: &str| {
            let default = defaults.iter().find(|(of, _)| *of == name);
            default.map(|(_, token)| token.clone())
        };
        let named: Vec<Added> = NAMED
            .into_iter()
            .filter_map(|name| {
                let mut token = match self.fields.get(name) {
                    // `null` is none.
                    Some(_) => self.token(name)?,
                    None => default(name)?,
                };
                let bare = self.fields.get(name).is_none_or(Value::is_string);
                if bare && !self.decoder.values().any(|t| t.content == token.content) {
                    dress(name, &mut token);
                }
                Some(token)
            })
            .collect();
        for token in &mut all {
            token.special |= named.iter().any(|t| t.content == token.content);
        }
        for mut token in named.into_iter().chain(self.extra()) {
            let known = |t: &Added| t.content == token.content;
            if !there.iter().any(known) && !all.iter().any(known) {
                token.special = true;
                all.push(token);
            }
        }
        all
    }

    /// The ids that the files give added tokens.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (u32, &str)> {
        let ids = self.decoder.iter();
        ids.map(|(id, token)| (*id, token.content.as_str()))
    }

    /// Whether `tokenizer_config.json` lists the added tokens.
    pub(crate) fn has_decoder(&self) -> bool {
        self.has_decoder
    }

    /// The tokenizer's class, if the files say which.
    pub(crate) fn class(&self) -> Option<&str> {
        self.fields.get("tokenizer_class")?.as_str()
    }

    /// A switch, if the files set it.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.fields.get(name)?.as_bool()
    }

    /// The most tokens that the tokenizer is meant to give. transformers writes 10^30 where there is no limit.
    pub(crate) fn model_max_length(&self) -> Result<Option<usize>, CheckpointError> {
        const MOST: f64 = 1e9;
        let value = ["model_max_length", "max_len"].into_iter();
        let Some(value) = value
            .filter_map(|name| self.fields.get(name))
            .find(|value| !value.is_null())
        else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(length) if length > MOST => Ok(None),
            Some(length) if length >= 0.0 && length.fract() == 0.0 => Ok(Some(length as usize)),
            _ => Err(self.unsupported("model_max_length", value, "a number of tokens")),
        }
    }

    /// The end at which texts are cut, if the files say which.
    pub(crate) fn truncation_side(&self) -> Result<Option<TruncationSide>, CheckpointError> {
        match self.fields.get("truncation_side") {
            None => Ok(None),
            Some(Value::String(side)) if side == "right" => Ok(Some(TruncationSide::Right)),
            Some(Value::String(side)) if side == "left" => Ok(Some(TruncationSide::Left)),
            Some(other) => {
                Err(self.unsupported("truncation_side", other, "\"right\" and \"left\""))
            }
        }
    }

    /// Whether the second text of a pair may have another token type: the class passes types to the model.
    pub(crate) fn passes_token_types(&self) -> bool {
        match self.fields.get("model_input_names") {
            Some(Value::Array(names)) => names.iter().any(|name| name == "token_type_ids"),
            _ => true,
        }
    }
}
