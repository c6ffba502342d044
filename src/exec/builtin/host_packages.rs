//! The machine's own Python packages as a tree, for machines that bring their own.
//!
//! The interpreter is asked once for what is installed; from there on everything is read from files. The named
//! distributions and all that they require (with their markers and extras) form the closure. A package is known by
//! its version and by the digests in its `RECORD`, so that two machines with the same wheels agree whichever
//! installer put them there: what installers add (`INSTALLER`, `direct_url.json`, byte code, scripts outside the
//! packages' folder, `RECORD` itself) is neither in the key nor in the tree. Files are compared with `RECORD` when
//! the tree is made, so that a package edited by hand is told and not shared under a false name.
//!
//! A package that a requirement names but that is not installed (an image may ship a library in another way) is
//! listed in [`Inventory::absent`] and is part of the key; a missing package that the pipeline names is an error.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep508_rs::{
    ExtraName, MarkerEnvironment, PackageName, Requirement, VerbatimUrl, VersionOrUrl, pep440_rs::Version,
};
use pipe_cache::{Digest, StoreError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::tools::{FileStamp, ToolEnv, ToolError, ask::ask};

mod files;

pub use files::materialise;

/// The version of [`Inventory`] on disk.
pub const FORMAT: u32 = 1;

/// Why the host's packages can't be used.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The interpreter does not answer.
    #[error(transparent)]
    Interpreter(#[from] ToolError),
    /// The interpreter's answer can't be read.
    #[error("`{}` can't list its packages: {why}", python.display())]
    Answer { python: PathBuf, why: String },
    /// A name in the pipeline is no requirement.
    #[error("`{0}` names no Python package: write it as in `numpy` or `torch==2.11.0`")]
    BadName(String),
    /// A named package is not installed.
    #[error("Python package `{name}` is not installed for `{}`; run `{} -m pip install '{name}'`", python.display(), python.display())]
    Missing { name: String, python: PathBuf },
    /// A named package has another version than wanted.
    #[error("Python package `{name}` is installed as {installed}, and `{wanted}` is wanted; run `{} -m pip install '{wanted}'`", python.display())]
    Version { name: String, installed: String, wanted: String, python: PathBuf },
    /// A package's metadata hold a requirement that can't be read.
    #[error("Python package `{package}` requires `{line}`, which can't be read: {why}; install it anew")]
    Requirement { package: String, line: String, why: String },
    /// A package has no list of its files.
    #[error(
        "Python package `{package}` has no `RECORD` of its files (the system's package manager installed it?); install it by pip into a virtual environment"
    )]
    NoRecord { package: String },
    /// A package's list of files can't be read.
    #[error("the `RECORD` of Python package `{package}` can't be read: line `{line}`; install it anew")]
    BadRecord { package: String, line: String },
    /// A file is not what `RECORD` says.
    #[error("`{}` of Python package `{package}` is not the file that was installed; run `pip install --force-reinstall {package}`", path.display())]
    Edited { package: String, path: PathBuf },
    /// Two packages hold different files of one path.
    #[error("Python packages `{first}` and `{second}` both hold `{path}`, from different folders")]
    Conflict { first: String, second: String, path: String },
    /// A file can't be read.
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The closure of the named packages on this machine, and what must stay as it is for it to be that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub format: u32,
    /// The names that were asked for, sorted.
    pub wanted: Vec<String>,
    pub python: PathBuf,
    /// `CPython 3.11.7`.
    pub interpreter: String,
    pub packages: Vec<Package>,
    /// Requirements that are not installed, each with a package that names it.
    pub absent: BTreeMap<String, String>,
    stamp: Vec<(PathBuf, Option<FileStamp>)>,
}

/// One installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Normalised: `typing-extensions`.
    pub name: String,
    pub version: String,
    /// Over the names, digests and sizes of the files that belong into a tree.
    pub files: Digest,
    /// The folder below which its files lie.
    root: PathBuf,
    /// Its `NAME.dist-info`.
    metadata: PathBuf,
}

/// What the interpreter prints.
#[derive(Debug, Deserialize)]
struct Answer {
    markers: MarkerEnvironment,
    path: Vec<PathBuf>,
    packages: Vec<Installed>,
}

#[derive(Debug, Deserialize)]
struct Installed {
    name: String,
    version: String,
    requires: Vec<String>,
    root: PathBuf,
    metadata: PathBuf,
}

/// Asks the interpreter for its packages and forms the closure of `wanted`. It starts a process.
pub fn inventory(python: &Path, wanted: &[String], env: &ToolEnv) -> Result<Inventory, PackageError> {
    let text = ask(python, &["-s", "-B", "-c", include_str!("host_packages/inventory.py")], env)?;
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|error| PackageError::Answer { python: python.to_owned(), why: error.to_string() })?;
    let closure = Closure::of(python, wanted, &answer)?;
    let mut packages = Vec::new();
    for installed in closure.members.values() {
        packages.push(package(installed)?);
    }
    let folders = answer.path.iter().filter(|folder| folder.is_absolute()).cloned();
    let records = packages.iter().map(Package::record);
    let stamp = std::iter::once(python.to_owned()).chain(folders).chain(records);
    Ok(Inventory {
        format: FORMAT,
        wanted: sorted(wanted),
        python: python.to_owned(),
        interpreter: format!(
            "{} {}",
            answer.markers.platform_python_implementation(),
            answer.markers.python_full_version()
        ),
        absent: closure.absent,
        stamp: stamp.map(|path| (path.clone(), FileStamp::of(&path))).collect(),
        packages,
    })
}

impl Inventory {
    /// True while nothing was installed, removed or upgraded since; it starts no process.
    pub fn is_current(&self, python: &Path, wanted: &[String]) -> bool {
        self.format == FORMAT
            && self.python == python
            && self.wanted == sorted(wanted)
            && self.stamp.iter().all(|(path, stamp)| FileStamp::of(path) == *stamp)
    }

    /// What a key sees: the interpreter, and each package with its version and the digest of its files.
    pub fn key_parts(&self) -> BTreeMap<String, String> {
        let packages = self
            .packages
            .iter()
            .map(|package| (format!("package {}", package.name), format!("{} {}", package.version, package.files)));
        let absent = self.absent.keys().map(|name| (format!("package {name}"), "absent".to_owned()));
        let interpreter = ("interpreter".to_owned(), self.interpreter.clone());
        packages.chain(absent).chain([interpreter]).collect()
    }
}

impl Package {
    fn record(&self) -> PathBuf {
        self.metadata.join("RECORD")
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn package(installed: &Installed) -> Result<Package, PackageError> {
    let mut package = Package {
        name: normal(&installed.name),
        version: installed.version.clone(),
        files: Digest::of(b""),
        root: installed.root.clone(),
        metadata: installed.metadata.clone(),
    };
    package.files = files::digest(&files::read(&package)?, &package)?;
    Ok(package)
}

fn normal(name: &str) -> String {
    PackageName::new(name.to_owned()).map_or_else(|_| name.to_lowercase(), |name| name.to_string())
}

/// The named packages and all that they require.
struct Closure<'a> {
    members: BTreeMap<String, &'a Installed>,
    absent: BTreeMap<String, String>,
}

impl<'a> Closure<'a> {
    fn of(python: &Path, wanted: &[String], answer: &'a Answer) -> Result<Closure<'a>, PackageError> {
        // Where a name is installed twice, the first on the path is the one that is imported.
        let mut installed: BTreeMap<String, &Installed> = BTreeMap::new();
        for one in &answer.packages {
            installed.entry(normal(&one.name)).or_insert(one);
        }
        let mut queue = VecDeque::new();
        for text in wanted {
            let requirement =
                Requirement::<VerbatimUrl>::from_str(text).map_err(|_| PackageError::BadName(text.clone()))?;
            let name = requirement.name.to_string();
            let found = installed
                .get(&name)
                .ok_or_else(|| PackageError::Missing { name: name.clone(), python: python.to_owned() })?;
            check_version(python, text, &requirement, found)?;
            queue.push_back((name, requirement.extras));
        }
        let mut closure = Closure { members: BTreeMap::new(), absent: BTreeMap::new() };
        let mut seen: BTreeSet<(String, Vec<ExtraName>)> = BTreeSet::new();
        while let Some((name, extras)) = queue.pop_front() {
            if !seen.insert((name.clone(), extras.clone())) {
                continue;
            }
            let Some(member) = installed.get(&name) else { continue };
            closure.members.insert(name.clone(), member);
            for line in &member.requires {
                let requirement =
                    Requirement::<VerbatimUrl>::from_str(line).map_err(|error| PackageError::Requirement {
                        package: name.clone(),
                        line: line.clone(),
                        why: error.message.to_string(),
                    })?;
                if !requirement.evaluate_markers(&answer.markers, &extras) {
                    continue;
                }
                let needed = requirement.name.to_string();
                if !installed.contains_key(&needed) {
                    closure.absent.entry(needed.clone()).or_insert_with(|| name.clone());
                }
                queue.push_back((needed, requirement.extras));
            }
        }
        Ok(closure)
    }
}

fn check_version(
    python: &Path,
    wanted: &str,
    requirement: &Requirement<VerbatimUrl>,
    found: &Installed,
) -> Result<(), PackageError> {
    let Some(VersionOrUrl::VersionSpecifier(versions)) = &requirement.version_or_url else { return Ok(()) };
    match Version::from_str(&found.version) {
        Ok(version) if versions.contains(&version) => Ok(()),
        _ => Err(PackageError::Version {
            name: requirement.name.to_string(),
            installed: found.version.clone(),
            wanted: wanted.to_owned(),
            python: python.to_owned(),
        }),
    }
}

#[cfg(test)]
#[path = "host_packages/tests.rs"]
mod tests;
