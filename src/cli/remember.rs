//! What the store keeps of a run as a whole: which step had which key and how it ended, for `why`, estimates and
//! garbage collection.
//!
//! A run of many steps writes its record straight from what it has: to copy every name and place first would take
//! longer than most of the rest.

use pipe_cache::{Digest, Kind, StoreError};
use serde::{Serialize, Serializer};

use super::explain::{self, Places};
use super::results::{said, state};
use crate::exec::outcome::Outcome;
use crate::exec::runner::{Done, failures as failed};
use crate::exec::site::Site;
use crate::exec::{history, lookup};
use crate::key::Manifest;
use crate::pipeline::StepId;
use crate::record::{FORMAT, RunLack, RunRecord};

/// Keeps a run, unless it found everything as the last one left it.
pub fn remember(site: &Site, done: &Done, flags: Vec<String>, exit: u8) -> Result<(), StoreError> {
    let ran = done.outcomes.values().any(|outcome| !matches!(outcome, Outcome::Cached(_) | Outcome::NotNeeded));
    if !ran && is_as_before(site, done)? {
        return Ok(());
    }
    // What a failed step depended on is asked for like that of any other; work keeps the manifests of what it makes.
    for id in failed(done) {
        if let Some((key, manifest)) = done.manifests.get(&id) {
            site.store.append(Kind::Manifest, key, manifest.text().as_bytes())?;
        }
    }
    let keyless =
        done.outcomes.iter().filter(|(id, _)| !done.manifests.contains_key(id)).filter_map(|(id, outcome)| {
            let lack = RunLack { state: state(outcome).to_owned(), said: said(site, outcome)? };
            Some((site.step(*id).name.clone(), lack))
        });
    let record = RunRecord {
        format: FORMAT,
        pipeline: site.pipeline.name.clone(),
        started: now().saturating_sub(done.seconds as u64),
        wall_ns: Some((done.seconds * 1e9) as u64),
        exit: Some(exit),
        pipe: env!("CARGO_PKG_VERSION").to_owned(),
        flags,
        sandbox: Some(site.sandbox),
        machine: Some(site.facts.machine.clone()),
        steps: Steps { site, done, places: Places::new(&site.pipeline) },
        keyless: keyless.collect(),
    };
    history::remember(&site.store, &record)
}

fn is_as_before(site: &Site, done: &Done) -> Result<bool, StoreError> {
    let last = lookup::last_keys(site)?;
    let same = |(id, (key, _)): (&StepId, &(Digest, _))| last.get(&site.step(*id).name) == Some(key);
    Ok(last.len() == done.manifests.len() && done.manifests.iter().all(same))
}

#[expect(clippy::disallowed_methods, reason = "a run remembers when it was; no key and no report does")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}

/// The steps that came to a key, as they are written.
struct Steps<'a> {
    site: &'a Site,
    done: &'a Done,
    places: Places<'a>,
}

impl Serialize for Steps<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Steps { site, done, places } = self;
        out.collect_map(done.manifests.iter().map(|(id, (key, manifest))| {
            let outcome = &done.outcomes[id];
            let said = said(site, outcome).or_else(|| done.whys.get(id).and_then(explain::beside_changes));
            (&site.step(*id).name, Step { key, state: state(outcome), said, origins: Origins { places, manifest } })
        }))
    }
}

/// A [`RunStep`](crate::record::RunStep) as it is written.
#[derive(Serialize)]
struct Step<'a> {
    key: &'a Digest,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<String>,
    origins: Origins<'a>,
}

struct Origins<'a> {
    places: &'a Places<'a>,
    manifest: &'a Manifest,
}

impl Serialize for Origins<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let known = self.manifest.leaves().iter().filter_map(|leaf| Some((&leaf.path, leaf.origin.as_ref()?)));
        out.collect_map(known.map(|(path, origin)| (path, self.places.shown(origin))))
    }
}
