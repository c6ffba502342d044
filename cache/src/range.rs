//! Exclusive locks on places in one file (Linux): a call each, and no file each.
//!
//! The lock itself belongs to the open file (`F_OFD_SETLK`), so that neither another thread nor another store of this
//! process takes it for its own. Such a lock does not tell its holder; therefore a plain record lock is put at the same
//! place of a second file, which is never relied on and says whose it is (`F_GETLK`).

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::Digest;

/// Both files, and the places that this process holds through them.
#[derive(Debug)]
pub(crate) struct Ranges {
    keys: File,
    holders: File,
    ours: Mutex<HashSet<i64>>,
    freed: Condvar,
}

/// A place that is held; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Held {
    ranges: Arc<Ranges>,
    place: i64,
}

impl Ranges {
    pub(crate) fn new(keys: File, holders: File) -> Self {
        Self { keys, holders, ours: Mutex::default(), freed: Condvar::new() }
    }

    /// Takes a key's place, or says which process holds it, if that can be told.
    pub(crate) fn attempt(self: &Arc<Self>, key: &Digest) -> io::Result<Result<Held, Option<u32>>> {
        let place = place(key);
        let mut ours = self.ours();
        if ours.contains(&place) {
            return Ok(Err(Some(std::process::id())));
        }
        if !set(&self.keys, libc::F_OFD_SETLK, libc::F_WRLCK, place)? {
            return Ok(Err(holder(&self.holders, place)));
        }
        ours.insert(place);
        drop(ours);
        Ok(Ok(self.held(place)))
    }

    /// Waits for a key's place.
    pub(crate) fn wait(self: &Arc<Self>, key: &Digest) -> io::Result<Held> {
        let place = place(key);
        let mut ours = self.ours();
        while !ours.insert(place) {
            ours = self.freed.wait(ours).unwrap_or_else(PoisonError::into_inner);
        }
        drop(ours);
        match crate::lock::retry(|| set(&self.keys, libc::F_OFD_SETLKW, libc::F_WRLCK, place)) {
            Ok(_) => Ok(self.held(place)),
            Err(error) => {
                self.ours().remove(&place);
                self.freed.notify_all();
                Err(error)
            }
        }
    }

    fn held(self: &Arc<Self>, place: i64) -> Held {
        // A courtesy to who waits: without it the place is just as held.
        let _ = set(&self.holders, libc::F_SETLK, libc::F_WRLCK, place);
        Held { ranges: self.clone(), place }
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ranges { keys, holders, freed, .. } = &*self.ranges;
        let mut ours = self.ranges.ours();
        // Freeing what is held can't fail but by a fault of the disk's server, and ends with the process at the latest.
        let _ = set(holders, libc::F_SETLK, libc::F_UNLCK, self.place);
        let _ = set(keys, libc::F_OFD_SETLK, libc::F_UNLCK, self.place);
        ours.remove(&self.place);
        freed.notify_all();
    }
}

/// Where a key lies: 62 bits of its digest, which files can be long.
fn place(key: &Digest) -> i64 {
    let bytes = key.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    (u64::from_le_bytes(bytes) >> 2).cast_signed()
}

fn range(kind: libc::c_int, place: i64) -> libc::flock {
    // SAFETY: all-zero bytes are a valid value of this type, which holds numbers alone.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = place;
    range.l_len = 1;
    range
}

/// Locks or frees a place; false where somebody else holds it.
fn set(file: &File, how: libc::c_int, kind: libc::c_int, place: i64) -> io::Result<bool> {
    let range = range(kind, place);
    // SAFETY: the descriptor is open as long as `file` is, and the kernel only reads `range`.
    if unsafe { libc::fcntl(file.as_raw_fd(), how, &raw const range) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// The process that has marked a place as its own. One does not see its own marks so.
fn holder(file: &File, place: i64) -> Option<u32> {
    let mut range = range(libc::F_WRLCK, place);
    // SAFETY: the descriptor is open as long as `file` is, and `range` is ours to be written to.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut range) };
    match (asked, range.l_type as libc::c_int) {
        // Not marked by another: by this process through another store, or not yet.
        (0, libc::F_UNLCK) => Some(std::process::id()),
        (0, _) => u32::try_from(range.l_pid).ok().filter(|pid| *pid > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).open(folder.path().join(name)).unwrap()
        };
        let store = || Arc::new(Ranges::new(open("keys"), open("holders")));
        let (one, two) = (store(), store());
        let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
        let held = one.attempt(&key).unwrap().unwrap();
        assert_eq!(one.attempt(&key).unwrap().unwrap_err(), Some(std::process::id()));
        assert_eq!(two.attempt(&key).unwrap().unwrap_err(), Some(std::process::id()));
        drop(two.attempt(&other).unwrap().unwrap());
        let waiting = std::thread::spawn({
            let two = two.clone();
            move || two.wait(&Digest::of(b"key")).unwrap()
        });
        drop(held);
        let held = waiting.join().unwrap();
        assert!(one.attempt(&key).unwrap().is_err());
        drop(held);
        assert!(one.attempt(&key).unwrap().is_ok());
    }

    #[test]
    fn many_threads_hold_a_place_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            File::options().read(true).write(true).create(true).truncate(false).open(folder.path().join(name)).unwrap()
        };
        let ranges = Arc::new(Ranges::new(open("keys"), open("holders")));
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let held = ranges.wait(&Digest::of(b"key")).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
    }
}
