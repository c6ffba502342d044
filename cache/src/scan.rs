//! Lists a folder that a step or a person filled, following nothing and opening no file.
//!
//! Everything is reached by descriptors from the root down, so a folder that is swapped for a link while this runs is
//! an error. What no tree can hold is refused here, before a byte is read.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode};

use crate::error::{Fault, Result, StoreError, io};
use crate::fsx::{self, Stamp};
use crate::tree::link_stays_inside;

/// Folders in one another; each holds a descriptor open while it is read.
pub(crate) const MAX_DEPTH: usize = 128;

/// From this size on, a file that a step left must hold something: a file system that packs well still stores a part.
const MOST_HOLE: u64 = 64 << 30;

/// Files and folders of a part: more are never meant, but a home folder that was named by mistake.
const MOST_OF_PART: usize = 1_000_000;

/// Says of a path, and of whether it is a folder, whether it is kept.
pub(crate) type Keeps<'a> = &'a dyn Fn(&str, bool) -> bool;

/// One thing in a folder, by its path relative to the root.
#[derive(Debug)]
pub(crate) struct Item {
    pub path: String,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    File { stamp: Stamp, executable: bool, linked: bool },
    Folder,
    Link(String),
}

/// Lists everything below `root`, each folder before its content, names sorted by bytes.
/// With `make_writable`, folders that their owner may not change are opened up, so that files can be moved out.
pub(crate) fn scan(root: &OwnedFd, make_writable: bool) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    Scanner { make_writable, keeps: None, items: &mut items }.folder(root, "", 0)?;
    Ok(items)
}

/// Lists what `keeps` keeps, and looks into no folder that it does not. Names that differ only in case are refused,
/// so that the part can be had on every system.
pub(crate) fn scan_part(root: &OwnedFd, keeps: Keeps<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    Scanner { make_writable: false, keeps: Some(keeps), items: &mut items }.folder(root, "", 0)?;
    Ok(items)
}

struct Scanner<'a> {
    make_writable: bool,
    keeps: Option<Keeps<'a>>,
    items: &'a mut Vec<Item>,
}

impl Scanner<'_> {
    fn folder(&mut self, dir: &OwnedFd, path: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(unstorable(path, Fault::TooDeep(MAX_DEPTH)));
        }
        if self.make_writable {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(dir).map_err(io("inspect", path))?.st_mode);
            if !mode.contains(Mode::RWXU) {
                rustix::fs::fchmod(dir, mode | Mode::RWXU).map_err(io("open up the folder", path))?;
            }
        }
        let mut folded: BTreeMap<String, String> = BTreeMap::new();
        for name in names(dir, path)? {
            let path = join(path, &name);
            let stat = if self.make_writable {
                fsx::stat_own_at(dir, &name)
            } else {
                rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
            };
            let stat = stat.map_err(io("inspect", &path))?;
            if let Some(keeps) = self.keeps {
                if !keeps(&path, FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
                    continue;
                }
                if self.items.len() >= MOST_OF_PART {
                    return Err(unstorable(&path, Fault::TooMany(MOST_OF_PART)));
                }
                if let Some(other) = folded.insert(name.to_lowercase(), name.clone()) {
                    return Err(unstorable(&path, Fault::SameButCase(other)));
                }
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let what = regular(&stat, &path, self.make_writable)?;
                    self.items.push(Item { path, what });
                }
                FileType::Directory => {
                    let inner = if self.make_writable {
                        fsx::open_own_dir_at(dir, &name)
                    } else {
                        fsx::open_dir_at(dir, &name)
                    };
                    let inner = inner.map_err(io("open the folder", &path))?;
                    self.items.push(Item { path: path.clone(), what: What::Folder });
                    self.folder(&inner, &path, depth + 1)?;
                }
                FileType::Symlink => {
                    let target = link_target(dir, &name, &path, depth)?;
                    self.items.push(Item { path, what: What::Link(target) });
                }
                other => return Err(unstorable(&path, special(other))),
            }
        }
        Ok(())
    }
}

/// The names in a folder, sorted by bytes.
pub(crate) fn names(dir: &OwnedFd, path: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(io("list", path))? {
        let entry = entry.map_err(io("list", path))?;
        let bytes = entry.file_name().to_bytes();
        match std::str::from_utf8(bytes) {
            Ok("." | "..") => {}
            Ok(name) => names.push(name.to_owned()),
            Err(_) => {
                return Err(unstorable(&join(path, &bytes.escape_ascii().to_string()), Fault::NotUtf8));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Describes a regular file. One that has further names is never moved: whoever holds such a name could change it.
/// With `strict`, for what a step left, such a file must be ours: else a step could hand out what it may not read.
pub(crate) fn regular(stat: &rustix::fs::Stat, path: &str, strict: bool) -> Result<What> {
    let linked = stat.st_nlink > 1;
    if strict && linked && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(unstorable(path, Fault::ForeignLink));
    }
    if strict && Mode::from_raw_mode(stat.st_mode).intersects(Mode::SUID | Mode::SGID) {
        return Err(unstorable(path, Fault::SetId));
    }
    let stamp = Stamp::of(stat);
    let written = u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(512);
    if strict && stamp.size >= MOST_HOLE && written < stamp.size / 64 {
        return Err(unstorable(path, Fault::Hole(stamp.size >> 30)));
    }
    Ok(What::File { stamp, executable: fsx::is_executable(stat), linked })
}

fn link_target(dir: &OwnedFd, name: &str, path: &str, depth: usize) -> Result<String> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(io("read the link", path))?;
    let target = String::from_utf8(target.into_bytes()).map_err(|_| unstorable(path, Fault::NotUtf8))?;
    if link_stays_inside(depth, &target) { Ok(target) } else { Err(unstorable(path, Fault::LinkLeaves(target))) }
}

/// What is wrong with a file that is neither regular nor a folder nor a link.
pub(crate) fn special(kind: FileType) -> Fault {
    match kind {
        FileType::Fifo => Fault::Fifo,
        FileType::Socket => Fault::Socket,
        FileType::BlockDevice | FileType::CharacterDevice => Fault::Device,
        _ => Fault::NotAFile,
    }
}

pub(crate) fn unstorable(path: &str, fault: Fault) -> StoreError {
    StoreError::Unstorable { path: path.to_owned(), fault }
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Splits a path into the folder and the last name.
pub(crate) fn parent(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Reaches folders below a root, name by name, and keeps the last one open: lists come sorted by folder.
pub(crate) struct Beneath<'a> {
    root: &'a OwnedFd,
    last: Option<(String, OwnedFd)>,
}

impl<'a> Beneath<'a> {
    pub(crate) fn new(root: &'a OwnedFd) -> Self {
        Self { root, last: None }
    }

    pub(crate) fn folder(&mut self, path: &str) -> io::Result<impl AsFd + '_> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut dir: Option<OwnedFd> = None;
            for name in path.split('/') {
                let above = dir.as_ref().unwrap_or(self.root);
                dir = Some(fsx::open_dir_at(above, name)?);
            }
            self.last = dir.map(|dir| (path.to_owned(), dir));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, dir)| dir.as_fd()))
    }
}

/// Runs `work` over a list on as many threads as the machine has cores. `start` makes what each thread keeps.
/// Results keep the list's order; the first error stops everybody.
pub(crate) fn in_parallel<I: Sync, S, T: Send>(
    items: &[I],
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    /// Neighbours share a folder, and taking several at once keeps threads out of each other's way.
    const RUN: usize = 16;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(8).min(items.len().div_ceil(RUN)).max(1);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Vec<T>)>> = Mutex::default();
    let thread = || -> Result<()> {
        let mut state = start();
        while !stop.load(Ordering::Relaxed) {
            let from = next.fetch_add(RUN, Ordering::Relaxed);
            let Some(run) = items.get(from..items.len().min(from + RUN)).filter(|run| !run.is_empty()) else {
                break;
            };
            let results: Result<Vec<T>> = run.iter().map(|item| work(&mut state, item)).collect();
            let results = results.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((from, results));
        }
        Ok(())
    };
    if threads == 1 {
        thread()?;
    } else {
        std::thread::scope(|scope| {
            // Where the system has no more threads to give, those that are there do it; this one always is.
            let more = || std::thread::Builder::new().spawn_scoped(scope, thread).ok();
            let handles: Vec<_> = (1..threads).map_while(|_| more()).collect();
            let own = thread();
            handles.into_iter().fold(own, |done, handle| match handle.join() {
                Ok(result) => done.and(result),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
    }
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(from, _)| *from);
    Ok(done.into_iter().flat_map(|(_, results)| results).collect())
}
