//! `pipe store`: making room, holding on to results, and mending, as a person does it.

#[expect(dead_code, reason = "nothing is measured here, and so no engine is needed")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::{Place, Said};

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

/// `a` makes more than fits into a record, `b` reads it, `c` reads `d`, which is as large, and `b`; `words` is small.
fn chain(place: &Place, last: &str) {
    let large = |name: &str| {
        let command = format!("head -c 9000 /dev/zero | tr '\\0' {name} > out/x");
        format!("step \"{name}\" export=\"{name}\" {{ run \"sh\" \"-c\" #\"{command}\"#; output \"x\"; }}\n")
    };
    let text = format!(
        "pipeline \"p\"\n{}{}\
         step \"b\" {{ run \"sh\" \"-c\" \"head -c 5 $1 > out/x; echo $0 >> out/x\" \"{last}\" (step)\"a/x\"; output \"x\"; }}\n\
         step \"c\" {{ run \"sh\" \"-c\" \"head -c 5 $0 | cat - $1 > out/x\" (step)\"d/x\" (step)\"b/x\"; output \"x\"; }}\n\
         step \"words\" export=\"words\" {{ run \"sh\" \"-c\" \"echo words of mine > out/x\"; output \"x\"; }}\n",
        large("a"),
        large("d")
    );
    place.write("p.kdl", &text);
}

/// Changes a byte of the first place that holds this text, in one of the files.
fn flip(files: &[PathBuf], text: &[u8]) {
    for path in files {
        let mut bytes = fs::read(path).expect("a file of the store");
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] ^= 1;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
            fs::write(path, bytes).expect("damage");
            return;
        }
    }
    panic!("nothing in the store holds it");
}

/// What a run says, and the steps that ran in it.
fn run_off(place: &Place, code: i32) -> (Said, Vec<String>) {
    let level: &[&str] = if common::has_sandbox() { &["--sandbox", "off"] } else { &[] };
    // One after the other: what fails beside damage is taken to have failed of it.
    let words: Vec<&str> = ["run", "p.kdl", "--events", "events", "--jobs", "1"].iter().chain(level).copied().collect();
    let said = place.pipe(&words).expect(code);
    let mut steps = common::ran(&place.path().join("events"));
    steps.sort();
    (said, steps)
}

#[test]
fn a_run_that_meets_damage_makes_it_again_itself() {
    let place = Place::new();
    chain(&place, "one");
    assert_eq!(run_off(&place, 0).1, ["a", "b", "c", "d", "words"]);
    let given = |name: &str| fs::read_to_string(place.path().join(format!("out/p/{name}/x"))).expect("an export");
    // A step reads what is damaged.
    flip(&blobs(&place), &[b'a'; 9000]);
    chain(&place, "two");
    let (said, steps) = run_off(&place, 0);
    assert_eq!(steps, ["a", "b", "c"]);
    let told = said.err.matches("content of the store was damaged or gone: ").count();
    assert!(told == 1 && said.err.contains("b tried again (2)") && !said.err.contains('✗'), "{}", said.err);
    assert!(said.err.contains("3 ran, 2 cached, 0 unavailable"), "{}", said.err);
    // What is damaged is to be given back: content of its own, and some in the pack.
    for (name, text) in [("d", &[b'd'; 9000][..]), ("words", b"words of mine")] {
        fs::remove_dir_all(place.path().join("out")).expect("removed");
        let pack = place.path().join("store/small.pack");
        flip(&if name == "words" { vec![pack] } else { blobs(&place) }, text);
        let (said, steps) = run_off(&place, 0);
        assert_eq!((steps, given("a"), given("d")), (vec![name.to_owned()], "a".repeat(9000), "d".repeat(9000)));
        assert_eq!(given("words"), "words of mine\n");
        assert!(said.err.contains("1 step(s) make it again"), "{}", said.err);
    }
    assert_eq!(run_off(&place, 0).1, Vec::<String>::new());
}

#[test]
fn damage_that_is_met_twice_in_a_row_is_a_failure_with_its_cause() {
    let place = Place::new();
    chain(&place, "one");
    run_off(&place, 0);
    fs::remove_dir_all(place.path().join("out")).expect("removed");
    // `c` reads `d` only when `b` is there, and `b` only after `a` was made again.
    let text = fs::read_to_string(place.path().join("p.kdl")).expect("a file").replace(" export=\"d\"", "");
    place.write("p.kdl", &text.replace("\"one\"", "\"two\""));
    flip(&blobs(&place), &[b'a'; 9000]);
    flip(&blobs(&place), &[b'd'; 9000]);
    let (said, steps) = run_off(&place, 3);
    assert_eq!(steps, ["a", "b"]);
    assert_eq!(said.err.matches("content of the store was damaged or gone: ").count(), 1, "{}", said.err);
    assert!(said.err.contains("✗ c failed: ") && said.err.contains("was damaged and put aside"), "{}", said.err);
    assert_eq!(run_off(&place, 0).1, ["c", "d"], "what was done is not done again");
}

#[test]
fn what_fails_by_itself_is_not_tried_again_because_of_damage() {
    let place = Place::new();
    let tries = place.path().join("tries");
    chain(&place, "one");
    run_off(&place, 0);
    flip(&blobs(&place), &[b'a'; 9000]);
    chain(&place, "two");
    let text = fs::read_to_string(place.path().join("p.kdl")).expect("a file");
    let bad =
        format!("step \"bad\" {{ run \"sh\" \"-c\" \"echo try >> {}; exit 1\"; output \"x\"; }}\n", tries.display());
    place.write("p.kdl", &(text + &bad));
    let (said, steps) = run_off(&place, 3);
    assert_eq!(steps, ["a", "b", "c"], "{}", said.err);
    assert_eq!(fs::read_to_string(&tries).expect("tries"), "try\n");
    assert!(said.err.contains("✗ bad failed: it ended with"), "{}", said.err);
}

#[test]
fn an_input_folder_whose_files_a_collection_took_is_taken_in_again() {
    let place = Place::new();
    let large = "of the user\n".repeat(1000);
    place.write("src/large", &large);
    let text = |last: &str| {
        let command = format!("cat in/src/large > out/x; echo {last} >> out/x");
        format!(
            "pipeline \"p\"\nstep \"s\" {{ run \"sh\" \"-c\" \"{command}\"; input (file)\"src\" as=\"src\"; tools \"cat\"; output \"x\"; }}\n"
        )
    };
    place.write("p.kdl", &text("one"));
    run_off(&place, 0);
    // While another process has the store open, and after a power cut, the pack still holds the folder.
    let input = blobs(&place).into_iter().find(|path| fs::read_to_string(path).is_ok_and(|text| text == large));
    fs::remove_file(input.expect("the input is in the store")).expect("removed");
    place.write("p.kdl", &text("two"));
    let (said, steps) = run_off(&place, 0);
    assert_eq!(steps, ["s"]);
    assert!(!said.err.contains("damaged or gone"), "{}", said.err);
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
