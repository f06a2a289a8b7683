//! A server on loopback that speaks as much of the Hugging Face hub's protocol as a download needs, and misbehaves
//! when told to: the hub itself on one port, its storage for large files on another.

#![allow(dead_code, reason = "each test uses a part of it")]

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The commit that a test's repository has on `main`.
pub(crate) const COMMIT: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What goes wrong with the content of a file, once for each time it's given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes.
    Cut(usize),
    /// Nothing comes after so many bytes.
    Stall(usize),
    /// The bytes come in so many pieces, with pauses.
    Slow(usize),
    /// A byte is another one.
    Corrupt,
    /// There are more bytes than announced.
    TooLong,
    /// Ranges are ignored.
    NoRanges,
    /// This status, and how many seconds to wait.
    Status(u16, u32),
    /// One byte, and the end, as often as it is asked for.
    OneByte,
    /// A byte from time to time, and headers before them in one piece or not.
    Drip { headers: bool },
    /// Bytes for ever, in chunks without a length.
    Endless,
}

impl Fault {
    /// Whether it stays.
    fn is_lasting(self) -> bool {
        matches!(self, Self::OneByte | Self::Drip { .. } | Self::Endless)
    }
}

/// What the hub has, and whom it lets have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// By repository and commit.
    pub(crate) snapshots: BTreeMap<(String, String), Files>,
    /// By repository and branch or tag.
    pub(crate) references: BTreeMap<(String, String), String>,
    /// Old names and new ones.
    pub(crate) moved: BTreeMap<String, String>,
    pub(crate) gated: BTreeSet<String>,
    /// The one token that there is, or all of the header that proves who is there.
    pub(crate) token: String,
    /// Answers of any path, given in place of the right one: status, headers and text.
    pub(crate) instead: BTreeMap<String, (u16, String, String)>,
    pub(crate) faults: BTreeMap<String, Vec<Fault>>,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether the storage got it.
    pub(crate) storage: bool,
    /// Method and path, and the range that was asked for.
    pub(crate) line: String,
    pub(crate) token: Option<String>,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    storage: String,
    content: Arc<Mutex<Content>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            endpoint: address(&hub),
            storage: address(&storage),
            content: Arc::default(),
            seen: Arc::default(),
        };
        server.serve(hub, false);
        server.serve(storage, true);
        server
    }

    /// One with a repository's files on `main`.
    pub(crate) fn with(repository: &str, files: &Files) -> Self {
        let server = Self::new();
        server.change(|content| {
            let key = (repository.to_owned(), COMMIT.to_owned());
            content.snapshots.insert(key, files.clone());
            let key = (repository.to_owned(), "main".to_owned());
            content.references.insert(key, COMMIT.into());
        });
        server
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.content.lock().unwrap());
    }

    /// The content of this file, the next times that it's asked for.
    pub(crate) fn fail(&self, file: &str, faults: &[Fault]) {
        self.change(|content| {
            content.faults.insert(file.into(), faults.to_vec());
        });
    }

    /// The requests since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The same, as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    fn serve(&self, listener: TcpListener, storage: bool) {
        let (content, seen) = (self.content.clone(), self.seen.clone());
        let address = self.storage.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, seen, address) = (content.clone(), seen.clone(), address.clone());
                thread::spawn(move || {
                    // A client may be gone at any time.
                    let _ = Connection {
                        stream: &stream,
                        storage,
                        address,
                        content: &content,
                        seen: &seen,
                    }
                    .answer();
                });
            }
        });
    }
}

/// A proxy that tunnels to this address whatever is asked for, for those who send these credentials; and where it is.
pub(crate) fn proxy(to: &str, credentials: Option<&str>) -> String {
    let listener = listen();
    let address = listener.local_addr().unwrap().to_string();
    let to = to.trim_start_matches("http://").to_owned();
    let expected = credentials.map(|sent| format!("Proxy-Authorization: Basic {sent}\r\n"));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0 {}
            if expected
                .as_ref()
                .is_some_and(|sent| !request.contains(sent))
            {
                let refused =
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                client.write_all(refused).unwrap();
                continue;
            }
            let mut server = TcpStream::connect(&to).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut up = server.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut reader, &mut up));
            thread::spawn(move || {
                let _ = std::io::copy(&mut server, &mut client);
                client.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    address
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The hash of the storage's files.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Git's name for this content.
pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    format!(
        "{:x}",
        Sha1::new_with_prefix(header).chain_update(bytes).finalize()
    )
}

/// What the hub calls this file's content: its SHA-256 if it is large, else Git's name for it.
pub(crate) fn etag(file: &str, bytes: &[u8]) -> String {
    match is_large(file) {
        true => sha256(bytes),
        false => git_sha1(bytes),
    }
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".bin")
}

struct Connection<'a> {
    stream: &'a TcpStream,
    storage: bool,
    address: String,
    content: &'a Mutex<Content>,
    seen: &'a Mutex<Vec<Seen>>,
}

type Headers = Vec<(&'static str, String)>;

impl Connection<'_> {
    fn answer(&self) -> std::io::Result<()> {
        let mut reader = BufReader::new(self.stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let (mut token, mut range) = (None, None);
        let (mut agent, mut encoding) = (String::new(), String::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            let value = value.trim().to_owned();
            match name.to_ascii_lowercase().as_str() {
                "authorization" => token = Some(value),
                "range" => range = Some(value),
                "accept-encoding" => encoding = value,
                "user-agent" => agent = value,
                _ => {}
            }
        }
        assert!(!agent.starts_with("rq/") || encoding == "identity");
        let shown = path.split('?').next().unwrap_or_default();
        let mut line = format!("{method} {shown}");
        if let Some(range) = &range {
            line += &format!(" {range}");
        }
        self.seen.lock().unwrap().push(Seen {
            storage: self.storage,
            line,
            token: token.clone(),
        });
        let content = self.content.lock().unwrap().clone();
        if let Some((status, headers, text)) = content.instead.get(shown) {
            return self.raw(*status, headers, text.as_bytes());
        }
        let head = method == "HEAD";
        if self.storage {
            let hash = shown.trim_start_matches('/');
            let mut all = content.snapshots.values().flatten();
            let Some((file, bytes)) = all.find(|(_, bytes)| sha256(bytes) == hash) else {
                return self.error(404, "", "no such object");
            };
            // Without the signature, nobody gets anything; with a token, the storage is confused.
            if !path.ends_with("?Signature=secret") || token.is_some() {
                return self.error(403, "", "wrong signature");
            }
            let headers = vec![("ETag", "\"storage's own\"".to_owned())];
            return self.file(file, bytes, range.as_deref(), headers, head);
        }
        self.hub(&content, &path, token.as_deref(), range.as_deref(), head)
    }

    fn hub(
        &self,
        content: &Content,
        path: &str,
        token: Option<&str>,
        range: Option<&str>,
        head: bool,
    ) -> std::io::Result<()> {
        let parsed = parse(path);
        let Some((repository, revision, file)) = parsed else {
            return self.error(404, "", "no such page");
        };
        if let Some(new) = content.moved.get(&repository) {
            let location = path.replacen(&repository, new, 1);
            return self.reply(307, &[("Location", location)], b"moved", head);
        }
        let right = [content.token.clone(), format!("Bearer {}", content.token)];
        let allowed = token.is_some_and(|token| right.iter().any(|right| right == token));
        if token.is_some() && !allowed {
            return self.error(401, "", "Invalid credentials in Authorization header");
        }
        let mut commits = content.snapshots.keys();
        if !commits.any(|(name, _)| *name == repository) {
            let status = if allowed { 404 } else { 401 };
            return self.error(status, "RepoNotFound", "Repository not found");
        }
        if content.gated.contains(&repository) && !allowed {
            return self.error(401, "GatedRepo", "Access to this model is restricted");
        }
        let commit = content
            .references
            .get(&(repository.clone(), revision.clone()));
        let commit = commit.unwrap_or(&revision).clone();
        let Some(files) = content.snapshots.get(&(repository.clone(), commit.clone())) else {
            let message = format!("Invalid rev id: {revision}");
            return self.error(404, "RevisionNotFound", &message);
        };
        let Some(file) = file else {
            let siblings: Vec<_> = files
                .keys()
                .map(|f| format!(r#"{{"rfilename":"{f}"}}"#))
                .collect();
            let siblings = siblings.join(",");
            // The hub repeats some of it, and here it is all.
            let config = files
                .get("config.json")
                .and_then(|json| std::str::from_utf8(json).ok());
            let config = config
                .filter(|json| json.starts_with('{'))
                .unwrap_or("null");
            let json = format!(
                r#"{{"id":"{repository}","sha":"{commit}","config":{config},"siblings":[{siblings}]}}"#
            );
            return self.reply(200, &[], json.as_bytes(), head);
        };
        let Some(bytes) = files.get(&file) else {
            return self.error(404, "EntryNotFound", "Entry not found");
        };
        let etag = format!("\"{}\"", etag(&file, bytes));
        let mut headers = vec![("X-Repo-Commit", commit.clone()), ("ETag", etag.clone())];
        if is_large(&file) {
            let location = format!("{}/{}?Signature=secret", self.address, sha256(bytes));
            headers[1].1 = "\"of the pointer\"".into();
            headers.extend([
                ("Location", location),
                ("X-Linked-ETag", etag),
                ("X-Linked-Size", bytes.len().to_string()),
            ]);
            return self.reply(302, &headers, b"Found. Redirecting to storage", head);
        }
        if file == "tokenizer_config.json" && !path.starts_with("/api") {
            let location = format!("/api/resolve-cache/models/{repository}/{commit}/{file}");
            headers.push(("Location", location));
            return self.reply(307, &headers, b"Temporary Redirect", head);
        }
        self.file(&file, bytes, range, headers, head)
    }

    /// A file's bytes, or the range that was asked for, or what a fault makes of it.
    fn file(
        &self,
        file: &str,
        bytes: &[u8],
        range: Option<&str>,
        mut headers: Headers,
        head: bool,
    ) -> std::io::Result<()> {
        let fault = match self.content.lock().unwrap().faults.get_mut(file) {
            Some(faults) if !head && !faults.is_empty() => match faults[0] {
                fault if fault.is_lasting() => Some(fault),
                _ => Some(faults.remove(0)),
            },
            _ => None,
        };
        let from = range
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .filter(|_: &usize| !matches!(fault, Some(Fault::NoRanges)));
        let (mut body, mut status) = (bytes.to_vec(), 200);
        if let Some(from) = from {
            if from >= bytes.len() {
                return self.error(416, "", "");
            }
            body.drain(..from);
            status = 206;
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            headers.push(("Content-Range", range));
        }
        match fault {
            None | Some(Fault::NoRanges) => self.reply(status, &headers, &body, head),
            Some(Fault::Corrupt) => {
                *body.last_mut().unwrap() ^= 1;
                self.reply(status, &headers, &body, head)
            }
            Some(Fault::TooLong) => {
                body.extend(b"more");
                self.reply(status, &headers, &body, head)
            }
            Some(Fault::Status(status, pause)) => {
                self.reply(status, &[("Retry-After", pause.to_string())], b"", head)
            }
            Some(Fault::Cut(bytes)) => {
                self.begin(status, &headers, body.len())?;
                self.stream().write_all(&body[..bytes])
            }
            Some(Fault::Stall(bytes)) => {
                self.begin(status, &headers, body.len())?;
                self.stream().write_all(&body[..bytes])?;
                thread::sleep(Duration::from_secs(60));
                Ok(())
            }
            Some(Fault::OneByte) => {
                self.begin(status, &headers, body.len())?;
                self.stream().write_all(&body[..1])
            }
            Some(Fault::Drip { headers: true }) => {
                self.stream().write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
                self.drip(b'a')
            }
            Some(Fault::Drip { headers: false }) => {
                self.begin(status, &headers, 1 << 20)?;
                self.drip(b' ')
            }
            Some(Fault::Endless) => {
                let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                self.stream().write_all(start.as_bytes())?;
                let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
                loop {
                    self.stream().write_all(chunk.as_bytes())?;
                }
            }
            Some(Fault::Slow(pieces)) => {
                self.begin(status, &headers, body.len())?;
                for piece in body.chunks(body.len().div_ceil(pieces)) {
                    self.stream().write_all(piece)?;
                    thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }
        }
    }

    /// A byte after the other, until nobody listens.
    fn drip(&self, byte: u8) -> std::io::Result<()> {
        loop {
            self.stream().write_all(&[byte])?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn stream(&self) -> &TcpStream {
        self.stream
    }

    fn error(&self, status: u16, code: &str, message: &str) -> std::io::Result<()> {
        let headers = [
            ("X-Error-Code", code.to_owned()),
            ("X-Error-Message", message.to_owned()),
        ];
        self.reply(status, &headers, b"", false)
    }

    fn reply(
        &self,
        status: u16,
        headers: &[(&'static str, String)],
        body: &[u8],
        head: bool,
    ) -> std::io::Result<()> {
        self.begin(status, headers, body.len())?;
        match head {
            true => Ok(()),
            false => self.stream().write_all(body),
        }
    }

    fn begin(
        &self,
        status: u16,
        headers: &[(&'static str, String)],
        length: usize,
    ) -> std::io::Result<()> {
        let mut text = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {length}\r\n\r\n");
        self.stream().write_all(text.as_bytes())
    }

    fn raw(&self, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
        let length =
            match headers.contains("Content-Length") || headers.contains("Transfer-Encoding") {
                true => String::new(),
                false => format!("Content-Length: {}\r\n", body.len()),
            };
        let text =
            format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n{headers}{length}\r\n");
        self.stream().write_all(text.as_bytes())?;
        self.stream().write_all(body)
    }
}

/// Repository, revision, and file if it's about one.
fn parse(path: &str) -> Option<(String, String, Option<String>)> {
    let path = path.split('?').next()?.strip_prefix('/')?;
    let decoded = |revision: &str| revision.replace("%2F", "/");
    if let Some(rest) = path.strip_prefix("api/resolve-cache/models/") {
        let mut parts = rest.rsplitn(3, '/');
        let (file, commit) = (parts.next()?, parts.next()?);
        return Some((parts.next()?.into(), commit.into(), Some(file.into())));
    }
    if let Some(rest) = path.strip_prefix("api/models/") {
        let (repository, revision) = rest.split_once("/revision/")?;
        return Some((repository.into(), decoded(revision), None));
    }
    let (repository, rest) = path.split_once("/resolve/")?;
    let (revision, file) = rest.split_once('/')?;
    Some((repository.into(), decoded(revision), Some(file.into())))
}
