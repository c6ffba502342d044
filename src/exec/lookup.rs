//! Asks the store for what a key already produced.
//!
//! A record is a hit only where everything that it names is still there, or stayed out of the pack that it came in and
//! is read by nothing that runs; and where it was made under a sandbox at least as strict as this run asks for. Samples are found by question and machine, and are a hit
//! where they answer the query.

use std::collections::BTreeMap;
use std::time::Duration;

use pipe_cache::{Digest, Kind, StoreError};
use pipe_engine::message::Sample;

use super::outcome::{Product, Why};
use super::share;
use super::site::Site;
use crate::host::Runtime;
use crate::key::Manifest;
use crate::measure::enough::{Enough, enough};
use crate::pipeline::{Action, Class, Measure, Place, StepId};
use crate::record::{CautionCode, FORMAT, RunRecord, Session, StepRecord};

/// What the store has for `key`, or why it has nothing to reuse.
pub fn lookup(site: &Site, id: StepId, manifest: &Manifest, key: &Digest) -> Result<Result<Product, Why>, StoreError> {
    let step = site.step(id);
    if let Action::Measure(measure) = &step.action {
        return lookup_sessions(site, id, measure, manifest, key);
    }
    let Some(record) = step_record(site, key)? else {
        return Ok(Err(why(site, id, manifest)?));
    };
    // Steps of ours run in this process; only the user's processes are held in a sandbox.
    if matches!(step.action, Action::Run(_)) && record.sandbox < site.sandbox {
        return Ok(Err(Why::WeakerSandbox { had: record.sandbox.name(), asked: site.sandbox.name() }));
    }
    if !site.store.complete(&record.output) {
        let compared = matches!(step.action, Action::Compare(_));
        if compared || !share::may_stay_away(site, id, key, &record.output)? {
            let away = site.asked.read.borrow().contains(&id);
            return Ok(Err(if away { Why::StayedAway } else { Why::Gone { what: record.output.to_string() } }));
        }
    }
    Ok(Ok(match step.action {
        Action::Compare(_) => Product::Compared(record.output),
        _ => Product::Output(record.output),
    }))
}

/// The record of a key, where there is one that this version reads.
pub fn step_record(site: &Site, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
    let bytes = site.store.last(Kind::Record, key)?;
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|record: &StepRecord| record.format == FORMAT))
}

/// Where the sessions of a question lie for a machine.
pub fn session_key(question: &Digest, machine: &Digest) -> Digest {
    Digest::derive("pipe 2026 session-key v1", format!("{question} {machine}").as_bytes())
}

/// The machine key of a measurement. A container's holds its runtime, as it answered last: `None` where no
/// runtime ever did.
pub fn machine_key(site: &Site, measure: &Measure) -> Result<Option<Digest>, StoreError> {
    match measure.place {
        Place::Native => Ok(Some(site.facts.machine.key(None))),
        Place::Container { .. } => Ok(remembered_runtime(site)?.map(|runtime| site.facts.machine.key(Some(&runtime)))),
    }
}

/// The key under which the store remembers the container runtime.
pub fn runtime_note() -> Digest {
    Digest::derive("pipe 2026 note v1", b"container-runtime")
}

/// The container runtime as it answered last.
pub fn remembered_runtime(site: &Site) -> Result<Option<Runtime>, StoreError> {
    let bytes = site.store.last(Kind::Note, &runtime_note())?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The current sample set: sessions from the last fresh one onward, without the invalid ones.
pub fn sessions(site: &Site, measure: &Measure, question: &Digest) -> Result<Vec<Session>, StoreError> {
    let Some(machine) = machine_key(site, measure)? else { return Ok(Vec::new()) };
    let all = site.store.all(Kind::Session, &session_key(question, &machine))?;
    let mut set: Vec<Session> = Vec::new();
    for session in all.iter().filter_map(|bytes| serde_json::from_slice::<Session>(bytes).ok()) {
        if session.format != FORMAT || session.cautions.iter().any(|caution| caution.code.is_invalid()) {
            continue;
        }
        if session.fresh {
            set.clear();
        }
        set.push(session);
    }
    Ok(set)
}

fn lookup_sessions(
    site: &Site,
    id: StepId,
    measure: &Measure,
    manifest: &Manifest,
    question: &Digest,
) -> Result<Result<Product, Why>, StoreError> {
    let set = sessions(site, measure, question)?;
    if set.is_empty() {
        return Ok(Err(why(site, id, manifest)?));
    }
    if site.remeasure {
        return Ok(Err(Why::Forced));
    }
    for session in &set {
        if let Some(outputs) = &session.outputs
            && !site.store.complete(outputs)
        {
            return Ok(Err(Why::Gone { what: format!("outputs {outputs}") }));
        }
    }
    if set.iter().any(|session| session.fault.is_some()) {
        return Ok(Ok(Product::Sessions(set)));
    }
    let samples: Vec<_> = set.iter().flat_map(|session| session.samples.iter().cloned()).collect();
    // A session that ran out of time for the same query would run out of it again.
    let ran_out = set.iter().flat_map(|s| &s.cautions).any(|caution| caution.code == CautionCode::FewSamples);
    let spent: Duration = samples.iter().map(length).sum();
    // The session's clock also runs between samples, so it stops a little before they fill the time.
    let out_of_time = ran_out && spent >= measure.sampling.max_time.mul_f64(0.8);
    Ok(match enough(&samples, &measure.sampling) {
        Enough::More(more) if !out_of_time => {
            Err(Why::MoreSamples { have: samples.len(), reason: format!("{more} more asked for by the sampling rule") })
        }
        _ => Ok(Product::Sessions(set)),
    })
}

/// The time inside a sample.
fn length(sample: &Sample) -> Duration {
    Duration::from_nanos(sample.prefill_ns + sample.decode_ns.iter().sum::<u64>())
}

/// The text by which a comparison's key sees a sample set.
pub fn sessions_text(question: &Digest, sessions: &[Session]) -> String {
    let text = serde_json::to_string(sessions).unwrap_or_default();
    format!("{question} {}", Digest::of(text.as_bytes()))
}

/// Why there is nothing: compared with this step's last run, else with the stored manifest nearest in leaves.
pub fn why(site: &Site, id: StepId, manifest: &Manifest) -> Result<Why, StoreError> {
    let mut nearest: Option<(usize, Digest, Manifest)> = None;
    let last = last_keys(site)?;
    let step = site.step(id);
    let names = std::iter::once(&step.name).chain(&step.also);
    if let Some(old) = names
        .filter_map(|name| last.get(name))
        .find_map(|key| super::survey::stored_manifest(site, key).ok().flatten().map(|manifest| (*key, manifest)))
    {
        nearest = Some((0, old.0, old.1));
    }
    if nearest.is_none() {
        let action = leaf(manifest, "action");
        site.store.scan(Kind::Manifest, |key, bytes| {
            let Some(old) = std::str::from_utf8(bytes).ok().and_then(Manifest::parse) else { return };
            if leaf(&old, "action") != action {
                return;
            }
            let distance = manifest.changes_since(&old).len();
            if nearest.as_ref().is_none_or(|(best, _, _)| distance < *best) {
                nearest = Some((distance, *key, old));
            }
        })?;
    }
    Ok(match nearest {
        Some((_, against, old)) => {
            let changes = manifest.changes_since(&old);
            // A manifest that shares less than half of its leaves is another step, not an earlier state of this one.
            if changes.len() * 2 > manifest.leaves().len() {
                Why::Never
            } else if changes.is_empty() && step.class != Class::Measure {
                Why::Gone { what: "its record".to_owned() }
            } else if changes.is_empty() {
                Why::OtherMachine { what: site.facts.machine.line() }
            } else {
                Why::Changed { changes, against }
            }
        }
        None => Why::Never,
    })
}

fn leaf(manifest: &Manifest, path: &str) -> Option<String> {
    manifest.leaves().iter().find(|leaf| leaf.path == path).map(|leaf| leaf.value.clone())
}

/// The key under which the runs of a pipeline are kept.
pub fn run_key(pipeline: &str) -> Digest {
    Digest::derive("pipe 2026 run v1", pipeline.as_bytes())
}

/// Step name → key, of this pipeline's last run; read once for a run.
pub fn last_keys(site: &Site) -> Result<&BTreeMap<String, Digest>, StoreError> {
    if let Some(keys) = site.asked.last_keys.get() {
        return Ok(keys);
    }
    let bytes = site.store.last(Kind::Run, &run_key(&site.pipeline.name))?;
    let record: Option<RunRecord> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let keys = record.map(|run| run.steps.into_iter().map(|(name, step)| (name, step.key)).collect());
    Ok(site.asked.last_keys.get_or_init(|| keys.unwrap_or_default()))
}
