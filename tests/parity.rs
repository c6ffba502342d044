//! Parity from the pipeline's text to exit code 1: each limit, on outputs that break it, and outputs that can't be
//! compared. Engines are simulated; what one cell is asked differs from the other's, so their outputs do.

mod common;

use std::fs;

use common::{Place, Said, ran};
use pipe_engine::npy;
use pipe_engine::tensor::{Element, Tensor};
use serde_json::Value as Json;

/// Two cells of a language model, of which the second reads another token from the fourth on.
const SEQUENCES: &str = r#"
pipeline "words"
matrix "cells" { axis "model" "one" "two"; }
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; tokens (file)"tokens.npy"; }
    when model="two" { model (file)"two"; tokens (file)"other.npy"; }
    device "cpu"
    threads 1
    prompt-tokens 8
    new-tokens 4
    samples min=8 time=(ms)1 max-time=(s)20
}
compare "report" of=(step)"speed" {
    baseline model="one"
    parity reference="model=one" LIMITS
}
"#;

fn array(place: &Place, name: &str, element: Element, shape: &[u64], bytes: Vec<u8>) {
    let path = place.write(name, "");
    let tensor = Tensor { element, shape: shape.to_vec(), bytes };
    npy::write(fs::File::create(path).expect("a file"), &tensor).expect("an array");
}

fn sequences() -> Place {
    let place = Place::new();
    place.engine();
    let tokens: Vec<u8> = (0..64).flat_map(|i| if i < 3 { 1i64 } else { 2 }.to_le_bytes()).collect();
    array(&place, "other.npy", Element::Int64, &[64], tokens);
    place.model("one", "{}");
    place.model("two", r#"{"decode-ns": 5000000}"#);
    place
}

fn judged(place: &Place, pipeline: &str, limits: &str) -> (Said, Json) {
    place.write("p.kdl", &pipeline.replace("LIMITS", limits));
    let said = place.pipe(&["run", "p.kdl", "--events", "events.jsonl"]);
    let name = pipeline.split('"').nth(1).expect("a name");
    let report = fs::read_to_string(place.path().join(format!("out/{name}/report.json"))).expect("a report");
    (said, serde_json::from_str(&report).expect("JSON"))
}

fn cell(report: &Json, label: &str) -> Json {
    let cells = report["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["label"] == label).expect("the cell").clone()
}

#[test]
fn each_limit_fails_the_gate_and_says_which_where_and_by_how_much() {
    let place = sequences();
    let cases = [
        ("max-abs=1e-3", "max-abs", "absolute error", "max-abs=100"),
        ("max-rel=1e-3", "max-rel", "relative error", "max-rel=100"),
        ("max-ulp=4", "max-ulp", "ULP is above 4 ULP", "max-ulp=1e12"),
        ("min-cosine=0.9999", "min-cosine", "is below 0.9999", "min-cosine=-1"),
        ("min-top-k=(percent)99", "min-top-k", "is below 99 %", "min-top-k=(percent)0"),
        ("min-greedy-prefix=12", "min-greedy-prefix", "is below 12, it ends in", "min-greedy-prefix=3"),
        ("{ output \"logits\" min-cosine=0.9999; }", "min-cosine", "is below 0.9999", "min-cosine=-0.5"),
    ];
    for (tight, metric, words, loose) in cases {
        let (said, report) = judged(&place, SEQUENCES, tight);
        let said = said.expect(1);
        // The terminal breaks its lines.
        let out = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.contains("fast but wrong") && out.contains(words), "{tight}: {out}");
        assert!(out.contains("in `logits` at position"), "{tight}: {out}");
        let two = cell(&report, "two");
        assert_eq!((&two["state"], &two["parity"]["verdict"]), (&"wrong".into(), &"wrong".into()), "{tight}");
        let beyond = &two["parity"]["beyond"][0];
        assert_eq!((&beyond["metric"], &beyond["output"]), (&metric.into(), &"logits".into()), "{tight}: {beyond}");
        assert!(beyond["at"][0].as_u64().is_some_and(|position| position >= 3), "{tight}: {beyond}");
        assert_eq!(two["winner"], false, "{tight}");
        assert_eq!(report["gate_failed"], true, "{tight}");

        let (said, report) = judged(&place, SEQUENCES, loose);
        said.expect(0);
        let found = &cell(&report, "two")["parity"];
        assert_eq!(found["verdict"], "right", "{loose}");
        for figure in ["max_abs", "max_rel", "mean_abs", "max_ulp", "cosine", "top_k"] {
            assert!(found[figure].is_f64(), "all figures are there, whatever has a limit: {figure} of {found}");
        }
        assert_eq!((&found["greedy_prefix"], &found["positions"]), (&3.into(), &12.into()), "{found}");
        assert!(found["outputs"]["logits"]["max_ulp"]["at"].is_array(), "{found}");
        // Limits are no part of what is measured.
        assert_eq!(ran(&place.path().join("events.jsonl")).len(), 1, "only the comparison ran");
    }
    let html = fs::read_to_string(place.path().join("out/words/report.html")).expect("a page");
    assert!(html.contains("least cosine") && html.contains("parity says how far"), "the page has the table");
}

/// Two cells of a model that makes `y = 2 x`, the second of other inputs.
const INFERENCES: &str = r#"
pipeline "numbers"
matrix "cells" { axis "model" "one" "two"; }
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one"; inputs (file)"inputs"; }
    when model="two" { model (file)"two"; inputs (file)"others"; }
    device "cpu"
    threads 1
    samples min=8 time=(ms)1 max-time=(s)20
}
compare "report" of=(step)"speed" {
    parity reference="model=one" LIMITS
}
"#;

fn inferences(ours: (&[u64], &[f32]), others: (&[u64], &[f32])) -> Place {
    let place = Place::new();
    place.engine();
    place.model("one", "{}");
    place.model("two", r#"{"infer-ns": 10000000}"#);
    for (folder, (shape, values)) in [("inputs", ours), ("others", others)] {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        array(&place, &format!("{folder}/x.npy"), Element::Float32, shape, bytes);
    }
    place
}

#[test]
fn what_can_not_be_compared_is_wrong_in_its_own_way() {
    let plain: (&[u64], &[f32]) = (&[2, 1], &[1.0, 2.0]);
    let nan: (&[u64], &[f32]) = (&[2, 1], &[1.0, f32::NAN]);
    let infinite: (&[u64], &[f32]) = (&[2, 1], &[f32::INFINITY, 2.0]);
    let cases = [
        (plain, nan, "not-finite", "this cell's output has a NaN in `y` at [1, 0]"),
        (nan, nan, "not-finite", "both outputs have a NaN, which is no agreement"),
        (infinite, infinite, "not-finite", "both outputs have an infinity, which is no agreement"),
        (plain, (&[1, 2], &[1.0, 2.0]), "shape", "this cell's output `y` has the shape 1 × 2, the reference's 2 × 1"),
    ];
    for (ours, others, kind, words) in cases {
        let place = inferences(ours, others);
        let (said, report) = judged(&place, INFERENCES, "max-abs=1e30");
        said.expect(1);
        let parity = &cell(&report, "two")["parity"];
        assert_eq!(parity["odd"], kind, "{parity}");
        assert!(parity["why"].as_str().is_some_and(|why| why.contains(words)), "{parity}");
    }
}

#[test]
fn single_outputs_have_limits_of_their_own_and_must_be_there() {
    let place = inferences((&[2, 1], &[1.0, 2.0]), (&[2, 1], &[1.0, 2.25]));
    judged(&place, INFERENCES, "max-abs=0.5").0.expect(0);
    judged(&place, INFERENCES, "max-abs=0.5 { output \"y\" max-abs=0.25; }").0.expect(1);
    judged(&place, INFERENCES, "max-abs=0.25 { output \"y\" max-abs=0.5; }").0.expect(0);
    let (said, report) = judged(&place, INFERENCES, "max-abs=0.5 { output \"z\" max-abs=9.0; }");
    assert!(said.expect(1).out.contains("there is `y`"));
    assert_eq!(cell(&report, "two")["parity"]["odd"], "no-such-output");
    let (_, report) = judged(&place, INFERENCES, "max-abs=0.5 { output \"y\" ignore=#true; }");
    assert_eq!(cell(&report, "two")["parity"]["odd"], "nothing", "what is not compared is not right");
}

#[test]
fn limits_that_can_not_be_meant_are_refused() {
    let place = sequences();
    let refused = |limits: &str, words: &str| {
        place.write("p.kdl", &SEQUENCES.replace("LIMITS", limits));
        let said = place.pipe(&["check", "p.kdl"]).expect(2);
        assert!(said.err.contains(words), "{limits}: {}", said.err);
    };
    refused("top-k=3", "does not say how far is too far");
    refused("max-abs=-1.0", "write a number of 0 or more");
    refused("min-cosine=1.5", "write a number from -1 to 1");
    refused("min-top-k=(percent)200", "write a number from 0 to 100 percent");
    refused("top-k=0 min-top-k=(percent)5", "`top-k` cannot be 0");
    refused("max-abs=1e-3 { output \"logits\"; }", "`output` does not say how far is too far");
    refused("min-greedy-prefx=3", "min-greedy-prefix");
    refused("tolerance=\"calibrated\"", "`parity` needs `exact`");
    refused("max-abs=1e-3 k=2", "belong to a calibrated tolerance");
    refused("tolerance=\"measured\" exact=(file)\"one\"", "calibrated");
    refused("tolerance=\"calibrated\" exact=(file)\"one\" k=0", "write a number of more than 0");
}

/// The same two cells, judged by the noise of the first against exact outputs.
const CALIBRATED: &str = r#"tolerance="calibrated" exact=(file)"exact" "#;

/// Cells of which the second is 3/128 off, and a reference that is 1/128 off what is exact.
fn with_exact(shape: &[u64], exact: &[f64]) -> Place {
    let place = inferences((&[2, 1], &[1.0, 2.0]), (&[2, 1], &[1.0, 2.0 + 3.0 / 256.0]));
    array(&place, "exact/y.npy", Element::Float64, shape, exact.iter().flat_map(|value| value.to_le_bytes()).collect());
    place
}

#[test]
fn a_calibrated_limit_is_so_many_times_the_references_own_noise() {
    let place = with_exact(&[2, 1], &[2.0, 4.0 - 1.0 / 128.0]);
    let (said, report) = judged(&place, INFERENCES, &format!("{CALIBRATED} k=3"));
    said.expect(0);
    let tolerance = &report["tolerance"]["calibrated"];
    assert_eq!((&tolerance["k"], &tolerance["noise"]["y"]), (&3.0.into(), &0.0078125.into()), "{tolerance}");
    assert_eq!(tolerance["limit"]["y"], 0.0234375, "{tolerance}");
    assert_eq!(cell(&report, "two")["parity"]["verdict"], "right");
    let method = report["method"].to_string();
    let words = "3 × the reference's own noise (fp32 against fp64: 0.008 in `y`, so ≤ 0.023)";
    assert!(method.contains(words), "{method}");

    let (said, report) = judged(&place, INFERENCES, &format!("{CALIBRATED} k=2"));
    let out = said.expect(1).out.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "above 1.56e-2, 2 × the reference's own noise of 7.81e-3, worst in `y` at [1, 0]";
    assert!(out.contains("fast but wrong") && out.contains(words), "{out}");
    let beyond = &cell(&report, "two")["parity"]["beyond"][0];
    assert_eq!((&beyond["metric"], &beyond["limit"]), (&"calibrated".into(), &0.015625.into()), "{beyond}");
    assert_eq!(ran(&place.path().join("events.jsonl")).len(), 1, "only the comparison ran");

    // Said of the output itself, another limit stands in for it; and `k` is 4 where nobody says.
    judged(&place, INFERENCES, &format!("{CALIBRATED} k=2 {{ output \"y\" max-abs=0.1; }}")).0.expect(0);
    judged(&place, INFERENCES, CALIBRATED).0.expect(0);
    // Other exact outputs, another limit.
    array(&place, "exact/y.npy", Element::Float64, &[2, 1], [2.0f64, 4.0].map(f64::to_le_bytes).concat());
    judged(&place, INFERENCES, CALIBRATED).0.expect(1);
}

#[test]
fn without_noise_there_is_no_calibrated_verdict_and_other_limits_still_hold() {
    let shapes = with_exact(&[1, 2], &[2.0, 4.0]);
    let (said, report) = judged(&shapes, INFERENCES, CALIBRATED);
    said.expect(0);
    let parity = &cell(&report, "two")["parity"];
    assert_eq!(parity["verdict"], "n/a", "{parity}");
    let why =
        "the reference's noise is not known: the exact run's output `y` has the shape 1 × 2, the reference's 2 × 1";
    assert_eq!(parity["why"], why);
    judged(&shapes, INFERENCES, &format!("{CALIBRATED} max-abs=1e-3")).0.expect(1);

    let nan = with_exact(&[2, 1], &[2.0, f64::NAN]);
    let (_, report) = judged(&nan, INFERENCES, CALIBRATED);
    let why = &cell(&report, "two")["parity"]["why"];
    assert!(why.as_str().is_some_and(|why| why.contains("the exact run's output has a NaN")), "{why}");

    let failing = INFERENCES.replace("compare", "step \"exact\" { run \"false\"; output \"y.npy\"; }\ncompare");
    let (said, report) = judged(&nan, &failing, r#"tolerance="calibrated" exact=(step)"exact""#);
    said.expect(3);
    let why = &cell(&report, "two")["parity"]["why"];
    assert_eq!(why, "the reference's noise is not known: the exact outputs are not there");
}

#[test]
fn a_step_makes_the_exact_outputs_and_is_needed_for_nothing_else() {
    let place = with_exact(&[2, 1], &[2.0, 4.0 - 1.0 / 128.0]);
    let copy = "step \"exact\" { run \"cp\" \"-r\" (file)\"exact\" (output)\"y\"; output \"y\"; }\ncompare";
    let pipeline = INFERENCES.replace("compare", copy);
    let limits = r#"tolerance="calibrated" exact=(step)"exact/y" k=3"#;
    judged(&place, &pipeline, limits).0.expect(0);
    let mut names = ran(&place.path().join("events.jsonl"));
    names.sort();
    assert_eq!(names, ["exact", "report", "speed[model=one]", "speed[model=two]"]);
    judged(&place, &pipeline, limits).0.expect(0);
    assert!(ran(&place.path().join("events.jsonl")).is_empty(), "the second run runs nothing");
    let tighter = limits.replace("k=3", "k=2");
    judged(&place, &pipeline, &tighter).0.expect(1);
    assert_eq!(ran(&place.path().join("events.jsonl")), ["report"]);
}
