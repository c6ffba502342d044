//! The descendants of a process: who they are, what they hold, and how to end all of them.
//!
//! Linux only finds those that left the process group; elsewhere the group is all there is. A process that
//! forks while it is being listed is met again in the next round, so callers repeat until none is left.

use std::time::Duration;

use rustix::process::{Pid, Signal};

/// All descendants of `root`, parents before children, zombies left out.
#[cfg(target_os = "linux")]
pub fn descendants(root: Pid) -> Vec<Pid> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The command name may hold blanks and brackets, so fields count from the last closing one.
        let Some((_, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = fields.split(' ');
        let state = fields.next();
        let Some(parent) = fields.next().and_then(|field| field.parse().ok()) else {
            continue;
        };
        if state != Some("Z") {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.drain(1..).filter_map(Pid::from_raw).collect()
}

/// No way to list them here.
#[cfg(not(target_os = "linux"))]
pub fn descendants(_root: Pid) -> Vec<Pid> {
    Vec::new()
}

/// Sends `signal` to the group of `child` and to every descendant of this process, wherever it moved.
/// Those that are gone already are no error.
pub fn signal_all(child: Option<Pid>, signal: Signal) {
    if let Some(child) = child {
        let _ = rustix::process::kill_process_group(child, signal);
    }
    for pid in descendants(rustix::process::getpid()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Waits until some child of this process has ended, or as long as `limit`; where the system has no descriptors of
/// processes, a moment.
pub fn wait_for_one(limit: Duration) {
    const MOMENT: Duration = Duration::from_millis(1);
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open};
        let me = rustix::process::getpid().as_raw_nonzero();
        let list = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
        let pids = list.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        // A few are enough: there is always another round.
        let open: Vec<_> = pids.take(16).filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect();
        let mut polled: Vec<_> = open.iter().map(|pid| PollFd::new(pid, PollFlags::IN)).collect();
        if !polled.is_empty() {
            let tv_sec = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            let limit = Timespec { tv_sec, tv_nsec: i64::from(limit.subsec_nanos()) };
            // One that was cut short is another round.
            let _ = poll(&mut polled, Some(&limit));
            return;
        }
    }
    std::thread::sleep(limit.min(MOMENT));
}

/// Sends `signal` to the descendants of `child`, and not to `child` itself.
pub fn signal_below(child: Pid, signal: Signal) {
    for pid in descendants(child) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends `signal` to the group of `child` and to all descendants of this process, as they name their children: much
/// faster than [`signal_all`], and good enough where nobody forks meanwhile.
pub fn signal_quickly(child: impl Into<Option<Pid>>, signal: Signal) {
    if let Some(child) = child.into() {
        let _ = rustix::process::kill_process_group(child, signal);
    }
    for pid in below(usize::MAX).unwrap_or_default() {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Private memory that all descendants of this process hold, in bytes: pages shared with files or with the
/// store are not theirs.
pub fn private_memory() -> u64 {
    descendants(rustix::process::getpid()).into_iter().map(private_memory_of).sum()
}

/// Memory that processes hold, in bytes, each page that several share counted once: the sum of their proportional sets
/// (`Pss`). `None` where the system does not tell.
pub fn memory(family: &[Pid]) -> Option<u64> {
    let sets = family.iter().copied().filter_map(proportional_set);
    sets.reduce(|sum, set| sum + set)
}

/// All descendants of this process as each names its children: much faster than listing all processes of the machine,
/// and good enough for a look. Where the kernel does not say, all processes are listed. `None` where they have more than
/// `most` threads together, which is all that is counted then.
pub fn below(most: usize) -> Option<Vec<Pid>> {
    let root = rustix::process::getpid();
    let mut found = vec![root];
    let (mut at, mut tasks) = (0, 0);
    while at < found.len() {
        let pid = found[at].as_raw_nonzero();
        at += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            tasks += 1;
            match std::fs::read_to_string(thread.path().join("children")) {
                Ok(list) => found.extend(list.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?))),
                Err(_) if at == 1 => return Some(descendants(root)).filter(|found| found.len() <= most),
                Err(_) => {}
            }
        }
        // This process itself is not its own descendant.
        if tasks.max(found.len()) - 1 > most {
            return None;
        }
    }
    Some(found.split_off(1))
}

fn proportional_set(pid: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"))?;
    kib.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn private_memory_of(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let Ok(status) = std::fs::read_to_string(path) else {
        return 0;
    };
    status
        .lines()
        .filter_map(|line| line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:")))
        .filter_map(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib << 10)
        .sum()
}
