//! `pipe`: Nix for benchmark matrices.
pub mod diag;
pub mod pipeline;
pub mod resolve;
pub mod stdlib;
pub mod syntax;
