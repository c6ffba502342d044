//! Exit codes; part of the interface. Of several, the highest of 5, 4, 3 and 1 wins.

/// Done; cells may be unavailable, with their reasons.
pub const DONE: u8 = 0;
/// An `expect` or parity failed; or `run --check` built something else the second time; or `fmt --check` found what is not formatted; or an editor
/// left `lsp` without saying so, for which its protocol asks this number.
pub const JUDGED: u8 = 1;
/// The command line or the pipeline is wrong.
pub const USAGE: u8 = 2;
/// A step failed.
pub const STEP: u8 = 3;
/// A `--require…` was not met.
pub const REQUIRED: u8 = 4;
/// The store or the host is at fault, or `pipe` itself.
pub const FAULT: u8 = 5;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;
