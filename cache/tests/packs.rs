//! Packs: what was written comes back, in any number of files, and nothing wrong comes in, whoever wrote it.

use std::fs;
use std::path::{Path, PathBuf};

use pipe_cache::{Digest, Entry, Kind, Pack, PackError, PackWriter, Shelf, Store, Tree, TreeBuilder};

const ABOUT: u8 = 1;
const TREE: u8 = 2;
const LAST: u8 = 4;
const END: u8 = 255;

fn store(folder: &Path, name: &str) -> Store {
    Store::open(&folder.join(name)).unwrap()
}

fn content(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + seed * 7) as u8).collect()
}

/// A tree with small, large and executable files, folders in folders and a link.
fn output(store: &Store, seed: usize) -> Entry {
    let mut tree = TreeBuilder::new();
    let (small, large) = (content(seed, 100), content(seed + 1, 3 << 20));
    tree.insert("small", store.put_bytes(&small).unwrap()).unwrap();
    tree.insert("deep/er/large", store.put_bytes(&large).unwrap()).unwrap();
    let Entry::File { digest, size, .. } = store.put_bytes(&content(seed + 2, 9000)).unwrap() else { panic!() };
    tree.insert("deep/run", Entry::File { digest, size, executable: true }).unwrap();
    tree.insert("deep/link", Entry::Link { target: "../small".into() }).unwrap();
    tree.build(store).unwrap()
}

fn write(store: &Store, path: &Path, since: &[Pack], most: u64, outputs: &[&Entry]) -> pipe_cache::Written {
    let mut pack = PackWriter::begin(store, path, since, "a note").unwrap();
    for entry in outputs {
        assert!(pack.content(entry, &|size| size <= most).unwrap());
        let key = entry.digest().unwrap();
        pack.record(Kind::Manifest, &key, b"manifest").unwrap();
        pack.record(Kind::Record, &key, b"record").unwrap();
    }
    pack.end().unwrap()
}

/// Takes the trees that the records name, as the runner does.
fn take(packs: &[Pack], to: &Store) -> Result<Vec<Result<bool, String>>, PackError> {
    let mut shelf = Shelf::new(to, packs);
    let mut all = Vec::new();
    for pack in packs {
        for record in pack.records().iter().filter(|record| record.kind == Kind::Record) {
            pack.payload(record)?;
            let entry = Entry::Tree { digest: record.key };
            all.push(match shelf.shape(&entry)? {
                Ok(_) => Ok(shelf.take(&entry)?),
                Err(why) => Err(why),
            });
        }
    }
    Ok(all)
}

#[test]
fn what_was_written_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (store(folder.path(), "from"), store(folder.path(), "to"));
    let entry = output(&from, 1);
    let path = folder.path().join("a.pipepack");
    let written = write(&from, &path, &[], u64::MAX, &[&entry]);
    assert_eq!((written.blobs, written.records, written.left_out), (3, 2, 0));
    assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
    let pack = Pack::read(&path).unwrap();
    assert_eq!(pack.sections()[0].id, written.id);
    assert_eq!(pack.sections()[0].note, "a note");
    assert_eq!(take(&[pack], &to).unwrap(), [Ok(true)]);
    assert!(to.complete(&entry) && to.contains(&entry));
    to.copy_out(&entry, &folder.path().join("out")).unwrap();
    assert_eq!(fs::read(folder.path().join("out/deep/link")).unwrap(), content(1, 100));
    assert_eq!(fs::read(folder.path().join("out/deep/er/large")).unwrap(), content(2, 3 << 20));
    assert!(to.verify(|_| {}).unwrap().is_sound());
    // The same store and content give the same bytes.
    let again = folder.path().join("b.pipepack");
    assert_eq!(write(&from, &again, &[], u64::MAX, &[&entry]), written);
    assert!(fs::read(again).unwrap() == fs::read(path).unwrap());
}

#[test]
fn what_is_left_out_is_known_to_be_absent_and_never_taken_for_there() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (store(folder.path(), "from"), store(folder.path(), "to"));
    let entry = output(&from, 1);
    let path = folder.path().join("a.pipepack");
    let written = write(&from, &path, &[], 1 << 20, &[&entry]);
    assert_eq!((written.blobs, written.left_out, written.left_out_bytes), (2, 1, 3 << 20));
    assert!(written.bytes < 64 << 10);
    let pack = Pack::read(&path).unwrap();
    assert_eq!(Shelf::new(&to, std::slice::from_ref(&pack)).shape(&entry).unwrap().unwrap().absent, 1);
    assert_eq!(take(&[pack], &to).unwrap(), [Ok(false)]);
    assert!(!to.complete(&entry) && !to.contains(&entry) && to.outlined(&entry));
    // A key can still be made of a file in it.
    let large = to.lookup(&entry, "deep/er/large").unwrap().unwrap();
    assert!(!to.contains(&large));
    assert!(to.checkout(&entry).is_err(), "what is absent is no folder with a hole");
    assert!(to.verify(|_| {}).unwrap().is_sound());
    // What makes it again fills it in.
    assert_eq!(output(&to, 1), entry);
    assert!(to.complete(&entry) && to.contains(&entry));
    to.checkout(&entry).unwrap();
}

#[test]
fn a_delta_holds_what_is_new_and_needs_what_it_builds_on() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (store(folder.path(), "from"), store(folder.path(), "to"));
    let (old, new) = (output(&from, 1), output(&from, 2));
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    write(&from, &a, &[], u64::MAX, &[&old]);
    let base = [Pack::read(&a).unwrap()];
    let delta = write(&from, &b, &base, u64::MAX, &[&old, &new]);
    assert_eq!((delta.blobs, delta.records), (3, 4), "records are few, and their order counts");
    assert_eq!(Pack::read(&b).unwrap().sections()[0].since, [base[0].sections()[0].id]);
    let alone = take(&[Pack::read(&b).unwrap()], &to).unwrap();
    assert!(alone[0].as_ref().is_err_and(|why| why.contains("neither in the pack nor in the store")), "{alone:?}");
    let all = take(&[Pack::read(&a).unwrap(), Pack::read(&b).unwrap()], &to).unwrap();
    assert_eq!(all, [Ok(true), Ok(true), Ok(true)]);
    assert!(to.complete(&old) && to.complete(&new));
}

#[test]
fn packs_one_behind_the_other_are_a_pack() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (store(folder.path(), "from"), store(folder.path(), "to"));
    let (one, two) = (output(&from, 1), output(&from, 5));
    let (a, b, both) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("both"));
    write(&from, &a, &[], u64::MAX, &[&one]);
    write(&from, &b, &[], u64::MAX, &[&two]);
    fs::write(&both, [fs::read(&a).unwrap(), fs::read(&b).unwrap()].concat()).unwrap();
    let pack = Pack::read(&both).unwrap();
    assert_eq!(pack.sections().len(), 2);
    assert_eq!(take(&[pack], &to).unwrap(), [Ok(true), Ok(true)]);
    assert!(to.complete(&one) && to.complete(&two));
}

/// Frames written by hand, so that a hostile pack has sound checksums.
fn frame(kind: u8, key: &Digest, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xF1, b'p', b'f', 0x01];
    out.extend((payload.len() as u32).to_le_bytes());
    out.push(kind);
    out.extend(key.as_bytes());
    out.extend(payload);
    let sum = blake3::hash(&out);
    out.extend(&sum.as_bytes()[..16]);
    out
}

fn sealed(frames: &[(u8, Digest, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"pipe-pack 1\n".to_vec();
    for (kind, key, payload) in frames {
        out.extend(frame(*kind, key, payload));
    }
    let id = Digest::of(&out);
    out.extend(frame(END, &id, b""));
    out
}

fn parse(mut bytes: &[u8]) -> Vec<(u8, Digest, Vec<u8>)> {
    bytes = &bytes[12..];
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let key = Digest::from_bytes(bytes[9..41].try_into().unwrap());
        frames.push((bytes[8], key, bytes[41..41 + size].to_vec()));
        bytes = &bytes[41 + size + 16..];
    }
    frames.pop();
    frames
}

fn about() -> (u8, Digest, Vec<u8>) {
    (ABOUT, Digest::of(b""), b"{}".to_vec())
}

fn tree_frame(tree: &Tree) -> (u8, Digest, Vec<u8>) {
    (TREE, tree.digest(), tree.encode())
}

fn record_of(digest: Digest) -> (u8, Digest, Vec<u8>) {
    (16 + 1, digest, b"record".to_vec())
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("hostile");
        // A file that is written over is flushed by some file systems, and thousands of them take long.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Why a pack is refused as a whole.
    fn refused(&self, bytes: &[u8]) -> String {
        match Pack::read(&self.file(bytes)) {
            Ok(_) => panic!("it was read"),
            Err(error) => error.to_string(),
        }
    }

    /// Why the last record of a pack is refused.
    fn record_refused(&self, frames: &[(u8, Digest, Vec<u8>)]) -> String {
        let to = store(self.folder.path(), "to");
        let pack = Pack::read(&self.file(&sealed(frames))).unwrap();
        let before = to.usage().unwrap().packed;
        let why = take(&[pack], &to).unwrap().pop().unwrap().unwrap_err();
        assert_eq!(to.usage().unwrap().packed, before, "something was taken");
        why
    }
}

#[test]
fn what_is_no_pack_or_a_later_one_is_said_to_be_so() {
    let bench = Bench::new();
    assert!(bench.refused(b"").contains("is no pack"));
    assert!(bench.refused(b"PK\x03\x04 something else").contains("is no pack"));
    assert!(bench.refused(b"pipe-pack 2\n").contains("has format 2 at byte 0, and this `pipe` knows 1: update `pipe`"));
    assert!(bench.refused(b"pipe-pack 21\n").contains("has format 21"));
    assert!(bench.refused(b"pipe-pack x\n").contains("names no format"));
    assert!(bench.refused(b"pipe-pack 1\n").contains("at byte 12: the file ends before the pack does"));
    assert!(bench.refused(&[sealed(&[about()]), b"more".to_vec()].concat()).contains("stands something else"));
    let missing = Pack::read(&bench.folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("none"), "{missing}");
    assert!(Pack::read(bench.folder.path()).is_err(), "a folder is no pack");
}

#[test]
fn lengths_that_are_lies_cost_no_memory() {
    let bench = Bench::new();
    for (kind, claimed) in [(LAST, u32::MAX), (LAST, 2 << 20), (TREE, 200 << 20), (17, 60 << 20), (END, 1)] {
        let mut bytes = b"pipe-pack 1\n".to_vec();
        bytes.extend(frame(ABOUT, &Digest::of(b""), b"{}"));
        let mut head = frame(kind, &Digest::of(b"x"), b"");
        head[4..8].copy_from_slice(&claimed.to_le_bytes());
        bytes.extend(head);
        let why = bench.refused(&bytes);
        assert!(why.contains("claims") || why.contains("should begin") || why.contains("the file ends"), "{why}");
    }
}

#[test]
fn content_that_is_not_what_its_name_says_is_refused_though_its_checksums_hold() {
    let bench = Bench::new();
    let other = Digest::of(b"other");
    let good = Tree::new([("a".to_owned(), Entry::Link { target: "b".into() })]).unwrap();
    let refused = |frames: &[(u8, Digest, Vec<u8>)]| bench.refused(&sealed(frames));
    assert!(refused(&[about(), (LAST, other, b"x".to_vec())]).contains("a blob is not what its name says"));
    assert!(refused(&[about(), (TREE, other, good.encode())]).contains("a folder is not what its name says"));
    assert!(refused(&[about(), (3, other, b"x".to_vec())]).contains("a blob has no end"));
    assert!(refused(&[about(), (3, other, Vec::new())]).contains("a piece of a blob is empty"));
    assert!(
        refused(&[about(), (3, other, b"x".to_vec()), (LAST, Digest::of(b"y"), b"y".to_vec())]).contains("has no end")
    );
    assert!(refused(&[about(), about()]).contains("of kind 1, which no pack has"));
    assert!(refused(&[about(), (99, other, Vec::new())]).contains("of kind 99"));
    assert!(refused(&[(ABOUT, other, b"{".to_vec())]).contains("is not readable"));
    assert!(refused(&[record_of(other)]).contains("does not begin by saying what it is"));
    let mut wrong_end = sealed(&[about()]);
    let at = wrong_end.len() - frame(END, &other, b"").len();
    wrong_end.truncate(at);
    wrong_end.extend(frame(END, &other, b""));
    assert!(bench.refused(&wrong_end).contains("the section's digest is not the one at its end"));
    for name in ["..", "a/b", "", ".", "a\0b"] {
        let mut bytes = b"pipe-tree\x01".to_vec();
        bytes.push(3);
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.push(b'x');
        let digest = Digest::derive("pipe 2026 tree v1", &bytes);
        assert!(refused(&[about(), (TREE, digest, bytes)]).contains("that no folder may have"), "{name:?}");
    }
}

#[test]
fn trees_that_escape_or_explode_are_refused_with_the_reason() {
    let bench = Bench::new();
    let link = |target: &str| Tree::new([("l".to_owned(), Entry::Link { target: target.into() })]).unwrap();
    let above = |tree: &Tree| Tree::new([("d".to_owned(), Entry::Tree { digest: tree.digest() })]).unwrap();
    let alone = |tree: Tree| bench.record_refused(&[about(), tree_frame(&tree), record_of(tree.digest())]);
    assert_eq!(alone(link("../x")), "a link in it leads out of it");
    assert_eq!(alone(link("a/../../x")), "its link to `a/../../x` leads out of it");
    let (inner, outer) = (link("../../x"), above(&link("../../x")));
    let frames = [about(), tree_frame(&inner), tree_frame(&outer), record_of(outer.digest())];
    assert_eq!(bench.record_refused(&frames), "a link in it leads out of it");
    assert!(alone(above(&inner)).contains("is neither in the pack nor in the store"));

    // A million folders would be the same; each is one frame, and no stack grows with them.
    let mut frames = vec![about()];
    let mut tree = link("x");
    for _ in 0..1000 {
        frames.push(tree_frame(&tree));
        tree = above(&tree);
    }
    frames.extend([tree_frame(&tree), record_of(tree.digest())]);
    assert_eq!(bench.record_refused(&frames), "it is more than 128 folders deep");

    // 2⁶⁰ files in 61 frames.
    let mut frames = vec![about()];
    let mut tree = link("x");
    for _ in 0..60 {
        frames.push(tree_frame(&tree));
        let digest = tree.digest();
        tree = Tree::new(["a", "b"].map(|name| (name.to_owned(), Entry::Tree { digest }))).unwrap();
    }
    frames.extend([tree_frame(&tree), record_of(tree.digest())]);
    assert_eq!(bench.record_refused(&frames), "it holds more than 5000000 files and folders");

    let (digest, size) = (Digest::of(b"four"), 5);
    let tree = Tree::new([("f".to_owned(), Entry::File { digest, size, executable: false })]).unwrap();
    let frames = [about(), (LAST, digest, b"four".to_vec()), tree_frame(&tree), record_of(tree.digest())];
    assert!(bench.record_refused(&frames).contains("has 4 bytes, and 5 are said"));
}

/// A generator of its own: the same mutants everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

/// Thousands of changed packs, half of them with checksums made to fit: none panics, and nothing gets in that is not
/// what its name says.
#[test]
fn no_mutant_brings_anything_wrong_in() {
    let bench = Bench::new();
    let from = store(bench.folder.path(), "from");
    let mut builder = TreeBuilder::new();
    builder.insert("a/small", from.put_bytes(b"small").unwrap()).unwrap();
    builder.insert("a/large", from.put_bytes(&content(3, 6000)).unwrap()).unwrap();
    builder.insert("a/b/link", Entry::Link { target: "../small".into() }).unwrap();
    let entry = builder.build(&from).unwrap();
    let path = bench.folder.path().join("good");
    write(&from, &path, &[], u64::MAX, &[&entry]);
    let good = fs::read(&path).unwrap();
    let frames = parse(&good);
    assert_eq!(sealed(&frames), good, "what is parsed is what was written");

    let (mut dice, mut read, mut taken) = (Dice(7), 0, 0);
    let mut to = store(bench.folder.path(), "to-0");
    for round in 0..4000 {
        let mutant = if round % 2 == 0 {
            let mut bytes = good.clone();
            match dice.below(4) {
                0 => bytes.truncate(dice.below(good.len())),
                1 => {
                    let at = dice.below(good.len());
                    bytes[at] ^= 1 << dice.below(8);
                }
                2 => {
                    let (at, length) = (dice.below(good.len()), dice.below(80));
                    bytes.splice(at..at, std::iter::repeat_n(0xF1, length));
                }
                _ => {
                    let (at, end) = (dice.below(good.len()), dice.below(good.len()));
                    bytes.drain(at.min(end)..at.max(end));
                }
            }
            bytes
        } else {
            let mut frames = frames.clone();
            for _ in 0..=dice.below(2) {
                let at = dice.below(frames.len());
                match dice.below(6) {
                    0 => drop(frames.remove(at)),
                    1 => frames.insert(at, frames[dice.below(frames.len())].clone()),
                    2 => frames[at].0 = [1, 2, 3, 4, 16, 17, 18, 19, 22, 23, 254][dice.below(11)],
                    3 => {
                        let other = frames[dice.below(frames.len())].1;
                        frames[at].1 = other;
                    }
                    4 => {
                        let length = frames[at].2.len();
                        if let Some(byte) = frames[at].2.get_mut(dice.below(length)) {
                            *byte ^= 1 << dice.below(8);
                        }
                    }
                    _ => {
                        // The most that an attacker can do: a changed folder under its own, true name.
                        if frames[at].0 == TREE {
                            let place = dice.below(frames[at].2.len());
                            frames[at].2[place] ^= 1 << dice.below(8);
                            frames[at].1 = Digest::derive("pipe 2026 tree v1", &frames[at].2);
                        }
                    }
                }
                if frames.is_empty() {
                    break;
                }
            }
            sealed(&frames)
        };
        let Ok(pack) = Pack::read(&bench.file(&mutant)) else { continue };
        read += 1;
        let found = take(&[pack], &to).unwrap();
        taken += found.iter().filter(|found| found.is_ok()).count();
        if round % 500 == 499 {
            assert!(to.verify(|_| {}).unwrap().is_sound(), "round {round}");
            drop(to);
            to = store(bench.folder.path(), &format!("to-{round}"));
        }
    }
    assert!(to.verify(|_| {}).unwrap().is_sound());
    assert!(read > 100 && taken > 50, "the mutants are too wild to test anything: {read} read, {taken} taken");
    assert!(read < 2500, "the mutants are too tame: {read} read");
}
