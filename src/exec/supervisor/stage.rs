//! The last stage before a program at the levels `fs` and `off`: a process that ties itself down and then
//! becomes the program.
//!
//! It is a process of its own because Landlock allocates, which must not be done between fork and exec.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::wire::{Confine, Rules};

/// What the stage is told, as its only argument before the program's own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stage {
    pub program: PathBuf,
    pub confine: Confine,
    /// Variables of the dynamic loader: they are meant for the program, not for this stage.
    pub loader_env: BTreeMap<String, String>,
}

/// True for variables that change how the dynamic loader starts a program.
pub fn is_loader_variable(name: &str) -> bool {
    name.starts_with("LD_") || name.starts_with("DYLD_")
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the stage before the program was called wrongly: {0}")]
    Called(String),
    #[error("the process could not be tied to its supervisor: {0}")]
    Tie(std::io::Error),
    #[error("Landlock could not be put on: {0}; see `pipe doctor`, or pass `--sandbox off`")]
    Confine(String),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Filter(#[from] super::filter::FilterError),
    #[error("`{program}` could not be started: {source}")]
    Exec { program: PathBuf, source: std::io::Error },
}

/// Becomes the program; returns only where that failed.
#[expect(clippy::disallowed_methods, reason = "the stage starts no process: it becomes the program")]
pub fn enter(mut args: impl Iterator<Item = OsString>) -> Result<Infallible, StageError> {
    let text = args.next().ok_or_else(|| StageError::Called("no argument".into()))?;
    let text = text.to_str().ok_or_else(|| StageError::Called("the argument is not UTF-8".into()))?;
    let stage: Stage = serde_json::from_str(text).map_err(|e| StageError::Called(e.to_string()))?;
    tie().map_err(|error| StageError::Tie(error.into()))?;
    match &stage.confine {
        Confine::Off | Confine::Namespaces => {}
        Confine::Landlock(rules) => {
            disown().map_err(|error| StageError::Tie(error.into()))?;
            restrict(rules).map_err(StageError::Confine)?;
            filter(rules.network)?;
        }
    }
    let source = Command::new(&stage.program).args(args).envs(&stage.loader_env).exec();
    Err(StageError::Exec { program: stage.program, source })
}

/// Dies with the supervisor, and gains no privileges from set-uid programs.
#[cfg(target_os = "linux")]
fn tie() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)
}

#[cfg(not(target_os = "linux"))]
fn tie() -> rustix::io::Result<()> {
    Ok(())
}

/// Gives up what root may do beyond its own files, for good: Landlock knows files and ports, and nothing of the clock,
/// of modules or of devices.
#[cfg(target_os = "linux")]
fn disown() -> rustix::io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, capability_is_in_bounding_set};
    use rustix::thread::{remove_capability_from_bounding_set, set_capabilities};
    for capability in CapabilitySet::all().iter() {
        // What this kernel does not know is in no set, and who has no privileges can't give up this one either.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

#[cfg(not(target_os = "linux"))]
fn disown() -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn filter(network: bool) -> Result<(), StageError> {
    Ok(super::filter::apply(super::filter::Shape { namespaces: false, network })?)
}

#[cfg(not(target_os = "linux"))]
fn filter(_network: bool) -> Result<(), StageError> {
    Ok(())
}

/// True where this kernel can hold a process in with Landlock.
#[cfg(target_os = "linux")]
pub fn landlock_works() -> Result<(), String> {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(target_os = "linux")]
fn restrict(rules: &Rules) -> Result<(), String> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetStatus, Scope, path_beneath_rules,
    };
    const NEWEST: ABI = ABI::V6;
    let build = || -> Result<_, landlock::RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?;
        if !rules.network {
            ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
        }
        ruleset
            .create()?
            .add_rules(path_beneath_rules(existing(&rules.read), AccessFs::from_read(NEWEST)))?
            .add_rules(path_beneath_rules(existing(&rules.write), AccessFs::from_all(NEWEST)))?
            .add_rules(path_beneath_rules(existing(&rules.devices), AccessFs::from_all(NEWEST)))?
            .restrict_self()
    };
    let status = build().map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel does not enforce it".into()),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// Rules name files that not every system has, such as `/lib64`.
#[cfg(target_os = "linux")]
fn existing(paths: &[PathBuf]) -> impl Iterator<Item = &Path> {
    paths.iter().map(PathBuf::as_path).filter(|path| path.exists())
}

#[cfg(not(target_os = "linux"))]
pub fn landlock_works() -> Result<(), String> {
    Err("it is a part of Linux".into())
}

#[cfg(not(target_os = "linux"))]
fn restrict(_rules: &Rules) -> Result<(), String> {
    Err("it is a part of Linux".into())
}
