//! `pipe` with a container runtime and without one, with the engine of the tests in an image of its own.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{Place, ran};
use pipe::exec::container::{Hints, Runtime};

/// One cell natively, one in a container.
const PIPELINE: &str = r#"
pipeline "boxed" about="the same engine inside and outside"
use "std/container"
tree "engine" {
    put "bin/sim-engine" (file)"sim-engine"
    text "lib/none" "no libraries"
}
tree "model" { put "" (file)"model"; }
container-image "image" { engine (step)"engine"; model (step)"model"; }
matrix "cells" { axis "place" "native" "container"; }
measure "speed" for-each="cells" {
    engine (step)"engine"
    program "bin/sim-engine"
    model (step)"model"
    tokens (file)"tokens.npy"
    when place="container" { container (step)"image" cpus=1 memory=(MiB)256; }
    device "cpu"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
compare "report" of=(step)"speed" {
    baseline place="container"
    parity reference="place=native" max-abs=1e-3
}
"#;

/// An address at which no runtime is.
const NOWHERE: &str = "unix:///nowhere/docker.sock";

fn place() -> Place {
    let place = Place::new();
    place.write("boxed.kdl", PIPELINE);
    place.engine();
    place.model("model", "{}");
    place
}

/// True where a runtime answers; a test that needs one returns early otherwise.
fn has_runtime() -> bool {
    let hints = Hints { home: std::env::home_dir(), ..Hints::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(Runtime::connect(&hints)) {
        Ok(_) => true,
        Err(error) => {
            common::passed_over("a container runtime", &error.to_string());
            false
        }
    }
}

/// The state of each cell, by its place.
fn states(place: &Place) -> BTreeMap<String, String> {
    let bytes = fs::read(place.path().join("out/boxed/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let cells = report["cells"].as_array().expect("cells");
    cells.iter().map(|cell| (text(&cell["cell"]["place"]), text(&cell["state"]))).collect()
}

fn state(native: &str, container: &str) -> BTreeMap<String, String> {
    [("native", native), ("container", container)].map(|(place, state)| (place.to_owned(), state.to_owned())).into()
}

#[test]
fn a_cell_is_measured_in_a_container_and_known_when_the_runtime_is_gone() {
    let place = place();
    if !has_runtime() {
        return;
    }
    place.pipe(&["run", "boxed.kdl", "--require", "place=container"]).expect(0);
    assert_eq!(states(&place), state("measured", "measured"));
    let without = place.pipe_with(&[("DOCKER_HOST", NOWHERE)], &["run", "boxed.kdl", "--events", "events.jsonl"]);
    without.expect(0);
    assert_eq!(ran(&place.path().join("events.jsonl")), Vec::<String>::new());
    assert_eq!(states(&place), state("measured", "measured"));
}

#[test]
fn without_a_runtime_the_rest_is_measured_and_no_image_is_made() {
    let place = place();
    let env = [("DOCKER_HOST", NOWHERE)];
    let said = place.pipe_with(&env, &["run", "boxed.kdl", "--events", "events.jsonl"]).expect(0);
    assert_eq!(states(&place), state("measured", "unavailable"));
    for wanted in ["unavailable: container", "baseline", "→ "] {
        assert!(said.out.contains(wanted), "no `{wanted}` in\n{}", said.out);
    }
    let ran = ran(&place.path().join("events.jsonl"));
    assert!(!ran.iter().any(|step| step.starts_with("image")), "{ran:?}");
    let said = place.pipe_with(&env, &["run", "boxed.kdl", "--require", "place=container"]).expect(4);
    assert!(said.err.contains("container"), "{}", said.err);
}
