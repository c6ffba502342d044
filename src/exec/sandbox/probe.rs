//! Which level works on this host, found by trying: a namespace that can be made on one system is refused by
//! the policy of the next, whatever the versions say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Bubblewrap;
use crate::exec::process::{self, Cancel, Launcher, ProcessSpec, Status};
use crate::exec::supervisor::confine;
use crate::record::Sandbox;

/// The strictest level that works, with the sentence that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub sandbox: Sandbox,
    pub reason: String,
    /// For [`Launcher::bubblewrap`].
    pub bubblewrap: Option<Bubblewrap>,
}

/// No level but `off` works, and that one is never chosen without being asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sandbox works here: {strict}; {fs}")]
pub struct ProbeError {
    /// Why `strict` does not work.
    pub strict: String,
    /// Why `fs` does not work.
    pub fs: String,
}

impl ProbeError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        "install `bubblewrap` (`apt-get install bubblewrap`), or pass `--sandbox off` to run steps without one"
    }
}

/// Tries the levels from the strictest down. `bwrap` is the program of that name on the caller's search path,
/// `scratch` an existing folder in which a folder for the trial is made.
pub async fn probe(exe: &Path, bwrap: Option<PathBuf>, scratch: &Path) -> Result<Probe, ProbeError> {
    let strict = match try_strict(exe, bwrap, scratch).await {
        Ok(bubblewrap) => {
            let reason = "bubblewrap makes namespaces here".to_owned();
            return Ok(Probe { sandbox: Sandbox::Strict, reason, bubblewrap: Some(bubblewrap) });
        }
        Err(reason) => reason,
    };
    match try_fs(exe, scratch).await {
        Ok(how) => {
            Ok(Probe { sandbox: Sandbox::Fs, reason: format!("{how} works; not `strict`: {strict}"), bubblewrap: None })
        }
        Err(fs) => Err(ProbeError { strict, fs }),
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool is asked what it can do, before there is a sandbox")]
async fn try_strict(exe: &Path, bwrap: Option<PathBuf>, scratch: &Path) -> Result<Bubblewrap, String> {
    let path = bwrap.ok_or("`bwrap` is not installed")?;
    let help = tokio::process::Command::new(&path)
        .arg("--help")
        .output()
        .await
        .map_err(|error| format!("`{}` does not start: {error}", path.display()))?;
    let bubblewrap = Bubblewrap::from_help(path, &String::from_utf8_lossy(&help.stdout));
    try_level(exe, Sandbox::Strict, Some(bubblewrap.clone()), scratch).await?;
    Ok(bubblewrap)
}

async fn try_fs(exe: &Path, scratch: &Path) -> Result<&'static str, String> {
    let how = if cfg!(target_os = "macos") {
        "`sandbox-exec`"
    } else {
        confine::landlock_works().map_err(|error| format!("no Landlock: {error}"))?;
        "Landlock"
    };
    try_level(exe, Sandbox::Fs, None, scratch).await?;
    Ok(how)
}

async fn try_level(exe: &Path, sandbox: Sandbox, bubblewrap: Option<Bubblewrap>, scratch: &Path) -> Result<(), String> {
    let folder = tempfile::Builder::new()
        .prefix("probe-")
        .tempdir_in(scratch)
        .map_err(|error| format!("no folder could be made in `{}`: {error}", scratch.display()))?;
    let launcher = Launcher::new(exe.to_owned(), bubblewrap);
    let log = folder.path().join("log");
    let spec = ProcessSpec {
        timeout: Some(Duration::from_secs(10)),
        args: vec!["-c".into(), ":".into()],
        ..ProcessSpec::new("/bin/sh", folder.path().join("work"), sandbox, &log)
    };
    let exit = process::run(&launcher, spec, Cancel::new()).await.map_err(|error| error.to_string())?;
    if exit.status == Status::Code(0) {
        return Ok(());
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    Err(match said.lines().last() {
        Some(line) => line.to_owned(),
        None => format!("a trial at level `{}` ended with {}", sandbox.name(), exit.status),
    })
}
