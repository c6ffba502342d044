//! Writes a section: content first, then the records that speak of it, streaming, each thing once.

use std::collections::HashSet;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::{ABOUT, About, END, HEAD, LAST, PART, PIECE, Pack, PackError, RECORD, TREE, io_error};
use crate::records::Kind;
use crate::store::Store;
use crate::tree::Entry;
use crate::{Digest, frame};

/// A section that is being written. Nothing has the pack's name before [`end`](PackWriter::end).
pub struct PackWriter<'a> {
    store: &'a Store,
    /// What the earlier packs of the chain hold.
    since: &'a [Pack],
    path: PathBuf,
    out: BufWriter<tempfile::NamedTempFile>,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    sent: HashSet<(u8, Digest)>,
    written: Written,
}

/// What a pack came to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The digest that names the section.
    pub id: Digest,
    /// Bytes of the file.
    pub bytes: u64,
    /// Records of all kinds.
    pub records: u64,
    /// Blobs.
    pub blobs: u64,
    /// Blobs that were left out because of what `takes` said.
    pub left_out: u64,
    /// Their bytes.
    pub left_out_bytes: u64,
}

impl<'a> PackWriter<'a> {
    /// Begins a pack that will be at `path`. What `since` holds is not written again. `note` is for who reads it.
    pub fn begin(store: &'a Store, path: &Path, since: &'a [Pack], note: &str) -> Result<Self, PackError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(io_error("write", path))?;
        let since_ids = since.iter().flat_map(|pack| pack.sections()).map(|section| section.id).collect();
        let mut writer = Self {
            store,
            since,
            path: path.to_owned(),
            out: BufWriter::new(file),
            hasher: blake3::Hasher::new(),
            buffer: Vec::new(),
            sent: HashSet::new(),
            written: Written { id: Digest::of(b""), bytes: 0, records: 0, blobs: 0, left_out: 0, left_out_bytes: 0 },
        };
        writer.raw(HEAD)?;
        let about = About { since: since_ids, note: note.to_owned() };
        let about = serde_json::to_vec(&about).unwrap_or_default();
        writer.frame(ABOUT, &Digest::of(b""), &about)?;
        Ok(writer)
    }

    /// Writes an entry: folder levels always, since keys are made of them, and files where `takes` says so.
    /// False where the store lacks some of what should have been written.
    pub fn content(&mut self, entry: &Entry, takes: &dyn Fn(u64) -> bool) -> Result<bool, PackError> {
        match entry {
            Entry::Link { .. } => Ok(true),
            Entry::Tree { digest } => self.tree(digest, takes),
            Entry::File { digest, size, .. } if takes(*size) => self.blob(digest, *size),
            Entry::File { digest, size, .. } => {
                if !self.has(LAST, digest) && self.sent.insert((0, *digest)) {
                    self.written.left_out += 1;
                    self.written.left_out_bytes += size;
                }
                Ok(true)
            }
        }
    }

    /// Writes a record.
    pub fn record(&mut self, kind: Kind, key: &Digest, payload: &[u8]) -> Result<(), PackError> {
        self.written.records += 1;
        self.frame(RECORD + kind as u8, key, payload)
    }

    /// Finishes the section, makes it durable and gives the file its name.
    pub fn end(mut self) -> Result<Written, PackError> {
        let id = Digest::from(self.hasher.finalize());
        self.frame(END, &id, b"")?;
        let path = self.path;
        let file = self.out.into_inner().map_err(|error| io_error("write", &path)(error.into_error()))?;
        // A pack is for others to fetch; a temporary file is private.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(io_error("write", &path))?;
        file.as_file().sync_all().map_err(io_error("write", &path))?;
        file.persist(&path).map_err(|error| io_error("write", &path)(error.error))?;
        Ok(Written { id, ..self.written })
    }

    fn tree(&mut self, digest: &Digest, takes: &dyn Fn(u64) -> bool) -> Result<bool, PackError> {
        let Some(tree) = self.store.tree(digest)? else { return Ok(false) };
        let mut whole = true;
        for (_, entry) in tree.entries() {
            whole &= self.content(entry, takes)?;
        }
        if whole && !self.has(TREE, digest) && self.sent.insert((TREE, *digest)) {
            self.frame(TREE, digest, &tree.encode())?;
        }
        Ok(whole)
    }

    fn blob(&mut self, digest: &Digest, size: u64) -> Result<bool, PackError> {
        if self.has(LAST, digest) || self.sent.contains(&(LAST, *digest)) {
            return Ok(true);
        }
        let Some(mut blob) = self.store.open_blob(digest)? else { return Ok(false) };
        self.sent.insert((LAST, *digest));
        let mut piece = vec![0; PIECE.min(size as usize + 1)];
        let mut filled = 0;
        loop {
            let read = match blob.read(&mut piece[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(io_error("read a blob for", &self.path))?,
            };
            filled += read;
            if read == 0 {
                break;
            }
            if filled == piece.len() {
                self.frame(PART, digest, &piece)?;
                filled = 0;
            }
        }
        self.frame(LAST, digest, &piece[..filled])?;
        self.written.blobs += 1;
        Ok(true)
    }

    fn has(&self, kind: u8, digest: &Digest) -> bool {
        self.since.iter().any(|pack| pack.has(kind, digest))
    }

    fn frame(&mut self, kind: u8, key: &Digest, payload: &[u8]) -> Result<(), PackError> {
        if payload.len() > super::MOST_PAYLOAD {
            let what = "a record";
            return Err(crate::StoreError::TooLarge { what, bytes: payload.len() as u64 }.into());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        frame::encode(&mut buffer, kind, key, payload);
        let written = self.raw(&buffer);
        self.buffer = buffer;
        written
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hasher.update(bytes);
        self.written.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(io_error("write", &self.path))
    }
}
