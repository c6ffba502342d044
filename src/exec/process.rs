//! Running a step's program under a supervisor: start, wait, time limit, cancel, log, figures.
//!
//! Dropping a future or an [`EngineProcess`] ends its processes, since the supervisor ends what it started
//! when its socket closes. A supervisor whose child has ended is kept for the next one. This module knows nothing of steps, keys or the store; what the program may see is
//! [`sandbox`]'s business.

pub mod log;
pub mod redact;
mod running;
pub mod strays;
pub mod supervisors;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::unix::pipe;

use self::running::Running;
use self::supervisors::Supervisors;
use super::supervisor::bounds;
use super::supervisor::wire::Secrets;
use crate::record::{Sandbox, StepUsage};

pub use super::sandbox::{Bubblewrap, Mount};
/// Asks a running process to end; clones ask the same.
pub use tokio_util::sync::CancellationToken as Cancel;

/// What starts programs.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The executable whose hidden subcommand `__sup` is the supervisor: `pipe` itself.
    pub exe: PathBuf,
    /// For `strict`; [`sandbox::probe()`] finds it.
    pub bubblewrap: Option<Bubblewrap>,
    /// Those that run nothing now; clones share them.
    pub supervisors: Supervisors,
}

impl Launcher {
    /// Without any supervisor yet.
    pub fn new(exe: impl Into<PathBuf>, bubblewrap: Option<Bubblewrap>) -> Launcher {
        Launcher { exe: exe.into(), bubblewrap, supervisors: Supervisors::default() }
    }
}

/// A program and what it may see.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Absolute as the step sees it, or relative to the working folder with a slash in it.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// All of the environment; `HOME` and `TMPDIR` are set to the folder's `tmp` where they are not in it.
    pub env: BTreeMap<String, String>,
    /// The step's own folder, absolute. `in`, `out` and `tmp` are made in it. It is the working folder, and
    /// is seen as `/pipe` under `strict`.
    pub workdir: PathBuf,
    /// Whoever filled the folder has made these three already.
    pub has_folders: bool,
    /// Read-only inputs.
    pub mounts: Vec<Mount>,
    /// Folders of the host's tools, shown read-only where they are.
    pub tool_roots: Vec<PathBuf>,
    /// `/dev/nvidia0` and the like; giving any shows `/sys` too. The driver's libraries lie in `/usr`.
    pub devices: Vec<PathBuf>,
    pub network: bool,
    pub sandbox: Sandbox,
    /// Counted by the monotonic clock, which stands still while the machine sleeps.
    pub timeout: Option<Duration>,
    /// Private memory that all processes of the step may hold together.
    pub memory: Option<u64>,
    /// So many processes and threads it may be at a time, with all that it started.
    pub processes: u32,
    /// Files with secrets.
    pub secrets: Option<Secrets>,
    /// What is kept out of the log.
    pub hidden: redact::Redactor,
    /// Gets stdout and stderr, or stderr alone of an engine; see [`log`].
    pub log: PathBuf,
}

impl ProcessSpec {
    /// A program with no arguments, inputs, network or limits.
    pub fn new(
        program: impl Into<PathBuf>,
        workdir: impl Into<PathBuf>,
        sandbox: Sandbox,
        log: impl Into<PathBuf>,
    ) -> ProcessSpec {
        ProcessSpec {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            workdir: workdir.into(),
            has_folders: false,
            mounts: Vec::new(),
            tool_roots: Vec::new(),
            devices: Vec::new(),
            network: false,
            sandbox,
            timeout: None,
            memory: None,
            processes: bounds::most_processes(),
            secrets: None,
            hidden: redact::Redactor::default(),
            log: log.into(),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Code(i32),
    /// Under `strict` also where the program exited with 128 + n, as shells do for a child that signal n killed.
    Signal(i32),
    TimedOut,
    Cancelled,
    /// Killed for holding more than [`ProcessSpec::memory`].
    OverMemory,
    /// Killed for being more than [`ProcessSpec::processes`].
    OverProcesses,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "exit code {code}"),
            Status::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Status::TimedOut => f.write_str("its time limit"),
            Status::Cancelled => f.write_str("an interruption"),
            Status::OverMemory => f.write_str("its memory limit"),
            Status::OverProcesses => {
                write!(f, "its limit of {} processes and threads at once", bounds::most_processes())
            }
        }
    }
}

/// The names that a person may have met.
fn signal_name(number: i32) -> Option<&'static str> {
    const NAMES: [(i32, &str); 11] = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL: an instruction that this processor lacks"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL: often the system, out of memory"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// How a program ended, and what it used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exit {
    pub status: Status,
    pub usage: StepUsage,
    /// Whether it printed anything; where it did not, there is no log file.
    pub printed: bool,
}

/// Why it can't be said how a program ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// `strict` was asked for, and nothing can do it.
    #[error("level `strict` needs `bwrap`: install `bubblewrap`, or choose a weaker level with `--sandbox`")]
    NoBubblewrap,
    /// An input would lie outside the working folder.
    #[error("an input can't be put at `{at}`: it must lie below the working folder")]
    MountOutside { at: String },
    /// The working folder could not be made ready.
    #[error("`{path}` could not be made: {source}")]
    Prepare { path: PathBuf, source: io::Error },
    /// The log could not be written.
    #[error("the log `{path}` could not be written: {source}")]
    Log { path: PathBuf, source: io::Error },
    /// The supervisor could not be started or spoken to.
    #[error("the supervisor `{exe}` could not be used: {source}")]
    Supervisor { exe: PathBuf, source: io::Error },
    /// The program could not be started.
    #[error("{message}")]
    Start { message: String },
    /// Something that the program started is still there, and may write to its folder.
    #[error("a process that `{program}` started could not be killed; what it left may still change")]
    Survived { program: PathBuf },
    /// The supervisor went away without a word.
    #[error("the supervisor of `{program}` was killed, perhaps by the system for want of memory")]
    Lost { program: PathBuf },
}

/// Runs a program to its end; its stdout and stderr go to the log.
pub async fn run(launcher: &Launcher, spec: ProcessSpec, cancel: Cancel) -> Result<Exit, ProcessError> {
    Running::start(launcher, spec, None).await?.wait(&cancel).await
}

/// Starts an engine; its stdin and stdout are ours to talk on, and its stderr goes to the log.
pub async fn start_engine(
    launcher: &Launcher,
    spec: ProcessSpec,
    cancel: Cancel,
) -> Result<EngineProcess, ProcessError> {
    let failed = |source| running::unusable(launcher, source);
    let (engine_stdin, ours_in) = pipe_pair()?;
    let (ours_out, engine_stdout) = pipe_pair()?;
    let stdin = pipe::Sender::from_owned_fd(ours_in).map_err(failed)?;
    let stdout = pipe::Receiver::from_owned_fd(ours_out).map_err(failed)?;
    let running = Running::start(launcher, spec, Some([engine_stdin, engine_stdout])).await?;
    Ok(EngineProcess { stdin: Some(stdin), stdout: Some(stdout), running, cancel })
}

/// An engine that runs. Dropping it ends it.
#[derive(Debug)]
pub struct EngineProcess {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    running: Running,
    cancel: Cancel,
}

impl EngineProcess {
    /// The two ends to talk on, once.
    pub fn take_link(&mut self) -> Option<(pipe::Receiver, pipe::Sender)> {
        Some((self.stdout.take()?, self.stdin.take()?))
    }

    /// Stops all of its processes where they are, or lets them go on; what it is asked meanwhile waits in its stdin.
    pub async fn rest(&mut self, rest: bool) -> Result<(), ProcessError> {
        self.running.rest(rest).await
    }

    /// Waits for the end; an engine ends when its stdin does, so a link that was not taken is closed first.
    pub async fn wait(mut self) -> Result<Exit, ProcessError> {
        (self.stdin, self.stdout) = (None, None);
        let cancel = self.cancel.clone();
        self.running.wait(&cancel).await
    }

    /// Asks the engine to end, waits, and says how it ended: the way out of an engine that hangs.
    pub async fn stop(mut self) -> Result<Exit, ProcessError> {
        (self.stdin, self.stdout) = (None, None);
        let cancel = Cancel::new();
        cancel.cancel();
        self.running.wait(&cancel).await
    }

    /// Says how an engine ended that has closed its link; one that lives on for `moment` is stopped.
    pub async fn settle(mut self, moment: Duration) -> Result<Exit, ProcessError> {
        (self.stdin, self.stdout) = (None, None);
        let cancel = Cancel::new();
        let later = async {
            tokio::time::sleep(moment).await;
            cancel.cancel();
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            exit = self.running.wait(&cancel) => exit,
            never = later => match never {},
        }
    }
}

fn pipe_pair() -> Result<(OwnedFd, OwnedFd), ProcessError> {
    let (reader, writer) = io::pipe().map_err(|source| ProcessError::Start {
        message: format!("no pipe could be made: {source}; see `ulimit -n`"),
    })?;
    Ok((reader.into(), writer.into()))
}
