//! Running steps.

pub mod builtin;
