//! Where a file goes that is written as a whole: in place of a file, never of anything else; or into a pipe or a device.

use crate::error::FormatError;
use crate::temporary::{Temporary, open_regular};
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the name of a file ends with that another run may go on with.
const PARTIAL: &str = ".partial";

/// How many symbolic links lead from one to the next at most, as in Linux.
const MAX_LINKS: usize = 40;

/// What is written, and where it will be.
///
/// A file is filled beside its destination and moved there in one step once it is whole: what was there stays as it is until then.
/// A symbolic link at the destination stays, and what it leads to is replaced. What isn't a file isn't replaced: a pipe, a
/// device that takes bytes one after the other, and standard output (`-`) get them at the end, from a file without a name in the
/// directory for temporary ones; a disk, a socket and a directory are refused.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    to: To,
}

#[derive(Debug)]
enum To {
    /// The file, and where it goes.
    File(Temporary, PathBuf),
    /// A file that stays when its writer ends early, and where it goes.
    Partial {
        file: File,
        partial: PathBuf,
        destination: PathBuf,
    },
    Stream {
        held: File,
        stream: Stream,
    },
}

#[derive(Debug)]
enum Stream {
    Stdout,
    Opened(File),
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A file, or nothing yet, here.
    File(PathBuf),
    Stdout,
    /// What can only be opened and written to, and what it is.
    Stream(&'static str),
    /// What isn't written to, and what it is.
    Refused(&'static str),
}

impl Output {
    /// A file at `path`, for a format that needs one.
    ///
    /// # Errors
    /// [`FormatError::NotAFile`], and when the file can't be created.
    pub fn file_at(path: &Path) -> Result<Self, FormatError> {
        match Self::place(path)? {
            Place::File(file) => Self::file(path, file),
            Place::Stdout => Err(not_a_file(path, "standard output")),
            Place::Stream(what) | Place::Refused(what) => Err(not_a_file(path, what)),
        }
    }

    /// A file at `path`, or the pipe or device that is there. Opening a pipe waits for its reader.
    ///
    /// # Errors
    /// [`FormatError::NotAFile`], and when the file can't be created or opened.
    pub fn at(path: &Path) -> Result<Self, FormatError> {
        let stream = match Self::place(path)? {
            Place::File(file) => return Self::file(path, file),
            Place::Refused(what) => return Err(not_a_file(path, what)),
            Place::Stdout => Stream::Stdout,
            // A file that another program holds open is continued, as that program would.
            Place::Stream(_) => {
                let opened = File::options().append(true).open(path);
                Stream::Opened(opened.map_err(|source| io_error("open", path, source))?)
            }
        };
        let directory = std::env::temp_dir();
        let held = tempfile::tempfile_in(&directory)
            .map_err(|source| io_error("create a file in", &directory, source))?;
        Ok(Self {
            path: path.into(),
            to: To::Stream { held, stream },
        })
    }

    /// As [`Output::file_at`], but what is written stays when the writer ends early, for another to go on with: beside its
    /// destination, under the same name with `.partial` behind it. What is in it when this begins, a former writer left there.
    ///
    /// # Errors
    /// [`FormatError::NotAFile`], when another process fills the file, and when it can't be opened.
    pub fn partial_at(path: &Path) -> Result<Self, FormatError> {
        let destination = match Self::place(path)? {
            Place::File(file) => file,
            Place::Stdout => return Err(not_a_file(path, "standard output")),
            Place::Stream(what) | Place::Refused(what) => return Err(not_a_file(path, what)),
        };
        let partial = beside(&destination, PARTIAL);
        let mut options = File::options();
        options.read(true).write(true).create(true);
        let file = open_regular(&mut options, &partial)
            .map_err(|source| io_error("open", &partial, source))?;
        // Where there are no locks, nobody can tell.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let other = io::Error::other("another process writes it");
            return Err(io_error("open", &partial, other));
        }
        Ok(Self {
            path: path.into(),
            to: To::Partial {
                file,
                partial,
                destination,
            },
        })
    }

    /// Where a file goes, all links followed, with `ending` behind its name; nothing if it isn't a file.
    pub fn beside(path: &Path, ending: &str) -> Option<PathBuf> {
        match Self::place(path) {
            Ok(Place::File(file)) => Some(beside(&file, ending)),
            _ => None,
        }
    }

    /// Whether what is written to `path` goes into a pipe, a device or standard output.
    pub fn is_stream(path: &Path) -> bool {
        matches!(
            Self::place(path),
            Ok(Place::Stdout | Place::Stream(_) | Place::Refused(_))
        )
    }

    /// Whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        let stream = match &self.to {
            To::File(..) | To::Partial { .. } => return false,
            To::Stream { stream, .. } => stream,
        };
        matches!(stream, Stream::Stdout)
    }

    fn file(path: &Path, destination: PathBuf) -> Result<Self, FormatError> {
        let directory = directory_of(&destination);
        let temporary = Temporary::create_in(directory)
            .map_err(|source| io_error("create a file in", directory, source))?;
        Ok(Self {
            path: path.into(),
            to: To::File(temporary, destination),
        })
    }

    /// The file to fill, open to read and write.
    pub fn file_to_fill(&self) -> &File {
        match &self.to {
            To::File(temporary, _) => temporary.file(),
            To::Partial { file, .. } => file,
            To::Stream { held, .. } => held,
        }
    }

    /// Removes what would be left for another writer, and every other file that isn't whole.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn discard(self) -> Result<(), FormatError> {
        match self.to {
            To::Partial { file, partial, .. } => {
                drop(file);
                fs::remove_file(&partial).map_err(|source| io_error("remove", &partial, source))
            }
            // They go by themselves.
            To::File(..) | To::Stream { .. } => Ok(()),
        }
    }

    /// Moves the file to its destination, or writes it there, whole.
    ///
    /// # Errors
    /// When the operating system refuses, or the destination isn't what it was when this began. Then a file there is as it was.
    pub fn finish(self) -> Result<(), FormatError> {
        let path = self.path;
        match self.to {
            To::File(temporary, destination) => {
                still_there(&path, &destination)?;
                temporary
                    .move_to(&destination)
                    .map_err(|source| cannot_replace(&path, source))?;
                sync_directory_of(&destination);
                Ok(())
            }
            To::Partial {
                file,
                partial,
                destination,
            } => {
                still_there(&path, &destination)?;
                let synced = file.sync_all();
                synced.map_err(|source| io_error("write", &partial, source))?;
                drop(file);
                let moved = fs::rename(&partial, &destination);
                moved.map_err(|source| cannot_replace(&path, source))?;
                sync_directory_of(&destination);
                Ok(())
            }
            To::Stream { mut held, stream } => held
                .seek(SeekFrom::Start(0))
                .and_then(|_| match stream {
                    Stream::Stdout => {
                        let mut stdout = io::stdout().lock();
                        io::copy(&mut held, &mut stdout).and_then(|_| stdout.flush())
                    }
                    Stream::Opened(mut opened) => io::copy(&mut held, &mut opened).map(drop),
                })
                .map_err(|source| io_error("write", &path, source)),
        }
    }

    /// Follows the links at `path`.
    fn place(path: &Path) -> Result<Place, FormatError> {
        place(path).map_err(|source| io_error("create", path, source))
    }
}

/// Refuses a destination that isn't what it was.
fn still_there(path: &Path, destination: &Path) -> Result<(), FormatError> {
    match Output::place(path)? {
        Place::File(file) if file == destination => Ok(()),
        Place::File(_) => Err(not_a_file(path, "another link by now")),
        Place::Stdout => Err(not_a_file(path, "standard output")),
        Place::Stream(what) | Place::Refused(what) => Err(not_a_file(path, what)),
    }
}

/// A new name is durable once its directory is. Some file systems can't say, and the file is whole either way.
fn sync_directory_of(path: &Path) {
    let _ = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn place(path: &Path) -> io::Result<Place> {
    if path == "-" {
        return Ok(Place::Stdout);
    }
    // What the operating system wouldn't follow, such as a stranger's link in /tmp, isn't followed here, either.
    if let Err(error) = fs::metadata(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let directory = directory_of(&path);
        if let Some(own) = descriptors(directory) {
            let is_stdout = own && path.file_name().is_some_and(|name| name == "1");
            return match fs::metadata(&path)?.file_type() {
                _ if is_stdout => Ok(Place::Stdout),
                kind if kind.is_file() => Ok(Place::Stream("a file that is open already")),
                kind => what(kind),
            };
        }
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ends = path.as_os_str().as_encoded_bytes().last();
                return match ends.is_some_and(|&b| std::path::is_separator(char::from(b))) {
                    true => Err(io::ErrorKind::IsADirectory.into()),
                    false => Ok(Place::File(path)),
                };
            }
            Err(error) => return Err(error),
        };
        if kind.is_file() {
            return Ok(Place::File(path));
        }
        if !kind.is_symlink() {
            return what(kind);
        }
        path = directory.join(fs::read_link(&path)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// What is neither a file nor a link.
fn what(kind: fs::FileType) -> io::Result<Place> {
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Ok(Place::Stream("a pipe"));
        }
        if kind.is_char_device() {
            return Ok(Place::Stream("a device"));
        }
        if kind.is_block_device() {
            return Ok(Place::Refused("a disk"));
        }
        if kind.is_socket() {
            return Ok(Place::Refused("a socket"));
        }
    }
    Ok(Place::Refused("not a file"))
}

/// Whether this is a directory of what processes have open, and if so, whether of this one.
fn descriptors(directory: &Path) -> Option<bool> {
    let directory = fs::canonicalize(directory).ok()?;
    if directory == Path::new("/dev/fd") {
        return Some(true);
    }
    let inside = directory.strip_prefix("/proc").ok()?;
    let own = inside == Path::new(&std::process::id().to_string()).join("fd");
    (inside.file_name()? == "fd").then_some(own)
}

fn not_a_file(path: &Path, what: &'static str) -> FormatError {
    FormatError::NotAFile {
        path: path.into(),
        what,
    }
}

/// On Windows, where a file that a program has mapped can't be replaced, the error says so: the system says that access is denied.
fn cannot_replace(path: &Path, source: io::Error) -> FormatError {
    // ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE.
    let source = match source.raw_os_error() {
        Some(5 | 32 | 1224) if cfg!(windows) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is read-only, or in use by a program, perhaps rq itself: a model is while it is open; \
             end that program, or choose another name",
        ),
        _ => source,
    };
    io_error("replace", path, source)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> FormatError {
    FormatError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
