//! An append-only log of frames, shared by processes: records in one file, small blobs and trees in another.
//!
//! Approach:
//! - Readers take no lock. They index heads only, and read on from where they stopped when the file has grown.
//! - Writers hold `flock` on the file, read on first, cut off what a killed writer left, then write once.
//! - A frame is believed when its checksum holds, which is looked at whenever a payload is read; the index itself only
//!   checks that another frame, or the end, follows. Where it doesn't, the next sound frame is searched for.
//! - A log is only ever replaced (by garbage collection) while nobody else has the store open.
//!
//! Knows nothing of what the payloads mean.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Digest;
use crate::error::{Result, StoreError, io};
use crate::frame::{self, Header};
use crate::lock::retry;
use crate::resync::{Found, Scan};
use crate::warn::{Warning, Warnings};

/// No earlier frame of this key.
const NONE: u32 = u32::MAX;

/// Where a frame lies, and where the one before it of the same key does.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    header: Header,
    earlier: u32,
}

/// One frame to append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub kind: u8,
    pub key: Digest,
    pub payload: &'a [u8],
}

/// Whether frames go in that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// History: every frame counts.
    Keep,
    /// Content: one frame a key is enough.
    Drop,
}

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    state: Mutex<State>,
    warnings: Arc<Warnings>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    /// Up to here the file is indexed.
    end: u64,
    /// Up to here this process knows the file to be on the disk.
    synced: u64,
    places: Vec<Place>,
    latest: HashMap<(u8, Digest), u32>,
    /// Damaged stretches between frames.
    gaps: u64,
    /// The disk failed to make something durable.
    lost: bool,
}

impl Log {
    /// Names the log; nothing is opened before it is needed.
    pub(crate) fn new(path: PathBuf, warnings: Arc<Warnings>) -> Self {
        Self { path, state: Mutex::default(), warnings }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what was read, for after the file was replaced.
    pub(crate) fn forget(&self) {
        *self.locked() = State::default();
    }

    /// What is indexed stays: only what is not asks the file whether it has grown.
    pub(crate) fn contains(&self, kind: u8, key: &Digest) -> Result<bool> {
        Ok(self.knows(kind, key) || self.fresh()?.latest.contains_key(&(kind, *key)))
    }

    /// A sound payload under this key, where all of one key are alike: so one that is indexed serves, and the file is not
    /// asked whether it has grown.
    pub(crate) fn any(&self, kind: u8, key: &Digest) -> Result<Option<Vec<u8>>> {
        let known = {
            let state = self.locked();
            let at = state.latest.get(&(kind, *key));
            at.and_then(|at| Some((state.file.clone()?, *state.places.get(*at as usize)?)))
        };
        if let Some((file, place)) = known {
            if let Some(payload) = self.payload(&file, &place)? {
                return Ok(Some(payload));
            }
            self.locked().drop_latest(&place);
        }
        self.last(kind, key)
    }

    fn knows(&self, kind: u8, key: &Digest) -> bool {
        self.locked().latest.contains_key(&(kind, *key))
    }

    /// The newest sound payload under this key. Damaged ones are passed over with a warning.
    pub(crate) fn last(&self, kind: u8, key: &Digest) -> Result<Option<Vec<u8>>> {
        let (file, places) = self.history(kind, key)?;
        for place in places {
            if let Some(payload) = self.payload(&file, &place)? {
                return Ok(Some(payload));
            }
            self.locked().drop_latest(&place);
        }
        Ok(None)
    }

    /// All sound payloads under this key, oldest first.
    pub(crate) fn all(&self, kind: u8, key: &Digest) -> Result<Vec<Vec<u8>>> {
        let (file, places) = self.history(kind, key)?;
        let mut payloads = Vec::with_capacity(places.len());
        for place in places.iter().rev() {
            payloads.extend(self.payload(&file, place)?);
        }
        Ok(payloads)
    }

    /// Visits every sound frame, or those of one kind, in the order of writing. Returns how many were damaged,
    /// and with them the damaged stretches in which no frame can be told.
    pub(crate) fn each(
        &self,
        kind: Option<u8>,
        mut visit: impl FnMut(u8, &Digest, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let (file, places, mut damaged) = {
            let state = self.fresh()?;
            (state.file.clone(), state.places.clone(), state.gaps)
        };
        let Some(file) = file else { return Ok(0) };
        for place in places.iter().filter(|place| kind.is_none_or(|kind| kind == place.header.kind)) {
            match self.payload(&file, place)? {
                Some(payload) => visit(place.header.kind, &place.header.key, &payload)?,
                None => damaged += 1,
            }
        }
        Ok(damaged)
    }

    /// The heads of all frames of one kind, in the order of writing.
    pub(crate) fn keys(&self, kind: u8) -> Result<Vec<Digest>> {
        let state = self.fresh()?;
        Ok(state.places.iter().filter(|place| place.header.kind == kind).map(|place| place.header.key).collect())
    }

    /// The keys of the frames in a stretch, from their heads alone; `None` where it is not whole frames from end to end.
    pub(crate) fn keys_between(&self, from: u64, to: u64) -> Option<Vec<Digest>> {
        if from == to {
            return Some(Vec::new());
        }
        let file = options().write(false).open(&self.path).ok()?;
        let (mut scan, mut keys) = (Scan::new(&file, from, to), Vec::new());
        while let Some(found) = scan.next().ok()? {
            match found {
                Found::Frame(_, header) => keys.push(header.key),
                Found::Damage(..) => return None,
            }
        }
        (scan.end() == to).then_some(keys)
    }

    /// How many frames there are.
    pub(crate) fn len(&self) -> Result<usize> {
        Ok(self.fresh()?.places.len())
    }

    /// Appends frames with one write. They are seen by every process at once, and durable after `sync`.
    pub(crate) fn append(&self, frames: &[Frame<'_>], repeats: Repeats) -> Result<()> {
        if let Some(frame) = frames.iter().find(|frame| frame.payload.len() > frame::MAX_PAYLOAD) {
            return Err(StoreError::TooLarge { what: "a payload", bytes: frame.payload.len() as u64 });
        }
        let mut state = self.locked();
        let file = self.writable(&mut state)?;
        retry(|| file.lock()).map_err(io("lock", &self.path))?;
        let written = self.write(&mut state, &file, frames, repeats);
        let unlocked = file.unlock().map_err(io("unlock", &self.path));
        written.and(unlocked)
    }

    /// Makes all frames durable that this process can see, whoever wrote them.
    pub(crate) fn sync(&self) -> Result<()> {
        let (file, end) = {
            let state = self.locked();
            match &state.file {
                // The system tells of a failure once: a second call that ends well says nothing of the bytes of the first.
                Some(_) if state.lost => {
                    let why = "the disk failed to keep what was written before; run again";
                    return Err(io("make durable", &self.path)(std::io::Error::other(why)));
                }
                Some(file) if state.synced < state.end => (file.clone(), state.end),
                _ => return Ok(()),
            }
        };
        let synced = retry(|| file.sync_data());
        let mut state = self.locked();
        state.lost |= synced.is_err();
        synced.map_err(io("make durable", &self.path))?;
        state.synced = state.synced.max(end);
        Ok(())
    }

    fn write(&self, state: &mut State, file: &File, frames: &[Frame<'_>], repeats: Repeats) -> Result<()> {
        let length = self.read_on(state, file)?;
        if length > state.end {
            self.warnings.add(Warning::TornTail { path: self.path.clone(), bytes: length - state.end });
            file.set_len(state.end).map_err(io("mend", &self.path))?;
        }
        let mut buffer = Vec::new();
        let mut places = Vec::new();
        let mut fresh = std::collections::HashSet::new();
        for new in frames {
            let known = state.latest.contains_key(&(new.kind, new.key)) || !fresh.insert((new.kind, new.key));
            if known && repeats == Repeats::Drop {
                continue;
            }
            let header = Header { kind: new.kind, key: new.key, payload: new.payload.len() as u32 };
            places.push((state.end + buffer.len() as u64, header));
            frame::encode(&mut buffer, new.kind, &new.key, new.payload);
        }
        if let Err(error) = file.write_all_at(&buffer, state.end) {
            // What a half write left is cut off here if it can be, and by the next writer if not.
            let _ = file.set_len(state.end);
            return Err(io("write", &self.path)(error));
        }
        for (offset, header) in places {
            state.index(offset, header);
        }
        state.end += buffer.len() as u64;
        Ok(())
    }

    fn history(&self, kind: u8, key: &Digest) -> Result<(Arc<File>, Vec<Place>)> {
        let state = self.fresh()?;
        let mut places = Vec::new();
        let mut at = state.latest.get(&(kind, *key)).copied().unwrap_or(NONE);
        while at != NONE {
            let place = state.places[at as usize];
            places.push(place);
            at = place.earlier;
        }
        match &state.file {
            Some(file) => Ok((file.clone(), places)),
            None => Ok((Arc::new(File::open("/dev/null").map_err(io("open", "/dev/null"))?), places)),
        }
    }

    fn payload(&self, file: &File, place: &Place) -> Result<Option<Vec<u8>>> {
        let size = place.header.frame_size();
        let mut bytes = vec![0; size as usize];
        match file.read_exact_at(&mut bytes, place.offset) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => bytes.clear(),
            other => other.map_err(io("read", &self.path))?,
        }
        // A head that no longer says what the index says is damage as well.
        let sound = Header::parse(&bytes) == Some(place.header);
        match frame::payload(&bytes).filter(|_| sound) {
            Some(payload) => Ok(Some(payload.to_vec())),
            None => {
                let (from, to) = (place.offset, place.offset + size);
                self.warnings.add(Warning::DamagedLog { path: self.path.clone(), from, to });
                Ok(None)
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with everything in it that the file holds now.
    fn fresh(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.locked();
        if state.file.is_none() {
            match options().open(&self.path) {
                Ok(file) => state.file = Some(Arc::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(state),
                Err(error) => return Err(io("open", &self.path)(error)),
            }
        }
        if let Some(file) = state.file.clone() {
            self.read_on(&mut state, &file)?;
        }
        Ok(state)
    }

    fn writable(&self, state: &mut State) -> Result<Arc<File>> {
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let file = options().create(true).mode(0o600).open(&self.path).map_err(io("open", &self.path))?;
        // The name must be durable before the first frame can be.
        if let Some(parent) = self.path.parent() {
            crate::fsx::sync_dir(parent).map_err(io("make durable", parent))?;
        }
        let file = Arc::new(file);
        state.file = Some(file.clone());
        Ok(file)
    }

    /// Indexes what has come since; gives the file's length.
    fn read_on(&self, state: &mut State, file: &File) -> Result<u64> {
        let length = file.metadata().map_err(io("inspect", &self.path))?.len();
        if length < state.end {
            *state = State { file: state.file.take(), ..State::default() };
        }
        if length == state.end {
            return Ok(length);
        }
        let mut scan = Scan::new(file, state.end, length);
        while let Some(found) = scan.next().map_err(io("read", &self.path))? {
            match found {
                Found::Frame(offset, header) => state.index(offset, header),
                Found::Damage(from, to) => {
                    state.gaps += 1;
                    self.warnings.add(Warning::DamagedLog { path: self.path.clone(), from, to });
                }
            }
        }
        state.end = scan.end();
        Ok(length)
    }
}

impl State {
    fn index(&mut self, offset: u64, header: Header) {
        let at = self.places.len() as u32;
        let earlier = self.latest.insert((header.kind, header.key), at).unwrap_or(NONE);
        self.places.push(Place { offset, header, earlier });
    }

    /// Takes a damaged frame out of the index, so that its content counts as missing and is written again.
    fn drop_latest(&mut self, damaged: &Place) {
        let name = (damaged.header.kind, damaged.header.key);
        let is_latest = |at: &u32| self.places.get(*at as usize).is_some_and(|place| place.offset == damaged.offset);
        if self.latest.get(&name).is_some_and(is_latest) {
            match damaged.earlier {
                NONE => self.latest.remove(&name),
                earlier => self.latest.insert(name, earlier),
            };
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A fifo or a link in the log's place is an error, and no reason to wait or to write elsewhere.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).write(true).custom_flags(flags.bits().cast_signed());
    options
}
