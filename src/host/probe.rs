//! Reads the facts of this machine, without starting a process.
//!
//! Everything is read from files of the kernel and a few calls, then given to pure functions that take text, so
//! that machines which are not here (an arm64 server, a Mac) are tested by what they would say. A fact that can't
//! be read stays empty. This module knows nothing of measuring.

use std::fs;
use std::path::{Path, PathBuf};

use super::Facts;

mod cgroup;
mod gpu;
mod linux;
mod macos;

pub(super) use cgroup::Throttling;
pub(super) use gpu::library;

/// The facts of this machine.
pub fn probe() -> Facts {
    if cfg!(target_os = "macos") {
        return macos::facts(&macos::sysctl_text(), std::env::consts::ARCH);
    }
    let system = System::at(Path::new("/"));
    let mut facts = linux::facts(&system, &linux::Calls::now());
    (facts.machine.gpus, facts.recorded.driver) = gpu::nvidia();
    facts
}

/// The kind of accelerator that `when host-gpu=` asks for, by what lies there; no driver is asked.
pub fn accelerator() -> &'static str {
    kind_of_accelerator(&System::at(Path::new("/")), std::env::consts::OS, std::env::consts::ARCH)
}

fn kind_of_accelerator(system: &System, os: &str, architecture: &str) -> &'static str {
    match os {
        "macos" if architecture == "aarch64" => "metal",
        "linux" if system.exists("/dev/nvidia0") || system.exists("/proc/driver/nvidia/version") => "nvidia",
        _ => "none",
    }
}

/// What `pipe` itself runs on, without a look at anything: system, architecture, C library, kernel.
pub fn ground() -> [String; 4] {
    let calls = linux::Calls::now();
    [std::env::consts::OS.to_owned(), calls.architecture.to_owned(), calls.libc, calls.kernel]
}

/// The files of a system, below `/` or below a folder of a test.
#[derive(Debug)]
pub(super) struct System {
    root: PathBuf,
}

impl System {
    pub(super) fn at(root: &Path) -> System {
        System { root: root.to_owned() }
    }

    /// The text of a file; a file that is missing or can't be read is one that says nothing.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read(self.path(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file of one line, without the line's end; nothing where it is empty.
    pub(super) fn line(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

#[cfg(test)]
#[path = "probe/tests.rs"]
mod tests;
