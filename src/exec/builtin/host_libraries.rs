//! Libraries of the host by file name, and where in a tree their loader looks for them.
//!
//! A tree that holds a program, its libraries and the loader is complete: it runs with nothing else in sight, as a
//! container from nothing. The loader has two or four folders written into its bytes, in which it looks without any
//! cache file; the libraries go to the first of these. Which libraries are needed, the pipeline says and
//! [`super::closure`] checks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use pipe_cache::{Digest, Entry, Store, StoreError};
use thiserror::Error;

use super::elf;

/// Why the host's libraries can't be used.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The host has no such library.
    #[error(
        "this machine has no library `{name}` in {searched}; install the package that holds it (`apt-file search {name}` names it)"
    )]
    Missing { name: String, searched: String },
    /// The name is no file name.
    #[error("`{0}` is no file name of a library: write it as in `libm.so.6`")]
    BadName(String),
    /// No dynamic loader is known for this machine.
    #[error(
        "this machine has no dynamic loader that `pipe` knows, so no tree with its libraries can be made (glibc on x86_64 and aarch64 Linux only)"
    )]
    NoLoader,
    /// A file can't be read.
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One library, and its place in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLibrary {
    pub name: String,
    /// The file on the host, behind its links.
    pub file: PathBuf,
    /// The path in the tree: `lib/x86_64-linux-gnu/libm.so.6`.
    pub place: String,
    pub is_loader: bool,
}

/// What a processor architecture looks like to the loader.
#[derive(Debug)]
struct Architecture {
    name: &'static str,
    machine: u16,
    /// Where programs expect the loader.
    loader: &'static str,
    /// The folders that distributions build into it, the most particular first.
    folders: &'static [&'static str],
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "x86_64",
        machine: object::elf::EM_X86_64.0,
        loader: "lib64/ld-linux-x86-64.so.2",
        folders: &["lib/x86_64-linux-gnu", "lib64", "lib"],
    },
    Architecture {
        name: "aarch64",
        machine: object::elf::EM_AARCH64.0,
        loader: "lib/ld-linux-aarch64.so.1",
        folders: &["lib/aarch64-linux-gnu", "lib64", "lib"],
    },
];

/// Finds the libraries below `root`, which is `/` but in tests, for one architecture.
pub fn resolve(names: &[String], root: &Path, architecture: &str) -> Result<Vec<HostLibrary>, LibraryError> {
    let architecture = ARCHITECTURES.iter().find(|known| known.name == architecture).ok_or(LibraryError::NoLoader)?;
    let loader = root.join(architecture.loader);
    let default = default_folder(&loader, architecture)?;
    let folders = search_folders(root, architecture);
    names
        .iter()
        .map(|name| {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return Err(LibraryError::BadName(name.escape_debug().to_string()));
            }
            let is_loader = Path::new(architecture.loader).file_name().is_some_and(|loader| loader == name.as_str());
            let (found, place) = match is_loader {
                true => (Some(loader.clone()), architecture.loader.to_owned()),
                false => (
                    folders.iter().map(|folder| folder.join(name)).find(|file| is_for(file, architecture)),
                    format!("{default}/{name}"),
                ),
            };
            let found = found.ok_or_else(|| LibraryError::Missing { name: name.clone(), searched: list(&folders) })?;
            let file = found.canonicalize().map_err(|source| LibraryError::File { path: found, source })?;
            Ok(HostLibrary { name: name.clone(), file, place, is_loader })
        })
        .collect()
}

/// The content of each library, for a key; by the stat cache it costs nothing after the first time.
pub fn key_parts(libraries: &[HostLibrary], store: &Store) -> Result<BTreeMap<String, Digest>, LibraryError> {
    let digest = |library: &HostLibrary| match store.hash_file(&library.file)? {
        Entry::File { digest, .. } => Ok((library.name.clone(), digest)),
        _ => Err(LibraryError::File { path: library.file.clone(), source: io::Error::other("it is no file") }),
    };
    libraries.iter().map(digest).collect()
}

/// The first of the known folders whose name is in the loader's bytes.
fn default_folder(loader: &Path, architecture: &Architecture) -> Result<&'static str, LibraryError> {
    let bytes = std::fs::read(loader).map_err(|_| LibraryError::NoLoader)?;
    Ok(default_folders(&bytes, architecture).next().unwrap_or("lib"))
}

fn default_folders<'a>(loader: &'a [u8], architecture: &'a Architecture) -> impl Iterator<Item = &'static str> + 'a {
    architecture.folders.iter().copied().filter(move |folder| {
        // In the table of the loader each ends in a slash and a zero byte.
        let wanted = format!("\0/{folder}/\0");
        let wanted_first = format!("/{folder}/\0/usr/{folder}/\0");
        contains(loader, wanted.as_bytes()) || contains(loader, wanted_first.as_bytes())
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The folders that a loader of these bytes searches in a tree, without a slash before them.
pub(super) fn folders_of_loader(loader: &[u8], machine: u16) -> Vec<String> {
    let Some(architecture) = ARCHITECTURES.iter().find(|known| known.machine == machine) else { return Vec::new() };
    default_folders(loader, architecture).flat_map(|folder| [folder.to_owned(), format!("usr/{folder}")]).collect()
}

/// The loader's own folders, and those that the administrator added.
fn search_folders(root: &Path, architecture: &Architecture) -> Vec<PathBuf> {
    let own = architecture.folders.iter().flat_map(|folder| [root.join(folder), root.join("usr").join(folder)]);
    let mut folders: Vec<PathBuf> = own.collect();
    let mut files = vec![root.join("etc/ld.so.conf")];
    if let Ok(entries) = std::fs::read_dir(root.join("etc/ld.so.conf.d")) {
        let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        more.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        more.sort();
        files.append(&mut more);
    }
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        folders.extend(lines.filter_map(|line| line.strip_prefix('/')).map(|folder| root.join(folder)));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// True for a library of this architecture; a folder may hold those of another beside them.
fn is_for(file: &Path, architecture: &Architecture) -> bool {
    let Ok(file) = File::open(file) else { return false };
    matches!(elf::parse(&ReadCache::new(file)), Ok(Some(elf)) if elf.machine == architecture.machine)
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| format!("`{}`", folder.display())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_a_loader_are_read_out_of_its_bytes() {
        let x86 = &ARCHITECTURES[0];
        let debian = b"x\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0";
        assert_eq!(default_folders(debian, x86).collect::<Vec<_>>(), ["lib/x86_64-linux-gnu", "lib"]);
        let fedora = b"\x01/lib64/\0/usr/lib64/\0";
        assert_eq!(default_folders(fedora, x86).collect::<Vec<_>>(), ["lib64"]);
        assert_eq!(folders_of_loader(fedora, x86.machine), ["lib64", "usr/lib64"]);
    }

    #[test]
    fn an_unknown_architecture_and_bad_names_are_told() {
        assert!(matches!(resolve(&[], Path::new("/"), "riscv64"), Err(LibraryError::NoLoader)));
        let empty = tempfile::tempdir().expect("a folder");
        assert!(matches!(resolve(&[], empty.path(), "x86_64"), Err(LibraryError::NoLoader)));
    }
}
