//! Whatever happens to the files of a store, no wrong byte comes out, and what is lost can be put again.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pipe_cache::{Digest, Entry, Kind, Store, StoreError, Warning};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const LARGE: usize = 9000;

fn content(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + seed * 7) as u8).collect()
}

fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    root.join("blobs").join(&hex[..2]).join(hex)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Damages a large blob in some way; it must be missing then, be in quarantine, and go in again.
fn survives(what: &str, damage: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(1, LARGE);
    let entry = Store::open(folder.path()).unwrap().put_bytes(&bytes).unwrap();
    let digest = entry.digest().unwrap();
    damage(&blob_path(folder.path(), &digest));
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.read(&digest).unwrap(), None, "{what}");
    assert!(!store.contains(&entry), "{what}");
    assert!(matches!(store.checkout(&entry), Err(StoreError::Missing { .. })), "{what}");
    match &store.warnings()[..] {
        [Warning::Corrupt { digest: named, moved_to: Some(aside) }] => {
            assert!(*named == digest && aside.symlink_metadata().is_ok(), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
    assert_eq!(store.put_bytes(&bytes).unwrap(), entry);
    assert_eq!(store.read(&digest).unwrap().as_deref(), Some(&bytes[..]), "{what}");
}

#[test]
fn damaged_blobs_are_put_aside() {
    survives("bit flip", |path| overwrite(path, 4321, &[content(1, LARGE)[4321] ^ 4]));
    survives("truncated", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap());
    survives("emptied", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap());
    survives("zeroed", |path| overwrite(path, 0, &[0; LARGE]));
    survives("appended", |path| overwrite(path, LARGE as u64, b"x"));
    survives("link", |path| {
        fs::rename(path, path.with_extension("real")).unwrap();
        symlink(path.with_extension("real"), path).unwrap();
    });
    survives("folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
    survives("fifo", |path| {
        fs::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    });
}

#[test]
fn every_flipped_bit_of_a_blob_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(2, LARGE);
    let digest = Store::open(folder.path()).unwrap().put_bytes(&bytes).unwrap().digest().unwrap();
    let path = blob_path(folder.path(), &digest);
    for round in 0..150 {
        let bit = round * 7919 % (LARGE * 8);
        overwrite(&path, (bit / 8) as u64, &[bytes[bit / 8] ^ (1 << (bit % 8))]);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.read(&digest).unwrap(), None, "bit {bit}");
        store.put_bytes(&bytes).unwrap();
    }
    assert_eq!(fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 150);
}

#[test]
fn a_deleted_blob_is_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("f"), content(3, LARGE)).unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let tree = store.take_tree(&out).unwrap();
    let Some(Entry::File { digest, .. }) = store.lookup(&tree, "f").unwrap() else { panic!("no file") };
    fs::remove_file(blob_path(&folder.path().join("store"), &digest)).unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    assert!(store.contains(&tree) && !store.complete(&tree));
    assert!(matches!(store.checkout(&tree), Err(StoreError::Missing { .. })));
}

/// Three records of different sizes; the log's bytes, the ends of the frames.
fn three_records(root: &Path) -> (Vec<u8>, Vec<usize>, PathBuf) {
    let store = Store::open(root).unwrap();
    let log = root.join("records.log");
    let mut ends = Vec::new();
    for at in 0..3 {
        store.append(Kind::Record, &key(at), &content(at, 100 + at)).unwrap();
        ends.push(log.metadata().unwrap().len() as usize);
    }
    (fs::read(&log).unwrap(), ends, log)
}

fn key(at: usize) -> Digest {
    Digest::of(&[at as u8])
}

#[test]
fn a_torn_tail_of_any_length_is_cut_off_by_the_next_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends, log) = three_records(folder.path());
    for length in 0..bytes.len() {
        for filler in [0, 200] {
            // A power cut can also leave the size without the bytes.
            let mut torn = bytes[..length].to_vec();
            torn.resize(torn.len() + filler, 0);
            fs::write(&log, &torn).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            let store = Store::open(folder.path()).unwrap();
            for at in 0..3 {
                let expected = (at < whole).then(|| content(at, 100 + at));
                assert_eq!(store.last(Kind::Record, &key(at)).unwrap(), expected, "{length} {at}");
            }
            store.append(Kind::Record, &key(9), b"next").unwrap();
            let again = Store::open(folder.path()).unwrap();
            assert_eq!(again.last(Kind::Record, &key(9)).unwrap().unwrap(), b"next", "{length}");
            let sound = ends[..whole].last().copied().unwrap_or(0);
            assert_eq!(log.metadata().unwrap().len() as usize, sound + 57 + 4);
            assert_eq!(store.warnings().len(), usize::from(length + filler > sound), "{length}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_log_costs_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends, log) = three_records(folder.path());
    for bit in (0..bytes.len() * 8).step_by(3) {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&log, &bad).unwrap();
        let hit = ends.iter().filter(|end| **end <= bit / 8).count();
        let store = Store::open(folder.path()).unwrap();
        let mut lost = 0;
        for at in 0..3 {
            match store.last(Kind::Record, &key(at)).unwrap() {
                Some(payload) => {
                    assert!(payload == content(at, 100 + at) && at != hit, "bit {bit}")
                }
                None => lost += 1,
            }
        }
        assert_eq!(lost, 1, "bit {bit}");
        // It can be written again, and then all are there.
        store.append(Kind::Record, &key(hit), &content(hit, 100 + hit)).unwrap();
        let again = Store::open(folder.path()).unwrap();
        for at in 0..3 {
            assert_eq!(again.last(Kind::Record, &key(at)).unwrap().unwrap(), content(at, 100 + at), "bit {bit}");
        }
    }
}

#[test]
fn damaged_small_content_is_a_miss_and_goes_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let pack = folder.path().join("small.pack");
    let entry = Store::open(folder.path()).unwrap().put_bytes(b"small content").unwrap();
    Store::open(folder.path()).unwrap().put_bytes(b"another").unwrap();
    let digest = entry.digest().unwrap();
    overwrite(&pack, 45, b"?");
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.read(&digest).unwrap(), None);
    assert!(!store.complete(&entry) && !store.warnings().is_empty());
    store.put_bytes(b"small content").unwrap();
    for store in [&store, &Store::open(folder.path()).unwrap()] {
        assert_eq!(store.read(&digest).unwrap().unwrap(), b"small content");
        assert_eq!(store.read(&Digest::of(b"another")).unwrap().unwrap(), b"another");
    }
    let found = store.verify(|_| ()).unwrap();
    assert_eq!(found.damaged_frames, 1);
}

#[test]
fn logs_and_caches_that_are_no_files_are_errors_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    symlink("/etc/passwd", folder.path().join("records.log")).unwrap();
    fs::write(folder.path().join("stat.cache"), vec![0xAB; 1500]).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = store.append(Kind::Record, &key(1), b"x").unwrap_err();
    assert!(error.to_string().contains("records.log"), "{error}");
    assert!(store.hash_file(Path::new("/etc/passwd")).is_ok());
}

#[test]
fn garbage_of_any_kind_in_a_log_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _, log) = three_records(folder.path());
    let magic = &bytes[..4];
    for seed in 0..300 {
        let mut junk = content(seed, seed * 13);
        for at in (0..junk.len().saturating_sub(50)).step_by(29 + seed) {
            junk[at..at + 4].copy_from_slice(magic);
            junk[at + 6] = 0;
            junk[at + 7] = 0;
        }
        fs::write(&log, [&bytes[..], &junk, &bytes].concat()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        for at in 0..3 {
            assert_eq!(store.all(Kind::Record, &key(at)).unwrap(), vec![content(at, 100 + at); 2], "{seed}");
        }
    }
}

#[test]
fn verify_finds_and_removes_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (one, two) = (store.put_bytes(&content(1, LARGE)).unwrap(), store.put_bytes(&content(2, LARGE)).unwrap());
    let small = store.put_bytes(b"small").unwrap();
    let checkouts = [&one, &two, &small].map(|entry| store.checkout(entry).unwrap());
    overwrite(&blob_path(folder.path(), &one.digest().unwrap()), 5, b"!");
    overwrite(&checkouts[2], 0, b"S");
    fs::write(folder.path().join("blobs/stranger"), "?").unwrap();
    let mut steps = 0;
    let found = store.verify(|progress| steps += u64::from(progress.done <= progress.total)).unwrap();
    assert_eq!(found.damaged, [one.digest().unwrap()]);
    // The checkout of the damaged blob is the same file, and the small one was edited alone.
    assert_eq!(found.damaged_checkouts.len(), 2);
    assert_eq!((found.blobs, found.checkouts, found.strangers.len(), steps), (2, 3, 1, 2));
    assert!(store.verify(|_| ()).unwrap().is_sound());
    assert_eq!(fs::read(store.checkout(&small).unwrap()).unwrap(), b"small");
}

/// A store with a record of each of these, and what they speak of.
fn recorded(store: &Store, seeds: std::ops::Range<usize>) -> Vec<Entry> {
    let put = |seed: usize| {
        let work = store.workdir().unwrap();
        let out = work.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("large"), content(seed, LARGE)).unwrap();
        fs::write(out.join("small"), content(seed, 50)).unwrap();
        let entry = store.take_tree(&out).unwrap();
        store.append(Kind::Record, &key(seed), &serde_json::to_vec(&entry).unwrap()).unwrap();
        entry
    };
    seeds.map(put).collect()
}

fn holds(_: Kind, payload: &[u8]) -> Vec<Entry> {
    serde_json::from_slice(payload).into_iter().collect()
}

#[test]
fn a_repair_leaves_nothing_to_find() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let entries = recorded(&Store::open(&root).unwrap(), 0..6);
    let large = |store: &Store, at: usize| store.lookup(&entries[at], "large").unwrap().unwrap().digest().unwrap();
    let paths: Vec<PathBuf> = {
        let store = Store::open(&root).unwrap();
        (0..6).map(|at| blob_path(&root, &large(&store, at))).collect()
    };
    overwrite(&paths[0], 5, b"!");
    fs::remove_file(&paths[1]).unwrap();
    fs::set_permissions(&paths[2], fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(root.join("blobs/stranger"), "?").unwrap();
    fs::write(root.join("notes.txt"), "?").unwrap();
    fs::set_permissions(root.join("blobs"), fs::Permissions::from_mode(0o777)).unwrap();
    // The middle of both logs, and an unfinished write at their ends.
    for log in ["records.log", "small.pack"] {
        let bytes = fs::read(root.join(log)).unwrap();
        overwrite(&root.join(log), bytes.len() as u64 / 2, &[0xEE; 8]);
        OpenOptions::new().append(true).open(root.join(log)).unwrap().write_all(&[0xF1, b'p', 3]).unwrap();
    }
    let other = Store::open(&root).unwrap();
    let store = Store::open(&root).unwrap();
    assert!(matches!(store.repair(&holds, |_| ()), Err(StoreError::Busy { .. })));
    drop(other);
    let done = store.repair(&holds, |_| ()).unwrap();
    assert_eq!(done.found.damaged.len(), 1, "{done:?}");
    assert_eq!((done.found.modes, done.moved.len()), (2, 2), "{done:?}");
    assert!(done.found.damaged_frames >= 2 && done.frames >= 2, "{done:?}");
    assert!(done.dropped.len() >= 2, "{done:?}");
    assert!(done.left.is_sound() && done.left.strangers.is_empty(), "{done:?}");
    drop(store);
    let store = Store::open(&root).unwrap();
    let found = store.verify(|_| ()).unwrap();
    assert!(found.is_sound() && found.strangers.is_empty() && store.dangling(&holds).unwrap().is_empty(), "{found:?}");
    assert_eq!(store.warnings(), []);
    for at in 0..6 {
        if let Some(payload) = store.last(Kind::Record, &key(at)).unwrap() {
            assert!(store.complete(&serde_json::from_slice(&payload).unwrap()), "{at}");
        }
    }
    assert!(store.keys(Kind::Record).unwrap().len() >= 2);
    // What was lost can be made again, and a second repair finds nothing.
    assert_eq!(recorded(&store, 0..6), entries);
    assert!(entries.iter().all(|entry| store.complete(entry)));
    let again = store.repair(&holds, |_| ()).unwrap();
    assert!(again.found.is_sound() && again.dropped.is_empty() && again.frames == 0, "{again:?}");
}
