//! A checkout that is there already is looked at before it is given out: what has changed in it since is found, and what
//! has not is not read.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipe_cache::{Digest, Entry, Store, StoreError, Warning};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const LARGE: usize = 9000;

/// A store with a tree and a checkout of it, which has a seal that is believed.
struct Bench {
    folder: tempfile::TempDir,
    tree: Entry,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("deep/er")).unwrap();
        fs::create_dir(source.join("empty")).unwrap();
        fs::write(source.join("large"), [7; LARGE]).unwrap();
        fs::write(source.join("tool"), [8; LARGE]).unwrap();
        fs::set_permissions(source.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(source.join("deep/er/small"), "small").unwrap();
        symlink("deep/er/small", source.join("link")).unwrap();
        let tree = Store::open(&folder.path().join("store")).unwrap().put_tree(&source).unwrap();
        let bench = Self { folder, tree };
        bench.settle(&bench.tree);
        bench
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The store as another process finds it.
    fn open(&self) -> Store {
        Store::open(&self.root()).unwrap()
    }

    fn seal(&self, entry: &Entry) -> PathBuf {
        self.root().join("seals").join(entry.digest().unwrap().to_string())
    }

    /// Uses a checkout until its seal is believed as it is: what changed in the last tick of the clock is read again.
    fn settle(&self, entry: &Entry) {
        let use_it = || {
            self.open().checkout(entry).unwrap();
            fs::metadata(self.seal(entry)).unwrap().ino()
        };
        // One seal can have the inode of that before the last.
        let same = |_: &usize| [use_it(), use_it(), use_it()].windows(2).all(|two| two[0] == two[1]);
        assert!((0..1000).find(same).is_some(), "a seal is written anew each time");
    }

    fn put_again(&self, store: &Store) {
        assert_eq!(store.put_tree(&self.folder.path().join("source")).unwrap(), self.tree);
    }
}

fn restored(path: &Path, time: SystemTime, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn flip(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"?", 3).unwrap();
}

/// Flips a byte and sets back what can be set back: mode and time of modification.
fn flip_unseen(path: &Path) {
    let before = path.metadata().unwrap();
    flip(path);
    restored(path, before.modified().unwrap(), before.permissions().mode());
}

fn open_up(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn remove(path: &Path) {
    open_up(path.parent().unwrap());
    fs::remove_file(path).unwrap();
}

/// Harms a checkout, and expects the next process to find it, whether there is a seal or not.
fn found(what: &str, harm: impl Fn(&Path)) {
    for seal in ["whole", "lost", "damaged"] {
        let bench = Bench::new();
        let checkout = bench.open().checkout(&bench.tree).unwrap();
        harm(&checkout);
        let bytes = fs::read(bench.seal(&bench.tree)).unwrap();
        match seal {
            "lost" => fs::remove_file(bench.seal(&bench.tree)).unwrap(),
            "damaged" => fs::write(bench.seal(&bench.tree), &bytes[..bytes.len() - 1]).unwrap(),
            _ => {}
        }
        let store = bench.open();
        let what = format!("{what}, seal {seal}");
        let blob = match store.checkout(&bench.tree) {
            Ok(path) => {
                assert_eq!(path, checkout, "{what}");
                false
            }
            // Blobs that are damaged are put aside, and a run makes them again.
            Err(StoreError::Missing { .. }) => true,
            Err(error) => panic!("{what}: {error}"),
        };
        let warnings = store.warnings();
        assert_eq!(warnings.len(), 1 + usize::from(blob), "{what}: {warnings:?}");
        for warning in &warnings {
            let Warning::Corrupt { moved_to: Some(aside), .. } = warning else { panic!("{what}: {warning:?}") };
            assert!(aside.symlink_metadata().is_ok(), "{what}");
        }
        if blob {
            bench.put_again(&store);
        }
        assert!(store.same_as(&bench.tree, &store.checkout(&bench.tree).unwrap()).unwrap(), "{what}");
        drop(store);
        bench.settle(&bench.tree);
        let store = bench.open();
        assert!(store.verify(|_| ()).unwrap().is_sound() && store.warnings().is_empty(), "{what}");
    }
}

#[test]
fn damage_to_a_checkout_is_found_before_it_is_used() {
    found("a flip in a blob", |path| flip(&path.join("large")));
    found("a flip in a blob, its time set back", |path| flip_unseen(&path.join("large")));
    found("a flip in a program, its time set back", |path| flip_unseen(&path.join("tool")));
    found("a flip in a small file", |path| flip(&path.join("deep/er/small")));
    found("a flip in a small file, its time set back", |path| flip_unseen(&path.join("deep/er/small")));
    for name in ["large", "deep/er/small"] {
        found(&format!("{name} is shorter"), |path| {
            let path = path.join(name);
            let before = path.metadata().unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            OpenOptions::new().write(true).open(&path).unwrap().set_len(4).unwrap();
            restored(&path, before.modified().unwrap(), 0o444);
        });
        found(&format!("{name} is another file"), |path| {
            let path = path.join(name);
            let before = path.metadata().unwrap();
            remove(&path);
            fs::write(&path, vec![b'?'; before.len() as usize]).unwrap();
            restored(&path, before.modified().unwrap(), 0o444);
        });
        found(&format!("{name} is gone"), |path| remove(&path.join(name)));
        found(&format!("{name} is a fifo"), |path| {
            remove(&path.join(name));
            mknodat(CWD, path.join(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
        });
    }
    found("one file more", |path| {
        let before = path.join("empty").metadata().unwrap().modified().unwrap();
        open_up(&path.join("empty"));
        fs::write(path.join("empty/more"), "").unwrap();
        restored(&path.join("empty"), before, 0o555);
    });
    found("a link that leads elsewhere", |path| {
        remove(&path.join("link"));
        symlink("large", path.join("link")).unwrap();
    });
    found("a file in place of a folder", |path| {
        open_up(path);
        fs::remove_dir(path.join("empty")).unwrap();
        fs::write(path.join("empty"), "").unwrap();
    });
    found("a folder in place of a file", |path| {
        remove(&path.join("large"));
        fs::create_dir(path.join("large")).unwrap();
    });
    found("a file in place of all", |path| {
        open_up(path);
        fs::rename(path, path.parent().unwrap().parent().unwrap().with_extension("aside")).unwrap();
        fs::write(path, "").unwrap();
    });
}

#[test]
fn a_link_out_of_a_checkout_is_not_followed() {
    let bench = Bench::new();
    let checkout = bench.open().checkout(&bench.tree).unwrap();
    // The very content, elsewhere.
    let outside = bench.folder.path().join("source/deep");
    open_up(&checkout);
    open_up(&checkout.join("deep"));
    fs::rename(checkout.join("deep"), bench.folder.path().join("was")).unwrap();
    symlink(&outside, checkout.join("deep")).unwrap();
    let before = outside.join("er/small").metadata().unwrap();
    let store = bench.open();
    store.checkout(&bench.tree).unwrap();
    assert!(store.same_as(&bench.tree, &checkout).unwrap());
    let after = outside.join("er/small").metadata().unwrap();
    assert_eq!((before.mode(), before.ctime_nsec()), (after.mode(), after.ctime_nsec()));
}

#[test]
fn a_file_on_its_own_is_looked_at_too() {
    let bench = Bench::new();
    let store = bench.open();
    for size in [5, LARGE] {
        let bytes = vec![size as u8; size];
        let entry = store.put_bytes(&bytes).unwrap();
        let path = bench.open().checkout(&entry).unwrap();
        if size == LARGE {
            bench.settle(&entry);
        }
        assert_eq!(bench.seal(&entry).exists(), size == LARGE, "a small one is read instead");
        flip_unseen(&path);
        let store = bench.open();
        match store.checkout(&entry) {
            Ok(_) => assert_eq!(size, 5),
            Err(error) => assert!(matches!(error, StoreError::Missing { .. }) && size == LARGE, "{error}"),
        }
        assert_eq!(store.warnings().len(), if size == LARGE { 2 } else { 1 });
        assert_eq!(store.put_bytes(&bytes).unwrap(), entry);
        assert!(fs::read(store.checkout(&entry).unwrap()).unwrap() == bytes);
    }
}

#[test]
fn modes_and_times_are_set_right() {
    let bench = Bench::new();
    let checkout = bench.open().checkout(&bench.tree).unwrap();
    let paths = ["", "deep", "large", "tool", "deep/er/small"].map(|path| checkout.join(path));
    let facts = |path: &PathBuf| {
        let found = path.metadata().unwrap();
        (found.mode(), found.mtime())
    };
    let before: Vec<_> = paths.iter().map(facts).collect();
    for path in &paths {
        restored(path, SystemTime::UNIX_EPOCH, 0o777);
    }
    let store = bench.open();
    store.checkout(&bench.tree).unwrap();
    assert_eq!(paths.iter().map(facts).collect::<Vec<_>>(), before);
    assert_eq!(store.warnings(), []);
}

#[test]
fn a_blob_that_another_checkout_links_is_not_read_again() {
    let bench = Bench::new();
    let checkout = bench.open().checkout(&bench.tree).unwrap();
    let other = bench.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("large"), [7; LARGE]).unwrap();
    let store = bench.open();
    let other = store.checkout(&store.put_tree(&other).unwrap()).unwrap();
    assert_eq!(other.join("large").metadata().unwrap().ino(), checkout.join("large").metadata().unwrap().ino());
    // Nobody could change it so by accident: reading it is all that could tell.
    flip_unseen(&checkout.join("large"));
    let store = bench.open();
    store.checkout(&bench.tree).unwrap();
    assert_eq!(store.warnings(), [], "it was read");
    // The new number of names is in the seal: the next such change is seen.
    bench.settle(&bench.tree);
    flip_unseen(&checkout.join("large"));
    assert!(matches!(bench.open().checkout(&bench.tree), Err(StoreError::Missing { .. })));
}

#[test]
fn after_damage_nothing_is_believed_of_old() {
    let bench = Bench::new();
    let large = bench.open().checkout(&bench.tree).unwrap().join("large");
    flip_unseen(&large);
    fs::hard_link(&large, bench.folder.path().join("one more")).unwrap();
    let store = bench.open();
    let other = store.put_bytes(&[9; LARGE]).unwrap();
    flip(&store.checkout(&other).unwrap());
    assert_eq!(bench.open().read(&other.digest().unwrap()).unwrap(), None);
    assert!(matches!(bench.open().checkout(&bench.tree), Err(StoreError::Missing { .. })));
}

#[test]
fn whoever_is_there_at_once_gets_one_sound_checkout() {
    let bench = Bench::new();
    for round in 0..10 {
        flip_unseen(&bench.open().checkout(&bench.tree).unwrap().join("deep/er/small"));
        let stores: Vec<Store> = (0..4).map(|_| bench.open()).collect();
        std::thread::scope(|scope| {
            for store in stores.iter().chain(&stores) {
                scope.spawn(|| {
                    let path = store.checkout(&bench.tree).unwrap();
                    assert_eq!(fs::read(path.join("deep/er/small")).unwrap(), b"small");
                });
            }
        });
        assert_eq!(fs::read_dir(bench.root().join("quarantine")).unwrap().count(), round + 1);
    }
}

#[test]
fn seals_go_with_their_checkouts() {
    let bench = Bench::new();
    let store = bench.open();
    let stray = bench.root().join("seals").join(Digest::of(b"stray").to_string());
    fs::write(&stray, "a checkout that went in another way had this").unwrap();
    let none = |_: &[Entry]| {
        Ok(pipe_cache::Keep {
            roots: Vec::new(),
            record: Box::new(|_, _, _| false),
            candidates: Vec::new(),
            most: None,
        })
    };
    let how = |dry_run| pipe_cache::Collect { dry_run, patience: std::time::Duration::from_secs(10) };
    store.gc(how(true), none).unwrap();
    assert!(stray.exists() && bench.seal(&bench.tree).exists());
    store.gc(how(false), none).unwrap();
    assert_eq!(fs::read_dir(bench.root().join("seals")).unwrap().count(), 0);
    assert_eq!(store.usage().unwrap().checkouts, 0);
}
