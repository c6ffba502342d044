//! What a case left behind: processes, mounts, containers. They are told by the name of the case's folder, which is in
//! a process's arguments, environment, working folder, open files, or the mounts of a namespace of its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::verdict::{Bad, Rule};

/// A process that belongs to a case.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub command: String,
}

/// All processes that have to do with the folder of this name, but for ourselves.
pub fn processes(mark: &str) -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if pid.cast_unsigned() == std::process::id() {
            continue;
        }
        let path = entry.path();
        let text = |name: &str| String::from_utf8_lossy(&fs::read(path.join(name)).unwrap_or_default()).into_owned();
        let command = text("cmdline").replace('\0', " ");
        let belongs = command.contains(mark)
            || text("environ").contains(mark)
            || link_holds(&path.join("cwd"), mark)
            || (fs::read_link(path.join("ns/mnt")).ok() != own && binds(&text("mountinfo"), mark))
            || opens(&path, mark);
        // A process that nobody has waited for yet has ended: it holds nothing but its number.
        let ended = text("stat").rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
        if belongs && !ended {
            found.push(Process { pid, command });
        }
    }
    found
}

fn link_holds(path: &Path, mark: &str) -> bool {
    fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains(mark))
}

/// Whether a folder of the case is mounted elsewhere, as a sandbox does. Mounts inside the folder are our own disks.
fn binds(table: &str, mark: &str) -> bool {
    table.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        root.contains(mark) && !point.contains(mark)
    })
}

fn opens(process: &Path, mark: &str) -> bool {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().any(|entry| link_holds(&entry.path(), mark))
}

/// Waits until no process of the case is left, and says which are when the time is up. Those are then ended, so that
/// the next case begins clean.
pub fn wait(mark: &str, limit: Duration) -> Vec<Bad> {
    let until = Instant::now() + limit;
    loop {
        let left = processes(mark);
        if left.is_empty() {
            return mounts(mark);
        }
        if Instant::now() >= until {
            for process in &left {
                if let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            let names: Vec<String> =
                left.iter().map(|process| format!("{} {}", process.pid, shortened(&process.command))).collect();
            return vec![Bad::new(Rule::Left, format!("after {limit:?} there are still processes: {names:#?}"))];
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Mounts inside the folder; those that a scenario made itself are mounted on a folder called `disk`.
fn mounts(mark: &str) -> Vec<Bad> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let left: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.contains(mark) && !point.ends_with("/disk"))
        .collect();
    if left.is_empty() { Vec::new() } else { vec![Bad::new(Rule::Left, format!("mounts are left: {left:?}"))] }
}
