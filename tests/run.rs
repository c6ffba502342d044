//! `pipe` from its command line to its exit codes, with the engine of the tests: what runs again and what does
//! not, why, and what becomes of engines that fail.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, ran};
use pipe_engine::npy;
use pipe_engine::tensor::{Element, Tensor};

/// Three builds, each of which reads the one before, and two cells measured by the simulated engine.
const PIPELINE: &str = r#"
pipeline "small" about="builds and cells"
param "text" "hello"
param "prompt-tokens" 8

step "first" {
    run "sh" "-c" "cat \"$1\" > out/first.txt; printf %s \"$2\" >> out/first.txt" "sh" (file)"note.txt" (param)"text"
    output "first.txt"
}
step "second" {
    run "sh" "-c" "tr a-z A-Z < \"$1\" > out/second.txt" "sh" (step)"first/first.txt"
    output "second.txt"
    export "second"
}
step "third" {
    run "sh" "-c" "wc -c < \"$1\" > out/third.txt" "sh" (step)"second/second.txt"
    output "third.txt"
}
matrix "cells" {
    axis "model" "one" "two"
    axis "device" "cpu" "mps"
    exclude model="two" device="mps" reason="one is enough"
}
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; }
    when model="two" { model (file)"two"; }
    tokens (file)"tokens.npy"
    device (axis)"device"
    dtype "fp32"
    threads 1
    prompt-tokens (param)"prompt-tokens"
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
    timeout (s)5
}
compare "report" of=(step)"speed" {
    baseline model="one" device="cpu"
    parity reference="model=one device=cpu" max-abs=1e-3
}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("small.kdl", PIPELINE);
    place.write("note.txt", "note\n");
    place.engine();
    place.model("one", "{}");
    place.model("two", r#"{"decode-ns": 5000000}"#);
    place
}

fn run(place: &Place, args: &[&str]) -> Vec<String> {
    let mut all = vec!["run", "small.kdl", "--events", "events.jsonl"];
    all.extend(args);
    place.pipe(&all).expect(0);
    ran(&place.path().join("events.jsonl"))
}

const ALL: [&str; 6] =
    ["first", "report", "second", "speed[model=one,device=cpu]", "speed[model=two,device=cpu]", "third"];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn the_second_run_runs_nothing_and_writes_the_same_report() {
    let place = place();
    assert_eq!(sorted(run(&place, &[])), ALL);
    let report = |name: &str| fs::read(place.path().join("out/small").join(name)).expect(name);
    let before: Vec<Vec<u8>> = ["report.md", "report.csv", "report.json", "report.html"].map(report).to_vec();
    assert_eq!(run(&place, &[]), Vec::<String>::new());
    let after: Vec<Vec<u8>> = ["report.md", "report.csv", "report.json", "report.html"].map(report).to_vec();
    assert!(before == after, "a report changed though nothing ran");
    assert_eq!(
        fs::read_to_string(place.path().join("out/small/second/second.txt")).expect("the export"),
        "NOTE\nHELLO"
    );
    place.pipe(&["run", "small.kdl", "--require-cached"]).expect(0);
}

#[test]
fn what_is_no_input_runs_nothing() {
    let place = place();
    run(&place, &[]);
    let edited = format!("// A comment.\n\n{}", PIPELINE.replace("step \"first\"", "step   \"first\" /* odd */"));
    place.write("small.kdl", &edited);
    assert_eq!(run(&place, &[]), Vec::<String>::new(), "comments and blanks");

    let renamed = PIPELINE.replace("\"first\"", "\"begin\"").replace("first/first.txt", "begin/first.txt");
    place.write("small.kdl", &renamed);
    let plan = place.pipe(&["plan", "small.kdl"]).expect(0);
    assert!(plan.out.contains("begin"), "the new name is printed:\n{}", plan.out);
    assert_eq!(run(&place, &[]), Vec::<String>::new(), "a renamed step");
    let report = fs::read(place.path().join("out/small/report.csv")).expect("a report");
    place.write("small.kdl", &PIPELINE.replace("\"speed\"", "\"velocity\""));
    assert_eq!(run(&place, &[]), Vec::<String>::new(), "a renamed measurement");
    let renamed = fs::read(place.path().join("out/small/report.csv")).expect("a report");
    assert!(renamed == report, "what is known of its cells is found under the new name");
    place.write("small.kdl", PIPELINE);

    let note = place.path().join("note.txt");
    let file = fs::File::options().append(true).open(&note).expect("the note");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).expect("a time");
    assert_eq!(run(&place, &[]), Vec::<String>::new(), "a touched file");
}

#[test]
fn a_moved_checkout_runs_nothing() {
    let (here, there) = (place(), place());
    run(&here, &[]);
    let store = here.path().join("store");
    let store = store.to_str().expect("UTF-8");
    assert_eq!(run(&there, &["--store", store]), Vec::<String>::new());
}

#[test]
fn an_edit_runs_what_it_changes_and_stops_where_bytes_repeat() {
    let place = place();
    run(&place, &[]);
    assert_eq!(sorted(run(&place, &["--set", "text=Hello"])), ["first", "second"], "upper case makes both the same");
    assert_eq!(sorted(run(&place, &["--set", "text=bye"])), ["first", "second", "third"]);
    assert_eq!(run(&place, &[]), Vec::<String>::new(), "going back is a hit");
}

#[test]
fn a_parameter_of_the_measurement_runs_only_measurements() {
    let place = place();
    run(&place, &[]);
    let why = place.pipe(&["why", "small.kdl", "speed", "--set", "prompt-tokens=16"]).expect(0);
    assert!(why.out.contains("prompt-tokens: 8 → 16"), "{}", why.out);
    assert!(why.out.contains("--set prompt-tokens=16"), "the flag is the place:\n{}", why.out);
    let names = sorted(run(&place, &["--set", "prompt-tokens=16"]));
    assert_eq!(names, ["report", "speed[model=one,device=cpu]", "speed[model=two,device=cpu]"]);

    place.write("small.kdl", &PIPELINE.replace("param \"prompt-tokens\" 8", "param \"prompt-tokens\" 24"));
    let why = place.pipe(&["why", "small.kdl", "speed[model=one,device=cpu]"]).expect(0);
    assert!(why.out.contains("small.kdl:4:"), "the place in the file:\n{}", why.out);
}

#[test]
fn a_plan_says_what_the_run_then_does() {
    let place = place();
    let plan = place.pipe(&["plan", "small.kdl", "--format", "json"]).expect(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).expect("JSON");
    let state = |name: &str| {
        let steps = plan["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["name"] == name).expect(name)["state"].clone()
    };
    assert_eq!(state("first"), "runs");
    assert_eq!(state("second"), "depends");
    assert_eq!(state("speed[model=one,device=mps]"), "unavailable");
    assert_eq!(state("report"), "depends");
    place.pipe(&["run", "small.kdl", "--require-cached"]).expect(4);
}

#[test]
fn cells_are_chosen_required_and_measured_again() {
    let place = place();
    let names = sorted(run(&place, &["--only", "model=one device=cpu"]));
    assert_eq!(names, ["first", "report", "second", "speed[model=one,device=cpu]", "third"]);
    place.pipe(&["run", "small.kdl", "--only", "model=three"]).expect(2);
    let said = place.pipe(&["run", "small.kdl", "--require", "device=mps"]).expect(4);
    assert!(said.err.contains("Metal"), "{}", said.err);
    assert_eq!(
        sorted(run(&place, &["--remeasure", "--only", "model=one device=cpu"])),
        ["report", "speed[model=one,device=cpu]"]
    );
}

#[test]
fn what_simulates_is_marked() {
    let place = place();
    let said = place.pipe(&["run", "small.kdl"]).expect(0);
    assert!(said.out.contains("simulated"), "{}", said.out);
}

#[test]
fn an_engine_that_fails_is_one_failed_cell() {
    let cases =
        [("crash", "SIGABRT"), ("hang", "gave no answer"), ("nonsense", "spoke no protocol"), ("exit", "exit code 3")];
    for (behaviour, cause) in cases {
        let place = place();
        place.model("two", &format!(r#"{{"behaviour": "{behaviour}"}}"#));
        let said = place.pipe(&["run", "small.kdl"]).expect(3);
        assert!(said.err.contains(cause), "{behaviour}: no `{cause}` in\n{}", said.err);
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path().join("out/small/report.json")).expect("a report"))
                .expect("JSON");
        let state = |model: &str| {
            let cells = report["cells"].as_array().expect("cells").clone();
            let of = |cell: &serde_json::Value| cell["cell"]["model"] == model && cell["cell"]["device"] == "cpu";
            cells.into_iter().find(of).expect(model)["state"].clone()
        };
        assert_eq!(state("one"), "measured", "{behaviour}: the other cell goes on");
        assert_eq!(state("two"), "failed", "{behaviour}");
        // A failure is never cached, and mended, the cell is measured.
        place.pipe(&["run", "small.kdl", "--require-cached"]).expect(4);
        place.model("two", r#"{"decode-ns": 5000000}"#);
        assert!(run(&place, &[]).contains(&"speed[model=two,device=cpu]".to_owned()), "{behaviour}");
    }
}

#[test]
fn memory_that_an_engine_reports_is_a_result() {
    let place = place();
    place.model("two", r#"{"behaviour": "out-of-memory"}"#);
    let said = place.pipe(&["run", "small.kdl"]);
    assert!(said.out.contains("memory"), "{}\n{}", said.out, said.err);
    assert!(!run_any(&place).contains(&"speed[model=two,device=cpu]".to_owned()), "it is kept for this machine");
}

fn run_any(place: &Place) -> Vec<String> {
    place.pipe(&["run", "small.kdl", "--events", "events.jsonl"]);
    ran(&place.path().join("events.jsonl"))
}

#[test]
fn outputs_that_are_wrong_fail_the_gate() {
    let place = place();
    place.model("two", r#"{"behaviour": "wrong"}"#);
    let said = place.pipe(&["run", "small.kdl"]).expect(1);
    assert!(said.out.contains("wrong"), "{}", said.out);
}

#[test]
fn a_step_that_fails_says_how_and_leaves_the_rest_running() {
    let place = place();
    place.write("small.kdl", &PIPELINE.replace("tr a-z A-Z", "echo it broke here >&2; exit 7; tr a-z A-Z"));
    let said = place.pipe(&["run", "small.kdl"]).expect(3);
    for wanted in ["second failed", "exit code 7", "it broke here", "command: ", "look around: cd ", "To go on: "] {
        assert!(said.err.contains(wanted), "no `{wanted}` in\n{}", said.err);
    }
    assert!(Path::new(&place.path().join("out/small/report.md")).exists(), "the cells were measured");
    place.write("small.kdl", &PIPELINE.replace("> out/second.txt", "> out/other.txt"));
    let said = place.pipe(&["run", "small.kdl"]).expect(3);
    assert!(said.err.contains("did not write its output `second.txt`"), "{}", said.err);
}

#[test]
fn a_step_sees_no_file_that_it_did_not_declare() {
    if !common::has_sandbox() {
        return;
    }
    let place = place();
    let secret = place.write("secret.txt", "not yours");
    let pipeline = format!(
        "pipeline \"closed\"\nstep \"peek\" {{\n    run \"sh\" \"-c\" \"cat {} > out/x\"\n    output \"x\"\n}}\n",
        secret.display()
    );
    place.write("closed.kdl", &pipeline);
    let said = place.pipe(&["run", "closed.kdl"]).expect(3);
    assert!(said.err.contains("No such file") || said.err.contains("Permission denied"), "{}", said.err);
}

/// The same model right and wrong, measured by single inferences.
const INFERENCES: &str = r#"
pipeline "tensors" about="inferences"
matrix "cells" {
    axis "model" "one" "two" "off"
}
measure "infer" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; }
    when model="two" { model (file)"two"; }
    when model="off" { model (file)"off"; }
    inputs (file)"inputs"
    device "cpu"
    threads 1
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
compare "report" of=(step)"infer" {
    baseline model="one"
    parity reference="model=one" max-rel=1e-3
    expect "items-per-second" cell="model=two" min=100
}
"#;

/// A folder of inputs for the simulated engine: `x`, so many rows of two numbers.
fn inputs(place: &Place, rows: u64) {
    let bytes = (0..2 * rows).flat_map(|number| (number as f32).to_le_bytes()).collect();
    let tensor = Tensor { element: Element::Float32, shape: vec![rows, 2], bytes };
    let path = place.write("inputs/x.npy", "");
    npy::write(fs::File::create(path).expect("a file"), &tensor).expect("an array");
}

#[test]
fn inferences_of_any_model_are_measured_compared_and_kept() {
    let place = Place::new();
    place.write("tensors.kdl", INFERENCES);
    place.engine();
    inputs(&place, 4);
    place.model("one", "{}");
    place.model("two", r#"{"infer-ns": 10000000}"#);
    place.model("off", r#"{"behaviour": "wrong"}"#);
    let said = place.pipe(&["run", "tensors.kdl"]).expect(1);
    assert!(said.out.contains("2 measured, 1 wrong"), "{}", said.out);
    assert!(said.out.contains("One sample is one inference of 4 items"), "{}", said.out);
    let report = fs::read_to_string(place.path().join("out/tensors/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let cell = |label: &str| {
        let cells = report["cells"].as_array().expect("cells");
        cells.iter().find(|cell| cell["label"] == label).expect("a cell").clone()
    };
    let (one, two, off) = (cell("one"), cell("two"), cell("off"));
    let median = |cell: &serde_json::Value, metric: &str| cell["metrics"][metric]["median"].as_f64().expect("a median");
    // Times are invented: 20 ms and 10 ms, and up to 1 % more.
    assert!((20e6..20.2e6).contains(&median(&one, "latency")), "{}", one["metrics"]);
    assert!((396.0..400.0).contains(&median(&two, "items-per-second")), "{}", two["metrics"]);
    assert!(two["metrics"].get("time-to-first-token").is_none(), "{}", two["metrics"]);
    assert_eq!(two["speed_ups"]["latency"]["verdict"], "faster");
    assert_eq!((&two["parity"]["verdict"], &two["parity"]["max_abs"]), (&"right".into(), &0.0.into()));
    assert_eq!((&off["parity"]["verdict"], &off["parity"]["max_abs"]), (&"wrong".into(), &1.0.into()));
    assert!(two["sessions"][0]["samples"][0]["latency_ns"].is_u64(), "{}", two["sessions"][0]["samples"][0]);
    assert_eq!(report["expects"][0]["verdict"], "pass");

    place.pipe(&["run", "tensors.kdl", "--require-cached"]).expect(1);
    inputs(&place, 8);
    let why = place.pipe(&["why", "tensors.kdl", "infer[model=two]"]).expect(0);
    assert!(why.out.contains("inputs: "), "{}", why.out);
    let said = place.pipe(&["run", "tensors.kdl"]).expect(1);
    assert!(said.out.contains("One sample is one inference of 8 items"), "{}", said.out);
}

#[test]
fn inputs_that_do_not_fit_fail_the_cell_with_what_the_model_takes() {
    let place = Place::new();
    place.write("tensors.kdl", INFERENCES);
    place.engine();
    place.write("inputs/z.npy", "");
    ["one", "two", "off"].iter().for_each(|name| place.model(name, "{}"));
    let said = place.pipe(&["run", "tensors.kdl"]).expect(3);
    assert!(said.err.contains("`z.npy` is no input of the model, which takes `x.npy`"), "{}", said.err);
}

#[test]
fn the_level_of_graph_optimisation_is_what_was_asked_for() {
    let place = place();
    let asked = |level: &str| PIPELINE.replace("dtype \"fp32\"", &format!("optimization \"{level}\""));
    run(&place, &[]);
    // What engines did before they could be asked is no other question.
    place.write("small.kdl", &asked("all"));
    assert_eq!(run(&place, &[]), Vec::<String>::new());
    // Another level is one, and told below the table.
    place.write("small.kdl", &asked("basic"));
    let ran = run(&place, &["--only", "model=one device=cpu"]);
    assert!(ran.contains(&"speed[model=one,device=cpu]".to_owned()), "{ran:?}");
    let report = fs::read_to_string(place.path().join("out/small/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let cell = report["cells"].as_array().expect("cells").iter().find(|cell| cell["state"] == "measured");
    assert_eq!(cell.expect("a measured cell")["setup"]["optimization"], "basic");
    let words = fs::read_to_string(place.path().join("out/small/report.md")).expect("a report");
    assert!(words.contains("graph optimisation basic"), "{words}");
    // An engine that does not know the setting, or did something else, has measured no cell.
    place.model("two", r#"{"optimization": "all"}"#);
    let said = place.pipe(&["run", "small.kdl", "--only", "model=two device=cpu"]).expect(3);
    assert!(said.err.contains("its level of graph optimisation is `all`, and `basic` is asked for"), "{}", said.err);
    place.write("small.kdl", &asked("most"));
    assert!(place.pipe(&["check", "small.kdl"]).expect(2).err.contains("`extended`"));
}
