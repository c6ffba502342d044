//! Runs and keys of the past, by the short names that people type: what `runs`, `show` and `log` look things up in.

use pipe_cache::{Digest, Kind, Store, StoreError};

use super::output::note;
use super::{exit, explain};
use crate::key::Manifest;
use crate::record::{FORMAT, RunRecord, Session, StepRecord};

/// The fewest digits by which a run or a key can be named.
const FEWEST: usize = 4;

/// One run that the store remembers.
pub struct Run {
    /// The digest of its record, whose first digits name it.
    pub id: Digest,
    pub record: RunRecord,
}

/// All runs, the newest first.
pub fn runs(store: &Store) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    store.scan(Kind::Run, |_, bytes| {
        if let Ok(record) = serde_json::from_slice::<RunRecord>(bytes)
            && record.format == FORMAT
        {
            runs.push(Run { id: Digest::of(bytes), record });
        }
    })?;
    // The log is in the order of time already, but for runs that ended at the same moment.
    runs.reverse();
    runs.sort_by_key(|run| std::cmp::Reverse(run.record.started));
    // Equal runs of one second are one: their records have the same bytes.
    runs.dedup_by_key(|run| run.id);
    Ok(runs)
}

/// What a name may mean.
pub enum Named {
    Run(Box<Run>),
    Key(Digest),
}

/// The run or the key that a person names: by its first digits, or a step of the newest run that has one of that
/// name. Says what is wrong otherwise.
pub fn named(store: &Store, name: &str) -> Result<Named, u8> {
    let runs = runs(store).map_err(fault)?;
    let digits = name.len() >= FEWEST && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut found: Vec<Named> = Vec::new();
    let mut shown: Vec<String> = Vec::new();
    if digits {
        let starts = |digest: &Digest| digest.to_string().starts_with(name);
        let mut keys: Vec<Digest> = store.keys(Kind::Manifest).map_err(fault)?;
        keys.extend(store.keys(Kind::Record).map_err(fault)?);
        keys.retain(starts);
        keys.sort_unstable();
        keys.dedup();
        shown.extend(keys.iter().map(|key| format!("key {key}")));
        found.extend(keys.into_iter().map(Named::Key));
        let (hits, rest): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| starts(&run.id));
        shown.extend(hits.iter().map(|run| format!("run {} of `{}`", run.id.short(), run.record.pipeline)));
        found.extend(hits.into_iter().map(|run| Named::Run(Box::new(run))));
        if found.is_empty() {
            return step(&rest, name);
        }
    } else {
        return step(&runs, name);
    }
    match found.pop() {
        Some(only) if found.is_empty() => Ok(only),
        _ => {
            note(&format!("pipe: `{name}` begins the names of several; write more digits of the one you mean:"));
            shown.iter().for_each(|line| note(&format!("  {line}")));
            Err(exit::USAGE)
        }
    }
}

/// The key that a step had in the newest run with a step of that name.
fn step(runs: &[Run], name: &str) -> Result<Named, u8> {
    if let Some(step) = runs.iter().find_map(|run| run.record.steps.get(name)) {
        return Ok(Named::Key(step.key));
    }
    let names: Vec<&str> = runs.iter().flat_map(|run| run.record.steps.keys()).map(String::as_str).collect();
    let near = crate::diag::nearest(name, names.iter().copied());
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    note(&format!("pipe: the store knows no run, no key and no step `{name}`{hint}"));
    note("  help: `pipe runs` lists the runs; a run or a key is named by its first digits, at least 4 of them");
    Err(exit::USAGE)
}

/// What a key stands for.
pub struct Past {
    pub manifest: Option<Manifest>,
    pub record: Option<StepRecord>,
    /// Of a measurement, on any machine.
    pub sessions: Vec<Session>,
    /// `STEP of PIPELINE`, each once, the newest first.
    pub names: Vec<String>,
}

/// Collects what the store has of a key.
pub fn past(store: &Store, key: &Digest) -> Result<Past, StoreError> {
    let manifest = store.last(Kind::Manifest, key)?;
    let manifest = manifest.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Manifest::parse(&text));
    let record = store.last(Kind::Record, key)?;
    let record = record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut sessions = Vec::new();
    store.scan(Kind::Session, |_, bytes| {
        if let Ok(session) = serde_json::from_slice::<Session>(bytes)
            && session.question == *key
        {
            sessions.push(session);
        }
    })?;
    let mut names: Vec<String> = Vec::new();
    for run in runs(store)? {
        for (name, _) in run.record.steps.iter().filter(|(_, step)| step.key == *key) {
            let shown = format!("{name} of {}", run.record.pipeline);
            if !names.contains(&shown) {
                names.push(shown);
            }
        }
    }
    Ok(Past { manifest, record, sessions, names })
}

/// A time of day and date, here.
pub fn when(seconds: u64) -> String {
    let stamp = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match stamp {
        Some(stamp) => stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "at an unknown time".to_owned(),
    }
}

/// A manifest's leaves, a line for each, values cut where they are long.
pub fn leaves(manifest: &Manifest) -> Vec<(String, String)> {
    manifest.leaves().iter().map(|leaf| (leaf.path.clone(), explain::short(&leaf.value))).collect()
}

/// Says that the store is at fault.
pub fn fault(error: StoreError) -> u8 {
    note(&format!("pipe: {error}"));
    exit::FAULT
}
