//! What a collection keeps and what it may give up: which runs, pins and measurements hold which results, and what
//! each result would cost to make again. Knows nothing of files.

use std::collections::{BTreeMap, BTreeSet};

use pipe_cache::{Candidate, Digest, Entry, Keep, Kind, Store, StoreError};

use crate::exec::history::{self, Run};
use crate::key::Manifest;
use crate::record::{FORMAT, Pin, Session, StepRecord};

/// Bytes a second of a network that nobody would call slow: what was downloaded counts at least that long.
const NETWORK: f64 = 10e6;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Bytes that the store may have.
    pub most: Option<u64>,
    /// So many of the last runs of each pipeline hold their results.
    pub keep_runs: Option<usize>,
    /// Runs of the last so many seconds hold theirs too.
    pub newer_than: Option<u64>,
    /// Measurements may go as well.
    pub sessions: bool,
}

impl Rules {
    /// Whether all results go that no run holds. With a size, they go as far as room is needed.
    fn by_age(&self) -> bool {
        self.most.is_none() && (self.keep_runs.is_some() || self.newer_than.is_some())
    }
}

/// A result that the store has.
#[derive(Debug, Clone)]
pub struct Made {
    pub key: Digest,
    pub entries: Vec<Entry>,
    /// How long it took.
    pub seconds: f64,
    /// Bytes that were downloaded for it.
    pub fetched: u64,
    /// `STEP of PIPELINE`, of the last run that names it.
    pub name: Option<String>,
    /// Runs that the store remembers since then.
    runs_since: usize,
}

impl Made {
    fn new(key: Digest) -> Made {
        Made { key, entries: Vec::new(), seconds: 0.0, fetched: 0, name: None, runs_since: 0 }
    }

    /// Seconds to make it again; what no run has named for long is cheaper, since it is likely not made again at all.
    fn cost(&self) -> f64 {
        let seconds = self.seconds + self.fetched as f64 / NETWORK;
        // What took no time still takes a process.
        (seconds + 0.01) / (1.0 + self.runs_since as f64)
    }
}

/// What a collection shall do, and what to tell of it.
pub struct Choice<'a> {
    pub keep: Keep<'a>,
    /// The results behind the candidates of `keep`, in their order.
    pub candidates: Vec<Made>,
    /// Results that go because no run holds them any more.
    pub aged: Vec<Made>,
}

/// Chooses by the rules. Reads records only.
pub fn choose(store: &Store, rules: Rules, now: u64) -> Result<Choice<'static>, StoreError> {
    let runs = history::all(store)?;
    let pins = pins(store)?;
    let held = held_keys(&runs, &pins, rules, now);
    let mut made = results(store)?;
    for (at, run) in runs.iter().enumerate() {
        for (step, done) in &run.record.steps {
            if let Some(made) = made.get_mut(&done.key).filter(|made| made.name.is_none()) {
                made.name = Some(format!("{step} of {}", run.record.pipeline));
                made.runs_since = at;
            }
        }
    }
    let mut roots = Vec::new();
    let (mut candidates, mut aged, mut gone) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (key, made) in made {
        // A result that no run names is of one that was killed, which will go on from there.
        if held.contains(&key) || (rules.most.is_none() && !(rules.by_age() && made.name.is_some())) {
            roots.extend(made.entries);
        } else if rules.by_age() && made.name.is_some() {
            gone.insert(key);
            aged.push(made);
        } else {
            candidates.push(made);
        }
    }
    let mut dear = BTreeSet::new();
    store.scan(Kind::Session, |key, bytes| {
        let session = serde_json::from_slice::<Session>(bytes).ok();
        // What cannot be read may be of another version: it stays.
        let holds = |session: &Session| !rules.sessions || held.contains(&session.question);
        if session.as_ref().is_none_or(holds) {
            dear.insert(*key);
            roots.extend(session.into_iter().flat_map(|session| session.outputs.into_iter().chain(session.log)));
        }
    })?;
    let kept_runs = kept_runs(&runs, &pins, rules, now);
    let record = move |kind: Kind, key: &Digest, payload: &[u8]| match kind {
        Kind::Record | Kind::Manifest => !gone.contains(key),
        Kind::Session => dear.contains(key),
        Kind::Run => kept_runs.as_ref().is_none_or(|kept| kept.contains(&Digest::of(payload))),
        _ => true,
    };
    let offered =
        candidates.iter().map(|made| Candidate { key: made.key, entries: made.entries.clone(), cost: made.cost() });
    let keep = Keep { roots, record: Box::new(record), candidates: offered.collect(), most: rules.most };
    Ok(Choice { keep, candidates, aged })
}

/// All results by key. Of several under one key the last one counts, and what any of them holds goes with it.
fn results(store: &Store) -> Result<BTreeMap<Digest, Made>, StoreError> {
    let mut made: BTreeMap<Digest, Made> = BTreeMap::new();
    store.scan(Kind::Record, |key, bytes| {
        if let Ok(record) = serde_json::from_slice::<StepRecord>(bytes)
            && record.format == FORMAT
        {
            let entry = made.entry(*key).or_insert_with(|| Made::new(*key));
            entry.seconds = record.usage.wall_ns as f64 / 1e9;
            entry.entries.push(record.output);
            entry.entries.extend(record.log);
        }
    })?;
    let mut fetches = Vec::new();
    store.scan(Kind::Manifest, |key, bytes| {
        let manifest = std::str::from_utf8(bytes).ok().and_then(Manifest::parse);
        let is_fetch = |manifest: Manifest| manifest.leaves().iter().any(|l| l.path == "class" && l.value == "fetch");
        if manifest.is_some_and(is_fetch) {
            fetches.push(*key);
        }
    })?;
    for key in fetches {
        if let Some(made) = made.get_mut(&key) {
            let output = made.entries.first().map(|entry| store.totals(entry));
            made.fetched = output.and_then(Result::ok).map_or(0, |totals| totals.bytes);
        }
    }
    Ok(made)
}

/// Digests of runs and keys that a person holds on to, with their names.
pub fn pins(store: &Store) -> Result<BTreeMap<Digest, String>, StoreError> {
    let mut pins = BTreeMap::new();
    store.scan(Kind::Pin, |digest, bytes| match serde_json::from_slice::<Pin>(bytes) {
        Ok(Pin { pinned: false, .. }) => drop(pins.remove(digest)),
        Ok(pin) => drop(pins.insert(*digest, pin.name)),
        // A pin of another version holds: what it meant to let go can be let go again.
        Err(_) => drop(pins.insert(*digest, "a pin of another version".to_owned())),
    })?;
    Ok(pins)
}

/// The keys whose results stay whatever the rules say: pinned ones, and those of the last runs.
fn held_keys(runs: &[Run], pins: &BTreeMap<Digest, String>, rules: Rules, now: u64) -> BTreeSet<Digest> {
    let last = last_runs(runs, rules, now);
    let held = runs.iter().filter(|run| last.contains(&run.id) || pins.contains_key(&run.id));
    held.flat_map(|run| run.record.steps.values().map(|step| step.key)).chain(pins.keys().copied()).collect()
}

/// The runs that stay remembered; `None` where all do.
fn kept_runs(runs: &[Run], pins: &BTreeMap<Digest, String>, rules: Rules, now: u64) -> Option<BTreeSet<Digest>> {
    rules.by_age().then(|| last_runs(runs, rules, now).into_iter().chain(pins.keys().copied()).collect())
}

/// The last runs of each pipeline, and those that are young enough. An age is counted from the newest run or from now,
/// whichever is earlier: a clock that went ahead makes nothing old.
fn last_runs(runs: &[Run], rules: Rules, now: u64) -> BTreeSet<Digest> {
    let newest = runs.iter().map(|run| run.record.started).max().unwrap_or(0).min(now);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut last = BTreeSet::new();
    for run in runs {
        let count = seen.entry(&run.record.pipeline).or_default();
        let young = rules.newer_than.is_some_and(|age| run.record.started.saturating_add(age) >= newest);
        if *count < rules.keep_runs.unwrap_or(1) || young {
            last.insert(run.id);
        }
        *count += 1;
    }
    last
}

/// What a record speaks of.
pub fn holds(kind: Kind, payload: &[u8]) -> Vec<Entry> {
    match kind {
        Kind::Record => match serde_json::from_slice::<StepRecord>(payload) {
            Ok(record) if record.format == FORMAT => std::iter::once(record.output).chain(record.log).collect(),
            _ => Vec::new(),
        },
        Kind::Session => match serde_json::from_slice::<Session>(payload) {
            Ok(session) => session.outputs.into_iter().chain(session.log).collect(),
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RunRecord;

    fn run(pipeline: &str, started: u64) -> Run {
        let pipeline_name = pipeline.to_owned();
        let record = RunRecord { format: FORMAT, pipeline: pipeline_name, started, ..RunRecord::default() };
        Run { id: Digest::of(format!("{pipeline} {started}").as_bytes()), record }
    }

    /// Runs as `pipeline@second`, the newest first; gives those that are held.
    fn check(runs: &[(&str, u64)], rules: Rules, now: u64, expect: &[(&str, u64)]) {
        let made: Vec<Run> = runs.iter().map(|(pipeline, started)| run(pipeline, *started)).collect();
        let last = last_runs(&made, rules, now);
        let found: Vec<(&str, u64)> = runs.iter().filter(|(p, at)| last.contains(&run(p, *at).id)).copied().collect();
        assert_eq!(found, expect, "{rules:?} at {now}");
    }

    #[test]
    fn the_last_runs_of_each_pipeline_hold() {
        let runs = [("a", 50), ("a", 40), ("b", 30), ("a", 20), ("b", 10)];
        check(&runs, Rules::default(), 60, &[("a", 50), ("b", 30)]);
        let two = Rules { keep_runs: Some(2), ..Rules::default() };
        check(&runs, two, 60, &[("a", 50), ("a", 40), ("b", 30), ("b", 10)]);
        check(&runs, Rules { keep_runs: Some(0), ..Rules::default() }, 60, &[]);
        let young = Rules { keep_runs: Some(0), newer_than: Some(15), ..Rules::default() };
        check(&runs, young, 60, &[("a", 50), ("a", 40)]);
    }

    #[test]
    fn a_clock_that_is_wrong_makes_nothing_old() {
        let young = Rules { keep_runs: Some(0), newer_than: Some(15), ..Rules::default() };
        let ten_years = 10 * 365 * 86_400;
        let runs = [("a", ten_years), ("a", ten_years - 10)];
        check(&runs, young, 2 * ten_years, &runs);
        check(&runs, young, 5, &runs);
    }
}
