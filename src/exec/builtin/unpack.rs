//! Wheels unpacked into one tree, by our own extractor.
//!
//! The tree is meant for the path of `python3 -S -s -B`, so that the same wheels give the same bytes for every
//! user in every folder:
//!
//! - root files, `NAME.data/purelib` and `NAME.data/platlib` go to the root;
//! - `NAME.data/scripts`, `data` and `headers` are left out: an installer puts them beside the interpreter, where
//!   nothing that is imported looks, and scripts would need an absolute path in their first line;
//! - nothing is written that an installer would add (`INSTALLER`, `direct_url.json`, byte code); `RECORD` is kept
//!   as the wheel has it;
//! - a file is executable where its Unix mode in the archive says so, and has no other attribute.
//!
//! Everything is checked from the directories of the archives before the first byte is written: names, kinds of
//! entries, sizes, and that no two wheels claim one path with different bytes. The folder must be new and ours
//! alone. What it does not do: it does not compare with `RECORD`, since the archive's own digest was checked
//! against the lock; and it does not see two names that differ in Unicode normalisation alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use thiserror::Error;

use super::archive::{self, Archive, ArchiveError};
use super::control::Control;

/// Why wheels can't be unpacked. Names of archives and entries are escaped: they may hold anything.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The archive itself is refused.
    #[error("wheel `{wheel}` is refused: {source}; fetch it again, or report it to who made it")]
    Archive { wheel: String, source: ArchiveError },
    /// An entry is refused.
    #[error("wheel `{wheel}` is refused: entry `{entry}` {why}; report it to who made the wheel")]
    Entry { wheel: String, entry: String, why: &'static str },
    /// The archive has no single `*.dist-info` folder.
    #[error("wheel `{wheel}` is refused: it has {count} `.dist-info` folders where a wheel has one")]
    NoWheel { wheel: String, count: usize },
    /// It would become larger than the limits allow.
    #[error("wheel `{wheel}` is refused: it would become {unpacked} bytes from {packed}, over the limit of {limit}")]
    TooLarge { wheel: String, packed: u64, unpacked: u64, limit: u64 },
    /// Two wheels claim one path.
    #[error(
        "wheels `{first}` and `{second}` both hold `{path}`, with different content; leave one of them out of the lock"
    )]
    Conflict { first: String, second: String, path: String },
    /// Two paths that are one where case does not count.
    #[error(
        "`{path}` of wheel `{second}` and `{other}` of wheel `{first}` differ in case alone, so they can't both exist on every system"
    )]
    Case { first: String, second: String, path: String, other: String },
    /// A path is both a file and a folder.
    #[error("`{path}` is a file in wheel `{file}` and a folder in wheel `{folder}`")]
    FileAndFolder { file: String, folder: String, path: String },
    /// An entry's data are broken.
    #[error("entry `{entry}` of wheel `{wheel}` can't be unpacked: {source}")]
    Data { wheel: String, entry: String, source: io::Error },
    /// The target folder can't be written.
    #[error("`{}` can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The work was stopped from outside.
    #[error("unpacking was stopped")]
    Stopped,
}

/// What an archive may at most become.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All wheels together.
    pub bytes: u64,
    /// Entries of all wheels together.
    pub entries: u64,
    /// Unpacked size over packed size of one wheel.
    pub ratio: u64,
    /// A wheel that stays below this size may have any ratio.
    pub ratio_floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 30, entries: 5_000_000, ratio: 100, ratio_floor: 64 << 20 }
    }
}

/// One wheel to unpack: its file, and the name that errors call it by.
#[derive(Debug, Clone)]
pub struct Wheel {
    pub name: String,
    pub path: PathBuf,
}

/// Unpacks `wheels` into the new folder `target` with `threads` threads; gives back the number of bytes written.
pub fn unpack(
    wheels: &[Wheel],
    target: &Path,
    threads: NonZeroUsize,
    limits: Limits,
    control: &Control<'_>,
) -> Result<u64, UnpackError> {
    let archives = open_all(wheels, limits)?;
    let plan = Plan::make(wheels, &archives, limits)?;
    plan.make_folders(target)?;
    plan.write_files(wheels, &archives, target, threads, control)?;
    Ok(plan.files.iter().map(|file| file.size).sum())
}

fn open_all(wheels: &[Wheel], limits: Limits) -> Result<Vec<Archive>, UnpackError> {
    let mut archives = Vec::with_capacity(wheels.len());
    let mut entries_left = limits.entries;
    for wheel in wheels {
        let refuse = |source| UnpackError::Archive { wheel: shown(&wheel.name), source };
        let file = File::open(&wheel.path).map_err(|error| refuse(error.into()))?;
        let archive = archive::open(file, entries_left).map_err(refuse)?;
        entries_left -= archive.len() as u64;
        archives.push(archive);
    }
    Ok(archives)
}

/// What will be written, decided before anything is.
#[derive(Debug, Default)]
struct Plan {
    /// Folders below the root, each after its parent.
    folders: BTreeSet<String>,
    files: Vec<PlannedFile>,
}

#[derive(Debug)]
struct PlannedFile {
    wheel: usize,
    index: usize,
    path: String,
    size: u64,
    executable: bool,
}

/// An entry as far as conflicts go.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Folder { wheel: usize },
    File { wheel: usize, size: u64, crc: u32, place: usize },
}

impl Claim {
    fn wheel(self) -> usize {
        match self {
            Claim::Folder { wheel } | Claim::File { wheel, .. } => wheel,
        }
    }
}

impl Plan {
    fn make(wheels: &[Wheel], archives: &[Archive], limits: Limits) -> Result<Plan, UnpackError> {
        let mut claims = Claims { wheels, taken: BTreeMap::new(), folded: BTreeMap::new() };
        let mut plan = Plan::default();
        let mut suspects = Vec::new();
        let mut total: u64 = 0;
        for (wheel, archive) in archives.iter().enumerate() {
            let name = &wheels[wheel].name;
            let layout = Layout::of(name, archive)?;
            let mut unpacked: u64 = 0;
            for index in 0..archive.len() {
                let entry = read_entry(name, archive, index)?;
                unpacked = unpacked.saturating_add(entry.size);
                let Some(path) = layout.place(name, &entry.path)? else { continue };
                claims.folders_above(wheel, path)?;
                if entry.folder {
                    claims.folder(wheel, path)?;
                    continue;
                }
                if let Some(first) = claims.file(wheel, path, entry.size, entry.crc, plan.files.len())? {
                    suspects.push((first, wheel, index));
                    continue;
                }
                let path = path.to_owned();
                plan.files.push(PlannedFile { wheel, index, path, size: entry.size, executable: entry.executable });
            }
            total = total.saturating_add(unpacked);
            check_size(&wheels[wheel], unpacked, total, limits)?;
        }
        for (first, wheel, index) in suspects {
            plan.require_equal(wheels, archives, first, wheel, index)?;
        }
        plan.folders = claims.folders();
        Ok(plan)
    }

    /// Equal sizes and checksums are no proof where an attacker chose both, so equal paths are read in full.
    fn require_equal(
        &self,
        wheels: &[Wheel],
        archives: &[Archive],
        first: usize,
        wheel: usize,
        index: usize,
    ) -> Result<(), UnpackError> {
        let file = &self.files[first];
        let digest = |wheel: usize, index: usize| {
            let mut hasher = blake3::Hasher::new();
            let mut archive = archives[wheel].clone();
            let mut write = |piece: &[u8]| {
                hasher.update(piece);
                Ok(())
            };
            read_data(&mut archive, index, &AtomicBool::new(false), &mut write).map_err(|source| {
                UnpackError::Data { wheel: shown(&wheels[wheel].name), entry: shown(&file.path), source }
            })?;
            Ok(hasher.finalize())
        };
        if digest(file.wheel, file.index)? == digest(wheel, index)? {
            return Ok(());
        }
        Err(UnpackError::Conflict {
            first: shown(&wheels[file.wheel].name),
            second: shown(&wheels[wheel].name),
            path: shown(&file.path),
        })
    }

    fn make_folders(&self, target: &Path) -> Result<(), UnpackError> {
        let make = |path: PathBuf| fs::create_dir(&path).map_err(|source| UnpackError::Write { path, source });
        make(target.to_owned())?;
        self.folders.iter().try_for_each(|folder| make(target.join(folder)))
    }

    /// The threads take the largest files first, so that none is left alone with a large one at the end.
    fn write_files(
        &self,
        wheels: &[Wheel],
        archives: &[Archive],
        target: &Path,
        threads: NonZeroUsize,
        control: &Control<'_>,
    ) -> Result<(), UnpackError> {
        let mut order: Vec<&PlannedFile> = self.files.iter().collect();
        order.sort_by_key(|file| std::cmp::Reverse(file.size));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let failure: Mutex<Option<UnpackError>> = Mutex::new(None);
        let work = || {
            let mut archives: Vec<Archive> = archives.to_vec();
            while !failed.load(Ordering::Relaxed) {
                let Some(file) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let written =
                    write_file(file, &wheels[file.wheel].name, &mut archives[file.wheel], target, &failed, control);
                if let Err(error) = written {
                    failed.store(true, Ordering::Relaxed);
                    let mut slot = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    slot.get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            // Where the system has no more threads to give, those that are there do it; this one always is.
            for _ in 1..threads.get() {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn check_size(wheel: &Wheel, unpacked: u64, total: u64, limits: Limits) -> Result<(), UnpackError> {
    let packed = fs::metadata(&wheel.path).map_or(0, |metadata| metadata.len());
    let by_ratio = packed.saturating_mul(limits.ratio).max(limits.ratio_floor);
    let limit = by_ratio.min(limits.bytes);
    if unpacked > limit || total > limits.bytes {
        let unpacked = if unpacked > limit { unpacked } else { total };
        return Err(UnpackError::TooLarge { wheel: shown(&wheel.name), packed, unpacked, limit });
    }
    Ok(())
}

/// Who claims which path, over all wheels.
struct Claims<'a> {
    wheels: &'a [Wheel],
    taken: BTreeMap<String, Claim>,
    /// Every path in lower case, with its true spelling.
    folded: BTreeMap<String, (String, usize)>,
}

impl Claims<'_> {
    fn folders_above(&mut self, wheel: usize, path: &str) -> Result<(), UnpackError> {
        for (at, _) in path.match_indices('/') {
            self.folder(wheel, &path[..at])?;
        }
        Ok(())
    }

    fn folder(&mut self, wheel: usize, path: &str) -> Result<(), UnpackError> {
        match self.taken.get(path) {
            Some(Claim::Folder { .. }) => Ok(()),
            Some(Claim::File { wheel: file, .. }) => Err(self.file_and_folder(*file, wheel, path)),
            None => self.take(path, Claim::Folder { wheel }),
        }
    }

    /// Claims a file; where an equal looking one is there already, gives back its place in the plan.
    fn file(
        &mut self,
        wheel: usize,
        path: &str,
        size: u64,
        crc: u32,
        place: usize,
    ) -> Result<Option<usize>, UnpackError> {
        match self.taken.get(path) {
            Some(Claim::Folder { wheel: folder }) => Err(self.file_and_folder(wheel, *folder, path)),
            Some(Claim::File { size: s, crc: c, place, .. }) if (*s, *c) == (size, crc) => Ok(Some(*place)),
            Some(Claim::File { wheel: first, .. }) => {
                Err(UnpackError::Conflict { first: self.name(*first), second: self.name(wheel), path: shown(path) })
            }
            None => self.take(path, Claim::File { wheel, size, crc, place }).map(|()| None),
        }
    }

    fn take(&mut self, path: &str, claim: Claim) -> Result<(), UnpackError> {
        let folded = path.to_lowercase();
        if let Some((other, first)) = self.folded.get(&folded) {
            return Err(UnpackError::Case {
                first: self.name(*first),
                second: self.name(claim.wheel()),
                path: shown(path),
                other: shown(other),
            });
        }
        self.folded.insert(folded, (path.to_owned(), claim.wheel()));
        self.taken.insert(path.to_owned(), claim);
        Ok(())
    }

    fn folders(&self) -> BTreeSet<String> {
        let folders = self.taken.iter().filter(|(_, claim)| matches!(claim, Claim::Folder { .. }));
        folders.map(|(path, _)| path.clone()).collect()
    }

    fn file_and_folder(&self, file: usize, folder: usize, path: &str) -> UnpackError {
        UnpackError::FileAndFolder { file: self.name(file), folder: self.name(folder), path: shown(path) }
    }

    fn name(&self, wheel: usize) -> String {
        shown(&self.wheels[wheel].name)
    }
}

/// Where the parts of one wheel go.
struct Layout {
    /// `NAME-VERSION.data/`.
    data: String,
}

impl Layout {
    fn of(wheel: &str, archive: &Archive) -> Result<Layout, UnpackError> {
        let names: BTreeSet<&str> = archive
            .file_names_raw()
            .filter_map(|name| std::str::from_utf8(name).ok())
            .filter_map(|name| name.split_once('/').map(|(top, _)| top))
            .filter_map(|top| top.strip_suffix(".dist-info"))
            .collect();
        match names.first() {
            Some(name) if names.len() == 1 => Ok(Layout { data: format!("{name}.data/") }),
            _ => Err(UnpackError::NoWheel { wheel: shown(wheel), count: names.len() }),
        }
    }

    /// The path in the tree, or nothing for what is left out.
    fn place<'p>(&self, wheel: &str, path: &'p str) -> Result<Option<&'p str>, UnpackError> {
        let Some(rest) = path.strip_prefix(&self.data) else {
            return Ok((format!("{path}/") != self.data).then_some(path));
        };
        let (kind, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match kind {
            "purelib" | "platlib" => Ok((!rest.is_empty()).then_some(rest)),
            "scripts" | "data" | "headers" => Ok(None),
            _ => Err(refused(wheel, path, "is in a part of the wheel that no specification knows")),
        }
    }
}

/// An entry whose name and kind were checked.
struct CheckedEntry {
    path: String,
    folder: bool,
    executable: bool,
    size: u64,
    crc: u32,
}

/// The kind of file in a Unix mode.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

fn read_entry(wheel: &str, archive: &Archive, index: usize) -> Result<CheckedEntry, UnpackError> {
    let broken = |source: zip::result::ZipError| UnpackError::Archive { wheel: shown(wheel), source: source.into() };
    let entry = archive.by_index_data(index).map_err(broken)?;
    let raw = String::from_utf8_lossy(entry.name_raw()).into_owned();
    let refuse = |why| Err(refused(wheel, &raw, why));
    // Readers decode names that are neither ASCII nor marked as UTF-8 differently.
    match entry.name() {
        Ok(name) if name == raw && std::str::from_utf8(entry.name_raw()).is_ok() => {}
        _ => return refuse("has a name that is not plain UTF-8"),
    }
    let (path, folder) = match raw.strip_suffix('/') {
        Some(path) => (path, true),
        None => (raw.as_str(), false),
    };
    if let Some(why) = bad_name(path) {
        return refuse(why);
    }
    let mode = entry.external_attributes() >> 16;
    let wanted = if folder { FOLDER } else { REGULAR };
    match mode & KIND {
        0 => {}
        kind if kind == wanted => {}
        0o120_000 => return refuse("is a symbolic link, which a wheel can't hold"),
        FOLDER | REGULAR => return refuse("is a folder by its name and a file by its mode, or the other way round"),
        _ => return refuse("is neither a file nor a folder"),
    }
    if entry.encrypted() {
        return refuse("is encrypted");
    }
    if folder && entry.size() != 0 {
        return refuse("is a folder with content");
    }
    let executable = mode & KIND == REGULAR && mode & 0o111 != 0;
    Ok(CheckedEntry { path: path.to_owned(), folder, executable, size: entry.size(), crc: entry.crc32() })
}

/// Why `path` may not be the name of an entry.
fn bad_name(path: &str) -> Option<&'static str> {
    let overrides_direction = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if path.starts_with('/') {
        return Some("has an absolute name");
    }
    if path.contains('\\') {
        return Some("has a backslash in its name");
    }
    if path.len() > 4_000 {
        return Some("has a name longer than 4,000 bytes");
    }
    if path.chars().any(|c| c.is_control() || overrides_direction(c)) {
        return Some("has a control character in its name");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("has an empty part in its name"),
        "." | ".." => Some("has `.` or `..` in its name"),
        _ if part.len() > 255 => Some("has a part longer than 255 bytes in its name"),
        _ => None,
    })
}

fn write_file(
    file: &PlannedFile,
    wheel: &str,
    archive: &mut Archive,
    target: &Path,
    failed: &AtomicBool,
    control: &Control<'_>,
) -> Result<(), UnpackError> {
    let path = target.join(&file.path);
    let cannot_write = |source| UnpackError::Write { path: path.clone(), source };
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path).map_err(cannot_write)?;
    let mut write_error = None;
    let mut write = |piece: &[u8]| {
        if control.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        control.advance(piece.len() as u64);
        output.write_all(piece).map_err(|error| {
            let kind = error.kind();
            write_error = Some(error);
            kind.into()
        })
    };
    let read = read_data(archive, file.index, failed, &mut write);
    if control.is_stopped() {
        return Err(UnpackError::Stopped);
    }
    if let Some(source) = write_error {
        return Err(cannot_write(source));
    }
    let count = read.map_err(|source| UnpackError::Data { wheel: shown(wheel), entry: shown(&file.path), source })?;
    if count != file.size {
        return Err(refused(wheel, &file.path, "has another size than the directory of the archive says"));
    }
    if file.executable {
        output.set_permissions(Permissions::from_mode(0o755)).map_err(cannot_write)?;
    }
    Ok(())
}

/// Reads an entry's data in pieces, never more than its size says, and checks the checksum at the end.
fn read_data(
    archive: &mut Archive,
    index: usize,
    stop: &AtomicBool,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let entry = archive.by_index(index).map_err(io::Error::other)?;
    let size = entry.size();
    // One byte more than the size lets the end be seen, where the checksum is compared.
    let mut data = entry.take(size.saturating_add(1));
    let mut buffer = vec![0; 256 << 10];
    let mut count = 0;
    loop {
        let read = match data.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        count += read as u64;
        if count > size {
            return Err(io::Error::other("more data than the directory of the archive says"));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        write(&buffer[..read])?;
    }
}

fn refused(wheel: &str, entry: &str, why: &'static str) -> UnpackError {
    UnpackError::Entry { wheel: shown(wheel), entry: shown(entry), why }
}

/// A name for a message: nothing in it can steer a terminal, and it stays short.
fn shown(name: &str) -> String {
    let escaped: String = name.chars().take(200).flat_map(char::escape_debug).collect();
    if name.chars().nth(200).is_some() { format!("{escaped}…") } else { escaped }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
