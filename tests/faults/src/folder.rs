//! Folders: a print of all that is in one, in the store's own terms, and a copy of one. Knows nothing of stores.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::format::{Entry, content_digest, tree_digest, write_tree};

/// What is at this path, hashed in full; `None` where nothing is. Devices, sockets and fifos are errors.
pub fn print(path: &Path) -> io::Result<Option<Entry>> {
    let meta = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if meta.is_symlink() {
        let target = fs::read_link(path)?.to_string_lossy().into_owned();
        return Ok(Some(Entry::Link { target }));
    }
    if meta.is_dir() {
        let mut entries = BTreeMap::new();
        for child in fs::read_dir(path)? {
            let child = child?;
            if let Some(entry) = print(&child.path())? {
                entries.insert(child.file_name().as_bytes().to_vec(), entry);
            }
        }
        return Ok(Some(Entry::Tree { digest: tree_digest(&write_tree(&entries)) }));
    }
    if meta.file_type().is_fifo() || !meta.is_file() {
        return Err(io::Error::other(format!("`{}` is no file, folder or link", path.display())));
    }
    let bytes = fs::read(path)?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    Ok(Some(Entry::File { digest: content_digest(&bytes), size: bytes.len() as u64, executable }))
}

/// Copies a folder with its links and modes. Nothing of the copy is shared with the original.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for child in fs::read_dir(from)? {
        let child = child?;
        let (source, target) = (child.path(), to.join(child.file_name()));
        let kind = child.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    fs::set_permissions(to, from.metadata()?.permissions())
}

/// Removes a folder, whatever the modes in it. Nothing there is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if !meta.is_dir() {
        return fs::remove_file(path);
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for child in fs::read_dir(path)? {
        remove(&child?.path())?;
    }
    fs::remove_dir(path)
}

/// All regular files below a folder, sorted.
pub fn files(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        match child.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&child.path())),
            Ok(kind) if kind.is_file() => found.push(child.path()),
            _ => {}
        }
    }
    found.sort();
    found
}
