//! Wheels made here, good and hostile: an attack corpus in which each case is refused by its reason.

use std::io::Cursor;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::super::control::uncontrolled;
use super::*;

/// An entry of a generated wheel.
struct Item {
    name: Vec<u8>,
    data: Vec<u8>,
    /// Unix mode with its kind; 0 for none.
    mode: u32,
    deflated: bool,
}

fn item(name: &str, data: &[u8]) -> Item {
    Item { name: name.into(), data: data.into(), mode: 0o100_644, deflated: true }
}

fn mode(name: &str, mode: u32) -> Item {
    Item { mode, ..item(name, b"#!x") }
}

fn folder(name: &str) -> Item {
    Item { name: name.into(), data: Vec::new(), mode: 0o040_755, deflated: false }
}

/// Writes a zip by hand, so that it can be wrong where a library would not let it be.
#[derive(Default)]
struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

impl Zip {
    fn of(items: &[Item]) -> Zip {
        let mut zip = Zip::default();
        items.iter().for_each(|item| zip.add(item));
        zip
    }

    fn add(&mut self, item: &Item) {
        let at = self.local(item);
        self.central(item, at);
    }

    fn packed(item: &Item) -> Vec<u8> {
        if !item.deflated {
            return item.data.clone();
        }
        let mut encoder = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        encoder.start_file("x", options).expect("a file");
        encoder.write_all(&item.data).expect("data");
        let mut archive = zip::ZipArchive::new(encoder.finish().expect("an archive")).expect("an archive");
        let mut raw = Vec::new();
        archive.by_index_raw(0).expect("the entry").read_to_end(&mut raw).expect("data");
        raw
    }

    fn crc(data: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in data {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320);
            }
        }
        !crc
    }

    /// What both headers share: versions to the lengths of name and extra field.
    fn common(item: &Item) -> Vec<u8> {
        let packed = Zip::packed(item).len() as u32;
        let method: u16 = if item.deflated { 8 } else { 0 };
        let utf8 = if item.name.is_ascii() { 0u16 } else { 0x800 };
        let mut bytes = Vec::new();
        for half in [20u16, utf8, method, 0, 0x21] {
            bytes.extend(half.to_le_bytes());
        }
        for word in [Zip::crc(&item.data), packed, item.data.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend((item.name.len() as u16).to_le_bytes());
        bytes.extend(0u16.to_le_bytes());
        bytes
    }

    fn local(&mut self, item: &Item) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(Zip::common(item));
        self.bytes.extend(&item.name);
        self.bytes.extend(Zip::packed(item));
        at
    }

    fn central(&mut self, item: &Item, at: u32) {
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend((3u16 << 8 | 20).to_le_bytes());
        self.directory.extend(Zip::common(item));
        self.directory.extend([0; 6]);
        self.directory.extend((item.mode << 16).to_le_bytes());
        self.directory.extend(at.to_le_bytes());
        self.directory.extend(&item.name);
        self.entries += 1;
    }

    fn end(&self, start: u32, comment: &[u8]) -> Vec<u8> {
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.entries.to_le_bytes());
        end.extend(self.entries.to_le_bytes());
        end.extend((self.directory.len() as u32).to_le_bytes());
        end.extend(start.to_le_bytes());
        end.extend((comment.len() as u16).to_le_bytes());
        end.extend(comment);
        end
    }

    fn finish(self) -> Vec<u8> {
        let end = self.end(self.bytes.len() as u32, b"");
        [self.bytes, self.directory, end].concat()
    }
}

/// A wheel `NAME-1.0` with these entries and the metadata that every wheel has.
fn wheel_of(name: &str, items: Vec<Item>) -> Vec<u8> {
    let mut all = vec![item(&format!("{name}-1.0.dist-info/METADATA"), b"Name: x\n")];
    all.extend(items);
    Zip::of(&all).finish()
}

/// Unpacks generated wheels in a folder of their own; gives back each path with its mode and content.
fn unpacked(wheels: &[(&str, Vec<u8>)], limits: Limits) -> Result<Vec<(String, bool, Vec<u8>)>, UnpackError> {
    let folder = tempfile::tempdir().expect("a folder");
    let wheels: Vec<Wheel> = wheels
        .iter()
        .map(|(name, bytes)| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("a wheel");
            Wheel { name: (*name).to_owned(), path }
        })
        .collect();
    let target = folder.path().join("deep/er/tree");
    fs::create_dir_all(target.parent().expect("a parent")).expect("folders");
    let two = NonZeroUsize::new(2).expect("not zero");
    let result = unpack(&wheels, &target, two, limits, &uncontrolled());
    assert!(!folder.path().join("evil").exists() && !folder.path().join("deep/evil").exists(), "it wrote outside");
    result?;
    let mut files = Vec::new();
    collect(&target, "", &mut files);
    Ok(files)
}

fn collect(folder: &Path, above: &str, files: &mut Vec<(String, bool, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a kind").is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            let executable = entry.metadata().expect("metadata").permissions().mode() & 0o111 != 0;
            files.push((path, executable, fs::read(entry.path()).expect("bytes")));
        }
    }
}

fn names(wheels: &[(&str, Vec<u8>)]) -> Vec<String> {
    let files = unpacked(wheels, Limits::default()).expect("it unpacks");
    files.into_iter().map(|(path, executable, _)| if executable { format!("{path}*") } else { path }).collect()
}

#[test]
fn a_wheel_goes_where_an_import_finds_it() {
    let wheel = wheel_of(
        "a",
        vec![
            item("a/__init__.py", b"1"),
            mode("a/bin/tool", 0o100_755),
            mode("a/plain", 0o755),
            folder("a/empty/"),
            item("a-1.0.data/purelib/a/pure.py", b"2"),
            item("a-1.0.data/platlib/a/plat.so", b"3"),
            item("a-1.0.data/scripts/a", b"4"),
            item("a-1.0.data/data/share/man/a.1", b"5"),
            item("a-1.0.data/headers/a.h", b"6"),
            item("a-1.0.dist-info/RECORD", b"7"),
        ],
    );
    let expected = [
        "a/__init__.py",
        "a/bin/tool*",
        "a/plain",
        "a/plat.so",
        "a/pure.py",
        "a-1.0.dist-info/METADATA",
        "a-1.0.dist-info/RECORD",
    ];
    let mut found = names(&[("a.whl", wheel)]);
    found.sort_by_key(|name| expected.iter().position(|wanted| wanted == name));
    assert_eq!(found, expected);
}

#[test]
fn wheels_may_share_folders_and_equal_files() {
    let one = wheel_of("a", vec![item("nvidia/__init__.py", b""), item("nvidia/a.so", b"a")]);
    let two = wheel_of("b", vec![item("nvidia/__init__.py", b""), item("nvidia/b.so", b"b")]);
    let found = names(&[("a.whl", one), ("b.whl", two)]);
    assert!(found.contains(&"nvidia/a.so".to_owned()) && found.contains(&"nvidia/b.so".to_owned()));
}

#[test]
fn the_order_of_wheels_and_entries_does_not_matter() {
    let files = |flip: bool| {
        let mut one = vec![item("a/x", b"x"), item("a/y", b"y")];
        let two = wheel_of("b", vec![item("b/z", &[7; 100_000])]);
        if flip {
            one.reverse();
        }
        let mut wheels = vec![("a.whl", wheel_of("a", one)), ("b.whl", two)];
        if flip {
            wheels.reverse();
        }
        unpacked(&wheels, Limits::default()).expect("it unpacks")
    };
    assert_eq!(files(false), files(true));
}

#[test]
fn what_the_zip_library_writes_is_read() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, data) in [("a-1.0.dist-info/METADATA", "x"), ("a/ü.py", "y")] {
        writer.start_file(name, options.large_file(true)).expect("a file");
        writer.write_all(data.as_bytes()).expect("data");
    }
    let bytes = writer.finish().expect("an archive").into_inner();
    assert_eq!(names(&[("a.whl", bytes)]).len(), 2);
}

/// One attack: what the wheel holds, and a part of the message.
fn refuses(items: Vec<Item>, expected: &str) {
    refuses_bytes(wheel_of("a", items), expected);
}

fn refuses_bytes(bytes: Vec<u8>, expected: &str) {
    let error = unpacked(&[("a.whl", bytes)], Limits::default()).expect_err(expected).to_string();
    assert!(error.contains(expected) && error.contains("`a.whl`"), "wanted `{expected}` in: {error}");
    assert!(!error.chars().any(char::is_control), "control characters in: {error:?}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "../evil",
        "../../evil",
        "a/../../evil",
        "a/..",
        "..",
        "./evil",
        "a/./b",
        "a/../b",
        ".",
        "a-1.0.data/purelib/../../evil",
    ] {
        refuses(vec![item(name, b"x")], "`.` or `..`");
    }
    for name in ["/evil", "/etc/passwd", "//evil"] {
        refuses(vec![item(name, b"x")], "absolute");
    }
    for name in ["a\\b", "..\\evil", "C:\\evil", "\\\\host\\share"] {
        refuses(vec![item(name, b"x")], "backslash");
    }
    for name in ["a//b", "a-1.0.data/purelib//evil"] {
        refuses(vec![item(name, b"x")], "empty part");
    }
    refuses(vec![folder("../evil/")], "`.` or `..`");
    refuses(vec![folder("/")], "");
}

#[test]
fn names_that_lie_to_a_terminal_are_refused() {
    for name in ["a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\tb", "a\u{85}b", "a\u{202e}b", "a\u{2066}b"] {
        refuses(vec![item(name, b"x")], "control character");
    }
}

#[test]
fn names_that_no_system_holds_are_refused() {
    refuses(vec![item(&"x".repeat(256), b"x")], "longer than 255");
    refuses(vec![item("xx/".repeat(1_500).trim_end_matches('/'), b"x")], "longer than 4,000");
    refuses(vec![Item { name: b"a\xff".to_vec(), ..item("", b"x") }], "");
    refuses(vec![item("", b"x")], "");
}

#[test]
fn kinds_other_than_files_and_folders_are_refused() {
    refuses(vec![mode("a/link", 0o120_777)], "symbolic link");
    for kind in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        refuses(vec![mode("a/special", kind | 0o644)], "neither a file nor a folder");
    }
    refuses(vec![mode("a/file", 0o040_755)], "folder by its name");
    refuses(vec![Item { mode: 0o100_644, ..folder("a/folder/") }], "folder by its name");
    refuses(vec![Item { data: b"x".to_vec(), ..folder("a/folder/") }], "folder with content");
}

#[test]
fn set_user_bits_do_not_survive() {
    let wheel = wheel_of("a", vec![mode("a/tool", 0o104_755)]);
    assert!(names(&[("a.whl", wheel)]).contains(&"a/tool*".to_owned()));
}

#[test]
fn one_path_twice_is_refused() {
    refuses(vec![item("a/x", b"1"), item("a/x", b"2")], "`a/x` comes twice");
    refuses(vec![item("a/x", b"1"), item("a/x", b"1")], "`a/x` comes twice");
    refuses(vec![item("a/x", b"1"), item("A/x", b"1")], "differ in case alone");
    refuses(vec![item("a/straße", b"1"), item("a/STRAßE", b"1")], "differ in case alone");
    refuses(vec![item("b/x", b"1"), item("a-1.0.data/purelib/b/x", b"2")], "both hold `b/x`");
    refuses(vec![item("b", b"1"), item("b/x", b"2")], "a file in wheel");
    refuses(vec![item("b/x", b"2"), item("b", b"1")], "a file in wheel");
    refuses(vec![item("b", b"1"), folder("b/")], "a file in wheel");
}

#[test]
fn wheels_that_contradict_each_other_are_refused_with_both_names() {
    let pairs = [
        ("x/y", "1", "x/y", "2", "both hold `x/y`"),
        ("x/y", "1", "X/z", "2", "differ in case alone"),
        ("x", "1", "x/y", "2", "is a file in wheel `a.whl` and a folder in wheel `b.whl`"),
    ];
    for (first, one, second, two, expected) in pairs {
        let wheels = [
            ("a.whl", wheel_of("a", vec![item(first, one.as_bytes())])),
            ("b.whl", wheel_of("b", vec![item(second, two.as_bytes())])),
        ];
        let error = unpacked(&wheels, Limits::default()).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("`a.whl`") && error.contains("`b.whl`"), "{error}");
    }
}

#[test]
fn equal_checksums_of_different_content_are_seen_through() {
    // Two texts of eight bytes with the same CRC-32: the second is the first exclusive-or the polynomial.
    let one = [0u8; 8];
    let mut two = one;
    for (at, byte) in [0x41u8, 0x06, 0x71, 0xdb, 0x01].into_iter().enumerate() {
        two[at] ^= byte;
    }
    let collides = Zip::crc(&one) == Zip::crc(&two);
    let wheels = [("a.whl", wheel_of("a", vec![item("x", &one)])), ("b.whl", wheel_of("b", vec![item("x", &two)]))];
    assert!(collides, "the texts are made to collide");
    assert!(matches!(unpacked(&wheels, Limits::default()), Err(UnpackError::Conflict { .. })));
}

#[test]
fn what_is_no_wheel_is_refused() {
    refuses_bytes(Vec::new(), "does not end in the end record");
    refuses_bytes(b"<html>not found</html>, in more than twenty-two bytes".to_vec(), "does not end in the end record");
    refuses_bytes(Zip::of(&[item("a/x", b"x")]).finish(), "0 `.dist-info` folders");
    refuses(vec![item("b-2.0.dist-info/METADATA", b"x")], "2 `.dist-info` folders");
    refuses(vec![item("a-1.0.data/elsewhere/x", b"x")], "no specification knows");
}

#[test]
fn archives_that_two_readers_see_differently_are_refused() {
    let good = || Zip::of(&[item("a-1.0.dist-info/METADATA", b"x"), item("a/x", b"good")]);
    let bytes = good().finish();

    refuses_bytes(bytes[..bytes.len() - 1].to_vec(), "end record");
    refuses_bytes([&bytes[..], b"tail"].concat(), "end record");
    refuses_bytes([b"#!/bin/sh\n", &bytes[..]].concat(), "");
    refuses_bytes([&bytes[..], &bytes[..]].concat(), "");

    // A second end record in the comment of the first, each with its own directory.
    let zip = good();
    let start = zip.bytes.len() as u32;
    let inner = zip.end(start, b"");
    refuses_bytes([zip.bytes.clone(), zip.directory.clone(), zip.end(start, &inner), inner].concat(), "");
    refuses_bytes([zip.bytes.clone(), zip.directory.clone(), zip.end(start, b"hello")].concat(), "end record");

    // A byte between directory and end.
    refuses_bytes(
        [zip.bytes.clone(), zip.directory.clone(), vec![0], zip.end(start, b"")].concat(),
        "size of the directory",
    );

    // One entry more, and one less, than there are.
    for entries in [1, 3] {
        let zip = Zip { entries, ..good() };
        refuses_bytes(zip.finish(), "number of entries");
    }

    // A local header with another name than the central one.
    let mut zip = good();
    let at = zip.local(&item("a/innocent", b"x"));
    zip.central(&item("a/harmful1", b"x"), at);
    refuses_bytes(zip.finish(), "mismatch");

    // A file that only a reader of local headers sees.
    let mut zip = good();
    zip.local(&item("a/hidden", b"x"));
    refuses_bytes(zip.finish(), "missing from central directory");

    // Two entries over the same bytes.
    let mut zip = good();
    let at = zip.local(&item("a/y", b"y"));
    zip.central(&item("a/y", b"y"), at);
    zip.central(&item("a/z", b"y"), at);
    refuses_bytes(zip.finish(), "");

    // A directory offset that leads into the middle of it.
    let zip = good();
    let end = zip.end(start + 1, b"");
    refuses_bytes([zip.bytes, zip.directory, end].concat(), "");
}

#[test]
fn data_that_are_not_what_the_headers_say_are_refused() {
    let lie = |change: fn(&mut [u8])| {
        let data = item("a/x", &[b'x'; 1000]);
        let mut zip = Zip::of(&[item("a-1.0.dist-info/METADATA", b"x")]);
        let at = zip.local(&data);
        zip.central(&data, at);
        // Both headers tell the same lie, so that only the data can tell.
        let central = zip.directory.len() - 46 - 3;
        change(&mut zip.bytes[at as usize + 4..]);
        change(&mut zip.directory[central + 6..]);
        zip.finish()
    };
    refuses_bytes(lie(|common| common[10] ^= 1), "can't be unpacked");
    refuses_bytes(lie(|common| common[18] -= 1), "can't be unpacked");
    refuses_bytes(lie(|common| common[18] += 1), "");
    // Encrypted, and packed by a method that nobody uses.
    refuses_bytes(lie(|common| common[2] |= 1), "");
    refuses_bytes(lie(|common| common[4] = 99), "");
}

#[test]
fn bombs_end_at_the_limits() {
    let limits = Limits { bytes: 1 << 20, entries: 50, ratio: 10, ratio_floor: 1 << 16 };
    let refuse = |items: Vec<Item>, expected: &str| {
        let error = unpacked(&[("a.whl", wheel_of("a", items))], limits).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(vec![item("a/bomb", &vec![0; 100_000])], "would become 100008 bytes");
    refuse((0..60).map(|n| item(&format!("a/{n}"), b"")).collect(), "61 entries");
    let stored = |n: usize| Item { deflated: false, ..item(&format!("a/{n}"), &vec![1; 400_000]) };
    refuse((0..3).map(stored).collect(), "over the limit of 1048576");
    let small = vec![item("a/dense", &vec![0; 60_000])];
    assert!(unpacked(&[("a.whl", wheel_of("a", small))], limits).is_ok(), "below the floor any ratio goes");
}

#[test]
fn a_stop_from_outside_ends_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.whl");
    fs::write(&path, wheel_of("a", vec![item("a/x", b"x")])).expect("a wheel");
    let stop = AtomicBool::new(true);
    let wheels = [Wheel { name: "a.whl".into(), path }];
    let one = NonZeroUsize::new(1).expect("not zero");
    let result = unpack(&wheels, &folder.path().join("tree"), one, Limits::default(), &Control::new(&stop, &|_| ()));
    assert!(matches!(result, Err(UnpackError::Stopped)));
}
