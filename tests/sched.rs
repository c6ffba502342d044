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

/// Flags that let steps write where they like.
fn off() -> Vec<&'static str> {
    if common::has_sandbox() { vec!["--sandbox", "off"] } else { Vec::new() }
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

#[test]
fn steps_that_turn_out_to_be_the_same_run_once() {
    // Written alike, they are one step from the start; the second kind is the same only once what it reads is there.
    let text = r#"
pipeline "p"
matrix "many" { axis "n" (range)"1..200"; }
matrix "some" { axis "m" (range)"1..20"; }
step "alike" for-each="many" { run "sh" "-c" "echo x > out/x"; output "x"; }
step "seed" for-each="some" { run "sh" "-c" "echo same > out/x" "sh" (axis)"m"; output "x"; }
step "same" for-each="some" { run "sh" "-c" "tr a-z A-Z < $0 > out/y" (step)"seed/x"; output "y"; }
step "all" { run "sh" "-c" "ls in | wc -l > out/z"; input (cells)"same" as="in"; output "z"; }
"#;
    let place = Place::new();
    let said = run(&place, text, &["-j", "4"], 0);
    let started = of(&said, "started", "step");
    assert_eq!(started.iter().filter(|step| step.starts_with("alike")).count(), 1);
    assert_eq!(started.iter().filter(|step| step.starts_with("seed")).count(), 20);
    assert_eq!(started.iter().filter(|step| step.starts_with("same")).count(), 1, "{started:?}");
    let again = run(&place, text, &[], 0);
    assert_eq!(of(&again, "started", "step"), Vec::<String>::new());
}

#[test]
fn the_same_step_under_other_names_fails_once() {
    let text = r#"
pipeline "p"
matrix "some" { axis "m" 1 2 3; }
step "seed" for-each="some" { run "sh" "-c" "echo same > out/x" "sh" (axis)"m"; output "x"; }
step "same" for-each="some" { run "sh" "-c" "cat $0; exit 9" (step)"seed/x"; output "y"; }
"#;
    let said = run(&Place::new(), text, &["-j", "1"], 3);
    assert_eq!(of(&said, "started", "step").iter().filter(|step| step.starts_with("same")).count(), 1);
    let failed = said.iter().filter(|event| event["outcome"] == "failed").count();
    let skipped = said.iter().filter(|event| event["outcome"] == "skipped").count();
    assert_eq!((failed, skipped), (1, 2));
}

/// One that fails at once, one that runs meanwhile, and one that could start then.
const FAILS: &str = r#"
pipeline "p"
step "bad" { run "sh" "-c" "exit 3"; output "x"; }
step "long" { run "sh" "-c" "sleep 0.5; echo > out/x"; output "x"; }
step "later" { run "sh" "-c" "cat $0 > out/x" (step)"long/x"; output "x"; }
step "needs-bad" { run "cat" (step)"bad/x"; }
"#;

#[test]
fn a_failure_stops_its_branch_and_with_fail_fast_whatever_has_not_started() {
    let said = run(&Place::new(), FAILS, &["-j", "2", "--keep-going"], 3);
    let ended = |said: &[Value], step: &str| {
        let of = said.iter().find(|event| event["event"] == "finished" && event["step"] == step);
        of.map(|event| event["outcome"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ended(&said, "later").as_deref(), Some("ran"));
    assert_eq!(ended(&said, "needs-bad").as_deref(), Some("skipped"));

    let place = Place::new();
    place.write("p.kdl", FAILS);
    let stopped = place.pipe(&["run", "p.kdl", "-j", "2", "--fail-fast", "--events", "events.jsonl"]).expect(3);
    assert!(
        stopped.err.contains("`--fail-fast`: 1 more step(s) were not started, since `bad` failed"),
        "{}",
        stopped.err
    );
    let said = events(&place.path().join("events.jsonl"));
    assert_eq!(ended(&said, "long").as_deref(), Some("ran"), "what runs is let to its end");
    assert_eq!(ended(&said, "later"), None);
    let again = run(&place, FAILS, &["-j", "2"], 3);
    assert!(!of(&again, "started", "step").contains(&"long".to_owned()), "it was kept");
}

#[test]
fn a_retry_tries_again_says_so_and_is_in_no_key() {
    let counter = tempfile::tempdir().expect("a folder");
    let count = counter.path().join("count");
    let text = |retry: &str| {
        format!(
            r#"
pipeline "p"
step "flaky" {retry} {{
    run "sh" "-c" "echo >> {0}; test $(wc -l < {0}) -ge 3 && echo > out/x" "sh"
    output "x"
}}
"#,
            count.display()
        )
    };
    let place = Place::new();
    // Only without a sandbox can a step count how often it was tried.
    let said = run(&place, &text("retry=3"), &off(), 0);
    assert_eq!(said.iter().filter(|event| event["event"] == "retried").count(), 2);
    assert_eq!(of(&said, "started", "step").len(), 1);
    let again = run(&place, &text(""), &off(), 0);
    assert_eq!(of(&again, "started", "step"), Vec::<String>::new(), "`retry` is in no key");
}

#[test]
fn a_trace_is_what_perfetto_reads() {
    let text = FAILS.replace("sleep 0.5; echo >", "sleep 0.1; head -c 3000000 /dev/zero >");
    let place = Place::new();
    run(&place, &text, &["-j", "2", "--trace", "t.json"], 3);
    let trace: Vec<Value> =
        serde_json::from_slice(&fs::read(place.path().join("t.json")).expect("a trace")).expect("a JSON array");
    let number = |event: &Value, field: &str| event[field].as_u64().unwrap_or_else(|| panic!("no {field}: {event}"));
    let mut slices: Vec<(u64, u64, u64, String)> = Vec::new();
    let mut tracks = std::collections::BTreeSet::new();
    for event in &trace {
        assert!(event["name"].is_string(), "{event}");
        number(event, "pid");
        match event["ph"].as_str().expect("a phase") {
            "X" => {
                let (tid, since) = (number(event, "tid"), number(event, "ts"));
                slices.push((
                    tid,
                    since,
                    since + number(event, "dur"),
                    event["name"].as_str().unwrap_or("").to_owned(),
                ));
            }
            "C" => assert!(number(event, "ts") > 0 && event["args"].is_object(), "{event}"),
            "i" => assert!(["t", "p", "g"].contains(&event["s"].as_str().unwrap_or("")), "{event}"),
            "M" if event["name"] == "thread_name" => assert!(tracks.insert(number(event, "tid")), "{event}"),
            "M" => assert!(event["args"].is_object(), "{event}"),
            other => panic!("`{other}` is no phase that this writes: {event}"),
        }
    }
    // Slices of a track lie inside or beside one another; half over each other they can't be drawn.
    for (n, one) in slices.iter().enumerate() {
        assert!(tracks.contains(&one.0), "a track without a name: {one:?}");
        for two in slices[n + 1..].iter().filter(|two| two.0 == one.0) {
            let beside = one.2 <= two.1 || two.2 <= one.1;
            let inside = (one.1 <= two.1 && two.2 <= one.2) || (two.1 <= one.1 && one.2 <= two.2);
            assert!(beside || inside, "{one:?} {two:?}");
        }
    }
    let told = |name: &str| trace.iter().find(|event| event["ph"] == "X" && event["name"] == name).expect(name).clone();
    assert_eq!(told("bad")["args"]["outcome"], "failed");
    assert_eq!(told("long")["args"]["outcome"], "ran");
    assert_eq!(told("long")["args"]["class"], "build");
    assert_eq!(told("long")["args"]["key"].as_str().map(str::len), Some(64));
    assert!(told("long")["args"]["why"].as_str().is_some_and(|why| why.starts_with("runs (")), "{}", told("long"));
    assert!(told("long")["dur"].as_u64() >= Some(100_000));
    assert_eq!(told("storing")["tid"].as_u64().map(|tid| tid >= 1), Some(true));
    let counted = trace.iter().filter(|event| event["ph"] == "C" && event["name"] == "steps under way");
    let most = counted.filter_map(|event| event["args"]["steps"].as_u64()).max();
    assert_eq!(most, Some(2));
}

#[test]
fn check_builds_twice_and_names_the_first_difference() {
    let text = r#"
pipeline "p"
step "steady" { run "sh" "-c" "echo same > out/x; mkdir out/d; echo too > out/d/y"; output "x"; output "d"; }
step "clock" { run "sh" "-c" "cat $0 > out/a; printf 'made at %s' $(date +%s%N) > out/b" (step)"steady/x"; output "a"; output "b"; }
"#;
    let place = Place::new();
    place.write("p.kdl", text);
    let same = place.pipe(&["run", "p.kdl", "--check=steady"]).expect(0);
    assert!(same.err.contains("1 of 1 step(s) came out the same when built again"), "{}", same.err);
    let kept = place.pipe(&["show", "clock"]).expect(0).out;
    let differs = place.pipe(&["run", "p.kdl", "--check"]).expect(1);
    assert!(differs.err.contains("✗ clock is not reproducible: built twice, `b` differs"), "{}", differs.err);
    assert!(differs.err.contains("they differ from byte "), "{}", differs.err);
    assert!(differs.err.contains("1 of 2 step(s) came out the same when built again"), "{}", differs.err);
    assert_eq!(place.pipe(&["show", "clock"]).expect(0).out, kept, "what the store has of it stays");
    place.pipe(&["run", "p.kdl", "--require-cached"]).expect(0);
    let unknown = place.pipe(&["run", "p.kdl", "--check=stedy"]).expect(2);
    assert!(unknown.err.contains("no step of this name; did you mean `steady`?"), "{}", unknown.err);
}

#[test]
fn a_second_making_says_how_long_it_took() {
    let place = Place::new();
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"s\" { run \"sh\" \"-c\" \"sleep 0.2; echo > out/x\"; output \"x\"; }\n",
    );
    let said = place.pipe(&["run", "p.kdl", "--check", "--events", "events.jsonl"]).expect(0);
    let events = std::fs::read_to_string(place.path().join("events.jsonl")).expect("events");
    let finished = |name: &str| {
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        events.into_iter().find(|event| event["event"] == "finished" && event["step"] == name).expect(name)
    };
    for name in ["s", "s (again)"] {
        let seconds = finished(name)["seconds"].as_f64().expect("a number");
        assert!((0.2..60.0).contains(&seconds), "{name}: {seconds}");
    }
    assert!(!said.err.contains("(again) 0 ms"), "{}", said.err);
}

#[test]
fn few_open_files_mean_fewer_steps_at_a_time() {
    let text = r#"
pipeline "p"
matrix "many" { axis "n" (range)"1..40"; }
step "s" for-each="many" { run "sh" "-c" "echo $0 > out/x" (axis)"n"; output "x"; }
"#;
    let place = Place::new();
    place.write("p.kdl", text);
    let pipe = place.command(&["run", "p.kdl", "-j", "200"]);
    #[expect(clippy::disallowed_methods, reason = "a shell that lowers a limit for `pipe` alone")]
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(pipe.get_program()).args(pipe.get_args());
    shell.env_clear().envs(pipe.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(place.path());
    let output = shell.output().expect("a shell");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("this shell allows 64 open files (`ulimit -n`): at most 4 steps at a time"), "{err}");
}

#[test]
fn what_has_not_begun_does_not_begin_when_a_record_it_reads_cannot_be_written() {
    // No file may grow over 16 KiB, and the record of `first` does. `second` has begun by then, and waits until that is
    // known; `third` was ready, and must not run on an input that later runs know nothing of.
    let place = Place::new();
    let text = r#"
pipeline "p"
step "first" { run "sh" "-c" "echo 1 > out/x"; env LONG="PAD"; output "x"; }
step "second" { run "sh" "-c" "until grep -q '\"failed\"' EVENTS; do :; done; cp $0 out/y" (step)"first/x"; output "y"; }
step "third" { run "sh" "-c" "cat $0 > out/z || true" (step)"first/x"; output "z"; }
"#;
    let events_file = place.path().join("events.jsonl");
    let text = text.replace("PAD", &"x".repeat(20_000)).replace("EVENTS", &events_file.display().to_string());
    place.write("p.kdl", &text);
    let mut args = vec!["run", "p.kdl", "--events", "events.jsonl", "-j", "1"];
    args.extend(off());
    let pipe = place.command(&args);
    #[expect(clippy::disallowed_methods, reason = "a shell that lowers a limit for `pipe` alone")]
    let limited = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""])
        .arg(pipe.get_program())
        .args(pipe.get_args())
        .envs(pipe.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.path())
        .output()
        .expect("sh starts");
    // The record of the run itself is too large as well.
    assert_eq!(limited.status.code(), Some(5), "{}", String::from_utf8_lossy(&limited.stderr));
    let said = events(&events_file);
    assert_eq!(of(&said, "started", "step"), ["first", "second"]);
    let ended = |step: &str| -> Vec<String> {
        let of_step: Vec<Value> = said.iter().filter(|event| event["step"] == step).cloned().collect();
        of(&of_step, "finished", "outcome")
    };
    assert_eq!(ended("first"), ["failed"]);
    assert_eq!(ended("third"), ["skipped"]);
}
