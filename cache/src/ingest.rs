//! The way in: files and folders from elsewhere, moved (`take_…`), copied (`put_…`) or only hashed (`hash_…`).
//!
//! Approach of a folder:
//! - List it without following a link, and refuse what no tree can hold before anything changes.
//! - Hash all files on all cores. Small ones go into the pack on the way.
//! - Make the rest durable, then rename it to its names, then make the names and the trees durable.
//!
//! A file with several hard links is copied and never moved: its other names stay writable for somebody.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::blob::{BLOB, SMALL, TREE};
use crate::error::{Fault, Result, StoreError, io};
use crate::fsx::{self, Stamp};
use crate::log::{Frame, Repeats};
use crate::scan::{self, Beneath, Item, What, in_parallel};
use crate::store::{Store, held};
use crate::tree::{Entry, Tree};
use crate::{Digest, hash};

/// From this many files on, one call that syncs the disk is cheaper than a call a file.
const MANY: usize = 24;
/// More files are no small output.
const FEW: usize = 16;
/// Small blobs gather up to this size before they are written.
const BATCH: usize = 4 << 20;

/// What becomes of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Take,
    Copy,
    Hash,
    /// Hash, and believe no cache.
    HashAfresh,
}

impl Way {
    fn stores(self) -> bool {
        matches!(self, Self::Take | Self::Copy)
    }
}

impl Store {
    /// Moves a finished output folder into the store; the folder is gone afterwards. Nothing is copied on the same disk.
    /// All of it is durable when this returns. If something in it cannot be stored, it stays as it was.
    pub fn take_tree(&self, folder: &Path) -> Result<Entry> {
        let entry = self.ingest(folder, Way::Take)?;
        fsx::remove_tree(folder).map_err(io("remove", folder))?;
        Ok(entry)
    }

    /// Takes an output folder of a few small files into the store with one write, if its names, sorted, are what the
    /// caller `expects`; the folder is the caller's to remove. `None` where it holds anything else, or something that
    /// can't be stored as it is: then `take_tree` is asked, which knows why.
    /// Durable after `flush`, or after the next durable record.
    pub fn take_small(&self, folder: &Path, expects: impl FnOnce(&[String]) -> bool) -> Result<Option<Entry>> {
        let Ok(root) = fsx::open_dir(folder) else { return Ok(None) };
        let Some(names) = few(&root) else { return Ok(None) };
        if !expects(&names) {
            return Ok(None);
        }
        let mut frames = Vec::with_capacity(names.len() + 1);
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let Some((entry, digest, bytes)) = small_file(&root, &name) else { return Ok(None) };
            frames.push((BLOB, digest, bytes));
            entries.push((name, entry));
        }
        let tree = Tree::new(entries)?;
        let encoding = tree.encode();
        let digest = Tree::digest_of_encoding(&encoding);
        frames.push((TREE, digest, encoding));
        self.append_to_pack(&frames)?;
        // Who reads it next need not read the pack.
        held(&self.trees).insert(digest, Arc::new(tree));
        Ok(Some(Entry::Tree { digest }))
    }

    /// Copies a folder into the store. Durable when this returns.
    pub fn put_tree(&self, folder: &Path) -> Result<Entry> {
        self.ingest(folder, Way::Copy)
    }

    /// The entry that a folder would have, through the stat cache. Nothing is stored.
    pub fn hash_tree(&self, folder: &Path) -> Result<Entry> {
        self.ingest(folder, Way::Hash)
    }

    /// Copies the part of a folder that `keeps` keeps: it gets each path, relative to the folder and from the top down,
    /// and whether it is a folder. Durable when this returns.
    pub fn put_part(&self, folder: &Path, keeps: &dyn Fn(&str, bool) -> bool) -> Result<Entry> {
        self.ingest_part(folder, Way::Copy, Some(keeps))
    }

    /// The entry that such a part would have, through the stat cache. Nothing is stored.
    pub fn hash_part(&self, folder: &Path, keeps: &dyn Fn(&str, bool) -> bool) -> Result<Entry> {
        self.ingest_part(folder, Way::Hash, Some(keeps))
    }

    /// Moves a finished output file into the store. Durable when this returns.
    pub fn take_file(&self, path: &Path) -> Result<Entry> {
        let shown = path.to_string_lossy();
        let what = plain_file(path, &shown, true)?;
        let _touch = self.leases.touch()?;
        let batch = Batch::default();
        let near = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let near = open_root(near, Way::Copy)?;
        let way = if self.same_disk(&near)? { Way::Take } else { Way::Copy };
        let taken = self.one(rustix::fs::CWD, path, &shown, &what, way, &batch)?;
        self.write_batch(&batch)?;
        if let Some(movable) = taken.movable {
            self.move_in(rustix::fs::CWD, path, &shown, &movable, true)?;
        }
        self.leases.note(&taken.entry);
        self.sync_blobs()?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(io("remove", path))?,
        }
        Ok(taken.entry)
    }

    /// Copies a file into the store. A link is followed. Durable after `flush`, or after the next durable record.
    pub fn put_file(&self, path: &Path, executable: bool) -> Result<Entry> {
        self.outer_file(path, executable, Way::Copy)
    }

    /// The entry that a file would have, through the stat cache. A link is followed; nothing is stored.
    pub fn hash_file(&self, path: &Path) -> Result<Entry> {
        let stat = rustix::fs::stat(path).map_err(io("read", path))?;
        self.outer_file(path, fsx::is_executable(&stat), Way::Hash)
    }

    /// Whether a file or folder holds exactly this, through the stat cache. What is absent or cannot be stored does not.
    pub fn same_as(&self, entry: &Entry, path: &Path) -> Result<bool> {
        let found = match entry {
            Entry::Link { target } => {
                return Ok(std::fs::read_link(path).is_ok_and(|found| found.as_os_str() == target.as_str()));
            }
            Entry::Tree { .. } => self.hash_tree(path),
            Entry::File { size, .. } => match path.symlink_metadata() {
                Ok(found) if found.is_file() && found.len() == *size => self.hash_file(path),
                _ => return Ok(false),
            },
        };
        match found {
            Ok(found) => Ok(found == *entry),
            Err(StoreError::Unstorable { .. } | StoreError::Changed { .. }) => Ok(false),
            Err(StoreError::Io { source, .. })
                if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// A file that the user named: links in its path are theirs and are followed.
    fn outer_file(&self, path: &Path, executable: bool, way: Way) -> Result<Entry> {
        let real = path.canonicalize().map_err(io("read", path))?;
        let shown = path.to_string_lossy();
        let What::File { stamp, .. } = plain_file(&real, &shown, false)? else {
            return Err(scan::unstorable(&shown, Fault::NotAFile));
        };
        let what = What::File { stamp, executable, linked: false };
        let _touch = if way.stores() { Some(self.leases.touch()?) } else { None };
        let batch = Batch::default();
        let entry = self.one(rustix::fs::CWD, &real, &shown, &what, way, &batch)?.entry;
        self.write_batch(&batch)?;
        if way.stores() {
            self.leases.note(&entry);
        }
        Ok(entry)
    }

    fn ingest(&self, folder: &Path, way: Way) -> Result<Entry> {
        self.ingest_part(folder, way, None)
    }

    fn ingest_part(&self, folder: &Path, way: Way, keeps: Option<scan::Keeps<'_>>) -> Result<Entry> {
        let root = open_root(folder, way)?;
        let way = if way == Way::Take && !self.same_disk(&root)? { Way::Copy } else { way };
        let _touch = if way.stores() { Some(self.leases.touch()?) } else { None };
        let items = match keeps {
            Some(keeps) => scan::scan_part(&root, keeps)?,
            None => scan::scan(&root, way == Way::Take)?,
        };
        let batch = Batch::default();
        let taken = in_parallel(
            &items,
            || Beneath::new(&root),
            |beneath, item| {
                if !matches!(item.what, What::File { .. }) {
                    return Ok(None);
                }
                let (above, name) = scan::parent(&item.path);
                let dir = beneath.folder(above).map_err(io("open the folder", above))?;
                self.one(dir, Path::new(name), &item.path, &item.what, way, &batch).map(Some)
            },
        )?;
        let moved = self.move_all(&root, &items, &taken)?;
        let entry = assemble(&items, &taken, |digest, encoding| {
            if way.stores() {
                self.add_to_batch(&batch, TREE, digest, encoding)?;
            }
            Ok(())
        })?;
        if way.stores() {
            self.write_batch(&batch)?;
            self.leases.note(&entry);
            // One sync of the disk covers all the names as well.
            if moved {
                let mut folders = held(&self.unsynced);
                if fsx::sync_all_of(&self.lock).map_err(io("make durable", &self.root))? {
                    folders.clear();
                }
            }
            self.sync_blobs()?;
        }
        Ok(entry)
    }

    pub(crate) fn hash_tree_afresh(&self, folder: &Path) -> Result<Entry> {
        self.ingest(folder, Way::HashAfresh)
    }

    pub(crate) fn hash_file_afresh(&self, path: &Path) -> Result<Entry> {
        self.outer_file(path, false, Way::HashAfresh)
    }

    fn same_disk(&self, root: &OwnedFd) -> Result<bool> {
        let theirs = rustix::fs::fstat(root).map_err(io("inspect", &self.root))?;
        let ours = rustix::fs::fstat(&self.lock).map_err(io("inspect", &self.root))?;
        Ok(theirs.st_dev == ours.st_dev)
    }

    /// Hashes one file and, unless it is to be moved later, stores it.
    fn one(&self, dir: impl AsFd, name: &Path, path: &str, what: &What, way: Way, batch: &Batch) -> Result<Taken> {
        let What::File { stamp, executable, linked } = what else {
            return Err(scan::unstorable(path, Fault::NotAFile));
        };
        let entry = |digest| Entry::File { digest, size: stamp.size, executable: *executable };
        if matches!(way, Way::Copy | Way::Hash)
            && let Some(entry) = self.stats.get(stamp).map(entry)
            && (way == Way::Hash || self.has(&entry))
        {
            if way == Way::Copy {
                self.rely_on_entry(&entry);
            }
            return Ok(Taken { entry, movable: None });
        }
        let began = crate::stat::now();
        let opened = fsx::open_file_at(dir, name).map_err(io("read", path))?;
        let Some((file, stat)) = opened else {
            return Err(scan::unstorable(path, Fault::NotAFile));
        };
        let found = Stamp::of(&stat);
        // A checkout shares its files with others, and each further name of one is a new time of change.
        let same = if way == Way::HashAfresh { found.same_content(stamp) } else { found == *stamp };
        if !same {
            return Err(StoreError::Changed { path: path.to_owned() });
        }
        let movable = way == Way::Take && !linked && stamp.size > SMALL;
        let copied = way.stores() && !movable && stamp.size > SMALL;
        let digest = if stamp.size <= SMALL {
            let bytes = read_small(&file, stamp.size).map_err(io("read", path))?;
            let digest = Digest::of(&bytes);
            if way.stores() {
                self.add_to_batch(batch, BLOB, digest, bytes)?;
            }
            digest
        } else if copied {
            self.copy_in(&file, stamp, path, *executable)?
        } else {
            hash::hash(&file, stamp.size).map_err(io("read", path))?.0
        };
        unchanged(&file, stamp, path)?;
        if way != Way::Take {
            self.stats.put(stamp, digest, began, &file);
        }
        let movable = movable.then_some(Movable { digest, stamp: *stamp, executable: *executable });
        Ok(Taken { entry: entry(digest), movable })
    }

    /// Copies an open file in, without moving bytes where the disk can share them.
    fn copy_in(&self, from: &File, stamp: &Stamp, path: &str, executable: bool) -> Result<Digest> {
        let temp = self.temp_file()?;
        let (digest, size) = if reflink(from, temp.as_file()) {
            hash::hash(temp.as_file(), stamp.size)
        } else {
            hash::copy(from, temp.as_file(), stamp.size)
        }
        .map_err(|error| match error.kind() {
            // It is our disk that is full, whatever the name of what was read.
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => io("copy into", &self.root)(error),
            _ => io("copy in", path)(error),
        })?;
        unchanged(from, stamp, path)?;
        self.publish_temp(temp, digest, size, executable)?;
        Ok(digest)
    }

    /// Moves the hashed large files to their names. Their bytes are durable before their names are there.
    fn move_all(&self, root: &OwnedFd, items: &[Item], taken: &[Option<Taken>]) -> Result<bool> {
        let movable: Vec<_> = items
            .iter()
            .zip(taken)
            .filter_map(|(item, taken)| Some((item, taken.as_ref()?.movable.as_ref()?)))
            .collect();
        if movable.is_empty() {
            return Ok(false);
        }
        let synced = movable.len() >= MANY && fsx::sync_all_of(root).map_err(io("make durable", &self.root))?;
        let mut beneath = Beneath::new(root);
        for (item, movable) in movable {
            let (above, name) = scan::parent(&item.path);
            let dir = beneath.folder(above).map_err(io("open the folder", above))?;
            self.move_in(dir, Path::new(name), &item.path, movable, !synced)?;
        }
        Ok(synced)
    }

    fn move_in(&self, dir: impl AsFd, name: &Path, path: &str, movable: &Movable, sync: bool) -> Result<()> {
        let Movable { digest, stamp, executable } = movable;
        let opened = fsx::open_file_at(&dir, name).map_err(io("read", path))?;
        let Some((file, stat)) = opened else {
            return Err(scan::unstorable(path, Fault::NotAFile));
        };
        if Stamp::of(&stat) != *stamp || stat.st_nlink != 1 {
            return Err(StoreError::Changed { path: path.to_owned() });
        }
        fsx::strip(&file).map_err(io("strip the attributes of", path))?;
        fsx::seal(&file, *executable).map_err(io("set the mode of", path))?;
        if sync {
            file.sync_all().map_err(io("make durable", path))?;
        }
        if self.publish(dir, name, digest, stamp.size, *executable)? {
            self.trust(digest, *executable, &file)?;
        }
        Ok(())
    }

    fn rely_on_entry(&self, entry: &Entry) {
        if let Entry::File { digest, size, .. } = entry
            && *size > SMALL
        {
            self.rely_on(&self.blob_path(digest, false));
        }
    }

    fn add_to_batch(&self, batch: &Batch, kind: u8, digest: Digest, bytes: Vec<u8>) -> Result<()> {
        let full = {
            let mut waiting = held(&batch.0);
            waiting.bytes += bytes.len() + 64;
            waiting.frames.push((kind, digest, bytes));
            waiting.bytes >= BATCH
        };
        if full { self.write_batch(batch) } else { Ok(()) }
    }

    fn write_batch(&self, batch: &Batch) -> Result<()> {
        let waiting = std::mem::take(&mut *held(&batch.0));
        if waiting.frames.is_empty() {
            return Ok(());
        }
        self.append_to_pack(&waiting.frames)
    }

    fn append_to_pack(&self, content: &[(u8, Digest, Vec<u8>)]) -> Result<()> {
        let frames: Vec<_> =
            content.iter().map(|(kind, key, bytes)| Frame { kind: *kind, key: *key, payload: bytes }).collect();
        self.pack.append(&frames, Repeats::Drop)
    }
}

/// Frames that wait to be written to the pack together.
#[derive(Debug, Default)]
struct Batch(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<(u8, Digest, Vec<u8>)>,
    bytes: usize,
}

/// A hashed file, and what to move if it is to be moved.
#[derive(Debug)]
struct Taken {
    entry: Entry,
    movable: Option<Movable>,
}

#[derive(Debug)]
struct Movable {
    digest: Digest,
    stamp: Stamp,
    executable: bool,
}

fn open_root(folder: &Path, way: Way) -> Result<OwnedFd> {
    // What a step made may be no link; where a person says "this folder", links in the path are theirs.
    let real = match way {
        Way::Take => folder.to_owned(),
        Way::Copy | Way::Hash | Way::HashAfresh => folder.canonicalize().map_err(io("open the folder", folder))?,
    };
    match fsx::open_dir(&real) {
        // A link answers ELOOP or ENOTDIR here, by system.
        Err(_) if real.symlink_metadata().is_ok_and(|found| !found.is_dir()) => {
            Err(scan::unstorable(&folder.to_string_lossy(), Fault::NotAFolder))
        }
        other => other.map_err(io("open the folder", folder)),
    }
}

/// The names in a folder that holds nothing but a few regular files, sorted. What kind each is tells the list itself, so
/// that nothing else is ever opened.
fn few(root: &OwnedFd) -> Option<Vec<String>> {
    use rustix::fs::FileType;
    let mut names = Vec::new();
    let mut add = |name: &std::ffi::CStr, kind: FileType| {
        let name = name.to_str().ok()?;
        if !matches!(name, "." | "..") {
            (kind == FileType::RegularFile && names.len() < FEW).then(|| names.push(name.to_owned()))?;
        }
        Some(())
    };
    #[cfg(target_os = "linux")]
    {
        // On the stack and by the descriptor that is there: a list of names costs no further one.
        let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
        let mut list = rustix::fs::RawDir::new(root, &mut buffer);
        while let Some(entry) = list.next() {
            let entry = entry.ok()?;
            add(entry.file_name(), entry.file_type())?;
        }
    }
    #[cfg(not(target_os = "linux"))]
    for entry in rustix::fs::Dir::read_from(root).ok()? {
        let entry = entry.ok()?;
        add(entry.file_name(), entry.file_type())?;
    }
    names.sort_unstable();
    Some(names)
}

/// A small regular file with its content. `None` where it is none, or can't be read as it is.
fn small_file(root: &OwnedFd, name: &str) -> Option<(Entry, Digest, Vec<u8>)> {
    use rustix::fs::Mode;
    let (file, stat) = fsx::open_file_at(root, name).ok()??;
    let readable = Mode::from_raw_mode(stat.st_mode).contains(Mode::RUSR);
    let What::File { stamp, executable, .. } = scan::regular(&stat, name, true).ok()? else { return None };
    if !readable || stamp.size > SMALL {
        return None;
    }
    let bytes = read_small(&file, stamp.size).ok()?;
    unchanged(&file, &stamp, name).ok()?;
    let digest = Digest::of(&bytes);
    Some((Entry::File { digest, size: stamp.size, executable }, digest, bytes))
}

fn plain_file(path: &Path, shown: &str, strict: bool) -> Result<What> {
    use rustix::fs::{AtFlags, CWD, FileType};
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(io("read", path))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => scan::regular(&stat, shown, strict),
        other => Err(scan::unstorable(shown, scan::special(other))),
    }
}

fn read_small(mut file: &File, size: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    // One byte more than expected shows a file that grew, and saves asking for the end of one that did not.
    let mut bytes = vec![0; size as usize + 1];
    let mut read = 0;
    while read < bytes.len() {
        match file.read(&mut bytes[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if read as u64 == size {
            break;
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn unchanged(file: &File, stamp: &Stamp, path: &str) -> Result<()> {
    let stat = rustix::fs::fstat(file).map_err(io("inspect", path))?;
    if Stamp::of(&stat).same_content(stamp) { Ok(()) } else { Err(StoreError::Changed { path: path.to_owned() }) }
}

pub(crate) fn reflink(from: &File, to: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::ioctl_ficlone(to, from).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (from, to);
        false
    }
}

/// Builds the trees of a list from the leaves up; `sink` gets each encoding.
fn assemble(
    items: &[Item],
    taken: &[Option<Taken>],
    mut sink: impl FnMut(Digest, Vec<u8>) -> Result<()>,
) -> Result<Entry> {
    let mut open: Vec<(&str, Vec<(String, Entry)>)> = vec![("", Vec::new())];
    let mut close = |open: &mut Vec<(&str, Vec<(String, Entry)>)>| -> Result<Entry> {
        let (path, entries) = open.pop().unwrap_or_default();
        let encoding = Tree::new(entries)?.encode();
        let digest = Tree::digest_of_encoding(&encoding);
        sink(digest, encoding)?;
        if let Some((_, above)) = open.last_mut() {
            above.push((scan::parent(path).1.to_owned(), Entry::Tree { digest }));
        }
        Ok(Entry::Tree { digest })
    };
    for (item, taken) in items.iter().zip(taken) {
        let (above, name) = scan::parent(&item.path);
        while open.last().is_some_and(|(path, _)| *path != above) && open.len() > 1 {
            close(&mut open)?;
        }
        let entry = match (&item.what, taken) {
            (What::Folder, _) => {
                open.push((&item.path, Vec::new()));
                continue;
            }
            (What::Link(target), _) => Entry::Link { target: target.clone() },
            (What::File { .. }, Some(taken)) => taken.entry.clone(),
            (What::File { .. }, None) => return Err(scan::unstorable(&item.path, Fault::NotAFile)),
        };
        if let Some((_, entries)) = open.last_mut() {
            entries.push((name.to_owned(), entry));
        }
    }
    while open.len() > 1 {
        close(&mut open)?;
    }
    close(&mut open)
}
