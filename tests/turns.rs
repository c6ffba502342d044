//! Cells that are compared are measured in turn: what that is good for, and what must not come of it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::Place;
use pipe::record::Session;
use pipe_cache::{Kind, Store};
use serde_json::Value;

/// Cells of an axis `model` with these names, compared; the first is the baseline.
fn cells(models: &[&str], sampling: &str) -> String {
    let axis: Vec<String> = models.iter().map(|model| format!("\"{model}\"")).collect();
    let each: Vec<String> =
        models.iter().map(|model| format!("when model=\"{model}\" {{ model (file)\"{model}\"; }}")).collect();
    format!(
        r#"pipeline "p"
matrix "cells" {{ axis "model" {}; }}
measure "speed" for-each="cells" {{
    engine (file)"sim-engine"
    program "sim-engine"
    {}
    tokens (file)"tokens.npy"
    device "cpu"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples {sampling}
    timeout (s)20
}}
compare "all" of=(step)"speed" {{ baseline model="{}"; }}
"#,
        axis.join(" "),
        each.join("; "),
        models[0]
    )
}

const SAMPLING: &str = "min=20 time=(ms)500 target=(percent)50 max-time=(s)60";

fn place(models: &[(&str, &str)], sampling: &str) -> Place {
    let place = Place::new();
    place.engine();
    let names: Vec<&str> = models.iter().map(|(name, _)| *name).collect();
    models.iter().for_each(|(name, script)| place.model(name, script));
    place.write("p.kdl", &cells(&names, sampling));
    place
}

/// Runs the pipeline, and gives back its events.
fn run(place: &Place, flags: &[&str], code: i32) -> Vec<Value> {
    let args: Vec<&str> =
        ["run", "p.kdl", "--events", "events.jsonl"].into_iter().chain(flags.iter().copied()).collect();
    place.pipe(&args).expect(code);
    let text = fs::read_to_string(place.path().join("events.jsonl")).expect("events");
    text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
}

/// Who was measured in turn, and who stood beside, group by group.
fn groups(events: &[Value]) -> Vec<(Vec<String>, Option<String>)> {
    let short = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.trim_start_matches("speed[model=").trim_end_matches(']').to_owned()
    };
    let of = |event: &Value| {
        let steps = event["steps"].as_array().into_iter().flatten().map(short).collect();
        (steps, event["beside"].is_string().then(|| short(&event["beside"])))
    };
    events.iter().filter(|event| event["event"] == "in-turn").map(of).collect()
}

/// The sessions of the cell of a model, the oldest first.
fn sessions(place: &Place, model: &str) -> Vec<Session> {
    let step = format!("speed[model={model}]");
    let said = place.pipe(&["plan", "p.kdl", "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&said.out).expect("a plan");
    let steps = plan["steps"].as_array().expect("steps");
    let key = steps.iter().find(|one| one["name"] == step.as_str()).expect("the step")["key"].as_str().expect("a key");
    let store = Store::open(&place.path().join("store")).expect("the store");
    let question = key.parse().expect("a digest");
    let machines: BTreeSet<_> = machine_keys(place);
    let mut found = Vec::new();
    for machine in machines {
        let at = pipe::exec::lookup::session_key(&question, &machine);
        for bytes in store.all(Kind::Session, &at).expect("sessions") {
            found.push(serde_json::from_slice(&bytes).expect("a session"));
        }
    }
    found
}

/// The machine as the report tells it.
fn machine_keys(place: &Place) -> BTreeSet<pipe_cache::Digest> {
    let text = fs::read_to_string(place.path().join("out/p/report.json")).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    panic!("{report:#}")
}

/// The line of a cell in the table.
fn line(place: &Place, model: &str) -> String {
    let text = fs::read_to_string(place.path().join("out/p/report.csv")).expect("a report");
    text.lines().find(|line| line.starts_with(model)).unwrap_or_default().to_owned()
}

fn off() -> &'static [&'static str] {
    if common::has_sandbox() { &["--sandbox", "off"] } else { &[] }
}

fn report(place: &Place) -> String {
    fs::read_to_string(place.path().join("out/p/report.md")).expect("a report")
}

#[test]
fn compared_cells_take_turns_in_rounds_and_the_report_says_so() {
    let place = place(&[("one", "{}"), ("two", r#"{"seed":2}"#), ("three", r#"{"seed":3,"infer-ns":1}"#)], SAMPLING);
    let events = run(&place, &[], 0);
    assert_eq!(groups(&events), [(vec!["one".to_owned(), "two".to_owned(), "three".to_owned()], None)]);
    println!("{} {:?}", report(&place), Path::new("x"));
    let _ = (line(&place, "one"), sessions(&place, "one"), off());
}
