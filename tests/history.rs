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
    assert_eq!(lines.len(), 2, "{runs}");
    // `talk` says another word and makes the same bytes, so `quiet` is cached the second time.
    let states: Vec<&str> = lines.iter().map(|line| line.rsplit("  ").next().unwrap_or("")).collect();
    assert!(states.contains(&"2 ran") && states.contains(&"1 ran, 1 cached"), "{runs}");
    let second = lines.iter().find(|line| line.ends_with("1 ran, 1 cached")).expect("the second run");
    let id = second.split(' ').next().expect("its name");
    let shown = place.pipe(&["show", id]).expect(0).out;
    assert!(shown.contains("talk   ran") && shown.contains("quiet  cached"), "{shown}");
    let key = place.pipe(&["show", "quiet"]).expect(0).out;
    for wanted in ["step    quiet of past", "output  tree:", "1 file, 5 B", "run.program"] {
        assert!(key.contains(wanted), "no `{wanted}` in\n{key}");
    }
    let digits = key.lines().next().and_then(|line| line.split_whitespace().nth(1)).expect("the key");
    assert_eq!(place.pipe(&["show", &digits[..8]]).expect(0).out, key);
    let words = ["said one\n", "said two\n"];
    assert!(words.contains(&place.pipe(&["log", "talk"]).expect(0).out.as_str()));
}

#[test]
fn names_that_mean_nothing_are_refused_with_what_was_meant() {
    let place = place();
    place.pipe(&["run", "past.kdl"]).expect(0);
    let said = place.pipe(&["show", "talc"]).expect(2).err;
    assert!(said.contains("no step `talc`; did you mean `talk`?"), "{said}");
    let said = place.pipe(&["log", "ffffffffffff"]).expect(2).err;
    assert!(said.contains("knows no run, no key"), "{said}");
    let runs = place.pipe(&["runs"]).expect(0).out;
    let id = runs.split(' ').next().expect("a run");
    let said = place.pipe(&["log", id]).expect(2).err;
    assert!(said.contains("name one of them") && said.contains("pipe log 'talk'"), "{said}");
}
