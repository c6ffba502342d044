//! What a whole command used: time by the clock, time of processors, memory.

/// What a command used, all that it started and waited for included.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub wall: f64,
    /// User and system time.
    pub cpu: f64,
    /// The largest resident set of one process, in bytes.
    pub peak: f64,
}

/// Runs a command to its end, which must be a good one.
#[expect(clippy::zombie_processes, reason = "`wait4` waits, and tells what was used")]
pub fn used(command: &mut std::process::Command) -> Used {
    let before = std::time::Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = libc::pid_t::try_from(child.id()).expect("a process number");
    let mut status = 0;
    // SAFETY: all zeroes is a valid `rusage`, and both pointers are to live values of the right types.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid, "the child is ours");
        usage
    };
    let wall = before.elapsed().as_secs_f64();
    assert_eq!(status, 0, "{command:?} failed");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let unit = if cfg!(target_os = "macos") { 1.0 } else { 1024.0 };
    Used { wall, cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak: usage.ru_maxrss as f64 * unit }
}
