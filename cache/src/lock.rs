//! Locks between processes: `flock` on files, so that the kernel frees them when their holder dies.
//!
//! A lock file may be removed by its holder; whoever then locked the removed file sees that and starts over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Result, io};

/// An exclusive lock on one key. Freed when dropped, and when the process ends in whatever way.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

/// The answer of an attempt to lock.
#[derive(Debug)]
pub enum TryLock {
    /// The lock is ours.
    Locked(KeyLock),
    /// Somebody holds it; its note on itself (`pid 4711`), empty if it is just beginning.
    Held(String),
}

impl KeyLock {
    /// Waits for the lock at this path.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        loop {
            let file = open(path)?;
            retry(|| file.lock()).map_err(io("lock", path))?;
            if let Some(lock) = Self::settle(path, file)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock at this path if nobody holds it.
    pub(crate) fn attempt(path: &Path) -> Result<TryLock> {
        loop {
            let mut file = open(path)?;
            match file.try_lock() {
                Ok(()) => {
                    if let Some(lock) = Self::settle(path, file)? {
                        return Ok(TryLock::Locked(lock));
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // The note is a courtesy: without it the lock is just as held.
                    let _ = file.read_to_string(&mut holder);
                    return Ok(TryLock::Held(holder));
                }
                Err(TryLockError::Error(error)) => return Err(io("lock", path)(error)),
            }
        }
    }

    fn settle(path: &Path, mut file: File) -> Result<Option<Self>> {
        let ours = file.metadata().map_err(io("inspect", path))?;
        let same = path.symlink_metadata().is_ok_and(|named| named.ino() == ours.ino() && named.dev() == ours.dev());
        if !same {
            return Ok(None);
        }
        // A full disk must not keep anybody from locking, so the note may fail.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "pid {}", std::process::id()));
        Ok(Some(Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(io("open the lock", path))
}

/// Runs a call again that a signal cut short.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
