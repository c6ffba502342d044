//! Several processes on one store, some of them killed. Children are this very test binary, told by a variable.

#![expect(clippy::disallowed_methods, reason = "the children of these tests are processes, told by variables")]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipe_cache::{Collect, Digest, Entry, Keep, Kind, Store};

const ROLE: &str = "PIPE_CACHE_TEST_ROLE";
const STORE: &str = "PIPE_CACHE_TEST_STORE";
const SEED: &str = "PIPE_CACHE_TEST_SEED";

/// Starts this binary again in a role. It says what it has done, line by line.
fn start(role: &str, store: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(STORE, store)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The digests that a child has acknowledged. A line may begin with what the test harness prints.
fn acknowledged(child: &mut Child) -> Vec<Digest> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.split("done ").nth(1)?.parse().ok()).collect()
}

/// Not a test of its own: what a child does. Without a role it does nothing.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let store = Store::open(Path::new(&std::env::var(STORE).unwrap())).unwrap();
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    match role.as_str() {
        "forever" => (0..u64::MAX).for_each(|step| work(&store, seed, step)),
        "brief" => (0..3).for_each(|step| work(&store, seed, step)),
        "audit" => audit(&store),
        "collect" => collect(&store, &live_keys()),
        "greedy" => greedy(&store),
        "rely" => rely(&store, seed),
        "shared" => (0..25).for_each(|step| work(&store, 0, step)),
        "single" => (0..40).for_each(|step| single(&store, step)),
        other => panic!("no role {other}"),
    }
}

fn say(key: &Digest) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\ndone {key}").and_then(|()| out.flush()).unwrap();
}

/// One step as the runner does it: an output folder, taken in, then its record.
fn work(store: &Store, seed: u64, step: u64) {
    let workdir = store.workdir().unwrap();
    let out = workdir.path().join("out");
    for file in 0..30 {
        let size = if file % 3 == 0 { 6000 } else { 100 };
        let path = out.join(format!("d{}/f{file}", file % 4));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("{seed} {step} {file} ").repeat(size / 8);
        fs::write(path, text).unwrap();
    }
    let entry = store.take_tree(&out).unwrap();
    if step.is_multiple_of(5) {
        store.checkout(&entry).unwrap();
    }
    let key = Digest::of(format!("{seed}/{step}").as_bytes());
    let payload = serde_json::to_vec(&entry).unwrap();
    store.append_all(&[(Kind::Manifest, key, b"manifest"), (Kind::Record, key, &payload)]).unwrap();
    say(&key);
}

/// What must hold after any fault: all that is there is sound, and work goes on.
fn audit(store: &Store) {
    let mut keys = Vec::new();
    store.scan(Kind::Record, |key, _| keys.push(*key)).unwrap();
    keys.iter().for_each(|key| drop(check(store, key)));
    work(store, 77, 0);
    let found = store.verify(|_| ()).unwrap();
    assert!(found.is_sound() && found.strangers.is_empty(), "{found:?}");
}

/// Half of the keys that three runs of 25 steps make.
fn live_keys() -> Vec<Digest> {
    (0..12).map(|step| Digest::of(format!("0/{}", step * 2).as_bytes())).collect()
}

/// Keeps these records and all that they speak of.
fn collect(store: &Store, live: &[Digest]) {
    let roots: Vec<Entry> = live.iter().map(|key| check(store, key)).collect();
    let record = |_, key: &Digest, _: &[u8]| live.contains(key);
    let keep = Keep { roots, record: Box::new(record), candidates: Vec::new(), most: None };
    store.gc(patient(), |_| Ok(keep)).unwrap();
}

fn patient() -> Collect {
    Collect { dry_run: false, patience: Duration::from_secs(60) }
}

/// Gives up, in rounds, whatever no lease names, and keeps the records: what a size cap of zero would do.
fn greedy(store: &Store) {
    for _ in 0..30 {
        let none = Keep { roots: Vec::new(), record: Box::new(|_, _, _| true), candidates: Vec::new(), most: None };
        store.gc(patient(), |_| Ok(none)).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Works as the runner does while somebody collects: what was made, found or checked out stays until the end.
fn rely(store: &Store, seed: u64) {
    let mut entries = Vec::new();
    for step in 0..20 {
        // Every other one is what somebody else may have made, and may be gone: then it is made here.
        let key = Digest::of(format!("{}/{step}", if step % 2 == 0 { seed } else { 0 }).as_bytes());
        let known = store.last(Kind::Record, &key).unwrap();
        let known: Option<Entry> = known.map(|payload| serde_json::from_slice(&payload).unwrap());
        if known.is_none_or(|entry| !store.complete(&entry)) {
            work(store, if step % 2 == 0 { seed } else { 0 }, step);
        }
        entries.push((key, check(store, &key)));
        let (key, entry) = &entries[entries.len() / 2];
        assert_checked_out(store, key, entry);
    }
    for (key, entry) in &entries {
        assert_eq!(check(store, key), *entry);
        assert_checked_out(store, key, entry);
    }
}

/// Reads a checkout file by file: others link the same blobs meanwhile, which changes their times.
fn assert_checked_out(store: &Store, key: &Digest, entry: &Entry) {
    let checkout = store.checkout(entry).unwrap();
    store
        .walk(entry, |path, entry| {
            if let Entry::File { digest, .. } = entry {
                assert_eq!(Digest::of(&fs::read(checkout.join(path)).unwrap()), *digest, "{key} {path}");
            }
        })
        .unwrap();
}

/// One key that only one of many processes may make.
fn single(store: &Store, step: u64) {
    let key = Digest::of(&step.to_le_bytes());
    let _lock = store.lock_key(&key).unwrap();
    if store.last(Kind::Record, &key).unwrap().is_none() {
        store.append(Kind::Record, &key, &std::process::id().to_le_bytes()).unwrap();
    }
}

/// Checks that a record stands and that everything it speaks of is whole and sound.
fn check(store: &Store, key: &Digest) -> Entry {
    let payload = store.last(Kind::Record, key).unwrap().expect("an acknowledged record is there");
    assert_eq!(store.last(Kind::Manifest, key).unwrap().unwrap(), b"manifest");
    let entry: Entry = serde_json::from_slice(&payload).unwrap();
    assert!(store.complete(&entry));
    let mut files = Vec::new();
    store.walk(&entry, |_, entry| files.push(entry.clone())).unwrap();
    for file in files {
        if let Entry::File { digest, size, .. } = file {
            assert_eq!(store.read(&digest).unwrap().unwrap().len() as u64, size);
        }
    }
    entry
}

#[test]
fn killed_at_any_time_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut total = 0;
    for round in 0..20 {
        let mut children: Vec<_> = (0..2).map(|which| start("forever", &root, round * 2 + which)).collect();
        // Spread over the first 120 ms in odd steps: the start of the process, the first step, the later ones.
        std::thread::sleep(Duration::from_millis(round * 37 % 120));
        children.iter_mut().for_each(|child| child.kill().unwrap());
        let done: Vec<_> = children.iter_mut().flat_map(acknowledged).collect();
        let _ended: Vec<_> = children.iter_mut().map(|child| child.wait().unwrap()).collect();
        total += done.len();

        let began = Instant::now();
        let store = Store::open(&root).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0, "scratch of the killed is gone");
        for key in &done {
            let entry = check(&store, key);
            assert!(store.same_as(&entry, &store.checkout(&entry).unwrap()).unwrap());
        }
    }
    let store = Store::open(&root).unwrap();
    // A kill can leave a torn end, and nothing worse.
    let found = store.verify(|_| ()).unwrap();
    assert!(found.is_sound() && found.strangers.is_empty(), "{found:?}");
    assert!(total > 0, "the children got to do something");
}

#[test]
fn processes_that_write_the_same_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut children: Vec<_> = (0..6).map(|_| start("shared", &root, 0)).collect();
    let watcher = Store::open(&root).unwrap();
    let keys: Vec<HashSet<_>> = children.iter_mut().map(|child| acknowledged(child).into_iter().collect()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for key in &keys[0] {
        check(&watcher, key);
        assert_eq!(watcher.all(Kind::Record, key).unwrap().len(), 6);
    }
    assert_eq!(keys[0].len(), 25);
    assert!(keys.iter().all(|other| *other == keys[0]));
    let found = watcher.verify(|_| ()).unwrap();
    assert!(found.is_sound() && watcher.warnings().is_empty(), "{found:?}");
    assert_eq!(found.blobs, 25 * 10);
}

#[test]
fn one_process_makes_a_key_and_the_others_wait() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let children: Vec<_> = (0..6).map(|_| start("single", &root, 0)).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let store = Store::open(&root).unwrap();
    for step in 0..40u64 {
        assert_eq!(store.all(Kind::Record, &Digest::of(&step.to_le_bytes())).unwrap().len(), 1);
    }
    // On Linux two files, however many keys there were.
    assert!(fs::read_dir(root.join("locks")).unwrap().count() <= 2);
}

#[test]
fn collections_take_nothing_from_anybody_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut children: Vec<_> = (1..4).map(|seed| start("rely", &root, seed)).collect();
    children.extend((0..2).map(|_| start("greedy", &root, 0)));
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    // With everybody gone, all of it is garbage.
    let store = Store::open(&root).unwrap();
    let none = Keep { roots: Vec::new(), record: Box::new(|_, _, _| false), candidates: Vec::new(), most: None };
    assert!(!store.gc(patient(), |_| Ok(none)).unwrap().shared);
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.packed, usage.records, usage.checkouts), (0, 0, 0, 0));
}

#[test]
fn a_store_that_several_make_at_once_is_one_store() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/store");
        let children: Vec<_> = (0..4).map(|_| start("single", &root, 0)).collect();
        for child in children {
            assert!(child.wait_with_output().unwrap().status.success());
        }
    }
}

#[test]
fn a_killed_collection_takes_only_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    assert!(start("shared", &root, 0).wait_with_output().unwrap().status.success());
    for round in 0..12 {
        let mut child = start("collect", &root, 0);
        std::thread::sleep(Duration::from_millis(round * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(&root).unwrap();
        live_keys().iter().for_each(|key| drop(check(&store, key)));
    }
    let store = Store::open(&root).unwrap();
    collect(&store, &live_keys());
    assert_eq!(store.keys(Kind::Record).unwrap().len(), 12);
    assert_eq!(store.usage().unwrap().blobs, 12 * 10);
    assert!(store.verify(|_| ()).unwrap().is_sound());
}
