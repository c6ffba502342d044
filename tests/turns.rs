//! Cells that are compared are measured in turn: what that is good for, and what must not come of it.

#[expect(dead_code, reason = "what ran is read from the whole events here")]
mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Cells of an axis `model` with these names, compared; the first is the baseline.
fn cells(models: &[(&str, &str)], sampling: &str) -> String {
    let axis: Vec<String> = models.iter().map(|(model, _)| format!("\"{model}\"")).collect();
    let each = models.iter().map(|(model, _)| format!("when model=\"{model}\" {{ model (file)\"{model}\"; }}"));
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
        each.collect::<Vec<_>>().join("; "),
        models[0].0
    )
}

const SAMPLING: &str = "min=20 time=(ms)500 target=(percent)50 max-time=(s)60";

fn place(models: &[(&str, &str)], sampling: &str) -> Place {
    let place = Place::new();
    place.engine();
    models.iter().for_each(|(name, script)| place.model(name, script));
    place.write("p.kdl", &cells(models, sampling));
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

/// Who was measured in turn, and who stood beside, group by group: `one two + three`.
fn groups(events: &[Value]) -> Vec<String> {
    let short = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.trim_start_matches("speed[model=").trim_end_matches(']').to_owned()
    };
    let of = |event: &Value| {
        let steps: Vec<String> = event["steps"].as_array().into_iter().flatten().map(short).collect();
        let beside = event["beside"].is_string().then(|| format!(" + {}", short(&event["beside"])));
        format!("{}{}", steps.join(" "), beside.unwrap_or_default())
    };
    events.iter().filter(|event| event["event"] == "in-turn").map(of).collect()
}

/// A report of the comparison.
fn report(place: &Place, kind: &str) -> String {
    fs::read_to_string(place.path().join(format!("out/p/all.{kind}"))).expect("a report")
}

/// The row of a cell in the JSON report.
fn row(place: &Place, model: &str) -> Value {
    let report: Value = serde_json::from_str(&report(place, "json")).expect("JSON");
    let rows = report["cells"].as_array().expect("cells");
    rows.iter().find(|row| row["label"] == model).cloned().expect("the row")
}

/// The middle of all times to the first token, in nanoseconds.
fn median(place: &Place, model: &str) -> f64 {
    let text = report(place, "csv");
    let start = format!("{model},{model},measured,time-to-first-token,ns,");
    let line = text.lines().find(|line| line.starts_with(&start)).expect("the line");
    line[start.len()..].split(',').nth(1).expect("a median").parse().expect("a number")
}

#[test]
fn compared_cells_take_turns_in_rounds_and_the_report_says_so() {
    let place = place(&[("one", "{}"), ("two", r#"{"seed":2}"#), ("three", r#"{"seed":3}"#)], SAMPLING);
    let events = run(&place, &[], 0);
    assert_eq!(groups(&events), ["one two three"]);
    // 20 samples of 90 ms are ten blocks of two; every round has a place for each cell.
    let mut rounds = vec![vec![""; 3]; 10];
    for model in ["one", "two", "three"] {
        let session = row(&place, model)["sessions"][0].clone();
        assert_eq!(session["samples"].as_array().map(Vec::len), Some(20));
        let turns = &session["turns"];
        assert_eq!((turns["idle_stopped"].as_bool(), turns["with"].as_array().map(Vec::len)), (Some(true), Some(2)));
        let mut last = 0;
        for block in turns["blocks"].as_array().expect("blocks") {
            let number = |name: &str| block[name].as_u64().expect("a number");
            assert_eq!(number("samples"), 2);
            assert!(number("at_ns") >= last, "in the order in which they were taken");
            last = number("at_ns") + number("took_ns");
            rounds[number("round") as usize][number("place") as usize] = model;
        }
    }
    for pair in rounds.chunks(2) {
        let backwards: Vec<&str> = pair[1].iter().rev().copied().collect();
        assert_eq!(pair[0], backwards);
    }
    let said = "Measured in turn: one, two, three; in 10 rounds of blocks of 2 sequences, in a random order";
    assert!(report(&place, "md").contains(said), "{}", report(&place, "md"));
    // Nothing is left to do, and the blocks are drawn from what is measured: the same again.
    assert_eq!(groups(&run(&place, &["--require-cached"], 0)), Vec::<String>::new());
    let seed = row(&place, "one")["sessions"][0]["turns"]["seed"].clone();
    assert_eq!(groups(&run(&place, &["--remeasure"], 0)), ["one two three"]);
    assert_eq!(row(&place, "two")["sessions"][0]["turns"]["seed"], seed);
    assert_eq!(row(&place, "two")["sessions"].as_array().map(Vec::len), Some(1), "a fresh sample set");
}

#[test]
fn one_that_fails_ends_alone() {
    let models = [
        ("one", "{}"),
        ("crashes", r#"{"behaviour":"crash"}"#),
        ("babbles", r#"{"behaviour":"nonsense"}"#),
        ("hangs", r#"{"behaviour":"hang","at":"outputs"}"#),
        ("starves", r#"{"behaviour":"out-of-memory"}"#),
        ("absent", r#"{"behaviour":"no-device"}"#),
        ("two", r#"{"seed":2}"#),
    ];
    let place = place(&models, SAMPLING);
    let text = cells(&models, SAMPLING).replace("(s)20", "(s)2");
    place.write("p.kdl", &text);
    let events = run(&place, &[], 3);
    let ended = |model: &str| {
        let step = format!("speed[model={model}]");
        let of = events.iter().find(|event| event["event"] == "finished" && event["step"] == step.as_str());
        let event = of.unwrap_or_else(|| panic!("no end of {model}"));
        format!("{}: {}", event["outcome"].as_str().unwrap_or(""), event["detail"].as_str().unwrap_or(""))
    };
    assert_eq!((ended("one"), ended("two")), ("ran: ".to_owned(), "ran: ".to_owned()));
    assert!(
        ended("crashes").starts_with("failed: the engine ended during `measure` with signal 6"),
        "{}",
        ended("crashes")
    );
    assert!(ended("babbles").starts_with("failed: the engine spoke no protocol"), "{}", ended("babbles"));
    assert!(ended("hangs").starts_with("failed: the engine gave no answer to `outputs`"), "{}", ended("hangs"));
    assert!(ended("absent").starts_with("unavailable: simulated: there is no such device"), "{}", ended("absent"));
    // Memory that ran out in company is no result yet; alone it is.
    assert_eq!(ended("starves"), "ran: ");
    assert_eq!(row(&place, "starves")["state"], "failed");
    assert_eq!(row(&place, "two")["sessions"][0]["samples"].as_array().map(Vec::len), Some(20));
}

#[test]
fn a_missing_cell_has_the_baseline_beside_it_and_a_baseline_that_moved_is_told() {
    let place = place(&[("one", "{}"), ("two", r#"{"seed":2}"#)], SAMPLING);
    run(&place, &["--only", "model=one"], 0);
    let events = run(&place, &[], 0);
    assert_eq!(groups(&events), ["two + one"]);
    let baseline = row(&place, "one");
    let taken = |at: usize| baseline["sessions"][at]["samples"].as_array().map(Vec::len);
    assert_eq!(taken(0), Some(20));
    // A session of its own; it ends with the cell that it stood beside, perhaps before its own last block.
    assert!(matches!(taken(1), Some(18 | 20)), "{:?}", taken(1));
    assert!(!report(&place, "md").contains("mixed sessions"), "{}", report(&place, "md"));
    // All of it counts, and nothing is measured any more.
    assert_eq!(groups(&run(&place, &["--require-cached"], 0)), Vec::<String>::new());

    // Now on a device that has worked for long since the baseline was first measured.
    let place = place_with_device(600);
    let off = off();
    run(&place, &[&["--only", "model=one"], off].concat(), 0);
    fs::write(place.path().join("device"), "60000000000").expect("a hot device");
    let events = run(&place, off, 0);
    assert_eq!(groups(&events), ["two + one"]);
    let said = report(&place, "md");
    let at = said.find("mixed sessions (baseline +").unwrap_or_else(|| panic!("no caution in\n{said}"));
    let by: f64 = said[at..].split(['+', '%']).nth(1).expect("a figure").trim().parse().expect("a number");
    assert!((20.0..60.0).contains(&by), "{by}");
}

#[test]
fn a_plan_says_that_a_baseline_will_be_measured_again() {
    let place = place(&[("one", "{}"), ("two", r#"{"seed":2}"#), ("three", r#"{"seed":3}"#)], SAMPLING);
    let plan = || place.pipe(&["plan", "p.kdl"]).expect(0).out;
    // A baseline that waits for its samples like the others is measured once.
    assert!(!plan().contains("again"), "{}", plan());
    run(&place, &["--only", "model=one"], 0);
    let line = "  speed[model=one]    cached; measured again beside speed[model=two], speed[model=three]\n";
    assert!(plan().contains(line), "{}", plan());
    let json: Value =
        serde_json::from_str(&place.pipe(&["plan", "p.kdl", "--format", "json"]).expect(0).out).expect("JSON");
    let steps = json["steps"].as_array().expect("steps");
    let again: Vec<&Value> = steps.iter().map(|step| &step["again-beside"]).filter(|again| again.is_array()).collect();
    assert_eq!(again, [&serde_json::json!(["speed[model=two]", "speed[model=three]"])]);
    // Which is what the run then does, and nothing is left to say.
    assert_eq!(groups(&run(&place, &[], 0)), ["two three + one"]);
    assert!(!plan().contains("again"), "{}", plan());
}

/// Two equal cells on a device that slows down.
fn place_with_device(milli: u32) -> Place {
    let place = Place::new();
    let file = place.path().join("device");
    let script = |seed: u32| {
        format!(
            r#"{{"seed":{seed},"noise-milli":5,"heat":{{"file":"{}","half-ns":10000000000,"milli":{milli}}}}}"#,
            file.display()
        )
    };
    let (one, two) = (script(1), script(2));
    let models = [("one", one.as_str()), ("two", two.as_str())];
    place.engine();
    models.iter().for_each(|(name, script)| place.model(name, script));
    place.write("p.kdl", &cells(&models, "min=60 time=(s)1 target=(percent)50 max-time=(s)600"));
    place
}

/// Lets engines write the file of their device.
fn off() -> &'static [&'static str] {
    if common::has_sandbox() { &["--sandbox", "off"] } else { &[] }
}

#[test]
fn heat_does_not_favour_who_comes_first() {
    let off = off();
    let apart = |place: &Place| (median(place, "two") / median(place, "one") - 1.0).abs();

    let in_turn = place_with_device(700);
    let events = run(&in_turn, off, 0);
    assert_eq!(groups(&events), ["one two"]);
    assert!(apart(&in_turn) < 0.01, "in turn they lie {:.2} % apart", apart(&in_turn) * 100.0);

    // The same cells one after the other: without a baseline nobody stands beside.
    let sequential = place_with_device(700);
    let text = fs::read_to_string(sequential.path().join("p.kdl")).expect("the pipeline");
    sequential.write("p.kdl", &text.replace("{ baseline model=\"one\"; }", ""));
    assert_eq!(groups(&run(&sequential, &[&["--only", "model=one"], off].concat(), 0)), Vec::<String>::new());
    assert_eq!(groups(&run(&sequential, &[&["--only", "model=two"], off].concat(), 0)), Vec::<String>::new());
    run(&sequential, off, 0);
    assert!(apart(&sequential) > 0.10, "one after the other they lie {:.2} % apart", apart(&sequential) * 100.0);
    assert!(report(&sequential, "md").contains("Measured alone, with no other cell beside: one, two."));
}

#[test]
fn a_tighter_query_adds_to_the_samples_of_all() {
    let models = [("one", "{}"), ("two", r#"{"seed":2}"#)];
    let place = place(&models, SAMPLING);
    run(&place, &[], 0);
    place.write("p.kdl", &cells(&models, &SAMPLING.replace("min=20", "min=50")));
    assert_eq!(groups(&run(&place, &[], 0)), ["one two"]);
    for model in ["one", "two"] {
        let row = row(&place, model);
        let taken: Vec<_> = (0..2).map(|at| row["sessions"][at]["samples"].as_array().map(Vec::len)).collect();
        assert_eq!(taken, [Some(20), Some(30)], "{model}");
    }
}

/// Processes whose command names the folder.
fn leftovers(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let mut found = Vec::new();
    // Systems without `/proc` are asked for nothing.
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let working = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != std::process::id() && (command.contains(&folder) || working.starts_with(&folder)) {
            found.push(format!("{pid} {command}"));
        }
    }
    found
}

#[test]
fn engines_that_rest_end_with_the_run() {
    // One hangs in its block while the others are stopped.
    let models = [("one", "{}"), ("two", r#"{"seed":2}"#), ("hangs", r#"{"behaviour":"hang"}"#)];
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let place = place(&models, "min=2000 time=(s)1 target=(percent)50 max-time=(s)600");
        let log = place.path().join("log");
        let mut command = place.command(&["run", "p.kdl"]);
        command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("pipe starts");
        let until = Instant::now() + Duration::from_secs(30);
        // All are warm once the last one is: then blocks go round until the one that hangs has its turn.
        while !fs::read_to_string(&log).unwrap_or_default().contains("model=hangs]: hello") {
            assert!(Instant::now() < until, "{}", fs::read_to_string(&log).unwrap_or_default());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        kill_process(Pid::from_raw(child.id().cast_signed()).expect("a process"), signal).expect("a signal");
        let asked = Instant::now();
        assert_eq!(child.wait().expect("pipe ends").code(), code);
        while !leftovers(place.path()).is_empty() {
            assert!(asked.elapsed() < Duration::from_secs(8), "left: {:#?}", leftovers(place.path()));
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // One that is asked to end does so at once: it is no use to wait for who is stopped.
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    }
}
