//! Output folders that try to reach outside, to block, or to leave a way back in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pipe_cache::{Entry, Fault, Store, StoreError};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

/// Takes a folder with one hostile thing in it and returns what was said; nothing may have been moved.
fn refuse(what: &str, plant: impl FnOnce(&Path)) -> (String, Fault) {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("sub")).unwrap();
    fs::write(out.join("sub/good"), vec![1; 10_000]).unwrap();
    plant(&out);
    for result in [store.hash_tree(&out), store.put_tree(&out), store.take_tree(&out)] {
        match result {
            Err(StoreError::Unstorable { path, fault }) => {
                assert!(out.join("sub/good").exists(), "{what}");
                if store.take_tree(&out).is_err() {
                    return (path, fault);
                }
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    panic!("{what} was stored");
}

#[test]
fn special_files_are_refused_and_never_opened() {
    let node = |kind, device| move |out: &Path| mknodat(CWD, out.join("sub/x"), kind, Mode::RWXU, device).unwrap();
    assert_eq!(refuse("fifo", node(FileType::Fifo, 0)), ("sub/x".into(), Fault::Fifo));
    let socket = |out: &Path| drop(UnixListener::bind(out.join("s")).unwrap());
    assert_eq!(refuse("socket", socket), ("s".into(), Fault::Socket));
    if rustix::process::geteuid().is_root() {
        let zero = rustix::fs::makedev(1, 5);
        assert_eq!(refuse("device", node(FileType::CharacterDevice, zero)), ("sub/x".into(), Fault::Device));
    }
}

#[test]
fn links_out_are_refused() {
    for target in ["/etc/shadow", "../../outside", "../sub/../../outside", "good/../../../x"] {
        let found = refuse(target, |out| symlink(target, out.join("sub/l")).unwrap());
        assert_eq!(found, ("sub/l".into(), Fault::LinkLeaves(target.into())));
    }
    let up = refuse("the root's parent", |out| symlink("..", out.join("l")).unwrap());
    assert_eq!(up.0, "l");
}

#[test]
fn names_that_are_no_text_are_refused_with_their_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"sub/\xff\n");
    let found = refuse("name", |out| fs::write(out.join(name), "x").unwrap());
    assert_eq!(found, ("sub/\\xff\\n".into(), Fault::NotUtf8));
}

#[test]
fn too_deep_is_refused() {
    let found = refuse("depth", |out| {
        let deep = (0..300).fold(out.to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(deep).unwrap();
    });
    assert_eq!(found.1, Fault::TooDeep(128));
}

#[test]
fn the_folder_itself_may_be_no_link_and_no_file() {
    let (folder, store) = store();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("f"), "x").unwrap();
    symlink(&real, folder.path().join("link")).unwrap();
    for name in ["link", "real/f"] {
        let error = store.take_tree(&folder.path().join(name)).unwrap_err();
        assert!(matches!(error, StoreError::Unstorable { fault: Fault::NotAFolder, .. }), "{error}");
    }
    assert!(store.take_tree(&folder.path().join("absent")).unwrap_err().is_not_found());
    symlink(real.join("f"), folder.path().join("file-link")).unwrap();
    assert!(matches!(store.take_file(&folder.path().join("file-link")), Err(StoreError::Unstorable { .. })));
}

#[test]
fn loops_are_kept_as_links_and_not_followed() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("a")).unwrap();
    symlink("..", out.join("a/up")).unwrap();
    symlink("self", out.join("self")).unwrap();
    let entry = store.take_tree(&out).unwrap();
    assert_eq!(store.lookup(&entry, "a/up").unwrap(), Some(Entry::Link { target: "..".into() }));
    let checkout = store.checkout(&entry).unwrap();
    assert_eq!(fs::read_link(checkout.join("self")).unwrap(), Path::new("self"));
    // The part alone would lead out of itself.
    let part = store.lookup(&entry, "a").unwrap().unwrap();
    assert!(matches!(store.checkout(&part), Err(StoreError::Unstorable { .. })));
}

#[test]
fn setuid_is_refused_and_other_modes_are_stripped() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    for (name, mode, size) in
        [("big", 0o6755, 9000), ("small", 0o4711, 10), ("open", 0o1666, 9001), ("shut", 0o400, 9002)]
    {
        fs::write(out.join(name), vec![1; size]).unwrap();
        fs::set_permissions(out.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(&out, fs::Permissions::from_mode(0o2555)).unwrap();
    // What a person names is theirs, and copied without them; a step has no business to leave them.
    let entry = store.put_tree(&out).unwrap();
    for name in ["big", "small"] {
        let refused = store.take_tree(&out).unwrap_err();
        assert!(matches!(&refused, StoreError::Unstorable { path, fault: Fault::SetId } if path == name), "{refused}");
        let refused = store.take_file(&out.join(name)).unwrap_err();
        assert!(matches!(&refused, StoreError::Unstorable { fault: Fault::SetId, .. }), "{refused}");
        fs::set_permissions(out.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(store.take_tree(&out).unwrap(), entry);
    let checkout = store.checkout(&entry).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(&checkout), 0o555);
    for (name, wanted) in [("big", 0o555), ("small", 0o555), ("open", 0o444), ("shut", 0o444)] {
        assert_eq!(mode(&checkout.join(name)), wanted, "{name}");
    }
}

#[test]
fn a_file_with_other_names_is_copied_so_that_they_lead_nowhere() {
    let (folder, store) = store();
    let (host, out) = (folder.path().join("host"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(&host, vec![1; 10_000]).unwrap();
    fs::hard_link(&host, out.join("outside")).unwrap();
    fs::write(out.join("one"), vec![2; 10_000]).unwrap();
    fs::hard_link(out.join("one"), out.join("two")).unwrap();
    let entry = store.take_tree(&out).unwrap();
    fs::write(&host, vec![9; 10_000]).unwrap();
    let checkout = store.checkout(&entry).unwrap();
    assert!(fs::read(checkout.join("outside")).unwrap() == vec![1; 10_000]);
    assert!(fs::read(checkout.join("two")).unwrap() == vec![2; 10_000]);
    assert_eq!(host.metadata().unwrap().mode() & 0o777, 0o644);
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_hard_link_to_the_file_of_another_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make such a file here; what is refused is then the kernel's own rule.
        return;
    }
    let (folder, store) = store();
    let (theirs, out) = (folder.path().join("theirs"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(&theirs, "secret").unwrap();
    std::os::unix::fs::chown(&theirs, Some(12_345), None).unwrap();
    fs::hard_link(&theirs, out.join("h")).unwrap();
    let error = store.take_tree(&out).unwrap_err();
    assert!(matches!(error, StoreError::Unstorable { fault: Fault::ForeignLink, .. }), "{error}");
    // What a person points at is read with their own rights, as any copy would be.
    assert!(store.hash_tree(&out).is_ok());
}

/// So many rounds, or as many as `PIPE_TEST_ROUNDS` says.
#[expect(clippy::disallowed_methods, reason = "a longer run of the same test is asked for by a variable")]
fn rounds(few: usize) -> usize {
    std::env::var("PIPE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// A process that outlived its step swaps a folder for a link while the output is taken.
#[test]
fn a_folder_swapped_for_a_link_never_leads_out() {
    let (folder, store) = store();
    let secret = folder.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("f"), vec![b's'; 6000]).unwrap();
    let stop = AtomicBool::new(false);
    let out = folder.path().join("out");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (real, aside) = (out.join("d"), folder.path().join("aside"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&real, &aside);
                let _ = symlink(&secret, &real);
                let _ = fs::remove_file(&real);
                let _ = fs::rename(&aside, &real);
            }
        });
        let fresh = folder.path().join("fresh");
        for _ in 0..rounds(300) {
            fs::create_dir_all(fresh.join("d")).unwrap();
            fs::write(fresh.join("d/f"), vec![b'o'; 6000]).unwrap();
            if fs::rename(&fresh, &out).is_err() {
                let _ = fs::remove_dir_all(&out);
                continue;
            }
            if let Ok(entry) = store.take_tree(&out)
                && let Some(Entry::File { digest, .. }) = store.lookup(&entry, "d/f").unwrap()
            {
                assert!(store.read(&digest).unwrap().unwrap().iter().all(|byte| *byte == b'o'));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(fs::read(secret.join("f")).unwrap() == vec![b's'; 6000]);
}

#[test]
fn a_file_that_changes_between_looks_is_seen() {
    let (folder, store) = store();
    let path = folder.path().join("input");
    fs::write(&path, vec![1; 5000]).unwrap();
    let first = store.hash_file(&path).unwrap();
    let times = fs::File::open(&path).unwrap().metadata().unwrap();
    // The same size and the same modification time: the rule of two seconds, or the time of change, must tell.
    fs::write(&path, vec![2; 5000]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times.modified().unwrap()).unwrap();
    assert_ne!(store.hash_file(&path).unwrap(), first);
}

#[test]
fn capabilities_do_not_come_along() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("tool"), vec![1; 9000]).unwrap();
    let file = fs::File::open(out.join("tool")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    // Version 2, effective, all of the first 32 capabilities; only root may set it, anybody a plain attribute.
    let mut capability = [0; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF]);
    let _ = rustix::fs::fsetxattr(&file, "security.capability", &capability, flags);
    let _ = rustix::fs::fsetxattr(&file, "user.note", b"x", flags);
    let entry = store.take_tree(&out).unwrap();
    let kept = fs::File::open(store.checkout(&entry).unwrap().join("tool")).unwrap();
    let mut names = [0; 1000];
    let length = rustix::fs::flistxattr(&kept, &mut names[..]).unwrap_or(0);
    assert!(!names[..length].starts_with(b"security.capability") && !names[..length].starts_with(b"user."));
}

#[test]
fn what_its_maker_cannot_read_is_read_all_the_same() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("shut/in")).unwrap();
    fs::write(out.join("shut/in/f"), vec![1; 9000]).unwrap();
    fs::write(out.join("shut/small"), "x").unwrap();
    for (name, mode) in [("shut/in/f", 0o100), ("shut/small", 0), ("shut/in", 0), ("shut", 0)] {
        fs::set_permissions(out.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let entry = store.take_tree(&out).unwrap();
    let at = |path| store.lookup(&entry, path).unwrap().unwrap();
    assert!(matches!(at("shut/in/f"), Entry::File { executable: true, .. }));
    assert!(matches!(at("shut/small"), Entry::File { executable: false, .. }));
}

#[test]
fn scratch_that_nobody_may_read_is_swept() {
    let (folder, store) = store();
    let left = store.workdir().unwrap().keep();
    fs::create_dir_all(left.join("a/b")).unwrap();
    for name in ["a/b", "a"] {
        fs::set_permissions(left.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    drop(store);
    assert_eq!(fs::read_dir(folder.path().join("store/tmp")).unwrap().count(), 0);
}

/// Deeper than paths can be long, and than descriptors can be open.
#[test]
fn folders_of_any_depth_are_refused_and_swept() {
    use std::os::fd::OwnedFd;
    let (folder, store) = store();
    let left = store.workdir().unwrap().keep();
    let mut dir: OwnedFd = fs::File::open(&left).unwrap().into();
    for depth in 0..5_000 {
        // Some of them such that nobody may enter.
        let name = if depth % 7 == 0 { "odd \u{1b}[31m\n" } else { "d" };
        rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        let inner = rustix::fs::openat(&dir, name, flags, Mode::empty()).unwrap();
        if depth % 5 == 0 {
            rustix::fs::fchmod(&dir, Mode::empty()).unwrap();
        }
        dir = inner;
    }
    drop(dir);
    let error = store.take_tree(&left).unwrap_err();
    assert!(matches!(error, StoreError::Unstorable { fault: Fault::TooDeep(128), .. }), "{error}");
    drop(store);
    assert_eq!(fs::read_dir(folder.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_hole_of_a_terabyte_is_refused_and_a_small_one_is_kept() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::File::create(out.join("big")).unwrap().set_len(1 << 40).unwrap();
    let error = store.take_tree(&out).unwrap_err();
    assert!(matches!(error, StoreError::Unstorable { fault: Fault::Hole(1024), .. }), "{error}");
    fs::remove_file(out.join("big")).unwrap();
    fs::File::create(out.join("small")).unwrap().set_len(8 << 20).unwrap();
    let entry = store.take_tree(&out).unwrap();
    let copy = folder.path().join("copy");
    store.copy_out(&entry, &copy).unwrap();
    assert!(fs::read(copy.join("small")).unwrap() == vec![0; 8 << 20]);
}

#[test]
fn a_file_that_grows_while_it_is_taken_is_noticed() {
    let (folder, store) = store();
    let stop = AtomicBool::new(false);
    let out = folder.path().join("out");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut file) = fs::File::options().append(true).open(out.join("grows")) {
                    let _ = std::io::Write::write_all(&mut file, &[7; 4096]);
                }
            }
        });
        for _ in 0..100 {
            let _ = fs::remove_dir_all(&out);
            fs::create_dir(&out).unwrap();
            fs::write(out.join("grows"), vec![7; 300_000]).unwrap();
            match store.take_tree(&out) {
                Ok(_) | Err(StoreError::Changed { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Everything that gives outputs away: what is done to it afterwards changes nothing in the store.
#[test]
fn what_is_given_out_can_be_written_to_and_the_store_stays_as_it_was() {
    let (folder, store) = store();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("large"), vec![1; 100_000]).unwrap();
    fs::write(out.join("small"), "small").unwrap();
    let entry = store.take_tree(&out).unwrap();
    let copy = folder.path().join("copy");
    store.copy_out(&entry, &copy).unwrap();
    for name in ["large", "small"] {
        let path = copy.join(name);
        std::io::Write::write_all(&mut fs::File::options().append(true).open(&path).unwrap(), b"more").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
        let before = path.metadata().unwrap().ino();
        fs::write(copy.join("new"), "new").unwrap();
        fs::rename(copy.join("new"), &path).unwrap();
        assert_ne!(path.metadata().unwrap().ino(), before);
    }
    // A checkout is for reading: nobody but root can open anything in it for writing.
    let checkout = store.checkout(&entry).unwrap();
    for name in ["large", "small"] {
        let found = checkout.join(name).metadata().unwrap();
        assert_eq!(found.mode() & 0o7777, 0o444, "{name}");
    }
    assert_eq!(checkout.metadata().unwrap().mode() & 0o7777, 0o555);
    assert!(store.verify(|_| ()).unwrap().is_sound());
    assert_eq!(
        store.read(&store.lookup(&entry, "large").unwrap().unwrap().digest().unwrap()).unwrap().unwrap().len(),
        100_000
    );
}
