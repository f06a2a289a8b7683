//! The file that a writer fills before it is whole: named, beside its destination, and gone if the writer or the process
//! ends early.
//!
//! A signal ends a process without dropping anything. So the names of all such files are known here, and one lock is
//! held wherever such a file appears, moves or goes: whoever holds it knows that the list is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

/// The temporary files that are there now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    // Nothing panics between two states of the list.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what every [`Writer`](crate::Writer) and [`Temporary`] of this process has written so far, for a process that is about to
/// exit on a signal. As long as the result lives, no writer starts, finishes or is dropped: those that try wait.
///
/// It locks and calls the file system: for a thread that is told of the signal, not for the signal's handler itself.
pub fn discard_unfinished() -> Discarded {
    let mut unfinished = unfinished();
    for path in unfinished.drain(..) {
        // What can't be removed, nobody could do more about.
        let _ = fs::remove_file(path);
    }
    Discarded(unfinished)
}

/// That no file is unfinished, and that none will be; see [`discard_unfinished`].
#[derive(Debug)]
#[must_use = "writers go on when it is dropped"]
pub struct Discarded(
    #[expect(dead_code, reason = "held, not read")] MutexGuard<'static, Vec<PathBuf>>,
);

/// A temporary file in the directory of its destination. It is gone once it is dropped, or [discarded](discard_unfinished).
#[derive(Debug)]
pub struct Temporary {
    /// There until the file is moved or dropped.
    file: Option<NamedTempFile>,
}

impl Temporary {
    /// A new file in `directory`, with the permissions of any new file.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".rq-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The umask is applied to it when the file is created; tempfile's own default is 0600.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut unfinished = unfinished();
        let file = builder.tempfile_in(directory)?;
        unfinished.push(file.path().to_path_buf());
        Ok(Self { file: Some(file) })
    }

    /// The file, open to read and write.
    pub fn file(&self) -> &File {
        let Some(file) = &self.file else {
            unreachable!("only `move_to`, which consumes it, and `drop` take the file");
        };
        file.as_file()
    }

    /// Moves the file to `path` in one step, in place of what is there.
    ///
    /// # Errors
    /// When it can't be moved.
    pub fn move_to(mut self, path: &Path) -> io::Result<()> {
        let mut unfinished = unfinished();
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        forget(&mut unfinished, file.path());
        // On failure the file comes back in the error, and is removed with it.
        file.persist(path).map(drop).map_err(|e| e.error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut unfinished = unfinished();
            forget(&mut unfinished, file.path());
            drop(file);
        }
    }
}

fn forget(unfinished: &mut Vec<PathBuf>, path: &Path) {
    unfinished.retain(|other| other != path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_can_be_discarded_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(directory.path()).unwrap().count();
        let dropped = Temporary::create_in(directory.path()).unwrap();
        let moved = Temporary::create_in(directory.path()).unwrap();
        let left = Temporary::create_in(directory.path()).unwrap();
        drop(dropped);
        moved.move_to(&directory.path().join("whole")).unwrap();
        assert_eq!(count(), 2);
        let discarded = discard_unfinished();
        assert_eq!(count(), 1);
        assert!(directory.path().join("whole").is_file());

        // Another writer waits as long as that holds.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Temporary::create_in(directory.path()));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!waiting.is_finished());
            assert_eq!(count(), 1);
            drop(discarded);
            drop(waiting.join().unwrap().unwrap());
        });
        // What is gone can't be moved any more, and that is an error rather than a panic.
        assert!(left.move_to(&directory.path().join("late")).is_err());
        assert_eq!(count(), 1);
    }
}
