//! The facts of a Linux machine, out of the texts of `/proc`, `/sys` and `/etc`.

use std::collections::BTreeSet;

use super::System;
use super::cgroup;
use crate::host::{Facts, Machine, Recorded};

/// What only a call tells.
#[derive(Debug, Clone)]
pub struct Calls {
    pub kernel: String,
    pub architecture: &'static str,
    pub libc: String,
    pub usable_cores: Option<u32>,
}

impl Calls {
    /// Asks the kernel and the C library.
    pub fn now() -> Calls {
        Calls {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH,
            libc: libc_version(),
            usable_cores: usable_cores(),
        }
    }
}

#[cfg(target_os = "linux")]
fn usable_cores() -> Option<u32> {
    rustix::thread::sched_getaffinity(None).ok().map(|set| set.count())
}

#[cfg(not(target_os = "linux"))]
fn usable_cores() -> Option<u32> {
    None
}

#[cfg(target_env = "gnu")]
fn libc_version() -> String {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const std::ffi::c_char;
    }
    // SAFETY: the function takes nothing and gives back a constant string that lives as long as the process.
    let version = unsafe { std::ffi::CStr::from_ptr(gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
fn libc_version() -> String {
    if cfg!(target_env = "musl") { "musl".to_owned() } else { "libSystem".to_owned() }
}

/// The facts that the files and calls tell.
pub fn facts(system: &System, calls: &Calls) -> Facts {
    let cpu = Cpu::parse(&system.text("proc/cpuinfo").unwrap_or_default());
    let memory = system.text("proc/meminfo").unwrap_or_default();
    let release = system.text("etc/os-release").or_else(|| system.text("usr/lib/os-release")).unwrap_or_default();
    let online = system.line("sys/devices/system/cpu/online").and_then(|text| count_of_list(&text));
    let logical_cores = online.unwrap_or(cpu.processors).max(1);
    Facts {
        machine: Machine {
            os: "linux".to_owned(),
            os_version: os_version(&release),
            architecture: calls.architecture.to_owned(),
            libc: calls.libc.clone(),
            physical_cores: cpu.physical_cores.or_else(|| cores_of_topology(system, logical_cores)),
            logical_cores,
            usable_cores: calls.usable_cores.unwrap_or(logical_cores),
            cpu_quota_milli: cgroup::cpu_quota_milli(system),
            memory_gib: meminfo(&memory, "MemTotal").map_or(0, gib),
            gpus: Vec::new(),
            virtualisation: virtualisation(system, cpu.hypervisor),
            cpu_model: cpu.model,
        },
        recorded: Recorded {
            kernel: calls.kernel.clone(),
            os_long: release_value(&release, "PRETTY_NAME").unwrap_or_default(),
            microcode: cpu.microcode,
            governor: system.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            driver: None,
            simd: cpu.simd,
            transparent_huge_pages: system
                .line("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| chosen(&text)),
            swap_total: meminfo(&memory, "SwapTotal"),
        },
    }
}

/// `debian 12`, or `arch` where a release has no version.
fn os_version(release: &str) -> String {
    let id = release_value(release, "ID").unwrap_or_else(|| "linux".to_owned());
    match release_value(release, "VERSION_ID") {
        Some(version) => format!("{id} {version}"),
        None => id,
    }
}

fn release_value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

/// A value of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whole GiB, rounded to the nearest: the kernel keeps a part of the memory for itself, and how much differs
/// between versions.
pub fn gib(bytes: u64) -> u64 {
    (bytes + (1 << 29)) >> 30
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// How many numbers a list as `0-3,8` names.
fn count_of_list(text: &str) -> Option<u32> {
    text.split(',').try_fold(0u32, |count, part| {
        let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        count.checked_add(to.checked_sub(from)?.checked_add(1)?)
    })
}

fn cores_of_topology(system: &System, logical: u32) -> Option<u32> {
    let cores: BTreeSet<(String, String)> = (0..logical)
        .map(|cpu| {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            let package = system.line(&format!("{folder}/physical_package_id"))?;
            Some((package, system.line(&format!("{folder}/core_id"))?))
        })
        .collect::<Option<_>>()?;
    u32::try_from(cores.len()).ok()
}

/// What `/proc/cpuinfo` tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cpu {
    model: String,
    microcode: Option<String>,
    processors: u32,
    physical_cores: Option<u32>,
    simd: Vec<String>,
    hypervisor: bool,
}

impl Cpu {
    fn parse(text: &str) -> Cpu {
        let value = |key: &str| {
            text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
        };
        let flags: BTreeSet<&str> = value("flags").or(value("Features")).unwrap_or("").split_whitespace().collect();
        let model = match value("model name") {
            Some(name) => name.split_whitespace().collect::<Vec<_>>().join(" "),
            None => arm_model(value("CPU implementer").unwrap_or(""), value("CPU part").unwrap_or("")),
        };
        let processors = text.lines().filter(|line| line.split(':').next().is_some_and(|k| k.trim() == "processor"));
        Cpu {
            model,
            microcode: value("microcode").map(str::to_owned),
            processors: u32::try_from(processors.count()).unwrap_or(0),
            physical_cores: physical_cores(text),
            simd: simd(&flags),
            hypervisor: flags.contains("hypervisor"),
        }
    }
}

/// Distinct pairs of socket and core; nothing where the text names none, as on arm64.
fn physical_cores(text: &str) -> Option<u32> {
    let mut cores = BTreeSet::new();
    let mut socket = "";
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match key.trim() {
            "physical id" => socket = value.trim(),
            "core id" => {
                cores.insert((socket, value.trim()));
            }
            _ => {}
        }
    }
    u32::try_from(cores.len()).ok().filter(|count| *count > 0)
}

/// The instruction sets that the engines choose between, under one name on every system.
fn simd(flags: &BTreeSet<&str>) -> Vec<String> {
    const KNOWN: &[(&str, &str)] = &[
        ("sse4_2", "sse4.2"),
        ("avx", "avx"),
        ("avx2", "avx2"),
        ("fma", "fma"),
        ("f16c", "f16c"),
        ("avx_vnni", "avx-vnni"),
        ("avx512f", "avx512f"),
        ("avx512bw", "avx512bw"),
        ("avx512_vnni", "avx512-vnni"),
        ("avx512_bf16", "avx512-bf16"),
        ("avx512_fp16", "avx512-fp16"),
        ("amx_tile", "amx-tile"),
        ("amx_int8", "amx-int8"),
        ("amx_bf16", "amx-bf16"),
        ("asimd", "neon"),
        ("asimdhp", "fp16"),
        ("asimddp", "dotprod"),
        ("i8mm", "i8mm"),
        ("bf16", "bf16"),
        ("sve", "sve"),
        ("sve2", "sve2"),
        ("sme", "sme"),
    ];
    KNOWN.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, name)| (*name).to_owned()).collect()
}

/// The name behind the numbers of an Arm processor, for those that servers and boards have.
fn arm_model(implementer: &str, part: &str) -> String {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Arm Cortex-A53",
        ("0x41", "0xd08") => "Arm Cortex-A72",
        ("0x41", "0xd0b") => "Arm Cortex-A76",
        ("0x41", "0xd0c") => "Arm Neoverse-N1",
        ("0x41", "0xd40") => "Arm Neoverse-V1",
        ("0x41", "0xd49") => "Arm Neoverse-N2",
        ("0x41", "0xd4f") => "Arm Neoverse-V2",
        ("0x61", _) => "Apple silicon",
        ("0xc0", "0xac3") => "Ampere-1",
        ("", "") => "unknown",
        _ => return format!("Arm implementer {implementer} part {part}"),
    };
    name.to_owned()
}

/// The machine below and the container around this process: `none`, `kvm`, `firecracker+docker`.
fn virtualisation(system: &System, hypervisor: bool) -> String {
    let parts: Vec<&str> = machine_below(system, hypervisor).into_iter().chain(container(system)).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join("+") }
}

fn machine_below(system: &System, hypervisor: bool) -> Option<&'static str> {
    let read = |path: &str| system.line(path).unwrap_or_default().to_lowercase();
    let dmi = format!("{} {}", read("sys/class/dmi/id/sys_vendor"), read("sys/class/dmi/id/product_name"));
    const BY_DMI: &[(&str, &str)] = &[
        ("amazon ec2", "ec2"),
        ("google compute engine", "gce"),
        ("microsoft corporation virtual", "hyperv"),
        ("vmware", "vmware"),
        ("virtualbox", "virtualbox"),
        ("apple virtualization", "apple-vz"),
        ("parallels", "parallels"),
        ("xen", "xen"),
        ("qemu", "kvm"),
        ("kvm", "kvm"),
    ];
    // A Firecracker guest has no DMI tables; its builders' kernels name it on the command line.
    if read("proc/cmdline").contains("firecracker") {
        return Some("firecracker");
    }
    // gVisor pretends to be this one kernel, always.
    if read("proc/version").starts_with("linux version 4.4.0 #1 smp sun jan 10 15:06:54 pst 2016") {
        return Some("gvisor");
    }
    let known = BY_DMI.iter().find(|(hint, _)| dmi.contains(hint)).map(|(_, name)| *name);
    if known == Some("ec2") && dmi.contains(".metal") {
        return None;
    }
    known.or_else(|| {
        let clock = read("sys/devices/system/clocksource/clocksource0/current_clocksource");
        let hypervisor_type = read("sys/hypervisor/type");
        match (hypervisor_type.as_str(), clock.as_str()) {
            ("xen", _) => Some("xen"),
            (_, "kvm-clock") => Some("kvm"),
            (_, clock) if clock.starts_with("hyperv") => Some("hyperv"),
            _ if hypervisor => Some("vm"),
            _ => None,
        }
    })
}

fn container(system: &System) -> Option<&'static str> {
    let cgroup = system.text("proc/self/cgroup").unwrap_or_default();
    if system.exists(".dockerenv") || cgroup.contains("/docker/") {
        Some("docker")
    } else if system.exists("run/.containerenv") || cgroup.contains("/libpod") {
        Some("podman")
    } else if cgroup.contains("/kubepods") {
        Some("kubernetes")
    } else if cgroup.contains("/lxc/") {
        Some("lxc")
    } else {
        None
    }
}
