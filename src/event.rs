//! Everything that running says to the outside, as values.
//!
//! The executor sends events and never prints; the terminal, the plain log and `--events` are consumers.
//! The JSON form (`Event` as one object a line) is part of the interface: fields are added, never changed.

use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The plan is made; nothing has started.
    Planned { pipeline: String, cached: usize, runs: usize, unavailable: usize, download_bytes: Option<u64> },
    /// A step has started.
    Started { step: String, class: &'static str },
    /// A running step says what it is doing, in a few words.
    Progress { step: String, text: String },
    /// A step waits for something other than its inputs: the measuring lock, another process. It may not have started.
    Waiting { step: String, on: String },
    /// Cells are measured together, in blocks that take turns; `beside` has its samples, and is measured again as the
    /// neighbour of the others.
    InTurn { steps: Vec<String>, beside: Option<String> },
    /// A failed step is tried again.
    Retried { step: String, attempt: u32, cause: String },
    /// A step has come to its end.
    Finished { step: String, outcome: OutcomeKind, seconds: f64, key: Option<String>, detail: Option<String> },
    /// Something that the user should know and that stops nothing.
    Warning { text: String },
    /// The run is over.
    Ended { ran: usize, cached: usize, failed: usize, unavailable: usize, seconds: f64 },
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    Cached,
    Ran,
    Failed,
    Unavailable,
    /// A step before it failed.
    Skipped,
    Cancelled,
}

/// Takes events; the executor holds one.
pub trait Listener {
    fn hear(&mut self, event: &Event);
}

/// Several listeners as one.
impl Listener for Vec<Box<dyn Listener>> {
    fn hear(&mut self, event: &Event) {
        self.iter_mut().for_each(|listener| listener.hear(event));
    }
}
