//! What starts when: order, room on the machine, steps that are the same, runs that stop at the first failure.

#[expect(dead_code, reason = "most of these tests measure nothing, and so need no engine")]
mod common;

use std::fs;
use std::path::Path;

use common::Place;
use serde_json::Value;

/// The events of a run.
fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("events");
    text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
}

/// The values of `field` of all events of a kind, in order.
fn of(events: &[Value], kind: &str, field: &str) -> Vec<String> {
    let those = events.iter().filter(|event| event["event"] == kind);
    those.map(|event| event[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// Runs a pipeline with some flags, and gives back its events.
fn run(place: &Place, text: &str, flags: &[&str], code: i32) -> Vec<Value> {
    place.write("p.kdl", text);
    let args: Vec<&str> =
        ["run", "p.kdl", "--events", "events.jsonl"].into_iter().chain(flags.iter().copied()).collect();
    place.pipe(&args).expect(code);
    events(&place.path().join("events.jsonl"))
}

#[test]
fn the_longest_chain_starts_first() {
    let text = r#"
pipeline "p"
param "round" 0
step "short" { run "sh" "-c" "echo 0 $0 > out/x" (param)"round"; output "x"; }
step "one" { run "sh" "-c" "echo 1 $0 > out/x" (param)"round"; output "x"; }
step "two" { run "sh" "-c" "cat $0 > out/x; echo 2 >> out/x" (step)"one/x"; output "x"; }
step "three" { run "sh" "-c" "cat $0 > out/x; echo 3 >> out/x" (step)"two/x"; output "x"; }
"#;
    let place = Place::new();
    let said = run(&place, text, &["-j", "1"], 0);
    // The last one of the chain has no longer way than the one alone, which stands before it.
    assert_eq!(of(&said, "started", "step"), ["one", "two", "short", "three"]);
    // Now it is known that the one that stands alone takes longer than the other three together.
    let slow = text.replace("echo 0", "sleep 0.4; echo 0");
    run(&place, &slow, &["-j", "1"], 0);
    let said = run(&place, &slow, &["-j", "1", "--set", "round=1"], 0);
    assert_eq!(of(&said, "started", "step"), ["short", "one", "two", "three"]);
}
