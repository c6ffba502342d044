//! The runs that the store remembers: the one place that reads and writes them.
//!
//! It knows records and the store, and nothing of steps that are still to run.

use std::collections::{BTreeMap, BTreeSet};

use pipe_cache::{Digest, Kind, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::lookup;
use crate::key::{Leaf, Manifest};
use crate::record::{FORMAT, RunRecord, Session};

/// One run that the store remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The digest of its record, whose first digits name it.
    pub id: Digest,
    pub record: RunRecord,
}

/// The key under which the runs of a pipeline are kept.
pub fn run_key(pipeline: &str) -> Digest {
    Digest::derive("pipe 2026 run v1", pipeline.as_bytes())
}

/// Keeps a run, whose steps are a `BTreeMap<String, RunStep>` once they are read.
pub fn remember(store: &Store, record: &RunRecord<impl Serialize>) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    store.append(Kind::Run, &run_key(&record.pipeline), &bytes)
}

/// What is asked of the newest run each time something is to run: much less than a record holds.
#[derive(Debug, Deserialize)]
pub struct Brief {
    format: u32,
    pub steps: BTreeMap<String, BriefStep>,
}

/// One step of a [`Brief`].
#[derive(Debug, Deserialize)]
pub struct BriefStep {
    pub key: Digest,
    pub state: String,
}

/// The newest run of a pipeline.
pub fn last(store: &Store, pipeline: &str) -> Result<Option<Brief>, StoreError> {
    let bytes = store.last(Kind::Run, &run_key(pipeline))?;
    let brief = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(brief.filter(|brief: &Brief| brief.format == FORMAT))
}

/// All runs of a pipeline, the newest first.
pub fn of(store: &Store, pipeline: &str) -> Result<Vec<Run>, StoreError> {
    Ok(newest_first(store.all(Kind::Run, &run_key(pipeline))?.iter().filter_map(|bytes| run(bytes)).collect()))
}

/// All runs, the newest first.
pub fn all(store: &Store) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    store.scan(Kind::Run, |_, bytes| runs.extend(run(bytes)))?;
    Ok(newest_first(runs))
}

/// From the order of writing to the newest first.
fn newest_first(mut runs: Vec<Run>) -> Vec<Run> {
    // The log is in the order of time already, but for runs that ended at the same moment or came from elsewhere.
    runs.reverse();
    runs.sort_by_key(|run| std::cmp::Reverse(run.record.started));
    // Equal runs of one second are one: their records have the same bytes.
    runs.dedup_by_key(|run| run.id);
    runs
}

/// All sessions by their question, each in the order in which it was written. A run's are those that [`of_run`] takes.
pub fn sessions(store: &Store) -> Result<BTreeMap<Digest, Vec<Session>>, StoreError> {
    let mut all: BTreeMap<Digest, Vec<Session>> = BTreeMap::new();
    store.scan(Kind::Session, |_, bytes| {
        if let Ok(session) = serde_json::from_slice::<Session>(bytes)
            && session.format == FORMAT
        {
            all.entry(session.question).or_default().push(session);
        }
    })?;
    Ok(all)
}

/// The sample sets that a run's comparisons looked at, as their keys saw them: this and nothing else is in its report.
pub fn compared(store: &Store, run: &RunRecord) -> Result<BTreeSet<String>, StoreError> {
    let mut seen = BTreeSet::new();
    for step in run.steps.values() {
        let bytes = store.last(Kind::Manifest, &step.key)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(manifest) = text.and_then(|text| Manifest::parse(&text)) else { continue };
        let is = |leaf: &Leaf| leaf.path == "action" && leaf.value.starts_with("compare ");
        if manifest.leaves().iter().any(is) {
            seen.extend(manifest.leaves().iter().filter(|l| l.path.starts_with("cell.")).map(|l| l.value.clone()));
        }
    }
    Ok(seen)
}

/// The sample set of a question as a run saw it: the one that its comparisons looked at; where none did, that of its
/// machine without what began after its end.
pub fn of_run(sessions: &[Session], run: &RunRecord, compared: &BTreeSet<String>) -> Vec<Session> {
    let ours = |session: &&Session| run.machine.as_ref().is_none_or(|machine| *machine == session.facts.machine);
    let ours: Vec<&Session> = sessions.iter().filter(ours).collect();
    let upto = (1..=ours.len()).rev().map(|end| current(ours[..end].iter().copied()));
    let looked_at = |set: &Vec<Session>| {
        set.last().is_some_and(|last| compared.contains(&lookup::sessions_text(&last.question, set)))
    };
    if let Some(set) = upto.into_iter().find(looked_at) {
        return set;
    }
    // The second in which the run ended: a run remembers its begin as that, less whole seconds.
    let end = run.started + run.wall_ns.unwrap_or(0) / 1_000_000_000;
    current(ours.into_iter().filter(|session| session.started <= end))
}

/// The sample set that a machine has last: from its last fresh session onward, without the invalid ones.
pub fn current<'a>(sessions: impl Iterator<Item = &'a Session>) -> Vec<Session> {
    let mut sets: BTreeMap<Digest, Vec<Session>> = BTreeMap::new();
    for session in sessions.filter(|session| !session.cautions.iter().any(|caution| caution.code.is_invalid())) {
        let set = sets.entry(session.machine).or_default();
        if session.fresh {
            set.clear();
        }
        set.push(session.clone());
    }
    // Another container runtime is another machine: the one that measured last counts.
    sets.into_values().max_by_key(|set| set.last().map(|session| session.started)).unwrap_or_default()
}

fn run(bytes: &[u8]) -> Option<Run> {
    Some(Run { id: Digest::of(bytes), record: read(bytes)? })
}

fn read(bytes: &[u8]) -> Option<RunRecord> {
    serde_json::from_slice(bytes).ok().filter(|record: &RunRecord| record.format == FORMAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let key = Digest::of(b"key");
        let old = format!(
            r#"{{"format":1,"pipeline":"p","started":7,"steps":{{"a":{{"key":"{key}","state":"ran","origins":{{}}}}}}}}"#
        );
        let record = read(old.as_bytes()).expect("it is read");
        assert_eq!((record.exit, record.machine, record.flags.len()), (None, None, 0));
        assert_eq!(record.steps["a"].said, None);
        assert_eq!(read(old.replace("\"format\":1", "\"format\":99").as_bytes()), None);
    }
}
