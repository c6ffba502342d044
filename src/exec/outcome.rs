//! How a step ended, and why one has to run: values, so that `plan`, `why`, events and reports say the same.

use pipe_cache::{Digest, Entry};

use crate::key::Change;
use crate::pipeline::StepId;
use crate::record::Session;

/// What a step made.
#[derive(Debug, Clone)]
pub enum Product {
    /// A tree or a file in the store.
    Output(Entry),
    /// The sample set of a measurement.
    Sessions(Vec<Session>),
    /// The figures of a comparison, a file; what a report says of them is made anew whenever it is shown.
    Compared(Entry),
}

impl Product {
    /// The tree or file, for a step that made one.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Product::Output(entry) => Some(entry),
            Product::Sessions(_) | Product::Compared(_) => None,
        }
    }
}

/// Why this machine can't do a step, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub reason: String,
    pub remedy: Option<String>,
}

impl Lack {
    /// A lack with a remedy.
    pub fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Lack {
        Lack { reason: reason.into(), remedy: Some(remedy.into()) }
    }

    /// A lack that nothing on this machine can change.
    pub fn final_(reason: impl Into<String>) -> Lack {
        Lack { reason: reason.into(), remedy: None }
    }
}

/// A step that ran and failed: data, never cached.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// What went wrong, in one sentence.
    pub message: String,
    pub help: Option<String>,
    /// The last lines that the step printed.
    pub tail: Vec<String>,
    /// The command as it was started, for a person to repeat.
    pub command: Option<String>,
    /// The step's folder, kept for a look.
    pub workdir: Option<std::path::PathBuf>,
}

/// How a step ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    Cached(Product),
    Ran(Product),
    Failed(Failure),
    Unavailable(Lack),
    /// `because` failed.
    Skipped {
        because: StepId,
    },
    Cancelled,
    /// Nobody available reads it.
    NotNeeded,
    /// The selection left this cell out.
    NotSelected,
}

impl Outcome {
    /// What the step made, now or before.
    pub fn product(&self) -> Option<&Product> {
        match self {
            Outcome::Cached(product) | Outcome::Ran(product) => Some(product),
            _ => None,
        }
    }
}

/// Why a step has no result to reuse.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// No step of this name, or any like it, ever ran with this store.
    Never,
    /// These leaves differ from the nearest earlier run; the first is the one to name.
    Changed { changes: Vec<Change>, against: Digest },
    /// Nothing changed since the last run, in which it failed.
    Failed,
    /// There is a record, but the store no longer holds what it names.
    Gone { what: String },
    /// The pack that brought the record left out what it names, and a step that runs reads it.
    StayedAway,
    /// The record was made under a weaker sandbox than this run asks for.
    WeakerSandbox { had: &'static str, asked: &'static str },
    /// There are samples, but fewer than the query asks for.
    MoreSamples { have: usize, reason: String },
    /// `--remeasure` was given.
    Forced,
    /// Measured on another machine only.
    OtherMachine { what: String },
}

/// Where a step stands before anything runs.
#[derive(Debug, Clone)]
pub enum Standing {
    Cached(Product),
    Runs(Why),
    /// Cached if these steps repeat their bytes.
    Depends(Vec<StepId>),
    Unavailable(Lack),
    NotNeeded,
    NotSelected,
}
