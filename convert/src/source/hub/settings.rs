//! What the environment says about the hub: the variables that Hugging Face's own libraries read.

use super::error::HubError;
use super::origin::Origin;
use crate::source::cache::{HubCache, hugging_face_home};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES: u32 = 5;

/// A secret that identifies a user to the hub. It is never printed.
#[derive(Clone)]
pub struct Token {
    secret: String,
    place: String,
}

impl Token {
    /// A token, and where it is from.
    pub fn new(secret: impl Into<String>, place: impl Into<String>) -> Self {
        let (secret, place) = (secret.into(), place.into());
        Self { secret, place }
    }

    /// The variable or file that it is from.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.place)
    }
}

/// How to reach the hub, and where to keep what comes from it.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// Where files are kept.
    pub cache: HubCache,
    /// Sent to the endpoint, and to no other host.
    pub token: Option<Token>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// Whether snapshots get copies rather than symbolic links.
    pub copies: bool,
    /// Certificate authorities to trust instead of Mozilla's, in PEM.
    pub certificates: Option<PathBuf>,
    /// How long a server may send nothing.
    pub timeout: Duration,
    /// How often a request is tried again, each time after a longer pause.
    pub retries: u32,
}

impl HubSettings {
    /// Those of this process: `HF_ENDPOINT`, the variables of [`HubCache::from_env`], `HF_TOKEN` or the file
    /// `HF_TOKEN_PATH` (`token` in `HF_HOME`), `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_SYMLINKS`, `HF_HUB_DOWNLOAD_TIMEOUT` (seconds, 10 if not set) and `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// When a variable means nothing, or the token's file can't be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(std::env::var_os)
    }

    /// The same from variables of the caller's choice; an empty one counts as not set.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, HubError> {
        let set = |name| variable(name).filter(|v| !v.is_empty());
        let text = |name| set(name).map(|v: OsString| v.to_string_lossy().trim().to_owned());
        let is_true = |name| {
            let yes = ["1", "ON", "YES", "TRUE"];
            text(name).is_some_and(|v| yes.contains(&v.to_uppercase().as_str()))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if Origin::of(&endpoint).is_none() || endpoint.contains(['?', '#']) {
            return Err(HubError::Variable {
                variable: "HF_ENDPOINT",
                value: endpoint,
                expected: "an address such as https://huggingface.co",
            });
        }
        let timeout = match text("HF_HUB_DOWNLOAD_TIMEOUT") {
            None => TIMEOUT,
            Some(value) => match value.parse() {
                Ok(seconds @ 1..=86_400) => Duration::from_secs(seconds),
                _ => {
                    return Err(HubError::Variable {
                        variable: "HF_HUB_DOWNLOAD_TIMEOUT",
                        value,
                        expected: "a number of seconds",
                    });
                }
            },
        };
        let token = match is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            true => None,
            false => token(&set)?,
        };
        let legal = |token: &Token| token.secret.bytes().all(|b| b.is_ascii_graphic());
        if let Some(Token { place, .. }) = token.as_ref().filter(|token| !legal(token)) {
            let place = place.clone();
            return Err(HubError::Token { place, endpoint });
        }
        Ok(Self {
            endpoint,
            cache: HubCache::from_variables(set),
            token,
            offline: is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
            copies: is_true("HF_HUB_DISABLE_SYMLINKS"),
            certificates: set("SSL_CERT_FILE").map(PathBuf::from),
            timeout,
            retries: RETRIES,
        })
    }
}

/// The token of a variable, else of the file that `hf auth login` writes.
fn token(set: &impl Fn(&'static str) -> Option<OsString>) -> Result<Option<Token>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        let secret = set(name).map(|v| v.to_string_lossy().trim().to_owned());
        if let Some(secret) = secret.filter(|s| !s.is_empty()) {
            return Ok(Some(Token::new(secret, name)));
        }
    }
    let directory = |name| set(name).map(PathBuf::from);
    let path = directory("HF_TOKEN_PATH")
        .or_else(|| hugging_face_home(&directory).map(|home| home.join("token")));
    let Some(path) = path else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(secret) if secret.trim().is_empty() => Ok(None),
        Ok(secret) => Ok(Some(Token::new(secret.trim(), path.to_string_lossy()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubError::Io {
            action: "read the token in",
            path,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(set: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        HubSettings::from_variables(|name| {
            let value = set.iter().find(|(k, _)| *k == name);
            value.map(|(_, v)| v.into())
        })
    }

    #[test]
    fn nothing_set_is_the_hub_itself() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert!(settings.token.is_none() && !settings.offline && !settings.copies);
        assert_eq!(settings.timeout.as_secs(), 10);
    }

    #[test]
    fn the_variables_are_those_of_the_python_library() {
        let set = settings(&[
            ("HF_ENDPOINT", "http://mirror.example/hf/"),
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_HUB_OFFLINE", "true"),
            ("HF_HUB_DISABLE_SYMLINKS", "1"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "3"),
            ("HF_HOME", "/home"),
        ])
        .unwrap();
        assert_eq!(set.endpoint, "http://mirror.example/hf");
        let token = set.token.as_ref().unwrap();
        assert_eq!((token.secret(), token.place()), ("hf_secret", "HF_TOKEN"));
        assert!(set.offline && set.copies);
        assert_eq!(set.timeout.as_secs(), 3);
        assert_eq!(set.cache.directory(), Some("/home/hub".as_ref()));
        assert!(!format!("{set:?}").contains("hf_secret"));
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).unwrap().offline);
    }

    #[test]
    fn the_token_is_found_in_its_files() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("token"), "hf_file\n").unwrap();
        std::fs::write(path("other"), "hf_other").unwrap();
        let (directory, other) = (path(""), path("other"));
        let secret = |set: &[(&str, &str)]| {
            let token = settings(set).unwrap().token;
            token.map(|token| token.secret().to_owned())
        };
        let home = ("HF_HOME", directory.as_str());
        assert_eq!(secret(&[home]).unwrap(), "hf_file");
        assert_eq!(
            secret(&[home, ("HF_TOKEN_PATH", &other)]).unwrap(),
            "hf_other"
        );
        assert_eq!(secret(&[home, ("HF_TOKEN", "hf_var")]).unwrap(), "hf_var");
        assert_eq!(secret(&[home, ("HF_TOKEN", "")]).unwrap(), "hf_file");
        assert_eq!(
            secret(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]),
            None
        );
        assert_eq!(secret(&[("HF_TOKEN_PATH", &path("none"))]), None);
    }

    #[test]
    fn values_without_a_meaning_are_refused() {
        for (set, part) in [
            (("HF_ENDPOINT", "huggingface.co"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "ftp://host"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "https://"), "HF_ENDPOINT is"),
            (("HF_HUB_DOWNLOAD_TIMEOUT", "soon"), "a number of seconds"),
            (("HF_HUB_DOWNLOAD_TIMEOUT", "0"), "a number of seconds"),
            (("HF_TOKEN", "two\nlines"), "the token from HF_TOKEN has"),
        ] {
            let error = settings(&[set]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("two"), "{error}");
        }
    }
}
