//! What can be wrong with an engine, in words for a user.

use std::fmt;
use std::time::Duration;

use pipe_engine::message::{Fault, FaultKind};

/// Where in a session something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Hello,
    Prepare,
    WarmUp,
    Measure,
    Outputs,
    Finish,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Hello => "hello",
            Phase::Prepare => "prepare",
            Phase::WarmUp => "warm-up",
            Phase::Measure => "measure",
            Phase::Outputs => "outputs",
            Phase::Finish => "finish",
        })
    }
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    /// The device is not there: the cell is unavailable.
    #[error("{0}")]
    NoDevice(String),
    /// The engine itself saw memory run out: a result of this machine.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The engine ended before its time.
    #[error("the engine ended during `{phase}`{}{}", with(.how), lines(.log))]
    Crashed {
        phase: Phase,
        /// `signal 11 (SIGSEGV)`, once its owner has said so.
        how: Option<String>,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// The engine gave no answer.
    #[error("the engine gave no answer to `{phase}` within {} s and was ended{}", .after.as_secs_f64(), lines(.log))]
    Hung { phase: Phase, after: Duration, log: Vec<String> },
    /// What came is no message of the protocol.
    #[error("the engine spoke no protocol during `{phase}`: {problem}: `{excerpt}`")]
    Nonsense { phase: Phase, problem: String, excerpt: String },
    /// What came is a message, and not the one that was due.
    #[error("the engine broke the protocol: wanted {wanted}, got {got}")]
    Protocol { wanted: String, got: String },
    /// The engine said that it failed.
    #[error("the engine failed during `{phase}`: {message}")]
    Failed { phase: Phase, message: String },
}

impl EngineFault {
    /// A fault that the engine itself told.
    pub(super) fn from_engine(phase: Phase, fault: Fault) -> EngineFault {
        let message = crate::exec::process::log::harmless(&fault.message);
        match fault.kind {
            FaultKind::NoDevice => EngineFault::NoDevice(message),
            FaultKind::OutOfMemory => EngineFault::OutOfMemory(message),
            FaultKind::Failed => EngineFault::Failed { phase, message },
        }
    }

    /// Adds how the engine's process or container ended, and what it last said on stderr.
    pub fn with_end(self, end: impl fmt::Display, last_lines: Vec<String>) -> EngineFault {
        match self {
            EngineFault::Crashed { phase, .. } => {
                EngineFault::Crashed { phase, how: Some(end.to_string()), log: last_lines }
            }
            EngineFault::Hung { phase, after, .. } => EngineFault::Hung { phase, after, log: last_lines },
            other => other,
        }
    }

    /// The fault as a record keeps it, where it is one that is kept.
    pub fn to_record(&self) -> Option<Fault> {
        match self {
            EngineFault::OutOfMemory(message) => Some(Fault { kind: FaultKind::OutOfMemory, message: message.clone() }),
            _ => None,
        }
    }
}

fn with(how: &Option<String>) -> String {
    how.as_ref().map(|how| format!(" with {how}")).unwrap_or_default()
}

fn lines(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; it last said:\n  {}", log.join("\n  ")) }
}
