//! Files into a container and out of it, as the archives that the API speaks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use super::error::RuntimeError;
use super::run::USER;

/// What an engine may write, in all.
const OUTPUT_LIMIT: u64 = 4 << 30;

/// The archive that makes `in` with its files, and an `out` that the container's user can write to.
pub fn incoming(files: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let folder = |name: &str, owner: u64| -> io::Result<tar::Header> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_path(name)?;
        header.set_mode(0o755);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(0);
        header.set_mtime(0);
        header.set_cksum();
        Ok(header)
    };
    archive.append(&folder("in/", 0)?, io::empty())?;
    archive.append(&folder("out/", USER)?, io::empty())?;
    let mut made = BTreeSet::new();
    for (name, content) in files {
        let parents: Vec<&Path> = Path::new(name).ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
        for parent in parents.into_iter().rev() {
            if made.insert(parent) {
                archive.append(&folder(&format!("in/{}/", parent.display()), 0)?, io::empty())?;
            }
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, format!("in/{name}"), content.as_slice())?;
    }
    archive.into_inner()
}

/// An archive that arrives, kept in a file without a name.
pub struct Arriving {
    spool: File,
    size: u64,
}

impl Arriving {
    pub fn new() -> io::Result<Arriving> {
        Ok(Arriving { spool: tempfile::tempfile()?, size: 0 })
    }

    pub fn take(&mut self, piece: &[u8]) -> Result<(), RuntimeError> {
        self.size += piece.len() as u64;
        if self.size > OUTPUT_LIMIT {
            return Err(RuntimeError::Output { reason: format!("it is larger than {} GiB", OUTPUT_LIMIT >> 30) });
        }
        self.spool.write_all(piece).map_err(|error| RuntimeError::Output { reason: error.to_string() })
    }

    /// Writes what is below the archive's first folder into `folder`: files and folders alone, for whatever
    /// else an engine made leads out of it.
    pub fn unpack(mut self, folder: &Path) -> Result<(), RuntimeError> {
        let odd = |error: io::Error| RuntimeError::Output { reason: error.to_string() };
        self.spool.seek(SeekFrom::Start(0)).map_err(odd)?;
        for entry in tar::Archive::new(self.spool).entries().map_err(odd)? {
            let mut entry = entry.map_err(odd)?;
            let path = inner(&entry.path().map_err(odd)?)?;
            let target = folder.join(&path);
            let failed = |source| RuntimeError::File { path: target.clone(), source };
            match entry.header().entry_type() {
                tar::EntryType::Directory => std::fs::create_dir_all(&target).map_err(failed)?,
                tar::EntryType::Regular => {
                    let mut file = File::create_new(&target).map_err(failed)?;
                    io::copy(&mut entry, &mut file).map_err(failed)?;
                }
                kind => {
                    let reason = format!("`{}` is neither a file nor a folder ({kind:?})", path.display());
                    return Err(RuntimeError::Output { reason });
                }
            }
        }
        Ok(())
    }
}

/// The path below the archive's first folder.
fn inner(path: &Path) -> Result<PathBuf, RuntimeError> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    parts.next();
    let mut inner = PathBuf::new();
    for part in parts {
        match part {
            Component::Normal(name) => inner.push(name),
            _ => {
                return Err(RuntimeError::Output { reason: format!("`{}` leads out of it", path.display()) });
            }
        }
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(archive: &[u8]) -> (tempfile::TempDir, Result<(), RuntimeError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut arriving = Arriving::new().unwrap();
        arriving.take(archive).unwrap();
        let unpacked = arriving.unpack(folder.path());
        (folder, unpacked)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let archive = incoming(&[("tokens.npy".into(), b"12".to_vec())]).unwrap();
        let (folder, unpacked) = arrive(&archive);
        unpacked.unwrap();
        assert_eq!(std::fs::read(folder.path().join("tokens.npy")).unwrap(), b"12");
    }

    #[test]
    fn links_and_paths_that_lead_out_are_refused() {
        let link = |kind| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(0);
            archive.append_link(&mut header, "out/link", "/etc/passwd").unwrap();
            archive.into_inner().unwrap()
        };
        assert!(arrive(&link(tar::EntryType::Symlink)).1.is_err());
        assert!(arrive(&link(tar::EntryType::Link)).1.is_err());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        // The setter refuses such a path, so the bytes are written by hand.
        header.as_old_mut().name[..11].copy_from_slice(b"out/../evil");
        header.set_cksum();
        let (folder, unpacked) = arrive(&[header.as_bytes().as_slice(), &[0; 1024]].concat());
        assert!(unpacked.is_err() && !folder.path().join("../evil").exists());
    }
}
