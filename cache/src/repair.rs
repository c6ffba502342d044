//! Puts a store right: after it, `verify` finds nothing. What was damaged is made again when it is needed.
//!
//! Needs the store alone, since logs are written anew. Nothing that was damaged is destroyed but frames of logs and
//! checkouts, which hold nothing of their own; the rest goes to quarantine, which the next collection empties.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Digest;
use crate::error::{Result, StoreError, io};
use crate::fsx;
use crate::log::Repeats;
use crate::records::Kind;
use crate::store::Store;
use crate::tree::Entry;
use crate::verify::{Progress, Verified, children, pack_frame_fits};

/// What a record speaks of, by its kind and payload.
pub type Holds<'a> = dyn Fn(Kind, &[u8]) -> Vec<Entry> + 'a;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub found: Verified,
    /// Records that were dropped, since what they speak of is not here.
    pub dropped: Vec<(Kind, Digest)>,
    /// Frames of logs that were damaged and are gone.
    pub frames: u64,
    /// Where files are now that were no part of the store.
    pub moved: Vec<PathBuf>,
    /// What is wrong now.
    pub left: Verified,
}

impl Store {
    /// The records whose content is not all here. They are misses: what they speak of is made again when it is needed.
    pub fn dangling(&self, holds: &Holds<'_>) -> Result<Vec<(Kind, Digest)>> {
        let mut found = Vec::new();
        for kind in [Kind::Record, Kind::Session] {
            let mut records: Vec<(Digest, Vec<Entry>)> = Vec::new();
            self.scan(kind, |key, payload| records.push((*key, holds(kind, payload))))?;
            let lacking = records.into_iter().filter(|(_, entries)| !entries.iter().all(|entry| self.complete(entry)));
            found.extend(lacking.map(|(key, _)| (kind, key)));
        }
        Ok(found)
    }

    /// Sets aside or drops all that is damaged and all that has no place in a store. `Busy` if another process has the
    /// store open. Sessions stay, even where what they speak of is gone: samples are facts of their own.
    pub fn repair(&self, holds: &Holds<'_>, mut progress: impl FnMut(Progress)) -> Result<Repaired> {
        self.flush()?;
        self.scratch()?;
        let busy = || StoreError::Busy { root: self.root.clone() };
        let _alone = self.leases.alone(Duration::from_secs(10))?.ok_or_else(busy)?;
        if !self.become_only()? {
            return Err(busy());
        }
        let repaired = self.put_right(holds, &mut progress);
        self.share_again()?;
        repaired
    }

    fn put_right(&self, holds: &Holds<'_>, progress: &mut impl FnMut(Progress)) -> Result<Repaired> {
        let mut done = Repaired { found: self.verify(&mut *progress)?, ..Repaired::default() };
        for stranger in &done.found.strangers {
            done.moved.push(self.set_aside(stranger)?);
        }
        done.dropped = self.dangling(holds)?;
        done.dropped.retain(|(kind, _)| *kind == Kind::Record);
        // The end of a log that was cut short by a kill goes as well, as with every write.
        for log in [&self.pack, &self.records] {
            if fsx::there(log.path())? {
                log.append(&[], Repeats::Keep)?;
            }
        }
        let (frames, _) = self.rewrite(&self.pack, false, pack_frame_fits)?;
        done.frames += frames;
        let (frames, _) = self.rewrite(&self.records, false, |kind, _, payload| {
            let Some(kind @ Kind::Record) = Kind::of(kind) else { return true };
            holds(kind, payload).iter().all(|entry| self.complete(entry))
        })?;
        done.frames += frames.saturating_sub(done.dropped.len() as u64);
        self.forget_content();
        done.left = self.verify(progress)?;
        Ok(done)
    }

    /// Moves something that has no place in the store out of the way.
    fn set_aside(&self, path: &Path) -> Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let moved_to = self.root.join("quarantine").join(format!("{name}-{:x}", crate::stat::now()));
        std::fs::rename(path, &moved_to).map_err(io("put aside", path))?;
        Ok(moved_to)
    }

    /// The files and folders of the store itself that have no place in it, and the number of folders whose mode lets
    /// others in; those are set right.
    pub(crate) fn look_at_folders(&self, strangers: &mut Vec<PathBuf>) -> Result<u64> {
        const FILES: [&str; 7] = ["format", "lock", "gc.lock", "gc.gate", "small.pack", "records.log", "stat.cache"];
        const FOLDERS: [&str; 8] =
            ["blobs", "checkouts", "locks", "tmp", "kept", "quarantine", crate::advice::FOLDER, crate::seal::FOLDER];
        let mut modes = 0;
        for path in children(&self.root)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(found) = path.symlink_metadata() else { continue };
            if found.is_dir() && FOLDERS.contains(&&*name) {
                modes += u64::from(close(&path)?);
            } else if !(found.is_file() && FILES.contains(&&*name)) {
                strangers.push(path);
            }
        }
        for path in children(&self.root.join("blobs"))? {
            if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                modes += u64::from(close(&path)?);
            }
        }
        Ok(modes + u64::from(close(&self.root)?))
    }
}

/// Takes the rights of others from a folder. True if they had any.
fn close(path: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let mode = path.symlink_metadata().map_err(io("inspect", path))?.permissions().mode();
    // The owner's rights are theirs to take: a folder without them is an error elsewhere, with its path.
    if mode & 0o022 == 0 {
        return Ok(false);
    }
    let folder = fsx::open_dir(path).map_err(io("open", path))?;
    rustix::fs::fchmod(folder, rustix::fs::Mode::RWXU).map_err(io("set the mode of", path))?;
    Ok(true)
}
