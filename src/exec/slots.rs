//! Processors, memory and GPUs as every `pipe` of this user sees them: byte ranges of one file, locked while a step
//! uses them.
//!
//! | bytes of the file | locked by |
//! |---|---|
//! | `GATE` | a process that has nothing running and waits: no other starts anything before it did |
//! | `SEATS` | each process one, as long as it lives; its note lies in the file there |
//! | `CPU`, `MEMORY`, `GPU` + n | the steps that use them |
//!
//! The locks belong to the open file and not to numbers of processes: the kernel frees them when a process ends in
//! whatever way, and no child inherits the file. Where the file can't be had, the same bookkeeping serves one process.
//! This module knows nothing of steps.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const GATE: u64 = 0;
const SEATS: Range<u64> = 1..1024;
/// Bytes of a seat's note.
const NOTE: usize = 160;
/// The kinds lie so far apart.
const KIND: u64 = 1 << 32;

/// What there is to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Cpu = 1,
    /// In pieces of [`PIECE`] bytes.
    Memory = 2,
    Gpu = 3,
}

/// What memory is shared out in.
pub const PIECE: u64 = 64 << 20;

/// Numbers of one kind that are ours until they are given back.
pub type Units = Vec<Range<u64>>;

/// The view of one process.
#[derive(Debug)]
pub struct Slots {
    file: Option<File>,
    /// Where our note lies.
    seat: Option<u64>,
    gate: bool,
    /// What this process holds: first → end, by kind. The kernel would give it to us a second time.
    ours: BTreeMap<(Kind, u64), u64>,
}

impl Slots {
    /// Slots that this process shares with nobody.
    pub fn alone() -> Slots {
        Slots { file: None, seat: None, gate: false, ours: BTreeMap::new() }
    }

    /// Takes a seat in a folder that all processes of this user agree on; `note` tells others who we are.
    pub fn open(folder: &Path, note: &str) -> io::Result<Slots> {
        make(folder)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(folder.join("slots"))?;
        let mut slots = Slots { file: Some(file), ..Slots::alone() };
        for seat in SEATS {
            if slots.lock(seat..seat + 1)? {
                slots.seat = Some(seat);
                break;
            }
        }
        slots.note(note);
        Ok(slots)
    }

    /// Tells others what this process does. A courtesy: a full disk keeps nobody from running.
    pub fn note(&self, text: &str) {
        if let (Some(file), Some(seat)) = (&self.file, self.seat) {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(NOTE, 0);
            let _ = file.write_all_at(&bytes, seat * NOTE as u64);
        }
    }

    /// What the other processes say of themselves.
    pub fn others(&self) -> Vec<String> {
        let Some(file) = &self.file else { return Vec::new() };
        let mut found = Vec::new();
        let mut from = SEATS.start;
        while let Ok(Some(taken)) = self.taken(from..SEATS.end) {
            for seat in taken.start.max(from)..taken.end.min(SEATS.end) {
                let mut bytes = [0; NOTE];
                let read = file.read_at(&mut bytes, seat * NOTE as u64).unwrap_or(0);
                let text = String::from_utf8_lossy(&bytes[..read]);
                found.push(text.trim_end_matches(['\0', '\u{fffd}']).to_owned());
            }
            from = taken.end;
        }
        found
    }

    /// Lets nobody else take anything until [`Slots::let_others`]; false where another process does so already.
    pub fn insist(&mut self) -> io::Result<bool> {
        if !self.gate {
            self.gate = self.lock(GATE..GATE + 1)?;
        }
        Ok(self.gate)
    }

    /// Ends what [`Slots::insist`] began.
    pub fn let_others(&mut self) {
        if std::mem::take(&mut self.gate) {
            self.unlock(GATE..GATE + 1);
        }
    }

    /// False while another process insists on its turn.
    pub fn may_take(&self) -> io::Result<bool> {
        Ok(self.gate || self.taken(GATE..GATE + 1)?.is_none())
    }

    /// Takes `wanted` units of the first `there`; nothing where there are not as many.
    pub fn take(&mut self, kind: Kind, wanted: u64, there: u64) -> io::Result<Option<Units>> {
        let mut units = Units::new();
        let mut missing = wanted;
        let mut at = 0;
        while missing > 0 && at < there {
            if let Some((_, &end)) = self.ours.range((kind, 0)..=(kind, at)).next_back()
                && end > at
            {
                at = end;
                continue;
            }
            let next = self.ours.range((kind, at)..(kind, u64::MAX)).next().map_or(there, |((_, start), _)| *start);
            let gap = at..next.min(there).min(at.saturating_add(missing));
            if self.lock(place(kind, &gap))? {
                missing -= gap.end - gap.start;
                at = gap.end;
                self.ours.insert((kind, gap.start), gap.end);
                units.push(gap);
                continue;
            }
            // Somebody else has a part of it: what lies before that may be free, what lies after it is tried next.
            let Some(taken) = self.taken(place(kind, &gap))? else { continue };
            let base = kind as u64 * KIND;
            let free = at..(taken.start.max(base) - base).clamp(at, gap.end);
            if !free.is_empty() && self.lock(place(kind, &free))? {
                missing -= free.end - free.start;
                self.ours.insert((kind, free.start), free.end);
                units.push(free);
            }
            at = taken.end.saturating_sub(base).max(at + 1);
        }
        if missing > 0 {
            self.give(kind, &units);
            return Ok(None);
        }
        Ok(Some(units))
    }

    /// Gives units back.
    pub fn give(&mut self, kind: Kind, units: &Units) {
        for range in units {
            self.ours.remove(&(kind, range.start));
            self.unlock(place(kind, range));
        }
    }

    fn lock(&self, range: Range<u64>) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        match fcntl(file, libc::F_OFD_SETLK, libc::F_WRLCK, &range) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self, range: Range<u64>) {
        if let Some(file) = &self.file {
            // Unlocking fails for no reason that another attempt would mend.
            let _ = fcntl(file, libc::F_OFD_SETLK, libc::F_UNLCK, &range);
        }
    }

    /// The first part of a range that another process holds.
    fn taken(&self, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
        let Some(file) = &self.file else { return Ok(None) };
        let found = fcntl(file, libc::F_OFD_GETLK, libc::F_WRLCK, &range)?;
        if int(found.l_type) == int(libc::F_UNLCK) {
            return Ok(None);
        }
        let start = u64::try_from(found.l_start).unwrap_or(0);
        let length = u64::try_from(found.l_len).unwrap_or(0);
        Ok(Some(start..if length == 0 { u64::MAX } else { start + length }))
    }
}

fn place(kind: Kind, range: &Range<u64>) -> Range<u64> {
    let base = kind as u64 * KIND;
    base + range.start..base + range.end
}

/// A folder that only this user may write to; one that somebody else made is refused.
fn make(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = folder.symlink_metadata()?;
    if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::other("it is no folder of this user"))
}

/// Systems differ in the width of these numbers.
fn int(number: impl Into<i32>) -> i32 {
    number.into()
}

fn fcntl(file: &File, command: libc::c_int, kind: impl Into<i32>, range: &Range<u64>) -> io::Result<libc::flock> {
    // SAFETY: all fields of `flock` are numbers, for which zero is a value; some systems have more than are set here.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let offset = |n: u64| libc::off_t::try_from(n).map_err(io::Error::other);
    lock.l_type = int(kind) as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = offset(range.start)?;
    lock.l_len = offset(range.end - range.start)?;
    loop {
        // SAFETY: the descriptor is open as long as `file` lives, and `lock` is a `flock` that this call alone uses.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
        if answer != -1 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn units(found: &Units) -> Vec<u64> {
        found.iter().cloned().flatten().collect()
    }

    fn open(folder: &tempfile::TempDir, note: &str) -> Slots {
        Slots::open(&folder.path().join("run"), note).expect("slots")
    }

    #[test]
    fn two_processes_share_what_there_is() {
        let folder = folder();
        let (mut one, mut two) = (open(&folder, "one"), open(&folder, "two"));
        let held = one.take(Kind::Cpu, 2, 4).expect("a lock").expect("free");
        assert_eq!(two.take(Kind::Cpu, 3, 4).expect("a lock"), None);
        let rest = two.take(Kind::Cpu, 2, 4).expect("a lock").expect("free");
        assert_eq!((units(&held), units(&rest)), (vec![0, 1], vec![2, 3]));
        assert_eq!(one.take(Kind::Cpu, 1, 4).expect("a lock"), None);
        assert!(one.take(Kind::Gpu, 1, 1).expect("a lock").is_some(), "kinds are apart");
        one.give(Kind::Cpu, &held);
        assert_eq!(units(&two.take(Kind::Cpu, 1, 4).expect("a lock").expect("free")), [0]);
    }

    #[test]
    fn gaps_add_up_and_what_is_ours_is_not_given_twice() {
        let folder = folder();
        let (mut one, mut two) = (open(&folder, "one"), open(&folder, "two"));
        let first = one.take(Kind::Memory, 2, 10).expect("a lock").expect("free");
        let theirs = two.take(Kind::Memory, 2, 10).expect("a lock").expect("free");
        assert_eq!(units(&one.take(Kind::Memory, 2, 10).expect("a lock").expect("free")), [4, 5]);
        one.give(Kind::Memory, &first);
        assert_eq!(units(&one.take(Kind::Memory, 5, 10).expect("a lock").expect("free")), [0, 1, 6, 7, 8]);
        two.give(Kind::Memory, &theirs);
        assert_eq!(units(&one.take(Kind::Memory, 3, 10).expect("a lock").expect("free")), [2, 3, 9]);
        assert_eq!(one.take(Kind::Memory, 1, 10).expect("a lock"), None);
    }

    #[test]
    fn who_insists_is_next() {
        let folder = folder();
        let (mut one, mut two) = (open(&folder, "one"), open(&folder, "two"));
        assert!(two.insist().expect("a lock"));
        assert!(!one.may_take().expect("a lock") && !one.insist().expect("a lock"));
        assert!(two.may_take().expect("a lock"));
        two.let_others();
        assert!(one.may_take().expect("a lock"));
    }

    #[test]
    fn who_is_gone_holds_nothing_and_who_is_there_is_told() {
        let folder = folder();
        let (mut one, mut two) = (open(&folder, "pid 1, one"), open(&folder, "pid 2, two"));
        assert_eq!((one.others(), two.others()), (vec!["pid 2, two".to_owned()], vec!["pid 1, one".to_owned()]));
        one.note("pid 1, measures");
        assert_eq!(two.others(), ["pid 1, measures"]);
        one.take(Kind::Cpu, 4, 4).expect("a lock").expect("free");
        drop(one);
        assert!(two.take(Kind::Cpu, 4, 4).expect("a lock").is_some());
        assert_eq!(two.others(), Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_refused() {
        let folder = folder();
        std::os::unix::fs::symlink("/tmp", folder.path().join("run")).expect("a link");
        assert!(Slots::open(&folder.path().join("run"), "one").is_err());
        let mut alone = Slots::alone();
        assert!(alone.insist().expect("no lock") && alone.others().is_empty());
        assert_eq!(units(&alone.take(Kind::Gpu, 1, 2).expect("no lock").expect("free")), [0]);
        assert_eq!(units(&alone.take(Kind::Gpu, 1, 2).expect("no lock").expect("free")), [1]);
        assert_eq!(alone.take(Kind::Gpu, 1, 2).expect("no lock"), None);
    }
}
