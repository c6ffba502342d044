//! `pipe`: Nix for benchmark matrices.
pub mod cli;
pub mod diag;
pub mod event;
pub mod exec;
pub mod host;
pub mod key;
pub mod measure;
pub mod pipeline;
pub mod plan;
pub mod record;
pub mod report;
pub mod resolve;
pub mod stdlib;
pub mod syntax;
