//! What the process sees of the place where it runs: processors, limits, user, network.
//! It looks and reports; whether that is what was asked for is the runner's to judge.

use std::fs;
use std::path::{Path, PathBuf};

use crate::message::Inside;

/// Looks around.
pub fn look() -> Inside {
    let limits = limits(&|path| fs::read_to_string(path).ok());
    Inside {
        cpus: cpus(),
        cpu_quota_milli: limits.cpu_quota_milli,
        memory_limit: limits.memory,
        uid: rustix::process::getuid().as_raw(),
        root_writable: is_root_writable(),
        network_interfaces: network_interfaces(&|path| fs::read_to_string(path).ok()),
        architecture: std::env::consts::ARCH.to_owned(),
    }
}

#[cfg(target_os = "linux")]
fn cpus() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(0, |mask| mask.count())
}

#[cfg(not(target_os = "linux"))]
fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Asks the kernel, for neither the mount's options nor the user tell for certain.
fn is_root_writable() -> bool {
    let probe = PathBuf::from(format!("/.pipe-probe-{}", std::process::id()));
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&probe).is_ok();
    made && fs::remove_file(&probe).is_ok()
}

/// Text of a file, if it can be read: the host, or a test's copy of one.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Interfaces of this network namespace that are up. `/proc` is asked for the names, for it always shows
/// the reader's own namespace, while a `/sys` may be another's. A Mac has no `/proc` and is told nothing.
fn network_interfaces(read: Read) -> Vec<String> {
    let Some(table) = read(Path::new("/proc/self/net/dev")) else {
        return Vec::new();
    };
    let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let mut up: Vec<String> = names.filter(|name| *name != "lo" && is_up(name, read)).map(str::to_owned).collect();
    up.sort();
    up
}

/// An interface whose flags can't be read counts as up: a network is rather reported than overlooked.
fn is_up(name: &str, read: Read) -> bool {
    let Some(flags) = read(&Path::new("/sys/class/net").join(name).join("flags")) else {
        return true;
    };
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 1 == 1)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Limits {
    cpu_quota_milli: Option<u64>,
    memory: Option<u64>,
}

/// Limits of the control groups that the process is in, versions 1 and 2; the tightest on the way up holds.
fn limits(read: Read) -> Limits {
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut found = Limits::default();
    for folder in folders(&mounts, &groups) {
        let text = |name: &str| read(&folder.join(name));
        let quota = text("cpu.max").and_then(|text| quota_v2(&text)).or_else(|| {
            let quota = text("cpu.cfs_quota_us")?.trim().parse().ok()?;
            milli(quota, text("cpu.cfs_period_us")?.trim().parse().ok()?)
        });
        let memory = ["memory.max", "memory.limit_in_bytes"]
            .into_iter()
            .find_map(|name| text(name)?.trim().parse().ok())
            // Version 1 says "no limit" by the largest multiple of a page.
            .filter(|limit: &u64| *limit < 1 << 60);
        found.cpu_quota_milli = least(found.cpu_quota_milli, quota);
        found.memory = least(found.memory, memory);
    }
    found
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// `max 100000`, or a quota and its period in microseconds.
fn quota_v2(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    milli(quota.parse().ok()?, period.parse().ok()?)
}

fn milli(quota: i64, period: u64) -> Option<u64> {
    let quota = u64::try_from(quota).ok()?;
    quota.checked_mul(1000)?.checked_div(period)
}

/// The folders of the process's groups, from its own up to the mount.
fn folders(mounts: &str, groups: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for mount in mounts.lines().filter_map(parse_mount) {
        let own = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let same = match mount.version {
                // Version 2 has no controllers in its line; version 1 mounts them by name.
                2 => controllers.is_empty(),
                _ => controllers.split(',').any(|name| mount.controllers.contains(&name)),
            };
            same.then_some(path)
        });
        let Some(own) = own else { continue };
        // Inside of a container the mount shows a subtree whose path outside is the mount's root. A group
        // that the mount doesn't show is above it, so that the mount's own limits are the nearest known.
        let below = Path::new(own).strip_prefix(mount.root).unwrap_or(Path::new(""));
        let below = below.ancestors().filter(|path| !path.starts_with(".."));
        all.extend(below.map(|path| mount.point.join(path)));
    }
    all
}

struct Mount<'a> {
    version: u8,
    root: &'a str,
    point: PathBuf,
    controllers: Vec<&'a str>,
}

/// A line of `mountinfo` (proc(5)), if it is of a control group.
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => 1,
        "cgroup2" => 2,
        _ => return None,
    };
    let controllers = right.nth(1).unwrap_or_default().split(',').collect();
    Some(Mount { version, root, point: PathBuf::from(point), controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        |path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn limits_of_version_2() {
        let files = [
            ("/proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"),
            ("/proc/self/cgroup", "0::/user/job\n"),
            ("/sys/fs/cgroup/user/job/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/user/job/memory.max", "max\n"),
            ("/sys/fs/cgroup/user/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/user/cpu.max", "max 100000\n"),
        ];
        let expected = Limits { cpu_quota_milli: Some(1500), memory: Some(1 << 30) };
        assert_eq!(limits(&host(&files)), expected);
    }

    #[test]
    fn limits_of_version_1_in_a_container() {
        let files = [
            (
                "/proc/self/mountinfo",
                "1 0 0:1 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 2 0 0:2 /docker/ab /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("/proc/self/cgroup", "9:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/docker/ab\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "6442450944\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        let expected = Limits { cpu_quota_milli: Some(2000), memory: Some(6 << 30) };
        assert_eq!(limits(&host(&files)), expected);
    }

    #[test]
    fn no_limit_is_none() {
        let files = [
            ("/proc/self/mountinfo", "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
            ("/proc/self/cgroup", "9:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/memory/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(limits(&host(&files)), Limits::default());
        assert_eq!(limits(&|_| None), Limits::default());
    }

    #[test]
    fn the_loop_back_interface_and_those_down_are_left_out() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth1: 3 4\n  eth0: 3 4\n tunl0: 0 0\n";
        let files = [
            ("/proc/self/net/dev", table),
            ("/sys/class/net/eth0/flags", "0x1003\n"),
            ("/sys/class/net/tunl0/flags", "0x80\n"),
        ];
        assert_eq!(network_interfaces(&host(&files)), ["eth0", "eth1"]);
    }

    #[test]
    fn this_place_has_a_processor() {
        let seen = look();
        assert!(seen.cpus > 0);
        assert_eq!(seen.architecture, std::env::consts::ARCH);
    }
}
