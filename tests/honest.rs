//! What `pipe` makes of steps that do not keep to what they declared, and of files that change meanwhile: nothing false
//! is kept, and what is wrong is named with the line that mends it.

#[expect(dead_code, reason = "these tests measure nothing, and so need no engine")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Place, has_sandbox, passed_over, ran};

/// The levels that this host has.
fn levels() -> &'static [&'static str] {
    // Without a sandbox `common` says `--sandbox off` by itself.
    if has_sandbox() { &["strict", "fs", "off"] } else { &[] }
}

/// Runs a pipeline at a level, and gives back what it said.
fn run(place: &Place, text: &str, level: &str, code: i32) -> String {
    place.write("p.kdl", text);
    place.pipe(&["run", "p.kdl", "--events", "events.jsonl", "--sandbox", level]).expect(code).err
}

/// A pipeline of one step.
fn step(command: &str, more: &str) -> String {
    steps([(command, more)]).replace("\"s0\"", "\"s\"")
}

/// A pipeline of steps `s0`, `s1`, … by their commands and what else they declare.
fn steps<'a>(steps: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = "pipeline \"p\"\n".to_owned();
    for (n, (command, more)) in steps.into_iter().enumerate() {
        let command = command.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("step \"s{n}\" {{ run \"sh\" \"-c\" \"{command}\"; {more}; }}\n"));
    }
    text
}

/// What the end of a run says of the failed step `sN`.
fn told(err: &str, n: usize) -> &str {
    let begin = format!("\n✗ s{n} failed: ");
    let text = err.split_once(&begin).map_or("", |(_, text)| text);
    text.split("\n✗ ").next().unwrap_or("")
}

#[test]
fn no_failure_is_ever_cached() {
    let cases = [
        ("exit 1", "output \"x\"", "exit code 1"),
        ("echo > out/x; exit 77", "output \"x\"", "exit code 77"),
        ("echo > out/x; kill -9 $$", "output \"x\"", "signal 9"),
        ("echo > out/x; kill -15 $$", "output \"x\"", "signal 15"),
        ("echo > out/x; kill -11 $$", "output \"x\"", "signal 11"),
        ("echo > out/x; sleep 60", "output \"x\"; timeout (s)1", "longer than its limit of 1 s"),
        ("echo > out/y", "output \"x\"", "did not write its output `x`"),
        ("echo > out/x; ./none", "output \"x\"", "exit code 127"),
        ("echo > out/x; ulimit -v 20000; exec perl -e '$x = \"x\" x (1 << 30)'", "output \"x\"", "it ended with"),
    ];
    for level in levels() {
        let place = Place::new();
        let text = steps(cases.iter().map(|(command, more, _)| (*command, *more)));
        for time in ["the first time", "again"] {
            let err = run(&place, &text, level, 3);
            for (n, (command, _, said)) in cases.iter().enumerate() {
                assert!(told(&err, n).contains(said), "{level}, {time}, `{command}`: no `{said}` in\n{err}");
            }
            assert!(ran(&place.path().join("events.jsonl")).is_empty());
        }
    }
}

const SET_USER: &str = "`d/x` cannot be stored: it has the set-user or set-group bit, and nothing in a store has: take it \
                        away with `chmod u-s,g-s`";
const SET_GROUP: &str = "`d/e/x` cannot be stored: it has the set-user or set-group bit";

#[test]
fn output_trees_hold_files_folders_and_links_inside_and_nothing_else() {
    let cases = [
        ("mkfifo out/d/x", "`d/x` cannot be stored: it is a named pipe"),
        ("ln -s /etc/shadow out/d/x", "`d/x` cannot be stored: it is a symbolic link to `/etc/shadow`, which leaves"),
        ("ln -s ../../x out/d/x", "which leaves the folder; link to a path inside it"),
        (
            "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un(\"out/d/x\")) or die'",
            "`d/x` cannot be stored: it is a socket",
        ),
        ("rmdir out/d; ln -s /etc out/d", "`d` cannot be stored: it is a symbolic link to `/etc`"),
        // Bits that give whoever runs a file another's rights: a sandbox lets nobody set them.
        ("echo > out/d/x; chmod u+s out/d/x; test -u out/d/x || exit 9", SET_USER),
        ("mkdir out/d/e; echo > out/d/e/x; chmod 2755 out/d/e/x; test -g out/d/e/x || exit 9", SET_GROUP),
    ];
    for level in levels() {
        let place = Place::new();
        // Without namespaces of its own a step can make no socket of the system at all.
        let there = || cases.iter().filter(|(command, _)| *level != "fs" || !command.contains("socket"));
        let commands: Vec<String> = there().map(|(command, _)| format!("mkdir out/d; {command}")).collect();
        let err = run(&place, &steps(commands.iter().map(|command| (command.as_str(), "output \"d\""))), level, 3);
        for (n, (command, said)) in there().enumerate() {
            let said = if command.contains("exit 9") && *level != "off" { "exit code 9" } else { said };
            assert!(told(&err, n).contains(said), "{level}, `{command}`: no `{said}` in\n{err}");
        }
        // A loop of links leads nowhere, and nobody follows it.
        run(&place, &step("mkdir out/d; ln -s b out/d/a; ln -s a out/d/b", "output \"d\""), level, 0);
        // A hard link to a file of the host's, where a step can reach one: a copy is kept, and the file stays writable.
        let host = place.write("host.txt", "theirs\n");
        let text = step(&format!("mkdir out/d; ln {} out/d/x || cp $0 out/d/x", host.display()), "output \"d\"")
            .replace("\"; output", "\" (file)\"host.txt\"; output");
        run(&place, &text, level, 0);
        let mode = fs::metadata(&host).expect("the file").permissions().mode();
        assert_eq!((mode & 0o200, fs::read_to_string(&host).expect("the file").as_str()), (0o200, "theirs\n"));
    }
}

#[test]
fn devices_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return passed_over("root", "only root makes devices");
    }
    let place = Place::new();
    let err = run(&place, &step("mknod out/x c 1 3 || exit 5", "output \"x\""), "off", 3);
    assert!(err.contains("`x` cannot be stored: it is a device") || err.contains("exit code 5"), "{err}");
}

#[test]
fn an_undeclared_file_of_the_project_is_named_with_the_line_that_declares_it() {
    for level in levels() {
        let place = Place::new();
        place.write("data/words.txt", "words\n");
        let err = run(&place, &step("cat data/words.txt > out/x", "output \"x\""), level, 3);
        let said = "`data/words.txt` is in the project and no input of this step";
        assert!(err.contains(said), "{level}: no `{said}` in\n{err}");
        assert!(err.contains("`input (file)\"data/words.txt\" as=\"words.txt\"` puts it at `in/words.txt`"), "{err}");
        let mended = step("cat in/words.txt > out/x", "output \"x\"; input (file)\"data/words.txt\" as=\"words.txt\"");
        run(&place, &mended, level, 0);
    }
    if has_sandbox() {
        // By its whole path as well, where the sandbox hides it.
        let place = Place::new();
        let path = place.write("data.txt", "words\n");
        let err = run(&place, &step(&format!("cat {} > out/x", path.display()), "output \"x\""), "strict", 3);
        assert!(err.contains("`data.txt` is in the project and no input of this step"), "{err}");
    }
}

#[test]
fn whatever_program_misses_a_file_it_is_told_from_its_words() {
    if !has_sandbox() {
        return;
    }
    let place = Place::new();
    for (name, text) in
        [("data.csv", "1\n"), ("my data.txt", "2\n"), ("helper.py", "x = 1\n"), ("lib/run.sh", "echo\n")]
    {
        place.write(name, text);
    }
    let absolute = place.path().join("data.csv").display().to_string();
    let open = |what: &str| format!("perl -e 'open(F, \"<\", shift) or die \"{what}\"' data.csv");
    let mut cases: Vec<(String, &str)> = [
        ("cat data.csv", "data.csv"),
        ("cat ./data.csv", "data.csv"),
        ("cat /pipe/data.csv", "data.csv"),
        ("cat 'my data.txt'", "my data.txt"),
        ("read x < data.csv", "data.csv"),
        ("sh lib/run.sh", "lib/run.sh"),
        ("./lib/run.sh", "lib/run.sh"),
        (". lib/run.sh", "lib/run.sh"),
        ("cp data.csv out/x", "data.csv"),
        ("ls lib", "lib"),
        ("ln -s out/none y; cat y", ""),
        ("cat other.csv", ""),
    ]
    .map(|(command, name)| (format!("{command}; exit 7"), name))
    .into();
    cases.push((format!("cat {absolute}; exit 7"), "data.csv"));
    cases.push((open("data.csv: $!"), "data.csv"));
    cases.push((open("could not read data.csv ($!)"), "data.csv"));
    let python = Path::new("/usr/bin/python3").exists();
    if python {
        for (code, name) in [
            ("open('data.csv')", "data.csv"),
            ("open('/pipe/data.csv')", "data.csv"),
            ("open('my data.txt')", "my data.txt"),
            ("import helper", "helper.py"),
            ("import nowhere", ""),
        ] {
            cases.push((format!("/usr/bin/python3 -c \"{code}\""), name));
        }
        cases.push(("/usr/bin/python3 helper.py".to_owned(), "helper.py"));
    }
    let err = run(&place, &steps(cases.iter().map(|(command, _)| (command.as_str(), "output \"x\""))), "strict", 3);
    for (n, (command, name)) in cases.iter().enumerate() {
        let told = told(&err, n);
        let said = format!("`{name}` is in the project and no input of this step");
        assert!(name.is_empty() != told.contains(&said), "`{command}`: `{name}`:\n{told}");
        assert!(!name.is_empty() || !told.contains("is in the project"), "`{command}`:\n{told}");
    }
    // What is declared was looked for in the wrong place, and nothing is said of what nobody read.
    let more = "output \"x\"; input (file)\"data.csv\" as=\"table.csv\"; input (file)\"lib\" as=\"lib\"; input (file)\"helper.py\" as=\"h.py\"";
    let err = run(&place, &steps([("cat data.csv; exit 7", more), ("sh lib/run.sh", more)]), "strict", 3);
    let at = |n: usize, name: &str, at: &str| {
        let said = format!("`{name}` is an input of this step, which sees it at `{at}`: give it that path");
        assert!(told(&err, n).contains(&said), "no `{said}` in\n{err}");
    };
    at(0, "data.csv", "in/table.csv");
    at(1, "lib/run.sh", "in/lib/run.sh");
    assert!(!err.contains("helper") && !err.contains("h.py"), "{err}");
    run(&place, &step("echo > out/x", more), "strict", 0);
}

#[test]
fn undeclared_outputs_are_named_with_what_to_do() {
    for level in levels() {
        let place = Place::new();
        let err = run(&place, &step("echo > out/x; echo > out/y", "output \"x\""), level, 3);
        assert!(err.contains("it wrote `out/y`, which is not declared: add `output \"y\"`"), "{err}");
        let deep = step("mkdir -p out/d; echo > out/d/x; echo > out/d/y", "output \"d/x\"");
        let err = run(&place, &deep, level, 3);
        assert!(err.contains("it wrote `out/d/y`, which is not declared: add `output \"d/y\"`"), "{err}");
        let err = run(&place, &step("echo > x", "output \"x\""), level, 3);
        assert!(
            err.contains("it wrote `x` beside `out/`: give it the path `(output)\"x\"`, which is `out/x`"),
            "{err}"
        );
        let err = run(&place, &step("echo > out/x; echo > scratch.o", "output \"x\""), level, 0);
        assert!(err.contains("`s` left `scratch.o` beside `out/`, which is not kept"), "{err}");
    }
}

#[test]
fn an_input_that_is_edited_while_it_is_used_is_noticed_and_keys_stay_true() {
    for level in levels() {
        let place = Place::new();
        let note = place.write("note.txt", "before\n");
        // The step reads its input after the file was edited, and says what it read.
        place.write(
            "p.kdl",
            r#"
pipeline "p"
step "s" { run "sh" "-c" "sleep 0.5; cat $0 > out/x" (file)"note.txt"; output "x"; export "kept"; }
"#,
        );
        let flags = ["run", "p.kdl", "--sandbox", level];
        let log = place.path().join("log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let edited_while = |first: &str, last: Option<&str>| {
            let mut command = place.command(&flags);
            command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log).expect("a log"));
            let mut child = command.spawn().expect("pipe starts");
            // A step starts once its inputs are taken, and this one waits before it reads.
            let until = Instant::now() + Duration::from_secs(60);
            while !said().contains("…  s") && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            fs::write(&note, first).expect("an edit");
            if let Some(last) = last {
                fs::write(&note, last).expect("an edit");
            }
            assert_eq!(child.wait().expect("its end").code(), Some(0), "{}", said());
            fs::read_to_string(place.path().join("out/p/kept/x")).expect("the export")
        };
        assert_eq!(edited_while("after!\n", None), "before\n", "{level}");
        assert!(said().contains("note.txt` was edited while the run went on"), "{level}: {}", said());
        assert_eq!(edited_while("again!\n", Some("after!\n")), "after!\n", "{level}");
        assert!(!said().contains("was edited"), "what it holds again is what was taken: {}", said());
        place.pipe(&["run", "p.kdl", "--sandbox", level, "--require-cached"]).expect(0);
        assert_eq!(fs::read_to_string(place.path().join("out/p/kept/x")).expect("the export"), "after!\n");
        fs::write(&note, "before\n").expect("an edit");
        // The result of the first run is that of what it took.
        place.pipe(&["run", "p.kdl", "--sandbox", level, "--require-cached"]).expect(0);
        assert_eq!(fs::read_to_string(place.path().join("out/p/kept/x")).expect("the export"), "before\n", "{level}");
    }
}

#[test]
fn a_result_made_on_a_full_disk_is_not_kept() {
    let place = Place::new();
    let store = place.path().join("store");
    fs::create_dir(&store).expect("a folder");
    if !rustix::process::geteuid().is_root() || !mount(&store) {
        return passed_over("a small disk", "only root mounts one");
    }
    let full = "dd if=/dev/zero of=out/x bs=64k count=1000 2> /dev/null || true";
    let first = place.write("p.kdl", &step(full, "output \"x\""));
    let said = place.pipe(&["run", "p.kdl", "--sandbox", "off"]);
    let again = place.pipe(&["run", "p.kdl", "--sandbox", "off"]);
    fs::write(first, step("echo > out/x", "output \"x\"")).expect("a pipeline");
    let small = place.pipe(&["run", "p.kdl", "--sandbox", "off"]);
    unmount(&store);
    for said in [said, again] {
        let said = said.expect(3);
        assert!(said.err.contains("it ended well on a full disk"), "{}", said.err);
    }
    small.expect(0);
}

#[expect(clippy::disallowed_methods, reason = "a small disk of this test's own")]
fn mount(at: &std::path::Path) -> bool {
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).status();
    mounted.is_ok_and(|status| status.success())
}

#[expect(clippy::disallowed_methods, reason = "a small disk of this test's own")]
fn unmount(at: &std::path::Path) {
    let status = std::process::Command::new("umount").arg(at).status().expect("umount starts");
    assert!(status.success());
}
