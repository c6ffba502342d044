//! What the tests of this folder share: a folder for one step, and the levels that work here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipe::exec::process::{self, Bubblewrap, Cancel, Exit, Launcher, ProcessError, ProcessSpec};
use pipe::record::Sandbox;

/// A folder in which one step runs.
pub struct Bed {
    pub root: tempfile::TempDir,
    pub launcher: Launcher,
}

/// The supervisor's executable.
pub fn exe() -> PathBuf {
    env!("CARGO_BIN_EXE_pipe").into()
}

/// `bwrap`, where this machine has it.
pub fn bubblewrap() -> Option<Bubblewrap> {
    let path = Path::new("/usr/bin/bwrap");
    path.exists().then(|| Bubblewrap { path: path.into(), disable_userns: true })
}

impl Bed {
    pub fn new() -> Bed {
        let root = tempfile::tempdir().expect("a folder for the test");
        Bed { root, launcher: Launcher::new(exe(), bubblewrap()) }
    }

    pub fn workdir(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// `/bin/sh -c SCRIPT`.
    pub fn script(&self, sandbox: Sandbox, script: &str) -> ProcessSpec {
        ProcessSpec {
            args: vec!["-c".into(), script.into()],
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            timeout: Some(Duration::from_secs(20)),
            ..ProcessSpec::new("/bin/sh", self.workdir(), sandbox, self.root.path().join("log"))
        }
    }

    pub fn run(&self, spec: ProcessSpec) -> Result<Exit, ProcessError> {
        block(process::run(&self.launcher, spec, Cancel::new()))
    }

    /// Runs a script to its end and gives back its log.
    pub fn log_of(&self, sandbox: Sandbox, script: &str) -> String {
        let exit = self.run(self.script(sandbox, script)).expect("the script runs");
        format!("{}{}\n", self.log(), exit.status)
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.root.path().join("log")).unwrap_or_default()).into_owned()
    }
}

/// Runs a future as `pipe` does, on one thread, and for no longer than any test should take.
pub fn block<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(limit, future).await })
        .expect("an end in time")
}

/// The levels to test: all of them, or with a word about it those that work here.
pub fn levels() -> Vec<Sandbox> {
    let mut levels = vec![Sandbox::Off, Sandbox::Fs];
    if has_strict() {
        levels.push(Sandbox::Strict);
    }
    levels
}

/// True where namespaces can be made; a test that needs them returns early otherwise.
pub fn has_strict() -> bool {
    let found = block(pipe::exec::sandbox::probe(&exe(), bubblewrap().map(|found| found.path), &std::env::temp_dir()));
    let strict = found.as_ref().is_ok_and(|probe| probe.sandbox == Sandbox::Strict);
    if !strict {
        let required = std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "no namespaces here: {found:?}");
        eprintln!("skipped at level `strict`: {found:?}");
    }
    strict
}

/// Processes whose command line holds `mark`.
pub fn alive(mark: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(mark).then(|| format!("{}: {line}", entry.file_name().display()))
        })
        .collect()
}

/// Waits until `done`, at most for `limit`.
pub fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    done()
}
