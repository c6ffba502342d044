//! Runs that end early: by Ctrl-C, by a kill, by a full reader. Nothing is left behind, and the next run goes on.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Place, ran};
use rustix::process::{Pid, Signal, kill_process};

/// Three steps that take a while, and a measurement.
fn slow(tag: &str) -> String {
    format!(
        r#"
pipeline "slow"
param "round" 0
step "a" {{
    run "sh" "-c" "sleep 0.2; echo {tag} $0 > out/a" (param)"round"
    output "a"
}}
step "b" {{
    run "sh" "-c" "sleep 0.2; cat \"$0\" > out/b" (step)"a/a"
    output "b"
}}
step "c" {{
    run "sh" "-c" "sleep 0.2; cat \"$0\" > out/c" (step)"b/b"
    output "c"
}}
measure "speed" {{
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
}}
"#
    )
}

fn place(tag: &str) -> Place {
    let place = Place::new();
    place.write("slow.kdl", &slow(tag));
    place.engine();
    place.model("model", "{}");
    place
}

/// Processes that run anywhere below the test's folder, or name it.
fn leftovers(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let mut found = Vec::new();
    // Systems without `/proc` are asked for nothing.
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if pid == std::process::id() {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let place = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if command.contains(&folder) || place.starts_with(&folder) {
            found.push(format!("{pid} {command}"));
        }
    }
    found
}

fn wait_until_none_is_left(folder: &Path, limit: Duration) {
    let until = Instant::now() + limit;
    loop {
        let left = leftovers(folder);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left behind after {limit:?}: {left:#?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Starts `pipe`, with its words in a file.
fn start(place: &Place, args: &[&str]) -> Child {
    let log = fs::File::create(place.path().join("started.log")).expect("a log");
    let mut command = place.command(args);
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("pipe starts")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

/// Waits until the run has said `text`.
fn wait_for(place: &Place, text: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let said = fs::read_to_string(place.path().join("started.log")).unwrap_or_default();
        if said.contains(text) {
            return;
        }
        assert!(Instant::now() < until, "no `{text}` in\n{said}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_stops_everything_within_two_seconds() {
    let place = Place::new();
    // A step that ignores the polite signals and hides a child in a session of its own.
    let text = r#"
pipeline "long"
step "done" {
    run "sh" "-c" "echo kept > out/done"
    output "done"
}
step "long" {
    run "sh" "-c" "cat \"$0\"; trap '' INT TERM; setsid sleep 600 & sleep 600" (step)"done/done"
}
"#;
    place.write("long.kdl", text);
    let mut child = start(&place, &["run", "long.kdl"]);
    wait_for(&place, "…  long");
    signal(&child, Signal::INT);
    let asked = Instant::now();
    let status = child.wait().expect("pipe ends");
    let took = asked.elapsed();
    let said = fs::read_to_string(place.path().join("started.log")).expect("a log");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped. 1 finished step(s) are kept"), "{said}");
    wait_until_none_is_left(place.path(), Duration::from_secs(2));
    // The step has a second and a half to end politely before it is killed.
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let plan = place.pipe(&["plan", "long.kdl"]).expect(0);
    assert!(plan.out.contains("1 cached"), "{}", plan.out);
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::disallowed_methods, reason = "`env` has `pipe` ignore a signal, as `nohup` does")]
fn under_nohup_a_hang_up_is_ignored() {
    let place = Place::new();
    place.write("p.kdl", "pipeline \"p\"\nstep \"s\" { run \"sh\" \"-c\" \"sleep 1; echo > out/x\"; output \"x\"; }\n");
    // The tests themselves may have been started by `nohup`.
    for (how, code) in [("--default-signal=HUP", 130), ("--ignore-signal=HUP", 0)] {
        let pipe = place.command(&["run", "p.kdl"]);
        let mut command = std::process::Command::new("env");
        command.arg(how).arg(pipe.get_program()).args(pipe.get_args());
        command.current_dir(place.path()).env_clear().envs(pipe.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let log = fs::File::create(place.path().join("started.log")).expect("a log");
        let mut child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("`env` starts");
        wait_for(&place, "…  s");
        signal(&child, Signal::HUP);
        let status = child.wait().expect("pipe ends");
        let said = fs::read_to_string(place.path().join("started.log")).expect("a log");
        assert_eq!(status.code(), Some(code), "{said}");
    }
}

#[test]
fn a_killed_run_leaves_nothing_and_the_next_goes_on() {
    let place = place("killed");
    // Moments spread over the whole run, the same in every run of the test. Every third round brings new work.
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut stored = BTreeSet::new();
    for round in 0..20 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let millis = (random >> 33) % 1000;
        let set = format!("round={}", round / 3);
        let mut child = start(&place, &["run", "slow.kdl", "--set", &set, "--events", "events.jsonl"]);
        let until = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < until && child.try_wait().expect("a state").is_none() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // One that has ended can't be killed, and needn't be.
        let _ = child.kill();
        let status = child.wait().expect("pipe ends");
        assert!(status.signal() == Some(9) || status.code() == Some(0), "round {round}: {status}");
        wait_until_none_is_left(place.path(), Duration::from_secs(10));
        for step in ran(&place.path().join("events.jsonl")) {
            assert!(stored.insert(format!("{step} of {set}")), "round {round}: {step} was stored, and ran again");
        }
        let _ = fs::remove_file(place.path().join("events.jsonl"));
    }
    let last = ["run", "slow.kdl", "--set", "round=6", "--events", "events.jsonl"];
    place.pipe(&last).expect(0);
    place.pipe(&last).expect(0);
    assert_eq!(ran(&place.path().join("events.jsonl")), Vec::<String>::new(), "all is stored");
    place.pipe(&["store", "verify"]).expect(0);
    let scratch: Vec<_> = fs::read_dir(place.path().join("store/tmp")).expect("scratch").flatten().collect();
    assert!(scratch.len() <= 2, "scratch of killed runs is swept: {scratch:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_stray_of_a_run_that_was_killed_with_all_its_supervisors_ends_with_the_next() {
    use pipe::exec::supervisor::family::descendants;
    let levels: &[&str] = if common::has_sandbox() { &["off", "fs"] } else { &[] };
    for level in levels {
        let place = Place::new();
        let stray = "(setsid sh -c 'echo $$ > $TMPDIR/../out/stray; sleep 1000; :' &); sleep 1000; :";
        place.write(
            "p.kdl",
            &format!("pipeline \"p\"\nstep \"s\" {{ run \"sh\" \"-c\" \"{stray}\"; output \"x\"; }}\n"),
        );
        let mut child = start(&place, &["run", "p.kdl", "--sandbox", level]);
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
        let command = |pid: &Pid| fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let is = |pid: &Pid, word: &str| String::from_utf8_lossy(&command(pid)).contains(word);
        let until = Instant::now() + Duration::from_secs(30);
        let family = loop {
            let family = descendants(pid);
            if family.iter().filter(|pid| is(pid, "sleep\u{0}1000")).count() == 2 {
                break family;
            }
            assert!(Instant::now() < until, "nothing ran");
            std::thread::park_timeout(Duration::from_millis(10));
        };
        // None of them sees that another one ends.
        let ours: Vec<Pid> = family.iter().copied().filter(|pid| is(pid, "__sup")).chain([pid]).collect();
        for signal in [Signal::STOP, Signal::KILL] {
            ours.iter().for_each(|pid| kill_process(*pid, signal).expect("a signal"));
        }
        child.wait().expect("pipe ends");
        let left =
            || leftovers(place.path()).into_iter().filter(|line| line.contains("sleep 1000")).collect::<Vec<_>>();
        assert!(!left().is_empty(), "{level}: the stray is gone already, and this shows nothing");
        place.pipe(&["plan", "p.kdl", "--sandbox", level]).expect(0);
        wait_until_none_is_left(place.path(), Duration::from_secs(2));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let place = place("reader");
    let mut command = place.command(&["plan", "slow.kdl", "--format", "json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("pipe starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("pipe ends");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}

#[test]
fn two_runs_at_once_make_each_thing_once() {
    let place = place("two");
    let mut first = start(&place, &["run", "slow.kdl", "--events", "first.jsonl"]);
    let second = place.pipe(&["run", "slow.kdl", "--events", "second.jsonl"]).expect(0);
    assert!(first.wait().expect("pipe ends").success(), "{}", second.err);
    let mut all = ran(&place.path().join("first.jsonl"));
    all.extend(ran(&place.path().join("second.jsonl")));
    all.sort();
    assert_eq!(all, ["a", "b", "c", "speed"]);
}
