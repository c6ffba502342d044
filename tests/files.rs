//! What steps read that lies beside the pipeline: filtered folders, scripts with their modules, secrets; and what they
//! need of the machine. Each at every sandbox level that works here.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Place, Said, passed_over, ran};

/// The sandbox levels that work on this machine.
fn levels() -> Vec<&'static str> {
    if !common::has_sandbox() {
        return vec!["off"];
    }
    let place = Place::new();
    place.write("p.kdl", "pipeline \"p\"\nstep \"s\" { run \"sh\" \"-c\" \"echo > out/x\"; }\n");
    let works = |level: &&str| {
        let said = place.pipe(&["run", "p.kdl", "--sandbox", level]);
        if said.code != 0 {
            passed_over(&format!("level {level}"), &said.err);
        }
        said.code == 0
    };
    ["strict", "fs", "off"].into_iter().filter(works).collect()
}

/// Runs `p.kdl` at a level, with secrets in the environment, and gives the steps that ran.
fn run(place: &Place, level: &str, env: &[(&str, &str)], args: &[&str], code: i32) -> (Vec<String>, Said) {
    let mut all = vec!["run", "p.kdl", "--events", "events.jsonl"];
    all.extend(args);
    if common::has_sandbox() {
        all.extend(["--sandbox", level]);
    }
    let said = place.pipe_with(env, &all).expect(code);
    let mut names = ran(&place.path().join("events.jsonl"));
    names.sort();
    (names, said)
}

fn read(place: &Place, path: &str) -> String {
    fs::read_to_string(place.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const FILTERED: &str = r##"
pipeline "p"
step "list" export="list" {
    input (file)"data" as="data" {
        ignore "*.tmp" "/build/" "!keep.tmp"
    }
    run "sh" "-c" "ls -1R in/data/ > out/list; cat in/data/link >> out/list"
}
tree "bundle" export="bundle" {
    put "data" (file)"data" {
        ignore-file "lists/.rules"
        ignore "lists"
    }
}
"##;

fn data(place: &Place) {
    for (name, text) in [("a.txt", "A"), ("b.tmp", "B"), ("build/x", "X"), ("sub/build/y", "Y"), ("sub/keep.tmp", "K")]
    {
        place.write(&format!("data/{name}"), text);
    }
    place.write("data/__pycache__/m.pyc", "never");
    place.write("data/sub/.DS_Store", "never");
    place.write("data/lists/.rules", "# what a list may hold\n\n/build\r\n*.tmp\n");
    std::os::unix::fs::symlink("a.txt", place.path().join("data/link")).expect("a link");
}

#[test]
fn a_filtered_folder_is_all_that_a_step_sees() {
    for level in levels() {
        let place = Place::new();
        place.write("p.kdl", FILTERED);
        data(&place);
        run(&place, level, &[], &[], 0);
        let list = read(&place, "out/p/list/list");
        for (name, there) in [
            ("a.txt", true),
            ("keep.tmp", true),
            ("y", true),
            ("b.tmp", false),
            ("x", false),
            ("__pycache__", false),
            (".DS_Store", false),
        ] {
            assert_eq!(list.lines().any(|line| line == name), there, "{level}: {name} in\n{list}");
        }
        assert!(list.ends_with('A'), "{level}: the link is kept:\n{list}");
        let bundle = place.path().join("out/p/bundle/data");
        assert!(bundle.join("a.txt").exists() && bundle.join("sub/build/y").exists());
        assert!(!bundle.join("build").exists() && !bundle.join("lists").exists() && !bundle.join("b.tmp").exists());
    }
}

#[test]
fn only_what_the_filter_leaves_runs_a_step_again() {
    let place = Place::new();
    place.write("p.kdl", FILTERED);
    data(&place);
    let level = levels()[0];
    let again = || run(&place, level, &[], &[], 0).0;
    assert_eq!(again(), ["bundle", "list"]);
    place.write("data/b.tmp", "another");
    place.write("data/build/more", "another");
    place.write("data/.git/HEAD", "never");
    assert!(again().is_empty(), "what is left out changed");
    place.write("p.kdl", &FILTERED.replace("\"*.tmp\" \"/build/\"", "\"*.bak\" \"*.tmp\" \"/build\""));
    assert!(again().is_empty(), "other patterns that leave the same");
    let file = place.path().join("data/a.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert_eq!(again(), ["bundle", "list"], "the executable bit counts");
    place.write("data/sub/keep.tmp", "changed");
    assert_eq!(again(), ["list"], "`bundle` leaves it out");
}

#[test]
fn a_filter_goes_with_a_parameter() {
    let place = Place::new();
    place.write(
        "p.kdl",
        r#"
pipeline "p"
param "data" (file)"data" {
    ignore "*.tmp"
}
recipe "names" {
    param "of" type="file"
    step "list" {
        input (param)"of" as="data" { ignore "sub"; }
        run "sh" "-c" "ls -1 in/data/ > out/list"
    }
    result (step)"list"
}
names "one" export="one" { of (param)"data"; }
names "two" export="two" {
    of (file)"data" { ignore "/build"; }
}
"#,
    );
    data(&place);
    run(&place, levels()[0], &[], &[], 0);
    assert_eq!(read(&place, "out/p/one/list"), "a.txt\nbuild\nlink\nlists\n");
    assert_eq!(read(&place, "out/p/two/list"), "a.txt\nb.tmp\nlink\nlists\n");
    place.write("other/x.tmp", "");
    place.write("other/y", "");
    run(&place, levels()[0], &[], &["--set", "data=other"], 0);
    assert_eq!(read(&place, "out/p/one/list"), "y\n", "the filter is the parameter's, whatever its value");
}

#[test]
fn a_folder_that_cannot_be_taken_fails_with_its_reason() {
    let text = "pipeline \"p\"\nstep \"s\" {\n    input (file)\"data\" as=\"data\"\n    run \"sh\" \"-c\" \"ls in/data > out/x\"\n}\n";
    /// Spoils a folder.
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 6] = [
        ("fifo", |at| mkfifo(&at.join("fifo")), "it is a named pipe"),
        (
            "link",
            |at| std::os::unix::fs::symlink("../outside", at.join("link")).expect("a link"),
            "a symbolic link to `../outside`, which leaves the folder",
        ),
        (
            "case",
            |at| fs::write(at.join("Sub"), "").expect("a file"),
            "differs from `Sub` only in upper and lower case",
        ),
        (
            "name",
            |at| {
                use std::os::unix::ffi::OsStrExt;
                fs::write(at.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "").expect("a file");
            },
            "its name is not UTF-8",
        ),
        ("store", |at| fs::create_dir(at.join("store")).expect("a folder"), "where pipe keeps the store"),
        ("out", |_| {}, "where pipe keeps reports and exports"),
    ];
    for (what, spoil, reason) in cases {
        let place = Place::new();
        place.write("p.kdl", text);
        place.write("data/sub/a", "");
        spoil(&place.path().join("data"));
        let mut args = Vec::new();
        match what {
            "store" => args.extend(["--store", "data/store"]),
            "out" => args.extend(["--out", "data/sub/out"]),
            _ => {}
        }
        let (_, said) = run(&place, levels()[0], &[], &args, 3);
        assert!(said.err.contains(reason) && said.err.contains("help: "), "{what}: no `{reason}` in\n{}", said.err);
        // What it says to write mends it.
        let help = said.err.lines().find_map(|line| line.split_once("`ignore ")).map(|(_, rest)| rest);
        let pattern = help.and_then(|rest| rest.split('`').next()).unwrap_or_else(|| panic!("{what}:\n{}", said.err));
        if what != "name" {
            let mended = text.replace("as=\"data\"", &format!("as=\"data\" {{ ignore {pattern}; }}"));
            place.write("p.kdl", &mended);
            run(&place, levels()[0], &[], &args, 0);
        }
    }
}

fn mkfifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("a named pipe");
}

const SCRIPT: &str = r#"
pipeline "p"
step "export" export="export" {
    run "python3" "-S" "-s" (file)"src/export.py" (output)"x.txt"
    output "x.txt"
}
"#;

fn script(place: &Place) {
    place.write("p.kdl", SCRIPT);
    place.write(
        "src/export.py",
        "import sys, helper\nfrom pkg import (\n    deep as d,  # a module\n)\n# import unused\nimport json\n\
         open(sys.argv[1], 'w').write(helper.NAME + d.NAME + json.OWN)\n",
    );
    place.write("src/helper.py", "import importlib\nNAME = importlib.import_module('other').NAME\n");
    // A circle, as between many modules.
    place.write("src/other.py", "import helper\nNAME = 'a'\n");
    place.write("src/pkg/__init__.py", "");
    place.write("src/pkg/deep.py", "from . import near\nfrom .far.away import X\nNAME = near.NAME + X\n");
    place.write("src/pkg/near.py", "NAME = 'b'\n");
    place.write("src/pkg/far/away.py", "X = 'c'\n");
    place.write("src/json.py", "OWN = 'd'\n");
    place.write("src/unused.py", "");
}

#[test]
fn a_script_runs_with_the_modules_beside_it() {
    for level in levels() {
        let place = Place::new();
        script(&place);
        run(&place, level, &[], &[], 0);
        assert_eq!(read(&place, "out/p/export/x.txt"), "abcd", "{level}");
    }
}

#[test]
fn editing_a_module_runs_the_script_again_and_why_names_it() {
    let place = Place::new();
    script(&place);
    let level = levels()[0];
    let again = || run(&place, level, &[], &[], 0).0;
    assert_eq!(again(), ["export"]);
    assert!(again().is_empty());
    place.write("src/unused.py", "changed = 1\n");
    assert!(again().is_empty(), "nothing imports it");
    for (module, import) in [
        ("helper.py", "src/export.py:1:13"),
        ("other.py", "src/helper.py:2:18"),
        ("pkg/deep.py", "src/export.py:2:6"),
        ("pkg/far/away.py", "src/pkg/deep.py:2:6"),
        ("json.py", "src/export.py:6:8"),
    ] {
        let path = format!("src/{module}");
        let text = read(&place, &path);
        place.write(&path, &format!("{text}# changed\n"));
        let said = place.pipe(&["why", "p.kdl", "export"]).expect(0).out;
        assert!(said.contains(&format!("input.{module}: file:")), "{module}:\n{said}");
        assert!(said.contains(import), "{module} is imported at {import}:\n{said}");
        assert_eq!(again(), ["export"], "{module}");
    }
}

#[test]
fn an_own_input_comes_before_a_module_that_is_found() {
    let place = Place::new();
    script(&place);
    let own = SCRIPT.replace("    run", "    input (file)\"mine.py\" as=\"other.py\"\n    run");
    place.write("p.kdl", &own);
    place.write("mine.py", "NAME = 'z'\n");
    run(&place, levels()[0], &[], &[], 0);
    assert_eq!(read(&place, "out/p/export/x.txt"), "zbcd");
}

const SECRET: &str = "hunter2-hunter2-hunter2";
const FROM_FILE: &str = "-----BEGIN KEY-----\nqwertyuiopasdfgh\n-----END KEY-----\n";

const GET: &str = r###"
pipeline "p"
step "get" class="fetch" export="got" {
    input (secret)"KEY" as="keys/key"
    run "sh" "-c" #"""
        test "$(cat "$1")" = "$(cat "$TOKEN_FILE")" || exit 9
        cat in/keys/key; cat "$1"; cat "$1" >&2; env; echo "$@"; tr a-z A-Z < "$1" > tmp/upper
        case "$MODE" in
            leak-file) cp "$1" out/stolen;;
            leak-name) touch "out/$(cat "$1")";;
            fail) cat "$1" > tmp/token; cat "$1" > out/token; exit 7;;
        esac
        echo done > out/x
        """# "sh" (secret)"HF_TOKEN" {
        arg "--token=" (secret)"HF_TOKEN"
    }
    env TOKEN_FILE=(secret)"HF_TOKEN" MODE="good"
}
step "use" { run "sh" "-c" "cat \"$1\" > out/y" "sh" (step)"get/x"; }
"###;

/// Every file below a folder that holds one of the secrets, in content or name.
fn holders(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            holders(&path, found);
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            if [SECRET, "qwertyuiopasdfgh"].iter().any(|secret| text.contains(secret) || name.contains(secret)) {
                found.push(name);
            }
        }
    }
}

/// Fails where anything that a run left or said holds a secret.
fn nowhere(place: &Place, said: &Said, what: &str) {
    let mut found = Vec::new();
    for name in ["store", "out", "events.jsonl", "plan.json"] {
        let path = place.path().join(name);
        match path.is_dir() {
            true => holders(&path, &mut found),
            false if fs::read_to_string(&path).is_ok_and(|text| text.contains(SECRET)) => found.push(name.to_owned()),
            false => {}
        }
    }
    assert!(found.is_empty(), "{what}: {found:?}");
    for text in [&said.out, &said.err] {
        assert!(!text.contains(SECRET) && !text.contains("qwertyuiopasdfgh"), "{what}:\n{text}");
    }
    let left: Vec<_> = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let holds = |path: &&std::path::PathBuf| fs::read_to_string(path.join("HF_TOKEN")).is_ok_and(|text| text == SECRET);
    assert_eq!(left.iter().find(holds), None, "{what}: the folder in memory is gone");
}

#[test]
fn a_secret_is_read_by_its_step_and_left_nowhere() {
    let env = [("HF_TOKEN", SECRET)];
    for level in levels() {
        for (mode, code, reason) in [
            ("good", 0, ""),
            ("fail", 3, "exit code 7"),
            ("leak-file", 3, "it wrote a secret to `out/stolen`"),
            ("leak-name", 3, "it wrote a secret to `out/***`"),
        ] {
            let place = Place::new();
            place.write("p.kdl", &GET.replace("MODE=\"good\"", &format!("MODE=\"{mode}\"")));
            let key = place.path().with_extension("key");
            fs::write(&key, FROM_FILE).expect("a key");
            let flag = format!("KEY={}", key.display());
            let (_, said) = run(&place, level, &env, &["--secret", &flag], code);
            assert!(said.err.contains(reason), "{level} {mode}: no `{reason}` in\n{}", said.err);
            nowhere(&place, &said, &format!("{level} {mode}"));
            if mode == "good" {
                assert_eq!(read(&place, "out/p/got/x"), "done\n");
                // A hit needs no secret.
                let (names, said) = run(&place, level, &[], &["--require-cached"], 0);
                assert!(names.is_empty() && !said.err.contains("unavailable:"), "{}", said.err);
                // Nor does another value give another key.
                let (names, _) = run(&place, level, &[("HF_TOKEN", "another-value"), ("KEY", "another")], &[], 0);
                assert!(names.is_empty());
            }
            if mode == "fail" {
                assert!(said.err.contains("| ***"), "the log is shown without it:\n{}", said.err);
            }
            fs::remove_file(&key).expect("the key");
        }
    }
}

/// The folder that holds the secrets of a running `pipe`.
fn held(pipe: u32) -> Option<PathBuf> {
    let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let prefix = format!("pipe-secrets-{pipe}-");
    let entries = fs::read_dir(place).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(Instant::now() < until, "{what} after 30 s"),
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn no_process_shows_a_secret_and_a_kill_leaves_none() {
    for level in levels() {
        let place = Place::new();
        place.write(
            "p.kdl",
            "pipeline \"p\"\nstep \"s\" class=\"fetch\" { run \"sh\" \"-c\" \"sleep 60; cat $1\" \"sh\" (secret)\"HF_TOKEN\"; }\n",
        );
        let mut args = vec!["run", "p.kdl"];
        if common::has_sandbox() {
            args.extend(["--sandbox", level]);
        }
        let mut command = place.command(&args);
        command.env("HF_TOKEN", SECRET).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pipe = command.spawn().expect("pipe starts");
        let folder = wait_for("no file with the secret", || held(pipe.id()).filter(|at| at.join("HF_TOKEN").exists()));
        assert_eq!(folder.metadata().expect("the folder").permissions().mode() & 0o777, 0o700, "{level}");
        // The step itself has started when its shell sleeps.
        let own = [pipe.id(), std::process::id()];
        let words = |id: u32, name: &str| fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        let all = || -> Vec<u32> {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .filter(|id| !own.contains(id))
                .collect()
        };
        if cfg!(target_os = "linux") {
            wait_for("no sleep", || all().into_iter().find(|id| words(*id, "cmdline").starts_with(b"sleep\x0060")));
        }
        for id in all() {
            for name in ["cmdline", "environ"] {
                assert!(!String::from_utf8_lossy(&words(id, name)).contains(SECRET), "{level}: {name} of {id}");
            }
        }
        pipe.kill().expect("a kill");
        pipe.wait().expect("an end");
        wait_for("the secret is left behind", || (!folder.exists()).then_some(()));
    }
}

#[test]
fn a_missing_secret_makes_its_step_unavailable() {
    let place = Place::new();
    place.write("p.kdl", GET);
    let level = levels()[0];
    for (env, reason) in [
        (&[][..], "the secret `HF_TOKEN` is not given"),
        (&[("HF_TOKEN", " \n")], "the secret `HF_TOKEN` is empty"),
        (&[("HF_TOKEN", "abc")], "too short to be kept out of logs"),
        (&[("HF_TOKEN", SECRET)], "the secret `KEY` is not given"),
    ] {
        let plan = place.pipe_with(env, &["plan", "p.kdl"]).expect(0).out;
        assert_eq!(plan.matches(reason).count(), 2, "the step and its reader:\n{plan}");
        let (names, said) = run(&place, level, env, &[], 0);
        assert!(names.is_empty() && said.err.contains(reason), "{}", said.err);
        assert!(said.err.contains("--secret"), "how to give it:\n{}", said.err);
    }
    let (_, said) = run(&place, level, &[("HF_TOKEN", SECRET)], &["--secret", "KEY=none"], 0);
    assert!(said.err.contains("can't be read from") && said.err.contains("none"), "{}", said.err);
    let (_, said) = run(&place, level, &[], &["--secret", "HF_TOKEM=none"], 2);
    assert!(said.err.contains("did you mean `HF_TOKEN`?"), "{}", said.err);
    let (_, said) = run(&place, level, &[], &["--secret", SECRET], 2);
    assert!(said.err.contains("needs a name and a file") && !said.err.contains(SECRET), "{}", said.err);
}

#[test]
fn what_the_machine_lacks_makes_a_step_unavailable() {
    let cases = [
        ("os=\"macos\"", "it needs macOS, and this machine has Linux"),
        ("arch=\"aarch64\"", "it needs a processor of kind aarch64"),
        ("gpu=512", "it needs 512 GPUs, and"),
        ("cpu=60000", "it needs 60000 processors, and"),
        ("memory=(GiB)900000", "it needs 900000 GiB of memory, and this machine has"),
    ];
    for (needs, reason) in cases {
        if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) && needs.contains('"') {
            continue;
        }
        let place = Place::new();
        let text = format!(
            "pipeline \"p\"\nstep \"big\" {{ run \"sh\" \"-c\" \"echo > out/x\"; needs {needs}; }}\n\
             step \"after\" {{ run \"sh\" \"-c\" \"cat $1 > out/y\" \"sh\" (step)\"big/x\"; }}\n\
             step \"other\" {{ run \"sh\" \"-c\" \"echo > out/z\"; }}\n"
        );
        place.write("p.kdl", &text);
        let plan = place.pipe(&["plan", "p.kdl"]).expect(0).out;
        assert_eq!(plan.matches(reason).count(), 2, "{needs}: the step and its reader\n{plan}");
        let (names, said) = run(&place, levels()[0], &[], &[], 0);
        assert_eq!(names, ["other"], "{needs}");
        assert!(said.err.contains(reason) && said.err.contains("help: "), "{needs}:\n{}", said.err);
        // What it needs is in no key: made once, it is a hit wherever it may be.
        place.write("p.kdl", &text.replace(needs, "cpu=1"));
        assert_eq!(run(&place, levels()[0], &[], &[], 0).0, ["after", "big"], "{needs}");
        place.write("p.kdl", &text);
        assert!(run(&place, levels()[0], &[], &["--require-cached"], 0).0.is_empty(), "{needs}");
    }
}

#[test]
fn a_path_of_its_own_comes_before_the_tools() {
    let place = Place::new();
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"s\" export=\"s\" {\n    input (file)\"bin\" as=\"bin\"\n    run \"sh\" \"-c\" \"greet > out/x; seq 2 >> out/x\"\n    \
         env PATH=(file)\"bin\"\n}\n",
    );
    let tool = place.write("bin/greet", "#!/bin/sh\necho mine\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("a mode");
    for level in levels() {
        run(&place, level, &[], &[], 0);
        assert_eq!(read(&place, "out/p/s/x"), "mine\n1\n2\n", "{level}");
    }
}

const EXPECT: &str = r#"
pipeline "p"
matrix "cells" {
    axis "model" "one" "two"
    axis "size" "small" "huge"
}
measure "speed" for-each="cells" {
    engine (file)"sim-engine"
    program "sim-engine"
    when model="one" { model (file)"one" { ignore "*.log"; }; }
    when model="two" { model (file)"two"; }
    tokens (file)"tokens.npy"
    device "cpu"
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=4
    samples min=8 time=(ms)10 target=(percent)50 max-time=(s)20
    when size="small" { threads 1; }
    when size="huge" { threads 2; needs memory=(GiB)900000; }
}
compare "report" of=(step)"speed" {
    baseline model="one" size="small"
    EXPECT
}
"#;

#[test]
fn expectations_take_units_and_are_judged_by_intervals() {
    let place = Place::new();
    place.engine();
    place.model("one", "{}");
    place.model("two", r#"{"decode-ns": 5000000}"#);
    let cell = "cell=\"model=two size=small\"";
    for (expect, code, verdict) in [
        (format!("expect \"time-per-output-token\" {cell} min=(ms)2 max=(s)1"), 0, "pass"),
        (format!("expect \"time-per-output-token\" {cell} max=(ms)1"), 1, "fail"),
        (format!("expect \"tokens-per-second\" {cell} max=1e9"), 0, "pass"),
        (format!("expect \"peak-resident\" {cell} max=(KiB)1"), 1, "fail"),
        ("expect \"cold-start\" cell=\"size=huge\" max=(ms)1".to_owned(), 0, "not judged"),
        ("expect \"peak-device\" cell=\"size=small\" max=(GiB)4".to_owned(), 0, "not judged"),
    ] {
        place.write("p.kdl", &EXPECT.replace("EXPECT", &expect));
        let (_, said) = run(&place, levels()[0], &[], &[], code);
        let report: serde_json::Value = serde_json::from_str(&read(&place, "out/p/report.json")).expect("JSON");
        assert_eq!(report["expects"][0]["verdict"], verdict, "{expect}\n{}", said.out);
        let huge =
            report["cells"].as_array().expect("cells").iter().find(|cell| cell["cell"]["size"] == "huge").cloned();
        let huge = huge.expect("a hole");
        assert_eq!(huge["state"], "unavailable");
        assert!(huge.to_string().contains("900000 GiB of memory"), "{huge}");
    }
}

#[test]
fn what_a_killed_run_left_beside_an_export_goes_and_an_edited_export_is_healed() {
    let place = Place::new();
    place.write("p.kdl", FILTERED);
    data(&place);
    run(&place, levels()[0], &[], &[], 0);
    let list = read(&place, "out/p/list/list");
    // As if the last run had been killed while it gave back, and had given back something else before.
    place.write("out/p/.list.new/list", "half of it");
    run(&place, levels()[0], &[], &[], 0);
    assert!(!place.path().join("out/p/.list.new").exists(), "a next run removes it");
    place.write("out/p/.list.new/list", "half of it");
    place.write("out/p/list/list", "edited");
    place.write("out/p/list/more", "not ours");
    run(&place, levels()[0], &[], &[], 0);
    assert_eq!(read(&place, "out/p/list/list"), list);
    for gone in ["out/p/.list.new", "out/p/list/more"] {
        assert!(!place.path().join(gone).exists(), "`{gone}` is gone");
    }
    fs::remove_dir_all(place.path().join("out/p/list")).expect("removed");
    place.write("out/p/list", "a file where a folder was");
    run(&place, levels()[0], &[], &[], 0);
    assert_eq!(read(&place, "out/p/list/list"), list);
}
