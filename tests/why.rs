//! `pipe why`: now, for a run of the past, and between two runs, down to the first component that differs.

#[expect(dead_code, reason = "these tests read no events")]
mod common;

use std::fs;

use common::Place;
use pipe::exec::{history, lookup};
use pipe::host::Machine;
use pipe::record::Session;
use pipe_cache::{Kind, Store};

const PIPELINE: &str = r#"
pipeline "past"
param "word" "one"
step "talk" {
    run "sh" "-c" "echo $1 > out/done.txt" "sh" (param)"word"
    output "done.txt"
}
step "quiet" {
    run "cp" (step)"talk/done.txt" (output)"copy.txt"
    output "copy.txt"
}
step "data" {
    run "cp" "-r" (file)"data" (output)"d"
    output "d"
}
step "both" {
    run "sh" "-c" "cat $1 $2/x.txt > out/all" "sh" (step)"quiet/copy.txt" (step)"data/d"
    output "all"
}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("past.kdl", PIPELINE);
    place.write("data/x.txt", "a\nb\n");
    place.write("data/sub/y.txt", "y\n");
    place
}

/// Without digests, times and blanks at line ends.
fn plain(text: &str) -> String {
    let words = |line: &str| {
        line.split(' ')
            .map(|word| {
                let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
                match digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    true => format!("DIGEST{}", &word[digits.len()..]),
                    false => word.to_owned(),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut out = String::new();
    for line in text.lines() {
        let line = words(line);
        // A time of day: `2026-11-21 15:04:05`.
        let line = match line.find("DIGEST of 2") {
            Some(at) => format!("{}TIME{}", &line[..at + 10], &line[at + 29..]),
            None => line,
        };
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn a_step_that_waits_is_explained_by_the_first_thing_that_differs() {
    let place = place();
    let said = place.pipe(&["why", "past.kdl"]).expect(0).out;
    assert_eq!(said, "talk: runs (never ran with this store)\ndata: runs (never ran with this store)\n");
    place.pipe(&["run", "past.kdl"]).expect(0);
    assert!(place.pipe(&["why", "past.kdl"]).expect(0).out.contains("nothing would run"));
    place.write("data/x.txt", "a\nB\n");
    fs::remove_file(place.path().join("data/sub/y.txt")).expect("removed");
    place.write("data/sub/z.txt", "z\n");
    let said = place.pipe(&["why", "past.kdl", "both", "--set", "word=two"]).expect(0).out;
    let wanted = "\
both: depends on quiet, data
  ← data: runs (run.arg.1: input in/data: DIGEST → DIGEST)
    run.arg.1: input in/data: DIGEST → DIGEST   past.kdl:13:19
        sub/y.txt is gone
        sub/z.txt is new
        x.txt differs from line 2 on
  ← quiet: depends on talk
    ← talk: runs (run.arg.3: value one → value two)
      run.arg.3: value one → value two   --set word=two
  compared with run DIGEST of TIME
";
    assert_eq!(plain(&said), wanted.to_owned(), "{said}");
}

#[test]
fn a_hit_tells_which_run_made_it_and_where() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    place.pipe(&["run", "past.kdl", "--set", "word=two"]).expect(0);
    let runs = place.pipe(&["runs", "--format", "json"]).expect(0).out;
    let runs: serde_json::Value = serde_json::from_str(&runs).expect("JSON");
    let first = runs["runs"][1]["id"].as_str().expect("an id")[..12].to_owned();
    let said = place.pipe(&["why", "past.kdl", "quiet"]).expect(0).out;
    let (made, took) = (format!("  made    by run {first} of 2"), "  took    ");
    for wanted in ["quiet: cached\n  key     ", made.as_str(), ", on this machine\n", took, "sandbox "] {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
}

#[test]
fn a_run_of_the_past_is_explained_beside_the_one_before() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    place.write("data/x.txt", "a\nb\nc\n");
    place.pipe(&["run", "past.kdl", "--set", "word=two"]).expect(0);
    // What is in the files now is of no interest.
    place.write("data/x.txt", "other\n");
    let said = place.pipe(&["why", "past.kdl", "both", "--run", "last"]).expect(0).out;
    let wanted = "\
run DIGEST of TIME of past
  flags: none → --set word=two

both: ran
  run.arg.3: input in/1/copy.txt: DIGEST → DIGEST   past.kdl:17:52
  ← quiet made it:
    run.arg.0: input in/1/done.txt: DIGEST → DIGEST   past.kdl:9:14
    ← talk made it:
      run.arg.3: value one → value two   --set word=two
  run.arg.4: input in/2/d: DIGEST → DIGEST   past.kdl:17:75
  ← data made it:
    run.arg.1: input in/data: DIGEST → DIGEST   past.kdl:13:19
        x.txt differs from line 3 on
  compared with run DIGEST of TIME
";
    assert_eq!(plain(&said), wanted.to_owned(), "{said}");
    let all = plain(&place.pipe(&["why", "past.kdl", "--between", "last~1", "last"]).expect(0).out);
    let tail = "\
talk: ran
  run.arg.3: value one → value two   --set word=two
  compared with run DIGEST of TIME

data: ran
  run.arg.1: input in/data: DIGEST → DIGEST   past.kdl:13:19
      x.txt differs from line 3 on
  compared with run DIGEST of TIME

and what follows from these:
  quiet: ran
  both: ran
";
    assert!(all.ends_with(tail), "{all}");
    let first = place.pipe(&["why", "past.kdl", "talk", "--run", "last~1"]).expect(0).out;
    assert!(first.contains("talk: ran\n  no earlier run"), "{first}");
    let none = place.pipe(&["why", "past.kdl", "--between", "last", "last"]).expect(0).out;
    assert!(none.contains("every step has the same key in both"), "{none}");
}

#[test]
fn a_hit_of_a_past_run_tells_what_came_back() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    place.pipe(&["run", "past.kdl", "--set", "word=two"]).expect(0);
    place.pipe(&["run", "past.kdl", "--set", "word=one"]).expect(0);
    let said = place.pipe(&["why", "past.kdl", "talk", "--run", "last"]).expect(0).out;
    for wanted in ["talk: cached\n", "  made    by run ", "  run.arg.3: value two → value one   --set word=one\n"] {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
    let same = place.pipe(&["why", "past.kdl", "data", "--run", "last"]).expect(0).out;
    assert!(same.contains("  the key is that of run ") && same.contains("where it was cached"), "{same}");
}

#[test]
fn a_step_that_failed_says_so_and_how() {
    let place = Place::new();
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"bad\" { run \"false\"; }\nstep \"after\" { run \"cat\" (step)\"bad\"; }\n",
    );
    place.pipe(&["run", "p.kdl"]).expect(3);
    let said = place.pipe(&["why", "p.kdl", "bad"]).expect(0).out;
    assert!(said.starts_with("bad: runs (it failed in the last run)\n  "), "{said}");
    let past = place.pipe(&["why", "p.kdl", "--run", "last"]).expect(0).out;
    assert!(past.contains("\nbad: failed ("), "{past}");
    let after = place.pipe(&["why", "p.kdl", "after", "--run", "last"]).expect(0).out;
    assert!(after.contains("after: skipped (`bad` failed)"), "{after}");
}

#[test]
fn runs_of_two_machines_show_their_facts() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    // The run of another machine, as a pack would bring it: simulated facts.
    let store = Store::open(&place.path().join("store")).expect("the store");
    let mut record = history::of(&store, "past").expect("read").swap_remove(0).record;
    let mine = record.machine.clone().expect("a machine");
    record.machine = Some(Machine { cpu_model: "simulated M9".to_owned(), memory_gib: mine.memory_gib + 1, ..mine });
    record.started -= 60;
    history::remember(&store, &record).expect("kept");
    drop(store);
    let said = place.pipe(&["why", "past.kdl", "--between", "last", "last~1"]).expect(0).out;
    assert!(said.contains("→ simulated M9\n") && said.contains("  machine memory gib: "), "{said}");
    assert!(said.contains("every step has the same key in both"), "{said}");
}

#[test]
fn a_cell_that_another_machine_measured_tells_in_what_it_differs() {
    let place = Place::new();
    place.engine();
    place.model("model", "{}");
    let text = r#"pipeline "p"
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
    timeout (s)5
}
"#;
    place.write("p.kdl", text);
    place.pipe(&["run", "p.kdl"]).expect(0);
    // A store as it would be with only the samples of another machine in it: simulated facts.
    let (here, there) = (Store::open(&place.path().join("store")), Store::open(&place.path().join("there")));
    let (here, there) = (here.expect("the store"), there.expect("a store"));
    let mut count = 0;
    let copy = |key: &_, bytes: &[u8]| there.append(Kind::Manifest, key, bytes).expect("kept");
    here.scan(Kind::Manifest, copy).expect("read");
    here.scan(Kind::Session, |_, bytes| {
        let mut session: Session = serde_json::from_slice(bytes).expect("a session");
        session.facts.machine.cpu_model = "simulated M9".to_owned();
        session.machine = session.facts.machine.key(None);
        let key = lookup::session_key(&session.question, &session.machine);
        there.append(Kind::Session, &key, &serde_json::to_vec(&session).expect("JSON")).expect("kept");
        count += 1;
    })
    .expect("read");
    assert!(count > 0, "nothing was measured");
    drop((here, there));
    let said = place.pipe(&["why", "p.kdl", "speed", "--store", "there"]).expect(0).out;
    for wanted in
        ["speed: runs (never measured on this machine)", "  measured at 2", "  machine cpu model: simulated M9 there, "]
    {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
}

#[test]
fn programs_read_json_and_names_that_mean_nothing_are_refused() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    place.pipe(&["run", "past.kdl", "--set", "word=two"]).expect(0);
    let json = |args: &[&str]| -> serde_json::Value {
        let said = place.pipe(&[&["why", "past.kdl"], args, &["--format", "json"]].concat()).expect(0).out;
        serde_json::from_str(&said).expect("JSON")
    };
    let now = json(&["both", "--set", "word=three"]);
    assert_eq!((&now["schema"], &now["steps"][0]["state"]), (&"pipe-why/1".into(), &"depends".into()));
    let chain = &now["steps"][0]["behind"];
    assert_eq!(chain[1]["cause"]["differences"][0]["old"], "value two", "{now:#}");
    let past = json(&["both", "--run", "last"]);
    let difference = &past["steps"][0]["cause"]["differences"][0];
    let root = &difference["made-by"]["differences"][0]["made-by"]["differences"][0];
    assert_eq!((&root["leaf"], &root["place"]), (&"run.arg.3".into(), &"--set word=two".into()), "{past:#}");
    assert_eq!(past["differs"][0]["what"], "flags");
    for (args, wanted) in [
        (vec!["bth"], "did you mean `both`?"),
        (vec!["bth", "--run", "last"], "did you mean `both`?"),
        (vec!["both", "--run", "last~7"], "of `past` the store remembers 2 runs"),
        (vec!["both", "--run", "ffffff"], "knows no run `ffffff`"),
        (vec!["both", "--run", "newest"], "a run is `last`"),
    ] {
        let said = place.pipe(&[vec!["why", "past.kdl"], args].concat()).expect(2).err;
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
}
