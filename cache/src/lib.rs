//! The store of `pipe`: content by digest, records by key, and a cache of what host files held.
//!
//! A library without terminal or environment: it prints nothing, reads no variable, and gives damage back as values.
//!
//! What always holds:
//! - What is read under a digest has that digest, or is not read. Damage is put aside and costs time, not correctness.
//! - Blobs are durable before the record that speaks of them; a name appears only when all behind it is there.
//! - Any number of processes share a store; a killed one leaves nothing that the next has to be told about.
//! - What a step wrote is never followed through a link, never blocks, and cannot reach outside its folder.
//! - Nothing writable leads into the store: checkouts are read-only, and copies are the user's own.
//!
//! In reading order: `digest`, `tree` and `compose` say what content is; `frame`, `resync` and `log` keep small things;
//! `blob` keeps large ones; `scan` and `ingest` bring things in, `walk` and `checkout` out, and `seal` tells whether what
//! is out has changed; `stat` remembers host files, and `seen` tells whether they did; `advice` keeps what only saves
//! time; `records` is what the runner knows; `lease`, `live`, `cheapest`, `gc`, `verify` and `repair` look after all of
//! it; `pack` carries a part of it to another machine.

mod advice;
mod blob;
mod cheapest;
mod checkout;
mod compose;
mod digest;
mod error;
mod frame;
mod fsx;
mod gc;
mod hash;
mod ingest;
mod lease;
mod live;
mod lock;
mod log;
mod pack;
#[cfg(target_os = "linux")]
mod range;
mod records;
mod repair;
mod resync;
mod scan;
mod seal;
mod seen;
mod stat;
mod store;
mod tree;
mod verify;
mod walk;
mod warn;

pub use blob::Blob;
pub use cheapest::{Candidate, Dropped};
pub use compose::TreeBuilder;
pub use digest::{Digest, ParseDigestError};
pub use error::{Fault, Result, StoreError};
pub use fsx::Stamp;
pub use gc::{Collect, Collected, Keep, KeepsRecord};
pub use lock::{KeyLock, TryLock};
pub use pack::{PACK_CHAIN, PACK_FORMAT, Pack, PackError, PackRecord, PackWriter, Section, Shape, Shelf, Written};
pub use records::Kind;
pub use repair::{Holds, Repaired};
pub use seen::{Lies, LogStamps};
pub use store::{FORMAT, Store};
pub use tree::{Entry, Totals, Tree};
pub use verify::{Progress, Usage, Verified};
pub use warn::Warning;
