//! Seals: how a checkout looked when its bytes were last known to be right, so that the next process need not read them.
//!
//! Approach:
//! - A seal has a line for each path, folders included, in the order of the tree: stamp and number of names. What looks
//!   as its line says is believed; all else is read. A whole checkout is looked at once in each process.
//! - All files of the store have one time of modification, so that a plain write shows. One that sets this time back
//!   shows by the time of change, which nobody sets.
//! - Another checkout that links a blob, and a collection that takes one away, leave another time of change and another
//!   number of names. Where no more than these differ, a file is believed: else every new checkout would have gigabytes
//!   read again. So a write that sets the time back *and* comes with a new name is not seen here, but by `verify`.
//!   Whenever something is found damaged, all seals go, since what was put aside gives up names as well.
//! - Git's racy rule, by the disk's own clock: a seal tells what that said before anything was looked at, and what had
//!   changed no earlier is not believed, since a second write in the same tick would not show.
//!
//! Each begins with the digest of the rest, and need not be durable: losing one costs one reading.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::blob::SMALL;
use crate::error::{Result, io};
use crate::fsx::{self, Stamp};
use crate::scan::{self, Beneath, in_parallel};
use crate::store::Store;
use crate::tree::Entry;
use crate::{Digest, advice, hash};

/// The folder below the store's.
pub(crate) const FOLDER: &str = "seals";

const LINE: usize = Stamp::BYTES + 8;

/// To wait for the next tick of the disk's clock takes milliseconds, and to read so much once more takes longer.
const WORTH_A_TICK: u64 = 16 << 20;
/// Kernels count files' times in at most ten milliseconds.
const LONGEST_TICK: u32 = 20;

/// How a path looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    stamp: Stamp,
    /// How many names the file has.
    names: u64,
}

#[derive(Debug)]
struct Seal {
    /// What the disk's clock said before anything was looked at.
    clock: i128,
    lines: Vec<Line>,
}

/// One path of a checkout, relative to the folder of all.
type Part = (String, Entry);

impl Store {
    /// Whether a checkout holds what its name says. Blobs that turn out to be damaged are put aside.
    pub(crate) fn is_sound(&self, name: &str, entry: &Entry) -> Result<bool> {
        let parts = self.parts(name, entry)?;
        // Where there is no room for a new seal, there is none. A small file is as soon read as its seal.
        let new = if is_small(entry) { None } else { self.begin_seal().ok() };
        let old = self.sealed(name).filter(|old| old.lines.len() == parts.len());
        let known = |at: usize| old.as_ref().and_then(|old| old.believed(at));
        let parts: Vec<_> = parts.into_iter().enumerate().map(|(at, part)| (part, known(at))).collect();
        let folder = self.checkouts()?;
        let found = in_parallel(
            &parts,
            || Beneath::new(&folder),
            |reach, (part, known)| self.look(&folder, reach, part, known.as_ref()),
        )?;
        let Some(lines) = found.into_iter().collect::<Option<Vec<Line>>>() else { return Ok(false) };
        let same = parts.iter().zip(&lines).all(|((_, known), line)| known.as_ref() == Some(line));
        if let (Some((temp, clock)), false) = (new, same) {
            let _ = self.put_seal(temp, name, &Seal { clock, lines });
        }
        Ok(true)
    }

    /// Seals a checkout that was just made of verified content.
    pub(crate) fn seal(&self, name: &str, entry: &Entry) -> Result<()> {
        if is_small(entry) {
            return Ok(());
        }
        let parts = self.parts(name, entry)?;
        let (temp, mut clock) = self.begin_seal()?;
        let size = |part: &Part| if let Entry::File { size, .. } = part.1 { size } else { 0 };
        if parts.iter().map(size).sum::<u64>() >= WORTH_A_TICK {
            clock = next_tick(temp.as_file(), clock).map_err(io("set the time of", temp.path()))?;
        }
        let folder = self.checkouts()?;
        let lines = in_parallel(
            &parts,
            || (),
            |(), (path, _)| {
                let stat = rustix::fs::statat(&folder, path, AtFlags::SYMLINK_NOFOLLOW).map_err(io("inspect", path))?;
                Ok(Line::of(&stat))
            },
        )?;
        self.put_seal(temp, name, &Seal { clock, lines })
    }

    pub(crate) fn seal_path(&self, name: &str) -> PathBuf {
        self.root.join(FOLDER).join(name)
    }

    fn checkouts(&self) -> Result<OwnedFd> {
        let folder = self.root.join("checkouts");
        fsx::open_dir(&folder).map_err(io("open", &folder))
    }

    fn parts(&self, name: &str, entry: &Entry) -> Result<Vec<Part>> {
        let mut parts = vec![(name.to_owned(), entry.clone())];
        if let Entry::Tree { .. } = entry {
            self.walk(entry, |path, entry| parts.push((scan::join(name, path), entry.clone())))?;
        }
        Ok(parts)
    }

    /// A file for a seal, and the time by the clock of its disk.
    fn begin_seal(&self) -> Result<(NamedTempFile, i128)> {
        let temp = self.temp_file()?;
        let clock = tick(temp.as_file()).map_err(io("set the time of", temp.path()))?;
        Ok((temp, clock))
    }

    fn sealed(&self, name: &str) -> Option<Seal> {
        Seal::decode(&advice::whole(&self.seal_path(name))?)
    }

    fn put_seal(&self, temp: NamedTempFile, name: &str, seal: &Seal) -> Result<()> {
        advice::put_whole(temp, &self.seal_path(name), &seal.encode())
    }

    /// How a path looks, if it is known to be right or found to be.
    fn look(
        &self,
        folder: &OwnedFd,
        reach: &mut Beneath<'_>,
        part: &Part,
        known: Option<&Line>,
    ) -> Result<Option<Line>> {
        let (path, entry) = part;
        let stat = rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW);
        let Some(stat) = unless_damaged(stat, path)? else { return Ok(None) };
        let line = Line::of(&stat);
        let right = known.is_some_and(|known| known.vouches_for(&line, fsx::is_file(&stat)))
            || self.read_anew(reach, path, entry)?;
        Ok(right.then_some(line))
    }

    /// Whether what lies at a path is the entry. Of what is in a folder, the names alone are compared.
    fn read_anew(&self, reach: &mut Beneath<'_>, path: &str, entry: &Entry) -> Result<bool> {
        let (above, name) = scan::parent(path);
        let Some(dir) = unless_damaged(reach.folder(above), path)? else { return Ok(false) };
        match entry {
            Entry::Link { target } => {
                let found = unless_damaged(rustix::fs::readlinkat(dir, name, Vec::new()), path)?;
                Ok(found.is_some_and(|found| found.as_bytes() == target.as_bytes()))
            }
            Entry::Tree { digest } => {
                let Some(inner) = unless_damaged(fsx::open_dir_at(dir, name), path)? else { return Ok(false) };
                let stat = rustix::fs::fstat(&inner).map_err(io("inspect", path))?;
                // Names that are no text are none of ours.
                let names = scan::names(&inner, path).unwrap_or_default();
                let same = self.needed_tree(digest)?.entries().map(|(name, _)| name).eq(names);
                Ok(same && put_right(&inner, &stat, true, path)?)
            }
            Entry::File { digest, size, executable } => {
                let Some(Some((file, stat))) = unless_damaged(fsx::open_file_at(dir, name), path)? else {
                    return Ok(false);
                };
                let same = match self.is_blob(&stat, digest, *executable) {
                    true => self.sound_file(digest, *executable)?.is_some(),
                    false => {
                        Stamp::of(&stat).size == *size
                            && hash::hash(&file, *size).map_err(io("read", path))? == (*digest, *size)
                    }
                };
                Ok(same && put_right(&file, &stat, *executable, path)?)
            }
        }
    }

    /// Whether a file is the blob itself, and no copy.
    fn is_blob(&self, stat: &Stat, digest: &Digest, executable: bool) -> bool {
        let (own, blob) = (Stamp::of(stat), self.blob_path(digest, executable).symlink_metadata());
        blob.is_ok_and(|blob| (blob.dev(), blob.ino()) == (own.dev, own.ino))
    }
}

impl Line {
    #[expect(clippy::unnecessary_cast, reason = "the field's type differs between Linux and macOS")]
    fn of(stat: &Stat) -> Self {
        Self { stamp: Stamp::of(stat), names: stat.st_nlink as u64 }
    }

    /// Whether what looks like `now` is what looked like this.
    fn vouches_for(&self, now: &Self, is_file: bool) -> bool {
        self == now || is_file && self.names != now.names && self.stamp.same_content(&now.stamp)
    }
}

impl Seal {
    /// A line, unless another write in the same tick would have left the same.
    fn believed(&self, at: usize) -> Option<Line> {
        self.lines.get(at).copied().filter(|line| line.stamp.mtime.max(line.stamp.ctime) < self.clock)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.clock.to_le_bytes().to_vec();
        for line in &self.lines {
            bytes.extend_from_slice(&line.stamp.to_bytes());
            bytes.extend_from_slice(&line.names.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (clock, lines) = bytes.split_first_chunk()?;
        let line = |bytes: &[u8]| {
            let (stamp, names) = bytes.split_first_chunk()?;
            Some(Line { stamp: Stamp::from_bytes(stamp), names: u64::from_le_bytes(names.try_into().ok()?) })
        };
        Some(Self { clock: i128::from_le_bytes(*clock), lines: lines.chunks(LINE).map(line).collect::<Option<_>>()? })
    }
}

fn is_small(entry: &Entry) -> bool {
    matches!(entry, Entry::File { size, .. } if *size <= SMALL)
}

/// Gives a file or folder of a checkout the mode and time that it should have. True, for who asks in passing.
fn put_right(file: impl AsFd, stat: &Stat, executable: bool, path: &str) -> Result<bool> {
    if !fsx::is_sealed(stat, executable) {
        fsx::seal(file, executable).map_err(io("set the mode of", path))?;
    }
    Ok(true)
}

/// Nothing, where an error says that something else lies there than should, or that it lets nobody in.
fn unless_damaged<T>(result: std::result::Result<T, impl Into<std::io::Error>>, path: &str) -> Result<Option<T>> {
    let error = match result {
        Ok(found) => return Ok(Some(found)),
        Err(error) => error.into(),
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::MLINK | Errno::INVAL) => Ok(None),
        _ => Err(io("read", path)(error)),
    }
}

/// The time by the clock of a file's disk: what changes from now on is marked with no earlier one.
fn tick(file: &File) -> std::io::Result<i128> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now })?;
    Ok(Stamp::of(&rustix::fs::fstat(file)?).mtime)
}

/// Waits until that clock has gone on, but not for one that counts in seconds.
fn next_tick(file: &File, last: i128) -> std::io::Result<i128> {
    for _ in 0..LONGEST_TICK {
        let now = tick(file)?;
        if now > last {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(last)
}
