//! Why a model can't be had from the hub: each error one line that says what, where, and what to do.

use super::limits::{LEAST_SPEED, LEAST_SPEED_OF_FILE, MAX_SHARDS};
use std::path::PathBuf;

/// Why a model can't be had from the Hugging Face hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A variable of the environment has a value that means nothing.
    #[error("{variable} is {value:?}; give {expected}, or unset it")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A variable names a proxy, and can't. Its value may hold a password.
    #[error(
        "{variable} isn't the address of a proxy; give one such as http://proxy.example:3128, with what is special in a user or a password percent-encoded, or unset it"
    )]
    ProxyAddress {
        /// Its name.
        variable: &'static str,
    },
    /// A variable names certificates, and there are none.
    #[error("{variable} is {}, which has no certificates in PEM that can be read; name a file or a directory that does, or unset it", path.display())]
    Certificates {
        /// Its name.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the operating system said, if it refused.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The token can't be sent.
    #[error(
        "the token from {place} has characters that no token has; make one at {endpoint}/settings/tokens"
    )]
    Token {
        /// The variable or the file.
        place: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The hub doesn't know the token.
    #[error(
        "{endpoint} doesn't accept the token from {place}; make a new one at {endpoint}/settings/tokens, or remove it, since a public model needs none"
    )]
    TokenRefused {
        /// The variable or the file.
        place: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The operating system refused.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// What is asked for as a revision can't be one.
    #[error("`{revision}` can't be a revision; give a branch, a tag or a commit, such as `main`")]
    Revision {
        /// What was asked for.
        revision: String,
    },
    /// Two revisions at once.
    #[error(
        "`{name}` names a revision already; leave out `--revision {revision}`, or the part from the @ on"
    )]
    TwoRevisions {
        /// The name.
        name: String,
        /// The other revision.
        revision: String,
    },
    /// A revision of something on disk.
    #[error("{} is on this machine and has no revisions; leave out `--revision`", path.display())]
    NoRevisions {
        /// The directory or file.
        path: PathBuf,
    },

    /// The network is forbidden, and the cache doesn't have the model.
    #[error("HF_HUB_OFFLINE is set, and the Hugging Face cache {} holds no {}; unset it to download {repository}, or give the path of a directory", cache.display(), looked_for.join(" or "))]
    OfflineNotCached {
        /// The cache's directory.
        cache: PathBuf,
        /// What was looked for in it.
        looked_for: Vec<String>,
        /// The repository that would be downloaded.
        repository: String,
    },
    /// The network is forbidden, and a file isn't in the cache.
    #[error("HF_HUB_OFFLINE is set, and {} has no {file}; unset it to download what is missing", snapshot.display())]
    OfflineMissing {
        /// The snapshot's directory.
        snapshot: PathBuf,
        /// The file, or the choice of files.
        file: String,
    },

    /// There is no such repository, or none that may be seen.
    #[error(
        "{endpoint} has no model `{repository}`, or has it for others; check the name, or, if the model is private, {}",
        give_token(token, endpoint)
    )]
    NoRepository {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Where the token that was sent is from, if one was.
        token: Option<String>,
    },
    /// The model has terms to accept.
    #[error(
        "the model `{repository}` is gated{}: ask for access at {endpoint}/{repository}, then {}",
        said(message),
        give_token(token, endpoint)
    )]
    Gated {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Where the token that was sent is from, if one was.
        token: Option<String>,
        /// What the hub says about it, or nothing.
        message: String,
    },
    /// The model is there, and not for this user.
    #[error(
        "{endpoint} doesn't give access to the model `{repository}`{}; {}",
        said(message),
        give_token(token, endpoint)
    )]
    Forbidden {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Where the token that was sent is from, if one was.
        token: Option<String>,
        /// What the hub says about it, or nothing.
        message: String,
    },
    /// The repository has no such revision.
    #[error(
        "the model `{repository}` has no revision `{revision}`; its branches and commits are listed at {endpoint}/{repository}/commits/main"
    )]
    NoRevision {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        repository: String,
        /// The branch, tag or commit.
        revision: String,
    },
    /// The repository lacks a file.
    #[error(
        "the model `{repository}` has no {file} at revision {revision}; it isn't a model that rq can convert, or not at this revision"
    )]
    NoFile {
        /// The repository.
        repository: String,
        /// The commit.
        revision: String,
        /// The file, or the choice of files.
        file: String,
    },
    /// The server can't be reached, or the connection broke too often.
    #[error(
        "can't download from {url}: {reason}; check the connection and run the same command again: it goes on where it stopped"
    )]
    Connection {
        /// The address, without its query.
        url: String,
        /// What the client says.
        reason: String,
    },
    /// The server can't prove that it's who it says.
    #[error(
        "there is no secure connection to {url}: {reason}; where a proxy opens https, name the file of its certificate authority in SSL_CERT_FILE"
    )]
    Tls {
        /// The address, without its query.
        url: String,
        /// What the client says.
        reason: String,
    },
    /// The server stopped sending.
    #[error(
        "{url} sent nothing for {seconds} s; run the same command again: it goes on where it stopped (HF_HUB_DOWNLOAD_TIMEOUT sets the seconds)"
    )]
    Stalled {
        /// The address, without its query.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The server sends, and so little that it would never end.
    #[error(
        "{url} sent less than {LEAST_SPEED} bytes a second for {seconds} s; run the same command again: it goes on where it stopped (HF_HUB_DOWNLOAD_TIMEOUT sets a third of the seconds)"
    )]
    Slow {
        /// The address, without its query.
        url: String,
        /// The time over which it was measured.
        seconds: u64,
    },
    /// A file didn't come in its time.
    #[error(
        "what is at {url} hasn't come within {seconds} s, at less than {LEAST_SPEED_OF_FILE} bytes a second; run the same command again: it goes on where it stopped"
    )]
    Late {
        /// The address, without its query.
        url: String,
        /// The time that it had.
        seconds: u64,
    },
    /// A proxy lets nobody through that it doesn't know.
    #[error(
        "a proxy on the way to {url} {}",
        match given {
            true => format!("doesn't accept the user and the password in {variable} (407); check them, and that what is special in them is percent-encoded"),
            false => format!("asks for a user and a password (407); put them into {variable}, as in http://USER:PASSWORD@HOST:PORT"),
        }
    )]
    ProxyCredentials {
        /// The address, without its query.
        url: String,
        /// The variable that names the proxy.
        variable: &'static str,
        /// Whether it has a user.
        given: bool,
    },
    /// The server answers with an error.
    #[error("{url} answers {status}{}; try again {}", said(message), when(*retry_after))]
    Status {
        /// The address, without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server says about it, or nothing.
        message: String,
        /// After how many seconds it may be asked again; 0 if it doesn't say.
        retry_after: u64,
    },
    /// The server's answer breaks the protocol.
    #[error("{url} doesn't answer as the Hugging Face hub does: {reason}; check HF_ENDPOINT")]
    Protocol {
        /// The address, without its query.
        url: String,
        /// In which way.
        reason: String,
    },
    /// What came isn't as long as the hub says.
    #[error(
        "{file}: the hub says {expected} bytes, and {found} came; nothing of it is kept, so download it again"
    )]
    Size {
        /// The file.
        file: String,
        /// What the hub says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// What came isn't the file that the hub has.
    #[error(
        "{file}: the hub says the {algorithm} {expected}, and what came has {found}; nothing of it is kept, so download it again"
    )]
    Hash {
        /// The file.
        file: String,
        /// Which hash it is.
        algorithm: &'static str,
        /// What the hub says.
        expected: String,
        /// What came.
        found: String,
    },
    /// A file has more bytes than any that is needed.
    #[error(
        "{file}: the hub {}, and rq takes up to {most} of such a file; nothing of it is kept; check that it is the model you mean",
        match announced {
            Some(bytes) => format!("says {bytes} bytes"),
            None => "sends more and more bytes".to_owned(),
        }
    )]
    TooLarge {
        /// The file.
        file: String,
        /// What the hub says, if that is too much.
        announced: Option<u64>,
        /// The limit.
        most: u64,
    },
    /// An index names more shards than any model has.
    #[error(
        "{file} names {found} shards, and rq takes up to {MAX_SHARDS}; check that it is the model you mean"
    )]
    Shards {
        /// The index.
        file: String,
        /// How many.
        found: usize,
    },
}

/// What to do about access, by whether a token was sent.
fn give_token(token: &Option<String>, endpoint: &str) -> String {
    match token {
        Some(place) => format!("check that the token from {place} may read it"),
        None => format!(
            "give a token from {endpoint}/settings/tokens in HF_TOKEN, or run `hf auth login`"
        ),
    }
}

fn said(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(" ({message})"),
    }
}

fn when(seconds: u64) -> String {
    match seconds {
        0 => "later".into(),
        seconds => format!("in {seconds} s"),
    }
}
