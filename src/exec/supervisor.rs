//! The small process between `pipe` and a step's program: `pipe __sup`.
//!
//! ```text
//! pipe ── socket pair ── pipe __sup ─┬─ bwrap … program   level strict
//!                                    └─ program           levels fs and off
//! ```
//!
//! It exists for two reasons. A child inherits its parent's peak resident set, so a program's own peak can
//! only be seen from a small parent. And when `pipe` is killed, someone must be left to end what it started:
//! the supervisor sees the socket close, and ends every descendant, also those that left the process group,
//! since it is their reaper (Linux). When the supervisor itself is killed, the kernel kills its child.
//!
//! One supervisor runs one child after another, and tells of a child's end when nothing that it started is left. It
//! knows nothing of sandboxes beyond [`wire::Confine`], of timeouts or of steps. Its stderr is where children print,
//! and its stdout a file of `pipe`'s with the number of the child's process group, for a `pipe` that loses it.

pub mod bounds;
pub mod confine;
pub mod family;
#[cfg(target_os = "linux")]
mod filter;
pub mod guard;
pub mod held;
mod launch;
mod memory;
mod reap;
pub mod wire;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};

use self::memory::Looks;
use self::reap::{Next, Reaped};
use self::wire::{Confine, Ended, Inbox, Notice, Order, Over, Start, Streams};

/// How long to try to kill what will not die before giving up on it.
const KILL_LIMIT: Duration = Duration::from_secs(3);
/// How long the first that were killed may take to end before all of the machine is looked through.
const FIRST_ROUND: Duration = Duration::from_millis(20);
/// How often a child is looked at where the system has no descriptor to wait for it.
const CHILD_TICK: Duration = Duration::from_millis(10);

/// The hidden subcommand: `args` are those after its name.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = match args.next() {
        None => {
            let served = serve();
            // Whatever ended the serving, also a `pipe` that was killed in the middle of a start.
            let ended = end_all(None, &mut Used::default());
            served.and(ended.map(drop)).map_err(|error| error.to_string())
        }
        Some(word) if word == "guard" => guard::main(args).map_err(|error| error.to_string()),
        Some(word) => Err(format!("`{}` is no order", word.display())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Stderr is the step's log here, and the only place where a reason can be left.
            let _ = writeln!(io::stderr(), "pipe: {message}");
            ExitCode::from(126)
        }
    }
}

/// Serves the socket on stdin until it closes.
fn serve() -> io::Result<()> {
    keep_descriptors_from_children()?;
    bounds::put_on();
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let nothing = File::open("/dev/null")?;
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut inbox = Inbox::default();
    while let Some(order) = wait_for_order(&socket, &mut inbox)? {
        // A late `Stop` for a child that has just ended asks for nothing.
        let Order::Start(start) = order else { continue };
        let talked = start.streams == Streams::Sent;
        let descriptors = if talked { Some(inbox.take_descriptors()?) } else { None };
        let held = start.secrets.as_ref().map(held::Held::make).transpose();
        let held = held.map_err(|error| format!("the files with its secrets could not be made: {error}"));
        match held.and_then(|held| Ok((spawn(&start, descriptors, &nothing)?, held))) {
            Err(message) => say(&socket, &Notice::Refused { message })?,
            // What is held goes when this child and all that it started are gone.
            Ok((child, held)) => {
                if talked {
                    say(&socket, &Notice::Started)?;
                }
                let Some(ended) = watch(child, &socket, &mut inbox)? else {
                    return Ok(());
                };
                drop(held);
                say(&socket, &Notice::Ended(ended))?;
            }
        }
    }
    Ok(())
}

fn wait_for_order(socket: &UnixStream, inbox: &mut Inbox) -> io::Result<Option<Order>> {
    loop {
        if let Some(order) = inbox.next_order()? {
            return Ok(Some(order));
        }
        if !inbox.fill(socket)? {
            return Ok(None);
        }
    }
}

fn say(mut socket: &UnixStream, notice: &Notice) -> io::Result<()> {
    socket.write_all(&wire::encode(notice)?)
}

/// A running child.
struct Child {
    pid: Pid,
    since: Instant,
    /// Kills of `Namespaces` must spare the outermost process, which would take all others down at once.
    namespaces: bool,
    looks: Looks,
    #[cfg(target_os = "linux")]
    ending: OwnedFd,
}

fn spawn(start: &Start, descriptors: Option<[OwnedFd; 2]>, nothing: &File) -> Result<Child, String> {
    let stderr = io::stderr();
    // An earlier child may have made the log's pipe one that doesn't wait.
    let _ = rustix::fs::fcntl_setfl(&stderr, rustix::fs::OFlags::empty());
    let streams = match &descriptors {
        Some([stdin, stdout]) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        None => [nothing.as_fd(), stderr.as_fd(), stderr.as_fd()],
    };
    let since = Instant::now();
    let pid = launch::launch(start, streams)?;
    // For whoever has to end the group without us; what can't be told is no reason not to go on.
    let _ = rustix::io::pwrite(io::stdout(), &pid.as_raw_nonzero().get().to_ne_bytes(), 0);
    Ok(Child {
        pid,
        since,
        namespaces: start.confine == Confine::Namespaces,
        looks: Looks::new(start.memory, start.processes, start.streams == Streams::Log, since),
        #[cfg(target_os = "linux")]
        ending: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(|error| format!("the process could not be watched: {error}"))?,
    })
}

/// Why the child is being ended.
struct Stopping {
    kill_at: Instant,
    killed: bool,
}

/// Waits until the child and all its descendants are gone; `None` where `pipe` went first.
fn watch(mut child: Child, socket: &UnixStream, inbox: &mut Inbox) -> io::Result<Option<Ended>> {
    let mut stopping: Option<Stopping> = None;
    let mut over = None;
    let mut used = Used::default();
    loop {
        if let Some(reaped) = reap_until(child.pid, &mut used)? {
            let wall = child.since.elapsed();
            let survived = !end_all(None, &mut used)?;
            return Ok(Some(Ended { survived, ..ended(&child, reaped, wall, used, over) }));
        }
        // Before anything is waited for: one may have come together with the order to start.
        while let Some(order) = inbox.next_order()? {
            match (order, &stopping) {
                (Order::Stop { grace_ms }, None) => {
                    ask_to_end(&child);
                    // One that is at rest hears of it only when it goes on.
                    family::signal_quickly(child.pid, Signal::CONT);
                    let kill_at = Instant::now() + Duration::from_millis(grace_ms);
                    stopping = Some(Stopping { kill_at, killed: false });
                }
                (Order::Rest { rest }, None) => {
                    family::signal_quickly(child.pid, if rest { Signal::STOP } else { Signal::CONT });
                }
                (Order::Start(_) | Order::Stop { .. } | Order::Rest { .. }, _) => {}
            }
        }
        let now = Instant::now();
        if let Some(stop) = stopping.as_mut().filter(|stop| !stop.killed && stop.kill_at <= now) {
            family::signal_all(Some(child.pid), Signal::KILL);
            stop.killed = true;
        }
        if let (Some(what), None) = (child.looks.look(now), over) {
            over = Some(what);
            family::signal_all(Some(child.pid), Signal::KILL);
        }
        let waiting = [
            child.looks.wait(now),
            stopping.as_ref().filter(|stop| !stop.killed).map(|stop| stop.kill_at.saturating_duration_since(now)),
            (!cfg!(target_os = "linux")).then_some(CHILD_TICK),
        ];
        if !poll(&child, socket, waiting.into_iter().flatten().min())? {
            continue;
        }
        if !inbox.fill(socket)? {
            end_all(Some(child.pid), &mut used)?;
            return Ok(None);
        }
    }
}

fn ask_to_end(child: &Child) {
    if child.namespaces {
        family::signal_below(child.pid, Signal::TERM);
    } else {
        family::signal_all(Some(child.pid), Signal::TERM);
    }
}

/// Waits for the child's end or something to read; true where it is the latter.
fn poll(child: &Child, socket: &UnixStream, limit: Option<Duration>) -> io::Result<bool> {
    let socket = PollFd::new(socket, PollFlags::IN);
    #[cfg(target_os = "linux")]
    let mut polled = [socket, PollFd::new(&child.ending, PollFlags::IN)];
    #[cfg(not(target_os = "linux"))]
    let mut polled = [socket];
    #[cfg(not(target_os = "linux"))]
    let _ = child;
    // Rounded up to a millisecond, or the last one would be spent spinning.
    let limit = limit.map(|limit| limit + Duration::from_millis(1)).map(|limit| rustix::event::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    match rustix::event::poll(&mut polled, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!polled[0].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

/// What the child used, and with it the descendants that it did not wait for: bubblewrap leaves the first
/// process of its namespace, and with it the program's own figures, to us.
#[derive(Debug, Default, Clone, Copy)]
struct Used {
    user_ns: u64,
    system_ns: u64,
    peak_resident: u64,
}

impl Used {
    fn add(&mut self, reaped: &Reaped) {
        self.user_ns += reaped.user_ns;
        self.system_ns += reaped.system_ns;
        self.peak_resident = self.peak_resident.max(reaped.peak_resident);
    }
}

/// Collects ended children; gives back `pid` where it was among them.
fn reap_until(pid: Pid, used: &mut Used) -> io::Result<Option<Reaped>> {
    while let Next::Ended(reaped) = reap::next()? {
        used.add(&reaped);
        if reaped.pid == pid.as_raw_nonzero().get() {
            return Ok(Some(reaped));
        }
    }
    Ok(None)
}

/// Kills every descendant, round after round, until none is left; false where some can't be killed.
fn end_all(child: Option<Pid>, used: &mut Used) -> io::Result<bool> {
    let give_up = Instant::now() + KILL_LIMIT;
    let mut child = child;
    let mut first = true;
    loop {
        match reap::next()? {
            Next::Alone => return Ok(true),
            // A number that was reaped may belong to someone else by now.
            Next::Ended(reaped) => {
                used.add(&reaped);
                child = child.filter(|child| child.as_raw_nonzero().get() != reaped.pid);
            }
            Next::Running if Instant::now() > give_up => return Ok(false),
            Next::Running => {
                // Mostly the first process of a namespace, which is ending anyway. All of the machine is looked through
                // for who is still there after that.
                if std::mem::take(&mut first) {
                    family::signal_quickly(child, Signal::KILL);
                    family::wait_for_one(FIRST_ROUND);
                } else {
                    family::signal_all(child, Signal::KILL);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

fn ended(child: &Child, reaped: Reaped, wall: Duration, used: Used, over: Option<Over>) -> Ended {
    // The namespace's first process reports a signal as a shell does.
    let inner = reaped.code.filter(|code| child.namespaces && (129..=192).contains(code)).map(|code| code - 128);
    Ended {
        code: reaped.code.filter(|_| inner.is_none()),
        signal: inner.or(reaped.signal),
        wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        user_ns: used.user_ns,
        system_ns: used.system_ns,
        peak_resident: used.peak_resident,
        // No process held more than all of them did.
        peak_tree: child.looks.most().map(|most| most.max(used.peak_resident)),
        over,
        survived: false,
    }
}

/// Marks every descriptor that some parent left open so that no child gets it.
fn keep_descriptors_from_children() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/dev/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&number| number > io::stderr().as_raw_fd())
        .collect();
    for number in open {
        // SAFETY: the borrow ends with this statement, nothing else runs in this process yet, and a number
        // that was closed meanwhile (the listing's own) gives an error that is not looked at.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
    Ok(())
}
