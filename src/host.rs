//! Facts of this machine: what makes two machines equal for a measurement, and what only gets recorded.
//!
//! [`Facts`] is plain data, filled by `probe` and replaced by simulated facts in tests. It knows nothing of
//! pipelines. Every fact that a host may not tell is an `Option`: a missing fact is never a zero.

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};

pub mod energy;
pub mod load;
pub mod probe;
pub mod sentinel;
pub mod thermal;
pub mod tools;

/// The virtualisation of a machine that a test made up.
pub const SIMULATED: &str = "simulated";

/// What this machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub machine: Machine,
    /// Recorded with a measurement, and part of no key.
    pub recorded: Recorded,
}

/// What makes two machines equal for a measurement (design, section 10).
///
/// Not here: host name, user, patch levels, uptime, load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `linux` or `macos`.
    pub os: String,
    /// The system's release: `debian 12`, `macos 15`.
    pub os_version: String,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// `glibc 2.36`, `musl`, or `libSystem`.
    pub libc: String,
    pub cpu_model: String,
    pub physical_cores: Option<u32>,
    pub logical_cores: u32,
    /// Processors that this process may run on.
    pub usable_cores: u32,
    /// CPU quota of the control group, in thousandths of a processor.
    pub cpu_quota_milli: Option<u64>,
    /// Rounded to whole GiB.
    pub memory_gib: u64,
    pub gpus: Vec<Gpu>,
    /// `none`, `kvm`, `firecracker`, `docker`, …, as far as the machine tells.
    pub virtualisation: String,
}

/// One accelerator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    pub model: String,
    pub memory_gib: u64,
    /// The first number of the driver's version: `580`.
    pub driver_major: String,
}

/// Facts that explain a figure but don't make it another machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub kernel: String,
    pub os_long: String,
    pub microcode: Option<String>,
    pub governor: Option<String>,
    pub driver: Option<String>,
    /// The instruction sets that matter to the engines: `avx2`, `avx512f`, `neon`.
    pub simd: Vec<String>,
    pub transparent_huge_pages: Option<String>,
    pub swap_total: Option<u64>,
}

impl Machine {
    /// Which builds can run here: operating system, architecture, libc and its version.
    pub fn platform(&self) -> String {
        format!("{}-{}-{}", self.os, self.architecture, self.libc.replace(' ', "-"))
    }

    /// The machine key of a native measurement; `runtime` adds a container's runtime.
    pub fn key(&self, runtime: Option<&Runtime>) -> Digest {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        if let Some(runtime) = runtime {
            text.push('\n');
            text.push_str(&serde_json::to_string(runtime).unwrap_or_default());
        }
        Digest::derive("pipe 2026 machine-key v1", text.as_bytes())
    }

    /// One line for a person: `AMD EPYC, 2 cores, 24 GiB, debian 12 x86_64 (firecracker)`.
    pub fn line(&self) -> String {
        let gpus: String = self.gpus.iter().map(|gpu| format!(", {}", gpu.model)).collect();
        let place = match self.virtualisation.as_str() {
            "none" | "" => String::new(),
            name => format!(" ({name})"),
        };
        format!(
            "{}, {} cores, {} GiB{gpus}, {} {}{place}",
            self.cpu_model, self.usable_cores, self.memory_gib, self.os_version, self.architecture
        )
    }
}

/// A container runtime, as it answered last; kept in the store, so that cached cells stay hits while it is down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `docker` or `podman`.
    pub name: String,
    /// Major and minor version: `20.10`.
    pub version: String,
    /// `linux/x86_64`: what its containers are.
    pub platform: String,
    pub cgroup_version: String,
    /// Processors and memory that the runtime has (of its virtual machine, where it has one).
    pub cpus: u32,
    pub memory_gib: u64,
}
