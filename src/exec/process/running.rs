//! A child under its supervisor: the order, its log while it runs, and the supervisor's word on how it ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::runtime::Id;
use tokio::task::JoinHandle;

use super::log::Log;
use super::strays;
use super::supervisors::{Process, Supervisor, Supervisors};
use super::{Cancel, Exit, Launcher, ProcessError, ProcessSpec, Status};
use crate::exec::sandbox;
use crate::exec::supervisor::wire::{self, Ended, Notice, Order, Over, Streams};
use crate::record::StepUsage;

/// How long a program has to end by itself once it was asked to. Two seconds after a Ctrl-C nothing may be left, and what
/// is killed then needs a moment to be gone.
const GRACE: Duration = Duration::from_millis(1500);
/// How long the supervisor has to tell the end after that, before it is itself killed.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(6);

/// A child that runs. Dropping this ends it.
#[derive(Debug)]
pub struct Running {
    talk: Talk,
    log: Following,
    log_path: PathBuf,
    deadline: Option<tokio::time::Instant>,
    supervisors: Supervisors,
}

impl Running {
    /// Starts the program; `streams` become its stdin and stdout where somebody is to talk with it.
    pub async fn start(
        launcher: &Launcher,
        spec: ProcessSpec,
        streams: Option<[OwnedFd; 2]>,
    ) -> Result<Running, ProcessError> {
        let failed = |source| unusable(launcher, source);
        sandbox::prepare(&spec)?;
        let (program, workdir, log_path) = (spec.program.clone(), spec.workdir.clone(), spec.log.clone());
        let timeout = spec.timeout;
        let log = Log::create(&log_path, spec.hidden.clone());
        let mut start = sandbox::plan(spec, launcher.bubblewrap.as_ref())?;
        let talked = streams.is_some();
        start.streams = if talked { Streams::Sent } else { Streams::Log };

        let Supervisor { socket, log: reader, process, runtime } =
            launcher.supervisors.take(&launcher.exe).map_err(failed)?;
        let exe = launcher.exe.clone();
        let mut talk = Talk { socket, process, runtime, received: Vec::new(), exe, program, workdir };
        let follow = Follow { log, reader: Some(reader), failed: None, bytes: Vec::new() };
        let log = if talked { Following::apart(follow) } else { Following::Here(Box::new(follow)) };
        talk.order(&Order::Start(Box::new(start)), streams).await?;
        if talked {
            match talk.notice().await? {
                Some(Notice::Started) => {}
                Some(Notice::Refused { message }) => return Err(ProcessError::Start { message }),
                Some(Notice::Ended(_)) | None => return Err(talk.lost()),
            }
        }
        Ok(Running {
            talk,
            log,
            log_path,
            deadline: timeout.map(|timeout| tokio::time::Instant::now() + timeout),
            supervisors: launcher.supervisors.clone(),
        })
    }

    /// Stops the child where it is, or lets it go on.
    pub async fn rest(&mut self, rest: bool) -> Result<(), ProcessError> {
        self.talk.order(&Order::Rest { rest }, None).await
    }

    /// Waits for the end, and brings it about at the time limit or where `cancel` asks for it.
    pub async fn wait(mut self, cancel: &Cancel) -> Result<Exit, ProcessError> {
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
                notice = self.talk.notice() => match notice? {
                    Some(Notice::Ended(ended)) => break ended,
                    Some(Notice::Refused { message }) => {
                        self.finish().await?;
                        return Err(ProcessError::Start { message });
                    }
                    Some(Notice::Started) => continue,
                    None => return Err(self.talk.lost()),
                },
                () = self.log.next() => continue,
                () = cancelled => Status::Cancelled,
                () = until(deadline) => Status::TimedOut,
            };
            if stopped.is_some() {
                return Err(self.talk.lost());
            }
            stopped = Some(asked);
            let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(0);
            // A supervisor that is gone is noticed by the next reading.
            let _ = self.talk.order(&Order::Stop { grace_ms }, None).await;
        };
        if ended.survived {
            return Err(ProcessError::Survived { program: self.talk.program.clone() });
        }
        let is_engine = matches!(self.log, Following::Apart { .. });
        let printed = self.finish().await?;
        Ok(Exit { status: status(&ended, stopped, is_engine), usage: usage(&ended), printed })
    }

    /// Finishes the log; true where it has anything in it. The supervisor is free for the next child.
    async fn finish(self) -> Result<bool, ProcessError> {
        let finished = match self.log {
            Following::Here(follow) => follow.finish(),
            Following::Apart { task, over } => {
                over.cancel();
                task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        let (log, printed) = finished.map_err(|source| ProcessError::Log { path: self.log_path, source })?;
        let Talk { socket, process, runtime, .. } = self.talk;
        if let Some(log) = log {
            self.supervisors.keep(Supervisor { socket, log, process, runtime });
        }
        Ok(printed)
    }
}

/// Who writes the log.
#[derive(Debug)]
enum Following {
    /// Whoever waits for the end. Boxed, for those that have a task and not this.
    Here(Box<Follow>),
    /// A task of its own, since whoever talks with the child does not wait for its end meanwhile.
    Apart {
        task: JoinHandle<io::Result<(Option<pipe::Receiver>, bool)>>,
        /// Tells it that nothing more will come.
        over: Cancel,
    },
}

impl Following {
    fn apart(mut follow: Follow) -> Following {
        let over = Cancel::new();
        let task = tokio::spawn({
            let over = over.clone();
            async move {
                loop {
                    tokio::select! {
                        biased;
                        () = follow.next() => {}
                        () = over.cancelled() => return follow.finish(),
                    }
                }
            }
        });
        Following::Apart { task, over }
    }

    /// Writes what is printed next. Waits for ever where that is done elsewhere; nothing is lost if it is not waited for.
    async fn next(&mut self) {
        match self {
            Following::Here(follow) => follow.next().await,
            Following::Apart { .. } => std::future::pending().await,
        }
    }
}

/// Writes what a child prints to its log.
#[derive(Debug)]
struct Follow {
    log: Log,
    /// `None` once nothing more can be read or written: who prints then is told so by the system.
    reader: Option<pipe::Receiver>,
    failed: Option<io::Error>,
    /// Most children print nothing, and need no room.
    bytes: Vec<u8>,
}

impl Follow {
    /// Writes what is printed next; waits for ever once nothing more can be.
    async fn next(&mut self) {
        let Some(reader) = &self.reader else { return std::future::pending().await };
        let taken = match reader.readable().await {
            Ok(()) => {
                self.bytes.resize(64 << 10, 0);
                match reader.try_read(&mut self.bytes) {
                    // It ends with the supervisor; whoever waits for the child hears of that.
                    Ok(0) => return self.reader = None,
                    Ok(count) => self.log.take(&self.bytes[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.reader = None;
            self.failed = Some(error);
        }
    }

    /// Writes the rest, when all who could print are gone; true where anything was printed.
    fn finish(mut self) -> io::Result<(Option<pipe::Receiver>, bool)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while let Some(reader) = &self.reader {
            // The system itself is asked: what the runtime knows may be out of date.
            let mut rest = [0; 4 << 10];
            match rustix::io::read(reader, &mut rest) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(count) => self.log.take(&rest[..count])?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((self.reader, self.log.finish()?))
    }
}

/// The talk with a supervisor that has a child. Dropping it closes the socket, and the supervisor ends.
#[derive(Debug)]
struct Talk {
    socket: UnixStream,
    process: Process,
    runtime: Id,
    received: Vec<u8>,
    exe: PathBuf,
    program: PathBuf,
    workdir: PathBuf,
}

impl Talk {
    /// Sends an order, with the descriptors that belong to it.
    async fn order(&mut self, order: &Order, descriptors: Option<[OwnedFd; 2]>) -> Result<(), ProcessError> {
        let sent = async {
            let bytes = wire::encode(order)?;
            let mut sent = 0;
            if let Some([stdin, stdout]) = &descriptors {
                let given = [stdin.as_fd(), stdout.as_fd()];
                let send = || wire::send_with(&self.socket, &bytes, given);
                sent = self.socket.async_io(Interest::WRITABLE, send).await?;
            }
            self.socket.write_all(&bytes[sent..]).await
        };
        sent.await.map_err(|error| self.failed(error))
    }

    /// What the supervisor says next; `None` where it is gone. Nothing is lost if this is not waited for to the end.
    async fn notice(&mut self) -> Result<Option<Notice>, ProcessError> {
        loop {
            if let Some(notice) = wire::decode(&mut self.received).map_err(|error| self.failed(error))? {
                return Ok(Some(notice));
            }
            let mut bytes = [0; 4 << 10];
            match self.socket.read(&mut bytes).await {
                Ok(0) => return Ok(None),
                // A supervisor that is killed while orders are unread resets the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(self.failed(error)),
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// Ends the group of a child whose supervisor does not answer, and what has left it.
    fn lost(&mut self) -> ProcessError {
        self.process.kill();
        strays::end(&self.workdir);
        ProcessError::Lost { program: self.program.clone() }
    }

    fn failed(&self, source: io::Error) -> ProcessError {
        ProcessError::Supervisor { exe: self.exe.clone(), source }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn status(ended: &Ended, stopped: Option<Status>, is_engine: bool) -> Status {
    match (ended.over, stopped, ended.signal, ended.code) {
        (Some(Over::Memory), ..) => Status::OverMemory,
        (Some(Over::Processes), ..) => Status::OverProcesses,
        // A step that takes it well may have made half of its output. The end of an engine is no result.
        (_, Some(asked), _, code) if !is_engine || code != Some(0) => asked,
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
        peak_tree: ended.peak_tree,
    }
}

/// A supervisor that can't be started or spoken to.
pub fn unusable(launcher: &Launcher, source: io::Error) -> ProcessError {
    ProcessError::Supervisor { exe: launcher.exe.clone(), source }
}
