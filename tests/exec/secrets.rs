//! Canaries: secrets with awkward bytes, printed and written in the forms in which programs do so, by steps that end
//! in every way; then everything that `pipe` left or said is searched for them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pipe::exec::supervisor::family::descendants;
use rustix::process::Pid;

use crate::bed::{eventually, levels};
use crate::common::{Place, Said};

/// With what programs quote, escape and encode.
const TOKEN: &str = "p@ss/w\"o\\rd+%41<&>-\u{e9}-tail~end";
/// What a text can't hold.
const KEY: &[u8] = b"key\xff\xfe\x01\"quote\\value-of-the-key";

/// Prints a file in every form, also split over writes, wrapped, grouped, and behind as much as fills a buffer.
const LEAK: &str = r#"
hex() { od -An -v -tx1 | tr -d ' \n'; }
for f in "$1" "$2"; do
    cat "$f"; echo
    base64 "$f"; base64 -w0 "$f"; echo; (printf x; cat "$f"; echo) | base64; (printf xy; cat "$f"; echo) | base64 -w0
    base64 -w0 "$f" | tr '+/' '-_'; echo; base64 -w20 "$f"
    hex < "$f"; echo; hex < "$f" | tr a-f A-F; echo; od -An -v -tx1 "$f"
    hex < "$f" | sed 's/\(..\)/%\1/g'; echo; hex < "$f" | tr a-f A-F | sed 's/\(..\)/%\1/g'; echo
    hex < "$f" | sed 's/\(..\)/\\x\1/g'; echo
    perl -pe 's/([^A-Za-z0-9_.~-])/sprintf("%%%02X", ord $1)/ge' "$f"; echo
    perl -pe 's/([^A-Za-z0-9_.~-])/sprintf("%%%02x", ord $1)/ge' "$f"; echo
    sed 's/\\/\\\\/g; s/"/\\"/g' "$f"; echo
    head -c 9 "$f"; sleep 0.02; tail -c +10 "$f"; echo
    head -c 9 "$f"; tail -c +10 "$f" >&2; echo
    head -c 65530 /dev/zero | tr '\0' '.'; cat "$f"; echo
    printf 'error: bad token "%s" in line 3\n' "$(tr -d '\0' < "$f")" >&2
done
"#;

/// A pipeline whose one step prints both secrets in every form, and then does what `ends` says.
fn plant(place: &Place, ends: &str) {
    place.write("leak.sh", &format!("{LEAK}\necho done > out/done\n{ends}\n"));
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"leak\" class=\"fetch\" network=#false {\n    run \"sh\" (file)\"leak.sh\" (secret)\"TOKEN\" \
         (secret)\"KEY\"\n    output \"done\"\n    timeout (s)4\n}\n",
    );
}

/// Every form that a canary may have, made without the code that hides them.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let hex = |upper: bool, before: &str| -> Vec<u8> {
        value
            .iter()
            .flat_map(|b| {
                format!("{before}{}", if upper { format!("{b:02X}") } else { format!("{b:02x}") }).into_bytes()
            })
            .collect()
    };
    let mut forms =
        vec![value.to_vec(), hex(false, ""), hex(true, ""), hex(false, "%"), hex(true, "%"), hex(false, "\\x")];
    for offset in 0..3 {
        let shifted: Vec<u8> = std::iter::repeat_n(0, offset).chain(value.iter().copied()).collect();
        let bits: String = shifted.iter().map(|byte| format!("{byte:08b}")).collect();
        let letters: Vec<usize> = bits
            .as_bytes()
            .chunks_exact(6)
            .map(|six| usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap())
            .collect();
        for tail in [b"+/", b"-_"] {
            let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*tail).collect();
            forms.push(letters.iter().skip((offset * 8).div_ceil(6)).map(|letter| alphabet[*letter]).collect());
        }
    }
    let text = String::from_utf8_lossy(value).into_owned();
    forms.push(serde_json::to_string(&text).unwrap().trim_matches('"').as_bytes().to_vec());
    forms.push(text.replace('\\', "\\\\").replace('"', "\\\"").into_bytes());
    forms.push(text.into_bytes());
    // In an address only what has a meaning there is escaped.
    for upper in [true, false] {
        let escaped = |byte: &u8| match byte {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(b) => vec![*b],
            b if upper => format!("%{b:02X}").into_bytes(),
            b => format!("%{b:02x}").into_bytes(),
        };
        forms.push(value.iter().flat_map(escaped).collect());
    }
    // Half of a value is a leak as well.
    forms.push(value[..value.len() / 2].to_vec());
    forms.push(value[value.len() / 2..].to_vec());
    forms
}

fn holds(bytes: &[u8]) -> bool {
    [TOKEN.as_bytes(), KEY].into_iter().flat_map(forms).any(|form| memchr::memmem::find(bytes, &form).is_some())
}

/// Every file below a folder that holds a canary, in content, name or as a link's target.
fn found_below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        let held = holds(path.as_os_str().as_encoded_bytes())
            || (kind.is_file() && holds(&fs::read(&path).unwrap_or_default()))
            || fs::read_link(&path).is_ok_and(|target| holds(target.as_os_str().as_encoded_bytes()));
        if held {
            found.push(path.display().to_string());
        }
        if kind.is_dir() {
            found_below(&path, found);
        }
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let forms: Vec<Vec<u8>> = [TOKEN.as_bytes(), KEY].into_iter().flat_map(forms).collect();
    for (at, form) in forms.iter().enumerate() {
        fs::write(folder.path().join(at.to_string()), [b"before ", form.as_slice(), b" after"].concat()).unwrap();
    }
    let mut found = Vec::new();
    found_below(folder.path(), &mut found);
    assert_eq!(found.len(), forms.len());
}

fn run(place: &Place, level: &str, args: &[&str]) -> Said {
    let secret = format!("KEY={}", place.path().join("given/key").display());
    let all = [&["run", "p.kdl", "--events", "events", "--sandbox", level, "--secret", &secret], args].concat();
    place.pipe_with(&[("TOKEN", TOKEN)], &all)
}

#[test]
fn no_sink_holds_a_canary_in_any_form() {
    // A crash with the value in memory, and the folder kept for a look.
    let crash = "ulimit -c unlimited 2> /dev/null; held=$(tr -d '\\0' < \"$1\"); cd out; kill -SEGV $$; echo \"$held\"";
    let ends = [("", 0), ("exit 3", 3), ("kill -9 $$", 3), (crash, 3), ("sleep 60", 3)];
    for level in levels() {
        let level = level.name();
        for (ends, code) in ends {
            let place = Place::new();
            // The one place that holds a value: the user's own file, outside of what is searched.
            place.write("given/note", "");
            fs::write(place.path().join("given/key"), [KEY, b"\n"].concat()).unwrap();
            plant(&place, ends);
            let mut said = vec![run(&place, level, &[]).expect(code)];
            said.extend([
                run(&place, level, &["--jobs", "1", "--trace", "trace"]).expect(code),
                place.pipe(&["plan", "p.kdl", "--format", "json"]),
                place.pipe(&["why", "p.kdl", "leak"]),
                place.pipe(&["show", "leak"]),
                place.pipe(&["log", "leak"]),
                place.pipe(&["runs"]),
                place.pipe(&["graph", "p.kdl", "--format", "json"]),
                place.pipe(&["store", "verify"]),
                place.pipe(&["runs", "--format", "json"]),
                place.pipe(&["show", "last", "--format", "json"]),
                place.pipe(&["show", "leak", "--format", "json"]),
                place.pipe(&["log", "leak", "--format", "json"]),
                place.pipe(&["why", "p.kdl", "leak", "--format", "json"]),
                place.pipe(&["why", "p.kdl", "--run", "last"]),
                place.pipe(&["graph", "p.kdl", "--format", "svg"]),
                place.pipe(&[&EXPORT[..], &["--to", "plain.pipepack"]].concat()),
                place.pipe(&[&EXPORT[..], &["--to", "all.pipepack", "--with-secret-steps"]].concat()),
            ]);
            for one in &said {
                let text = format!("{}\n{}", one.out, one.err);
                assert!(!holds(text.as_bytes()), "{level} `{ends}`:\n{text}");
            }
            if code == 0 {
                assert!(said[5].out.contains("error: bad token \"***"), "the log is there:\n{}", said[5].out);
            }
            let mut found = Vec::new();
            for folder in ["store", "out"] {
                found_below(&place.path().join(folder), &mut found);
            }
            for name in ["events", "trace", "plain.pipepack", "all.pipepack"] {
                let bytes = fs::read(place.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
                found.extend(holds(&bytes).then(|| name.to_owned()));
            }
            // A pack may hold it in another form than the store that it comes into.
            place.pipe_with(&[("PIPE_STORE", "other")], &["store", "import", "all.pipepack"]).expect(0);
            found_below(&place.path().join("other"), &mut found);
            found.extend(cores(place.path()));
            assert_eq!(found, Vec::<String>::new(), "{level} `{ends}`");
        }
    }
}

const EXPORT: [&str; 4] = ["store", "export", "p.kdl", "--outputs=all"];

/// Core files below a folder, by what programs and systems call them.
fn cores(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(cores(&path));
        } else if kind.is_file() && entry.file_name().to_string_lossy().split('.').any(|part| part == "core") {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_report_holds_a_canary() {
    let place = Place::new();
    place.engine();
    place.model("model", "{}");
    place.write("given/note", "");
    fs::write(place.path().join("given/key"), [KEY, b"\n"].concat()).unwrap();
    plant(&place, "");
    let text = fs::read_to_string(place.path().join("p.kdl")).unwrap();
    // A report shows the graph of the steps behind its cells, so this cell's model comes with the step that leaks.
    let measured = r#"
step "model" { run "sh" "-c" "mkdir out/m; cat \"$1\"/sim.json > out/m/sim.json; cat \"$1\"/pipe-model.json > out/m/pipe-model.json; cat \"$2\" > out/m/done" "sh" (file)"model" (step)"leak/done"; output "m"; }
measure "speed" {
    engine (file)"sim-engine"
    program "sim-engine"
    model (step)"model/m"
    tokens (file)"tokens.npy"
    device "cpu"
    dtype "fp32"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
compare "report" of=(step)"speed" { }
"#;
    place.write("p.kdl", &format!("{text}{measured}"));
    let level = levels().last().unwrap().name();
    let said = run(&place, level, &["--trace", "trace", "--wanted", "wanted"]).expect(0);
    assert!(!holds(format!("{}{}", said.out, said.err).as_bytes()), "{}{}", said.out, said.err);
    let report = fs::read_to_string(place.path().join("out/p/report.html")).expect("a report");
    assert!(report.contains("leak"), "the report tells of the step");
    let mut found = Vec::new();
    for folder in ["out", "store"] {
        found_below(&place.path().join(folder), &mut found);
    }
    for name in ["events", "trace", "wanted"] {
        found.extend(holds(&fs::read(place.path().join(name)).unwrap()).then(|| name.to_owned()));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_process_and_no_other_step_has_a_canary() {
    for level in levels() {
        let place = Place::new();
        place.write("given/note", "");
        fs::write(place.path().join("given/key"), [KEY, b"\n"].concat()).unwrap();
        // Both run while the processes of the machine are looked at.
        let text = r#"
pipeline "p"
step "holder" class="fetch" network=#false { run "sh" "-c" "cat \"$1\" \"$2\" | wc -c > out/n; exec sleep 3.125" "sh" (secret)"TOKEN" (secret)"KEY"; output "n"; }
step "other" class="fetch" network=#false { run "sh" "-c" "env > out/env; cat /proc/self/cmdline > out/words; exec sleep 3.125"; output "env"; output "words"; }
"#;
        place.write("p.kdl", text);
        let secret = format!("KEY={}", place.path().join("given/key").display());
        let mut pipe = place
            .command(&["run", "p.kdl", "--sandbox", level.name(), "--secret", &secret, "--jobs", "2"])
            .env("TOKEN", TOKEN)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let sleepers = || crate::bed::alive("sleep 3.125").into_iter().filter(|line| line.contains(": sleep")).count();
        assert!(eventually(Duration::from_secs(20), || sleepers() >= 2), "{level:?}: they never ran together");
        let mut shown = Vec::new();
        // Its environment is the user's own, who gave it the value there.
        let ours = Pid::from_raw(pipe.id().cast_signed()).unwrap();
        for pid in descendants(ours) {
            let number = pid.as_raw_nonzero();
            for name in ["cmdline", "environ"] {
                let bytes = fs::read(format!("/proc/{number}/{name}")).unwrap_or_default();
                shown.extend(holds(&bytes).then(|| format!("{name} of {number}")));
            }
        }
        let words = fs::read(format!("/proc/{}/cmdline", pipe.id())).unwrap();
        shown.extend(holds(&words).then(|| "the words of pipe".to_owned()));
        assert_eq!(shown, Vec::<String>::new(), "{level:?}");
        assert!(pipe.wait().unwrap().success(), "{level:?}");
        let mut found = Vec::new();
        found_below(&place.path().join("store"), &mut found);
        assert_eq!(found, Vec::<String>::new(), "{level:?}");
    }
}

#[test]
fn a_killed_pipe_leaves_no_canary_behind() {
    for level in levels() {
        let place = Place::new();
        place.write("given/note", "");
        fs::write(place.path().join("given/key"), KEY).unwrap();
        plant(&place, "cp \"$1\" out/copy; sleep 60");
        let secret = format!("KEY={}", place.path().join("given/key").display());
        let mut pipe = place
            .command(&["run", "p.kdl", "--sandbox", level.name(), "--secret", &secret])
            .env("TOKEN", TOKEN)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let copied = || {
            let mut found = Vec::new();
            found_below(&place.path().join("store"), &mut found);
            found.iter().any(|path| path.ends_with("out/copy"))
        };
        assert!(eventually(Duration::from_secs(10), copied), "{level:?}: the step never wrote");
        pipe.kill().unwrap();
        pipe.wait().unwrap();
        // Whoever opens the store next sweeps what the killed one left.
        place.pipe(&["runs"]);
        let mut found = Vec::new();
        let gone = eventually(Duration::from_secs(3), || {
            found.clear();
            place.pipe(&["runs"]);
            found_below(&place.path().join("store"), &mut found);
            found.is_empty()
        });
        assert!(gone, "{level:?}: {found:?}");
    }
}

#[test]
fn another_value_is_a_hit_and_the_store_is_its_users_alone() {
    let place = Place::new();
    place.write("given/key", "one-value-of-the-key");
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"s\" class=\"fetch\" network=#false { run \"sh\" \"-c\" \"wc -c < $1 > out/n\" \"sh\" \
         (secret)\"KEY\"; output \"n\"; }\n",
    );
    let secret = format!("KEY={}", place.path().join("given/key").display());
    let run = || {
        // Also where the user's files are for everybody.
        let script = "umask 000; exec \"$0\" \"$@\"";
        let command = place.command(&["run", "p.kdl", "--events", "events", "--secret", &secret]);
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", script]).arg(command.get_program()).args(args).current_dir(place.path()).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = shell.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        crate::common::ran(&place.path().join("events"))
    };
    assert_eq!(run(), ["s"]);
    fs::write(place.path().join("given/key"), "another").unwrap();
    assert_eq!(run(), Vec::<String>::new(), "the key has the secret's name alone");
    let mode = place.path().join("store").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "{mode:o}");
}

#[test]
fn an_address_with_a_login_is_refused_and_its_password_is_in_no_message() {
    for url in ["https://user:url-canary@example.org/f", "http://url-canary@example.org", "https://a@b:url-canary@c/f"]
    {
        let place = Place::new();
        let digest = "0".repeat(64);
        place.write(
            "p.kdl",
            &format!(
                "pipeline \"p\"\nfetch \"f\" {{\n    url \"{url}\"\n    sha256 \"{digest}\"\n    file \"f\"\n}}\n"
            ),
        );
        let said = place.pipe(&["check", "p.kdl", "--error-format", "json"]).expect(2);
        let text = format!("{}{}", said.out, said.err);
        assert!(text.contains("pipe::bad-address") && text.contains("holds a name or a password"), "{text}");
        assert!(!text.contains("url-canary"), "{text}");
        let mut found = Vec::new();
        found_below(&place.path().join("store"), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn a_login_of_the_users_network_is_hidden_in_logs() {
    let place = Place::new();
    place.write(
        "p.kdl",
        "pipeline \"p\"\nstep \"s\" class=\"fetch\" { run \"sh\" \"-c\" \"env; echo ok > out/n\"; output \"n\"; }\n",
    );
    let env = [("HTTPS_PROXY", "http://me:proxy-canary@127.0.0.1:9/"), ("UV_INDEX_A_PASSWORD", "index-canary")];
    place.pipe_with(&env, &["run", "p.kdl"]).expect(0);
    let log = place.pipe(&["log", "s"]).expect(0).out;
    assert!(log.contains("HTTPS_PROXY=http://me:***@127.0.0.1:9/") && log.contains("UV_INDEX_A_PASSWORD=***"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}
