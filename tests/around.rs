//! What a run asks of the machine around its measuring: the drift sentinel, clock and heat, energy.

#[expect(dead_code, reason = "what ran is read from the whole events elsewhere")]
mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Place;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

/// Two cells, compared without a baseline, so that each can be measured at a time of its own.
const PIPELINE: &str = r#"pipeline "p"
matrix "cells" { axis "model" "one" "two"; }
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; }
    when model="two" { model (file)"two"; }
    tokens (file)"tokens.npy"
    device "cpu"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=20 time=(ms)500 target=(percent)50 max-time=(s)60
    timeout (s)20
}
compare "all" of=(step)"speed"
"#;

fn place() -> Place {
    let place = Place::new();
    place.engine();
    place.model("one", "{}");
    place.model("two", r#"{"seed":2}"#);
    place.write("p.kdl", PIPELINE);
    place
}

/// A cell in the JSON report.
fn cell(place: &Place, model: &str) -> Value {
    let text = fs::read_to_string(place.path().join("out/p/all.json")).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    report["cells"].as_array().expect("cells").iter().find(|cell| cell["label"] == model).cloned().expect("the cell")
}

fn codes(cell: &Value) -> Vec<&str> {
    cell["cautions"].as_array().expect("cautions").iter().filter_map(|caution| caution["code"].as_str()).collect()
}

#[test]
fn a_cell_that_is_measured_on_a_slower_machine_says_so_and_is_still_found() {
    let place = place();
    let run = |arithmetic: u64, flags: &[&str]| {
        let pace = |unit_ns| format!(r#"{{"unit_ns":{unit_ns},"units":300,"scatter":0.01}}"#);
        let reading = format!(r#"{{"work":"x","arithmetic":{},"memory":{}}}"#, pace(arithmetic), pace(5_000_000));
        let file = place.write("reading.json", &reading).to_string_lossy().into_owned();
        place.pipe_with(&[("PIPE_SENTINEL", &file)], &[&["run", "p.kdl"], flags].concat()).expect(0)
    };
    run(1_000_000, &["--only", "model=one"]);
    run(1_080_000, &[]);
    assert_eq!(cell(&place, "one")["sessions"][0]["sentinel"]["arithmetic_ns"], 1_000_000);
    assert_eq!(cell(&place, "two")["sessions"][0]["sentinel"]["work"], "made up", "no real reading is held against it");
    assert!(!codes(&cell(&place, "one")).contains(&"host-drift"));
    assert!(codes(&cell(&place, "two")).contains(&"host-drift"), "{}", cell(&place, "two")["cautions"]);
    let page = fs::read_to_string(place.path().join("out/p/all.html")).expect("a page");
    assert!(page.contains("a unit of arithmetic took 1.08 ms"), "no sentinel on the page");
    // What the sentinel saw is in no key.
    run(2_000_000, &["--require-cached"]);
}

/// A file of the kernel whose every reading is the next of `values`, and then the last one, until the run is over.
fn each_reading(path: &Path, values: &[&str], over: &AtomicBool) {
    // Without a reader there is nothing to open.
    let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut values = values.iter().peekable();
    while !over.load(Ordering::Relaxed) {
        if let Ok(mut file) = open() {
            let value = values.next().expect("the last one stays");
            // Who reads is gone already where it had looked too early, and comes again.
            let _ = writeln!(file, "{value}");
            if values.peek().is_none() {
                values = std::slice::from_ref(value).iter().peekable();
            }
            drop(file);
            while open().is_ok() {
                std::thread::yield_now();
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn all_rest_until_the_clock_is_back() {
    let place = place();
    let clock = place.write("system/sys/devices/system/cpu/cpu0/cpufreq/x", "").with_file_name("scaling_cur_freq");
    mknodat(CWD, &clock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    for (file, text) in [("name", "package-0"), ("energy_uj", "1000"), ("max_energy_range_uj", "9000")] {
        place.write(&format!("system/sys/class/powercap/intel-rapl:0/{file}"), &format!("{text}\n"));
    }
    let system = place.path().join("system").to_string_lossy().into_owned();
    // The first reading is the band; the first block begins at once, and the second after two rests.
    let values = ["3000000", "2990000", "2000000", "2500000", "2900000", "3000000"];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| each_reading(&clock, &values, &over));
        let said = place.pipe_with(&[("PIPE_SIMULATED_SYSTEM", &system)], &["run", "p.kdl"]);
        over.store(true, Ordering::Relaxed);
        said.expect(0);
    });
    let cells = [cell(&place, "one"), cell(&place, "two")];
    let rests = |cell: &Value| {
        let blocks = cell["sessions"][0]["turns"]["blocks"].as_array().expect("blocks").clone();
        blocks.iter().filter_map(|block| block["rested_ns"].as_u64()).collect::<Vec<_>>()
    };
    let all: Vec<u64> = cells.iter().flat_map(rests).collect();
    assert_eq!(all, [500_000_000], "{cells:?}");
    for cell in &cells {
        let session = &cell["sessions"][0];
        assert_eq!(session["thermal"]["clock_khz"], 3_000_000);
        assert_eq!(session["energy"]["method"], "RAPL, processor package alone");
        assert_eq!(session["energy"]["joules"], 0.0, "the counter of this machine stands still");
        assert!(!codes(cell).contains(&"throttled"), "the clock was back");
        assert!(codes(cell).contains(&"simulated"));
    }
}

#[test]
fn what_a_machine_does_not_tell_has_a_reason_and_nothing_is_claimed() {
    let place = place();
    fs::create_dir_all(place.path().join("system")).expect("a folder");
    let system = place.path().join("system").to_string_lossy().into_owned();
    place.pipe_with(&[("PIPE_SIMULATED_SYSTEM", &system)], &["run", "p.kdl"]).expect(0);
    let session = cell(&place, "one")["sessions"][0].clone();
    assert_eq!((&session["thermal"], &session["sentinel"]), (&Value::Null, &Value::Null));
    let why = "the system tells no energy of its processors (`/sys/class/powercap`)";
    assert_eq!(session["energy"]["not_measured"], why);
    assert_eq!(cell(&place, "one")["metrics"]["energy-per-token"]["not_measured"], why);
}
