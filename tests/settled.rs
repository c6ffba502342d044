//! What runs again and what does not, counted as steps that really ran; and that nothing which moves goes unseen by a
//! run that takes the short way.

#[expect(dead_code, reason = "these tests measure nothing, and so need no engine")]
mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Place, Said, ran};
use pipe_cache::{Kind, Store};

/// Steps of a graph, each a shell without a child that reads its inputs and writes a number.
struct Graph {
    text: String,
    exports: bool,
}

impl Graph {
    fn new(exports: bool) -> Graph {
        Graph { text: "pipeline \"graph\"\n".to_owned(), exports }
    }

    /// Ten layers: the first reads a leaf each, every other two steps of the layer before.
    fn layered(place: &Place, n: usize, exports: bool) {
        let mut graph = Graph::new(exports);
        let width = n / 10;
        for step in 0..width * 10 {
            let (layer, at) = (step / width, step % width);
            if layer == 0 {
                place.write(&format!("src/l{at}.txt"), &format!("{}\n", at + 1));
                graph.step(step, &format!("read a<$1; echo $(((a*31+{step})%1000003))>$2"), &[leaf(at)]);
            } else {
                let below = |at: usize| output((layer - 1) * width + at % width);
                let command = format!("read a<$1; read b<$2; echo $(((a*31+b*17+{step})%1000003))>$3");
                graph.step(step, &command, &[below(at), below(at + 1)]);
            }
        }
        place.write("p.kdl", &graph.text);
    }

    /// One step that always writes the same, and all others behind it.
    fn fan(place: &Place, n: usize) {
        let mut graph = Graph::new(true);
        place.write("src/l0.txt", "1\n");
        graph.step(0, "read a<$1; echo 7>$2", &[leaf(0)]);
        for step in 1..n {
            graph.step(step, &format!("read a<$1; echo $((a+{step}))>$2"), &[output(0)]);
        }
        place.write("p.kdl", &graph.text);
    }

    fn step(&mut self, step: usize, command: &str, inputs: &[String]) {
        let export = if self.exports { format!(" export=\"s{step}\"") } else { String::new() };
        let inputs = inputs.join(" ");
        let _ = writeln!(
            self.text,
            "step \"s{step}\"{export} {{ run \"sh\" \"-c\" \"{command}\" \"sh\" {inputs} (output)\"o\"; output \"o\"; }}"
        );
    }
}

fn leaf(at: usize) -> String {
    format!("(file)\"src/l{at}.txt\"")
}

fn output(step: usize) -> String {
    format!("(step)\"s{step}/o\"")
}

/// The weakest level: what runs is the same, and quicker.
fn level() -> &'static [&'static str] {
    // Where no other works, every command of these tests says so already.
    if common::has_sandbox() { &["--sandbox", "off"] } else { &[] }
}

fn with_level<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().chain(level()).copied().collect()
}

/// How many steps a run executes.
fn count(place: &Place) -> usize {
    let events = place.path().join("events");
    place.pipe(&with_level(&["run", "p.kdl", "--events", "events"])).expect(0);
    ran(&events).len()
}

/// A run without further flags, which may take the short way.
fn run(place: &Place) -> Said {
    place.pipe(&with_level(&["run", "p.kdl"])).expect(0)
}

/// True where a run's last line says that so many steps ran.
fn says(said: &Said, ran: usize) -> bool {
    said.err.lines().any(|line| line.starts_with(&format!("{ran} ran, ")))
}

fn plan(place: &Place) -> String {
    place.pipe(&with_level(&["plan", "p.kdl"])).expect(0).out
}

fn exported(place: &Place, step: usize) -> PathBuf {
    place.path().join(format!("out/graph/s{step}/o"))
}

/// What the store advises, by file: a run of the long way that finds nothing to do writes one anew.
fn advice(place: &Place) -> BTreeSet<(OsString, u64)> {
    let found = fs::read_dir(place.path().join("store/advice")).expect("advice").flatten();
    found.map(|entry| (entry.file_name(), entry.metadata().expect("facts").ino())).collect()
}

/// Leaves nothing to do, and makes sure that the next run takes the short way.
fn settle(place: &Place) {
    run(place);
    // What was written a moment ago could be written again without a trace, and is not yet believed.
    std::thread::sleep(Duration::from_millis(150));
    assert!(says(&run(place), 0));
    let kept = advice(place);
    assert!(kept.len() >= 2, "the plan is kept, and nothing of the run: {kept:?}");
    assert!(says(&run(place), 0));
    assert_eq!(advice(place), kept, "the last run took the long way");
}

#[test]
fn only_what_changed_runs_again() {
    let place = Place::new();
    Graph::layered(&place, 50, true);
    assert_eq!(count(&place), 50, "cold");
    assert_eq!(count(&place), 0, "nothing changed");
    place.write("src/l0.txt", "1\n");
    assert_eq!(count(&place), 0, "touched");
    place.write("src/l0.txt", "5555\n");
    let cone = (0..10).map(|layer| (layer + 1usize).min(5)).sum::<usize>();
    assert_eq!((count(&place), cone), (40, 40), "changed");
    let changed = fs::read_to_string(exported(&place, 45)).expect("an export");
    place.write("src/l0.txt", "1\n");
    assert_eq!(count(&place), 0, "changed back");
    let first = fs::read_to_string(exported(&place, 45)).expect("an export");
    assert_ne!(first, changed);
    fs::remove_dir_all(place.path().join("out")).expect("removed");
    assert_eq!(count(&place), 0, "outputs deleted");
    assert_eq!(fs::read_to_string(exported(&place, 45)).expect("given back"), first);
    fs::write(exported(&place, 0), "424242\n").expect("edited");
    assert_eq!(count(&place), 0, "output edited");
    assert_eq!(fs::read_to_string(exported(&place, 0)).expect("healed"), "31\n");
}

#[test]
fn an_upstream_step_that_repeats_its_bytes_ends_the_wave() {
    let place = Place::new();
    Graph::fan(&place, 50);
    assert_eq!(count(&place), 50, "cold");
    for leaf in ["777\n", "778\n"] {
        place.write("src/l0.txt", leaf);
        assert_eq!(count(&place), 1, "the first step alone");
    }
}

#[test]
fn the_short_way_says_what_the_long_one_does() {
    let place = Place::new();
    Graph::layered(&place, 20, true);
    run(&place);
    let long = plan(&place);
    assert!(long.contains("20 cached, 0 to run"), "{long}");
    settle(&place);
    assert_eq!(plan(&place), long);
    assert!(run(&place).err.contains("0 ran, 20 cached, 0 unavailable"));
}

#[test]
fn whatever_moves_is_noticed_on_the_short_way() {
    let place = Place::new();
    Graph::layered(&place, 20, true);
    run(&place);
    let ran_some = |what: &str| {
        let said = run(&place);
        assert!(!says(&said, 0), "{what} went unnoticed: {}", said.err);
        settle(&place);
    };
    settle(&place);
    place.write("src/l1.txt", "8\n");
    ran_some("an input that changed");
    fs::remove_file(place.path().join("src/l1.txt")).expect("removed");
    place.pipe(&with_level(&["run", "p.kdl"])).expect(2);
    place.write("src/l1.txt", "8\n");
    settle(&place);
    let text = fs::read_to_string(place.path().join("p.kdl")).expect("the pipeline");
    place.write("p.kdl", &text.replace("a*31+0", "a*32+0"));
    ran_some("a changed pipeline");

    fs::write(exported(&place, 3), "wrong\n").expect("edited");
    run(&place);
    assert_ne!(fs::read_to_string(exported(&place, 3)).expect("healed"), "wrong\n");
    settle(&place);
    fs::write(exported(&place, 3).with_file_name("more"), "more\n").expect("a file beside");
    run(&place);
    assert!(!exported(&place, 3).with_file_name("more").exists(), "an export holds what the step made");
    settle(&place);
    fs::remove_file(exported(&place, 3)).expect("removed");
    run(&place);
    assert!(exported(&place, 3).exists());

    for log in ["records.log", "small.pack"] {
        settle(&place);
        flip(&place.path().join("store").join(log));
        let said = run(&place);
        assert!(said.err.contains("cached"), "{}", said.err);
        settle(&place);
        fs::remove_file(place.path().join("store").join(log)).expect("removed");
        ran_some(log);
    }
    settle(&place);
    place.pipe(&with_level(&["run", "p.kdl", "--require-cached"])).expect(0);
    let empty = place.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let said = place.pipe_with(&[("PATH", &empty.to_string_lossy())], &with_level(&["plan", "p.kdl"]));
    assert!(!said.out.contains("20 cached"), "the tools are gone: {}", said.out);
}

#[test]
fn what_other_pipelines_add_is_no_reason_for_the_long_way() {
    let place = Place::new();
    Graph::layered(&place, 20, true);
    run(&place);
    // The long way keeps the resolved pipeline where it is missing, and the short one never asks for it.
    let plans: Vec<PathBuf> =
        advice(&place).into_iter().map(|(name, _)| place.path().join("store/advice").join(name)).collect();
    settle(&place);
    plans.iter().for_each(|plan| fs::remove_file(plan).expect("removed"));
    let short = |what: &str| {
        assert!(says(&run(&place), 0), "{what}");
        assert!(plans.iter().all(|plan| !plan.exists()), "{what}: the long way was taken");
    };
    short("nothing moved");
    for word in ["one", "two"] {
        let text =
            format!("pipeline \"q\"\nstep \"q\" {{ run \"sh\" \"-c\" \"echo {word} > out/x\"; output \"x\"; }}\n");
        place.write("q.kdl", &text);
        assert!(says(&place.pipe(&with_level(&["run", "q.kdl"])).expect(0), 1));
        short("another pipeline ran just now");
        std::thread::sleep(Duration::from_millis(150));
        let before = advice(&place);
        short("it ran a while ago");
        assert_ne!(advice(&place), before, "what was looked through is not looked through again");
        let before = advice(&place);
        short("nothing moved since");
        assert_eq!(advice(&place), before);
    }
    let store = Store::open(&place.path().join("store")).expect("the store");
    let key = store.keys(Kind::Record).expect("keys")[0];
    let record = store.last(Kind::Record, &key).expect("read").expect("a record");
    store.append(Kind::Record, &key, &record).expect("appended");
    assert!(says(&run(&place), 0));
    assert!(plans.iter().all(|plan| plan.exists()), "a record that this run asks for went unnoticed");
}

#[test]
fn a_large_output_that_is_gone_is_made_again() {
    let place = Place::new();
    place.write("p.kdl", "pipeline \"graph\"\nstep \"s0\" { run \"sh\" \"-c\" \"head -c 100000 /dev/zero >$1\" \"sh\" (output)\"o\"; output \"o\"; }\n");
    run(&place);
    settle(&place);
    let folder = place.path().join("store/blobs");
    let folders = fs::read_dir(&folder).expect("blobs").flatten();
    let blobs: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten())
        .map(|blob| blob.path())
        .collect();
    assert!(!blobs.is_empty());
    for blob in &blobs {
        fs::remove_file(blob).expect("removed");
    }
    assert!(says(&run(&place), 1));
}

/// Turns a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a log");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}
