//! One file: from the hub to a whole, checked blob, over as many connections as it takes.
//!
//! The ETag says what the content is: the SHA-256 of a large file, Git's SHA-1 of a small one. Where it says neither, nothing can
//! be compared; then the file comes over one connection, from its first byte to its last, or not at all.

use super::client::{About, CHUNK, Client, Failure, header, late};
use super::error::HubError;
use super::limits::{Deadline, most};
use super::progress::Meter;
use super::store::{Store, failed};

use crate::source::cache::is_hub_part;
use rq_format::Temporary;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

/// After so many bytes a connection has been worth its while, and breaks are counted from zero.
const WORTHWHILE: u64 = 1 << 20;

/// A file as the hub describes it.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) etag: String,
    pub(super) size: Option<u64>,
}

/// Which hash an ETag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    /// Of the content.
    Sha256,
    /// Of the content behind a header with its length: <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>.
    Git,
}

impl Remote {
    /// Asks the hub.
    pub(super) fn ask(client: &Client<'_>, about: About<'_>) -> Result<Self, HubError> {
        let (place, linked) = client.head(about)?;
        let protocol = |reason: String| HubError::Protocol {
            url: place.clone(),
            reason,
        };
        if let Some(commit) = linked.commit.filter(|commit| commit != about.revision) {
            return Err(protocol(format!("it answers with the commit {commit:?}")));
        }
        let etag = linked.etag.as_deref().map(normalized).unwrap_or_default();
        if !is_hub_part(etag) || etag.len() > MAX_ETAG {
            return Err(protocol("it gives no ETag that can name a file".into()));
        }
        let remote = Self {
            name: about.file.unwrap_or_default().to_owned(),
            etag: etag.to_owned(),
            size: linked.size,
        };
        match remote.size.filter(|size| *size > most(&remote.name)) {
            Some(size) => Err(remote.too_large(Some(size))),
            None => Ok(remote),
        }
    }

    /// Whether the ETag says what the content is.
    pub(super) fn has_hash(&self) -> bool {
        self.hash().is_some()
    }

    fn hash(&self) -> Option<Hash> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match self.etag.len() {
            _ if !self.etag.bytes().all(digit) => None,
            64 => Some(Hash::Sha256),
            40 => Some(Hash::Git),
            _ => None,
        }
    }

    fn too_large(&self, announced: Option<u64>) -> HubError {
        HubError::TooLarge {
            file: self.name.clone(),
            announced,
            most: most(&self.name),
        }
    }
}

/// The most bytes of an ETag: names of locks have a few more.
const MAX_ETAG: usize = 200;

/// An ETag without its quotes.
fn normalized(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// What there is of a file: on disk, and in its hash.
struct Partial {
    held: Held,
    /// For errors.
    path: PathBuf,
    sha256: Sha256,
    bytes: u64,
}

/// Where it is.
enum Held {
    /// In a file that the next run goes on with.
    ForLater(File),
    ForNow(Temporary),
}

impl Held {
    fn file(&self) -> &File {
        match self {
            Self::ForLater(file) => file,
            Self::ForNow(temporary) => temporary.file(),
        }
    }
}

impl Partial {
    /// Goes on with what a former download left, if it can be checked in the end.
    fn open(store: &Store, remote: &Remote) -> Result<Self, HubError> {
        let mut partial = Self {
            held: match remote.has_hash() {
                true => Held::ForLater(store.open_incomplete(&remote.etag)?),
                false => {
                    store.discard(&remote.etag)?;
                    Held::ForNow(store.temporary()?)
                }
            },
            path: store.incomplete(&remote.etag),
            sha256: Sha256::new(),
            bytes: 0,
        };
        let mut there = partial.held.file().take(most(&remote.name) + 1);
        partial.bytes =
            io::copy(&mut there, &mut partial.sha256).map_err(failed("read", &partial.path))?;
        let most = remote.size.unwrap_or(most(&remote.name));
        if partial.bytes > most {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Forgets everything.
    fn restart(&mut self) -> Result<(), HubError> {
        let mut file = self.held.file();
        let cut = file.set_len(0);
        cut.and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(failed("write", &self.path))?;
        self.sha256 = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let written = self.held.file().write_all(bytes);
        written.map_err(failed("write", &self.path))?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Git's SHA-1 of what is on disk.
    fn git_sha1(&self) -> Result<String, HubError> {
        let mut hash = Sha1::new_with_prefix(format!("blob {}\0", self.bytes));
        let mut file = self.held.file();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| io::copy(&mut file, &mut hash))
            .map_err(failed("read", &self.path))?;
        Ok(format!("{:x}", hash.finalize()))
    }

    /// Gives the file its name, which is the result.
    fn finish(self, store: &Store, remote: &Remote) -> Result<String, HubError> {
        let name = match &self.held {
            Held::ForLater(_) => remote.etag.clone(),
            Held::ForNow(_) => self.git_sha1()?,
        };
        match self.held {
            Held::ForLater(file) => store.finish(&name, file)?,
            Held::ForNow(temporary) => store.keep(&name, temporary)?,
        }
        Ok(name)
    }
}

/// Gets a file, and the name of its blob; none if another process has put it into the snapshot by now.
pub(super) fn fetch(
    client: &Client<'_>,
    store: &Store,
    remote: &Remote,
    about: About<'_>,
    meter: &mut Meter<'_>,
) -> Result<Option<String>, HubError> {
    let _lock = store.lock(&remote.etag, |lock| meter.waiting(&remote.name, lock))?;
    if remote.has_hash() && store.blob(&remote.etag).is_file() {
        return Ok(Some(remote.etag.clone()));
    }
    if store.snapshot(about.revision).join(&remote.name).is_file() {
        return Ok(None);
    }
    let bytes = remote.size.unwrap_or(most(&remote.name));
    let deadline = Deadline::of(bytes, client.settings.allowance);
    let mut partial = Partial::open(store, remote)?;
    // What a former download left may be damaged: then it is worth one from the start.
    let mut resumed = partial.bytes > 0;
    loop {
        let received = receive(client, remote, about, deadline, &mut partial, meter);
        match received.and_then(|()| check(remote, &partial)) {
            Ok(()) => return partial.finish(store, remote).map(Some),
            Err(error) if !is_wrong(&error) => return Err(error),
            Err(_) if resumed => {
                resumed = false;
                partial.restart()?;
            }
            Err(error) => {
                drop(partial);
                store.discard(&remote.etag)?;
                return Err(error);
            }
        }
    }
}

/// Whether what came is of no use.
fn is_wrong(error: &HubError) -> bool {
    matches!(
        error,
        HubError::Size { .. } | HubError::Hash { .. } | HubError::TooLarge { .. }
    )
}

/// Receives what is missing, over as many connections as patience allows.
fn receive(
    client: &Client<'_>,
    remote: &Remote,
    about: About<'_>,
    deadline: Deadline,
    partial: &mut Partial,
    meter: &mut Meter<'_>,
) -> Result<(), HubError> {
    let mut patience = client.patience();
    // As far as it ever was: what comes again is no progress.
    let mut furthest = partial.bytes;
    meter.at(&remote.name, partial.bytes);
    while remote.size != Some(partial.bytes) {
        if deadline.is_over() {
            return Err(late(client.file_url(about), deadline));
        }
        match attempt(client, remote, about, deadline, partial, meter) {
            Ok(()) => return Ok(()),
            Err(failure) => {
                if partial.bytes >= furthest.saturating_add(WORTHWHILE) {
                    furthest = partial.bytes;
                    patience.renew();
                }
                if !remote.has_hash() {
                    partial.restart()?;
                }
                patience.again(failure)?;
            }
        }
    }
    Ok(())
}

/// Receives what one connection gives.
fn attempt(
    client: &Client<'_>,
    remote: &Remote,
    about: About<'_>,
    deadline: Deadline,
    partial: &mut Partial,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let from = partial.bytes;
    let answer = client.get(&client.file_url(about), about, from)?;
    let protocol = |reason: String| HubError::Protocol {
        url: answer.place.clone(),
        reason,
    };
    if header(&answer.response, "content-encoding").is_some_and(|e| e != "identity") {
        return Err(protocol("it sends the file in an encoding".into()).into());
    }
    let mut length = header(&answer.response, "content-length").and_then(|n| n.parse().ok());
    match answer.response.status().as_u16() {
        200 if from > 0 => partial.restart()?,
        206 if from > 0 => {
            let range = header(&answer.response, "content-range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {from}-")) {
                let reason = format!("asked for the bytes from {from} on, it sends {range:?}");
                return Err(protocol(reason).into());
            }
        }
        200 => {}
        416 => {
            // Nothing begins where this ends: it isn't a beginning of that file.
            partial.restart()?;
            let error = protocol("it has no more of the file".into());
            return Err(Failure::Passing(error, Duration::ZERO));
        }
        status => return Err(protocol(format!("it sends a file with status {status}")).into()),
    }
    let begun = partial.bytes;
    if let Some(size) = remote.size {
        length = Some(size.saturating_sub(begun));
    }
    let room = most(&remote.name).saturating_sub(begun);
    if let Some(length) = length.filter(|length| *length > room) {
        return Err(remote.too_large(Some(begun.saturating_add(length))).into());
    }
    let mut content = client.content(answer.response, &answer.place, deadline);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match content.read(&mut chunk)? {
            0 => break,
            read => read,
        };
        // Never more on disk than the hub announced.
        let got = partial.bytes - begun + read as u64;
        if let Some(length) = length.filter(|length| got > *length) {
            return Err(HubError::Size {
                file: remote.name.clone(),
                expected: begun + length,
                found: begun + got,
            }
            .into());
        }
        if got > room {
            return Err(remote.too_large(None).into());
        }
        partial.add(&chunk[..read])?;
        meter.at(&remote.name, partial.bytes);
    }
    match length {
        Some(length) if partial.bytes - begun < length => {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            Err(client.broken(&answer.place, &early))
        }
        _ => Ok(()),
    }
}

/// Compares what came with what the hub says.
fn check(remote: &Remote, partial: &Partial) -> Result<(), HubError> {
    let file = remote.name.clone();
    if let Some(expected) = remote.size.filter(|size| *size != partial.bytes) {
        return Err(HubError::Size {
            file,
            expected,
            found: partial.bytes,
        });
    }
    let (algorithm, found) = match remote.hash() {
        None => return Ok(()),
        Some(Hash::Sha256) => {
            let hash = partial.sha256.clone().finalize();
            ("SHA-256", format!("{hash:x}"))
        }
        Some(Hash::Git) => ("Git SHA-1", partial.git_sha1()?),
    };
    if found == remote.etag {
        return Ok(());
    }
    Err(HubError::Hash {
        file,
        algorithm,
        expected: remote.etag.clone(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_told_from_hashes() {
        for (etag, expected) in [
            ("9".repeat(64), Some(Hash::Sha256)),
            ("a".repeat(40), Some(Hash::Git)),
            ("A".repeat(40), None),
            ("a".repeat(41), None),
            ("abc".into(), None),
            (format!("{}.incomplete", "a".repeat(40)), None),
        ] {
            let (name, size) = (String::new(), None);
            assert_eq!(Remote { name, etag, size }.hash(), expected);
        }
    }

    #[test]
    fn etags_lose_their_quotes() {
        for (etag, expected) in [
            ("\"abc\"", "abc"),
            ("W/\"abc\"", "abc"),
            ("abc", "abc"),
            ("\"\"", ""),
        ] {
            assert_eq!(normalized(etag), expected);
        }
    }
}
