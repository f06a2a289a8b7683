//! The parts of a `tokenizer.json` that is made of a vocabulary, put together.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How the special tokens are written, and how texts begin.
pub(crate) struct Names {
    pub(crate) bos: String,
    pub(crate) eos: String,
    pub(crate) cls: String,
    pub(crate) sep: String,
    pub(crate) pad: String,
    pub(crate) unk: String,
    pub(crate) mask: String,
}

/// Steps that a class builds.
pub(crate) struct Steps {
    pub(crate) normalizer: Value,
    pub(crate) pre_tokenizer: Value,
    pub(crate) decoder: Value,
}

/// A `tokenizer.json` with these steps and tokens. The model is written as it serializes: its tokens stay in their order.
pub(crate) fn assembled(
    steps: Steps,
    post_processor: Value,
    added_tokens: Vec<Value>,
    model: impl Serialize,
) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Whole<Model> {
        #[serde(flatten)]
        steps: Value,
        model: Model,
    }
    let steps = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
        "normalizer": steps.normalizer, "pre_tokenizer": steps.pre_tokenizer, "post_processor": post_processor,
        "decoder": steps.decoder});
    serde_json::to_vec(&Whole { steps, model })
}

/// The `added_tokens`: those special ones that the vocabulary has, and some more, with whether they are special. If `lstrip`,
/// the mask swallows the space before it: " <mask>" and "<mask>" are the same to the model.
pub(crate) fn added_tokens<'a>(
    names: &'a Names,
    more: impl IntoIterator<Item = (&'a str, bool)>,
    id: impl Fn(&str) -> Option<u32>,
    lstrip: bool,
) -> Vec<Value> {
    let special = [&names.cls, &names.pad, &names.sep, &names.unk, &names.mask];
    let all = special.map(|token| (token.as_str(), true)).into_iter();
    // Of those with the same id the first counts.
    let mut by_id = BTreeMap::new();
    for (token, special) in all.chain(more) {
        if let Some(id) = id(token) {
            by_id.entry(id).or_insert((token, special));
        }
    }
    let json = |(id, (token, special)): (u32, (&str, bool))| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": lstrip && token == names.mask,
            "rstrip": false, "normalized": false, "special": special})
    };
    by_id.into_iter().map(json).collect()
}
