//! Landlock: the rules for a child, made here, and put on by the child itself just before it is the program.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use super::wire::Rules;

/// True for variables that change how the dynamic loader starts a program.
pub fn is_loader_variable(name: &str) -> bool {
    name.starts_with("LD_") || name.starts_with("DYLD_")
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

/// A descriptor of the rules, which a process puts on with one call.
#[cfg(target_os = "linux")]
pub fn ruleset(rules: &Rules) -> Result<OwnedFd, String> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
        path_beneath_rules,
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
            .add_rules(path_beneath_rules(existing(&rules.devices), AccessFs::from_all(NEWEST)))
    };
    let ruleset = build().map_err(|error| refused(&error.to_string()))?;
    Option::<OwnedFd>::from(ruleset).ok_or_else(|| refused("the kernel does not enforce it"))
}

/// Gives up what root may do beyond its own files, for good: Landlock knows files and ports, and nothing of the clock,
/// of modules or of devices. System calls alone, for a child that shares its parent's memory.
#[cfg(target_os = "linux")]
pub fn disown() -> rustix::io::Result<()> {
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

#[cfg(target_os = "linux")]
fn refused(why: &str) -> String {
    format!("Landlock could not be put on: {why}; see `pipe doctor`, or pass `--sandbox off`")
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
