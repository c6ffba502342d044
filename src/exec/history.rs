//! The runs that the store remembers: the one place that reads and writes them.
//!
//! It knows records and the store, and nothing of steps that are still to run.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Kind, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::record::{FORMAT, RunRecord};

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
