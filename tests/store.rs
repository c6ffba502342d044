//! `pipe store`: making room, holding on to results, and mending, as a person does it.

#[expect(dead_code, reason = "nothing is measured here, and so no engine is needed")]
mod common;

use std::fs;
use std::path::PathBuf;

use common::Place;

/// `big` makes so many bytes quickly, `slow` takes its time for so many.
fn steps(place: &Place, sizes: [u32; 2]) {
    let text = format!(
        "pipeline \"p\"\n\
         step \"big\" {{ run \"sh\" \"-c\" \"head -c {} /dev/zero > out/x\"; output \"x\"; }}\n\
         step \"slow\" {{ run \"sh\" \"-c\" \"sleep 0.3; head -c {} /dev/zero | tr '\\\\0' a > out/x\"; output \"x\"; }}\n",
        sizes[0], sizes[1]
    );
    place.write("p.kdl", &text);
}

fn blobs(place: &Place) -> Vec<PathBuf> {
    let folders = fs::read_dir(place.path().join("store/blobs")).expect("blobs").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    files.map(|file| file.path()).collect()
}

fn ran(place: &Place) -> String {
    let said = place.pipe(&["run", "p.kdl"]).expect(0);
    said.err.lines().last().unwrap_or_default().split(" unavailable").next().unwrap_or_default().to_owned()
}

#[test]
fn room_is_made_by_what_is_cheapest_to_make_again() {
    let place = Place::new();
    steps(&place, [3_000_000, 9000]);
    assert_eq!(ran(&place), "2 ran, 0 cached, 0");
    let dry = place.pipe(&["store", "gc", "--max-size", "1MB", "--keep-runs", "0", "--dry-run"]).expect(0);
    assert!(
        dry.out.contains("big of p") && !dry.out.contains("slow of p") && dry.out.contains("would be freed"),
        "{}",
        dry.out
    );
    assert_eq!(ran(&place), "0 ran, 2 cached, 0");
    // The last run of a pipeline holds its results, and says so where the size is not met.
    let held = place.pipe(&["store", "gc", "--max-size", "1MB"]).expect(0);
    assert!(held.out.contains("stay, more than") && held.out.contains("--keep-runs 0"), "{}", held.out);
    place.pipe(&["store", "gc", "--max-size", "1MB", "--keep-runs", "0"]).expect(0);
    assert_eq!(blobs(&place).len(), 1);
    assert_eq!(ran(&place), "1 ran, 1 cached, 0");
}

#[test]
fn old_results_go_and_pinned_ones_stay() {
    let place = Place::new();
    steps(&place, [3_000_000, 9000]);
    ran(&place);
    place.pipe(&["store", "pin", "big"]).expect(0);
    let pins = place.pipe(&["store", "pins"]).expect(0).out;
    assert!(pins.contains("big of p"), "{pins}");
    steps(&place, [3_000_001, 9001]);
    assert_eq!(ran(&place), "2 ran, 0 cached, 0");
    let gone = place.pipe(&["store", "gc", "--keep-runs", "1"]).expect(0).out;
    assert!(gone.contains("slow of p") && !gone.contains("big of p"), "{gone}");
    assert_eq!((blobs(&place).len(), ran(&place)), (3, "0 ran, 2 cached, 0".to_owned()));
    let digits = pins.split_whitespace().next().expect("a digest").to_owned();
    place.pipe(&["store", "unpin", &digits]).expect(0);
    place.pipe(&["store", "unpin", &digits]).expect(2);
    place.pipe(&["store", "gc", "--keep-runs", "1"]).expect(0);
    assert_eq!(blobs(&place).len(), 2);
    let wrong = place.pipe(&["store", "pin", "bog"]).expect(2).err;
    assert!(wrong.contains("did you mean `big`?"), "{wrong}");
}

#[test]
fn damage_is_told_and_mended() {
    let place = Place::new();
    steps(&place, [3_000_000, 9000]);
    ran(&place);
    place.pipe(&["store", "verify"]).expect(0);
    let store = place.path().join("store");
    fs::remove_file(&blobs(&place)[0]).expect("removed");
    let log = fs::read(store.join("records.log")).expect("the log");
    let mut bad = log.clone();
    bad[log.len() / 3] ^= 0x40;
    fs::write(store.join("records.log"), bad).expect("written");
    fs::write(store.join("note"), "mine").expect("written");
    let told = place.pipe(&["store", "verify"]).expect(5).out;
    assert!(
        told.contains("in the logs") && told.contains("no part of the store") && told.contains("--repair"),
        "{told}"
    );
    let mended = place.pipe(&["store", "verify", "--repair"]).expect(0).out;
    assert!(mended.contains("nothing is wrong any more") && mended.contains("moved aside"), "{mended}");
    let clean = place.pipe(&["store", "verify"]).expect(0).out;
    assert!(clean.contains("all are what their names say") && !clean.contains("speak of"), "{clean}");
    assert!(place.pipe(&["store", "size"]).expect(0).out.contains("quarantine/note-"));
    ran(&place);
    assert_eq!(ran(&place), "0 ran, 2 cached, 0");
    place.pipe(&["store", "gc"]).expect(0);
    assert!(!place.pipe(&["store", "size"]).expect(0).out.contains("note-"));
}

#[test]
fn formats_that_are_not_this_one_are_refused() {
    let place = Place::new();
    place.pipe(&["store", "size"]).expect(0);
    let cases = [
        ("{\"version\":99}", "has format 99 and this `pipe` knows 1: update `pipe`"),
        ("{\"version\":0}", "has format 0 and this `pipe` reads format 1 alone"),
        ("garbage", "its file `format` names no version"),
    ];
    for (text, words) in cases {
        place.write("store/format", text);
        let said = place.pipe(&["store", "verify", "--repair"]).expect(5).err;
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn damage_that_cost_only_time_is_told_and_mended() {
    let place = Place::new();
    steps(&place, [10, 20]);
    ran(&place);
    let log = place.path().join("store/records.log");
    let mut bytes = fs::read(&log).expect("records");
    bytes.extend([7; 100]);
    fs::write(&log, bytes).expect("a write that never ended");
    steps(&place, [10, 30]);
    let said = place.pipe(&["run", "p.kdl"]).expect(0).err;
    assert!(said.contains("of an unfinished write were cut off"), "{said}");
    steps(&place, [10, 40]);
    let said = place.pipe(&["run", "p.kdl"]).expect(0).err;
    assert!(!said.contains("warning"), "it is told once: {said}");
}
