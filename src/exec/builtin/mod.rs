//! The actions that `pipe` carries out itself, without a process of the user's: fetching, unpacking, putting
//! trees together.
//!
//! Each module takes plain values and a scratch folder and gives back files or an entry of the store. None knows
//! of steps, keys, retries or screens: whoever runs a step decides on those.

pub mod control;
pub mod network;

pub mod fetch;
pub mod wheel;

mod archive;
pub mod unpack;

pub mod host_packages;

mod closure;
mod elf;
pub mod host_libraries;
pub mod tree;
