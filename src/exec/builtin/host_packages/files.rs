//! The files of installed packages: from `RECORD`, into the store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pipe_cache::{Digest, Entry, Store, TreeBuilder};
use sha2::{Digest as _, Sha256};

use super::{Inventory, Package, PackageError};

/// One line of `RECORD` that belongs into a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// Relative to the packages' folder, with slashes.
    pub path: String,
    /// URL-safe base 64 without padding, where the line has one.
    pub sha256: Option<String>,
    pub size: Option<u64>,
}

/// Reads the list of a package's files and leaves out what no tree holds.
pub(super) fn read(package: &Package) -> Result<Vec<Line>, PackageError> {
    let path = package.record();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(PackageError::NoRecord { package: package.name.clone() });
        }
        Err(source) => return Err(PackageError::File { path, source }),
    };
    let info = package.metadata.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    parse(&text, &info).map_err(|line| PackageError::BadRecord { package: package.name.clone(), line })
}

/// Parses the lines `path,sha256=digest,size`; the error is the line that can't be read.
pub(super) fn parse(text: &str, info: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let bad = || line.chars().take(200).flat_map(char::escape_debug).collect::<String>();
        let mut fields = line.trim_end().rsplitn(3, ',');
        let (Some(size), Some(hash), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(bad());
        };
        let path = match path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => path.to_owned(),
        };
        if path.is_empty() || path.contains('\0') {
            return Err(bad());
        }
        if !belongs(&path, info) {
            continue;
        }
        let size = match size {
            "" => None,
            digits => Some(digits.parse().map_err(|_| bad())?),
        };
        // Other algorithms are allowed by the format and used by nobody; they count as no digest.
        let sha256 = hash.strip_prefix("sha256=").map(|digest| digest.trim_end_matches('=').to_owned());
        lines.push(Line { path, sha256, size });
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// Leaves out scripts and data beside the packages' folder, byte code, and what the installer wrote.
fn belongs(path: &str, info: &str) -> bool {
    let outside = path.starts_with('/') || path.split('/').any(|part| matches!(part, ".." | "." | ""));
    let byte_code =
        path.ends_with(".pyc") || path.ends_with(".pyo") || path.split('/').any(|part| part == "__pycache__");
    let by_installer = path.strip_prefix(info).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| {
        matches!(
            name,
            "RECORD" | "RECORD.jws" | "RECORD.p7s" | "INSTALLER" | "REQUESTED" | "direct_url.json" | "uv_cache.json"
        )
    });
    !(outside || byte_code || by_installer)
}

/// One digest over all lines. A file without a digest in `RECORD` is hashed, since its content must count.
pub(super) fn digest(lines: &[Line], package: &Package) -> Result<Digest, PackageError> {
    let mut text = String::new();
    for line in lines {
        let hash = match &line.sha256 {
            Some(hash) => hash.clone(),
            None => sha256(&package.root.join(&line.path))
                .map_err(|source| PackageError::File { path: package.root.join(&line.path), source })?,
        };
        text.push_str(&format!("{:?} {hash}\n", line.path));
    }
    Ok(Digest::derive("pipe 2026 host-package v1", text.as_bytes()))
}

/// Makes one tree of all packages, reading with `threads` threads.
pub fn materialise(inventory: &Inventory, store: &Store, threads: NonZeroUsize) -> Result<Entry, PackageError> {
    let files = all_files(inventory)?;
    let list: Vec<(&String, &Source)> = files.iter().collect();
    let next = AtomicUsize::new(0);
    let entries: Mutex<Vec<(String, Entry)>> = Mutex::new(Vec::with_capacity(list.len()));
    let failure: Mutex<Option<PackageError>> = Mutex::new(None);
    let work = || {
        while let Some((path, source)) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
            match take(store, source) {
                Ok(entry) => locked(&entries).push(((*path).clone(), entry)),
                Err(error) => {
                    locked(&failure).get_or_insert(error);
                    next.store(list.len(), Ordering::Relaxed);
                }
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
    if let Some(error) = locked(&failure).take() {
        return Err(error);
    }
    let mut tree = TreeBuilder::new();
    for (path, entry) in locked(&entries).drain(..) {
        tree.insert(&path, entry)?;
    }
    Ok(tree.build(store)?)
}

/// A thread that panicked leaves the value whole: every section only pushes or takes.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where the content of a path comes from.
#[derive(Debug)]
struct Source {
    package: String,
    file: PathBuf,
    sha256: Option<String>,
}

fn all_files(inventory: &Inventory) -> Result<BTreeMap<String, Source>, PackageError> {
    let mut files: BTreeMap<String, Source> = BTreeMap::new();
    for package in &inventory.packages {
        for line in read(package)? {
            let source =
                Source { package: package.name.clone(), file: package.root.join(&line.path), sha256: line.sha256 };
            match files.get(&line.path) {
                Some(first) if first.file == source.file => {}
                Some(first) if same_content(&first.file, &source.file)? => {}
                Some(first) => {
                    let (first, second) = (first.package.clone(), source.package);
                    return Err(PackageError::Conflict { first, second, path: line.path });
                }
                None => {
                    files.insert(line.path, source);
                }
            }
        }
    }
    Ok(files)
}

fn same_content(first: &Path, second: &Path) -> Result<bool, PackageError> {
    let hash = |path: &Path| sha256(path).map_err(|source| PackageError::File { path: path.to_owned(), source });
    Ok(hash(first)? == hash(second)?)
}

fn take(store: &Store, source: &Source) -> Result<Entry, PackageError> {
    let failed = |error| PackageError::File { path: source.file.clone(), source: error };
    let metadata = fs::metadata(&source.file).map_err(failed)?;
    if let Some(wanted) = &source.sha256
        && sha256(&source.file).map_err(failed)? != *wanted
    {
        return Err(PackageError::Edited { package: source.package.clone(), path: source.file.clone() });
    }
    Ok(store.put_file(&source.file, metadata.permissions().mode() & 0o111 != 0)?)
}

/// The SHA-256 of a file as `RECORD` writes it.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(base64(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// URL-safe base 64 without padding (RFC 4648, section 5).
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..=group.len() {
            let six = bits >> (18 - 6 * letter) & 0x3f;
            text.push(char::from(LETTERS[six as usize]));
        }
    }
    text
}
