//! How fast the store moves data, beside `b3sum`, `cp` and `sync` in the same rounds:
//! `cargo bench --bench data [-- FOLDER]`.
//!
//! Everything lies in FOLDER, by default in the folder for temporary files; for rows with many files a memory disk or
//! XFS says more than a busy ext4. Each figure is the least of several rounds, in which the peers alternate, with a
//! warm page cache; it prints a table with what was asked for, and judges nothing else. A peer that is not installed is
//! passed over with its row.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a benchmark prints its table, and starts what it is compared with"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use pipe_cache::{Entry, Store};

const LARGE: u64 = 1 << 30;
const FILES: usize = 10_000;
const ROUNDS: usize = 5;

/// A row of the table: what was measured, what was asked for, and what it is compared with.
struct Row {
    what: &'static str,
    seconds: f64,
    must: Must,
}

enum Must {
    Seconds(f64),
    /// At most so many times what a peer took.
    Times(f64, &'static str, Option<f64>),
    Nothing,
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let place = tempfile::Builder::new().prefix("pipe-data-").tempdir_in(&base).expect("a folder to work in");
    println!("least of {ROUNDS} rounds, {LARGE} bytes and {FILES} files of 4 KiB, in {}", base.display());
    println!("{:44} {:>10}  {:28} met", "", "ms", "must");
    for row in large(place.path()).into_iter().chain(many(place.path())) {
        print(&row);
    }
}

fn print(row: &Row) {
    let ms = row.seconds * 1e3;
    let (asked, met) = match row.must {
        Must::Seconds(most) => (format!("{:.0} ms", most * 1e3), Some(row.seconds <= most)),
        Must::Times(times, peer, Some(theirs)) => {
            let ratio = row.seconds / theirs;
            (format!("{times:.2} x {peer} {:.0} ms: {ratio:.2}", theirs * 1e3), Some(ratio <= times))
        }
        Must::Times(times, peer, None) => (format!("{times:.2} x {peer}, which is not here"), None),
        Must::Nothing => (String::new(), None),
    };
    println!("{:44} {ms:10.1}  {asked:28} {}", row.what, met.map_or("", |met| if met { "yes" } else { "NO" }));
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64(), result)
}

/// The least of several times.
#[derive(Clone, Copy)]
struct Least(f64);

impl Least {
    fn new() -> Self {
        Self(f64::INFINITY)
    }

    fn add(&mut self, seconds: f64) {
        self.0 = self.0.min(seconds);
    }

    fn known(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }
}

/// Runs a peer to its end; `None` if it is not here.
fn peer(program: &str, arguments: &[&str]) -> Option<f64> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(std::process::Stdio::null());
    let (seconds, status) = timed(|| command.status());
    status.ok().filter(|status| status.success()).map(|_| seconds)
}

/// Bytes that no disk makes smaller.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn sync() {
    let _ = peer("sync", &[]);
}

fn large(place: &Path) -> Vec<Row> {
    let source = place.join("large");
    let bytes = noise(LARGE as usize, 1);
    fs::write(&source, &bytes).expect("room");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let [mut hash, mut b3sum, mut take, mut cp_sync, mut reflink, mut copy, mut cp, mut fresh] = [Least::new(); 8];
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    for round in 0..ROUNDS {
        let root = place.join(format!("store{round}"));
        let store = Store::open(&root).expect("a store");
        hash.add(timed(|| store.hash_file(&source).expect("hashed")).0);
        if let Some(seconds) = peer("b3sum", &["--num-threads", &threads, &text(&source)]) {
            b3sum.add(seconds);
        }
        let work = store.workdir().expect("a folder");
        let out = work.path().join("out");
        fs::create_dir(&out).expect("a folder");
        sync();
        // As a step leaves it: written, and not yet on the disk.
        fs::write(out.join("large"), &bytes).expect("room");
        let (seconds, entry) = timed(|| store.take_tree(&out).expect("stored"));
        take.add(seconds);
        let copied = place.join("copied");
        sync();
        let done = peer("cp", &["--reflink=never", &text(&source), &text(&copied)]);
        let synced = peer("sync", &[&text(&copied)]);
        if let (Some(done), Some(synced)) = (done, synced) {
            cp_sync.add(done + synced);
            cp.add(done);
        }
        let _ = fs::remove_file(&copied);
        let back = place.join("back");
        let (seconds, ()) = timed(|| store.copy_out(&entry, &back).expect("given back"));
        if shares(&store, &entry, &back) {
            reflink.add(seconds)
        } else {
            copy.add(seconds)
        }
        fs::remove_dir_all(&back).expect("removed");
        drop(store);
        let store = Store::open(&root).expect("a store");
        fresh.add(timed(|| store.copy_out(&entry, &back).expect("given back")).0);
        fs::remove_dir_all(&back).expect("removed");
        drop(store);
        fs::remove_dir_all(&root).expect("removed");
    }
    fs::remove_file(&source).expect("removed");
    let mut rows = vec![
        Row { what: "hash 1 GiB", seconds: hash.0, must: Must::Times(1.0 / 0.9, "b3sum", b3sum.known()) },
        Row {
            what: "store 1 GiB, durable and visible",
            seconds: take.0,
            must: Must::Times(1.2, "cp + sync", cp_sync.known()),
        },
    ];
    if reflink.known().is_some() {
        rows.push(Row { what: "give back 1 GiB, reflink", seconds: reflink.0, must: Must::Seconds(0.010) });
    }
    if copy.known().is_some() {
        rows.push(Row { what: "give back 1 GiB, copy", seconds: copy.0, must: Must::Times(1.2, "cp", cp.known()) });
    }
    rows.push(Row { what: "the same in a new process, verified first", seconds: fresh.0, must: Must::Nothing });
    rows
}

/// Whether the disk shares the bytes: a copy of them takes free space, sharing them does not.
fn shares(store: &Store, entry: &Entry, back: &Path) -> bool {
    let before = store.free_space().unwrap_or(0);
    let again = back.with_extension("again");
    let _ = store.copy_out(entry, &again);
    sync();
    let after = store.free_space().unwrap_or(0);
    let _ = fs::remove_dir_all(&again);
    before.saturating_sub(after) < LARGE / 2
}

fn many(place: &Path) -> Vec<Row> {
    let [mut hash, mut take, mut checkout, mut again, mut look, mut copy] = [Least::new(); 6];
    let source = place.join("many");
    fill(&source);
    for round in 0..ROUNDS {
        let root = place.join(format!("small{round}"));
        let store = Store::open(&root).expect("a store");
        hash.add(timed(|| store.hash_tree(&source).expect("hashed")).0);
        let work = store.workdir().expect("a folder");
        let out = work.path().join("out");
        fill(&out);
        sync();
        let (seconds, entry) = timed(|| store.take_tree(&out).expect("stored"));
        take.add(seconds);
        checkout.add(timed(|| store.checkout(&entry).expect("checked out")).0);
        again.add(timed(|| store.checkout(&entry).expect("checked out")).0);
        let other = Store::open(&root).expect("the store as another process has it");
        look.add(timed(|| other.checkout(&entry).expect("looked at")).0);
        let back = place.join("back");
        copy.add(timed(|| store.copy_out(&entry, &back).expect("given back")).0);
        fs::remove_dir_all(&back).expect("removed");
        drop((work, store));
        drop(Command::new("rm").arg("-rf").arg(&root).status());
    }
    // The stat cache believes a file once it is two seconds old.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let root = place.join("stat");
    drop(Store::open(&root).expect("a store").hash_tree(&source).expect("hashed"));
    let mut unchanged = Least::new();
    for _ in 0..ROUNDS {
        let store = Store::open(&root).expect("a store");
        unchanged.add(timed(|| store.hash_tree(&source).expect("hashed")).0);
    }
    vec![
        Row { what: "hash a tree of 10,000 files", seconds: hash.0, must: Must::Seconds(0.1) },
        Row { what: "the same unchanged, in a new process", seconds: unchanged.0, must: Must::Seconds(0.04) },
        Row { what: "store 10,000 files, durable", seconds: take.0, must: Must::Nothing },
        Row { what: "give back 10,000 files, a first checkout", seconds: checkout.0, must: Must::Seconds(0.2) },
        Row { what: "the same to the next step, shared", seconds: again.0, must: Must::Seconds(0.2) },
        Row { what: "the same in a new process, looked at", seconds: look.0, must: Must::Seconds(0.04) },
        Row { what: "give back 10,000 files, copy", seconds: copy.0, must: Must::Seconds(0.5) },
    ]
}

fn fill(folder: &Path) {
    let bytes = noise(FILES + 4096, 2);
    for at in 0..FILES {
        let above = folder.join(format!("d{}", at / 100));
        if at % 100 == 0 {
            fs::create_dir_all(&above).expect("a folder");
        }
        fs::write(above.join(format!("f{at}")), &bytes[at..at + 4096]).expect("room");
    }
}
