//! The scenarios: each breaks one thing in many ways, and leaves the judging to the checker.

mod boxed;
pub mod crowd;
pub mod damage;
pub mod disks;
pub mod interrupt;
pub mod kill;
pub mod power;
pub mod syscalls;
pub mod vary;
