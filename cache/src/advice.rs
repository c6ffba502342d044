//! Advice: bytes under a name that save somebody time, and that may be lost or damaged without any harm.
//!
//! Each file begins with the digest of the rest, so that what was cut short by a crash is not believed; it need not
//! be durable. The newest stay within a bound; garbage collection takes them all.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use crate::Digest;
use crate::error::{Result, io};
use crate::store::Store;

/// The folder below the store's.
pub(crate) const FOLDER: &str = "advice";

/// So many files are kept, and so many bytes.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 256 << 20;

impl Store {
    /// What was advised under this name, if it is there and whole.
    pub fn advice(&self, name: &Digest) -> Option<Vec<u8>> {
        whole(&self.advice_path(name))
    }

    /// Remembers bytes under a name, in place of what was there.
    pub fn advise(&self, name: &Digest, payload: &[u8]) -> Result<()> {
        put_whole(self.temp_file()?, &self.advice_path(name), payload)?;
        forget_oldest(&self.root.join(FOLDER));
        Ok(())
    }

    fn advice_path(&self, name: &Digest) -> PathBuf {
        self.root.join(FOLDER).join(name.to_string())
    }
}

/// The rest of a file that begins with the digest of it.
pub(crate) fn whole(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = crate::fsx::read(path).ok()?;
    let payload = bytes.split_off(bytes.len().min(size_of::<Digest>()));
    (Digest::of(&payload).as_bytes().as_slice() == bytes).then_some(payload)
}

/// Writes such a file by way of another one, and makes its folder if there is none.
pub(crate) fn put_whole(mut temp: NamedTempFile, path: &Path, payload: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    }
    temp.write_all(Digest::of(payload).as_bytes()).map_err(io("write", path))?;
    temp.write_all(payload).map_err(io("write", path))?;
    temp.persist(path).map_err(|error| io("write", path)(error.error))?;
    Ok(())
}

/// Removes what is beyond the bounds, the oldest first. Failing to is no harm.
fn forget_oldest(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let facts = entries.flatten().filter_map(|entry| {
        let facts = entry.metadata().ok()?;
        Some((facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), facts.len(), entry.path()))
    });
    let mut files: Vec<(SystemTime, u64, PathBuf)> = facts.collect();
    files.sort_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    for (kept, (_, size, path)) in files.into_iter().enumerate() {
        bytes += size;
        // The newest stays whatever its size.
        if kept > 0 && (kept >= MOST_FILES || bytes > MOST_BYTES) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        (folder, store)
    }

    #[test]
    fn advice_is_given_back_and_replaced() {
        let (_folder, store) = store();
        let name = Digest::of(b"name");
        assert_eq!(store.advice(&name), None);
        store.advise(&name, b"one").expect("advised");
        store.advise(&name, b"two").expect("advised");
        assert_eq!(store.advice(&name).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn damaged_advice_is_none() {
        let (_folder, store) = store();
        let name = Digest::of(b"name");
        store.advise(&name, b"some bytes").expect("advised");
        let whole = std::fs::read(store.advice_path(&name)).expect("the file");
        for cut in 0..whole.len() {
            std::fs::write(store.advice_path(&name), &whole[..cut]).expect("written");
            assert_eq!(store.advice(&name), None, "cut to {cut} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(store.advice_path(&name), flipped).expect("written");
            assert_eq!(store.advice(&name), None, "flipped at {at}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_fifo_in_place_of_advice_is_not_waited_for() {
        let (_folder, store) = store();
        let name = Digest::of(b"name");
        store.advise(&name, b"some bytes").expect("advised");
        let path = store.advice_path(&name);
        std::fs::remove_file(&path).expect("removed");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a fifo");
        assert_eq!(store.advice(&name), None);
    }

    #[test]
    fn the_oldest_advice_goes_first() {
        let (_folder, store) = store();
        let names: Vec<Digest> = (0..MOST_FILES + 3).map(|n| Digest::of(&n.to_le_bytes())).collect();
        let start = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        for (n, name) in names.iter().enumerate() {
            store.advise(name, b"bytes").expect("advised");
            let file = std::fs::File::open(store.advice_path(name)).expect("the file");
            file.set_modified(start + std::time::Duration::from_secs(n as u64)).expect("a time");
        }
        store.advise(&names[names.len() - 1], b"bytes").expect("advised");
        let left: Vec<bool> = names.iter().map(|name| store.advice(name).is_some()).collect();
        assert_eq!(left.iter().filter(|left| **left).count(), MOST_FILES);
        assert!(left[3..].iter().all(|left| *left), "{left:?}");
    }
}
