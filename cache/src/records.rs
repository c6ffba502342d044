//! Records: small facts under a kind and a key, appended and never changed.
//!
//! Knows nothing of what a record says. A record that speaks of blobs is appended after them and makes them durable
//! first, so that a power cut leaves no record without its content.

use crate::Digest;
use crate::error::Result;
use crate::log::{Frame, Repeats};
use crate::store::Store;

/// What a record is about. The numbers are on disk: they never change, and new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// What running a key produced. Durable.
    Record = 1,
    /// The manifest that a key is the digest of. As durable as the record that follows it.
    Manifest = 2,
    /// Raw samples of one measuring session. Durable.
    Session = 3,
    /// What one run did: steps, keys, origins.
    Run = 4,
    /// The last answer of something outside: a tool's version, a runtime's facts.
    Probe = 5,
    /// Anything else worth keeping: durations, logs' places.
    Note = 6,
    /// What a person holds on to, whatever is collected. Durable.
    Pin = 7,
}

impl Kind {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        [Self::Record, Self::Manifest, Self::Session, Self::Run, Self::Probe, Self::Note, Self::Pin]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Whether losing it to a power cut would mean doing work again.
    fn is_durable(self) -> bool {
        matches!(self, Self::Record | Self::Session | Self::Pin)
    }
}

impl Store {
    /// Appends one record. `Record`, `Session` and `Pin` are durable, with all blobs before them, when this returns.
    pub fn append(&self, kind: Kind, key: &Digest, payload: &[u8]) -> Result<()> {
        self.append_all(&[(kind, *key, payload)])
    }

    /// Appends several records with one write: a kill leaves all or none of those that the last one stands for.
    pub fn append_all(&self, records: &[(Kind, Digest, &[u8])]) -> Result<()> {
        let durable = records.iter().any(|(kind, _, _)| kind.is_durable());
        if durable {
            self.sync_blobs()?;
        }
        let frames: Vec<_> =
            records.iter().map(|&(kind, key, payload)| Frame { kind: kind as u8, key, payload }).collect();
        self.records.append(&frames, Repeats::Keep)?;
        if durable { self.records.sync() } else { Ok(()) }
    }

    /// The newest record under a key. A damaged one is passed over with a warning.
    pub fn last(&self, kind: Kind, key: &Digest) -> Result<Option<Vec<u8>>> {
        self.records.last(kind as u8, key)
    }

    /// All records under a key, oldest first.
    pub fn all(&self, kind: Kind, key: &Digest) -> Result<Vec<Vec<u8>>> {
        self.records.all(kind as u8, key)
    }

    /// The keys of all records of a kind, in the order of writing; a key with several records comes several times.
    pub fn keys(&self, kind: Kind) -> Result<Vec<Digest>> {
        self.records.keys(kind as u8)
    }

    /// Visits all records of a kind in the order of writing.
    pub fn scan(&self, kind: Kind, mut visit: impl FnMut(&Digest, &[u8])) -> Result<()> {
        self.records.each(Some(kind as u8), |_, key, payload| {
            visit(key, payload);
            Ok(())
        })?;
        Ok(())
    }
}
