//! Containers of runs that are no more.
//!
//! A container is labelled with the process that owns it: the run, the machine as far as process numbers mean
//! the same there, the process's number, and when that process started, so that a number which was given out
//! again is told apart. Containers whose owner lives on another machine are left alone.

#![expect(clippy::disallowed_types, reason = "the runtime's client asks for them, and their order matters to none")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::error::RuntimeError;
use super::{ANSWER_LIMIT, Runtime};

const RUN: &str = "pipe.run";
const MACHINE: &str = "pipe.machine";
const PROCESS: &str = "pipe.process";
const STARTED: &str = "pipe.started";
/// The container's own name, by which its events are told from others'.
pub(super) const CONTAINER: &str = "pipe.container";

/// The process that starts containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub run: String,
    machine: String,
    process: u32,
    started: String,
}

/// What was found and removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    pub id: String,
    /// The run that had started it.
    pub run: String,
}

impl Owner {
    /// This process, in run `run`.
    pub fn current(run: impl Into<String>) -> Owner {
        let process = std::process::id();
        Owner { run: run.into(), machine: machine(), process, started: started(process).unwrap_or_default() }
    }

    /// A name for one container of this owner, of letters that runtimes allow.
    pub(super) fn name(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let run: String = self.run.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("pipe-{run}-{}-{}-{count}", self.process, self.started)
    }

    pub(super) fn labels(&self, name: &str) -> HashMap<String, String> {
        [
            (RUN, self.run.clone()),
            (MACHINE, self.machine.clone()),
            (PROCESS, self.process.to_string()),
            (STARTED, self.started.clone()),
            (CONTAINER, name.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn from_labels(labels: &HashMap<String, String>) -> Option<Owner> {
        let label = |name: &str| labels.get(name).cloned();
        Some(Owner {
            run: label(RUN)?,
            machine: label(MACHINE)?,
            process: label(PROCESS)?.parse().ok()?,
            started: label(STARTED)?,
        })
    }

    /// True where the owner was a process of this machine that has ended.
    fn is_dead(&self) -> bool {
        self.machine == machine() && started(self.process).as_deref() != Some(self.started.as_str())
    }
}

impl Runtime {
    /// Removes the containers whose owners have ended, with their volumes.
    pub async fn reap(&self) -> Result<Vec<Reaped>, RuntimeError> {
        self.remove_where(RUN, Owner::is_dead).await
    }

    /// Removes the containers of one run, whoever lives: the way out of an interruption.
    pub async fn remove_run(&self, run: &str) -> Result<Vec<Reaped>, RuntimeError> {
        self.remove_where(&format!("{RUN}={run}"), |_| true).await
    }

    async fn remove_where(&self, label: &str, wanted: impl Fn(&Owner) -> bool) -> Result<Vec<Reaped>, RuntimeError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.within(ANSWER_LIMIT, self.docker.list_containers(Some(options))).await?;
        let mut reaped = Vec::new();
        for container in found {
            let owner = container.labels.as_ref().and_then(Owner::from_labels);
            let (Some(id), Some(owner)) = (container.id, owner) else {
                continue;
            };
            if wanted(&owner) {
                self.remove(&id).await;
                reaped.push(Reaped { id, run: owner.run });
            }
        }
        Ok(reaped)
    }
}

/// Names the space in which process numbers mean something: one boot of one kernel, one pid namespace.
#[cfg(target_os = "linux")]
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), space.display())
}

/// When a process started, in the kernel's ticks; `None` where there is no such process.
#[cfg(target_os = "linux")]
fn started(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command name may hold blanks and brackets, so fields count from the last closing one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(not(target_os = "linux"))]
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn started(process: u32) -> Option<String> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process).ok()?)?;
    rustix::process::test_kill_process(pid).is_ok().then(String::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_known_again_by_its_labels() {
        let owner = Owner::current("run-1");
        assert_eq!(Owner::from_labels(&owner.labels("one")), Some(owner.clone()));
        assert!(!owner.is_dead());
        assert_ne!(owner.name(), owner.name());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs a process that has ended")]
    fn dead_is_only_who_lived_here() {
        let owner = Owner::current("run-1");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let gone = Owner { process: child.id(), ..owner.clone() };
        assert!(gone.is_dead());
        assert!(!Owner { machine: "another".into(), ..gone }.is_dead());
        // The number lives, and belongs to someone else.
        #[cfg(target_os = "linux")]
        assert!(Owner { started: "1".into(), ..owner }.is_dead());
    }
}
