//! The file that a writer fills before it is whole: named, beside its destination, and gone if the writer or the process
//! ends early.
//!
//! A signal ends a process without dropping anything. So the names of all such files are known here, and one lock is
//! held wherever such a file appears, moves or goes: whoever holds it knows that the list is complete.
//!
//! What can't be caught leaves the file where it is. So each is locked (`flock`) as long as its writer lives, and whoever makes
//! another in the same directory removes those that nobody locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

const PREFIX: &str = ".rq-";
const SUFFIX: &str = ".tmp";
/// The random characters between them.
const RANDOM: usize = 6;

/// The temporary files that are there now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    // Nothing panics between two states of the list.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what every [`Output`](crate::Output), [`Writer`](crate::Writer) and [`Temporary`] of this process has written so far, for a
/// process that is about to exit on a signal. As long as the result lives, no writer starts, finishes or is dropped: those that
/// try wait.
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

/// Removes the temporary files in `directory` whose writers are gone: killed, or cut off from power. Those of living ones stay;
/// so do all where the file system has no locks.
pub fn discard_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(is_temporary) && is_abandoned(&entry.path()) {
            // Somebody else may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether [`Temporary::create_in`] gives such names.
fn is_temporary(name: &str) -> bool {
    let random = name
        .strip_prefix(PREFIX)
        .and_then(|name| name.strip_suffix(SUFFIX));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether nobody holds the lock of the file at `path`.
fn is_abandoned(path: &Path) -> bool {
    let open = || open_regular(File::options().read(true).write(true), path);
    let Ok(file) = open() else {
        return false;
    };
    if file.try_lock().is_err() {
        return false;
    }
    // Some file systems give a lock to everyone who asks, and then it says nothing.
    let again = open().map(|again| again.try_lock());
    matches!(again, Ok(Err(TryLockError::WouldBlock)))
}

/// Opens what is a file itself, not a link to one, and never waits for a pipe's other end.
///
/// # Errors
/// When it isn't a file, and when it can't be opened with these options.
pub fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it isn't a file")),
    }
}

/// A temporary file in the directory of its destination. It is gone once it is dropped, or [discarded](discard_unfinished).
#[derive(Debug)]
pub struct Temporary {
    /// There until the file is moved or dropped.
    file: Option<NamedTempFile>,
}

impl Temporary {
    /// A new file in `directory`, with the permissions of any new file. Those that were [abandoned](discard_abandoned) there
    /// go.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).rand_bytes(RANDOM).suffix(SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The umask is applied to it when the file is created; tempfile's own default is 0600.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut unfinished = unfinished();
        let file = loop {
            let file = builder.tempfile_in(directory)?;
            if lock(file.as_file())? {
                break file;
            }
        };
        unfinished.push(file.path().to_path_buf());
        discard_abandoned(directory);
        Ok(Self { file: Some(file) })
    }

    /// The file, open to read and write.
    pub fn file(&self) -> &File {
        let Some(file) = &self.file else {
            unreachable!("only `move_to`, which consumes it, and `drop` take the file");
        };
        file.as_file()
    }

    /// Moves the file to `path` in one step, in place of what is there, whatever it is: [`Output`](crate::Output) looks first.
    ///
    /// # Errors
    /// When it can't be moved.
    pub fn move_to(mut self, path: &Path) -> io::Result<()> {
        let mut unfinished = unfinished();
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        if !forget(&mut unfinished, file.path()) {
            return Err(io::Error::other("it was discarded"));
        }
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

/// Locks a new file, unless another process has taken it for an abandoned one in the moment before.
fn lock(file: &File) -> io::Result<bool> {
    // Where there are no locks, nobody takes it for abandoned, either.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Ok(false);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(file.metadata()?.nlink() > 0)
    }
    #[cfg(not(unix))]
    Ok(true)
}

/// Takes a path off the list, and says whether it was there.
fn forget(unfinished: &mut Vec<PathBuf>, path: &Path) -> bool {
    let before = unfinished.len();
    unfinished.retain(|other| other != path);
    unfinished.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

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
        assert!(directory.path().join("whole").is_file());
        // On Windows some file systems keep a name until its file is closed, at the latest when the process exits.
        let left_over = if cfg!(windows) { count() - 1 } else { 0 };
        assert_eq!(count(), 1 + left_over);
        assert!(left_over <= 1);

        // Another writer waits as long as that holds.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Temporary::create_in(directory.path()));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!waiting.is_finished());
            assert_eq!(count(), 1 + left_over);
            drop(discarded);
            drop(waiting.join().unwrap().unwrap());
        });
        // What is gone can't be moved any more, and that is an error rather than a panic.
        assert!(left.move_to(&directory.path().join("late")).is_err());
        assert_eq!(count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path(".rq-a1B2c3.tmp"), "abandoned").unwrap();
        let locked = File::create(path(".rq-living.tmp")).unwrap();
        locked.lock().unwrap();
        // Nobody's business.
        let others = [
            ".rq-.tmp",
            ".rq-a1B2c3d.tmp",
            ".rq-a1B2c3.tmp2",
            ".rq-a_B2c3.tmp",
        ];
        for name in others {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path(".rq-folder.tmp")).unwrap();
        let mut expected: Vec<&str> = others.to_vec();
        expected.extend([".rq-folder.tmp", ".rq-living.tmp"]);
        #[cfg(unix)]
        {
            fs::write(path("precious"), "").unwrap();
            std::os::unix::fs::symlink("precious", path(".rq-linked.tmp")).unwrap();
            expected.extend(["precious", ".rq-linked.tmp"]);
        }
        expected.sort_unstable();
        let first = Temporary::create_in(directory.path()).unwrap();
        let second = Temporary::create_in(directory.path()).unwrap();
        assert_eq!(names(directory.path()).len(), expected.len() + 2);
        drop((first, second));
        assert_eq!(names(directory.path()), expected);
        drop(locked);
        discard_abandoned(directory.path());
        expected.retain(|name| *name != ".rq-living.tmp");
        assert_eq!(names(directory.path()), expected);
    }
}
