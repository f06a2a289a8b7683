//! What sentence-transformers writes beside a checkpoint: how hidden states become an embedding, and what goes before a text.

use super::error::CheckpointError;
use super::json;
use super::notes::Notes;
use crate::source::files::{
    MODULES, Module, SENTENCE_TRANSFORMERS, TRANSFORMER_SETTINGS, is_folder, modules,
};
use rq_format::{
    Activation, Dense, EmbeddingLayer, MAX_VOCAB_SIZE, Pooling, PoolingMode, SparseActivation,
    SparseMode, SparsePooling,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a sentence encoder makes embeddings, as far as its publisher says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentenceEncoder {
    /// The folder of the checkpoint, below the one that was named; empty where it is that one.
    pub(crate) folder: String,
    /// With it the model is an encoder, whatever its architecture says of a head.
    pub(crate) pooling: Option<Pooling>,
    /// Whether what follows the first module works on each token's vector.
    of_tokens: bool,
    /// With it the model is a masked language model.
    pub(crate) sparse: Option<SparsePooling>,
    /// The folders of the dense layers, in their order.
    pub(crate) dense: Vec<String>,
    /// What the first module computes, and the file that says so.
    task: Option<(PathBuf, String)>,
    pub(crate) max_seq_length: Option<usize>,
    /// Whether texts are put in lower case before all other steps.
    pub(crate) lower_case: bool,
    /// Arguments for the tokenizer.
    pub(crate) tokenizer: Map<String, Value>,
    pub(crate) notes: Notes,
}

/// The settings of a dense layer.
#[derive(Deserialize)]
struct DenseSettings {
    #[serde(rename = "in_features")]
    _in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
    #[serde(default)]
    use_residual: bool,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

fn yes() -> bool {
    true
}

/// What the first module computes: hidden states, the logits of a classifier, those of a masked language model.
const FEATURES: &str = "feature-extraction";
const CLASSIFICATION: &str = "sequence-classification";
const FILL_MASK: &str = "fill-mask";

/// What a module reads and writes, where it says so: the embedding of a text.
const EMBEDDING: &str = "sentence_embedding";
/// The same of a multi-vector encoder: the vectors of its tokens.
const TOKENS: &str = "token_embeddings";

/// How long a multi-vector encoder's texts are, and how queries are filled up.
const LENGTHS: [&str; 3] = ["query_length", "document_length", "query_expansion"];

/// The class of a module: of "sentence_transformers.models.Pooling", and since version 5 with more before it, the end.
fn class(module: &Module) -> &str {
    module.kind.rsplit('.').next().unwrap_or_default()
}

impl SentenceEncoder {
    /// Reads `modules.json` and what it names. Without it there is nothing to read.
    pub(crate) fn read(directory: &Path) -> Result<Self, CheckpointError> {
        let path = directory.join(MODULES);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let list = modules(&json::bytes(&path)?).map_err(|source| CheckpointError::Json {
            path: path.clone(),
            source,
        })?;
        let unsupported = |found: String, supported| CheckpointError::Unsupported {
            path: path.clone(),
            field: "a module",
            found,
            supported,
        };
        let mut encoder = Self {
            // Without a pooling what follows works on each token's vector.
            of_tokens: list.len() > 1
                && !list.iter().any(|module| class(module).ends_with("Pooling")),
            ..Self::default()
        };
        for (i, module) in list.iter().enumerate() {
            if !(is_folder(&module.path) || module.path.is_empty()) {
                let supported = "a directory's name, as \"1_Pooling\"";
                return Err(unsupported(format!("at {:?}", module.path), supported));
            }
            let settings = |file: &str| directory.join(&module.path).join(file);
            let kind = class(module);
            let vector = match encoder.of_tokens {
                true => TOKENS,
                false => EMBEDDING,
            };
            if encoder.of_tokens
                && encoder.pooling.is_none()
                && matches!(kind, "Dense" | "Normalize" | "MultiVectorMask")
                && i > 0
            {
                encoder.check_task(
                    FEATURES,
                    "\"feature-extraction\" before a vector for each token",
                )?;
                encoder.pooling = Some(Pooling::of(PoolingMode::Tokens));
                encoder.notes.add(
                    "a multi-vector encoder: `rq embed` gives a vector for each token, and `rq similar` doesn't compare them",
                );
            }
            match (kind, &mut encoder.pooling) {
                ("Transformer" | "MLMTransformer", None) if i == 0 => {
                    encoder.folder = module.path.clone();
                    let task = match kind {
                        "MLMTransformer" => FILL_MASK,
                        _ => FEATURES,
                    };
                    encoder.task = Some((path.clone(), task.into()));
                    encoder.read_transformer(&directory.join(&module.path))?;
                }
                ("Pooling", None) if i > 0 && encoder.sparse.is_none() => {
                    encoder.check_task(FEATURES, "\"feature-extraction\" before Pooling")?;
                    let mut notes = std::mem::take(&mut encoder.notes);
                    encoder.pooling = Some(pooling(&settings("config.json"), &mut notes)?);
                    encoder.notes = notes;
                }
                ("Normalize", Some(pooling)) => {
                    let path = settings("config.json");
                    let fields: Map<String, Value> = match path.is_file() {
                        true => json::read(&path)?,
                        false => Map::new(),
                    };
                    // What isn't said is the embedding of a text, which a model of tokens' vectors hasn't.
                    let embedding = Value::String(EMBEDDING.into());
                    let input = fields.get("module_input_name").unwrap_or(&embedding);
                    check_names(&path, Some(input), vector)?;
                    check_names(&path, fields.get("module_output_name"), vector)?;
                    // What is normalized already stays as it is.
                    if pooling.layers.last() != Some(&EmbeddingLayer::Normalize) {
                        pooling.layers.push(EmbeddingLayer::Normalize);
                    }
                }
                ("Dense", Some(pooling)) => {
                    let path = settings("config.json");
                    let layer = dense(&path, vector, &mut encoder.notes)?;
                    pooling.layers.push(EmbeddingLayer::Dense(layer));
                    encoder.dense.push(module.path.clone());
                }
                ("SpladePooling", None) if i > 0 && encoder.sparse.is_none() => {
                    encoder.check_task(FILL_MASK, "\"fill-mask\" before SpladePooling")?;
                    let path = settings("config.json");
                    encoder.sparse = Some(sparse_pooling(&path, &mut encoder.notes)?);
                }
                ("MultiVectorMask", Some(_)) if encoder.of_tokens => {
                    read_mask(&settings("config.json"), &mut encoder.notes)?;
                }
                // Such a one leaves the embedding as it is.
                ("Dropout", _) => {}
                _ => {
                    let supported = match encoder.sparse {
                        None if encoder.of_tokens => {
                            "Transformer, then Dense, MultiVectorMask and Normalize"
                        }
                        None => "Transformer, then Pooling, then Dense, Normalize or nothing",
                        Some(_) => "nothing behind SpladePooling",
                    };
                    return Err(unsupported(format!("{kind} in place {i}"), supported));
                }
            }
        }
        encoder.read_prompts(directory)?;
        Ok(encoder)
    }

    /// Refuses a first module that computes something else than a pooling takes.
    fn check_task(&self, needed: &str, supported: &'static str) -> Result<(), CheckpointError> {
        match &self.task {
            Some((path, task)) if task != needed => Err(CheckpointError::Unsupported {
                path: path.clone(),
                field: "transformer_task",
                found: format!("{task:?}"),
                supported,
            }),
            _ => Ok(()),
        }
    }

    /// The settings of the module that runs the checkpoint.
    fn read_transformer(&mut self, folder: &Path) -> Result<(), CheckpointError> {
        // The first that says something counts.
        let files = TRANSFORMER_SETTINGS.map(|file| folder.join(file));
        for path in files.into_iter().filter(|path| path.is_file()) {
            let fields: Map<String, Value> = json::read(&path)?;
            if fields.is_empty() {
                continue;
            }
            return self.take_transformer(&path, &fields);
        }
        Ok(())
    }

    fn take_transformer(
        &mut self,
        path: &Path,
        fields: &Map<String, Value>,
    ) -> Result<(), CheckpointError> {
        let unsupported = |field, found: &Value, supported| {
            Err(CheckpointError::Unsupported {
                path: path.into(),
                field,
                found: found.to_string(),
                supported,
            })
        };
        match fields.get("max_seq_length") {
            None | Some(Value::Null) => {}
            Some(length) => match length.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(length) => self.max_seq_length = Some(length),
                None => return unsupported("max_seq_length", length, "a number of tokens"),
            },
        }
        match fields.get("do_lower_case") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(lower)) => self.lower_case = *lower,
            Some(other) => return unsupported("do_lower_case", other, "true and false"),
        }
        match fields.get("transformer_task") {
            None | Some(Value::Null) => {}
            Some(Value::String(task))
                if [FEATURES, CLASSIFICATION, FILL_MASK].contains(&&**task) =>
            {
                self.task = Some((path.into(), task.clone()));
            }
            Some(other) => {
                let supported =
                    "\"feature-extraction\", \"sequence-classification\" and \"fill-mask\"";
                return unsupported("transformer_task", other, supported);
            }
        }
        if let Some(text) = fields.get("modality_config").map(|config| &config["text"]) {
            let of_features = self.task.as_ref().is_none_or(|(_, task)| task == FEATURES);
            let (needed, supported) = match of_features {
                true => (
                    "last_hidden_state",
                    "the method \"forward\" with last_hidden_state",
                ),
                false => ("logits", "the method \"forward\" with logits"),
            };
            let output = text["method_output_name"].as_str();
            let forward = text["method"]
                .as_str()
                .is_none_or(|method| method == "forward");
            if !forward || output.is_some_and(|output| output != needed) {
                return unsupported("modality_config's text", text, supported);
            }
        }
        let kwargs = ["processor_kwargs", "tokenizer_args"];
        for field in kwargs {
            if let Some(Value::Object(arguments)) = fields.get(field) {
                self.tokenizer.extend(arguments.clone());
            }
        }
        self.tokenizer.remove("trust_remote_code");
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Object(fields) => fields.keys().all(|field| field == "trust_remote_code"),
            _ => false,
        };
        for (field, value) in ["config_kwargs", "config_args", "processing_kwargs"]
            .into_iter()
            .filter_map(|field| Some((field, fields.get(field)?)))
        {
            if !empty(value) {
                return unsupported(field, value, "nothing");
            }
        }
        for field in LENGTHS {
            match fields.get(field).filter(|value| !value.is_null()) {
                Some(value) if self.of_tokens => self.name_length(field, value),
                Some(value) => {
                    let supported = "null for a model that isn't a multi-vector encoder";
                    return unsupported(field, value, supported);
                }
                None => {}
            }
        }
        let known = [
            "max_seq_length",
            "do_lower_case",
            "transformer_task",
            "modality_config",
            "module_output_name",
            "processor_kwargs",
            "tokenizer_args",
            "config_kwargs",
            "config_args",
            "processing_kwargs",
            "query_length",
            "document_length",
            "query_expansion",
            // How the weights are loaded, and computed with.
            "model_kwargs",
            "model_args",
            "unpad_inputs",
        ];
        self.notes
            .account(&file_name(path), fields.keys(), |field| {
                known.contains(&field)
            });
        Ok(())
    }

    /// Names what a multi-vector encoder does with its queries or its documents alone.
    fn name_length(&mut self, field: &str, value: &Value) {
        let what = match field {
            "document_length" => "rq cuts documents where other texts are cut",
            "query_length" => "rq cuts queries where other texts are cut, and doesn't fill them up",
            _ => "rq doesn't fill queries up",
        };
        self.notes
            .add(format!("the publisher sets {field} {value}: {what}"));
    }

    /// Puts the markers of a multi-vector encoder's queries and documents before their prompts, as sentence-transformers does with
    /// PyLate's files, and names what else they say.
    fn read_markers(
        &mut self,
        fields: &Map<String, Value>,
        prompts: &mut BTreeMap<String, String>,
    ) {
        for (field, name) in [("query_prefix", "query"), ("document_prefix", "document")] {
            let marker = fields
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if marker.is_empty() {
                continue;
            }
            let prompt = prompts.entry(name.into()).or_default();
            if !prompt.starts_with(marker) {
                prompt.insert_str(0, marker);
            }
            self.notes.add(format!(
                "{SENTENCE_TRANSFORMERS} has {field} {marker:?}: `rq embed --prompt {name}` puts it before a text, as a part of the \
                 text and not as a token of its own"
            ));
        }
        for field in LENGTHS {
            if let Some(value) = fields.get(field).filter(|value| !value.is_null()) {
                self.name_length(field, value);
            }
        }
        let expands = ["attend_to_expansion_tokens", "attend_to_mask_tokens"];
        if fields.get("do_query_expansion") == Some(&Value::Bool(true))
            || expands.iter().any(|field| fields.contains_key(*field))
        {
            self.notes.add(format!(
                "{SENTENCE_TRANSFORMERS} has query expansion: rq doesn't fill queries up"
            ));
        }
        let pylate = fields
            .get("model_type")
            .is_some_and(|kind| kind == "ColBERT");
        match fields.get("skiplist_words") {
            Some(Value::Array(words)) if words.is_empty() => {}
            None | Some(Value::Null) if !pylate => {}
            _ => self.notes.add(SKIPS),
        }
        // Which its files don't list.
        if let Some(pooling) = &mut self.pooling
            && pylate
            && pooling.layers.last() != Some(&EmbeddingLayer::Normalize)
        {
            pooling.layers.push(EmbeddingLayer::Normalize);
        }
    }

    /// The prompts, and which one is the default.
    fn read_prompts(&mut self, directory: &Path) -> Result<(), CheckpointError> {
        let path = directory.join(SENTENCE_TRANSFORMERS);
        if !path.is_file() {
            return Ok(());
        }
        let fields: Map<String, Value> = json::read(&path)?;
        let unsupported = |field, found: &Value, supported| CheckpointError::Unsupported {
            path: path.clone(),
            field,
            found: found.to_string(),
            supported,
        };
        let known = [
            "__version__",
            "prompts",
            "default_prompt_name",
            "model_type",
            "similarity_fn_name",
            "truncate_dim",
            "activation_fn",
        ];
        let sparse_known = ["max_active_dims"];
        let known_of_tokens = [
            "query_prefix",
            "document_prefix",
            "do_query_expansion",
            "attend_to_expansion_tokens",
            "attend_to_mask_tokens",
            "skiplist_words",
        ];
        let (sparse, of_tokens) = (self.sparse.is_some(), self.of_tokens);
        self.notes
            .account(SENTENCE_TRANSFORMERS, fields.keys(), |field| {
                known.contains(&field)
                    || (sparse && sparse_known.contains(&field))
                    || (of_tokens && (known_of_tokens.contains(&field) || LENGTHS.contains(&field)))
            });
        let by = if sparse { "dot" } else { "cosine" };
        if let Some(function) = fields.get("similarity_fn_name").and_then(Value::as_str)
            && function != by
            && !of_tokens
        {
            self.notes.add(format!(
                "{SENTENCE_TRANSFORMERS} compares embeddings by similarity_fn_name {function}; rq compares by {by}"
            ));
        }
        if let Some(pooling) = &mut self.sparse {
            pooling.max_active_dims = match fields.get("max_active_dims") {
                None | Some(Value::Null) => None,
                Some(most) => match most.as_u64().and_then(|n| usize::try_from(n).ok()) {
                    // The vocabulary bounds it, too.
                    Some(most @ 1..) => Some(most.min(MAX_VOCAB_SIZE)),
                    _ => {
                        return Err(unsupported("max_active_dims", most, "1 or more, or null"));
                    }
                },
            };
        }
        if let Some(truncate) = fields.get("truncate_dim").filter(|value| !value.is_null()) {
            self.notes.add(format!(
                "{SENTENCE_TRANSFORMERS} has truncate_dim {truncate}, which sentence-transformers doesn't read either"
            ));
        }
        let mut prompts = BTreeMap::new();
        match fields.get("prompts") {
            None | Some(Value::Null) => {}
            Some(Value::Object(found)) => {
                for (name, prompt) in found {
                    let text = match prompt {
                        Value::String(text) => text.clone(),
                        // As sentence-transformers has it.
                        Value::Null => String::new(),
                        other => return Err(unsupported("prompts", other, "texts by their names")),
                    };
                    prompts.insert(name.clone(), text);
                }
            }
            Some(other) => return Err(unsupported("prompts", other, "texts by their names")),
        }
        if of_tokens {
            self.read_markers(&fields, &mut prompts);
        }
        let default = match fields.get("default_prompt_name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => {
                // These two are always there.
                if matches!(&**name, "query" | "document") {
                    prompts.entry(name.clone()).or_default();
                }
                if !prompts.contains_key(name) {
                    let found = Value::String(name.clone());
                    let supported = "the name of one of the prompts";
                    return Err(unsupported("default_prompt_name", &found, supported));
                }
                Some(name.clone())
            }
            Some(other) => {
                let supported = "the name of one of the prompts";
                return Err(unsupported("default_prompt_name", other, supported));
            }
        };
        match (&mut self.pooling, &mut self.sparse) {
            (Some(pooling), _) => (pooling.prompts, pooling.default_prompt) = (prompts, default),
            (None, Some(pooling)) => (pooling.prompts, pooling.default_prompt) = (prompts, default),
            (None, None) => {
                let default = default.and_then(|name| prompts.remove(&name));
                if let Some(prompt) = default.filter(|prompt| !prompt.is_empty()) {
                    let found = Value::String(prompt);
                    let supported = "none for a model that isn't a sentence encoder";
                    return Err(unsupported("a default prompt", &found, supported));
                }
            }
        }
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What becomes of the tokens that a multi-vector encoder leaves out.
const SKIPS: &str = "the publisher leaves the vectors of some tokens of documents out (skiplist_words, by default punctuation): rq keeps them";

/// The settings of the module that leaves tokens' vectors out.
fn read_mask(path: &Path, notes: &mut Notes) -> Result<(), CheckpointError> {
    if !path.is_file() {
        return Ok(());
    }
    let fields: Map<String, Value> = json::read(path)?;
    let known = ["skiplist_words", "skiplist_tasks", "keep_only_token_ids"];
    notes.account("MultiVectorMask's config.json", fields.keys(), |field| {
        known.contains(&field)
    });
    let some = |field: &str| match fields.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) if items.is_empty() => None,
        other => other,
    };
    if let Some(found) = some("keep_only_token_ids") {
        return Err(CheckpointError::Unsupported {
            path: path.into(),
            field: "keep_only_token_ids",
            found: found.to_string(),
            supported: "null: it is for images",
        });
    }
    if some("skiplist_words").is_some() {
        notes.add(SKIPS);
    }
    Ok(())
}

/// Refuses a module that works on something else than the embedding of a text, or the vectors of its tokens.
fn check_names(
    path: &Path,
    name: Option<&Value>,
    vector: &'static str,
) -> Result<(), CheckpointError> {
    match name {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(name)) if name == vector => Ok(()),
        Some(other) => Err(CheckpointError::Unsupported {
            path: path.into(),
            field: "a module's input or output",
            found: other.to_string(),
            supported: match vector {
                TOKENS => "\"token_embeddings\" where nothing pools",
                _ => "\"sentence_embedding\"",
            },
        }),
    }
}

/// The settings of a dense layer. The width of what it takes is checked with its weights.
fn dense(path: &Path, vector: &'static str, notes: &mut Notes) -> Result<Dense, CheckpointError> {
    let settings: DenseSettings = json::read(path)?;
    for name in [&settings.module_input_name, &settings.module_output_name] {
        check_names(path, name.clone().map(Value::String).as_ref(), vector)?;
    }
    let unsupported = |field, found: String, supported| CheckpointError::Unsupported {
        path: path.into(),
        field,
        found,
        supported,
    };
    if settings.use_residual {
        return Err(unsupported("use_residual", "true".into(), "false"));
    }
    notes.account("a Dense layer's config.json", settings.more.keys(), |_| {
        false
    });
    let activation = match settings.activation_function.as_deref() {
        // sentence-transformers takes no other classes than torch's, and has this one in their place.
        None => Activation::Tanh,
        Some(name) if !name.starts_with("torch.") => Activation::Tanh,
        Some(name) => match name.rsplit('.').next().unwrap_or_default() {
            "Identity" => Activation::Identity,
            "Tanh" => Activation::Tanh,
            "ReLU" => Activation::Relu,
            "GELU" => Activation::Gelu,
            "Sigmoid" => Activation::Sigmoid,
            _ => {
                let supported = "torch's Identity, Tanh, ReLU, GELU and Sigmoid";
                return Err(unsupported(
                    "activation_function",
                    format!("{name:?}"),
                    supported,
                ));
            }
        },
    };
    Ok(Dense {
        out_features: settings.out_features,
        bias: settings.bias,
        activation,
    })
}

/// What the settings of a pooling module choose, in the order in which sentence-transformers puts the vectors together.
fn pooling(path: &Path, notes: &mut Notes) -> Result<Pooling, CheckpointError> {
    /// The older names, in their order, and the newer ones.
    const MODES: [(&str, &str, PoolingMode); 6] = [
        ("pooling_mode_cls_token", "cls", PoolingMode::Cls),
        ("pooling_mode_max_tokens", "max", PoolingMode::Max),
        ("pooling_mode_mean_tokens", "mean", PoolingMode::Mean),
        (
            "pooling_mode_mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
            PoolingMode::MeanSqrtLen,
        ),
        (
            "pooling_mode_weightedmean_tokens",
            "weightedmean",
            PoolingMode::WeightedMean,
        ),
        (
            "pooling_mode_lasttoken",
            "lasttoken",
            PoolingMode::LastToken,
        ),
    ];
    let fields: Map<String, Value> = json::read(path)?;
    let unsupported = |field, found: String, supported| CheckpointError::Unsupported {
        path: path.into(),
        field,
        found,
        supported,
    };
    let known = [
        "pooling_mode",
        "include_prompt",
        "embedding_dimension",
        "word_embedding_dimension",
    ];
    notes.account("the pooling's config.json", fields.keys(), |field| {
        known.contains(&field) || MODES.iter().any(|(old, ..)| *old == field)
    });
    let named = |value: &Value| {
        let mode = MODES.iter().find(|(_, new, _)| value == new);
        mode.map(|(.., mode)| *mode).ok_or_else(|| {
            let supported = "cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken";
            unsupported("pooling_mode", value.to_string(), supported)
        })
    };
    let modes = match fields.get("pooling_mode") {
        Some(Value::Array(modes)) => modes.iter().map(named).collect::<Result<_, _>>()?,
        Some(mode) => vec![named(mode)?],
        None => {
            let chosen = MODES
                .iter()
                .filter(|(old, ..)| fields.get(*old) == Some(&Value::Bool(true)));
            let mut chosen: Vec<PoolingMode> = chosen.map(|(.., mode)| *mode).collect();
            if chosen.is_empty() {
                chosen.push(PoolingMode::Mean);
            }
            chosen
        }
    };
    let include_prompt = match fields.get("include_prompt") {
        None => true,
        Some(Value::Bool(include)) => *include,
        Some(other) => {
            return Err(unsupported(
                "include_prompt",
                other.to_string(),
                "true and false",
            ));
        }
    };
    let first = *modes
        .first()
        .ok_or_else(|| unsupported("pooling_mode", "no mode".into(), "one or more"))?;
    Ok(Pooling {
        modes,
        include_prompt,
        ..Pooling::of(first)
    })
}

/// What the settings of a sparse encoder's pooling choose.
fn sparse_pooling(path: &Path, notes: &mut Notes) -> Result<SparsePooling, CheckpointError> {
    let fields: Map<String, Value> = json::read(path)?;
    let known = [
        "pooling_strategy",
        "activation_function",
        "embedding_dimension",
        "word_embedding_dimension",
        // How many tokens are pooled at once.
        "chunk_size",
    ];
    notes.account("SpladePooling's config.json", fields.keys(), |field| {
        known.contains(&field)
    });
    let unsupported = |field, supported| CheckpointError::Unsupported {
        path: path.into(),
        field,
        found: fields[field].to_string(),
        supported,
    };
    let text = |field| fields.get(field).map(|value| value.as_str().unwrap_or(""));
    Ok(SparsePooling {
        mode: match text("pooling_strategy") {
            None | Some("max") => SparseMode::Max,
            Some("sum") => SparseMode::Sum,
            Some(_) => return Err(unsupported("pooling_strategy", "\"max\" and \"sum\"")),
        },
        activation: match text("activation_function") {
            None | Some("relu") => SparseActivation::Relu,
            Some("log1p_relu") => SparseActivation::Log1pRelu,
            Some(_) => {
                let supported = "\"relu\" and \"log1p_relu\"";
                return Err(unsupported("activation_function", supported));
            }
        },
        ..SparsePooling::default()
    })
}
