//! What `pipe why` tells of runs of the past: one beside the run before it, or two beside each other.

use std::collections::{BTreeMap, BTreeSet};

use pipe_cache::{Digest, StoreError};

use super::cause::{Comparison, Side};
use super::history as past;
use super::why::{Hit, Told, unknown};
use crate::exec::history::{self, Run};
use crate::exec::site::Site;
use crate::exec::{lookup, share};
use crate::host::Machine;
use crate::record::RunRecord;

/// Two runs; the older is missing where nothing came before.
pub struct Runs {
    pub old: Option<Run>,
    pub new: Run,
    /// Every run that the store remembers, the newest first.
    all: Vec<Run>,
    /// True where both were named, so that all that differs is asked for, and not only what ran.
    pub between: bool,
}

/// One thing that differs between two runs as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    pub what: String,
    pub old: String,
    pub new: String,
}

impl Runs {
    /// A run, and the one of the same pipeline before it that had this step.
    pub fn with_the_one_before(site: &Site, name: &str, step: Option<&str>) -> Result<Runs, u8> {
        let new = past::run(&site.store, &site.pipeline.name, name)?;
        let all = history::all(&site.store).map_err(past::fault)?;
        let before = all.iter().skip_while(|run| run.id != new.id).skip(1);
        let mut before = before.filter(|run| run.record.pipeline == new.record.pipeline);
        let old = before.find(|run| step.is_none_or(|step| has(&run.record, step))).cloned();
        Ok(Runs { old, new, all, between: false })
    }

    /// Two runs by their names.
    pub fn between(site: &Site, old: &str, new: &str) -> Result<Runs, u8> {
        let named = |name: &str| past::run(&site.store, &site.pipeline.name, name);
        let (old, new) = (named(old)?, named(new)?);
        let all = history::all(&site.store).map_err(past::fault)?;
        Ok(Runs { old: Some(old), new, all, between: true })
    }

    /// The steps of a name, or those that there is something to tell of.
    pub fn steps(&self, site: &Site, name: Option<&str>) -> Result<Vec<String>, u8> {
        let records = || self.old.iter().chain([&self.new]).map(|run| &run.record);
        let all: BTreeSet<&String> =
            records().flat_map(|record| record.steps.keys().chain(record.keyless.keys())).collect();
        let Some(name) = name else {
            let mut steps: Vec<String> = all.into_iter().filter(|step| self.is_of_interest(step)).cloned().collect();
            // Causes come before what follows from them.
            let order = site.pipeline.steps.iter().enumerate();
            let place: BTreeMap<&str, usize> = order.map(|(at, step)| (step.name.as_str(), at)).collect();
            steps.sort_by_key(|step| place.get(step.as_str()).copied());
            return Ok(steps);
        };
        // One of the further names of a step, in the pipeline as it is now.
        let also = site.pipeline.steps.iter().find(|step| step.also.iter().any(|also| also == name));
        if let Some(exact) = all.get(&name.to_owned()).or(also.and_then(|step| all.get(&step.name))) {
            return Ok(vec![(*exact).clone()]);
        }
        let cell = format!("{name}[");
        let cells: Vec<String> =
            all.iter().filter(|step| step.starts_with(&cell)).map(|step| (*step).clone()).collect();
        match cells.is_empty() {
            true => Err(unknown(name, all.iter().map(|step| step.as_str()))),
            false => Ok(cells),
        }
    }

    fn is_of_interest(&self, step: &str) -> bool {
        let state = |run: &Run| state(&run.record, step).map(|(state, _)| state.to_owned());
        let key = |run: &Run| run.record.steps.get(step).map(|step| step.key);
        match (&self.old, self.between) {
            (Some(old), true) => {
                let lacks = |run: &Run| run.record.keyless.contains_key(step);
                key(old) != key(&self.new) || lacks(old) != lacks(&self.new)
            }
            _ => matches!(state(&self.new).as_deref(), Some("ran" | "failed")),
        }
    }

    /// In what the runs differ as a whole.
    pub fn apart(&self) -> Vec<Apart> {
        let Some(old) = &self.old else { return Vec::new() };
        let (old, new) = (&old.record, &self.new.record);
        let sandbox = |run: &RunRecord| run.sandbox.map_or("not recorded", |sandbox| sandbox.name()).to_owned();
        let flags = |run: &RunRecord| if run.flags.is_empty() { "none".to_owned() } else { run.flags.join(" ") };
        let version = |run: &RunRecord| if run.pipe.is_empty() { "not recorded".to_owned() } else { run.pipe.clone() };
        let rows = [
            ("pipeline", old.pipeline.clone(), new.pipeline.clone()),
            ("pipe", version(old), version(new)),
            ("flags", flags(old), flags(new)),
            ("sandbox", sandbox(old), sandbox(new)),
        ];
        let rows = rows.into_iter().map(|(what, old, new)| Apart { what: what.to_owned(), old, new });
        let rows = rows.filter(|row| row.old != row.new);
        rows.chain(machines(old.machine.as_ref(), new.machine.as_ref())).collect()
    }
}

/// The facts in which two machines differ.
pub fn machines(old: Option<&Machine>, new: Option<&Machine>) -> Vec<Apart> {
    let facts = |machine: Option<&Machine>| match machine.map(serde_json::to_value) {
        Some(Ok(serde_json::Value::Object(facts))) => facts,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (facts(old), facts(new));
    if old.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let shown = |value: Option<&serde_json::Value>| match value {
        None | Some(serde_json::Value::Null) => "none".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let row = |(fact, value): (&String, &serde_json::Value)| Apart {
        what: format!("machine {}", fact.replace('_', " ")),
        old: shown(old.get(fact)),
        new: shown(Some(value)),
    };
    new.iter().map(row).filter(|row| row.old != row.new).collect()
}

/// What became of a step, and what was said of it.
pub fn state<'a>(record: &'a RunRecord, step: &str) -> Option<(&'a str, Option<&'a str>)> {
    let with_key = record.steps.get(step).map(|step| (step.state.as_str(), step.said.as_deref()));
    with_key.or_else(|| record.keyless.get(step).map(|lack| (lack.state.as_str(), Some(lack.said.as_str()))))
}

fn has(record: &RunRecord, step: &str) -> bool {
    let cell = format!("{step}[");
    state(record, step).is_some() || record.steps.keys().any(|name| name.starts_with(&cell))
}

/// What there is to tell of steps.
pub fn told(site: &Site, runs: &Runs, steps: &[String]) -> Result<Vec<Told>, StoreError> {
    let sides = |run| Side::Past(&site.store, run);
    let mut comparison = runs.old.as_ref().map(|old| Comparison::new(site, sides(old), sides(&runs.new)));
    steps.iter().map(|step| step_told(site, runs, step, comparison.as_mut())).collect()
}

fn step_told(site: &Site, runs: &Runs, step: &str, comparison: Option<&mut Comparison>) -> Result<Told, StoreError> {
    let (state, said) = state(&runs.new.record, step).unwrap_or(("not there", None));
    let mut told = Told {
        step: step.to_owned(),
        state: state.to_owned(),
        said: said.map_or(state.to_owned(), |said| format!("{state} ({said})")),
        key: runs.new.record.steps.get(step).map(|step| step.key),
        ..Told::default()
    };
    if let (Some(key), "cached") = (told.key, state) {
        told.hit = Some(Hit { output: None, lines: made(site, &runs.all, &key)? });
    }
    let before = runs.old.as_ref().and_then(|old| old.record.steps.get(step));
    let (Some(comparison), Some(before), Some(old), Some(key)) = (comparison, before, &runs.old, told.key) else {
        told.help = match (&runs.old, told.key.is_some()) {
            (Some(old), true) => Some(format!("it has no key in {}", past::run_line(old))),
            (None, true) => Some("no earlier run is remembered that had it".to_owned()),
            (_, false) => None,
        };
        return Ok(told);
    };
    if before.key == key {
        told.help = Some(format!("the key is that of {}, where it {}", past::run_line(old), was(&before.state)));
    } else {
        told.cause = Some(comparison.cause(step)?);
        told.against = Some(past::run_line(old));
    }
    Ok(told)
}

fn was(state: &str) -> String {
    match state {
        "ran" | "failed" => state.to_owned(),
        other => format!("was {other}"),
    }
}

/// Which run made a result, when and where, and how long it took.
pub fn made(site: &Site, runs: &[Run], key: &Digest) -> Result<Vec<(&'static str, String)>, StoreError> {
    let Some(record) = lookup::step_record(site, key)? else { return Ok(Vec::new()) };
    let origin = share::origin_of_record(&site.store, key)?;
    let by = runs.iter().find(|run| run.record.steps.values().any(|step| step.key == *key && step.state == "ran"));
    let by = match by {
        None => "by a run that the store does not remember".to_owned(),
        Some(run) => {
            let place = match &run.record.machine {
                Some(machine) if *machine == site.facts.machine && origin.is_some() => {
                    ", on a machine like this one".to_owned()
                }
                Some(machine) if *machine == site.facts.machine => ", on this machine".to_owned(),
                Some(machine) => format!(", on another machine: {}", machine.line()),
                None => String::new(),
            };
            format!("by {}{place}", past::run_line(run))
        }
    };
    let seconds = super::progress::time(record.usage.wall_ns as f64 / 1e9);
    let took = format!("{seconds}, sandbox {}", record.sandbox.name());
    let from = origin.map(|origin| ("from", past::came(&origin)));
    Ok([("made", by), ("took", took)].into_iter().chain(from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_compared_fact_by_fact() {
        let mine = Machine { cpu_model: "A".to_owned(), memory_gib: 8, cpu_quota_milli: None, ..Machine::default() };
        let other = Machine { memory_gib: 16, cpu_quota_milli: Some(500), ..mine.clone() };
        let rows = machines(Some(&mine), Some(&other));
        let rows: Vec<String> = rows.iter().map(|row| format!("{}: {} → {}", row.what, row.old, row.new)).collect();
        assert_eq!(rows, ["machine cpu quota milli: none → 500", "machine memory gib: 8 → 16"]);
        assert_eq!(machines(None, Some(&other)), []);
    }
}
