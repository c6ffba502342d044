//! Running a step's program under a supervisor: start, wait, time limit, cancel, log, figures.
//!
//! Dropping a future or an [`EngineProcess`] ends its processes, since the supervisor ends what it started
//! when its socket closes. This module knows nothing of steps, keys or the store; what the program may see is
//! [`sandbox`]'s business.

pub mod log;
pub mod redact;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::sandbox;
use super::supervisor::wire::{self, Ended, Notice, Order, Secrets};
use crate::record::{Sandbox, StepUsage};

pub use super::sandbox::{Bubblewrap, Mount};
/// Asks a running process to end; clones ask the same.
pub use tokio_util::sync::CancellationToken as Cancel;

/// How long a program has to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long the supervisor has to tell the end after that, before it is itself killed.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(6);

/// What starts programs.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The executable whose hidden subcommand `__sup` is the supervisor: `pipe` itself.
    pub exe: PathBuf,
    /// For `strict`; [`sandbox::probe()`] finds it.
    pub bubblewrap: Option<Bubblewrap>,
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
            mounts: Vec::new(),
            tool_roots: Vec::new(),
            devices: Vec::new(),
            network: false,
            sandbox,
            timeout: None,
            memory: None,
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
    /// The supervisor went away without a word.
    #[error("the supervisor of `{program}` was killed, perhaps by the system for want of memory")]
    Lost { program: PathBuf },
}

/// Runs a program to its end; its stdout and stderr go to the log.
pub async fn run(launcher: &Launcher, spec: ProcessSpec, cancel: Cancel) -> Result<Exit, ProcessError> {
    let null = open_null()?;
    let (reader, writer) = pipe_pair()?;
    let writer_too = writer.try_clone().map_err(|source| supervisor_error(launcher, source))?;
    let running = start(launcher, spec, reader, [null, writer_too, writer]).await?;
    running.wait(&cancel).await
}

/// Starts an engine; its stdin and stdout are ours to talk on, and its stderr goes to the log.
pub async fn start_engine(
    launcher: &Launcher,
    spec: ProcessSpec,
    cancel: Cancel,
) -> Result<EngineProcess, ProcessError> {
    let failed = |source| supervisor_error(launcher, source);
    let (engine_stdin, ours_in) = pipe_pair()?;
    let (ours_out, engine_stdout) = pipe_pair()?;
    let (reader, stderr) = pipe_pair()?;
    let stdin = pipe::Sender::from_owned_fd(ours_in).map_err(failed)?;
    let stdout = pipe::Receiver::from_owned_fd(ours_out).map_err(failed)?;
    let running = start(launcher, spec, reader, [engine_stdin, engine_stdout, stderr]).await?;
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

/// A child under its supervisor.
#[derive(Debug)]
struct Running {
    supervisor: tokio::process::Child,
    exe: PathBuf,
    program: PathBuf,
    orders: OwnedWriteHalf,
    notices: BufReader<OwnedReadHalf>,
    log: JoinHandle<io::Result<()>>,
    log_path: PathBuf,
    deadline: Option<tokio::time::Instant>,
    /// The child's process group, to end it should the supervisor be lost.
    group: Option<rustix::process::Pid>,
}

#[expect(clippy::disallowed_methods, reason = "the supervisor is started here, and steps by the supervisor")]
async fn start(
    launcher: &Launcher,
    spec: ProcessSpec,
    log_end: OwnedFd,
    descriptors: [OwnedFd; 3],
) -> Result<Running, ProcessError> {
    let failed = |source| supervisor_error(launcher, source);
    sandbox::prepare(&spec)?;
    let order = Order::Start(Box::new(sandbox::plan(&spec, launcher.bubblewrap.as_ref())?));
    let log_file = log::Log::create(&spec.log, spec.hidden.clone())
        .map_err(|source| ProcessError::Log { path: spec.log.clone(), source })?;
    let log_end = pipe::Receiver::from_owned_fd(log_end).map_err(failed)?;

    let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
    let stderr = descriptors[2].try_clone().map_err(failed)?;
    let supervisor = tokio::process::Command::new(&launcher.exe)
        .arg("__sup")
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(stderr)
        // A Ctrl-C at the terminal is for `pipe`, which then asks the supervisor.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    wire::send_descriptors(&ours, [descriptors[0].as_fd(), descriptors[1].as_fd(), descriptors[2].as_fd()])
        .map_err(failed)?;
    drop(descriptors);

    ours.set_nonblocking(true).map_err(failed)?;
    let (notices, orders) = tokio::net::UnixStream::from_std(ours).map_err(failed)?.into_split();
    let mut running = Running {
        supervisor,
        exe: launcher.exe.clone(),
        program: spec.program,
        orders,
        notices: BufReader::new(notices),
        log: tokio::spawn(log_file.fill(log_end)),
        log_path: spec.log,
        deadline: spec.timeout.map(|timeout| tokio::time::Instant::now() + timeout),
        group: None,
    };
    running.order(&order).await?;
    match running.notice().await? {
        Some(Notice::Started { pid }) => running.group = rustix::process::Pid::from_raw(pid),
        Some(Notice::Refused { message }) => return Err(ProcessError::Start { message }),
        Some(Notice::Ended(_)) | None => {
            return Err(ProcessError::Lost { program: running.program.clone() });
        }
    }
    Ok(running)
}

impl Running {
    async fn order(&mut self, order: &Order) -> Result<(), ProcessError> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::from).map_err(|e| self.failed(e))?;
        line.push(b'\n');
        let written = self.orders.write_all(&line).await;
        written.map_err(|error| self.failed(error))
    }

    async fn notice(&mut self) -> Result<Option<Notice>, ProcessError> {
        let mut line = String::new();
        let read = self.notices.read_line(&mut line).await;
        match read {
            Ok(0) => Ok(None),
            // A supervisor that is killed while orders are unread resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(self.failed(error)),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|error| self.failed(error.into())),
        }
    }

    fn failed(&self, source: io::Error) -> ProcessError {
        ProcessError::Supervisor { exe: self.exe.clone(), source }
    }

    async fn wait(mut self, cancel: &Cancel) -> Result<Exit, ProcessError> {
        let mut stopped = None;
        let ended = loop {
            let deadline = self.deadline.filter(|_| stopped.is_none());
            let cancelled = async {
                match stopped {
                    None => cancel.cancelled().await,
                    Some(_) => tokio::time::sleep(GRACE + SUPERVISOR_LIMIT).await,
                }
            };
            let asked = tokio::select! {
                biased;
                notice = self.notice() => match notice? {
                    Some(Notice::Ended(ended)) => break ended,
                    Some(_) => continue,
                    None => return Err(self.lost()),
                },
                () = cancelled => Status::Cancelled,
                () = until(deadline) => Status::TimedOut,
            };
            if stopped.is_some() {
                return Err(self.lost());
            }
            stopped = Some(asked);
            let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(0);
            // A supervisor that is gone is noticed by the next reading.
            let _ = self.order(&Order::Stop { grace_ms }).await;
        };
        let exit = Exit { status: status(&ended, stopped), usage: usage(&ended) };
        self.close().await?;
        Ok(exit)
    }

    /// Ends the group of a child whose supervisor does not answer.
    fn lost(&mut self) -> ProcessError {
        let _ = self.supervisor.start_kill();
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        ProcessError::Lost { program: self.program.clone() }
    }

    /// Lets the supervisor go and finishes the log.
    async fn close(self) -> Result<(), ProcessError> {
        let Running { mut supervisor, orders, notices, mut log, log_path, .. } = self;
        drop((orders, notices));
        if tokio::time::timeout(SUPERVISOR_LIMIT, supervisor.wait()).await.is_err() {
            let _ = supervisor.start_kill();
        }
        let written = match tokio::time::timeout(SUPERVISOR_LIMIT, &mut log).await {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => {
                log.abort();
                Err(io::Error::new(io::ErrorKind::TimedOut, "something still holds it open"))
            }
        };
        written.map_err(|source| ProcessError::Log { path: log_path, source })
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn status(ended: &Ended, stopped: Option<Status>) -> Status {
    match (ended.over_memory, stopped, ended.signal, ended.code) {
        (true, ..) => Status::OverMemory,
        // What ended well in the same moment has ended well.
        (_, Some(asked), _, code) if code != Some(0) => asked,
        (_, _, Some(signal), _) => Status::Signal(signal),
        (_, _, None, code) => Status::Code(code.unwrap_or(-1)),
    }
}

fn usage(ended: &Ended) -> StepUsage {
    StepUsage {
        wall_ns: ended.wall_ns,
        user_ns: ended.user_ns,
        system_ns: ended.system_ns,
        peak_resident: Some(ended.peak_resident),
    }
}

fn open_null() -> Result<OwnedFd, ProcessError> {
    let path = Path::new("/dev/null");
    let file = std::fs::File::open(path).map_err(|source| ProcessError::Prepare { path: path.to_owned(), source })?;
    Ok(file.into())
}

fn pipe_pair() -> Result<(OwnedFd, OwnedFd), ProcessError> {
    let (reader, writer) = io::pipe().map_err(|source| ProcessError::Start {
        message: format!("no pipe could be made: {source}; see `ulimit -n`"),
    })?;
    Ok((reader.into(), writer.into()))
}

fn supervisor_error(launcher: &Launcher, source: io::Error) -> ProcessError {
    ProcessError::Supervisor { exe: launcher.exe.clone(), source }
}
