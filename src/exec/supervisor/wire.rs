//! What `pipe` and its supervisor say to each other, over a socket pair: a length of four bytes, and so many bytes of
//! postcard. Both ends are always the same program, so the form has no version.
//!
//! A child prints into the supervisor's own stderr. Where somebody talks with a child, the two descriptors that become
//! its stdin and stdout travel beside the [`Order::Start`] that they belong to, as ancillary data of its first byte, so
//! that one supervisor can be given one child after another. This module knows no sandbox and no step.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What `pipe` asks of its supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Starts the child.
    Start(Box<Start>),
    /// Asks the child and all its descendants to end, and kills what is left after `grace_ms`.
    Stop { grace_ms: u64 },
    /// Stops the child and its descendants where they are, or lets them go on. Nothing is answered.
    Rest { rest: bool },
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
    /// So many processes and threads the child and all that it started may be at a time.
    pub processes: u32,
    pub secrets: Option<Secrets>,
    pub streams: Streams,
}

/// What the child's stdin and stdout are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Streams {
    /// Nothing to read, and the log.
    Log,
    /// The two descriptors that come with the order. That the child runs is told at once, and nobody looks at its
    /// memory meanwhile, since that would disturb what it measures.
    Sent,
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
pub enum Notice {
    /// The child runs; told of those with [`Streams::Sent`] alone.
    Started,
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
    /// The largest peak resident set of one process.
    pub peak_resident: u64,
    /// The most that all processes held together whenever they were looked at; `None` where they never were.
    pub peak_tree: Option<u64>,
    /// The child was killed for this.
    pub over: Option<Over>,
    /// Some process could not be ended. This supervisor is of no more use.
    pub survived: bool,
}

/// What the processes of a child had more of than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// Than [`Start::memory`].
    Memory,
    /// Than [`Start::processes`].
    Processes,
}

/// The most bytes of one message: arguments and environment of a process are limited to less.
const MOST: usize = 64 << 20;

/// A message as it travels.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = bytes.len() - 4;
    if length > MOST {
        return Err(io::Error::other("an order is longer than any process could take"));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Takes the first whole message off `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of an impossible length"));
    }
    let Some(message) = rest.get(..length) else { return Ok(None) };
    let message = postcard::from_bytes(message).map_err(io::Error::other)?;
    bytes.drain(..4 + length);
    Ok(Some(message))
}

/// Sends the beginning of a message, with the descriptors that belong to it; gives back how many bytes went.
pub fn send_with(socket: impl AsFd, bytes: &[u8], descriptors: [BorrowedFd<'_>; 2]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for two descriptors"));
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty())?)
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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
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
        decode(&mut self.bytes)
    }

    /// The descriptors of the order that [`Inbox::next_order`] just gave.
    pub fn take_descriptors(&mut self) -> io::Result<[OwnedFd; 2]> {
        let mut next = || self.descriptors.pop_front().ok_or_else(|| io::Error::other("a descriptor is missing"));
        Ok([next()?, next()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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
            processes: 1,
            secrets: Some(Secrets { folder: "/x".into(), files: vec![("A".into(), b"\xff".to_vec())] }),
            streams: Streams::Sent,
        }));
        let bytes = encode(&order).unwrap();
        let sent = send_with(&near, &bytes, [null.as_fd(), null.as_fd()]).unwrap();
        near.write_all(&bytes[sent..]).unwrap();
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
