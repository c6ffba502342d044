//! Looks at everything once: how much there is, and whether it is what it says.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Digest;
use crate::blob::{BLOB, OUTLINE, TREE};
use crate::error::{Result, io};
use crate::store::Store;
use crate::tree::{Entry, Tree};

/// What a store holds, in counts and bytes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs in files of their own.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Small blobs and trees.
    pub packed: u64,
    /// The pack's bytes.
    pub pack_bytes: u64,
    /// Records of all kinds.
    pub records: u64,
    /// The records' bytes.
    pub record_bytes: u64,
    /// Checkouts.
    pub checkouts: u64,
    /// Bytes that checkouts and their seals take beyond the blobs that they link to.
    pub checkout_bytes: u64,
    /// Bytes of scratch, of kept working folders and of quarantine.
    pub other_bytes: u64,
    /// Bytes free on the disk.
    pub free_bytes: u64,
}

impl Usage {
    /// All bytes of the store.
    pub fn total_bytes(&self) -> u64 {
        self.blob_bytes + self.pack_bytes + self.record_bytes + self.checkout_bytes + self.other_bytes
    }
}

/// How far `verify` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed so far.
    pub done: u64,
    /// Bytes to hash.
    pub total: u64,
}

/// What `verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Frames of records, small blobs and trees looked at.
    pub frames: u64,
    /// Checkouts looked at.
    pub checkouts: u64,
    /// Blobs that were damaged and are now in quarantine.
    pub damaged: Vec<Digest>,
    /// Frames that were damaged.
    pub damaged_frames: u64,
    /// Checkouts that did not hold what they say and were removed.
    pub damaged_checkouts: Vec<PathBuf>,
    /// Files that are no part of a store.
    pub strangers: Vec<PathBuf>,
    /// Files and folders with a mode that lets somebody write; they were set right.
    pub modes: u64,
}

impl Verified {
    /// Whether nothing was wrong.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.damaged_frames == 0 && self.damaged_checkouts.is_empty() && self.modes == 0
    }
}

/// One file among the blobs.
pub(crate) struct BlobFile {
    pub path: PathBuf,
    pub meta: Metadata,
    /// Digest and mode that its name says; `None` for a stranger.
    pub name: Option<(Digest, bool)>,
}

impl Store {
    /// How much the store holds.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage { free_bytes: self.free_space()?, ..Usage::default() };
        for blob in self.blob_files()? {
            usage.blobs += 1;
            usage.blob_bytes += on_disk(&blob.meta);
        }
        usage.packed = self.pack.len()? as u64;
        usage.pack_bytes = self.pack.path().metadata().map_or(0, |meta| on_disk(&meta));
        usage.records = self.records.len()? as u64;
        usage.record_bytes = self.records.path().metadata().map_or(0, |meta| on_disk(&meta));
        let checkouts = self.root.join("checkouts");
        usage.checkouts = children(&checkouts)?.len() as u64;
        usage.checkout_bytes = own_bytes(&checkouts)? + own_bytes(&self.root.join(crate::seal::FOLDER))?;
        for name in ["tmp", "kept", "quarantine", crate::advice::FOLDER] {
            usage.other_bytes += own_bytes(&self.root.join(name))?;
        }
        usage.other_bytes += self.root.join("stat.cache").metadata().map_or(0, |meta| on_disk(&meta));
        Ok(usage)
    }

    /// What was damaged, or had no place in the store, and now waits in quarantine for a collection.
    pub fn quarantined(&self) -> Result<Vec<PathBuf>> {
        children(&self.root.join("quarantine"))
    }

    /// Hashes everything. Damaged blobs go to quarantine, damaged checkouts are removed; both are made again when needed.
    /// Collections that go on meanwhile are let through.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Verified> {
        let mut found = Verified::default();
        self.scratch()?;
        // What this process has seen is no proof of what is on the disk now.
        self.forget_content();
        found.modes = self.look_at_folders(&mut found.strangers)?;
        let blobs = self.blob_files()?;
        let total = blobs.iter().map(|blob| blob.meta.len()).sum();
        for blob in blobs {
            let Some((digest, executable)) = blob.name else {
                found.strangers.push(blob.path);
                continue;
            };
            found.blobs += 1;
            found.modes += u64::from(blob.meta.mode() & 0o022 != 0);
            // What a collection has taken since it was listed is no damage.
            let gone = || blob.path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
            if !gone() && self.sound_file(&digest, executable)?.is_none() && !found.damaged.contains(&digest) {
                found.damaged.push(digest);
            }
            found.bytes += blob.meta.len();
            progress(Progress { done: found.bytes, total });
        }
        self.verify_frames(&mut found)?;
        self.verify_checkouts(&mut found)?;
        Ok(found)
    }

    fn verify_frames(&self, found: &mut Verified) -> Result<()> {
        let mut wrong = 0;
        let damaged = self.pack.each(None, |kind, key, payload| {
            wrong += u64::from(!pack_frame_fits(kind, key, payload));
            Ok(())
        })?;
        found.damaged_frames = wrong + damaged + self.records.each(None, |_, _, _| Ok(()))?;
        found.frames = (self.pack.len()? + self.records.len()?) as u64;
        Ok(())
    }

    fn verify_checkouts(&self, found: &mut Verified) -> Result<()> {
        for path in children(&self.root.join("checkouts"))? {
            found.checkouts += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let digest = name.strip_suffix(".x").unwrap_or(&name).parse::<Digest>();
            let holds = |found: Result<Entry>| found.is_ok_and(|found| found.digest() == digest.clone().ok());
            let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            let sound = if is_dir { holds(self.hash_tree_afresh(&path)) } else { holds(self.hash_file_afresh(&path)) };
            if !sound {
                crate::fsx::remove_tree(&path).map_err(io("remove", &path))?;
                found.damaged_checkouts.push(path);
            }
        }
        Ok(())
    }

    /// All files where blobs are.
    pub(crate) fn blob_files(&self) -> Result<Vec<BlobFile>> {
        let mut files = Vec::new();
        for folder in children(&self.root.join("blobs"))? {
            let is_dir = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            let inner = if is_dir { children(&folder)? } else { vec![folder] };
            for path in inner {
                let Ok(meta) = path.symlink_metadata() else {
                    continue;
                };
                let name = blob_name(&path).filter(|(digest, executable)| self.blob_path(digest, *executable) == path);
                files.push(BlobFile { path, meta, name });
            }
        }
        Ok(files)
    }
}

/// Whether a frame of the pack holds what its key says.
pub(crate) fn pack_frame_fits(kind: u8, key: &Digest, payload: &[u8]) -> bool {
    match kind {
        BLOB => Digest::of(payload) == *key,
        TREE | OUTLINE => Tree::digest_of_encoding(payload) == *key && Tree::decode(payload).is_some(),
        _ => true,
    }
}

fn blob_name(path: &Path) -> Option<(Digest, bool)> {
    let name = path.file_name()?.to_str()?;
    match name.strip_suffix(".x") {
        Some(hex) => Some((hex.parse().ok()?, true)),
        None => Some((name.parse().ok()?, false)),
    }
}

/// The paths in a folder, sorted.
pub(crate) fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(io("list", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(io("list", folder))?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}

/// The same of a folder that may be gone: other processes remove their working folders while this one counts.
pub(crate) fn children_if_there(folder: &Path) -> Result<Vec<PathBuf>> {
    match children(folder) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

pub(crate) fn on_disk(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

/// Bytes that a folder takes, but for files that have other names too.
pub(crate) fn own_bytes(path: &Path) -> Result<u64> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(0);
    };
    if !meta.is_dir() {
        return Ok(if meta.nlink() > 1 { 0 } else { on_disk(&meta) });
    }
    let mut bytes = on_disk(&meta);
    for path in children_if_there(path)? {
        bytes += own_bytes(&path)?;
    }
    Ok(bytes)
}
