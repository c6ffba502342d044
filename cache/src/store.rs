//! The store: one folder, opened by any number of processes at once.
//!
//! | path | what |
//! |---|---|
//! | `format` | the version of all this, as JSON |
//! | `lock` | held shared by every open store, alone by who replaces a log |
//! | `gc.lock`, `gc.gate` | held by who touches content, alone by garbage collection: see `lease` |
//! | `blobs/ab/<hex>`, `….x` | content of more than 4 KiB, 0444; executable, 0555 |
//! | `small.pack` | smaller content and all trees, as frames |
//! | `records.log` | records, as frames |
//! | `stat.cache` | digests of host files; may be lost |
//! | `advice/<hex>` | what only saves time; may be lost |
//! | `checkouts/<hex>`, `….x` | folders and files that steps read, made once |
//! | `seals/<hex>`, `….x` | how checkouts looked when they were sound; may be lost |
//! | `locks/keys`, `locks/holders` | locks on keys that are being worked on, and whose they are; elsewhere than on Linux `locks/<hex>`, one for each |
//! | `tmp/<session>/` | scratch of one process with its lease, swept when its lock is free |
//! | `kept/` | working folders of failed steps |
//! | `quarantine/` | what was damaged |
//!
//! The index is in memory, from the heads of both logs, and belongs to no file: it cannot be stale, damaged or of
//! another version, and `verify --repair` has nothing to rebuild. A database in its place (SQLite with a write-ahead
//! log) would keep a second copy of what the logs say, sync twice for each record, and lock where readers now take no
//! lock; what it would save is reading heads at the start, which costs less than opening it. A kept snapshot of
//! the index, believed while the log is as long as it says, can be added below `log` without a change of format.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::error::{Result, StoreError, io, locking};
use crate::fsx::{self, Stamp};
use crate::lease::Leases;
use crate::lock::{KeyLock, Keys, TryLock};
use crate::log::Log;
use crate::stat::StatCache;
use crate::tree::Tree;
use crate::warn::{Warning, Warnings};

/// The version of the format on disk that this build reads and writes.
pub const FORMAT: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    version: u64,
}

/// A content-addressed store with its records. `Send + Sync`; share it in an `Arc`.
#[derive(Debug)]
pub struct Store {
    pub(crate) root: PathBuf,
    pub(crate) pack: Log,
    pub(crate) records: Log,
    pub(crate) stats: StatCache,
    pub(crate) warnings: Arc<Warnings>,
    /// Held shared as long as the store is open.
    pub(crate) lock: File,
    keys: Keys,
    pub(crate) leases: Leases,
    /// Blobs that this process has read in full and found sound, as they were then.
    pub(crate) verified: Mutex<HashMap<(Digest, bool), Stamp>>,
    /// Trees that this process has read.
    pub(crate) trees: Mutex<HashMap<Digest, Arc<Tree>>>,
    /// Trees that this process knows to be whole.
    pub(crate) whole: Mutex<HashSet<Digest>>,
    /// Checkouts that this process has made, or looked at and found sound, by name.
    pub(crate) looked_at: Mutex<HashSet<String>>,
    /// Folders with new names that are not yet durable.
    pub(crate) unsynced: Mutex<HashSet<PathBuf>>,
    session: OnceLock<Session>,
    swept: Vec<PathBuf>,
}

/// The scratch folder of this process, and the lock that says that it is in use. The folder goes first.
#[derive(Debug)]
struct Session {
    folder: tempfile::TempDir,
    _lock: KeyLock,
}

impl Store {
    /// Opens the store in this folder and makes it if there is none. Sweeps what killed processes left.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(io("find", root))?;
        let lock = match open_lock(&root) {
            Err(error) if error.is_not_found() => {
                make(&root)?;
                open_lock(&root)?
            }
            other => other?,
        };
        crate::lock::retry(|| lock.lock_shared()).map_err(locking(&root))?;
        check_format(&root)?;
        let warnings = Arc::new(Warnings::default());
        let mut store = Self {
            pack: Log::new(root.join("small.pack"), warnings.clone()),
            records: Log::new(root.join("records.log"), warnings.clone()),
            stats: StatCache::new(root.join("stat.cache")),
            warnings,
            lock,
            keys: Keys::new(root.join("locks")),
            leases: Leases::new(root.clone()),
            verified: Mutex::default(),
            trees: Mutex::default(),
            whole: Mutex::default(),
            looked_at: Mutex::default(),
            unsynced: Mutex::default(),
            session: OnceLock::new(),
            swept: Vec::new(),
            root,
        };
        store.swept = store.sweep()?;
        Ok(store)
    }

    /// The scratch folders of killed processes that opening this store removed: what those had started may still run.
    pub fn swept(&self) -> &[PathBuf] {
        &self.swept
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Damage that was seen and survived since this was last asked.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// How often, so far, content was found damaged or was not where a caller counted on it: who fails while this grows may
    /// do better once that content is made again.
    pub fn losses(&self) -> u64 {
        self.warnings.losses()
    }

    /// Free bytes on the store's disk.
    pub fn free_space(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.root).map_err(io("inspect the disk of", &self.root))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Makes everything durable that this process put or relies on, and saves the stat cache.
    pub fn flush(&self) -> Result<()> {
        self.sync_blobs()?;
        self.records.sync()?;
        self.stats.save();
        Ok(())
    }

    /// For a process that is about to wait for another one: from now on its lease speaks for it, so that a collection does
    /// not wait for it, while all others wait for the collection. Where there is no room for a lease, nothing changes.
    pub fn settle(&self) {
        let _ = self.scratch();
    }

    /// A scratch folder on the store's disk, removed when dropped or, after a kill, by the next `open`.
    pub fn workdir(&self) -> Result<tempfile::TempDir> {
        let scratch = self.scratch()?;
        tempfile::Builder::new().prefix("work-").tempdir_in(scratch).map_err(io("make a folder in", scratch))
    }

    /// Keeps a working folder past the end of the process, for a person to look into; `gc` removes it.
    pub fn keep(&self, workdir: tempfile::TempDir) -> Result<PathBuf> {
        let name = workdir.path().file_name().unwrap_or_default().to_owned();
        let kept = self.root.join("kept").join(name);
        std::fs::rename(workdir.path(), &kept).map_err(io("keep", workdir.path()))?;
        Ok(kept)
    }

    /// Waits until this process alone works on a key, whichever processes share the store.
    pub fn lock_key(&self, key: &Digest) -> Result<KeyLock> {
        self.scratch()?;
        self.keys.wait(key)
    }

    /// Takes the lock on a key, or says who holds it.
    pub fn try_lock_key(&self, key: &Digest) -> Result<TryLock> {
        self.scratch()?;
        self.keys.attempt(key)
    }

    /// The scratch folder of this process. From the first call on, its lease speaks for it.
    pub(crate) fn scratch(&self) -> Result<&Path> {
        if self.session.get().is_none() {
            let session = Session::begin(&self.root.join("tmp"))?;
            // If another thread was faster, its session stands and ours is removed.
            let _ = self.session.set(session);
            if let Some(session) = self.session.get() {
                self.leases.settle(session.folder.path());
            }
        }
        match self.session.get() {
            Some(session) => Ok(session.folder.path()),
            None => Err(StoreError::NotAStore { root: self.root.clone(), why: "its scratch folder is gone" }),
        }
    }

    /// Makes blobs, trees and their names durable.
    pub(crate) fn sync_blobs(&self) -> Result<()> {
        // Held to the end: whoever finds the list empty may rely on all of it being done.
        let mut folders = held(&self.unsynced);
        for folder in folders.iter() {
            fsx::sync_dir(folder).map_err(io("make durable", folder))?;
        }
        folders.clear();
        drop(folders);
        self.pack.sync()
    }

    fn sweep(&self) -> Result<Vec<PathBuf>> {
        let tmp = self.root.join("tmp");
        let mut swept = Vec::new();
        for entry in std::fs::read_dir(&tmp).map_err(io("list", &tmp))? {
            let path = entry.map_err(io("list", &tmp))?.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                if let TryLock::Locked(_lock) = KeyLock::attempt(&path)? {
                    self.discard(&path.with_extension(""));
                    swept.push(path.with_extension(""));
                }
            } else if !fsx::there(&path.with_extension("lock"))? {
                // A session makes its lock first and removes it last, so this belongs to nobody.
                self.discard(&path);
                swept.push(path);
            }
        }
        Ok(swept)
    }

    /// Removes what a killed process left. What cannot be removed takes room, and is no reason not to work.
    fn discard(&self, path: &Path) {
        if let Err(error) = fsx::remove_tree(path) {
            self.warnings.add(Warning::Leftover { path: path.to_owned(), why: error.to_string() });
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stats.save();
        if let Some(session) = self.session.get() {
            // `TempDir` stops at read-only folders, which outputs and checkouts have.
            let _ = fsx::remove_tree(session.folder.path());
        }
    }
}

impl Session {
    fn begin(tmp: &Path) -> Result<Self> {
        let name = format!("{}-{:x}", std::process::id(), crate::stat::now());
        // The lock comes first, so that no sweep ever meets a folder of a live process without one.
        let lock = KeyLock::wait(&tmp.join(format!("{name}.lock")))?;
        let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(tmp);
        Ok(Self { folder: folder.map_err(io("make a folder in", tmp))?, _lock: lock })
    }
}

fn open_lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags.bits().cast_signed());
    options.open(&path).map_err(io("open", &path))
}

/// Makes an empty store. Several processes may do so at once; the lock file comes last and says that all is there.
fn make(root: &Path) -> Result<()> {
    let filled = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if filled && !fsx::there(&root.join("format"))? && !fsx::there(&root.join("blobs"))? {
        return Err(StoreError::NotAStore { root: root.to_owned(), why: "it is not empty and has no file `format`" });
    }
    let folder = |path: &Path| {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(io("make the folder", path))
    };
    folder(root)?;
    for name in ["blobs", "checkouts", "locks", "tmp", "kept", "quarantine"] {
        folder(&root.join(name))?;
    }
    let format = root.join("format");
    if !fsx::there(&format)? {
        let text = format!("{{\"version\":{FORMAT}}}\n");
        let mut file = tempfile::NamedTempFile::new_in(root.join("tmp")).map_err(io("make a file in", root))?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(io("write", &format))?;
        file.as_file().sync_all().map_err(io("make durable", &format))?;
        match file.persist(&format) {
            // Another process that made the same store was faster, and has swept since.
            Err(_) if format.exists() => {}
            other => drop(other.map_err(|error| io("write", &format)(error.error))?),
        }
    }
    let lock = root.join("lock");
    OpenOptions::new().append(true).create(true).mode(0o600).open(&lock).map_err(io("make", &lock))?;
    fsx::sync_dir(root).map_err(io("make durable", root))
}

fn check_format(root: &Path) -> Result<()> {
    let path = root.join("format");
    let stranger = |why| StoreError::NotAStore { root: root.to_owned(), why };
    let text = match fsx::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(stranger("its file `format` is gone, so that its version cannot be told"));
        }
        other => other.map_err(io("read", &path))?,
    };
    let format: Format = serde_json::from_slice(&text).map_err(|_| stranger("its file `format` names no version"))?;
    match format.version.cmp(&FORMAT) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(StoreError::Newer { root: root.to_owned(), found: format.version, known: FORMAT }),
        Ordering::Less => Err(StoreError::Older { root: root.to_owned(), found: format.version, known: FORMAT }),
    }
}

/// Access to something that only short, panic-free sections hold.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
