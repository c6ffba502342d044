//! The dry half of a run: for every step its manifest, its key, and whether the store has its result.
//!
//! Approach:
//! - Walk the steps in order. A step whose inputs are all known has a key, and the store has a record or not;
//!   a step behind one without a result waits for it.
//! - A step without a result asks whether this host could make it at all; only then is a container runtime asked or
//!   a secret looked for, so that what is cached stays a hit while they are not there.
//! - A result that came in a pack without its bytes is one as long as nothing that runs reads it; where something does,
//!   all is looked at once more without it.
//! - From the targets go back to what they need. What only cached, unavailable or unselected steps would read
//!   is not needed, and never runs.
//!
//! `plan` prints this; `run` starts from it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pipe_cache::{Digest, Entry, Kind, StoreError};

use super::lookup;
use super::outcome::{Lack, Product, Standing, Why};
use super::site::Site;
use super::{files, needs, world};
use crate::key::{self, Contents, Manifest};
use crate::pipeline::{Action, Input, Parity, StepId};

/// Every step's standing.
pub struct Survey {
    pub looks: BTreeMap<StepId, Look>,
    pub standings: BTreeMap<StepId, Standing>,
    pub targets: Vec<StepId>,
    /// Steps that the targets need, cached ones included.
    pub needed: BTreeSet<StepId>,
    /// What a run starts from; empty where only the standings were asked for.
    pub manifests: Manifests,
}

/// The manifest and the key of each step that has one.
pub type Manifests = BTreeMap<StepId, (Digest, Rc<Manifest>)>;

/// What a step's manifest and the store say.
pub enum Look {
    /// The key is known.
    Known {
        key: Digest,
        found: Result<Product, Why>,
    },
    /// These steps come first.
    Behind(Vec<StepId>),
    /// This host can't do it.
    Lacking(Lack),
    NotSelected,
}

impl Look {
    fn product(&self) -> Option<&Product> {
        match self {
            Look::Known { found: Ok(product), .. } => Some(product),
            _ => None,
        }
    }
}

/// The contents of inputs, as far as steps have been looked at.
pub struct Known<'a> {
    pub site: &'a Site,
    pub outputs: &'a dyn Fn(StepId) -> Option<Entry>,
}

impl Contents for Known<'_> {
    fn entry(&self, input: &Input) -> Option<Entry> {
        match input {
            Input::Step { step, path } => {
                let output = (self.outputs)(*step)?;
                if path.is_empty() {
                    return Some(output);
                }
                self.site.store.lookup(&output, path).unwrap_or_else(|error| {
                    self.site.asked.fault.replace(Some(error));
                    None
                })
            }
            other => files::content(self.site, other),
        }
    }

    fn output(&self, step: StepId) -> Option<Entry> {
        (self.outputs)(step)
    }
}

/// Looks at every step of the site's plan.
pub fn survey(site: &Site) -> Result<Survey, StoreError> {
    take(site, None)
}

/// The same for a run, which needs the manifests too; they take more room than all the rest.
pub fn survey_with_manifests(site: &Site) -> Result<Survey, StoreError> {
    let mut manifests = Manifests::new();
    let survey = take(site, Some(&mut manifests))?;
    Ok(Survey { manifests, ..survey })
}

fn take(site: &Site, mut manifests: Option<&mut Manifests>) -> Result<Survey, StoreError> {
    loop {
        let survey = once(site, manifests.as_deref_mut())?;
        let read = read_though_away(site, &survey);
        if read.is_empty() {
            return Ok(survey);
        }
        // They have no result after all, and what stands behind them may have another than was thought.
        site.asked.read.borrow_mut().extend(read);
        manifests.iter_mut().for_each(|manifests| manifests.clear());
    }
}

/// Cached steps whose outputs stayed out of the pack that they came in, and that something reads after all: a step
/// that may run, or the folder of exports. There are only ever fewer that may stay away, so that this ends.
fn read_though_away(site: &Site, survey: &Survey) -> Vec<StepId> {
    let away = site.asked.away.take();
    if away.is_empty() {
        return Vec::new();
    }
    let runs = |id: &StepId| {
        let standing = &survey.standings[id];
        survey.needed.contains(id) && matches!(standing, Standing::Runs(_) | Standing::Depends(_))
    };
    let left = site.plan.left_out(&site.pipeline, &site.selection);
    let is_read = |id: &StepId| {
        let given_back = site.step(*id).export.is_some() && !left.contains(id);
        given_back || site.plan.readers(*id).iter().any(runs)
    };
    away.into_iter().filter(is_read).collect()
}

fn once(site: &Site, mut manifests: Option<&mut Manifests>) -> Result<Survey, StoreError> {
    let mut looks: BTreeMap<StepId, Look> = BTreeMap::new();
    for &id in site.plan.order() {
        let look = look(site, id, &looks, manifests.as_deref_mut())?;
        looks.insert(id, look);
    }
    let targets = site.plan.targets(&site.pipeline, &site.selection);
    let stops = |id: StepId| !matches!(looks[&id], Look::Behind(_) | Look::Known { found: Err(_), .. });
    let needed = site.plan.needed(&targets, stops);
    let left = site.plan.left_out(&site.pipeline, &site.selection);
    let standings =
        looks.iter().map(|(&id, look)| (id, standing(look, needed.contains(&id), left.contains(&id)))).collect();
    Ok(Survey { looks, standings, targets, needed, manifests: Manifests::new() })
}

fn standing(look: &Look, needed: bool, left_out: bool) -> Standing {
    match look {
        Look::Known { found: Ok(product), .. } => Standing::Cached(product.clone()),
        Look::Lacking(lack) => Standing::Unavailable(lack.clone()),
        Look::NotSelected => Standing::NotSelected,
        _ if !needed && left_out => Standing::NotSelected,
        _ if !needed => Standing::NotNeeded,
        Look::Known { found: Err(why), .. } => Standing::Runs(why.clone()),
        Look::Behind(steps) => Standing::Depends(steps.clone()),
    }
}

fn look(
    site: &Site,
    id: StepId,
    looks: &BTreeMap<StepId, Look>,
    manifests: Option<&mut Manifests>,
) -> Result<Look, StoreError> {
    let step = site.step(id);
    if matches!(step.action, Action::Measure(_)) && step.cell.as_ref().is_some_and(|cell| !site.selection.takes(cell)) {
        return Ok(Look::NotSelected);
    }
    if let Action::Compare(compare) = &step.action {
        let exact = compare.parity.as_ref().and_then(Parity::exact_step);
        let reads = compare.of.iter().copied().chain(exact);
        let open: Vec<StepId> = reads.filter(|read| will_change(&looks[read])).collect();
        if !open.is_empty() {
            return Ok(Look::Behind(open));
        }
    } else {
        let reads = site.plan.reads(id);
        if let Some(Look::Lacking(lack)) = reads.iter().map(|read| &looks[read]).find(|l| matches!(l, Look::Lacking(_)))
        {
            return Ok(Look::Lacking(lack.clone()));
        }
        let open: Vec<StepId> = reads.into_iter().filter(|read| looks[read].product().is_none()).collect();
        if !open.is_empty() {
            // The step can't be looked up yet; a host that could never do it need not make what it reads.
            return Ok(match needs::lack(site, step) {
                Some(lack) => Look::Lacking(lack),
                None => Look::Behind(open),
            });
        }
    }
    let outputs = |read: StepId| looks.get(&read).and_then(Look::product).and_then(|p| p.entry().cloned());
    let cells = |cell: StepId| looks.get(&cell).map(state_of_cell).unwrap_or_default();
    let world = match world::world(site, id, &cells) {
        Ok(world) => world,
        Err(lack) => return Ok(Look::Lacking(lack)),
    };
    let manifest = match key::manifest(step, &world, &Known { site, outputs: &outputs }) {
        Ok(manifest) => manifest,
        Err(unknown) => {
            return match site.asked.fault.take() {
                Some(error) => Err(error),
                None => Ok(Look::Lacking(files::missing(site, &unknown.0))),
            };
        }
    };
    let key = manifest.key();
    let found = lookup::lookup(site, id, &manifest, &key)?;
    if found.is_err()
        && let Some(lack) = needs::lack(site, step)
    {
        site.asked.questions.borrow_mut().insert(id, key);
        return Ok(Look::Lacking(lack));
    }
    if let Some(manifests) = manifests {
        manifests.insert(id, (key, Rc::new(manifest)));
    }
    Ok(Look::Known { key, found })
}

/// True where a cell's samples are still to come.
fn will_change(look: &Look) -> bool {
    matches!(look, Look::Behind(_) | Look::Known { found: Err(_), .. })
}

/// What a comparison's key sees of a cell.
fn state_of_cell(look: &Look) -> String {
    match look {
        Look::Known { key, found: Ok(Product::Sessions(sessions)), .. } => lookup::sessions_text(key, sessions),
        Look::Known { .. } | Look::Behind(_) => "open".to_owned(),
        Look::Lacking(_) => "unavailable".to_owned(),
        Look::NotSelected => "not selected".to_owned(),
    }
}

/// The manifest that ran for a key, where the store still has it.
pub fn stored_manifest(site: &Site, key: &Digest) -> Result<Option<Manifest>, StoreError> {
    let bytes = site.store.last(Kind::Manifest, key)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Manifest::parse(&text)))
}
