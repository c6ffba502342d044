//! Leases: what a process relies on, so that a collection by another process leaves it alone. No clock is asked.
//!
//! Approach:
//! - `gc.lock`, held shared, says "I touch content that is not in my lease"; a collection holds it alone.
//! - A process takes it at its first look at content and keeps it until it gets a scratch folder, which is when it will
//!   work and not only look things up. Then all that it has touched goes into its lease, a file in that folder, and
//!   from there on it holds the lock only while it touches something new. So a run that finds everything cached writes
//!   no lease.
//! - `gc.gate` is held alone by a collection that waits, so that a stream of short runs cannot keep it out.
//! - A lease counts as long as the lock on its scratch folder is held, which the kernel frees when the process ends in
//!   whatever way. Neither ages nor process numbers are believed.
//!
//! Where a lease cannot be written, as on a full disk, the lock is kept instead: collections then wait or give up.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::Digest;
use crate::blob::{BLOB, SMALL, TREE};
use crate::error::{Result, io};
use crate::store::held;
use crate::tree::Entry;

/// The name of a lease in its scratch folder.
pub(crate) const LEASE: &str = "lease";
const LOCK: &str = "gc.lock";
const GATE: &str = "gc.gate";
/// One thing that is relied on: its kind and its digest.
const LINE: usize = 1 + 32;
/// Between two looks whether the others have let go.
const NAP: Duration = Duration::from_millis(5);

type Note = (u8, Digest);

#[derive(Debug)]
pub(crate) struct Leases {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lock: Option<File>,
    /// Whether the lock is held, shared.
    held: bool,
    /// How many touch something just now.
    touching: usize,
    /// What was touched and is in no file yet.
    pending: Vec<Note>,
    lease: Option<File>,
    leased: HashSet<Note>,
    /// The lease could not be written, so that the lock stands for it.
    broken: bool,
    /// The thread that collects: it holds the lock alone already.
    collector: Option<ThreadId>,
}

/// While this lives, no other process collects.
#[derive(Debug)]
pub(crate) struct Touch<'a>(Option<&'a Leases>);

/// While this lives, no other process looks at content that is not in its lease.
#[derive(Debug)]
pub(crate) struct Alone<'a> {
    leases: &'a Leases,
    _lock: File,
}

impl Leases {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, state: Mutex::default() }
    }

    /// Keeps collections out while something is touched. Waits for one that is going on.
    pub(crate) fn touch(&self) -> Result<Touch<'_>> {
        loop {
            let mut state = held(&self.state);
            if state.collector == Some(std::thread::current().id()) {
                return Ok(Touch(None));
            }
            if !state.held {
                state.held = self.try_share(&mut state)?;
            }
            if state.held {
                state.touching += 1;
                return Ok(Touch(Some(self)));
            }
            // The state is let go meanwhile: the thread that collects may be one of this process.
            drop(state);
            std::thread::sleep(NAP);
        }
    }

    fn try_share(&self, state: &mut State) -> Result<bool> {
        let (gate_path, path) = (self.root.join(GATE), self.root.join(LOCK));
        // Held until the lock is ours: a collection that waits holds it alone.
        let gate = open(&gate_path)?;
        if !granted(gate.try_lock_shared()).map_err(io("lock", &gate_path))? {
            return Ok(false);
        }
        let lock = match state.lock.take() {
            Some(lock) => lock,
            None => open(&path)?,
        };
        let shared = granted(lock.try_lock_shared()).map_err(io("lock", &path))?;
        state.lock = Some(lock);
        Ok(shared)
    }

    /// Whether the lease already names this, so that nobody takes it away.
    pub(crate) fn covers(&self, entry: &Entry) -> bool {
        note_of(entry).is_none_or(|note| held(&self.state).leased.contains(&note))
    }

    /// Remembers that this process relies on something. For within `touch`.
    pub(crate) fn note(&self, entry: &Entry) {
        let Some(note) = note_of(entry) else { return };
        let mut state = held(&self.state);
        match &state.lease {
            None => state.pending.push(note),
            Some(_) if state.leased.contains(&note) => {}
            Some(file) => {
                state.broken |= append(file, &[note]).is_err();
                state.leased.insert(note);
            }
        }
    }

    /// From now on the lease in this folder speaks for this process, and the lock is let go.
    pub(crate) fn settle(&self, folder: &Path) {
        let mut state = held(&self.state);
        if state.lease.is_some() {
            return;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let Ok(file) = options.open(folder.join(LEASE)) else { return };
        let pending: HashSet<Note> = std::mem::take(&mut state.pending).into_iter().collect();
        let lines: Vec<Note> = pending.iter().copied().collect();
        state.broken |= append(&file, &lines).is_err();
        state.leased = pending;
        state.lease = Some(file);
        state.let_go();
    }

    /// What this process relies on.
    pub(crate) fn own(&self) -> Vec<Entry> {
        let state = held(&self.state);
        state.leased.iter().chain(&state.pending).copied().filter_map(entry_of).collect()
    }

    /// Waits until nobody touches anything, as long as `patience` says. For a process that has settled.
    pub(crate) fn alone(&self, patience: Duration) -> Result<Option<Alone<'_>>> {
        let until = Instant::now() + patience;
        let gate = open(&self.root.join(GATE))?;
        if !wait(&gate, until).map_err(io("lock", self.root.join(GATE)))? {
            return Ok(None);
        }
        let lock = open(&self.root.join(LOCK))?;
        if !wait(&lock, until).map_err(io("lock", self.root.join(LOCK)))? {
            return Ok(None);
        }
        held(&self.state).collector = Some(std::thread::current().id());
        Ok(Some(Alone { leases: self, _lock: lock }))
    }
}

impl State {
    fn let_go(&mut self) {
        if self.touching > 0 || !self.held || self.lease.is_none() || self.broken {
            return;
        }
        // Closing frees the lock even where unlocking does not.
        if let Some(lock) = self.lock.take()
            && lock.unlock().is_ok()
        {
            self.lock = Some(lock);
        }
        self.held = false;
    }
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        if let Some(leases) = self.0 {
            let mut state = held(&leases.state);
            state.touching -= 1;
            state.let_go();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        held(&self.leases.state).collector = None;
    }
}

/// What the lease in a folder names. Its process is alive and does not write just now.
pub(crate) fn read(folder: &Path) -> Result<Vec<Entry>> {
    let path = folder.join(LEASE);
    match std::fs::read(&path) {
        // It relies on nothing yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io("read", path)(error)),
        Ok(bytes) => Ok(bytes.as_chunks::<LINE>().0.iter().filter_map(parse).collect()),
    }
}

fn parse(line: &[u8; LINE]) -> Option<Entry> {
    let (kind, digest) = line.split_first()?;
    entry_of((*kind, Digest::from_bytes(digest.try_into().ok()?)))
}

fn append(mut file: &File, notes: &[Note]) -> std::io::Result<()> {
    let mut lines = Vec::with_capacity(notes.len() * LINE);
    for (kind, digest) in notes {
        lines.push(*kind);
        lines.extend_from_slice(digest.as_bytes());
    }
    file.write_all(&lines)
}

/// A link has no content, and small content lies in the pack, which is rewritten only while nobody else is there.
fn note_of(entry: &Entry) -> Option<Note> {
    match entry {
        Entry::Link { .. } => None,
        Entry::Tree { digest } => Some((TREE, *digest)),
        Entry::File { size, .. } if *size <= SMALL => None,
        Entry::File { digest, .. } => Some((BLOB, *digest)),
    }
}

fn entry_of((kind, digest): Note) -> Option<Entry> {
    match kind {
        TREE => Some(Entry::Tree { digest }),
        // Size and mode play no part in what is kept.
        BLOB => Some(Entry::File { digest, size: 0, executable: false }),
        _ => None,
    }
}

fn wait(file: &File, until: Instant) -> std::io::Result<bool> {
    while !granted(file.try_lock())? {
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(NAP);
    }
    Ok(true)
}

fn granted(answer: std::result::Result<(), TryLockError>) -> std::io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Interrupted => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags.bits().cast_signed());
    options.open(path).map_err(io("open the lock", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Entry {
        Entry::Tree { digest: Digest::of(text.as_bytes()) }
    }

    #[test]
    fn a_collection_waits_for_who_looks_and_not_for_who_has_a_lease() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Leases::new(folder.path().to_owned()), Leases::new(folder.path().to_owned()));
        let (one, two) = (tree("one"), tree("two"));
        let touch = theirs.touch().unwrap();
        theirs.note(&one);
        drop(touch);
        assert!(ours.alone(Duration::ZERO).unwrap().is_none(), "it is looked up and in no lease");
        theirs.settle(folder.path());
        assert_eq!(read(folder.path()).unwrap(), std::slice::from_ref(&one));
        let alone = ours.alone(Duration::ZERO).unwrap();
        assert!(alone.is_some());
        assert!(theirs.covers(&one) && !theirs.covers(&two));
        assert!(ours.touch().is_ok(), "who collects may look");
        drop(alone);
        let touch = theirs.touch().unwrap();
        assert!(ours.alone(Duration::ZERO).unwrap().is_none());
        theirs.note(&two);
        drop(touch);
        assert!(ours.alone(Duration::ZERO).unwrap().is_some());
        assert_eq!(read(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_touched_while_it_settles_keeps_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Leases::new(folder.path().to_owned()), Leases::new(folder.path().to_owned()));
        let touch = theirs.touch().unwrap();
        theirs.settle(folder.path());
        assert!(ours.alone(Duration::ZERO).unwrap().is_none());
        theirs.note(&tree("late"));
        drop(touch);
        assert!(ours.alone(Duration::ZERO).unwrap().is_some());
        assert_eq!(read(folder.path()).unwrap(), [tree("late")]);
    }
}
