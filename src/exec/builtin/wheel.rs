//! One wheel of a lock, brought by pip and checked by us.
//!
//! pip only finds and carries the file: it knows the user's index, login, proxy and certificates, and which of a
//! project's wheels fits the interpreter. Its own check of the digest is repeated here, so that neither its cache
//! nor its settings can change what enters the store. Where the interpreter has no pip, `uv` runs one for it.
//! Retrying, and putting the file into the store, are the caller's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::process::{Child, Command};

use super::control::Control;
use super::fetch::hex;
use super::network::NetworkEnv;
use crate::pipeline::FetchWheel;

/// Why a wheel can't be had.
#[derive(Debug, Error)]
pub enum WheelError {
    /// The lock holds something that is no name, version or digest.
    #[error("the lock names `{0}`, which is no package name, version or SHA-256 digest")]
    Lock(String),
    /// There is nothing that can fetch wheels.
    #[error(
        "`{}` has no pip, and there is no `uv`: install one of them ({remedy})",
        python.display()
    )]
    NoPip { python: PathBuf, remedy: &'static str },
    /// A program can't be started.
    #[error("`{}` can't be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// pip ended with an error.
    #[error("pip can't bring `{package}=={version}` ({status}); its last lines:\n{tail}")]
    Failed { package: String, version: String, status: ExitStatus, tail: String },
    /// pip took too long.
    #[error("pip did not bring `{package}=={version}` within {} s; raise the step's `timeout`, or try again", limit.as_secs())]
    TimedOut { package: String, version: String, limit: Duration },
    /// pip ended well and left not exactly one wheel.
    #[error("pip left {count} files for `{package}=={version}` where one wheel was expected")]
    NotOne { package: String, version: String, count: usize },
    /// The wheel is not one of the lock.
    #[error(
        "the wheel `{file}` that pip brought has sha256 {got}, which is not in the lock; write the lock anew if the package was published again"
    )]
    Digest { file: String, got: String },
    /// A file of the scratch folder can't be read or written.
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The work was stopped from outside.
    #[error("fetching was stopped")]
    Stopped,
}

impl WheelError {
    /// True where the same fetch may succeed a little later; pip does not tell why it failed.
    pub fn is_passing(&self) -> bool {
        matches!(self, WheelError::Failed { .. })
    }
}

/// The programs that can bring wheels.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The real interpreter for which wheels are chosen, behind every shim.
    pub python: PathBuf,
    pub uv: Option<PathBuf>,
}

/// What the scratch folder and the limits of one fetch are.
#[derive(Debug, Clone)]
pub struct Place {
    /// An empty folder of this fetch alone; it may be removed afterwards.
    pub scratch: PathBuf,
    /// Where pip's own words go.
    pub log: PathBuf,
    pub timeout: Duration,
}

/// Brings one wheel into the scratch folder, checks it, and gives back its path there.
pub async fn fetch(
    wheel: &FetchWheel,
    programs: &Programs,
    place: &Place,
    env: &NetworkEnv,
    control: &Control<'_>,
) -> Result<PathBuf, WheelError> {
    let folders = Folders::make(&place.scratch, &requirement(wheel)?)?;
    let mut status = run(wheel, pip(programs, &folders), place, &folders, env, control).await?;
    if !status.success() && tail(&place.log)?.contains("No module named pip") {
        let Some(uv) = &programs.uv else {
            return Err(WheelError::NoPip { python: programs.python.clone(), remedy: remedy() });
        };
        status = run(wheel, uv_pip(uv, programs, &folders), place, &folders, env, control).await?;
    }
    if !status.success() {
        let tail = tail(&place.log)?;
        let (package, version) = (wheel.package.clone(), wheel.version.clone());
        return Err(WheelError::Failed { package, version, status, tail });
    }
    let path = the_one_wheel(wheel, &folders.wheels)?;
    let got = tokio::task::spawn_blocking({
        let path = path.clone();
        move || sha256(&path)
    });
    let got = got
        .await
        .map_err(|_| WheelError::Stopped)?
        .map_err(|source| WheelError::File { path: path.clone(), source })?;
    if wheel.sha256.iter().any(|wanted| digits(wanted) == got) {
        return Ok(path);
    }
    let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Err(WheelError::Digest { file, got })
}

fn remedy() -> &'static str {
    if cfg!(target_os = "macos") {
        "`python3 -m ensurepip`, or `brew install uv`"
    } else {
        "`apt-get install python3-pip`"
    }
}

/// The line of a requirements file. Every part is checked: a line break in one would be another requirement, and
/// a leading dash an option.
fn requirement(wheel: &FetchWheel) -> Result<String, WheelError> {
    let plain = |text: &str, extra: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let check = |ok: bool, text: &str| if ok { Ok(()) } else { Err(WheelError::Lock(text.escape_debug().to_string())) };
    check(plain(&wheel.package, "-_."), &wheel.package)?;
    check(plain(&wheel.version, ".+!_-"), &wheel.version)?;
    check(!wheel.sha256.is_empty(), &wheel.package)?;
    let mut line = format!("{}=={}", wheel.package, wheel.version);
    for digest in &wheel.sha256 {
        let digits = digits(digest);
        check(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), digest)?;
        line.push_str(" --hash=sha256:");
        line.push_str(&digits);
    }
    line.push('\n');
    Ok(line)
}

fn digits(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase()
}

/// The parts of the scratch folder.
#[derive(Debug)]
struct Folders {
    wheels: PathBuf,
    temporary: PathBuf,
    line: PathBuf,
    /// pip is started in an empty folder, since `python -m` puts the working folder onto its path.
    empty: PathBuf,
}

impl Folders {
    fn make(scratch: &Path, line: &str) -> Result<Folders, WheelError> {
        let folders = Folders {
            wheels: scratch.join("wheels"),
            temporary: scratch.join("tmp"),
            line: scratch.join("line.txt"),
            empty: scratch.join("empty"),
        };
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| WheelError::File { path, source }
        };
        for folder in [&folders.wheels, &folders.temporary, &folders.empty] {
            std::fs::create_dir_all(folder).map_err(fail(folder))?;
        }
        std::fs::write(&folders.line, line).map_err(fail(&folders.line))?;
        Ok(folders)
    }
}

/// A program with its arguments.
struct Line {
    program: PathBuf,
    args: Vec<OsString>,
}

fn pip(programs: &Programs, folders: &Folders) -> Line {
    let mut args: Vec<OsString> = ["-B", "-m", "pip"].map(OsString::from).to_vec();
    args.extend(download(folders));
    Line { program: programs.python.clone(), args }
}

fn uv_pip(uv: &Path, programs: &Programs, folders: &Folders) -> Line {
    let mut args: Vec<OsString> = ["tool", "run", "--no-python-downloads", "--python"].map(OsString::from).to_vec();
    args.push(programs.python.clone().into());
    args.push("pip".into());
    args.extend(download(folders));
    Line { program: uv.to_owned(), args }
}

fn download(folders: &Folders) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
    ]
    .map(OsString::from)
    .to_vec();
    args.extend([folders.wheels.clone().into(), "-r".into(), folders.line.clone().into()]);
    args
}

/// Ends the whole process group when it goes out of scope: pip may have children of its own.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The group may have ended by itself, which is what the only possible error says.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "pip is no step: it needs the network and the user's settings, and no sandbox"
)]
async fn run(
    wheel: &FetchWheel,
    line: Line,
    place: &Place,
    folders: &Folders,
    env: &NetworkEnv,
    control: &Control<'_>,
) -> Result<ExitStatus, WheelError> {
    let log = || {
        File::options()
            .create(true)
            .append(true)
            .open(&place.log)
            .map_err(|source| WheelError::File { path: place.log.clone(), source })
    };
    let start_failed = |source| WheelError::Start { program: line.program.clone(), source };
    let mut child = Command::new(&line.program)
        .args(&line.args)
        .current_dir(&folders.empty)
        .env_clear()
        .envs(variables(env, folders))
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(start_failed)?;
    let mut group = Group::of(&child);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let deadline = tokio::time::sleep(place.timeout);
    tokio::pin!(deadline);
    let mut seen = 0;
    loop {
        tokio::select! {
            status = child.wait() => {
                advance(folders, &mut seen, control);
                // The leader is gone and was waited for, so its id may soon be another process's.
                group.0 = None;
                return status.map_err(start_failed);
            }
            _ = tick.tick() => {
                advance(folders, &mut seen, control);
                if control.is_stopped() {
                    return Err(WheelError::Stopped);
                }
            }
            () = &mut deadline => {
                let (package, version) = (wheel.package.clone(), wheel.version.clone());
                return Err(WheelError::TimedOut { package, version, limit: place.timeout });
            }
        }
    }
}

fn variables(env: &NetworkEnv, folders: &Folders) -> BTreeMap<String, OsString> {
    let mut vars: BTreeMap<String, OsString> =
        env.vars().iter().map(|(name, value)| (name.clone(), value.into())).collect();
    vars.insert("TMPDIR".to_owned(), folders.temporary.clone().into());
    vars.insert("LC_ALL".to_owned(), "C.UTF-8".into());
    vars.insert("PYTHONUNBUFFERED".to_owned(), "1".into());
    vars
}

/// pip writes what it downloads below its temporary folder and then moves it, so the sum of both is how far it is.
fn advance(folders: &Folders, seen: &mut u64, control: &Control<'_>) {
    let now = size_below(&folders.temporary, 4) + size_below(&folders.wheels, 1);
    if now > *seen {
        control.advance(now - *seen);
        *seen = now;
    }
}

fn size_below(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(metadata) if metadata.is_dir() && depth > 0 => size_below(&entry.path(), depth - 1),
        _ => 0,
    });
    sizes.sum()
}

/// The last lines of the log.
fn tail(log: &Path) -> Result<String, WheelError> {
    let bytes = std::fs::read(log).map_err(|source| WheelError::File { path: log.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(12)..].join("\n"))
}

fn the_one_wheel(wheel: &FetchWheel, folder: &Path) -> Result<PathBuf, WheelError> {
    let fail = |source| WheelError::File { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        found.push(entry.map_err(fail)?.path());
    }
    match &found[..] {
        [one] if one.extension().is_some_and(|extension| extension == "whl") && one.is_file() => Ok(one.clone()),
        _ => {
            let (package, version) = (wheel.package.clone(), wheel.version.clone());
            Err(WheelError::NotOne { package, version, count: found.len() })
        }
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
