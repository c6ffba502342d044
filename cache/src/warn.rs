//! Damage that was seen and survived: kept for whoever talks to people.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Digest;

/// Something that was wrong with the store and cost no more than time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A blob or a checkout did not hold what its name says, and was put aside.
    Corrupt {
        /// The content that was expected.
        digest: Digest,
        /// Where the damaged file is now; `None` if it lay in a pack.
        moved_to: Option<PathBuf>,
    },
    /// A stretch of a log could not be read.
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// First byte.
        from: u64,
        /// First byte that is sound again.
        to: u64,
    },
    /// Scratch of a killed process could not be removed.
    Leftover {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A write that had never finished was cut off the end of a log.
    TornTail {
        /// The log.
        path: PathBuf,
        /// Bytes cut off.
        bytes: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { digest, moved_to: Some(path) } => {
                write!(
                    out,
                    "content {} was damaged and is now `{}`; it will be made again",
                    digest.short(),
                    path.display()
                )
            }
            Self::Corrupt { digest, moved_to: None } => {
                write!(out, "content {} was damaged; it will be made again", digest.short())
            }
            Self::DamagedLog { path, from, to } => {
                write!(
                    out,
                    "bytes {from} to {to} of `{}` are damaged and were passed over; `pipe store verify --repair` mends it",
                    path.display()
                )
            }
            Self::Leftover { path, why } => {
                write!(out, "`{}` is left of a killed run and cannot be removed ({why}); remove it", path.display())
            }
            Self::TornTail { path, bytes } => {
                write!(out, "{bytes} bytes of an unfinished write were cut off `{}`", path.display())
            }
        }
    }
}

/// Where warnings gather until somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    all: Mutex<Vec<Warning>>,
    /// How often content was found damaged, or not to be where it was counted on.
    losses: AtomicU64,
}

impl Warnings {
    pub(crate) fn add(&self, warning: Warning) {
        if matches!(warning, Warning::Corrupt { .. } | Warning::DamagedLog { .. }) {
            self.lost();
        }
        let mut all = self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !all.contains(&warning) {
            all.push(warning);
        }
    }

    pub(crate) fn lost(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Vec<Warning> {
        std::mem::take(&mut *self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
