//! Packs: records with the content that they name, in one file, for a machine that has no server to ask.
//!
//! A pack is one or more *sections*, so that packs written one behind the other (`cat a b > c`) are a pack. A section:
//!
//! | bytes | what |
//! |---|---|
//! | 12 | `pipe-pack 1` and a line feed: the version of the format |
//! | frame `ABOUT` | JSON: the sections that this one adds to, and a note of the writer's |
//! | frames `TREE` | a folder level, after all that it names |
//! | frames `PART`, `LAST` | a blob in pieces of at most 1 MiB, one blob after the other |
//! | frames 16 + kind | a record |
//! | frame `END` | its key is the digest of all bytes of the section before it |
//!
//! Frames are those of the store's logs, each with a checksum. `read` believes nothing: a pack is read and hashed as a
//! whole before anything of it is taken. `shelf` looks at trees without walking into what a hostile one would make of
//! it, and takes content into the store, which is hashed again on the way. Nobody here knows what a record says.

mod read;
mod shelf;
mod write;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Digest, StoreError};

pub use read::{Pack, PackRecord, Section};
pub use shelf::{Shape, Shelf};
pub use write::{PackWriter, Written};

/// The version of the format that this build writes, and the newest that it reads.
pub const PACK_FORMAT: u64 = 1;

/// How many packs a chain of additions has at most, the whole one at its beginning included.
pub const PACK_CHAIN: usize = 5;

const MAGIC: &[u8] = b"pipe-pack ";
const HEAD: &[u8] = b"pipe-pack 1\n";

const ABOUT: u8 = 1;
const TREE: u8 = 2;
const PART: u8 = 3;
const LAST: u8 = 4;
/// Records are of the store's kind and this.
const RECORD: u8 = 16;
const END: u8 = 255;

/// A piece of a blob.
const PIECE: usize = 1 << 20;
/// Larger than any record or folder that a store of ours holds; what claims more is refused unread.
const MOST_PAYLOAD: usize = 64 << 20;
const MOST_ABOUT: usize = 64 << 10;
/// Frames of one file. The index of so many takes less than 1 GiB.
const MOST_FRAMES: usize = 4_000_000;

/// What a section says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// The sections that must be there before this one, the first of the chain first.
    #[serde(default)]
    since: Vec<Digest>,
    /// What the writer has to say; another layer reads it.
    #[serde(default)]
    note: String,
}

/// Why a pack is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file can't be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done: `read`.
        action: &'static str,
        /// The pack.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{}` is no pack: it does not begin with `pipe-pack`; `pipe store export` writes one", path.display())]
    NotAPack {
        /// The file.
        path: PathBuf,
    },
    /// A later `pipe` wrote it.
    #[error("`{}` has format {found} at byte {at}, and this `pipe` knows {PACK_FORMAT}: update `pipe`", path.display())]
    Newer {
        /// The pack.
        path: PathBuf,
        /// Where the section begins.
        at: u64,
        /// Its format.
        found: u64,
    },
    /// It is cut, changed, or was never written by us.
    #[error("`{}` is refused at byte {at}: {why}; get it again from where it was written", path.display())]
    Broken {
        /// The pack.
        path: PathBuf,
        /// Where the frame begins that is wrong.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The store could not give or take something.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Turns an error of the operating system into ours; for `map_err`.
fn io_error(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> PackError {
    move |source| PackError::Io { action, path: path.to_owned(), source }
}
