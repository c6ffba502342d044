//! Supervisors that wait for their next child: one is started where none is free, so there are as many as children run
//! at the same time.
//!
//! They are kept with their ties to the runtime that used them last, since to tie and untie them for every child costs
//! more than to talk with it; another runtime ties them anew. Dropping one closes its socket, and with that it ends
//! whatever it still runs, and itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::runtime::{Handle, Id};

/// How long free supervisors may take to end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Free supervisors; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Supervisors(Arc<Free>);

#[derive(Debug, Default)]
struct Free(Mutex<Vec<Supervisor>>);

impl Free {
    fn list(&self) -> MutexGuard<'_, Vec<Supervisor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Free {
    /// Free ones have nothing to end and are gone at once. They are waited for, so that what a run has used is told to
    /// whoever waits for the run.
    fn drop(&mut self) {
        let left: Vec<Process> = self.list().drain(..).map(|supervisor| supervisor.process).collect();
        let until = Instant::now() + FAREWELL;
        for mut process in left {
            while Instant::now() < until && process.lives() {
                std::thread::sleep(Duration::from_micros(200));
            }
            if let Some(child) = &mut process.child
                && let Ok(Some(_)) = child.try_wait()
            {
                process.child = None;
            }
        }
    }
}

/// One supervisor and its log, which all that its children print goes through.
#[derive(Debug)]
pub struct Supervisor {
    pub socket: UnixStream,
    pub log: pipe::Receiver,
    pub process: Process,
    /// Whose socket and log they are.
    pub runtime: Id,
}

impl Supervisors {
    /// A free supervisor, or a new one, for use in the runtime that this is called in.
    pub fn take(&self, exe: &Path) -> io::Result<Supervisor> {
        let free = self.0.list().pop();
        match free {
            Some(supervisor) if supervisor.process.lives() => supervisor.in_this_runtime(),
            _ => Supervisor::start(exe),
        }
    }

    /// Takes back one whose child is gone.
    pub fn keep(&self, supervisor: Supervisor) {
        self.0.list().push(supervisor);
    }
}

impl Supervisor {
    #[expect(clippy::disallowed_methods, reason = "the supervisor is started here, and steps by the supervisor")]
    fn start(exe: &Path) -> io::Result<Supervisor> {
        let (socket, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (log, stderr) = io::pipe()?;
        rustix::io::ioctl_fionbio(&log, true)?;
        socket.set_nonblocking(true)?;
        let group = note()?;
        let stdout = group.try_clone()?;
        let child = std::process::Command::new(exe)
            .arg("__sup")
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            // A Ctrl-C at the terminal is for `pipe`, which then asks the supervisor.
            .process_group(0)
            .spawn()?;
        Ok(Supervisor {
            socket: UnixStream::from_std(socket)?,
            log: pipe::Receiver::from_owned_fd_unchecked(log.into())?,
            process: Process { child: Some(child), group },
            runtime: Handle::current().id(),
        })
    }

    fn in_this_runtime(self) -> io::Result<Supervisor> {
        let runtime = Handle::current().id();
        if self.runtime == runtime {
            return Ok(self);
        }
        Ok(Supervisor {
            socket: UnixStream::from_std(self.socket.into_std()?)?,
            log: pipe::Receiver::from_owned_fd_unchecked(self.log.into_nonblocking_fd()?)?,
            process: self.process,
            runtime,
        })
    }
}

/// A file without a name.
fn note() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        let file = rustix::fs::memfd_create("pipe-group", rustix::fs::MemfdFlags::CLOEXEC)?;
        Ok(file.into())
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

/// The process itself, apart from the socket, which is closed before this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    /// Where the supervisor notes its child's process group.
    group: File,
}

impl Process {
    /// True where the process has not ended meanwhile.
    fn lives(&self) -> bool {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        // One that has ended and was not waited for can be seen without taking its end away.
        let asked = rustix::process::WaitIdOptions::EXITED
            | rustix::process::WaitIdOptions::NOHANG
            | rustix::process::WaitIdOptions::NOWAIT;
        pid.is_some_and(|pid| matches!(rustix::process::waitid(rustix::process::WaitId::Pid(pid), asked), Ok(None)))
    }

    /// Kills it, and the group of the child that it may have left.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
        let mut number = [0; 4];
        let told =
            self.group.read_exact_at(&mut number, 0).ok().and_then(|()| Pid::from_raw(i32::from_ne_bytes(number)));
        if let Some(group) = told {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It ends by itself, in a while if it has much to end. Without a thread it is waited for when `pipe` is gone.
        let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(move || child.wait());
    }
}
