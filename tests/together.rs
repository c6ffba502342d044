//! Several `pipe`s on one machine and one store: they take no more than the machine has, make nothing twice, and say on
//! whom they wait.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Place, ran};
use rustix::process::{Pid, Signal, kill_process};

/// `pipe` on its way, with its words in `NAME.log` and its events in `NAME.jsonl`.
fn start(place: &Place, name: &str, args: &[&str]) -> Child {
    let log = fs::File::create(place.path().join(format!("{name}.log"))).expect("a log");
    let events = format!("{name}.jsonl");
    let all: Vec<&str> = args.iter().copied().chain(["--events", &events]).collect();
    let mut command = place.command(&all);
    command.stdout(Stdio::null()).stderr(log).spawn().expect("pipe starts")
}

fn said(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path().join(format!("{name}.log"))).unwrap_or_default()
}

fn wait_for(place: &Place, name: &str, text: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while !said(place, name).contains(text) {
        assert!(Instant::now() < until, "no `{text}` in\n{}", said(place, name));
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn ends_well(place: &Place, name: &str, child: &mut Child) {
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(0), "{name} said\n{}", said(place, name));
}

/// Flags with which a step reaches a file outside: only so can it wait for this test.
fn off() -> Vec<&'static str> {
    if common::has_sandbox() { vec!["--sandbox", "off"] } else { Vec::new() }
}

/// A step that runs until `go` is there.
fn held(pipeline: &str, place: &Path, needs: &str) -> String {
    format!(
        r#"
pipeline "{pipeline}"
step "{pipeline}-step" {{
    run "sh" "-c" "while ! test -e {0}/go; do sleep 0.02; done; echo {pipeline} > out/x"
    output "x"
    {needs}
}}
"#,
        place.display()
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn eight_processes_make_one_step_once() {
    let place = Place::new();
    place.write("p.kdl", &held("same", place.path(), ""));
    let args: Vec<&str> = ["run", "p.kdl"].into_iter().chain(off()).collect();
    let names: Vec<String> = (0..8).map(|n| format!("p{n}")).collect();
    let mut children: Vec<Child> = names.iter().map(|name| start(&place, name, &args)).collect();
    wait_for(&place, "p0", "sandbox");
    place.write("go", "");
    for (name, child) in names.iter().zip(&mut children) {
        ends_well(&place, name, child);
    }
    let made: Vec<String> = names.iter().flat_map(|name| ran(&place.path().join(format!("{name}.jsonl")))).collect();
    assert_eq!(made, ["same-step"]);
}

#[test]
fn a_run_waits_for_room_says_on_whom_and_a_killed_one_leaves_none_taken() {
    let place = Place::new();
    let all = format!("needs cpu={}", cores());
    place.write("one.kdl", &held("one", place.path(), &all));
    place.write("two.kdl", "pipeline \"two\"\nstep \"small\" { run \"sh\" \"-c\" \"echo > out/x\"; output \"x\"; }\n");
    let one: Vec<&str> = ["run", "one.kdl"].into_iter().chain(off()).collect();
    let two: Vec<&str> = ["run", "two.kdl"].into_iter().chain(off()).collect();
    let mut first = start(&place, "one", &one);
    wait_for(&place, "one", "…  one-step");
    let mut second = start(&place, "two", &two);
    wait_for(&place, "two", "small waits: another pipe uses this machine");
    assert!(said(&place, "two").contains(&format!("(pid {}, one)", first.id())), "{}", said(&place, "two"));
    let pid = Pid::from_raw(first.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("a signal");
    first.wait().expect("its end");
    ends_well(&place, "two", &mut second);
    assert_eq!(ran(&place.path().join("two.jsonl")), ["small"]);
}

#[test]
fn a_collection_does_not_wait_for_a_run_that_waits_for_room() {
    let place = Place::new();
    place.write("one.kdl", &held("one", place.path(), &format!("needs cpu={}", cores())));
    let two = |last: &str| {
        let first = "step \"first\" { run \"sh\" \"-c\" \"echo first > out/x\"; output \"x\"; }";
        let small =
            "step \"small\" { run \"sh\" \"-c\" \"echo $0 > out/x\" \"LAST\" (step)\"first/x\"; output \"x\"; }";
        format!("pipeline \"two\"\n{first}\n{}\n", small.replace("LAST", last))
    };
    place.write("two.kdl", &two("before"));
    let flags = |file: &'static str| -> Vec<&str> { ["run", file].into_iter().chain(off()).collect() };
    place.pipe(&flags("two.kdl")).expect(0);
    let mut first = start(&place, "one", &flags("one.kdl"));
    wait_for(&place, "one", "…  one-step");
    place.write("two.kdl", &two("after"));
    let mut second = start(&place, "two", &flags("two.kdl"));
    // It has looked at what `first` made, and would keep every collection out until `one` is over.
    wait_for(&place, "two", "small waits: another pipe uses this machine");
    let words: Vec<&str> = ["store", "gc", "--keep-runs", "0"].to_vec();
    place.pipe(&words).expect(0);
    place.write("go", "");
    ends_well(&place, "one", &mut first);
    ends_well(&place, "two", &mut second);
    assert_eq!(ran(&place.path().join("two.jsonl")), ["small"], "what it looked at is held by its lease");
}

#[test]
fn a_measurement_waits_for_builds_of_others_and_holds_back_new_ones() {
    let place = Place::new();
    place.engine();
    place.model("model", "{}");
    place.write("builds.kdl", &held("builds", place.path(), ""));
    place
        .write("late.kdl", "pipeline \"late\"\nstep \"small\" { run \"sh\" \"-c\" \"echo > out/x\"; output \"x\"; }\n");
    place.write(
        "measures.kdl",
        r#"
pipeline "measures"
measure "speed" {
    engine (file)"sim-engine"
    program "sim-engine"
    model (file)"model"
    tokens (file)"tokens.npy"
    device "cpu"
    dtype "fp32"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
"#,
    );
    let flags = |file: &'static str| -> Vec<&str> { ["run", file].into_iter().chain(off()).collect() };
    let mut builds = start(&place, "builds", &flags("builds.kdl"));
    wait_for(&place, "builds", "…  builds-step");
    let mut measures = start(&place, "measures", &flags("measures.kdl"));
    wait_for(&place, "measures", "speed waits: another pipe uses this machine");
    assert!(said(&place, "measures").contains(&format!("(pid {}, builds)", builds.id())));
    let mut late = start(&place, "late", &flags("late.kdl"));
    wait_for(&place, "late", "small waits: ");
    assert!(ran(&place.path().join("late.jsonl")).is_empty(), "a build began beside one that a measurement waits for");
    place.write("go", "");
    ends_well(&place, "builds", &mut builds);
    ends_well(&place, "measures", &mut measures);
    ends_well(&place, "late", &mut late);
    assert_eq!(ran(&place.path().join("measures.jsonl")), ["speed"]);
    assert_eq!(ran(&place.path().join("late.jsonl")), ["small"]);
}

#[test]
fn many_runs_share_the_processors() {
    let place = Place::new();
    // Each step notes how many run beside it, by folders that only running steps have.
    let live = place.path().join("live");
    fs::create_dir(&live).expect("a folder");
    let text = |n: usize| {
        format!(
            r#"
pipeline "p{n}"
matrix "steps" {{ axis "k" (range)"1..6"; }}
step "s" for-each="steps" {{
    run "sh" "-c" "mkdir {0}/{n}-$0; ls {0} | wc -l > out/x; sleep 0.02; rmdir {0}/{n}-$0" (axis)"k"
    output "x"
}}
step "all" {{ run "sh" "-c" "find in -name x | xargs cat | sort -n | tail -1 > out/most"; input (cells)"s" as="in"; export "most"; }}
"#,
            live.display()
        )
    };
    let names: Vec<String> = (0..4).map(|n| format!("p{n}")).collect();
    let mut children = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let file = format!("{name}.kdl");
        place.write(&file, &text(n));
        let args: Vec<&str> = ["run", &file].into_iter().chain(off()).collect();
        children.push(start(&place, name, &args));
    }
    for (name, child) in names.iter().zip(&mut children) {
        ends_well(&place, name, child);
        let most = fs::read_to_string(place.path().join(format!("out/{name}/most/most"))).expect("the export");
        let most: usize = most.trim().parse().expect("a number");
        assert!((1..=cores()).contains(&most), "{most} steps ran together on {} processors", cores());
    }
}
