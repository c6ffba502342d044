//! `pipe`: Nix for benchmark matrices.
pub mod exec;
pub mod host;
pub mod pipeline;
pub mod record;
