//! Content larger than memory: it goes in and out in a bounded resident set, and holes stay holes. The only test of
//! its process, whose peak it looks at.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use pipe_cache::{Entry, Store};

const SIZE: u64 = 384 << 20;
/// What `b3sum` says of that content.
const B3SUM: &str = "1ac9f4b82525861d7cf82ac7e01731501adba38b91508d66dc504ba0e0419488";

/// The largest resident set so far, in MiB; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[test]
fn content_larger_than_memory_streams() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let before = peak();
    let path = folder.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"in the middle", SIZE / 2 + 4321).unwrap();
    let hashed = store.hash_file(&path).unwrap();
    let Entry::File { digest, size, .. } = &hashed else { panic!("{hashed:?}") };
    assert_eq!(*size, SIZE);
    // What any other tool says: the digest is BLAKE3 of the content, however it was read.
    assert_eq!(digest.to_string(), B3SUM);
    let mut part = [0; 13];
    assert_eq!(store.put_file(&path, false).unwrap(), hashed);
    let out = store.workdir().unwrap().keep().join("out");
    fs::create_dir(&out).unwrap();
    fs::copy(&path, out.join("x")).unwrap();
    let tree = store.take_tree(&out).unwrap();
    let back = folder.path().join("back");
    store.copy_out(&hashed, &back).unwrap();
    let checkout = store.checkout(&tree).unwrap().join("x");
    drop(store);
    let again = folder.path().join("again");
    Store::open(&folder.path().join("store")).unwrap().copy_out(&hashed, &again).unwrap();
    for path in [&back, &checkout, &again] {
        let file = File::open(path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SIZE);
        file.read_exact_at(&mut part, SIZE / 2 + 4321).unwrap();
        assert_eq!(&part, b"in the middle");
    }
    let room: u64 = [&checkout, &again].iter().map(|path| path.metadata().unwrap().blocks() * 512).sum();
    assert!(room < 16 << 20, "{room} bytes on disk for a few bytes and a hole");
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after < before + 64, "{before} MiB before, {after} MiB at most");
    }
}
