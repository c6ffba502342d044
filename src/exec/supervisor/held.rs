//! Files with secrets, held for as long as a child and its descendants live.
//!
//! The supervisor makes and removes them, since it outlives a `pipe` that is killed. Should it be killed itself, `pipe`
//! removes the folder; should both be, the next child with secrets removes what they left.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::wire::Secrets;

/// How the folders are named: this, the number of the `pipe` that made it, and something random.
pub const PREFIX: &str = "pipe-secrets-";

/// Where the folders are: in memory, where the system has such a place.
pub fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Keeps the process out of core dumps from now on: it holds a value.
pub fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // A process that may not change these has limits that are as low already.
    let maximum = getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The files of one child; dropping this removes them.
#[derive(Debug)]
pub struct Held {
    folder: PathBuf,
}

impl Held {
    /// Writes the files.
    pub fn make(secrets: &Secrets) -> io::Result<Held> {
        no_core_dumps();
        sweep(&secrets.folder);
        match DirBuilder::new().mode(0o700).create(&secrets.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let held = Held { folder: secrets.folder.clone() };
        for (name, value) in &secrets.files {
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o400).open(held.folder.join(name))?;
            file.write_all(value)?;
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may be gone already: whoever made the folder removes it as well.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Removes folders beside `own` that belong to this user and to a `pipe` that is gone.
fn sweep(own: &Path) {
    let Some(entries) = own.parent().and_then(|place| std::fs::read_dir(place).ok()) else { return };
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<i32>().ok());
        let Some(owner) = owner.and_then(Pid::from_raw) else { continue };
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == me);
        let gone = rustix::process::test_kill_process(owner) == Err(rustix::io::Errno::SRCH);
        if ours && gone && entry.path() != own {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_and_go_away() {
        let place = tempfile::tempdir().unwrap();
        let stale = place.path().join(format!("{PREFIX}999999999-abc"));
        let live = place.path().join(format!("{PREFIX}{}-abc", std::process::id()));
        std::fs::create_dir(&stale).unwrap();
        std::fs::create_dir(&live).unwrap();
        let folder = place.path().join(format!("{PREFIX}{}-own", std::process::id()));
        let secrets = Secrets { folder: folder.clone(), files: vec![("A".to_owned(), b"hunter22".to_vec())] };
        assert!(!format!("{secrets:?}").contains("104"));
        let held = Held::make(&secrets).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("A"))), (0o700, 0o400));
        assert_eq!(std::fs::read(folder.join("A")).unwrap(), b"hunter22");
        assert!(!stale.exists() && live.exists());
        drop(held);
        assert!(!folder.exists());
    }
}
