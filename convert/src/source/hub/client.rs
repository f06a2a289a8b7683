//! Requests to the hub: redirects, the token, statuses and patience. It knows nothing of files on disk.
//!
//! Redirects are followed here rather than by the HTTP client, since three things hang on them: the token goes to the
//! endpoint's own scheme, host and port, and nowhere else; what the hub says about a large file is in the answer that
//! redirects to the storage, not in the storage's; and no redirect leads from https to http.

use super::error::HubError;
use super::limits::{Deadline, MAX_SETTINGS, Pace, SLOW};
use super::origin::Origin;
use super::proxy::NamedProxy;
use super::settings::{self, HubSettings};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::error::Error;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{Request, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, BodyReader};

const MAX_REDIRECTS: usize = 10;
/// How often a request that gets no file is tried again, at most.
const MAX_SMALL_RETRIES: u32 = 2;
/// The first pause before a request is tried again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How much is read at once.
pub(super) const CHUNK: usize = 256 << 10;
/// How much of a server's message is shown.
const MAX_MESSAGE: usize = 200;
/// What a part of a path can't have.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What a request is about: errors name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) repository: &'a str,
    pub(super) revision: &'a str,
    pub(super) file: Option<&'a str>,
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// Another attempt would end the same.
    Final(HubError),
    /// Another attempt, after this pause at least, might succeed.
    Passing(HubError, Duration),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// How often to try again, and how long to wait before.
pub(super) struct Patience {
    retries: u32,
    used: u32,
}

impl Patience {
    /// As if nothing had failed yet.
    pub(super) fn renew(&mut self) {
        self.used = 0;
    }

    /// Waits, if there is to be another attempt.
    pub(super) fn again(&mut self, failure: Failure) -> Result<(), HubError> {
        match failure {
            Failure::Passing(_, pause) if self.used < self.retries && pause <= MAX_PAUSE => {
                std::thread::sleep(pause.max(FIRST_PAUSE * (1 << self.used.min(6))));
                self.used += 1;
                Ok(())
            }
            Failure::Passing(error, _) | Failure::Final(error) => Err(error),
        }
    }
}

/// An answer with a status of success, and what the hub said on the way to it.
pub(super) struct Answer {
    /// Where it came from, without the query: it may hold a signature.
    pub(super) place: String,
    pub(super) response: Response<Body>,
    pub(super) linked: Linked,
}

/// What the hub's headers say about a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Linked {
    pub(super) commit: Option<String>,
    /// As in the header.
    pub(super) etag: Option<String>,
    pub(super) size: Option<u64>,
}

impl Linked {
    /// Takes what this answer has. The first that says something of a linked file is right about it.
    fn hear(&mut self, response: &Response<Body>) {
        let header = |name| header(response, name).map(str::to_owned);
        let number = |name| header(name).and_then(|n| n.parse().ok());
        self.commit = self.commit.take().or_else(|| header("x-repo-commit"));
        self.etag = self.etag.take().or_else(|| header("x-linked-etag"));
        self.size = self.size.or_else(|| number("x-linked-size"));
    }

    /// Takes what the last answer of the hub itself has.
    fn conclude(&mut self, response: &Response<Body>) {
        let etag = header(response, "etag").map(str::to_owned);
        self.etag = self.etag.take().or(etag);
        // The length of a redirect is that of its own text.
        if !response.status().is_redirection() {
            let length = header(response, "content-length").and_then(|n| n.parse().ok());
            self.size = self.size.or(length);
        }
    }
}

/// The content of an answer, as it comes.
pub(super) struct Content<'c> {
    client: &'c Client<'c>,
    place: String,
    reader: BodyReader<'static>,
    pace: Pace,
    deadline: Deadline,
}

impl Content<'_> {
    /// Reads what has come, and waits for something if nothing has; 0 is the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let begun = Instant::now();
            let read = match self.reader.read(out) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.client.broken(&self.place, &error)),
            };
            if read > 0 && !self.pace.keeps(begun.elapsed(), read) {
                return Err(self.client.slow(self.place.clone()));
            }
            if read > 0 && self.deadline.is_over() {
                return Err(late(self.place.clone(), self.deadline).into());
            }
            return Ok(read);
        }
    }
}

/// A client of one hub.
pub(super) struct Client<'a> {
    pub(super) settings: &'a HubSettings,
    origin: Origin,
    direct: Agent,
    /// Through the proxies of http and of https.
    proxied: [Agent; 2],
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings) -> Result<Self, HubError> {
        let origin = settings::origin(&settings.endpoint)?;
        let timeout = Some(settings.timeout);
        let tls = TlsConfig::builder().root_certs(roots(settings)?).build();
        let agent = |proxy: Option<&NamedProxy>| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(concat!("rq/", env!("CARGO_PKG_VERSION")))
                // Sizes and hashes are those of the files, not of something compressed.
                .accept_encoding("identity")
                .timeout_resolve(timeout)
                .timeout_connect(timeout)
                .timeout_send_request(timeout)
                // Over all reads: headers may come byte by byte.
                .timeout_recv_response(Some(settings.timeout * SLOW))
                .timeout_per_read(timeout)
                .timeout_per_write(timeout)
                .tls_config(tls.clone())
                .proxy(proxy.map(|named| named.proxy.clone()));
            config.build().new_agent()
        };
        Ok(Self {
            settings,
            origin,
            direct: agent(None),
            proxied: [false, true].map(|https| agent(settings.proxies.of_scheme(https))),
        })
    }

    pub(super) fn patience(&self) -> Patience {
        let retries = self.settings.retries;
        Patience { retries, used: 0 }
    }

    /// The address of a file.
    pub(super) fn file_url(&self, about: About<'_>) -> String {
        let endpoint = &self.settings.endpoint;
        let revision = encoded(about.revision);
        let file = about.file.unwrap_or_default();
        format!("{endpoint}/{}/resolve/{revision}/{file}", about.repository)
    }

    /// What the API says of a revision.
    pub(super) fn revision_json(&self, about: About<'_>) -> Result<Vec<u8>, HubError> {
        let endpoint = &self.settings.endpoint;
        let revision = encoded(about.revision);
        let url = format!(
            "{endpoint}/api/models/{}/revision/{revision}",
            about.repository
        );
        let deadline = Deadline::of(MAX_SETTINGS, self.settings.allowance);
        self.patiently(|| {
            let Answer {
                place, response, ..
            } = self.get(&url, about, 0)?;
            let mut content = self.content(response, &place, deadline);
            let (mut json, mut chunk) = (Vec::new(), vec![0; CHUNK]);
            loop {
                match content.read(&mut chunk)? {
                    0 => break,
                    read => json.extend(&chunk[..read]),
                }
                if json.len() as u64 > MAX_SETTINGS {
                    let reason = format!("it sends more than {MAX_SETTINGS} bytes of JSON");
                    return Err(HubError::Protocol { url: place, reason }.into());
                }
            }
            Ok(json)
        })
    }

    /// What the hub says of a file, without the file.
    pub(super) fn head(&self, about: About<'_>) -> Result<(String, Linked), HubError> {
        let url = self.file_url(about);
        self.patiently(|| {
            let answer = self.request("HEAD", &url, about, 0)?;
            Ok((answer.place, answer.linked))
        })
    }

    /// Begins to get what is at `url`, from the byte `from` on.
    pub(super) fn get(&self, url: &str, about: About<'_>, from: u64) -> Result<Answer, Failure> {
        self.request("GET", url, about, from)
    }

    /// The content of an answer from `place`.
    pub(super) fn content(
        &self,
        response: Response<Body>,
        place: &str,
        deadline: Deadline,
    ) -> Content<'_> {
        Content {
            client: self,
            place: place.to_owned(),
            reader: response.into_body().into_reader(),
            pace: Pace::over(self.settings.timeout * SLOW),
            deadline,
        }
    }

    fn patiently<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, HubError> {
        // Nothing is lost by giving up early: no network is found out in a second.
        let mut patience = self.patience();
        patience.retries = patience.retries.min(MAX_SMALL_RETRIES);
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => patience.again(failure)?,
            }
        }
    }

    fn request(
        &self,
        method: &str,
        url: &str,
        about: About<'_>,
        from: u64,
    ) -> Result<Answer, Failure> {
        let mut linked = Linked::default();
        let mut url = url.to_owned();
        // Whether every address so far was the hub's own.
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            let place = self.shown(&place(&url));
            let response = self.send(method, &url, at_home, from)?;
            if at_home {
                linked.hear(&response);
            }
            let status = response.status();
            let location = match status.as_u16() {
                301 | 302 | 303 | 307 | 308 => header(&response, "location"),
                _ => None,
            };
            let Some(location) = location else {
                if at_home {
                    linked.conclude(&response);
                }
                // A range that begins where the file ends: the caller knows what to do.
                if status.is_success() || (from > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE)
                {
                    return Ok(Answer {
                        place,
                        response,
                        linked,
                    });
                }
                return Err(self.refused(place, at_home, &response, about));
            };
            let protocol = |reason: String| HubError::Protocol {
                url: place.clone(),
                reason,
            };
            let next = resolved(&url, location)
                .and_then(|next| Some((Origin::of(&next)?, next)))
                .ok_or_else(|| protocol("it redirects to what is no address".into()))?;
            let (origin, next) = next;
            if Origin::of(&url).is_some_and(|from| from.https) && !origin.https {
                return Err(protocol("it redirects from https to http".into()).into());
            }
            // The storage knows less of the file than the hub that leads there, and its answers to HEAD differ.
            let leaves = at_home && origin != self.origin;
            if method == "HEAD" && (leaves || (at_home && linked.etag.is_some())) {
                linked.conclude(&response);
                return Ok(Answer {
                    place,
                    response,
                    linked,
                });
            }
            if leaves {
                linked.conclude(&response);
            }
            at_home &= !leaves;
            url = next;
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(HubError::Protocol {
            url: place(&url),
            reason,
        }
        .into())
    }

    fn send(
        &self,
        method: &str,
        url: &str,
        at_home: bool,
        from: u64,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = self.settings.token.as_ref().filter(|_| at_home) {
            request = request.header("authorization", token.authorization());
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let origin = Origin::of(url);
        let proxy = origin.as_ref().and_then(|to| self.settings.proxies.to(to));
        let agent = match (&origin, proxy) {
            (Some(origin), Some(_)) => &self.proxied[usize::from(origin.https)],
            _ => &self.direct,
        };
        let through = proxy.map_or(String::new(), |named| {
            let (host, port) = (named.proxy.host(), named.proxy.port());
            format!(" (through the proxy {host}:{port} of {})", named.variable)
        });
        let failed = |reason: String| HubError::Connection {
            url: place(url),
            reason: reason + &through,
        };
        let request = request.body(()).map_err(|e| failed(e.to_string()))?;
        agent.run(request).map_err(|error| match error {
            // What rustls says of the other side.
            ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
                untrusted(url, &error)
            }
            // ureq has the status in a text.
            ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
                proxy_credentials(url, proxy).into()
            }
            ureq::Error::Io(error) if proxy.is_some() && error.kind() != ErrorKind::TimedOut => {
                Failure::Passing(failed(one_line(&error.to_string())), Duration::ZERO)
            }
            ureq::Error::Io(error) => self.broken(&place(url), &error),
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let seconds = self.settings.timeout.as_secs();
                let reason = format!("no connection within {seconds} s");
                Failure::Passing(failed(reason), Duration::ZERO)
            }
            ureq::Error::Timeout(ureq::Timeout::RecvResponse) => self.slow(place(url)),
            ureq::Error::Timeout(_) => self.stalled(place(url)),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                failed(one_line(&error.to_string())).into()
            }
            error @ (ureq::Error::Rustls(_) | ureq::Error::Tls(_)) => untrusted(url, &error),
            error => {
                let reason = one_line(&error.to_string());
                Failure::Passing(failed(reason), Duration::ZERO)
            }
        })
    }

    /// What a server sent, in one line and without the secret that was sent to it.
    fn shown(&self, text: &str) -> String {
        let text = one_line(text);
        match &self.settings.token {
            Some(token) => token.hidden_in(&text),
            None => text,
        }
    }

    /// What an answer that isn't a success means.
    fn refused(
        &self,
        place: String,
        at_home: bool,
        response: &Response<Body>,
        about: About<'_>,
    ) -> Failure {
        let status = response.status();
        let text = |name| self.shown(header(response, name).unwrap_or_default());
        let (code, message) = (text("x-error-code"), text("x-error-message"));
        let pause = pause(response);
        let endpoint = self.settings.endpoint.clone();
        let (repository, revision) = (about.repository.to_owned(), about.revision.to_owned());
        let token = self.settings.token.as_ref().map(|t| t.place().to_owned());
        if at_home {
            let error = match (status.as_u16(), code.as_str(), token) {
                (401 | 403, "GatedRepo", token) => Some(HubError::Gated {
                    endpoint,
                    repository,
                    token,
                    message: message.clone(),
                }),
                (403, _, token) => Some(HubError::Forbidden {
                    endpoint,
                    repository,
                    token,
                    message: message.clone(),
                }),
                (401, _, Some(place)) if message.contains("Invalid credentials") => {
                    Some(HubError::TokenRefused { place, endpoint })
                }
                (404, "RevisionNotFound", _) => Some(HubError::NoRevision {
                    endpoint,
                    repository,
                    revision,
                }),
                (404, code, _) if code != "RepoNotFound" && about.file.is_some() => {
                    Some(HubError::NoFile {
                        repository,
                        revision,
                        file: about.file.unwrap_or_default().to_owned(),
                    })
                }
                (401 | 404, _, token) => Some(HubError::NoRepository {
                    endpoint,
                    repository,
                    token,
                }),
                _ => None,
            };
            if let Some(error) = error {
                return error.into();
            }
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return proxy_credentials(&place, None).into();
        }
        let error = HubError::Status {
            url: place,
            status: status.as_u16(),
            message,
            retry_after: pause.as_secs(),
        };
        // The storage's addresses are signed for a time: the next attempt gets a new one.
        match status.as_u16() {
            408 | 429 | 500 | 502..=504 => Failure::Passing(error, pause),
            403 if !at_home => Failure::Passing(error, pause),
            _ => error.into(),
        }
    }

    /// A connection that broke.
    pub(super) fn broken(&self, place: &str, error: &std::io::Error) -> Failure {
        let inner = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<ureq::Error>());
        if error.kind() == ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_))) {
            return self.stalled(place.to_owned());
        }
        let error = HubError::Connection {
            url: place.to_owned(),
            reason: one_line(&error.to_string()),
        };
        Failure::Passing(error, Duration::ZERO)
    }

    fn slow(&self, url: String) -> Failure {
        let seconds = (self.settings.timeout * SLOW).as_secs();
        Failure::Passing(HubError::Slow { url, seconds }, Duration::ZERO)
    }

    fn stalled(&self, url: String) -> Failure {
        let seconds = self.settings.timeout.as_secs();
        Failure::Passing(HubError::Stalled { url, seconds }, Duration::ZERO)
    }
}

/// What is at `url` hasn't come in time.
pub(super) fn late(url: String, deadline: Deadline) -> HubError {
    let seconds = deadline.allowed.as_secs();
    HubError::Late { url, seconds }
}

/// The certificate authorities to trust: those that the user names, else the system's, else Mozilla's.
fn roots(settings: &HubSettings) -> Result<RootCerts, HubError> {
    let (found, named) = match &settings.certificates {
        Some(named) => {
            let path = Some(named.path.as_path());
            let directory = path.filter(|path| path.is_dir());
            let file = path.filter(|_| directory.is_none());
            let found = rustls_native_certs::load_certs_from_paths(file, directory);
            (found, Some(named))
        }
        None => (rustls_native_certs::load_native_certs(), None),
    };
    let certificates = found.certs.iter();
    let certificates = certificates.map(|der| Certificate::from_der(der).to_owned());
    match (named, found.certs.is_empty()) {
        (_, false) => Ok(RootCerts::from(certificates)),
        (None, true) => Ok(RootCerts::WebPki),
        (Some(named), true) => Err(HubError::Certificates {
            variable: named.variable,
            path: named.path.clone(),
            source: found.errors.into_iter().next().map(Into::into),
        }),
    }
}

/// A proxy that wants to know who is there.
fn proxy_credentials(url: &str, proxy: Option<&NamedProxy>) -> HubError {
    let secure = url.starts_with("https");
    HubError::ProxyCredentials {
        url: place(url),
        variable: match proxy {
            Some(named) => named.variable,
            None if secure => "https_proxy",
            None => "http_proxy",
        },
        given: proxy.is_some_and(|named| named.proxy.username().is_some()),
    }
}

/// How long a server wants to be left alone: `Retry-After` in seconds or as a date, or what is left of the hub's `RateLimit`.
fn pause(response: &Response<Body>) -> Duration {
    let until = |date| {
        let left = httpdate::parse_http_date(date).ok()?;
        left.duration_since(SystemTime::now()).ok()
    };
    let after = header(response, "retry-after").and_then(|text| {
        let seconds = text.parse().map(Duration::from_secs);
        seconds.ok().or_else(|| until(text))
    });
    // `"api";r=0;t=55`
    let limit = || {
        let mut parts = header(response, "ratelimit")?.split(';');
        let seconds = parts.find_map(|part| part.trim().strip_prefix("t="))?;
        Some(Duration::from_secs(seconds.parse().ok()?))
    };
    after.or_else(limit).unwrap_or_default()
}

/// A handshake that failed, and would again.
fn untrusted(url: &str, error: &dyn Error) -> Failure {
    let (url, reason) = (place(url), one_line(&error.to_string()));
    HubError::Tls { url, reason }.into()
}

/// A header that is text.
pub(super) fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// An address without its query, and without a user and a password.
fn place(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Where a redirect leads from `url`.
fn resolved(url: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.into());
    }
    let (scheme, rest) = url.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let host = rest.split(['/', '?', '#']).next()?;
    location
        .starts_with('/')
        .then(|| format!("{scheme}://{host}{location}"))
}

/// A revision as a part of a path: a branch may have slashes.
fn encoded(revision: &str) -> String {
    utf8_percent_encode(revision, NOT_IN_PATH).to_string()
}

/// A server's words, fit for a line of an error.
fn one_line(message: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    message.chars().map(printable).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_absolute_or_of_the_same_host() {
        let from = "http://hub.co:80/a/b?c=//d";
        for (location, expected) in [
            ("https://cdn.co/x?y", Some("https://cdn.co/x?y")),
            ("//cdn.co/x", Some("http://cdn.co/x")),
            ("/x/y?z", Some("http://hub.co:80/x/y?z")),
            ("x", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(resolved(from, location).as_deref(), expected);
        }
    }

    #[test]
    fn revisions_are_one_part_of_a_path() {
        assert_eq!(encoded("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encoded("v1.0-ä"), "v1.0-%C3%A4");
    }

    #[test]
    fn what_is_shown_has_no_signatures_and_no_lines() {
        for url in ["https://cdn.co/x?Signature=s", "https://me:@s@cdn.co/x#s"] {
            assert_eq!(place(url), "https://cdn.co/x");
        }
        assert_eq!(one_line("a\r\nb\x1b[31m"), "a  b [31m");
    }
}
