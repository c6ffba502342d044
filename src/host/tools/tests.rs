//! A search path of scripts that play shims, compilers and other tools.

use super::*;

/// A search path of one folder with scripts, so that no test depends on what this machine has.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        Host { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }

    fn env(&self, more: &[(&str, &str)]) -> ToolEnv {
        let own = [("PATH", self.folder.path().join("bin").into_os_string()), ("HOME", self.folder.path().into())];
        let more = more.iter().map(|(name, value)| (*name, OsString::from(value)));
        ToolEnv::from_vars(own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)))
    }
}

#[test]
fn a_shim_of_python_is_looked_behind() {
    let host = Host::new();
    let root = host.folder.path().join("versions/3.12").display().to_string();
    let answer = format!("printf '%s\\n' {root}/bin/python3 {root} {root} {root} 'CPython 3.12.1'");
    host.script("bin/python3", &answer);
    let found = find("python3", &host.env(&[])).expect("a tool");
    assert_eq!(found.tool.version, "Python 3.12.1");
    assert_eq!(found.tool.real, Path::new(&root).join("bin/python3"));
    assert_eq!(found.tool.roots, [PathBuf::from(&root)]);
}

#[test]
fn a_proxy_of_rustup_is_looked_behind() {
    let host = Host::new();
    let real = host.script("toolchains/x/bin/cargo", "echo 'cargo 1.95.0 (f2d3ce0bd 2026-03-21)'");
    host.script("bin/rustup", &format!("echo {}", real.display()));
    std::os::unix::fs::symlink("rustup", host.folder.path().join("bin/cargo")).expect("a link");
    let found = find("cargo", &host.env(&[])).expect("a tool");
    assert_eq!(found.tool.version, "cargo 1.95.0 (f2d3ce0bd 2026-03-21)");
    assert_eq!((found.tool.real, found.tool.roots), (real, vec![host.folder.path().join("toolchains/x")]));
}

#[test]
fn a_compiler_is_known_by_its_version_and_target() {
    let host = Host::new();
    host.script(
        "bin/cc",
        "case $1 in --version) echo 'cc (Debian 12.2.0-14) 12.2.0';; *) echo x86_64-linux-gnu;; esac",
    );
    let found = find("cc", &host.env(&[])).expect("a tool");
    assert_eq!(found.tool.version, "(Debian 12.2.0-14) 12.2.0 x86_64-linux-gnu");
}

#[test]
fn any_other_tool_is_known_by_its_bytes() {
    let host = Host::new();
    let path = host.script("bin/frobnicate", "exit 1");
    let before = find("frobnicate", &host.env(&[])).expect("a tool").tool.version;
    let bytes = fs::read(path).expect("bytes");
    assert_eq!(before, format!("blake3:{}", blake3::hash(&bytes).to_hex()));
}

#[test]
fn the_script_that_pyenv_puts_before_a_program_is_looked_behind() {
    let host = Host::new();
    let real = host.script("root/versions/3.12/bin/uv", "exit 0");
    host.script("root/bin/pyenv", &format!("[ \"$1 $2\" = 'which uv' ] && echo {}", real.display()));
    host.script("root/shims/uv", "exit 1");
    let path = host.folder.path().join("root/shims").display().to_string();
    let found = find("uv", &host.env(&[("PATH", &path)])).expect("a tool");
    assert_eq!(found.tool.real, real.canonicalize().expect("a path"));
}

#[test]
fn a_compiler_cache_is_passed_over() {
    let host = Host::new();
    host.script("bin/ccache", "exit 1");
    std::os::unix::fs::symlink("ccache", host.folder.path().join("bin/cc")).expect("a link");
    assert!(matches!(find("cc", &host.env(&[])), Err(ToolError::Missing { .. })));
    assert!(find("ccache", &host.env(&[])).is_ok());
}

#[test]
fn a_stamp_holds_until_something_that_steers_changes() {
    let host = Host::new();
    host.script("bin/frobnicate", "exit 0");
    let env = host.env(&[]);
    let found = find("frobnicate", &env).expect("a tool");
    let text = serde_json::to_string(&found).expect("JSON");
    let found: Found = serde_json::from_str(&text).expect("the same again");
    assert!(found.is_current(&env));
    assert!(!found.is_current(&host.env(&[("PYENV_VERSION", "3.10")])));
    assert!(!found.is_current(&host.env(&[("RUSTUP_TOOLCHAIN", "nightly")])));
    fs::create_dir(host.folder.path().join(".pyenv")).expect("a folder");
    fs::write(host.folder.path().join(".pyenv/version"), "3.10\n").expect("a file");
    assert!(!found.is_current(&env), "a new default of pyenv");
}

#[test]
fn a_changed_program_is_another() {
    let host = Host::new();
    host.script("bin/frobnicate", "exit 0");
    let found = find("frobnicate", &host.env(&[])).expect("a tool");
    host.script("bin/frobnicate", "exit 0 # changed");
    assert!(!found.is_current(&host.env(&[])));
}

#[test]
fn what_is_missing_is_told_with_its_remedy() {
    let host = Host::new();
    let error = find("cargo", &host.env(&[])).expect_err("nothing there");
    assert!(error.to_string().starts_with("`cargo` is not installed: install Rust"), "{error}");
    assert!(matches!(find("../cargo", &host.env(&[])), Err(ToolError::BadName(_))));
    let relative = ToolEnv::from_vars([("PATH".to_owned(), OsString::from("bin:."))]);
    assert!(matches!(find("sh", &relative), Err(ToolError::Missing { .. })));
}

#[test]
fn a_tool_that_fails_or_talks_nonsense_is_told_with_its_words() {
    let host = Host::new();
    host.script("bin/python3", "echo 'pyenv: version 3.9 is not installed' >&2; exit 1");
    let error = find("python3", &host.env(&[])).expect_err("a failure").to_string();
    assert!(error.contains("pyenv: version 3.9 is not installed"), "{error}");
    host.script("bin/python3", "echo hello");
    let error = find("python3", &host.env(&[])).expect_err("nonsense").to_string();
    assert!(error.contains("it answers `hello"), "{error}");
}
