//! Machines that are not here, by what their files would say.

use std::fs;

use super::linux::{Calls, facts};
use super::*;

/// A folder that looks like `/` of some machine, from pairs of path and text.
fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }
    let system = System::at(folder.path());
    (folder, system)
}

fn calls(architecture: &'static str) -> Calls {
    Calls { kernel: "6.1.0".into(), architecture, libc: "glibc 2.36".into(), usable_cores: Some(2) }
}

fn read(files: &[(&str, &str)], architecture: &'static str) -> Facts {
    let (_folder, system) = system(files);
    facts(&system, &calls(architecture))
}

const X86: &str = "\
processor\t: 0
model name\t: AMD EPYC  7B13
microcode\t: 0xffffffff
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse4_2 avx avx2 fma hypervisor

processor\t: 1
model name\t: AMD EPYC  7B13
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu
";

const ARM: &str = "\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd asimddp sve
CPU implementer\t: 0x41
CPU part\t: 0xd40

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd40
";

const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";

#[test]
fn a_virtual_server() {
    let facts = read(
        &[
            ("proc/cpuinfo", X86),
            ("proc/meminfo", "MemTotal:       24603772 kB\nSwapTotal:       1024 kB\n"),
            ("etc/os-release", DEBIAN),
            ("sys/devices/system/cpu/online", "0-1\n"),
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ],
        "x86_64",
    );
    let machine = &facts.machine;
    assert_eq!(machine.line(), "AMD EPYC 7B13, 2 cores, 23 GiB, debian 12 x86_64 (kvm)");
    assert_eq!((machine.physical_cores, machine.logical_cores), (Some(1), 2));
    assert_eq!(machine.cpu_quota_milli, None);
    assert_eq!(facts.recorded.simd, ["sse4.2", "avx", "avx2", "fma"]);
    assert_eq!(facts.recorded.swap_total, Some(1 << 20));
    assert_eq!(facts.recorded.transparent_huge_pages.as_deref(), Some("madvise"));
    assert_eq!(facts.recorded.governor.as_deref(), Some("performance"));
    assert_eq!(facts.recorded.os_long, "Debian GNU/Linux 12 (bookworm)");
}

#[test]
fn an_arm_server_gets_its_cores_from_the_topology() {
    let facts = read(
        &[
            ("proc/cpuinfo", ARM),
            ("proc/meminfo", "MemTotal: 16777216 kB\n"),
            ("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n"),
            ("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
            ("sys/devices/system/cpu/cpu0/topology/core_id", "0\n"),
            ("sys/devices/system/cpu/cpu1/topology/physical_package_id", "0\n"),
            ("sys/devices/system/cpu/cpu1/topology/core_id", "1\n"),
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
            ("sys/class/dmi/id/product_name", "c7g.large\n"),
        ],
        "aarch64",
    );
    assert_eq!(facts.machine.line(), "Arm Neoverse-V1, 2 cores, 16 GiB, amzn 2023 aarch64 (ec2)");
    assert_eq!(facts.machine.physical_cores, Some(2));
    assert_eq!(facts.recorded.simd, ["neon", "dotprod", "sve"]);
}

#[test]
fn a_mac() {
    let text = "kern.osproductversion: 15.1\nkern.osrelease: 24.1.0\nkern.hv_vmm_present: 0\n\
                machdep.cpu.brand_string: Apple M1 Max\nhw.physicalcpu: 10\nhw.logicalcpu: 10\n\
                hw.memsize: 34359738368\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_BF16: 0\n";
    let facts = macos::facts(text, "aarch64");
    assert_eq!(facts.machine.line(), "Apple M1 Max, 10 cores, 32 GiB, Apple M1 Max GPU, macos 15 aarch64");
    assert_eq!(facts.machine.platform(), "macos-aarch64-libSystem");
    assert_eq!(facts.recorded.simd, ["neon", "dotprod"]);
}

#[test]
fn a_machine_that_tells_nothing_is_no_error() {
    let facts = read(&[], "x86_64");
    assert_eq!(facts.machine.cpu_model, "unknown");
    assert_eq!(facts.machine.logical_cores, 1);
    assert_eq!(facts.recorded.swap_total, None);
}

#[test]
fn virtualisation_is_told_by_many_hints() {
    let kind = |files: &[(&str, &str)]| read(files, "x86_64").machine.virtualisation;
    assert_eq!(kind(&[]), "none");
    assert_eq!(kind(&[("proc/cpuinfo", "flags : hypervisor\n")]), "vm");
    assert_eq!(kind(&[("proc/cmdline", "init=/x --firecracker-init\n"), (".dockerenv", "")]), "firecracker+docker");
    let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(kind(&[(clock, "kvm-clock\n")]), "kvm");
    assert_eq!(kind(&[("proc/self/cgroup", "0::/kubepods.slice/x\n")]), "kubernetes");
    let metal = [("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"), ("sys/class/dmi/id/product_name", "c5.metal\n")];
    assert_eq!(kind(&metal), "none");
}

#[test]
fn quotas_of_both_versions_count_from_every_group_above() {
    let v2 = [
        ("proc/self/cgroup", "0::/a/b\n"),
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"),
        ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
    ];
    assert_eq!(read(&v2, "x86_64").machine.cpu_quota_milli, Some(1500));
    let v1 = [
        ("proc/self/cgroup", "4:memory:/m\n3:cpu,cpuacct:/docker/x\n0::/\n"),
        ("proc/self/mountinfo", "31 23 0:27 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ];
    assert_eq!(read(&v1, "x86_64").machine.cpu_quota_milli, Some(500));
    let none = [v1[0], v1[1], ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"), v1[3]];
    assert_eq!(read(&none, "x86_64").machine.cpu_quota_milli, None);
}

#[test]
fn throttling_is_counted_in_both_versions() {
    let (_folder, system) = system(&[
        ("proc/self/cgroup", "0::/a\n"),
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        ("sys/fs/cgroup/a/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 4200\n"),
    ]);
    assert_eq!(Throttling::now(&system), Throttling { times: 3, micros: 4200 });
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine_has_what_every_linux_machine_has() {
    let facts = probe();
    assert_eq!(facts.machine.os, "linux");
    assert!(facts.machine.logical_cores >= facts.machine.usable_cores && facts.machine.usable_cores >= 1);
    assert!(!facts.recorded.kernel.is_empty() && facts.recorded.swap_total.is_some());
}

#[test]
fn an_accelerator_is_what_lies_there() {
    let at = |files: &[&str], os: &str, architecture: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        kind_of_accelerator(&System::at(folder.path()), os, architecture)
    };
    assert_eq!(at(&[], "linux", "x86_64"), "none");
    assert_eq!(at(&["dev/nvidia0"], "linux", "aarch64"), "nvidia");
    assert_eq!(at(&["proc/driver/nvidia/version"], "linux", "x86_64"), "nvidia");
    assert_eq!(at(&[], "macos", "aarch64"), "metal");
    assert_eq!(at(&["dev/nvidia0"], "macos", "x86_64"), "none");
}
