//! `runs`, `show` and `log`: what the store remembers, by the names that people type.

#[expect(dead_code, reason = "these tests measure nothing, and so need no engine")]
mod common;

use common::Place;

const PIPELINE: &str = r#"
pipeline "past"
param "word" "one"
step "talk" {
    run "sh" "-c" "echo said $1; echo done > out/done.txt" "sh" (param)"word"
    output "done.txt"
}
step "quiet" {
    run "cp" (step)"talk/done.txt" (output)"copy.txt"
    output "copy.txt"
}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("past.kdl", PIPELINE);
    place
}

#[test]
fn runs_are_listed_shown_and_their_logs_printed() {
    let place = place();
    let none = place.pipe(&["runs"]).expect(0);
    assert!(none.out.contains("no run is remembered"), "{}", none.out);
    place.pipe(&["run", "past.kdl"]).expect(0);
    place.pipe(&["run", "past.kdl", "--set", "word=two"]).expect(0);
    let runs = place.pipe(&["runs"]).expect(0).out;
    let lines: Vec<&str> = runs.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("RUN ") && lines.iter().all(|line| line.len() <= 80), "{runs}");
    // `talk` says another word and makes the same bytes, so `quiet` is cached the second time.
    let second = lines[1];
    assert!(second.ends_with(" ms     0  1 ran, 1 cached") || second.contains(" s     0"), "{runs}");
    assert!(lines[2].ends_with("  2 ran"), "{runs}");
    let id = second.split(' ').next().expect("its name");
    let shown = place.pipe(&["show", id]).expect(0).out;
    for wanted in
        ["exit code 0", "flags    --set word=two", "machine  ", "  talk   ran          ", "  quiet  cached       "]
    {
        assert!(shown.contains(wanted), "no `{wanted}` in\n{shown}");
    }
    assert_eq!(place.pipe(&["show", "last"]).expect(0).out, shown);
    let key = place.pipe(&["show", "quiet"]).expect(0).out;
    for wanted in ["step    quiet of past", "output  tree:", "1 file, 5 B", "5 B  copy.txt", "run.program"] {
        assert!(key.contains(wanted), "no `{wanted}` in\n{key}");
    }
    let digits = key.lines().next().and_then(|line| line.split_whitespace().nth(1)).expect("the key");
    assert_eq!(place.pipe(&["show", &digits[..8]]).expect(0).out, key);
    let talk = place.pipe(&["show", "talk"]).expect(0).out;
    assert!(talk.contains("log     9 B\n      | said two\n"), "{talk}");
    assert_eq!(place.pipe(&["log", "talk"]).expect(0).out, "said two\n");
    // Of a run, the logs of what ran in it.
    assert_eq!(place.pipe(&["log", "last"]).expect(0).out, "said two\n");
    let first = place.pipe(&["log", "last~1"]).expect(0).out;
    assert_eq!(first, "== talk\nsaid one\n");
}

#[test]
fn names_that_mean_nothing_are_refused_with_what_was_meant() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    let said = place.pipe(&["show", "talc"]).expect(2).err;
    assert!(said.contains("no step `talc`; did you mean `talk`?"), "{said}");
    let said = place.pipe(&["log", "ffffffffffff"]).expect(2).err;
    assert!(said.contains("knows no run, no key"), "{said}");
    let said = place.pipe(&["show", "last~3"]).expect(2).err;
    assert!(said.contains("`last~3`: the store remembers 1 run"), "{said}");
}

#[test]
fn a_run_that_failed_shows_what_failed_and_what_waited() {
    let place = Place::new();
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"bad\" { run \"false\"; }\nstep \"after\" { run \"cat\" (step)\"bad\"; }\n",
    );
    place.pipe(&["run", "p.kdl"]).expect(3);
    let runs = place.pipe(&["runs", "p"]).expect(0).out;
    assert!(runs.contains("     3  1 failed, 1 skipped\n"), "{runs}");
    let shown = place.pipe(&["show", "last"]).expect(0).out;
    assert!(shown.contains("  bad    failed ") && shown.contains("`bad` failed\n"), "{shown}");
    let said = place.pipe(&["log", "bad"]).expect(0).err;
    assert!(said.contains("`bad` left no log"), "{said}");
    let none = place.pipe(&["log", "last"]).expect(0);
    assert!(none.err.contains("nothing ran in `last`"), "{}", none.err);
}

#[test]
fn programs_read_runs_keys_and_logs_as_json() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    let json = |args: &[&str]| -> serde_json::Value {
        let said = place.pipe(&[args, &["--format", "json"]].concat()).expect(0).out;
        serde_json::from_str(&said).expect("JSON")
    };
    let runs = json(&["runs"]);
    assert_eq!((&runs["schema"], &runs["runs"][0]["exit"]), (&"pipe-runs/1".into(), &0.into()));
    let run = json(&["show", "last"]);
    assert_eq!(
        (&run["schema"], &run["kind"], &run["run"]["pipeline"]),
        (&"pipe-show/1".into(), &"run".into(), &"past".into())
    );
    assert_eq!(run["steps"][1]["step"], "talk");
    let key = json(&["show", "talk"]);
    assert_eq!(key["result"]["files"][0]["path"], "done.txt", "{key:#}");
    assert_eq!(key["manifest"][0]["leaf"], "class");
    let log = json(&["log", "last"]);
    assert_eq!((&log["schema"], &log["logs"][1]["text"]), (&"pipe-log/1".into(), &"said one\n".into()));
}
