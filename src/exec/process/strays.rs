//! Processes of a step that nobody holds any more: they had left its group and its session, and then its supervisor was
//! killed, which was the only one to know them.
//!
//! They are told by the private home or the folder for temporary files that each step gets, which is theirs alone and
//! which children inherit. A `pipe` that loses a supervisor ends them; where it was killed as well, the next one that
//! opens the store does. At level `strict` they end with their namespace. One that has cleared its environment, or whose
//! pipeline gives it both a `HOME` and a `TMPDIR`, is not found. Other systems than Linux are asked for nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use pipe_cache::Store;
use rustix::process::{Pid, Signal};

/// How long to try to end what will not die.
const LIMIT: Duration = Duration::from_secs(2);

/// Ends what killed runs left in scratch folders of this store that were just removed.
pub fn sweep(store: &Store) {
    store.swept().iter().for_each(|folder| end(folder));
}

/// Ends all processes whose home, or folder for temporary files, lies in this one.
pub fn end(folder: &Path) {
    let until = Instant::now() + LIMIT;
    loop {
        let found = of(folder);
        for pid in &found {
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        // Who forked just before it was listed is met in the next round.
        if found.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn of(folder: &Path) -> Vec<Pid> {
    let marks = ["HOME", "TMPDIR"].map(|name| format!("{name}={}/", folder.display()).into_bytes());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| *pid != rustix::process::getpid()) else {
            continue;
        };
        // Of others' processes, and of ended ones, nothing can be read.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|value| marks.iter().any(|mark| value.starts_with(mark))) {
            found.push(pid);
        }
    }
    found
}
