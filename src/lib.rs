//! `pipe`: Nix for benchmark matrices.
pub mod pipeline;
