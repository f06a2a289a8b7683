//! What the environment says about the hub: the variables that Hugging Face's own libraries read.

use super::error::HubError;
use super::origin::Origin;
use super::proxy::Proxies;
use crate::source::cache::{HubCache, directory, hugging_face_home};
use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES: u32 = 5;
const ALLOWANCE: Duration = Duration::from_secs(600);

/// A secret that identifies a user to the hub. It is never printed.
#[derive(Clone)]
pub struct Token {
    secret: String,
    scheme: &'static str,
    place: String,
}

impl Token {
    /// A token, and where it is from.
    pub fn new(secret: impl Into<String>, place: impl Into<String>) -> Self {
        let (secret, place) = (secret.into(), place.into());
        let scheme = "Bearer";
        Self {
            secret,
            scheme,
            place,
        }
    }

    /// The user and the password of an address, which come before its `@`, and the address without them.
    pub(super) fn of_address(address: &str) -> (Option<Self>, String) {
        let scheme = address.find("://").map_or(0, |at| at + 3);
        let authority = address[scheme..].split('/').next().unwrap_or_default();
        let Some(at) = authority.rfind('@').map(|at| scheme + at) else {
            return (None, address.to_owned());
        };
        let user = percent_decode_str(&address[scheme..at]).collect::<Vec<u8>>();
        let colon = if user.contains(&b':') { "" } else { ":" };
        let token = Self {
            secret: base64::encode([&user, colon.as_bytes()].concat()),
            scheme: "Basic",
            place: "HF_ENDPOINT".into(),
        };
        let address = [&address[..scheme], &address[at + 1..]].concat();
        (Some(token), address)
    }

    /// A text of a server's with dots in the place of the secret, which it may send back.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        /// A shorter one is a part of too many words.
        const LEAST: usize = 4;
        let mut secrets = vec![self.secret.clone()];
        if let Ok(user) = base64::decode(&self.secret)
            && let Ok(user) = String::from_utf8(user)
            && let Some((_, password)) = user.split_once(':')
        {
            secrets.extend([user.clone(), password.to_owned()]);
        }
        let long = secrets.iter().filter(|secret| secret.len() >= LEAST);
        long.fold(text.to_owned(), |text, secret| text.replace(secret, "..."))
    }

    /// The variable or file that it is from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What a request says.
    pub(super) fn authorization(&self) -> String {
        format!("{} {}", self.scheme, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.place)
    }
}

/// Certificate authorities to trust.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// A file, or a directory of files, in PEM.
    pub path: PathBuf,
    /// The variable that names it.
    pub variable: &'static str,
}

/// The variables that name certificates, by their rank.
const CERTIFICATES: [&str; 4] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_DIR",
];

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
    /// Certificate authorities to trust instead of the system's.
    pub certificates: Option<Certificates>,
    /// How to get to the network.
    pub proxies: Proxies,
    /// How long a server may send nothing.
    pub timeout: Duration,
    /// How often a request is tried again, each time after a longer pause.
    pub retries: u32,
    /// How long a file may take, beside a second for each 16 KiB of it.
    pub allowance: Duration,
}

impl HubSettings {
    /// Those of this process: `HF_ENDPOINT`, the variables of [`HubCache::from_env`], `HF_TOKEN` or the file
    /// `HF_TOKEN_PATH` (`token` in `HF_HOME`), `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_SYMLINKS` and `HF_HUB_DOWNLOAD_TIMEOUT` (seconds, 10 if not set); the first of `SSL_CERT_FILE`,
    /// `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `SSL_CERT_DIR`; and `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, also
    /// in capitals. A user and a password in `HF_ENDPOINT` count before a token, as in Python.
    ///
    /// # Errors
    /// When a variable means nothing, or the token's file can't be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The same from variables of the caller's choice; an empty one counts as not set.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty());
        let text = |name: &str| set(name).map(|v| v.to_string_lossy().trim().to_owned());
        let is_true = |name| {
            let yes = ["1", "ON", "YES", "TRUE"];
            text(name).is_some_and(|v| yes.contains(&v.to_uppercase().as_str()))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let (credentials, endpoint) = Token::of_address(endpoint.trim_end_matches('/'));
        origin(&endpoint)?;
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
        let token = match credentials {
            None if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            None => token(&set)?,
            credentials => credentials,
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
            certificates: CERTIFICATES.iter().find_map(|variable| {
                let path = directory(&set, variable)?;
                Some(Certificates { path, variable })
            }),
            proxies: Proxies::from_variables(&text)?,
            timeout,
            retries: RETRIES,
            allowance: ALLOWANCE,
        })
    }
}

/// The origin of the hub's address. What may be a password in one that isn't sound isn't shown.
pub(super) fn origin(endpoint: &str) -> Result<Origin, HubError> {
    let sound = Some(endpoint).filter(|endpoint| !endpoint.contains(['?', '#', '@']));
    sound
        .and_then(Origin::of)
        .ok_or_else(|| HubError::Variable {
            variable: "HF_ENDPOINT",
            value: match endpoint.rsplit_once('@') {
                Some((_, rest)) => format!("...@{rest}"),
                None => endpoint.to_owned(),
            },
            expected: "an address such as https://huggingface.co",
        })
}

/// The token of a variable, else of the file that `hf auth login` writes.
fn token(set: &impl Fn(&str) -> Option<OsString>) -> Result<Option<Token>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        let secret = set(name).map(|v| v.to_string_lossy().trim().to_owned());
        if let Some(secret) = secret.filter(|s| !s.is_empty()) {
            return Ok(Some(Token::new(secret, name)));
        }
    }
    let path = directory(set, "HF_TOKEN_PATH")
        .or_else(|| hugging_face_home(set).map(|home| home.join("token")));
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
        assert_eq!(token.authorization(), "Bearer hf_secret");
        assert_eq!(token.place(), "HF_TOKEN");
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
            token.map(|token| token.secret)
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
    fn credentials_in_the_address_are_sent_and_not_shown() {
        for (address, bare, user) in [
            (
                "https://bob:p%40ss@hub.co/hf/",
                "https://hub.co/hf",
                "bob:p@ss",
            ),
            ("http://bob@hub.co:80", "http://hub.co:80", "bob:"),
            ("http://bob:a@b@hub.co", "http://hub.co", "bob:a@b"),
        ] {
            let set = settings(&[("HF_ENDPOINT", address), ("HF_TOKEN", "hf_secret")]).unwrap();
            assert_eq!(set.endpoint, bare);
            let sent = set.token.as_ref().unwrap().authorization();
            assert_eq!(sent, format!("Basic {}", base64::encode(user)));
            assert!(!format!("{set:?}").contains("bob"), "{set:?}");
        }
    }

    #[test]
    fn what_a_server_sends_back_is_shown_without_the_secret() {
        let token = Token::new("hf_secret", "HF_TOKEN");
        let echo = "no access for Bearer hf_secret (hf_secret)";
        assert_eq!(token.hidden_in(echo), "no access for Bearer ... (...)");
        let (token, _) = Token::of_address("https://bob:p%40ss@hub.co");
        let token = token.unwrap();
        let echo = "Basic Ym9iOnBAc3M=, bob:p@ss or p@ss";
        assert_eq!(token.hidden_in(echo), "Basic ..., ... or ...");
        let (token, _) = Token::of_address("https://bob@hub.co");
        assert_eq!(token.unwrap().hidden_in("no: bob"), "no: bob");
    }

    #[test]
    fn certificates_are_those_of_the_first_variable() {
        for (i, name) in CERTIFICATES.into_iter().enumerate() {
            let set: Vec<_> = CERTIFICATES[i..]
                .iter()
                .map(|name| (*name, "~/x"))
                .collect();
            let set = [&set[..], &[("HOME", "/home/u")]].concat();
            let found = settings(&set).unwrap().certificates.unwrap();
            assert_eq!((found.variable, found.path), (name, "/home/u/x".into()));
        }
    }

    #[test]
    fn values_without_a_meaning_are_refused() {
        for (set, part) in [
            (("HF_ENDPOINT", "huggingface.co"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "ftp://host"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "https://"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "me:two@huggingface.co"), "HF_ENDPOINT is"),
            (("HF_ENDPOINT", "http://me:2/two@hub.co"), "HF_ENDPOINT is"),
            (("http_proxy", "ftp://me:two@proxy.co"), "http_proxy isn't"),
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
