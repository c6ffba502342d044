//! Asks the store for what a key already produced.
//!
//! A record is a hit only where everything that it names is still there, or stayed out of the pack that it came in and
//! is read by nothing that runs; and where it was made under a sandbox at least as strict as this run asks for. Samples are found by question and machine, and are a hit
//! where they answer the query.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pipe_cache::{Digest, Kind, StoreError};
use pipe_engine::message::Sample;

use super::history;
use super::nearest::Index;
use super::outcome::{Product, Why};
use super::share;
use super::site::Site;
use crate::host::Runtime;
use crate::key::Manifest;
use crate::measure::enough::{Enough, enough};
use crate::pipeline::{Action, Class, Measure, Place, StepId};
use crate::record::{CautionCode, FORMAT, Session, StepRecord};

/// Why a look-up gives nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Miss {
    /// Nothing is known of the key. What differs from what is known takes a search of its own: [`why`].
    Unknown,
    /// There is something, but it does not serve.
    Unfit(Why),
}

/// What the store has for `key`, or why it has nothing to reuse.
pub fn lookup(site: &Site, id: StepId, manifest: &Manifest, key: &Digest) -> Result<Result<Product, Why>, StoreError> {
    Ok(match find(site, id, key)? {
        Ok(product) => Ok(product),
        Err(Miss::Unfit(why)) => Err(why),
        Err(Miss::Unknown) => Err(why(site, id, manifest)?),
    })
}

/// What the store has for `key`. A run asks no more than this: it starts what is missing, whatever the reason.
pub fn find(site: &Site, id: StepId, key: &Digest) -> Result<Result<Product, Miss>, StoreError> {
    let step = site.step(id);
    if let Action::Measure(measure) = &step.action {
        return find_sessions(site, measure, key);
    }
    let Some(record) = step_record(site, key)? else {
        return Ok(Err(Miss::Unknown));
    };
    // Steps of ours run in this process; only the user's processes are held in a sandbox.
    if matches!(step.action, Action::Run(_)) && record.sandbox < site.sandbox {
        let why = Why::WeakerSandbox { had: record.sandbox.name(), asked: site.sandbox.name() };
        return Ok(Err(Miss::Unfit(why)));
    }
    if !site.store.complete(&record.output) {
        let compared = matches!(step.action, Action::Compare(_));
        if compared || !share::may_stay_away(site, id, key, &record.output)? {
            let away = site.asked.read.borrow().contains(&id);
            let gone = || Why::Gone { what: record.output.to_string() };
            return Ok(Err(Miss::Unfit(if away { Why::StayedAway } else { gone() })));
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

fn find_sessions(site: &Site, measure: &Measure, question: &Digest) -> Result<Result<Product, Miss>, StoreError> {
    let set = sessions(site, measure, question)?;
    if set.is_empty() {
        return Ok(Err(Miss::Unknown));
    }
    if site.remeasure && !site.asked.measured.borrow().contains(question) {
        return Ok(Err(Miss::Unfit(Why::Forced)));
    }
    for session in &set {
        if let Some(outputs) = &session.outputs
            && !site.store.complete(outputs)
        {
            return Ok(Err(Miss::Unfit(Why::Gone { what: format!("outputs {outputs}") })));
        }
    }
    if set.iter().any(|session| session.fault.is_some()) {
        return Ok(Ok(Product::Sessions(set)));
    }
    let blocks: Vec<&[Sample]> = set.iter().flat_map(Session::blocks).collect();
    let samples = || blocks.iter().copied().flatten();
    // A session that ran out of time for the same query would run out of it again.
    let ran_out = set.iter().flat_map(|s| &s.cautions).any(|caution| caution.code == CautionCode::FewSamples);
    let spent: Duration = samples().map(length).sum();
    // The session's clock also runs between samples, so it stops a little before they fill the time.
    let out_of_time = ran_out && spent >= measure.sampling.max_time.mul_f64(0.8);
    Ok(match enough(&blocks, &measure.sampling) {
        Enough::More(more) if !out_of_time => {
            let reason = format!("{more} more asked for by the sampling rule");
            Err(Miss::Unfit(Why::MoreSamples { have: samples().count(), reason }))
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
    let last = last_keys(site)?;
    let step = site.step(id);
    let mut names = std::iter::once(&step.name).chain(&step.also);
    let stored = |key: &Digest| Ok(super::survey::stored_manifest(site, key)?.map(|manifest| (*key, manifest)));
    let mut nearest = names.find_map(|name| stored(last.get(name)?).transpose()).transpose()?;
    if nearest.is_none() {
        let index = match site.asked.nearest.get() {
            Some(index) => index,
            None => {
                let index = Index::read(&site.store)?;
                site.asked.nearest.get_or_init(|| index)
            }
        };
        let found = index.nearest(manifest).map(|key| stored(&key)).transpose()?.flatten();
        nearest = found.filter(|(_, old)| leaf(old, "action") == leaf(manifest, "action"));
    }
    Ok(match nearest {
        Some((against, old)) => {
            let changes = manifest.changes_since(&old);
            // A manifest that shares less than half of its leaves is another step, not an earlier state of this one.
            if changes.len() * 2 > manifest.leaves().len() {
                Why::Never
            } else if changes.is_empty() && last_run(site)?.failed.contains(&step.name) {
                Why::Failed
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

/// Step name → key, of this pipeline's last run; read once for a run.
pub fn last_keys(site: &Site) -> Result<&BTreeMap<String, Digest>, StoreError> {
    Ok(&last_run(site)?.keys)
}

/// How long a step took under the key that it had in this pipeline's last run.
pub fn took_before(site: &Site, step: &str) -> Result<Option<Duration>, StoreError> {
    let Some(key) = last_keys(site)?.get(step) else { return Ok(None) };
    Ok(step_record(site, key)?.map(|record| Duration::from_nanos(record.usage.wall_ns)))
}

/// What the last run of this pipeline left, as far as look-ups ask.
#[derive(Debug, Default)]
pub struct LastRun {
    /// Step name → key.
    pub keys: BTreeMap<String, Digest>,
    /// Names of the steps that failed.
    pub failed: BTreeSet<String>,
}

fn last_run(site: &Site) -> Result<&LastRun, StoreError> {
    if let Some(known) = site.asked.last_run.get() {
        return Ok(known);
    }
    let mut last = LastRun::default();
    for (name, step) in history::last(&site.store, &site.pipeline.name)?.into_iter().flat_map(|run| run.steps) {
        if step.state == "failed" {
            last.failed.insert(name.clone());
        }
        last.keys.insert(name, step.key);
    }
    Ok(site.asked.last_run.get_or_init(|| last))
}
