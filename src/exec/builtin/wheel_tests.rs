//! Wheels brought by scripts that play python, pip and uv.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::super::control::uncontrolled;
use super::*;
use crate::pipeline::Origin;

/// A folder with scripts that play python and uv.
struct Stage {
    folder: tempfile::TempDir,
}

/// The shell text that finds the folder after `-d` as `$d` and the file after `-r` as `$r`.
const ARGS: &str = "while [ $# -gt 0 ]; do case $1 in -d) d=$2; shift;; -r) r=$2; shift;; esac; shift; done";

impl Stage {
    fn new() -> Stage {
        Stage { folder: tempfile::tempdir().expect("a folder") }
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }

    fn fetch(&self, wheel: &FetchWheel, uv: Option<PathBuf>, timeout: Duration) -> Result<Vec<u8>, WheelError> {
        self.fetch_with(wheel, uv, timeout, &uncontrolled())
    }

    fn fetch_with(
        &self,
        wheel: &FetchWheel,
        uv: Option<PathBuf>,
        timeout: Duration,
        control: &Control<'_>,
    ) -> Result<Vec<u8>, WheelError> {
        let root = self.folder.path();
        let programs = Programs { python: root.join("python"), uv };
        let place = Place { scratch: root.join("scratch"), log: root.join("log"), timeout };
        let vars = [("PATH", "/usr/bin:/bin"), ("PIP_INDEX_URL", "the-users"), ("PYTHONPATH", "no")];
        let env = NetworkEnv::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let path = runtime.block_on(fetch(wheel, &programs, &place, &env, control))?;
        Ok(fs::read(path).expect("the wheel"))
    }
}

fn wheel(bytes: &[u8]) -> FetchWheel {
    let sha256 = vec!["0".repeat(64), format!("sha256:{}", hex(&Sha256::digest(bytes)))];
    FetchWheel { package: "demo".into(), version: "1.0+cpu".into(), sha256, origin: Origin::Builtin("a test") }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn pip_is_asked_for_one_wheel_with_the_users_settings() {
    let stage = Stage::new();
    stage.script(
        "python",
        &format!("{ARGS}\necho \"$PIP_INDEX_URL $PYTHONPATH\"; cat $r; printf wheel > $d/demo-1.0.whl"),
    );
    assert_eq!(stage.fetch(&wheel(b"wheel"), None, LONG).expect("the wheel"), b"wheel");
    let log = fs::read_to_string(stage.folder.path().join("log")).expect("the log");
    assert!(log.starts_with("the-users \ndemo==1.0+cpu --hash=sha256:00000"), "{log}");
}

#[test]
fn a_wheel_of_another_digest_is_refused_whatever_pip_says() {
    let stage = Stage::new();
    stage.script("python", &format!("{ARGS}\nprintf other > $d/demo-1.0.whl"));
    let error = stage.fetch(&wheel(b"wheel"), None, LONG).expect_err("an error");
    assert!(matches!(&error, WheelError::Digest { file, .. } if file == "demo-1.0.whl"), "{error}");
}

#[test]
fn anything_but_one_wheel_is_refused() {
    for (text, count) in [("true", 0), ("touch $d/a.whl $d/b.whl", 2), ("touch $d/a.tar.gz", 1)] {
        let stage = Stage::new();
        stage.script("python", &format!("{ARGS}\n{text}"));
        let error = stage.fetch(&wheel(b"wheel"), None, LONG).expect_err("an error");
        assert!(matches!(error, WheelError::NotOne { count: c, .. } if c == count), "{error}");
    }
}

#[test]
fn a_failure_shows_the_last_lines_of_pip() {
    let stage = Stage::new();
    stage.script("python", "echo 'Looking'; echo 'ERROR: No matching distribution' >&2; exit 1");
    let error = stage.fetch(&wheel(b"wheel"), None, LONG).expect_err("an error");
    assert!(error.is_passing());
    assert!(error.to_string().ends_with("Looking\nERROR: No matching distribution"), "{error}");
}

#[test]
fn without_pip_uv_brings_it_and_without_both_the_remedy_is_told() {
    let stage = Stage::new();
    stage.script("python", "echo \"$0: No module named pip\" >&2; exit 1");
    let error = stage.fetch(&wheel(b"wheel"), None, LONG).expect_err("an error");
    assert!(matches!(error, WheelError::NoPip { .. }), "{error}");
    let uv = stage.script("uv", &format!("echo \"$1 $2\"; {ARGS}\nprintf wheel > $d/demo-1.0.whl"));
    fs::remove_file(stage.folder.path().join("log")).expect("the log");
    assert_eq!(stage.fetch(&wheel(b"wheel"), Some(uv), LONG).expect("the wheel"), b"wheel");
}

#[test]
fn a_time_limit_ends_pip_and_its_children() {
    let stage = Stage::new();
    stage.script("python", "sleep 300 & echo $! > ../../child; wait");
    let started = Instant::now();
    let error = stage.fetch(&wheel(b"wheel"), None, Duration::from_millis(700)).expect_err("an error");
    assert!(matches!(error, WheelError::TimedOut { .. }) && started.elapsed() < LONG, "{error}");
    let child = fs::read_to_string(stage.folder.path().join("child")).expect("the child's number");
    let state = || fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Path::new("/proc/self").exists() && !(state().is_empty() || state().contains(") Z ")) {
        assert!(Instant::now() < deadline, "the child of pip is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_from_outside_ends_it() {
    let stage = Stage::new();
    stage.script("python", "exec sleep 300");
    let stop = AtomicBool::new(true);
    let error = stage.fetch_with(&wheel(b"wheel"), None, LONG, &Control::new(&stop, &|_| ())).expect_err("a stop");
    assert!(matches!(error, WheelError::Stopped));
}

#[test]
fn lines_of_a_lock_that_would_be_options_or_further_lines_are_refused() {
    let good = wheel(b"wheel");
    let bad = [
        FetchWheel { package: "-r/etc/passwd".into(), ..good.clone() },
        FetchWheel { package: "a\nb".into(), ..good.clone() },
        FetchWheel { package: "a b".into(), ..good.clone() },
        FetchWheel { version: "1.0 --index-url=x".into(), ..good.clone() },
        FetchWheel { version: String::new(), ..good.clone() },
        FetchWheel { sha256: vec![], ..good.clone() },
        FetchWheel { sha256: vec!["xyz".into()], ..good.clone() },
    ];
    for wheel in bad {
        assert!(matches!(requirement(&wheel), Err(WheelError::Lock(_))), "{wheel:?}");
    }
    assert!(requirement(&good).expect("a line").starts_with("demo==1.0+cpu --hash=sha256:0000"));
}
