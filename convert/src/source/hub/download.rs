//! One file: from the hub to a whole, checked blob, over as many connections as it takes.

use super::client::{About, Client, Failure, header};
use super::error::HubError;
use super::progress::Meter;
use super::store::{Store, failed};

use crate::source::cache::is_hub_part;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

const CHUNK: usize = 256 << 10;
/// After so many bytes a connection has been worth its while, and breaks are counted from zero.
const WORTHWHILE: u64 = 1 << 20;

/// A file as the hub describes it.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) etag: String,
    pub(super) size: Option<u64>,
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
        if !is_hub_part(etag) {
            return Err(protocol("it gives no ETag that can name a file".into()));
        }
        Ok(Self {
            name: about.file.unwrap_or_default().to_owned(),
            etag: etag.to_owned(),
            size: linked.size,
        })
    }

    /// The SHA-256 of the content, if the hub says it. The ETag of a small file is Git's SHA-1 of it, with a header.
    fn sha256(&self) -> Option<&str> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_sha256 = self.etag.len() == 64 && self.etag.bytes().all(digit);
        is_sha256.then_some(self.etag.as_str())
    }
}

/// An ETag without its quotes.
fn normalized(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// What there is of a file: on disk, and in its hash.
struct Partial {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Partial {
    /// Goes on with what a former download left.
    fn open(store: &Store, remote: &Remote) -> Result<Self, HubError> {
        let file = store.open_incomplete(&remote.etag)?;
        let path = store.incomplete(&remote.etag);
        let mut partial = Self {
            path,
            file,
            hash: Sha256::new(),
            bytes: 0,
        };
        partial.bytes = io::copy(&mut partial.file, &mut partial.hash)
            .map_err(failed("read", &partial.path))?;
        if remote.size.is_some_and(|size| partial.bytes > size) {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Forgets everything.
    fn restart(&mut self) -> Result<(), HubError> {
        let cut = self.file.set_len(0);
        cut.and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(failed("write", &self.path))?;
        self.hash = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let written = self.file.write_all(bytes);
        written.map_err(failed("write", &self.path))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Gets a file, unless the blob is there by now.
pub(super) fn fetch(
    client: &Client<'_>,
    store: &Store,
    remote: &Remote,
    about: About<'_>,
    meter: &mut Meter<'_>,
) -> Result<(), HubError> {
    let _lock = store.lock(&remote.etag)?;
    if store.blob(&remote.etag).is_file() {
        return Ok(());
    }
    let mut partial = Partial::open(store, remote)?;
    // What a former download left may be damaged: then it is worth one from the start.
    let mut resumed = partial.bytes > 0;
    loop {
        receive(client, remote, about, &mut partial, meter)?;
        match check(remote, &partial) {
            Ok(()) => return store.finish(&remote.etag, partial.file),
            Err(_) if resumed => {
                resumed = false;
                partial.restart()?;
            }
            Err(error) => {
                drop(partial.file);
                store.discard(&remote.etag)?;
                return Err(error);
            }
        }
    }
}

/// Receives what is missing, over as many connections as patience allows.
fn receive(
    client: &Client<'_>,
    remote: &Remote,
    about: About<'_>,
    partial: &mut Partial,
    meter: &mut Meter<'_>,
) -> Result<(), HubError> {
    let mut patience = client.patience();
    meter.at(&remote.name, partial.bytes);
    while remote.size != Some(partial.bytes) {
        let before = partial.bytes;
        match attempt(client, remote, about, partial, meter) {
            Ok(()) => return Ok(()),
            Err(failure) => {
                if partial.bytes.saturating_sub(before) >= WORTHWHILE {
                    patience.renew();
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
    let mut body = answer.response.into_body().into_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(client.broken(&answer.place, &error)),
        };
        // Never more on disk than the hub announced.
        let got = partial.bytes - begun + read as u64;
        if let Some(length) = length.filter(|length| got > *length) {
            partial.restart()?;
            return Err(HubError::Size {
                file: remote.name.clone(),
                expected: begun + length,
                found: begun + got,
            }
            .into());
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
    let Some(expected) = remote.sha256() else {
        return Ok(());
    };
    let found = format!("{:x}", partial.hash.clone().finalize());
    if found == expected {
        return Ok(());
    }
    Err(HubError::Hash {
        file,
        expected: expected.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
