//! Garbage collection: what stays, what goes, and what it would take.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipe_cache::{Candidate, Collect, Collected, Digest, Entry, Keep, Kind, Store, StoreError};

const NOW: Collect = Collect { dry_run: false, patience: Duration::ZERO };
const DRY: Collect = Collect { dry_run: true, patience: Duration::ZERO };

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    (folder, root)
}

fn open(root: &Path) -> Store {
    Store::open(root).unwrap()
}

fn bytes(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at as u8).wrapping_mul(3) ^ seed).collect()
}

/// A folder with a small file and a large one, in the store.
fn tree(store: &Store, seed: u8, size: usize) -> Entry {
    let work = store.workdir().unwrap();
    let out = work.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("small"), bytes(seed, 10)).unwrap();
    fs::write(out.join("large"), bytes(seed, size)).unwrap();
    store.take_tree(&out).unwrap()
}

fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Collects all but these entries and records.
fn keeping(store: &Store, how: Collect, roots: &[Entry], keys: &[Digest]) -> Result<Collected, StoreError> {
    let (roots, keys) = (roots.to_vec(), keys.to_vec());
    let record = move |_, key: &Digest, _: &[u8]| keys.contains(key);
    store.gc(how, |_| Ok(Keep { roots, record: Box::new(record), candidates: Vec::new(), most: None }))
}

#[test]
fn garbage_goes_and_the_rest_stays() {
    let (_folder, root) = place();
    let (live, large, small) = {
        let store = open(&root);
        let (live, large) = (tree(&store, 1, 20_000), store.put_bytes(&bytes(2, 50_000)).unwrap());
        for entry in [&live, &large] {
            store.checkout(entry).unwrap();
        }
        store.append(Kind::Record, &key("kept"), b"k").unwrap();
        store.append(Kind::Record, &key("dropped"), b"d").unwrap();
        (live, large, store.put_bytes(b"dead").unwrap())
    };
    let store = open(&root);
    let before = store.usage().unwrap();
    let would = keeping(&store, DRY, std::slice::from_ref(&live), &[key("kept")]).unwrap();
    let unchanged = store.usage().unwrap();
    assert_eq!((before.blobs, before.packed, before.records), (unchanged.blobs, unchanged.packed, unchanged.records));
    let done = keeping(&store, NOW, std::slice::from_ref(&live), &[key("kept")]).unwrap();
    assert_eq!((done.blobs, done.records, done.checkouts, done.packed, done.shared), (1, 1, 1, 1, false));
    assert_eq!((would.blobs, would.records, would.checkouts, would.packed), (1, 1, 1, 1));
    for store in [&store, &open(&root)] {
        assert!(!store.contains(&large) && !store.contains(&small) && store.complete(&live));
        assert_eq!(store.last(Kind::Record, &key("kept")).unwrap().unwrap(), b"k");
        assert_eq!(store.last(Kind::Record, &key("dropped")).unwrap(), None);
        assert!(store.verify(|_| ()).unwrap().is_sound());
    }
    store.append(Kind::Record, &key("dropped"), b"again").unwrap();
    assert_eq!(store.last(Kind::Record, &key("dropped")).unwrap().unwrap(), b"again");
}

#[test]
fn what_another_relies_on_stays_until_it_is_closed() {
    let (_folder, root) = place();
    let (made, found, unused) = {
        let store = open(&root);
        (tree(&store, 1, 9000), tree(&store, 2, 9000), tree(&store, 3, 9000))
    };
    let other = open(&root);
    assert!(other.complete(&found));
    let collector = open(&root);
    // It only looks so far, and may rely on what it saw without having said so.
    let refused = keeping(&collector, NOW, &[], &[]);
    assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
    let late = tree(&other, 4, 9000);
    let checkout = other.checkout(&made).unwrap();
    other.append(Kind::Record, &key("theirs"), b"r").unwrap();

    let done = keeping(&collector, NOW, &[], &[]).unwrap();
    assert!(done.shared && done.blobs == 1 && done.records == 0, "{done:?}");
    assert!(!open(&root).complete(&unused));
    for entry in [&made, &found, &late] {
        assert!(other.complete(entry) && other.same_as(entry, &other.checkout(entry).unwrap()).unwrap());
    }
    assert!(checkout.exists());
    drop(other);
    let done = keeping(&collector, NOW, &[], &[]).unwrap();
    assert_eq!((done.shared, done.blobs, done.records), (false, 3, 1));
    assert_eq!(collector.usage().unwrap().packed, 0);
}

#[test]
fn folders_that_others_remove_meanwhile_are_passed_over() {
    let (_folder, root) = place();
    let store = open(&root);
    let busy = root.join("tmp/4711-1");
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                for work in ["a", "b", "c", "d"] {
                    fs::create_dir_all(busy.join(work).join("in/deep")).unwrap();
                }
                fs::remove_dir_all(&busy).unwrap();
            }
        });
        let found = (0..2000).map(|_| store.usage()).find(Result::is_err);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(found.is_none(), "{found:?}");
    });
}

#[test]
fn a_lease_of_a_killed_process_holds_nothing() {
    let (_folder, root) = place();
    drop(tree(&open(&root), 1, 9000));
    // What a kill leaves: the folder with its lease, and a lock that nobody holds.
    let left = root.join("tmp/4711-1");
    fs::create_dir(&left).unwrap();
    fs::write(root.join("tmp/4711-1.lock"), "pid 4711").unwrap();
    fs::write(left.join("lease"), [2; 33]).unwrap();
    let store = open(&root);
    assert_eq!(keeping(&store, NOW, &[], &[]).unwrap().blobs, 1);
    assert!(!left.exists());
}

fn candidates(entries: &[(&Entry, f64)]) -> Vec<Candidate> {
    let named = entries.iter().enumerate();
    named
        .map(|(at, (entry, cost))| Candidate {
            key: key(&at.to_string()),
            entries: vec![(*entry).clone()],
            cost: *cost,
        })
        .collect()
}

#[test]
fn a_size_cap_takes_checkouts_first_and_then_the_cheapest_results() {
    let (_folder, root) = place();
    let entries: Vec<Entry> = {
        let store = open(&root);
        let entries: Vec<Entry> = (0..4).map(|seed| tree(&store, seed, 100_000)).collect();
        for (at, entry) in entries.iter().enumerate() {
            store.append(Kind::Record, &key(&at.to_string()), b"r").unwrap();
            store.checkout(entry).unwrap();
        }
        entries
    };
    let costs = [(&entries[0], 5.0), (&entries[1], 1.0), (&entries[2], 9.0)];
    let shrink = |store: &Store, how, most| {
        let keep = Keep {
            roots: vec![entries[3].clone()],
            record: Box::new(|_, _, _| true),
            candidates: candidates(&costs),
            most: Some(most),
        };
        store.gc(how, |_| Ok(keep)).unwrap()
    };
    let store = open(&root);
    let total = store.usage().unwrap().total_bytes();
    // Scratch of the collector counts as well.
    assert_eq!(shrink(&store, NOW, total + 50_000).bytes, 0);
    let done = shrink(&store, NOW, total - 1000);
    assert_eq!((done.checkouts, done.dropped.len()), (4, 0));
    let total = store.usage().unwrap().total_bytes();
    let would = shrink(&store, DRY, total - 150_000);
    let done = shrink(&store, NOW, total - 150_000);
    assert_eq!(would.dropped, done.dropped);
    assert_eq!(done.dropped.iter().map(|dropped| dropped.candidate).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((done.blobs, done.records), (2, 2));
    assert!(store.usage().unwrap().total_bytes() <= total - 150_000);
    // What is a root stays even where the cap is not met.
    let done = shrink(&store, NOW, 0);
    assert!(done.left > 100_000 && open(&root).complete(&entries[3]) && !open(&root).complete(&entries[2]));
}
