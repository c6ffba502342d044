//! `pipe report`: a run told again from its records, and two runs held against each other.

#[expect(dead_code, reason = "what ran is not looked at here")]
mod common;

use std::fs;

use common::Place;
use serde_json::Value;

/// Two cells on the engine of the tests; the first is the baseline.
const PIPELINE: &str = r#"pipeline "p"
param "threads" 1
matrix "cells" { axis "model" "one" "two"; }
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; }
    when model="two" { model (file)"two"; }
    tokens (file)"tokens.npy"
    device "cpu"
    threads (param)"threads"
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=4
    samples min=10 time=(ms)200 target=(percent)50 max-time=(s)60
    timeout (s)20
}
compare "all" of=(step)"speed" { baseline model="one"; }
"#;

fn place() -> Place {
    let place = Place::new();
    place.engine();
    place.model("one", "{}");
    place.model("two", r#"{"seed":2}"#);
    place.write("p.kdl", PIPELINE);
    place
}

/// The four report files of a run, or of a report, in a folder.
fn files(place: &Place, folder: &str) -> Vec<String> {
    let read = |kind: &&str| fs::read_to_string(place.path().join(format!("{folder}/p/all.{kind}"))).expect("a report");
    ["md", "csv", "json", "html"].iter().map(read).collect()
}

/// A cell of a diff.
fn cell<'a>(diff: &'a Value, model: &str) -> &'a Value {
    let cells = diff["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["step"] == format!("speed[model={model}]")).expect("the cell")
}

#[test]
fn a_report_is_what_its_run_wrote_byte_for_byte_and_runs_nothing() {
    let place = place();
    let nothing = place.pipe(&["report", "p.kdl"]).expect(2);
    assert!(nothing.err.contains("the store remembers 0 runs"), "{}", nothing.err);
    place.pipe(&["run", "p.kdl"]).expect(0);
    let told = place.pipe(&["report", "p.kdl", "--write", "--out", "again"]).expect(0);
    assert!(told.out.contains("baseline") && told.err.contains("report of run "), "{}{}", told.out, told.err);
    assert!(files(&place, "out") == files(&place, "again"), "the report is not what the run wrote");
    for (format, kind) in [("md", 0), ("csv", 1), ("json", 2), ("html", 3)] {
        let text = place.pipe(&["report", "p.kdl", "--format", format]).expect(0).out;
        assert!(text == files(&place, "out")[kind], "{format} is another one on standard output");
    }

    // Other samples and another question do not change what that run found.
    place.pipe(&["run", "p.kdl", "--set", "threads=2", "--out", "second"]).expect(0);
    place.write("p.kdl", &PIPELINE.replace("warm-up min=2", "warm-up min=3"));
    let first = place.pipe(&["report", "p.kdl", "--run", "last~1", "--write", "--out", "first"]).expect(0);
    assert!(first.err.contains("2 cell(s) depend on something that changed since"), "{}", first.err);
    assert!(files(&place, "first")[1] == files(&place, "out")[1], "the figures are not those of that run");
    // The flags of the run count again: two threads, as it says.
    place.write("p.kdl", PIPELINE);
    let last = place.pipe(&["report", "p.kdl", "--write", "--out", "last"]).expect(0);
    assert!(!last.err.contains("changed since"), "{}", last.err);
    assert!(files(&place, "last") == files(&place, "second"), "the flags of the run were not taken");
}

#[test]
fn two_runs_are_held_against_each_other() {
    let place = place();
    place.pipe(&["run", "p.kdl"]).expect(0);
    // A model that takes 1.5 times as long, and the same question of the other cell.
    place.model("two", r#"{"seed":2,"decode-ns":30000000}"#);
    place.pipe(&["run", "p.kdl", "--remeasure"]).expect(0);
    let text = place.pipe(&["report", "--diff", "last~1", "last"]).expect(0).out;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for wanted in ["time per output token", "slower", "measured apart and not in turn", "question: model "] {
        assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
    }
    let json = place.pipe(&["report", "--diff", "last~1", "last", "--format", "json"]).expect(0).out;
    let diff: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(diff["schema"], "pipe-diff/1");
    let verdict = |model: &str| {
        let figures = cell(&diff, model)["figures"].as_array().expect("figures").clone();
        let figure = figures.into_iter().find(|figure| figure["metric"] == "time-per-output-token");
        figure.expect("the figure")["verdict"].clone()
    };
    assert_eq!(verdict("two"), "slower", "{json}");
    assert_eq!(cell(&diff, "one")["same_samples"], false, "measured anew, and called the same: {json}");
    assert_eq!(cell(&diff, "one")["question"].as_array().map(Vec::len), Some(0));
    assert_eq!(cell(&diff, "two")["question"][0]["what"], "model");

    // The other way round it is faster, and a run beside itself has the very same samples.
    let back = place.pipe(&["report", "--diff", "last", "last~1"]).expect(0).out;
    assert!(back.contains("faster") && !back.contains("slower"), "{back}");
    let same = place.pipe(&["report", "--diff", "last", "last"]).expect(0).out;
    assert!(same.contains("The very same samples in both: speed[model=one], speed[model=two]"), "{same}");
    let machine = place.pipe(&["report", "--diff", "machine:*", "last"]).expect(0).out;
    assert!(machine.contains("The very same samples in both: speed[model=one], speed[model=two]"), "{machine}");
}

#[test]
fn cells_of_other_work_get_no_verdict_without_force() {
    let place = place();
    place.pipe(&["run", "p.kdl"]).expect(0);
    place.pipe(&["run", "p.kdl", "--set", "threads=2", "--only", "model=one"]).expect(0);
    let diff = |more: &[&str]| {
        let args: Vec<&str> = ["report", "--diff", "last~1", "last"].iter().chain(more).copied().collect();
        place.pipe(&args).expect(0).out
    };
    let text = diff(&[]);
    assert!(text.contains("not comparable: threads differ") && !text.contains("Forced"), "{text}");
    assert!(text.contains("flags none / --set threads=2 --only 'model=one'"), "{text}");
    assert!(text.contains("Only in the old one\n  speed[model=two]"), "{text}");
    let parsed: Value = serde_json::from_str(&diff(&["--format", "json"])).expect("JSON");
    assert_eq!(cell(&parsed, "one")["not_comparable"], serde_json::json!(["threads"]));
    assert!(cell(&parsed, "one")["figures"][0]["verdict"].is_null());
    let forced = diff(&["--force"]);
    assert!(
        forced.contains("Forced: cells were compared") && forced.contains("compared by force: threads"),
        "{forced}"
    );
    let parsed: Value = serde_json::from_str(&diff(&["--force", "--format", "json"])).expect("JSON");
    assert_eq!(
        (&parsed["forced"], cell(&parsed, "one")["figures"][0]["verdict"].is_string()),
        (&Value::Bool(true), true)
    );
}

#[test]
fn names_that_are_no_run_are_refused() {
    let place = place();
    let said = |args: &[&str]| place.pipe(args).expect(2).err;
    assert!(said(&["report"]).contains("<FILE>"));
    assert!(said(&["report", "--diff", "last", "last"]).contains("the store remembers 0 runs"));
    assert!(said(&["report", "--diff", "machine:nobody", "last"]).contains("no machine of that name"));
    place.pipe(&["run", "p.kdl"]).expect(0);
    let key = place.pipe(&["show", "speed[model=one]"]).expect(0).out;
    let key = key.split_whitespace().nth(1).expect("the key");
    assert!(said(&["report", "--diff", key, "last"]).contains("is no run"));
    assert!(said(&["report", "--diff", "last", "last", "--format", "csv"]).contains("as text or JSON"));
}
