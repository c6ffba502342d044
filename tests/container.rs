//! `pipe` with a container runtime and without one, with the engine of the tests in an image of its own.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

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
    address().is_some()
}

/// Where the runtime answers.
fn address() -> Option<String> {
    let hints = Hints { home: std::env::home_dir(), ..Hints::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(Runtime::connect(&hints)) {
        Ok(runtime) => Some(runtime.address().to_owned()),
        Err(error) => {
            common::passed_over("a container runtime", &error.to_string());
            None
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
    // The two took turns, and each was stopped while the other had its own.
    let report = fs::read_to_string(place.path().join("out/boxed/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    for cell in report["cells"].as_array().expect("cells") {
        let turns = &cell["sessions"][0]["turns"];
        assert_eq!((turns["with"].as_array().map(Vec::len), turns["idle_stopped"].as_bool()), (Some(1), Some(true)));
        assert!(turns["blocks"].as_array().is_some_and(|blocks| blocks.len() > 1), "{turns}");
    }
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

/// The containers that a process of `pipe` has.
#[expect(clippy::disallowed_types, reason = "the runtime's client asks for it")]
fn containers(socket: &str, of: u32) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let docker = bollard::Docker::connect_with_socket(socket, 60, bollard::API_DEFAULT_VERSION).expect("a client");
        let filters = std::collections::HashMap::from([("label", vec![format!("pipe.process={of}")])]);
        let options =
            bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = docker.list_containers(Some(options)).await.expect("an answer");
        found.into_iter().map(|container| container.status.unwrap_or_default()).collect()
    })
}

#[test]
fn a_container_that_rests_goes_with_the_run() {
    let place = place();
    let Some(address) = address() else { return };
    let Some(socket) = address.strip_prefix("unix://") else {
        return common::passed_over("a runtime on this machine", "others' containers are never paused");
    };
    // The native engine hangs in its block, while the container's is paused.
    place.model("hangs", r#"{"behaviour":"hang"}"#);
    let text = PIPELINE.replace(
        "    model (step)\"model\"\n    tokens",
        "    when place=\"container\" { model (step)\"model\"; }\n    when place=\"native\" { model (file)\"hangs\"; }\n    tokens",
    );
    place.write("boxed.kdl", &text.replace("samples min=8", "samples min=400"));
    for (signal, code) in [(rustix::process::Signal::INT, Some(130)), (rustix::process::Signal::KILL, None)] {
        let log = place.path().join("log");
        let mut command = place.command(&["run", "boxed.kdl"]);
        command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("pipe starts");
        let until = Instant::now() + Duration::from_secs(60);
        while !containers(socket, child.id()).iter().any(|status| status.contains("Paused")) {
            assert!(Instant::now() < until, "{}", fs::read_to_string(&log).unwrap_or_default());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
        rustix::process::kill_process(pid, signal).expect("a signal");
        let asked = Instant::now();
        assert_eq!(child.wait().expect("pipe ends").code(), code);
        while !containers(socket, child.id()).is_empty() {
            assert!(asked.elapsed() < Duration::from_secs(20), "left: {:?}", containers(socket, child.id()));
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}
