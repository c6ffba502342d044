//! Steps as real processes, under the real supervisor, at every level that this host has.
#![cfg(target_os = "linux")]

mod bed;
mod container;
mod process;
mod sandbox;
