//! Locks between processes, which the kernel frees when their holder dies: `flock` on files, and for keys (Linux) ranges of
//! one byte in one file, so that a run of many steps makes no file for each.
//!
//! A lock file may be removed by its holder; whoever then locked the removed file sees that and starts over. The ranges'
//! file stays. A key's place in it is drawn from its digest: two keys in one place would only wait for each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Digest;
use crate::error::{Result, io};
#[cfg(target_os = "linux")]
use crate::range::{Held, Ranges};

/// The locks on the keys of one store.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
    #[cfg(target_os = "linux")]
    ranges: std::sync::OnceLock<std::sync::Arc<Ranges>>,
}

impl Keys {
    /// In this folder; nothing is opened before it is needed.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            #[cfg(target_os = "linux")]
            ranges: std::sync::OnceLock::new(),
        }
    }

    /// Waits for the lock on a key.
    pub(crate) fn wait(&self, key: &Digest) -> Result<KeyLock> {
        #[cfg(target_os = "linux")]
        {
            let held = self.ranges()?.wait(key).map_err(io("lock a key in", &self.folder))?;
            Ok(KeyLock(What::Range { _held: held }))
        }
        #[cfg(not(target_os = "linux"))]
        KeyLock::wait(&self.folder.join(key.to_string()))
    }

    /// Takes the lock on a key if nobody holds it.
    pub(crate) fn attempt(&self, key: &Digest) -> Result<TryLock> {
        #[cfg(target_os = "linux")]
        {
            Ok(match self.ranges()?.attempt(key).map_err(io("lock a key in", &self.folder))? {
                Ok(held) => TryLock::Locked(KeyLock(What::Range { _held: held })),
                Err(Some(pid)) => TryLock::Held(format!("pid {pid}")),
                Err(None) => TryLock::Held(String::new()),
            })
        }
        #[cfg(not(target_os = "linux"))]
        KeyLock::attempt(&self.folder.join(key.to_string()))
    }

    #[cfg(target_os = "linux")]
    fn ranges(&self) -> Result<&std::sync::Arc<Ranges>> {
        if let Some(ranges) = self.ranges.get() {
            return Ok(ranges);
        }
        let (keys, holders) = (self.folder.join("keys"), self.folder.join("holders"));
        let ranges = Ranges::new(open(&keys)?, open(&holders)?);
        Ok(self.ranges.get_or_init(|| std::sync::Arc::new(ranges)))
    }
}

/// An exclusive lock on one key. Freed when dropped, and when the process ends in whatever way.
#[derive(Debug)]
pub struct KeyLock(What);

#[derive(Debug)]
enum What {
    File {
        path: PathBuf,
        _file: File,
    },
    #[cfg(target_os = "linux")]
    Range {
        _held: Held,
    },
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
        let same = match path.symlink_metadata() {
            Ok(named) => named.ino() == ours.ino() && named.dev() == ours.dev(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(self::io("inspect", path)(error)),
        };
        if !same {
            return Ok(None);
        }
        // A full disk must not keep anybody from locking, so the note may fail.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "pid {}", std::process::id()));
        Ok(Some(Self(What::File { path: path.to_owned(), _file: file })))
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        #[cfg_attr(not(target_os = "linux"), expect(irrefutable_let_patterns, reason = "all locks are files there"))]
        if let What::File { path, .. } = &self.0 {
            let _ = std::fs::remove_file(path);
        }
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
