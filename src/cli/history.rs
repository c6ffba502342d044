//! Runs and keys of the past, by the short names that people type: what `runs`, `show` and `log` look things up in.

use pipe_cache::{Digest, Kind, Store, StoreError};

use super::output::note;
use super::{exit, explain};
use crate::exec::history::{self, Run};
use crate::exec::share::Origin;
use crate::key::Manifest;
use crate::record::{Session, StepRecord};

/// The fewest digits by which a run or a key can be named.
const FEWEST: usize = 4;

/// What a name may mean.
pub enum Named {
    Run(Box<Run>),
    Key(Digest),
}

/// The run or the key that a person names: by its first digits, or a step of the newest run that has one of that
/// name. Says what is wrong otherwise.
pub fn named(store: &Store, name: &str) -> Result<Named, u8> {
    let runs = history::all(store).map_err(fault)?;
    // The newest of all pipelines; `why`, which has a file, counts those of its own.
    if let Some(back) = back(name)
        && !runs.iter().any(|run| run.record.steps.contains_key(name))
    {
        let count = runs.len();
        let run = runs.into_iter().nth(back).ok_or_else(|| few(name, count, "the store remembers"));
        return run.map(|run| Named::Run(Box::new(run)));
    }
    let digits = digits(name);
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

/// The run that a person names: `last`, `last~1` for the one before, or its first digits. `pipeline` is whose runs
/// `last` counts.
pub fn run(store: &Store, pipeline: &str, name: &str) -> Result<Run, u8> {
    if let Some(back) = back(name) {
        let runs = history::of(store, pipeline).map_err(fault)?;
        let count = runs.len();
        let whose = format!("of `{pipeline}` the store remembers");
        return runs.into_iter().nth(back).ok_or_else(|| few(name, count, &whose));
    }
    let runs = history::all(store).map_err(fault)?;
    let mut found: Vec<Run> = match digits(name) {
        true => runs.into_iter().filter(|run| run.id.to_string().starts_with(name)).collect(),
        false => Vec::new(),
    };
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (Some(_), false) => {
            note(&format!("pipe: several runs begin with `{name}`; write more digits of the one you mean"));
            Err(exit::USAGE)
        }
        (None, _) => {
            note(&format!("pipe: the store knows no run `{name}`"));
            note("  help: a run is `last`, `last~1`, or the first digits that `pipe runs` prints, at least 4 of them");
            Err(exit::USAGE)
        }
    }
}

fn few(name: &str, count: usize, remembers: &str) -> u8 {
    let runs = if count == 1 { "run" } else { "runs" };
    note(&format!("pipe: `{name}`: {remembers} {count} {runs}"));
    exit::USAGE
}

/// How many runs before the last: 0 for `last`, 1 for `last~1`.
fn back(name: &str) -> Option<usize> {
    match name.strip_prefix("last")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

fn digits(name: &str) -> bool {
    name.len() >= FEWEST && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `run 0123456789ab of 2026-11-21 15:04:05`.
pub fn run_line(run: &Run) -> String {
    format!("run {} of {}", run.id.short(), when(run.record.started))
}

/// `pack 0123456789ab of my desk (Apple M2, …), written 2026-11-21 15:04:05, imported …`.
pub fn came(origin: &Origin) -> String {
    let (written, imported) = (when(origin.written), when(origin.imported));
    format!("pack {} of {}, written {written}, imported {imported}", origin.pack.short(), origin.from())
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

/// The record of a key.
pub fn step_record(store: &Store, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
    let record = store.last(Kind::Record, key)?;
    Ok(record.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The sessions of a question, on any machine, the oldest first.
pub fn sessions(store: &Store, key: &Digest) -> Result<Vec<Session>, StoreError> {
    let mut sessions = Vec::new();
    store.scan(Kind::Session, |_, bytes| {
        if let Ok(session) = serde_json::from_slice::<Session>(bytes)
            && session.question == *key
        {
            sessions.push(session);
        }
    })?;
    Ok(sessions)
}

/// Collects what the store has of a key.
pub fn past(store: &Store, key: &Digest) -> Result<Past, StoreError> {
    let manifest = super::cause::stored_manifest(store, key)?;
    let record = step_record(store, key)?;
    let sessions = sessions(store, key)?;
    let mut names: Vec<String> = Vec::new();
    for run in history::all(store)? {
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
