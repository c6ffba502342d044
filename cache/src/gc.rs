//! Garbage collection: keeps what the caller's roots reach, and sweeps the rest while nobody else has the store open.
//!
//! Order matters: records go before the content that they speak of, so that a kill in between leaves only garbage.

use std::collections::HashSet;
use std::fs::TryLockError;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::blob::{BLOB, OUTLINE, TREE};
use crate::error::{Result, StoreError, io};
use crate::log::Log;
use crate::records::Kind;
use crate::store::{Store, held};
use crate::tree::Entry;
use crate::verify::{children, on_disk, own_bytes};
use crate::{Digest, frame, fsx};

/// What garbage collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs in files of their own.
    pub blobs: u64,
    /// Small blobs and trees.
    pub packed: u64,
    /// Records.
    pub records: u64,
    /// Checkouts.
    pub checkouts: u64,
    /// Bytes on disk that are free again.
    pub bytes: u64,
}

/// What is reached from the roots.
#[derive(Default)]
struct Live {
    blobs: HashSet<(Digest, bool)>,
    content: HashSet<Digest>,
    trees: HashSet<Digest>,
    checkouts: HashSet<String>,
}

impl Store {
    /// Removes everything that no root reaches, records for which `keep` says no, and what kept working folders,
    /// quarantine and advice hold. Blobs that are younger than `grace` stay. `Busy` if another process has the store open.
    pub fn gc(
        &self,
        roots: &[Entry],
        keep: &dyn Fn(Kind, &Digest, &[u8]) -> bool,
        grace: Duration,
    ) -> Result<Collected> {
        self.alone(|| self.collect(roots, keep, grace))
    }

    /// Runs something while no other process has the store open.
    fn alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join("lock");
        let locked = self.lock.try_lock();
        let result = match locked {
            Ok(()) => work(),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { root: self.root.clone() }),
            Err(TryLockError::Error(error)) => Err(io("lock", &path)(error)),
        };
        // A failed attempt can lose the shared lock too, so in every case it is taken again, and as somebody else may
        // have collected in between, nothing that was read before is believed.
        crate::lock::retry(|| self.lock.lock_shared()).map_err(io("lock", &path))?;
        self.pack.forget();
        self.records.forget();
        held(&self.trees).clear();
        held(&self.whole).clear();
        held(&self.verified).clear();
        result
    }

    fn collect(
        &self,
        roots: &[Entry],
        keep: &dyn Fn(Kind, &Digest, &[u8]) -> bool,
        grace: Duration,
    ) -> Result<Collected> {
        self.flush()?;
        let mut live = Live::default();
        for root in roots {
            self.mark(root, &mut live)?;
            if let Some(digest) = root.digest() {
                live.checkouts.insert(digest.to_string());
                live.checkouts.insert(format!("{digest}.x"));
            }
        }
        let mut done = Collected::default();
        let (records, bytes) = self
            .rewrite(&self.records, |kind, key, payload| Kind::of(kind).is_none_or(|kind| keep(kind, key, payload)))?;
        done.records = records;
        done.bytes += bytes;
        self.sweep_checkouts(&live, &mut done)?;
        self.sweep_blobs(&live, grace, &mut done)?;
        let (packed, bytes) = self.rewrite(&self.pack, |kind, key, _| match kind {
            BLOB => live.content.contains(key),
            TREE | OUTLINE => live.trees.contains(key),
            _ => true,
        })?;
        done.packed = packed;
        done.bytes += bytes;
        for name in ["kept", "quarantine", crate::advice::FOLDER] {
            let folder = self.root.join(name);
            // Advice has no folder before the first of it.
            let found = if folder.exists() { children(&folder)? } else { Vec::new() };
            for path in found {
                done.bytes += own_bytes(&path)?;
                fsx::remove_tree(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(done)
    }

    fn mark(&self, entry: &Entry, live: &mut Live) -> Result<()> {
        match entry {
            Entry::Link { .. } => {}
            Entry::File { digest, .. } => {
                // Both modes of one content are kept: either can be made from the other, and neither is garbage.
                live.blobs.extend([(*digest, false), (*digest, true)]);
                live.content.insert(*digest);
            }
            Entry::Tree { digest } => {
                // What is missing cannot be swept either: the record is a miss, and the rest of the tree may serve again.
                if live.trees.insert(*digest)
                    && let Some(tree) = self.tree(digest)?
                {
                    for (_, entry) in tree.entries() {
                        self.mark(entry, live)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn sweep_checkouts(&self, live: &Live, done: &mut Collected) -> Result<()> {
        for path in children(&self.root.join("checkouts"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if live.checkouts.contains(&*name) || name.parse().is_ok_and(|digest| live.trees.contains(&digest)) {
                continue;
            }
            done.checkouts += 1;
            done.bytes += own_bytes(&path)?;
            fsx::remove_tree(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }

    fn sweep_blobs(&self, live: &Live, grace: Duration, done: &mut Collected) -> Result<()> {
        let now = crate::stat::now();
        for blob in self.blob_files()? {
            // The time of change is when it got its name here; a clock that went back makes it young, which is safe.
            let changed = i128::from(blob.meta.ctime()) * 1_000_000_000 + i128::from(blob.meta.ctime_nsec());
            let young = changed + grace.as_nanos() as i128 > now;
            if young || blob.name.is_some_and(|name| live.blobs.contains(&name)) {
                continue;
            }
            done.blobs += 1;
            done.bytes += on_disk(&blob.meta);
            fsx::remove_tree(&blob.path).map_err(io("remove", &blob.path))?;
        }
        Ok(())
    }

    /// Writes the frames that stay to a new file and puts it in the place of the log. Returns frames and bytes saved.
    fn rewrite(&self, log: &Log, keep: impl Fn(u8, &Digest, &[u8]) -> bool) -> Result<(u64, u64)> {
        let before = match log.path().metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
            other => other.map_err(io("inspect", log.path()))?,
        };
        let temp = self.temp_file()?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, temp.as_file());
        let (mut dropped, mut frame) = (0, Vec::new());
        let damaged = log.each(None, |kind, key, payload| {
            if !keep(kind, key, payload) {
                dropped += 1;
                return Ok(());
            }
            frame.clear();
            frame::encode(&mut frame, kind, key, payload);
            out.write_all(&frame).map_err(io("write", log.path()))
        })?;
        if dropped + damaged == 0 {
            return Ok((0, 0));
        }
        out.flush().map_err(io("write", log.path()))?;
        drop(out);
        temp.as_file().sync_all().map_err(io("make durable", log.path()))?;
        let after = temp.as_file().metadata().map_err(io("inspect", log.path()))?;
        temp.persist(log.path()).map_err(|error| io("replace", log.path())(error.error))?;
        fsx::sync_dir(&self.root).map_err(io("make durable", &self.root))?;
        log.forget();
        Ok((dropped + damaged, on_disk(&before).saturating_sub(on_disk(&after))))
    }
}
