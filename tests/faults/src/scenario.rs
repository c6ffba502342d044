//! The scenarios: each breaks one thing in many ways, and leaves the judging to the checker.

pub mod kill;
