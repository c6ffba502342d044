//! `pipe`: Nix for benchmark matrices.
pub mod host;
pub mod pipeline;
pub mod record;
