//! A folder of its own for each test: pipelines, a store, and `pipe` with a cleared environment.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests start `pipe`, with an environment of their own, and say what they pass over"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Says why something is passed over; where nothing may be (`PIPE_TEST_REQUIRE=all`), the test fails instead.
pub fn passed_over(what: &str, why: &str) {
    let required = std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "{what} is required, but {why}");
    eprintln!("passed over: {what}: {why}");
}

/// True where this machine can keep steps to what they declare; where it can't, tests run `pipe` without.
pub fn has_sandbox() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bwrap = std::env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|path| path.is_file());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (exe, scratch) = (Path::new(env!("CARGO_BIN_EXE_pipe")), std::env::temp_dir());
        match runtime.block_on(pipe::exec::sandbox::probe(exe, bwrap, &scratch)) {
            Ok(_) => true,
            Err(error) => {
                passed_over("a sandbox", &error.to_string());
                false
            }
        }
    })
}

/// A temporary folder with a store.
pub struct Place {
    folder: TempDir,
}

/// What a command said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Fails the test, with all that was said, unless the command ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, code, "exit code\n--- out\n{}\n--- err\n{}", self.out, self.err);
        for text in [&self.out, &self.err] {
            assert!(!text.contains("panicked at"), "a panic:\n{text}");
        }
        self
    }
}

impl Place {
    pub fn new() -> Place {
        Place { folder: TempDir::new().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// `pipe` with these arguments, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
        let level: &[&str] = if has_sandbox() { &[] } else { &["--sandbox", "off"] };
        command
            .args(args)
            .args(level)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", std::env::var_os("HOME").unwrap_or_default())
            .env("PIPE_STORE", self.path().join("store"))
            // Tests run beside one another: each has the machine to itself, as far as its runs know.
            .env("PIPE_RUNTIME", self.path().join("runtime"))
            // Two seconds for each run that measures.
            .env("PIPE_SENTINEL", "off")
            .stdin(Stdio::null());
        command
    }

    /// Runs `pipe` to its end.
    pub fn pipe(&self, args: &[&str]) -> Said {
        self.pipe_with(&[], args)
    }

    /// Runs `pipe` to its end, with more in its environment.
    pub fn pipe_with(&self, env: &[(&str, &str)], args: &[&str]) -> Said {
        let output = self.command(args).envs(env.iter().copied()).output().expect("pipe starts");
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A simulated model whose engine does what `script` says, below `name`.
    pub fn model(&self, name: &str, script: &str) {
        self.write(&format!("{name}/sim.json"), script);
        self.write(
            &format!("{name}/pipe-model.json"),
            r#"{"format":1,"file":"sim.json","kind":"llm","layers":1,"kv_heads":1,"head_dim":1,"vocabulary":16}"#,
        );
    }

    /// The simulated engine and a token file, which every measurement needs.
    pub fn engine(&self) {
        let built = Path::new(env!("CARGO_BIN_EXE_pipe")).with_file_name("examples").join("sim-engine");
        fs::copy(&built, self.path().join("sim-engine"))
            .unwrap_or_else(|error| panic!("`{}`: {error}; `cargo test` builds it", built.display()));
        // A `.npy` file: 64 tokens, all of them 1.
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (64,), }";
        let padded = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.as_bytes());
        for _ in 0..64 {
            bytes.extend(1i64.to_le_bytes());
        }
        fs::write(self.path().join("tokens.npy"), bytes).expect("a token file");
    }
}

/// The steps that a run executed, read from its events. The last line of a killed run may be half a line.
pub fn ran(events: &Path) -> Vec<String> {
    let text = fs::read_to_string(events).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an event is JSON"))
        .filter(|event| event["event"] == "finished" && event["outcome"] == "ran")
        .map(|event| event["step"].as_str().expect("a name").to_owned())
        .collect()
}
