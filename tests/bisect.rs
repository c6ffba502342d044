//! `pipe parity-bisect` with ONNX Runtime and torch: faults that were planted in a net of 150 nodes are found, each
//! verified, in as many probes as halving takes; and what can't be compared is refused with its reason.
//!
//! It needs the Python environment of 5 GB, which a test does not make: it takes it from the store that `PIPE_STORE`
//! names, where `pipelines/llm-6gb.kdl` was run before, as CI does.

#![expect(clippy::disallowed_methods, reason = "the store with the Python environment is named in the environment")]

#[expect(dead_code, reason = "this test needs no engine")]
mod common;

use std::fs;
use std::path::Path;

use common::{Place, Said, passed_over};
use serde_json::Value;

/// A place with the planted models in `out/plant/models`; none where the machine has no Python environment.
struct Planted {
    place: Place,
    store: String,
}

fn planted() -> Option<Planted> {
    let what = "the search for planted faults";
    let Some(store) = std::env::var("PIPE_STORE").ok() else {
        passed_over(what, "PIPE_STORE names no store in which `pipelines/llm-6gb.kdl` was run");
        return None;
    };
    let place = Place::new();
    for name in ["net.py", "plant.py", "plant.kdl"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bisect").join(name);
        place.write(name, &fs::read_to_string(from).expect("a file of the test"));
    }
    let plan = place.pipe(&["plan", "plant.kdl", "--format", "json", "--store", &store]).expect(0);
    let plan: Value = serde_json::from_str(&plan.out).expect("a plan");
    let steps = plan["steps"].as_array().expect("steps");
    if let Some(step) = steps.iter().find(|step| step["class"] == "fetch" && step["state"] == "runs") {
        passed_over(what, &format!("`{store}` lacks {}: run `pipelines/llm-6gb.kdl` with it", step["name"]));
        return None;
    }
    place.pipe(&["run", "plant.kdl", "--store", &store]).expect(0);
    Some(Planted { place, store })
}

impl Planted {
    fn search(&self, model: &str, flags: &[&str]) -> Said {
        let model = format!("out/plant/models/{model}.onnx");
        let args = ["parity-bisect", &model, "--store", &self.store, "--format", "json"];
        self.place.pipe(&[&args[..], flags].concat())
    }

    /// What a search found that ended with this code.
    #[track_caller]
    fn found(&self, code: i32, model: &str, flags: &[&str]) -> Value {
        serde_json::from_str(&self.search(model, flags).expect(code).out).expect("JSON")
    }

    fn against(&self, reference: &str) -> [String; 2] {
        ["--reference".to_owned(), format!("out/plant/models/{reference}.onnx")]
    }
}

/// The nodes that are said to depart, each of them verified.
fn nodes(found: &Value) -> Vec<&str> {
    let findings = found["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|one| one["alone"]["departs"] == true), "{found:#}");
    findings.iter().map(|one| one["node"].as_str().expect("a name")).collect()
}

#[test]
fn planted_faults_are_found_by_halving() {
    let Some(planted) = planted() else { return };
    let good = planted.against("good");
    let good = [&*good[0], &good[1], "--inputs", "out/plant/inputs/of-net"];

    // One weight, changed by 1e-2.
    let found = planted.found(1, "weight", &good);
    assert_eq!(nodes(&found), ["node_linear_22"]);
    let count = found["nodes"].as_u64().expect("a count");
    assert_eq!(count, 150);
    let probes = found["probes"].as_array().expect("probes").len();
    assert!(probes <= 9, "{probes} probes for {count} nodes: log2 and one for the outputs");
    let first = &found["findings"][0];
    assert_eq!(first["operator"], "Gemm");
    assert_eq!(first["module"], "model.11.up (torch.nn.modules.linear.Linear)");
    let because = first["causes"][0].as_str().expect("a cause");
    assert!(
        because.contains("`model.11.up.weight` has 1 of 512 elements that differ, the worst at [5, 7]"),
        "{because}"
    );
    let apart = first["worst"]["apart"].as_f64().expect("a number");
    let (here, there) = (first["worst"]["here"].as_f64(), first["worst"]["reference"].as_f64());
    assert!(apart > 1e-4 && (here.expect("here") - there.expect("there")).abs() - apart < 1e-9, "{first:#}");

    // One operator, replaced.
    let found = planted.found(1, "operator", &good);
    assert_eq!(nodes(&found), ["node_gelu_20"]);
    assert_eq!(found["findings"][0]["causes"][0], "the operator is Relu here and Gelu in the reference");

    // The recipe says the same, and what is printed is what it wrote.
    let recipe = fs::read_to_string(planted.place.path().join("out/plant/search/bisect.json")).expect("it");
    assert_eq!(serde_json::from_str::<Value>(&recipe).expect("JSON"), found);

    // No fault: said in words, and with another code.
    assert_eq!(planted.found(0, "good", &good)["verdict"], "agrees");
    let words = fs::read_to_string(planted.place.path().join("out/parity-bisect/search/bisect.txt")).expect("it");
    assert!(words.contains("no node departs: the outputs agree"), "{words}");

    // Everything is off by a little: no node is blamed for the sum.
    let found = planted.found(1, "drift", &[&good[..], &["--max-abs", "0", "--max-rel", "7e-6"]].concat());
    assert_eq!(found["verdict"], "drifts", "{found:#}");
    assert_eq!(found["findings"][0]["alone"]["departs"], false);
}

#[test]
fn the_torch_module_is_a_reference_too() {
    let Some(planted) = planted() else { return };
    let torch = ["--torch", "net.py:make"];
    for (model, node) in [("weight", "node_linear_22"), ("operator", "node_gelu_20")] {
        let found = planted.found(1, model, &torch);
        assert_eq!(nodes(&found), [node], "{found:#}");
        // The file's own metadata were stripped of it; torch still knows.
        let source = found["findings"][0]["source"].as_str().expect("a source");
        assert!(source.starts_with("net.py, line 14: return x +"), "{source}");
    }
    assert_eq!(planted.found(0, "good", &torch)["verdict"], "agrees");
}

#[test]
fn an_error_that_vanishes_does_not_mislead() {
    let Some(planted) = planted() else { return };
    let good = planted.against("masked-good");
    let good = good.each_ref().map(String::as_str);
    let all = [&good[..], &["--all"]].concat();
    // Its error is cut off by a `Relu`: the outputs agree, and the words say what was not looked for.
    assert_eq!(planted.found(0, "masked", &good)["verdict"], "agrees");
    let words = fs::read_to_string(planted.place.path().join("out/parity-bisect/search/bisect.txt")).expect("it");
    assert!(words.contains("an error that is gone again before the outputs is not looked for"), "{words}");
    assert_eq!(nodes(&planted.found(1, "masked", &all)), ["node_moved"]);
    // Beside it one that reaches the outputs.
    assert_eq!(nodes(&planted.found(1, "masked-weight", &good)), ["node_linear_22"]);
    assert_eq!(nodes(&planted.found(1, "masked-weight", &all)), ["node_moved", "node_linear_22"]);
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_reason() {
    let Some(planted) = planted() else { return };
    let good = planted.against("good");
    let good = good.each_ref().map(String::as_str);
    planted.place.write("broken.onnx", "this is no model");
    planted.place.write("empty/none.txt", "no inputs here");
    let cases: &[(&str, Vec<&str>, &str)] = &[
        ("renamed", good.to_vec(), "have no output in common"),
        ("good", vec!["--reference", "broken.onnx"], "the reference is no ONNX file"),
        ("good", vec!["--reference", "empty"], "is a folder with 0 files that end in .onnx"),
        ("good", [&good[..], &["--inputs", "empty"]].concat(), "cannot be read from its file"),
        ("good", [&good[..], &["--dims", "height=2"]].concat(), "has no free dimension `height`"),
        ("good", vec!["--torch", "net.py:absent"], "has no function `absent`"),
    ];
    for (model, flags, reason) in cases {
        let said = planted.search(model, flags).expect(3);
        assert!(said.err.contains(reason) && !said.err.contains("Traceback"), "{flags:?}\n{}", said.err);
    }
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_runs() {
    let place = Place::new();
    place.write("model.onnx", "");
    let cases = [
        (vec!["model.onnx"], "--reference <FILE>|--torch <FILE:FUNCTION>"),
        (vec!["model.onnx", "--reference", "absent.onnx"], "--reference: nothing lies at `absent.onnx`"),
        (vec!["absent.onnx", "--reference", "model.onnx"], "MODEL: nothing lies at `absent.onnx`"),
        (vec!["model.onnx", "--torch", "net.py"], "`--torch net.py` needs a file and a function"),
        (vec!["model.onnx", "--torch", "net.py:make"], "--torch: nothing lies at `net.py`"),
        (vec!["model.onnx", "--reference", "model.onnx", "--inputs", "model.onnx"], "is no folder"),
        (vec!["model.onnx", "--reference", "model.onnx", "--max-abs", "nan"], "a bound is a number, 0 or more"),
    ];
    for (args, reason) in cases {
        let said = place.pipe(&[&["parity-bisect"], &args[..]].concat()).expect(2);
        assert!(said.err.contains(reason), "{args:?}\n{}", said.err);
    }
    assert!(!place.path().join("out").exists(), "nothing was written");
}
