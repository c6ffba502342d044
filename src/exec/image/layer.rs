//! One layer: a tree of the store as the archive that puts it at its place.

use std::io::Write;

use pipe_cache::{Entry, Store};

use super::archive::{self, Kind};
use super::{ImageError, Layer};

/// Writes a layer's archive: the folders on the way to its place, then its content, each folder before what is in it.
pub fn write(store: &Store, layer: &Layer, out: &mut impl Write) -> Result<(), ImageError> {
    let place = place(&layer.at)?;
    let folders = match &layer.entry {
        Entry::Tree { .. } => &place[..],
        // A file or link takes the last name itself.
        Entry::File { .. } | Entry::Link { .. } => {
            place.split_last().ok_or_else(|| ImageError::BadPath { at: layer.at.clone() })?.1
        }
    };
    for depth in 1..=folders.len() {
        archive::member(out, &format!("{}/", folders[..depth].join("/")), Kind::Folder)?;
    }
    let root = place.join("/");
    // Listed first, since writing fails for other reasons than listing does.
    let mut entries = Vec::new();
    store.walk(&layer.entry, |path, entry| entries.push((path.to_owned(), entry.clone())))?;
    for (path, entry) in entries {
        let path = match (root.as_str(), path.as_str()) {
            (root, "") => root.to_owned(),
            ("", path) => path.to_owned(),
            (root, path) => format!("{root}/{path}"),
        };
        write_entry(store, &path, &entry, out)?;
    }
    archive::end(out)?;
    Ok(())
}

fn write_entry(store: &Store, path: &str, entry: &Entry, out: &mut impl Write) -> Result<(), ImageError> {
    match entry {
        Entry::Tree { .. } => archive::member(out, &format!("{path}/"), Kind::Folder)?,
        Entry::Link { target } => archive::member(out, path, Kind::Link { target })?,
        Entry::File { digest, size, executable } => {
            archive::member(out, path, Kind::File { size: *size, executable: *executable })?;
            let written = store.read_to(digest, out)?;
            if written != Some(*size) {
                return Err(ImageError::Missing { part: path.to_owned() });
            }
            archive::pad(out, *size)?;
        }
    }
    Ok(())
}

/// The names on the way from the root.
fn place(at: &str) -> Result<Vec<&str>, ImageError> {
    let bad = || ImageError::BadPath { at: at.to_owned() };
    let inside = at.strip_prefix('/').ok_or_else(bad)?;
    let names: Vec<&str> = inside.split('/').filter(|name| !name.is_empty()).collect();
    if names.iter().any(|name| matches!(*name, "." | "..") || name.contains('\0')) { Err(bad()) } else { Ok(names) }
}
