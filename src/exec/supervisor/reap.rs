//! Waiting for children with what they used.
//!
//! `wait4` is the only call that tells the peak memory of one child, and no safe wrapper of ours has it, so
//! this file holds one of the two unsafe blocks of the supervisor.

use std::io;

/// A child that ended.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    pub pid: i32,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Peak resident set in bytes: the largest of the child and of the descendants that it waited for.
    pub peak_resident: u64,
}

/// What [`next`] found.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    Ended(Reaped),
    /// Children are left, and all of them run.
    Running,
    /// No child is left.
    Alone,
}

/// Collects one child that has ended, without waiting.
pub fn next() -> io::Result<Next> {
    let mut status: libc::c_int = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live, writable memory of the right types, and all-zero bytes are a valid
    // `rusage`, so reading it is sound even where the call wrote nothing.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(-1, &mut status, libc::WNOHANG, usage.as_mut_ptr());
        (pid, usage.assume_init())
    };
    match pid {
        0 => Ok(Next::Running),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(Next::Alone),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(Next::Running),
            error => Err(error),
        },
        pid => Ok(Next::Ended(Reaped {
            pid,
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            user_ns: nanoseconds(usage.ru_utime),
            system_ns: nanoseconds(usage.ru_stime),
            peak_resident: bytes(usage.ru_maxrss),
        })),
    }
}

#[expect(clippy::useless_conversion, reason = "the fields are narrower on other systems")]
fn nanoseconds(time: libc::timeval) -> u64 {
    let micros = i64::from(time.tv_sec) * 1_000_000 + i64::from(time.tv_usec);
    u64::try_from(micros).unwrap_or(0) * 1_000
}

/// Linux counts in KiB, macOS in bytes.
fn bytes(max_rss: libc::c_long) -> u64 {
    let count = u64::try_from(max_rss).unwrap_or(0);
    if cfg!(target_os = "macos") { count } else { count << 10 }
}
