//! The folder in which a step runs: what lies below `in/`, what the arguments say, what the environment holds.
//!
//! Everything is relative to the folder, so that neither a key nor an output ever sees where it was.
//! Names below `in/` come from the place of an input among the arguments, never from the name of a step.

use std::collections::BTreeMap;
use std::path::Path;

use pipe_cache::Entry;

use super::builtin::network::NetworkEnv;
use crate::key::Contents;
use crate::pipeline::{Arg, Input, Run, places};

/// What a step sees of its inputs.
#[derive(Debug, Default)]
pub struct Layout {
    /// Path below the folder → content.
    pub mounts: Vec<(String, Entry)>,
    /// Files that travel in the binary, written into the folder: path and bytes.
    pub files: Vec<(String, &'static [u8])>,
    /// Secrets that lie below the folder as well, by path and name.
    pub secrets: Vec<(String, String)>,
    names: Vec<(Input, String)>,
}

/// The inputs can't be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Two inputs want the same name below `in/`.
    #[error("two inputs are called `{0}` below `in/`; rename one of the files, or give one another name with `as=`")]
    Clash(String),
    /// Without it the step would do something else than its key says.
    #[error("what belongs at `{0}` is not known, so the step was not started; run again")]
    Unknown(String),
}

impl Layout {
    /// The layout of a `run` step whose inputs are all known, and whose secrets lie in `secrets` as it sees them.
    pub fn of(run: &Run, contents: &dyn Contents, secrets: &Path) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        for (input, at) in places(run) {
            if let Input::Secret { name } = input {
                let inside = at.starts_with("in/");
                let path = if inside { at.clone() } else { secrets.join(name).to_string_lossy().into_owned() };
                layout.secrets.extend(inside.then(|| (at, name.clone())));
                layout.names.push((input.clone(), path));
                continue;
            }
            layout.place(input, at, contents)?;
        }
        Ok(layout)
    }

    fn place(&mut self, input: &Input, at: String, contents: &dyn Contents) -> Result<(), LayoutError> {
        if self.names.iter().any(|(other, name)| *name == at && other != input) {
            return Err(LayoutError::Clash(at.trim_start_matches("in/").to_owned()));
        }
        match input {
            Input::Embedded { bytes, .. } => self.files.push((at.clone(), bytes)),
            other => {
                let entry = contents.entry(other).ok_or_else(|| LayoutError::Unknown(at.clone()))?;
                self.mounts.push((at.clone(), entry));
            }
        }
        self.names.push((input.clone(), at));
        Ok(())
    }

    /// Where an input lies, relative to the folder.
    pub fn path(&self, input: &Input) -> Option<&str> {
        self.names.iter().find(|(other, _)| other == input).map(|(_, path)| path.as_str())
    }

    /// The text of an argument.
    pub fn text(&self, arg: &Arg) -> String {
        match arg {
            Arg::Value(value) => value.to_string(),
            Arg::Input(input) => self.path(input).unwrap_or_default().to_owned(),
            Arg::Output(path) if path.is_empty() => "out".to_owned(),
            Arg::Output(path) => format!("out/{path}"),
            Arg::Joined(parts) => parts.iter().map(|part| self.text(part)).collect(),
        }
    }
}

/// True where the disk of a folder has no room left: what was written there last may be cut off, whatever its writer
/// said of it.
pub fn disk_is_full(folder: &Path) -> bool {
    /// Less than this is no room for anything.
    const NOTHING: u64 = 64 << 10;
    let Ok(disk) = rustix::fs::statvfs(folder) else { return false };
    // Some of the blocks are for root alone.
    let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    let no_blocks = disk.f_blocks > 0 && blocks.saturating_mul(disk.f_frsize) < NOTHING;
    let inodes_are_gone = disk.f_files > 0 && disk.f_ffree == 0;
    no_blocks || inodes_are_gone
}

/// The environment that every step starts from, whatever the caller's is. `root` is the step's folder as the
/// step itself sees it.
pub fn fixed_env(root: &str) -> BTreeMap<String, String> {
    let fixed = [
        ("TZ", "UTC"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        // Inside a sandbox there is no list of users to look one up in.
        ("USER", "pipe"),
        ("LOGNAME", "pipe"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        // The first day that a zip archive can hold.
        ("SOURCE_DATE_EPOCH", "315532800"),
        // Sums depend on how many threads add them up.
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ];
    let mut env: BTreeMap<String, String> = fixed.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    env.insert("HOME".to_owned(), format!("{root}/tmp"));
    env.insert("TMPDIR".to_owned(), format!("{root}/tmp"));
    env
}

/// Variables of the caller that a fetch step sees: how this user reaches the network. They are in no key. The
/// step keeps a home and a search path of its own.
pub fn network_env(caller: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const OWN: [&str; 6] = ["PATH", "HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "NETRC"];
    const CARGO: [&str; 4] = ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"];
    caller
        .iter()
        .filter(|(name, _)| {
            let tools = NetworkEnv::wants(name) && !OWN.contains(&name.as_str());
            tools || CARGO.iter().any(|prefix| name.starts_with(prefix))
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Settings files of the user's package tools, relative to the home folder; a fetch step gets copies of them
/// in its own.
pub const NETWORK_FILES: [&str; 4] =
    [".cargo/config.toml", ".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml"];
