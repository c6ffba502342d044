//! How a step is held to what it declared, at each of the levels `strict`, `fs` and `off`.
//!
//! What a step sees:
//!
//! | | strict | fs | off |
//! |---|---|---|---|
//! | how | namespaces, by bubblewrap | Landlock, or `sandbox-exec` on a Mac | nothing but a folder |
//! | its folder | `/pipe`, and nothing else is writable but a private `/tmp` | its own, and nothing else is writable | its own |
//! | secrets | files in memory at `/run/secrets` | files in memory that it may read | files in memory |
//! | inputs | mounted read-only below it | links below it, readable and not writable | links below it |
//! | other files | do not exist, but for the system's | can't be read, but for the system's | all of the user's |
//! | network | absent, unless declared | TCP refused (Linux 6.7 or newer), unless declared | there |
//! | other processes | not seen | no signal reaches them (Linux 6.12 or newer) | seen |
//!
//! The system's files are `/usr`, what belongs to it in `/`, and what the dynamic loader reads of `/etc`.
//! Everything here is a function from a [`ProcessSpec`] to what the supervisor is told, so that it can be
//! read as text; only [`probe()`] starts a process. Timeouts and logs are not known here.

pub mod bubblewrap;
mod landlock;
pub mod probe;
pub mod seatbelt;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use self::bubblewrap::Bubblewrap;
pub use self::probe::{Probe, ProbeError, probe};

use super::process::{ProcessError, ProcessSpec};
use super::supervisor::wire::{Confine, Start, Streams};
use crate::record::Sandbox;

/// A read-only input: `host` is seen at `at`, below the working folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub host: PathBuf,
    /// Relative to the working folder: `in/model`.
    pub at: String,
}

/// The working folder as the step sees it under [`Sandbox::Strict`].
pub const STRICT_WORKDIR: &str = "/pipe";

/// The working folder as a step at level `sandbox` sees it.
pub fn seen_workdir(sandbox: Sandbox, workdir: &Path) -> PathBuf {
    match sandbox {
        Sandbox::Strict => STRICT_WORKDIR.into(),
        Sandbox::Fs | Sandbox::Off => workdir.to_owned(),
    }
}

/// The folder with a step's secrets as it sees it under [`Sandbox::Strict`].
const STRICT_SECRETS: &str = "/run/secrets";

/// The folder with a step's secrets, `folder` on the host, as a step at level `sandbox` sees it.
pub fn seen_secrets(sandbox: Sandbox, folder: &Path) -> PathBuf {
    match sandbox {
        Sandbox::Strict => STRICT_SECRETS.into(),
        Sandbox::Fs | Sandbox::Off => folder.to_owned(),
    }
}

/// The environment of the step: what was declared, and a private home and folder for temporary files where
/// it says nothing of them.
fn environment(spec: &mut ProcessSpec) -> BTreeMap<String, String> {
    let mut env = std::mem::take(&mut spec.env);
    for name in ["HOME", "TMPDIR"] {
        if !env.contains_key(name) {
            let tmp = seen_workdir(spec.sandbox, &spec.workdir).join("tmp");
            env.insert(name.to_owned(), tmp.to_string_lossy().into_owned());
        }
    }
    env
}

/// What the supervisor is to start for `spec`.
pub fn plan(mut spec: ProcessSpec, bubblewrap: Option<&Bubblewrap>) -> Result<Start, ProcessError> {
    let env = environment(&mut spec);
    let (program, args, env, confine) = match spec.sandbox {
        Sandbox::Off => (spec.program, spec.args, env, Confine::Off),
        Sandbox::Fs if cfg!(target_os = "macos") => {
            (seatbelt::PROGRAM.into(), seatbelt::arguments(&spec), env, Confine::Off)
        }
        Sandbox::Fs => {
            let rules = landlock::rules(&spec);
            (spec.program, spec.args, env, Confine::Landlock(rules))
        }
        Sandbox::Strict => {
            let bubblewrap = bubblewrap.ok_or(ProcessError::NoBubblewrap)?;
            let (args, env) = bubblewrap.arguments(&spec, env);
            (bubblewrap.path.clone(), args, env, Confine::Namespaces)
        }
    };
    // The working folder is bound by path, so `bwrap` may start anywhere.
    let workdir = if confine == Confine::Namespaces { "/".into() } else { spec.workdir };
    Ok(Start {
        program,
        args,
        env,
        workdir,
        confine,
        network: spec.network,
        memory: spec.memory,
        processes: spec.processes,
        secrets: spec.secrets,
        streams: Streams::Log,
    })
}

/// Makes the folders that every step finds in its own; the error names the one that could not be made.
pub fn folders(workdir: &Path) -> Result<(), (PathBuf, io::Error)> {
    for name in ["in", "out", "tmp"] {
        let path = workdir.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => std::fs::create_dir_all(&path).map_err(|error| (path, error))?,
        }
    }
    Ok(())
}

/// Makes the working folder ready: `in`, `out`, `tmp` where they are not there yet, and for each input a link or a place to mount it.
pub fn prepare(spec: &ProcessSpec) -> Result<(), ProcessError> {
    let failed = |path: &Path, source: io::Error| ProcessError::Prepare { path: path.to_owned(), source };
    if !spec.has_folders {
        folders(&spec.workdir).map_err(|(path, source)| ProcessError::Prepare { path, source })?;
    }
    for mount in &spec.mounts {
        let path = place_of(&spec.workdir, mount)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        if std::fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        let made = match spec.sandbox {
            Sandbox::Fs | Sandbox::Off => std::os::unix::fs::symlink(&mount.host, &path),
            Sandbox::Strict if mount.host.is_dir() => std::fs::create_dir(&path),
            Sandbox::Strict => std::fs::File::create(&path).map(drop),
        };
        made.map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Where an input goes; refuses what would lead out of the working folder.
fn place_of(workdir: &Path, mount: &Mount) -> Result<PathBuf, ProcessError> {
    use std::path::Component;
    let at = Path::new(&mount.at);
    let inside = at.components().next().is_some() && at.components().all(|part| matches!(part, Component::Normal(_)));
    if inside { Ok(workdir.join(at)) } else { Err(ProcessError::MountOutside { at: mount.at.clone() }) }
}

/// Folders of `/` that belong to the system, each either a folder or a link into `/usr`.
const SYSTEM_FOLDERS: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Files of `/etc` that the dynamic loader, compilers and interpreters read wherever they run.
const SYSTEM_FILES: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/os-release",
];

/// What tells a program the shape of the processor; numeric libraries choose threads and kernels by it.
const PROCESSOR_FILES: [&str; 2] = ["/sys/devices/system/cpu", "/sys/devices/system/node"];

/// What name look-up and certificates need, for steps with a network.
const NETWORK_FILES: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
];

#[cfg(test)]
mod tests;
