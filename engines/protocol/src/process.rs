//! What this process has used, and how long ago it began, from the host's own books.
//! A host that doesn't tell gives `None`, never a guess.

use rustix::time::{ClockId, clock_gettime};

use crate::message::Usage;

/// Nanoseconds since the process was started. Linux counts the start in hundredths of a second.
pub fn since_start() -> Option<u64> {
    host::since_start()
}

/// What was used so far; the device's memory is the engine's to tell.
pub fn usage() -> Usage {
    let (seconds, nanos) = reading(ClockId::ProcessCPUTime);
    Usage {
        peak_resident: host::peak_resident(),
        peak_device: None,
        cpu_ns: Some(seconds * 1_000_000_000 + nanos),
        major_faults: host::major_faults(),
    }
}

fn reading(clock: ClockId) -> (u64, u64) {
    let time = clock_gettime(clock);
    // Neither clock runs below zero.
    (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs())
}

#[cfg(target_os = "linux")]
mod host {
    use std::fs;

    use rustix::time::ClockId;

    /// Numbers of `/proc/self/stat` counted from the state, the first after the name (proc(5) counts it as 3).
    const MAJOR_FAULTS: usize = 12 - 3;
    const START: usize = 22 - 3;

    pub fn since_start() -> Option<u64> {
        let ticks = rustix::param::clock_ticks_per_second();
        let started = stat_number(&fs::read_to_string("/proc/self/stat").ok()?, START)?;
        let started_ns = u128::from(started) * 1_000_000_000 / u128::from(ticks);
        let (seconds, nanos) = super::reading(ClockId::Boottime);
        let now_ns = u128::from(seconds) * 1_000_000_000 + u128::from(nanos);
        u64::try_from(now_ns.checked_sub(started_ns)?).ok()
    }

    pub fn major_faults() -> Option<u64> {
        stat_number(&fs::read_to_string("/proc/self/stat").ok()?, MAJOR_FAULTS)
    }

    pub fn peak_resident() -> Option<u64> {
        high_water(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// The process's name may hold spaces and brackets: what is counted follows the last bracket.
    pub(super) fn stat_number(stat: &str, index: usize) -> Option<u64> {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(index)?.parse().ok()
    }

    pub(super) fn high_water(status: &str) -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }
}

#[cfg(target_os = "macos")]
mod host {
    use std::ffi::{c_int, c_void};

    /// `RUSAGE_INFO_V4` of `sys/resource.h`: 37 numbers of 64 bits, of which a buffer of 64 holds more.
    const FLAVOR: c_int = 4;
    const LIFETIME_MAX_PHYS_FOOTPRINT: usize = 30;
    const PAGE_INS: usize = 6;

    unsafe extern "C" {
        fn proc_pid_rusage(pid: c_int, flavor: c_int, buffer: *mut c_void) -> c_int;
    }

    pub fn since_start() -> Option<u64> {
        None
    }

    pub fn major_faults() -> Option<u64> {
        number(PAGE_INS)
    }

    pub fn peak_resident() -> Option<u64> {
        number(LIFETIME_MAX_PHYS_FOOTPRINT)
    }

    fn number(index: usize) -> Option<u64> {
        let mut buffer = [0_u64; 64];
        let pid = c_int::try_from(std::process::id()).ok()?;
        // SAFETY: the buffer is aligned for and larger than what the flavor writes.
        let status = unsafe { proc_pid_rusage(pid, FLAVOR, buffer.as_mut_ptr().cast()) };
        (status == 0).then(|| buffer[index])
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::host::{high_water, stat_number};

    #[test]
    fn a_name_with_brackets_does_not_shift_the_numbers() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 42 0 5 6 0 0 20 0 1 0 12345 1000";
        assert_eq!(stat_number(stat, 9), Some(42));
        assert_eq!(stat_number(stat, 19), Some(12345));
        assert_eq!(stat_number("nothing", 1), None);
    }

    #[test]
    fn the_high_water_mark_is_in_bytes() {
        assert_eq!(high_water("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(high_water("VmPeak:\t 9 kB\n"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = super::usage();
        assert!(usage.peak_resident > Some(1 << 16), "{usage:?}");
        assert!(usage.cpu_ns > Some(0), "{usage:?}");
        assert!(super::since_start().is_some());
    }
}
