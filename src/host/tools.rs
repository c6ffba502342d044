//! Programs of the host: which file a name really means, its version, and the folders it lives in.
//!
//! A name on the search path is often a shim: pyenv's shell script, or rustup's proxy. Inside a sandbox a shim
//! finds nothing, and its bytes say nothing about what it starts, so the real program is looked for once, by
//! asking it. Asking starts processes; what it gave is plain data with a [`Stamp`] of all that steered it, and as
//! long as the stamp holds ([`Found::is_current`]) nobody needs to ask again.
//!
//! Programs that tell their version (`python3`, `cargo`, `rustc`, C and C++ compilers) are known by it, so that
//! two machines agree; any other is known by the digest of its bytes. This module reads no environment: the
//! caller gives it the variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) mod ask;
mod known;

/// The version of [`Found`] on disk.
pub const FORMAT: u32 = 1;

/// Why a tool can't be used.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The name is on no folder of the search path.
    #[error("`{name}` is not installed: {remedy}")]
    Missing { name: String, remedy: String },
    /// The name is no name.
    #[error("`{0}` is no name of a tool: write a name without folders, as in `python3`")]
    BadName(String),
    /// A shim or a program can't be started, or answers nonsense.
    #[error("`{}` does not tell what it is: {why}; try `{command}` in a terminal", program.display())]
    Silent { program: PathBuf, command: String, why: String },
    /// A file can't be read.
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// A program of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The name that pipelines use: `python3`.
    pub name: String,
    /// The program behind every shim; its path is part of no key.
    pub real: PathBuf,
    /// What a key sees: `Python 3.11.7`, or `blake3:…` of the bytes of a program that tells no version.
    pub version: String,
    /// Folders that a sandbox must show for it to run; none for a program of the system's own folders.
    pub roots: Vec<PathBuf>,
}

/// A tool, and what must stay as it is for it to be that tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub format: u32,
    pub tool: Tool,
    pub stamp: Stamp,
}

/// The variables of the user's environment that finding tools looks at.
#[derive(Debug, Clone, Default)]
pub struct ToolEnv {
    vars: BTreeMap<String, OsString>,
}

/// The search path and home folder, and what steers the shims.
const VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "PYENV_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CARGO_HOME",
    "VIRTUAL_ENV",
    "DEVELOPER_DIR",
];

impl ToolEnv {
    /// Takes what matters out of `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, OsString)>) -> Self {
        ToolEnv { vars: vars.into_iter().filter(|(name, _)| VARIABLES.contains(&name.as_str())).collect() }
    }

    fn get(&self, name: &str) -> Option<&OsString> {
        self.vars.get(name).filter(|value| !value.is_empty())
    }

    fn folder(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        match self.get(variable) {
            Some(folder) => Some(PathBuf::from(folder)),
            None => self.get("HOME").map(|home| Path::new(home).join(below_home)),
        }
    }

    /// The first executable file of that name on the search path. Relative folders of the path are passed over:
    /// they would mean another program in every folder. So are the links by which a compiler cache stands before
    /// the compiler: a step has no use for a cache outside its own.
    fn search(&self, name: &str) -> Option<PathBuf> {
        let path = self.get("PATH")?;
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|file| is_program(file) && !is_compiler_cache(file))
    }
}

fn is_compiler_cache(path: &Path) -> bool {
    const CACHES: &[&str] = &["ccache", "sccache", "distcc", "icecc"];
    let target = path.canonicalize().ok();
    let target = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    target.is_some_and(|target| CACHES.contains(&target)) && path.file_name().and_then(|name| name.to_str()) != target
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Finds the tool behind a name. It may start the tool and its shim.
pub fn find(name: &str, env: &ToolEnv) -> Result<Found, ToolError> {
    if name.is_empty() || name.contains('/') || name.starts_with('-') || name.contains('\0') {
        return Err(ToolError::BadName(name.escape_debug().to_string()));
    }
    let missing = || ToolError::Missing { name: name.to_owned(), remedy: remedy(name) };
    let file = env.search(name).ok_or_else(missing)?;
    let tool = known::probe(name, &file, env)?;
    let stamp = Stamp::of(&file, &tool.real, env);
    Ok(Found { format: FORMAT, tool, stamp })
}

/// True where the search path has no such program. It starts none.
pub fn is_missing(name: &str, env: &ToolEnv) -> bool {
    env.search(name).is_none()
}

impl Found {
    /// True while nothing changed that decides which program the name means. It starts no process.
    pub fn is_current(&self, env: &ToolEnv) -> bool {
        self.format == FORMAT
            && env.search(&self.tool.name).is_some_and(|file| self.stamp == Stamp::of(&file, &self.tool.real, env))
    }
}

/// All that decides which program a name means: the file on the search path, the real program, the settings of
/// the shims, and the variables that steer them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    found: PathBuf,
    files: Vec<(PathBuf, Option<FileStamp>)>,
    vars: Vec<(String, String)>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Path, real: &Path, env: &ToolEnv) -> Stamp {
        let settings = [
            env.folder("PYENV_ROOT", ".pyenv").map(|folder| folder.join("version")),
            env.folder("RUSTUP_HOME", ".rustup").map(|folder| folder.join("settings.toml")),
        ];
        let files = [Some(found.to_owned()), Some(real.to_owned())].into_iter().chain(settings).flatten();
        let steering = VARIABLES.iter().filter(|name| !matches!(**name, "PATH" | "HOME"));
        Stamp {
            found: found.to_owned(),
            files: files.map(|path| (path.clone(), FileStamp::of(&path))).collect(),
            vars: steering
                .filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_string_lossy().into_owned())))
                .collect(),
        }
    }
}

impl FileStamp {
    pub(crate) fn of(path: &Path) -> Option<FileStamp> {
        let metadata = fs::metadata(path).ok()?;
        Some(FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The command that installs a tool.
pub fn remedy(name: &str) -> String {
    let mac = cfg!(target_os = "macos");
    let command = match (name, mac) {
        ("cargo" | "rustc" | "rustup", _) => {
            "install Rust from https://rustup.rs, then `rustup toolchain install stable`"
        }
        ("cc" | "c++" | "gcc" | "g++" | "make" | "ld" | "ar", true) => "run `xcode-select --install`",
        ("cc" | "gcc" | "ld" | "ar" | "make", false) => "run `apt-get install build-essential`",
        ("c++" | "g++", false) => "run `apt-get install g++`",
        ("clang" | "clang++", false) => "run `apt-get install clang`",
        ("python3" | "python", true) => "run `brew install python`",
        ("python3" | "python", false) => "run `apt-get install python3 python3-pip`",
        ("uv", true) => "run `brew install uv`",
        ("uv", false) => "run `python3 -m pip install uv`",
        ("bwrap", false) => "run `apt-get install bubblewrap`",
        ("docker", true) => "run `brew install --cask docker`",
        ("docker", false) => "run `apt-get install docker.io`",
        (_, true) => return format!("run `brew install {name}`, or put it on the search path"),
        (_, false) => return format!("run `apt-get install {name}`, or put it on the search path"),
    };
    command.to_owned()
}

/// The name of a program that is known by its bytes.
fn digest_version(path: &Path) -> Result<String, ToolError> {
    let failed = |source| ToolError::File { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(format!("blake3:{}", hasher.finalize().to_hex())),
            count => hasher.update(&buffer[..count]),
        };
    }
}

#[cfg(test)]
#[path = "tools/tests.rs"]
mod tests;
