//! Results that travel: what a pipeline needs on another machine, in a pack and out of one, and where a result came
//! from that was not made here.
//!
//! | file | what it does |
//! |---|---|
//! | `export` | writes what the steps of a plan have, now, into a pack |
//! | `admit` | judges each record of a pack, and takes in what holds |
//! | `identity` | when two checkouts are the same pipeline |
//! | `accept` | cells that another machine measured |
//!
//! A record from elsewhere is its writer's claim: bytes are hashed again, keys are made again from their manifests, and
//! whether the step really gave that output nobody can tell without running it. So every such record keeps a note of
//! where it came from, and no note of ours ever names one that was made here.

pub mod accept;
pub mod admit;
pub mod export;
pub mod identity;

use pipe_cache::{Digest, Entry, Kind, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::lookup::session_key;
use super::site::Site;
use crate::pipeline::StepId;
use crate::record::Session;

/// The version of [`PackNote`], [`Origin`], [`MachineName`] and [`CellNote`].
pub const FORMAT: u32 = 1;

/// What an export says of itself, in its pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackNote {
    pub format: u32,
    /// The version of `pipe` that wrote it.
    pub pipe: String,
    pub pipeline: String,
    /// The machine that wrote it, by the name that its user gave and by its line.
    pub name: Option<String>,
    pub machine: String,
    /// Seconds since 1970; in no key and no report.
    pub written: u64,
}

/// Where a record came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub format: u32,
    /// The pack's section.
    pub pack: Digest,
    pub name: Option<String>,
    pub machine: String,
    pub written: u64,
    pub imported: u64,
    /// The pack left some of the output's bytes out.
    pub light: bool,
}

impl Origin {
    /// `M2 desk (Apple M2, 8 cores, …)`, or the machine alone.
    pub fn from(&self) -> String {
        named(self.name.as_deref(), &self.machine)
    }
}

/// A machine as its user calls it and as it describes itself.
pub fn named(name: Option<&str>, line: &str) -> String {
    match name {
        Some(name) => format!("{name} ({line})"),
        None => line.to_owned(),
    }
}

/// What a machine is called, kept under its machine key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineName {
    pub format: u32,
    pub name: String,
}

/// Which question a cell of a pipeline was on the machine that measured it. A cell for another system is another
/// question there, since its engine is another program, so its key can't be made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellNote {
    pub format: u32,
    /// The pipeline and the step, which make the key that this is kept under.
    pub identity: Digest,
    pub step: String,
    pub question: Digest,
    pub machine: Digest,
}

/// The key under which a record's origin is kept: the very record, so that one made later is never taken for it.
pub fn origin_key(kind: Kind, key: &Digest, payload: &[u8]) -> Digest {
    let text = format!("{kind:?} {key} {}", Digest::of(payload));
    Digest::derive("pipe 2026 origin v1", text.as_bytes())
}

/// Where a record came from; `None` for one that was made here.
pub fn origin(store: &Store, kind: Kind, key: &Digest, payload: &[u8]) -> Result<Option<Origin>, StoreError> {
    let bytes = store.last(Kind::Note, &origin_key(kind, key, payload))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).filter(|origin: &Origin| origin.format == FORMAT))
}

/// Where the newest record of a key came from.
pub fn origin_of_record(store: &Store, key: &Digest) -> Result<Option<Origin>, StoreError> {
    match store.last(Kind::Record, key)? {
        Some(payload) => origin(store, Kind::Record, key, &payload),
        None => Ok(None),
    }
}

/// Where one of a question's sessions came from; `None` for one that was measured here.
pub fn origin_of_session(store: &Store, session: &Session) -> Result<Option<Origin>, StoreError> {
    let key = session_key(&session.question, &session.machine);
    // Found by what it says: its bytes, which the note is kept under, were written by whichever version measured it.
    let is_it = |bytes: &Vec<u8>| serde_json::from_slice::<Session>(bytes).is_ok_and(|other| other == *session);
    match store.all(Kind::Session, &key)?.iter().find(|bytes| is_it(bytes)) {
        Some(payload) => origin(store, Kind::Session, &key, payload),
        None => Ok(None),
    }
}

/// The key under which a machine's name is kept.
pub fn machine_name_key(machine: &Digest) -> Digest {
    Digest::derive("pipe 2026 machine-name v1", machine.to_string().as_bytes())
}

/// What a machine is called.
pub fn machine_name(store: &Store, machine: &Digest) -> Result<Option<String>, StoreError> {
    let bytes = store.last(Kind::Note, &machine_name_key(machine))?;
    let name = bytes.and_then(|bytes| serde_json::from_slice::<MachineName>(&bytes).ok());
    Ok(name.filter(|name| name.format == FORMAT).map(|name| name.name))
}

/// Whether a result whose bytes are not all here may count as one: it came in a pack that left them out, what lies
/// where in it is known, and nothing that runs reads it. The site remembers those that did.
pub fn may_stay_away(site: &Site, id: StepId, key: &Digest, output: &Entry) -> Result<bool, StoreError> {
    let asked = &site.asked;
    if asked.read.borrow().contains(&id) || !site.store.outlined(output) {
        return Ok(false);
    }
    let light = origin_of_record(&site.store, key)?.is_some_and(|origin| origin.light);
    if light {
        asked.away.borrow_mut().insert(id);
    }
    Ok(light)
}
