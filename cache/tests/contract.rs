//! What a store promises, through its public face only.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use pipe_cache::{Digest, Entry, Fault, Kind, Store, StoreError, TreeBuilder};

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    Bench { folder, store }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// A folder with one of each: small, large, executable both ways, empty, link, empty folder, deep, odd names.
fn sample(at: &Path) {
    let large = vec![7; 20_000];
    write(&at.join("small"), b"hello");
    write(&at.join("empty"), b"");
    write(&at.join("bin/tool"), &large);
    write(&at.join("bin/script"), b"#!/bin/sh\n");
    write(&at.join("data/large"), &large);
    write(&at.join("data/deep/er/ü \n.txt"), b"odd name");
    fs::create_dir_all(at.join("nothing")).unwrap();
    symlink("../data/large", at.join("bin/link")).unwrap();
    for name in ["bin/tool", "bin/script"] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn listing(store: &Store, entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    store
        .walk(entry, |path, entry| {
            lines.push(match entry {
                Entry::Tree { .. } => format!("{path}/"),
                Entry::Link { target } => format!("{path} -> {target}"),
                Entry::File { size, executable: true, .. } => format!("{path}* {size}"),
                Entry::File { size, .. } => format!("{path} {size}"),
            });
        })
        .unwrap();
    lines
}

#[test]
fn a_tree_goes_in_and_comes_out() {
    let Bench { folder, store } = bench();
    let out = store.workdir().unwrap().keep().join("out");
    sample(&out);
    let hashed = store.hash_tree(&out).unwrap();
    assert!(!store.complete(&hashed));
    let copied = store.put_tree(&out).unwrap();
    assert!(out.join("bin/tool").exists());
    let taken = store.take_tree(&out).unwrap();
    assert!(!out.exists());
    assert_eq!((&hashed, &hashed), (&copied, &taken));
    assert!(store.complete(&taken));
    assert_eq!(
        listing(&store, &taken),
        [
            "bin/",
            "bin/link -> ../data/large",
            "bin/script* 10",
            "bin/tool* 20000",
            "data/",
            "data/deep/",
            "data/deep/er/",
            "data/deep/er/ü \n.txt 8",
            "data/large 20000",
            "empty 0",
            "nothing/",
            "small 5"
        ]
    );
    let totals = store.totals(&taken).unwrap();
    assert_eq!((totals.files, totals.bytes), (6, 40_023));

    let checkout = store.checkout(&taken).unwrap();
    assert_eq!(checkout, store.checkout(&taken).unwrap());
    assert!(store.same_as(&taken, &checkout).unwrap());
    assert_eq!(fs::read(checkout.join("bin/link")).unwrap().len(), 20_000);
    for (path, wanted) in [
        ("", 0o555),
        ("bin", 0o555),
        ("bin/tool", 0o555),
        ("bin/script", 0o555),
        ("data/large", 0o444),
        ("small", 0o444),
    ] {
        assert_eq!(mode(&checkout.join(path)), wanted, "{path}");
    }
    let plain = folder.path().join("mine");
    store.copy_out(&taken, &plain).unwrap();
    assert!(store.same_as(&taken, &plain).unwrap());
    write(&plain.join("small"), b"edited by its owner");
    assert!(!store.same_as(&taken, &plain).unwrap());
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn files_go_in_and_come_out() {
    let Bench { folder, store } = bench();
    for size in [0, 1, 4096, 4097, 100_000, 20 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let path = folder.path().join("f");
        fs::write(&path, &bytes).unwrap();
        let by_bytes = store.put_bytes(&bytes).unwrap();
        let digest = by_bytes.digest().unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(store.hash_file(&path).unwrap(), by_bytes);
        assert_eq!(store.put_file(&path, false).unwrap(), by_bytes);
        let executable = store.put_file(&path, true).unwrap();
        assert_eq!(executable.digest(), Some(digest));
        assert_eq!(store.read(&digest).unwrap().as_deref(), Some(&bytes[..]));
        let mut streamed = Vec::new();
        assert_eq!(store.read_to(&digest, &mut streamed).unwrap(), Some(size));
        assert!(streamed == bytes);
        assert_eq!(mode(&store.checkout(&by_bytes).unwrap()), 0o444);
        assert_eq!(mode(&store.checkout(&executable).unwrap()), 0o555);
        assert_eq!(store.take_file(&path).unwrap(), by_bytes);
        assert!(!path.exists());
    }
    assert_eq!(store.read(&Digest::of(b"never stored")).unwrap(), None);
}

#[test]
fn a_user_link_is_followed_and_a_missing_file_is_named() {
    let Bench { folder, store } = bench();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "x").unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(store.hash_file(&link).unwrap(), store.hash_file(&file).unwrap());
    let error = store.hash_file(&folder.path().join("absent")).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("absent"), "{error}");
}

#[test]
fn lookups_walk_into_trees() {
    let Bench { folder, store } = bench();
    sample(&folder.path().join("s"));
    let tree = store.put_tree(&folder.path().join("s")).unwrap();
    let at = |path| store.lookup(&tree, path).unwrap();
    assert_eq!(at("").as_ref(), Some(&tree));
    assert!(matches!(at("bin/tool"), Some(Entry::File { executable: true, size: 20_000, .. })));
    assert!(matches!(at("bin/link"), Some(Entry::Link { .. })));
    assert_eq!(at("bin/nothing"), None);
    assert_eq!(at("small/x"), None);
    assert!(matches!(store.lookup(&tree, "../x"), Err(StoreError::BadPath { .. })));
}

#[test]
fn trees_are_composed_in_any_order() {
    let Bench { folder: _folder, store } = bench();
    let (a, b) = (store.put_bytes(b"a").unwrap(), store.put_bytes(b"b").unwrap());
    let build = |parts: &[(&str, &Entry)]| {
        let mut builder = TreeBuilder::new();
        for (path, entry) in parts {
            builder.insert(path, (*entry).clone())?;
        }
        builder.build(&store)
    };
    let one = build(&[("x/a", &a), ("y/z/b", &b)]).unwrap();
    assert_eq!(one, build(&[("y/z/b", &b), ("x/a", &a), ("x/a", &a)]).unwrap());

    // Two subtrees at one place become one folder.
    let (left, right) = (build(&[("p/a", &a)]).unwrap(), build(&[("p/b", &b), ("q", &a)]).unwrap());
    let merged = build(&[("m", &left), ("m", &right), ("m/p/c", &a)]).unwrap();
    assert_eq!(listing(&store, &merged), ["m/", "m/p/", "m/p/a 1", "m/p/b 1", "m/p/c 1", "m/q 1"]);
    let mut root = TreeBuilder::new();
    root.merge(&left.digest().unwrap());
    root.merge(&right.digest().unwrap());
    assert_eq!(listing(&store, &root.build(&store).unwrap()), ["p/", "p/a 1", "p/b 1", "q 1"]);

    let other = build(&[("p/a", &b)]).unwrap();
    let error = build(&[("m", &left), ("m", &other)]).unwrap_err().to_string();
    assert!(error.contains("`m/p/a`") && error.contains(&a.to_string()) && error.contains(&b.to_string()), "{error}");
    for parts in
        [[("x", &a), ("x/y", &b)], [("x/y", &a), ("x", &b)], [("x", &a), ("x", &left)], [("x", &left), ("x", &a)]]
    {
        assert!(matches!(build(&parts), Err(StoreError::FileAndFolder { .. })), "{parts:?}");
    }
    for path in ["", "/abs", "a/../b", "a//b", "./a", "a/"] {
        assert!(matches!(build(&[(path, &a)]), Err(StoreError::BadPath { .. })), "{path}");
    }
    let link = Entry::Link { target: "../../x".into() };
    assert!(matches!(build(&[("a/l", &link)]), Err(StoreError::Unstorable { fault: Fault::LinkLeaves(_), .. })));
}

#[test]
fn records_are_kept_in_order() {
    let Bench { folder, store } = bench();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(store.last(Kind::Record, &one).unwrap(), None);
    store.append(Kind::Record, &one, b"first").unwrap();
    store.append(Kind::Session, &one, b"s1").unwrap();
    store.append(Kind::Record, &two, b"other").unwrap();
    store.append(Kind::Record, &one, b"second").unwrap();
    let again = Store::open(&folder.path().join("store")).unwrap();
    for store in [&store, &again] {
        assert_eq!(store.last(Kind::Record, &one).unwrap().unwrap(), b"second");
        assert_eq!(store.all(Kind::Record, &one).unwrap(), [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(store.last(Kind::Session, &one).unwrap().unwrap(), b"s1");
        assert_eq!(store.last(Kind::Session, &two).unwrap(), None);
        let mut seen = Vec::new();
        store.scan(Kind::Record, |key, payload| seen.push((*key, payload.to_vec()))).unwrap();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[1], (two, b"other".to_vec()));
    }
    // What one writes, the other sees.
    again.append_all(&[(Kind::Manifest, two, b"m"), (Kind::Record, two, b"r")]).unwrap();
    assert_eq!(store.last(Kind::Record, &two).unwrap().unwrap(), b"r");
    assert_eq!(store.last(Kind::Manifest, &two).unwrap().unwrap(), b"m");
}

#[test]
fn formats_and_foreign_folders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b/store");
    drop(Store::open(&root).unwrap());
    assert_eq!(mode(&root), 0o700);
    fs::write(root.join("format"), "{\"version\":99}").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }) && error.to_string().contains("--store"), "{error}");
    for word in ["format 99", "knows 1", "update `pipe`"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    fs::write(root.join("format"), "{\"version\":0}").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 0, .. }) && error.to_string().contains("format 0"), "{error}");
    for garbage in ["nonsense", "", "{}", "{\"version\":-1}", "{\"version\":1", "\0\u{1}"] {
        fs::write(root.join("format"), garbage).unwrap();
        let error = Store::open(&root).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }) && error.to_string().contains("`format`"), "{error}");
    }
    fs::remove_file(root.join("format")).unwrap();
    assert!(Store::open(&root).unwrap_err().to_string().contains("is gone"));
    write(&folder.path().join("home/thesis.tex"), b"dear reader");
    assert!(matches!(Store::open(&folder.path().join("home")), Err(StoreError::NotAStore { .. })));
    assert_eq!(fs::read_dir(folder.path().join("home")).unwrap().count(), 1);
}

#[test]
fn keys_lock_one_at_a_time() {
    use pipe_cache::TryLock;
    let Bench { folder, store } = bench();
    let other = Store::open(&folder.path().join("store")).unwrap();
    let key = Digest::of(b"key");
    let lock = store.lock_key(&key).unwrap();
    match other.try_lock_key(&key).unwrap() {
        TryLock::Held(holder) => assert_eq!(holder, format!("pid {}", std::process::id())),
        TryLock::Locked(_) => panic!("locked twice"),
    }
    assert!(matches!(other.try_lock_key(&Digest::of(b"else")).unwrap(), TryLock::Locked(_)));
    drop(lock);
    assert!(matches!(other.try_lock_key(&key).unwrap(), TryLock::Locked(_)));
    let kept = if cfg!(target_os = "linux") { 2 } else { 0 };
    assert_eq!(fs::read_dir(folder.path().join("store/locks")).unwrap().count(), kept, "no file for a key");
}

#[test]
fn usage_adds_up_and_a_shared_file_counts_once() {
    let Bench { folder, store } = bench();
    sample(&folder.path().join("s"));
    let tree = store.put_tree(&folder.path().join("s")).unwrap();
    let before = store.usage().unwrap();
    assert_eq!((before.blobs, before.checkouts), (2, 0));
    store.checkout(&tree).unwrap();
    let after = store.usage().unwrap();
    assert_eq!((after.blobs, after.checkouts), (2, 1));
    assert_eq!(after.blob_bytes, before.blob_bytes);
    assert!(after.total_bytes() < before.total_bytes() + 100_000 && after.free_bytes > 0);
}

#[test]
fn scratch_goes_with_its_owner_and_kept_folders_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = Store::open(&root).unwrap();
    let (gone, kept) = (store.workdir().unwrap(), store.workdir().unwrap());
    write(&gone.path().join("ro/f"), b"x");
    fs::set_permissions(gone.path().join("ro"), fs::Permissions::from_mode(0o555)).unwrap();
    write(&kept.path().join("f"), b"x");
    let path = store.keep(kept).unwrap();
    // Leaks the folder, as a killed process would.
    let _ = gone.keep();
    drop(store);
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    assert!(path.join("f").exists());
}

#[test]
fn a_store_file_has_no_time_of_its_own() {
    let Bench { folder, store } = bench();
    sample(&folder.path().join("s"));
    let checkout = store.checkout(&store.put_tree(&folder.path().join("s")).unwrap()).unwrap();
    for path in ["", "bin", "bin/tool", "small"] {
        assert_eq!(checkout.join(path).metadata().unwrap().mtime(), 315_619_200, "{path}");
    }
}

/// Whatever a person or a step does to something given back by its name, the store keeps what it has.
#[test]
fn edits_of_what_was_given_back_never_reach_the_store() {
    use std::io::Write;
    let Bench { folder, store } = bench();
    sample(&folder.path().join("s"));
    let tree = store.put_tree(&folder.path().join("s")).unwrap();
    let append =
        |path: &Path| drop(fs::OpenOptions::new().append(true).open(path).map(|mut file| file.write_all(b"!")));
    let truncate = |path: &Path| drop(fs::OpenOptions::new().write(true).truncate(true).open(path));
    let force = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        truncate(path);
    };
    // As `sed -i` and editors do: a new file over the old name.
    let replace = |path: &Path| {
        let aside = path.with_extension("new");
        write(&aside, b"new");
        fs::rename(aside, path).unwrap();
    };
    let edits: [&dyn Fn(&Path); 4] = [&append, &truncate, &force, &replace];
    for (at, edit) in edits.iter().enumerate() {
        let copy = folder.path().join(format!("copy{at}"));
        store.copy_out(&tree, &copy).unwrap();
        for name in ["small", "data/large", "bin/tool", "bin/script"] {
            edit(&copy.join(name));
        }
    }
    let root = store.root().to_owned();
    drop(store);
    let store = Store::open(&root).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
    // A checkout is for steps: its folders and files let nobody write, and whoever forces it damages what is noticed.
    let checkout = store.checkout(&tree).unwrap();
    force(&checkout.join("data/large"));
    let found = store.verify(|_| ()).unwrap();
    assert_eq!((found.damaged.len(), found.damaged_checkouts.len()), (1, 1));
    assert_eq!(store.put_tree(&folder.path().join("s")).unwrap(), tree);
    assert!(store.same_as(&tree, &store.checkout(&tree).unwrap()).unwrap());
}

#[test]
fn a_small_output_is_taken_where_it_is_what_was_expected() {
    let Bench { folder, store } = bench();
    let out = folder.path().join("out");
    write(&out.join("b"), b"two");
    write(&out.join("a"), b"one");
    fs::set_permissions(out.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut seen = Vec::new();
    let refuses = |names: &[String]| {
        seen = names.to_vec();
        false
    };
    assert_eq!(store.take_small(&out, refuses).unwrap(), None);
    assert_eq!(seen, ["a", "b"]);
    let entry = store.take_small(&out, |_| true).unwrap().expect("a few small files");
    assert_eq!(listing(&store, &entry), ["a* 3", "b 3"]);
    assert_eq!(store.hash_tree(&out).unwrap(), entry, "as by any other way in");
    assert!(out.join("a").exists(), "the folder is the caller's");
    store.flush().unwrap();
    drop(store);
    let store = Store::open(&folder.path().join("store")).unwrap();
    assert!(store.complete(&entry));
    let back = folder.path().join("back");
    store.copy_out(&entry, &back).unwrap();
    assert_eq!(fs::read(back.join("b")).unwrap(), b"two");

    // What needs a closer look is left for it.
    type Make<'a> = &'a dyn Fn(&Path);
    let odd: [(&str, Make<'_>); 4] = [
        ("link", &|at| symlink("a", at).unwrap()),
        ("folder", &|at| fs::create_dir(at).unwrap()),
        ("large", &|at| write(at, &[1; 5000])),
        ("hidden", &|at| {
            write(at, b"x");
            fs::set_permissions(at, fs::Permissions::from_mode(0o000)).unwrap();
        }),
    ];
    for (name, make) in odd {
        make(&out.join(name));
        assert_eq!(store.take_small(&out, |_| true).unwrap(), None, "{name}");
        if out.join(name).symlink_metadata().unwrap().is_dir() {
            fs::remove_dir(out.join(name)).unwrap();
        } else {
            fs::remove_file(out.join(name)).unwrap();
        }
    }
    symlink(&out, folder.path().join("elsewhere")).unwrap();
    assert_eq!(store.take_small(&folder.path().join("elsewhere"), |_| true).unwrap(), None);
}
