//! The files that resolving reads, through a trait with an in-memory twin for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    File,
    Folder,
    Missing,
}

/// Reading files, and nothing else.
pub trait Files {
    /// The bytes of a file, at most `most` of them and one more.
    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>>;

    /// The digest of what [`Files::read`] gives; `None` where a file can't be read. Who knows it need not read.
    fn digest(&self, path: &Path, most: usize) -> Option<Digest> {
        self.read(path, most).ok().map(|bytes| Digest::of(&bytes))
    }

    /// What lies at a path, links followed.
    fn kind(&self, path: &Path) -> FileKind;

    /// The absolute path without links; of a path where nothing lies, the absolute path without `..`.
    fn real(&self, path: &Path) -> PathBuf;
}

/// The machine's files, seen from a working folder.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Relative paths are read from `folder`, which is absolute.
    pub fn new(folder: PathBuf) -> Disk {
        Disk { folder }
    }

    /// Where a path lies, by its text.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

impl Files for Disk {
    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(self.folder.join(path))?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn kind(&self, path: &Path) -> FileKind {
        match std::fs::metadata(self.folder.join(path)) {
            Ok(facts) if facts.is_dir() => FileKind::Folder,
            Ok(_) => FileKind::File,
            Err(_) => FileKind::Missing,
        }
    }

    fn real(&self, path: &Path) -> PathBuf {
        let absolute = self.folder.join(path);
        std::fs::canonicalize(&absolute).unwrap_or_else(|_| normal(&absolute))
    }
}

/// Files in memory, below `/`; folders are there where a file lies below them.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    /// Adds a file.
    pub fn with(mut self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> Memory {
        self.files.insert(self.real(path.as_ref()), bytes.into());
        self
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, _most: usize) -> io::Result<Vec<u8>> {
        self.files.get(&self.real(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn kind(&self, path: &Path) -> FileKind {
        let path = self.real(path);
        if self.files.contains_key(&path) {
            FileKind::File
        } else if self.files.keys().any(|file| file.starts_with(&path)) {
            FileKind::Folder
        } else {
            FileKind::Missing
        }
    }

    fn real(&self, path: &Path) -> PathBuf {
        normal(&Path::new("/").join(path))
    }
}

/// A path without `.` and `..`, by its text alone.
pub fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::ParentDir if out.has_root() => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both kinds of files promise.
    fn contract(files: &dyn Files) {
        assert_eq!(files.read(Path::new("a/b.txt"), 10).ok(), Some(b"hello".to_vec()));
        assert_eq!(files.read(Path::new("a/../a/b.txt"), 10).ok(), Some(b"hello".to_vec()));
        assert_eq!(files.kind(Path::new("a/b.txt")), FileKind::File);
        assert_eq!(files.kind(Path::new("a")), FileKind::Folder);
        assert_eq!(files.kind(Path::new("c")), FileKind::Missing);
        assert!(files.read(Path::new("c"), 10).is_err());
        assert!(files.real(Path::new("a/../c")).ends_with("c"));
        assert!(files.real(Path::new("a")).is_absolute());
    }

    #[test]
    fn disk_and_memory_keep_the_same_promises() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        std::fs::write(folder.path().join("a/b.txt"), "hello").expect("a file");
        contract(&Disk::new(folder.path().to_owned()));
        contract(&Memory::default().with("a/b.txt", "hello"));
    }
}
