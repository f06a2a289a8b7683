//! Prompts: what is put before a text that is embedded.

use crate::error::Error;
use rq_format::Config;
use std::borrow::Cow;

/// What is put before a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// The prompt that the model's file names as the default, if it does.
    #[default]
    Published,
    /// The prompt of this name in the model's file.
    Named(String),
    /// This text; the empty one is no prompt.
    Text(String),
}

impl Prompt {
    /// Its text, of a model of this configuration.
    pub(crate) fn text<'p>(&'p self, config: &'p Config) -> Result<&'p str, Error> {
        let (prompts, default) = config.prompts().unzip();
        let named = |name: &str| prompts?.get(name).map(String::as_str);
        match self {
            Self::Text(text) => Ok(text),
            Self::Published => Ok(default.flatten().and_then(named).unwrap_or_default()),
            Self::Named(name) => named(name).ok_or_else(|| Error::NoPrompt {
                name: name.clone(),
                names: prompts
                    .map(|prompts| prompts.keys().cloned().collect())
                    .unwrap_or_default(),
            }),
        }
    }
}

/// A text after a prompt.
pub(crate) fn after<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    match prompt.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned([prompt, text].concat()),
    }
}
