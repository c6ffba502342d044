//! Garbage collection: keeps what the caller's roots and the leases of others reach, and sweeps the rest.
//!
//! Approach:
//! - Wait until nobody touches content that is not in a lease. Look-ups of others then wait until this is done; what
//!   they have in their leases stays. So no clock has a say in what is taken.
//! - Choose only then what to keep, so that no record is missed that was written meanwhile.
//! - Content in files of its own goes at once. What lies in logs, records, small blobs and trees, goes by writing the
//!   log anew, which needs the store alone: while others have it open, it is left for the next time. A record whose
//!   content is gone is a miss until then.
//! - Records go before the content that they speak of, so that a kill in between leaves only garbage.

use std::collections::HashSet;
use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blob::{BLOB, OUTLINE, TREE};
use crate::cheapest::{self, Candidate, Dropped};
use crate::error::{Result, StoreError, io};
use crate::frame::Header;
use crate::lease;
use crate::live::Live;
use crate::lock::{KeyLock, TryLock};
use crate::log::Log;
use crate::records::Kind;
use crate::store::{Store, held};
use crate::tree::Entry;
use crate::verify::{children, children_if_there, on_disk, own_bytes};
use crate::{Digest, frame, fsx};

/// Whether a record stays, by its kind, key and payload.
pub type KeepsRecord<'a> = dyn Fn(Kind, &Digest, &[u8]) -> bool + 'a;

/// What a collection keeps.
pub struct Keep<'a> {
    /// What these reach stays.
    pub roots: Vec<Entry>,
    /// The records that stay.
    pub record: Box<KeepsRecord<'a>>,
    /// Results that stay too, unless the store has to shrink.
    pub candidates: Vec<Candidate>,
    /// Bytes that the store may have at most.
    pub most: Option<u64>,
}

/// How a collection goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Collect {
    /// Only look what would go.
    pub dry_run: bool,
    /// How long to wait for processes that look something up.
    pub patience: Duration,
}

/// What one pass goes by.
struct Sweep<'a> {
    live: &'a Live,
    /// Whose checkouts stay.
    checkouts: &'a Live,
    record: &'a KeepsRecord<'a>,
    dry: bool,
    /// Whether nobody else has the store open.
    alone: bool,
}

/// What garbage collection removed, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs in files of their own.
    pub blobs: u64,
    /// Small blobs and trees.
    pub packed: u64,
    /// Records.
    pub records: u64,
    /// Checkouts.
    pub checkouts: u64,
    /// Files in quarantine, kept working folders and locks that nobody holds.
    pub others: u64,
    /// Bytes on disk that are free again.
    pub bytes: u64,
    /// Bytes that the store has after it.
    pub left: u64,
    /// Candidates that went, in the order of choice.
    pub dropped: Vec<Dropped>,
    /// Other processes have the store open, so that no log was written anew.
    pub shared: bool,
}

impl Store {
    /// Removes everything that neither `choose` nor a lease of another process keeps, and what kept working folders,
    /// quarantine and advice hold. `choose` gets what other processes rely on; it is asked when no more records can be
    /// written that speak of anything else. `Busy` if another process keeps looking things up.
    pub fn gc<'a>(&self, how: Collect, choose: impl FnOnce(&[Entry]) -> Result<Keep<'a>>) -> Result<Collected> {
        self.flush()?;
        self.scratch()?;
        let Some(_alone) = self.leases.alone(how.patience)? else {
            return Err(StoreError::Busy { root: self.root.clone() });
        };
        let leased = self.leased()?;
        let keep = choose(&leased)?;
        let alone = !how.dry_run && self.become_only()?;
        let done = self.collect(&keep, &leased, how.dry_run, alone || how.dry_run);
        if alone {
            self.share_again()?;
        }
        done
    }

    /// What this process and all others rely on by their leases. Nobody writes one meanwhile.
    fn leased(&self) -> Result<Vec<Entry>> {
        let mut entries = self.leases.own();
        for path in children(&self.root.join("tmp"))? {
            if path.extension().is_some_and(|extension| extension == "lock")
                && let TryLock::Held(_) = KeyLock::attempt(&path)?
            {
                entries.extend(lease::read(&path.with_extension(""))?);
            }
        }
        Ok(entries)
    }

    /// Closes the store to others, if nobody else has it open. Only for within a collection or a repair, of which there
    /// is one at a time: a failed attempt can lose the shared lock for a moment.
    pub(crate) fn become_only(&self) -> Result<bool> {
        match self.lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => self.share_again().map(|()| false),
            Err(TryLockError::Error(error)) => Err(io("lock", self.root.join("lock"))(error)),
        }
    }

    /// Opens the store to others again. Nothing that was read before is believed.
    pub(crate) fn share_again(&self) -> Result<()> {
        crate::lock::retry(|| self.lock.lock_shared()).map_err(io("lock", self.root.join("lock")))?;
        self.pack.forget();
        self.records.forget();
        self.forget_content();
        Ok(())
    }

    /// Forgets what this process has seen of blobs, trees and checkouts.
    pub(crate) fn forget_content(&self) {
        held(&self.trees).clear();
        held(&self.whole).clear();
        held(&self.verified).clear();
        held(&self.looked_at).clear();
    }

    fn collect(&self, keep: &Keep<'_>, leased: &[Entry], dry: bool, alone: bool) -> Result<Collected> {
        let total = self.usage()?.total_bytes();
        let mut live = Live::default();
        keep.roots.iter().chain(leased).try_for_each(|entry| live.add(self, entry))?;
        let excess = match keep.most {
            Some(most) => total.saturating_sub(self.garbage(keep, leased)?).saturating_sub(most),
            None => 0,
        };
        let mut in_use = None;
        let mut dropped = Vec::new();
        if excess > 0 {
            // Checkouts cost next to nothing to make again, so those that nobody uses go first.
            let mut used = Live::default();
            leased.iter().try_for_each(|entry| used.add(self, entry))?;
            let mut freed = 0;
            for path in self.checkouts_but(&used)? {
                freed += own_bytes(&path)?;
            }
            dropped = cheapest::cheapest(self, &keep.candidates, &live, excess.saturating_sub(freed))?;
            in_use = Some(used);
        }
        let gone: HashSet<usize> = dropped.iter().map(|dropped| dropped.candidate).collect();
        let mut gone_keys: HashSet<Digest> = HashSet::new();
        for (at, candidate) in keep.candidates.iter().enumerate() {
            if gone.contains(&at) {
                gone_keys.insert(candidate.key);
            } else {
                candidate.entries.iter().try_for_each(|entry| live.add(self, entry))?;
            }
        }
        let record = |kind: Kind, key: &Digest, payload: &[u8]| {
            let went = matches!(kind, Kind::Record | Kind::Manifest) && gone_keys.contains(key);
            !went && (keep.record)(kind, key, payload)
        };
        let sweep = Sweep { live: &live, checkouts: in_use.as_ref().unwrap_or(&live), record: &record, dry, alone };
        let done = self.sweep_all(&sweep)?;
        Ok(Collected { dropped, left: total.saturating_sub(done.bytes), ..done })
    }

    /// Bytes that would be freed if all candidates stayed.
    fn garbage(&self, keep: &Keep<'_>, leased: &[Entry]) -> Result<u64> {
        let mut live = Live::default();
        let candidates = keep.candidates.iter().flat_map(|candidate| &candidate.entries);
        keep.roots.iter().chain(leased).chain(candidates).try_for_each(|entry| live.add(self, entry))?;
        let sweep = Sweep { live: &live, checkouts: &live, record: &*keep.record, dry: true, alone: true };
        Ok(self.sweep_all(&sweep)?.bytes)
    }

    fn sweep_all(&self, sweep: &Sweep<'_>) -> Result<Collected> {
        let mut done = Collected { shared: !sweep.alone, ..Collected::default() };
        if sweep.alone {
            let keeps = |kind, key: &Digest, payload: &[u8]| {
                Kind::of(kind).is_none_or(|kind| (sweep.record)(kind, key, payload))
            };
            let (frames, bytes) = self.rewrite(&self.records, sweep.dry, keeps)?;
            done.records = frames;
            done.bytes += bytes;
        }
        for path in self.checkouts_but(sweep.checkouts)? {
            done.checkouts += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            done.bytes += self.clear(&path, sweep.dry)? + self.clear(&self.seal_path(&name), sweep.dry)?;
        }
        for blob in self.blob_files()? {
            if blob.name.is_some_and(|(digest, _)| sweep.live.content.contains(&digest)) {
                continue;
            }
            done.blobs += 1;
            done.bytes += on_disk(&blob.meta);
            if !sweep.dry {
                fsx::remove_tree(&blob.path).map_err(io("remove", &blob.path))?;
            }
        }
        if sweep.alone {
            let (frames, bytes) = self.rewrite(&self.pack, sweep.dry, |kind, key, _| match kind {
                BLOB => sweep.live.content.contains(key),
                TREE | OUTLINE => sweep.live.trees.contains(key),
                _ => true,
            })?;
            done.packed = frames;
            done.bytes += bytes;
        }
        self.sweep_leftovers(sweep.dry, &mut done)?;
        Ok(done)
    }

    /// What nobody reaches by a digest: kept working folders, quarantine, advice, seals of checkouts that are gone, and
    /// locks of processes that were killed.
    fn sweep_leftovers(&self, dry: bool, done: &mut Collected) -> Result<()> {
        for name in ["kept", "quarantine", crate::advice::FOLDER] {
            let folder = self.root.join(name);
            // Advice has no folder before the first of it.
            for path in children_if_there(&folder)? {
                done.others += 1;
                done.bytes += self.clear(&path, dry)?;
            }
        }
        let seals = self.root.join(crate::seal::FOLDER);
        for path in if fsx::there(&seals)? { children(&seals)? } else { Vec::new() } {
            // One whose checkout went in another way.
            if !fsx::there(&self.root.join("checkouts").join(path.file_name().unwrap_or_default()))? {
                done.bytes += self.clear(&path, dry)?;
            }
        }
        for path in children(&self.root.join("locks"))? {
            // The files of the ranges stay: whoever has one open would lock what nobody else looks at.
            let of_one_key =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<Digest>().is_ok());
            if of_one_key && !dry {
                // A lock that is free is removed by letting it go.
                drop(KeyLock::attempt(&path)?);
            }
        }
        Ok(())
    }

    /// Removes a file or folder, or only says what that would free.
    fn clear(&self, path: &Path, dry: bool) -> Result<u64> {
        let bytes = own_bytes(path)?;
        if !dry {
            fsx::remove_tree(path).map_err(io("remove", path))?;
        }
        Ok(bytes)
    }

    /// The checkouts of what is not live.
    fn checkouts_but(&self, live: &Live) -> Result<Vec<PathBuf>> {
        let mut paths = children(&self.root.join("checkouts"))?;
        paths.retain(|path| !live.has_checkout(&path.file_name().unwrap_or_default().to_string_lossy()));
        Ok(paths)
    }

    /// Writes the frames that stay to a new file and puts it in the place of the log. Returns frames and bytes saved.
    /// What is damaged stays behind. Only while nobody else has the store open.
    pub(crate) fn rewrite(
        &self,
        log: &Log,
        dry: bool,
        keep: impl Fn(u8, &Digest, &[u8]) -> bool,
    ) -> Result<(u64, u64)> {
        let before = match log.path().metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
            other => other.map_err(io("inspect", log.path()))?,
        };
        let (mut dropped, mut saved) = (0, 0);
        if dry {
            let damaged = log.each(None, |kind, key, payload| {
                if !keep(kind, key, payload) {
                    dropped += 1;
                    saved += Header { kind, key: *key, payload: payload.len() as u32 }.frame_size();
                }
                Ok(())
            })?;
            return Ok((dropped + damaged, saved));
        }
        let temp = self.temp_file()?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, temp.as_file());
        let mut frame = Vec::new();
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
