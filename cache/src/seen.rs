//! Whether files still are what they were when something was learnt of them: a look at each instead of a reading.
//!
//! A [`Stamp`] is only given out where a later change must show in it: the file lies on a disk whose times mean what
//! they say, and its last change is so long ago that one more would have another time. So whoever keeps stamps beside
//! what follows from the files may believe that as long as every stamp is the same; losing them costs only time.
//!
//! Of the store itself the stamps of its two logs say it all: nobody adds, damages, replaces or collects a record, a
//! tree or a small blob without them. Large blobs are files of their own, and are looked at one by one.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::fsx::{self, Stamp};
use crate::scan;
use crate::store::Store;
use crate::tree::Entry;
use crate::{Digest, blob, stat};

/// Says of a path below a folder, and of whether it is a folder, whether it counts.
type Keeps<'a> = &'a dyn Fn(&str, bool) -> bool;

/// The stamps of the logs of a store, where they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogStamps {
    records: Option<Stamp>,
    pack: Option<Stamp>,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    File,
    Folder,
}

impl Stamp {
    /// What lies at a path now; a link is looked at itself. It may still change without a trace.
    pub fn at(path: &Path) -> Option<Stamp> {
        Stamp::with_kind(path).map(|(stamp, _)| stamp)
    }

    /// The same, and whether it is a file or a folder; a link and anything else is neither.
    pub fn with_kind(path: &Path) -> Option<(Stamp, Option<Lies>)> {
        let found = rustix::fs::lstat(path).ok()?;
        let lies = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Some(Lies::File),
            FileType::Directory => Some(Lies::Folder),
            _ => None,
        };
        Some((Stamp::of(&found), lies))
    }

    /// The stamp of a path, if every later change will show in it.
    fn lasting(path: &Path, now: i128) -> Option<Stamp> {
        let stamp = Stamp::at(path)?;
        (!stat::is_racy(&stamp, now) && stat::is_local_path(path)).then_some(stamp)
    }
}

impl Store {
    /// The stamps of the logs as they are now, for [`Store::unchanged_since`]. `None` where a log was written to just now.
    pub fn log_stamps(&self) -> Option<LogStamps> {
        let now = stat::now();
        let of = |path: &Path| match Stamp::at(path) {
            None => Some(None),
            Some(_) => Stamp::lasting(path, now).map(Some),
        };
        Some(LogStamps { records: of(self.records.path())?, pack: of(self.pack.path())? })
    }

    /// True while no record, tree or small blob came, went or was damaged since.
    pub fn unchanged_since(&self, logs: &LogStamps) -> bool {
        Stamp::at(self.records.path()) == logs.records && Stamp::at(self.pack.path()) == logs.pack
    }

    /// The digest of a file as the stat cache has it, with the stamp that stands for it. The file is not read.
    pub fn seen_file(&self, path: &Path) -> Option<(Stamp, Digest)> {
        let found = rustix::fs::lstat(path).ok()?;
        let stamp = Stamp::of(&found);
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let digest = regular.then(|| self.stats.get(&stamp)).flatten()?;
        Some((stamp, digest))
    }

    /// The stamps of a path and of all that counts below it, if it holds exactly this entry and every later change
    /// will show. Nothing is read: files are known by the stat cache. Links on the way to the path are followed, a
    /// link in its place is not.
    pub fn seen(&self, entry: &Entry, path: &Path, keeps: Option<Keeps<'_>>) -> Option<Vec<(PathBuf, Stamp)>> {
        let mut stamps = Vec::new();
        self.see(entry, path, "", keeps, &mut stamps)?;
        Some(stamps)
    }

    fn see(
        &self,
        entry: &Entry,
        path: &Path,
        inner: &str,
        keeps: Option<Keeps<'_>>,
        stamps: &mut Vec<(PathBuf, Stamp)>,
    ) -> Option<()> {
        match entry {
            Entry::File { digest, executable, .. } => {
                let found = rustix::fs::lstat(path).ok()?;
                let (stamp, known) = self.seen_file(path)?;
                // Two looks: a file that is replaced in between is not the one whose mode was looked at.
                let same = stamp == Stamp::of(&found) && fsx::is_executable(&found) == *executable;
                (same && known == *digest).then(|| stamps.push((path.to_owned(), stamp)))
            }
            Entry::Link { target } => {
                let stamp = Stamp::lasting(path, stat::now())?;
                let found = std::fs::read_link(path).ok()?;
                (found.as_os_str() == target.as_str()).then(|| stamps.push((path.to_owned(), stamp)))
            }
            Entry::Tree { digest } => {
                if !path.symlink_metadata().ok()?.is_dir() {
                    return None;
                }
                stamps.push((path.to_owned(), Stamp::lasting(path, stat::now())?));
                let tree = self.tree(digest).ok()??;
                let mut count = 0;
                for found in std::fs::read_dir(path).ok()? {
                    let found = found.ok()?;
                    let name = found.file_name().into_string().ok()?;
                    let inner = scan::join(inner, &name);
                    if keeps.is_some_and(|keeps| !keeps(&inner, found.file_type().is_ok_and(|kind| kind.is_dir()))) {
                        continue;
                    }
                    self.see(tree.get(&name)?, &found.path(), &inner, keeps, stamps)?;
                    count += 1;
                }
                (count == tree.entries().count()).then_some(())
            }
        }
    }

    /// The large blobs of entries, each once, by name and size: what [`Store::has_blob`] looks for. `None` where a
    /// tree is missing.
    pub fn large_blobs<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Option<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for entry in entries {
            let mut take = |entry: &Entry| match entry {
                Entry::File { digest, size, .. } if *size > blob::SMALL => blobs.push((*digest, *size)),
                _ => {}
            };
            self.walk(entry, |_, entry| take(entry)).ok()?;
        }
        blobs.sort_unstable();
        blobs.dedup();
        Some(blobs)
    }

    /// Whether a blob of this size is here, unread.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        self.contains(&Entry::File { digest: *digest, size, executable: false })
    }
}
