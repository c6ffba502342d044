//! The control group of this process: its CPU quota, and how often it was throttled.
//!
//! A quota may be set on any group above ours, so every group up to the root is asked and the smallest counts.

use super::System;

/// The group files of one version of control groups that holds this process.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    unified: bool,
    /// Where the hierarchy is mounted: `/sys/fs/cgroup/cpu`.
    mount: String,
    /// This process's group below it: `/user/session`.
    path: String,
}

impl Group {
    /// The groups that may limit the processor: of version 1 its `cpu` hierarchy, and the one of version 2.
    fn all(system: &System) -> Vec<Group> {
        let own = system.text("proc/self/cgroup").unwrap_or_default();
        let mounts = system.text("proc/self/mountinfo").unwrap_or_default();
        own.lines().filter_map(|line| Group::of(line, &mounts)).collect()
    }

    fn of(line: &str, mounts: &str) -> Option<Group> {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let unified = controllers.is_empty();
        if !unified && !controllers.split(',').any(|controller| controller == "cpu") {
            return None;
        }
        mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let (filesystem, _, options) = (kind.next()?, kind.next()?, kind.next()?);
            let fits = match unified {
                true => filesystem == "cgroup2",
                false => filesystem == "cgroup" && options.split(',').any(|option| option == "cpu"),
            };
            let mut place = place.split(' ');
            let (root, mount) = (place.nth(3)?, place.next()?);
            // In a container the hierarchy is mounted from the container's own group downwards.
            let path = path.strip_prefix(root).unwrap_or(path).trim_matches('/').to_owned();
            fits.then(|| Group { unified, mount: mount.to_owned(), path })
        })
    }

    /// The folders of this group and of all above it.
    fn folders(&self) -> impl Iterator<Item = String> {
        let ends = self.path.match_indices('/').map(|(at, _)| at).chain([self.path.len()]);
        let below = ends.filter(|end| *end > 0).map(|end| format!("{}/{}", self.mount, &self.path[..end]));
        std::iter::once(self.mount.clone()).chain(below.collect::<Vec<_>>())
    }

    fn quota(&self, system: &System) -> Option<u64> {
        let of = |folder: String| {
            if self.unified {
                parse_cpu_max(&system.line(&format!("{folder}/cpu.max"))?)
            } else {
                let quota = system.line(&format!("{folder}/cpu.cfs_quota_us"))?;
                milli(&quota, &system.line(&format!("{folder}/cpu.cfs_period_us"))?)
            }
        };
        self.folders().filter_map(of).min()
    }
}

/// The smallest CPU quota, in thousandths of a processor.
pub fn cpu_quota_milli(system: &System) -> Option<u64> {
    Group::all(system).iter().filter_map(|group| group.quota(system)).min()
}

/// `200000 100000`, or `max 100000`.
fn parse_cpu_max(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    milli(quota, period)
}

/// A quota of `-1` or `max` is none.
fn milli(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// How often and for how long a group above was throttled since it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    pub times: u64,
    pub micros: u64,
}

impl Throttling {
    /// The sum over the groups of this process.
    pub fn now(system: &System) -> Throttling {
        let mut sum = Throttling::default();
        for group in Group::all(system) {
            for text in group.folders().filter_map(|folder| system.text(&format!("{folder}/cpu.stat"))) {
                let one = Throttling::parse(&text);
                sum.times += one.times;
                sum.micros += one.micros;
            }
        }
        sum
    }

    /// `cpu.stat`: microseconds in version 2, nanoseconds in version 1.
    fn parse(text: &str) -> Throttling {
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
        };
        Throttling {
            times: value("nr_throttled").unwrap_or(0),
            micros: value("throttled_usec").or(value("throttled_time").map(|nanos| nanos / 1000)).unwrap_or(0),
        }
    }
}
