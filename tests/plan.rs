//! `pipe plan`: what would run if, and how long it takes by what the same steps took before.

#[expect(dead_code, reason = "these tests measure nothing, and so need no engine")]
mod common;

use std::collections::BTreeSet;

use common::{Place, ran};

const PIPELINE: &str = r#"
pipeline "p"
param "word" "one"
param "other" "a"
step "first" { run "sh" "-c" "echo $1 > out/x" "sh" (param)"word"; output "x"; }
step "second" { run "cp" (step)"first/x" (output)"y"; output "y"; }
step "apart" { run "cp" "-r" (file)"data" (output)"d"; output "d"; }
step "last" { run "sh" "-c" "cat $1 $2/x.txt > out/z; echo $3 >> out/z" "sh" (step)"second/y" (step)"apart/d" (param)"other"; }
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("p.kdl", PIPELINE);
    place.write("data/x.txt", "1\n");
    place.write("alone.txt", "2\n");
    place
}

fn json(place: &Place, args: &[&str]) -> serde_json::Value {
    let said = place.pipe(&[&["plan", "p.kdl", "--format", "json"], args].concat()).expect(0).out;
    serde_json::from_str(&said).expect("JSON")
}

/// The steps of a plan in this state.
fn steps(plan: &serde_json::Value, state: &str) -> BTreeSet<String> {
    let steps = plan["steps"].as_array().expect("steps").iter().filter(|step| step["state"] == state);
    steps.map(|step| step["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_would_run_if_is_what_then_runs() {
    let place = place();
    place.pipe(&["run", "p.kdl"]).expect(0);
    let before = place.pipe(&["runs"]).expect(0).out;
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--if", "word=two"], &["--set", "word=two"]),
        (&["--if", "other=b"], &["--set", "other=b"]),
        (&["--if", "other=c", "--if", "word=three"], &["--set", "other=c", "--set", "word=three"]),
    ];
    for (number, (suppose, set)) in cases.into_iter().enumerate() {
        let plan = json(&place, suppose);
        let (runs, depends) = (steps(&plan, "runs"), steps(&plan, "depends"));
        assert!(!runs.is_empty(), "{suppose:?}");
        assert_eq!(plan["supposed"].as_array().map(Vec::len), Some(suppose.len() / 2));
        assert_eq!(json(&place, set)["steps"], plan["steps"], "a plan with the flags says the same");
        let events = place.path().join(format!("events{number}"));
        let events_text = events.to_string_lossy().into_owned();
        place.pipe(&[&["run", "p.kdl", "--events", &events_text], set].concat()).expect(0);
        let ran: BTreeSet<String> = ran(&events).into_iter().collect();
        assert!(runs.is_subset(&ran), "{suppose:?}: {runs:?}, ran {ran:?}");
        assert!(ran.is_subset(&runs.union(&depends).cloned().collect()), "{suppose:?}: ran {ran:?}");
        // Nothing was remembered of what was only supposed.
        let after = place.pipe(&["runs"]).expect(0).out;
        assert_eq!(after.lines().count(), before.lines().count() + number + 1, "{after}");
    }
}

#[test]
fn a_file_that_would_be_edited_says_what_would_run() {
    let place = place();
    place.pipe(&["run", "p.kdl"]).expect(0);
    let plan = json(&place, &["--if-changed", "data/x.txt"]);
    assert_eq!(steps(&plan, "runs"), BTreeSet::from(["apart".to_owned()]));
    assert_eq!(steps(&plan, "depends"), BTreeSet::from(["last".to_owned()]));
    assert_eq!(steps(&json(&place, &[]), "cached").len(), 4, "nothing was edited");
    let said = place.pipe(&["plan", "p.kdl", "--if-changed", "data/x.txt"]).expect(0).out;
    assert!(said.starts_with("if data/x.txt changed:\n  apart  runs (run.arg.1: input in/data: "), "{said}");
    assert!(said.contains("2 cached, 1 to run, 1 that depend on those"), "{said}");
    assert!(said.contains("\nas it is now, 0 to run or to wait\n"), "{said}");
    let said = place.pipe(&["plan", "p.kdl", "--if-changed", "alone.txt"]).expect(2).err;
    assert!(said.contains("`--if-changed alone.txt`: no step reads it"), "{said}");
    let said = place.pipe(&["plan", "p.kdl", "--if", "word"]).expect(2).err;
    assert!(said.contains("`--if word=VALUE`"), "{said}");
    let said = place.pipe(&["plan", "p.kdl", "--if", "wrod=1"]).expect(2).err;
    assert!(said.contains("did you mean `word`?"), "{said}");
}

#[test]
fn the_time_is_that_of_the_past_or_said_to_be_unknown() {
    let place = place();
    let said = place.pipe(&["plan", "p.kdl"]).expect(0).out;
    assert!(said.ends_with("how long is not known: none of these steps ran before\n"), "{said}");
    place.pipe(&["run", "p.kdl"]).expect(0);
    let said = place.pipe(&["plan", "p.kdl"]).expect(0).out;
    assert!(said.ends_with("4 cached, 0 to run, 0 that depend on those, 0 not to run\n"), "{said}");
    let plan = json(&place, &["--if", "word=two"]);
    assert_eq!(
        (&plan["time"]["steps_without_past"], &plan["time"]["longest_chain"]),
        (&0.into(), &serde_json::json!(["first", "second", "last"]))
    );
    let took = |name: &str| {
        let step = plan["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["name"] == name));
        step.and_then(|step| step["seconds_before"].as_f64())
    };
    let sum: f64 = ["first", "second", "last"].iter().filter_map(|name| took(name)).sum();
    let wall = plan["time"]["wall_seconds"].as_f64().expect("a time");
    assert!(sum > 0.0 && (wall - sum).abs() < 1e-6, "one after another: {sum}, {wall}");
    assert_eq!(took("apart"), None, "it is cached");
    let said = place.pipe(&["plan", "p.kdl", "--if", "word=two"]).expect(0).out;
    assert!(said.ends_with("\nlongest chain: first → second → last\n") && said.contains(" before\n"), "{said}");
}
