//! Every pipeline in `examples/` is run, twice: the second time nothing may run. What needs more than this machine
//! has is passed over with its reason; with `PIPE_TEST_REQUIRE=all` that fails.

#![expect(clippy::disallowed_methods, reason = "the store to measure with is named in the environment")]

#[expect(dead_code, reason = "this test needs no engine")]
mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Place, passed_over};

/// Examples that run on every machine with a shell, `python3` and the tools of a Unix.
const ANYWHERE: &[&str] = &["file", "hello", "image", "matrix", "param", "process", "recipe", "tree", "use", "when"];

/// Examples with a test of their own, below.
const SPECIAL: &[&str] =
    &["compare", "expect", "fetch", "host-packages", "measure", "model", "needs", "parity", "secret", "wheels"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> String {
    root().join(format!("examples/{name}.kdl")).to_str().expect("UTF-8").to_owned()
}

fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("examples")).expect("the examples").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(".kdl").map(str::to_owned)).collect()
}

/// Runs an example twice with these flags; the reason why it cannot run here, where that is not its own fault.
fn twice(place: &Place, name: &str, flags: &[&str]) -> Result<(), String> {
    let file = example(name);
    let args: Vec<&str> = ["run", &file].into_iter().chain(flags.iter().copied()).collect();
    let said = place.pipe(&args);
    if said.code == 3 || !(said.out.clone() + &said.err).contains(" 0 unavailable") {
        return Err(said.out + &said.err);
    }
    said.expect(0);
    place.pipe(&[&args[..], &["--require-cached"]].concat()).expect(0);
    Ok(())
}

#[test]
fn every_example_has_a_test() {
    // A new example that runs anywhere needs no line here: the next test takes all that are not special.
    let names = names();
    assert!(ANYWHERE.iter().chain(SPECIAL).all(|name| names.contains(*name)), "{names:?}");
    assert!(names.len() >= 15, "{names:?}");
}

#[test]
fn what_runs_anywhere_runs_and_is_cached() {
    let place = Place::new();
    for name in names().iter().filter(|name| !SPECIAL.contains(&name.as_str())) {
        if let Err(why) = twice(&place, name, &[]) {
            panic!("{name}: {why}");
        }
    }
}

#[test]
fn parameters_and_conditions_change_what_runs() {
    let place = Place::new();
    place.pipe(&["run", &example("when"), "--set", "loud=true", "--set", "name=you"]).expect(0);
    let said = fs::read_to_string(place.path().join("out/when/shout/hello.txt")).expect("what is given back");
    assert!(said.starts_with("HELLO, YOU ON "), "{said}");
    place.pipe(&["run", &example("param"), "--set", "words=5"]).expect(0);
    place.pipe(&["run", &example("param"), "--set", "words=500"]).expect(2);
}

#[test]
fn a_file_is_fetched_by_its_digest() {
    let place = Place::new();
    let path = place.write("three.txt", "one two three\n");
    let digest = "d4a8c5bff1f50c7c15d6b9f6b6ef08d19bc43a1bd0f5b0a0f4ba4d2d8bbf9d4e";
    let url = format!("url=file://{}", path.display());
    // A wrong digest is told before anything reads the file; the message holds the right one.
    let said = place.pipe(&["run", &example("fetch"), "--set", &url, "--set", &format!("sha256={digest}")]).expect(3);
    let found: Vec<&str> = said.err.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).collect();
    let right = found.iter().find(|word| **word != digest).unwrap_or_else(|| panic!("{}", said.err));
    twice(&place, "fetch", &["--set", &url, "--set", &format!("sha256={right}")]).expect("it runs");
}

#[test]
fn packages_come_from_a_lock() {
    if let Err(why) = twice(&Place::new(), "wheels", &[]) {
        passed_over("the example `wheels`", &format!("its wheel cannot be brought here:\n{why}"));
    }
}

#[test]
fn a_secret_opens_the_step_that_names_it() {
    let place = Place::new();
    let without = place.pipe(&["run", &example("secret")]).expect(0);
    let said = without.out + &without.err;
    assert!(said.contains("EXAMPLE_TOKEN") && said.contains("unavailable"), "{said}");
    let token = place.write("token.txt", "an example of a secret");
    let token = format!("EXAMPLE_TOKEN={}", token.display());
    twice(&place, "secret", &["--secret", &token]).expect("a secret from a file");
}

#[test]
fn what_a_machine_lacks_is_a_reason() {
    let place = Place::new();
    let said = place.pipe(&["run", &example("needs")]).expect(0);
    let said = said.out + &said.err;
    // Where there is a GPU, both steps run; everywhere else one does, and the other says what it needs.
    let gpu = Path::new("/dev/nvidia0").exists() && cfg!(target_arch = "x86_64");
    assert!(said.contains(if gpu { "2 ran" } else { "1 ran" }), "{said}");
    assert!(gpu || said.contains("1 unavailable"), "{said}");
}

#[test]
fn packages_come_from_the_machine() {
    // Which package a machine has as it was installed is not known: some distributions change files of pip.
    let place = Place::new();
    let tried = ["pip", "setuptools", "wheel", "packaging", "PyYAML"];
    let tried = tried.map(|package| twice(&place, "host-packages", &["--set", &format!("package={package}")]));
    if tried.iter().all(Result::is_err) {
        passed_over("the example `host-packages`", &format!("this machine has none of some packages:\n{tried:?}"));
    }
}

/// Measuring needs engines and a Python environment of 5 GB, which a test does not make: it takes them from the
/// store that `PIPE_STORE` names, where `pipelines/llm-6gb.kdl` was run before, as CI does.
#[test]
fn what_measures_runs_where_a_store_has_the_engines() {
    for name in ["measure", "compare", "expect", "model", "parity"] {
        let what = format!("the example `{name}`");
        let Some(store) = std::env::var_os("PIPE_STORE") else {
            passed_over(&what, "PIPE_STORE names no store in which `pipelines/llm-6gb.kdl` was run");
            continue;
        };
        measure(&what, name, &store);
    }
}

fn measure(what: &str, name: &str, store: &OsString) {
    let place = Place::new();
    let store = Path::new(store).to_str().expect("UTF-8");
    let file = example(name);
    let plan = place.pipe(&["plan", &file, "--format", "json", "--store", store]).expect(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).expect("a plan");
    let steps = plan["steps"].as_array().expect("steps");
    let missing = steps.iter().find(|step| step["class"] == "fetch" && step["state"] == "runs");
    if let Some(step) = missing {
        return passed_over(what, &format!("`{store}` lacks {}: run `pipelines/llm-6gb.kdl` with it", step["name"]));
    }
    place.pipe(&["run", &file, "--store", store]).expect(0);
    place.pipe(&["run", &file, "--store", store, "--require-cached"]).expect(0);
    let report = fs::read_to_string(place.path().join(format!("out/{name}/report.json"))).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    for cell in report["cells"].as_array().expect("cells") {
        let label = cell["label"].as_str().unwrap_or_default();
        let rare = ["mps", "coreml", "cuda"].iter().any(|device| label.contains(device));
        let container = label.contains("container");
        match cell["state"].as_str() {
            Some("measured" | "cached" | "published") => {}
            Some("unavailable" | "excluded") if rare => {}
            Some("unavailable") if container => {
                passed_over(&format!("{what}: {}", cell["label"]), &cell["reason"].to_string())
            }
            _ => panic!("{what}: {cell:#}"),
        }
    }
}
