//! Trees of parts, and the loader played against ELF files that are made here and against a real program.

use std::path::Path;

use super::super::closure::MissingLibrary;
use super::super::host_libraries;
use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    (folder, store)
}

/// A stored tree of these files.
fn tree(store: &Store, files: &[(&str, &[u8])]) -> Entry {
    let mut tree = TreeBuilder::new();
    for (path, bytes) in files {
        tree.insert(path, store.put_bytes(bytes).expect("a file")).expect("a place");
    }
    tree.build(store).expect("a tree")
}

fn part(at: &str, what: PartWhat) -> Part {
    Part { at: at.to_owned(), what }
}

fn matching(folder: &Entry, pattern: &str) -> PartWhat {
    PartWhat::Matching { folder: folder.clone(), pattern: pattern.to_owned() }
}

fn listing(store: &Store, entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    let visit = |path: &str, entry: &Entry| match entry {
        Entry::Link { target } => lines.push(format!("{path} -> {target}")),
        Entry::File { size, .. } => lines.push(format!("{path} {size}")),
        Entry::Tree { .. } => {}
    };
    store.walk(entry, visit).expect("a walk");
    lines
}

#[test]
fn parts_go_where_they_are_put() {
    let (_folder, store) = store();
    let one = tree(&store, &[("a/x", b"1"), ("a/y", b"22")]);
    let wheel = tree(&store, &[("libonnxruntime.so.1.31.1", b"333"), ("other", b"")]);
    let parts = [
        part("", PartWhat::Entry(one.clone())),
        part("deep/er", PartWhat::Entry(one.clone())),
        part("lib/libonnxruntime.so", matching(&wheel, "libonnxruntime.so.*")),
        part("lib/", matching(&wheel, "libonnxruntime.so.*")),
        part("lib/liblink.so", PartWhat::Link("libonnxruntime.so".to_owned())),
        part("version", PartWhat::Text("4444".to_owned())),
    ];
    let built = build(&store, &parts, &[]).expect("a tree");
    let expected = [
        "a/x 1",
        "a/y 2",
        "deep/er/a/x 1",
        "deep/er/a/y 2",
        "lib/liblink.so -> libonnxruntime.so",
        "lib/libonnxruntime.so 3",
        "lib/libonnxruntime.so.1.31.1 3",
        "version 4",
    ];
    assert_eq!(listing(&store, &built), expected);
    let mut reversed = parts.to_vec();
    reversed.reverse();
    assert_eq!(build(&store, &reversed, &[]).expect("a tree"), built, "the order of parts does not matter");
}

#[test]
fn a_pattern_must_match_one_file_and_the_candidates_are_told() {
    let (_folder, store) = store();
    let wheel = tree(&store, &[("lib.so.1", b"a"), ("lib.so.2", b"b"), ("sub/lib.so.3", b"c")]);
    let message = |pattern: &str| {
        build(&store, &[part("lib/x", matching(&wheel, pattern))], &[]).expect_err("an error").to_string()
    };
    let two = message("lib.so.*");
    assert!(two.contains("matches 2 (`lib.so.1`, `lib.so.2`)"), "{two}");
    assert!(message("lib.so.3").contains("matches none; there are `lib.so.1`, `lib.so.2`"));
    let file = store.put_bytes(b"x").expect("a file");
    let error = build(&store, &[part("x", matching(&file, "*"))], &[]);
    assert!(matches!(error, Err(TreeError::NoFolder { .. })));
}

#[test]
fn what_can_not_be_put_is_told() {
    let (_folder, store) = store();
    let file = store.put_bytes(b"x").expect("a file");
    assert!(matches!(build(&store, &[part("", PartWhat::Entry(file.clone()))], &[]), Err(TreeError::NoPlace)));
    for at in ["../x", "/x", "a/../x"] {
        assert!(
            matches!(build(&store, &[part(at, PartWhat::Entry(file.clone()))], &[]), Err(TreeError::Store(_))),
            "{at}"
        );
    }
    let twice = [part("x", PartWhat::Entry(file)), part("x", PartWhat::Text("y".to_owned()))];
    assert!(matches!(build(&store, &twice, &[]), Err(TreeError::Store(_))));
}

/// An ELF file for x86-64 with just what the loader reads.
struct FakeElf<'a> {
    interpreter: Option<&'a str>,
    name: Option<&'a str>,
    needed: &'a [&'a str],
    rpath: Option<&'a str>,
    runpath: Option<&'a str>,
}

const LIBRARY: FakeElf<'static> = FakeElf { interpreter: None, name: None, needed: &[], rpath: None, runpath: None };

impl FakeElf<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut entries: Vec<(u64, u64)> = Vec::new();
        let mut add = |tag: u64, text: &str| {
            entries.push((tag, strings.len() as u64));
            strings.extend(text.as_bytes());
            strings.push(0);
        };
        self.needed.iter().for_each(|needed| add(1, needed));
        self.name.iter().for_each(|name| add(14, name));
        self.rpath.iter().for_each(|path| add(15, path));
        self.runpath.iter().for_each(|path| add(29, path));
        let interpreter = self.interpreter.map_or_else(Vec::new, |text| [text.as_bytes(), b"\0"].concat());
        let count = 2 + u64::from(self.interpreter.is_some());
        let strings_at = 64 + 56 * count;
        let interpreter_at = strings_at + strings.len() as u64;
        let dynamic_at = (interpreter_at + interpreter.len() as u64).next_multiple_of(8);
        entries.extend([(5, strings_at), (10, strings.len() as u64), (0, 0)]);
        let dynamic_size = 16 * entries.len() as u64;
        let end = dynamic_at + dynamic_size;

        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        bytes.extend([0u64, 64, 0].into_iter().flat_map(u64::to_le_bytes));
        bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, count as u8, 0, 64, 0, 0, 0, 0, 0]);
        let mut segment = |kind: u32, at: u64, size: u64| {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4u32.to_le_bytes());
            bytes.extend([at, at, at, size, size, 8].into_iter().flat_map(u64::to_le_bytes));
        };
        segment(1, 0, end);
        segment(2, dynamic_at, dynamic_size);
        if self.interpreter.is_some() {
            segment(3, interpreter_at, interpreter.len() as u64);
        }
        bytes.extend(strings);
        bytes.extend(interpreter);
        bytes.resize(dynamic_at as usize, 0);
        bytes.extend(entries.into_iter().flat_map(|(tag, value)| [tag, value]).flat_map(u64::to_le_bytes));
        bytes
    }
}

const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// A loader as Debian builds it.
fn loader() -> Vec<u8> {
    let mut bytes = FakeElf { name: Some("ld-linux-x86-64.so.2"), ..LIBRARY }.bytes();
    bytes.extend(b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0");
    bytes
}

/// What is missing in a tree of these files.
fn missing(files: &[(&str, Vec<u8>)], links: &[(&str, &str)]) -> Vec<(String, String)> {
    let (_folder, store) = store();
    let mut tree = TreeBuilder::new();
    for (path, bytes) in files {
        tree.insert(path, store.put_bytes(bytes).expect("a file")).expect("a place");
    }
    for (path, target) in links {
        tree.insert(path, Entry::Link { target: (*target).to_owned() }).expect("a place");
    }
    let entry = tree.build(&store).expect("a tree");
    match closure::check(&store, &entry) {
        Ok(()) => Vec::new(),
        Err(ClosureError::Missing(list)) => {
            list.into_iter().map(|MissingLibrary { library, needed_by }| (library, needed_by)).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

fn program<'a>(needed: &'a [&'a str]) -> FakeElf<'a> {
    FakeElf { interpreter: Some("/lib64/ld-linux-x86-64.so.2"), needed, ..LIBRARY }
}

fn pair(library: &str, needed_by: &str) -> (String, String) {
    (library.to_owned(), needed_by.to_owned())
}

#[test]
fn a_complete_tree_is_complete() {
    let engine = FakeElf { runpath: Some("$ORIGIN/../lib"), ..program(&["liba.so.1", "libc.so.6"]) };
    let a = FakeElf { needed: &["libb.so", "ld-linux-x86-64.so.2"], runpath: Some("${ORIGIN}"), ..LIBRARY };
    let files = [
        ("bin/engine", engine.bytes()),
        ("lib/liba.so.1.2.3", a.bytes()),
        ("lib/libb.so", LIBRARY.bytes()),
        ("lib/x86_64-linux-gnu/libc.so.6", LIBRARY.bytes()),
        (LOADER, loader()),
        ("share/text", b"no program at all, and longer than a header of sixty-four bytes, too".to_vec()),
    ];
    assert_eq!(missing(&files, &[("lib/liba.so.1", "liba.so.1.2.3")]), []);
}

#[test]
fn what_is_missing_is_named_with_who_needs_it() {
    let files = [("bin/engine", program(&["libc.so.6", "libm.so.6"]).bytes()), (LOADER, loader())];
    assert_eq!(missing(&files, &[]), [pair("libc.so.6", "bin/engine"), pair("libm.so.6", "bin/engine")]);
    let no_loader = [("bin/engine", program(&[]).bytes())];
    assert_eq!(missing(&no_loader, &[]), [pair("/lib64/ld-linux-x86-64.so.2", "bin/engine")]);
    let indirect = FakeElf { needed: &["libz.so.1"], ..LIBRARY }.bytes();
    let files = [("bin/engine", program(&["libc.so.6"]).bytes()), ("lib/libc.so.6", indirect), (LOADER, loader())];
    assert_eq!(missing(&files, &[]), [pair("libz.so.1", "lib/libc.so.6")]);
}

#[test]
fn a_library_elsewhere_in_the_tree_does_not_count() {
    let files = [("bin/engine", program(&["liba.so"]).bytes()), ("opt/liba.so", LIBRARY.bytes()), (LOADER, loader())];
    assert_eq!(missing(&files, &[]), [pair("liba.so", "bin/engine")]);
    let relative = FakeElf { runpath: Some("opt:$LIB/x"), ..program(&["liba.so"]) };
    let files = [("bin/engine", relative.bytes()), files[1].clone(), (LOADER, loader())];
    assert_eq!(missing(&files, &[]), [pair("liba.so", "bin/engine")], "a relative folder depends on where it starts");
}

#[test]
fn an_rpath_counts_for_what_is_loaded_and_a_runpath_does_not() {
    let a = FakeElf { needed: &["libb.so"], ..LIBRARY };
    let tree = |engine: FakeElf<'_>| {
        [
            ("bin/engine", engine.bytes()),
            ("own/liba.so", a.bytes()),
            ("own/libb.so", LIBRARY.bytes()),
            (LOADER, loader()),
        ]
    };
    let by_rpath = FakeElf { rpath: Some("$ORIGIN/../own"), ..program(&["liba.so"]) };
    assert_eq!(missing(&tree(by_rpath), &[]), []);
    let by_runpath = FakeElf { runpath: Some("$ORIGIN/../own"), ..program(&["liba.so"]) };
    assert_eq!(missing(&tree(by_runpath), &[]), [pair("libb.so", "own/liba.so")]);
}

#[test]
fn libraries_that_nothing_links_are_checked_on_their_own() {
    let opened = FakeElf { needed: &["libgone.so"], ..LIBRARY };
    assert_eq!(missing(&[("lib/libopened.so", opened.bytes())], &[]), [pair("libgone.so", "lib/libopened.so")]);
}

#[test]
fn links_in_circles_lead_nowhere_and_broken_files_are_told() {
    let files = [("bin/engine", program(&["liba.so"]).bytes()), (LOADER, loader())];
    assert_eq!(
        missing(&files, &[("lib/liba.so", "libb.so"), ("lib/libb.so", "liba.so")]),
        [pair("liba.so", "bin/engine")]
    );
    let (_folder, store) = store();
    let mut broken = program(&[]).bytes();
    broken[32] = 0xff;
    broken[39] = 0x7f;
    let entry = tree(&store, &[("bin/engine", &broken)]);
    assert!(matches!(closure::check(&store, &entry), Err(ClosureError::Broken { .. })));
}

/// The test program itself is a real program of this machine.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_real_program_with_the_libraries_of_this_machine() {
    let (_folder, store) = store();
    let bytes = std::fs::read(std::env::current_exe().expect("a path")).expect("a program");
    let elf = super::super::elf::parse(&bytes[..]).expect("readable").expect("a program");
    let loader = elf.interpreter.as_deref().and_then(|path| path.rsplit('/').next()).expect("a loader").to_owned();
    let mut names = elf.needed.clone();
    names.push(loader);
    names.sort();
    names.dedup();
    let resolve =
        |names: &[String]| host_libraries::resolve(names, Path::new("/"), std::env::consts::ARCH).expect("libraries");
    let program = part("bin/program", PartWhat::Entry(store.put_bytes(&bytes).expect("a file")));
    build(&store, std::slice::from_ref(&program), &resolve(&names)).expect("a complete tree");

    let without: Vec<String> = names.iter().filter(|name| *name != "libc.so.6").cloned().collect();
    let error = build(&store, &[program], &resolve(&without)).expect_err("no C library").to_string();
    assert!(error.contains("`bin/program` needs `libc.so.6`"), "{error}");

    let parts = host_libraries::key_parts(&resolve(&names), &store).expect("digests");
    assert_eq!(parts.keys().cloned().collect::<Vec<_>>(), names);
    let gone = host_libraries::resolve(&["libgone.so.9".to_owned()], Path::new("/"), std::env::consts::ARCH);
    assert!(gone.expect_err("no such library").to_string().contains("`libgone.so.9`"));
}
