//! Blobs: content by digest, small in the pack, large in files of their own.
//!
//! A large blob can have two files, one plain and one executable, since checkouts are hard links and a mode belongs to
//! the file and not to its name. Whatever is read is hashed; what does not fit is put aside and then is missing.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, StoreError, io};
use crate::fsx::{self, Stamp};
use crate::log::{Frame, Repeats};
use crate::store::{Store, held};
use crate::tree::{Entry, Tree};
use crate::warn::Warning;
use crate::{Digest, hash, seal};

/// Up to this size content goes into the pack.
pub(crate) const SMALL: u64 = 4096;
/// Kinds of frames in the pack.
pub(crate) const BLOB: u8 = 1;
pub(crate) const TREE: u8 = 2;
/// A tree that came without all of its content: what lies where is known, and it never counts as being here.
pub(crate) const OUTLINE: u8 = 3;

/// Content of the store, verified before the first byte is read.
#[derive(Debug)]
pub enum Blob {
    /// Small content.
    Bytes(Cursor<Vec<u8>>),
    /// Large content; it can be shared with another process as a descriptor.
    File(File),
}

/// A file under the name of a blob.
#[derive(Debug)]
pub(crate) struct Named {
    pub file: File,
    pub size: u64,
    /// Whether this process has seen it to hold what its name says.
    pub known: bool,
    /// Whether it has the mode that it should.
    pub sealed: bool,
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

impl Store {
    /// Stores a file's content. Durable after `flush`, or after the next durable record.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Entry> {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        let entry = Entry::File { digest, size, executable: false };
        if size <= SMALL {
            self.pack.append(&[Frame { kind: BLOB, key: digest, payload: bytes }], Repeats::Drop)?;
            return Ok(entry);
        }
        let _touch = self.leases.touch()?;
        self.leases.note(&entry);
        if !self.has(&entry) {
            let temp = self.temp_file()?;
            temp.as_file().write_all(bytes).map_err(io("write", temp.path()))?;
            self.publish_temp(temp, digest, size, false)?;
        } else {
            self.rely_on(&self.blob_path(&digest, false));
        }
        Ok(entry)
    }

    /// The content under this digest, verified. A damaged blob is put aside and answers `None`.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).map_err(io("read", self.blob_path(digest, false)))?;
        Ok(Some(bytes))
    }

    /// Opens content for streaming. It is hashed first, once in each process; a damaged blob answers `None`.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        if let Some(bytes) = self.packed(digest)? {
            return Ok(Some(Blob::Bytes(Cursor::new(bytes))));
        }
        for executable in [false, true] {
            if let Some(file) = self.sound_file(digest, executable)? {
                return Ok(Some(Blob::File(file)));
            }
        }
        Ok(None)
    }

    /// Writes content to `out`. Returns its size, or `None` if it is missing or damaged, with nothing written.
    pub fn read_to(&self, digest: &Digest, out: &mut impl Write) -> Result<Option<u64>> {
        let Some(mut blob) = self.open_blob(digest)? else {
            return Ok(None);
        };
        io::copy(&mut blob, out).map(Some).map_err(io("copy", self.blob_path(digest, false)))
    }

    /// The tree under this digest, verified.
    pub fn tree(&self, digest: &Digest) -> Result<Option<Arc<Tree>>> {
        if let Some(tree) = held(&self.trees).get(digest) {
            return Ok(Some(tree.clone()));
        }
        let found = match self.pack.any(TREE, digest)? {
            None => self.pack.last(OUTLINE, digest)?,
            found => found,
        };
        let Some(bytes) = found else {
            return Ok(None);
        };
        let fits = Tree::digest_of_encoding(&bytes) == *digest;
        let Some(tree) = Tree::decode(&bytes).filter(|_| fits) else {
            self.warnings.add(Warning::Corrupt { digest: *digest, moved_to: None });
            return Ok(None);
        };
        let tree = Arc::new(tree);
        held(&self.trees).insert(*digest, tree.clone());
        Ok(Some(tree))
    }

    /// Stores one folder level.
    pub fn put_tree_node(&self, tree: &Tree) -> Result<Entry> {
        let encoding = tree.encode();
        let digest = Tree::digest_of_encoding(&encoding);
        self.pack.append(&[Frame { kind: TREE, key: digest, payload: &encoding }], Repeats::Drop)?;
        Ok(Entry::Tree { digest })
    }

    /// Whether this very blob or tree level is here, by size and unread. A link always is.
    /// A blob that is here stays so, whoever collects, until this store is closed.
    pub fn contains(&self, entry: &Entry) -> bool {
        if self.leases.covers(entry) {
            return self.has(entry);
        }
        let Ok(_touch) = self.leases.touch() else {
            return false;
        };
        let has = self.has(entry);
        if has && !matches!(entry, Entry::Tree { .. }) {
            self.leases.note(entry);
        }
        has
    }

    pub(crate) fn has(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Link { .. } => true,
            Entry::Tree { digest } => self.pack.contains(TREE, digest).unwrap_or(false),
            Entry::File { digest, size, .. } if *size <= SMALL => self.pack.contains(BLOB, digest).unwrap_or(false),
            Entry::File { digest, size, .. } => {
                [false, true].iter().any(|&executable| file_has_size(&self.blob_path(digest, executable), *size))
            }
        }
    }

    /// Small content, if the pack has it sound.
    pub(crate) fn packed(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.pack.any(BLOB, digest)? else {
            return Ok(None);
        };
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        self.warnings.add(Warning::Corrupt { digest: *digest, moved_to: None });
        Ok(None)
    }

    pub(crate) fn blob_path(&self, digest: &Digest, executable: bool) -> PathBuf {
        let hex = digest.to_string();
        let suffix = if executable { ".x" } else { "" };
        self.root.join("blobs").join(&hex[..2]).join(format!("{hex}{suffix}"))
    }

    /// Bytes on disk of content of this size, in all the files that hold it.
    pub(crate) fn weight(&self, digest: &Digest, size: u64) -> u64 {
        if size <= SMALL {
            return size;
        }
        let files = [false, true].map(|executable| self.blob_path(digest, executable).symlink_metadata());
        files.into_iter().flatten().map(|meta| crate::verify::on_disk(&meta)).sum()
    }

    /// The blob's file of this mode, hashed unless this process has done so before. Damaged ones are put aside.
    pub(crate) fn sound_file(&self, digest: &Digest, executable: bool) -> Result<Option<File>> {
        let Some(named) = self.named_file(digest, executable)? else {
            return Ok(None);
        };
        if !named.known {
            let path = self.blob_path(digest, executable);
            let (found, _) = hash::hash(&named.file, named.size).map_err(io("read", &path))?;
            if !self.judge(digest, executable, &named, found)? {
                return Ok(None);
            }
        }
        Ok(Some(named.file))
    }

    /// The blob's file of this mode, read or not. What is no readable file is put aside.
    pub(crate) fn named_file(&self, digest: &Digest, executable: bool) -> Result<Option<Named>> {
        let path = self.blob_path(digest, executable);
        let (file, stat) = match fsx::open_file(&path) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                self.quarantine(digest, &path)?;
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A mode that forbids reading is damage as well; `pipe` made all blobs readable.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.quarantine(digest, &path)?;
                return Ok(None);
            }
            Err(error) => return Err(io("open", &path)(error)),
        };
        let stamp = Stamp::of(&stat);
        let known = held(&self.verified).get(&(*digest, executable)).is_some_and(|known| known.same_content(&stamp));
        let sealed = stat.st_mode & 0o7777 == if executable { 0o555 } else { 0o444 };
        Ok(Some(Named { file, size: stamp.size, known, sealed }))
    }

    /// Whether a file was found to hold what its name says. If so it is known to, from its start on; if not, put aside.
    pub(crate) fn judge(&self, digest: &Digest, executable: bool, named: &Named, found: Digest) -> Result<bool> {
        let path = self.blob_path(digest, executable);
        if found != *digest {
            self.quarantine(digest, &path)?;
            return Ok(false);
        }
        (&named.file).rewind().map_err(io("read", &path))?;
        if !named.sealed {
            fsx::seal(&named.file, executable).map_err(io("set the mode of", &path))?;
        }
        self.trust(digest, executable, &named.file)?;
        Ok(true)
    }

    /// Notes that this process has seen this file to hold what its name says.
    pub(crate) fn trust(&self, digest: &Digest, executable: bool, file: impl AsFd) -> Result<()> {
        let stat = rustix::fs::fstat(file).map_err(io("inspect", self.blob_path(digest, executable)))?;
        held(&self.verified).insert((*digest, executable), Stamp::of(&stat));
        Ok(())
    }

    /// Puts damaged content aside, a blob or a checkout, whatever kind of file it is.
    pub(crate) fn quarantine(&self, digest: &Digest, path: &Path) -> Result<()> {
        let folder = self.root.join("quarantine");
        let name = format!("{digest}-{:x}", crate::stat::now());
        let moved_to = folder.join(name);
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            // A folder that its owner may not write to can't be moved. If this fails, that will.
            let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
        }
        match std::fs::rename(path, &moved_to) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io("put aside", path))?,
        }
        held(&self.verified).retain(|(known, _), _| known != digest);
        held(&self.whole).clear();
        held(&self.looked_at).clear();
        // What made this wrong may have done the same to more, and what is put aside gives up names in time.
        let _ = fsx::remove_tree(&self.root.join(seal::FOLDER));
        self.warnings.add(Warning::Corrupt { digest: *digest, moved_to: Some(moved_to) });
        Ok(())
    }

    /// A temporary file on the store's disk.
    pub(crate) fn temp_file(&self) -> Result<tempfile::NamedTempFile> {
        let scratch = self.scratch()?;
        tempfile::NamedTempFile::new_in(scratch).map_err(io("make a file in", scratch))
    }

    /// Makes a written temporary file a blob: sealed, durable, then named.
    pub(crate) fn publish_temp(
        &self,
        temp: tempfile::NamedTempFile,
        digest: Digest,
        size: u64,
        executable: bool,
    ) -> Result<()> {
        fsx::seal(temp.as_file(), executable).map_err(io("set the mode of", temp.path()))?;
        temp.as_file().sync_all().map_err(io("make durable", temp.path()))?;
        if self.publish(rustix::fs::CWD, temp.path(), &digest, size, executable)? {
            self.trust(&digest, executable, temp.as_file())?;
            // The file has its final name now, and there is nothing left to remove.
            let _ = temp.into_temp_path().keep();
        }
        Ok(())
    }

    /// Renames a sealed, durable file to its name among the blobs. False if that was there already.
    pub(crate) fn publish(
        &self,
        dir: impl AsFd,
        name: &Path,
        digest: &Digest,
        size: u64,
        executable: bool,
    ) -> Result<bool> {
        let path = self.blob_path(digest, executable);
        let mut folder_made = false;
        loop {
            match fsx::rename_new(&dir, name, &path) {
                Ok(()) => {
                    self.rely_on(&path);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if file_has_size(&path, size) {
                        self.rely_on(&path);
                        return Ok(false);
                    }
                    self.quarantine(digest, &path)?;
                }
                // Either name may be what is missing; only the folder is made, and only once.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder_made => {
                    self.make_fan_out(&path)?;
                    folder_made = true;
                }
                Err(error) => return Err(io("store", &path)(error)),
            }
        }
    }

    /// Remembers that the name of this blob must be durable before a record speaks of it, whoever made it.
    /// Called when the name is there: another thread may sync, and clear the list, at any time.
    pub(crate) fn rely_on(&self, path: &Path) {
        if let Some(folder) = path.parent() {
            held(&self.unsynced).insert(folder.to_owned());
        }
    }

    /// Makes the folder of a blob, unless another process was faster.
    fn make_fan_out(&self, path: &Path) -> Result<()> {
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(io("make the folder", folder))?,
        }
        held(&self.unsynced).insert(self.root.join("blobs"));
        Ok(())
    }

    /// Error for content that a caller needs and the store lacks. What was taken for whole may not be.
    pub(crate) fn missing(&self, digest: &Digest) -> StoreError {
        held(&self.whole).clear();
        self.warnings.lost();
        StoreError::Missing { digest: *digest }
    }
}

fn file_has_size(path: &Path, size: u64) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}
