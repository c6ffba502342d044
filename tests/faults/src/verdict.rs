//! What is wrong, under the invariant that it breaks.

use std::fmt;

/// The invariants that hold after every fault. Their numbers are in every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every object hashes to its name.
    Content = 1,
    /// Every visible record names only what is there.
    Records = 2,
    /// What is given back is entirely old or entirely new.
    Exports = 3,
    /// The next run succeeds, with no step by hand before it.
    NextRun = 4,
    /// Bytes outside the store and the outputs are as they were.
    Outside = 5,
    /// Failure is a documented exit code and a message, and no panic.
    Words = 6,
    /// Nothing is left: no process, container or mount; scratch is gone after the next run.
    Left = 7,
    /// What recovery makes is what a run without faults makes, and what was done is not done again.
    Same = 8,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    pub rule: Rule,
    pub what: String,
}

impl Bad {
    pub fn new(rule: Rule, what: impl Into<String>) -> Bad {
        Bad { rule, what: what.into() }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "I{} {:?}: {}", self.rule as u8, self.rule, self.what)
    }
}
