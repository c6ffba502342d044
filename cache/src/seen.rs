//! Whether files still are what they were when something was learnt of them: a look at each instead of a reading.
//!
//! A [`Stamp`] is only given out where a later change must show in it: the file lies on a disk whose times mean what
//! they say, and its last change is so long ago that one more would have another time. So whoever keeps stamps beside
//! what follows from the files may believe that as long as every stamp is the same; losing them costs only time.
//!
//! Of the store itself the stamps of its two logs say it all: nobody adds, damages, replaces or collects a record, a
//! tree or a small blob without them. Large blobs are files of their own, and are looked at one by one.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::fsx::{self, Stamp};
use crate::scan;
use crate::store::Store;
use crate::tree::Entry;
use crate::{Digest, blob, stat};

/// Says of a path below a folder, and of whether it is a folder, whether it counts.
type Keeps<'a> = &'a dyn Fn(&str, bool) -> bool;

/// The stamps of the logs of a store, where they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogStamps {
    records: Option<Stamp>,
    pack: Option<Stamp>,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    File,
    Folder,
}

impl Stamp {
    /// What lies at a path now; a link is looked at itself. It may still change without a trace.
    pub fn at(path: &Path) -> Option<Stamp> {
        Stamp::with_kind(path).map(|(stamp, _)| stamp)
    }

    /// The same, and whether it is a file or a folder; a link and anything else is neither.
    pub fn with_kind(path: &Path) -> Option<(Stamp, Option<Lies>)> {
        let found = rustix::fs::lstat(path).ok()?;
        let lies = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Some(Lies::File),
            FileType::Directory => Some(Lies::Folder),
            _ => None,
        };
        Some((Stamp::of(&found), lies))
    }

    /// The stamp of a path, if every later change will show in it.
    fn lasting(path: &Path, now: i128) -> Option<Stamp> {
        let stamp = Stamp::at(path)?;
        (!stat::is_racy(&stamp, now) && stat::is_local_path(path)).then_some(stamp)
    }
}

impl Store {
    /// The stamps of the logs as they are now, for [`Store::unchanged_since`]. `None` where a log was written to just now.
    pub fn log_stamps(&self) -> Option<LogStamps> {
        let now = stat::now();
        let of = |path: &Path| match Stamp::at(path) {
            None => Some(None),
            Some(_) => Stamp::lasting(path, now).map(Some),
        };
        Some(LogStamps { records: of(self.records.path())?, pack: of(self.pack.path())? })
    }

    /// True while no record, tree or small blob came, went or was damaged since.
    pub fn unchanged_since(&self, logs: &LogStamps) -> bool {
        Stamp::at(self.records.path()) == logs.records && Stamp::at(self.pack.path()) == logs.pack
    }

    /// True where the logs did no more than grow since, and no record that came is under a key that `asked` names. Only
    /// the heads of what came are read. Damage to what was there before shows in no stamp of a log that has grown; it
    /// does when that is read.
    pub fn only_added_since(&self, logs: &LogStamps, asked: impl Fn(&Digest) -> bool) -> bool {
        let (records, pack) = (Stamp::at(self.records.path()), Stamp::at(self.pack.path()));
        let (Some(from), Some(to)) = (grown(logs.records, records), records) else { return false };
        grown(logs.pack, pack).is_some()
            && self.records.keys_between(from, to.size).is_some_and(|keys| !keys.iter().any(asked))
    }

    /// The digest of a file as the stat cache has it, with the stamp that stands for it. The file is not read.
    pub fn seen_file(&self, path: &Path) -> Option<(Stamp, Digest)> {
        let found = rustix::fs::lstat(path).ok()?;
        let stamp = Stamp::of(&found);
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let digest = regular.then(|| self.stats.get(&stamp)).flatten()?;
        Some((stamp, digest))
    }

    /// The stamps of a path and of all that counts below it, if it holds exactly this entry and every later change
    /// will show. Nothing is read: files are known by the stat cache. Links on the way to the path are followed, a
    /// link in its place is not.
    pub fn seen(&self, entry: &Entry, path: &Path, keeps: Option<Keeps<'_>>) -> Option<Vec<(PathBuf, Stamp)>> {
        let mut stamps = Vec::new();
        self.see(entry, path, "", keeps, &mut stamps)?;
        Some(stamps)
    }

    fn see(
        &self,
        entry: &Entry,
        path: &Path,
        inner: &str,
        keeps: Option<Keeps<'_>>,
        stamps: &mut Vec<(PathBuf, Stamp)>,
    ) -> Option<()> {
        match entry {
            Entry::File { digest, executable, .. } => {
                let found = rustix::fs::lstat(path).ok()?;
                let (stamp, known) = self.seen_file(path)?;
                // Two looks: a file that is replaced in between is not the one whose mode was looked at.
                let same = stamp == Stamp::of(&found) && fsx::is_executable(&found) == *executable;
                (same && known == *digest).then(|| stamps.push((path.to_owned(), stamp)))
            }
            Entry::Link { target } => {
                let stamp = Stamp::lasting(path, stat::now())?;
                let found = std::fs::read_link(path).ok()?;
                (found.as_os_str() == target.as_str()).then(|| stamps.push((path.to_owned(), stamp)))
            }
            Entry::Tree { digest } => {
                if !path.symlink_metadata().ok()?.is_dir() {
                    return None;
                }
                stamps.push((path.to_owned(), Stamp::lasting(path, stat::now())?));
                let tree = self.tree(digest).ok()??;
                let mut count = 0;
                for found in std::fs::read_dir(path).ok()? {
                    let found = found.ok()?;
                    let name = found.file_name().into_string().ok()?;
                    let inner = scan::join(inner, &name);
                    if keeps.is_some_and(|keeps| !keeps(&inner, found.file_type().is_ok_and(|kind| kind.is_dir()))) {
                        continue;
                    }
                    self.see(tree.get(&name)?, &found.path(), &inner, keeps, stamps)?;
                    count += 1;
                }
                (count == tree.entries().count()).then_some(())
            }
        }
    }

    /// The large blobs of entries, each once, by name and size: what [`Store::has_blob`] looks for. `None` where a
    /// tree is missing.
    pub fn large_blobs<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Option<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for entry in entries {
            let mut take = |entry: &Entry| match entry {
                Entry::File { digest, size, .. } if *size > blob::SMALL => blobs.push((*digest, *size)),
                _ => {}
            };
            self.walk(entry, |_, entry| take(entry)).ok()?;
        }
        blobs.sort_unstable();
        blobs.dedup();
        Some(blobs)
    }

    /// Whether a blob of this size is here, unread.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        self.contains(&Entry::File { digest: *digest, size, executable: false })
    }
}

/// Where a log that was only appended to has grown from; `None` where something else happened to it.
fn grown(then: Option<Stamp>, now: Option<Stamp>) -> Option<u64> {
    match (then, now) {
        (None, _) => Some(0),
        (Some(then), Some(now)) if then == now => Some(then.size),
        (Some(then), Some(now)) => {
            let same_file = (then.dev, then.ino) == (now.dev, now.ino);
            (same_file && now.size > then.size).then_some(then.size)
        }
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    struct Bed {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Bed {
        fn new() -> Bed {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(&folder.path().join("store")).expect("a store");
            fs::create_dir_all(folder.path().join("in/deep")).expect("a folder");
            fs::write(folder.path().join("in/a"), "a").expect("a file");
            fs::write(folder.path().join("in/deep/b"), "b").expect("a file");
            std::os::unix::fs::symlink("a", folder.path().join("in/link")).expect("a link");
            Bed { folder, store }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("in")
        }

        /// The stamps, once all of it is old enough: the time of change can't be set back, so this waits.
        fn seen(&self, entry: &Entry) -> Option<Vec<(PathBuf, Stamp)>> {
            std::thread::sleep(Duration::from_millis(120));
            assert_eq!(self.store.hash_tree(&self.path()).expect("hashed"), *entry);
            self.store.seen(entry, &self.path(), None)
        }
    }

    fn holds(stamps: &[(PathBuf, Stamp)]) -> bool {
        stamps.iter().all(|(path, stamp)| Stamp::at(path) == Some(*stamp))
    }

    #[test]
    fn stamps_hold_until_anything_moves() {
        let bed = Bed::new();
        let entry = bed.store.put_tree(&bed.path()).expect("stored");
        assert!(
            bed.store.seen(&entry, &bed.path(), None).is_none(),
            "what was written just now may still change unseen"
        );
        let stamps = bed.seen(&entry).expect("nothing moves");
        assert_eq!(stamps.len(), 5, "two folders, two files, a link: {stamps:?}");
        assert!(holds(&stamps));
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let moves: [(&str, &dyn Fn(PathBuf)); 5] = [
            ("other bytes, equal size, old time", &|path| {
                fs::write(path.join("a"), "c").expect("written");
                fs::File::options()
                    .write(true)
                    .open(path.join("a"))
                    .expect("opened")
                    .set_modified(past)
                    .expect("a time");
            }),
            ("a file more", &|path| fs::write(path.join("deep/c"), "").expect("written")),
            ("a file less", &|path| fs::remove_file(path.join("deep/b")).expect("removed")),
            ("another link", &|path| {
                fs::remove_file(path.join("link")).expect("removed");
                std::os::unix::fs::symlink("b", path.join("link")).expect("a link");
            }),
            ("a folder gone", &|path| fs::remove_dir_all(path.join("deep")).expect("removed")),
        ];
        for (what, change) in moves {
            let bed = Bed::new();
            let entry = bed.store.put_tree(&bed.path()).expect("stored");
            let stamps = bed.seen(&entry).expect("nothing moves");
            change(bed.path());
            assert!(!holds(&stamps), "{what}");
        }
    }

    #[test]
    fn only_the_very_entry_is_seen() {
        let bed = Bed::new();
        let entry = bed.store.put_tree(&bed.path()).expect("stored");
        assert!(bed.seen(&entry).is_some());
        let part = |path: &str, _: bool| path != "link";
        assert!(bed.store.seen(&entry, &bed.path(), Some(&part)).is_none(), "the entry has a link, the part has none");
        fs::write(bed.path().join("more"), "").expect("written");
        assert!(bed.store.seen(&entry, &bed.path(), None).is_none());
        let without = |path: &str, _: bool| path != "more";
        std::thread::sleep(Duration::from_millis(120));
        assert!(bed.store.seen(&entry, &bed.path(), Some(&without)).is_some(), "what does not count may be there");
    }

    #[test]
    fn the_logs_tell_of_every_record() {
        let bed = Bed::new();
        let name = Digest::of(b"name");
        bed.store.append(crate::Kind::Note, &name, b"one").expect("appended");
        assert!(bed.store.log_stamps().is_none(), "written just now");
        std::thread::sleep(Duration::from_millis(120));
        let logs = bed.store.log_stamps().expect("nothing moves");
        assert!(bed.store.unchanged_since(&logs));
        bed.store.append(crate::Kind::Note, &name, b"two").expect("appended");
        assert!(!bed.store.unchanged_since(&logs));
        fs::remove_file(bed.store.root().join("records.log")).expect("removed");
        assert!(!bed.store.unchanged_since(&logs));
        assert!(!bed.store.only_added_since(&logs, |_| false), "gone");
    }

    #[test]
    fn what_is_added_under_other_keys_is_told_from_all_else() {
        let bed = Bed::new();
        let (ours, theirs) = (Digest::of(b"ours"), Digest::of(b"theirs"));
        bed.store.append(crate::Kind::Record, &ours, b"one").expect("appended");
        std::thread::sleep(Duration::from_millis(120));
        let logs = bed.store.log_stamps().expect("nothing moves");
        let only_theirs = || bed.store.only_added_since(&logs, |key| *key == ours);
        assert!(only_theirs(), "nothing came");
        bed.store.put_tree(&bed.path()).expect("stored");
        bed.store.append(crate::Kind::Record, &theirs, b"two").expect("appended");
        assert!(only_theirs() && !bed.store.unchanged_since(&logs));
        let log = bed.store.root().join("records.log");
        let whole = fs::read(&log).expect("read");
        // Half a frame, what is no frame, and a log that is shorter than it was.
        fs::write(&log, &whole[..whole.len() - 1]).expect("written");
        assert!(!only_theirs(), "half a frame");
        fs::write(&log, [&whole[..], b"no frame"].concat()).expect("written");
        assert!(!only_theirs(), "no frame");
        fs::write(&log, &whole[..8]).expect("written");
        assert!(!only_theirs(), "shorter");
        fs::write(&log, &whole).expect("written");
        assert!(only_theirs());
        bed.store.append(crate::Kind::Record, &ours, b"three").expect("appended");
        assert!(!only_theirs(), "ours");
        fs::remove_file(bed.store.root().join("small.pack")).expect("removed");
        fs::write(&log, &whole).expect("written");
        assert!(only_theirs(), "there was no pack then");
    }
}
