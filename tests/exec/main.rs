//! Steps as real processes, under the real supervisor, at every level that this host has.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests start helpers, read what the machine is said to have, and say what they pass over"
)]

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod container;
mod probes;
mod process;
mod sandbox;
mod secrets;
mod supervisors;
