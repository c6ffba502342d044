//! The stat cache: which digest a host file had when it was last hashed, so that a null run reads no file.
//!
//! A line is believed while device, inode, size and both times are the same. Git's racy rule: a file that was written
//! just before its hashing is not remembered, since a second write in the same tick would not show. "Just before" is two
//! seconds where times seem to be whole seconds, and a tenth of one where they are finer: the kernel's clock for files
//! ticks every ten milliseconds at the slowest. Files on network and user-space file systems, whose times and inodes
//! cannot be relied on, are never remembered.
//!
//! The file is a list of lines of equal length, each with a checksum; losing it costs only time.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use crate::Digest;
use crate::fsx::Stamp;

const LINE: usize = Stamp::BYTES + 32 + 8;
/// The coarsest times of the file systems in use: FAT has two seconds.
const RACY: i128 = 2_000_000_000;
/// The same where times have fractions of a second.
const RACY_FINE: i128 = 100_000_000;
/// Old lines are dropped when they outnumber the live ones and the file has at least this size.
const COMPACT_FROM: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct StatCache {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: bool,
    known: HashMap<(u64, u64), (Stamp, Digest)>,
    lines: usize,
    unsaved: Vec<u8>,
    trusted_disks: HashMap<u64, bool>,
}

impl StatCache {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    pub(crate) fn get(&self, stamp: &Stamp) -> Option<Digest> {
        let state = self.loaded();
        state.known.get(&(stamp.dev, stamp.ino)).filter(|(known, _)| known == stamp).map(|(_, digest)| *digest)
    }

    /// Remembers a digest. `began` is the time just before the file was read, `file` tells the file system.
    pub(crate) fn put(&self, stamp: &Stamp, digest: Digest, began: i128, file: impl AsFd) {
        if is_racy(stamp, began) {
            return;
        }
        let mut state = self.loaded();
        if !*state.trusted_disks.entry(stamp.dev).or_insert_with(|| is_local(file)) {
            return;
        }
        let line = encode(stamp, &digest);
        state.unsaved.extend_from_slice(&line);
        state.known.insert((stamp.dev, stamp.ino), (*stamp, digest));
    }

    /// Writes what is new. Failure loses nothing but time, so it is silent.
    pub(crate) fn save(&self) {
        let mut state = self.locked();
        if state.unsaved.is_empty() {
            return;
        }
        let new = std::mem::take(&mut state.unsaved);
        state.lines += new.len() / LINE;
        let _ = append(&self.path, &new);
        if state.lines * LINE > COMPACT_FROM && state.lines > 2 * state.known.len() {
            let _ = compact(&self.path, &state.known);
            state.lines = state.known.len();
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> MutexGuard<'_, State> {
        let mut state = self.locked();
        if !state.loaded {
            state.loaded = true;
            let bytes = crate::fsx::read(&self.path).unwrap_or_default();
            for (stamp, digest) in bytes.chunks_exact(LINE).filter_map(decode) {
                state.known.insert((stamp.dev, stamp.ino), (stamp, digest));
            }
            state.lines = bytes.len() / LINE;
        }
        state
    }
}

/// Whether a later write could leave the same times. Files from the future are never safe.
pub(crate) fn is_racy(stamp: &Stamp, began: i128) -> bool {
    // The time of change is set by the kernel alone, so its fraction tells what the disk can hold.
    let fine = stamp.ctime % 1_000_000_000 != 0;
    stamp.mtime.max(stamp.ctime) > began - if fine { RACY_FINE } else { RACY }
}

/// The wall clock, in the unit of file times, which are wall-clock times themselves.
pub(crate) fn now() -> i128 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as i128)
}

/// NFS, SMB (three), FUSE, 9P, AFS, Ceph, Coda.
#[cfg(target_os = "linux")]
const REMOTE: [u32; 9] =
    [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x5346_414F, 0x00C3_6400, 0x7375_7245];

/// Whether the disk is a local one, whose times mean what they say.
fn is_local(file: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::fstatfs(file).is_ok_and(|disk| !REMOTE.contains(&(disk.f_type as u32)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        true
    }
}

/// The same of the disk that a path lies on.
pub(crate) fn is_local_path(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::statfs(path).is_ok_and(|disk| !REMOTE.contains(&(disk.f_type as u32)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        true
    }
}

fn encode(stamp: &Stamp, digest: &Digest) -> [u8; LINE] {
    let mut line = Vec::with_capacity(LINE);
    line.extend_from_slice(&stamp.to_bytes());
    line.extend_from_slice(digest.as_bytes());
    let sum = blake3::hash(&line);
    line.extend_from_slice(&sum.as_bytes()[..8]);
    let mut fixed = [0; LINE];
    fixed.copy_from_slice(&line);
    fixed
}

fn decode(line: &[u8]) -> Option<(Stamp, Digest)> {
    let (body, sum) = line.split_at_checked(LINE - 8)?;
    if blake3::hash(body).as_bytes()[..8] != *sum {
        return None;
    }
    let (stamp, digest) = body.split_first_chunk()?;
    Some((Stamp::from_bytes(stamp), Digest::from_bytes(digest.try_into().ok()?)))
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = options().append(true).open(path)?;
    file.lock()?;
    let length = file.metadata()?.len();
    // What a killed writer left would shift every later line.
    let whole = length - length % LINE as u64;
    if whole != length {
        file.set_len(whole)?;
    }
    file.write_all(lines)
}

fn compact(path: &Path, known: &HashMap<(u64, u64), (Stamp, Digest)>) -> std::io::Result<()> {
    // In the folder that is swept: if that happens right now, this fails and the next one does it.
    let folder = path.with_file_name("tmp");
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let lines: Vec<u8> = known.values().flat_map(|(stamp, digest)| encode(stamp, digest)).collect();
    file.write_all(&lines)?;
    file.persist(path)?;
    Ok(())
}

fn options() -> OpenOptions {
    let mut options: OpenOptions = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(mtime: i128, ctime: i128) -> Stamp {
        Stamp { dev: 1, ino: 2, size: 3, mtime, ctime }
    }

    proptest! {
        #[test]
        fn a_file_is_trusted_only_some_time_after_its_last_change(
            began in 0i64..i64::MAX, back in -5_000_000_000i64..5_000_000_000, which in any::<bool>(),
        ) {
            let (began, changed) = (i128::from(began), i128::from(began) - i128::from(back));
            let old = began - 100_000_000_000;
            let stamp = if which { stamp(changed, old) } else { stamp(old, changed) };
            let window = if stamp.ctime % 1_000_000_000 == 0 { RACY } else { RACY_FINE };
            prop_assert_eq!(is_racy(&stamp, began), i128::from(back) < window);
        }

        #[test]
        fn lines_come_back(dev: u64, ino: u64, size: u64, mtime: i64, ctime: i64, bytes: [u8; 32]) {
            let stamp = Stamp { dev, ino, size, mtime: mtime.into(), ctime: ctime.into() };
            let digest = Digest::from_bytes(bytes);
            let mut line = encode(&stamp, &digest);
            prop_assert_eq!(decode(&line), Some((stamp, digest)));
            line[usize::from(bytes[0]) % LINE] ^= 1;
            prop_assert_eq!(decode(&line), None);
        }
    }

    #[test]
    fn whole_seconds_are_taken_for_the_coarsest_times() {
        let second = 1_000_000_000;
        assert!(is_racy(&stamp(7, 100 * second), 101 * second));
        assert!(!is_racy(&stamp(7, 100 * second), 102 * second));
        assert!(is_racy(&stamp(7, 100 * second + 1), 100 * second + RACY_FINE));
        assert!(!is_racy(&stamp(7, 100 * second + 1), 100 * second + 1 + RACY_FINE));
        // A time that the user set says nothing of the disk.
        assert!(is_racy(&stamp(7, 100 * second), 100 * second + 2 * RACY_FINE));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_fifo_in_place_of_the_cache_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let cache = StatCache::new(path);
        assert_eq!(cache.get(&stamp(1, 2)), None);
        cache.put(&stamp(10, 20), Digest::of(b"x"), now(), File::open(folder.path()).unwrap());
        cache.save();
        assert_eq!(cache.get(&stamp(10, 20)), Some(Digest::of(b"x")));
    }

    #[test]
    fn any_difference_is_a_miss_and_torn_lines_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        let here = File::open(folder.path()).unwrap();
        let digest = Digest::of(b"x");
        let first = StatCache::new(path.clone());
        first.put(&stamp(10, 20), digest, now(), &here);
        first.save();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        let second = StatCache::new(path.clone());
        second.put(&Stamp { ino: 9, ..stamp(10, 20) }, digest, now(), &here);
        second.save();
        let third = StatCache::new(path);
        assert_eq!(third.get(&stamp(10, 20)), Some(digest));
        assert_eq!(third.get(&Stamp { ino: 9, ..stamp(10, 20) }), Some(digest));
        for other in
            [stamp(11, 20), stamp(10, 21), Stamp { size: 4, ..stamp(10, 20) }, Stamp { dev: 2, ..stamp(10, 20) }]
        {
            assert_eq!(third.get(&other), None);
        }
    }
}
