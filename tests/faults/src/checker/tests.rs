//! The checker is checked: a sound store passes, and each kind of violation that is planted is found, under its rule.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::format::{Entry, content_digest, tree_digest, write_frame, write_tree};
use crate::leftovers;

const KEY: &str = "aa00000000000000000000000000000000000000000000000000000000000000";

/// A store with a large blob, a small one, a tree of both, a record, a run, and a checkout.
struct Sound {
    folder: tempfile::TempDir,
    large: PathBuf,
    tree: Entry,
}

fn seal(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn record(output: &str, log: &str) -> Vec<u8> {
    format!(
        r#"{{"format":1,"output":{{"kind":"tree","digest":"{output}"}},"log":{{"kind":"file","digest":"{log}","size":5}}}}"#
    )
    .into_bytes()
}

impl Sound {
    fn new() -> Sound {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (large, small) = (vec![7; 9000], b"small".to_vec());
        let names = [content_digest(&large), content_digest(&small)];
        let fan = root.join("blobs").join(&names[0][..2]);
        fs::create_dir_all(&fan).expect("a folder");
        let path = fan.join(&names[0]);
        fs::write(&path, &large).expect("a blob");
        seal(&path, 0o444);
        let tree: BTreeMap<Vec<u8>, Entry> = [
            (b"large".to_vec(), Entry::File { digest: names[0].clone(), size: 9000, executable: false }),
            (b"link".to_vec(), Entry::Link { target: "large".to_owned() }),
            (b"small".to_vec(), Entry::File { digest: names[1].clone(), size: 5, executable: false }),
        ]
        .into();
        let encoding = write_tree(&tree);
        let digest = tree_digest(&encoding);
        let mut pack = Vec::new();
        write_frame(&mut pack, BLOB, &names[1], &small);
        write_frame(&mut pack, TREE, &digest, &encoding);
        fs::write(root.join("small.pack"), pack).expect("a pack");
        let mut records = Vec::new();
        write_frame(&mut records, RECORD, KEY, &record(&digest, &names[1]));
        write_frame(&mut records, RUN, KEY, format!(r#"{{"steps":{{"s":{{"key":"{KEY}"}}}}}}"#).as_bytes());
        fs::write(root.join("records.log"), records).expect("a log");
        let checkout = root.join("checkouts").join(&digest);
        fs::create_dir_all(&checkout).expect("a folder");
        fs::write(checkout.join("large"), &large).expect("a file");
        fs::write(checkout.join("small"), &small).expect("a file");
        std::os::unix::fs::symlink("large", checkout.join("link")).expect("a link");
        Sound { folder, large: path, tree: Entry::Tree { digest } }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Does something to the store, and expects the checker to say so under this rule, naming this.
    fn planted(self, rule: Rule, names: &str, harm: impl FnOnce(&Sound)) {
        harm(&self);
        let bad = view(self.root()).bad;
        let found = bad.iter().any(|bad| bad.rule == rule && bad.what.contains(names));
        assert!(found, "no {rule:?} with `{names}` in {bad:#?}");
    }

    fn overwrite(&self, bytes: &[u8]) {
        seal(&self.large, 0o644);
        fs::write(&self.large, bytes).expect("written");
        seal(&self.large, 0o444);
    }
}

#[test]
fn a_sound_store_is_sound() {
    let sound = Sound::new();
    let view = view(sound.root());
    assert_eq!(view.bad, []);
    assert_eq!((view.torn, view.strangers.len()), (0, 0));
    assert_eq!(view.made(), BTreeMap::from([("s".to_owned(), (KEY.to_owned(), sound.tree.clone()))]));
    let nothing = super::view(&sound.root().join("none"));
    assert!(nothing.bad.is_empty() && nothing.made().is_empty());
}

#[test]
fn objects_that_do_not_hash_to_their_names_are_found() {
    let wrong = "does not hash to its name";
    Sound::new().planted(Rule::Content, wrong, |store| store.overwrite(&[7; 8999]));
    Sound::new().planted(Rule::Content, wrong, |store| store.overwrite(b""));
    Sound::new().planted(Rule::Content, wrong, |store| {
        let mut bytes = vec![7; 9000];
        bytes[4321] ^= 1;
        store.overwrite(&bytes);
    });
    Sound::new().planted(Rule::Content, "is no regular file", |store| {
        fs::remove_file(&store.large).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", &store.large).expect("a link");
    });
    Sound::new().planted(Rule::Content, "has mode 644", |store| seal(&store.large, 0o644));
    Sound::new().planted(Rule::Content, "a name that is no digest", |store| {
        fs::create_dir(store.root().join("blobs/ab")).expect("a folder");
        fs::write(store.root().join("blobs/ab/half-written"), "x").expect("a file");
    });
    // A frame whose checksum holds, and whose content is another's.
    Sound::new().planted(Rule::Content, wrong, |store| {
        let mut pack = fs::read(store.root().join("small.pack")).expect("the pack");
        write_frame(&mut pack, BLOB, KEY, b"not what the key says");
        fs::write(store.root().join("small.pack"), pack).expect("written");
    });
    Sound::new().planted(Rule::Content, "does not hold what its name says", |store| {
        let Entry::Tree { digest } = &store.tree else { panic!("a tree") };
        fs::write(store.root().join("checkouts").join(digest).join("more"), "").expect("written");
    });
}

#[test]
fn records_that_name_what_is_missing_are_found() {
    let gone = "is not there";
    Sound::new().planted(Rule::Records, gone, |store| fs::remove_file(&store.large).expect("removed"));
    Sound::new().planted(Rule::Records, gone, |store| {
        fs::write(store.root().join("small.pack"), "").expect("emptied");
    });
    Sound::new().planted(Rule::Records, "not JSON", |store| {
        let mut log = fs::read(store.root().join("records.log")).expect("the log");
        write_frame(&mut log, RECORD, KEY, b"{");
        fs::write(store.root().join("records.log"), log).expect("written");
    });
    // A blob of the right digest and another size than the tree says.
    Sound::new().planted(Rule::Records, "bytes, not", |store| {
        let mut log = fs::read(store.root().join("records.log")).expect("the log");
        let small = content_digest(b"small");
        let text = format!(r#"{{"output":{{"kind":"file","digest":"{small}","size":6}}}}"#);
        write_frame(&mut log, RECORD, KEY, text.as_bytes());
        fs::write(store.root().join("records.log"), log).expect("written");
    });
}

#[test]
fn damaged_frames_are_not_seen_and_the_rest_is() {
    let store = Sound::new();
    let path = store.root().join("records.log");
    let whole = fs::read(&path).expect("the log");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let (frames, gaps) = format::frames(&bytes);
        assert_eq!((frames.len(), gaps.len()), (1, 1), "flipped at {at}");
        let (frames, _) = format::frames(&whole[..at]);
        assert!(frames.len() < 2, "cut at {at}");
    }
}

#[test]
fn exports_that_are_neither_old_nor_new_are_found() {
    let file = |text: &str| Entry::File { digest: content_digest(text.as_bytes()), size: 3, executable: false };
    let of = |text: &str| Exports::from([("x".to_owned(), file(text))]);
    let (nothing, old, new) = (Exports::new(), of("old"), of("new"));
    for found in [&nothing, &new] {
        assert_eq!(old_or_new(&[&nothing, &new], found), []);
    }
    for (before, found) in [(&old, &nothing), (&old, &of("mix")), (&nothing, &of("mix"))] {
        assert_eq!(old_or_new(&[before, &new], found)[0].rule, Rule::Exports);
    }
    let mut scratch = new.clone();
    scratch.insert(".x.new".to_owned(), file("half"));
    assert_eq!(old_or_new(&[&old, &new], &scratch), []);
}

#[test]
fn changes_outside_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("sub")).expect("a folder");
    fs::write(folder.path().join("sub/file"), "text").expect("a file");
    let print = || folder::print(folder.path()).expect("readable");
    let before = print();
    assert_eq!(outside("it", &before, &print()), []);
    let harms: [&dyn Fn(&Path); 4] = [
        &|at| fs::write(at.join("sub/file"), "texT").expect("written"),
        &|at| seal(&at.join("sub/file"), 0o755),
        &|at| fs::write(at.join("more"), "").expect("written"),
        &|at| fs::remove_file(at.join("sub/file")).expect("removed"),
    ];
    let mut last = before;
    for harm in harms {
        harm(folder.path());
        let now = print();
        assert_eq!(outside("it", &last, &now)[0].rule, Rule::Outside);
        last = now;
    }
}

#[test]
fn words_of_a_program_that_does_not_know_what_happened_are_found() {
    let said = |code: Option<i32>, err: &str| {
        words(&Ended { code, err: err.to_owned(), ..Ended::default() })
            .into_iter()
            .map(|bad| bad.rule)
            .collect::<Vec<_>>()
    };
    for (code, err) in [(0, ""), (3, "`step` failed"), (5, "pipe: cannot write `/x`: no room"), (130, "")] {
        assert_eq!(said(Some(code), err), [], "{code} {err}");
    }
    for (code, err) in [
        (Some(101), "thread 'main' panicked at `x`"),
        (Some(3), "thread 'main' panicked at `x`"),
        (Some(5), "it did not work"),
        (Some(77), "`x`"),
        (None, ""),
    ] {
        assert!(said(code, err).contains(&Rule::Words), "{code:?} {err}");
    }
    assert_eq!(words(&Ended { hung: true, ..Ended::default() })[0].rule, Rule::Words);
}

#[test]
fn what_is_left_behind_is_found() {
    let store = Sound::new();
    fs::create_dir_all(store.root().join("tmp/1-2")).expect("a folder");
    assert_eq!(scratch(store.root())[0].rule, Rule::Left);
    fs::remove_dir(store.root().join("tmp/1-2")).expect("removed");
    assert_eq!(scratch(store.root()), []);
    // A process that only its working folder tells.
    let place = store.root().join("a-case-of-its-own");
    fs::create_dir(&place).expect("a folder");
    let mark = place.to_string_lossy().into_owned();
    let none = std::time::Duration::ZERO;
    assert_eq!(leftovers::wait(&mark, none), []);
    let mut child = std::process::Command::new("sleep").arg("60").current_dir(&place).spawn().expect("sleep");
    let bad = leftovers::wait(&mark, none);
    assert!(child.wait().expect("ended").code().is_none(), "what is left is ended");
    assert_eq!(bad[0].rule, Rule::Left);
    let mut child = std::process::Command::new("sleep").arg("60").env("MARK", &mark).spawn().expect("sleep");
    // For a moment after its start a process has no environment yet.
    while fs::read(format!("/proc/{}/environ", child.id())).expect("it runs").is_empty() {
        std::thread::yield_now();
    }
    let bad = leftovers::wait(&mark, none);
    child.wait().expect("ended");
    assert_eq!(bad[0].rule, Rule::Left, "one that only its environment tells");
}

#[test]
fn another_result_is_found() {
    let store = Sound::new();
    let made = view(store.root()).made();
    assert_eq!(same(&made, &made), []);
    let mut other = made.clone();
    other.get_mut("s").expect("the step").1 = Entry::Link { target: "x".to_owned() };
    assert_eq!(same(&made, &other)[0].rule, Rule::Same);
    let mut other = made.clone();
    other.get_mut("s").expect("the step").0 = "bb".to_owned();
    assert_eq!(same(&made, &other)[0].rule, Rule::Same);
    assert_eq!(same(&made, &Made::new())[0].rule, Rule::Same);
}
