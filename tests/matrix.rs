//! Matrices, profiles and lists beyond texts: where values come from, names that stay, and many cells.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use pipe::pipeline::{Action, Arg, CellPattern, FromProfile, Input, Origin, Pipeline, Step};
use pipe::resolve::{Facts, Memory, Options, load};

fn facts(os: &str, gpu: &str) -> Facts {
    Facts { os: os.to_owned(), arch: "x86_64".to_owned(), gpu: gpu.to_owned(), python: None }
}

fn options(sets: &[(&str, &str)], profile: Option<&str>) -> Options {
    Options {
        sets: sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        profile: profile.map(str::to_owned),
    }
}

fn read(text: &str, options: &Options, facts: &Facts) -> Result<Pipeline, String> {
    let files = Memory::default()
        .with("project/.git/HEAD", "")
        .with("project/p.kdl", text)
        .with("project/data.txt", "hello")
        .with("shared/.git/HEAD", "")
        .with("shared/lib/tool.py", "print()")
        .with("shared/lib/inner.kdl", "recipe \"inner\" { step \"s\" { run \"true\"; }; result (step)\"s\"; }")
        .with(
            "shared/lib/lib.kdl",
            "use \"inner.kdl\"\nrecipe \"tool\" { step \"s\" { run \"python3\" (file)\"tool.py\"; }; result (step)\"s\"; }",
        );
    let (pipeline, found) = load(Path::new("project/p.kdl"), options, &files, facts);
    pipeline.ok_or_else(|| found.render(false, 100))
}

fn sound(text: &str, options: &Options) -> Pipeline {
    read(text, options, &facts("linux", "none")).unwrap_or_else(|said| panic!("{said}"))
}

fn step<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Step {
    let found = pipeline.steps.iter().find(|step| step.name == name || step.also.iter().any(|also| also == name));
    found.unwrap_or_else(|| panic!("no step {name}"))
}

/// The arguments of a step, and where each was written.
fn arguments(step: &Step) -> Vec<(String, Origin)> {
    let Action::Run(run) = &step.action else { panic!("{} runs nothing", step.name) };
    run.args
        .iter()
        .map(|arg| match &arg.value {
            Arg::Value(value) => (value.to_string(), arg.origin.clone()),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn texts(step: &Step) -> Vec<String> {
    arguments(step).into_iter().map(|(text, _)| text).collect()
}

fn names(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.steps.iter().map(|step| step.name.as_str()).collect()
}

const PROFILES: &str = r#"pipeline "p"
param "size" "big" { choices "big" "test"; }
param "tokens" 64 max=100
param "flags" "-a" "-b" many=#true
param "data" type="file" optional=#true
profile "quick" about="soon done" {
    size "test"
    tokens 16
    flags "-c"
    data (file)"data.txt"
}
profile "none" { flags; }
step "s" { run "echo" (param)"size" (param)"tokens" (param)"flags"; }
when "flags" { step "some" { run "true"; }; }
"#;

#[test]
fn a_flag_beats_the_profile_and_the_profile_beats_the_file() {
    let said = |sets: &[(&str, &str)], profile| texts(step(&sound(PROFILES, &options(sets, profile)), "s")).join(" ");
    assert_eq!(said(&[], None), "big 64 -a -b");
    assert_eq!(said(&[], Some("quick")), "test 16 -c");
    assert_eq!(said(&[("tokens", "32")], Some("quick")), "test 32 -c");
    assert_eq!(said(&[("flags", "x,y"), ("flags", "z\\,z")], Some("quick")), "test 16 x y z,z");
    assert_eq!(said(&[("flags", "")], None), "big 64");
    assert_eq!(said(&[], Some("none")), "big 64");
}

#[test]
fn an_empty_list_counts_as_not_given() {
    let some = |profile| names(&sound(PROFILES, &options(&[], profile))).contains(&"some");
    assert!(some(None) && some(Some("quick")) && !some(Some("none")));
}

#[test]
fn the_origin_of_a_value_names_the_profile_and_the_place() {
    let pipeline = sound(PROFILES, &options(&[("flags", "x")], Some("quick")));
    let origins: Vec<Origin> = arguments(step(&pipeline, "s")).into_iter().map(|(_, origin)| origin).collect();
    let start = PROFILES.find("16").expect("the value");
    let flag = "--profile quick".to_owned();
    let from = FromProfile { flag, source: 0, start, end: start + 2 };
    assert_eq!(origins[1], Origin::Profile(Box::new(from)));
    assert_eq!(origins[2], Origin::Flag("--set flags=x".to_owned()));
    assert_eq!(pipeline.profiles.len(), 2);
    assert_eq!(pipeline.profiles[0].about.as_deref(), Some("soon done"));
}

#[test]
fn an_unknown_profile_is_an_error_with_a_suggestion() {
    let said = |name| {
        let found = read(PROFILES, &options(&[], Some(name)), &facts("linux", "none"));
        found.expect_err("there is no such profile")
    };
    assert!(said("quik").contains("did you mean `quick`?"));
    assert!(said("zebra").contains("the pipeline has: `quick` and `none`"));
    let bare = "pipeline \"p\"\nstep \"s\" { run \"true\"; }\n";
    let none = read(bare, &options(&[], Some("quick")), &facts("linux", "none")).expect_err("there is none");
    assert!(none.contains("pipe::unknown-profile") && none.contains("declare it"), "{none}");
}

#[test]
fn a_list_is_checked_value_by_value_in_flags() {
    let said = |sets: &[(&str, &str)]| {
        let text = "pipeline \"p\"\nparam \"n\" 1 8 many=#true min=1\nstep \"s\" { run \"echo\" (param)\"n\"; }\n";
        read(text, &options(sets, None), &facts("linux", "none")).map(|pipeline| texts(step(&pipeline, "s")).join(" "))
    };
    assert_eq!(said(&[("n", "1,2"), ("n", "4")]), Ok("1 2 4".to_owned()));
    assert!(said(&[("n", "1,0")]).is_err_and(|said| said.contains("pipe::out-of-range")));
    assert!(said(&[("n", "1,,2")]).is_err_and(|said| said.contains("pipe::wrong-type")));
    assert!(said(&[("n", "1 2")]).is_err_and(|said| said.contains("pipe::wrong-type")));
}

#[test]
fn a_list_chooses_the_values_of_an_axis() {
    let text = "pipeline \"p\"\nparam \"batches\" 1 8 many=#true\nmatrix \"m\" { axis \"batch\" (param)\"batches\"; }\n\
                step \"s\" for-each=\"m\" { run \"echo\" (axis)\"batch\"; timeout (s)1; }\n";
    assert_eq!(names(&sound(text, &options(&[], None))), ["s[batch=1]", "s[batch=8]"]);
    let pipeline = sound(text, &options(&[("batches", "2,4")], None));
    assert_eq!(names(&pipeline), ["s[batch=2]", "s[batch=4]"]);
    let origin = arguments(step(&pipeline, "s[batch=4]")).remove(0).1;
    assert_eq!(origin, Origin::Flag("--set batches=2,4".to_owned()));
    let empty = read(text, &options(&[("batches", "")], None), &facts("linux", "none"));
    assert!(empty.is_err_and(|said| said.contains("the list is empty")));
}

#[test]
fn axes_hold_values_with_units_and_texts_alike() {
    let text = "pipeline \"p\"\nmatrix \"m\" { axis \"memory\" (GiB)4 \"2GiB\"; axis \"wait\" (s)30; axis \"cpu\" 1 \"2\"; }\n\
                step \"s\" for-each=\"m\" { run \"true\" (axis)\"memory\" (axis)\"cpu\"; needs memory=(axis)\"memory\" cpu=(axis)\"cpu\"; \
                timeout (axis)\"wait\"; }\n";
    let pipeline = sound(text, &options(&[], None));
    let first = step(&pipeline, "s[memory=4294967296,wait=30,cpu=1]");
    assert_eq!((first.needs.memory, first.needs.cpu), (4 << 30, 1));
    assert_eq!(first.limits.timeout, Some(Duration::from_secs(30)));
    let second = step(&pipeline, "s[memory=2GiB,wait=30,cpu=2]");
    assert_eq!((second.needs.memory, second.needs.cpu), (2 << 30, 2));
}

const DEVICES: &str = r#"pipeline "p"
matrix "m" {
    axis "device" "cpu" "cuda"
    when host-gpu="none" { exclude device="cuda" reason="no GPU"; }
    when host-gpu="metal" host-os="macos" { include device="mps"; }
}
step "s" for-each="m" { run "true" (axis)"device"; when device="mps" { env A="b"; }; }
"#;

#[test]
fn a_matrix_has_the_cells_that_fit_the_host() {
    let cells = |os, gpu| {
        let pipeline = read(DEVICES, &Options::default(), &facts(os, gpu)).unwrap_or_else(|said| panic!("{said}"));
        let names: Vec<String> = pipeline.steps.iter().map(|step| step.name.clone()).collect();
        names.join(" ")
    };
    assert_eq!(cells("linux", "none"), "s[device=cpu]");
    assert_eq!(cells("linux", "nvidia"), "s[device=cpu] s[device=cuda]");
    assert_eq!(cells("macos", "metal"), "s[device=cpu] s[device=cuda] s[device=mps]");
    let pipeline = sound(DEVICES, &Options::default());
    assert_eq!(pipeline.matrices[0].excluded[0].1, "no GPU");
}

#[test]
fn a_matrix_keeps_points_reasons_and_what_was_added() {
    let text = r#"pipeline "p"
matrix "m" {
    zip { axis "a" 1 1 2; axis "b" 1 2 1; }
    axis "c" "x" "y"
    exclude a=1 c="x" reason="out"
    include a=1 b=2 c="x" reason="back"
    include a=9 b=9 c="z"
}
step "s" for-each="m" { run "true" (axis)"a" (axis)"b" (axis)"c"; }
"#;
    let pipeline = sound(text, &Options::default());
    let matrix = &pipeline.matrices[0];
    let shown = |cells: Vec<String>| cells.join(" ");
    assert_eq!(
        shown(matrix.points.iter().map(ToString::to_string).collect()),
        "a=1,b=1,c=x a=1,b=1,c=y a=1,b=2,c=x a=1,b=2,c=y a=2,b=1,c=x a=2,b=1,c=y a=9,b=9,c=z"
    );
    assert_eq!(shown(matrix.excluded.iter().map(|(cell, why)| format!("{cell}:{why}")).collect()), "a=1,b=1,c=x:out");
    let added: Vec<Option<&str>> = matrix.points.iter().map(|cell| matrix.why_included(cell)).collect();
    assert_eq!(added, [None, None, Some("back"), None, None, None, None]);
    assert_eq!(matrix.included.len(), 2);
    assert_eq!(pipeline.steps.len(), 6);
    assert_eq!(step(&pipeline, "s[a=1,b=2,c=x]").about.as_deref(), Some("back"));
    assert_eq!(step(&pipeline, "s[a=1,b=2,c=y]").about, None);
}

#[test]
fn a_cell_keeps_its_name_when_others_come_and_nodes_move() {
    let before = "pipeline \"p\"\nmatrix \"m\" { axis \"n\" 1.0 2.50; axis \"t\" \"a\"; }\n\
                  step \"s\" for-each=\"m\" { run \"true\" (axis)\"n\" (axis)\"t\"; }\nstep \"z\" { run \"true\"; }\n";
    let after = "pipeline \"p\"\nstep \"z\" { run \"true\"; }\n\
                 step \"s\" for-each=\"m\" { run \"true\" (axis)\"n\" (axis)\"t\"; }\n\
                 matrix \"m\" { axis \"n\" 0.5 2.5 1; axis \"t\" \"b\" \"a\"; }\n";
    let (before, after) = (sound(before, &Options::default()), sound(after, &Options::default()));
    for name in names(&before) {
        assert!(names(&after).contains(&name), "{name}");
    }
    assert!(names(&before).contains(&"s[n=2.5,t=a]"));
    assert_eq!(names(&after).len(), 7);
}

#[test]
fn cells_lie_in_a_folder_by_their_names() {
    let text = r#"pipeline "p"
matrix "m" { axis "model" "org/a" "50%"; axis "n" 1 2; }
step "s" for-each="m" { run "true" (axis)"model" (axis)"n"; output "o"; }
step "all" { run "cat"; input (cells)"s[n=1]/o" as="runs"; }
"#;
    let pipeline = sound(text, &Options::default());
    let Action::Run(run) = &step(&pipeline, "all").action else { panic!("a process") };
    let inputs: Vec<(&str, &str)> = run
        .inputs
        .iter()
        .map(|(name, input)| match &input.value {
            Input::Step { path, .. } => (name.as_str(), path.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(inputs, [("runs/model=org%2Fa,n=1", "o"), ("runs/model=50%25,n=1", "o")]);
}

#[test]
fn a_file_from_outside_the_project_must_be_asked_for() {
    let text = |more: &str| format!("pipeline \"p\"\nuse \"../shared/lib/lib.kdl\"{more}\ntool \"t\"\n");
    let refused = read(&text(""), &Options::default(), &facts("linux", "none")).expect_err("it lies outside");
    assert!(refused.contains("outside-project=#true"), "{refused}");
    // Its own neighbours come with it, and nothing else does.
    let pipeline = sound(&text(" outside-project=#true"), &Options::default());
    assert_eq!(names(&pipeline), ["t"]);
    let more =
        format!("{}step \"s\" {{ run \"cat\" (file)\"../shared/lib/tool.py\"; }}\n", text(" outside-project=#true"));
    let refused = read(&more, &Options::default(), &facts("linux", "none")).expect_err("it lies outside");
    assert!(refused.contains("pipe::outside-project"), "{refused}");
}

#[test]
fn a_pattern_can_say_what_must_not_be() {
    let pipeline = sound(DEVICES, &Options::default());
    let cell = step(&pipeline, "s[device=cpu]").cell.clone().expect("a cell");
    let matches = |pattern: &str| CellPattern::parse(pattern).expect("a pattern").matches(&cell);
    assert!(matches("device=cpu") && matches("device=c*") && matches("!device=cuda"));
    assert!(!matches("!device=cpu") && !matches("!device=c*") && !matches("!place=x"));
}

/// Every way in which a cell of ten thousand is found: by number, by agreement, by brackets, and all at once.
#[test]
fn ten_thousand_cells_find_each_other_soon() {
    let text = r#"pipeline "p"
matrix "m" { axis "a" (range)"1..100"; axis "b" (range)"1..100"; }
matrix "n" { axis "b" (range)"1..100"; axis "c" 1; axis "a" (range)"1..100"; }
matrix "rows" { axis "a" (range)"1..100"; }
matrix "columns" { axis "b" (range)"1..100"; }
step "s" for-each="m" { run "echo" (axis)"a" (axis)"b"; }
step "t" for-each="n" { run "cat" (step)"s/x" (step)"s[b=7]/x"; }
step "u" { for-each "rows" "columns"; run "cat" (step)"t"; }
step "v" for-each="rows" { run "cat"; input (cells)"u" as="in"; }
"#;
    let start = Instant::now();
    let pipeline = sound(text, &Options::default());
    assert_eq!(pipeline.steps.len(), 30_100);
    let Action::Run(run) = &step(&pipeline, "v[a=3]").action else { panic!("a process") };
    assert_eq!(run.inputs.len(), 100);
    // A step that looked at every cell of another would take minutes.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn cells_that_read_all_cells_of_many_are_refused() {
    let text = r#"pipeline "p"
matrix "m" { axis "a" (range)"1..2000"; }
matrix "n" { axis "b" (range)"1..2000"; }
step "s" for-each="m" { run "echo" (axis)"a"; }
step "t" for-each="n" { run "cat" (axis)"b"; input (cells)"s" as="in"; }
"#;
    let said = read(text, &Options::default(), &facts("linux", "none")).expect_err("too many");
    assert!(said.contains("pipe::too-many-inputs"), "{said}");
}

#[test]
fn a_profile_runs_and_why_names_it() {
    let place = common::Place::new();
    place.write("p.kdl", PROFILES);
    place.write("data.txt", "hello");
    place.pipe(&["run", "p.kdl"]).expect(0);
    let said = place.pipe(&["plan", "p.kdl", "--profile", "quick"]).expect(0);
    assert!(said.out.contains("runs (run.arg.0: value big → value test, and 3 more)"), "{}", said.out);
    let said = place.pipe(&["why", "p.kdl", "s", "--profile", "quick", "--set", "tokens=32"]).expect(0);
    assert!(said.out.contains("value big → value test   --profile quick (p.kdl:7:10)"), "{}", said.out);
    assert!(said.out.contains("value 64 → value 32   --set tokens=32"), "{}", said.out);
    // What was kept of the pipeline without the profile is not taken for the one with it.
    place.pipe(&["run", "p.kdl", "--profile", "quick"]).expect(0);
    place.pipe(&["run", "p.kdl", "--profile", "quick", "--require-cached"]).expect(0);
    place.pipe(&["run", "p.kdl", "--require-cached"]).expect(0);
    assert!(place.pipe(&["run", "p.kdl", "--profile", "quik"]).expect(2).err.contains("did you mean `quick`?"));
}

#[test]
fn check_reads_a_pipeline_with_each_of_its_profiles() {
    let place = common::Place::new();
    let text = "pipeline \"p\"\nparam \"n\" 1 2 many=#true\nprofile \"less\" { n 1; }\nmatrix \"m\" { axis \"n\" (param)\"n\"; }\n\
                step \"s\" for-each=\"m\" { run \"true\" (axis)\"n\"; }\nstep \"t\" { run \"cat\" (step)\"s[n=2]\"; }\n";
    place.write("p.kdl", text);
    let said = place.pipe(&["check", "p.kdl"]).expect(2);
    assert!(said.err.contains("with `--profile less`:") && said.err.contains("pipe::unknown-value"), "{}", said.err);
    place.pipe(&["check", "p.kdl", "--profile", "less", "--set", "n=1,2"]).expect(0);
    place.write("p.kdl", &text.replace("{ n 1; }", "{ n 2; }"));
    assert_eq!(place.pipe(&["check", "p.kdl"]).expect(0).out, "p.kdl: ok, 3 steps\n");
}

#[test]
fn only_what_is_chosen_runs() {
    let place = common::Place::new();
    let text = "pipeline \"p\"\nmatrix \"m\" { axis \"size\" 1 2; axis \"tool\" \"a\" \"b\"; exclude size=2 tool=\"b\" reason=\"too slow\"; }\n\
                step \"s\" for-each=\"m\" { run \"sh\" \"-c\" \"echo $0 > out/o\" (axis)\"size\" (axis)\"tool\"; output \"o\"; }\n\
                step \"all\" { run \"sh\" \"-c\" \"cat in/s/* > out/o\"; input (cells)\"s/o\" as=\"s\"; output \"o\"; }\n";
    place.write("p.kdl", text);
    let said = place.pipe(&["run", "p.kdl", "--only", "size=1 !tool=b"]).expect(0);
    assert!(said.err.contains("1 ran, 0 cached"), "{}", said.err);
    let said = place.pipe(&["plan", "p.kdl", "--only", "tool=b"]).expect(0).out;
    let state = |step: &str| said.lines().find(|line| line.contains(step)).unwrap_or_default().to_owned();
    assert!(state("s[size=1,tool=a]").ends_with("cached"), "{said}");
    assert!(state("s[size=2,tool=a]").ends_with("not selected"), "{said}");
    assert!(state("all").ends_with("not selected"), "{said}");
    assert!(state("s[size=1,tool=b]").contains("runs"), "{said}");
    for (pattern, wanted) in [
        ("sise=1", "no matrix has an axis `sise`; did you mean `size`?"),
        ("size=3", "axis `size` has no value `3`"),
        ("tool=c*", "axis `tool` has no value `c*`; it has: `a` and `b`"),
        ("size=2 tool=b", "the cell size=2,tool=b is excluded: too slow"),
        ("size", "is no pattern"),
    ] {
        let said = place.pipe(&["plan", "p.kdl", "--only", pattern]).expect(2).err;
        assert!(said.contains(wanted), "{pattern}: {said}");
    }
    let said = place.pipe(&["run", "p.kdl"]).expect(0);
    assert!(said.err.contains("3 ran, 1 cached"), "{}", said.err);
}

const MEASURED: &str = r#"pipeline "p"
matrix "cells" {
    axis "model" "one" "two"
    axis "place" "here"
    exclude model="two" reason="not today"
    include model="two" place="here" reason="but once"
    include model="three" place="here"
}
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    model (file)"one"
    tokens (file)"tokens.npy"
    device "cpu"
    threads 1
    when model="one" { prompt-tokens 8; }
    when model="two" { prompt-tokens 8; }
    when model="three" { prompt-tokens 4; }
    new-tokens 4
    warm-up min=2 max=4
    samples min=4 time=(ms)100 target=(percent)50 max-time=(s)5
    timeout (s)20
}
compare "all" of=(step)"speed" { baseline model="one"; }
compare "some" of=(cells)"speed[model=t*]" { baseline model="two"; }
"#;

#[test]
fn each_comparison_reports_the_cells_that_it_looks_at() {
    let place = common::Place::new();
    place.engine();
    place.model("one", "{}");
    place.write("p.kdl", MEASURED);
    place.pipe(&["run", "p.kdl", "--events", "events.jsonl"]).expect(0);
    let ran = common::ran(&place.path().join("events.jsonl"));
    assert!(["all", "some"].iter().all(|step| ran.iter().any(|name| name == step)), "{ran:?}");
    let report = |name: &str| std::fs::read_to_string(place.path().join("out/p").join(name)).expect("a report");
    let (all, some) = (report("all.csv"), report("some.csv"));
    let line = |text: &str, cell: &str| text.lines().find(|line| line.contains(cell)).unwrap_or_default().to_owned();
    for cell in ["one here", "two here", "three here"] {
        assert!(line(&all, cell).contains("measured"), "{cell}: {all}");
    }
    assert!(
        line(&some, "one here").contains("not selected") && line(&some, "three here").contains("measured"),
        "{some}"
    );
}
