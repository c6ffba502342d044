//! What a child used, for the benchmarks that start `pipe`.

/// Waits for a child: how it ended, as `wait4` tells it, and its largest resident set in bytes.
pub fn wait(child: &mut std::process::Child) -> (libc::c_int, f64) {
    let pid = libc::pid_t::try_from(child.id()).expect("a process number");
    let mut status = 0;
    // SAFETY: all zeroes is a valid `rusage`, and both pointers are to live values of the right types.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid, "the child is ours");
        usage
    };
    // Linux counts in KiB.
    let unit = if cfg!(target_os = "macos") { 1.0 } else { 1024.0 };
    (status, usage.ru_maxrss as f64 * unit)
}
