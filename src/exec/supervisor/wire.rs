//! What `pipe` and its supervisor say to each other: one JSON object a line, over a socket pair.
//!
//! The three descriptors that become the child's stdin, stdout and stderr travel beside the [`Order::Start`]
//! that they belong to, as ancillary data of one byte (a blank, which JSON ignores), so that one supervisor
//! can be given one child after another. This module knows no sandbox and no step.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// What `pipe` asks of its supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Starts the child.
    Start(Box<Start>),
    /// Asks the child and all its descendants to end, and kills what is left after `grace_ms`.
    Stop { grace_ms: u64 },
}

/// The child to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// All of the child's environment.
    pub env: BTreeMap<String, String>,
    pub workdir: PathBuf,
    pub confine: Confine,
    /// The child was promised a network: what sockets it may make depends on it.
    pub network: bool,
    /// Memory that all processes of the child may hold together, by their private pages.
    pub memory: Option<u64>,
    pub secrets: Option<Secrets>,
}

/// Files that hold secrets: written into a folder before the child starts, and removed with it when all of the
/// child's processes are gone. They travel over the socket, so that no argument and no variable ever holds one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// An empty folder that nobody else can read.
    pub folder: PathBuf,
    /// Names and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.files.iter().map(|(name, _)| name)).finish()
    }
}

/// What the supervisor itself does to hold the child in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "confine", rename_all = "kebab-case")]
pub enum Confine {
    /// Nothing more than dying with the supervisor.
    Off,
    /// Landlock, put on just before the program starts.
    Landlock(Rules),
    /// The program is itself the sandbox, which forks, dies with its parent, and answers `128 + n` for signal n.
    Namespaces,
}

/// What Landlock lets the child do; everything else is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Files and folders to read and to execute.
    pub read: Vec<PathBuf>,
    /// Files and folders to read, execute and write.
    pub write: Vec<PathBuf>,
    /// Devices: reading, writing and `ioctl`.
    pub devices: Vec<PathBuf>,
    pub network: bool,
}

/// What the supervisor tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// The child runs, in a process group of its own with this number.
    Started { pid: i32 },
    /// The child could not be started.
    Refused { message: String },
    /// The child and all its descendants are gone.
    Ended(Ended),
}

/// How a child ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit code, where it was no signal.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub wall_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    pub peak_resident: u64,
    /// The child was killed because its processes held more than [`Start::memory`].
    pub over_memory: bool,
}

/// Sends the descriptors of the next [`Order::Start`].
pub fn send_descriptors(socket: &UnixStream, descriptors: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for three descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(b" ")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Orders and descriptors as they arrive.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    descriptors: std::collections::VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads what is there; `false` where the other side is gone.
    pub fn fill(&mut self, socket: &UnixStream) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 16 << 10];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next whole order.
    pub fn next_order(&mut self) -> io::Result<Option<Order>> {
        let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// The descriptors of the order that [`Inbox::next_order`] just gave.
    pub fn take_descriptors(&mut self) -> io::Result<[OwnedFd; 3]> {
        let mut next = || self.descriptors.pop_front().ok_or_else(|| io::Error::other("a descriptor is missing"));
        Ok([next()?, next()?, next()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn an_order_arrives_with_its_descriptors() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let order = Order::Start(Box::new(Start {
            program: "/bin/true".into(),
            args: vec!["x".repeat(40_000).into()],
            env: BTreeMap::from([("A".into(), "b\nc".into())]),
            workdir: "/".into(),
            confine: Confine::Landlock(Rules { read: vec!["/usr".into()], ..Rules::default() }),
            network: true,
            memory: Some(1),
            secrets: Some(Secrets { folder: "/x".into(), files: vec![("A".into(), b"\xff".to_vec())] }),
        }));
        send_descriptors(&near, [null.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
        near.write_all(&serde_json::to_vec(&order).unwrap()).unwrap();
        near.write_all(b"\n").unwrap();
        let mut inbox = Inbox::default();
        let arrived = loop {
            assert!(inbox.fill(&far).unwrap());
            if let Some(order) = inbox.next_order().unwrap() {
                break order;
            }
        };
        assert_eq!(arrived, order);
        assert!(inbox.take_descriptors().is_ok());
        assert!(inbox.take_descriptors().is_err());
        drop(near);
        assert!(!inbox.fill(&far).unwrap());
    }
}
