//! An editor's server: the Language Server Protocol on a pair of streams.
//!
//! ```text
//! bytes --transport--> messages --server--> answers
//!     texts --scan--> tree, context --resolve::symbols--> Index --complete, hover, navigate--> answers
//!     texts --check (by resolve::load)--> diagnostics and quick fixes
//!     saved files --hints (by whoever started us)--> what the store has of each step
//! ```
//!
//! Nothing here resolves, judges or runs: mistakes are found by the code of `pipe check`, names by
//! [`crate::resolve::symbols`], documentation by [`crate::resolve::table`], and what is cached by the survey of
//! `pipe plan`. It knows nothing of stores, of processes or of the environment.

mod answers;
mod check;
mod complete;
mod documents;
mod fixes;
mod hints;
mod hover;
mod navigate;
mod position;
mod scan;
mod server;
mod transport;
mod words;

pub use hints::{Standing, Standings};
pub use server::{Ended, Setup, serve};
