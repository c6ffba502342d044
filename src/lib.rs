//! `pipe`: Nix for benchmark matrices.
//!
//! ```text
//! text --syntax--> Document --resolve--> Pipeline --plan--> Plan (DAG of StepIds)
//!     --for each ready step--> Manifest --> Key --> record? hit
//!                                                \-> miss: slot -> workdir -> sandbox|container -> Outcome -> store -> Record
//! Records --measure--> Summary + cautions --report--> terminal, Markdown, CSV, JSON, SVG, HTML
//! ```
//!
//! Modules in reading order; each may use only those above it (`tests/tidy.rs` holds that). Text knows nothing
//! of plans, plans nothing of processes, processes nothing of screens.
//!
//! Invariants, and where each is tested:
//!
//! - A key is computed when a step becomes ready, from the **contents** of its inputs; an upstream step that
//!   runs again to identical bytes stops the wave (`tests/run.rs`, `an_edit_runs_what_it_changes…`).
//! - `plan` and `run` take one path up to where something would start ([`exec::survey`]), so the run never
//!   contradicts what the plan calls cached or runs (`a_plan_says_what_the_run_then_does`).
//! - In no key: comments, formatting, names, absolute paths, user, time, parallelism, retries, timeouts, sample
//!   counts (`what_is_no_input_runs_nothing`, `a_moved_checkout_runs_nothing`, and a test for each row of the
//!   table in [`key`]).
//! - Missing is `None`, broken is `Err`, a failed step is an [`exec::outcome::Outcome`]. A failed, killed or
//!   timed-out step is never cached; `unavailable` is never a record. Out of memory that an engine *reports* is
//!   a result of this machine (`an_engine_that_fails_is_one_failed_cell`, `memory_that_an_engine_reports…`).
//! - Blobs before the record, the record last; a run that could not store its result fails
//!   (`a_killed_run_leaves_nothing_and_the_next_goes_on`, and the tests of `pipe-cache`).
//! - Nothing of a run outlives it: no process, no container, no scratch (`tests/stop.rs`, `tests/exec`).

pub mod diag;
pub mod syntax;

pub mod stdlib;

pub mod pipeline;

pub mod resolve;

pub mod plan;

pub mod host;
pub mod record;

pub mod key;

pub mod event;

pub mod measure;

pub mod exec;

pub mod report;

pub mod lsp;

pub mod cli;
