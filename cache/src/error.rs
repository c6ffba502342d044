//! What can go wrong with a store, in words that name the thing and the next step.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, Entry};

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}{}", path.display(), next_step(source))]
    Io {
        /// What was tried, as a verb: "read", "rename".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk that holds the store has no room.
    #[error("no room on the disk that holds `{}`: {}; free some with `pipe store gc`, or choose another store with `--store`", path.display(), room(*free, *files))]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// Bytes that are free for this user.
        free: u64,
        /// Files that can still be made; zero means that the disk ran out of inodes.
        files: u64,
    },
    /// The store was made by a later `pipe`.
    #[error("the store `{}` has format {found} and this `pipe` knows {known}: update `pipe`, or choose another store with `--store`", root.display())]
    Newer {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this build reads.
        known: u64,
    },
    /// The store was made by an earlier `pipe` whose format this one no longer reads.
    #[error("the store `{}` has format {found} and this `pipe` reads format {known} alone: choose another store with `--store`, or remove this one and let its steps run again", root.display())]
    Older {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this build reads.
        known: u64,
    },
    /// The file system of the store has no locks between processes.
    #[error("the disk that holds `{}` has no file locks ({source}), without which two `pipe` could harm the store: choose one on a local disk with `--store`", root.display())]
    NoLocks {
        /// The store.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds something else.
    #[error("`{}` is no store of `pipe`: {why}; choose another folder with `--store`", root.display())]
    NotAStore {
        /// The folder.
        root: PathBuf,
        /// How that was seen.
        why: &'static str,
    },
    /// The store is in use, and the operation needs it alone.
    #[error("the store `{}` is in use by another `pipe`: run this again when that one is done", root.display())]
    Busy {
        /// The store.
        root: PathBuf,
    },
    /// A file or folder holds something that a tree cannot.
    #[error("`{path}` cannot be stored: {fault}")]
    Unstorable {
        /// The path, relative to the folder that was stored.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A file was written while it was read.
    #[error("`{path}` changed while it was read: let its writer finish, then run again")]
    Changed {
        /// The file.
        path: String,
    },
    /// A path that no tree can hold.
    #[error("`{path}` is no path inside a tree: {why}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two different things for one path of a tree.
    #[error("`{path}` would be two things at once: {first} and {second}")]
    Conflict {
        /// The path, relative to the tree's root.
        path: String,
        /// What came first.
        first: Box<Entry>,
        /// What came second.
        second: Box<Entry>,
    },
    /// One path is a file for one and a folder for the other.
    #[error("`{path}` would be a folder and {other} at once")]
    FileAndFolder {
        /// The path, relative to the tree's root.
        path: String,
        /// The one that is no folder.
        other: Box<Entry>,
    },
    /// Content that ought to be in the store is not there, or is damaged.
    #[error("{digest} is missing from the store, or was damaged and put aside; a run makes it again")]
    Missing {
        /// The content.
        digest: Digest,
    },
    /// A payload or a folder is larger than the format allows.
    #[error("{what} is too large for one record ({bytes} bytes)")]
    TooLarge {
        /// What was to be written.
        what: &'static str,
        /// Its size.
        bytes: u64,
    },
}

/// Why a file or folder cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A named pipe, which would block whoever reads it.
    #[error("it is a named pipe; only files, folders and symbolic links can be stored")]
    Fifo,
    /// A socket.
    #[error("it is a socket; only files, folders and symbolic links can be stored")]
    Socket,
    /// A block or character device.
    #[error("it is a device; only files, folders and symbolic links can be stored")]
    Device,
    /// A name that is no UTF-8.
    #[error("its name is not UTF-8; rename it")]
    NotUtf8,
    /// A symbolic link out of the folder.
    #[error("it is a symbolic link to `{0}`, which leaves the folder; link to a path inside it, or copy the file")]
    LinkLeaves(String),
    /// Two names that some file systems take for one.
    #[error(
        "its name differs from `{0}` only in upper and lower case, and a Mac holds only one of the two; rename one"
    )]
    SameButCase(String),
    /// More than anybody means.
    #[error("the folder holds more than {0} files and folders")]
    TooMany(usize),
    /// Too many folders in one another.
    #[error("it lies more than {0} folders deep")]
    TooDeep(usize),
    /// A size that nobody wrote.
    #[error("it is {0} GiB long and holds almost nothing; reading it would take very long: write it without the hole")]
    Hole(u64),
    /// A set-user or set-group bit, which gives whoever runs a file another's rights.
    #[error("it has the set-user or set-group bit, and nothing in a store has: take it away with `chmod u-s,g-s`")]
    SetId,
    /// A hard link to a file that belongs to somebody else.
    #[error("it is a hard link to a file of another user; copy the file instead")]
    ForeignLink,
    /// A file was expected.
    #[error("it is no file")]
    NotAFile,
    /// A folder was expected.
    #[error("it is no folder")]
    NotAFolder,
}

impl StoreError {
    /// Whether the cause is that a file or folder does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Says why the store cannot be locked; for `map_err`.
pub(crate) fn locking(root: &Path) -> impl FnOnce(io::Error) -> StoreError {
    use rustix::io::Errno;
    move |source| match Errno::from_io_error(&source) {
        Some(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL) => {
            StoreError::NoLocks { root: root.to_owned(), source }
        }
        _ => io("lock", root.join("lock"))(source),
    }
}

/// Turns an error of the operating system into ours; for `map_err`.
pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> StoreError {
    move |source| {
        let (path, source) = (path.as_ref().to_path_buf(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let (free, files) = crate::fsx::room(&path).unwrap_or((0, u64::MAX));
                StoreError::DiskFull { path, free, files }
            }
            _ => StoreError::Io { action, path, source },
        }
    }
}

fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; give yourself the right to do that, or choose another place",
        io::ErrorKind::ReadOnlyFilesystem => "; the disk is mounted read-only: choose another store with `--store`",
        _ => match rustix::io::Errno::from_io_error(source) {
            Some(rustix::io::Errno::MFILE) => "; raise the limit of open files (`ulimit -n`)",
            Some(rustix::io::Errno::IO) => "; the disk reports a fault: check it, then run `pipe store verify`",
            _ => "",
        },
    }
}

fn room(free: u64, files: u64) -> String {
    match files {
        0 => "it can hold no further files (inodes)".to_owned(),
        _ => format!("{:.1} MiB are free", free as f64 / (1024.0 * 1024.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_which_and_how_much() {
        let error: StoreError = io("write", "/")(io::Error::from(rustix::io::Errno::NOSPC));
        let text = error.to_string();
        assert!(text.contains("`/`") && text.contains("MiB are free") && text.contains("store gc"), "{text}");
    }

    #[test]
    fn a_disk_without_locks_is_refused_in_words() {
        let text = locking(Path::new("/s"))(io::Error::from(rustix::io::Errno::NOLCK)).to_string();
        assert!(text.contains("`/s` has no file locks") && text.contains("--store"), "{text}");
        let other = locking(Path::new("/s"))(io::Error::from(rustix::io::Errno::IO)).to_string();
        assert!(other.starts_with("cannot lock `/s/lock`"), "{other}");
    }

    #[test]
    fn a_refusal_names_path_cause_and_next_step() {
        let error: StoreError = io("read", "a/b")(io::Error::from(rustix::io::Errno::ACCESS));
        let text = error.to_string();
        assert!(text.starts_with("cannot read `a/b`: Permission denied"), "{text}");
    }
}
