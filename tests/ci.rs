//! CI without a server: the commands of the example workflow on clean checkouts with only the pack between them, cells
//! that come from another machine, and packs that are not to be believed.

#![expect(clippy::disallowed_methods, reason = "a workflow's commands are run by a shell, as CI runs them")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Place, Said, has_sandbox, ran};
use pipe::exec::lookup::session_key;
use pipe::key::Manifest;
use pipe::record::{Sandbox, Session, StepRecord, StepUsage};
use pipe_cache::{Digest, Kind, PackWriter, Store, TreeBuilder};

const PIPELINE: &str = r#"
pipeline "gate" about="what the example workflow runs"
step "engine" {
    run "cp" (file)"sim-engine" (output)"sim-engine"
    output "sim-engine"
}
step "words" {
    run "sh" "-c" "tr a-z A-Z < \"$1\" > out/words.txt" "sh" (file)"note.txt"
    output "words.txt"
    export "words"
}
matrix "cells" {
    axis "model" "one" "two"
    axis "device" "cpu" "cuda"
    exclude model="two" device="cuda" reason="one is enough"
}
measure "speed" for-each="cells" {
    engine (step)"engine"
    program "sim-engine"
    when model="one" { model (file)"one"; }
    when model="two" { model (file)"two"; }
    tokens (file)"tokens.npy"
    device (axis)"device"
    dtype "fp32"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
compare "report" of=(step)"speed" {
    baseline model="one" device="cpu"
    parity reference="model=one device=cpu" max-abs=1e-3
    expect "speed-up" cell="model=two device=cpu" min=0.001
}
"#;

const BUILDS: [&str; 2] = ["engine", "words"];

/// The pipeline and its files, below `bench` of a folder.
fn project(place: &Place) {
    place.engine();
    place.model("bench/one", "{}");
    place.model("bench/two", r#"{"decode-ns": 5000000}"#);
    place.write("bench/gate.kdl", PIPELINE);
    place.write("bench/note.txt", "note\n");
    for name in ["sim-engine", "tokens.npy"] {
        fs::rename(place.path().join(name), place.path().join("bench").join(name)).expect("a file");
    }
    place.write("hosted.json", r#"{"cpu_model": "Hosted", "gpus": []}"#);
    place.write("other.json", r#"{"cpu_model": "Other hosted", "gpus": []}"#);
    place.write(
        "desk.json",
        r#"{"cpu_model": "Desk", "gpus": [{"model": "Test GPU", "memory_gib": 8, "driver_major": "1"}]}"#,
    );
}

fn sh(folder: &Path, script: &str, env: &[(&str, &str)]) -> Said {
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(folder)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .expect("bash starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The commands of a workflow, each with its step's name, and the variables of its `env:`.
struct Workflow {
    commands: Vec<(String, String)>,
    env: Vec<(String, String)>,
}

fn workflow() -> Workflow {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/github.yml")).expect("a file");
    let (mut commands, mut env, mut name) = (Vec::new(), Vec::new(), String::new());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let below = || lines[at + 1..].iter().take_while(|next| next.trim().is_empty() || indent(next) > indent(line));
        if let Some(found) = line.trim().strip_prefix("- name: ") {
            name = found.to_owned();
        } else if *line == "env:" {
            let pairs = below().filter_map(|line| line.trim().split_once(": "));
            env.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        } else if let Some(command) = line.trim().strip_prefix("run: ") {
            let block: String = below().map(|line| format!("{}\n", line.trim())).collect();
            commands.push((name.clone(), if command == "|" { block } else { command.to_owned() }));
        }
    }
    assert_eq!(env.len(), 2, "{env:?}");
    let names: Vec<&str> = commands.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["take in what is known", "run what is missing", "show the report", "keep what was made"]);
    Workflow { commands, env }
}

/// What a job of the GitLab example runs, as one script, the variables that it has, and what it does with the cache.
struct GitLab {
    script: String,
    env: Vec<(String, String)>,
    cache: String,
}

fn gitlab(job: &str) -> GitLab {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/gitlab.yml");
    let text = fs::read_to_string(path).expect("a file");
    let indent = |line: &str| line.len() - line.trim_start().len();
    // The lines below a key, as far as they lie deeper.
    let below = |text: &str, key: &str| -> Option<String> {
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.trim() == format!("{key}:"))?;
        let deeper =
            lines[at + 1..].iter().take_while(|line| line.trim().is_empty() || indent(line) > indent(lines[at]));
        Some(deeper.map(|line| format!("{line}\n")).collect())
    };
    let own = below(&text, job).expect(job);
    assert!(own.contains("extends: .benchmark"), "{own}");
    let base = below(&text, ".benchmark").expect("the common part");
    let list = |text: &str, key: &str| -> Option<Vec<String>> {
        Some(below(text, key)?.lines().filter_map(|line| line.trim().strip_prefix("- ").map(str::to_owned)).collect())
    };
    let mut commands = list(&base, "before_script").expect("what comes before");
    commands.extend(list(&own, "script").or_else(|| list(&base, "script")).expect("a script"));
    let variables = below(&base, "variables").expect("variables");
    let pairs = variables.lines().filter_map(|line| line.trim().split_once(": "));
    let env: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(env.len(), 2, "{env:?}");
    let cache = own.lines().find(|line| line.trim().starts_with("cache: ")).expect("a cache").trim().to_owned();
    GitLab { script: commands.join("\n"), env, cache }
}

/// A machine of the CI service: a clone of the repository, an empty store, and `pipe` in the path.
struct Job {
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl Job {
    fn new(place: &Place, name: &str, host: &str) -> Job {
        let bin = place.path().join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        let level = if has_sandbox() { "" } else { " --sandbox off" };
        fs::write(bin.join("pipe"), format!("#!/bin/sh\nexec '{}' \"$@\"{level}\n", env!("CARGO_BIN_EXE_pipe")))
            .expect("a script");
        fs::set_permissions(bin.join("pipe"), fs::Permissions::from_mode(0o755)).expect("a script");
        let path = std::env::var("PATH").unwrap_or_default();
        let at = |name: &str| place.path().join(name).display().to_string();
        let mut env: Vec<(String, String)> = [
            ("PATH", format!("{}:{path}", bin.display())),
            ("HOME", std::env::var("HOME").unwrap_or_default()),
            ("PIPE_STORE", at(&format!("{name}.store"))),
            ("PIPE_RUNTIME", at(&format!("{name}.runtime"))),
            ("PIPE_SENTINEL", "off".into()),
            ("PIPE_SIMULATED_HOST", at(host)),
            ("CI", "true".to_owned()),
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("GITHUB_EVENT_NAME", "push".to_owned()),
            ("GITHUB_STEP_SUMMARY", at(&format!("{name}.summary"))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(workflow().env);
        let folder = place.path().join(name);
        let script = format!("git clone -q origin {name}");
        sh(place.path(), &script, &[("PATH", &path), ("HOME", "/nonexistent")]).expect(0);
        Job { folder, env }
    }

    /// A machine of GitLab's, with the variables of its job.
    fn of_gitlab(place: &Place, name: &str, source: &str, job: &GitLab) -> Job {
        let mut machine = Job::new(place, name, "hosted.json");
        machine
            .env
            .retain(|(name, _)| !name.starts_with("GITHUB_") && !["PIPELINE", "REPORT"].contains(&name.as_str()));
        machine.env.extend(job.env.iter().cloned());
        machine.with("GITLAB_CI", "true").with("CI_PIPELINE_SOURCE", source)
    }

    fn with(mut self, name: &str, value: &str) -> Job {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn sh(&self, script: &str) -> Said {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        sh(&self.folder, script, &env)
    }

    /// Runs the workflow's step of this name.
    fn step(&self, name: &str) -> Said {
        let all = workflow();
        let (_, script) = all.commands.iter().find(|(other, _)| other == name).expect(name);
        self.sh(script)
    }

    fn ran(&self) -> Vec<String> {
        let mut ran = ran(&self.folder.join("events.jsonl"));
        ran.sort();
        ran
    }

    fn builds(&self) -> Vec<String> {
        self.ran().into_iter().filter(|step| BUILDS.contains(&step.as_str())).collect()
    }
}

/// A repository that jobs clone.
fn repository() -> Place {
    let place = Place::new();
    project(&place);
    let path = std::env::var("PATH").unwrap_or_default();
    let script = "mkdir origin && mv bench origin && cd origin && git init -q && git add -A && \
                  git -c user.name=t -c user.email=t@t -c commit.gpgsign=false commit -q -m all";
    sh(place.path(), script, &[("PATH", &path), ("HOME", "/nonexistent")]).expect(0);
    place
}

#[test]
fn the_workflow_builds_nothing_the_second_time() {
    let place = repository();
    let first = Job::new(&place, "first", "hosted.json");
    for (name, _) in workflow().commands {
        first.step(&name).expect(0);
    }
    assert_eq!(first.builds(), BUILDS);
    let summary = fs::read_to_string(place.path().join("first.summary")).expect("a summary");
    assert!(summary.starts_with("# ") && summary.contains("Hosted, "), "{summary}");

    // The same kind of machine again: nothing runs at all.
    let second = Job::new(&place, "second", "hosted.json");
    sh(place.path(), "cp -r first/packs second", &[("PATH", "/usr/bin:/bin")]).expect(0);
    second.step("take in what is known").expect(0);
    second.sh("pipe run \"$PIPELINE\" --require-cached").expect(0);
    second.step("run what is missing").expect(0);
    assert_eq!(second.ran(), Vec::<String>::new());
    let report = |job: &str| fs::read(place.path().join(job).join("out/gate/report.md")).expect("a report");
    assert!(report("first") == report("second"), "the same results give the same bytes");
    // Whoever wonders where they are from is told the pack, its machine, and when; here all of that is like ours.
    let came = |said: &str, what: &str| {
        let line =
            said.lines().find(|line| line.trim().starts_with("from ")).unwrap_or_else(|| panic!("{what}: {said}"));
        let told = ["pack ", " of Hosted, ", ", written 2", ", imported 2"].iter().all(|word| line.contains(word));
        assert!(told, "{what}: {line}");
    };
    let said = second.sh("pipe why \"$PIPELINE\" engine").expect(0).out;
    came(&said, "why engine");
    assert!(said.contains(", on a machine like this one\n"), "{said}");
    came(&second.sh("pipe why \"$PIPELINE\" 'speed[model=one,device=cpu]'").expect(0).out, "why a cell");
    came(&second.sh("pipe why \"$PIPELINE\" engine --run last").expect(0).out, "why of a run");
    came(&second.sh("pipe show engine").expect(0).out, "show engine");
    came(&second.sh("pipe show 'speed[model=one,device=cpu]'").expect(0).out, "show a cell");
    let shown: serde_json::Value =
        serde_json::from_str(&second.sh("pipe show engine --format json").expect(0).out).expect("JSON");
    assert!(
        shown["result"]["origin"]["machine"].as_str().is_some_and(|line| line.starts_with("Hosted, ")),
        "{shown:#}"
    );
    let said = first.sh("pipe why \"$PIPELINE\" engine").expect(0).out;
    assert!(said.contains(", on this machine\n") && !said.contains("from "), "made here: {said}");

    // Another machine, as hosted ones are: it measures, and still builds nothing.
    let third = Job::new(&place, "third", "other.json");
    sh(place.path(), "cp -r first/packs third", &[("PATH", "/usr/bin:/bin")]).expect(0);
    third.step("take in what is known").expect(0);
    let all = third.sh("pipe run \"$PIPELINE\" --require-cached").expect(4);
    assert!(all.err.contains("2 step(s) have no result") || all.err.contains("3 step(s)"), "{}", all.err);
    third.sh("pipe run \"$PIPELINE\" --require-cached=build --events events.jsonl").expect(0);
    assert_eq!(third.builds(), Vec::<String>::new());
    assert_eq!(third.ran(), ["report", "speed[model=one,device=cpu]", "speed[model=two,device=cpu]"]);
    let said = third.sh("pipe why \"$PIPELINE\" engine").expect(0).out;
    assert!(said.contains("from    pack ") && said.contains(" of Hosted, "), "{said}");
    assert!(said.contains(", on another machine: Hosted, "), "{said}");

    // What is missing is built, and said to be; a gate that fails is the job's failure, with its report.
    third.sh("rm -rf \"$PIPE_STORE\"; echo more >> bench/note.txt").expect(0);
    third.step("take in what is known").expect(0);
    let said = third.sh("pipe run \"$PIPELINE\" --require-cached=build").expect(4);
    assert!(said.err.contains("`--require-cached=build`, but 1 step(s) have no result:\n  words: "), "{}", said.err);
    third.sh("sed -i 's/min=0.001/min=1000/' bench/gate.kdl").expect(0);
    third.step("run what is missing").expect(1);
    third.step("show the report").expect(0);
    assert!(fs::read_to_string(place.path().join("third.summary")).expect("a summary").contains("**fail**"));
}

#[test]
fn the_gitlab_job_builds_nothing_the_second_time() {
    let place = repository();
    let (branch, request) = (gitlab("benchmark"), gitlab("benchmark:merge-request"));
    assert!(branch.cache.contains("paths: [packs], policy: pull-push"), "{}", branch.cache);
    assert!(request.cache.contains("paths: [packs], policy: pull }"), "{}", request.cache);
    let first = Job::of_gitlab(&place, "first", "push", &branch);
    let said = first.sh(&branch.script).expect(0);
    assert!(said.err.lines().any(|line| line.starts_with("5 ran, 0 cached")), "{}", said.err);
    assert!(said.out.contains("packs/ci.pipepack: "), "{}", said.out);

    // The next job has the pack of the cache, and nothing else.
    for (name, source, job) in [("second", "push", &branch), ("third", "merge_request_event", &request)] {
        let next = Job::of_gitlab(&place, name, source, job);
        sh(place.path(), &format!("cp -r first/packs {name}"), &[("PATH", "/usr/bin:/bin")]).expect(0);
        let said = next.sh(&job.script).expect(0);
        assert!(said.err.lines().any(|line| line.starts_with("0 ran, ")), "{name}: {}", said.err);
        next.sh("pipe run \"$PIPELINE\" --require-cached").expect(0);
        let report = |job: &str| fs::read(place.path().join(job).join("out/gate/report.md")).expect("a report");
        assert!(report("first") == report(name), "{name}: the same results give the same bytes");
    }
    // A merge request doesn't even ask for a pack, and would get none.
    assert!(!request.script.contains("store export"), "{}", request.script);
    let third = Job::of_gitlab(&place, "fourth", "merge_request_event", &request);
    let said = third.sh("pipe store export \"$PIPELINE\" --to packs/ci.pipepack").expect(5);
    assert!(said.err.contains("no pack is written"), "{}", said.err);
    // `expect` in the pipeline fails the job, and the report that it keeps says why.
    third.sh("sed -i 's/min=0.001/min=1000/' bench/gate.kdl").expect(0);
    third.sh(&request.script).expect(1);
    let report = fs::read_to_string(third.folder.join("out/gate/report.md")).expect("a report");
    assert!(report.contains("**fail**"), "{report}");
}

#[test]
fn a_pull_request_reads_the_pack_and_never_writes_one() {
    let place = repository();
    let job = Job::new(&place, "job", "hosted.json").with("GITHUB_EVENT_NAME", "pull_request_target");
    job.sh("mkdir -p packs").expect(0);
    let said = job.step("keep what was made").expect(5);
    assert!(said.err.contains("no pack is written: this job runs for a pull request"), "{}", said.err);
    assert!(said.err.contains("--policy FILE"), "{}", said.err);
    assert!(!job.folder.join("packs/ci.pipepack").exists());
    let policy = r#"{"schema": "pipe-policy/1", "untrusted-export": "allow"}"#;
    fs::write(job.folder.join("policy.json"), policy).expect("a file");
    let export = "pipe store export \"$PIPELINE\" --to packs/ci.pipepack --policy";
    let said = job.sh(&format!("{export} policy.json")).expect(5);
    assert!(said.err.contains("lies inside the project"), "{}", said.err);
    place.write("policy.json", policy);
    job.sh(&format!("{export} ../policy.json")).expect(0);
}

/// A place that is one machine, by simulated facts.
fn on<'a>(place: &Place, host: &'a str, store: &'a str, args: &[&str]) -> Said {
    let at = |name: &str| place.path().join(name).display().to_string();
    place.pipe_with(&[("PIPE_SIMULATED_HOST", &at(host)), ("PIPE_STORE", &at(store))], args)
}

fn cell(place: &Place, label: &str) -> serde_json::Value {
    let report = fs::read_to_string(place.path().join("out/gate/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let cells = report["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["label"] == label).expect(label).clone()
}

#[test]
fn another_machine_gives_its_cells_to_the_table() {
    let place = Place::new();
    project(&place);
    let here = |args: &[&str]| on(&place, "hosted.json", "here", args);
    let desk = |args: &[&str]| on(&place, "desk.json", "desk", args);
    here(&["run", "bench/gate.kdl", "--wanted", "wanted.json"]).expect(0);
    let wanted = fs::read_to_string(place.path().join("wanted.json")).expect("what is wanted");
    let wanted: serde_json::Value = serde_json::from_str(&wanted).expect("JSON");
    assert_eq!(wanted["schema"], "pipe-wanted/1");
    assert_eq!(wanted["cells"].as_array().expect("cells").len(), 1);
    assert_eq!(wanted["cells"][0]["step"], "speed[model=one,device=cuda]");
    assert_eq!(wanted["cells"][0]["reason"], "no NVIDIA GPU answers on this machine");
    assert_eq!(cell(&place, "one cuda")["state"], "unavailable");

    // Another text is another pipeline.
    place.write("bench/note.txt", "edited\n");
    let said = desk(&["fulfil", "wanted.json"]).expect(2);
    assert!(
        said.err.contains("not the pipeline `gate`") && said.err.contains("`(file) note.txt` differs"),
        "{}",
        said.err
    );
    place.write("bench/note.txt", "note\n");
    let said = desk(&["fulfil", "wanted.json", "--to", "desk.pipepack", "--as", "my desk"]).expect(0);
    assert!(said.err.contains("1 of 1 wanted cells are measured on Desk, "), "{}", said.err);
    assert!(said.out.contains("desk.pipepack: 0 steps, 1 cell"), "{}", said.out);

    here(&["store", "import", "desk.pipepack"]).expect(0);
    let again = here(&["store", "import", "desk.pipepack"]).expect(0);
    assert!(again.out.starts_with("0 steps and 0 cells from my desk (Desk, "), "{}", again.out);

    // It takes more than its being there.
    here(&["run", "bench/gate.kdl"]).expect(0);
    assert_eq!(cell(&place, "one cuda")["state"], "unavailable");
    here(&["run", "bench/gate.kdl", "--accept-machine", "another"]).expect(0);
    assert_eq!(cell(&place, "one cuda")["state"], "unavailable");
    let said = here(&["run", "bench/gate.kdl", "--accept-machine", "MY DESK", "--events", "events.jsonl"]).expect(0);
    assert_eq!(ran(&place.path().join("events.jsonl")), Vec::<String>::new());
    let theirs = cell(&place, "one cuda");
    assert_eq!(theirs["state"], "measured");
    assert!(theirs["elsewhere"].as_str().is_some_and(|name| name.starts_with("my desk (Desk, ")), "{theirs}");
    assert!(theirs["speed_ups"].to_string().contains("another machine"), "{theirs}");
    assert_eq!(theirs["winner"], false);
    assert!(theirs["parity"].to_string().contains("right"), "{theirs}");
    assert!(said.out.contains("measured on another machine: my desk (Desk, "), "{}", said.out);
    let read = |name: &str| fs::read_to_string(place.path().join("out/gate").join(name)).expect(name);
    for name in ["report.md", "report.csv", "report.html"] {
        assert!(read(name).contains("my desk"), "{name}");
    }
    let plan = here(&["plan", "bench/gate.kdl", "--accept-machine", "*desk*"]).expect(0).out;
    assert!(plan.contains("shown as measured on my desk (Desk, "), "{plan}");
    // It is not this machine's figure, whoever asks.
    let said = here(&["run", "bench/gate.kdl", "--accept-machine", "*", "--require", "device=cuda"]).expect(4);
    assert!(said.err.contains("no NVIDIA GPU"), "{}", said.err);
}

#[test]
fn a_result_without_its_bytes_is_one_until_something_reads_it() {
    let place = Place::new();
    let pipeline = |how: &str| {
        format!(
            r#"
pipeline "light"
step "big" {{ run "sh" "-c" "head -c 3000000 /dev/zero > out/zeros; echo 7 > out/small"; output "zeros"; output "small"; }}
step "sum" {{ run "sh" "-c" "cat \"$1\" | {how} > out/sum" "sh" (step)"big/zeros"; output "sum"; }}
step "apart" {{ run "sh" "-c" "cat \"$1\" > out/sum" "sh" (step)"big/small"; output "sum"; }}
"#
        )
    };
    place.write("light.kdl", &pipeline("wc -c"));
    place.pipe(&["run", "light.kdl"]).expect(0);
    let said = place.pipe(&["store", "export", "light.kdl", "--to", "all.pipepack", "--outputs=all"]).expect(0);
    assert!(said.out.contains("left out for their size: big 2.9 MiB"), "{}", said.out);
    let other = [("PIPE_STORE", "other")];
    let said = place.pipe_with(&other, &["store", "import", "all.pipepack"]).expect(0);
    assert!(said.out.contains("3 steps") && said.out.contains("1 without all bytes"), "{}", said.out);
    place.pipe_with(&other, &["run", "light.kdl", "--require-cached"]).expect(0);

    place.write("light.kdl", &pipeline("wc -c | tr 0 1"));
    let plan = place.pipe_with(&other, &["plan", "light.kdl"]).expect(0).out;
    assert!(
        plan.contains("big    runs (its output stayed out of the pack that it came in, and is read now)"),
        "{plan}"
    );
    assert!(plan.contains("sum    depends on big"), "{plan}");
    place.pipe_with(&other, &["run", "light.kdl", "--events", "events.jsonl"]).expect(0);
    let mut steps = ran(&place.path().join("events.jsonl"));
    steps.sort();
    assert_eq!(steps, ["big", "sum"], "what repeats its bytes runs nothing more");
    place.pipe_with(&other, &["store", "verify"]).expect(0);
}

#[test]
fn a_step_that_saw_a_secret_stays_here() {
    let place = Place::new();
    place.write(
        "secret.kdl",
        r#"
pipeline "secret"
step "fetch" class="fetch" { run "sh" "-c" "wc -c < \"$1\" > out/size" "sh" (secret)"CANARY"; output "size"; }
tree "copy" { put "kept" (step)"fetch/size"; }
step "plain" { run "sh" "-c" "echo plain > out/plain"; output "plain"; }
"#,
    );
    let canary = [("CANARY", "canary-4af1b0")];
    place.pipe_with(&canary, &["run", "secret.kdl"]).expect(0);
    let said = place.pipe(&["store", "export", "secret.kdl", "--to", "a", "--outputs=all"]).expect(0);
    assert!(said.out.contains("1 step, 0 cells") && said.out.contains("saw a secret"), "{}", said.out);
    assert!(said.out.contains("fetch, copy"), "{}", said.out);
    let said = place.pipe(&["store", "export", "secret.kdl", "--to", "b", "--outputs=all", "--with-secret-steps"]);
    assert!(said.expect(0).out.contains("3 steps, 0 cells"));
    for pack in ["a", "b"] {
        let bytes = fs::read(place.path().join(pack)).expect("a pack");
        assert!(!bytes.windows(13).any(|window| window == b"canary-4af1b0"), "the value is in no pack");
    }
}

#[test]
fn deltas_are_small_chains_are_short_and_damage_is_refused() {
    let place = Place::new();
    let write = |n: usize| {
        let step = |i: usize| format!("step \"s{i}\" {{ run \"sh\" \"-c\" \"echo {i} > out/x\"; output \"x\"; }}\n");
        place.write("p.kdl", &format!("pipeline \"p\"\n{}", (0..n).map(step).collect::<String>()));
        place.pipe(&["run", "p.kdl"]).expect(0);
    };
    let mut packs: Vec<String> = Vec::new();
    for n in 1..=6 {
        write(n);
        let name = format!("{n}.pipepack");
        let mut args = vec!["store", "export", "p.kdl", "--outputs=all", "--to", &name, "--since"];
        args.extend(packs.iter().map(String::as_str));
        if packs.is_empty() {
            args.pop();
        }
        let said = place.pipe(&args).expect(0);
        assert_eq!(said.err.contains("a long chain"), n == 6, "{}", said.err);
        packs.push(name);
    }
    let other = [("PIPE_STORE", "other")];
    // The fifth of a chain needs those before it; the sixth is whole.
    let missing = place.pipe(&["store", "export", "p.kdl", "--to", "x", "--since", "5.pipepack"]).expect(2);
    assert!(missing.err.contains("build on another one"), "{}", missing.err);
    place.pipe_with(&other, &["store", "import", "6.pipepack"]).expect(0);
    place.pipe_with(&other, &["run", "p.kdl", "--require-cached"]).expect(0);
    let third = [("PIPE_STORE", "third")];
    let mut args = vec!["store", "import"];
    args.extend(packs[..5].iter().map(String::as_str));
    place.pipe_with(&third, &args).expect(0);
    write(5);
    place.pipe_with(&third, &["run", "p.kdl", "--require-cached"]).expect(0);

    let good = fs::read(place.path().join("6.pipepack")).expect("a pack");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(place.path().join("bad"), bad).expect("a file");
    fs::write(place.path().join("cut"), &good[..good.len() - 20]).expect("a file");
    let last = [("PIPE_STORE", "last")];
    for (pack, why) in
        [("bad", "is refused at byte"), ("cut", "the file ends before the pack does"), ("p.kdl", "no pack")]
    {
        let said = place.pipe_with(&last, &["store", "import", pack]).expect(5);
        assert!(said.err.contains(why), "{}", said.err);
    }
    let size = place.pipe_with(&last, &["store", "size"]).expect(0).out;
    assert!(size.contains("0 records"), "{size}");
}

/// Packs whose checksums hold and whose claims don't.
#[test]
fn records_that_do_not_hold_are_refused_one_by_one() {
    let place = Place::new();
    project(&place);
    on(&place, "hosted.json", "here", &["run", "bench/gate.kdl"]).expect(0);
    let store = Store::open(&place.path().join("here")).expect("a store");
    let first = |kind: Kind| {
        let key = store.keys(kind).expect("keys")[0];
        (key, store.last(kind, &key).expect("a record").expect("a record"))
    };
    let ((step, record), (session_at, session)) = (first(Kind::Record), first(Kind::Session));
    let manifest = store.last(Kind::Manifest, &step).expect("a manifest").expect("a manifest");
    let parsed: Session = serde_json::from_slice(&session).expect("a session");
    let question = store.last(Kind::Manifest, &parsed.question).expect("a manifest").expect("a manifest");
    let other = Digest::of(b"other");
    let mut elsewhere = parsed.clone();
    elsewhere.machine = other;
    let elsewhere = serde_json::to_vec(&elsewhere).expect("JSON");
    let filed = session_key(&parsed.question, &other);
    let mut escapes = parsed.clone();
    escapes.facts.machine.cpu_model = "\u{1b}[2J".to_owned();
    let escapes = serde_json::to_vec(&escapes).expect("JSON");
    // A note of a cell, in the place of another note.
    let note = format!(r#"{{"format":1,"identity":"{other}","step":"x","question":"{other}","machine":"{other}"}}"#);
    type Records<'a> = Vec<(Kind, Digest, &'a [u8])>;
    let cases: Vec<(Records, &str)> = vec![
        (vec![(Kind::Record, step, &record)], "the manifest that its key is the digest of is missing"),
        (vec![(Kind::Manifest, other, &manifest)], "it is filed under a key that is not its own"),
        (vec![(Kind::Manifest, other, &manifest), (Kind::Record, other, &record)], "digest of is missing"),
        (vec![(Kind::Manifest, step, b"pipe-manifest 9\n")], "it is no manifest that this version reads"),
        (vec![(Kind::Manifest, step, &manifest), (Kind::Record, step, b"{}")], "no record of a step"),
        (vec![(Kind::Manifest, step, &manifest), (Kind::Record, step, &record)], "its output can't be had"),
        (vec![(Kind::Session, session_at, &session)], "the manifest that its question is the digest of is missing"),
        (
            vec![(Kind::Manifest, parsed.question, &question), (Kind::Session, other, &session)],
            "another machine or question",
        ),
        (vec![(Kind::Manifest, parsed.question, &question), (Kind::Session, filed, &elsewhere)], "another machine or"),
        (vec![(Kind::Manifest, parsed.question, &question), (Kind::Session, session_at, &session)], "its outputs"),
        (vec![(Kind::Manifest, parsed.question, &question), (Kind::Session, session_at, &escapes)], "it is no session"),
        (vec![(Kind::Note, other, note.as_bytes())], "it is no note that a pack carries"),
        (vec![(Kind::Run, other, b"{}")], "it is no run that this version reads"),
        (vec![(Kind::Note, other, b"{}")], "it is no note that a pack carries"),
        (vec![(Kind::Probe, other, b"{}")], "no other machine's business"),
    ];
    for (records, why) in cases {
        let path = place.path().join("hostile");
        let mut pack = PackWriter::begin(&store, &path, &[], "not even JSON").expect("a pack");
        for (kind, key, payload) in records {
            pack.record(kind, &key, payload).expect("a record");
        }
        pack.end().expect("a pack");
        let said = on(&place, "hosted.json", "there", &["store", "import", "hostile"]).expect(5);
        assert!(said.err.contains(why) && said.err.contains("is refused at byte"), "{why}:\n{}", said.err);
        let there = Store::open(&place.path().join("there")).expect("a store");
        assert_eq!(there.usage().expect("usage").records, 0, "{why}");
    }
}

/// A fetch is what its key promises, whoever brings it.
#[test]
fn a_fetch_with_other_bytes_is_refused() {
    let place = Place::new();
    let store = Store::open(&place.path().join("here")).expect("a store");
    // The digest of `right`.
    let sha256 = "27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9";
    let text = format!("pipe-manifest 1\nclass \"fetch\"\naction \"fetch-file 2\"\nsha256 \"{sha256}\"\nname \"x\"\n");
    let key = Manifest::parse(&text).expect("a manifest").key();
    for (content, code) in [("wrong", 5), ("right", 0)] {
        let mut tree = TreeBuilder::new();
        tree.insert("x", store.put_bytes(content.as_bytes()).expect("a blob")).expect("a tree");
        let output = tree.build(&store).expect("a tree");
        let (sandbox, usage) = (Sandbox::Strict, StepUsage::default());
        let record = StepRecord { format: 1, output: output.clone(), sandbox, usage, log: None };
        let mut pack = PackWriter::begin(&store, &place.path().join(content), &[], "").expect("a pack");
        pack.content(&output, &|_| true).expect("content");
        pack.record(Kind::Manifest, &key, text.as_bytes()).expect("a record");
        pack.record(Kind::Record, &key, &serde_json::to_vec(&record).expect("JSON")).expect("a record");
        pack.end().expect("a pack");
        let said = place.pipe(&["store", "import", content]).expect(code);
        let refused = "what was fetched has not the digest that its key promises";
        assert_eq!(said.err.contains(refused), code == 5, "{}", said.err);
        assert_eq!(said.out.starts_with("1 step and"), code == 0, "{}", said.out);
    }
}
